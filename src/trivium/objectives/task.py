"""Computes the losses of a task and decodes outputs to predictions.

L1 and MSE are for scores, cross-entropy is for classes and for scores that are cut into classes, and binary
cross-entropy is for labels.
Legend: B clips, K head outputs or scores, C classes or labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from trivium.core.choices import check_choice
from trivium.core.precision import Float32Buffers, at_least_float32
from trivium.data.score_classes import SCORE_CLASSES, USUAL_COUNT, ScoreClasses
from trivium.data.target import Target


class TaskObjective(Float32Buffers):
    """Maps a head's outputs to one loss a clip, and decodes them to a prediction.

    A subclass's constructor takes the target first (trivium.data.target.Target; the range of a score, or None, stands
    for that score), then the keys of its YAML as keyword arguments. Subclasses set `outputs` (K, the head's size) and
    implement `forward` and `decode`.
    factored: True if training with it needs the score as a function of each modality (trivium.objectives.tcmax).
    tasks: those it is defined for, of Target.task. Raises ValueError for a target of another.
    """

    factored: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ("score",)
    outputs: int

    def __init__(self, target: Target | Sequence[float] | None = None) -> None:
        super().__init__()
        self.set_target(target if isinstance(target, Target) else Target(range=_bounds(target)))

    def set_target(self, target: Target) -> None:
        """Says what the target is. Raises ValueError for one of a task that the objective is not for.

        A run does so for each objective, as one of a user's own may have left it to this class's default, a score.
        """
        if target.task not in self.tasks:
            raise ValueError(self.refusal(target))
        self.target = target

    @classmethod
    def refusal(cls, target: Target) -> str:
        """Returns the message for a target that the objective is not defined for."""
        return (
            f"objective: {cls.__name__} is for {' or '.join(_TASKS[task] for task in cls.tasks)}, and the target is "
            f"{target.words}; take objective=auto, which is {_AUTO[target.task]} for it"
        )

    def forward(self, outputs_BK: Tensor, targets_B: Tensor) -> Tensor:
        """Returns the loss of each clip, (B,), float32 at least."""
        raise TypeError(f"{type(self).__name__} defines no forward")

    def decode(self, outputs_BK: Tensor) -> tuple[Tensor, Tensor | None]:
        """Returns predictions, float32 at least, and probabilities or None.

        A prediction is a score in the target's unit, (B,) or (B, K); the number of the likeliest class, (B,); or 0 or 1
        for each label, (B, C). Probabilities are of classes or labels, (B, C).
        """
        raise TypeError(f"{type(self).__name__} defines no decode")


# The words for the tasks in messages, and the objective that `auto` takes for each.
_TASKS = {"score": "a score", "scores": "several scores", "classes": "classes", "labels": "labels"}
_AUTO = {"score": "l1", "scores": "l1", "classes": "cross_entropy", "labels": "binary_cross_entropy"}


def _bounds(label_range: Sequence[float] | None) -> tuple[float, float] | None:
    return None if label_range is None else (float(label_range[0]), float(label_range[1]))


def auto(target: Target | Sequence[float] | None = None, *, scores: str = "l1") -> TaskObjective:
    """Returns the usual objective of a target: cross-entropy for classes, its binary form for labels.

    scores: that of scores, "l1" or "mse", which some methods were published with. Raises ValueError for another word.
    """
    regression = {"l1": L1, "mse": MSE}[check_choice("objective.scores", scores, ("l1", "mse"))]
    if isinstance(target, Target) and target.kind == "classes":
        return CrossEntropy(target)
    return BinaryCrossEntropy(target) if isinstance(target, Target) and target.kind == "labels" else regression(target)


class _Regression(TaskObjective):
    tasks: ClassVar[tuple[str, ...]] = ("score", "scores")

    def __init__(self, target: Target | Sequence[float] | None = None) -> None:
        # The range is not used. The head is unbounded, as in all methods of this family but MMSA's TFN, whose output is
        # 6 sigmoid(x) - 3 on every data set.
        super().__init__(target)
        self.outputs = self.target.columns

    def decode(self, outputs_BK: Tensor) -> tuple[Tensor, None]:
        return at_least_float32(outputs_BK[:, 0] if self.target.is_score else outputs_BK), None

    def error(self, outputs_BK: Tensor, targets_B: Tensor) -> Tensor:
        """Returns score - target, (B,) or (B, K), in the scores' unit, float32 at least."""
        # (B,) minus (B, 1) would broadcast to (B, B), without an error and with a loss that still falls.
        assert outputs_BK.shape == (len(targets_B), self.outputs), (outputs_BK.shape, targets_B.shape)
        assert targets_B.shape[1:] == self.target.shape, targets_B.shape
        score_B = outputs_BK[:, 0] if self.target.is_score else outputs_BK
        return at_least_float32(score_B) - at_least_float32(targets_B)

    def per_clip(self, losses: Tensor) -> Tensor:
        """Returns the loss of each clip, (B,): the mean over scores, where there are several."""
        return losses if self.target.is_score else losses.mean(dim=1)


class L1(_Regression):
    """Computes abs(score - target), as Self-MM, MMIM and MMSA do; of several scores the mean.

    >>> import torch
    >>> from trivium.objectives import L1
    >>> L1()(torch.tensor([[1.0], [-2.0]]), torch.tensor([0.5, 1.0]))
    tensor([0.5000, 3.0000])
    """

    def forward(self, outputs_BK: Tensor, targets_B: Tensor) -> Tensor:
        return self.per_clip(self.error(outputs_BK, targets_B).abs())


class MSE(_Regression):
    """Computes (score - target)^2, without a factor of a half; of several scores the mean.

    >>> import torch
    >>> from trivium.objectives import MSE
    >>> MSE()(torch.tensor([[1.0], [-2.0]]), torch.tensor([0.5, 1.0]))
    tensor([0.2500, 9.0000])
    """

    def forward(self, outputs_BK: Tensor, targets_B: Tensor) -> Tensor:
        return self.per_clip(self.error(outputs_BK, targets_B).square())


class CrossEntropy(TaskObjective):
    """Computes the cross-entropy of a clip's class, or of the class that its score is in.

    Of a target of classes the likeliest class is predicted; of a score, the expected value of the class.
    classes: how many to cut a score into, from the lists below; 0 takes the field's usual number, which is 7, and 3 for
    labels in [-1, 1]. For a target of classes it is 0, as the store knows them.
    label_smoothing: in [0, 1).
    class_weights: a factor on the loss of a clip, by its class: None, a list of one number a class, or "balanced",
    which is N / (C n_c) for n_c of the N train clips in class c, so that its mean over the train split is 1.
    focal_gamma: g in the factor (1 - p)^g on the loss of a clip whose true class has probability p (Lin et al., 2017,
    eq. 4); 0 is none.

    Labels in [-3, 3] (MOSI, MOSEI), with the value of each class in parentheses:
      7: clipped and rounded half to even (-3 ... 3).
      5: clipped to [-2, 2] and rounded (-2 ... 2).
      3: the sign (-1.5, 0, 1.5).
      2: negative against non-negative, Has0 (-1.5, 1.5).
    Labels in [-1, 1] (CH-SIMS), where a score at a cut is of the lower class:
      5: cuts at -.7, -.1, .1, .7 (-.85, -.4, 0, .4, .85).
      3: cuts at -.1, .1 (-.55, 0, .55).
      2: a cut at 0 (-.5, .5).

    Raises ValueError for any other range or count, for a label_smoothing outside [0, 1) or beside a focal_gamma, for a
    negative focal_gamma, and as `weights_of` does.

    >>> import torch
    >>> from trivium.objectives import CrossEntropy
    >>> objective = CrossEntropy((-3.0, 3.0), classes=7)
    >>> objective.classes(torch.tensor([-2.6, 0.2, 3.0]))
    tensor([0, 3, 6])
    >>> objective(torch.zeros(1, 7), torch.tensor([0.2]))  # log 7
    tensor([1.9459])
    """

    tasks = ("score", "classes")
    weights: Tensor | None

    def __init__(
        self,
        target: Target | Sequence[float] | None,
        *,
        classes: int = 0,
        label_smoothing: float = 0.0,
        class_weights: str | Sequence[float] | None = None,
        focal_gamma: float = 0.0,
    ) -> None:
        super().__init__(target)
        self._table = None if self.target.kind == "classes" else _table_of(self.target, classes)
        self.outputs = len(self._table.values if self._table else self.target.names)
        if self._table is None and classes not in (0, self.outputs):
            raise ValueError(
                f"objective.classes: {classes}, but the target has {self.outputs}: {', '.join(self.target.names)}; "
                "leave it at 0"
            )
        if not 0.0 <= label_smoothing < 1.0:
            raise ValueError(f"objective.label_smoothing: expected a number in [0, 1), found {label_smoothing}")
        check_focal(focal_gamma)
        if label_smoothing and focal_gamma:
            raise ValueError("objective.focal_gamma does not go with objective.label_smoothing; set one of them to 0")
        self.label_smoothing, self.focal_gamma = label_smoothing, focal_gamma
        # A buffer, as a list would be copied to the device in every step.
        self.register_buffer("weights", weights_of(class_weights, self.target, self.outputs), persistent=False)

    def classes(self, targets_B: Tensor) -> Tensor:
        """Returns the class of each clip, (B,) int64."""
        if self._table is None:
            return targets_B.long()
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
        outputs_BC, class_B = at_least_float32(outputs_BK), self.classes(targets_B)
        loss_B = F.cross_entropy(outputs_BC, class_B, reduction="none", label_smoothing=self.label_smoothing)
        if self.focal_gamma:
            # The loss is -log p; expm1 keeps 1 - p exact where p is nearly 1.
            loss_B = (-torch.expm1(-loss_B)).clamp_min(0) ** self.focal_gamma * loss_B
        if self.weights is not None:
            loss_B = loss_B * self.weights.to(loss_B.dtype)[class_B]
        return loss_B

    def decode(self, outputs_BK: Tensor) -> tuple[Tensor, Tensor]:
        probabilities_BC = at_least_float32(outputs_BK).softmax(dim=-1)
        if self._table is None:
            return probabilities_BC.argmax(dim=-1).to(probabilities_BC.dtype), probabilities_BC
        # Summed class by class: a buffer of the values would be cast to half precision with the module.
        score_B = torch.zeros_like(probabilities_BC[:, 0])
        for value, share_B in zip(self._table.values, probabilities_BC.unbind(dim=-1), strict=True):
            score_B = score_B + value * share_B
        return score_B, probabilities_BC


class BinaryCrossEntropy(TaskObjective):
    """Computes the mean over labels of each one's binary cross-entropy; a label of probability .5 or more is predicted.

    class_weights: a factor on the loss where a label is there: None, a list of one number a label, or "balanced", the
    train clips without the label by those with it. focal_gamma: as for CrossEntropy.
    Raises ValueError for a negative focal_gamma and as `weights_of` does.

    >>> import torch
    >>> from trivium.data.target import Target
    >>> from trivium.objectives import BinaryCrossEntropy
    >>> objective = BinaryCrossEntropy(Target("labels", ("happy", "sad")))
    >>> objective(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]))  # log 2
    tensor([0.6931])
    """

    tasks = ("labels",)
    weights: Tensor | None

    def __init__(
        self, target: Target, *, class_weights: str | Sequence[float] | None = None, focal_gamma: float = 0.0
    ) -> None:
        super().__init__(target)
        check_focal(focal_gamma)
        self.outputs, self.focal_gamma = self.target.columns, focal_gamma
        # A buffer, as a list would be copied to the device in every step.
        self.register_buffer("weights", weights_of(class_weights, self.target, self.outputs), persistent=False)

    def forward(self, outputs_BK: Tensor, targets_B: Tensor) -> Tensor:
        assert outputs_BK.shape == targets_B.shape, (outputs_BK.shape, targets_B.shape)
        outputs_BC = at_least_float32(outputs_BK)
        target_BC = targets_B.to(outputs_BC.dtype)
        loss_BC = F.binary_cross_entropy_with_logits(outputs_BC, target_BC, reduction="none")
        if self.focal_gamma:
            # 1 - p of the true answer; between the two for mixed labels.
            away_BC = (outputs_BC.sigmoid() - target_BC).abs()
            loss_BC = away_BC**self.focal_gamma * loss_BC
        if self.weights is not None:
            loss_BC = loss_BC * (1 + target_BC * (self.weights.to(loss_BC.dtype) - 1))
        return loss_BC.mean(dim=1)

    def decode(self, outputs_BK: Tensor) -> tuple[Tensor, Tensor]:
        probabilities_BC = at_least_float32(outputs_BK).sigmoid()
        return (probabilities_BC >= 0.5).to(probabilities_BC.dtype), probabilities_BC


def check_focal(focal_gamma: float) -> None:
    """Raises ValueError for a negative focal_gamma."""
    if not focal_gamma >= 0:
        raise ValueError(f"objective.focal_gamma: expected a number from 0, found {focal_gamma}")


def weights_of(class_weights: str | Sequence[float] | None, target: Target, count: int) -> Tensor | None:
    """Returns one weight a class or label, float64, or None for none; "balanced" ones come from the target's counts.

    Raises ValueError for another word, another number of weights, one that is not above 0, and for "balanced" where the
    train split has no clip of a class, or of a label none with it or none without.
    """
    if class_weights is None or class_weights == "none":
        return None
    if isinstance(class_weights, str):
        if class_weights != "balanced":
            raise ValueError(
                f"objective.class_weights: expected null, balanced, or a list of {count}, found {class_weights!r}"
            )
        return torch.tensor(_balanced_weights(target), dtype=torch.float64)
    weights = [float(weight) for weight in class_weights]
    if len(weights) != count or not all(weight > 0 for weight in weights):
        raise ValueError(f"objective.class_weights: expected {count} numbers above 0, found {list(class_weights)}")
    return torch.tensor(weights, dtype=torch.float64)


def _balanced_weights(target: Target) -> list[float]:
    counts = target.counts
    if not counts:
        raise ValueError(
            "objective.class_weights=balanced: is for a target of classes or labels, whose clips the store counts, and "
            f"the target is {target.words}; give a list of weights, or null"
        )
    clips = target.clips
    rare = [name for name, count in zip(target.names, counts, strict=True) if not 0 < count < clips]
    if rare:
        raise ValueError(
            f"objective.class_weights=balanced: of the {clips} train clips none, or all, have {', '.join(rare)}; give "
            "a list of weights, or null"
        )
    if target.kind == "labels":
        return [(clips - count) / count for count in counts]
    return [clips / (len(counts) * count) for count in counts]


def _table_of(target: Target, classes: int) -> ScoreClasses:
    """Returns how a score becomes one of `classes` classes. Raises ValueError where that is not defined."""
    classes = classes or USUAL_COUNT.get(target.range, 7)
    table = SCORE_CLASSES.get((target.range, classes))
    if table is None:
        raise ValueError(_no_such_classes(target.range, classes))
    return table


def _no_such_classes(bounds: tuple[float, float] | None, classes: int) -> str:
    """Returns the message for a range and count that have no definition: it lists what there is to choose."""
    counts = sorted(count for known, count in SCORE_CLASSES if known == bounds)
    if counts:
        return f"objective.classes: no {classes} classes of labels in {bounds} are defined; they have {counts}"
    actual = "these data state no range" if bounds is None else f"those of these data lie in {list(bounds)}"
    return (
        f"objective: classes of a score are defined for labels in [-3, 3] and [-1, 1], and {actual}; use objective=l1 "
        "or mse, or with method=tcmax objective=tcmax_regression. Numbers that name classes are prepared as a target "
        "of classes (docs/data.md)"
    )
