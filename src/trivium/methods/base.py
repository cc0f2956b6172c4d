"""What all methods share: the step's random numbers, loss terms, optimiser and checkpointed state.

Legend: B clips, E joint embedding, K outputs of the head, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import lightning as L
import torch
from torch import Tensor, nn

from trivium.data.batch import Batch
from trivium.data.datamodule import DataModule
from trivium.encoders.base import Encoded, Encoder
from trivium.fusions.base import Fusion
from trivium.keyed_random import uniform
from trivium.methods.meter import Meter, NonFiniteLossError
from trivium.methods.stand_ins import make_stand_ins
from trivium.metric_names import METRICS
from trivium.objectives.task import CrossEntropy, TaskObjective
from trivium.schedulers import Schedule
from trivium.seeding import derive

CHECK_EVERY = 50  # steps between looks for a non-finite loss where a look makes the host wait for the device


@dataclass
class Prediction:
    """outputs (B, K) of the head; score (B,); probabilities (B, C) or None; features (B, E), the joint vector."""

    outputs: Tensor
    score: Tensor
    probabilities: Tensor | None
    features: Tensor


@dataclass
class Parts:
    """What a method is made of; see trivium.methods.build."""

    encoders: dict[str, Encoder]
    fusion: Fusion
    objective: TaskObjective
    train_clips: int
    high: float | None  # the largest label, for methods that generate labels; None where the store has no range
    seed: int


class Method(L.LightningModule):
    """Subclasses implement `losses` and `predict`; their YAML's keys are their keyword arguments after `parts`.

    make_optimizer and make_schedule are set by trivium.methods.build; metrics names the protocol that scores it
    (trivium.evaluation). factored: whether it takes objectives that want a score's factors (TaskObjective.factored).
    probed: whether its score is a linear probe of frozen features: it then has a `readout` (trivium.methods.readout)
    from vectors()["joint"], which trivium.evaluation.probe fits once training is over.

    modality_dropout: in training, the probability with which a clip loses a modality that it has, each on its own; one
    always stays. stand_in: what the fusion sees of an absent modality, for methods that take it: "zero", or "learned",
    one vector a modality (trivium.methods.stand_ins).
    Raises ValueError for a modality_dropout outside [0, 1) and an unknown stand_in.
    """

    factored: ClassVar[bool] = False
    probed: bool = False
    name: str = ""
    validation_losses: tuple[str, ...] = ("loss",)

    def __init__(self, parts: Parts, *, modality_dropout: float = 0.0, stand_in: str = "zero") -> None:
        super().__init__()
        if not 0.0 <= modality_dropout < 1.0:
            raise ValueError(f"method.modality_dropout: expected a probability in [0, 1), found {modality_dropout}")
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
        self.modality_dropout = modality_dropout
        self.stand_ins = make_stand_ins(stand_in, parts.encoders, parts.fusion)
        self.position = (0, 0)  # of the training step: epoch and batch, both from 0
        self.meter = Meter()
        self.epoch_means: dict[str, float] = {}  # of the last finished epoch
        self.metrics = "regression"
        self.make_optimizer: Callable[[Method], torch.optim.Optimizer] | None = None
        self.make_schedule: Callable[..., Schedule] | None = None
        self.schedule: Schedule | None = None
        self._saved_schedule: dict[str, Any] | None = None
        self.last_step_loss: Tensor | None = None  # of this rank, for the per-step log

    # What a method says of itself

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Named terms, each a Batch.mean, with their weighted sum last, under the name "loss"."""
        raise TypeError(f"{type(self).__name__} defines no losses")

    def predict(self, batch: Batch) -> Prediction:
        """For any non-empty subset of modalities (Batch.present)."""
        raise TypeError(f"{type(self).__name__} defines no predict")

    def vectors(self, batch: Batch) -> dict[str, Tensor]:
        """What probes read, (B, E) each: "joint", and every modality's own vector under its name."""
        own = {name: encoded.pooled for name, encoded in self.encode(batch).items()}
        return {"joint": self.predict(batch).features, **own}

    @classmethod
    def fuses_inputs(cls, settings: Mapping[str, Any]) -> bool:
        """Whether a fusion of tokens gets the features themselves (of numeric modalities), and not encoders' tokens.

        settings: the method's config.
        """
        return False

    def gradient_scale(self) -> float:
        """What the loss is multiplied with before the backward, and nowhere else."""
        return 1.0

    # Shared parts of a step

    def encode(self, batch: Batch) -> dict[str, Encoded]:
        """Every modality encoded; an absent one is zero, whatever its content was."""
        encoded = {}
        for column, (name, encoder) in enumerate(self.encoders.items()):
            out: Encoded = encoder(batch.streams[name])
            here = batch.present[:, column]
            encoded[name] = Encoded(
                tokens=torch.where(here[:, None, None], out.tokens, 0.0),
                mask=out.mask & here[:, None],
                pooled=torch.where(here[:, None], out.pooled, 0.0),
            )
        return encoded

    def fuse(self, encoded: dict[str, Encoded], present_BM: Tensor) -> Tensor:
        """(B, E), the joint vector; absent modalities count for nothing, or are stood in for."""
        if self.stand_ins is not None:
            encoded, present_BM = self.stand_ins(encoded, present_BM)
        joint_BE: Tensor = self.fusion(encoded, present_BM)
        return joint_BE

    def drop_modalities(self, batch: Batch) -> Batch:
        """The batch that a training step sees: `modality_dropout` drawn for each clip and modality.

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
        """A seed for random numbers of this training step, alike on every rank: what concerns the global batch."""
        return derive(self.seed, *names, *self.position)

    def decode(self, outputs_BK: Tensor, features_BE: Tensor) -> Prediction:
        score, probabilities = self.objective.decode(outputs_BK)
        return Prediction(outputs_BK, score, probabilities, features_BE)

    # Lightning's hooks

    def on_fit_start(self) -> None:
        if self.stand_ins is None or self.modality_dropout:
            return
        data: DataModule = self.trainer.datamodule  # type: ignore[attr-defined]
        clips = data.store.split("train")
        if not any((clips.read(name, data.reads[name]).lengths == 0).any() for name in self.encoders):
            raise ValueError(
                "method.stand_in=learned: no clip of the train split lacks a modality, so there is nothing to learn "
                "it from; set method.modality_dropout above 0, or take method.stand_in=zero"
            )

    def begin_step(self, batch: Batch, batch_idx: int) -> None:
        """Sets what the step's random numbers are keyed by."""
        self.position = (self.current_epoch, batch_idx)
        seed = derive(self.seed, "step", self.current_epoch, batch_idx, batch.rank)
        # not torch.manual_seed: on a machine without CUDA it writes the whole call stack down, up to 1 ms
        torch.default_generator.manual_seed(seed)
        if self.device.type != "cpu":
            torch.get_device_module(self.device).manual_seed(seed)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self.begin_step(batch, batch_idx)
        terms = self.losses(self.drop_modalities(batch))
        self.meter.add(terms, batch_idx, batch.global_size)
        if batch.present.device.type == "cpu" or batch_idx % CHECK_EVERY == CHECK_EVERY - 1:
            self.refuse_non_finite()
        self.last_step_loss = terms["loss"].detach()
        return terms["loss"] * self.gradient_scale()

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        if self.schedule is not None:
            self.schedule.after_step()

    def on_train_epoch_end(self) -> None:
        self.refuse_non_finite()
        self.epoch_means = self.meter.means()
        self.meter.reset()

    @property
    def monitorable(self) -> tuple[str, ...]:
        """The validation metrics that there are while it trains, or that can be made for it: what selects its epoch."""
        losses = [f"val/{name}" for name in self.validation_losses]
        classes = ["acc_argmax"] if isinstance(self.objective, CrossEntropy) else []
        return (*losses, *(f"val/{name}" for name in (*METRICS[self.metrics], *classes)))

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
            batches = self.trainer.datamodule.train_batches  # type: ignore[attr-defined]
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

    # Help

    def refuse_non_finite(self) -> None:
        """Raises NonFiniteLossError with the term, the step and the clips."""
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
