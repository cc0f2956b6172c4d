"""Describes what is to be predicted of a clip: one or several scores, one of several classes, or any of several labels.

Legend: N clips, C classes or labels, K scores.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from trivium.core.choices import check_choice, suggest
from trivium.data.clips import Array

# The name of the target that a data set's methods are usually compared on, and of the chosen one in a batch.
MULTIMODAL = "multimodal"
KINDS = ("score", "classes", "labels")


@dataclass(frozen=True)
class Target:
    """Describes a target of a store, in plain values that a run can save.

    kind: "score", "classes" (each clip is of one) or "labels" (each clip has any number of them).
    names: of the classes or labels; of the scores where there are several, empty for a single one.
    range: the lowest and the highest possible score, or None where that is open.
    counts: the clips of the train split that are of each class or have each label; empty where that is not known.
    clips: those of the train split, 0 where that is not known.

    The values are float32: (N,) scores, (N, K) scores where they have names, (N,) class numbers from 0, or (N, C) of 0
    and 1. Raises ValueError for an unknown kind, for fewer than two classes or one label, and for a name that is empty
    or occurs twice.
    """

    kind: str = "score"
    names: tuple[str, ...] = ()
    range: tuple[float, float] | None = None
    counts: tuple[int, ...] = ()
    clips: int = 0

    def __post_init__(self) -> None:
        check_choice("kind of target", self.kind, KINDS)
        least = {"score": 0, "classes": 2, "labels": 1}[self.kind]
        if len(self.names) < least or len(set(self.names)) != len(self.names) or "" in self.names:
            raise ValueError(
                f"a target of {self.kind}: expected at least {least} names, each once, found {list(self.names)}"
            )

    @property
    def is_score(self) -> bool:
        """Tells whether the target is one score, which most of the field's methods are defined for."""
        return self.kind == "score" and not self.names

    @property
    def task(self) -> str:
        """Returns "score", "scores", "classes" or "labels": the kind, with one score and several told apart."""
        return "scores" if self.kind == "score" and self.names else self.kind

    @property
    def columns(self) -> int:
        """Returns the number of values a clip: 1 for a score or a class, K scores, C labels."""
        return 1 if self.kind == "classes" else max(1, len(self.names))

    @property
    def shape(self) -> tuple[int, ...]:
        """Returns the shape of one clip's value: () or (K,) or (C,)."""
        return () if self.is_score or self.kind == "classes" else (len(self.names),)

    @property
    def words(self) -> str:
        """Returns the description for messages, such as "4 classes" or "a score in [-3, 3]"."""
        if self.kind != "score":
            return f"{len(self.names)} {self.kind}"
        bounds = "" if self.range is None else f" in [{self.range[0]:g}, {self.range[1]:g}]"
        return f"{len(self.names)} scores{bounds}" if self.names else f"a score{bounds}"

    def counted(self, values: Array) -> Target:
        """Returns the target with the counts of these values, those of the train split."""
        if self.kind == "score":
            return self
        if self.kind == "classes":
            counts = np.bincount(values.astype(np.int64), minlength=len(self.names))
        else:
            counts = values.sum(axis=0, dtype=np.float64)
        return replace(self, counts=tuple(int(count) for count in counts), clips=len(values))

    def check(self, values: Array, ids: Sequence[Any], where: str) -> None:
        """Raises ValueError, naming the clip, for a value that the target cannot have, and for another shape."""
        values = np.asarray(values)
        if values.shape != (len(ids), *self.shape) or values.dtype.kind not in "fiub":
            raise ValueError(
                f"{where} must hold {self.words} a clip, {(len(ids), *self.shape)} numbers; found {values.shape} "
                f"{values.dtype}"
            )
        rows = values.reshape(len(ids), -1).astype(np.float64)
        self._refuse(~np.isfinite(rows), rows, ids, where, "every clip needs a number")
        if self.kind == "classes":
            last = len(self.names) - 1
            wrong = (rows != rows.round()) | (rows < 0) | (rows > last)
            self._refuse(wrong, rows, ids, where, f"expected a class number from 0 to {last}")
        elif self.kind == "labels":
            self._refuse((rows != 0) & (rows != 1), rows, ids, where, "expected 0 or 1")
        elif self.range is not None:
            low, high = self.range
            # An end that is no binary fraction is rounded in float32.
            slack = 1e-6 * max(abs(low), abs(high))
            outside = (rows < low - slack) | (rows > high + slack)
            self._refuse(outside, rows, ids, where, f"expected a number in [{low:g}, {high:g}]")

    def _refuse(self, wrong: Array, rows: Array, ids: Sequence[Any], where: str, expected: str) -> None:
        if wrong.any():
            row, column = (int(place[0]) for place in np.nonzero(wrong))
            name = f" ({self.names[column]})" if self.shape else ""
            such = int(wrong.any(axis=1).sum())
            raise ValueError(
                f"{where}: that of clip {ids[row]!r}{name} is {rows[row, column]:g}; {expected}"
                + (f" ({such} such clips)" if such > 1 else "")
            )

    def to_dict(self) -> dict[str, Any]:
        """Returns the description as a store keeps it, without counts."""
        return {"kind": self.kind, "names": list(self.names), "range": None if self.range is None else list(self.range)}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Target:
        low_high = value.get("range")
        return cls(
            str(value["kind"]),
            tuple(map(str, value.get("names") or ())),
            None if low_high is None else (float(low_high[0]), float(low_high[1])),
            tuple(int(count) for count in value.get("counts") or ()),
            int(value.get("clips", 0)),
        )


def undeclared(
    name: str, values: Array, modalities: Collection[str], label_range: tuple[float, float] | None = None
) -> Target:
    """Returns what a target is that nobody has described, as in stores of schema 1.

    The target "multimodal" and those that are named after modalities are scores in `label_range`. Others are class
    numbers if all values are whole numbers from 0, and scores if not.
    """
    if name in (MULTIMODAL, *modalities):
        return Target("score", range=label_range)
    if values.dtype.kind not in "fiub":
        return Target()  # which refuses them
    if values.ndim == 1 and len(values) and bool(((values >= 0) & (values == np.round(values))).all()):
        return Target("classes", tuple(str(number) for number in range(max(2, int(values.max()) + 1))))
    return Target("score", tuple(str(k) for k in range(values.shape[1])) if values.ndim == 2 else ())


def choose_target(targets: Mapping[str, Target], name: str, where: str) -> str:
    """Returns the name of the target that is predicted: `name`, or "multimodal", or the only one, if it is empty.

    Raises ValueError, naming the nearest, for one that is not there, and where several could be meant.
    """
    listed = ", ".join(f"{key} ({target.words})" for key, target in targets.items())
    if name and name not in targets:
        raise ValueError(f"data.target: {name!r} is no target of {where}{suggest(name, targets)}; it has {listed}")
    if name or MULTIMODAL in targets or len(targets) == 1:
        return name or (MULTIMODAL if MULTIMODAL in targets else next(iter(targets)))
    raise ValueError(f"data.target: {where} has several targets; choose one of {listed}")
