"""Chooses the reader of a file's layout, which turns it into a Source. Each is imported only when it is asked for."""

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
class ReadOptions:
    """Holds what a user may state about .csd files, see `read_csd`; the other layouts state it themselves.

    align: for .csd files words or intervals, for MultiBench's pickles true or false; None takes the first.
    """

    data: str
    folds: Path | None = None
    align: str | None = None
    embeddings: Path | None = None
    word_lag: int | None = None


def read(format: str, files: list[Path], options: ReadOptions) -> Source:
    """Reads the files as that format.

    Raises ValueError, naming the file, for an unknown format or a file that cannot be read so.
    """
    if format not in READERS:
        raise ValueError(f"format={format}: expected one of {', '.join(READERS)}")
    return READERS[format](files, options)


def detect(files: list[Path]) -> str:
    """Returns "mmsa" or "multibench" for a pickle, "csd" or "gmc" for .csd files (`ROLE:` in front or not) or .dt files
    or a folder of them.

    Raises ValueError, naming the file, for one that is missing or of neither kind.
    """
    if not files:
        raise ValueError("no source file given; pass source=FILE")
    formats = [_format_of(path) for path in files]
    for path, other in zip(files, formats, strict=True):
        if other != formats[0]:
            raise ValueError(
                f"{path}: is of format {other!r}, {files[0]} of {formats[0]!r}; prepare one format at a time"
            )
    return formats[0]


def _format_of(path: Path) -> str:
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
        return _pickle_format(path)
    raise ValueError(
        f"{path}: neither a pickle nor a .csd or .dt file; say which with format={' or format='.join(READERS)}, or "
        "write the store from a script of your own (docs/extending.md, A data set)"
    )


def _pickle_format(path: Path) -> str:
    """Tells the layout by the key of its labels, in the file's bytes: to unpickle gigabytes twice would take minutes.

    Returns "mmsa" if neither layout's key is there: its reader then says what is wrong with the file.
    """
    if not path.stat().st_size:  # cannot be mapped
        return "mmsa"
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content.find(b"regression_labels") < 0 and _has_key(content, b"labels"):
            return "multibench"
    return "mmsa"


def _has_key(content: mmap.mmap, key: bytes) -> bool:
    """Returns whether a pickle holds this text, not only as the end of a longer name."""
    return re.search(key + rb"(?<![a-z_]" + key + rb")", content) is not None


def _read_mmsa(files: list[Path], options: ReadOptions) -> Source:
    from trivium.data.formats.mmsa import read_mmsa

    _refuse_others(files, options, "one MMSA pickle", known=())
    return read_mmsa(files[0])


def _read_multibench(files: list[Path], options: ReadOptions) -> Source:
    from trivium.data.formats.multibench import read_multibench

    _refuse_others(files, options, "one MultiBench pickle", known=("align",))
    if options.align not in (None, "true", "false"):
        raise ValueError(f"{files[0]}: align={options.align}: expected true or false for a MultiBench pickle")
    return read_multibench(files[0], align=options.align != "false", data=options.data)


def _read_gmc(files: list[Path], options: ReadOptions) -> Source:
    from trivium.data.formats.gmc_files import read_gmc

    _refuse_others(files, options, "one of GMC's three files, or their folder", known=())
    return read_gmc(files[0], data=options.data)


def _refuse_others(files: list[Path], options: ReadOptions, expected: str, known: tuple[str, ...]) -> None:
    """Raises ValueError for a second file, and for an option that the layout has no use for."""
    if len(files) > 1:
        raise ValueError(f"{files[1]}: source= takes {expected}; found {len(files)} sources")
    for name in ("folds", "align", "embeddings", "word_lag"):
        if name not in known and getattr(options, name) is not None:
            others = ".csd files and MultiBench's pickles" if name == "align" else ".csd files"
            raise ValueError(
                f"{files[0]}: {name}= is for {others}; source= is {expected}, which has its splits and features"
            )


def _read_csd(files: list[Path], options: ReadOptions) -> Source:
    from trivium.data.formats.csd import read_csd

    return read_csd(
        files,
        data=options.data,
        folds=options.folds,
        align=options.align or "words",
        embeddings=options.embeddings,
        word_lag=options.word_lag,
    )


READERS: dict[str, Callable[[list[Path], ReadOptions], Source]] = {
    "mmsa": _read_mmsa,
    "csd": _read_csd,
    "multibench": _read_multibench,
    "gmc": _read_gmc,
}
