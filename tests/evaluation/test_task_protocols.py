"""Runs on classes, labels and several scores: protocols, Shapley values, own metrics, frame, page and table.

One short run of each kind serves all tests.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, mean_absolute_error, recall_score

import trivium
from driver import here
from trivium.cli.evaluate import main as evaluate
from trivium.evaluation.missing_modalities import Subject, clip_shares, metric_shares, score_rates, score_subsets
from trivium.evaluation.predict import metrics_of
from trivium.evaluation.subsets import predict_subsets
from trivium.report.album import Album
from trivium.report.embedding import colours_of
from trivium.report.page.clip_data import clip_data
from trivium.report.prediction_figures import draw_predictions
from trivium.report.task_figures import average_precision, class_counts, f1, reliability
from trivium.results.records import read_record
from trivium.results.run_list import run_list
from trivium.runs.load import load_run
from trivium.tables.runs_table import runs_table

QUICK = ("trainer.max_epochs=3", "trainer.progress=off", "encoder=identity", "optimizer.lr=0.02")
KINDS = {"classes": "acc", "labels": "f1_micro", "traits": "mae"}
# A metric of one's own: of classes and labels, the probability of what is true, and elsewhere the error.
OWN = '''"""Metrics of one's own."""

import numpy as np


def sureness(predictions, targets, probabilities):
    if probabilities is None:
        return -np.abs(predictions - targets).mean()
    if targets.ndim == 1:
        return probabilities[np.arange(len(targets)), targets.astype(int)].mean()
    return 1 - np.abs(probabilities - targets).mean()


def spread(predictions, targets):
    return predictions.std() * (predictions.shape == targets.shape)
