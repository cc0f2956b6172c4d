"""Holds what several fusions of pooled vectors share.

Legend: B clips, M modalities, P_m pooled size of modality m, Q_m size of its part.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from trivium.core.choices import check_choice
from trivium.encoders.base import Encoded
from trivium.encoders.pooling import check_least

ACTIVATIONS: dict[str, type[nn.Module]] = {"none": nn.Identity, "relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}


def pooled_vectors(
    dims: Mapping[str, int], encoded: Mapping[str, Encoded], dropout: nn.Module | None = None
) -> dict[str, Tensor]:
    """Returns modality -> pooled vector (B, P_m), in the order of `dims`, after `dropout`; zeros if it is absent."""
    return {name: encoded[name].pooled if dropout is None else dropout(encoded[name].pooled) for name in dims}


def each_through(layers: Iterable[nn.Module], vectors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns modality -> its vector after its layer; `layers` are in the order of the vectors."""
    return {name: layer(vector) for layer, (name, vector) in zip(layers, vectors.items(), strict=True)}


def or_absent(part: Tensor, present: Tensor, absent: Tensor | float = 0.0) -> Tensor:
    """Returns part (..., Q) where present (...), and `absent` elsewhere.

    absent: what a fusion makes of an absent modality, a number or (Q,).
    `combine` needs this, because TCMax takes modalities away from a clip after `separate`.
    """
    return torch.where(present[..., None], part, absent)


def pad_to_concatenation(part: Tensor, dims: Mapping[str, int], name: str) -> Tensor:
    """Returns (..., sum of P_m): the concatenation of all modalities' vectors, with zeros for all but `name`."""
    names = list(dims)
    before = sum(dims[other] for other in names[: names.index(name)])
    return nn.functional.pad(part, (before, sum(dims.values()) - before - dims[name]))


def concatenate(tensors: list[Tensor]) -> Tensor:
    """Concatenates along the last dimension; the leading ones broadcast against one another."""
    shape = torch.broadcast_shapes(*(tensor.shape[:-1] for tensor in tensors))  # type: ignore[no-untyped-call]
    return torch.cat([tensor.expand(*shape, tensor.shape[-1]) for tensor in tensors], dim=-1)


def split(tensor: Tensor, sizes: list[int]) -> tuple[Tensor, ...]:
    """Splits the last dimension."""
    return torch.split(tensor, sizes, dim=-1)


def bias_of(layer: nn.Module) -> Tensor:
    """Returns a Linear's bias: what it makes of the zero vector that stands for an absent modality."""
    assert isinstance(layer, nn.Linear)
    return layer.bias


def weight_of(layer: nn.Module) -> Tensor:
    """Returns a Linear's weight."""
    assert isinstance(layer, nn.Linear)
    return layer.weight


def activation_of(name: str) -> nn.Module:
    """Returns a new activation. Raises ValueError for a name that is none of ACTIVATIONS."""
    return ACTIVATIONS[check_choice("activation", name, ACTIVATIONS)]()


def check_sizes(dims: Mapping[str, int], **sizes: int) -> None:
    """Raises ValueError if there is no modality, or a size is below 1."""
    if not dims:
        raise ValueError("a fusion needs at least one modality")
    for key, size in sizes.items():
        check_least(key, size, 1)


def several(dims: Mapping[str, int], fusion: str) -> list[str]:
    """Returns the modalities' names. Raises ValueError for fewer than two, which `fusion` cannot mix."""
    if len(dims) < 2:
        raise ValueError(f"fusion={fusion} mixes modalities and found {list(dims)} alone; take fusion=concat")
    return list(dims)


def modality_or_default(names: list[str], key: str, choice: str, default: str) -> str:
    """Returns `choice`, or `default` where it is empty. Raises ValueError, naming the key, for an unknown modality."""
    if choice and choice not in names:
        raise ValueError(f"{key}: expected one of the modalities {', '.join(names)}, found {choice!r}")
    return choice or default
