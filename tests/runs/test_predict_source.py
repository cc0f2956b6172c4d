"""`trivium evaluate run= source= out=`: files that were never prepared are predicted as the run's own store is."""

from __future__ import annotations

import csv
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import trivium
from clip_folder import write_folder
from driver import here
from refusal import refusal
from trivium.cli.evaluate import main
from trivium.cli.prepare import main as prepare

COUNTS = {"train": 40, "valid": 12, "test": 15}
DIMS = {"text": 5, "audio": 3, "gaze": 2}
NAMES = ("calm", "glad", "cross")
Content = dict[str, dict[str, Any]]


def make_content(classes: bool = False) -> Content:
    """MMSA's layout, with a modality of another name, and audio that has to be repaired."""
    rng = np.random.default_rng(7)
    content: Content = {}
    for split, count in COUNTS.items():
        part: dict[str, Any] = {"id": [f"{split}{n}" for n in range(count)]}
        for modality, dim in DIMS.items():
            values = 3 + 2 * rng.normal(size=(count, 6, dim)).astype(np.float32)
            for n, clip in enumerate(values):
                clip[1 + (n + dim) % 6 :] = 0
            part[modality] = values
        part["audio"][1, 0, 0] = -np.inf
        part["gaze"][2] = 0  # this clip lacks it
        score = part["text"][:, 0, 0]
        if classes:
            part["annotations"] = [NAMES[n % 3] for n in range(count)]
        else:
            part["regression_labels"] = np.clip(score - 3, -3, 3)
        content[split] = part
    return content


def dump(path: Path, content: object) -> Path:
    path.write_bytes(pickle.dumps(content, protocol=4))
    return path


def train(folder: Path, content: Content, *overrides: str) -> Path:
    source = dump(folder / "source.pkl", content)
    assert prepare(["data=custom", f"source={source}", f"paths.data={folder / 'data'}"]) == 0
    here(
        folder, "method=supervised", "data=custom", "encoder.hidden=8", "data.eval_batch_size=7",
        "trainer.max_epochs=2", f"run.dir={folder / 'run'}", "trainer.progress=off", *overrides,
    )  # fmt: skip
    return folder / "run"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("scores"), make_content())


@pytest.fixture(scope="module")
def class_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("classes"), make_content(classes=True))


def rows(path: Path) -> dict[str, dict[str, str]]:
    with path.open() as file:
        return {row["id"]: row for row in csv.DictReader(file)}


def predict(run: Path, source: Path, out: Path, *more: str) -> dict[str, dict[str, str]]:
    assert main([f"run={run}", f"source={source}", f"out={out}", *more]) == 0
    return rows(out)


def recorded(run: Path) -> dict[str, dict[str, str]]:
    return rows(run / "predictions.csv")


