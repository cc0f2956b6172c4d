"""A run predicts from any subset of its modalities, on a store that lacks the others too; short windows are told."""

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

import trivium
from trivium.data.clips import Source
from trivium.data.datamodule import DataModule
from trivium.data.store import open_store, write_store
from trivium.runs.evaluate_run import evaluate
from trivium.runs.train import _warn_of_a_short_window

OLD = Path(__file__).parent / "version_0_1_0"


@pytest.fixture
def without_vision(tmp_path: Path) -> Path:
    store = open_store(OLD / "fixture.h5")
    splits = {name: store.split(name) for name in store.schema.counts}
    for clips in splits.values():
        del clips.streams["vision"]
    write_store(
        tmp_path / "two.h5",
        Source(splits, "synthetic", []),
        data="fixture",
        feature_set="fixture/two",
        label_range=None,
    )
    return tmp_path / "two.h5"


@pytest.mark.parametrize("modalities", [["text", "audio"], ["audio"]])
def test_predictions_are_those_of_the_same_subset_on_the_whole_store(
    modalities: list[str], without_vision: Path
) -> None:
    run = trivium.load_run(OLD / "runs" / "supervised")
    whole = run.predict("test", store=OLD / "fixture.h5", modalities=modalities)
    part = run.predict("test", store=without_vision, modalities=modalities)
    assert part.ids == whole.ids
    np.testing.assert_array_equal(part.score.numpy(), whole.score.numpy())


def test_the_verb_takes_such_a_store_and_names_the_way_without_modalities(without_vision: Path, tmp_path: Path) -> None:
    run = OLD / "runs" / "supervised"
    scores = evaluate(run, store=without_vision, modalities=["text", "audio"], splits=["test"], out=tmp_path / "out")
    assert scores["test"]["mae"] > 0
    with pytest.raises(ValueError, match=r"two\.h5: serves \['text', 'audio'\].*modalities=text,audio predicts from"):
        evaluate(run, store=without_vision, out=tmp_path / "out")
    with pytest.raises(ValueError, match=r"two\.h5: no features of vision; leave them out of modalities="):
        evaluate(run, store=without_vision, modalities=["vision"], out=tmp_path / "out")


def test_an_unwritable_folder_is_told_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trivium.core import system_errors
    from trivium.evaluation import probe as probe_module
    from trivium.runs.evaluate_run import probe

    monkeypatch.setattr(probe_module, "probe_run", lambda *_, **__: pytest.fail("computed first"))
    monkeypatch.setattr(system_errors.os, "access", lambda *_: False)
    with pytest.raises(ValueError, match=rf"{tmp_path}: cannot be written into; give another folder with out=DIR"):
        probe(OLD / "runs" / "supervised", store=OLD / "fixture.h5", out=tmp_path)


@pytest.mark.parametrize(("window", "batches", "told"), [(30, 3, True), (2, 3, True), (3, 3, False), (1, 3, False)])
def test_a_last_step_that_is_smaller_than_the_others_is_told(window: int, batches: int, told: bool) -> None:
    data = cast(DataModule, SimpleNamespace(train_batches=batches))
    config: dict[str, Any] = {"trainer": {"accumulate_grad_batches": window}, "method": {}}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _warn_of_a_short_window(config, data)
    assert len(caught) == told
    if told:
        assert f"takes the gradients of {batches % window} of them divided by {window}" in str(caught[0].message)
