"""Scores a trained method on clips that have lost single frames and words at random, as LNLN's protocol does.

What is lost is a function of the draw, the clip's id, the modality and the step alone, so that losses are the same in
any batch and order, and what is lost at one rate is lost at every higher one.
Legend: N clips of the split, B of a batch, M modalities, T steps.
"""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor

from trivium.core.seeding import derive
from trivium.data.batch import Batch
from trivium.data.erase import draw_lost, erasable
from trivium.evaluation.averages import ERASED_RATES
from trivium.evaluation.feature_noise import clip_keys
from trivium.evaluation.missing_modalities import ScoreRow, Subject
from trivium.evaluation.predict import predict_split
from trivium.evaluation.subsets import Track, untracked
from trivium.methods.base import Method


class Erasure:
    """Erases each real step of a split's batches with one probability, and counts what was lost.

    A step of features becomes zeros as the method sees them, a token its `unknown_id`; the first and last token stay.
    An erased step is still a step.
    rows_N: (N,) bool, the clips that are counted.
    """

    def __init__(self, method: Method, clips_N: Tensor, rows_N: Tensor, rate: float, draw: int) -> None:
        self.method, self.clips_N, self.rows_N = method, clips_N, rows_N.to(clips_N.device)
        self.rate, self.key = rate, derive(draw, "erased")
        self._lost: Counter[str] = Counter()
        self._real: Counter[str] = Counter()

    def __call__(self, batch: Batch) -> Batch:
        """Returns the batch erased."""
        rate_BM = torch.full(batch.present.shape, self.rate, dtype=torch.float64, device=batch.present.device)
        clips_B, counts_B = self.clips_N[batch.index], self.rows_N[batch.index]
        for m, (name, lost_BT) in enumerate(draw_lost(batch, rate_BM, self.key, clips_B).items()):
            counted_B1 = (batch.present[:, m] & counts_B)[:, None]
            self._lost[name] += int((lost_BT & erasable(batch.streams[name]) & counted_B1).sum())
            self._real[name] += int((batch.streams[name].mask & counted_B1).sum())
        return self.method.erased(batch, rate_BM, self.key, clips_B)

    @property
    def missing(self) -> float:
        """Returns the share of real steps that was lost, the mean over the modalities of the batches so far."""
        shares = [self._lost[name] / real for name, real in self._real.items() if real]
        return sum(shares) / len(shares)


def score_erased(subject: Subject, draws: int, track: Track = untracked) -> list[ScoreRow]:
    """Returns a row for each rate and draw (from 1): "split", "rate", "draw", "n", "missing", and metrics.

    "missing" is the share of real steps that was lost, a mean over modalities. track: shows progress.
    Raises ValueError if the method's `unknown_id` is not in the vocabulary of its text encoder.
    """
    refuse_unknown_id(subject.method)
    clips_N = clip_keys(subject.ids).to(subject.loader.split.device)
    clean = subject.score(predict_split(subject.method, subject.loader))
    rows = []
    for rate, draw in track([(rate, draw) for rate in ERASED_RATES for draw in range(1, draws + 1)], "erased"):
        missing, scores = 0.0, clean
        if rate:
            erasure = Erasure(subject.method, clips_N, subject.rows, rate, draw)
            scores = subject.score(predict_split(subject.method, subject.loader, change=erasure))
            missing = erasure.missing
        head = {"split": subject.split, "rate": rate, "draw": draw, "n": int(subject.rows.sum())}
        rows.append({**head, "missing": missing, **scores})
    return rows


def refuse_unknown_id(method: Method) -> None:
    """Raises ValueError if an encoder reads token ids and has none for the method's `unknown_id`."""
    instead = "give unknown_id=, the number of your tokenizer's unknown word"
    method.refuse_unknown_id("protocol=erased", instead, method.encoders)
