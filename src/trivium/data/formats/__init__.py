"""Readers of the layouts that users have: files in, a Source out. Each is imported only when it is asked for."""

from __future__ import annotations

import mmap
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trivium.data.clips import Source

_PICKLES = {".pkl", ".pickle", ".p"}
_TAKES = "source= takes a pickle of MMSA's or MultiBench's, .csd files, or GMC's .dt files"


@dataclass(frozen=True)
class Options:
    """What a user may say about .csd files, see `read_csd`; MMSA's pickles say all of it themselves.

    align: for .csd files words or intervals, for MultiBench's pickles true or false; None takes the first.
    """

    data: str
    folds: Path | None = None
    align: str | None = None
    embeddings: Path | None = None
    word_lag: int | None = None


def read(format: str, files: list[Path], options: Options) -> Source:
    """Raises ValueError, naming the file, for an unknown format or a file that cannot be read so."""
    if format not in READERS:
        raise ValueError(f"format={format}: expected one of {', '.join(READERS)}")
    return READERS[format](files, options)


def detect(files: list[Path]) -> str:
    """ "mmsa" or "multibench" for a pickle; "csd" for .csd files (`ROLE:` in front or not), "gmc" for .dt, or folders.

    Raises ValueError, naming the file, for one that is missing or of neither kind.
    """
    if not files:
        raise ValueError("no source file given; pass source=FILE")
    kinds = {path: _kind(path) for path in files}
    first = kinds[files[0]]
    other = next((path for path, kind in kinds.items() if kind != first), None)
    if other is not None:
        raise ValueError(f"{other}: is of format {kinds[other]!r}, {files[0]} of {first!r}; prepare one kind at a time")
    return first


def _kind(path: Path) -> str:
    if path.suffix == ".csd" or (path.is_dir() and any(path.glob("*.csd"))):
        return "csd"
    if path.is_dir():
        if any(path.glob("*.dt")):
            return "gmc"
        raise ValueError(f"{path}: a folder without .csd or .dt files; {_TAKES}")
    if not path.is_file():
        raise ValueError(f"{path}: no such file; {_TAKES}")
    if path.suffix == ".dt":
        return "gmc"
    with path.open("rb") as file:
        start = file.read(8)
    if start.startswith(b"\x89HDF"):
        raise ValueError(
            f"{path}: an HDF5 file; if it is one of the CMU SDK's, say format=csd (a store needs no prepare)"
        )
    if path.suffix in _PICKLES or start.startswith(b"\x80"):
        return _pickle_kind(path)
    raise ValueError(
        f"{path}: neither a pickle nor a .csd or .dt file; say which with format={' or format='.join(READERS)}, or "
        "write the store from a script of your own (docs/extending.md, A data set)"
    )


def _pickle_kind(path: Path) -> str:
    """By the key of the labels, searched for in the bytes: to unpickle gigabytes twice would take minutes.

    "mmsa" if neither layout's key is there: its reader then says what is wrong with the file.
    """
    if not path.stat().st_size:  # cannot be mapped
        return "mmsa"
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content.find(b"regression_labels") < 0 and _names(content, b"labels"):
            return "multibench"
    return "mmsa"


def _names(content: mmap.mmap, key: bytes) -> bool:
    """Whether a pickle holds this text, alone and not as the end of a longer name."""
    at = content.find(key)
    while at > 0 and re.match(rb"[a-z_]", content[at - 1 : at]):
        at = content.find(key, at + 1)
    return at > 0


def _read_mmsa(files: list[Path], options: Options) -> Source:
    from trivium.data.formats.mmsa import read_mmsa

    if len(files) > 1:
        raise ValueError(f"{files[1]}: an MMSA feature set is one pickle; found {len(files)} files")
    for name in ("folds", "align", "embeddings", "word_lag"):
        if getattr(options, name) is not None:
            others = ".csd files and MultiBench's pickles" if name == "align" else ".csd files"
            raise ValueError(f"{files[0]}: {name}= is for {others}; an MMSA pickle holds its splits and features")
    return read_mmsa(files[0])


def _read_multibench(files: list[Path], options: Options) -> Source:
    from trivium.data.formats.multibench import read_multibench

    if len(files) > 1:
        raise ValueError(f"{files[1]}: a MultiBench feature set is one pickle; found {len(files)} files")
    for name in ("folds", "embeddings", "word_lag"):
        if getattr(options, name) is not None:
            raise ValueError(
                f"{files[0]}: {name}= is for .csd files; a MultiBench pickle holds its splits and features"
            )
    if options.align not in (None, "true", "false"):
        raise ValueError(f"{files[0]}: align={options.align}: expected true or false for a MultiBench pickle")
    return read_multibench(files[0], align=options.align != "false", data=options.data)


def _read_gmc(files: list[Path], options: Options) -> Source:
    from trivium.data.formats.gmc import read_gmc

    if len(files) > 1:
        raise ValueError(f"{files[1]}: pass one of GMC's three files, or their folder; found {len(files)} sources")
    for name in ("folds", "align", "embeddings", "word_lag"):
        if getattr(options, name) is not None:
            raise ValueError(f"{files[0]}: {name}= is not for GMC's files; they hold aligned splits and features")
    return read_gmc(files[0], data=options.data)


def _read_csd(files: list[Path], options: Options) -> Source:
    from trivium.data.formats.csd import read_csd

    align = "words" if options.align is None else options.align
    return read_csd(
        files,
        data=options.data,
        folds=options.folds,
        align=align,
        embeddings=options.embeddings,
        word_lag=options.word_lag,
    )


READERS: dict[str, Callable[[list[Path], Options], Source]] = {
    "mmsa": _read_mmsa,
    "csd": _read_csd,
    "multibench": _read_multibench,
    "gmc": _read_gmc,
}
