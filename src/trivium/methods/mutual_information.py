"""Estimates Self-MI's mutual information: of the joint vector and each modality, and of pairs of modalities.

These modules hold the parameters. The estimators themselves are functions of trivium.objectives.
Legend: N clips of the global batch, B clips on this rank, E joint embedding, P_s width of modality s.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from trivium.core.choices import check_choice
from trivium.core.wording import undefined
from trivium.data.target import Target
from trivium.objectives.barber_agakov import Conditional, EntropyProjection, class_entropy, standardise
from trivium.objectives.cpc import CPCPredictor, Direction, cpc_loss

Pair = tuple[str, str]

# The least log variance of q, for y of variance 1. With a residual deviation of at least 3 % the part of q in the loss
# is never below -2.5 nats a feature, however much two modalities have in common.
LEAST_LOGVAR = math.log(1e-3)


class FusionCPC(nn.Module):
    """Computes CPC between the joint vector and each modality s, with a predictor G_s from E to P_s for each."""

    def __init__(self, joint: int, sizes: Mapping[str, int], *, layers: int, direction: Direction) -> None:
        super().__init__()
        self.predictors = nn.ModuleDict({s: CPCPredictor(joint, size, layers=layers) for s, size in sizes.items()})
        self.direction = direction

    def forward(
        self, joint_NE: Tensor, modality_NP: Mapping[str, Tensor], present_N: Mapping[str, Tensor], rows: slice
    ) -> dict[str, Tensor]:
        """Returns modality -> losses of this rank's clips, (B,), in nats; all clips that have it are candidates."""
        return {
            s: cpc_loss(predict(joint_NE), modality_NP[s], self.direction, rows=rows, present_N=present_N[s])
            for s, predict in self.predictors.items()
        }


