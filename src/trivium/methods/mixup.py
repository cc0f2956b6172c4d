"""Mixup, an option of methods with one joint head.

Clips are mixed before the encoders (Zhang et al., 2018), or the encoders' outputs before the fusion (Verma et al.,
2019), and the head is trained on the mixed label. Which clips are mixed: trivium.data.mixing.

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
    """Computes the joint head's loss on mixed clips, as the method's options say.

    mixup: the layers that are mixed: "input", "manifold" (encoders' outputs), "one" of the two a step, each with
    probability 1/2, "series" (the inputs, and their encoders' outputs once more), or "none".
    mixup_alpha: of Beta(alpha, alpha), from which a clip's share is drawn.
    mixup_weight: the mixed loss's share w of the joint loss, (1 - w) clean + w mixed; at 0 nothing is computed.
    Raises ValueError for an unknown mixup, an alpha not above 0, a weight outside [0, 1], and inputs that are token
    ids.
    """

    def __init__(self, parts: Parts) -> None:
        _check(parts)
        options = parts.options
        self.kind, self.alpha = options.mixup, options.mixup_alpha
        self.weight = 0.0 if options.mixup == "none" else options.mixup_weight

    def loss(self, method: Method, head: nn.Module, batch: Batch, encoded: dict[str, Encoded] | None = None) -> Tensor:
        """Returns the joint head's loss on this step's mixed clips, a Batch.mean; one without any modality counts 0.

        encoded: the unmixed batch, encoded, where the caller has it.
        """
        mixed, present_bM, mixing = self._mixed(method, batch, encoded)
        outputs_bK = head(method.fuse(mixed, present_bM))
        targets_N = batch.gather(batch.targets["multimodal"])
        loss_b = mixed_loss(method.objective, outputs_bK, targets_N, mixing, batch.rows)
        return batch.mean(torch.where(present_bM.any(dim=1), loss_b, 0.0))

    def _mixed(
        self, method: Method, batch: Batch, encoded: dict[str, Encoded] | None
    ) -> tuple[dict[str, Encoded], Tensor, Mixing]:
        """Returns the mixed clips as a fusion takes them, their presence (b, M), and the mixing of their labels."""
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
    """Returns the encoders' outputs of this rank's clips, mixed with other clips', and what is present, (b, M) bool.

    A modality is present where every clip that is mixed in has it, and zero elsewhere. tokens: mix tokens too, step by
    step, a shorter clip's padding as zeros; otherwise the one token is the pooled vector, all that the fusion reads.
    """
    present_NM = batch.present_everywhere
    present_bM = mixing.all_of(present_NM, batch.rows)
    mixed = {}
    for m, (name, out) in enumerate(encoded.items()):
        present_b1 = present_bM[:, m, None]
        pooled_bP = torch.where(present_b1, mixing.mix(batch.gather(out.pooled), batch.rows), 0.0)
        if not tokens:
            mixed[name] = Encoded(pooled_bP[:, None], present_b1, pooled_bP)
            continue
        tokens_bTE = mixing.mix(gather_steps(out.tokens, batch.shares), batch.rows)
        real_NT = gather_steps(out.mask.to(torch.uint8), batch.shares).bool()
        mask_bT = mixing.any_of(real_NT, batch.rows) & present_b1
        mixed[name] = Encoded(torch.where(mask_bT[..., None], tokens_bTE, 0.0), mask_bT, pooled_bP)
    return mixed, present_bM


def _check(parts: Parts) -> None:
    kind, alpha, weight = parts.options.mixup, parts.options.mixup_alpha, parts.options.mixup_weight
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
