"""Defines what a method is: a training step, its random numbers, its optimiser and the state that checkpoints hold.

Legend: B clips, E joint embedding, K outputs of the head, C classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from trivium.core.metric_names import METRICS
from trivium.core.seeding import derive
from trivium.data.batch import Batch
from trivium.data.datamodule import DataModule
from trivium.data.erase import erase
from trivium.data.target import Target
from trivium.encoders.base import Encoded, Encoder
from trivium.fusions.base import Fusion
from trivium.methods.contract import Prediction as Prediction
from trivium.methods.contract import check_predict, check_terms
from trivium.methods.meter import Meter, NonFiniteLossError
from trivium.methods.modality_dropout import keep_by_law, keep_one
from trivium.methods.options import Options
from trivium.methods.stand_ins import make_stand_ins
from trivium.objectives.task import CrossEntropy, TaskObjective
from trivium.schedulers import Schedule

# On a GPU a non-finite loss is looked for once in this many steps, because reading it makes the host wait.
CHECK_EVERY = 50
# bfloat16 has 8 bits of precision: class numbers from 0 to 256 are exact.
_MOST_CLASSES_IN_BF16 = 257


@dataclass
class Parts:
    """Holds what trivium.methods.build makes a method of.

    train_clips: the number of clips in the train split. high: the largest label, for methods that generate labels; None
    if the store has no label range. options: the options that several methods share. longest: modality -> the length of
    the store's longest clip. mean_lengths: modality -> the mean length of the train clips that have it. word_steps: the
    modalities that have one step a word.
    """

    encoders: dict[str, Encoder]
    fusion: Fusion
    objective: TaskObjective
    train_clips: int
    high: float | None
    seed: int
    options: Options = field(default_factory=Options)
    longest: Mapping[str, int] = field(default_factory=dict)
    mean_lengths: Mapping[str, float] = field(default_factory=dict)
    word_steps: Collection[str] = ()


class Method(nn.Module, ABC):
    """Trains encoders, a fusion and what a subclass adds. The subclass implements `losses` and `predict`.

    It is a plain module with a LightningModule's hooks. For a training, trivium.methods.trainable makes its class a
    LightningModule, which has a `trainer`; everything that needs none works without.

    Its constructor takes `parts` first. The keys of its YAML are keyword arguments after that, except for those of the
    shared options, which are in `parts`. trivium.methods.build sets make_optimizer, make_schedule and metrics, the
    name of the protocol that scores the method (trivium.evaluation).

    tasks: those that the method is defined for, of trivium.data.target.Target.task.
    shared_options: the options of trivium.methods.options that the method takes.
    factored: True if it can train on objectives that need a score's factors (TaskObjective.factored).
    probed: True if its score is a linear probe of frozen features. Such a method has a `readout`
    (trivium.methods.readout) of vectors()["joint"], which trivium.evaluation.probe fits after training.
    learns_labels: False if no training step reads a label, so that clips without one can be trained on.
    optimizer_roles: the names of submodules that optimizer.groups can give rates of their own.
    validation_losses: the names of the losses that `validation_step` returns. Each can be monitored, as "val/NAME".
    unknown_id: what an erased word becomes where text comes as token ids; [UNK] of bert-base-uncased and -chinese.
    Raises ValueError for an unknown stand_in, and for an objective that needs factors if the method gives none.
    """

    shared_options: ClassVar[tuple[str, ...]] = ("modality_dropout",)
    tasks: ClassVar[tuple[str, ...]] = ("score", "scores", "classes", "labels")
    optimizer_roles: ClassVar[tuple[str, ...]] = ()
    factored: ClassVar[bool] = False
    probed: bool = False
    learns_labels: bool = True
    name: str = ""
    validation_losses: tuple[str, ...] = ("loss",)
    unknown_id: int = 100
    trainer: Any

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        if parts.objective.factored and not self.factored:
            name = type(parts.objective).__name__
            raise ValueError(
                f"objective: {name} scores modalities of different clips against each other, which "
                "method=tcmax does; choose that method, or objective=auto"
            )
        self.refuse_task(parts.objective.target)
        self.encoders = nn.ModuleDict(parts.encoders)
        self.fusion = parts.fusion
        self.objective = parts.objective
        self.seed = parts.seed
        self.dropout_rates = parts.options.rates("modality_dropout", parts.encoders)
        self.dropout_law = parts.options.law(parts.encoders)
        self.step_rates = parts.options.rates("step_dropout", parts.encoders)
        self.stand_ins = make_stand_ins(parts.options.stand_in, parts.encoders, parts.fusion)
        # Epoch and batch of the training step, both from 0. Random numbers are keyed by them.
        self.position = (0, 0)
        self.meter = Meter()
        self.metrics = "regression"
        self.added_metrics: dict[str, Callable[..., Any]] = {}  # name -> (scores (N,), targets (N,)) -> number
        self.make_optimizer: Callable[[Method], torch.optim.Optimizer] | None = None
        self.make_schedule: Callable[..., Schedule] | None = None
        self.schedule: Schedule | None = None
        self._saved_schedule: dict[str, Any] | None = None
        # True once a step has shown that `losses` and `predict` return what they should.
        self._checked = False

    @classmethod
    def refuse_task(cls, target: Target) -> None:
        """Raises ValueError unless the method is defined for such a target."""
        if target.task not in cls.tasks:
            raise ValueError(
                f"method: {cls.__name__} is not defined for {target.words}, which is the target; method=supervised "
                "takes every kind of target (docs/methods has a table)"
            )

    # What a subclass defines, or may define

    @abstractmethod
    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Returns named scalar terms, each a Batch.mean, and last, as "loss", the weighted sum that is trained on."""

    @abstractmethod
    def predict(self, batch: Batch) -> Prediction:
        """Returns the prediction from any non-empty subset of modalities (Batch.present)."""

    def vectors(self, batch: Batch) -> dict[str, Tensor]:
        """Returns what probes read, (B, E) each: "joint", and under each modality's name its pooled vector."""
        pooled = {name: encoded.pooled for name, encoded in self.encode(batch).items()}
        return {"joint": self.predict(batch).features, **pooled}

    @classmethod
    def fuses_inputs(cls, settings: Mapping[str, Any]) -> bool:
        """Says whether a fusion of tokens gets the features of numeric modalities in place of encoded tokens.

        settings: the method's config.
        """
        return False

    @property
    def parameter_roles(self) -> dict[str, str]:
        """Returns the prefix of a parameter's name -> the group of optimizer.groups whose rate and decay it has.

        Parameters of encoders have their modality's.
        """
        roles = {name: name for name in self.optimizer_roles}
        return roles | {f"fusion.{prefix}": modality for prefix, modality in self.fusion.roles.items()}

    @classmethod
    def fusion_sizes(cls, settings: Mapping[str, Any], sizes: Mapping[str, int]) -> Mapping[str, int]:
        """Returns name -> size of the vectors that the method gives to the fusion, `sizes` if they are the encoders'.

        settings: the method's config. sizes: modality -> size of the encoder's pooled vector, or of a token.
        """
        return sizes

    @classmethod
    def fusion_steps(
        cls, settings: Mapping[str, Any], longest: Mapping[str, int], names: Iterable[str]
    ) -> Mapping[str, int]:
        """Returns name -> the most tokens of it that the method gives to the fusion; `names` are what it fuses.

        settings: the method's config. longest: modality -> the length of the store's longest clip.
        """
        return {name: longest.get(name, 1) for name in names}

    def own_parts(self, modality: str) -> list[nn.Module]:
        """Returns the modules that read one modality alone: its encoder, and those of the fusion.

        The gradients of their parameters are that modality's (trivium.methods.learning_imbalance). A method overrides
        this where its encoders read other modalities too, or its fusion gets something else than their outputs.
        """
        return [self.encoders[modality], *self.fusion.own_parts(modality)]

    def gradient_scale(self) -> float:
        """Returns the factor on the loss before it is differentiated. The recorded loss is without it."""
        return 1.0

    # Shared parts of a step

    def encode(self, batch: Batch) -> dict[str, Encoded]:
        """Returns every modality encoded, with zeros and an empty mask where a clip lacks it."""
        return {name: self.encode_modality(batch, name) for name in self.encoders}

    def encode_modality(self, batch: Batch, name: str) -> Encoded:
        """Returns one modality encoded, with zeros and an empty mask where a clip lacks it."""
        # This is the only place where absence is masked. torch.where also stops NaN, which a product with 0 would not.
        out: Encoded = self.encoders[name](batch.streams[name])
        present_B = batch.present[:, list(self.encoders).index(name)]
        return Encoded(
            tokens=torch.where(present_B[:, None, None], out.tokens, 0.0),
            mask=out.mask & present_B[:, None],
            pooled=torch.where(present_B[:, None], out.pooled, 0.0),
        )

    def fuse(self, encoded: dict[str, Encoded], present_BM: Tensor) -> Tensor:
        """Returns the joint vector, (B, E). Absent modalities are zero, or learned stand-ins take their place."""
        if self.stand_ins is not None:
            encoded, present_BM = self.stand_ins(encoded, present_BM)
        joint_BE: Tensor = self.fusion(encoded, present_BM)
        return joint_BE

    def lose(self, batch: Batch) -> Batch:
        """Returns the batch without what training takes away: the steps of `step_dropout`, then whole modalities."""
        if any(self.step_rates.values()):
            like_B = batch.present[:, 0]
            rate_BM = torch.stack(
                [torch.full_like(like_B, self.step_rates[name], dtype=torch.float64) for name in batch.streams], dim=1
            )
            batch = self.erased(batch, rate_BM, self.step_key("step dropout"))
        return self.drop_modalities(batch)

    def drop_modalities(self, batch: Batch) -> Batch:
        """Returns the batch with each clip's modalities dropped with the probabilities of `modality_dropout`.

        What a clip loses does not depend on the clips it is batched with, and one modality stays.
        """
        if not any(self.dropout_rates.values()):
            return batch
        if self.dropout_law == "keep_one":
            rates = [self.dropout_rates[name] for name in batch.streams]
            keep_BM = keep_one(batch, rates, self.step_key("modality dropout"))
        else:
            (rate,) = set(self.dropout_rates.values())
            epoch, _ = self.position
            keep_BM = keep_by_law(batch, self.dropout_law, rate, self.seed, epoch)
        return batch.without(batch.present & ~keep_BM)

    def erased(self, batch: Batch, rate_BM: Tensor, key: int, clips_B: Tensor | None = None) -> Batch:
        """Returns the batch with each real step erased with its clip's and modality's probability.

        clips_B: as in trivium.data.erase.draw_lost.
        """
        return erase(batch, rate_BM, key, unknown_id=self.unknown_id, clips_B=clips_B)

    def refuse_unknown_id(self, key: str, instead: str, modalities: Iterable[str]) -> None:
        """Raises ValueError if an encoder of these reads token ids and has none for `unknown_id`.

        key, instead: what asks for erased words, and what to do about it.
        """
        for name in modalities:
            encoder = self.encoders[name]
            size = encoder.input_size
            if encoder.reads == "tokens" and isinstance(size, int) and not 0 <= self.unknown_id < size:
                raise ValueError(
                    f"{key}: an erased word of {name!r} becomes token {self.unknown_id}, and its encoder has {size} "
                    f"(0 to {size - 1}); {instead}"
                )

    def step_key(self, *names: str) -> int:
        """Returns a seed for draws of this step that concern the global batch. It is the same on every rank."""
        return derive(self.seed, *names, *self.position)

    def decode(self, outputs_BK: Tensor, features_BE: Tensor) -> Prediction:
        """Returns the prediction that the objective decodes from the head's outputs."""
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
        """Raises ValueError if stand-ins are to be learnt and no training clip lacks a modality.

        Also for class numbers that the precision of the batches would round.
        """
        target = self.objective.target
        if (
            target.kind == "classes"
            and len(target.names) > _MOST_CLASSES_IN_BF16
            and self.trainer.precision == "bf16-true"
        ):
            raise ValueError(
                f"trainer.precision=bf16-true holds whole numbers up to 256 alone, and the target has "
                f"{len(target.names)} classes; take bf16-mixed or 32-true"
            )
        erased = [name for name, rate in self.step_rates.items() if rate]
        self.refuse_unknown_id("method.step_dropout", "give the rates of the other modalities alone", erased)
        if self.stand_ins is None or any(self.dropout_rates.values()):
            return
        data: DataModule = self.trainer.datamodule
        clips = data.store.whole_split("train") if data.trains_on_unlabelled else data.store.split("train")
        if not any((clips.read(name, data.reads[name]).lengths == 0).any() for name in self.encoders):
            raise ValueError(
                "method.stand_in=learned: no clip of the train split lacks a modality, so there is nothing to learn "
                "it from; set method.modality_dropout above 0, or take method.stand_in=zero"
            )

    def begin_step(self, batch: Batch, batch_idx: int) -> None:
        """Keys the step's random numbers by (seed, epoch, batch, rank), so that a resumed run draws the same."""
        self.position = (self.current_epoch, batch_idx)
        seed = derive(self.seed, "step", self.current_epoch, batch_idx, batch.rank)
        # torch.manual_seed would do this for every device, but without CUDA it records the whole call stack each time,
        # which takes up to 1 ms.
        torch.default_generator.manual_seed(seed)
        if self.device.type != "cpu":
            torch.get_device_module(self.device).manual_seed(seed)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Returns "loss", which is differentiated, and "unscaled", this rank's loss without `gradient_scale`.

        Raises TypeError or ValueError in the first step if `losses` or `predict` do not return what they should, and
        NonFiniteLossError if a loss is not finite.
        """
        if not self._checked:
            check_predict(self, batch)
        self.begin_step(batch, batch_idx)
        terms = self.losses(self.lose(batch))
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
        """Returns the numbers of the epoch for the record: the mean of each loss term, and what a subclass adds.

        The run's recorder calls it once an epoch, on every rank. It resets the meter for the next epoch.
        """
        means = self.meter.means()
        self.meter.reset()
        return means

    @property
    def monitorable(self) -> tuple[str, ...]:
        """Lists the validation metrics that can select this method's epoch."""
        losses = [f"val/{name}" for name in self.validation_losses]
        of_score = isinstance(self.objective, CrossEntropy) and self.objective.target.is_score
        classes = ["acc_argmax"] if of_score else []
        return (*losses, *(f"val/{name}" for name in (*METRICS[self.metrics], *classes, *self.added_metrics)))

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """Returns "prediction" and, under each name of `validation_losses`, the (B,) losses of the batch's clips.

        "loss" is the task's loss, if the method has a task while it trains. A method that adds terms may return their
        weighted sum as "total". "prediction" is None if scores come only after training, from a probe.
        """
        prediction = self.predict(batch)
        return {"prediction": prediction, "loss": self.objective(prediction.outputs, batch.target)}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Makes the optimiser and the schedule, and restores the schedule's state in a resumed run."""
        assert self.make_optimizer is not None
        optimizer = self.make_optimizer(self)
        if self.make_schedule is not None:
            # Steps are counted from the store, because trainer.estimated_stepping_batches sets the loader up before a
            # checkpoint's position is restored.
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
        # The optimiser does not exist yet. Its learning rates are in the state that Lightning restores.
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
