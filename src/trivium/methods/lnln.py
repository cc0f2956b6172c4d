"""Trains LNLN (Zhang et al., NeurIPS 2024): language is corrected by a proxy of the others, on randomly erased clips.

Each clip is seen twice, erased and complete. The fusion gets every modality as tokens, that of language corrected.
docs/methods/lnln.md has the equations, and where paper and public code differ.
Legend: B clips, M modalities, T tokens a modality, E their size.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trivium.core.choices import check_choice, suggest
from trivium.core.precision import at_least_float32
from trivium.core.seeding import derive
from trivium.data.batch import Batch
from trivium.data.erase import draw_rates, erase, fill_absent
from trivium.encoders.base import Encoded
from trivium.encoders.pooling import check_least
from trivium.fusions.almt import ALMT, language_of
from trivium.fusions.token_encoder import ModalityEmbedding, TokenEncoder
from trivium.methods.base import Method, Parts, Prediction
from trivium.methods.gradient_reversal import Reversal

WEIGHTS = {"task": 1.0, "completeness": 0.9, "adversarial": 0.8, "reconstruction": 0.1}
DISCRIMINATOR_CLASSES = 2


@dataclass
class Corrected:
    """Holds the embedded clips of a batch.

    embedded: modality -> (B, T, E). completeness: (B,) in [0, 1], the estimate of what language kept. proxy: (B, T, E).
    language: (B, T, E), the corrected tokens that the prediction reads. judged: the same for the discriminator.
    """

    embedded: dict[str, Tensor]
    completeness: Tensor
    proxy: Tensor
    language: Tensor
    judged: Tensor


class LNLN(Method):
    """Trains on the task, completeness, adversarial and reconstruction losses; configs/method/lnln.yaml explains keys.

    Raises ValueError for unknown names, weights and rates out of range, sizes below 1, and a fusion=almt that takes
    another modality for language.
    """

    validation_losses = ("loss", "total")

    def __init__(
        self,
        parts: Parts,
        *,
        name: str = "lnln",
        dim: int = 128,
        tokens: int = 8,
        language: str = "",
        depth: int = 2,
        heads: int = 8,
        head_dim: int = 64,
        feedforward: int = 128,
        hidden: int = 64,
        masks: bool = True,
        weights: Mapping[str, float] | None = None,
        reverse: str = "all",
        detach_targets: bool = False,
        frozen: bool = False,
        valid_rate: float = 0.5,
        unknown: str = "zero",
        unknown_id: int = 100,
        special_ids: tuple[int, int] = (101, 102),
        absent: str = "left_out",
    ) -> None:
        super().__init__(parts)
        for key, size in {"dim": dim, "tokens": tokens, "depth": depth, "heads": heads, "head_dim": head_dim}.items():
            check_least(f"method.{key}", size, 1)
        self.name, self.tokens = name, tokens
        self.weights = {**WEIGHTS, **(weights or {})}
        _check(self.weights, valid_rate)
        self.reverse = check_choice("method.reverse", reverse, ("all", "adversarial"))
        self.absent = check_choice("method.absent", absent, ("left_out", "erase"))
        self.detach_targets, self.frozen = detach_targets, frozen
        self.valid_rate, self.unknown_id, self.special_ids = valid_rate, unknown_id, special_ids
        self.names = list(parts.encoders)
        self.language = language_of(dict.fromkeys(self.names, dim), "method.language", language)
        self._refuse_another_language()
        sizes = {"heads": heads, "head_dim": head_dim, "feedforward": feedforward}
        # Lists in the order of the modalities, because a ModuleDict refuses modalities with names such as "keys".
        self.embeddings = nn.ModuleList(
            ModalityEmbedding(
                m, encoder.token_dim or encoder.dim, parts.longest[m], dim, tokens=tokens, depth=depth, masked=masks,
                **sizes,
            )
            for m, encoder in parts.encoders.items()
        )  # fmt: skip
        self.completeness_token = TokenEncoder(dim, tokens, depth=depth, tokens=1, **sizes)
        self.completeness = nn.Sequential(nn.Linear(dim, hidden), nn.LeakyReLU(0.1), nn.Linear(hidden, 1))
        self.proxy_start = nn.Parameter(torch.ones(tokens, dim))
        self.proxy = TokenEncoder(dim, tokens * len(self.names), depth=depth, tokens=tokens, **sizes)
        self.discriminator = nn.Sequential(
            nn.Linear(dim, hidden), nn.LeakyReLU(0.1), nn.Linear(hidden, DISCRIMINATOR_CLASSES)
        )
        self.reconstructors = nn.ModuleList(TokenEncoder(dim, tokens, depth=depth, **sizes) for _ in self.names)
        self.head = nn.Linear(parts.fusion.dim, parts.objective.outputs)
        self._refuse_unknown_ids(parts)
        self.unknown = self._unknown_vector(parts, check_choice("method.unknown", unknown, ("zero", "learned")))

    @classmethod
    def fusion_sizes(cls, settings: Mapping[str, Any], sizes: Mapping[str, int]) -> Mapping[str, int]:
        return dict.fromkeys(sizes, int(settings.get("dim", 128)))

    @classmethod
    def fusion_steps(
        cls, settings: Mapping[str, Any], longest: Mapping[str, int], names: Iterable[str]
    ) -> Mapping[str, int]:
        return dict.fromkeys(names, int(settings.get("tokens", 8)))

    def own_parts(self, modality: str) -> list[nn.Module]:
        # The fusion reads the proxy, which is made of all modalities.
        return [self.encoders[modality], self.embeddings[self.names.index(modality)]]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        had_BM, had_NM, language = batch.present, batch.present_everywhere, self.names.index(self.language)
        clips = self._filled(batch)
        key = derive(self.seed, "erasing") if self.frozen else derive(self.seed, "erasing", self.position[0])
        rate_BM = torch.where(had_BM, draw_rates(self.names, batch.index, key), 1.0)
        erased = self.correct(self.erased(clips, rate_BM, key))
        complete = self.embed(clips)
        label_B = 1.0 - rate_BM[:, language]
        per_clip = {
            "completeness": self.completeness_loss(erased.completeness, label_B),
            "adversarial": self.adversarial_loss(erased.judged, complete[self.language]),
            "reconstruction": self.reconstruction_loss(erased.embedded, complete, had_BM),
            "task": self.objective(self._predicted(erased, clips).outputs, batch.target),
        }
        # Terms that look at language are means over the clips that have it.
        with_language_N = had_NM[:, language]
        among = {"adversarial": with_language_N}
        if self.absent == "left_out":
            among["completeness"] = with_language_N
        terms = {name: batch.mean(loss_B, among.get(name)) for name, loss_B in per_clip.items()}
        total = torch.stack([self.weights[name] * value for name, value in terms.items()]).sum()
        return {**terms, "mean_completeness": batch.mean(erased.completeness.detach()), "loss": total}

    def predict(self, batch: Batch) -> Prediction:
        clips = self._filled(batch)
        return self._predicted(self.correct(clips), clips)

    def vectors(self, batch: Batch) -> dict[str, Tensor]:
        clips = self._filled(batch)
        corrected = self.correct(clips)
        means = {name: tokens.mean(dim=1) for name, tokens in corrected.embedded.items()}
        return {"joint": self._predicted(corrected, clips).features, **means}

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """Returns the prediction of the clips erased at `valid_rate`, and its loss; "total" adds that of completeness.

        What is erased is the same in every epoch and run.
        """
        clips = self._filled(batch)
        rate_BM = torch.where(batch.present, self.valid_rate, 1.0).double()
        corrected = self.correct(self.erased(clips, rate_BM, derive(0, "erasing of validation")))
        prediction = self._predicted(corrected, clips)
        loss_B = self.objective(prediction.outputs, batch.target)
        label_B = 1.0 - rate_BM[:, self.names.index(self.language)]
        total_B = self.weights["task"] * loss_B
        total_B = total_B + self.weights["completeness"] * self.completeness_loss(corrected.completeness, label_B)
        return {"prediction": prediction, "loss": loss_B, "total": total_B}

    # Parts of a step

    def erased(self, batch: Batch, rate_BM: Tensor, key: int, clips_B: Tensor | None = None) -> Batch:
        unknown = {} if self.unknown is None else {self.language: self.unknown}
        return erase(batch, rate_BM, key, unknown_id=self.unknown_id, unknown=unknown, clips_B=clips_B)

    def embed(self, batch: Batch) -> dict[str, Tensor]:
        """Returns modality -> its tokens, (B, T, E); of an absent modality constants."""
        encoded = self.encode(batch)
        return {
            name: embedding(encoded[name].tokens, encoded[name].mask, batch.present[:, m])
            for m, (name, embedding) in enumerate(zip(self.names, self.embeddings, strict=True))
        }

    def correct(self, batch: Batch) -> Corrected:
        """Embeds the clips, and mixes the proxy into language by as much as is missing of it."""
        embedded = self.embed(batch)
        present = dict(zip(self.names, batch.present.unbind(1), strict=True))
        return self.mix(embedded, present)

    def mix(self, embedded: dict[str, Tensor], present: Mapping[str, Tensor]) -> Corrected:
        """Returns the corrected clips. present: modality -> (B,) bool; an absent language is all proxy."""
        own_BTE = embedded[self.language]
        token_B1E = self.completeness_token(own_BTE)
        estimate_B = at_least_float32(self.completeness(token_B1E[:, 0])[:, 0]).sigmoid()
        completeness_B = torch.where(present[self.language], estimate_B, 0.0)
        proxy_BTE = self._proxy_of(embedded, present)
        weight_B11 = completeness_B.to(own_BTE.dtype)[:, None, None]
        judged = weight_B11 * own_BTE + (1 - weight_B11) * Reversal.apply(proxy_BTE, 1.0)  # type: ignore[no-untyped-call]
        plain = weight_B11 * own_BTE + (1 - weight_B11) * proxy_BTE
        return Corrected(embedded, completeness_B, proxy_BTE, judged if self.reverse == "all" else plain, judged)

    def completeness_loss(self, completeness_B: Tensor, label_B: Tensor) -> Tensor:
        """Returns (B,): the squared error of the estimated completeness."""
        return (completeness_B - label_B.to(completeness_B.dtype)).square()

    def adversarial_loss(self, judged_BTE: Tensor, complete_BTE: Tensor) -> Tensor:
        """Returns (B,): how badly the discriminator tells corrected (1) from complete (0) tokens of language."""
        logits_BTC = at_least_float32(self.discriminator(torch.cat([judged_BTE, complete_BTE], dim=1)))
        classes_T = torch.arange(logits_BTC.shape[1], device=logits_BTC.device) < judged_BTE.shape[1]
        classes_BT = classes_T.long().expand(len(logits_BTC), -1)
        return F.cross_entropy(logits_BTC.mT, classes_BT, reduction="none").mean(dim=1)

    def reconstruction_loss(
        self, embedded: Mapping[str, Tensor], complete: Mapping[str, Tensor], had_BM: Tensor
    ) -> Tensor:
        """Returns (B,): the squared error of the complete tokens, a mean over the modalities that a clip has."""
        errors = []
        for name, reconstruct in zip(self.names, self.reconstructors, strict=True):
            target_BTE = complete[name].detach() if self.detach_targets else complete[name]
            errors.append(at_least_float32(reconstruct(embedded[name]) - target_BTE).square().mean(dim=(1, 2)))
        error_BM = torch.where(had_BM, torch.stack(errors, dim=1), 0.0)
        return error_BM.sum(dim=1) / had_BM.sum(dim=1).clamp(min=1)

    def _proxy_of(self, embedded: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """Returns what the proxy's tokens read in its start and in the modalities beside language, (B, T, E)."""
        others = [name for name in self.names if name != self.language]
        start_BTE = self.proxy_start.expand(len(embedded[self.language]), -1, -1)
        rows_BNE = torch.cat([start_BTE, *(embedded[name] for name in others)], dim=1)
        every_B = torch.ones_like(present[self.language])
        real_BM = torch.stack([every_B, *(present[name] for name in others)], dim=1)
        proxy_BTE: Tensor = self.proxy(rows_BNE, real_BM.repeat_interleave(self.tokens, dim=1))
        return proxy_BTE

    def _predicted(self, corrected: Corrected, batch: Batch) -> Prediction:
        """Returns the prediction from the corrected tokens. Language counts as present, its proxy being there."""
        encoded, present = {}, []
        for m, name in enumerate(self.names):
            is_language = name == self.language
            here_B = torch.ones_like(batch.present[:, m]) if is_language else batch.present[:, m]
            tokens_BTE = corrected.language if is_language else corrected.embedded[name]
            tokens_BTE = torch.where(here_B[:, None, None], tokens_BTE, 0.0)
            encoded[name] = Encoded(tokens_BTE, here_B[:, None].expand(-1, self.tokens), tokens_BTE.mean(dim=1))
            present.append(here_B)
        joint_BE = self.fuse(encoded, torch.stack(present, dim=1))
        return self.decode(self.head(joint_BE), joint_BE)

    def _filled(self, batch: Batch) -> Batch:
        """Returns the batch; with absent=erase its absent modalities are there, all of their steps erased."""
        if self.absent == "left_out":
            return batch
        first, last = self.special_ids
        return fill_absent(batch, unknown_id=self.unknown_id, first_id=first, last_id=last)

    def _refuse_another_language(self) -> None:
        if isinstance(self.fusion, ALMT) and self.fusion.language != self.language:
            raise ValueError(
                f"fusion.language: expected that of method.language, {self.language!r}, found "
                f"{self.fusion.language!r}; set both"
            )

    def _refuse_unknown_ids(self, parts: Parts) -> None:
        """Raises ValueError, naming the key, for ids that an encoder of token ids does not know."""
        for name, encoder in parts.encoders.items():
            if encoder.reads != "tokens" or encoder.input_size is None:
                continue
            ids = {"unknown_id": [self.unknown_id], "special_ids": self.special_ids if self.absent == "erase" else []}
            for key, values in ids.items():
                if not all(0 <= value < encoder.input_size for value in values):
                    raise ValueError(
                        f"method.{key}: expected what the tokenizer of {name!r} has, below {encoder.input_size}, found "
                        f"{', '.join(map(str, values))}"
                    )

    def _unknown_vector(self, parts: Parts, unknown: str) -> nn.Parameter | None:
        """Returns the learned vector of an erased word; None for zeros. Raises ValueError for text of token ids."""
        if unknown == "zero":
            return None
        encoder = parts.encoders[self.language]
        if encoder.reads == "tokens" or encoder.input_size is None:
            raise ValueError(
                f"method.unknown=learned: {self.language!r} is read as token ids, whose erased words become "
                f"method.unknown_id ({self.unknown_id}); take method.unknown=zero"
            )
        return nn.Parameter(torch.zeros(encoder.input_size))


def _check(weights: Mapping[str, float], valid_rate: float) -> None:
    """Raises ValueError, naming the key, for an unknown weight, one below 0, and a rate outside [0, 1]."""
    for name, weight in weights.items():
        if name not in WEIGHTS:
            raise ValueError(
                f"method.weights.{name}: no such term{suggest(name, WEIGHTS)}; the terms are {', '.join(WEIGHTS)}"
            )
        if not 0.0 <= weight < float("inf"):
            raise ValueError(f"method.weights.{name}: expected a number from 0, found {weight}")
    if not 0.0 <= valid_rate <= 1.0:
        raise ValueError(f"method.valid_rate: expected a share of steps in [0, 1], found {valid_rate}")
