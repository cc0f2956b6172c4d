"""Chooses the reader that turns a file of some layout into a Source. Each reader is imported only when it is used."""

from __future__ import annotations

import mmap
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from trivium.core.choices import check_choice
from trivium.data.clips import Source
from trivium.data.splitting import SplitOptions
from trivium.data.target import Target

_PICKLES = {".pkl", ".pickle", ".p"}
_TAKES = (
    "source= takes a folder with labels.csv, a pickle of MMSA's or MultiBench's, or one of dialogues, .csd files, or "
    "GMC's .dt files"
)

# Maps an option to the files that it is for, where these are not .csd files alone.
_OWNERS = {
    "align": ".csd files and MultiBench's pickles",
    "drop": "pickles with keys, and folders with labels.csv",
    "emotions": "IEMOCAP's pickles of dialogues",
    "absent": "folders with labels.csv",
}


@dataclass(frozen=True)
class ReadOptions:
    """Holds the options of reading. Most are of .csd files, see `read_csd`.

    align: "words" or "intervals" for .csd files, "true" or "false" for MultiBench's pickles; None means the first.
    drop: the keys of a pickle, or a folder's columns, to leave out. absent: modalities that a folder's clips may lack.
    labelled: False reads files without labels too. wanted: the targets that then are read of a folder, where it has
    them. published: the file is one of the manifest, whose content is known. emotions: which of IEMOCAP's, see
    `read_conversations`.
    splitting: how clips are split, for layouts whose files leave that open.
    """

    data: str
    folds: Path | None = None
    align: str | None = None
    embeddings: Path | None = None
    word_lag: int | None = None
    drop: tuple[str, ...] = ()
    labelled: bool = True
    wanted: Mapping[str, Target] = field(default_factory=dict)
    published: bool = False
    emotions: str | None = None
    absent: tuple[str, ...] = ()
    splitting: SplitOptions = field(default_factory=SplitOptions)


def read(format: str, files: list[Path], options: ReadOptions) -> Source:
    """Reads files of the given format.

    Raises ValueError for an unknown format, and naming the file for one that is not of the format.
    """
    return READERS[check_choice("format", format, READERS)](files, options)


def detect(files: list[Path]) -> str:
    """Returns the format of the files: "mmsa" or "multibench" of a pickle, "csd" of .csd files, "gmc" of .dt files.

    It is "folder" for a folder with labels.csv, and for its manifest in YAML. .csd and .dt files may be given as their
    folder, and .csd files with `ROLE:` in front. Raises ValueError, naming the file, for one that is missing or of no
    known format, and for files of several formats.
    """
    if not files:
        raise ValueError("no source file given; pass source=FILE")
    formats = [_format_of(path) for path in files]
    for path, format_ in zip(files, formats, strict=True):
        if format_ != formats[0]:
            raise ValueError(
                f"{path}: is of format {format_!r}, {files[0]} of {formats[0]!r}; prepare one format at a time"
            )
    return formats[0]


def _format_of(path: Path) -> str:
    if path.suffix == ".csd" or (path.is_dir() and any(path.glob("*.csd"))):
        return "csd"
    if path.is_dir():
        if any(path.glob("*.dt")):
            return "gmc"
        if (path / "labels.csv").is_file() or (path / "manifest.yaml").is_file():
            return "folder"
        raise ValueError(
            f"{path}: a folder without labels.csv, manifest.yaml, .csd or .dt files; {_TAKES} (docs/my_own_data.md)"
        )
    if not path.is_file():
        raise ValueError(f"{path}: no such file; {_TAKES}")
    if path.suffix == ".dt":
        return "gmc"
    if path.suffix in (".yaml", ".yml"):
        return "folder"
    with path.open("rb") as file:
        start = file.read(8)
    if start.startswith(b"\x89HDF"):
        raise ValueError(
            f"{path}: an HDF5 file; if it is one of the CMU SDK's, say format=csd (a store is prepared already)"
        )
    if path.suffix in _PICKLES or start.startswith(b"\x80"):
        return _pickle_format(path)
    raise ValueError(
        f"{path}: no folder, pickle, .csd or .dt file; say which with format={' or format='.join(READERS)}, "
        "or write the store from a script of your own (docs/extending.md, A data set)"
    )


def _pickle_format(path: Path) -> str:
    """Returns "dialogues" for a tuple or list, and for a dict the layout whose keys stand in the file's bytes.

    These are "dialogues", "multibench" and "mmsa". To unpickle gigabytes twice would take minutes. Without any such key
    it is "mmsa", whose reader then says what is wrong with the file.
    """
    # An empty file cannot be mapped.
    if not path.stat().st_size:
        return "mmsa"
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if _is_sequence(content[:16]):
            return "dialogues"
        if content.find(b"regression_labels") < 0 and _has_key(content, b"labels"):
            return "dialogues" if _has_key(content, b"speakers") else "multibench"
    return "mmsa"


