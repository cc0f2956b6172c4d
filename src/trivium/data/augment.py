"""Makes random views of a clip's sequences, for methods that compare two of them (CoMM; Dufumier et al., 2025).

Every random number is a function of the key, the clip's index, the modality, the step and the feature, so that a clip's
view is the same in any batch, at any padding and on any rank. Another key gives another view.
Legend: B clips, T steps of the padded batch, L real steps of all its clips, D features.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from trivium.core.keyed_random import normal, uniform
from trivium.core.seeding import derive
from trivium.data.batch import Stream

DEFAULT = "default"
PREFIX = "multi_"


@dataclass(frozen=True)
class _Step:
    """Names one step of a pipeline. shared: whether all modalities of the pipeline draw alike."""

    name: str
    shared: bool


@dataclass
class _Draw:
    """Draws the random numbers of one step for one modality.

    index: (B,) clips in their split. fires: (B,) bool, True for clips that the step changes.
    """

    values: Tensor
    stream: Stream
    index: Tensor
    fires: Tensor
    key: int
    drop_max: float
    noise_std: float

    @property
    def steps(self) -> Tensor:
        return torch.arange(self.values.shape[1], device=self.values.device)

    @property
    def real(self) -> Tensor:
        """Returns the number of real steps of each clip, (B,)."""
        return self.stream.mask.sum(dim=1)

    def uniform(self, what: str) -> Tensor:
        return uniform(derive(self.key, what), self.index, dtype=torch.float64)

    def order(self) -> Tensor:
        """Returns (B, T), a permutation of 0 ... T - 1: a clip's real steps in random order, then its padding."""
        score_BT = uniform(derive(self.key, "order"), self.index[:, None], self.steps, dtype=torch.float64)
        return score_BT.masked_fill(~self.stream.mask, 2.0).argsort(dim=1, stable=True)

    def block(self, size_B: Tensor) -> Tensor:
        """Returns (B, T) bool, True on `size_B` consecutive real steps of each clip, at a random place."""
        start_B = (self.uniform("start") * (self.real - size_B + 1)).floor()[:, None]
        return (self.steps >= start_B) & (self.steps < start_B + size_B[:, None])

    def keep(self, keep_BT: Tensor) -> Tensor:
        """Returns the values, with 0 on the steps that are False in clips that the step changes."""
        return torch.where((keep_BT | ~self.fires[:, None])[..., None], self.values, 0)


def _drop(draw: _Draw) -> Tensor:
    count_B = (draw.uniform("share") * draw.drop_max * draw.real).round()
    return draw.keep(draw.order() >= count_B[:, None])


def _drop_consecutive(draw: _Draw) -> Tensor:
    return draw.keep(~draw.block((draw.uniform("share") * draw.drop_max * draw.real).round()))


def _crop(draw: _Draw) -> Tensor:
    share_B = 0.08 + 0.92 * draw.uniform("share")
    return draw.keep(draw.block((share_B * draw.real).round().clamp(min=1)))


def _noise(draw: _Draw) -> Tensor:
    """Adds noise to real steps alone; padding stays 0."""
    # The lengths are on the CPU, so their sum is known without waiting for a GPU.
    values = draw.values
    clips, steps, features = values.shape
    total = int(draw.stream.lengths.sum())
    lengths_B = draw.real
    clip_L = torch.arange(clips, device=values.device).repeat_interleave(lengths_B, output_size=total)
    step_L = torch.arange(total, device=values.device) - (lengths_B.cumsum(0) - lengths_B)[clip_L]
    feature_D = torch.arange(features, device=values.device)
    dtype = torch.promote_types(values.dtype, torch.float32)
    noise_LD = normal(draw.key, draw.index[clip_L, None], step_L[:, None], feature_D, dtype=dtype)
    noise_LD.mul_((draw.fires.to(dtype) * draw.noise_std)[clip_L, None])
    return values.flatten(0, 1).index_add(0, clip_L * steps + step_L, noise_LD.to(values.dtype)).view_as(values)


def _permute(draw: _Draw) -> Tensor:
    source_BT = torch.where(draw.fires[:, None], draw.order(), draw.steps)
    return draw.values.gather(1, source_BT[..., None].expand_as(draw.values))


def _mixup(draw: _Draw) -> Tensor:
    partner = draw.values.gather(1, draw.order()[..., None].expand_as(draw.values))
    # Mixup's share is from Beta(1, 1), which is the uniform distribution.
    share_B11 = draw.uniform("share").to(draw.values.dtype)[:, None, None]
    return torch.where(draw.fires[:, None, None], partner + share_B11 * (draw.values - partner), draw.values)


