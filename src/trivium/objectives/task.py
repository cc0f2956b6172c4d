"""Computes the losses of a task, on scores (L1, MSE) or their classes (cross-entropy), and decodes outputs to scores.

Legend: B clips, K head outputs, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trivium.core.precision import at_least_float32


class TaskObjective(nn.Module):
    """Maps a head's outputs to one loss a clip, and decodes them to a score.

    A subclass's constructor takes `label_range` first (the lowest and highest label of the data, or None if they have
    no range), then the keys of its YAML as keyword arguments. Subclasses set `outputs` (K, the head's size) and
    implement `forward` and `decode`.
    factored: True if training with it needs the score as a function of each modality (trivium.objectives.tcmax).
    """

    factored: ClassVar[bool] = False
    outputs: int

    def forward(self, outputs_BK: Tensor, targets_B: Tensor) -> Tensor:
        """Returns the loss of each clip, (B,), float32 at least."""
        raise TypeError(f"{type(self).__name__} defines no forward")

    def decode(self, outputs_BK: Tensor) -> tuple[Tensor, Tensor | None]:
        """Returns scores in the labels' unit, (B,), float32 at least, and class probabilities (B, C) or None."""
        raise TypeError(f"{type(self).__name__} defines no decode")


class _Regression(TaskObjective):
    def __init__(self, label_range: Sequence[float] | None = None) -> None:
        # The range is not used. The head is unbounded, as in all methods of this family but MMSA's TFN, whose output is
        # 6 sigmoid(x) - 3 on every data set.
        super().__init__()
        self.outputs = 1

    def decode(self, outputs_BK: Tensor) -> tuple[Tensor, None]:
        return at_least_float32(outputs_BK[:, 0]), None

    def error(self, outputs_BK: Tensor, targets_B: Tensor) -> Tensor:
        """Returns score - target, (B,), in the labels' unit, float32 at least."""
        # (B,) minus (B, 1) would broadcast to (B, B), without an error and with a loss that still falls.
        assert outputs_BK.shape == (len(targets_B), 1), (outputs_BK.shape, targets_B.shape)
        return at_least_float32(outputs_BK[:, 0]) - at_least_float32(targets_B)


class L1(_Regression):
    """Computes abs(score - target), as Self-MM, MMIM and MMSA do.

    >>> import torch
    >>> from trivium.objectives import L1
    >>> L1()(torch.tensor([[1.0], [-2.0]]), torch.tensor([0.5, 1.0]))
    tensor([0.5000, 3.0000])
    """

    def forward(self, outputs_BK: Tensor, targets_B: Tensor) -> Tensor:
        return self.error(outputs_BK, targets_B).abs()


class MSE(_Regression):
    """Computes (score - target)^2, without a factor of a half.

    >>> import torch
    >>> from trivium.objectives import MSE
    >>> MSE()(torch.tensor([[1.0], [-2.0]]), torch.tensor([0.5, 1.0]))
    tensor([0.2500, 9.0000])
    """

    def forward(self, outputs_BK: Tensor, targets_B: Tensor) -> Tensor:
        return self.error(outputs_BK, targets_B).square()


@dataclass(frozen=True)
class _Classes:
    """Holds how scores become classes, and classes scores.

    values: the score that stands for each class, ascending.
    cuts: class k holds the scores t with cuts[k-1] < t <= cuts[k]; None rounds to the nearest value, half to even.
    zero_is_upper: True if a score at the single cut is of the upper class (Has0).
    """

    values: tuple[float, ...]
    cuts: tuple[float, ...] | None = None
    zero_is_upper: bool = False


# (label range, number of classes) -> classes, with the bins of the metrics. A class's value is the whole number that
# its scores are rounded to, or else the centre of its bin, or the only score in it.
_CLASSES = {
    ((-3.0, 3.0), 7): _Classes((-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)),
    ((-3.0, 3.0), 5): _Classes((-2.0, -1.0, 0.0, 1.0, 2.0)),
    ((-3.0, 3.0), 3): _Classes((-1.5, 0.0, 1.5)),
    ((-3.0, 3.0), 2): _Classes((-1.5, 1.5), cuts=(0.0,), zero_is_upper=True),
    ((-1.0, 1.0), 2): _Classes((-0.5, 0.5), cuts=(0.0,)),
    ((-1.0, 1.0), 3): _Classes((-0.55, 0.0, 0.55), cuts=(-0.1, 0.1)),
    ((-1.0, 1.0), 5): _Classes((-0.85, -0.4, 0.0, 0.4, 0.85), cuts=(-0.7, -0.1, 0.1, 0.7)),
}
# Label range -> the number of classes that the field uses; 7 for all others, which the table then refuses.
_USUAL: dict[tuple[float, ...] | None, int] = {(-3.0, 3.0): 7, (-1.0, 1.0): 3}


class CrossEntropy(TaskObjective):
    """Computes the cross-entropy of the score's class. The decoded score is the expected value of the class.

    classes: how many, from the lists below; 0 takes the field's usual number, which is 7, and 3 for labels in [-1, 1].
    label_smoothing: in [0, 1).

    Labels in [-3, 3] (MOSI, MOSEI), with the value of each class in parentheses:
      7: clipped and rounded half to even (-3 ... 3).
      5: clipped to [-2, 2] and rounded (-2 ... 2).
      3: the sign (-1.5, 0, 1.5).
      2: negative against non-negative, Has0 (-1.5, 1.5).
    Labels in [-1, 1] (CH-SIMS), where a score at a cut is of the lower class:
      5: cuts at -.7, -.1, .1, .7 (-.85, -.4, 0, .4, .85).
      3: cuts at -.1, .1 (-.55, 0, .55).
      2: a cut at 0 (-.5, .5).

    Raises ValueError for any other range or count, and for a label_smoothing outside [0, 1).

    >>> import torch
    >>> from trivium.objectives import CrossEntropy
    >>> objective = CrossEntropy((-3.0, 3.0), classes=7)
    >>> objective.classes(torch.tensor([-2.6, 0.2, 3.0]))
    tensor([0, 3, 6])
    >>> objective(torch.zeros(1, 7), torch.tensor([0.2]))  # log 7
    tensor([1.9459])
    """

    def __init__(self, label_range: Sequence[float] | None, *, classes: int = 0, label_smoothing: float = 0.0) -> None:
        super().__init__()
        bounds = None if label_range is None else tuple(float(bound) for bound in label_range)
        classes = classes or _USUAL.get(bounds, 7)
        table = next((how for (known, count), how in _CLASSES.items() if (known, count) == (bounds, classes)), None)
        if table is None:
            raise ValueError(_no_such_classes(bounds, classes))
        if not 0.0 <= label_smoothing < 1.0:
            raise ValueError(f"objective.label_smoothing: expected a number in [0, 1), found {label_smoothing}")
        self.outputs = classes
        self.label_smoothing = label_smoothing
        self._table = table

    def classes(self, targets_B: Tensor) -> Tensor:
        """Returns the class of each score, (B,) int64."""
        # In float32, the precision of stored labels: a stored 0.1 lies above 0.1 once it is read as float64.
        scores, table = targets_B.float(), self._table
        if table.cuts is None:
            top = len(table.values) // 2
            steps = scores.sign() if top == 1 else scores.clamp(-top, top).round()
            return steps.long() + top
        if table.zero_is_upper:
            return (scores >= table.cuts[0]).long()
        return sum(((scores > cut).long() for cut in table.cuts), start=torch.zeros_like(scores, dtype=torch.long))

    def forward(self, outputs_BK: Tensor, targets_B: Tensor) -> Tensor:
        assert outputs_BK.shape == (len(targets_B), self.outputs), (outputs_BK.shape, targets_B.shape)
        return F.cross_entropy(
            at_least_float32(outputs_BK),
            self.classes(targets_B),
            reduction="none",
            label_smoothing=self.label_smoothing,
        )

    def decode(self, outputs_BK: Tensor) -> tuple[Tensor, Tensor]:
        probabilities_BC = at_least_float32(outputs_BK).softmax(dim=-1)
        # Summed class by class: a buffer of the values would be cast to half precision with the module.
        score_B = torch.zeros_like(probabilities_BC[:, 0])
        for value, share_B in zip(self._table.values, probabilities_BC.unbind(dim=-1), strict=True):
            score_B = score_B + value * share_B
        return score_B, probabilities_BC


def _no_such_classes(bounds: tuple[float, ...] | None, classes: int) -> str:
    """Returns the message for a range and count that have no definition: it lists what there is to choose."""
    counts = sorted(count for known, count in _CLASSES if known == bounds)
    if counts:
        return f"objective.classes: no {classes} classes of labels in {bounds} are defined; they have {counts}"
    actual = "these data state no range" if bounds is None else f"those of these data lie in {list(bounds)}"
    return (
        f"objective: classes are defined for labels in [-3, 3] and [-1, 1], and {actual}; use objective=l1 or mse, or "
        "with method=tcmax objective=tcmax_regression"
    )
