"""Task losses: a score (L1, MSE) or the class of a score (cross-entropy), and how outputs are decoded to a score.

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
    """Gives one loss a clip of a head's outputs, and decodes outputs to a score.

    Subclasses take `label_range` first (lowest and highest label of the data, or None where there is none) and their
    YAML's keys as keyword arguments, set `outputs` (K, the head's size) and implement `forward` and `decode`.
    factored: whether training with it needs the score as a function of each modality (trivium.objectives.tcmax).
    """

    factored: ClassVar[bool] = False
    outputs: int

    def forward(self, outputs_BK: Tensor, targets_B: Tensor) -> Tensor:
        """Returns (B,), the loss of each clip, float32 at least."""
        raise TypeError(f"{type(self).__name__} defines no forward")

    def decode(self, outputs_BK: Tensor) -> tuple[Tensor, Tensor | None]:
        """Returns (B,) scores in the labels' unit, float32 at least, and (B, C) class probabilities or None."""
        raise TypeError(f"{type(self).__name__} defines no decode")


class _Regression(TaskObjective):
    def __init__(self, label_range: Sequence[float] | None = None) -> None:
        # The range is not used: the head is unbounded, as in every paper of the family but for MMSA's TFN, whose output
        # is 6 sigmoid(x) - 3 on every data set.
        super().__init__()
        self.outputs = 1

    def decode(self, outputs_BK: Tensor) -> tuple[Tensor, None]:
        return at_least_float32(outputs_BK[:, 0]), None

    def error(self, outputs_BK: Tensor, targets_B: Tensor) -> Tensor:
        """Returns (B,) score - target, in the labels' unit, float32 at least."""
        # A (B,) against a (B, 1) would broadcast to (B, B) and train on nonsense.
        assert outputs_BK.shape == (len(targets_B), 1), (outputs_BK.shape, targets_B.shape)
        return at_least_float32(outputs_BK[:, 0]) - at_least_float32(targets_B)


class L1(_Regression):
    """Takes abs(score - target), as Self-MM, MMIM and MMSA do.

    >>> import torch
    >>> from trivium.objectives import L1
    >>> L1()(torch.tensor([[1.0], [-2.0]]), torch.tensor([0.5, 1.0]))
    tensor([0.5000, 3.0000])
    """

    def forward(self, outputs_BK: Tensor, targets_B: Tensor) -> Tensor:
        return self.error(outputs_BK, targets_B).abs()


class MSE(_Regression):
    """Takes (score - target)^2, without a factor of a half.

    >>> import torch
    >>> from trivium.objectives import MSE
    >>> MSE()(torch.tensor([[1.0], [-2.0]]), torch.tensor([0.5, 1.0]))
    tensor([0.2500, 9.0000])
    """

    def forward(self, outputs_BK: Tensor, targets_B: Tensor) -> Tensor:
        return self.error(outputs_BK, targets_B).square()


@dataclass(frozen=True)
class _Classes:
    """Holds how scores become classes.

    values: the score that stands for each class, ascending.
    cuts: class k holds cuts[k-1] < t <= cuts[k]; None rounds to the nearest value instead, half to even.
    zero_is_upper: the one cut belongs to the upper class (Has0).
    """

    values: tuple[float, ...]
    cuts: tuple[float, ...] | None = None
    zero_is_upper: bool = False


# The metrics' own bins. A rounded class has its whole number as value, others their bin's centre, or its one point.
_CLASSES = {
    ((-3.0, 3.0), 7): _Classes((-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)),
    ((-3.0, 3.0), 5): _Classes((-2.0, -1.0, 0.0, 1.0, 2.0)),
    ((-3.0, 3.0), 3): _Classes((-1.5, 0.0, 1.5)),
    ((-3.0, 3.0), 2): _Classes((-1.5, 1.5), cuts=(0.0,), zero_is_upper=True),
    ((-1.0, 1.0), 2): _Classes((-0.5, 0.5), cuts=(0.0,)),
    ((-1.0, 1.0), 3): _Classes((-0.55, 0.0, 0.55), cuts=(-0.1, 0.1)),
    ((-1.0, 1.0), 5): _Classes((-0.85, -0.4, 0.0, 0.4, 0.85), cuts=(-0.7, -0.1, 0.1, 0.7)),
}
_USUAL: dict[tuple[float, ...] | None, int] = {(-3.0, 3.0): 7, (-1.0, 1.0): 3}


class CrossEntropy(TaskObjective):
    """Takes the cross-entropy of the score's class; the decoded score is the expected value of the class.

    Classes and their values:
    labels in [-3, 3] (MOSI, MOSEI): 7 = clip, round half to even (-3 ... 3); 5 = clip to [-2, 2], round (-2 ... 2);
    3 = sign (-1.5, 0, 1.5); 2 = negative against non-negative, Has0 (-1.5, 1.5).
    labels in [-1, 1] (CH-SIMS), an upper edge belongs to the lower bin: 2 = cut at 0 (-.5, .5);
    3 = cuts at -.1, .1 (-.55, 0, .55); 5 = cuts at -.7, -.1, .1, .7 (-.85, -.4, 0, .4, .85).
    0 = the field's usual number: 7, and 3 for labels in [-1, 1].

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
        """Returns (B,) int64, the class of each score."""
        # float32, the stored labels' own precision: 0.1 read as float64 would lie above the cut at 0.1.
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
        # Summed a class at a time: a buffer of values would follow the module into half precision.
        score_B = torch.zeros_like(probabilities_BC[:, 0])
        for value, share_B in zip(self._table.values, probabilities_BC.unbind(dim=-1), strict=True):
            score_B = score_B + value * share_B
        return score_B, probabilities_BC


def _no_such_classes(bounds: tuple[float, ...] | None, classes: int) -> str:
    counts = sorted(count for known, count in _CLASSES if known == bounds)
    if counts:
        return f"objective.classes: no {classes} classes of labels in {bounds} are defined; they have {counts}"
    found = "these data state no range" if bounds is None else f"those of these data lie in {list(bounds)}"
    return (
        f"objective: classes are defined for labels in [-3, 3] and [-1, 1], and {found}; use objective=l1 or mse, or "
        "with method=tcmax objective=tcmax_regression"
    )
