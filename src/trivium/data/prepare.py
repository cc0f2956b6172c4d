"""Prepares a store from raw files: recognises, reads and checks them, writes the store, and reports.

Imports neither torch nor Hydra.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from trivium.data import formats, manifest
from trivium.data.prepare_report import report
from trivium.data.score_classes import add_score_classes
from trivium.data.source_check import check_labels, leave_out_empty_clips
from trivium.data.split_check import refuse_unseen_classes
from trivium.data.splitting import SplitOptions
from trivium.data.store import sha256_of
from trivium.data.store_place import check_place, feature_name, write_new
from trivium.data.target import Target


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
    drop: Sequence[str] = (),
    emotions: str | None = None,
    absent: Sequence[str] = (),
    force: bool = False,
    own_name: bool = False,
) -> Path:
    """Makes the store `data_root/data/NAME.h5` (or `out`) from `source`, prints a report and returns the store's path.

    name: the name of the feature set, `data/name`; by default the published one's, or the file's stem.
    label_range: the range that every label must lie in, ends included; None accepts any.
    folds, align, embeddings, word_lag: for .csd files, see `read_csd`. MultiBench's pickles have align too, "true" or
    "false", see `read_multibench`. tokenizer: the one that makes token ids anew, from raw text.
    splitting: how clips are split, for sources that leave it open, see `split_source`.
    classes: adds for each number C the target "classes_C", the score's class among C. emotions: which of IEMOCAP's, see
    `read_conversations`. drop: keys of a pickle, or a folder's columns, to leave out. absent: modalities that a
    folder's clips may lack. own_name: no config has the name `data`, so that commands say data=custom data.name=DATA.
    Raises ValueError, naming the file, for anything wrong with the source, and for a target that exists (without
    `force`) or cannot be written. It then leaves no new file, and an existing store as it was.
    """
    format = format or formats.detect(source)
    published = None
    if format == "mmsa":
        published = manifest.recognise(sha256_of(source[0]), path=source[0], data=data, name=name)
    name = feature_name(name or (published.name if published else _name_of(source, format, align, emotions)))
    default = data_root / data / f"{name}.h5"
    target = default if out is None else out
    check_place(target, force)
    options = formats.ReadOptions(
        data,
        folds,
        align,
        embeddings,
        word_lag,
        drop=tuple(drop),
        emotions=emotions,
        published=published is not None,
        absent=tuple(absent),
        splitting=splitting or SplitOptions(),
    )
    content = formats.read(format, source, options)
    if content.folds is None and published is None:
        refuse_unseen_classes(content)
    if published is not None:
        manifest.check(content, published)
        content.tokenizer = published.tokenizer if content.splits["train"].tokens is not None else None
    if label_range is not None:
        check_labels(content, label_range)
        content.described = {name: _within(described, label_range) for name, described in content.described.items()}
    add_score_classes(content, classes, label_range)
    if tokenizer is not None:
        from trivium.data.text import tokenize

        content = tokenize(content, tokenizer)
    leave_out_empty_clips(content)
    write_new(target, content, data=data, feature_set=f"{data}/{name}", label_range=label_range)
    report(
        content,
        target,
        feature_set=f"{data}/{name}",
        recognised=published is not None,
        default=default,
        data_setting=f"data=custom data.name={data}" if own_name else f"data={data}",
    )
    return target


def _name_of(source: list[Path], format: str, align: str | None, emotions: str | None) -> str:
    # These layouts come in several files, none of which names the feature set.
    if format == "csd":
        return f"csd-{align or 'words'}"
    if format == "gmc":
        return "gmc-aligned"
    # A manifest is named alike in every folder, and "." has no name of its own.
    path = source[0].absolute()
    stem = path.parent.name if path.name == "manifest.yaml" else Path(os.path.normpath(path)).stem
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._") or "features"
    return f"{stem}-{emotions}" if emotions else stem


def _within(target: Target, label_range: tuple[float, float]) -> Target:
    """Returns a score with the data set's range where it has none of its own, and any other target as it is."""
    return replace(target, range=label_range) if target.kind == "score" and target.range is None else target
