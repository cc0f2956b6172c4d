"""Fuses by ALMT (Zhang et al., EMNLP 2023): language reads the other modalities into a hyper-modality, which guides it.

docs/methods/almt.md has the equations, and where paper and public code differ.
Legend: B clips, M modalities, T tokens a modality, E width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from trivium.core.choices import check_choice
from trivium.encoders.base import Encoded
from trivium.encoders.pooling import check_least
from trivium.encoders.transformer_layer import multi_head_attention
from trivium.fusions.base import Fusion
from trivium.fusions.pooled_vectors import check_sizes, modality_or_default
from trivium.fusions.token_encoder import Block, ModalityEmbedding, TokenEncoder


class HyperModalityLayer(nn.Module):
    """Adds to the hyper-modality what a scale of language finds in the other modalities (AHL).

    r + out_proj(sum over modalities of attention(language to it)), with r the normed hyper-modality, or with
    plain=True the hyper-modality itself. A modality that a clip lacks adds nothing.
    """

    def __init__(self, dim: int, others: int, *, heads: int, plain: bool) -> None:
        super().__init__()
        self.heads, self.plain = heads, plain
        self.norm_language = nn.LayerNorm(dim)
        self.norm_others = nn.ModuleList(nn.LayerNorm(dim) for _ in range(others))
        self.norm_hyper = nn.LayerNorm(dim)
        self.query = nn.Linear(dim, dim, bias=False)
        self.keys = nn.ModuleList(nn.Linear(dim, dim, bias=False) for _ in range(others))
        self.values = nn.ModuleList(nn.Linear(dim, dim, bias=False) for _ in range(others))
        self.out_proj = nn.Linear(dim, dim)

    def forward(
        self, hyper_BTE: Tensor, language_BTE: Tensor, others: Sequence[Tensor], counts: Sequence[Tensor]
    ) -> Tensor:
        """Returns the next hyper-modality, (B, T, E).

        others: (B, T, E) for each other modality. counts: (B,) bool for each, False where it adds nothing.
        """
        query = self.query(self.norm_language(language_BTE))
        attended = torch.zeros_like(query)
        for m, (other_BTE, counts_B) in enumerate(zip(others, counts, strict=True)):
            normed = self.norm_others[m](other_BTE)
            key, value = self.keys[m](normed), self.values[m](normed)
            context = multi_head_attention(query, key, value, heads=self.heads, mask=None)
            attended = attended + torch.where(counts_B[:, None, None], context, 0.0)
        residual = hyper_BTE if self.plain else self.norm_hyper(hyper_BTE)
        out_BTE: Tensor = residual + self.out_proj(attended)
        return out_BTE


class CrossFusion(nn.Module):
    """Lets one sequence of `rows` attend to another, with one learned token in front of both; returns all its rows."""

    def __init__(self, dim: int, rows: int, *, depth: int, heads: int, head_dim: int, feedforward: int) -> None:
        super().__init__()
        self.source_positions = nn.Parameter(torch.randn(1 + rows, dim))
        self.target_positions = nn.Parameter(torch.randn(1 + rows, dim))
        self.token = nn.Parameter(torch.zeros(1, dim))
        self.blocks = nn.ModuleList(
            Block(dim, heads=heads, head_dim=head_dim, feedforward=feedforward) for _ in range(depth)
        )

    def forward(self, source_BTE: Tensor, target_BTE: Tensor) -> Tensor:
        """Returns (B, 1 + T, E), the target's rows behind the token's. The source stays the same in all blocks."""
        token = self.token.expand(len(source_BTE), -1, -1)
        source = torch.cat([token.to(source_BTE.dtype), source_BTE], dim=1) + self.source_positions
        target = torch.cat([token.to(target_BTE.dtype), target_BTE], dim=1) + self.target_positions
        for block in self.blocks:
            target = block(target, source)
        return target


class ALMT(Fusion):
    """Fuses tokens by ALMT to a joint vector of size `dim`; configs/fusion/almt.yaml explains the keywords.

    steps: modality -> the store's longest clip. With embed_depth=0 the modalities are not embedded: each has to come as
    `tokens` vectors of size `dim`, as method=lnln makes them.
    Of an absent modality other than language nothing is added; without language its learned tokens alone ask. With
    readout=token, language without any other modality takes the hyper-modality's place.
    Raises ValueError for sizes below 1, a dim that `heads` does not divide, and unknown names.
    """

    reads = "tokens"
    by_modality = "embeddings"
    takes_steps: ClassVar[bool] = True

    def __init__(
        self,
        dims: Mapping[str, int],
        *,
        steps: Mapping[str, int],
        dim: int = 128,
        tokens: int = 8,
        language: str = "",
        embed_depth: int = 1,
        layers: int = 3,
        depth: int = 2,
        heads: int = 8,
        head_dim: int = 64,
        feedforward: int = 128,
        residual: str = "normalised",
        readout: str = "token",
        guide: str = "hyper",
        masks: bool = True,
        absent: str = "left_out",
    ) -> None:
        super().__init__()
        check_sizes(
            dims, dim=dim, tokens=tokens, layers=layers, depth=depth, heads=heads, head_dim=head_dim,
            feedforward=feedforward,
        )  # fmt: skip
        check_least("embed_depth", embed_depth, 0)
        if dim % heads:
            raise ValueError(f"dim: expected a multiple of heads ({heads}), found {dim}")
        self.dims, self.dim, self.tokens = dict(dims), dim, tokens
        self.language = language_of(dims, "language", language)
        plain = check_choice("residual", residual, ("normalised", "plain")) == "plain"
        self.readout = check_choice("readout", readout, ("token", "mean"))
        self.guide = check_choice("guide", guide, ("hyper", "language"))
        self.absent = check_choice("absent", absent, ("left_out", "zeros"))
        sizes = {"heads": heads, "head_dim": head_dim, "feedforward": feedforward}
        # A list in the order of dims, because a ModuleDict refuses modalities with names such as "keys".
        self.embeddings = nn.ModuleList(
            ModalityEmbedding(name, size, steps[name], dim, tokens=tokens, depth=embed_depth, masked=masks, **sizes)
            for name, size in dims.items()
            if embed_depth
        )
        self.scales = TokenEncoder(dim, tokens, depth=layers - 1, **sizes)
        self.hyper = nn.Parameter(torch.ones(tokens, dim))
        self.layers = nn.ModuleList(
            HyperModalityLayer(dim, len(dims) - 1, heads=heads, plain=plain) for _ in range(layers)
        )
        self.cross = CrossFusion(dim, tokens, depth=depth, **sizes)
        if not embed_depth:
            self._refuse_unembedded(dims)

    def forward(self, encoded: dict[str, Encoded], present_BM: Tensor) -> Tensor:
        present = dict(zip(self.dims, present_BM.unbind(1), strict=True))
        embedded = self._embed(encoded, present) if len(self.embeddings) else self._as_they_are(encoded)
        return self._read(self.fuse_tokens(embedded, present))

    def fuse_tokens(self, embedded: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """Returns the rows of the last fusion, (B, 1 + T, E), of embedded modalities (B, T, E)."""
        scales = self.scales.scales(embedded[self.language])
        others = [name for name in self.dims if name != self.language]
        zeros = self.absent == "zeros"
        counts = [torch.ones_like(present[name]) if zeros else present[name] for name in others]
        hyper = self.hyper.expand(len(scales[0]), -1, -1)
        for layer, scale in zip(self.layers, scales, strict=True):
            hyper = layer(hyper, scale, [embedded[name] for name in others], counts)
        if self.readout == "token" and not zeros:
            # The token attends to the hyper-modality alone, which is a constant where nothing but language is there.
            others_B = torch.stack([torch.zeros_like(present[self.language]), *counts]).any(dim=0)
            hyper = torch.where(others_B[:, None, None], hyper, scales[-1])
        rows: Tensor = self.cross(hyper, scales[-1]) if self.guide == "hyper" else self.cross(scales[-1], hyper)
        return rows

    def _embed(self, encoded: Mapping[str, Encoded], present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Returns modality -> its tokens, (B, T, E)."""
        embedded = {}
        for (name, present_B), embed in zip(present.items(), self.embeddings, strict=True):
            # Zeros that stand for an absent modality are read as steps of it, where padding is read too.
            reads_B = torch.ones_like(present_B) if self.absent == "zeros" else present_B
            embedded[name] = embed(encoded[name].tokens, encoded[name].mask & present_B[:, None], reads_B)
        return embedded

    def _as_they_are(self, encoded: Mapping[str, Encoded]) -> dict[str, Tensor]:
        """Returns modality -> the tokens that it came as. Raises ValueError unless there are as many as expected."""
        for name in self.dims:
            count = encoded[name].tokens.shape[1]
            if count != self.tokens:
                raise ValueError(
                    f"fusion.embed_depth=0: expected {self.tokens} tokens (fusion.tokens) of {name!r}, found {count}; "
                    "method.tokens of method=lnln has to be the same, and with other methods take embed_depth=1"
                )
        return {name: encoded[name].tokens for name in self.dims}

    def _refuse_unembedded(self, dims: Mapping[str, int]) -> None:
        """Raises ValueError for tokens of another size than `dim`."""
        for name, size in dims.items():
            if size != self.dim:
                raise ValueError(
                    f"fusion.embed_depth=0: expected tokens of size {self.dim} (fusion.dim) of {name!r}, found {size}; "
                    "method.dim of method=lnln has to be the same, and with other methods take embed_depth=1"
                )

    def _read(self, rows_BTE: Tensor) -> Tensor:
        """Returns the joint vector, (B, E): the token's row, or the mean of the others."""
        return rows_BTE[:, 0] if self.readout == "token" else rows_BTE[:, 1:].mean(dim=1)


def language_of(dims: Mapping[str, int], key: str, choice: str) -> str:
    """Returns `choice`; where it is empty, text, and the first modality of data without text.

    Raises ValueError, naming the key, for an unknown modality.
    """
    return modality_or_default(list(dims), key, choice, "text" if "text" in dims else next(iter(dims)))
