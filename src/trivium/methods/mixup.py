"""Mixes clips, as an option of methods with one joint head.

Mixup mixes the inputs of the encoders (Zhang et al., 2018), manifold mixup their outputs before the fusion (Verma et
al., 2019). The head is trained on the mixed label. trivium.data.mixing draws which clips are mixed.
Legend: b clips on this rank, N of the global batch, M modalities, T steps, E token size, P pooled size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from trivium.core.choices import check_choice
from trivium.data.batch import Batch
from trivium.data.mixing import Mixing, draw_mixing, gather_steps, mix_batch
from trivium.encoders.base import Encoded
from trivium.methods.base import Method, Parts
from trivium.methods.mixed_loss import mixed_loss

MIXUPS = ("none", "input", "manifold", "one", "series")
Layer = Literal["input", "manifold"]


class Mixup:
    """Computes the joint head's loss on mixed clips, as the method's options say.

    The options, of trivium.methods.options, are these:
    mixup: what is mixed: "input", "manifold" (the outputs of encoders), "one" of the two in each step, with probability
    1/2, "series" (the inputs, and then the outputs once more), or "none".
    mixup_alpha: of the distribution Beta(alpha, alpha), from which a clip's share is drawn.
    mixup_weight: w, in (1 - w) clean + w mixed, the loss of the joint head; at 0 nothing mixed is computed.
    Raises ValueError for an unknown mixup, an alpha not above 0, a weight outside [0, 1], and inputs that are token
    ids.
    """

    def __init__(self, parts: Parts) -> None:
        _check(parts)
        options = parts.options
        self.kind, self.alpha = options.mixup, options.mixup_alpha
        self.weight = 0.0 if options.mixup == "none" else options.mixup_weight

    def loss(self, method: Method, head: nn.Module, batch: Batch, encoded: dict[str, Encoded] | None = None) -> Tensor:
        """Returns the joint head's loss on this step's mixed clips, a Batch.mean; a clip without any modality has 0.

        encoded: the encoded, unmixed batch, if the caller has it.
        """
        mixed, present_bM, mixing = self._mixed(method, batch, encoded)
        outputs_bK = head(method.fuse(mixed, present_bM))
        targets_N = batch.gather(batch.target)
        loss_b = mixed_loss(method.objective, outputs_bK, targets_N, mixing, batch.rows)
        return batch.mean(torch.where(present_bM.any(dim=1), loss_b, 0.0))

    def _mixed(
        self, method: Method, batch: Batch, encoded: dict[str, Encoded] | None
    ) -> tuple[dict[str, Encoded], Tensor, Mixing]:
        """Returns the mixed clips as a fusion takes them, the modalities they have (b, M), and their labels' mixing."""
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
        """Returns the layers that are mixed in this step."""
        if self.kind == "one":
            return ("manifold",) if method.step_key("mixup", "layer") % 2 else ("input",)
        kinds: dict[str, tuple[Layer, ...]] = {"input": ("input",), "manifold": ("manifold",)}
        return kinds.get(self.kind, ("input", "manifold"))

    def _draw(self, method: Method, batch: Batch, layer: Layer) -> Mixing:
        """Draws how the clips of the global batch are mixed at a layer in this step."""
        every_N = torch.ones(batch.global_size, dtype=torch.bool, device=batch.present.device)
        return draw_mixing(method.step_key("mixup", layer), self.alpha, every_N)


def mix_encoded(
    encoded: Mapping[str, Encoded], batch: Batch, mixing: Mixing, *, tokens: bool
) -> tuple[dict[str, Encoded], Tensor]:
    """Returns the encoders' outputs of this rank's clips, mixed with those of others, and the modalities present.

    The latter, (b, M) bool, are those that every clip of the mixture has; the others are zero.
    tokens: True mixes tokens too, step by step, with zeros for the padding of a shorter clip. False is for fusions that
    read pooled vectors alone: the mixed pooled vector is then the only token.
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
    """Raises ValueError, naming the key, for options that are out of range or that an encoder cannot take."""
    kind, alpha, weight = parts.options.mixup, parts.options.mixup_alpha, parts.options.mixup_weight
    check_choice("method.mixup", kind, MIXUPS)
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
