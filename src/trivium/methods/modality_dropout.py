"""Draws which modalities training clips lose (method.modality_dropout), by the law of method.modality_dropout_law.

What a clip loses depends on no other clip, so that it is the same however clips are batched or placed on ranks.
Legend: B clips, M modalities.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trivium.core.keyed_random import uniform
from trivium.core.seeding import derive
from trivium.data.batch import Batch
from trivium.data.missing_laws import keep_gcnet, keep_imder


def keep_one(batch: Batch, rates: Sequence[float], key: int) -> Tensor:
    """Marks the modalities that clips keep, (B, M) bool, each lost by a draw of its own.

    rates: the probability of each modality. key: of the draws. If a clip would lose all modalities, that stays whose
    draw exceeds its probability by most, or lies the least below it.
    """
    column_M = torch.arange(batch.present.shape[1], device=batch.present.device)
    drawn_BM = uniform(key, batch.index[:, None], column_M)
    columns = zip(drawn_BM.unbind(dim=1), rates, strict=True)
    stays_BM = torch.stack([drawn_B >= rate for drawn_B, rate in columns], dim=1)
    if len(set(rates)) > 1:
        # Not for equal ones, as the difference may round two draws to one number.
        columns = zip(drawn_BM.unbind(dim=1), rates, strict=True)
        drawn_BM = torch.stack([drawn_B - rate for drawn_B, rate in columns], dim=1)
    drawn_BM = torch.where(batch.present, drawn_BM, -2.0)
    return stays_BM | (drawn_BM == drawn_BM.amax(dim=1, keepdim=True))


def keep_by_law(batch: Batch, law: str, rate: float, seed: int, epoch: int) -> Tensor:
    """Marks the modalities that clips keep in an epoch by GCNet's or IMDer's law, (B, M) bool.

    law: "gcnet" or "imder" (trivium.data.missing_laws). The draws are a function of seed, epoch and clip.
    """
    clip_B1, column_M = batch.index[:, None], torch.arange(batch.present.shape[1], device=batch.present.device)

    def draw(what: str, *counters: Tensor) -> Tensor:
        return uniform(derive(seed, what, epoch), *counters, dtype=torch.float64)

    drawn_BM = draw("missing modalities", clip_B1, column_M)
    if law == "gcnet":
        return keep_gcnet(rate, drawn_BM, draw("modality kept", clip_B1, column_M), batch.present)
    return keep_imder(rate, draw("number kept", batch.index), drawn_BM, batch.present)
