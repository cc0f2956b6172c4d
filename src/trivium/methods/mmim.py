"""Trains MMIM (Han et al., EMNLP 2021, arXiv 2109.00412): prediction and mutual information at two levels.

L = task + cpc_weight * sum_m CPC(joint, m) - ba_weight * sum_pairs (lld(x, y) + H(y))
lld is the log-likelihood of a Gaussian q(y|x), and H an entropy of y in each class of the label's sign: together the
bound of Barber and Agakov on I(x; y) (trivium.objectives.barber_agakov). CPC is trivium.objectives.cpc.
Each epoch has two stages, each a pass over the training clips: the first fits every q alone, on vectors of encoders
that stay as they are; the second trains everything else, with q fixed. docs/methods/mmim.md explains the readings.
Legend: B clips on this rank, N of the global batch, M modalities, m a modality, E joint embedding, P size of a vector.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.linalg import vector_norm

from trivium.core.choices import check_choice
from trivium.core.distributed import sum_over_ranks, world
from trivium.core.precision import at_least_float32
from trivium.core.seeding import derive, keyed
from trivium.data.batch import Batch
from trivium.data.datamodule import BatchLoader, DataModule
from trivium.encoders.base import Encoded
from trivium.methods.base import Method, Parts, Prediction
from trivium.methods.heads import Head
from trivium.methods.meter import Meter, NonFiniteLossError
from trivium.methods.mutual_information import (
    FusionCPC,
    entropy_classes,
    entropy_labels,
    known_pairs,
    warn_of_no_pairs,
)
from trivium.methods.stand_ins import make_stand_ins
from trivium.objectives.barber_agakov import Conditional, EntropyProjection, class_entropy, memberships
from trivium.objectives.cpc import Direction

STAGES = ("two", "one")
INITIALISATIONS = ("xavier", "torch")
STAND_INS = ("zero", "learned", "conditional")
CLIP_NORMS = ("stepped", "all")


class MMIM(Method):
    """Trains on the task and on two levels of mutual information; configs/method/mmim.yaml explains the keywords.

    conditionals: pair -> q(y|x), a Gaussian. entropies: pair -> the projection of y, drawn once and never trained.
    memory: pair -> projected y and labels of the last `memory_batches` batches of this epoch.
    clips_all: True if the norm of trainer.gradient_clip counts what has a gradient and is not stepped, too.
    The entropy of the bound is defined for a score and for classes; with ba_weight=0 any target will do.
    Raises ValueError for unknown choices, numbers out of range, pairs of unknown modalities, and a bound on a target
    that has no single class.
    """

    optimizer_roles: ClassVar[tuple[str, ...]] = ("conditionals",)

    def __init__(
        self,
        parts: Parts,
        *,
        name: str = "mmim",
        cpc_weight: float = 0.1,
        ba_weight: float = 0.1,
        pairs: Sequence[Sequence[str]] = (("text", "vision"), ("text", "audio")),
        direction: Direction = "code",
        cpc_layers: int = 1,
        ba_normalised: bool = False,
        memory_batches: int = 1,
        stages: str = "two",
        first_stage: float = 1.0,
        initialisation: str = "xavier",
        stand_in: str = "zero",
        clip_norm: str = "stepped",
    ) -> None:
        super().__init__(parts)
        _check(parts, stages, initialisation, stand_in, memory_batches, first_stage)
        self.clips_all = check_choice("method.clip_norm", clip_norm, CLIP_NORMS) == "all"
        if self.clips_all and stages != "two":
            raise ValueError(
                f"method.clip_norm=all: counts the gradients of the stage that is not stepped; expected "
                f"method.stages=two, found {stages}"
            )
        self.name, self.cpc_weight, self.ba_weight = name, cpc_weight, ba_weight
        instead = "take method.ba_weight=0, which leaves its CPC beside the task, or method=supervised"
        self.classes = entropy_classes(parts.objective.target, f"method={name}", instead) if ba_weight else 0
        self.normalised, self.memory_batches = ba_normalised, memory_batches
        self.two_stages, self.first_stage, self.stand_in = stages == "two", first_stage, stand_in
        self.stand_ins = make_stand_ins("learned" if stand_in == "learned" else "zero", parts.encoders, parts.fusion)
        self.head = Head(parts.fusion.dim, parts.objective.outputs)
        sizes = {m: encoder.dim for m, encoder in parts.encoders.items()}
        self.pairs = known_pairs(pairs, sizes) if ba_weight or stand_in == "conditional" else []
        if ba_weight and not self.pairs:
            warn_of_no_pairs(pairs, sizes, "ba_weight")
        # These modules draw their weights from a key of their own, so that the others start as they do without them.
        self.cpc, self.conditionals, self.entropies = None, nn.ModuleDict(), nn.ModuleDict()
        with keyed(parts.seed, "mutual information"):
            if cpc_weight:
                self.cpc = FusionCPC(parts.fusion.dim, sizes, layers=cpc_layers, direction=direction)
            for x, y in self.pairs:
                self.conditionals[_key(x, y)] = Conditional(sizes[x], sizes[y])
                if ba_weight:
                    self.entropies[_key(x, y)] = EntropyProjection(sizes[y]).requires_grad_(False)
        if initialisation == "xavier":
            self._draw_xavier(parts)
        self.memory: dict[str, list[tuple[Tensor, Tensor]]] = {key: [] for key in self.entropies}
        # The last epoch whose first stage is done, and the losses of its steps.
        self.fitted_epoch = -1
        self.first_stage_meter = Meter()

    def _draw_xavier(self, parts: Parts) -> None:
        """Draws every matrix anew from Glorot's normal distribution, as MMIM does, but for encoders of token ids."""
        modules: dict[str, nn.Module] = {name: part for name, part in self.named_children() if name != "encoders"}
        modules |= {f"encoder {m}": encoder for m, encoder in parts.encoders.items() if encoder.reads != "tokens"}
        for name, module in modules.items():
            with keyed(parts.seed, "xavier", name):
                for parameter in module.parameters():
                    if parameter.ndim == 2:
                        nn.init.xavier_normal_(parameter)

    # The second stage: everything but q

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        if self.position[1] == 0:
            self.memory = {key: [] for key in self.entropies}
        encoded = self.encode(batch)
        joint_BE = self.fuse(encoded, batch.present)
        task_B = self.objective(self.head(joint_BE), batch.target)
        terms = {"task": batch.mean(task_B)}
        total = terms["task"]
        for name, (weight, value) in (self._cpc(batch, encoded, joint_BE) | self._bound(batch, encoded)).items():
            terms[name] = value
            total = total + weight * value
        return {**terms, "loss": total}

    def predict(self, batch: Batch) -> Prediction:
        joint_BE = self.fuse(self.encode(batch), batch.present)
        return self.decode(self.head(joint_BE), joint_BE)

    def fuse(self, encoded: dict[str, Encoded], present_BM: Tensor) -> Tensor:
        """Returns the joint vector, (B, E). With stand_in=conditional, q's mean is in the place of an absent y."""
        if self.stand_in != "conditional":
            return super().fuse(encoded, present_BM)
        encoded, present_BM = dict(encoded), present_BM.clone()
        columns = {m: column for column, m in enumerate(self.encoders)}
        known_BM = present_BM.clone()
        for x, y in self.pairs:
            stands_in_B = known_BM[:, columns[x]] & ~present_BM[:, columns[y]]
            with torch.no_grad():
                mean_BP, _ = self.conditionals[_key(x, y)](encoded[x].pooled)
            out = encoded[y]
            pooled_BP = torch.where(stands_in_B[:, None], mean_BP.to(out.pooled.dtype), out.pooled)
            encoded[y] = Encoded(out.tokens, out.mask, pooled_BP)
            present_BM[:, columns[y]] |= stands_in_B
        return super().fuse(encoded, present_BM)

    def _cpc(self, batch: Batch, encoded: Mapping[str, Encoded], joint_BE: Tensor) -> dict[str, tuple[float, Tensor]]:
        """Returns name -> (weight, Batch.mean) of CPC between the joint vector and each modality."""
        if self.cpc is None:
            return {}
        vectors = {m: batch.gather(encoded[m].pooled) for m in self.encoders}
        # A vector of zeros (ReLUs that are all off) has no direction: it is no anchor and no candidate.
        counted = {m: present_N & vectors[m].any(dim=1) for m, present_N in self._present(batch).items()}
        per_modality = self.cpc(batch.gather(joint_BE), vectors, counted, batch.rows)
        return {f"cpc_{m}": (self.cpc_weight, batch.mean(loss_B, counted[m])) for m, loss_B in per_modality.items()}

    def _bound(self, batch: Batch, encoded: Mapping[str, Encoded]) -> dict[str, tuple[float, Tensor]]:
        """Returns name -> (weight, term) of the bound's two parts for each pair, both as losses: -lld and -H.

        "singular" is recorded alone: the share of classes that have too few rows for a covariance of full rank, whose
        entropy the guard of `class_entropy` decides.
        """
        if not self.ba_weight:
            return {}
        terms: dict[str, tuple[float, Tensor]] = {}
        present = self._present(batch)
        labels_N = entropy_labels(self.objective.target, batch.gather(batch.target))
        singular: list[Tensor] = []
        for x, y in self.pairs:
            likelihood = self._likelihood(batch, encoded, x, y, "both" if self.clips_all else "vectors")
            if not self.two_stages:
                # q gets the gradient of the first stage in the same step; the value is taken away again.
                for_q = self._likelihood(batch, encoded, x, y, "q")
                likelihood = likelihood + (for_q - for_q.detach()) / self.ba_weight
            terms[f"ba_{x}_{y}"] = self.ba_weight, -likelihood
            entropy, few = self._entropy(_key(x, y), batch.gather(encoded[y].pooled), labels_N * present[y])
            terms[f"entropy_{x}_{y}"] = self.ba_weight, -entropy
            singular += few
        if singular:
            terms["singular"] = 0.0, torch.stack(singular).to(labels_N.dtype).mean()
        return terms

    def _likelihood(
        self, batch: Batch, encoded: Mapping[str, Encoded], x: str, y: str, reached: Literal["q", "vectors", "both"]
    ) -> Tensor:
        """Returns lld, the mean over the clips that have x and y of log q(y|x), summed over the features of y.

        reached: what the gradient reaches: q, the vectors x and y, or both.
        """
        x_BP, y_BP = encoded[x].pooled, encoded[y].pooled
        if reached == "q":
            x_BP, y_BP = x_BP.detach(), y_BP.detach()
        q: Conditional = self.conditionals[_key(x, y)]  # type: ignore[assignment]
        per_clip_B = q.log_likelihood(x_BP, y_BP, normalised=self.normalised, frozen=reached == "vectors")
        present = self._present(batch)
        return batch.mean(per_clip_B, present[x] & present[y])

    def _entropy(self, key: str, y_NP: Tensor, labels_N: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Returns H(y), which is 0 in the first memory_batches + 1 batches of an epoch, and which classes are singular.

        labels_N: 0 where a clip lacks y, so that it is in neither class.
        """
        rows_NP = self.entropies[key](y_NP)
        memory = self.memory[key]
        entropy, few = 0.0 * rows_NP.sum(), [labels_N.new_zeros((), dtype=torch.bool)]
        if self.position[1] > self.memory_batches and memory:
            columns = zip(*memory, strict=True)
            rows_MP, remembered_M = (torch.cat([part.to(y_NP.device) for part in parts]) for parts in columns)
            entropy = class_entropy(rows_NP, labels_N, (rows_MP, remembered_M), classes=self.classes)
            members = memberships(torch.cat([labels_N, remembered_M.to(labels_N)]), self.classes)
            few = [member.sum() <= rows_NP.shape[1] for member in members]
        if self.training:
            self.memory[key] = [*memory, (rows_NP.detach(), labels_N)][-self.memory_batches :]
        return entropy, few

    def _present(self, batch: Batch) -> dict[str, Tensor]:
        """Returns modality -> the clips of the global batch that have it, (N,) bool."""
        return {m: batch.present_everywhere[:, column] for column, m in enumerate(self.encoders)}

    # The first stage: q alone

    def setup(self, stage: str) -> None:
        """Hides q from DDP, which would wait for its gradients in the second stage; the first averages them itself."""
        if stage == "fit" and self.two_stages:
            self.conditionals.requires_grad_(False)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Makes one optimiser for both stages. Adam skips what has no gradient, so each stage moves its own part."""
        self.conditionals.requires_grad_(True)
        optimizer = super().configure_optimizers()
        self.conditionals.requires_grad_(not self.two_stages)
        return optimizer

    def on_fit_start(self) -> None:
        """Warns of labels on one side of 0. Raises ValueError for float16, whose loss scale two stages do not take."""
        super().on_fit_start()
        if self.two_stages and self.trainer.scaler is not None:
            raise ValueError("method.stages=two: not with trainer.precision=16-mixed; take bf16-mixed or 32-true")
        if self.clips_all and (not self.trainer.gradient_clip_val or self.trainer.gradient_clip_algorithm == "value"):
            raise ValueError(
                "method.clip_norm=all: there is no norm to clip by; set trainer.gradient_clip above 0 with "
                "trainer.gradient_clip_by=norm, or take method.clip_norm=stepped"
            )
        data: DataModule = self.trainer.datamodule
        labels_N = data.clips("train").targets["multimodal"]
        if self.entropies and not self.classes and not labels_N.min() < 0 < labels_N.max():
            warnings.warn(
                f"{self.name}: train labels lie in [{labels_N.min():g}, {labels_N.max():g}], all on one side of 0, so "
                "that one of the two classes of the entropy is empty. Shift the labels so that 0 is neutral, or set "
                "method.ba_weight=0",
                stacklevel=2,
            )

    def on_train_start(self) -> None:
        """Lets what the second stage does not step have a gradient, if that counts. DDP does not know of it by now."""
        if self.clips_all:
            self.conditionals.requires_grad_(True)
            self.entropies.requires_grad_(True)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Runs the first stage before an epoch's first step, unless a checkpoint of this epoch says that it is done."""
        if self.two_stages and self.pairs and self.fitted_epoch != self.current_epoch:
            self._fit_conditionals()
            self.fitted_epoch = self.current_epoch

    def on_fit_end(self) -> None:
        self.conditionals.requires_grad_(True)
        self.entropies.requires_grad_(False)

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clips the second stage's gradients; with clip_norm=all by the norm of all, q's and the projections' too."""
        if not self.clips_all:
            super().configure_gradient_clipping(  # type: ignore[misc]  # Lightning's
                optimizer, gradient_clip_val, gradient_clip_algorithm
            )
            return
        assert gradient_clip_val is not None
        unstepped = [*self.conditionals.parameters(), *self.entropies.parameters()]
        others = _mean_over_ranks([parameter.grad for parameter in unstepped if parameter.grad is not None])
        # They are cleared, so that the optimiser does not step them and nothing of them is left for the next window.
        for parameter in unstepped:
            parameter.grad = None
        _clip([p.grad for group in optimizer.param_groups for p in group["params"]], others, gradient_clip_val)

    def _fit_conditionals(self) -> None:
        """Fits every q by gradient steps on -lld, over the first `first_stage` of this epoch's batches."""
        loader: BatchLoader = self.trainer.train_dataloader.again()
        optimizer: torch.optim.Optimizer = self.trainer.optimizers[0]
        self.zero_grad(set_to_none=True)
        self.conditionals.requires_grad_(True)
        self.first_stage_meter.reset()
        for step, batch in zip(range(math.ceil(self.first_stage * len(loader))), loader):  # noqa: B905
            seed = derive(self.seed, "first stage", self.current_epoch, step, batch.rank)
            torch.default_generator.manual_seed(seed)
            if self.device.type != "cpu":
                torch.get_device_module(self.device).manual_seed(seed)
            # As Lightning does for a training step: float64 inputs with trainer.precision=64-true, autocast.
            batch = self.trainer.precision_plugin.convert_input(batch)
            with self.trainer.precision_plugin.train_step_context():
                with nullcontext() if self.clips_all else torch.no_grad():
                    encoded = self.encode(batch)
                reached: Literal["q", "both"] = "both" if self.clips_all else "q"
                lld = torch.stack([self._likelihood(batch, encoded, x, y, reached) for x, y in self.pairs])
            self._step_conditionals(-lld.sum(), optimizer)
            self.first_stage_meter.add({"first_stage": -lld.sum()}, step, batch.global_size)
        self.conditionals.requires_grad_(self.clips_all)
        if self.first_stage_meter.first_bad() is not None:
            raise NonFiniteLossError(
                f"the loss of the first stage is not finite at epoch {self.current_epoch + 1}; a smaller "
                "optimizer.groups.conditionals.lr or trainer.gradient_clip=1 may help"
            )

    def _step_conditionals(self, loss: Tensor, optimizer: Any) -> None:
        """Takes one step of q on the gradient of the global batch's loss.

        With clip_norm=all the gradients of the encoders, which are not stepped, count in the norm.
        """
        parameters = list(self.conditionals.parameters())
        unstepped = [p for p in self.encoders.parameters() if p.requires_grad] if self.clips_all else []
        all_gradients = torch.autograd.grad(loss, [*parameters, *unstepped], allow_unused=self.clips_all)
        gradients = _mean_over_ranks([gradient for gradient in all_gradients if gradient is not None])
        # Every q has a gradient, so that theirs come first.
        for parameter, gradient in zip(parameters, gradients, strict=False):
            parameter.grad = gradient
        if self.clips_all:
            _clip([p.grad for p in parameters], gradients[len(parameters) :], self.trainer.gradient_clip_val)
        elif self.trainer.gradient_clip_val:
            # The norm is that of the parameters that are stepped, as nothing else has a gradient.
            self.clip_gradients(  # type: ignore[operator]  # Lightning's
                optimizer, self.trainer.gradient_clip_val, self.trainer.gradient_clip_algorithm
            )
        optimizer.step()
        for parameter in parameters:
            parameter.grad = None

    def finish_epoch(self) -> dict[str, float]:
        """Returns the means of the terms, with that of the first stage's loss."""
        return super().finish_epoch() | self.first_stage_meter.means()

    # Checkpointed state beyond the weights

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["trivium"]["mmim"] = {
            "memory": self.memory,
            "fitted_epoch": self.fitted_epoch,
            "meter": self.first_stage_meter.state_dict(),
        }

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        state = checkpoint["trivium"]["mmim"]
        self.memory, self.fitted_epoch = dict(state["memory"]), state["fitted_epoch"]
        self.first_stage_meter.load_state_dict(state["meter"], self.trainer.strategy.root_device)


def _check(
    parts: Parts, stages: str, initialisation: str, stand_in: str, memory_batches: int, first_stage: float
) -> None:
    """Raises ValueError, naming the key, for choices that there are not and numbers out of range."""
    check_choice("method.stages", stages, STAGES)
    check_choice("method.initialisation", initialisation, INITIALISATIONS)
    check_choice("method.stand_in", stand_in, STAND_INS)
    if memory_batches < 1:
        raise ValueError(f"method.memory_batches: expected at least 1, found {memory_batches}")
    if not 0 < first_stage <= 1:
        raise ValueError(f"method.first_stage: expected a share above 0 and at most 1, found {first_stage}")
    if stand_in == "conditional" and parts.fusion.reads == "tokens":
        raise ValueError(
            "method.stand_in=conditional puts a vector in the place of an absent modality; expected a fusion of "
            f"vectors such as fusion=concat, found {type(parts.fusion).__name__}, which reads tokens"
        )


def _mean_over_ranks(gradients: Sequence[Tensor]) -> list[Tensor]:
    """Returns the mean of each gradient over the ranks, by one sum of all of them."""
    if not gradients:
        return []
    mean = sum_over_ranks(torch.cat([gradient.flatten() for gradient in gradients])) / world()
    parts = torch.split(mean, [gradient.numel() for gradient in gradients])
    return [part.view_as(gradient) for part, gradient in zip(parts, gradients, strict=True)]


def _clip(stepped: Sequence[Tensor | None], others: Sequence[Tensor], limit: float) -> None:
    """Scales the gradients that are stepped so that the norm of them and the others is at most `limit`.

    torch.nn.utils.clip_grad_norm_ does so with one list of parameters, all of which it scales.
    """
    scaled = [gradient for gradient in stepped if gradient is not None]
    norm = vector_norm(torch.stack([vector_norm(at_least_float32(gradient)) for gradient in (*scaled, *others)]))
    scale = (limit / (norm + 1e-6)).clamp(max=1.0)
    for gradient in scaled:
        gradient.mul_(scale.to(gradient.dtype))


def _key(x: str, y: str) -> str:
    return f"{x}__{y}"
