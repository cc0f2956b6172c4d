"""Readers of the layouts that users have: files in, a Source out. Each is imported only when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trivium.data.clips import Source

_PICKLES = {".pkl", ".pickle", ".p"}


@dataclass(frozen=True)
class Options:
    """What a user may say about .csd files, see `read_csd`; an MMSA pickle says all of it itself."""

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
    """ "mmsa" for a pickle, "csd" for .csd files, `ROLE:` in front or not, and folders that hold some.

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
        raise ValueError(f"{path}: a folder without .csd files; source= takes an MMSA pickle, or .csd files")
    if not path.is_file():
        raise ValueError(f"{path}: no such file; source= takes an MMSA pickle, or .csd files")
    with path.open("rb") as file:
        start = file.read(8)
    if start.startswith(b"\x89HDF"):
        raise ValueError(
            f"{path}: an HDF5 file; if it is one of the CMU SDK's, say format=csd (a store needs no prepare)"
        )
    if path.suffix in _PICKLES or start.startswith(b"\x80"):
        return "mmsa"
    raise ValueError(f"{path}: neither a pickle nor a .csd file; say which with format=mmsa or format=csd")


def _read_mmsa(files: list[Path], options: Options) -> Source:
    from trivium.data.formats.mmsa import read_mmsa

    if len(files) > 1:
        raise ValueError(f"{files[1]}: an MMSA feature set is one pickle; found {len(files)} files")
    for name in ("folds", "align", "embeddings", "word_lag"):
        if getattr(options, name) is not None:
            raise ValueError(f"{files[0]}: {name}= is for .csd files; an MMSA pickle holds its splits and features")
    return read_mmsa(files[0])


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


READERS: dict[str, Callable[[list[Path], Options], Source]] = {"mmsa": _read_mmsa, "csd": _read_csd}
