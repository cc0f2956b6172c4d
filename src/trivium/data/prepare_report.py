"""Prints the report of `prepare`: sizes, lengths, what was repaired or dropped, and what to do next."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from trivium.config.space import path_setting
from trivium.core.wording import command
from trivium.data.clips import Ragged, Source
from trivium.data.source_check import targets_of
from trivium.data.target import MULTIMODAL


def report(
    source: Source, target: Path, *, feature_set: str, recognised: bool, default: Path, data_setting: str
) -> None:
    """Prints the report. default: where training looks for the feature set by its name.

    data_setting: the words that choose the data set on a command line.
    """
    console = Console(soft_wrap=True, highlight=False, markup=False)
    console.print(
        f"{feature_set}: {'a published feature set, by its checksum' if recognised else 'not a published file'}"
    )
    console.print(f"clips: {_counts(source)}; steps a clip, mean / most:")
    console.print(_table(source))
    for line in _remarks(source):
        console.print(line)
    console.print(f"written to {target} ({target.stat().st_size / 2**20:.1f} MiB)")
    console.print(f"next: {_next(source, target, feature_set, default, data_setting)}")


def _counts(source: Source) -> str:
    if source.folds is None:
        return ", ".join(f"{split} {len(part)}" for split, part in source.splits.items())
    # Numbers are what data.fold takes; a fold of other names has both.
    folds = enumerate(source.folds.counts.items())
    parts = [f"{number}{f' ({name})' if name != str(number) else ''}: {count}" for number, (name, count) in folds]
    shown = parts if len(parts) <= 10 else [*parts[:9], "...", parts[-1]]
    return f"{len(source.splits['train'])} in {len(parts)} folds ({', '.join(shown)})"


def _next(source: Source, target: Path, feature_set: str, default: Path, data_setting: str) -> str:
    """Returns the command that trains on the store, or a line that says what the store lacks for that."""
    train = source.splits["train"]
    if not train.streams and train.tokens is None:
        makes_ids = "prepare again with tokenizer=NAME, which makes token ids of the transcripts"
        reason = makes_ids if train.raw_text is not None else "the source has labels, but no text, audio or vision"
        return f"nothing here can be trained on: {reason}"
    folds = 0 if source.folds is None else len(source.folds.names)
    numbers = ",".join(map(str, range(folds)))
    verb = ["train", "-m"] if folds else ["train"]
    words = [f"data.fold={numbers}"] if folds else []
    if "valid" not in source.splits and not folds:
        return "no split 'valid', without which nothing is trained; as store=FILE of `trivium evaluate` it will do"
    # Of several targets one has to be chosen, unless one is "multimodal".
    targets = list(train.targets)
    choice = [] if len(targets) == 1 or MULTIMODAL in targets else [f"data.target={targets[0]}"]
    if target.absolute() != default.absolute():
        return command(*verb, *data_setting.split(" "), *choice, path_setting("data.store", target), *words)
    name, root = feature_set.split("/", 1)[1], default.parent.parent
    where = [] if root == Path("data") else [path_setting("paths.data", root)]
    return command(*verb, *data_setting.split(" "), *choice, f"data.features={name}", *where, *words)


def _table(source: Source) -> Table:
    """Returns a table with a row for each modality: features a step, the padded side, and for each split its lengths.

    A length is given as the mean and the longest number of steps a clip.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for title in ("modality", "dim", "padded"):
        table.add_column(title)
    for split in source.splits:
        table.add_column(split if source.folds is None else "all", justify="right")
    train = source.splits["train"]
    for modality, ragged in train.streams.items():
        steps = [_steps(clips.streams[modality]) for clips in source.splits.values()]
        table.add_row(modality, str(ragged.dim), source.notes.get(f"padding/{modality}", "-"), *steps)
    if train.tokens is not None:
        steps = [_steps(clips.tokens) for clips in source.splits.values() if clips.tokens is not None]
        table.add_row("text tokens", "ids", "-", *steps)
    if not table.rows:
        table.add_row("none", "-", "-")
    return table


def _steps(ragged: Ragged) -> str:
    lengths = ragged.lengths
    absent = int((lengths == 0).sum())
    return f"{lengths.mean():.1f} / {lengths.max()}" + (f"\n{absent} without" if absent else "")


def _remarks(source: Source) -> list[str]:
    """Returns a line each for targets, tokenizer, repairs and notes, without those on padding, which the table has."""
    train = source.splits["train"]
    words = (f"{name} ({target.words})" for name, target in targets_of(source).items())
    lines = [f"targets: {', '.join(words)}" + ("; transcripts kept" if train.raw_text is not None else "")]
    if train.tokens is not None:
        lines.append(f"tokenizer: {source.tokenizer or 'not stated by the source; tokenizer=NAME makes ids anew'}")
    for modality, ragged in train.streams.items():
        if not ragged.values.any():
            lines.append(f"{modality}: no value of train is other than 0")
    return lines + remarks(source)


def remarks(source: Source) -> list[str]:
    """Returns a line for each modality that was repaired, and each note, without those on padding."""
    lines, names = [], {"neg_inf": "-inf", "pos_inf": "+inf", "nan": "NaN"}
    for modality, counts in source.repairs.items():
        repaired = ", ".join(f"{count} {names[kind]}" for kind, count in counts.items() if count)
        if repaired:
            lines.append(f"repaired in {modality}: {repaired}, now 0")
    return lines + [f"{key}: {value}" for key, value in source.notes.items() if not key.startswith("padding/")]
