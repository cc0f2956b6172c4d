"""Puts learned vectors in the place of absent modalities, for fusions that would otherwise get zeros.

Legend: B clips, M modalities, T steps, P pooled size, E token size.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trivium.core.choices import check_choice
from trivium.encoders.base import Encoded, Encoder
from trivium.fusions.base import Fusion

STAND_INS = ("zero", "learned")


class StandIns(nn.Module):
    """Learns for each modality one vector, zero at first, that a fusion gets where the modality is absent.

    sizes: modality -> P, or E if `reads` is "tokens".
    """

    def __init__(self, sizes: Mapping[str, int], reads: str) -> None:
        super().__init__()
        self.reads, self.names = reads, list(sizes)
        # A list, because a ParameterDict refuses a modality named "keys".
        self.vectors = nn.ParameterList(torch.zeros(size) for size in sizes.values())

    def forward(self, encoded: Mapping[str, Encoded], present_BM: Tensor) -> tuple[dict[str, Encoded], Tensor]:
        """Returns the encoded modalities with a stand-in, one token, where they are absent, and all as present."""
        filled: dict[str, Encoded] = {}
        for m, (name, vector) in enumerate(zip(self.names, self.vectors, strict=True)):
            out, present_B = encoded[name], present_BM[:, m]
            if self.reads == "pooled":
                filled[name] = Encoded(out.tokens, out.mask, torch.where(present_B[:, None], out.pooled, vector))
                continue
            first_T = torch.arange(out.mask.shape[1], device=out.mask.device) == 0
            stand_in_BT = ~present_B[:, None] & first_T
            tokens_BTE = torch.where(stand_in_BT[..., None], vector, out.tokens)
            filled[name] = Encoded(tokens_BTE, out.mask | stand_in_BT, out.pooled)
        return filled, torch.ones_like(present_BM)


def make_stand_ins(stand_in: str, encoders: Mapping[str, Encoder], fusion: Fusion) -> StandIns | None:
    """Returns the stand-ins of method.stand_in=learned, or None for zero. Raises ValueError for others."""
    check_choice("method.stand_in", stand_in, STAND_INS)
    return StandIns({name: fusion.dims[name] for name in encoders}, fusion.reads) if stand_in == "learned" else None
