"""Trains CoMM (Dufumier et al., ICLR 2025) and the baselines on its network: Cross, Cross+Self, SimCLR and SupCon.

Two augmentations of a clip are encoded, each through every modality alone and through all of them together. These views
are contrasted (trivium.methods.contrasts). docs/methods/comm.md has the equations and the readings taken.
Legend: B clips on this rank, N of the global batch, M modalities, K masks, E joint embedding, D projection's output.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from trivium.core.choices import check_choice, suggest
from trivium.core.seeding import derive
from trivium.core.wording import undefined
from trivium.data.augment import Augment
from trivium.data.batch import Batch, Stream
from trivium.encoders.base import Encoded
from trivium.fusions.base import Fusion
from trivium.methods.base import Method, Parts, Prediction
from trivium.methods.contrasts import TERMS, AugmentedViews, contrasts, term_names
from trivium.methods.projection_head import ProjectionHead
from trivium.methods.readout import Readout


class CoMM(Method):
    """Pretrains encoders and fusion without labels; configs/method/comm.yaml explains the keywords.

    Its score is that of a linear probe of `vectors()["joint"]`: the joint vector of the clip as it is, before the
    projection head. For terms that train no joint vector (cross, cross_self, self) it is the vectors of all modalities,
    end to end. Any fusion will do; fusion=transformer computes all masks in one pass.
    Any target will do, as training reads none; supcon alone pairs clips of one class, of the target or of its score.
    Raises ValueError for unknown terms or weights, sizes and temperatures out of range, terms that contrast pairs of
    modalities if there is only one, and supcon of a target without classes.
    """

    probed = True

    def __init__(
        self,
        parts: Parts,
        *,
        name: str = "comm",
        terms: str = "comm",
        temperature: float = 0.1,
        head_hidden: Sequence[int] = (512, 512),
        head_out: int = 256,
        augment: Mapping[str, str | None] | None = None,
        drop_max: float = 0.8,
        noise_std: float = 0.1,
        weights: Mapping[str, float] | None = None,
        faithful: bool = False,
    ) -> None:
        super().__init__(parts)
        modalities = list(parts.encoders)
        _check(terms, modalities, temperature)
        _check_weights(weights or {}, terms, modalities)
        if terms == "supcon" and parts.objective.target.task not in ("score", "classes"):
            reason = "it draws clips of one class to each other"
            instead = "take method=comm, which needs no labels, or method=supervised"
            raise ValueError(undefined("method=supcon", parts.objective.target.words, reason, instead))
        self.name, self.terms, self.temperature, self.faithful = name, terms, temperature, faithful
        self.learns_labels = terms == "supcon"
        self.weights = dict(weights or {})
        pipelines = {key: steps for key, steps in (augment or {"default": "drop+noise"}).items() if steps is not None}
        self.augment = Augment(pipelines, modalities, drop_max, noise_std)
        self.augment.refuse_tokens({s for s, encoder in parts.encoders.items() if encoder.reads == "tokens"})
        # These terms train the joint vector; the others train each modality's vector alone.
        self.joint = terms in ("comm", "supcon")
        # Masks are in the order of the public code: each modality alone, then all of them.
        every_1M = torch.ones(1, len(modalities), dtype=torch.bool)
        masks_KM = torch.cat([torch.eye(len(modalities), dtype=torch.bool), every_1M])
        self.masks: Tensor
        self.register_buffer("masks", masks_KM, persistent=False)
        # The masks that a training step needs: all of them, only the joint one, or only the modalities alone.
        self.used_masks = {"comm": slice(None), "supcon": slice(-1, None)}.get(terms, slice(-1))
        width = parts.fusion.dim
        self.head = None if terms == "supcon" else ProjectionHead(width, head_hidden, head_out)
        self.readout = Readout(width if self.joint else len(modalities) * width, parts.objective.outputs)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        per_clip, accuracy = self._contrast(batch, self.step_key("view", "1"), self.step_key("view", "2"))
        terms = {name: batch.mean(value_B) for name, value_B in per_clip.items()}
        return {**terms, "accuracy": accuracy, "loss": self._weigh(terms)}

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """Returns the training loss of each clip, without dropout, on the same two augmented views in every epoch.

        The head normalises by the statistics of the batch in validation too. Its running statistics average over masks
        that differ, and with them a better network may have the higher loss.
        """
        first, second = (derive(self.seed, "validation", "view", number) for number in ("1", "2"))
        per_clip, _ = self._contrast(batch, first, second)
        return {"prediction": None, "loss": self._weigh(per_clip)}

    def predict(self, batch: Batch) -> Prediction:
        features_BE = self.vectors(batch)["joint"]
        return self.decode(self.readout(features_BE), features_BE)

    def vectors(self, batch: Batch) -> dict[str, Tensor]:
        """Returns "joint", which the probe reads, and under each modality's name the fusion of that modality alone."""
        *unimodal, joint_BE = views(self.fusion, self.encode(batch), batch.present, self.masks)
        return {
            "joint": joint_BE if self.joint else torch.cat(unimodal, dim=1),
            **dict(zip(self.encoders, unimodal, strict=True)),
        }

    def encode(self, batch: Batch) -> dict[str, Encoded]:
        if self.faithful:
            # In the public code tokens attend to padding, so that a clip's vector depends on the longest clip of its
            # batch.
            batch = replace(batch, streams={name: _without_mask(stream) for name, stream in batch.streams.items()})
        return super().encode(batch)

    def _contrast(self, batch: Batch, *keys: int) -> tuple[dict[str, Tensor], Tensor]:
        """Returns the losses of each term, (B,), and the share of clips that are recognised in their other view.

        keys: of the two augmentations. Both views share one pass of the encoders, one of the fusion over all masks, one
        projection and one gather.
        """
        both = _stack([self.augment(batch.streams, batch.index, key) for key in keys], batch)
        vectors_KRE = views(self.fusion, self.encode(both), both.present, self.masks[self.used_masks])
        rows_VKBD = torch.stack(vectors_KRE.chunk(len(keys), dim=1))
        if self.head is not None:
            rows_VKBD = self.head(rows_VKBD, batch, of_batch=True)
        first, second = batch.gather(rows_VKBD.permute(2, 0, 1, 3)).permute(1, 2, 0, 3)
        present_NM = batch.present_everywhere
        classes_N = batch.gather(self._classes(batch)) if self.terms == "supcon" else None
        both_views = AugmentedViews(list(self.encoders), first, second, present_NM, classes_N)
        return contrasts(self.terms, both_views, temperature=self.temperature, rows=batch.rows)

    def _classes(self, batch: Batch) -> Tensor:
        """Returns the classes of the objective, (B,) int64; if it has none, 1 for labels above 0 and else 0."""
        target_B, classes = batch.target, getattr(self.objective, "classes", None)
        return classes(target_B) if callable(classes) else (target_B > 0).long()

    def _weigh(self, terms: Mapping[str, Tensor]) -> Tensor:
        """Returns the weighted mean of the terms, in their shape."""
        default = self.weights.get("default", 1.0)
        return torch.stack([self.weights.get(name, default) * value for name, value in terms.items()]).mean(dim=0)


