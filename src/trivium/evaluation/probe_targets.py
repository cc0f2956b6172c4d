"""Defines what a probe is to recognise, and how a score becomes classes.

Legend: N clips.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.data.datamodule import DataModule
from trivium.data.target import Target
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


def target_of(data: DataModule, name: str) -> Target:
    """Returns what a target of the data is: "multimodal", the one that a run predicts, or another by its name.

    Raises ValueError for one that the store lacks.
    """
    described = data.described(name)
    if described is None:
        raise ValueError(f"target={name}: {data.store.path} has {', '.join(data.store.schema.targets)}")
    return described


def class_rule(method: Method, target: Target, name: str, how: str = "") -> ClassRule:
    """Returns the rule by which a target of one score or of classes becomes classes.

    how: for a score "sign" (the default: label > 0, as in CoMM), "objective" (the classes of the run's objective), or a
    number of classes, as objective=cross_entropy defines them. Classes are taken as they are.
    Raises ValueError for an unknown `how`.
    """
    refuse_rule(target, name, how)
    if target.kind == "classes":
        return ClassRule(f"{name} as it is", len(target.names), lambda targets_N: targets_N.long())
    if how in ("", "sign"):
        return ClassRule("label > 0", 2, lambda scores_N: (scores_N > 0).long())
    if how == "objective":
        objective = method.objective
        if not isinstance(objective, CrossEntropy):
            kind = type(objective).__name__
            raise ValueError(f"classes=objective: the run's objective, {kind}, has no classes; expected {RULES}")
    elif how.isdecimal():
        try:
            objective = CrossEntropy(target.range, classes=int(how))
        except ValueError as error:
            raise ValueError(f"classes={how}: {error}") from error
    else:
        raise ValueError(f"classes={how}: expected {RULES}")
    return ClassRule(f"{objective.outputs} classes of the score", objective.outputs, objective.classes)


def refuse_rule(target: Target, name: str, how: str) -> None:
    """Raises ValueError if `how`, which says how a score becomes classes, is given for another target."""
    if how and not target.is_score:
        raise ValueError(f"classes={how}: is for one score, and {name!r} is {target.words}; leave it out")
