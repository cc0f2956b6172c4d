"""Says what is fuzzed: readers, store, checkpoint, run, journal and config, each on a folder of files."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

import driver
from fuzz_mutations import Draw, spoil_one_of, spoiled_words

CORPUS = driver.ROOT / "tests" / "fuzz_corpus"
OLD = driver.ROOT / "tests" / "runs" / "version_0_1_0" / "runs"


class ForeignError(AssertionError):
    """Says that an input was met with something else than a line for the user."""


def read(name: str, folder: Path) -> str:
    """Reads a folder's files as the target of that name does; returns the refusal, "" if they are taken.

    Raises ForeignError for another exception than ValueError or OSError, and for one that does not name the place.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            TARGETS[name](folder)
    except OSError as error:
        if error.filename is None or not str(error.filename).startswith(str(folder)):
            raise ForeignError(f"an error of the system without its file: {error}") from error
        return f"{error}"
    except SystemExit as end:
        # argparse, for an option that is none.
        if end.code != 2:
            raise ForeignError(f"ended with {end.code}") from end
        return "exit code 2"
    except ValueError as error:
        text = str(error)
        if type(error) is not ValueError and not type(error).__module__.startswith("trivium"):
            raise ForeignError(f"another library's {type(error).__name__}: {text:.300}") from error
        if name != "config" and str(folder) not in text:
            raise ForeignError(f"names no file: {text:.300}") from error
        if len(text) > 1500:
            raise ForeignError(f"is {len(text)} letters long: {text:.100}...") from error
        return text
    except Exception as error:
        raise ForeignError(f"{type(error).__name__}: {str(error)[:300]}") from error
    return ""


def spoil(name: str, folder: Path, draw: Draw) -> None:
    """Spoils the seed that lies in a folder."""
    if name == "config":
        _spoil_config(folder, draw)
    else:
        spoil_one_of(folder, draw)


def name_folder(folder: Path) -> None:
    """Writes the folder's path into a command line that has its config folder there."""
    words = folder / "words.txt"
    if words.is_file():
        words.write_text(words.read_text().replace("FOLDER", str(folder)))


def seeds_of(name: str) -> list[Path]:
    """Returns the folders that spoiling begins from: whole ones, and those that have found something before."""
    whole = {"run": [OLD / "supervised"], "checkpoint": [OLD / "selfmi_unfinished"]}.get(name, [])
    committed = (path for path in (CORPUS / name).glob("*") if path.is_dir())
    return [*whole, *sorted(committed, key=lambda path: (path.name != "whole", path.name))]


def _source(format: str, *files: str, **options: Any) -> Callable[[Path], None]:
    def read_source(folder: Path) -> None:
        from trivium.data import formats
        from trivium.data.prepare import prepare

        if "folds" in options:
            options["folds"] = folder / "folds.json"
        data, source = DATA.get(format, "mosi"), [folder / file for file in files] or [folder]
        # As clips that a run is to predict, which need no labels.
        formats.read(format, source, formats.ReadOptions(data, labelled=False, **options))
        prepare(
            data=data,
            source=source,
            format=format,
            out=folder / "prepared.h5",
            label_range=(-3.0, 3.0) if format in ("mmsa", "multibench", "csd", "gmc") else None,
            **options,
        )

    return read_source


DATA = {"dialogues": "iemocap", "folder": "own"}


def _store(folder: Path) -> None:
    from trivium.data.datamodule import DataModule, choose_reads
    from trivium.data.store import open_store, verify_store

    store = open_store(folder / "s.h5")
    for split in store.schema.counts:
        store.split(split)
    data = DataModule(store, reads=choose_reads(store, [], {"text"}), batch_size=4)
    for split in store.schema.counts:
        next(iter(data.loader(split)))
    verify_store(folder / "s.h5")


def _checkpoint(folder: Path) -> None:
    from trivium.runs.announce import resumed_at
    from trivium.runs.checkpointing import load_checkpoint

    file = folder / "checkpoints" / "last.ckpt"
    resumed_at(file, 4)
    if file.is_file():
        load_checkpoint(file)


def _run(folder: Path) -> None:
    from trivium.results.run_list import run_list
    from trivium.runs.load import load_run

    run_list(folder)
    run = load_run(folder)
    run.method.eval()


def _journal(folder: Path) -> None:
    from trivium.search.storage import open_storage

    storage = open_storage(str(folder / "trials.journal"))
    for study in storage.get_all_studies():
        storage.get_all_trials(study._study_id)


def _config(folder: Path) -> None:
    from trivium.config.check import problems_of

    words = (folder / "words.txt").read_text("utf-8", "surrogatepass").split("\n")
    problems = problems_of([*words, f"paths.data={folder}"])
    for line in problems:
        if not line or "\n" in line:
            raise ForeignError(f"a problem that is not one line: {line!r:.300}")
    if problems:
        raise ValueError("; ".join(problems)[:500])


def _spoil_config(folder: Path, draw: Draw) -> None:
    """Spoils words of a command line, or the files of a config folder of the user's that stands in it."""
    words = folder / "words.txt"
    if draw(st.booleans()) and (folder / "mine").is_dir():
        spoil_one_of(folder / "mine", draw)
    else:
        lines = words.read_text().split("\n")
        place = draw(st.integers(0, len(lines) - 1))
        lines[place] = spoiled_words(lines[place], draw)
        words.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))


TARGETS: dict[str, Callable[[Path], None]] = {
    "mmsa": _source("mmsa", "a.pkl"),
    "multibench": _source("multibench", "a.pkl"),
    "dialogues": _source("dialogues", "a.pkl"),
    "gmc": _source("gmc"),
    "csd": _source("csd", folds=None),
    "folder": _source("folder"),
    "store": _store,
    "checkpoint": _checkpoint,
    "run": _run,
    "journal": _journal,
    "config": _config,
}
