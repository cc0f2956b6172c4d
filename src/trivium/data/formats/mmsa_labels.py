"""Takes the targets out of the splits of an MMSA pickle: scores, classes and emotions, by the names of their keys.

Legend: N clips.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from trivium.data.clips import Array
from trivium.data.formats import emotions, fields
from trivium.data.target import MULTIMODAL, Target

SCORES = {
    "regression_labels": MULTIMODAL,
    "regression_labels_T": "text",
    "regression_labels_A": "audio",
    "regression_labels_V": "vision",
}
_CLASSES = "classification_labels"
_NAMES = "annotations"
_EMOTIONS = ("emotions", "emotion_labels")
# These keys follow from the scores, of the clip and of its modalities, in every file that is published so.
_REDUNDANT = re.compile(rf"({_CLASSES}|{_NAMES})(_[TAVM])?|regression_labels_M")
# Further targets have these names. A single capital letter is a modality's.
_FURTHER = re.compile(rf"(regression_labels|{_CLASSES})_(?![TAVM]$)(?P<name>\w+)")

Targets = dict[str, dict[str, Array]]


def is_redundant(key: str) -> bool:
    """Tells whether a key repeats the scores in another form, so that nothing is lost without it."""
    return _REDUNDANT.fullmatch(key) is not None


def take_targets(
    parts: Mapping[str, dict[str, Any]], wheres: Mapping[str, str], *, needed: bool
) -> tuple[Targets, dict[str, Target]]:
    """Removes the targets from the splits, and returns split -> name -> values, and what those are that are no scores.

    parts: split -> keys, among them "id", a list of text. wheres: split -> the start of a message, file and split.

    * `regression_labels` is "multimodal". With seven numbers a clip, as CMU-MOSEI's labels are, it is the first of
      them, and the others are "emotions". `_T`, `_A` and `_V` are those of the modalities.
    * Without it `classification_labels`, or else `annotations`, is "multimodal", as classes.
    * `emotions` or `emotion_labels`, six numbers a clip, is "emotions": those above 0.
    * `regression_labels_NAME` and `classification_labels_NAME` are targets of that name.

    A target that only some of the splits have is returned for these. Raises ValueError, naming the split and key, for a
    split without labels where they are `needed`, and for values that are no such labels.
    """
    described: dict[str, Target] = {}
    targets: Targets = {split: _scores(wheres[split], part) for split, part in parts.items()}
    if all(MULTIMODAL not in values for values in targets.values()):
        _take_classes(parts, wheres, _CLASSES, MULTIMODAL, targets, described)
        if MULTIMODAL not in described:
            _take_classes(parts, wheres, _NAMES, MULTIMODAL, targets, described)
    for split, part in parts.items():
        if needed and MULTIMODAL not in targets[split]:
            raise ValueError(
                f"{wheres[split]}: key 'regression_labels' is missing; found {sorted(map(str, part))}: in MMSA's "
                f"layout a split has 'id' and 'regression_labels', or {_CLASSES!r}; give yours these names"
            )
    for key in dict.fromkeys(str(key) for part in parts.values() for key in part):
        match = _FURTHER.fullmatch(key)
        if match and key.startswith(_CLASSES):
            _take_classes(parts, wheres, key, match["name"], targets, described)
    if any("emotions" in values for values in targets.values()):
        described["emotions"] = emotions.TARGET
    return targets, described


def _scores(where: str, part: dict[str, Any]) -> dict[str, Array]:
    """Returns the targets of one split that are scores or emotions, and removes them from it."""
    ids = part["id"]
    values: dict[str, Array] = {}
    if "regression_labels" in part:
        labels = fields.numbers(where, "regression_labels", part["regression_labels"])
        if labels.shape[1:] == (emotions.COLUMNS,):
            part["regression_labels"], values["emotions"] = emotions.split_labels(labels)
            _refuse_unknown(where, "regression_labels", values["emotions"], ids)
    for key in [key for key in part if isinstance(key, str)]:
        match = _FURTHER.fullmatch(key)
        name = SCORES.get(key) or (match["name"] if match and not key.startswith(_CLASSES) else None)
        if name is not None:
            values[name] = fields.scores(where, key, part.pop(key), ids)
        elif key in _EMOTIONS:
            values["emotions"] = _emotions(where, key, part.pop(key), ids)
    return values


def refuse_other_classes(where: str, part: Mapping[str, Any], scores: Mapping[str, Array]) -> None:
    """Raises ValueError for classes that do not follow from the scores they stand beside, and would be lost."""
    for key in part:
        match = _REDUNDANT.fullmatch(str(key))
        kind, suffix = (match[1], match[2] or "") if match else (None, "")
        beside_N = scores.get(SCORES.get(f"regression_labels{suffix.removesuffix('_M')}", ""))
        if kind is None or beside_N is None or len(part[key]) != len(beside_N):
            continue
        # In the order of the scores each class is one run.
        ordered = [str(np.ravel(part[key])[place]) for place in np.argsort(beside_N, kind="stable")]
        runs = sum(a != b for a, b in pairwise(ordered)) + 1
        if runs > len(set(ordered)):
            raise ValueError(
                f"{where}: key {key!r} holds classes that do not follow from the scores beside them; call it "
                f"{_CLASSES}_NAME to keep it as a target of its own, or leave it out with drop=[{key}]"
            )


def _emotions(where: str, key: str, value: Any, ids: list[str]) -> Array:
    array = fields.numbers(where, key, value)
    count = len(emotions.NAMES)
    if array.ndim != 2 or array.shape[1] != count:
        raise ValueError(
            f"{where}: key {key!r} must be of shape (N, {count}), {', '.join(emotions.NAMES)}; found {array.shape}"
        )
    fields.same_count(where, key, len(array), len(ids))
    present = emotions.presence(array)
    _refuse_unknown(where, key, present, ids)
    return present


def _refuse_unknown(where: str, key: str, present_NC: Array, ids: list[str]) -> None:
    fields.same_count(where, key, len(present_NC), len(ids))
    bad = np.flatnonzero(~np.isfinite(present_NC).all(axis=1))
    if len(bad):
        raise ValueError(
            f"{where}: key {key!r} of clip {ids[int(bad[0])]!r} has an emotion that is no number; every clip needs one"
        )


def _take_classes(
    parts: Mapping[str, dict[str, Any]],
    wheres: Mapping[str, str],
    key: str,
    name: str,
    targets: Targets,
    described: dict[str, Target],
) -> None:
    """Removes a key of classes, as numbers or names, from the splits that have it, and adds it to the targets."""
    having = {split: part for split, part in parts.items() if key in part}
    labels = {split: _class_labels(wheres[split], key, part.pop(key), part["id"]) for split, part in having.items()}
    if not labels:
        return
    kinds = {values.dtype.kind for values in labels.values()}
    if len(kinds) > 1:
        raise ValueError(f"{wheres[next(iter(labels))]}: key {key!r} holds names in one split and numbers in another")
    distinct = sorted({value for values in labels.values() for value in values.tolist()})
    if kinds == {"U"}:
        names = distinct
        labels = {split: np.searchsorted(distinct, values) for split, values in labels.items()}
    else:
        names = _names_beside(having, wheres, labels, int(distinct[-1])) if key == _CLASSES else []
        names = names or [str(number) for number in range(int(distinct[-1]) + 1)]
    if len(names) < 2:
        raise ValueError(f"{wheres['train' if 'train' in labels else next(iter(labels))]}: key {key!r} has one class")
    described[name] = Target("classes", tuple(names))
    for split, values in labels.items():
        targets[split][name] = values.astype(np.float32)


def _class_labels(where: str, key: str, value: Any, ids: list[str]) -> Array:
    """Returns (N,) class numbers, or names. Raises ValueError, naming the clip, for a number that is no class's."""
    if np.asarray(value).dtype.kind in "OUS":
        names = fields.strings(where, key, value)
        fields.same_count(where, key, len(names), len(ids))
        return np.array(names, dtype=np.str_)
    array = fields.per_clip(where, key, value, len(ids)).astype(np.float64)
    bad = np.flatnonzero(~(array >= 0) | (array != np.floor(array)))
    if len(bad):
        n = int(bad[0])
        raise ValueError(
            f"{where}: key {key!r} of clip {ids[n]!r} is {array[n]:g}; expected class numbers from 0, or names"
        )
    return array


def _names_beside(
    parts: Mapping[str, dict[str, Any]], wheres: Mapping[str, str], numbers: Mapping[str, Array], last: int
) -> list[str]:
    """Returns the names of classes 0 to `last` that `annotations` gives them, or none if it does not name each."""
    if not all(_NAMES in part for part in parts.values()):
        return []
    pairs = set()
    for split, part in parts.items():
        texts = fields.strings(wheres[split], _NAMES, part[_NAMES])
        fields.same_count(wheres[split], _NAMES, len(texts), len(part["id"]))
        pairs |= set(zip(numbers[split].astype(int).tolist(), texts, strict=True))
    name_of = dict(pairs)
    one_to_one = len(pairs) == len(name_of) == len(set(name_of.values())) == last + 1
    return [name_of[number] for number in range(last + 1)] if one_to_one else []
