"""Self-MI's two levels of mutual information as modules: between the joint vector and each modality, and between pairs
of modalities. The estimators themselves are in trivium.objectives.

Legend: N clips of the global batch, B clips on this rank, E joint embedding, P_s width of modality s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from trivium.objectives.barber_agakov import Conditional, EntropyProjection, class_entropy
from trivium.objectives.cpc import Direction, Predictor, cpc_loss

Pair = tuple[str, str]


class FusionCPC(nn.Module):
    """CPC between the joint vector and each modality: one predictor G_s from E to P_s each."""

    def __init__(self, joint: int, sizes: Mapping[str, int], *, layers: int, direction: Direction) -> None:
        super().__init__()
        self.predictors = nn.ModuleDict({s: Predictor(joint, size, layers=layers) for s, size in sizes.items()})
        self.direction = direction

    def forward(
        self, joint_NE: Tensor, modality_NP: Mapping[str, Tensor], present_N: Mapping[str, Tensor], rows: slice
    ) -> dict[str, Tensor]:
        """modality -> (B,) loss of each of this rank's clips; every clip that has the modality is a candidate."""
        return {
            s: cpc_loss(predict(joint_NE), modality_NP[s], self.direction, rows=rows, present_N=present_N[s])
            for s, predict in self.predictors.items()
        }


class PairMI(nn.Module):
    """A bound on the mutual information of each pair (x, y), as a loss; estimator "cpc" or "ba" (Barber-Agakov).

    separate: q of the Barber-Agakov bound is fitted on detached vectors and the encoders see it fixed (MMIM's two
    stages, taken in one step); else one objective trains both. normalised: with the -0.5 log-variance term that the
    public code lacks.
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
    ) -> None:
        super().__init__()
        if estimator not in ("cpc", "ba"):
            raise ValueError(f"method.pair_estimator: {estimator!r}; expected cpc or ba")
        if estimator == "ba" and not normalised and not separate:
            raise ValueError(
                "method.ba_normalised=false without method.ba_optimisation=separate has no finite optimum: the log-"
                "variance grows without bound; choose separate, or keep the term"
            )
        self.pairs, self.estimator, self.direction = list(pairs), estimator, direction
        self.separate, self.normalised = separate, normalised
        self.critics = nn.ModuleDict()
        self.entropies = nn.ModuleDict()
        for x, y in pairs:
            if estimator == "cpc":
                self.critics[_key(x, y)] = Predictor(sizes[x], sizes[y], layers=layers)
            else:
                self.critics[_key(x, y)] = Conditional(sizes[x], sizes[y])
                # Fixed where q is fitted apart (MMIM never trains it); DDP must then not wait for its gradient.
                self.entropies[_key(x, y)] = EntropyProjection(sizes[y]).requires_grad_(not separate)
        self.memory: dict[str, tuple[Tensor, Tensor]] = {}  # pair -> rows and labels of the batch before

    def forward(
        self,
        local_BP: Mapping[str, Tensor],
        all_NP: Mapping[str, Tensor],
        present_N: Mapping[str, Tensor],
        labels_N: Tensor,
        rows: slice,
    ) -> dict[Pair, tuple[Tensor, Tensor | None]]:
        """pair -> (this rank's (B,) losses, and a scalar that every rank computes whole, or None).

        A clip that lacks one of the two has loss 0 and takes no part in the others'.
        """
        terms: dict[Pair, tuple[Tensor, Tensor | None]] = {}
        for x, y in self.pairs:
            both_N = present_N[x] & present_N[y]
            critic = self.critics[_key(x, y)]
            if isinstance(critic, Conditional):
                per_clip = -self._likelihood(critic, local_BP[x], local_BP[y]) * both_N[rows]
                terms[x, y] = per_clip, -self._entropy(_key(x, y), all_NP[y], labels_N * both_N)
            else:
                per_clip = cpc_loss(critic(all_NP[x]), all_NP[y], self.direction, rows=rows, present_N=both_N)
                terms[x, y] = per_clip, None
        return terms

    def _likelihood(self, q: Conditional, x_BP: Tensor, y_BP: Tensor) -> Tensor:
        if not self.separate:
            return q.log_likelihood(x_BP, y_BP, normalised=self.normalised)
        fitted = q.log_likelihood(x_BP.detach(), y_BP.detach(), normalised=self.normalised)
        seen = q.log_likelihood(x_BP, y_BP, normalised=self.normalised, frozen=True)
        return seen + fitted - fitted.detach()  # the value once, each gradient to whom it belongs

    def _entropy(self, key: str, y_NP: Tensor, labels_N: Tensor) -> Tensor:
        """Of this and the previous batch; the projection is fixed when q is fitted apart, as in MMIM."""
        rows_N = self.entropies[key](y_NP, frozen=self.separate)
        entropy = class_entropy(rows_N, labels_N, self.memory.get(key))
        if self.training:
            self.memory[key] = (rows_N.detach(), labels_N)
        return entropy

    def state(self) -> dict[str, dict[str, Tensor]]:
        return {key: {"rows": rows, "labels": labels} for key, (rows, labels) in self.memory.items()}

    def load_state(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        self.memory = {key: (before["rows"], before["labels"]) for key, before in state.items()}


def _key(x: str, y: str) -> str:
    return f"{x}__{y}"