'''
METRIC = "+metrics.{0}={{_target_:own_metrics.{0},label:{0},better:higher}}"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """Kind -> the directory of its run."""
    folder = tmp_path_factory.mktemp("tasks")
    (folder / "own_metrics.py").write_text(OWN)
    own = [METRIC.format(name) for name in ("sureness", "spread")]
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setenv("TRIVIUM_TRUST", "own_metrics")
        for kind in KINDS:
            here(folder, f"data=fixture_{kind}", *QUICK, *own, f"run.dir={folder / kind}")
        yield {kind: folder / kind for kind in KINDS}


@pytest.fixture(params=KINDS)
def run(request: pytest.FixtureRequest, runs: dict[str, Path]) -> Path:
    return runs[request.param]


def result_of(run: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((run / "result.json").read_text())
    return result


def lines_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as text:
        return list(csv.DictReader(text))


def test_shares_of_clips_and_metrics_sum_to_all_modalities_minus_the_train_split(run: Path) -> None:
    loaded = load_run(run, trust=["own_metrics"])
    subject = Subject.open(loaded.method, loaded.data()[1], "test")
    predictions = predict_subsets(loaded.method, subject.loader)
    train = subject.data.clips("train").targets["multimodal"]
    names, kind = subject.data.target.names, run.name
    frame = predictions.whole.to_frame()
    truth = subject.targets.numpy()
    rows = clip_shares(subject, predictions)
    assert len(rows) == len(truth) * (1 if kind == "classes" else len(names))
    for place in (0, 1, len(rows) // 2, len(rows) - 1):
        row, clip = rows[place], place if kind == "classes" else place // len(names)
        shares = sum(row[name] for name in subject.modalities)
        if kind == "classes":
            true = names[int(truth[clip])]
            assert (row["target"], row["prediction"]) == (true, frame["prediction"][clip])
            whole, empty = frame[f"p_{true}"][clip], (train == truth[clip]).mean()
        else:
            name = row["label" if kind == "labels" else "score"]
            assert row["prediction"] == frame[f"prediction_{name}"][clip]
            whole = frame[f"p_{name}" if kind == "labels" else f"prediction_{name}"][clip]
            empty = train[:, names.index(name)].mean(dtype="float64")
        assert row["id"] == subject.ids[clip]
        assert shares == pytest.approx(whole - empty, abs=1e-6)
        assert row.get("probability", whole) == pytest.approx(whole)
    scores = score_subsets(subject, predictions)
    shares_of = {(row["metric"], row["modality"]): row["value"] for row in metric_shares(subject, scores)}
    whole = metrics_of(loaded.method, predictions.whole, subject.targets)
    assert scores[-1] | whole == scores[-1]
    empty = subject.score_train_mean()
    main = KINDS[kind]
    total = sum(shares_of[main, name] for name in subject.modalities)
    assert total == pytest.approx(whole[main] - empty[main], abs=1e-7)
    (first, *_) = score_rates(subject, predictions, 1)
    assert first[main] == pytest.approx(whole[main])


def test_the_constant_guess_is_that_of_numpy(runs: dict[str, Path]) -> None:
    guesses = {kind: result_of(run)["train_guess"]["test"] for kind, run in runs.items()}
    stores = {kind: load_run(run, trust=["own_metrics"]).data()[1] for kind, run in runs.items()}
    train, test = (
        {kind: np.asarray(data.clips(split).targets["multimodal"]) for kind, data in stores.items()}
        for split in ("train", "test")
    )
    commonest = np.bincount(train["classes"].astype(int)).argmax()
    assert guesses["classes"]["acc"] == pytest.approx((test["classes"] == commonest).mean())
    assert guesses["classes"]["auroc"] == 0.5
    predicted = np.tile(train["labels"].mean(axis=0) >= 0.5, (len(test["labels"]), 1))
    assert guesses["labels"]["f1_micro"] == pytest.approx(f1_score(test["labels"], predicted, average="micro"))
    assert guesses["traits"]["mae"] == pytest.approx(np.abs(test["traits"] - train["traits"].mean(axis=0)).mean())
    frame = trivium.results(runs["classes"])
    line = frame[(frame.split == "test") & (frame.metric == "acc")].iloc[0]
    assert line.train_guess == pytest.approx(guesses["classes"]["acc"])
    assert np.isnan(line.train_mean_mae)


def test_own_metrics_get_probabilities_where_they_ask_for_them(run: Path) -> None:
    clips, result = read_record(run).predictions["test"], result_of(run)["test"]
    if run.name == "traits":
        expected = -mean_absolute_error(clips.target, clips.prediction)
    else:
        assert clips.probabilities is not None
        one_hot = np.eye(4)[clips.target.astype(int)] if run.name == "classes" else clips.target
        right = np.where(one_hot == 1, clips.probabilities, 1 - clips.probabilities)
        expected = clips.probabilities[one_hot == 1].mean() if run.name == "classes" else right.mean()
    assert result["sureness"] == pytest.approx(expected)
    assert result["spread"] == pytest.approx(clips.prediction.std())


def test_a_metric_of_scores_is_refused_for_classes(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"metric=ccc: concordance is for score or scores, and the target is 4 classes"
    ):
        here(tmp_path, "data=fixture_classes", *QUICK, "metric=ccc", f"run.dir={tmp_path / 'run'}")


def test_predictions_are_read_as_they_were_written(runs: dict[str, Path]) -> None:
    records = {kind: read_record(run) for kind, run in runs.items()}
    classes, labels, traits = (records[kind].predictions["test"] for kind in KINDS)
    results = {kind: record.result["test"] for kind, record in records.items()}
    assert accuracy_score(classes.target, classes.prediction) == pytest.approx(results["classes"]["acc"])
    recall = recall_score(classes.target, classes.prediction, average=None, zero_division=0)
    by_name = [results["classes"][f"recall/{name}"] for name in records["classes"].target.names]
    assert by_name == pytest.approx(recall)
    assert labels.probabilities is not None
    assert average_precision_score(labels.target, labels.probabilities) == pytest.approx(results["labels"]["map"])
    each = [results["traits"][f"mae/{name}"] for name in records["traits"].target.names]
    assert np.abs(traits.target - traits.prediction).mean(axis=0) == pytest.approx(each)


def test_a_class_that_is_none_in_predictions_names_the_file(runs: dict[str, Path], tmp_path: Path) -> None:
    for file in ("config.yaml", "run.json", "result.json", "predictions.csv"):
        (tmp_path / file).write_text((runs["classes"] / file).read_text())
    text = (tmp_path / "predictions.csv").read_text()
    (tmp_path / "predictions.csv").write_text(text.replace(",happy,", ",hapy,", 1))
    with pytest.raises(
        ValueError, match=rf"{tmp_path}/predictions.csv: cannot be read: 'hapy' is no class of angry, calm"
    ):
        _ = read_record(tmp_path).predictions


def test_figures_show_what_the_metrics_say(runs: dict[str, Path], tmp_path: Path) -> None:
    drawn = {kind: draw_predictions(Album(tmp_path), read_record(run), kind + "_") for kind, run in runs.items()}
    names = {kind: [picture.name for picture in pictures] for kind, pictures in drawn.items()}
    assert names == {
        "classes": ["classes_confusion", "classes_recall", "classes_reliability"],
        "labels": ["labels_labels"],
        "traits": ["traits_predictions"],
    }
    texts = {picture.name: picture.content.decode() for pictures in drawn.values() for picture in pictures}
    result = {kind: result_of(run) for kind, run in runs.items()}
    assert f"Acc {result['classes']['test']['acc']:.3f}, n = 128" in texts["classes_confusion"]
    assert f"ECE {result['classes']['test']['ece']:.3f}, n = 128" in texts["classes_reliability"]
    for name in ("angry", "calm", "happy", "sad"):
        assert name in texts["classes_confusion"]
        assert f"{result['classes']['test'][f'recall/{name}']:.2f}" in texts["classes_recall"]
    for name in ("music", "sport", "travel"):
        assert f"{result['labels']['test'][f'f1/{name}']:.2f}" in texts["labels_labels"]
    for name in ("openness", "warmth", "energy"):
        assert f"MAE {result['traits']['test'][f'mae/{name}']:.3f}" in texts["traits_predictions"]
    classes = read_record(runs["classes"]).predictions["test"]
    assert class_counts(classes, 4).tolist() == result["classes"]["confusion"]["test"]


def test_numbers_of_figures_equal_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    truth, likely = (rng.random(80) < 0.4).astype(float), rng.random(80).round(1)
    assert average_precision(truth, likely) == pytest.approx(average_precision_score(truth, likely))
    assert np.isnan(average_precision(np.zeros(3), np.ones(3)))
    assert f1(truth, (likely > 0.5).astype(float)) == pytest.approx(f1_score(truth, likely > 0.5))
    assert f1(np.zeros(3), np.zeros(3)) == 0
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots()
    # Two clips in one bin, one of them right, and one that is sure and wrong.
    assert reliability(axes, np.array([0.61, 0.63, 1.0]), np.array([True, False, False])) == pytest.approx(
        (abs(1 - 1.24) + 1) / 3
    )
    plt.close(figure)


def test_maps_are_coloured_by_classes_and_sets_of_labels(runs: dict[str, Path]) -> None:
    target = read_record(runs["labels"]).target
    values = np.array([[1, 0, 1], [0, 0, 0], [1, 0, 1], [0, 1, 0]], dtype=float)
    numbers, names, words = colours_of(target, values)
    assert (numbers.tolist(), names[0], words) == ([0, 1, 0, 2], "music, travel", "true labels")
    assert names[1:] == ["none", "sport"]
    numbers, names, _ = colours_of(read_record(runs["classes"]).target, np.array([3.0, 0.0]))
    assert [names[int(number)] for number in numbers] == ["sad", "angry"]


def test_the_page_has_each_clip_in_words(runs: dict[str, Path]) -> None:
    records = [read_record(run) for run in runs.values()]
    data, _ = clip_data(records, transcripts=False)
    assert [entry["kind"] for entry in data["sets"]] == [kind for kind in ("classes", "labels", "scores") for _ in "12"]
    for record, parts in zip(records, data["runs"], strict=True):
        clips, part = record.predictions["test"], parts["test"]
        kept = data["sets"][part["set"]]
        if record.target.task == "classes":
            assert clips.probabilities is not None
            assert kept["targets"] == clips.target.astype(int).tolist()
            sure = clips.probabilities[np.arange(128), clips.target.astype(int)]
            assert part["sure"] == pytest.approx(sure, abs=1e-4)
        elif record.target.task == "labels":
            assert [len(labels) for labels in kept["targets"]] == clips.target.sum(axis=1).tolist()
            assert clips.probabilities is not None
            wrong = np.abs(clips.probabilities - clips.target).mean(axis=1)
            assert part["sure"] == pytest.approx(1 - wrong, abs=1e-4)
        else:
            assert part["predictions"] == pytest.approx(clips.prediction, abs=1e-4)


def test_lists_and_tables_show_the_main_metric(run: Path) -> None:
    line = run_list(run).iloc[0]
    main = KINDS[run.name]
    assert line.value == pytest.approx(result_of(run)["test"][main])
    ((planned, *_),), _ = runs_table(run)
    assert planned.table.measures[0].metric == main
    assert planned.table.measures[-1].name == "spread"
    lower = {measure.metric for measure in planned.table.measures if measure.lower_is_better}
    assert lower == {"classes": {"ece"}, "labels": set(), "traits": {"mae"}}[run.name]


def test_evaluating_again_writes_metrics_of_each_class_and_label(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate([f"run={run}", f"out={tmp_path}", "trust=own_metrics"]) == 0
    written, result = json.loads((tmp_path / "metrics.json").read_text()), result_of(run)
    assert written["test"] == pytest.approx(result["test"], abs=1e-6, nan_ok=True)
    assert written.get("confusion", {}).get("test") == result.get("confusion", {}).get("test")
    text = capsys.readouterr().out
    assert {"classes": "Recall happy", "labels": "F1 sport", "traits": "Corr warmth"}[run.name] in text


def test_protocols_are_written_and_printed(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"run={run}", f"out={tmp_path}", "protocol=subsets,rates", "draws=1", "trust=own_metrics"]
    assert evaluate(words) == 0
    for name in ("subsets", "shapley", "rates"):
        assert (tmp_path / f"{name}.png").is_file()
    assert list(lines_of(tmp_path / "shapley_clips.csv")[0])[:2] == [
        "id", {"classes": "target", "labels": "label", "traits": "score"}[run.name]
    ]  # fmt: skip
    text = capsys.readouterr().out
    assert re.search("train mean" if run.name == "traits" else "train frequencies", text)
