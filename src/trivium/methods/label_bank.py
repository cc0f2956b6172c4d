"""Unimodal label generation (ULGM) of Self-MM (Yu et al., 2021), as its public code has it; docs/methods/selfmi.md.

Legend: N clips of the train split, n clips of a global batch, d features of one modality's projection.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

EPS = 1e-8
RULES = ("ratio", "centres", "tanh")
# What a clip's row is: still zero, written, or of a clip that came without the modality.
NOT_YET, WRITTEN, LACKING = 0, 1, 2
QUANTILES = (0.1, 0.5, 0.9)  # of the labels' shifts, in the run's record


def relative_distance(features_nd: Tensor, positive_d: Tensor, negative_d: Tensor, rule: str = "ratio") -> Tensor:
    """Returns (n,), how much nearer a clip is to the positive than to the negative centre: (D^n - D^p) / (D^p + eps).

    rule "centres" divides by the distance between the centres instead, so that the value lies in [-1, 1] (a variant
    that Self-MM's code holds commented out).
    """
    to_positive = torch.linalg.vector_norm(features_nd - positive_d, dim=1)
    to_negative = torch.linalg.vector_norm(features_nd - negative_d, dim=1)
    below: Tensor = torch.linalg.vector_norm(positive_d - negative_d) if rule == "centres" else to_positive
    relative: Tensor = (to_negative - to_positive) / (below + EPS)
    return relative


def generate_labels(joint_n: Tensor, unimodal_n: Tensor, target_n: Tensor, high: float, rule: str = "ratio") -> Tensor:
    """Returns (n,) new unimodal labels in [-high, high]: 0.5 (a_s / (a_m + eps)) y_m + 0.5 (y_m + a_s - a_m).

    joint_n, unimodal_n: relative distances a_m and a_s. target_n: human labels y_m. rule "tanh" squashes to the range
    where the others clamp.
    """
    ratio = unimodal_n / (joint_n + EPS)
    labels = 0.5 * ratio * target_n + 0.5 * (target_n + unimodal_n - joint_n)
    return torch.tanh(labels) * high if rule == "tanh" else labels.clamp(-high, high)


def mix_labels(old_n: Tensor, new_n: Tensor, epoch: int) -> Tensor:
    """Returns the running mean of epoch n >= 2 (1-based): (n-1)/(n+1) old + 2/(n+1) new."""
    return old_n * ((epoch - 1) / (epoch + 1)) + new_n * (2 / (epoch + 1))


class LabelBank(nn.Module):
    """Holds features and labels of every train clip, for the fusion ("joint") and each modality, detached.

    A clip that lacks a modality has no part in that modality's centres, as if the bank did not hold it. A clip that
    lost it to modality dropout keeps the row from before, and has no part where there was none. Clips that have not
    come yet count as zero rows, as in the public code.

    dims: name -> d, "joint" among them. high: the largest label; None takes the train split's. exclude_zero: positives
    are labels > 0, else >= 0. first_epoch: the epoch, from 1, in which labels first move.
    The buffers are training state, not weights: `state` and `load_state` give them to the checkpoint. They are float32
    at least, whatever the model's precision: a label that is rounded is no longer the human one.
    Raises ValueError for an unknown rule.
    """

    def __init__(
        self,
        clips: int,
        dims: Mapping[str, int],
        *,
        high: float | None,
        exclude_zero: bool = True,
        rule: str = "ratio",
        first_epoch: int = 2,
    ) -> None:
        super().__init__()
        if rule not in RULES:
            raise ValueError(f"method.label_rule: {rule!r}; expected one of {', '.join(RULES)}")
        self.high, self.exclude_zero, self.rule, self.first_epoch = high, exclude_zero, rule, first_epoch
        self.names = list(dims)
        self.started = False
        for name, dim in dims.items():
            self.register_buffer(f"features_{name}", torch.zeros(clips, dim), persistent=False)
            self.register_buffer(f"labels_{name}", torch.zeros(clips), persistent=False)
            self.register_buffer(f"rows_{name}", torch.zeros(clips, dtype=torch.uint8), persistent=False)
            self.register_buffer(f"centres_{name}", torch.zeros(2, dim), persistent=False)  # positive, negative

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> LabelBank:
        """Moves the bank as Module.to and .half do, but for a precision below float32."""
        before = dict(self.named_buffers())
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, moved in self.named_buffers():
            if moved.is_floating_point() and moved.dtype.itemsize < 4:
                setattr(self, name, before[name].to(moved.device, torch.float32))
        return self

    def start(self, targets_N: Tensor, present: Mapping[str, Tensor] | None = None) -> None:
        """Sets every label to the human one, but in a resumed run; without a range, high becomes the largest label.

        present: modality -> (N,) bool, which train clips have it; None if all do.
        """
        for name, present_N in (present or {}).items():
            self._rows(name)[~present_N] = LACKING
        if self.high is None:
            self.high = float(targets_N.abs().max())
        if not self.started:
            for name in self.names:
                self.labels(name).copy_(targets_N)
            self.started = True

    def labels(self, name: str) -> Tensor:
        """Returns (N,) current labels; those of "joint" are the human ones and never change."""
        return self.get_buffer(f"labels_{name}")

    @torch.no_grad()
    def update(
        self, index_n: Tensor, features: Mapping[str, Tensor], present: Mapping[str, Tensor], epoch: int
    ) -> None:
        """Takes one mini-batch in, in the public code's order: labels, then features, then centres.

        Labels so come from the centres of the mini-batch before; centres are means over the whole bank.

        features: name -> (n, d), the global batch's. present: modality -> (n,) bool; absent ones keep what they had.
        epoch: 1-based.
        """
        if epoch >= self.first_epoch:
            assert self.high is not None, "start comes first"
            joint = self._relative("joint", features["joint"])
            target = self.labels("joint")[index_n]
            for name in self.names[1:]:
                unimodal = self._relative(name, features[name])
                old = self.labels(name)[index_n]
                new = mix_labels(old, generate_labels(joint, unimodal, target, self.high, self.rule), epoch)
                self.labels(name)[index_n] = torch.where(present[name], new, old)
        for name in self.names:
            stored, rows = self.get_buffer(f"features_{name}"), self._rows(name)
            present_n = present.get(name, torch.ones_like(index_n, dtype=torch.bool))
            stored[index_n] = torch.where(present_n[:, None], features[name].to(stored.dtype), stored[index_n])
            rows[index_n] = torch.where(present_n | (rows[index_n] == WRITTEN), WRITTEN, LACKING).to(rows.dtype)
            self.get_buffer(f"centres_{name}").copy_(self._centres(name, stored))

    def shifts(self) -> dict[str, float]:
        """Returns how far each modality's labels have moved from the human ones, in the labels' unit.

        Over the train clips that have come with the modality; 0 where none has.
        shift_NAME: mean of |y_s - y_m|; shift_NAME_q10, _q50, _q90: quantiles of y_s - y_m. Waits for the device.
        """
        shifts = {}
        for name in self.names[1:]:
            shift_N = (self.labels(name) - self.labels("joint")).double()
            written_N = self._rows(name) == WRITTEN
            shift_N = shift_N[written_N] if bool(written_N.any()) else shift_N.new_zeros(1)
            levels = torch.quantile(shift_N, shift_N.new_tensor(QUANTILES)).tolist()
            shifts[f"shift_{name}"] = float(shift_N.abs().mean())
            shifts |= {f"shift_{name}_q{100 * q:.0f}": value for q, value in zip(QUANTILES, levels, strict=True)}
        return shifts

    def _rows(self, name: str) -> Tensor:
        """Returns (N,) uint8, what each row of a modality is: NOT_YET, WRITTEN or LACKING."""
        return self.get_buffer(f"rows_{name}")

    def _relative(self, name: str, features_nd: Tensor) -> Tensor:
        positive, negative = self.get_buffer(f"centres_{name}")
        return relative_distance(features_nd, positive, negative, self.rule)

    def _centres(self, name: str, stored_Nd: Tensor) -> Tensor:
        """Returns (2, d), the means over positive and over negative rows that count; zeros for a class without any."""
        labels = self.labels(name)
        positive = labels > 0 if self.exclude_zero else labels >= 0
        members = (torch.stack([positive, labels < 0]) & (self._rows(name) != LACKING)).to(stored_Nd.dtype)
        return (members @ stored_Nd) / members.sum(dim=1, keepdim=True).clamp(min=1.0)

    def state(self) -> dict[str, Tensor]:
        return {name: buffer.clone() for name, buffer in self.named_buffers()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        for name, buffer in self.named_buffers():
            if name in state:
                buffer.copy_(state[name])
            else:  # a checkpoint of version 0.1.0 does not say which rows have been written
                written_N = state[name.replace("rows_", "features_")].any(dim=1)
                buffer.copy_(torch.where(written_N, WRITTEN, NOT_YET))
        self.started = True