STEPS: dict[str, Callable[[_Draw], Tensor]] = {
    "drop": _drop,
    "noise": _noise,
    "permute": _permute,
    "drop_consecutive": _drop_consecutive,
    "crop": _crop,
    "mixup": _mixup,
}


class Augment:
    """Makes a random view of the clips of a batch.

    pipelines: modality -> steps joined by "+", such as "drop+noise". They are applied in that order, each to a clip
    with probability 1/2. "default" (or one string in place of the mapping) is the pipeline of all modalities that have
    none of their own; these share the random choice of clips. "none", or no pipeline at all, leaves a modality as it
    is. T_i is the number of a clip's real steps of the modality; padding stays 0.

    drop: with r uniform in [0, drop_max), round(r T_i) (half to even) distinct steps become 0.
    drop_consecutive: the same number of steps become 0, in one block.
    crop: all but one block of 8 to 100 % of the steps (at least one) become 0.
    noise: N(0, noise_std^2) is added to every entry of every real step, dropped ones included.
    permute: the steps come in random order.
    mixup: each step is mixed with another, x_t <- l x_t + (1 - l) x_p(t), with l uniform in [0, 1) and p a permutation.
    The prefix "multi_" (not of noise) makes the modalities of "default" draw alike; where their lengths are equal, the
    same steps are then changed in all of them.

    Raises ValueError for unknown steps, unknown modalities, and numbers out of range.
    """

    def __init__(
        self,
        pipelines: Mapping[str, str] | str,
        modalities: Sequence[str],
        drop_max: float = 0.8,
        noise_std: float = 0.1,
    ) -> None:
        if isinstance(pipelines, str):
            pipelines = {DEFAULT: pipelines}
        unknown = set(pipelines) - {*modalities, DEFAULT}
        if unknown:
            raise ValueError(f"method.augment: no modality {sorted(unknown)}; expected {[DEFAULT, *modalities]}")
        if not 0.0 <= drop_max <= 1.0:
            raise ValueError(f"method.drop_max: expected a share of steps in [0, 1], found {drop_max}")
        if not 0.0 <= noise_std < float("inf"):
            raise ValueError(f"method.noise_std: expected a standard deviation, 0 or more, found {noise_std}")
        steps = {name: _parse(name, text) for name, text in pipelines.items()}
        self.drop_max, self.noise_std = drop_max, noise_std
        self.pipeline_of = {name: name if name in steps else DEFAULT for name in modalities}
        self.steps = {DEFAULT: (), **steps}

    def __call__(self, streams: Mapping[str, Stream], index_B: Tensor, key: int) -> dict[str, Stream]:
        """Returns the streams of the view that belongs to `key`, as new tensors where a pipeline may change them.

        index_B: int64, clips in their split. A stream's mask and lengths must agree; where both are full, all T steps
        are real.
        """
        return {name: self._view(name, stream, index_B, key) for name, stream in streams.items()}

    def refuse_tokens(self, names: Collection[str]) -> None:
        """Raises ValueError if one of these modalities, which are read as token ids, has a pipeline."""
        for name in names:
            if self.steps[self.pipeline_of[name]]:
                raise ValueError(
                    f"method.augment: {name!r} is read as token ids, which cannot be augmented; set "
                    f"method.augment.{name}=none, or choose an encoder of features for it"
                )

    def _view(self, name: str, stream: Stream, index_B: Tensor, key: int) -> Stream:
        pipeline = self.pipeline_of[name]
        steps, values = self.steps[pipeline], stream.values
        for number, step in enumerate(steps):
            fires_B = uniform(derive(key, "coin", pipeline, number), index_B) < 0.5
            step_key = derive(key, "draw", number, *([] if step.shared else [name]))
            draw = _Draw(values, stream, index_B, fires_B, step_key, self.drop_max, self.noise_std)
            values = STEPS[step.name](draw)
        return replace(stream, values=values)


def _parse(pipeline: str, text: str) -> tuple[_Step, ...]:
    """Returns the steps of a text such as "multi_drop+noise", in which the prefix belongs to the step behind it."""
    if text in ("", "none"):
        return ()
    steps = []
    for word in str(text).split("+"):
        name = word.strip()
        shared, name = name.startswith(PREFIX), name.removeprefix(PREFIX)
        if name not in STEPS or (shared and name == "noise"):
            raise ValueError(
                f"method.augment.{pipeline}: unknown step {word.strip()!r} in {text!r}; expected none, or some of "
                f"{', '.join(STEPS)} joined by +; all but noise may have the prefix {PREFIX}"
            )
        if shared and pipeline != DEFAULT:
            raise ValueError(
                f"method.augment.{pipeline}: {word.strip()!r} shares its draws between modalities, and this pipeline "
                f"is of one alone; use it in method.augment.{DEFAULT}"
            )
        steps.append(_Step(name, shared))
    return tuple(steps)