@pytest.mark.parametrize("kind", ["pickle", "store"])
def test_the_runs_own_clips_get_the_same_predictions_bit_for_bit(
    run: Path, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = run.parent / "source.pkl" if kind == "pickle" else run.parent / "data" / "custom" / "source.h5"
    found = predict(run, source, tmp_path / "new" / "out.csv", "splits=valid,test")
    assert list(found) == list(recorded(run))
    assert found == recorded(run)
    printed = capsys.readouterr().out
    assert "MAE" in printed
    assert "valid 12, test 15 clips written to" in printed
    assert ("repaired in audio: 3 -inf, now 0" in printed) == (kind == "pickle")
    assert list(predict(run, source, tmp_path / "all.csv")) == [f"{s}{n}" for s, c in COUNTS.items() for n in range(c)]


def test_the_same_for_classes_whose_names_are_numbered_otherwise(class_run: Path, tmp_path: Path) -> None:
    content = make_content(classes=True)
    for part in content.values():  # numbers in another order than that of the names, which the run has
        order = {"cross": 0, "calm": 1, "glad": 2}
        part["classification_labels"] = [order[name] for name in part["annotations"]]
    found = predict(class_run, dump(tmp_path / "new.pkl", content), tmp_path / "out.csv", "splits=valid,test")
    assert found == recorded(class_run)
    assert {"p_calm", "p_glad", "p_cross"} < set(next(iter(found.values())))


def unlabelled(content: Content, splits: tuple[str, ...] = ("test",)) -> Content:
    labels = ("regression_labels", "annotations")
    return {split: {k: v for k, v in content[split].items() if k not in labels} for split in splits}


@pytest.mark.parametrize("classes", [False, True])
def test_without_labels_and_without_a_train_split(
    run: Path, class_run: Path, classes: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = class_run if classes else run
    source = dump(tmp_path / "new.pkl", unlabelled(make_content(classes)))
    found = predict(trained, source, tmp_path / "out.csv")
    expected = {clip: row for clip, row in recorded(trained).items() if row["split"] == "test"}
    assert list(found) == list(expected)
    for clip, row in found.items():
        assert row["target"] == "nan"
        assert {**row, "target": ""} == {**expected[clip], "target": ""}
    printed = capsys.readouterr().out
    assert "there are no metrics" in printed
    assert "repaired in audio: 1 -inf, now 0" in printed


def test_any_subset_of_the_modalities(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = unlabelled(make_content())
    only_text = {"test": {"id": content["test"]["id"], "text": content["test"]["text"]}}
    found = predict(run, dump(tmp_path / "new.pkl", only_text), tmp_path / "out.csv")
    assert "from text\n" in capsys.readouterr().out
    expected = trivium.load_run(run).predict("test", modalities=["text"]).score.tolist()
    assert [float(row["prediction"]) for row in found.values()] == pytest.approx(expected, abs=1e-6)
    chosen = predict(run, run.parent / "source.pkl", tmp_path / "b.csv", "modalities=text", "splits=test")
    assert [float(row["prediction"]) for row in chosen.values()] == expected


def test_a_modality_that_the_run_does_not_read_but_its_data_had_is_left_alone(tmp_path: Path) -> None:
    trained = train(tmp_path, make_content(), "data.modalities=[text,audio]")
    assert predict(trained, tmp_path / "source.pkl", tmp_path / "out.csv", "splits=valid,test") == recorded(trained)


def test_a_run_of_one_of_several_targets_finds_it_and_others_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = make_content()
    for part in content.values():
        part["emotions"] = np.resize(np.eye(6), (len(part["id"]), 6))
    trained = train(tmp_path, content, "data.target=emotions", "data.metrics=emotions")
    assert predict(trained, tmp_path / "source.pkl", tmp_path / "out.csv", "splits=valid,test") == recorded(trained)
    predict(trained, dump(tmp_path / "scores.pkl", make_content()), tmp_path / "out.csv")
    assert "none of 'emotions' (of other targets: multimodal), so there are no metrics" in capsys.readouterr().out


def change(key: str, value: Callable[[Any], Any], split: str = "test") -> Callable[[Content], object]:
    return lambda content: content[split].update({key: value(content[split].get(key))})


BROKEN: dict[str, tuple[Callable[[Content], object], str]] = {
    "dim": (
        lambda c: [p.update(audio=np.ones((len(p["id"]), 6, 4))) for p in c.values()],
        "split 'train': 'audio' has 4 features a step, the run was trained on 3",
    ),
    "unknown": (
        lambda c: [p.update(gase=p.pop("gaze")) for p in c.values()],
        "'gase' is no modality of this run, which was trained on text, audio, gaze; nearest is gaze; leave it out with "
        "drop=[gase]",
    ),
    "nan": (change("regression_labels", lambda v: v * np.nan), "'regression_labels' of clip 'test0' is nan"),
    "twice": (change("id", lambda v: ["a"] * 15), "id 'a' of split 'test' occurs before"),
    "left": (change("speaker", lambda _: ["x"] * 15), "say drop=[speaker]"),
    "nothing": (
        lambda c: [[p.pop(name) for name in DIMS] for p in c.values()],
        "has none of the run's modalities text, audio, gaze; found no features",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_source_that_does_not_fit_is_named_and_an_older_file_stays(
    run: Path, case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = make_content()
    breaks, message = BROKEN[case]
    breaks(content)
    source, out = dump(tmp_path / "new.pkl", content), tmp_path / "out.csv"
    out.write_text("older")
    line = refusal(main, [f"run={run}", f"source={source}", f"out={out}"], tmp_path, capsys)
    assert line.startswith(f"error: {source}")
    assert message in line
    assert out.read_text() == "older"


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (False, "target 'multimodal' is 3 classes, the run predicts a score; leave the labels out"),
        (True, "target 'multimodal' is a score, the run predicts 3 classes; leave the labels out"),
    ],
)
def test_labels_of_another_kind_are_refused(
    run: Path, class_run: Path, classes: bool, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = dump(tmp_path / "new.pkl", make_content(not classes))
    trained = class_run if classes else run
    assert message in refusal(main, [f"run={trained}", f"source={source}", f"out={tmp_path / 'o'}"], tmp_path, capsys)


def test_a_class_that_the_run_does_not_know_is_named(
    class_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = make_content(classes=True)
    content["test"]["annotations"][3] = "sad"
    arguments = [f"run={class_run}", f"source={dump(tmp_path / 'a.pkl', content)}", f"out={tmp_path / 'o'}"]
    line = refusal(main, arguments, tmp_path, capsys)
    assert "has calm, cross, glad, sad, the run predicts calm, cross, glad; give them the same names" in line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["source=SOURCE"], "out= is missing"),
        (["source=SOURCE", "out=FOLDER"], "is a folder; out= takes the CSV file"),
        (["source=SOURCE", "out=o.csv", "splits=dev"], "no split 'dev'; it has train, valid, test"),
        (["source=SOURCE", "out=o.csv", "store=a.h5"], "store= and source= are two ways"),
        (["source=SOURCE", "out=o.csv", "probe=true"], "are calls of their own"),
        (["source=nowhere.pkl", "out=o.csv"], "nowhere.pkl: no such file"),
        (["source=nowhere.h5", "out=o.csv"], "nowhere.h5: no such store"),
        (["source=SOURCE", "out=o.csv", "folds=a.json"], "folds= is for .csd files"),
        (["source=SOURCE", "out=o.csv", "modalities=smell"], "smell"),
        (["drop=[a]"], "drop= belongs to source=; add it"),
    ],
)
def test_wrong_words_are_named(
    run: Path, words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replaced = [word.replace("SOURCE", str(run.parent / "source.pkl")) for word in words]
    replaced = [word.replace("FOLDER", str(tmp_path)).replace("=o.csv", f"={tmp_path / 'o.csv'}") for word in replaced]
    assert message in refusal(main, [f"run={run}", *replaced], tmp_path, capsys)


@pytest.fixture(scope="module")
def folder_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("folder")
    write_folder(folder / "clips", {"train": 24, "valid": 6, "test": 9})
    words = ["data=custom", "data.name=clips", f"source={folder / 'clips'}", f"paths.data={folder / 'data'}"]
    assert prepare(words) == 0
    here(
        folder, "method=supervised", "data=custom", "data.name=clips", "data.target=emotion", "encoder.hidden=8",
        "trainer.max_epochs=2", f"run.dir={folder / 'run'}", "trainer.progress=off",
    )  # fmt: skip
    return folder / "run"


def test_a_folder_with_its_table_is_predicted_as_the_store_that_was_made_of_it(
    folder_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = folder_run.parent / "clips"
    found = predict(folder_run, clips, tmp_path / "out.csv", "splits=valid,test")
    assert found == recorded(folder_run)
    assert "Balanced acc" in capsys.readouterr().out


def of_test(folder: Path, table: str | None) -> Path:
    """A folder with the test clips alone, as `write_folder` makes them."""
    write_folder(folder, {"train": 24, "valid": 6, "test": 9})
    for path in folder.rglob("*.npy"):
        if not path.name.startswith("test_"):
            path.unlink()
    (folder / "labels.csv").unlink()
    if table is not None:
        (folder / "labels.csv").write_text(table)
    return folder


IDS = [f"test_{n}" for n in range(9)]


@pytest.mark.parametrize("table", [None, "\n".join(["id", *IDS]), "\n".join(["id,speaker", *(f"{i},7" for i in IDS)])])
def test_a_folder_without_labels_is_predicted_bit_for_bit(folder_run: Path, table: str | None, tmp_path: Path) -> None:
    found = predict(folder_run, of_test(tmp_path / "new", table), tmp_path / "out.csv")
    expected = {clip: row for clip, row in recorded(folder_run).items() if row["split"] == "test"}
    assert found == {clip: {**row, "split": "new", "target": "nan"} for clip, row in expected.items()}


def test_a_folder_of_something_else_is_left_out_by_drop(
    folder_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = of_test(tmp_path / "new", None)
    (new / "face").mkdir()
    for clip in IDS:
        np.save(new / "face" / f"{clip}.npy", np.ones((2, 3)))
    words = [f"run={folder_run}", f"source={new}", f"out={tmp_path / 'o.csv'}"]
    assert "leave it out with drop=[face]" in refusal(main, words, tmp_path, capsys)
    assert "drop: no modality or column 'fase'; nearest is face" in refusal(
        main, [*words, "drop=[fase]"], tmp_path, capsys
    )
    assert len(predict(folder_run, new, tmp_path / "out.csv", "drop=[face]")) == len(IDS)


def test_labels_of_a_new_folder_are_those_classes_of_the_run_that_occur(
    folder_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    happy = "\n".join(["id,emotion", *(f"{clip},happy" for clip in IDS)])
    found = predict(folder_run, of_test(tmp_path / "new", happy), tmp_path / "out.csv")
    assert {row["target"] for row in found.values()} == {"happy"}
    assert "Balanced acc" in capsys.readouterr().out
    (tmp_path / "new" / "labels.csv").write_text(happy.replace("test_3,happy", "test_3,hapy"))
    words = [f"run={folder_run}", f"source={tmp_path / 'new'}", f"out={tmp_path / 'b.csv'}"]
    assert "clip 'test_3' has 'hapy'; expected one of angry, calm, happy" in refusal(main, words, tmp_path, capsys)


def test_a_clip_may_lack_a_modality_in_a_folder_without_a_table(
    folder_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = of_test(tmp_path / "new", None)
    (folder / "wrist" / "test_4.npy").unlink()
    found = predict(folder_run, folder, tmp_path / "out.csv")
    assert list(found) == IDS
    for path in (folder / "wrist").iterdir():
        path.unlink()
    speech = predict(folder_run, folder, tmp_path / "out.csv")
    assert float(speech["test_4"]["p_calm"]) == pytest.approx(float(found["test_4"]["p_calm"]), abs=1e-6)
    for path in (folder / "speech").iterdir():
        path.unlink()
    words = [f"run={folder_run}", f"source={folder}", f"out={tmp_path / 'b.csv'}"]
    assert "new: has neither labels.csv nor files of features" in refusal(main, words, tmp_path, capsys)


def test_a_modality_of_the_manifest_that_no_new_clip_has_may_be_absent(
    folder_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = of_test(tmp_path / "new", "\n".join(["id", *IDS]))
    for path in (folder / "wrist").iterdir():
        path.unlink()
    speech = predict(folder_run, folder, tmp_path / "a.csv")  # the folder's modalities are those that have files
    (folder / "manifest.yaml").write_text("modalities: {speech: 'speech/{id}.npy', wrist: 'wrist/{id}.npy'}\n")
    words = [f"run={folder_run}", f"source={folder}", f"out={tmp_path / 'b.csv'}"]
    assert "say absent=wrist if clips may lack wrist" in refusal(main, words, tmp_path, capsys)
    assert predict(folder_run, folder, tmp_path / "b.csv", "absent=wrist") == speech
