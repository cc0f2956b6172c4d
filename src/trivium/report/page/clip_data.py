"""Collects every clip's prediction for the page: clips once, each run's numbers beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trivium.results.records import Predicted, Record, Values
from trivium.runs.directory import RunDirectory

_DIGITS = 4


def clip_data(records: Sequence[Record], transcripts: bool) -> tuple[dict[str, Any], list[str]]:
    """Returns what page.js reads, and notes on transcripts that are not there.

    {"sets": [{"kind", "names", "ids", "targets", "texts" or null}], "runs": [{split: {"set": index, "predictions"}}]};
    runs of the same clips share a set. A target is a number, a list of one a score, a class number, or a list of the
    numbers of a clip's labels. Of classes and labels, runs have "sure" too: the probability of the true class, and the
    mean over labels of that of the true answer.
    """
    sets: list[dict[str, Any]] = []
    places: dict[tuple[str, str, str, tuple[str, ...], tuple[str, ...]], int] = {}
    runs, notes = [], []
    for record in records:
        of_run: dict[str, dict[str, Any]] = {}
        for split, predicted in record.predictions.items():
            task, names = record.target.task, record.target.names
            key = (record.result["store_checksum"], split, task, names, tuple(predicted.ids))
            if key not in places:
                texts, note = _transcripts(record, split, predicted.ids) if transcripts else (None, "")
                notes += [note] if note else []
                places[key] = len(sets)
                about = {"kind": task, "names": names, "ids": predicted.ids}
                sets.append({**about, "targets": _plain(predicted.target, task), "texts": texts})
            of_run[split] = {"set": places[key], "predictions": _plain(predicted.prediction, task)}
            if predicted.probabilities is not None:
                of_run[split]["sure"] = _plain(_sure(predicted, task), "score")
        runs.append(of_run)
    return {"sets": sets, "runs": runs}, list(dict.fromkeys(notes))


def _transcripts(record: Record, split: str, ids: Sequence[str]) -> tuple[list[str] | None, str]:
    """Returns texts or None, and why there are none. The store is looked for where it was when the run was made."""
    from trivium.data.store import open_store

    try:
        path = Path(RunDirectory(record.path).model()["store"])
        if not path.is_file():
            return None, f"no transcripts of {record.data}: the store {path} is not there any more"
        store = open_store(path, record.fold)
        store.refuse_other_than(record.result["store_checksum"], record.path)
        clips = store.split(split)
    except (ValueError, OSError) as error:
        return None, f"no transcripts of {record.data}: {error}"
    if clips.raw_text is None:
        return None, f"no transcripts of {record.data}: the store {path} has none"
    words = dict(zip(clips.ids, clips.raw_text, strict=True))
    return [words.get(clip, "") for clip in ids], ""


def _plain(values: Values, task: str) -> list[Any]:
    """Returns numbers for JSON, one or a list for each clip."""
    if task == "labels":
        return [np.flatnonzero(row).tolist() for row in values]
    rounded: list[Any] = (values.astype(np.int64) if task == "classes" else values.round(_DIGITS)).tolist()
    return rounded


def _sure(predicted: Predicted, task: str) -> Values:
    """Returns the probability of what is true, (N,): of the true class, or the mean of each label's true answer."""
    assert predicted.probabilities is not None
    if task == "classes":
        sure_N: Values = predicted.probabilities[np.arange(len(predicted.ids)), predicted.target.astype(np.int64)]
        return sure_N
    wrong_NC: Values = np.abs(predicted.probabilities - predicted.target)
    return np.asarray(1 - wrong_NC.mean(axis=1))
