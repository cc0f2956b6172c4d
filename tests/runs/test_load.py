"""A finished run as a model, for Python and for scripts/evaluate.py: the same numbers, without Hydra."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import trivium
from driver import ROOT, here
from trivium.cli.evaluate import main
from trivium.data.clips import Clips, Ragged, Source
from trivium.data.store import open_store, write_store
from trivium.data.synthetic import make_fixture


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("load")
    here(folder, "method=selfmi", "encoder.hidden=8", f"run.dir={folder / 'run'}", "trainer.progress=off")
    return folder / "run"


def predictions(path: Path, split: str = "test") -> dict[str, float]:
    with path.open() as file:
        return {row["id"]: float(row["prediction"]) for row in csv.DictReader(file) if row["split"] == split}


def own_store(run_dir: Path) -> Path:
    return run_dir.parent / "data" / "fixture" / "fixture.h5"


def changed_store(path: Path, change: Any) -> Path:
    """The fixture with each split's clips changed."""
    source = make_fixture()
    splits = {name: change(clips) for name, clips in source.splits.items()}
    changed = Source(splits, "synthetic", [], tokenizer="synthetic", notes={})
    write_store(path, changed, data="other", feature_set="other/changed", label_range=(-3.0, 3.0))
    return path


def with_stream(clips: Clips, **streams: Ragged) -> Clips:
    return Clips(clips.ids, {**clips.streams, **streams}, clips.targets, clips.raw_text, clips.tokens)


CODE = """
import sys, trivium, numpy
run = trivium.load_run(sys.argv[1])
print(*run.predict().score.tolist())
print(run.evaluate("valid")["mae"], run.result["val"]["mae"])
print([name for name in sys.modules if name.partition(".")[0] in ("hydra", "antlr4", "lightning", "torchmetrics")])
"""


def test_load_run_predicts_the_same_without_hydra_or_lightning_and_from_anywhere(run_dir: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(run_dir)],
        capture_output=True, text=True, timeout=120, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    scores, maes, modules = done.stdout.splitlines()
    np.testing.assert_allclose(
        [float(score) for score in scores.split()], list(predictions(run_dir / "predictions.csv").values()), atol=1e-6
    )
    evaluated, recorded = map(float, maes.split())
    assert evaluated == pytest.approx(recorded, abs=1e-6)
    assert modules == "[]"
    assert not any(tmp_path.iterdir())


def test_a_run_recorded_with_relative_paths_loads_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    monkeypatch.chdir(tmp_path / "first")
    result = here(
        tmp_path, "encoder=identity", "paths.data=data", "paths.outputs=out", "run.dir=run", "trainer.progress=off"
    )
    monkeypatch.chdir(tmp_path / "second")
    run = trivium.load_run(tmp_path / "first" / "run")
    assert run.evaluate("test")["mae"] == pytest.approx(result["test"]["mae"], abs=1e-6)
    assert not any((tmp_path / "second").iterdir())  # no second fixture


def test_predicts_from_any_subset(run_dir: Path) -> None:
    run = trivium.load_run(run_dir)
    whole = run.evaluate()["mae"]
    assert whole == pytest.approx(run.result["test"]["mae"], abs=1e-6)
    assert run.evaluate(modalities=["vision", "text", "audio"])["mae"] == whole
    less = {names: run.evaluate(modalities=names)["mae"] for names in (("text", "audio"), ("text",), ("audio",))}
    assert min(less.values()) > whole
    assert len({*less.values()}) == 3
    with pytest.raises(ValueError, match=r"\['smell'\] are not among \['text', 'audio', 'vision'\]"):
        run.predict(modalities=["smell"])


def test_predicts_another_store_standardised_as_in_training(run_dir: Path, tmp_path: Path) -> None:
    """The other store's train statistics are of other data: the model still sees a clip as it did in training."""

    def scaled_train(clips: Clips) -> Clips:
        if not clips.ids[0].startswith("train"):
            return clips
        audio = clips.streams["audio"]
        return with_stream(clips, audio=Ragged(audio.values * 7 + 3, audio.offsets))

    other = changed_store(tmp_path / "other.h5", scaled_train)
    run = trivium.load_run(run_dir)
    expected = list(predictions(run_dir / "predictions.csv").values())
    np.testing.assert_allclose(run.predict(store=other).score.numpy(), expected, atol=1e-6)


