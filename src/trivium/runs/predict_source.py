"""Predicts clips of new files with a finished run, labelled or not, in one command."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trivium.data.clips import Source
    from trivium.data.datamodule import BatchLoader
    from trivium.runs.load import Run


def predict_source(
    run_dir: Path,
    source: list[Path],
    out: Path,
    *,
    modalities: Sequence[str] = (),
    splits: Sequence[str] = (),
    format: str | None = None,
    device: str = "cpu",
    **reading: Any,
) -> dict[str, dict[str, float]]:
    """Writes the predictions of a source's clips to the CSV file `out`, and prints and returns metrics, if labelled.

    source: a store, or files as `trivium prepare` takes them; `format` and `reading` are options of reading them, see
    ReadOptions. They are repaired as in preparing, which is printed, and standardised as in the run's training. So
    clips that the run's own store has get the same predictions, bit for bit, in batches of the same clips.
    modalities: those to predict from; empty means all that the source has. splits: of the source; empty means all.
    Raises ValueError for a run that is not finished, a source that does not fit it or has no such split, and a file
    that cannot be written. An existing file is replaced by a whole new one, or stays as it was.
    """
    from trivium.data.formats import ReadOptions
    from trivium.data.new_clips import read_new_clips
    from trivium.evaluation.predict import predict_split, score_split, write_predictions
    from trivium.runs.load import load_run
    from trivium.runs.terminal import print_scores

    _refuse_place(out)
    run = load_run(run_dir, device)
    options = ReadOptions(run.schema.data, **reading)
    content = read_new_clips(source, format, options, run.expects())
    loaders = _loaders(run, content, source, splits)
    parts = {split: (loader, predict_split(run.method, loader, modalities)) for split, loader in loaders.items()}
    out.parent.mkdir(parents=True, exist_ok=True)
    write_predictions(out, parts)
    scores = {
        split: score_split(run.method, loader, predictions)
        for split, (loader, predictions) in parts.items()
        if loader.split.targets
    }
    _print_remarks(content, parts.keys())
    used = list(modalities) or [name for name in run.method.encoders if _has(content, name)]
    title = f"{run.result['method']} on {', '.join(map(str, source))} from {', '.join(used)}"
    if scores:
        print_scores(title, run.method.metrics, scores)
    else:
        print(title)
    counts = ", ".join(f"{split} {len(loader.split)}" for split, loader in loaders.items())
    print(f"predictions of {counts} clips written to {out}")
    return scores


def _refuse_place(out: Path) -> None:
    """Raises ValueError for a file that cannot be written, before any work is spent on it."""
    if out.is_dir():
        raise ValueError(f"{out}: is a folder; out= takes the CSV file to write, such as {out / 'predictions.csv'}")
    folder = next(parent for parent in out.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise ValueError(f"{out}: cannot be written, as {folder} may not be written to or is no folder")


def _loaders(run: Run, content: Source, files: list[Path], splits: Sequence[str]) -> dict[str, BatchLoader]:
    """Returns the batches of each split, in the source's order and as large as in the run's evaluation."""
    from trivium.data.datamodule import BatchLoader, standardized
    from trivium.data.sampler import GlobalBatchSampler

    for split in splits:
        if split not in content.splits:
            raise ValueError(f"{files[0]}: no split {split!r}; it has {', '.join(content.splits)}")
    node, reads = run.config["data"], run.reads
    loaders = {}
    for split in splits or content.splits:
        resident = standardized(
            content.splits[split], reads, run.method.device, node["standardize"], run.statistics, content.format
        )
        sampler = GlobalBatchSampler(len(resident), node["eval_batch_size"], run.config["seed"], shuffle=False)
        loaders[split] = BatchLoader(resident, sampler)
    return loaders


def _has(content: Source, modality: str) -> bool:
    """Tells whether any clip of the source has a modality that the run reads."""
    parts = [clips.streams.get(modality, clips.tokens) for clips in content.splits.values()]
    return any(part is not None and bool(part.lengths.any()) for part in parts)


def _print_remarks(content: Source, splits: Any) -> None:
    """Prints what was repaired and left out, without the notes on padding."""
    from trivium.data.prepare_report import remarks

    splits_predicted = {split: clips for split, clips in content.splits.items() if split in splits}
    for line in remarks(replace(content, splits=splits_predicted)):
        print(line)
