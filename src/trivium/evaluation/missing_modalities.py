"""Scores a trained method on missing and disturbed modalities.

docs/protocol.md defines the protocols. Results are rows: dicts that start with "split" and end with the metrics of the
data and "loss".
Legend: N clips of the split, n those that are scored, M modalities, K metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from trivium.core.metric_names import DIRECTION
from trivium.data.batch import Batch
from trivium.data.datamodule import BatchLoader, DataModule
from trivium.data.missing_laws import RATES, keep_at
from trivium.data.target import MULTIMODAL
from trivium.evaluation.feature_noise import LEVELS, add_noise, clip_keys, drop_steps, noise_units
from trivium.evaluation.missing_rates import draw_uniform, imbalanced_rates, loss_law, share_missing
from trivium.evaluation.predict import guess_of, metrics_of, predict_split
from trivium.evaluation.predictions import Predictions
from trivium.evaluation.representation_alignment import align
from trivium.evaluation.shapley import coalition, equity, shapley_values
from trivium.evaluation.subsets import SubsetPredictions, Track, all_subsets, choose_clips, natural_presence, untracked
from trivium.evaluation.vectors import collect_vectors
from trivium.methods.base import Method
from trivium.objectives.task import CrossEntropy

ScoreRow = dict[str, Any]


@dataclass
class Subject:
    """Holds a method and the split to score it on.

    data: the data module, for the statistics and labels of the train split. loader: of the split.
    rows: (N,) bool, the clips to score.
    """

    method: Method
    data: DataModule
    split: str
    loader: BatchLoader
    rows: Tensor

    @classmethod
    def open(cls, method: Method, data: DataModule, split: str, *, complete: bool = False) -> Subject:
        """Opens a split. complete: True scores only clips that have every modality; ValueError if there are none."""
        loader = data.loader(split, device=method.device)
        rows_N = natural_presence(loader).all(dim=1) if complete else torch.ones(len(loader.split), dtype=torch.bool)
        if not bool(rows_N.any()):
            raise ValueError(f"{data.store.path}: split {split!r} has no clip with {', '.join(loader.split.streams)}")
        return cls(method, data, split, loader, rows_N)

    @property
    def ids(self) -> list[str]:
        """Returns the ids of all clips of the split."""
        return self.loader.split.ids

    @property
    def modalities(self) -> tuple[str, ...]:
        """Returns the names of the modalities, in the data's order."""
        return tuple(self.loader.split.streams)

    @property
    def targets(self) -> Tensor:
        """Returns the targets of the clips to score, (n,) or (n, K), on the CPU."""
        return self.loader.split.targets[MULTIMODAL].cpu()[self.rows]

    @property
    def guess(self) -> Predictions:
        """Returns the same prediction for each clip to score: the train mean or frequencies (`guess_of`)."""
        return guess_of(self.data.target, self.data.clips("train").targets[MULTIMODAL], int(self.rows.sum()))

    def score(self, predictions: Predictions) -> dict[str, float]:
        """Computes the metrics and the loss of the clips to score, from predictions of the split."""
        chosen = choose_clips(predictions, self.rows)
        return {**metrics_of(self.method, chosen, self.targets), "loss": float(chosen.loss.mean())}

    def score_train_mean(self) -> dict[str, float]:
        """Computes the metrics of predicting `guess` for every clip. Corr, which is undefined then, is 0."""
        guess, objective = self.guess, self.method.objective
        if isinstance(objective, CrossEntropy) and objective.target.is_score:
            # The class that the train mean is in, as acc_argmax asks for probabilities.
            likely_nC = F.one_hot(objective.classes(guess.score.to(self.targets.dtype)), objective.outputs)
            guess = replace(guess, probabilities=likely_nC.double())
        values = metrics_of(self.method, guess, self.targets)
        return {**values, **({"corr": 0.0} if "corr" in values else {})}

    def refuse_incomplete(self) -> None:
        """Raises ValueError, naming the first, if a clip to score lacks a modality to predict it from."""
        lacks_NM = ~natural_presence(self.loader) & self.rows[:, None]
        if not bool(lacks_NM.any()):
            return
        clip, column = lacks_NM.nonzero()[0].tolist()
        raise ValueError(
            f"split {self.split!r}: clip {self.ids[clip]!r} and {int(lacks_NM.any(dim=1).sum()) - 1} others lack a "
            f"modality ({self.modalities[column]!r} here), and subsets need each alone; complete=true scores the clips "
            "that have all of them, and protocol=rates takes every clip"
        )


