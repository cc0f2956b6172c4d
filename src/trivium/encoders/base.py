"""Defines what an encoder is: it takes one modality's sequence and returns tokens and one pooled vector.

Legend: B clips, T steps, D input features, E embedding.
"""

from __future__ import annotations

from dataclasses import dataclass
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


class Encoder(nn.Module):
    """Encodes one modality. Subclasses set `dim` (P) and implement `forward`.

    A subclass's constructor takes `in_dim` first, then the keys of its YAML as keyword arguments. `in_dim` is the
    number of features a step; for an encoder of token ids it is the smallest vocabulary that holds the store's ids.

    reads: "values" for numeric features, "tokens" for token ids.
    takes_steps: True if the constructor also takes `steps`, the length of the store's longest clip.
    dim: P, the size of the pooled vector.
    token_dim: E, the size of a token; None if it is P.
    vocabulary: of an encoder of token ids, how many it knows; None if it does not say.
    lr: the learning rate of this encoder, unless optimizer.groups names one for its modality; None means the
        optimiser's learning rate.
    """

    reads: ClassVar[Literal["values", "tokens"]] = "values"
    takes_steps: ClassVar[bool] = False
    dim: int
    lr: float | None = None
    token_dim: int | None = None
    vocabulary: int | None = None

    def forward(self, stream: Stream) -> Encoded:
        """Encodes the B clips of a stream, padded to T steps. Padding must not change what a clip is encoded to."""
        raise TypeError(f"{type(self).__name__} defines no forward")

    def assets(self) -> dict[str, Any]:
        """Returns what is needed, beside the weights, to build this encoder where its source is missing; plain JSON.

        The source is, for example, a model's folder or the Hugging Face hub.
        """
        return {}
