"""The contract of encoders: one modality's sequence in, tokens and one pooled vector out.

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

    Their constructor takes `in_dim` first (features a step; for token readers the smallest vocabulary that holds the
    store's ids) and their YAML's keys as keyword arguments.

    reads: "values" for numeric features, "tokens" for token ids.
    lr: the learning rate that it trains at unless optimizer.groups names one for its modality; None means the
        optimiser's own.
    token_dim: E, where it is not P.
    takes_steps: whether it is built with `steps`, the length of the store's longest clip.
    """

    reads: ClassVar[Literal["values", "tokens"]] = "values"
    takes_steps: ClassVar[bool] = False
    dim: int
    lr: float | None = None
    token_dim: int | None = None

    def forward(self, stream: Stream) -> Encoded:
        raise TypeError(f"{type(self).__name__} defines no forward")

    def assets(self) -> dict[str, Any]:
        """Returns plain JSON that, beside the weights, builds this encoder again on a machine without its source."""
        return {}