def has_mmsa_labels(path: Path) -> bool:
    """Tells whether a pickle names labels as MMSA's layout does. Without labels it may be MultiBench's as well."""
    if not path.is_file() or not path.stat().st_size:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return any(content.find(key) >= 0 for key in (b"regression_labels", b"classification_labels", b"annotations"))


def _is_sequence(start: bytes) -> bool:
    """Tells whether a pickle holds a tuple or list of something, by its first bytes.

    These are the protocol, a frame's length, and then the first opcode: a mark, beneath the items of a tuple, or an
    empty list. In the protocols without either, a mark stands beneath a dict or list too.
    """
    if start.startswith(b"\x80"):
        start = start[2:]
    if start.startswith(b"\x95"):
        start = start[9:]
    # An empty list holds no dialogues.
    return (start[:1] == b"(" and start[1:2] != b"d") or (start[:1] == b"]" and b"." not in start[1:3])


def _has_key(content: mmap.mmap, key: bytes) -> bool:
    """Tells whether a pickle holds this text other than as the end of a longer name."""
    return re.search(key + rb"(?<![a-z_]" + key + rb")", content) is not None


def _read_mmsa(files: list[Path], options: ReadOptions) -> Source:
    from trivium.data.formats.mmsa import read_mmsa

    _refuse_others(files, options, "one MMSA pickle", known=("drop",))
    return read_mmsa(files[0], drop=options.drop, labelled=options.labelled, known_keys_only=options.published)


def _read_multibench(files: list[Path], options: ReadOptions) -> Source:
    from trivium.data.formats.multibench import read_multibench

    _refuse_others(files, options, "one MultiBench pickle", known=("align", "drop"))
    if options.align not in (None, "true", "false"):
        raise ValueError(f"{files[0]}: align={options.align}: expected true or false for a MultiBench pickle")
    return read_multibench(
        files[0],
        align=options.align != "false",
        data=options.data,
        drop=options.drop,
        labelled=options.labelled,
    )


def _read_dialogues(files: list[Path], options: ReadOptions) -> Source:
    from trivium.data.formats.dialogues import read_conversations

    _refuse_others(files, options, "one pickle of dialogues", known=("drop", "emotions", "splitting"))
    return read_conversations(
        files[0],
        data=options.data,
        emotions=options.emotions,
        drop=options.drop,
        splitting=options.splitting,
        labelled=options.labelled,
    )


def _read_gmc(files: list[Path], options: ReadOptions) -> Source:
    from trivium.data.formats.gmc_files import read_gmc

    _refuse_others(files, options, "one of GMC's three files, or their folder", known=())
    return read_gmc(files[0], data=options.data, labelled=options.labelled)


def _read_folder(files: list[Path], options: ReadOptions) -> Source:
    from trivium.data.formats.folder import FolderOptions, read_folder

    _refuse_others(files, options, "one folder, or its manifest.yaml", known=("drop", "absent", "splitting"))
    folder_options = FolderOptions(options.absent, options.drop, options.splitting)
    if not options.labelled:
        from trivium.data.formats.new_folder import read_new_folder

        return read_new_folder(files[0], folder_options, options.wanted)
    return read_folder(files[0], folder_options)


def _refuse_others(files: list[Path], options: ReadOptions, expected: str, known: tuple[str, ...]) -> None:
    """Raises ValueError for a second file, and for an option that the layout does not have."""
    if "splitting" not in known:
        _refuse_splitting(files, options)
    if len(files) > 1:
        raise ValueError(f"{files[1]}: source= takes {expected}; found {len(files)} sources")
    for name in ("folds", "align", "embeddings", "word_lag", "drop", "emotions", "absent"):
        if name not in known and getattr(options, name) not in (None, ()):
            others = _OWNERS.get(name, ".csd files")
            raise ValueError(
                f"{files[0]}: {name}= is for {others}; source= is {expected}, which has its splits and features"
            )


def _refuse_splitting(files: list[Path], options: ReadOptions) -> None:
    if options.splitting != SplitOptions():
        raise ValueError(
            f"{files[0]}: split=, group=, shares=, split_seed= and fold_count= are for sources that leave their splits "
            "open, and this one has its own"
        )


def _read_csd(files: list[Path], options: ReadOptions) -> Source:
    from trivium.data.formats.csd import read_csd

    _refuse_splitting(files, options)
    for name in ("drop", "absent"):
        if getattr(options, name):
            raise ValueError(f"{files[0]}: {name}= is for {_OWNERS[name]}; source= is .csd files")
    return read_csd(
        files,
        data=options.data,
        folds=options.folds,
        align=options.align or "words",
        embeddings=options.embeddings,
        word_lag=options.word_lag,
        labelled=options.labelled,
    )


READERS: dict[str, Callable[[list[Path], ReadOptions], Source]] = {
    "mmsa": _read_mmsa,
    "csd": _read_csd,
    "multibench": _read_multibench,
    "dialogues": _read_dialogues,
    "gmc": _read_gmc,
    "folder": _read_folder,
}
