"""Prepares a store from raw files: recognises, reads and checks them, writes the store, and reports.

Imports neither torch nor Hydra.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trivium.data import formats, manifest
from trivium.data.clips import Source
from trivium.data.prepare_report import report
from trivium.data.score_classes import add_score_classes
from trivium.data.source_check import check_labels
from trivium.data.splitting import SplitOptions
from trivium.data.store import sha256_of, write_store


def prepare(
    *,
    data: str,
    source: list[Path],
    name: str | None = None,
    out: Path | None = None,
    data_root: Path = Path("data"),
    label_range: tuple[float, float] | None = None,
    folds: Path | None = None,
    align: str | None = None,
    embeddings: Path | None = None,
    word_lag: int | None = None,
    splitting: SplitOptions | None = None,
    tokenizer: str | None = None,
    classes: Sequence[int] = (),
    format: str | None = None,
    force: bool = False,
) -> Path:
    """Makes the store `data_root/data/NAME.h5` (or `out`) from `source`, prints a report and returns the store's path.

    name: the name of the feature set, `data/name`; by default the published one's, or the file's stem.
    label_range: the range that every label must lie in, ends included; None accepts any.
    folds, align, embeddings, word_lag: for .csd files, see `read_csd`. MultiBench's pickles have align too, "true" or
    "false", see `read_multibench`. tokenizer: the one that makes token ids anew, from raw text.
    splitting: how clips are split, for sources that leave it open, see `split_source`.
    classes: adds for each number C the target "classes_C", the score's class among C.
    Raises ValueError, naming the file, for anything wrong with the source, and for a target that exists (without
    `force`) or cannot be written. It then leaves no new file, and an existing store as it was.
    """
    format = format or formats.detect(source)
    published = None
    if format == "mmsa":
        published = manifest.recognise(sha256_of(source[0]), path=source[0], data=data, name=name)
    name = _feature_name(name or (published.name if published else _name_of(source, format, align)))
    default = data_root / data / f"{name}.h5"
    target = default if out is None else out
    _check_target(target, force)
    content = formats.read(
        format, source, formats.ReadOptions(data, folds, align, embeddings, word_lag, splitting or SplitOptions())
    )
    if published is not None:
        manifest.check(content, published)
        content.tokenizer = published.tokenizer if content.splits["train"].tokens is not None else None
    if label_range is not None:
        check_labels(content, label_range)
    add_score_classes(content, classes, label_range)
    if tokenizer is not None:
        from trivium.data.text import tokenize

        content = tokenize(content, tokenizer)
    _write(target, content, data=data, feature_set=f"{data}/{name}", label_range=label_range)
    report(content, target, feature_set=f"{data}/{name}", recognised=published is not None, default=default)
    return target


def _name_of(source: list[Path], format: str, align: str | None) -> str:
    # These layouts come in several files, none of which names the feature set.
    if format == "csd":
        return f"csd-{align or 'words'}"
    if format == "gmc":
        return "gmc-aligned"
    return re.sub(r"[^A-Za-z0-9._-]+", "-", source[0].stem).strip("-._") or "features"


def _feature_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ValueError(f"name={name}: expected letters, digits, '.', '_' and '-', a letter or digit first")
    return name


def _check_target(target: Path, force: bool) -> None:
    """Raises ValueError for a target that cannot be written, before a minute's work is spent on reading."""
    if target.is_dir():
        raise ValueError(f"{target}: is a folder; out= takes a file, such as {target / 'NAME.h5'}")
    if target.exists() and not force:
        raise ValueError(f"{target}: exists already; force=true replaces it, name= or out= writes beside it")
    folder = next(parent for parent in target.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        reason = "may not be written to" if folder.is_dir() else "is a file, not a folder"
        raise ValueError(
            f"{target}: cannot be written, {folder} {reason}; choose another place with out= or paths.data="
        )


def _write(target: Path, source: Source, **attributes: Any) -> None:
    new_folders = [folder for folder in (target.parent, *target.parent.parents) if not folder.exists()]
    finished = False
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_store(target, source, **attributes)
        finished = True
    except OSError as error:
        raise ValueError(
            f"{target}: cannot be written ({error.strerror or error}); nothing was left there: free some space, or "
            "choose another place with out= or paths.data="
        ) from error
    finally:
        for folder in [] if finished else new_folders:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
