"""Generates unimodal labels as the public code of Self-MM does (ULGM; Yu et al., 2021; docs/methods/selfmi.md).

Legend: N clips of the train split, n clips of a global batch, d features of one modality's projection.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from trivium.core.choices import check_choice
from trivium.core.precision import Float32Buffers

EPS = 1e-8
RULES = ("ratio", "centres", "tanh")
# States of a clip's row: not written yet (zeros), written, or of a clip that lacks the modality.
NOT_YET, WRITTEN, LACKING = 0, 1, 2
# The quantiles of the labels' shifts that a run records.
QUANTILES = (0.1, 0.5, 0.9)


def relative_distance(features_nd: Tensor, positive_d: Tensor, negative_d: Tensor, rule: str = "ratio") -> Tensor:
    """Returns (D^n - D^p) / (D^p + eps) of each clip, (n,): above 0 if it is nearer to the positive centre.

    D^p and D^n are the Euclidean distances to the centres of positive and negative clips (Yu et al., 2021, section 3).
    rule: "centres" divides by the distance between the centres instead, so that the value lies in [-1, 1]; Self-MM's
    code has this variant as a comment.
    """
    to_positive = torch.linalg.vector_norm(features_nd - positive_d, dim=1)
    to_negative = torch.linalg.vector_norm(features_nd - negative_d, dim=1)
    below: Tensor = torch.linalg.vector_norm(positive_d - negative_d) if rule == "centres" else to_positive
    relative: Tensor = (to_negative - to_positive) / (below + EPS)
    return relative


def generate_labels(joint_n: Tensor, unimodal_n: Tensor, target_n: Tensor, high: float, rule: str = "ratio") -> Tensor:
    """Returns new unimodal labels, (n,), in [-high, high]: 0.5 (a_s / (a_m + eps)) y_m + 0.5 (y_m + a_s - a_m).

    The mean of two ways to shift the human label: by the ratio and by the difference of the relative distances.
    joint_n, unimodal_n: the relative distances a_m and a_s. target_n: the human labels y_m.
    rule: "tanh" squashes the labels into the range; the others clamp them.
    """
    ratio = unimodal_n / (joint_n + EPS)
    labels = 0.5 * ratio * target_n + 0.5 * (target_n + unimodal_n - joint_n)
    return torch.tanh(labels) * high if rule == "tanh" else labels.clamp(-high, high)


def mix_labels(old_n: Tensor, new_n: Tensor, epoch: int) -> Tensor:
    """Returns (n-1)/(n+1) old + 2/(n+1) new: the mean of an epoch n >= 2, counted from 1, with all epochs before it.

    Epoch i so has the weight i in the mean, and labels move less and less.
    """
    return old_n * ((epoch - 1) / (epoch + 1)) + new_n * (2 / (epoch + 1))


class LabelBank(Float32Buffers):
    """Holds features and labels of every train clip, for the fusion ("joint") and for each modality, without gradient.

    A clip that lacks a modality does not count in that modality's centres. A clip that loses it to modality dropout
    keeps its earlier row, and does not count while it has none. Clips that have not been trained on yet count as rows
    of zeros, as in the public code.

    clips: N. dims: name -> d, with "joint" first. high: the largest label; None takes that of the train split.
    exclude_zero: True makes labels > 0 positive, False labels >= 0.
    rule: "ratio" (the public code's), "centres" or "tanh".
    first_epoch: the epoch, counted from 1, in which labels first move.
    The buffers are training state and not weights, so that `state` and `load_state` pass them to the checkpoint. They
    are float32 at least, whatever the model's precision, because a rounded label is no longer the human one.
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
        check_choice("method.label_rule", rule, RULES)
        self.high, self.exclude_zero, self.rule, self.first_epoch = high, exclude_zero, rule, first_epoch
        self.names = list(dims)
        self.started = False
        for name, dim in dims.items():
            self.register_buffer(f"features_{name}", torch.zeros(clips, dim), persistent=False)
            self.register_buffer(f"labels_{name}", torch.zeros(clips), persistent=False)
            self.register_buffer(f"rows_{name}", torch.zeros(clips, dtype=torch.uint8), persistent=False)
            # The positive centre, then the negative one.
            self.register_buffer(f"centres_{name}", torch.zeros(2, dim), persistent=False)

    def start(self, targets_N: Tensor, present: Mapping[str, Tensor] | None = None) -> None:
        """Sets every label to the human one, unless the run is resumed. Without a range, it sets `high` to the largest.

        targets_N: the human labels. present: modality -> (N,) bool, the train clips that have it; None if all do.
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
        """Returns the current labels, (N,). Those of "joint" are the human ones and never change."""
        return self.get_buffer(f"labels_{name}")

    @torch.no_grad()
    def update(
        self, index_n: Tensor, features: Mapping[str, Tensor], present: Mapping[str, Tensor], epoch: int
    ) -> None:
        """Updates labels, then features, then centres by one global batch, in this order as in the public code.

        The labels are so generated from the centres of the batch before. Centres are means over the whole bank.

        index_n: places of the clips in the bank. features: name -> (n, d).
        present: modality -> (n,) bool; a clip without the modality keeps its row and label. epoch: counted from 1.
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

        shift_NAME: mean of |y_s - y_m|. shift_NAME_q10, _q50, _q90: quantiles of y_s - y_m.
        Both are over the train clips whose rows of the modality are written, and 0 without any. Waits for the device.
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
        """Returns the state of each row of a modality, (N,) uint8: NOT_YET, WRITTEN or LACKING."""
        return self.get_buffer(f"rows_{name}")

    def _relative(self, name: str, features_nd: Tensor) -> Tensor:
        """Returns `relative_distance` to the current centres."""
        positive, negative = self.get_buffer(f"centres_{name}")
        return relative_distance(features_nd, positive, negative, self.rule)

    def _centres(self, name: str, stored_Nd: Tensor) -> Tensor:
        """Returns the means over positive and over negative rows that count, (2, d); zeros for a class without rows."""
        labels = self.labels(name)
        positive = labels > 0 if self.exclude_zero else labels >= 0
        members = (torch.stack([positive, labels < 0]) & (self._rows(name) != LACKING)).to(stored_Nd.dtype)
        return (members @ stored_Nd) / members.sum(dim=1, keepdim=True).clamp(min=1.0)

    def state(self) -> dict[str, Tensor]:
        """Returns a copy of the bank, for a checkpoint."""
        return {name: buffer.clone() for name, buffer in self.named_buffers()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restores what `state` returned."""
        for name, buffer in self.named_buffers():
            if name in state:
                buffer.copy_(state[name])
            else:
                # A checkpoint of version 0.1.0 does not say which rows have been written. Those that are not are zero.
                written_N = state[name.replace("rows_", "features_")].any(dim=1)
                buffer.copy_(torch.where(written_N, WRITTEN, NOT_YET))
        self.started = True
