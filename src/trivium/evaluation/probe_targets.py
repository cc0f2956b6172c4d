"""Defines the classes that a probe is to recognise: those of a score, or a target that holds class numbers.

Legend: N clips.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.data.store import Store
from trivium.methods.base import Method
from trivium.objectives.task import CrossEntropy

RULES = "sign, objective, or a number of classes (2, 3, 5, 7)"


@dataclass(frozen=True)
class ClassRule:
    """Turns a target into classes.

    name: for messages and records. classes: their number. classes_of: maps a target (N,) to classes (N,) int64.
    """

    name: str
    classes: int
    classes_of: Callable[[Tensor], Tensor]

    def kinds(self, targets_N: Tensor) -> int:
        """Returns the number of classes that occur."""
        return int((torch.bincount(self.classes_of(targets_N)) > 0).sum())

    def refuse_single_class(self, targets_N: Tensor, where: str) -> None:
        """Raises ValueError if all clips are of one class. where: file and split, for the message."""
        if self.kinds(targets_N) < 2:
            only = int(self.classes_of(targets_N)[0])
            raise ValueError(
                f"{where}: all {len(targets_N)} clips are of class {only} ({self.name}); a probe needs two classes at "
                "least: choose another target= or classes="
            )


def is_score(store: Store, target: str) -> bool:
    """Says whether a target holds scores, as those of clips and of their modalities do."""
    return store.schema.targets[target].is_score


def class_rule(method: Method, store: Store, target: str, how: str = "") -> ClassRule:
    """Returns the rule by which a target becomes classes.

    how: for a score "sign" (the default: label > 0, as in CoMM), "objective" (the classes of the run's objective), or a
    number of classes, as objective=cross_entropy defines them. Any other target holds class numbers 0, 1, ..., and
    takes no `how`.
    Raises ValueError for a target that the store lacks or that is no class number, and for an unknown `how`.
    """
    if target not in store.schema.targets:
        raise ValueError(f"target={target}: {store.path} has {', '.join(store.schema.targets)}")
    if not is_score(store, target):
        if how:
            raise ValueError(f"classes={how}: is for scores, and {target!r} holds class numbers; leave it out")
        return ClassRule(f"{target} as it is", _class_numbers(store, target), lambda targets_N: targets_N.long())
    if how in ("", "sign"):
        return ClassRule("label > 0", 2, lambda scores_N: (scores_N > 0).long())
    if how == "objective":
        objective = method.objective
        if not isinstance(objective, CrossEntropy):
            name = type(objective).__name__
            raise ValueError(f"classes=objective: the run's objective, {name}, has no classes; expected {RULES}")
    elif how.isdecimal():
        try:
            objective = CrossEntropy(store.schema.targets[target].range, classes=int(how))
        except ValueError as error:
            raise ValueError(f"classes={how}: {error}") from error
    else:
        raise ValueError(f"classes={how}: expected {RULES}")
    return ClassRule(f"{objective.outputs} classes of the score", objective.outputs, objective.classes)


def _class_numbers(store: Store, target: str) -> int:
    """Returns the number of classes of a target of class numbers. Raises ValueError if a value is no class number."""
    values_N = torch.cat([torch.from_numpy(store.split(name).targets[target]) for name in store.schema.counts])
    odd_N = ~((values_N >= 0) & (values_N == values_N.round()) & values_N.isfinite())
    if bool(odd_N.any()):
        raise ValueError(
            f"{store.path}: target {target!r} holds {float(values_N[odd_N][0]):g}; a target that is no score is probed "
            "as class numbers 0, 1, 2, ..."
        )
    return int(values_N.max()) + 1
