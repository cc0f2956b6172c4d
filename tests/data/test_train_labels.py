"""Few and noisy labels: which train clips have which label, what each method then trains on, and what it is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from driver import record
from trivium.config.check import problems_of
from trivium.config.compose import compose_config
from trivium.data.clips import Clips
from trivium.data.store import Store, open_store
from trivium.data.synthetic import ensure_fixture
from trivium.data.train_labels import draw_train_labels
from trivium.evaluation.probe import fit_readout
from trivium.runs.announce import say_settings
from trivium.runs.assemble import assemble, open_data
from trivium.runs.config_hash import config_hash
from trivium.runs.load import load_run
from trivium.runs.train import train


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    path = tmp_path_factory.mktemp("data") / "fixture_classes.h5"
    return open_store(ensure_fixture(path, name="fixture_classes", label_range=(-3.0, 3.0)))


def config_of(folder: Path, *overrides: str) -> dict[str, Any]:
    return compose_config(
        [f"paths.data={folder}/data", f"paths.outputs={folder}/runs", "trainer.threads=1", *overrides]
    )


def test_a_smaller_share_is_a_part_of_a_larger_one_and_another_seed_draws_others() -> None:
    few, more = (draw_train_labels(1000, share, 0, seed=4).places for share in (0.05, 0.25))
    assert (len(few), len(more)) == (50, 250)
    assert set(few) < set(more)
    assert list(more) == sorted(more)
    assert set(draw_train_labels(1000, 0.05, 0, seed=5).places) != set(few)
    assert len(draw_train_labels(1000, 0.0001, 0, seed=4).places) == 1


def test_noise_gives_that_share_of_clips_the_label_of_any_labelled_one() -> None:
    some, most = (draw_train_labels(20_000, 0.5, noise, seed=4) for noise in (0.2, 0.6))
    for labels, noise in ((some, 0.2), (most, 0.6)):
        assert float((labels.sources != labels.places).mean()) == pytest.approx(noise, abs=0.01)
        assert set(labels.sources) <= set(labels.places)
        # Each as likely: the drawn ones are spread evenly over all.
        drawn = np.searchsorted(labels.places, labels.sources[labels.sources != labels.places]) / 10_000
        assert np.histogram(drawn, bins=4, range=(0, 1))[0] / len(drawn) == pytest.approx(0.25, abs=0.03)
    wrong = some.sources != some.places
    np.testing.assert_array_equal(some.sources[wrong], most.sources[wrong])


@pytest.mark.parametrize("labelled", [0.0, -0.1, 1.01])
def test_a_share_out_of_range_is_refused_by_its_key(labelled: float) -> None:
    with pytest.raises(ValueError, match=r"data\.labelled: expected a share above 0 and at most 1, found"):
        draw_train_labels(10, labelled, 0, seed=1)


def test_a_noise_out_of_range_is_refused_by_its_key(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"data\.label_noise: expected a probability from 0 to 1, found 1\.5"):
        open_data(config_of(tmp_path, "data.label_noise=1.5"))


def test_a_store_has_the_labelled_clips_their_counts_and_its_other_splits(store: Store) -> None:
    known, train = store.with_train_labels(0.25, 0, seed=3), store.split("train")
    few = known.split("train")
    assert len(few) == known.schema.counts["train"] == round(0.25 * len(train))
    places = [train.ids.index(clip) for clip in few.ids]
    for name, ragged in few.streams.items():
        for row, place in enumerate(places):
            np.testing.assert_array_equal(ragged[row], train.streams[name][place])
    emotions = few.targets["emotion"]
    np.testing.assert_array_equal(emotions, train.targets["emotion"][places])
    assert known.schema.targets["emotion"].counts == tuple(np.bincount(emotions.astype(int), minlength=4))
    assert known.statistics is store.statistics
    assert known.split("test").ids == store.split("test").ids
    assert known.whole_split("train").ids == train.ids


def test_wrong_labels_come_with_all_targets_of_a_clip_and_none_is_wrong_outside_of_train(store: Store) -> None:
    noisy, train = store.with_train_labels(1.0, 0.5, seed=3), store.split("train")
    clips = noisy.split("train")
    assert clips.ids == train.ids
    assert noisy.train_labels is not None
    sources = noisy.train_labels.sources
    assert 0.3 < (sources != np.arange(len(train))).mean() < 0.7
    for name, values in train.targets.items():
        np.testing.assert_array_equal(clips.targets[name], values[sources])
    for split in ("valid", "test"):
        np.testing.assert_array_equal(noisy.split(split).targets["emotion"], store.split(split).targets["emotion"])


@pytest.mark.parametrize(
    ("method", "on_all"),
    [("supervised", False), ("selfmi", False), ("supcon", False), ("gmc", False), ("comm", True), ("simclr", True)],
)
def test_only_methods_without_labels_train_on_the_clips_that_have_none(
    tmp_path: Path, method: str, on_all: bool
) -> None:
    store, data, built = assemble(config_of(tmp_path, f"method={method}", "data.labelled=0.25", "data.batch_size=8"))
    whole = len(store.whole_split("train"))
    labelled = round(0.25 * whole)
    loader = data.loader("train", training=True)
    assert built.learns_labels is not on_all
    assert len(loader.split) == (whole if on_all else labelled)
    assert len(loader) == data.train_batches == -(-len(loader.split) // 8)
    # What a probe is fitted on.
    assert len(data.loader("train").split) == len(data.clips("train")) == labelled


COMM = [
    "method=comm",
    "encoder=identity",
    "fusion=concat",
    "fusion.out=8",
    "trainer.max_epochs=1",
    "trainer.progress=off",
]


def test_a_loaded_run_has_the_labels_that_it_was_trained_with(tmp_path: Path) -> None:
    train(config_of(tmp_path, *COMM, "data.labelled=0.25", f"run.dir={tmp_path / 'run'}"), [])
    run = load_run(tmp_path / "run")
    store, data = run.data()
    few = len(data.clips("train"))
    assert few == round(0.25 * len(store.whole_split("train")))
    # Another file is evaluated as it is.
    assert len(run.data(run.store)[1].clips("train")) > few


@pytest.mark.parametrize("method", ["comm", "supervised"])
def test_labels_that_were_taken_away_change_nothing(
    tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = COMM if method == "comm" else ["encoder=identity", "trainer.max_epochs=1", "trainer.progress=off"]
    config = config_of(tmp_path, *settings, "data=fixture", "data.labelled=0.25")
    train({**config, "run": {**config["run"], "dir": str(tmp_path / "one")}}, [])
    whole = Store.whole_split

    def spoiled(store: Store, name: str) -> Clips:
        clips = whole(store, name)
        if name != "train" or store.train_labels is None:
            return clips
        hidden = np.ones(len(clips), dtype=bool)
        hidden[store.train_labels.places] = False
        return replace(
            clips, targets={key: np.where(hidden, -3.0, v).astype(v.dtype) for key, v in clips.targets.items()}
        )

    monkeypatch.setattr(Store, "whole_split", spoiled)
    train({**config, "run": {**config["run"], "dir": str(tmp_path / "two")}}, [])
    assert record(tmp_path / "one") == record(tmp_path / "two")


def test_a_probe_of_few_labels_is_not_fitted_on_validation(tmp_path: Path) -> None:
    _, data, method = assemble(config_of(tmp_path, *COMM, "data.labelled=0.1"))
    fitted = fit_readout(method, data)
    assert torch.equal(fitted.probe.final.weight, fitted.probe.without_valid.weight)
    _, every, method = assemble(config_of(tmp_path, *COMM))
    usual = fit_readout(method, every)
    assert not torch.equal(usual.probe.final.weight, usual.probe.without_valid.weight)


def test_a_balanced_order_is_refused_where_it_would_read_what_was_taken_away(tmp_path: Path) -> None:
    classes = ["data=fixture_classes", "data.sampler=balanced", "data.label_noise=0.3"]
    with pytest.raises(ValueError, match=r"data\.sampler=balanced: it orders the train clips by labels that"):
        assemble(config_of(tmp_path, *COMM, *classes))
    assert assemble(config_of(tmp_path, *classes))[1].balanced


@pytest.mark.parametrize(
    ("setting", "told"), [("data.labelled=0", "data.labelled"), ("data.label_noise=2", "data.label_noise")]
)
def test_the_check_names_a_share_out_of_range(setting: str, told: str) -> None:
    assert any(problem.startswith(f"{told}: expected a") for problem in problems_of([setting]))


def test_what_is_labelled_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    say_settings(config_of(tmp_path, "data.labelled=0.1", "data.label_noise=0.2"))
    said = " ".join(capsys.readouterr().out.split())
    assert "32 of 320 train clips have a label a train clip has another one's label with probability 0.2" in said


def test_the_defaults_change_no_hash_and_other_values_do(tmp_path: Path) -> None:
    usual = config_of(tmp_path)
    older = {**usual, "data": {k: v for k, v in usual["data"].items() if k not in ("labelled", "label_noise")}}
    assert config_hash(usual) == config_hash(older)
    for change in ("data.labelled=0.5", "data.label_noise=0.1"):
        assert config_hash(config_of(tmp_path, change)) != config_hash(usual)
