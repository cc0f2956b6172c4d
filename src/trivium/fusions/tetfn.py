"""Fuses by TETFN (Wang et al., Pattern Recognition 136, 2023, 109259): MulT's transformers, two of them told by text.

Legend: B clips, M modalities, T steps, E width of the cross-modal transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trivium.core.choices import check_choice
from trivium.encoders.base import Encoded
from trivium.encoders.dropout import Dropout
from trivium.encoders.pooling import pool_steps
from trivium.fusions.base import Fusion
from trivium.fusions.crossmodal import TransformerStack, check_width
from trivium.fusions.mult import ALWAYS, DEFAULT, check_probability, dropout_by_modality
from trivium.fusions.pooled_vectors import check_sizes

POSITIONS = ("enhanced", "all")


class TETFN(Fusion):
    """Fuses tokens by transformers across modalities, some of them text-enhanced, to a joint vector of size `dim`.

    1. Each modality's tokens pass through a convolution over time to E = `width`, without bias or padding.
    2. Text attends to each other modality, and each other modality to text, in a transformer for each pair.
       A modality k reads another one q through text: q first attends to text, in one layer, and k to the result.
    3. The M - 1 results of a target are put side by side and pass through a self-attention transformer, which is read
       at the target's last real step: E (M - 1) values.
    4. The joint vector is relu(Linear(dropout(the M such vectors side by side))).

    Attention is causal as in MulT, by each clip's own lengths. An absent source adds nothing to a target, and an absent
    target gives a zero vector. Without text in the data, q is read as it is. `unimodal` is the maximum over time of the
    convolved tokens. The convolution of a modality other than text belongs to its encoder's parameter group.

    language: the modality that takes the part of text. kernels: modality -> width of its convolution over time.
    layers, heads: of every transformer, but for the one layer in which q attends to text.
    positions: "enhanced" adds positions in the text-enhanced transformers alone, "all" in every one.
    attention_dropout: modality -> probability of dropout on attention weights where it is the source.
    enhanced_dropout: the same in the text-enhanced transformers and in those of self-attention.
    embed_dropout: on the embedded input of a transformer. relu_dropout: behind a layer's ReLU. dropout: at the end of
    its branches. joint_dropout: before the Linear of step 4.
    masks: False counts the padding of a clip among its steps, as the public code does: each modality that a clip has is
    filled with zeros up to `steps`, or up to the batch's longest clip where `steps` does not name it.
    steps: modality -> the length of the store's longest clip, which masks=False needs so that a clip's vector does not
    depend on its batch.
    Raises ValueError for sizes below 1, a width that is odd, below 4 or not a multiple of `heads`, probabilities
    outside [0, 1) and names of no modality.
    """

    reads = "tokens"
    by_modality = "convolutions"
    takes_steps: ClassVar[bool] = True

    def __init__(
        self,
        dims: Mapping[str, int],
        *,
        dim: int = 64,
        width: int = 50,
        layers: int = 2,
        heads: int = 5,
        language: str = "text",
        kernels: Mapping[str, int | None] | None = None,
        positions: str = "enhanced",
        attention_dropout: Mapping[str, float | None] | None = None,
        enhanced_dropout: float = 0.1,
        embed_dropout: float = 0.0,
        relu_dropout: float = 0.0,
        dropout: float = 0.1,
        joint_dropout: float = 0.0,
        masks: bool = True,
        steps: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__()
        check_sizes(dims, dim=dim, width=width, layers=layers, heads=heads)
        check_choice("fusion.positions", positions, POSITIONS)
        check_width(width, heads)
        probabilities = {"enhanced_dropout": enhanced_dropout, "embed_dropout": embed_dropout}
        probabilities |= {"relu_dropout": relu_dropout, "dropout": dropout, "joint_dropout": joint_dropout}
        for key, p in probabilities.items():
            check_probability(key, p)
        self.dims, self.dim, self.width, self.unimodal_dim = dict(dims), dim, width, width
        self.source_dropouts = dropout_by_modality("attention_dropout", dims, attention_dropout or {})
        self.enhanced_dropout = Dropout(enhanced_dropout)
        self.kernels = _kernels(dims, kernels or {})
        self.padded_steps = {} if masks else {name: (steps or {}).get(name, 1) for name in dims}
        # A list in the order of dims, because a ModuleDict refuses modalities with names such as "keys".
        self.convolutions = nn.ModuleList(
            nn.Conv1d(size, width, kernel, bias=False) for size, kernel in zip(dims.values(), self.kernels, strict=True)
        )
        self.roles = {f"convolutions.{m}": name for m, name in enumerate(dims) if name != language}
        places = range(len(dims))
        self.language = list(dims).index(language) if language in dims else None
        pairs = [(target, source) for target in places for source in places if source != target]
        self.plain = [pair for pair in pairs if self.language in pair]
        self.enhanced = [pair for pair in pairs if self.language not in pair]

        def transformers(count: int, size: int, depth: int, with_positions: bool) -> TransformerStack | None:
            if not count:
                return None
            return TransformerStack(
                count,
                size,
                layers=depth,
                heads=heads,
                dropout=dropout,
                hidden_dropout=relu_dropout,
                embed_dropout=embed_dropout,
                positions=with_positions or positions == "all",
            )

        self.across = transformers(len(self.plain), width, layers, False)
        self.lower = transformers(len(self.enhanced), width, 1, True)
        self.upper = transformers(len(self.enhanced), width, layers, True)
        memory_width = max(len(dims) - 1, 1) * width
        self.memory = transformers(len(dims), memory_width, layers, False)
        self.joint_dropout = nn.Dropout(joint_dropout)
        self.out = nn.Linear(len(dims) * memory_width, dim)

    def forward(self, encoded: dict[str, Encoded], present_BM: Tensor) -> Tensor:
        tokens, lengths = self._convolve(encoded)
        results = {pair: self._read(pair, tokens, lengths) for pair in (*self.plain, *self.enhanced)}
        assert self.memory is not None
        last = []
        for target, length_B in enumerate(lengths):
            parts = [result for (of, _), result in sorted(results.items()) if of == target]
            side_by_side = torch.cat(parts, dim=2) if parts else tokens[target]
            read = self.memory.last_steps(side_by_side[None], length_B[None], self.enhanced_dropout, [target])[0]
            last.append(torch.where(length_B[:, None] > 0, read, 0.0))
        joint_BE: Tensor = self.out(self.joint_dropout(torch.cat(last, dim=1))).relu()
        return joint_BE

    def unimodal(self, encoded: Mapping[str, Encoded]) -> dict[str, Tensor]:
        """Returns modality -> the maximum over time of its convolved tokens, (B, E); zeros where it is absent."""
        vectors = {}
        for name, tokens_BTE, length_B in zip(self.dims, *self._convolve(encoded), strict=True):
            step_T = torch.arange(tokens_BTE.shape[1], device=length_B.device)
            # An absent modality has one step here, of zeros, so that no maximum is over nothing.
            real_BT = step_T < length_B.clamp(min=1)[:, None]
            vectors[name] = pool_steps("max", tokens_BTE, real_BT)
        return vectors

    def _convolve(self, encoded: Mapping[str, Encoded]) -> tuple[list[Tensor], list[Tensor]]:
        """Returns for each modality its convolved tokens (B, T, E), zero in padding, and its real steps (B,) int64.

        A clip shorter than the kernel counts as if it had zeros up to it, and gives one step. With masks=False the
        zeros behind a clip are steps of it.
        """
        tokens, lengths = [], []
        for name, convolution, kernel in zip(self.dims, self.convolutions, self.kernels, strict=True):
            mask_BT = encoded[name].mask
            values_BTD = encoded[name].tokens.masked_fill(~mask_BT[..., None], 0.0)
            least = max(kernel, self.padded_steps.get(name, 1))
            values_BTD = F.pad(values_BTD, (0, 0, 0, max(least - values_BTD.shape[1], 0)))
            # As a matrix product: on a CPU a quarter of the time of torch's convolution of 768 features by one step.
            steps = values_BTD.shape[1] - kernel + 1
            windows = torch.stack([values_BTD[:, k : k + steps] for k in range(kernel)], dim=3).flatten(2)
            tokens_BTE = F.linear(windows, convolution.get_parameter("weight").flatten(1))
            before_B = mask_BT.sum(dim=1)
            length_B = (before_B - kernel + 1).clamp(min=1)
            if self.padded_steps:
                length_B = torch.full_like(before_B, steps)
            length_B = torch.where(before_B > 0, length_B, 0)
            real_BT = torch.arange(steps, device=mask_BT.device) < length_B[:, None]
            # Under autocast a product is in half precision; the layers add their results to it.
            tokens_BTE = tokens_BTE.to(self.out.weight.dtype)
            tokens.append(tokens_BTE.masked_fill(~real_BT[..., None], 0.0))
            lengths.append(length_B)
        return tokens, lengths

    def _read(self, pair: tuple[int, int], tokens: list[Tensor], lengths: list[Tensor]) -> Tensor:
        """Returns the target of a pair after it has read the source, (B, T, E); between non-text modalities by text."""
        target, source = pair
        if pair in self.plain:
            assert self.across is not None
            return _cross(
                self.across,
                self.plain.index(pair),
                (tokens[target], lengths[target]),
                (tokens[source], lengths[source]),
                self.source_dropouts[source],
            )
        assert self.lower is not None
        assert self.upper is not None
        number, read = self.enhanced.index(pair), (tokens[source], lengths[source])
        text = (tokens[source], torch.zeros_like(lengths[source]))
        if self.language is not None:
            text = (tokens[self.language], lengths[self.language])
        enhanced = _cross(self.lower, number, read, text, self.enhanced_dropout)
        target_and_length = (tokens[target], lengths[target])
        return _cross(self.upper, number, target_and_length, (enhanced, lengths[source]), self.enhanced_dropout)


def _cross(
    stack: TransformerStack,
    number: int,
    target: tuple[Tensor, Tensor],
    source: tuple[Tensor, Tensor],
    attention_dropout: nn.Module,
) -> Tensor:
    """Returns a target after it has read a source in one transformer of a stack, (B, T, E).

    target, source: tokens (B, T, E) and numbers of real steps (B,).
    """
    assert isinstance(attention_dropout, Dropout)
    (x, x_length), (s, s_length) = target, source
    return stack.cross(x[None], s[None], x_length[None], s_length[None], attention_dropout, [number])[0]


def _kernels(dims: Mapping[str, int], kernels: Mapping[str, int | None]) -> list[int]:
    """Returns each modality's kernel. Raises ValueError for a kernel below 1 and a name of no modality."""
    for name, kernel in kernels.items():
        if name not in dims and name not in ALWAYS:
            raise ValueError(f"kernels.{name}: no such modality; expected {DEFAULT} or one of {', '.join(dims)}")
        if kernel is not None and kernel < 1:
            raise ValueError(f"kernels.{name}: expected at least 1, found {kernel}")
    named = [kernels.get(name) for name in dims]
    return [kernels.get(DEFAULT) or 1 if kernel is None else kernel for kernel in named]
