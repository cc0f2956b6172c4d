"""Runs on a fold: they train, test, resume, load and are counted as runs of that fold, and never see its test clips."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import trivium
from driver import command, here, in_folder, run, run_ranks
from trivium.config.compose import compose_config
from trivium.data.clips import Clips, Folds, Source
from trivium.data.splitting import SplitOptions, split_source
from trivium.data.store import open_store, write_store
from trivium.data.synthetic import make_fixture
from trivium.results.records import labelled, read_record
from trivium.runs.config_hash import config_hash

K = 3
SETTINGS = ["data=custom", "encoder.hidden=8", "trainer.progress=off", "trainer.max_epochs=2"]


def folds_of(clips: Clips, seed: int = 0) -> Folds:
    options = SplitOptions("kfold", seed=seed, fold_count=K)
    folds = split_source(Source({"train": clips}, "folder", []), options=options).folds
    assert folds is not None
    return folds


def store_at(path: Path, seed: int = 0) -> Path:
    whole = make_fixture().splits["train"].select(np.arange(150))
    source = Source({"train": whole}, "folder", [], tokenizer="synthetic", folds=folds_of(whole, seed))
    write_store(path, source, data="custom", feature_set="custom/folds", label_range=(-3.0, 3.0))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("folds")
    store = store_at(folder / "s.h5")
    for fold in range(K):
        for seed in (1, 2):
            train(folder, store, fold, f"seed={seed}", f"run.dir={folder / f'runs/f{fold}s{seed}'}")
    return folder


def train(folder: Path, store: Path, fold: int, *more: str) -> dict[str, Any]:
    return here(folder, *SETTINGS, f"data.store={store}", f"data.fold={fold}", *more)


def ids_of(run_dir: Path, split: str = "test") -> list[str]:
    with (run_dir / "predictions.csv").open() as file:
        return [row["id"] for row in csv.DictReader(file) if row["split"] == split]


def test_each_clip_is_tested_once_over_the_folds_and_never_trained_on_there(folder: Path) -> None:
    clips = make_fixture().splits["train"].select(np.arange(150))
    numbers = folds_of(clips).numbers
    every: list[str] = []
    for fold in range(K):
        of_fold = ids_of(folder / f"runs/f{fold}s1")
        assert of_fold == [clip for clip, number in zip(clips.ids, numbers, strict=True) if number == fold]
        valid = ids_of(folder / f"runs/f{fold}s1", "valid")
        assert valid == [clip for clip, number in zip(clips.ids, numbers, strict=True) if number == (fold + 1) % K]
        every += of_fold
    assert sorted(every) == sorted(clips.ids)


def test_a_model_standardises_by_the_train_clips_of_its_fold(folder: Path) -> None:
    clips = make_fixture().splits["train"].select(np.arange(150))
    numbers = folds_of(clips).numbers
    for fold in range(K):
        model = json.loads((folder / f"runs/f{fold}s1/model.json").read_text())
        trained = [n for n in range(150) if numbers[n] not in (fold, (fold + 1) % K)]
        steps = np.concatenate([clips.streams["audio"][n] for n in trained]).astype(np.float64)
        np.testing.assert_allclose(model["statistics"]["audio"]["mean"], steps.mean(0), rtol=1e-10)
        assert model["schema"]["counts"]["train"] == len(trained)
        result = json.loads((folder / f"runs/f{fold}s1/result.json").read_text())
        assert (result["fold"], result["folds"]) == (fold, K)
        test = clips.targets["multimodal"][numbers == fold].astype(np.float64)
        guess = np.abs(test - clips.targets["multimodal"][trained].mean(dtype=np.float64)).mean()
        assert result["train_mean_mae"]["test"] == pytest.approx(guess, rel=1e-6)


def test_a_loaded_run_predicts_its_own_folds_test_clips(folder: Path, tmp_path: Path) -> None:
    path = folder / "runs/f2s1"
    loaded = trivium.load_run(path)
    predictions = loaded.predict()
    assert list(predictions.ids) == ids_of(path)
    assert loaded.evaluate()["mae"] == pytest.approx(loaded.result["test"]["mae"], abs=1e-6)
    # On a store without folds, such as new data, it predicts the splits that are there.
    source = make_fixture()
    plain = tmp_path / "plain.h5"
    write_store(plain, source, data="custom", feature_set="custom/plain", label_range=(-3.0, 3.0))
    assert list(loaded.predict(store=plain).ids) == source.splits["test"].ids


def test_folds_have_hashes_of_their_own_and_one_group(folder: Path) -> None:
    records = [read_record(path) for path in sorted((folder / "runs").iterdir())]
    assert len({record.result["config_hash"] for record in records}) == 2 * K
    assert len({record.group for record in records}) == 1
    assert {record.label for record in labelled(records)} == {"supervised"}


def test_comparing_pairs_fold_and_seed(folder: Path) -> None:
    frame = trivium.results(folder / "runs")
    maes = frame[(frame["metric"] == "mae") & (frame["split"] == "test")]
    assert sorted(zip(maes["fold"], maes["seed"], strict=True)) == [(f, s) for f in range(K) for s in (1, 2)]
    other = frame.assign(label="other", value=frame["value"] + frame["seed"] + 10 * frame["fold"])
    # In another order, so that pairs are found by fold and seed.
    both = pd.concat([frame, other.iloc[::-1]], ignore_index=True)
    line = trivium.compare(both, "supervised").set_index(["split", "label", "metric"]).loc[("test", "other", "mae")]
    differences = [seed + 10 * fold for fold in range(K) for seed in (1, 2)]
    assert line["n"] == line["difference_n"] == 2 * K
    assert line["difference"] == pytest.approx(np.mean(differences))
    assert line["difference_std"] == pytest.approx(np.std(differences, ddof=1))
    assert line["mean"] == pytest.approx(maes["value"].mean() + np.mean(differences))


def test_a_killed_run_goes_on_with_its_fold_bit_for_bit(folder: Path, tmp_path: Path) -> None:
    settings = [*SETTINGS, f"data.store={folder / 's.h5'}", "data.fold=1", "seed=1", f"run.dir={tmp_path / 'run'}"]
    assert run(tmp_path, *settings, kill=("step", 3)) == -9
    assert run(tmp_path, *settings, "resume=auto") == 0
    whole = (folder / "runs/f1s1/weights.safetensors").read_bytes()
    assert (tmp_path / "run/weights.safetensors").read_bytes() == whole
    with pytest.raises(ValueError, match=r"holds a run of another config; it differs in data.fold \(1 there, 2 now\)"):
        train(tmp_path, folder / "s.h5", 2, "seed=1", f"run.dir={tmp_path / 'run'}", "resume=auto")


def test_two_processes_train_a_fold_as_one_does(folder: Path, tmp_path: Path) -> None:
    settings = [*SETTINGS, "debug=exact", f"data.store={folder / 's.h5'}", "data.fold=1"]
    one = here(tmp_path, *settings, f"run.dir={tmp_path / 'one'}")
    assert run_ranks(tmp_path, *settings, f"run.dir={tmp_path / 'two'}") == [0, 0]
    two = json.loads((tmp_path / "two/result.json").read_text())
    assert two["world_size"] == 2
    assert ids_of(tmp_path / "two") == ids_of(tmp_path / "one")
    assert two["test"]["mae"] == pytest.approx(one["test"]["mae"], rel=1e-9)


def test_a_store_with_other_folds_is_another_store(folder: Path, tmp_path: Path) -> None:
    store = store_at(tmp_path / "s.h5")
    train(tmp_path, store, 0, f"run.dir={tmp_path / 'run'}")
    store_at(store, seed=1)
    assert set(open_store(store, 0).split("test").ids) != set(ids_of(tmp_path / "run"))
    with pytest.raises(ValueError, match=r"is not the store that .* was trained on"):
        trivium.load_run(tmp_path / "run").predict()


def test_a_run_that_begins_from_another_fold_is_refused(folder: Path, tmp_path: Path) -> None:
    start = folder / "runs/f0s1"
    with pytest.raises(ValueError, match=r"is of data.fold=0, this run of data.fold=2, some of whose test clips"):
        train(tmp_path, folder / "s.h5", 2, f"start_from={start}")
    assert not list((tmp_path / "outputs").glob("runs/*"))
    train(tmp_path, folder / "s.h5", 0, f"start_from={start}", f"run.dir={tmp_path / 'same'}")


def test_without_a_fold_or_with_one_too_many_nothing_is_written(folder: Path, tmp_path: Path) -> None:
    store = f"data.store={folder / 's.h5'}"
    for more, message in (
        ([store], "has 3 folds; choose one with data.fold=0..2, or run all of them with -m and data.fold=0,1,2"),
        ([store, "data.fold=3"], "has 3 folds, 0 to 2"),
        ([store, "data.fold=-1"], "data.fold: expected a fold's number, 0 or more, found -1"),
        ([store, "data.fold=one"], "data.fold: expected a whole number or null, found 'one'"),
        (["data=fixture", "data.fold=0"], "has no folds; leave data.fold out"),
    ):
        code, printed = command(tmp_path, *in_folder(tmp_path, *SETTINGS, *more))
        assert code == 2, printed
        assert message in " ".join(printed.split())
        assert not list((tmp_path / "outputs").glob("runs/*"))


def test_a_sweep_over_folds_is_a_row_and_says_what_it_is_the_mean_of(folder: Path, tmp_path: Path) -> None:
    settings = in_folder(tmp_path, *SETTINGS, f"data.store={folder / 's.h5'}", "trainer.max_epochs=1")
    code, printed = command(tmp_path, *settings, "data.fold=0,1,2", "seed=1,2", "-m")
    assert code == 0, printed
    assert "mean ± standard deviation over 3 folds x 2 seeds" in printed
    (file,) = (tmp_path / "outputs").glob("sweeps/*/summary.csv")
    summary = pd.read_csv(file)
    assert summary[["n", "folds", "seeds"]].to_numpy().tolist() == [[6, "0 1 2", "1 2"]]
    maes = [json.loads(path.read_text())["test"]["mae"] for path in file.parent.glob("*/result.json")]
    assert summary["mae"][0] == pytest.approx(np.mean(maes))
    assert summary["mae_std"][0] == pytest.approx(np.std(maes, ddof=1))


def test_the_key_changes_no_hash_where_it_is_not_set() -> None:
    config = compose_config(["data=fixture"])
    older = {**config, "data": {key: value for key, value in config["data"].items() if key != "fold"}}
    assert config_hash(config) == config_hash(older)
    assert config_hash(compose_config(["data=fixture", "data.fold=0"])) != config_hash(config)
