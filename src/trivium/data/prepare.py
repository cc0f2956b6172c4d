"""Raw file -> store: recognise, read, check, write, report. `main` is what scripts/prepare.py runs.

Imports neither torch nor Hydra.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml  # comes with omegaconf

import trivium
from trivium.choices import suggest
from trivium.config.arguments import Types, one_of, parse_key_values, path, script, truth
from trivium.data import formats, manifest
from trivium.data.clips import Source
from trivium.data.prepare_report import report
from trivium.data.source_check import check_labels
from trivium.data.store import sha256_of, verify_store, write_store

CONFIGS = Path(trivium.__file__).parents[2] / "configs"

HELP = """\
Prepare a data set once: read its raw file, check it, and write the store that training opens.

  python scripts/prepare.py data=DATA source=FILE [key=value ...]
  python scripts/prepare.py verify=FILE

Examples
  python scripts/prepare.py data=mosi source=unaligned_50.pkl              MMSA's file, recognised by its checksum
  python scripts/prepare.py data=mosi source=mine.pkl name=mine            a file of your own in MMSA's layout
  python scripts/prepare.py data=mosi source=mine.pkl tokenizer=bert-base-uncased
                                                                           token ids from raw_text, for encoder=bert
  python scripts/prepare.py data=mosi source=labels.csd,words.csd,covarep.csd folds=folds.json
                                                                           the CMU SDK's files, one step a word
  python scripts/prepare.py data=mosi source=csd/ folds=folds.json embeddings=glove.6B.300d.txt
  python scripts/prepare.py data=mosi source=mosi_data.pkl                 MultiBench's file, told by its keys
  python scripts/prepare.py data=mosi source=gmc/                          GMC's three .dt files
  python scripts/prepare.py verify=data/mosi/mine.h5                       read a store again, compare its checksum

Keys
  data=NAME           mosi, mosei, sims, simsv2, urfunny, mustard, or custom for scores of any range
  source=FILE[,FILE]  a pickle of MMSA's or MultiBench's; .csd files or folders of them (ROLE:FILE where a name does
                      not tell the role); one of GMC's .dt files or their folder
  name=NAME           name of the feature set; otherwise the published one, or made from the file's name
  out=FILE            where to write; otherwise PATHS.DATA/DATA/NAME.h5
  force=true          replace a store that is there
  format=mmsa|csd|multibench|gmc  where the file does not tell
  tokenizer=NAME      make token ids from raw_text: a Hugging Face name or a folder
  label_range=LOW,HIGH  otherwise from configs/data/DATA.yaml
  config_dir=DIR      where data/DATA.yaml of a data set of your own is, as train.py's --config-dir
  paths.data=DIR      root of all stores; otherwise $TRIVIUM_DATA, or data
  folds=FILE          .csd: JSON of split -> video ids; otherwise the installed SDK's folds
  align=words|intervals  .csd: one step a word (mean of its steps), or each sequence's own steps
       true|false     MultiBench: every modality from the text's first step (true), or from its own
  embeddings=FILE     .csd: word vectors in GloVe's text format, as the text features
  word_lag=0|1        .csd: whether words stand one interval after their own; otherwise found out
  verify=FILE         check a store, nothing else
