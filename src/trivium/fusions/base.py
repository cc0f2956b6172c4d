"""What a fusion is: the pooled vectors of the modalities that are present in, one joint vector out.

Legend: B clips, M modalities, E joint embedding, P_m the pooled size of modality m.
"""

from __future__ import annotations

from torch import Tensor, nn

from trivium.encoders.base import Encoded


class Fusion(nn.Module):
    """Subclasses take `dims` first (modality -> P_m, in the data module's order) and their YAML's keys as keyword
    arguments, set `dim` (E) and implement `forward`.

    `encoded` reaches a fusion with the pooled vectors and tokens of absent modalities already zeroed and their masks
    cleared; `present_BM` says which are absent, columns in the order of `dims`.
    additive: whether a linear head on the joint vector gives a sum of one score a modality (TCMax's closed form asks).
    """

    additive: bool = False
    dim: int

    def forward(self, encoded: dict[str, Encoded], present_BM: Tensor) -> Tensor:
        raise TypeError(f"{type(self).__name__} defines no forward")