def test_evaluate_writes_metrics_and_predictions(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"run={run_dir}"]) == 0
    out = run_dir / "evaluation"
    metrics, result = json.loads((out / "metrics.json").read_text()), json.loads((run_dir / "result.json").read_text())
    assert metrics["test"] == pytest.approx(result["test"], abs=1e-6)
    assert metrics["valid"] == pytest.approx(result["val"], abs=1e-6)
    assert predictions(out / "predictions.csv") == pytest.approx(predictions(run_dir / "predictions.csv"), abs=1e-6)
    printed = capsys.readouterr().out
    assert f"{result['test']['mae']:.4f}" in printed
    assert str(out) in printed


def test_evaluate_with_another_store_and_fewer_modalities(run_dir: Path, tmp_path: Path) -> None:
    store = changed_store(tmp_path / "half.h5", every_second)
    arguments = [
        f"run={run_dir}",
        f"store={store}",
        "modalities=text,audio",
        f"out={tmp_path / 'a=b,c'}",
        "splits=test",
    ]
    assert main(arguments) == 0
    metrics = json.loads((tmp_path / "a=b,c" / "metrics.json").read_text())
    assert metrics["modalities"] == ["text", "audio"]
    assert metrics["feature_set"] == "other/changed"
    assert "valid" not in metrics
    run = trivium.load_run(run_dir)
    expected = run.predict(modalities=["text", "audio"]).score.tolist()
    ids = open_store(own_store(run_dir)).split("test").ids
    own = predictions(tmp_path / "a=b,c" / "predictions.csv")
    assert own == pytest.approx(dict(zip(ids[::2], expected[::2], strict=True)), abs=1e-6)


def every_second(clips: Clips) -> Clips:
    rows = range(0, len(clips), 2)
    return Clips(
        [clips.ids[n] for n in rows],
        {name: Ragged.pack([ragged[n] for n in rows]) for name, ragged in clips.streams.items()},
        {name: scores[::2] for name, scores in clips.targets.items()},
    )


def wide(clips: Clips) -> Clips:
    audio = clips.streams["audio"]
    return with_stream(clips, audio=Ragged(np.repeat(audio.values, 2, axis=1), audio.offsets))


def without_audio(clips: Clips) -> Clips:
    streams = {name: ragged for name, ragged in clips.streams.items() if name != "audio"}
    return Clips(clips.ids, streams, clips.targets, clips.raw_text, clips.tokens)


def first_clip_silent(clips: Clips) -> Clips:
    audio = clips.streams["audio"]
    first = int(audio.offsets[1])
    return with_stream(clips, audio=Ragged(audio.values[first:], np.maximum(audio.offsets - first, 0)))


@pytest.mark.parametrize(
    ("change", "arguments", "told"),
    [
        (None, ["run={tmp}/nowhere"], "nowhere: no run here (no config.yaml)"),
        (None, ["run={unfinished}"], "not finished (no result.json); start it again with resume=auto"),
        (None, ["run={run}", "modalities=text,smell"], "['smell'] are not among ['text', 'audio', 'vision']"),
        (None, ["run={run}", "splits=tset"], "no split 'tset'; it has ['train', 'valid', 'test']"),
        (None, ["run={run}", "store={tmp}/none.h5"], "none.h5"),
        (None, ["run={run}", "stroe=x"], "unknown argument 'stroe=x'; nearest is store"),
        (None, ["store=x"], "run= is missing"),
        (None, ["run={run}", "device=cdua"], "device=cdua"),
        (wide, ["run={run}", "store={store}"], "changed.h5: 'audio' has 12 features, the run was trained on 6"),
        (without_audio, ["run={run}", "store={store}"], "changed.h5: "),
        (first_clip_silent, ["run={run}", "store={store}", "modalities=audio"], "clip 'valid000$_$1' has none of"),
    ],
)  # fmt: skip
def test_mistakes_are_told_in_one_line(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Any, arguments: list[str], told: str
) -> None:
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    (unfinished / "config.yaml").write_bytes((run_dir / "config.yaml").read_bytes())
    store = changed_store(tmp_path / "changed.h5", change) if change else ""
    names = {"run": run_dir, "tmp": tmp_path, "unfinished": unfinished, "store": store}
    before = set(tmp_path.rglob("*"))
    assert main([argument.format(**names) for argument in [*arguments, "out={tmp}/out"]]) == 2
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert line.startswith("error: ")
    assert told in line
    assert set(tmp_path.rglob("*")) == before  # nothing half-written
