"""Fuses by gates: one modality behind the gates of the others (gated), or each behind each other's (bigated).

For two modalities they are the heads of these names in TCMax's public code (docs/methods/tcmax.md).

Legend: B clips, M modalities, E joint embedding.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from torch import Tensor, nn

from trivium.encoders.base import Encoded
from trivium.fusions.base import Fusion
from trivium.fusions.pooled_vectors import (
    bias_of,
    check_sizes,
    concatenate,
    each_through,
    modality_or_default,
    or_absent,
    pooled_vectors,
    several,
)


class Gated(Fusion):
    """Gates one modality v: (W_v x_v + b_v) * the product over the other modalities m of sigmoid(W_m x_m + b_m).

    For two modalities this is TCMax's gated head without its last Linear; the product over more is ours.
    An absent modality is a zero vector: its gate is sigmoid(b_m), its value is b_v.

    out: E. value: v, a modality; "" is the last. dropout: on each x_m.
    Raises ValueError for sizes below 1, fewer than two modalities and an unknown `value`.
    """

    by_modality = "project"

    def __init__(self, dims: Mapping[str, int], *, out: int = 128, value: str = "", dropout: float = 0.0) -> None:
        super().__init__()
        check_sizes(dims, out=out)
        names = several(dims, "gated")
        self.dims, self.dim = dict(dims), out
        self.value = modality_or_default(names, "value", value, names[-1])
        self.dropout = nn.Dropout(dropout)
        self.project = nn.ModuleList(nn.Linear(size, out) for size in dims.values())

    def separate(self, encoded: Mapping[str, Encoded], present_BM: Tensor) -> dict[str, Tensor]:
        """Returns the value of v and the gates of the others, Q_m = E."""
        logits = each_through(self.project, pooled_vectors(self.dims, encoded, self.dropout))
        return {name: self._gate(name, logits[name]) for name in self.dims}

    def combine(self, block: tuple[str, ...], parts: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        # A Linear makes its bias of an absent modality's zero vector. TCMax takes modalities away after `separate`, so
        # that their parts cannot hold it.
        joint, *others = [
            or_absent(parts[name], present[name], self._gate(name, bias_of(project)))
            for name, project in zip(self.dims, self.project, strict=True)
        ]
        for other in others:
            joint = joint * other
        return joint

    def _gate(self, name: str, logits: Tensor) -> Tensor:
        return logits if name == self.value else logits.sigmoid()


class BiGated(Fusion):
    """Gates both ways: [sigmoid(W_mn x_m + b_mn) * (V_mn x_n + c_mn)] over all ordered pairs m, n; E = M (M - 1) out.

    A linear head on this is one head a pair, with their scores added. For two modalities it is TCMax's bigated head, in
    which each direction has parameters and an output head of its own; taking all pairs of more modalities is ours.
    An absent modality is a zero vector.

    out: size of a pair's product. dropout: on each x_m.
    Raises ValueError for sizes below 1 and fewer than two modalities.
    """

    by_modality = "project"

    def __init__(self, dims: Mapping[str, int], *, out: int = 128, dropout: float = 0.0) -> None:
        super().__init__()
        check_sizes(dims, out=out)
        self.pairs = list(itertools.permutations(several(dims, "bigated"), 2))
        self.dims, self.dim, self.out = dict(dims), len(self.pairs) * out, out
        self.dropout = nn.Dropout(dropout)
        # The outputs for a modality: its gates on each of the others, in their order, then its values under the gate of
        # each of the others.
        self.project = nn.ModuleList(nn.Linear(size, 2 * (len(dims) - 1) * out) for size in dims.values())

    def separate(self, encoded: Mapping[str, Encoded], present_BM: Tensor) -> dict[str, Tensor]:
        """Returns each modality's logits of gates and its values, Q_m = 2 (M - 1) out."""
        return each_through(self.project, pooled_vectors(self.dims, encoded, self.dropout))

    def combine(self, block: tuple[str, ...], parts: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        gates: dict[tuple[str, str], Tensor] = {}
        values: dict[tuple[str, str], Tensor] = {}
        for name, project in zip(self.dims, self.project, strict=True):
            others = [other for other in self.dims if other != name]
            # What a Linear makes of an absent modality's zero vector is its bias.
            pieces = or_absent(parts[name], present[name], bias_of(project)).chunk(2 * len(others), dim=-1)
            gates |= {(name, other): piece.sigmoid() for other, piece in zip(others, pieces, strict=False)}
            values |= {(other, name): piece for other, piece in zip(others, pieces[len(others) :], strict=True)}
        return concatenate([gates[pair] * values[pair] for pair in self.pairs])
