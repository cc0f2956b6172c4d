"""Cuts scores into classes, with the bins of the field's accuracies. Legend: N clips, C classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from trivium.data.clips import Array, Source
from trivium.data.target import MULTIMODAL, Target

Range = tuple[float, float]


@dataclass(frozen=True)
class ScoreClasses:
    """Holds how scores become classes, and classes scores.

    names: of the classes, from the lowest score. values: the score that stands for each class, ascending.
    cuts: class k holds the scores t with cuts[k-1] < t <= cuts[k]; None rounds to the nearest value, half to even.
    zero_is_upper: True if a score at the single cut is of the upper class (Has0).
    """

    names: tuple[str, ...]
    values: tuple[float, ...]
    cuts: tuple[float, ...] | None = None
    zero_is_upper: bool = False

    def numbers(self, scores_N: Array) -> Array:
        """Returns the class of each score, (N,) int64."""
        # In float32, the precision of stored labels: a stored 0.1 lies above 0.1 once it is read as float64.
        scores = scores_N.astype(np.float32)
        if self.cuts is None:
            top = len(self.values) // 2
            steps = np.sign(scores) if top == 1 else np.rint(np.clip(scores, -top, top))
            return (steps + top).astype(np.int64)
        side: Literal["left", "right"] = "right" if self.zero_is_upper else "left"
        numbers: Array = np.searchsorted(np.asarray(self.cuts, dtype=np.float32), scores, side=side)
        return numbers


_SIGNS = ("negative", "neutral", "positive")
# (range of scores, number of classes) -> classes. A class's value is the whole number that its scores are rounded to,
# or else the centre of its bin, or the only score in it.
SCORE_CLASSES: dict[tuple[Range | None, int], ScoreClasses] = {
    ((-3.0, 3.0), 7): ScoreClasses(tuple(map(str, range(-3, 4))), (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)),
    ((-3.0, 3.0), 5): ScoreClasses(tuple(map(str, range(-2, 3))), (-2.0, -1.0, 0.0, 1.0, 2.0)),
    ((-3.0, 3.0), 3): ScoreClasses(_SIGNS, (-1.5, 0.0, 1.5)),
    ((-3.0, 3.0), 2): ScoreClasses(("negative", "non-negative"), (-1.5, 1.5), cuts=(0.0,), zero_is_upper=True),
    ((-1.0, 1.0), 2): ScoreClasses(("non-positive", "positive"), (-0.5, 0.5), cuts=(0.0,)),
    ((-1.0, 1.0), 3): ScoreClasses(_SIGNS, (-0.55, 0.0, 0.55), cuts=(-0.1, 0.1)),
    ((-1.0, 1.0), 5): ScoreClasses(
        ("negative", "weakly negative", "neutral", "weakly positive", "positive"),
        (-0.85, -0.4, 0.0, 0.4, 0.85),
        cuts=(-0.7, -0.1, 0.1, 0.7),
    ),
}
# Range of scores -> the number of classes that the field uses.
USUAL_COUNT: dict[Range | None, int] = {(-3.0, 3.0): 7, (-1.0, 1.0): 3}


def add_score_classes(source: Source, counts: Sequence[int], label_range: Range | None) -> None:
    """Adds to a source the targets "classes_C" for each C of `counts`: the classes of the score "multimodal".

    Their order is forgotten: to a method they are nominal classes. Raises ValueError where the score has no range with
    such classes, and where the source has no score.
    """
    for count in counts:
        cut = SCORE_CLASSES.get((label_range, count))
        if cut is None:
            known = sorted(number for bounds, number in SCORE_CLASSES if bounds == label_range)
            raise ValueError(
                f"classes={count}: not defined for scores in {label_range and list(label_range)}; expected "
                f"{' or '.join(map(str, known)) or 'a data set with scores in [-3, 3] or [-1, 1]'}"
            )
        for split, clips in source.splits.items():
            if MULTIMODAL not in clips.targets:
                raise ValueError(f"classes={count}: split {split!r} has no score {MULTIMODAL!r} to cut into classes")
            clips.targets[f"classes_{count}"] = cut.numbers(clips.targets[MULTIMODAL]).astype(np.float32)
        source.described[f"classes_{count}"] = Target("classes", cut.names)
