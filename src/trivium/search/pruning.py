"""Reports a trial's validation values to its study after each epoch, and ends a trial that the pruner gives up.

The run knows its study by `run.study` (a folder) and `run.trial`, so that it may train in any process.
runs/trainer.py builds the callback by its dotted name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import optuna
from lightning.pytorch.callbacks import Checkpoint
from optuna.samplers import RandomSampler
from optuna.trial import Trial

from trivium.core.structure import Keys, parse_yaml, require
from trivium.methods.base import Method
from trivium.runs.pruned import Pruned
from trivium.runs.recorder import Recorder
from trivium.search.outcome import is_number
from trivium.search.sampling import make_pruner
from trivium.search.storage import PATIENCE, open_storage, without_password

_STUDY = Keys(
    {"name": str, "storage": str, "objective": str, "pruner": str, "startup": int, "warmup": int, "max_epochs": int}
)


class Pruning(Checkpoint):
    """Prunes a trial. It stands behind the recorder, so that a pruned run has its last epoch recorded.

    Lightning calls Checkpoint callbacks last, in their order.
    """

    def __init__(self, folder: Path, number: int, recorder: Recorder) -> None:
        self._folder, self._number, self._recorder = folder, number, recorder
        self._trial: Trial | None = None
        self._objective = ""
        self._reported: set[int] = set()
        self._known_while_training = True

    @property
    def state_key(self) -> str:
        return "trivium.search.Pruning"

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, Method)
        if trainer.is_global_zero:
            self._trial, self._objective = join(self._folder, self._number)
            self._reported = set(self._trial.study.get_trials(deepcopy=False)[self._number].intermediate_values)
            # The val/loss of a probed method is a contrast while it trains, of which result.json knows nothing. It
            # depends on temperatures and weights, and trials that differ in them cannot be compared by it.
            self._known_while_training = not (pl_module.probed and self._objective == "val/loss")

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Decides for a run that was killed between an epoch's checkpoint and this decision."""
        if self._recorder.history:
            self._end_if_pruned(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._end_if_pruned(trainer)

    def _end_if_pruned(self, trainer: L.Trainer) -> None:
        reason = trainer.strategy.broadcast(self._judge(trainer) if trainer.is_global_zero else "")
        if reason:
            raise Pruned(reason)

    def _judge(self, trainer: L.Trainer) -> str:
        """Returns why the trial ends now, or "". A method without the objective while training is never pruned."""
        assert self._trial is not None
        if not self._known_while_training:
            return ""
        for row in self._recorder.history:
            step = int(row["epoch"]) - 1
            if step not in self._reported and is_number(row.get(self._objective)):
                self._trial.report(row[self._objective], step)
                self._reported.add(step)
        over = self._recorder.stopped or len(self._recorder.history) >= (trainer.max_epochs or 0)
        if over or not self._reported or not self._trial.should_prune():
            return ""
        row = self._recorder.history[-1]
        return f"after epoch {int(row['epoch'])}, {self._objective} {row[self._objective]:.5g}"


def join(folder: Path, number: int) -> tuple[Trial, str]:
    """Returns the trial of a study's folder, to report to, and the name of its objective.

    Raises ValueError if there is no such study or trial.
    """
    file = folder / "study.yaml"
    if not file.is_file():
        raise ValueError(f"run.study: no study in {folder} (no study.yaml); it is set by a search, leave it empty")
    try:
        node: dict[str, Any] = parse_yaml(file.read_text(encoding="utf-8"))
        require(node, _STUDY, "")
    except ValueError as error:
        raise ValueError(f"{file}: cannot be read ({error}); start the search again, which writes it") from error
    try:
        study = optuna.load_study(
            study_name=node["name"],
            storage=open_storage(node["storage"], PATIENCE),
            # Draws nothing: the trial has its values.
            sampler=RandomSampler(),
            pruner=make_pruner(
                node["pruner"], startup=node["startup"], warmup=node["warmup"], max_epochs=node["max_epochs"]
            ),
        )
    except KeyError as error:
        where = without_password(node["storage"])
        raise ValueError(f"{file}: study {node['name']!r} is not in {where}; start the search again") from error
    trials = study.get_trials(deepcopy=False)
    if not 0 <= number < len(trials):
        raise ValueError(f"run.trial: study {node['name']} has {len(trials)} trials and no number {number}")
    return Trial(study, trials[number]._trial_id), str(node["objective"])
