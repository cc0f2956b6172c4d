"""Defines what an encoder is: it takes one modality's sequence and returns tokens and one pooled vector.

Legend: B clips, T steps, D input features, E embedding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from trivium.data.batch import Stream


@dataclass
class Encoded:
    """Holds what an encoder returns.

    tokens: (B, T, E). mask: (B, T) bool, True on real steps. pooled: (B, P), one vector a clip.
    """

    tokens: Tensor
    mask: Tensor
    pooled: Tensor


# Changes the vectors of steps inside an encoder: (B, F + T, A) -> the same shape. The first F steps belong to no step
# of the stream, as a learnt [CLS] does; F is the second argument.
Adapt = Callable[[Tensor, int], Tensor]


class Encoder(nn.Module):
    """Encodes one modality. Subclasses set `dim` (P) and implement `forward`.

    A subclass's constructor takes `in_dim` first, then the keys of its YAML as keyword arguments. `in_dim` is the
    number of features a step; for an encoder of token ids it is the smallest vocabulary that holds the store's ids.

    reads: "values" for numeric features, "tokens" for token ids.
    takes_steps: True if the constructor also takes `steps`, the length of the store's longest clip.
    dim: P, the size of the pooled vector.
    token_dim: E, the size of a token; None if it is P.
    lr: the learning rate of this encoder, unless optimizer.groups names one for its modality; None means the
        optimiser's learning rate.
    input_size: the number of features a step, or the size of the vocabulary that the encoder knows; None if unknown.
    adapts: A, the size of the vectors that `adapted` lets another part change; None if it cannot.
    adapt_layers: the number of layers behind which it can.
    longest: the most steps that a clip may have; None if there is no limit.
    """

    reads: ClassVar[Literal["values", "tokens"]] = "values"
    takes_steps: ClassVar[bool] = False
    dim: int
    lr: float | None = None
    token_dim: int | None = None
    input_size: int | None = None
    adapts: int | None = None
    adapt_layers: int = 0
    longest: int | None = None

    def forward(self, stream: Stream) -> Encoded:
        """Encodes the B clips of a stream, padded to T steps. Padding must not change what a clip is encoded to."""
        raise TypeError(f"{type(self).__name__} defines no forward")

    def adapted(self, stream: Stream, adapt: Adapt, layer: int = 0) -> Encoded:
        """Encodes as `forward` does, with `adapt` applied to the vectors that leave `layer`, or enter the first for 0.

        This is the way of encoders without vectors of their own before their first layer: the features are adapted.
        """
        values = adapt(stream.values, 0).masked_fill(~stream.mask[..., None], 0.0)
        encoded: Encoded = self(replace(stream, values=values))
        return encoded

    def assets(self) -> dict[str, Any]:
        """Returns what is needed, beside the weights, to build this encoder where its source is missing; plain JSON.

        The source is, for example, a model's folder or the Hugging Face hub.
        """
        return {}
