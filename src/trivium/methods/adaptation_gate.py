"""Defines the multimodal adaptation gate, MAG (Rahman et al., ACL 2020), and aligns other modalities' steps to tokens.

Legend: B clips, T tokens, F steps of another modality, A size of a token, D_m features of modality m.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.linalg import vector_norm

from trivium.core.choices import check_choice
from trivium.core.precision import at_least_float32
from trivium.data.batch import Words

BIASES = ("gated", "common")
# BERT's initial weights, which the authors' code gives to the gate too.
INITIAL_STD = 0.02


class AdaptationGate(nn.Module):
    """Shifts each token by gated maps of the other modalities' vectors, at most `beta` times the token's own length.

    gate_m  = relu(Linear([x_m; z])), H = sum over m of gate_m * Linear(x_m)
    output  = dropout(LayerNorm(z + min(beta |z| / |H|, 1) H))

    sizes: modality -> D_m. bias: "gated" (each Linear(x_m) has its own, inside the product, as in the authors' code) or
    "common" (one for H, outside of it).
    Raises ValueError for another bias and a beta of 0 or less.
    """

    def __init__(
        self, dim: int, sizes: Mapping[str, int], *, beta: float = 1.0, dropout: float = 0.5, bias: str = "gated"
    ) -> None:
        super().__init__()
        if not beta > 0:
            raise ValueError(f"method.beta: expected a number above 0, found {beta}")
        gated = check_choice("method.bias", bias, BIASES) == "gated"
        self.beta, self.names = beta, list(sizes)
        # Lists in the order of the modalities, because a ModuleDict refuses a modality named "keys".
        self.gates = nn.ModuleList(nn.Linear(size + dim, dim) for size in sizes.values())
        self.shifts = nn.ModuleList(nn.Linear(size, dim, bias=gated) for size in sizes.values())
        self.common_bias = None if gated else nn.Parameter(torch.zeros(dim))
        self.norm, self.dropout = nn.LayerNorm(dim), nn.Dropout(dropout)
        for layer in (*self.gates, *self.shifts):
            nn.init.normal_(layer.get_parameter("weight"), std=INITIAL_STD)
            if getattr(layer, "bias", None) is not None:
                nn.init.zeros_(layer.get_parameter("bias"))

    def forward(self, z_BTA: Tensor, vectors: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """Returns the adapted tokens, (B, T, A).

        vectors: modality -> (B, T, D_m), one vector a token. present: modality -> (B,) bool; an absent modality adds
        nothing to H, not even the biases.
        """
        shift_BTA = self.scale(z_BTA, self.shift(z_BTA, vectors, present))
        adapted: Tensor = self.dropout(self.norm(z_BTA + shift_BTA.to(z_BTA.dtype)))
        return adapted

    def shift(self, z_BTA: Tensor, vectors: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """Returns H, (B, T, A)."""
        total_BTA = torch.zeros_like(z_BTA)
        for name, gate, shift in zip(self.names, self.gates, self.shifts, strict=True):
            term_BTA = gate(torch.cat([vectors[name], z_BTA], dim=-1)).relu() * shift(vectors[name])
            total_BTA = total_BTA + torch.where(present[name][:, None, None], term_BTA, 0.0)
        if self.common_bias is not None:
            some_B = torch.stack([present[name] for name in self.names]).any(dim=0)
            total_BTA = total_BTA + torch.where(some_B[:, None, None], self.common_bias, 0.0)
        return total_BTA

    def scale(self, z_BTA: Tensor, shift_BTA: Tensor) -> Tensor:
        """Returns alpha H, whose length is at most beta |z|; float32 at least."""
        z_BTA, shift_BTA = at_least_float32(z_BTA), at_least_float32(shift_BTA)
        # The gradient of torch's norm at 0 is 0; that of the square root of a sum of squares would be NaN.
        length_BT1 = vector_norm(shift_BTA, dim=-1, keepdim=True)
        length_BT1 = torch.where(length_BT1 == 0, 1.0, length_BT1)
        alpha_BT1 = (self.beta * vector_norm(z_BTA, dim=-1, keepdim=True) / (length_BT1 + 1e-6)).clamp(max=1.0)
        scaled: Tensor = alpha_BT1 * shift_BTA
        return scaled


def align(values_BFD: Tensor, real_BF: Tensor, tokens_BT: Tensor, words: Words | None = None) -> Tensor:
    """Returns (B, T, D): for each token the mean of the steps that fall to it.

    A clip of as many steps as words is aligned by words: every token of a word gets the word's step, as in the
    authors' code. A word whose tokens are cut off takes its step with it.
    In other clips token i of n gets steps floor(i F / n) up to ceil((i + 1) F / n), which are one at least. F counts
    the clip's real steps. A clip of as many steps as tokens is so aligned one to one.

    real_BF: bool, the clip's steps, which come first. tokens_BT: bool, the tokens that take part; the others get zeros,
    as do all of a clip without steps, and in a clip that is aligned by words the tokens that are of no word.
    words: which word each token is of; None if that is not known, and then no clip is aligned by words.
    """
    number_BT = tokens_BT.cumsum(dim=1) - 1
    count_B1, steps_B1 = tokens_BT.sum(dim=1, keepdim=True).clamp(min=1), real_BF.sum(dim=1, keepdim=True)
    start_BT = number_BT * steps_B1 // count_B1
    end_BT = ((number_BT + 1) * steps_B1 + count_B1 - 1) // count_B1
    if words is not None:
        by_words_B1 = words.counts[:, None] == steps_B1
        start_BT = torch.where(by_words_B1, words.numbers, start_BT)
        end_BT = torch.where(by_words_B1, words.numbers + 1, end_BT)
        tokens_BT = torch.where(by_words_B1, words.numbers >= 0, tokens_BT)
    step_F = torch.arange(real_BF.shape[1], device=real_BF.device)
    taken_BTF = (step_F >= start_BT[..., None]) & (step_F < end_BT[..., None])
    taken_BTF = taken_BTF & tokens_BT[..., None] & real_BF[:, None]
    share_BTF = taken_BTF / taken_BTF.sum(dim=-1, keepdim=True).clamp(min=1)
    return share_BTF.to(values_BFD.dtype) @ torch.where(real_BF[..., None], values_BFD, 0.0)
