"""Tests the metrics of classes, labels and several scores against scikit-learn, and by hand in the corners."""

from __future__ import annotations

import math
import warnings

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import pearsonr
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    mean_absolute_error,
    recall_score,
    roc_auc_score,
)

from trivium.core.metric_names import LABELS, METRICS, TASKS, direction_of, is_share, label_of
from trivium.data.target import Target
from trivium.evaluation.metrics import choose_protocol, compute_metrics, concordance
from trivium.evaluation.predict import guess_of
from trivium.evaluation.task_metrics import confusion, metrics_by_name

Array = npt.NDArray[np.float64]
# (C, N, seed) of data in which every class or label occurs.
CASES = ((2, 60, 0), (4, 101, 1), (7, 350, 2))


@pytest.fixture(autouse=True)
def no_warning_is_tolerated():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def classified(classes: int, clips: int, seed: int) -> tuple[Array, Array]:
    """Probabilities that tend to the truth, and the class numbers."""
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.arange(clips) % classes)
    logits = rng.normal(size=(clips, classes)) + 1.5 * np.eye(classes)[truth]
    odds = np.exp(logits)
    return odds / odds.sum(axis=1, keepdims=True), truth.astype(np.float64)


def labelled(labels: int, clips: int, seed: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    truth = (rng.random((clips, labels)) < 0.3).astype(np.float64)
    return 1 / (1 + np.exp(-rng.normal(size=(clips, labels)) - 2 * truth + 1)), truth


def of_classes(likely: Array, truth: Array) -> dict[str, float]:
    return compute_metrics("classes", likely.argmax(axis=1).astype(float), truth, probabilities=likely)


def of_labels(likely: Array, truth: Array, protocol: str = "labels") -> dict[str, float]:
    return compute_metrics(protocol, (likely >= 0.5).astype(float), truth, probabilities=likely)


def calibration_error(likely: Array, truth: Array) -> float:
    """Guo et al. (2017), eq. 3, in 15 bins, clip by clip."""
    bins: dict[int, list[tuple[float, bool]]] = {}
    for row, true in zip(likely, truth, strict=True):
        confidence = float(row.max())
        bins.setdefault(min(int(confidence * 15), 14), []).append((confidence, int(row.argmax()) == true))
    gaps = [abs(sum(right for _, right in clips) - sum(sure for sure, _ in clips)) for clips in bins.values()]
    return sum(gaps) / len(truth)


@pytest.mark.parametrize("case", CASES)
def test_metrics_of_classes_equal_scikit_learn(case: tuple[int, int, int]) -> None:
    likely, truth = classified(*case)
    guess = likely.argmax(axis=1)
    aurocs = [roc_auc_score(truth == c, likely[:, c]) for c in range(case[0])]
    expected = {
        "acc": accuracy_score(truth, guess),
        "balanced_acc": balanced_accuracy_score(truth, guess),
        "f1_macro": f1_score(truth, guess, average="macro"),
        "f1_weighted": f1_score(truth, guess, average="weighted"),
        "auroc": np.mean(aurocs),
        "ece": calibration_error(likely, truth),
    }
    result = of_classes(likely, truth)
    assert tuple(result) == METRICS["classes"]
    assert result == pytest.approx(expected, abs=1e-6)
    if case[0] > 2:
        assert result["auroc"] == pytest.approx(roc_auc_score(truth, likely, multi_class="ovr"), abs=1e-6)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("protocol", ["labels", "emotions"])
def test_metrics_of_labels_equal_scikit_learn(case: tuple[int, int, int], protocol: str) -> None:
    likely, truth = labelled(*case)
    guess, labels = (likely >= 0.5).astype(float), range(case[0])
    common = {
        "auroc": np.mean([roc_auc_score(truth[:, c], likely[:, c]) for c in labels]),
        "subset_acc": accuracy_score(truth, guess),
    }
    if protocol == "labels":
        common |= {f"f1_{name}": f1_score(truth, guess, average=name) for name in ("micro", "macro", "weighted")}
        common["map"] = average_precision_score(truth, likely, average="macro")
    else:
        common["f1_binary"] = f1_score(truth, guess, average="macro")
        common["f1_weighted"] = np.mean([f1_score(truth[:, c], guess[:, c], average="weighted") for c in labels])
        common["weighted_acc"] = np.mean([balanced_accuracy_score(truth[:, c], guess[:, c]) for c in labels])
    result = of_labels(likely, truth, protocol)
    assert tuple(result) == METRICS[protocol]
    assert result == pytest.approx(common, abs=1e-6)


def test_weighted_accuracy_counts_as_the_field_prints_it() -> None:
    # 3 of 4 clips with the label are found, and 5 of 6 without: (TP N/P + TN) / (2 N) = (3 * 6/4 + 5) / 12.
    truth = np.array([[1.0]] * 4 + [[0.0]] * 6)
    likely = np.array([[0.9], [0.8], [0.5], [0.1], [0.7], [0.2], [0.2], [0.2], [0.2], [0.4]])
    result = of_labels(likely, truth, "emotions")
    assert result["weighted_acc"] == pytest.approx((3 * 6 / 4 + 5) / 12)
    assert metrics_by_name("emotions", ["sad"], likely >= 0.5, truth, likely) == pytest.approx(
        {"f1/sad": 6 / 8, "weighted_acc/sad": 9.5 / 12}
    )


def test_several_scores_are_measured_each_and_in_the_mean() -> None:
    rng = np.random.default_rng(3)
    t = rng.normal(size=(40, 3))
    p = t + rng.normal(size=(40, 3)) * [0.1, 1.0, 3.0]
    each = [(mean_absolute_error(t[:, k], p[:, k]), pearsonr(t[:, k], p[:, k]).statistic) for k in range(3)]
    result = compute_metrics("scores", p, t)
    assert result == pytest.approx({"mae": np.mean(each, axis=0)[0], "corr": np.mean(each, axis=0)[1]})
    by_name = metrics_by_name("scores", ["a", "b", "c"], p, t, None)
    assert list(by_name) == ["mae/a", "mae/b", "mae/c", "corr/a", "corr/b", "corr/c"]
    assert [by_name[f"mae/{name}"] for name in "abc"] == pytest.approx([mae for mae, _ in each])
    assert [by_name[f"corr/{name}"] for name in "abc"] == pytest.approx([corr for _, corr in each])
    assert concordance(p, t) == pytest.approx(np.mean([concordance(p[:, k], t[:, k]) for k in range(3)]))


def test_a_constant_score_among_several_makes_their_mean_corr_undefined() -> None:
    t = np.random.default_rng(0).normal(size=(9, 2))
    result = compute_metrics("scores", np.column_stack([t[:, 0], np.zeros(9)]), t)
    assert math.isnan(result["corr"])
    assert result["mae"] == pytest.approx(np.abs(t[:, 1]).mean() / 2)


@pytest.mark.parametrize("case", CASES)
def test_recall_and_confusion_of_each_class_equal_scikit_learn(case: tuple[int, int, int]) -> None:
    likely, truth = classified(*case)
    names = [f"class {c}" for c in range(case[0])]
    recall = metrics_by_name("classes", names, likely.argmax(axis=1), truth, likely)
    expected = recall_score(truth, likely.argmax(axis=1), average=None)
    assert recall == pytest.approx({f"recall/{name}": value for name, value in zip(names, expected, strict=True)})
    assert confusion(likely, truth) == confusion_matrix(truth, likely.argmax(axis=1)).tolist()


def test_an_absent_class_is_left_out_and_its_recall_undefined() -> None:
    likely, truth = classified(4, 80, 5)
    likely, truth = likely[truth != 2], truth[truth != 2]
    guess, rest = likely.argmax(axis=1), [0, 1, 3]
    # scikit-learn warns of it; here the mean over the others is asked for by hand
    recall = recall_score(truth, guess, labels=rest, average="macro")
    result = of_classes(likely, truth)
    assert result["balanced_acc"] == pytest.approx(recall)
    assert result["auroc"] == pytest.approx(np.mean([roc_auc_score(truth == c, likely[:, c]) for c in rest]), abs=1e-6)
    assert 2 in guess
    # predicted where it never is: an F1 of 0, which counts
    assert result["f1_macro"] == pytest.approx(f1_score(truth, guess, average="macro"), abs=1e-6)
    never = likely * [1, 1, 0, 1]
    others = f1_score(truth, never.argmax(axis=1), labels=rest, average="macro")
    assert of_classes(never / never.sum(axis=1, keepdims=True), truth)["f1_macro"] == pytest.approx(others, abs=1e-6)
    by_name = metrics_by_name("classes", list("abcd"), guess, truth, likely)
    assert math.isnan(by_name["recall/c"])
    assert confusion(likely, truth)[2] == [0, 0, 0, 0]


def test_a_split_of_one_class_has_no_auroc() -> None:
    likely, _ = classified(3, 30, 1)
    result = of_classes(likely, np.full(30, 1.0))
    assert math.isnan(result["auroc"])
    assert result["acc"] == result["balanced_acc"] == pytest.approx((likely.argmax(axis=1) == 1).mean())


def test_labels_that_none_or_all_have_are_undefined_where_they_say_nothing() -> None:
    likely, truth = labelled(3, 50, 4)
    truth[:, 0], truth[:, 1] = 0, 1
    result = of_labels(likely, truth)
    assert result["auroc"] == pytest.approx(roc_auc_score(truth[:, 2], likely[:, 2]), abs=1e-6)
    expected = [1.0, average_precision_score(truth[:, 2], likely[:, 2])]
    assert result["map"] == pytest.approx(np.mean(expected), abs=1e-6)
    weighted = balanced_accuracy_score(truth[:, 2], likely[:, 2] >= 0.5)
    assert of_labels(likely, truth, "emotions")["weighted_acc"] == pytest.approx(weighted)
    by_name = metrics_by_name("emotions", list("abc"), likely >= 0.5, truth, likely)
    assert math.isnan(by_name["weighted_acc/a"])
    assert math.isnan(by_name["weighted_acc/b"])
    nothing = of_labels(likely, np.zeros((50, 3)))
    assert all(math.isnan(nothing[name]) for name in ("map", "auroc", "f1_weighted"))
    assert math.isnan(of_labels(likely, np.zeros((50, 3)), "emotions")["weighted_acc"])


def test_one_label_is_measured_as_any_other() -> None:
    likely, truth = labelled(1, 70, 6)
    guess = likely >= 0.5
    result = of_labels(likely, truth)
    assert result["f1_micro"] == result["f1_macro"] == pytest.approx(f1_score(truth, guess), abs=1e-6)
    assert result["subset_acc"] == pytest.approx(accuracy_score(truth, guess))


def test_constant_probabilities_are_chance() -> None:
    _, truth = classified(4, 100, 0)
    guess = guess_of(Target("classes", ("a", "b", "c", "d")), np.repeat([0.0, 1, 2, 3], [10, 40, 30, 20]), 100)
    assert guess.probabilities is not None
    result = of_classes(guess.probabilities.numpy(), truth)
    assert (result["acc"], result["balanced_acc"], result["auroc"]) == pytest.approx((0.25, 0.25, 0.5))
    assert result["ece"] == pytest.approx(0.4 - 0.25, abs=1e-6)
    likely, truth = np.full((100, 2), 0.5), np.zeros((100, 2))
    truth[:30] = 1
    result = of_labels(likely, truth)
    assert (result["auroc"], result["map"]) == pytest.approx((0.5, 0.3))
    assert result["f1_micro"] == pytest.approx(2 * 0.3 / 1.3)


@pytest.mark.parametrize(
    ("protocol", "predictions", "targets", "likely", "match"),
    [
        ("classes", [0.0], [0.0], None, "needs probabilities"),
        ("classes", [[0.0]], [[0.0]], [[1.0, 0.0]], r"expected \(N,\)"),
        ("labels", [0.0], [0.0], [[1.0]], r"expected \(N, K\)"),
        ("scores", [0.0], [0.0], None, r"expected \(N, K\)"),
        ("scores", np.zeros((0, 2)), np.zeros((0, 2)), None, "one of each a clip"),
        ("scores", [[0.0, 1.0]], [[0.0]], None, "one of each a clip"),
        ("scores", [[math.nan, 1.0]], [[0.0, 1.0]], None, "not finite"),
        ("classes", [0.0], [0.0], [[math.nan, 1.0]], "expected finite numbers"),
        ("classes", [0.0, 1.0], [0.0, 1.0], [[0.5, 0.5]], r"\(2, C\)"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    protocol: str, predictions: object, targets: object, likely: object, match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        compute_metrics(
            protocol,
            np.asarray(predictions),
            np.asarray(targets),
            probabilities=None if likely is None else np.asarray(likely),
        )


def test_each_protocol_is_for_its_task_alone() -> None:
    scores, classes = Target("score", ("a", "b")), Target("classes", ("a", "b"))
    assert choose_protocol("auto", scores) == "scores"
    assert choose_protocol("auto", Target("labels", ("a",))) == "labels"
    assert choose_protocol("emotions", Target("labels", ("a",))) == "emotions"
    for protocol, task in TASKS.items():
        if task != "classes":
            with pytest.raises(ValueError, match=r"take data\.metrics=auto"):
                choose_protocol(protocol, classes)


def test_metrics_of_one_class_are_named_and_judged_as_their_metric() -> None:
    assert label_of("recall/very happy") == "Recall very happy"
    assert label_of("mae/openness") == "MAE openness"
    assert (direction_of("mae/openness"), direction_of("f1/sad"), direction_of("ece")) == ("min", "max", "min")
    assert is_share("recall/happy")
    assert not is_share("corr/openness")
    names = {name for protocol in METRICS.values() for name in protocol}
    assert names <= set(LABELS)
    assert all(is_share(name) for task in ("classes", "labels", "emotions") for name in METRICS[task])
