"""A finished run in a notebook: predictions, metrics and vectors of a store's splits and of arrays of one's own."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import trivium
from driver import ROOT, here
from trivium.data.clips import Clips

MODALITIES = ["text", "audio", "vision"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> trivium.Run:
    """Z-scored, with classes, and more batches than one in a split."""
    folder = tmp_path_factory.mktemp("own")
    here(
        folder, "method=supervised", "objective=cross_entropy", "encoder.hidden=8", "data.standardize.default=zscore",
        "data.eval_batch_size=24", "trainer.max_epochs=2", f"run.dir={folder / 'run'}", "trainer.progress=off",
    )  # fmt: skip
    return trivium.load_run(folder / "run")


@pytest.fixture(scope="module")
def clips(run: trivium.Run) -> Clips:
    return run.data()[0].split("test")


def arrays(clips: Clips) -> dict[str, list[np.ndarray]]:
    return {name: [ragged[n] for n in range(len(ragged))] for name, ragged in clips.streams.items()}


def frame_of(clips: Clips) -> pd.DataFrame:
    frame = pd.DataFrame(arrays(clips))
    frame["id"], frame["target"], frame["speaker"] = clips.ids, clips.targets["multimodal"], "A"
    return frame


def test_predictions_of_a_split_are_predictions_csv(run: trivium.Run) -> None:
    recorded = pd.read_csv(run.path / "predictions.csv")
    recorded = recorded[recorded["split"] == "test"].reset_index(drop=True)
    pd.testing.assert_frame_equal(run.predict("test").to_frame(), recorded, rtol=1e-6)
    assert list(recorded)[:4] == ["split", "id", "target", "prediction"]
    assert "p6" in recorded


def test_arrays_and_frames_of_one_s_own_are_predicted_as_the_split_is_to_the_bit(
    run: trivium.Run, clips: Clips
) -> None:
    expected = run.predict("test")
    own = [
        run.predict(arrays(clips), ids=clips.ids, targets=clips.targets["multimodal"]),
        run.predict(frame_of(clips)),
        run.predict(
            {name: [torch.from_numpy(a.copy()).double() for a in cells] for name, cells in arrays(clips).items()}
        ),
    ]
    for predictions in own:
        assert torch.equal(predictions.score, expected.score)
        assert predictions.probabilities is not None
        assert expected.probabilities is not None
        assert torch.equal(predictions.probabilities, expected.probabilities)
    for labelled in own[:2]:
        assert labelled.ids == expected.ids == clips.ids
        assert labelled.targets is not None
        assert labelled.targets.tolist() == clips.targets["multimodal"].tolist()
        assert torch.equal(labelled.loss, expected.loss)
    assert run.evaluate(frame_of(clips)) == run.evaluate("test")
    unlabelled = own[2].to_frame()
    assert own[2].losses == {}
    assert unlabelled["target"].isna().all()
    assert unlabelled["id"].tolist() == list(range(len(clips)))
    assert repr(own[0]) == f"Predictions({len(clips)} labelled clips, 7 classes)"


def test_any_subset_of_modalities_and_absent_ones_are_as_if_the_store_lacked_them(
    run: trivium.Run, clips: Clips
) -> None:
    some = {name: cells for name, cells in arrays(clips).items() if name != "vision"}
    expected = run.predict("test", modalities=["text", "audio"]).score
    torch.testing.assert_close(run.predict(some).score, expected)
    frame = frame_of(clips)
    frame["vision"] = None
    torch.testing.assert_close(run.predict(frame).score, expected)
    torch.testing.assert_close(run.predict(frame, modalities=["text"]).score, run.predict(modalities=["text"]).score)
    mixed = arrays(clips)
    mixed["audio"][0], mixed["audio"][1], mixed["vision"][2] = None, np.nan, np.zeros((0, 8))  # type: ignore[call-overload]
    lacking = run.predict(mixed).score
    assert torch.equal(lacking[3:], run.predict(arrays(clips)).score[3:])
    one = run.predict({"text": mixed["text"][:1], "vision": mixed["vision"][:1]}).score
    torch.testing.assert_close(lacking[:1], one)


def test_vectors_are_those_of_the_split(run: trivium.Run, clips: Clips) -> None:
    expected, own = run.vectors("test"), run.vectors(arrays(clips))
    assert list(own) == ["joint", *MODALITIES]
    assert all(torch.equal(own[name], expected[name]) for name in own)
    assert own["text"].shape[0] == len(clips)
    less = run.vectors(frame_of(clips), modalities=["text"])
    assert torch.equal(less["text"], own["text"])
    assert not less["audio"].any()


def test_a_frame_s_columns_may_be_named_and_its_index_is_the_ids(run: trivium.Run, clips: Clips) -> None:
    frame = frame_of(clips).rename(columns={"target": "score", "id": "clip"})
    predictions = run.predict(frame.set_index("clip"), targets="score")
    assert predictions.ids == clips.ids
    assert run.predict(frame, ids="clip").ids == clips.ids
    assert predictions.targets is not None
    assert run.predict(frame, ids="clip").targets is None


def test_the_run_says_what_it_is_in_a_line(run: trivium.Run) -> None:
    told = re.escape(f"epoch {run.result['best_epoch']} of 2, test MAE {run.result['test']['mae']:.3f}, '{run.path}')")
    assert re.fullmatch(rf"Run\(supervised on \S+, seed 1, {told}", repr(run))


def test_without_its_store_a_run_predicts_clips_of_one_s_own(run: trivium.Run, clips: Clips, tmp_path: Path) -> None:
    own = arrays(clips)
    expected = run.predict(own).score
    assert run.store.is_file()
    run.store.rename(tmp_path / "away.h5")
    try:
        assert torch.equal(trivium.load_run(run.path).predict(own).score, expected)
    finally:
        (tmp_path / "away.h5").rename(run.store)


def wrong(**changes: Any) -> Any:
    return lambda own: {**own, **{name: change(own) for name, change in changes.items()}}


@pytest.mark.parametrize(
    ("change", "keys", "told"),
    [
        (wrong(audio=lambda own: [a[:, :5] for a in own["audio"]]), {}, r"'audio' of clip 0: expected .* \(T, 6\)"),
        (wrong(audio=lambda own: [a[:, 0] for a in own["audio"]]), {}, r"an array \(T, 6\), found float32 of shape"),
        (wrong(txet=lambda own: own["text"]), {}, "'txet' is no modality of this run; .*; nearest is text"),
        (wrong(audio=lambda own: own["audio"][1:]), {}, r"text (\d+), audio (\d+), .* as many arrays of each"),
        (wrong(), {"ids": ["a"]}, "ids 1; expected at least one modality, and as many arrays"),
        (wrong(), {"targets": [0.0]}, "targets 1; expected"),
        (lambda own: {}, {}, "clips: nothing; expected at least one modality"),
        (lambda own: {"text": own["text"][:1]}, {"targets": [7.0]}, r"clip 0 is 7; expected a number in \[-3, 3\]"),
        (lambda own: {"text": own["text"][:1]}, {"targets": [np.nan]}, "that of clip 0 is nan"),
        (lambda own: {"text": [own["text"][0] * np.inf]}, {}, "'text' of clip 0 has a value that is not finite"),
        (lambda own: {"text": [own["text"][0], None]}, {}, "clip 1 has none of the modalities"),
        (lambda own: own, {"store": "x.h5"}, "store goes with the name of a split"),
        (lambda own: "test", {"ids": ["a"]}, "ids and targets belong to clips of your own"),
        (lambda own: own["text"], {}, "expected a split's name, a dict of modality -> arrays, or a pandas frame"),
        (lambda own: pd.DataFrame({"text": own["text"], "txet": own["text"]}), {}, "'txet' is no modality"),
        (lambda own: pd.DataFrame({"text": own["text"]}), {"ids": "clip"}, "ids='clip': no such column; .* text"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_in_one_value_error(
    run: trivium.Run, clips: Clips, change: Any, keys: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        run.predict(change(arrays(clips)), **keys)


def test_clips_of_one_s_own_without_targets_are_not_evaluated(run: trivium.Run, clips: Clips) -> None:
    with pytest.raises(ValueError, match="targets are missing"):
        run.evaluate(arrays(clips))


def test_the_python_of_running_md_runs(run: trivium.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "running.md").read_text()
    (block,) = [b for b in re.findall(r"^```python\n(.*?)^```", page, flags=re.M | re.S) if "load_run" in b]
    (tmp_path / "outputs" / "runs").mkdir(parents=True)
    (tmp_path / "outputs" / "runs" / "first").symlink_to(run.path)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(block, names)
    assert list(names["frame"])[:4] == ["split", "id", "target", "prediction"]
