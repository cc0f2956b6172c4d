"""Collects every clip's prediction for the page: clips once, each run's numbers beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trivium.results.records import Record
from trivium.runs.directory import RunDirectory

_DIGITS = 4


def clip_data(records: Sequence[Record], transcripts: bool) -> tuple[dict[str, Any], list[str]]:
    """Returns what page.js reads, and notes on transcripts that are not there.

    {"sets": [{"ids", "targets", "texts" or null}], "runs": [{split: {"set": index, "predictions"}}]}; runs of the same
    clips share a set.
    """
    sets: list[dict[str, Any]] = []
    places: dict[tuple[str, str, tuple[str, ...]], int] = {}
    runs, notes = [], []
    for record in records:
        of_run = {}
        for split, predicted in record.predictions.items():
            key = (record.result["store_checksum"], split, tuple(predicted.ids))
            if key not in places:
                texts, note = _transcripts(record, split, predicted.ids) if transcripts else (None, "")
                notes += [note] if note else []
                places[key] = len(sets)
                sets.append({"ids": predicted.ids, "targets": _rounded(predicted.target.tolist()), "texts": texts})
            of_run[split] = {"set": places[key], "predictions": _rounded(predicted.prediction.tolist())}
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


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(value, _DIGITS) for value in values]
