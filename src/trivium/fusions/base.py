"""Defines what a fusion is: it takes the encoded modalities that are present and returns one joint vector.

Legend: B clips, M modalities, E joint embedding, P_m pooled size of modality m, Q_m size of its part (see Fusion).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from trivium.encoders.base import Encoded


class Fusion(nn.Module):
    """Fuses modalities. Subclasses set `dims` and `dim` (E) and implement `forward`, or `combine`, or both.

    A subclass's constructor takes `dims` first (modality -> P_m, in the data module's order), then the keys of its YAML
    as keyword arguments.

    In `encoded` the pooled vectors and tokens of absent modalities are zero already, and their masks are empty
    (Method.encode), so that a fusion need not mask them again. `present_BM` says which modalities are absent, for
    formulas that depend on it; its columns are in the order of `dims`.

    Objectives that pair modalities of different clips (TCMax) need the joint vector in steps:
    `separate` computes what depends on one modality alone, once a clip. Its result is the modality's part, (B, Q_m).
    `combine` mixes the parts of one block of modalities, for every pairing of clips.
    `blocks` are groups of modalities, each modality in one of them. The joint vector is the sum of `combine` over the
    blocks, so that a linear head's scores are such a sum too.
    A fusion without a `combine` is a single block, and its `forward` runs for each pairing.

    by_modality: name of a list of modules in the order of `dims`, each of which reads one modality alone; "": none.
    roles: prefix of a parameter's name -> the modality whose rate and decay (optimizer.groups) the parameter has.
    unimodal_dim: the size of the vectors that `unimodal` returns; None if it returns the pooled vectors as they are.
    reads: "pooled" for pooled vectors, or "tokens"; `dims` then holds the sizes of tokens (Encoder.token_dim or
    Encoder.dim), and the part of a modality is all its tokens end to end (`_as_row`).
    takes_steps: True if the constructor also takes `steps`, modality -> the length of the store's longest clip.
    """

    reads: ClassVar[Literal["pooled", "tokens"]] = "pooled"
    by_modality: ClassVar[str] = ""
    roles: Mapping[str, str] = {}
    unimodal_dim: int | None = None
    takes_steps: ClassVar[bool] = False
    dims: dict[str, int]
    dim: int

    @property
    def blocks(self) -> tuple[tuple[str, ...], ...]:
        """Returns the groups of modalities whose contributions to the joint vector add up."""
        return (tuple(self.dims),)

    @property
    def additive(self) -> bool:
        """Says whether a linear head's scores are a sum of one score a modality, as TCMax's closed form needs it."""
        return all(len(block) == 1 for block in self.blocks)

    @property
    def random_combine(self) -> bool:
        """Says whether `combine` has dropout, so that a second call gives another result."""
        return type(self).combine is Fusion.combine and any(
            isinstance(part, nn.modules.dropout._DropoutNd) and part.p > 0 for part in self.modules()
        )

    def forward(self, encoded: dict[str, Encoded], present_BM: Tensor) -> Tensor:
        """Returns the joint vector, (B, E). Subclasses may override it with a shorter way to the same value."""
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

    def unimodal(self, encoded: Mapping[str, Encoded]) -> dict[str, Tensor]:
        """Returns modality -> the vector, (B, unimodal_dim), that a head of the modality alone reads (Self-MM)."""
        return {name: out.pooled for name, out in encoded.items()}

    def separate(self, encoded: Mapping[str, Encoded], present_BM: Tensor) -> dict[str, Tensor]:
        """Returns modality -> its part (B, Q_m): all that depends on one modality only. Dropout belongs here."""
        if self.reads == "tokens":
            return {name: _as_row(encoded[name], present_BM[:, m]) for m, name in enumerate(self.dims)}
        return {name: encoded[name].pooled for name in self.dims}

    def combine(self, block: tuple[str, ...], parts: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """Returns (..., E), what `block` adds to the joint vector.

        parts: (..., Q_m) for each modality of the block. present: (...) bool for each; where it is False, the content
        of the part has no effect. Leading dimensions broadcast: parts of (b, 1, Q) and (1, c, Q) give (b, c, E).
        It must not be random, because TCMax evaluates it twice: once for values and once for gradients.
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
        """Returns the joint vector of all parts, (..., E): `combine` summed over the blocks."""
        joint, *others = [
            self.combine(block, {name: parts[name] for name in block}, {name: present[name] for name in block})
            for block in self.blocks
        ]
        for other in others:
            joint = joint + other
        return joint

    def own_parts(self, modality: str) -> list[nn.Module]:
        """Returns the modules that read one modality alone (`by_modality`)."""
        parts = getattr(self, self.by_modality) if self.by_modality else ()
        return [part for name, part in zip(self.dims, parts, strict=False) if name == modality]

    def make_head(self, outputs: int) -> nn.Module | None:
        """Returns the linear head that belongs to the fusion, or None if any nn.Linear will do.

        It maps (..., E) to (..., K) with `weight` (K, E) and `bias`, (K,) or None. Methods with another kind of head do
        not call this.
        """
        return None


def _as_row(encoded: Encoded, present_B: Tensor) -> Tensor:
    """Returns a modality's tokens as one row, (B, T (E + 1)).

    Behind each token stands 1 where it is real and 0 where it is padding; padded tokens are zero.
    """
    real_BT1 = (encoded.mask & present_B[:, None])[..., None]
    return torch.cat([torch.where(real_BT1, encoded.tokens, 0.0), real_BT1.to(encoded.tokens.dtype)], dim=-1).flatten(1)


def _from_row(rows_BQ: Tensor, present_B: Tensor, size: int) -> Encoded:
    """Returns the tokens that `_as_row` laid out, of `size` each; the pooled vectors are empty."""
    tokens_BTX = rows_BQ.view(len(rows_BQ), -1, size + 1)
    real_BT = (tokens_BTX[..., -1] > 0.5) & present_B[:, None]
    return Encoded(tokens_BTX[..., :-1], real_BT, rows_BQ[:, :0])
