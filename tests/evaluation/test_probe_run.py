"""Tests probes of finished runs: what they read, what they are asked for, a probed method's readout, the script."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.linear_model import Ridge
from sklearn.metrics import balanced_accuracy_score

import trivium
from driver import here
from trivium.cli.evaluate import main
from trivium.data.clips import Clips, Ragged, Source
from trivium.data.datamodule import DataModule
from trivium.data.store import write_store
from trivium.data.synthetic import make_fixture
from trivium.evaluation import probe as probe_module
from trivium.evaluation.linear_models import fit_classifier
from trivium.evaluation.predict import predict_split, score_split
from trivium.evaluation.probe import fit_readout, probe_run
from trivium.evaluation.vectors import collect_vectors, raw_vectors
from trivium.methods.base import Method

SMALL = ("trainer.max_epochs=1", "trainer.progress=off")


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("probe")
    here(folder, "method=selfmi", "encoder=identity", f"run.dir={folder / 'run'}", *SMALL)
    return folder / "run"


def numpy_vectors(run: trivium.Run, data: DataModule, name: str) -> dict[str, np.ndarray]:
    return {s: collect_vectors(run.method, data.loader(s))[name].numpy() for s in ("train", "valid", "test")}


def labels(run: trivium.Run, name: str = "multimodal") -> dict[str, np.ndarray]:
    store, _ = run.data()
    return {split: store.split(split).targets[name] for split in ("train", "valid", "test")}


def written(path: Path, *, probe_clips: int = 0, **changes: Any) -> Path:
    """The fixture with more targets: class numbers, and a score that is none; and perhaps with a split "probe"."""
    counts = {"train": 320, "valid": 96, "test": 128} | ({"probe": probe_clips} if probe_clips else {})
    splits = {}
    for name, clips in make_fixture(counts=counts).splits.items():
        loud = np.digitize(clips.targets["audio"], [-1, 1]).astype(np.float32)
        targets = {**clips.targets, "loud": loud, "share": loud / 7, "same": np.zeros_like(loud)}
        splits[name] = Clips(clips.ids, {**clips.streams, **changes.get(name, {})}, targets, clips.raw_text)
    source = Source(splits, "synthetic", [], notes={})
    write_store(path, source, data="other", feature_set="other/changed", label_range=(-3.0, 3.0))
    return path


def test_ridge_of_the_joint_vector_equals_scikit_learn(run_dir: Path) -> None:
    run = trivium.load_run(run_dir)
    _, data = run.data()
    result = probe_run(run.method, data, features=["joint"])["joint"]
    x, y = numpy_vectors(run, data, "joint"), labels(run)
    both = np.concatenate([x["train"], x["valid"]]), np.concatenate([y["train"], y["valid"]])
    alpha = result["ridge"]["alpha"]
    for split, (features, scores) in {"valid": (x["train"], y["train"]), "test": both}.items():
        p = Ridge(alpha=alpha, solver="svd").fit(features, scores.astype(float)).predict(x[split])
        assert result["ridge"][split]["mae"] == pytest.approx(np.abs(p - y[split]).mean(), abs=1e-6)


def test_classes_are_positive_or_not_and_scored_by_the_map_that_has_not_seen_them(run_dir: Path) -> None:
    run = trivium.load_run(run_dir)
    _, data = run.data()
    result = probe_run(run.method, data)
    assert list(result) == ["joint", "text", "audio", "vision"]
    assert {probe["classes"] for probe in result.values()} == {2}
    y = {split: scores > 0 for split, scores in labels(run).items()}
    for name in ("joint", "audio"):
        x = numpy_vectors(run, data, name)
        fits = {"valid": ["train"], "test": ["train", "valid"]}
        for split, parts in fits.items():
            features = torch.from_numpy(np.concatenate([x[part] for part in parts]))
            truth = torch.from_numpy(np.concatenate([y[part] for part in parts])).long()
            outputs = fit_classifier(features, truth, 2, result[name]["c"]).outputs(torch.from_numpy(x[split]))
            expected = balanced_accuracy_score(y[split], outputs.argmax(dim=1).numpy())
            assert result[name][split]["balanced_accuracy"] == pytest.approx(expected)
    # the label is made of all three modalities
    test = {name: probe["test"]["balanced_accuracy"] for name, probe in result.items()}
    assert test["joint"] > 0.8 > max(test["text"], test["audio"], test["vision"])
    assert probe_run(run.method, data, features=["audio"]) == {"audio": result["audio"]}


def test_vectors_are_in_the_order_of_the_split_and_of_the_method(run_dir: Path) -> None:
    run = trivium.load_run(run_dir)
    _, data = run.data()
    data.eval_batch_size = 50  # 128 clips: the last batch is short
    run.method.train()
    result = collect_vectors(run.method, data.loader("test"))
    assert not run.method.training
    data.eval_batch_size = 128
    (batch,) = data.loader("test")
    with torch.no_grad():
        expected = run.method.predict(batch).features
    assert result["joint"].dtype == torch.float64
    assert_allclose(result["joint"].numpy(), expected.double().numpy(), atol=1e-5)


def test_raw_vectors_are_means_over_real_steps_and_zero_where_absent(run_dir: Path, tmp_path: Path) -> None:
    audio = make_fixture().splits["test"].streams["audio"]
    first = int(audio.offsets[1])
    silent = Ragged(audio.values[first:], np.maximum(audio.offsets - first, 0))
    run = trivium.load_run(run_dir)
    store, data = run.data(written(tmp_path / "silent.h5", test={"audio": silent}))
    result = raw_vectors(data.loader("test"))
    clips = store.split("test")
    expected = np.stack([clips.streams["text"][n].mean(axis=0) for n in range(len(clips))])
    assert_allclose(result["text"].numpy(), expected, atol=1e-5)
    assert not result["audio"][0].any()
    seen = run.statistics["audio"]  # audio is standardised, with what training used
    expected = (clips.streams["audio"][1].mean(axis=0) - seen.mean) / seen.std
    assert_allclose(result["audio"][1].numpy(), expected, atol=1e-5)
    assert list(result) == ["joint", "text", "audio", "vision"]
    assert_allclose(result["joint"].numpy(), torch.cat([result[m] for m in data.reads], dim=1).numpy())


def test_vectors_that_are_not_finite_are_named(run_dir: Path) -> None:
    run = trivium.load_run(run_dir)
    store, data = run.data()
    original = run.method.vectors
    run.method.vectors = lambda batch: {"joint": original(batch)["joint"] / (batch.index != 3)[:, None]}  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="'joint': 1 vectors are not finite") as error:
        collect_vectors(run.method, data.loader("test"))
    assert store.split("test").ids[3] in str(error.value)


def test_another_target_is_probed_as_class_numbers(run_dir: Path, tmp_path: Path) -> None:
    run = trivium.load_run(run_dir)
    _, data = run.data(written(tmp_path / "more.h5"))
    result = probe_run(run.method, data, target="loud", raw=True)
    assert {probe["classes"] for probe in result.values()} == {3}
    assert all("ridge" not in probe for probe in result.values())
    assert result["audio"]["test"]["balanced_accuracy"] > 0.85
    assert abs(result["text"]["test"]["balanced_accuracy"] - 1 / 3) < 0.15


def test_a_probe_split_is_fitted_on_in_place_of_train(run_dir: Path, tmp_path: Path) -> None:
    run = trivium.load_run(run_dir)
    _, data = run.data(written(tmp_path / "probe.h5", probe_clips=200))
    result = probe_run(run.method, data, features=["joint"], raw=True)["joint"]
    x = {split: raw_vectors(data.loader(split))["joint"] for split in ("probe", "test")}
    y = {split: data.store.split(split).targets["multimodal"] for split in x}
    p = Ridge(alpha=result["ridge"]["alpha"], solver="svd").fit(x["probe"], y["probe"].astype(float)).predict(x["test"])
    assert result["fitted_on"] == "probe"
    assert result["ridge"]["test"]["mae"] == pytest.approx(np.abs(p - y["test"]).mean(), abs=1e-6)
    assert result["valid"]["balanced_accuracy"] > 0.7


@pytest.fixture(scope="module")
def comm_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("comm")
    settings = ["method=comm", "encoder=identity", "fusion=concat", "method.head_hidden=[16]", "method.head_out=8"]
    here(folder, *settings, f"run.dir={folder / 'run'}", *SMALL)
    return folder / "run"


def scores_on(method: Method, data: DataModule, split: str) -> dict[str, float]:
    loader = data.loader(split)
    return score_split(method, loader, predict_split(method, loader))


def test_readout_of_scores_is_ridge_and_validation_gets_the_map_fitted_without_it(comm_dir: Path) -> None:
    run = trivium.load_run(comm_dir)
    _, data = run.data()
    fitted = fit_readout(run.method, data)
    x, y = numpy_vectors(run, data, "joint"), labels(run)
    both = np.concatenate([x["train"], x["valid"]]), np.concatenate([y["train"], y["valid"]])
    final = Ridge(alpha=fitted.summary["alpha"], solver="svd").fit(*both)
    alone = Ridge(alpha=fitted.summary["alpha"], solver="svd").fit(x["train"], y["train"])
    for split, model, use in (("test", final, ""), ("valid", alone, "valid"), ("valid", final, "test")):
        if use:
            fitted.use(run.method, use)
        expected = np.abs(model.predict(x[split]) - y[split]).mean()
        assert scores_on(run.method, data, split)["mae"] == pytest.approx(expected, abs=1e-4)
    assert run.method.readout.weight.dtype == torch.float32
    sign = probe_run(run.method, data, features=["joint"])["joint"]
    assert fitted.summary["sign"]["test"] == sign["test"]
    assert fitted.summary["fitted_on"] == "train"
    json.dumps(fitted.summary, allow_nan=False)


def test_readout_of_classes_is_the_classifier_of_the_objectives_own(tmp_path: Path) -> None:
    settings = ["method=comm", "encoder=identity", "fusion=concat", "method.head_hidden=[16]", "method.head_out=8"]
    here(tmp_path, *settings, "objective=cross_entropy", "objective.classes=3", f"run.dir={tmp_path / 'run'}", *SMALL)
    run = trivium.load_run(tmp_path / "run")
    _, data = run.data()
    fitted = fit_readout(run.method, data)
    loader = data.loader("test")
    predicted = predict_split(run.method, loader).probabilities
    assert predicted is not None
    truth = run.method.objective.classes(loader.split.targets["multimodal"])
    result = probe_run(run.method, data, features=["joint"], classes="objective")["joint"]
    assert fitted.summary["kind"] == "classifier"
    assert fitted.summary["classes"] == result["classes"] == 3
    assert fitted.summary["c"] == result["c"]
    share = float((predicted.argmax(dim=1) == truth).double().mean())
    assert share == pytest.approx(result["test"]["accuracy"])
    assert share > 0.4


def test_script_writes_the_probes_and_prints_them(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"run={run_dir}", "probe=true", "features=vision,audio"]) == 0
    printed = capsys.readouterr().out
    result = json.loads((run_dir / "probe.json").read_text())
    assert list(result["probes"]) == ["vision", "audio"]
    for probe in result["probes"].values():
        assert f"{probe['test']['balanced_accuracy']:.4f}" in printed
        assert f"{probe['ridge']['test']['mae']:.4f}" in printed
    assert str(run_dir / "probe.json") in printed
    arguments = ["probe=true", "features=raw", "classes=3", "standardize=true", f"out={run_dir.parent / 'out'}"]
    assert main([f"run={run_dir}", *arguments]) == 0
    raw = json.loads((run_dir.parent / "out" / "probe_raw_3_standardized.json").read_text())
    assert raw["features"] == "raw"
    assert raw["probes"]["joint"]["classes"] == 3
    assert raw["probes"]["joint"]["size"] == 16 + 6 + 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["target=smell"], "target=smell: {store} has multimodal, text, audio, vision, loud, share, same"),
        (["target=same"], "split 'train': all 320 clips are of class 0 (same as it is); a probe needs two classes"),
        (["target=loud", "classes=7"], "classes=7: is for one score, and 'loud' is 3 classes"),
        (["classes=4"], "classes=4: objective.classes: no 4 classes of labels in (-3.0, 3.0)"),
        (["classes=both"], "classes=both: expected sign, objective, or a number of classes"),
        (["classes=objective"], "classes=objective: the run's objective, L1, has no classes"),
        (
            ["features=smell,joint"],
            "features: ['smell'] are not among the vectors ['joint', 'text', 'audio', 'vision']",
        ),
        (["features=raw,joint"], "features=raw,joint: raw stands alone"),
        (["splits=test"], "splits= does not go with probe=true"),
        (["standardize=yes"], "standardize=yes: expected true or false"),
        (["probe=false", "target=loud"], "target= belongs to probes; add probe=true"),
    ],
)
def test_mistakes_are_told_in_one_line_and_nothing_is_written(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    store = written(tmp_path / "store.h5")
    asked = arguments if arguments[0].startswith("probe") else ["probe=true", *arguments]
    assert main([f"run={run_dir}", f"store={store}", f"out={tmp_path / 'out'}", *asked]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message.format(store=store) in line
    assert not (tmp_path / "out").exists()


def test_a_damaged_file_of_probes_is_named_before_minutes_of_probing(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_module, "probe_run", lambda *_, **__: pytest.fail("it began to probe"))
    (tmp_path / "probe.json").write_text('{"probes": {')
    assert main([f"run={run_dir}", "probe=true", f"out={tmp_path}"]) == 2
    assert f"{tmp_path / 'probe.json'}: cannot be read" in capsys.readouterr().err
