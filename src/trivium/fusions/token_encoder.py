"""Provides ALMT's transformer (Zhang et al., EMNLP 2023): learned tokens in front of a sequence, which read it.

It differs from the layer of trivium.encoders.transformer_layer: query, key and value have a norm each, no bias, and
heads of a size of their own; there is no norm behind the last layer, and no dropout.
Legend: B clips, N rows of a sequence, T rows that attend, S rows that are attended to, E width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trivium.encoders.transformer_layer import multi_head_attention


class Block(nn.Module):
    """Attends and feeds forward: x + attention(x to source), then x + W2 gelu(W1 norm(x)).

    heads of `head_dim` each, whatever the width. feedforward: the hidden size.
    """

    def __init__(self, dim: int, *, heads: int, head_dim: int, feedforward: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_query, self.norm_key, self.norm_value = (nn.LayerNorm(dim) for _ in range(3))
        self.query, self.key, self.value = (nn.Linear(dim, heads * head_dim, bias=False) for _ in range(3))
        self.out_proj = nn.Linear(heads * head_dim, dim)
        self.norm = nn.LayerNorm(dim)
        self.linear1, self.linear2 = nn.Linear(dim, feedforward), nn.Linear(feedforward, dim)

    def forward(self, x_BTE: Tensor, source_BSE: Tensor, real_BS: Tensor | None = None) -> Tensor:
        """Returns (B, T, E). real_BS: bool, the rows of the source that are attended to, at least one; None for all."""
        attended = multi_head_attention(
            self.query(self.norm_query(x_BTE)),
            self.key(self.norm_key(source_BSE)),
            self.value(self.norm_value(source_BSE)),
            heads=self.heads,
            mask=None if real_BS is None else real_BS[:, None, None],
        )
        x_BTE = x_BTE + self.out_proj(attended)
        out_BTE: Tensor = x_BTE + self.linear2(F.gelu(self.linear1(self.norm(x_BTE))))
        return out_BTE


class TokenEncoder(nn.Module):
    """Puts `tokens` learned tokens in front of a sequence of at most `rows`, adds positions, and runs `depth` blocks.

    Tokens begin at zero, and positions as N(0, 1).
    """

    def __init__(
        self, dim: int, rows: int, *, depth: int, heads: int, head_dim: int, feedforward: int, tokens: int = 0
    ) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.randn(tokens + rows, dim))
        self.tokens = nn.Parameter(torch.zeros(tokens, dim)) if tokens else None
        self.blocks = nn.ModuleList(
            Block(dim, heads=heads, head_dim=head_dim, feedforward=feedforward) for _ in range(depth)
        )

    def forward(self, x_BNE: Tensor, real_BN: Tensor | None = None) -> Tensor:
        """Returns the output at the learned tokens, (B, tokens, E); of an encoder without tokens, at all rows.

        real_BN: bool, the rows that are attended to beside the tokens; None for all.
        """
        x = self._start(x_BNE)
        count = 0 if self.tokens is None else len(self.tokens)
        if real_BN is not None:
            real_BN = F.pad(real_BN, (count, 0), value=True)
        for block in self.blocks[:-1]:
            x = block(x, x, real_BN)
        # The last block computes only what is read.
        read = count or x.shape[1]
        return self.blocks[-1](x[:, :read], x, real_BN) if len(self.blocks) else x[:, :read]

    def scales(self, x_BNE: Tensor) -> list[Tensor]:
        """Returns what every block reads, and last what the last block returns: depth + 1 of (B, tokens + N, E)."""
        scales = [self._start(x_BNE)]
        for block in self.blocks:
            scales.append(block(scales[-1], scales[-1]))
        return scales

    def _start(self, x_BNE: Tensor) -> Tensor:
        """Returns tokens and rows with their positions."""
        if self.tokens is not None:
            x_BNE = torch.cat([self.tokens.expand(len(x_BNE), -1, -1).to(x_BNE.dtype), x_BNE], dim=1)
        return x_BNE + self.positions[: x_BNE.shape[1]]


class ModalityEmbedding(nn.Module):
    """Embeds one modality's sequence as `tokens` vectors: a Linear, then a TokenEncoder, read at its tokens.

    steps: the longest sequence, for which there are positions.
    masked: whether padded steps are hidden; if not, every sequence is padded to `steps`, as the public code does.
    """

    def __init__(
        self,
        name: str,
        in_dim: int,
        steps: int,
        dim: int,
        *,
        tokens: int,
        depth: int,
        heads: int,
        head_dim: int,
        feedforward: int,
        masked: bool = True,
    ) -> None:
        super().__init__()
        self.name, self.steps, self.masked = name, steps, masked
        self.project = nn.Linear(in_dim, dim)
        self.encoder = TokenEncoder(
            dim, steps, depth=depth, heads=heads, head_dim=head_dim, feedforward=feedforward, tokens=tokens
        )

    def forward(self, values_BTD: Tensor, real_BT: Tensor, present_B: Tensor) -> Tensor:
        """Returns (B, tokens, E). Of a clip that lacks the modality no step is read: what comes out is a constant.

        Raises ValueError for a sequence of more than `steps`.
        """
        steps = values_BTD.shape[1]
        if steps > self.steps:
            raise ValueError(
                f"modality {self.name!r}: expected clips of at most {self.steps} steps, for which positions were "
                f"learnt, found one of {steps}; cut it, or train on a store that has clips as long"
            )
        values_BTD = values_BTD.masked_fill(~real_BT[..., None], 0.0)
        if self.masked:
            real_BT = real_BT & present_B[:, None]
        else:
            values_BTD = F.pad(values_BTD, (0, 0, 0, self.steps - steps))
            real_BT = present_B[:, None].expand(-1, self.steps)
        # Raw features may be in the hundreds, which half precision holds badly; behind this comes a norm.
        with torch.autocast(values_BTD.device.type, enabled=False):
            x_BTE = self.project(values_BTD.to(self.project.weight.dtype))
        out_BTE: Tensor = self.encoder(x_BTE, real_BT)
        return out_BTE