class PairMI(nn.Module):
    """Computes bounds on the mutual information of each pair (x, y), as losses.

    estimator: "cpc", or "ba" for the Barber-Agakov bound. A term of the latter is divided by the size of y, so that it
    does not grow with it: its unit is nats a feature of y.
    layers, direction: of CPC.
    The other options are those of the Barber-Agakov bound:
    separate: True fits q on detached vectors and trains the encoders with q fixed, as MMIM's two stages do, but both in
    one step. False trains both on one objective.
    normalised: True includes the -0.5 log-variance term, which MMIM's public code lacks.
    standardised: True scales x and y to mean 0 and deviation 1 over the global batch, before q and the entropy.
    classes: those of the entropy, as `class_entropy` takes them; 0 is the sign of a score.
    Raises ValueError for an unknown estimator, and for the two forms whose optimum is no estimate: normalised but not
    standardised, and not normalised where q is not fitted separately.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        sizes: Mapping[str, int],
        estimator: str,
        layers: int,
        direction: Direction,
        separate: bool,
        normalised: bool,
        standardised: bool,
        classes: int = 0,
    ) -> None:
        super().__init__()
        check_choice("method.pair_estimator", estimator, ("cpc", "ba"))
        if estimator == "ba":
            _refuse_without_optimum(separate, normalised, standardised)
        self.pairs, self.estimator, self.direction = list(pairs), estimator, direction
        self.separate, self.normalised, self.standardised = separate, normalised, standardised
        self.classes = classes
        self.critics = nn.ModuleDict()
        self.entropies = nn.ModuleDict()
        for x, y in pairs:
            if estimator == "cpc":
                self.critics[_key(x, y)] = CPCPredictor(sizes[x], sizes[y], layers=layers)
            else:
                self.critics[_key(x, y)] = Conditional(sizes[x], sizes[y])
                # MMIM never trains the projection. Where it is fixed, DDP must not wait for its gradient.
                self.entropies[_key(x, y)] = EntropyProjection(sizes[y]).requires_grad_(not separate)
        # Pair -> projected rows and labels of the previous batch.
        self.memory: dict[str, tuple[Tensor, Tensor]] = {}

    def forward(
        self,
        local_BP: Mapping[str, Tensor],
        all_NP: Mapping[str, Tensor],
        present_N: Mapping[str, Tensor],
        labels_N: Tensor,
        rows: slice,
    ) -> dict[Pair, tuple[Tensor, Tensor, Tensor | None]]:
        """Returns pair -> (losses of this rank's clips, (B,); clips that have both modalities, (N,) bool; batch term).

        A clip that lacks one of the two takes no part in the losses of others, and its own is to be ignored. The batch
        term is minus the entropy, a scalar that every rank computes alike; it is None for cpc.

        local_BP, all_NP: modality -> vectors of this rank's clips, and of the global batch.
        present_N: modality -> the clips of the global batch that have it, bool.
        labels_N: `entropy_labels` of the clips; cpc does not read them. rows: this rank's clips.
        """
        terms: dict[Pair, tuple[Tensor, Tensor, Tensor | None]] = {}
        for x, y in self.pairs:
            both_N = present_N[x] & present_N[y]
            critic = self.critics[_key(x, y)]
            if isinstance(critic, Conditional):
                x_BP, y_BP, y_NP = local_BP[x], local_BP[y], all_NP[y]
                if self.standardised:
                    y_NP = standardise(y_NP, both_N)
                    x_BP, y_BP = standardise(all_NP[x], both_N)[rows], y_NP[rows]
                per_clip = -self._likelihood(critic, x_BP, y_BP) / y_NP.shape[1]
                entropy = self._entropy(_key(x, y), y_NP, labels_N * both_N) / y_NP.shape[1]
                terms[x, y] = per_clip, both_N, -entropy
            else:
                per_clip = cpc_loss(critic(all_NP[x]), all_NP[y], self.direction, rows=rows, present_N=both_N)
                terms[x, y] = per_clip, both_N, None
        return terms

    def _likelihood(self, q: Conditional, x_BP: Tensor, y_BP: Tensor) -> Tensor:
        """Returns log q(y|x) of each clip, (B,), in nats."""
        least = LEAST_LOGVAR if self.standardised else -math.inf
        density = functools.partial(q.log_likelihood, normalised=self.normalised, least_logvar=least)
        if not self.separate:
            return density(x_BP, y_BP)
        # MMIM's two stages in one step: q gets its gradient from detached vectors, the encoders theirs from a frozen q.
        # The two values are equal, and the last term takes one of them away again.
        for_q = density(x_BP.detach(), y_BP.detach())
        for_encoders = density(x_BP, y_BP, frozen=True)
        return for_encoders + for_q - for_q.detach()

    def _entropy(self, key: str, y_NP: Tensor, labels_N: Tensor) -> Tensor:
        """Returns H(y) of this and the previous batch, in nats. With `separate` the projection is fixed, as in MMIM."""
        rows_N = self.entropies[key](y_NP, frozen=self.separate)
        entropy = class_entropy(rows_N, labels_N, self.memory.get(key), classes=self.classes)
        if self.training:
            self.memory[key] = (rows_N.detach(), labels_N)
        return entropy

    def state(self) -> dict[str, dict[str, Tensor]]:
        """Returns the memory of the previous batch, for a checkpoint."""
        return {key: {"rows": rows, "labels": labels} for key, (rows, labels) in self.memory.items()}

    def load_state(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Restores what `state` returned."""
        self.memory = {key: (batch["rows"], batch["labels"]) for key, batch in state.items()}


def _refuse_without_optimum(separate: bool, normalised: bool, standardised: bool) -> None:
    """Raises ValueError for forms of the Barber-Agakov loss that fall without bound."""
    if normalised and not standardised:
        raise ValueError(
            "method.ba_standardised=false with method.ba_normalised=true has no finite optimum: scaling a modality's "
            "vectors down raises its log-likelihood without bound, and the encoders collapse. Take "
            "ba_standardised=true, or MMIM's own form, ba_normalised=false with ba_optimisation=separate"
        )
    if not normalised and not separate:
        raise ValueError(
            "method.ba_normalised=false without method.ba_optimisation=separate has no finite optimum: the log-"
            "variance grows without bound; take separate, or ba_normalised=true"
        )


def entropy_classes(target: Target, what: str, instead: str) -> int:
    """Returns the classes that `class_entropy` is taken over: 0, the two signs, for a score, and C of a target of C.

    Raises ValueError for other targets, which put a clip in no single class. what, instead: for that message.
    """
    if target.task in ("score", "classes"):
        return len(target.names)
    reason = "its entropy is that of each class, or of positive and of negative scores"
    raise ValueError(undefined(what, target.words, reason, instead))


def entropy_labels(target: Target, values_N: Tensor) -> Tensor:
    """Returns the labels of `class_entropy`, (N,): scores as they are, and class numbers from 1."""
    return values_N + 1 if target.kind == "classes" else values_N


def known_pairs(pairs: Sequence[Sequence[str]], sizes: Mapping[str, int]) -> list[tuple[str, str]]:
    """Returns the pairs of which both modalities are in the data.

    Raises ValueError for a name that is neither a modality of the data nor text, audio or vision.
    """
    known = {"text", "audio", "vision", *sizes}
    for pair in pairs:
        if len(pair) != 2 or not known.issuperset(pair):
            raise ValueError(f"method.pairs: {list(pair)}; expected two modalities of {sorted(known)}")
    return [(x, y) for x, y in pairs if x in sizes and y in sizes]


def warn_of_no_pairs(pairs: Sequence[Sequence[str]], sizes: Mapping[str, int], weight: str = "pair_weight") -> None:
    """Warns that no pair is of two modalities of the data; with a single modality there can be none, and no warning.

    weight: the method's key whose weight then adds nothing.
    """
    if len(sizes) > 1:
        warnings.warn(
            f"method.pairs: {[list(pair) for pair in pairs]} has no pair of {', '.join(sizes)}: "
            f"method.{weight} adds nothing; name pairs of them, or set method.{weight}=0",
            stacklevel=3,
        )


def _key(x: str, y: str) -> str:
    return f"{x}__{y}"
