"""Mixup as an option of methods with one joint head: clips are mixed before the encoders (Zhang et al., 2018) or what
encoders give of them is mixed before the fusion (Verma et al., 2019), and the head is asked for the mixed label.

Legend: b clips on this rank, N of the global batch, M modalities, T steps, E token size, P pooled size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from trivium.data.batch import Batch
from trivium.data.mixing import Mixing, draw_mixing, gather_steps, mix_batch
from trivium.encoders.base import Encoded
from trivium.methods.base import Method, Parts
from trivium.methods.mixed_loss import mixed_loss

MIXUPS = ("none", "input", "manifold", "one", "series")
Layer = Literal["input", "manifold"]


class Mixup:
    """kind: what is mixed: "input", "manifold" (encoders' results), "one" of the two a step, each with probability
    1/2, "series" (the inputs, and their encoders' results once more), or "none". alpha: of Beta(alpha, alpha), from
    which a clip's share is drawn. weight: the mixed loss's share of the joint loss, (1 - w) clean + w mixed.

    Raises ValueError for an unknown kind, alpha not above 0, a weight outside [0, 1], and inputs that are token ids.
    """

    def __init__(self, parts: Parts, kind: str, *, alpha: float, weight: float) -> None:
        _check(parts, kind, alpha, weight)
        self.kind, self.alpha = kind, alpha
        self.weight = 0.0 if kind == "none" else weight  # at 0 nothing is mixed or computed

    def loss(self, method: Method, head: nn.Module, batch: Batch, encoded: dict[str, Encoded] | None = None) -> Tensor:
        """(), a Batch.mean: the joint head's loss on this step's mixed clips; one without any modality counts 0.

        encoded: the batch as it is, encoded, where the caller has it.
        """
        mixed, present_bM, mixing = self._mixed(method, batch, encoded)
        outputs_bK = head(method.fuse(mixed, present_bM))
        targets_N = batch.gather(batch.targets["multimodal"])
        loss_b = mixed_loss(method.objective, outputs_bK, targets_N, mixing, batch.rows)
        return batch.mean(torch.where(present_bM.any(dim=1), loss_b, 0.0))

    def _mixed(
        self, method: Method, batch: Batch, encoded: dict[str, Encoded] | None
    ) -> tuple[dict[str, Encoded], Tensor, Mixing]:
        """The mixed clips as a fusion takes them, their presence, and the mixing that their labels follow."""
        layers = self._layers(method)
        labels: Mixing | None = None
        if "input" in layers:
            labels = self._draw(method, batch, "input")
            batch, encoded = mix_batch(batch, labels), None
        encoded = method.encode(batch) if encoded is None else encoded
        if "manifold" in layers:
            mixing = self._draw(method, batch, "manifold")
            encoded, present_bM = mix_encoded(encoded, batch, mixing, tokens=method.fusion.reads == "tokens")
            return encoded, present_bM, mixing if labels is None else labels.then(mixing)
        assert labels is not None
        return encoded, batch.present, labels

    def _layers(self, method: Method) -> tuple[Layer, ...]:
        if self.kind == "one":
            return ("manifold",) if method.step_key("mixup", "layer") % 2 else ("input",)
        kinds: dict[str, tuple[Layer, ...]] = {"input": ("input",), "manifold": ("manifold",)}
        return kinds.get(self.kind, ("input", "manifold"))

    def _draw(self, method: Method, batch: Batch, layer: Layer) -> Mixing:
        every_N = torch.ones(batch.global_size, dtype=torch.bool, device=batch.present.device)
        return draw_mixing(method.step_key("mixup", layer), self.alpha, every_N)


def mix_encoded(
    encoded: Mapping[str, Encoded], batch: Batch, mixing: Mixing, *, tokens: bool
) -> tuple[dict[str, Encoded], Tensor]:
    """What encoders gave of this rank's clips, mixed with the global batch's, and (b, M) bool, what is present.

    A modality is present where all that is mixed in has it, else zero. tokens: mix them too, step by step, a shorter
    clip's padding as zeros; otherwise the one token is the pooled vector, which is all that the fusion reads.
    """
    present_NM = batch.present_everywhere
    present_bM = mixing.all_of(present_NM, batch.rows)
    mixed = {}
    for m, (name, one) in enumerate(encoded.items()):
        here_b1 = present_bM[:, m, None]
        pooled_bP = torch.where(here_b1, mixing.mix(batch.gather(one.pooled), batch.rows), 0.0)
        if not tokens:
            mixed[name] = Encoded(pooled_bP[:, None], here_b1, pooled_bP)
            continue
        tokens_bTE = mixing.mix(gather_steps(one.tokens, batch.shares), batch.rows)
        real_NT = gather_steps(one.mask.to(torch.uint8), batch.shares).bool()
        mask_bT = mixing.any_of(real_NT, batch.rows) & here_b1
        mixed[name] = Encoded(torch.where(mask_bT[..., None], tokens_bTE, 0.0), mask_bT, pooled_bP)
    return mixed, present_bM


def _check(parts: Parts, kind: str, alpha: float, weight: float) -> None:
    if kind not in MIXUPS:
        raise ValueError(f"method.mixup: {kind!r}; expected one of {', '.join(MIXUPS)}")
    if not 0.0 < alpha < float("inf"):
        raise ValueError(f"method.mixup_alpha: expected a number above 0, found {alpha}")
    if not 0.0 <= weight <= 1.0:
        raise ValueError(f"method.mixup_weight: expected a share in [0, 1], found {weight}")
    if kind in ("none", "manifold"):
        return
    for name, encoder in parts.encoders.items():
        if encoder.reads == "tokens":
            raise ValueError(
                f"method.mixup={kind} mixes features, and the encoder of {name!r} reads token ids; take "
                "method.mixup=manifold, which mixes what encoders give, or another encoder"
            )
