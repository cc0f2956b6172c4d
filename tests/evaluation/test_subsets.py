"""Tests predictions from subsets: one pass a subset serves any pattern of missing modalities, for any method."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import entropy
from sklearn.metrics import mean_absolute_error

import trivium
from driver import here
from trivium.data.batch import Batch
from trivium.data.clips import Clips, Ragged, Source
from trivium.data.missing_laws import LAWS, keep_at
from trivium.data.store import write_store
from trivium.data.synthetic import make_fixture
from trivium.evaluation.erased_steps import score_erased
from trivium.evaluation.missing_modalities import (
    Subject,
    clip_shares,
    metric_equity,
    metric_shares,
    score_rates,
    score_subsets,
)
from trivium.evaluation.missing_rates import draw_uniform
from trivium.evaluation.predict import predict_split
from trivium.evaluation.subsets import SubsetPredictions, all_subsets, natural_presence, predict_subsets
from trivium.runs.load import Run

QUICK = ("trainer.max_epochs=2", "trainer.progress=off", "encoder=identity", "optimizer.lr=0.01")
METHODS = {
    "supervised": ("method=supervised",),
    "selfmi": ("method=selfmi",),
    "tcmax": ("method=tcmax", "objective=tcmax", "fusion=sum"),
    "comm": ("method=comm", "fusion=concat", "method.head_hidden=[16]", "method.head_out=8"),
}
NAMES = ("text", "audio", "vision")


@pytest.fixture(scope="module", params=METHODS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp(request.param)
    here(folder, *METHODS[request.param], *QUICK, f"run.dir={folder / 'run'}")
    return trivium.load_run(folder / "run")


@pytest.fixture(scope="module")
def subject(run: Run) -> Subject:
    return Subject.open(run.method, run.data()[1], "test")


@pytest.fixture(scope="module")
def result(subject: Subject) -> SubsetPredictions:
    return predict_subsets(subject.method, subject.loader)


def changed_store(path: Path, silent: int | None = None, order: slice = slice(None)) -> Path:
    """The fixture with test clips in another order, or with one that lacks audio."""
    source = make_fixture()
    clips = source.splits["test"]
    rows = range(len(clips))[order]
    streams = {name: Ragged.pack([ragged[n] for n in rows]) for name, ragged in clips.streams.items()}
    if silent is not None:
        rows_left = [streams["audio"][n][: 0 if n == silent else None] for n in rows]
        streams["audio"] = Ragged.pack(rows_left)
    targets = {name: values[order] for name, values in clips.targets.items()}
    source.splits["test"] = Clips([clips.ids[n] for n in rows], streams, targets, clips.raw_text, None)
    for name in ("train", "valid"):
        source.splits[name] = replace(source.splits[name], tokens=None)
    whole = Source(source.splits, "synthetic", [], notes={})
    write_store(path, whole, data="other", feature_set="other/changed", label_range=(-3.0, 3.0))
    return path


def test_subsets_are_all_but_the_empty_one_small_ones_first() -> None:
    assert all_subsets(NAMES) == [
        ("text",), ("audio",), ("vision",), ("text", "audio"), ("text", "vision"), ("audio", "vision"), NAMES
    ]  # fmt: skip
    assert len({frozenset(subset) for subset in all_subsets("abcde")}) == 31


def test_each_subset_equals_a_prediction_from_these_modalities(subject: Subject, result: SubsetPredictions) -> None:
    assert list(result.by_subset) == all_subsets(NAMES)
    for subset, predictions in result.by_subset.items():
        expected = predict_split(subject.method, subject.loader, subset)
        assert torch.equal(predictions.score, expected.score)
        assert torch.equal(predictions.loss, expected.loss)
    assert result.whole is result.by_subset[NAMES]


def test_clips_of_different_subsets_in_one_batch_predict_the_same(subject: Subject, result: SubsetPredictions) -> None:
    """What lets one pass a subset serve every mask."""
    every = natural_presence(subject.loader)
    keep = keep_at(0.5, draw_uniform(subject.ids, NAMES, 1), every)
    assert len(keep.unique(dim=0)) == 7
    expected = predict_split(subject.method, subject.loader, change=lambda batch: batch.without(~keep[batch.index]))
    assert_allclose(result.at(keep).score, expected.score, atol=1e-5)
    assert_allclose(result.at(keep).loss, expected.loss, atol=1e-5)
    if expected.probabilities is not None:
        assert_allclose(result.at(keep).probabilities, expected.probabilities, atol=1e-6)


def test_rows_have_every_metric_of_every_subset(subject: Subject, result: SubsetPredictions) -> None:
    rows = score_subsets(subject, result)
    assert [row["modalities"] for row in rows] == ["+".join(subset) for subset in all_subsets(NAMES)]
    for row, predictions in zip(rows, result.by_subset.values(), strict=True):
        assert row["n"] == 128
        assert row["mae"] == pytest.approx(mean_absolute_error(subject.targets, predictions.score))
        assert row["loss"] == pytest.approx(float(predictions.loss.mean()))
    maes = {row["modalities"]: row["mae"] for row in rows}
    assert maes["text+audio+vision"] == min(maes.values())


def test_metric_shares_sum_to_all_beyond_the_train_mean(subject: Subject, result: SubsetPredictions) -> None:
    rows = score_subsets(subject, result)
    shares = metric_shares(subject, rows)
    train = subject.data.store.split("train").targets["multimodal"]
    nothing = {"mae": mean_absolute_error(subject.targets, np.full(128, train.mean(dtype=float))), "corr": 0.0}
    nothing["acc2_non0"] = float(((subject.targets > 0) == (train.mean() > 0)).double().mean())
    for metric, value in nothing.items():
        assert subject.score_train_mean()[metric] == pytest.approx(value, abs=1e-7)
    for metric, value in subject.score_train_mean().items():
        of_metric = {share["modality"]: share["value"] for share in shares if share["metric"] == metric}
        assert tuple(of_metric) == NAMES
        assert abs(sum(of_metric.values()) - (rows[-1][metric] - value)) < 1e-12
    assert {share["metric"] for share in shares} == set(rows[0]) - {"split", "modalities", "n", "loss"}


def test_training_draws_change_with_the_epoch_and_test_draws_do_not(
    subject: Subject, result: SubsetPredictions
) -> None:
    method, batch = subject.method, next(iter(subject.loader))
    trained, tested = [], []
    for method.position in ((0, 0), (5, 3)):
        for law in LAWS:
            method.dropout_law, method.dropout_rates = law, dict.fromkeys(NAMES, 0.5)
            trained.append(method.drop_modalities(batch).present)
            tested.append(score_rates(subject, result, 1, law))
        method.step_rates = dict.fromkeys(NAMES, 0.5)
        tested.append(score_erased(subject, 1))
    assert not any(torch.equal(trained[law], trained[law + len(LAWS)]) for law in range(len(LAWS)))
    assert tested[: len(LAWS) + 1] == tested[len(LAWS) + 1 :]


def test_equity_is_of_what_lowers_the_mae_and_of_what_raises_other_metrics(
    subject: Subject, result: SubsetPredictions
) -> None:
    shares = metric_shares(subject, score_subsets(subject, result))
    for metric, sign in (("mae", -1), ("corr", 1), ("acc2_non0", 1)):
        rows = [share for share in shares if share["metric"] == metric]
        gains = np.maximum([sign * row["value"] for row in rows], 0.0)
        assert gains.any()
        expected = entropy(gains / gains.sum(), base=3)
        assert [row["equity"] for row in rows] == pytest.approx([expected] * 3, abs=1e-12)
    assert metric_equity("mae", np.array([0.2, 0.0, 0.1])) is None  # every modality makes it worse
    assert metric_equity("mae", np.array([-0.2, 0.3, 0.1])) == 0.0
    assert metric_equity("of_my_own", np.ones(3)) is None  # nobody knows which direction is better


def test_clip_shares_are_gains_on_joining_the_train_mean(subject: Subject, result: SubsetPredictions) -> None:
    """Three modalities, written out: a third each of joining first and last, a sixth each of joining second."""
    v = {subset: predictions.score.numpy() for subset, predictions in result.by_subset.items()}
    t, a, tv, av, ta = v["text",], v["audio",], v["text", "vision"], v["audio", "vision"], v["text", "audio"]
    mean = subject.data.store.split("train").targets["multimodal"].mean(dtype=float)
    text = (t - mean) / 3 + (ta - a) / 6 + (tv - v["vision",]) / 6 + (v[NAMES] - av) / 3
    rows = clip_shares(subject, result)
    assert [row["id"] for row in rows] == subject.ids
    assert list(rows[0]) == ["id", "target", "prediction", *NAMES]
    numbers = np.array([list(row.values())[1:] for row in rows])
    assert_allclose(numbers[:, 0], subject.targets)
    assert_array_equal(numbers[:, 1], v[NAMES])
    assert_allclose(numbers[:, 2], text, atol=1e-12)
    assert_allclose(numbers[:, 2:].sum(axis=1), v[NAMES] - mean, atol=1e-12)


def test_rates_do_not_depend_on_the_splits_order(
    run: Run, subject: Subject, result: SubsetPredictions, tmp_path: Path
) -> None:
    rows = score_rates(subject, result, draws=2)
    assert [(row["rate"], row["draw"]) for row in rows[:4]] == [(0.0, 1), (0.0, 2), (0.1, 1), (0.1, 2)]
    _, data = run.data(changed_store(tmp_path / "reversed.h5", order=slice(None, None, -1)))
    data.eval_batch_size = 50
    other = Subject.open(run.method, data, "test")
    assert other.ids == subject.ids[::-1]
    again = score_rates(other, predict_subsets(other.method, other.loader), draws=2)
    for row, same in zip(rows, again, strict=True):
        assert (row["rate"], row["draw"], row["missing"]) == (same["rate"], same["draw"], same["missing"])
        assert row["mae"] == pytest.approx(same["mae"], abs=1e-5)
    worst = [row["mae"] for row in rows if row["rate"] == 0.7]
    assert min(worst) > rows[0]["mae"]


def test_a_clip_without_a_modality_is_named_or_left_out_and_never_read_where_it_has_nothing(
    run: Run, tmp_path: Path
) -> None:
    _, data = run.data(changed_store(tmp_path / "silent.h5", silent=5))
    every = Subject.open(run.method, data, "test")
    result = predict_subsets(every.method, every.loader)
    with pytest.raises(ValueError, match=r"clip 'test000\$_\$6' and 0 others lack a modality \('audio' here\)"):
        score_subsets(every, result)
    direct = predict_split(run.method, every.loader)
    assert_allclose(result.at(natural_presence(every.loader)).score, direct.score, atol=1e-5)
    assert score_rates(every, result, draws=1)[-1]["n"] == 128
    complete = Subject.open(run.method, data, "test", complete=True)
    rows = score_subsets(complete, result)
    assert {row["n"] for row in rows} == {127}
    rows_left = np.arange(128) != 5
    audio = predict_split(run.method, every.loader, change=lambda batch: batch.without(only_audio(batch))).score
    expected = mean_absolute_error(every.targets[rows_left], audio[rows_left])
    assert rows[1]["mae"] == pytest.approx(expected, abs=1e-6)
    assert len(clip_shares(complete, result)) == 127


def only_audio(batch: Batch) -> torch.Tensor:
    """Gone: all but audio, where there is audio."""
    return batch.present[:, 1:2] & torch.tensor([True, False, True])


def test_a_change_that_leaves_a_clip_nothing_is_refused_with_its_id(subject: Subject) -> None:
    with pytest.raises(ValueError, match=r"clip 'test000\$_\$4' has none of the modalities"):
        predict_split(
            subject.method,
            subject.loader,
            change=lambda batch: batch.without((batch.index == 3)[:, None].expand(-1, 3)),
        )
