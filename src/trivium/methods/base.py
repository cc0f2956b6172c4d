"""The base class of all methods: a training step's random numbers, loss terms, optimiser and checkpointed state.

Legend: B clips, E joint embedding, K outputs of the head, C classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from trivium.core.keyed_random import uniform
from trivium.core.metric_names import METRICS
from trivium.core.seeding import derive
from trivium.data.batch import Batch
from trivium.data.datamodule import DataModule
from trivium.encoders.base import Encoded, Encoder
from trivium.fusions.base import Fusion
from trivium.methods.meter import Meter, NonFiniteLossError
from trivium.methods.options import Options
from trivium.methods.stand_ins import make_stand_ins
from trivium.objectives.task import CrossEntropy, TaskObjective
from trivium.schedulers import Schedule

# Steps between looks for a non-finite loss on a GPU, where each look makes the host wait for the device.
CHECK_EVERY = 50


@dataclass
class Prediction:
    """Holds what a method predicts of a batch.

    outputs: (B, K), of the head. score: (B,), in the labels' unit. probabilities: (B, C), or None for a regression.
    features: (B, E), the joint vector.
    """

    outputs: Tensor
    score: Tensor
    probabilities: Tensor | None
    features: Tensor


@dataclass
class Parts:
    """Holds what a method is made of (trivium.methods.build makes it).

    train_clips: clips of the train split. high: the largest label, for methods that generate labels; None where the
    store has no range. options: what the method shares with others.
    """

    encoders: dict[str, Encoder]
    fusion: Fusion
    objective: TaskObjective
    train_clips: int
    high: float | None
    seed: int
    options: Options = field(default_factory=Options)


class Method(nn.Module, ABC):
    """Trains encoders, a fusion and what else a subclass adds; the subclass implements `losses` and `predict`.

    It is a plain module with a LightningModule's hooks. A training makes its class a LightningModule
    (trivium.methods.trainable), from which `trainer` comes; everything else works without.

    The keys of its YAML are its keyword arguments after `parts`, but for those of the options that it shares.
    make_optimizer and make_schedule are set by trivium.methods.build; metrics names the protocol that scores it
    (trivium.evaluation).

    shared_options: the options of trivium.methods.options that it takes.
    factored: whether it takes objectives that want a score's factors (TaskObjective.factored).
    probed: whether its score is a linear probe of frozen features. It then has a `readout` (trivium.methods.readout)
    from vectors()["joint"], which trivium.evaluation.probe fits once training is over.
    validation_losses: the names of losses that `validation_step` returns; "val/" and one of them can be monitored.
    Raises ValueError for an unknown stand_in, and for an objective that wants factors where the method gives none.
    """

    shared_options: ClassVar[tuple[str, ...]] = ("modality_dropout",)
    factored: ClassVar[bool] = False
    probed: bool = False
    name: str = ""
    validation_losses: tuple[str, ...] = ("loss",)
    trainer: Any

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        if parts.objective.factored and not self.factored:
            name = type(parts.objective).__name__
            raise ValueError(
                f"objective: {name} scores modalities of different clips against each other, which "
                "method=tcmax does; choose that method, or objective=cross_entropy, l1 or mse"
            )
        self.encoders = nn.ModuleDict(parts.encoders)
        self.fusion = parts.fusion
        self.objective = parts.objective
        self.seed = parts.seed
        self.modality_dropout = parts.options.modality_dropout
        self.stand_ins = make_stand_ins(parts.options.stand_in, parts.encoders, parts.fusion)
        self.position = (0, 0)  # of the training step: epoch and batch, both from 0
        self.meter = Meter()
        self.metrics = "regression"
        self.added_metrics: dict[str, Callable[..., Any]] = {}  # name -> (scores (N,), targets (N,)) -> number
        self.make_optimizer: Callable[[Method], torch.optim.Optimizer] | None = None
        self.make_schedule: Callable[..., Schedule] | None = None
        self.schedule: Schedule | None = None
        self._saved_schedule: dict[str, Any] | None = None
        self._checked = False  # whether a step has shown that losses and predict return what they should

    # What a subclass defines, or may define

    @abstractmethod
    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Returns named scalar terms, each a Batch.mean, with their weighted sum last, under the name "loss"."""

    @abstractmethod
    def predict(self, batch: Batch) -> Prediction:
        """Returns the prediction from any non-empty subset of modalities (Batch.present)."""

    def vectors(self, batch: Batch) -> dict[str, Tensor]:
        """Returns what probes read, (B, E) each: "joint", and every modality's pooled vector under its name."""
        pooled = {name: encoded.pooled for name, encoded in self.encode(batch).items()}
        return {"joint": self.predict(batch).features, **pooled}

    @classmethod
    def fuses_inputs(cls, settings: Mapping[str, Any]) -> bool:
        """Says whether a fusion of tokens gets the features themselves (of numeric modalities), not encoders' tokens.

        settings: the method's config.
        """
        return False

    def gradient_scale(self) -> float:
        """Returns the factor on the loss that is differentiated; what is recorded stays without it."""
        return 1.0

    # Shared parts of a step

    def encode(self, batch: Batch) -> dict[str, Encoded]:
        """Returns every modality encoded; this is where an absent one becomes zero, whatever its content was."""
        encoded = {}
        for column, (name, encoder) in enumerate(self.encoders.items()):
            out: Encoded = encoder(batch.streams[name])
            present_B = batch.present[:, column]
            encoded[name] = Encoded(
                tokens=torch.where(present_B[:, None, None], out.tokens, 0.0),
                mask=out.mask & present_B[:, None],
                pooled=torch.where(present_B[:, None], out.pooled, 0.0),
            )
        return encoded

    def fuse(self, encoded: dict[str, Encoded], present_BM: Tensor) -> Tensor:
        """Returns the joint vector, (B, E); absent modalities count for nothing, or have learned stand-ins."""
        if self.stand_ins is not None:
            encoded, present_BM = self.stand_ins(encoded, present_BM)
        joint_BE: Tensor = self.fusion(encoded, present_BM)
        return joint_BE

    def drop_modalities(self, batch: Batch) -> Batch:
        """Returns the batch that a training step sees: each clip without the modalities drawn by `modality_dropout`.

        A clip draws the same whatever it is batched with. The modality of the largest draw stays where none would.
        """
        if not self.modality_dropout:
            return batch
        column_M = torch.arange(batch.present.shape[1], device=batch.present.device)
        drawn_BM = uniform(self.step_key("modality dropout"), batch.index[:, None], column_M)
        drawn_BM = torch.where(batch.present, drawn_BM, -1.0)
        stays_BM = (drawn_BM >= self.modality_dropout) | (drawn_BM == drawn_BM.amax(dim=1, keepdim=True))
        return batch.without(batch.present & ~stays_BM)

    def step_key(self, *names: str) -> int:
        """Returns a seed for this step's draws that concern the global batch; it is the same on every rank."""
        return derive(self.seed, *names, *self.position)

    def decode(self, outputs_BK: Tensor, features_BE: Tensor) -> Prediction:
        """Returns the prediction that the objective reads in the head's outputs."""
        score, probabilities = self.objective.decode(outputs_BK)
        return Prediction(outputs_BK, score, probabilities, features_BE)

    # What Lightning gives where it trains, and its hooks

    @property
    def current_epoch(self) -> int:
        """Returns the number of the epoch that is trained, from 0; without a Trainer 0."""
        return 0

    @property
    def device(self) -> torch.device:
        """Returns the device of the weights."""
        return next(self.parameters()).device

    def on_fit_start(self) -> None:
        if self.stand_ins is None or self.modality_dropout:
            return
        data: DataModule = self.trainer.datamodule
        clips = data.store.split("train")
        if not any((clips.read(name, data.reads[name]).lengths == 0).any() for name in self.encoders):
            raise ValueError(
                "method.stand_in=learned: no clip of the train split lacks a modality, so there is nothing to learn "
                "it from; set method.modality_dropout above 0, or take method.stand_in=zero"
            )

    def begin_step(self, batch: Batch, batch_idx: int) -> None:
        """Keys the step's random numbers by (seed, epoch, batch, rank), so that a resumed run draws the same."""
        self.position = (self.current_epoch, batch_idx)
        seed = derive(self.seed, "step", self.current_epoch, batch_idx, batch.rank)
        # Not torch.manual_seed: on a machine without CUDA it records the whole call stack, which takes up to 1 ms.
        torch.default_generator.manual_seed(seed)
        if self.device.type != "cpu":
            torch.get_device_module(self.device).manual_seed(seed)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Returns "loss", whose gradients are taken, and "unscaled", this rank's loss without `gradient_scale`."""
        if not self._checked:
            check_predict(self, batch)
        self.begin_step(batch, batch_idx)
        terms = self.losses(self.drop_modalities(batch))
        if not self._checked:
            check_terms(self, terms)
            self._checked = True
        self.meter.add(terms, batch_idx, batch.global_size)
        if batch.present.device.type == "cpu" or batch_idx % CHECK_EVERY == CHECK_EVERY - 1:
            self.refuse_non_finite()
        return {"loss": terms["loss"] * self.gradient_scale(), "unscaled": terms["loss"].detach()}

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)  # type: ignore[misc]
        if self.schedule is not None:
            self.schedule.after_step()

    def on_train_epoch_end(self) -> None:
        self.refuse_non_finite()

    def finish_epoch(self) -> dict[str, float]:
        """Returns the epoch's numbers for the record, the mean of each loss term among them, and starts the next one.

        A subclass may add numbers of its own. The run's recorder calls it once an epoch, on every rank.
        """
        means = self.meter.means()
        self.meter.reset()
        return means

    @property
    def monitorable(self) -> tuple[str, ...]:
        """Lists the validation metrics that can select this method's epoch."""
        losses = [f"val/{name}" for name in self.validation_losses]
        classes = ["acc_argmax"] if isinstance(self.objective, CrossEntropy) else []
        return (*losses, *(f"val/{name}" for name in (*METRICS[self.metrics], *classes, *self.added_metrics)))

    def compute_added(self, scores_N: Any, targets_N: Any) -> dict[str, float]:
        """Computes the metrics that the config adds to those of its protocol, of a whole split's numpy arrays.

        Raises ValueError naming a metric that returns no number.
        """
        values: dict[str, float] = {}
        for name, metric in self.added_metrics.items():
            value = metric(scores_N, targets_N)
            try:
                values[name] = float(value)
            except (TypeError, ValueError):
                raise ValueError(f"metrics.{name}: expected a number from it, found {value!r}") from None
        return values

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """Returns "prediction" and, under each name of `validation_losses`, the (B,) losses of the batch's clips.

        "loss" is the task's own, where the method has one while it trains; a method that adds terms to it gives their
        weighted sum as "total". "prediction" is None where scores come only after training (a probe's).
        """
        prediction = self.predict(batch)
        return {"prediction": prediction, "loss": self.objective(prediction.outputs, batch.targets["multimodal"])}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        assert self.make_optimizer is not None
        optimizer = self.make_optimizer(self)
        if self.make_schedule is not None:
            # Not trainer.estimated_stepping_batches: it sets the loader up before a checkpoint's position is restored.
            batches = self.trainer.datamodule.train_batches
            steps = -(-batches // self.trainer.accumulate_grad_batches)
            self.schedule = self.make_schedule(optimizer, steps_per_epoch=steps, epochs=self.trainer.max_epochs)
            if self._saved_schedule is not None:
                self.schedule.load_state_dict(self._saved_schedule)
        return optimizer

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.refuse_non_finite()
        checkpoint["trivium"] = {
            "meter": self.meter.state_dict(),
            "schedule": None if self.schedule is None else self.schedule.state_dict(),
        }

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        state = checkpoint["trivium"]
        self.meter.load_state_dict(state["meter"], self.trainer.strategy.root_device)
        # The optimiser is made later; its learning rates come with Lightning's own state.
        self._saved_schedule = state["schedule"]

    def refuse_non_finite(self) -> None:
        """Raises NonFiniteLossError, with the term, the step and the clips, if a loss of this epoch is not finite."""
        bad = self.meter.first_bad()
        if bad is None:
            return
        step, names = bad
        loader: Any = self.trainer.train_dataloader
        epoch = self.current_epoch
        clips = ", ".join(loader.ids(epoch, step))
        raise NonFiniteLossError(
            f"{' and '.join(names)} not finite at epoch {epoch + 1}, step {step + 1} of {len(loader)}, on clips "
            f"{clips}; the last checkpoint is from before it. A smaller optimizer.lr, trainer.gradient_clip=1 or "
            "data.standardize.default=zscore may help"
        )


def check_terms(method: Method, terms: object) -> None:
    """Raises TypeError or ValueError unless `terms`, returned by method.losses, are named scalars with a "loss"."""
    name = f"{type(method).__name__}.losses"
    expected = 'expected a dict of scalar tensors, one of them under "loss"'
    if not isinstance(terms, dict):
        raise TypeError(f"{name} returned a {type(terms).__name__}; {expected}")
    for term, value in terms.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} returned a {type(value).__name__} as {term!r}; {expected}")
        if value.dim():
            raise ValueError(
                f"{name} returned a tensor of shape {tuple(value.shape)} as {term!r}; {expected}. Batch.mean makes "
                "one of a loss a clip"
            )
    if "loss" not in terms:
        raise ValueError(f"{name} returned the terms {', '.join(map(str, terms)) or 'of an empty dict'}; {expected}")


@torch.no_grad()
def check_predict(method: Method, batch: Batch) -> None:
    """Raises TypeError unless method.predict returns a Prediction.

    Called before the first training step, as the first validation may be hours later. The modules are in evaluation
    mode meanwhile, so that no statistics move; the step's random numbers are keyed afterwards.
    """
    modes = {module: module.training for module in method.modules()}
    method.eval()
    prediction: object = method.predict(batch)
    for module, mode in modes.items():
        module.training = mode
    if not isinstance(prediction, Prediction):
        raise TypeError(
            f"{type(method).__name__}.predict returned a {type(prediction).__name__}; expected a "
            "trivium.methods.base.Prediction, which Method.decode makes of the head's outputs and the joint vector"
        )
