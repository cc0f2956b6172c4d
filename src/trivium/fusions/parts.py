"""What several fusions share. Legend: B clips, M modalities, P_m pooled size of modality m."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trivium.encoders.base import Encoded

ACTIVATIONS: dict[str, type[nn.Module]] = {"none": nn.Identity, "relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}


def present_vectors(dims: Mapping[str, int], encoded: Mapping[str, Encoded], present_BM: Tensor) -> list[Tensor]:
    """M pooled vectors (B, P_m) in the order of dims, exactly zero where absent, whatever stood there."""
    vectors = [encoded[name].pooled for name in dims]
    return [torch.where(present_BM[:, m, None], vector, 0.0) for m, vector in enumerate(vectors)]


def activation_of(name: str) -> nn.Module:
    """Raises ValueError for a name that is none of ACTIVATIONS."""
    if name not in ACTIVATIONS:
        raise ValueError(f"activation: expected one of {', '.join(ACTIVATIONS)}, found {name!r}")
    return ACTIVATIONS[name]()


def check_sizes(dims: Mapping[str, int], **sizes: int) -> None:
    """Raises ValueError if there is no modality, or a size is below 1."""
    if not dims:
        raise ValueError("a fusion needs at least one modality")
    for key, size in sizes.items():
        if size < 1:
            raise ValueError(f"{key}: expected at least 1, found {size}")
