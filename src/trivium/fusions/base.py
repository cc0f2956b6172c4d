"""The contract of fusions: the encoded modalities that are present in, one joint vector out.

Legend: B clips, M modalities, E joint embedding, P_m the pooled size of modality m, Q_m what a fusion makes of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from trivium.encoders.base import Encoded


class Fusion(nn.Module):
    """Fuses modalities. Subclasses set `dims` and `dim` (E) and implement `forward`, or `combine`, or both.

    Their constructor takes `dims` first (modality -> P_m, in the data module's order) and their YAML's keys as keyword
    arguments.

    `encoded` reaches a fusion with the pooled vectors and tokens of absent modalities already zeroed and their masks
    cleared (Method.encode), so a fusion masks nothing again. `present_BM` says which are absent, columns in the order
    of `dims`, for formulas that ask.

    For objectives that pair modalities of different clips (TCMax) the joint vector is the sum of `combine` over the
    blocks of what `separate` gives:
    blocks: groups of modalities, each modality in one, whose contributions to the joint vector add up, so that a linear
    head's scores do too.
    `separate` is what a modality goes through alone, once a clip; `combine` what mixes the modalities of one block, for
    every pairing. A fusion without a `combine` is one block, and its `forward` is asked for each pairing.

    reads: "pooled" vectors, or "tokens"; `dims` then holds the tokens' sizes (Encoder.token_dim or Encoder.dim). The
    part of a modality is then all its tokens, end to end, each with 1 behind it where it is real and 0 elsewhere.
    """

    reads: ClassVar[Literal["pooled", "tokens"]] = "pooled"
    dims: dict[str, int]
    dim: int

    @property
    def blocks(self) -> tuple[tuple[str, ...], ...]:
        return (tuple(self.dims),)

    @property
    def additive(self) -> bool:
        """Says whether a linear head's scores are a sum of one score a modality (TCMax's closed form asks)."""
        return all(len(block) == 1 for block in self.blocks)

    @property
    def random_combine(self) -> bool:
        """Says whether `combine` has dropout, so that asking twice gives two answers."""
        return type(self).combine is Fusion.combine and any(
            isinstance(part, nn.modules.dropout._DropoutNd) and part.p > 0 for part in self.modules()
        )

    def forward(self, encoded: dict[str, Encoded], present_BM: Tensor) -> Tensor:
        """Returns (B, E): the sum over blocks, unless a subclass has a shorter way."""
        if type(self).combine is Fusion.combine:
            raise TypeError(f"{type(self).__name__} defines neither forward nor combine")
        return self.join(self.separate(encoded, present_BM), dict(zip(self.dims, present_BM.unbind(1), strict=True)))

    def fuse(self, inputs: Mapping[str, Tensor], present_BM: Tensor | None = None) -> Tensor:
        """Returns (B, E) of plain tensors: modality -> vectors (B, P_m), or tokens (B, T, E_m) for fusions of tokens.

        present_BM: bool, which clips have which modality, columns in the order of `dims`; all if None. What is absent
        is cleared. Raises ValueError for other modalities or sizes than `dims`.

        >>> import torch
        >>> from trivium.fusions import LowRank
        >>> fusion = LowRank({"text": 5, "audio": 3}, out=8, rank=2)
        >>> fusion.fuse({"text": torch.randn(4, 5), "audio": torch.randn(4, 3)}).shape
        torch.Size([4, 8])
        """
        sizes = {name: value.shape[-1] for name, value in inputs.items()}
        if sizes != self.dims:
            raise ValueError(f"{type(self).__name__}: inputs of sizes {sizes}; expected {self.dims}")
        clips, device = len(next(iter(inputs.values()))), next(iter(inputs.values())).device
        if present_BM is None:
            present_BM = torch.ones(clips, len(self.dims), dtype=torch.bool, device=device)
        encoded = {}
        for column, name in enumerate(self.dims):
            value, here_B = inputs[name], present_BM[:, column]
            value = torch.where(here_B.view(-1, *[1] * (value.dim() - 1)), value, 0.0)
            tokens_BTE = value if value.dim() == 3 else value[:, None]
            mask_BT = here_B[:, None].expand(tokens_BTE.shape[:2])
            encoded[name] = Encoded(tokens_BTE, mask_BT, value if value.dim() == 2 else value[:, :0, 0])
        joint_BE: Tensor = self(encoded, present_BM)
        return joint_BE

    def separate(self, encoded: Mapping[str, Encoded], present_BM: Tensor) -> dict[str, Tensor]:
        """Returns modality -> (B, Q_m): all of the fusion that sees one modality only. Dropout belongs here."""
        if self.reads == "tokens":
            return {name: _as_row(encoded[name], present_BM[:, m]) for m, name in enumerate(self.dims)}
        return {name: encoded[name].pooled for name in self.dims}

    def combine(self, block: tuple[str, ...], parts: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """Returns (..., E), what `block` adds to the joint vector.

        parts (..., Q_m) and present (...) bool are those of the block's modalities.

        Leading dimensions broadcast against one another: (b, 1, Q) and (1, c, Q) make (b, c, E). Where a modality is
        not present its part's content counts for nothing. Without randomness: it is evaluated twice, once for values
        and once for gradients.
        """
        shape = torch.broadcast_tensors(*(part[..., 0] for part in parts.values()))[0].shape  # type: ignore[no-untyped-call]
        encoded = {}
        for name, part in parts.items():
            rows = part.expand(*shape, part.shape[-1]).reshape(-1, part.shape[-1])
            present_B = present[name].expand(shape).reshape(-1)
            if self.reads == "tokens":
                encoded[name] = _from_row(rows, present_B, self.dims[name])
            else:
                rows = torch.where(present_B[:, None], rows, 0.0)
                encoded[name] = Encoded(rows[:, None], present_B[:, None], rows)
        present_BM = torch.stack([present[name].expand(shape).reshape(-1) for name in self.dims], dim=1)
        return self(encoded, present_BM).unflatten(0, shape)  # type: ignore[no-any-return]

    def join(self, parts: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """Returns (..., E), the joint vector of parts: `combine` summed over the blocks."""
        joint, *others = [
            self.combine(block, {name: parts[name] for name in block}, {name: present[name] for name in block})
            for block in self.blocks
        ]
        for other in others:
            joint = joint + other
        return joint

    def make_head(self, outputs: int) -> nn.Module | None:
        """Returns a linear head that belongs to the fusion, or None for a plain nn.Linear.

        It maps (..., E) to (..., K), and has `weight` (K, E) and `bias` (K,) or None. Methods whose head is not linear
        do not ask.
        """
        return None


def _as_row(encoded: Encoded, present_B: Tensor) -> Tensor:
    """Returns (B, T (E + 1)): the tokens, and whether each is real, zeros where it is not."""
    real_BT1 = (encoded.mask & present_B[:, None])[..., None]
    return torch.cat([torch.where(real_BT1, encoded.tokens, 0.0), real_BT1.to(encoded.tokens.dtype)], dim=-1).flatten(1)


def _from_row(rows_BQ: Tensor, present_B: Tensor, size: int) -> Encoded:
    """Undoes `_as_row`; the pooled vectors are empty."""
    tokens_BTX = rows_BQ.view(len(rows_BQ), -1, size + 1)
    real_BT = (tokens_BTX[..., -1] > 0.5) & present_B[:, None]
    return Encoded(tokens_BTX[..., :-1], real_BT, rows_BQ[:, :0])
