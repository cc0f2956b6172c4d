"""Tests noise and zeroed steps: how much, where, and the same for a clip in any batch."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import kstest

import trivium
from driver import here
from trivium.data.batch import Batch
from trivium.data.datamodule import BatchLoader, DataModule
from trivium.data.store import open_store
from trivium.data.synthetic import ensure_fixture
from trivium.evaluation.feature_noise import LEVELS, add_noise, clip_keys, drop_steps, noise_units
from trivium.evaluation.missing_modalities import Subject, score_noise
from trivium.evaluation.predict import predict_split

NAMES = ("text", "audio", "vision")
READS = dict.fromkeys(NAMES, "values")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataModule:
    path = tmp_path_factory.mktemp("noise") / "fixture.h5"
    store = open_store(ensure_fixture(path, name="fixture", label_range=(-3.0, 3.0)))
    return DataModule(store, reads=READS, standardize={"default": "none", "audio": "zscore"}, eval_batch_size=128)


@pytest.fixture(scope="module")
def loader(data: DataModule) -> BatchLoader:
    return data.loader("test")


@pytest.fixture
def batch(loader: BatchLoader) -> Batch:
    (whole,) = loader
    return whole


@pytest.fixture(scope="module")
def keys(loader: BatchLoader) -> torch.Tensor:
    return clip_keys(loader.split.ids)


def test_unit_is_the_train_deviation_of_what_the_method_sees(data: DataModule, loader: BatchLoader) -> None:
    units = noise_units(loader, data.store.statistics)
    train = data.store.split("train").streams
    for name in ("text", "vision"):
        assert_allclose(units[name], train[name].values.std(axis=0), rtol=1e-4)
    assert_allclose(units["audio"], np.ones(6), rtol=1e-6)


def test_noise_is_normal_of_the_level_on_real_steps_alone(
    data: DataModule, loader: BatchLoader, batch: Batch, keys: torch.Tensor
) -> None:
    units = noise_units(loader, data.store.statistics)
    batch = batch.without(torch.tensor([False, True, False]) & (batch.index == 7)[:, None])
    noisy = add_noise(batch, {"audio": units["audio"], "vision": units["vision"]}, 2.0, keys, draw=1)
    assert torch.equal(noisy.streams["text"].values, batch.streams["text"].values)
    for m, name in ((1, "audio"), (2, "vision")):
        before, after = batch.streams[name], noisy.streams[name]
        added = (after.values - before.values).double()
        real = before.mask & batch.present[:, m, None]
        assert not added[~real].any()
        drawn = (added[real] / (2.0 * units[name])).numpy()
        assert kstest(drawn.ravel(), "norm").pvalue > 1e-3
        correlation = np.corrcoef(drawn.T) - np.eye(drawn.shape[1])
        assert np.abs(correlation).max() < 4.5 / np.sqrt(len(drawn))
        assert torch.equal(after.mask, before.mask)
    assert not noisy.streams["audio"].values[7].any()  # absent: nothing to disturb


def test_levels_of_a_draw_differ_by_scale_alone_and_draws_in_all(
    data: DataModule, loader: BatchLoader, batch: Batch, keys: torch.Tensor
) -> None:
    units = noise_units(loader, data.store.statistics)
    levels = {level: add_noise(batch, units, level, keys, draw=1) for level in (0.5, 2.0)}
    other = add_noise(batch, units, 0.5, keys, draw=2)
    for name, stream in batch.streams.items():
        low, high = (levels[level].streams[name].values - stream.values for level in (0.5, 2.0))
        assert_allclose(4 * low, high, atol=1e-5)
        drawn_again = other.streams[name].values - stream.values
        assert abs(np.corrcoef(low[stream.mask].ravel(), drawn_again[stream.mask].ravel())[0, 1]) < 0.1


@pytest.mark.parametrize("kind", ["noise", "dropped"])
def test_a_clip_is_disturbed_alike_in_any_batch(
    data: DataModule, loader: BatchLoader, batch: Batch, keys: torch.Tensor, kind: str
) -> None:
    units = noise_units(loader, data.store.statistics)

    def disturb(part: Batch) -> Batch:
        return add_noise(part, units, 1.0, keys, 1) if kind == "noise" else drop_steps(part, NAMES, 0.5, keys, 1)

    whole = disturb(batch)
    rows = torch.tensor([90, 3, 41])
    some = disturb(loader.split.batch(rows, rows, (3,), 0))
    for name, stream in some.streams.items():
        steps = stream.values.shape[1]
        assert torch.equal(stream.values, whole.streams[name].values[rows, :steps])


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_the_share_of_each_clips_steps_is_zero_and_the_rest_as_it_was(
    batch: Batch, keys: torch.Tensor, share: float
) -> None:
    dropped = drop_steps(batch, ["audio"], share, keys, draw=1)
    before, after = batch.streams["audio"], dropped.streams["audio"]
    gone = ((after.values == 0) & (before.values != 0)).any(dim=2).numpy()
    lengths = before.lengths.numpy()
    assert_array_equal(gone.sum(axis=1), np.rint(share * lengths))  # half to even
    assert (lengths * share % 1 == 0.5).any() or share != 0.5
    assert_array_equal(after.values.numpy()[~gone], before.values.numpy()[~gone])
    assert not after.values.numpy()[gone].any()
    assert torch.equal(after.mask, before.mask)
    assert torch.equal(dropped.streams["vision"].values, batch.streams["vision"].values)
    places = np.concatenate([np.flatnonzero(row[:n]) / n for row, n in zip(gone, lengths, strict=True)])
    assert kstest(places, "uniform").statistic < 0.1  # anywhere in the clip


def test_what_is_dropped_stays_dropped_at_higher_shares(batch: Batch, keys: torch.Tensor) -> None:
    zero = [
        drop_steps(batch, NAMES, share, keys, draw=1).streams["vision"].values == 0
        for share in (0.0, *LEVELS["dropped"])
    ]
    assert torch.equal(zero[0], batch.streams["vision"].values == 0)
    for lower, higher in pairwise(zero):
        assert not (lower & ~higher).any()


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("noisy_run")
    here(
        folder, "method=supervised", "encoder=identity", "optimizer.lr=0.01", "trainer.progress=off",
        f"run.dir={folder / 'run'}",
    )  # fmt: skip
    return folder / "run"


def test_rows_are_scores_of_disturbed_predictions_and_the_clean_ones_at_level_0(run_dir: Path) -> None:
    run = trivium.load_run(run_dir)
    subject = Subject.open(run.method, run.data()[1], "test")
    rows = score_noise(subject, draws=2)
    groups = ("text", "audio", "vision", "text+audio+vision")
    assert [(row["kind"], row["modalities"], row["level"], row["draw"]) for row in rows] == [
        (kind, group, level, draw) for kind in LEVELS for group in groups for level in LEVELS[kind] for draw in (1, 2)
    ]
    clean = subject.score(predict_split(run.method, subject.loader))
    for row in rows:
        if not row["level"]:
            assert {key: row[key] for key in clean} == clean
    maes = {(row["kind"], row["modalities"], row["level"]): row["mae"] for row in rows if row["draw"] == 1}
    # by hand: audio is standardised here, text is not
    keys = clip_keys(subject.ids)
    unit = torch.from_numpy(run.statistics["text"].std).float()
    by_hand = {
        ("noise", "audio", 2.0): lambda batch: add_noise(batch, {"audio": torch.ones(6)}, 2.0, keys, 1),
        ("noise", "text", 2.0): lambda batch: add_noise(batch, {"text": unit}, 2.0, keys, 1),
        ("dropped", "vision", 0.75): lambda batch: drop_steps(batch, ["vision"], 0.75, keys, 1),
        ("dropped", "text+audio+vision", 0.5): lambda batch: drop_steps(batch, NAMES, 0.5, keys, 1),
    }
    for cell, change in by_hand.items():
        expected = subject.score(predict_split(run.method, subject.loader, change=change))["mae"]
        assert maes[cell] == pytest.approx(expected, abs=1e-6)
        assert maes[cell] > clean["mae"]


def test_token_ids_take_no_noise(data: DataModule) -> None:
    tokens = DataModule(data.store, reads={**READS, "text": "tokens"})
    assert list(noise_units(tokens.loader("test"), data.store.statistics)) == ["audio", "vision"]


def test_a_run_on_token_ids_alone_is_refused(data: DataModule, run_dir: Path) -> None:
    only = DataModule(data.store, reads={"text": "tokens"})
    subject = Subject.open(trivium.load_run(run_dir).method, only, "test")
    with pytest.raises(ValueError, match="protocol=noise: text is read as token ids, which take no noise"):
        score_noise(subject, draws=1)