"""
_TYPES: Types = {
    **dict.fromkeys(("out", "config_dir", "paths.data", "folds", "embeddings", "verify"), path),
    "force": truth,
    "format": one_of(*formats.READERS),
    "word_lag": one_of("0", "1"),
}


def main(argv: Sequence[str]) -> int:
    """Exit code: 0, or 2 with one line on stderr."""
    return script(argv, HELP, lambda: _act(parse_key_values(argv, HELP, _TYPES)))


def _act(values: dict[str, Any]) -> int:
    if "verify" in values:
        _verify(values)
    else:
        _prepare(values)
    return 0


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
    tokenizer: str | None = None,
    format: str | None = None,
    force: bool = False,
) -> Path:
    """Read `source`, check it, write the store `data_root/data/NAME.h5` (or `out`), print a report; returns its path.

    name: of the feature set, `data/name`; by default the published one's, or the file's stem. label_range: every
    target must lie in it, ends included; None accepts any.
    folds, align, embeddings, word_lag: for .csd files, see `read_csd`; align: also for MultiBench's pickles, "true" or
    "false", see `read_multibench`. tokenizer: makes token ids anew, from raw text.
    Raises ValueError, naming the file, for anything wrong with the source, for a target that exists (without `force`)
    or that cannot be written; then nothing is left, and a store that was there is as it was.
    """
    format = format or formats.detect(source)
    known = manifest.recognise(sha256_of(source[0]), path=source[0], data=data, name=name) if format == "mmsa" else None
    name = _feature_name(name or (known.name if known else _name_of(source, format, align)))
    default = data_root / data / f"{name}.h5"
    target = default if out is None else out
    _check_target(target, force)
    found = formats.read(format, source, formats.Options(data, folds, align, embeddings, word_lag))
    if known is not None:
        manifest.check(found, known)
        found.tokenizer = known.tokenizer if found.splits["train"].tokens is not None else None
    if label_range is not None:
        check_labels(found, label_range)
    if tokenizer is not None:
        from trivium.data.text import tokenize

        found = tokenize(found, tokenizer)
    _write(target, found, data=data, feature_set=f"{data}/{name}", label_range=label_range)
    report(found, target, feature_set=f"{data}/{name}", recognised=known is not None, default=default)
    return target


def label_range_of(data: str, more: Path | None = None) -> tuple[float, float] | None:
    """From data/DATA.yaml in configs or in `more`; None if it leaves that open.

    Raises ValueError for an unknown data set.
    """
    folders = [CONFIGS / "data", *([] if more is None else [more / "data"])]
    choices = {path.stem: path for folder in reversed(folders) for path in sorted(folder.glob("*.yaml"))}
    if not choices:
        raise ValueError(f"{CONFIGS / 'data'}: no configs of data sets here; give the range as label_range=LOW,HIGH")
    if data not in choices:
        near, where = suggest(data, choices), "configs/data" if more is None else " and ".join(map(str, folders))
        raise ValueError(f"data={data}: no such data set{near}; {where} has {', '.join(sorted(choices))}")
    path = choices[data]
    found = yaml.safe_load(path.read_text())
    if "label_range" not in found:
        raise ValueError(f"{path}: key 'label_range' is missing; expected [LOW, HIGH], or [] for any")
    return None if not found["label_range"] else _range(found["label_range"], f"{path}: label_range")


def _prepare(values: dict[str, Any]) -> None:
    for key in ("data", "source"):
        if key not in values:
            raise ValueError(f"{key}= is missing; python scripts/prepare.py --help shows examples")
    data = values["data"]
    given = values.get("label_range")
    low_high = _range(given.split(","), f"label_range={given}") if given else None
    if given is None or (CONFIGS / "data").is_dir():
        configured = label_range_of(data, values.get("config_dir"))
        low_high = low_high or configured
    prepare(
        data=data,
        source=_paths(values["source"]),
        name=values.get("name"),
        out=values.get("out"),
        data_root=values.get("paths.data") or path(os.environ.get("TRIVIUM_DATA") or "data"),
        label_range=low_high,
        folds=values.get("folds"),
        align=values.get("align"),
        embeddings=values.get("embeddings"),
        word_lag=int(values["word_lag"]) if "word_lag" in values else None,
        tokenizer=values.get("tokenizer"),
        format=values.get("format"),
        force=values.get("force", False),
    )


def _verify(values: dict[str, Any]) -> None:
    if len(values) > 1:
        raise ValueError(f"verify= stands alone; leave out {', '.join(sorted(set(values) - {'verify'}))}")
    summary = verify_store(values["verify"])
    counts = ", ".join(f"{split} {count}" for split, count in summary["counts"].items())
    dims = ", ".join(f"{modality} {dim}" for modality, dim in summary["dims"].items()) or "no numeric features"
    print(f"{values['verify']}: ok, {summary['feature_set']}; clips: {counts}; features a step: {dims}")
    print(f"checksum {summary['checksum']}")


def _range(ends: Any, where: str) -> tuple[float, float]:
    try:
        low, high = (float(end) for end in ends)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: expected two numbers, LOW and HIGH ({error})") from error
    if not low < high:
        raise ValueError(f"{where}: expected LOW below HIGH")
    return low, high


def _paths(value: str) -> list[Path]:
    """Files joined by commas; a file whose own name has commas is taken whole."""
    whole = path(value)
    return [whole] if whole.exists() else [path(part) for part in value.split(",") if part]


def _name_of(source: list[Path], format: str, align: str | None) -> str:
    if format == "csd":  # many files, none of which names the set
        return f"csd-{align or 'words'}"
    if format == "gmc":  # three, told apart by split
        return "gmc-aligned"
    return re.sub(r"[^A-Za-z0-9._-]+", "-", source[0].stem).strip("-._") or "features"


def _feature_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ValueError(f"name={name}: expected letters, digits, '.', '_' and '-', a letter or digit first")
    return name


def _check_target(target: Path, force: bool) -> None:
    """Before anything is read: a refusal after a minute's work would be rude."""
    if target.is_dir():
        raise ValueError(f"{target}: is a folder; out= takes a file, such as {target / 'NAME.h5'}")
    if target.exists() and not force:
        raise ValueError(f"{target}: is there already; force=true replaces it, name= or out= writes beside it")
    folder = next(parent for parent in target.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        reason = "may not be written to" if folder.is_dir() else "is a file, not a folder"
        raise ValueError(
            f"{target}: cannot be written, {folder} {reason}; choose another place with out= or paths.data="
        )


def _write(target: Path, source: Source, **attributes: Any) -> None:
    made = [folder for folder in (target.parent, *target.parent.parents) if not folder.exists()]
    written = False
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_store(target, source, **attributes)
        written = True
    except OSError as error:
        raise ValueError(
            f"{target}: cannot be written ({error.strerror or error}); nothing was left there: free some space, or "
            "choose another place with out= or paths.data="
        ) from error
    finally:
        for folder in [] if written else made:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
