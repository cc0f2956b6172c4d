"""Fuses by MulT (Tsai et al., ACL 2019), as GMC's joint encoder does: every modality attends to every other one.

Legend: B clips, M modalities, T steps, E width of the cross-modal transformers, G transformers that run at once.
"""

from __future__ import annotations

import functools
from collections.abc import Hashable, Iterable, Mapping

import torch
from torch import Tensor, nn

from trivium.encoders.base import Encoded
from trivium.encoders.dropout import Dropout
from trivium.encoders.old_names import accept_old_names
from trivium.fusions.base import Fusion
from trivium.fusions.crossmodal import TransformerStack, check_width
from trivium.fusions.pooled_vectors import check_sizes, weight_of

DEFAULT = "default"
# Configs may name these modalities, whether the data have them or not.
ALWAYS = (DEFAULT, "text", "audio", "vision")


class MulT(Fusion):
    """Fuses tokens by transformers across modalities (Tsai et al., 2019, section 3), to a joint vector of size `dim`.

    1. Each modality's tokens pass through a Linear to E = `width`.
    2. For every ordered pair, the target modality attends to the source modality. A target's M - 1 results are put side
       by side.
    3. These pass through a self-attention transformer, which is read at the target's last real step: E (M - 1) values.
    4. With x the M such vectors side by side, the joint vector is Linear(x + Linear(relu(Linear(x)))).

    Attention is causal, in MulT's form for sequences of different lengths: step t of a target of Lt steps attends to
    step s of a source of Ls steps if s <= t + |Ls - Lt|. The lengths are the clip's own, so padding changes nothing.
    An absent source adds nothing to a target, and an absent target gives a zero vector. Of a single modality there is
    only the self-attention, on its own tokens.

    layers, heads: of every transformer.
    input_dropout: modality -> probability of dropout on its tokens. attention_dropout: modality -> probability of
    dropout on attention weights where it is the source. In both, "default" is for modalities not named, or None.
    memory_dropout: on the attention weights of the self-attention transformers.
    embed_dropout: on the embedded input of a transformer; a source's keys and values share one draw.
    dropout: inside the layers.
    Raises ValueError for sizes below 1, a width that is odd, below 4 or not a multiple of `heads`, probabilities
    outside [0, 1) and names of no modality.
    """

    reads = "tokens"
    by_modality = "project"

    def __init__(
        self,
        dims: Mapping[str, int],
        *,
        dim: int = 60,
        width: int = 30,
        layers: int = 5,
        heads: int = 5,
        input_dropout: Mapping[str, float | None] | None = None,
        embed_dropout: float = 0.25,
        dropout: float = 0.1,
        attention_dropout: Mapping[str, float | None] | None = None,
        memory_dropout: float = 0.1,
    ) -> None:
        super().__init__()
        check_sizes(dims, dim=dim, width=width, layers=layers, heads=heads)
        check_width(width, heads)
        for key, p in (("embed_dropout", embed_dropout), ("dropout", dropout), ("memory_dropout", memory_dropout)):
            check_probability(key, p)
        self.dims, self.dim = dict(dims), dim
        self.input_dropouts = dropout_by_modality(
            "input_dropout", dims, {"text": 0.25} if input_dropout is None else input_dropout
        )
        self.source_dropouts = dropout_by_modality(
            "attention_dropout", dims, {"text": 0.1} if attention_dropout is None else attention_dropout
        )
        self.memory_dropout = Dropout(memory_dropout)
        # A list in the order of dims, because a ModuleDict refuses modalities with names such as "keys".
        self.project = nn.ModuleList(nn.Linear(size, width, bias=False) for size in dims.values())
        places = range(len(dims))
        self.pairs = [(target, source) for target in places for source in places if source != target]
        transformers = functools.partial(
            TransformerStack, layers=layers, heads=heads, dropout=dropout, embed_dropout=embed_dropout
        )
        self.across = transformers(len(self.pairs), width) if self.pairs else None
        memory_width = max(len(dims) - 1, 1) * width
        self.memory = transformers(len(dims), memory_width)
        joint = len(dims) * memory_width
        self.linear1, self.linear2 = nn.Linear(joint, joint), nn.Linear(joint, joint)
        self.out = nn.Linear(joint, dim)
        accept_old_names(self, {"widen.": "linear1.", "narrow.": "linear2."})

    def forward(self, encoded: dict[str, Encoded], present_BM: Tensor) -> Tensor:
        tokens, lengths = self._tokens(encoded, present_BM)
        if self.across is not None:
            tokens = self._cross(self.across, tokens, lengths)
        last_BX = self._last_steps(tokens, lengths)
        joint_BE: Tensor = self.out(last_BX + self.linear2(self.linear1(last_BX).relu()))
        return joint_BE

    def _tokens(self, encoded: Mapping[str, Encoded], present_BM: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Returns for each modality its projected tokens (B, T, E), zero in padding, and its real steps (B,) int64."""
        tokens, lengths = [], []
        for m, (name, drop, project) in enumerate(zip(self.dims, self.input_dropouts, self.project, strict=True)):
            real_BT = encoded[name].mask & present_BM[:, m, None]
            tokens_BTD = drop(encoded[name].tokens.masked_fill(~real_BT[..., None], 0.0))
            # Under autocast a Linear returns half precision. The layers add their results to it, so it is made as
            # precise as their weights.
            tokens.append(project(tokens_BTD).to(weight_of(project).dtype))
            lengths.append(real_BT.sum(dim=1))
        return tokens, lengths

    def _cross(self, across: TransformerStack, tokens: list[Tensor], lengths: list[Tensor]) -> list[Tensor]:
        """Returns for each target its results from the M - 1 sources side by side, (B, T, E (M - 1)).

        Pairs with equal steps and dropout run at once, side by side (TransformerStack).
        """
        rates = [drop.p if self.training else 0.0 for drop in self.source_dropouts]
        steps = [each.shape[1] for each in tokens]
        results: dict[int, Tensor] = {}
        for which in _groups_of_equal((steps[target], steps[source], rates[source]) for target, source in self.pairs):
            targets, sources = zip(*(self.pairs[n] for n in which), strict=True)
            results_GBTE = across.cross(
                torch.stack([tokens[m] for m in targets]),
                torch.stack([tokens[m] for m in sources]),
                torch.stack([lengths[m] for m in targets]),
                torch.stack([lengths[m] for m in sources]),
                self.source_dropouts[sources[0]],
                which,
            )
            results.update(zip(which, results_GBTE.unbind(), strict=True))
        others = len(self.dims) - 1
        return [torch.cat([results[m * others + n] for n in range(others)], dim=2) for m in range(len(self.dims))]

    def _last_steps(self, tokens: list[Tensor], lengths: list[Tensor]) -> Tensor:
        """Returns (B, M E (M - 1)): the self-attention of each modality at its last real step, zeros where absent."""
        results: dict[int, Tensor] = {}
        for which in _groups_of_equal(each.shape[1] for each in tokens):
            length_GB = torch.stack([lengths[m] for m in which])
            tokens_GBTE = torch.stack([tokens[m] for m in which])
            last_GBE = self.memory.last_steps(tokens_GBTE, length_GB, self.memory_dropout, which)
            results.update(zip(which, torch.where(length_GB[..., None] > 0, last_GBE, 0.0).unbind(), strict=True))
        return torch.cat([results[m] for m in range(len(tokens))], dim=1)


def _groups_of_equal(keys: Iterable[Hashable]) -> list[list[int]]:
    """Returns groups of places whose keys are equal, in the order in which the keys first occur."""
    groups: dict[Hashable, list[int]] = {}
    for place, key in enumerate(keys):
        groups.setdefault(key, []).append(place)
    return list(groups.values())


def dropout_by_modality(key: str, dims: Mapping[str, int], probabilities: Mapping[str, float | None]) -> nn.ModuleList:
    """Returns a dropout for each modality, in the order of `dims`.

    Raises ValueError for a name that is neither a modality nor one of ALWAYS, and for a probability outside [0, 1).
    """
    for name, p in probabilities.items():
        if name not in dims and name not in ALWAYS:
            raise ValueError(f"{key}.{name}: no such modality; expected {DEFAULT} or one of {', '.join(dims)}")
        check_probability(f"{key}.{name}", 0.0 if p is None else p)
    fallback = probabilities.get(DEFAULT) or 0.0
    rates = [probabilities.get(name) for name in dims]
    return nn.ModuleList(Dropout(fallback if p is None else p) for p in rates)


def check_probability(key: str, p: float) -> None:
    if not 0.0 <= p < 1.0:
        raise ValueError(f"{key}: expected a probability in [0, 1), found {p}")
