"""Learned vectors in the place of absent modalities, for fusions that otherwise see zeros there.

Legend: B clips, M modalities, T steps, P pooled size, E token size.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trivium.encoders.base import Encoded, Encoder
from trivium.fusions.base import Fusion

STAND_INS = ("zero", "learned")


class StandIns(nn.Module):
    """One vector a modality, zero at first: of its pooled size, or its token's where the fusion reads tokens."""

    def __init__(self, sizes: Mapping[str, int], reads: str) -> None:
        super().__init__()
        self.reads, self.names = reads, list(sizes)
        # a ParameterList: a ParameterDict would refuse modalities with names such as "keys"
        self.vectors = nn.ParameterList(torch.zeros(size) for size in sizes.values())

    def forward(self, encoded: Mapping[str, Encoded], present_BM: Tensor) -> tuple[dict[str, Encoded], Tensor]:
        """The encoded modalities, absent ones as their stand-in (one token), and everything present."""
        stood: dict[str, Encoded] = {}
        for m, (name, vector) in enumerate(zip(self.names, self.vectors, strict=True)):
            one, here_B = encoded[name], present_BM[:, m]
            if self.reads == "pooled":
                stood[name] = Encoded(one.tokens, one.mask, torch.where(here_B[:, None], one.pooled, vector))
                continue
            first_T = torch.arange(one.mask.shape[1], device=one.mask.device) == 0
            in_place_BT = ~here_B[:, None] & first_T
            tokens_BTE = torch.where(in_place_BT[..., None], vector, one.tokens)
            stood[name] = Encoded(tokens_BTE, one.mask | in_place_BT, one.pooled)
        return stood, torch.ones_like(present_BM)


def make_stand_ins(wish: str, encoders: Mapping[str, Encoder], fusion: Fusion) -> StandIns | None:
    """None for "zero". Raises ValueError for an unknown wish."""
    if wish not in STAND_INS:
        raise ValueError(f"method.stand_in: {wish!r}; expected one of {', '.join(STAND_INS)}")
    return StandIns({name: fusion.dims[name] for name in encoders}, fusion.reads) if wish == "learned" else None
