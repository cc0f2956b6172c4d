"""Trains MAG-BERT (Rahman et al., ACL 2020): audio and vision shift the tokens inside a text encoder.

The gate (trivium.methods.adaptation_gate) stands before the text encoder's first layer, or behind a later one. The
encoder may be BERT or one that reads features; docs/methods/mag_bert.md has the equations and the readings.
An absent audio or vision adds nothing to the shift. An absent text is replaced by placeholder tokens, so that the
others still have tokens to shift.
Legend: B clips, T tokens, M modalities, A size of a token in the encoder, D features, E joint embedding.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from trivium.core.choices import check_choice
from trivium.core.seeding import keyed
from trivium.data.batch import Batch, Stream, Words
from trivium.encoders.base import Encoded, Encoder
from trivium.encoders.pooling import check_least
from trivium.methods.adaptation_gate import AdaptationGate, align
from trivium.methods.base import Method, Parts, Prediction

GATES = ("mag", "none")
PLACEHOLDER_COUNTS = ("fixed", "data")


class MAGBERT(Method):
    """Trains one linear head on the fusion of the adapted text; configs/method/mag_bert.yaml explains the keywords.

    The default fusion is the text's vector alone. Others get the adapted text, and audio and vision as encoded.
    Raises ValueError if the data lack the carrier, its encoder cannot be adapted at the layer, or a placeholder's id is
    unknown to it.
    """

    def __init__(
        self,
        parts: Parts,
        *,
        name: str = "mag_bert",
        carrier: str = "text",
        gate: str = "mag",
        layer: int = 0,
        beta: float = 1.0,
        bias: str = "gated",
        gate_dropout: float = 0.5,
        dropout: float = 0.1,
        placeholder_tokens: int = 12,
        placeholder_count: str = "fixed",
        placeholder_ids: Sequence[int] = (101, 103, 102),
    ) -> None:
        super().__init__(parts)
        adapted_size, input_size = _check(parts, carrier, layer)
        check_choice("method.gate", gate, GATES)
        check_least("method.placeholder_tokens", placeholder_tokens, 1)
        self.name, self.carrier, self.layer = name, carrier, layer
        self.column = list(parts.encoders).index(carrier)
        encoder = parts.encoders[carrier]
        self.placeholder_tokens, self.longest = placeholder_tokens, encoder.longest
        self.placeholder_ids = list(placeholder_ids)
        # The modalities whose steps say how many words an absent text had.
        self.word_steps: list[str] = []
        if check_choice("method.placeholder_count", placeholder_count, PLACEHOLDER_COUNTS) == "data":
            self._count_by(parts)
        if encoder.reads == "tokens":
            _check_ids(self.placeholder_ids, input_size, carrier)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(parts.fusion.dim, parts.objective.outputs)
        others = {m: other.token_dim or other.dim for m, other in parts.encoders.items() if m != carrier}
        self.gate: AdaptationGate | None = None
        if gate == "mag":
            with keyed(parts.seed, "gate"):
                self.gate = AdaptationGate(adapted_size, others, beta=beta, dropout=gate_dropout, bias=bias)
        # An encoder of features gets a learned vector, one of token ids the placeholder ids.
        self.placeholder = nn.Parameter(torch.zeros(input_size)) if encoder.reads == "values" else None

    @classmethod
    def fusion_steps(
        cls, settings: Mapping[str, Any], longest: Mapping[str, int], names: Iterable[str]
    ) -> Mapping[str, int]:
        # Placeholders, with a token at both ends, may be more than any clip has.
        least = {settings.get("carrier", "text"): int(settings.get("placeholder_tokens", 12)) + 2}
        if settings.get("placeholder_count") == "data":
            least = {}
        return {name: max(longest[name], least.get(name, 0)) for name in names}

    def own_parts(self, modality: str) -> list[nn.Module]:
        # Behind the gate the carrier's encoder reads the other modalities too.
        return [] if modality == self.carrier and self.gate is not None else [self.encoders[modality]]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        outputs_BK, _ = self._outputs(batch)
        return {"loss": batch.mean(self.objective(outputs_BK, batch.target))}

    def predict(self, batch: Batch) -> Prediction:
        return self.decode(*self._outputs(batch))

    def _outputs(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Returns the head's outputs (B, K) and the joint vector (B, E)."""
        present_BM = batch.present.clone()
        present_BM[:, self.column] = True
        joint_BE = self.fuse(self.encode(batch), present_BM)
        return self.out(self.dropout(joint_BE)), joint_BE

    def encode(self, batch: Batch) -> dict[str, Encoded]:
        """Returns the modalities encoded: the carrier adapted by the others, or its placeholders where it is absent."""
        others = {name: self.encode_modality(batch, name) for name in self.encoders if name != self.carrier}
        encoder = self._encoder
        stream = self._with_placeholders(batch)
        gate = self.gate
        if gate is None:
            text: Encoded = encoder(stream)
        else:
            words_BT = _words(stream) if encoder.reads == "tokens" else stream.mask
            vectors = {name: align(out.tokens, out.mask, words_BT, stream.words) for name, out in others.items()}
            present = {name: batch.present[:, m] for m, name in enumerate(self.encoders)}

            def adapt(z_BTA: Tensor, front: int) -> Tensor:
                in_front = {name: nn.functional.pad(x_BTD, (0, 0, front, 0)) for name, x_BTD in vectors.items()}
                return gate(z_BTA, in_front, present)  # type: ignore[no-any-return]

            text = encoder.adapted(stream, adapt, self.layer)
        return {name: text if name == self.carrier else others[name] for name in self.encoders}

    @property
    def _encoder(self) -> Encoder:
        encoder = self.encoders[self.carrier]
        assert isinstance(encoder, Encoder)
        return encoder

    def _count_by(self, parts: Parts) -> None:
        """Lets the number of placeholders be that of the other modalities' words, or else the train split's mean.

        None has more steps than the store's longest text.
        """
        special = 2 * (self._encoder.reads == "tokens")
        self.word_steps = [name for name in parts.encoders if name in parts.word_steps and name != self.carrier]
        longest = [steps for steps in (self.longest, parts.longest.get(self.carrier)) if steps]
        self.longest = min(longest, default=None)
        mean = parts.mean_lengths.get(self.carrier, self.placeholder_tokens + special)
        self.placeholder_tokens = max(1, round(mean) - special)

    def _with_placeholders(self, batch: Batch) -> Stream:
        """Returns the carrier's stream, with placeholder tokens in the clips that lack it."""
        stream, present_B1 = batch.streams[self.carrier], batch.present[:, self.column, None]
        special = 2 * (self.placeholder is None)
        words_B1 = self._words_without_text(batch)
        count_B1 = torch.where(words_B1 > 0, words_B1, self.placeholder_tokens) + special
        most = max([self.placeholder_tokens, *(int(batch.streams[m].lengths.max()) for m in self.word_steps)]) + special
        if self.longest:
            count_B1, most = count_B1.clamp(max=self.longest), min(most, self.longest)
        extra = max(0, most - stream.mask.shape[1])
        step_T = torch.arange(stream.mask.shape[1] + extra, device=stream.mask.device)
        filled_BT = step_T < count_B1
        mask_BT = torch.where(present_B1, nn.functional.pad(stream.mask, (0, extra)), filled_BT)
        lengths = stream.lengths.to(present_B1.device, non_blocking=True)
        # Which clips have text is known on the device alone, so an encoder that lays its steps out by these lengths
        # makes the host wait for a GPU.
        lengths = torch.where(present_B1[:, 0], lengths, count_B1[:, 0])
        # A placeholder is of the word whose place it has, where the other modalities' words are known.
        number_BT = step_T - special // 2
        number_BT = torch.where((number_BT >= 0) & (step_T < count_B1 - special // 2), number_BT, -1)
        if self.placeholder is None:
            cls, mask, sep = self.placeholder_ids
            ids_BT = torch.where(step_T == 0, cls, torch.where(step_T == count_B1 - 1, sep, mask))
            ids_BT = torch.where(filled_BT, ids_BT, 0)
            values = torch.where(present_B1, nn.functional.pad(stream.values, (0, extra)), ids_BT)
        else:
            values_BTD = nn.functional.pad(stream.values, (0, 0, 0, extra))
            fill_BTD = torch.where(filled_BT[..., None], self.placeholder.to(values_BTD.dtype), 0.0)
            values = torch.where(present_B1[..., None], values_BTD, fill_BTD)
        words = stream.words
        if words is None:
            words = Words(torch.full_like(stream.mask, -1, dtype=torch.int64), torch.zeros_like(words_B1[:, 0]))
        numbers_BT = nn.functional.pad(words.numbers, (0, extra), value=-1)
        words = Words(
            torch.where(present_B1, numbers_BT, number_BT),
            torch.where(present_B1, words.counts[:, None], words_B1)[:, 0],
        )
        return Stream(values, mask_BT, lengths, words)

    def _words_without_text(self, batch: Batch) -> Tensor:
        """Returns (B, 1) int64, the number of words that a clip's other modalities tell; 0 where they do not."""
        words_B1 = torch.zeros_like(batch.index)[:, None]
        for name in self.word_steps:
            steps_B = batch.streams[name].lengths.to(words_B1.device, non_blocking=True)
            present_B = batch.present[:, list(self.encoders).index(name)]
            words_B1 = torch.maximum(words_B1, torch.where(present_B, steps_B, 0)[:, None])
        return words_B1


def _words(stream: Stream) -> Tensor:
    """Returns (B, T) bool, the tokens but for the special ones at both ends of each clip."""
    step_T = torch.arange(stream.mask.shape[1], device=stream.mask.device)
    return stream.mask & (step_T > 0) & (step_T < stream.mask.sum(dim=1, keepdim=True) - 1)


def _check(parts: Parts, carrier: str, layer: int) -> tuple[int, int]:
    """Returns the size of the vectors that the gate changes, and that of the encoder's features or its vocabulary.

    Raises ValueError if the carrier's encoder has no such vectors.
    """
    if carrier not in parts.encoders:
        names = ", ".join(parts.encoders)
        raise ValueError(f"method.carrier: expected one of the modalities {names}, found {carrier!r}")
    encoder = parts.encoders[carrier]
    if encoder.adapts is None or encoder.input_size is None:
        kind = type(encoder).__name__
        raise ValueError(f"method=mag_bert: {kind}, the encoder of {carrier}, has no place for the gate")
    if not 0 <= layer <= encoder.adapt_layers:
        raise ValueError(
            f"method.layer: expected 0 to {encoder.adapt_layers}, the layers of the encoder of {carrier}, found {layer}"
        )
    return encoder.adapts, encoder.input_size


def _check_ids(ids: Sequence[int], known: int, carrier: str) -> None:
    """Raises ValueError unless the ids are three that the encoder knows."""
    if len(ids) != 3 or not all(0 <= token < known for token in ids):
        raise ValueError(
            f"method.placeholder_ids: expected the ids of [CLS], [MASK] and [SEP], three numbers below {known}, which "
            f"the encoder of {carrier} knows, found {list(ids)}"
        )