def score_subsets(subject: Subject, subset_predictions: SubsetPredictions) -> list[ScoreRow]:
    """Returns a row for each subset, small ones first: "split", "modalities" (such as "text+audio"), "n", metrics.

    Raises ValueError for a clip that lacks a modality.
    """
    subject.refuse_incomplete()
    split, n = subject.split, int(subject.rows.sum())
    return [
        {"split": split, "modalities": "+".join(subset), "n": n, **subject.score(predictions)}
        for subset, predictions in subset_predictions.by_subset.items()
    ]


def metric_shares(subject: Subject, rows: Sequence[ScoreRow]) -> list[ScoreRow]:
    """Returns each modality's Shapley value in each metric: "split", "metric", "modality", "value", "equity".

    rows: those of `score_subsets`. The values sum to the metric from all modalities minus that of the constant
    guess, which is what a subset of no modalities counts as (`Subject.score_train_mean`). "equity" is that of the
    metric (`metric_equity`), the same for each modality, and None where it is undefined.
    """
    empty, names = subject.score_train_mean(), subject.modalities
    worth_SK = np.empty((1 << len(names), len(empty)))
    worth_SK[0] = list(empty.values())
    for subset, row in zip(all_subsets(names), rows, strict=True):
        worth_SK[coalition(subset, names)] = [row[metric] for metric in empty]
    values_MK = shapley_values(worth_SK)
    equities = [metric_equity(metric, values_MK[:, k]) for k, metric in enumerate(empty)]
    return [
        {
            **{"split": subject.split, "metric": metric, "modality": name},
            **{"value": float(values_MK[m, k]), "equity": equities[k]},
        }
        for k, metric in enumerate(empty)
        for m, name in enumerate(names)
    ]


def metric_equity(metric: str, values_M: npt.NDArray[np.float64]) -> float | None:
    """Returns the equity of modalities with these Shapley values in a metric, or None where it is undefined.

    It is undefined as in trivium.evaluation.shapley.equity, and for a metric whose better direction is not known here:
    one of the user's own.
    """
    if metric not in DIRECTION:
        return None
    return equity(-values_M if DIRECTION[metric] == "min" else values_M)


def clip_shares(subject: Subject, subset_predictions: SubsetPredictions) -> list[ScoreRow]:
    """Returns a row for each clip: "id", "target", "prediction" from all modalities, and each modality's Shapley value.

    Of scores, the values are in the labels' unit, and sum to the prediction minus the train split's mean. Of classes,
    they are in the probability of the clip's true class, and of labels in that of the label: they sum to that from all
    modalities, "probability", minus the share of the train clips that are of the class or have the label. Several
    scores and labels have a row each, named by "score" or "label".
    `Subject.refuse_incomplete` must have been called.
    """
    names, target, n = subject.modalities, subject.data.target, int(subject.rows.sum())
    worth_SnK = np.empty((1 << len(names), n, 1 if target.kind == "classes" else target.columns))
    worth_SnK[0] = _worth(subject, subject.guess)
    for subset, predictions in subset_predictions.by_subset.items():
        worth_SnK[coalition(subset, names)] = _worth(subject, choose_clips(predictions, subject.rows))
    values_MnK = shapley_values(worth_SnK)
    whole = choose_clips(subset_predictions.whole, subject.rows).score.reshape(n, -1)
    true_nK = subject.targets.reshape(n, -1)
    ids = [clip for clip, scored in zip(subject.ids, subject.rows.tolist(), strict=True) if scored]
    rows = []
    for place, clip in enumerate(ids):
        for k in range(worth_SnK.shape[2]):
            row: ScoreRow = {"id": clip}
            if target.shape:
                row["score" if target.kind == "score" else "label"] = target.names[k]
            row |= {"target": float(true_nK[place, k]), "prediction": float(whole[place, k])}
            if target.kind == "classes":
                row |= {key: target.names[int(row[key])] for key in ("target", "prediction")}
            if target.kind != "score":
                row["probability"] = float(worth_SnK[-1, place, k])
            rows.append(row | {name: float(values_MnK[m, place, k]) for m, name in enumerate(names)})
    return rows


def _worth(subject: Subject, predictions: Predictions) -> npt.NDArray[np.float64]:
    """Returns what a clip's prediction is worth, (n, K): its scores, or the probability of its true class or labels."""
    kind = subject.data.target.kind
    if kind == "score":
        return predictions.score.reshape(len(predictions), -1).double().numpy()
    assert predictions.probabilities is not None
    likely_nC = predictions.probabilities.double()
    worth_nK = likely_nC.gather(1, subject.targets.long()[:, None]) if kind == "classes" else likely_nC
    return worth_nK.numpy()


