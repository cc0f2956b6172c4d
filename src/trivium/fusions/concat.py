"""Fuses by concatenation and a small network, which with its defaults is Self-MM's F_m* (Yu et al., 2021).

Legend: B clips, M modalities, E joint embedding.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from trivium.encoders.base import Encoded
from trivium.fusions.base import Fusion
from trivium.fusions.pooled_vectors import (
    activation_of,
    bias_of,
    check_sizes,
    or_absent,
    pad_to_concatenation,
    pooled_vectors,
    split,
    weight_of,
)


class Concat(Fusion):
    """Concatenates: [x_1; ...; x_M] -> (dropout -> Linear -> activation) for each of `hidden` and for `out`.

    An absent modality is a zero vector. The fusion is additive if at most one Linear follows, and no activation.

    out: E; 0 leaves the concatenation as it is, but for dropout. With a linear head that is TCMax's concat head.
    hidden: sizes of layers before `out`.
    hidden_dropout: probability of dropout before each Linear but the first; None takes `dropout`.
    Raises ValueError for negative sizes, hidden layers before no output, and an unknown activation.
    """

    def __init__(
        self,
        dims: Mapping[str, int],
        *,
        out: int = 128,
        dropout: float = 0.0,
        activation: str = "relu",
        hidden: Sequence[int] = (),
        hidden_dropout: float | None = None,
    ) -> None:
        super().__init__()
        if out == 0 and hidden:
            raise ValueError(f"hidden: expected [] with out=0, which is the bare concatenation, found {list(hidden)}")
        check_sizes(dims, out=out or 1, hidden=min(hidden, default=1))
        self.dims, self.dim = dict(dims), out or sum(dims.values())
        layers: list[nn.Module] = []
        for size, after in itertools.pairwise([sum(dims.values()), *hidden, out]):
            layers += [nn.Dropout(dropout), nn.Linear(size, after), activation_of(activation)] if after else []
            dropout = dropout if hidden_dropout is None else hidden_dropout
        self.layers = nn.Sequential(*(layers or [nn.Dropout(dropout)]))
        self.bare = out == 0
        self._additive = self.bare or (activation == "none" and not hidden)

    @property
    def blocks(self) -> tuple[tuple[str, ...], ...]:
        return tuple((name,) for name in self.dims) if self._additive else (tuple(self.dims),)

    @property
    def random_combine(self) -> bool:
        # The first layer is dropout on single modalities, which `separate` applies.
        return any(isinstance(layer, nn.Dropout) and layer.p > 0 for layer in list(self.layers)[1:])

    def forward(self, encoded: dict[str, Encoded], present_BM: Tensor) -> Tensor:
        joint_BE: Tensor = self.layers(torch.cat(list(pooled_vectors(self.dims, encoded).values()), dim=1))
        return joint_BE

    def separate(self, encoded: Mapping[str, Encoded], present_BM: Tensor) -> dict[str, Tensor]:
        """Returns each modality's share of the first Linear's output, without the bias; with out=0 the vectors."""
        vectors = pooled_vectors(self.dims, encoded, self.layers[0])
        if self.bare:
            return vectors
        weights = split(weight_of(self.layers[1]), list(self.dims.values()))
        return {
            name: nn.functional.linear(vector, weight)
            for (name, vector), weight in zip(vectors.items(), weights, strict=True)
        }

    def combine(self, block: tuple[str, ...], parts: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        first, *others = [or_absent(parts[name], present[name]) for name in block]
        if self.bare:
            return pad_to_concatenation(first, self.dims, block[0])
        if self._additive:
            # Each modality is a block of its own, so each gets an equal share of the one bias.
            return first + bias_of(self.layers[1]) / len(self.dims)
        for other in others:
            first = first + other
        joint: Tensor = self.layers[2:](first + bias_of(self.layers[1]))
        return joint
