"""Fuses by a transformer over the tokens of all modalities, read at a learnt first token (CoMM; Dufumier et al., 2025).

Legend: B clips, M modalities, K masks, S tokens of all modalities and the first token, E embedding, H heads, Q queries,
R sets of tokens.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trivium.encoders.base import Encoded
from trivium.encoders.old_names import accept_old_names
from trivium.encoders.transformer_layer import Affine, LayerWeights, multi_head_attention, transformer_layer
from trivium.fusions.base import Fusion
from trivium.fusions.pooled_vectors import check_sizes


class Layer(nn.Module):
    """Holds a layer of CoMM's fusion, 4E wide, and runs it.

    Initial weights are CLIP's: normal, of standard deviation E^-1/2 for query, key and value, (2E)^-1/2 for linear1 and
    E^-1/2 (2 depth)^-1/2 for out_proj and linear2, so that `depth` layers do not add up to more (Radford et al., 2019,
    section 2.3). Biases are zero in the attention and torch's in the two others.
    """

    def __init__(self, dim: int, heads: int, depth: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(dim, dim) for _ in range(3))
        self.out_proj = nn.Linear(dim, dim)
        self.linear1, self.linear2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        for linear in (self.query, self.key, self.value):
            nn.init.normal_(linear.weight, std=dim**-0.5)
        for linear in (self.out_proj, self.linear2):
            nn.init.normal_(linear.weight, std=dim**-0.5 * (2 * depth) ** -0.5)
        nn.init.normal_(self.linear1.weight, std=(2 * dim) ** -0.5)
        for linear in (self.query, self.key, self.value, self.out_proj):
            nn.init.zeros_(linear.bias)
        old = {"out.": "out_proj.", "widen.": "linear1.", "narrow.": "linear2."}
        accept_old_names(self, {**old, "attention_norm.": "norm1.", "wide_norm.": "norm2."})

    def forward(self, x_RQE: Tensor, source_RSE: Tensor | None, allowed_RQS: Tensor) -> Tensor:
        """Returns (R, Q, E): the tokens `x` after they attended to those of the source that each of them may see.

        source_RSE: None where the tokens attend to themselves.
        """
        attend = functools.partial(multi_head_attention, heads=self.heads, mask=allowed_RQS[:, None])
        return transformer_layer(
            x_RQE, self._weights(), attend, source=source_RSE, dropout=nn.Identity(), activation=quick_gelu
        )

    def _weights(self) -> LayerWeights:
        """Returns the parameters in the form that `transformer_layer` takes."""
        # Query, key and value stay separate parameters, because checkpoints of version 0.1.0 hold an optimiser state
        # for each of them.
        parts = (self.query, self.key, self.value)
        in_proj = Affine(torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts]))
        others = (self.out_proj, self.linear1, self.linear2, self.norm1, self.norm2)
        return LayerWeights(in_proj, *(Affine(part.weight, part.bias) for part in others))


def quick_gelu(x: Tensor) -> Tensor:
    """Returns x * sigmoid(1.702 x), CLIP's approximation of GELU (Hendrycks and Gimpel, 2016)."""
    return x * torch.sigmoid(1.702 * x)


class TransformerFusion(Fusion):
    """Fuses: [first; tokens of the present modalities] -> `layers` of attention -> layer norm, read at the first token.

    Tokens get no embedding of position or modality, so that their order does not count. A modality whose tokens are not
    of size `dim` passes through a Linear first. In a clip without any modality the first token attends to itself alone.

    dim: E. layers, heads: of the transformer.
    Raises ValueError for sizes below 1 and a dim that `heads` does not divide.
    """

    reads = "tokens"
    by_modality = "adapt"

    def __init__(self, dims: Mapping[str, int], *, dim: int = 40, layers: int = 1, heads: int = 8) -> None:
        super().__init__()
        check_sizes(dims, dim=dim, layers=layers, heads=heads)
        if dim % heads:
            raise ValueError(f"dim: expected a multiple of heads ({heads}), found {dim}")
        self.dims, self.dim = dict(dims), dim
        self.first = nn.Parameter(torch.randn(1, 1, dim))
        # A list in the order of dims, because a ModuleDict refuses modalities with names such as "keys".
        self.adapt = nn.ModuleList(nn.Identity() if size == dim else nn.Linear(size, dim) for size in dims.values())
        self.layers = nn.ModuleList(Layer(dim, heads, layers) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)

    def forward(self, encoded: dict[str, Encoded], present_BM: Tensor) -> Tensor:
        every_1M = torch.ones(1, len(self.dims), dtype=torch.bool, device=present_BM.device)
        return self.views(encoded, present_BM, every_1M)[0]

    def views(self, encoded: Mapping[str, Encoded], present_BM: Tensor, masks_KM: Tensor) -> Tensor:
        """Returns (K, B, E): the joint vector from the modalities of each mask alone, as if the others were absent.

        masks_KM: bool, columns in the order of `dims`. All masks run in one pass.
        """
        tokens_BSE, allowed_KBS = self._tokens(encoded, present_BM, masks_KM)
        masks, clips = allowed_KBS.shape[:2]
        *before, last = self.layers
        if not before:
            # In a single layer the keys and values of tokens do not depend on the mask. They are computed once, and the
            # first token attends to them once for each mask.
            first_BKE = tokens_BSE[:, :1].expand(-1, masks, -1)
            out_BKE = last(first_BKE, tokens_BSE, allowed_KBS.transpose(0, 1))
            out_KBE = out_BKE.transpose(0, 1)
        else:
            # From the second layer on a token depends on the tokens that it attended to, so each mask has its own.
            rows_RSE = tokens_BSE.repeat(masks, 1, 1)
            allowed_R1S = allowed_KBS.flatten(0, 1)[:, None]
            for layer in before:
                rows_RSE = layer(rows_RSE, None, allowed_R1S)
            out_KBE = last(rows_RSE[:, :1], rows_RSE, allowed_R1S).view(masks, clips, -1)
        joint_KBE: Tensor = self.norm(out_KBE)
        return joint_KBE

    def _tokens(self, encoded: Mapping[str, Encoded], present_BM: Tensor, masks_KM: Tensor) -> tuple[Tensor, Tensor]:
        """Returns all tokens behind the first one, (B, S, E), and which of them each mask allows, (K, B, S) bool."""
        tokens = [self.first.expand(len(present_BM), 1, -1)]
        allowed = [torch.ones_like(masks_KM[:, :1, None]).expand(-1, len(present_BM), -1)]
        for m, (name, adapt) in enumerate(zip(self.dims, self.adapt, strict=True)):
            real_BT = encoded[name].mask & present_BM[:, m, None]
            rows_BTE = adapt(encoded[name].tokens.masked_fill(~real_BT[..., None], 0.0))
            tokens.append(rows_BTE.to(self.first.dtype))
            allowed.append(masks_KM[:, m, None, None] & real_BT)
        return torch.cat(tokens, dim=1), torch.cat(allowed, dim=2)