def score_rates(
    subject: Subject, subset_predictions: SubsetPredictions, draws: int, law: str = "keep_one"
) -> list[ScoreRow]:
    """Returns a row for each rate and draw (from 1): "split", "rate", "draw", "n", "missing", and metrics.

    "missing" is the share of the clips' modalities that they lost. law: how they lose them (`loss_law`).
    """
    rows, present_NM = [], subset_predictions.present
    for draw in range(1, draws + 1):
        keep = loss_law(law, subject.ids, subject.modalities, draw, present_NM)
        for rate in RATES:
            head = {"split": subject.split, "rate": rate, "draw": draw}
            rows.append({**head, **_score_kept(subject, subset_predictions, keep(rate))})
    return sorted(rows, key=lambda row: (row["rate"], row["draw"]))


def score_imbalanced(subject: Subject, subset_predictions: SubsetPredictions, draws: int) -> list[ScoreRow]:
    """Returns a row for each grid of rates (`imbalanced_rates`) and draw: "split", "kind", "rates", "draw", and so on.

    "rates" has the rate of each modality in the data's order, such as "0.1/0.3/0.5".
    """
    rows, present_NM = [], subset_predictions.present
    uniforms = {draw: draw_uniform(subject.ids, subject.modalities, draw) for draw in range(1, draws + 1)}
    for kind, grids in imbalanced_rates(len(subject.modalities)).items():
        for rates in grids:
            for draw, uniform_NM in uniforms.items():
                keep_NM = keep_at(rates, uniform_NM, present_NM)
                head = {"split": subject.split, "kind": kind, "rates": "/".join(f"{r:g}" for r in rates), "draw": draw}
                rows.append({**head, **_score_kept(subject, subset_predictions, keep_NM)})
    return rows


def _score_kept(subject: Subject, subset_predictions: SubsetPredictions, keep_NM: Tensor) -> ScoreRow:
    """Returns "n", "missing" and the metrics of predicting from the modalities that clips keep."""
    missing = share_missing(keep_NM[subject.rows], subset_predictions.present[subject.rows])
    return {"n": int(subject.rows.sum()), "missing": missing, **subject.score(subset_predictions.at(keep_NM))}


def score_noise(subject: Subject, draws: int, track: Track = untracked) -> list[ScoreRow]:
    """Returns a row for each kind of disturbance, disturbed modalities, level and draw: "split", these, "n", metrics.

    The kinds are "noise" and "dropped". Each modality is disturbed by itself, then all of them ("text+audio"), but for
    those that are read as token ids. track: shows progress.
    Raises ValueError if all modalities are read as token ids.
    """
    units = noise_units(subject.loader, subject.data.store.statistics)
    if not units:
        raise ValueError(f"protocol=noise: {', '.join(subject.modalities)} is read as token ids, which take no noise")
    groups = [(name,) for name in units] + ([tuple(units)] if len(units) > 1 else [])
    clips_N = clip_keys(subject.ids).to(subject.loader.split.device)
    clean = subject.score(predict_split(subject.method, subject.loader))
    cells = [
        (kind, names, level, draw)
        for kind, levels in LEVELS.items()
        for names in groups
        for level in levels
        for draw in range(1, draws + 1)
    ]
    rows = []
    for kind, names, level, draw in track(cells, "noise"):
        scores = clean
        if level:
            change = _disturbance(kind, {name: units[name] for name in names}, level, clips_N, draw)
            scores = subject.score(predict_split(subject.method, subject.loader, change=change))
        head = {"split": subject.split, "kind": kind, "modalities": "+".join(names), "level": level, "draw": draw}
        rows.append({**head, "n": int(subject.rows.sum()), **scores})
    return rows


def _disturbance(
    kind: str, units: Mapping[str, Tensor], level: float, clips_N: Tensor, draw: int
) -> Callable[[Batch], Batch]:
    if kind == "noise":
        return lambda batch: add_noise(batch, units, level, clips_N, draw)
    return lambda batch: drop_steps(batch, list(units), level, clips_N, draw)


def measure_alignment(subject: Subject) -> dict[str, dict[str, float]]:
    """Returns modality -> `align` of its vectors and the joint vectors of the same clips.

    Only clips with every modality count, because the joint vector of an incomplete clip may be made of the very vectors
    that it is compared with.
    Raises ValueError for fewer than two such clips.
    """
    rows_N = subject.rows & natural_presence(subject.loader).all(dim=1)
    vectors = collect_vectors(subject.method, subject.loader)
    return {name: align(vectors[name][rows_N], vectors["joint"][rows_N]) for name in subject.modalities}