def views(fusion: Fusion, encoded: dict[str, Encoded], present_BM: Tensor, masks_KM: Tensor) -> Tensor:
    """Returns the joint vector from the modalities of each mask alone, (K, B, E), in one pass if the fusion has one."""
    if hasattr(fusion, "views"):
        return fusion.views(encoded, present_BM, masks_KM)  # type: ignore[no-any-return, operator]
    joint = []
    for mask_M in masks_KM:
        visible_BM = present_BM & mask_M
        masked = {}
        for m, (name, out) in enumerate(encoded.items()):
            visible_B1 = visible_BM[:, m, None]
            tokens_BTE = torch.where(visible_B1[..., None], out.tokens, 0.0)
            masked[name] = Encoded(tokens_BTE, out.mask & visible_B1, torch.where(visible_B1, out.pooled, 0.0))
        joint.append(fusion(masked, visible_BM))
    return torch.stack(joint)


def _stack(parts: Sequence[Mapping[str, Stream]], batch: Batch) -> Batch:
    """Returns a batch with several versions of the streams, end to end along the clips, so that encoders run once."""
    streams = {
        name: Stream(
            torch.cat([part[name].values for part in parts]),
            torch.cat([part[name].mask for part in parts]),
            torch.cat([part[name].lengths for part in parts]),
        )
        for name in batch.streams
    }
    return replace(batch, streams=streams, present=batch.present.repeat(len(parts), 1))


def _without_mask(stream: Stream) -> Stream:
    """Returns the stream with its padding declared to be real steps."""
    lengths = torch.full_like(stream.lengths, stream.values.shape[1])
    return replace(stream, mask=torch.ones_like(stream.mask), lengths=lengths)


def _check(terms: str, modalities: Sequence[str], temperature: float) -> None:
    """Raises ValueError for settings that cannot be trained with, and warns of terms that repeat themselves."""
    check_choice("method.terms", terms, TERMS)
    if terms in ("cross", "cross_self") and len(modalities) < 2:
        raise ValueError(
            f"method.terms={terms} contrasts pairs of modalities, and there is {modalities} alone; choose more "
            "data.modalities, or method=simclr"
        )
    if temperature <= 0:
        raise ValueError(f"method.temperature: expected a number above 0, found {temperature}")
    if terms == "comm" and len(modalities) < 2:
        warnings.warn(
            f"method.terms=comm with {modalities} alone contrasts the same pair twice; that is method=simclr",
            stacklevel=3,
        )


def _check_weights(weights: Mapping[str, float], terms: str, modalities: Sequence[str]) -> None:
    """Raises ValueError for the weight of a term that there is not."""
    known = ["default", *term_names(terms, modalities)]
    for name in weights:
        if name not in known:
            raise ValueError(
                f"method.weights.{name}: no such term{suggest(name, known)}; the terms of {terms} are "
                f"{', '.join(known[1:])}"
            )
