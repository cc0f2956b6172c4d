"""Tests probes' fits, how their strength is chosen, and their metrics, against numpy, scipy and scikit-learn."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax
from sklearn.linear_model import Ridge
from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score, top_k_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from trivium.evaluation.classification import classification_metrics
from trivium.evaluation.linear_models import (
    ALPHAS,
    Linear,
    classifier_objective,
    fit_classifier,
    ridge_path,
    search_c,
)
from trivium.evaluation.probe_choice import Rows, choose_classifier, choose_ridge

NO_WEIGHTS = 1e-12


def blobs(clips: int, size: int, classes: int, noise: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Vectors (N, E) and classes (N,) that a linear map finds as well as `noise` lets it."""
    rng = np.random.default_rng(seed)
    means = 2 * np.random.default_rng(99).normal(size=(classes, size))
    labels = rng.integers(0, classes, size=clips)
    return torch.from_numpy(means[labels] + noise * rng.normal(size=(clips, size))), torch.from_numpy(labels)


def numpy_objective(
    parameters: np.ndarray, x: np.ndarray, y: np.ndarray, classes: int, c: float
) -> tuple[float, np.ndarray]:
    """Value and gradient of mean cross-entropy + ||W|| / (2 c); the last `classes` parameters are the bias."""
    weight, bias = parameters[:-classes].reshape(classes, -1), parameters[-classes:]
    logits = x @ weight.T + bias
    value = (logsumexp(logits, axis=1) - logits[np.arange(len(y)), y]).mean() + np.linalg.norm(weight) / (2 * c)
    error = (softmax(logits, axis=1) - np.eye(classes)[y]) / len(y)
    gradient = error.T @ x + weight / max(np.linalg.norm(weight), NO_WEIGHTS) / (2 * c)
    return float(value), np.concatenate([gradient.ravel(), error.sum(axis=0)])


def flat(linear: Linear) -> np.ndarray:
    return torch.cat([linear.weight.flatten(), linear.bias]).numpy()


@pytest.mark.parametrize("c", [1e-3, 1.0, 50.0])
def test_objective_has_the_norm_and_not_its_square(c: float) -> None:
    x, y = blobs(60, 4, 3, noise=1.0)
    rng = np.random.default_rng(1)
    linear = Linear(torch.from_numpy(rng.normal(size=(3, 4))), torch.from_numpy(rng.normal(size=3)))
    linear.weight.requires_grad_()
    linear.bias.requires_grad_()
    value = classifier_objective(linear, x, y, c)
    value.backward()
    with torch.no_grad():
        expected, gradient = numpy_objective(flat(linear), x.numpy(), y.numpy(), 3, c)
    assert value.item() == pytest.approx(expected, rel=1e-12)
    assert_allclose(torch.cat([linear.weight.grad.flatten(), linear.bias.grad]).numpy(), gradient, rtol=1e-9)


def test_objective_at_zero_has_the_gradient_of_the_cross_entropy() -> None:
    x, y = blobs(60, 4, 3, noise=1.0)
    linear = Linear(torch.zeros(3, 4, dtype=torch.float64, requires_grad=True), torch.zeros(3, dtype=torch.float64))
    classifier_objective(linear, x, y, c=1e-6).backward()
    _, gradient = numpy_objective(np.zeros(15), x.numpy(), y.numpy(), 3, c=1e-6)
    assert_allclose(linear.weight.grad.flatten().numpy(), gradient[:-3], rtol=1e-9)


@pytest.mark.parametrize(("clips", "size", "classes"), [(150, 6, 2), (200, 10, 7)])
@pytest.mark.parametrize("c", [0.3, 3.0, 100.0])
def test_classifier_reaches_the_minimum_that_scipy_finds(clips: int, size: int, classes: int, c: float) -> None:
    x, y = blobs(clips, size, classes, noise=6.0)
    result = fit_classifier(x, y, classes, c)
    start = np.random.default_rng(0).normal(scale=1e-2, size=classes * (size + 1))
    options = {"maxiter": 20000, "maxfun": 40000, "ftol": 1e-15, "gtol": 1e-11}
    best = minimize(
        numpy_objective, start, (x.numpy(), y.numpy(), classes, c), method="L-BFGS-B", jac=True, options=options
    )
    value, _ = numpy_objective(flat(result), x.numpy(), y.numpy(), classes, c)
    assert value == pytest.approx(best.fun, abs=1e-6)
    assert best.fun < np.log(classes)


def test_weights_vanish_below_the_c_at_which_the_penalty_outweighs_every_direction() -> None:
    x, y = blobs(150, 6, 3, noise=4.0)
    y[y == 2] = torch.where(torch.arange(int((y == 2).sum())) % 3 > 0, 0, 2)  # shares that differ
    shares = np.bincount(y.numpy()) / len(y)
    slope = np.linalg.norm((shares - np.eye(3)[y.numpy()]).T @ x.numpy() / len(y))
    edge = 1 / (2 * slope)
    below, above = fit_classifier(x, y, 3, 0.99 * edge), fit_classifier(x, y, 3, 1.2 * edge)
    assert not below.weight.any()
    assert_allclose(below.bias.softmax(0).numpy(), shares, rtol=1e-12)
    assert float(above.weight.norm()) > 1e-3
    value, _ = numpy_objective(flat(above), x.numpy(), y.numpy(), 3, 1.2 * edge)
    assert value < -(shares * np.log(shares)).sum()


def test_standardized_fit_takes_features_as_they_are() -> None:
    x, y = blobs(120, 5, 3, noise=2.0)
    scaler = StandardScaler().fit(x.numpy())
    inside = torch.from_numpy(scaler.transform(x.numpy()))
    stretched = x * torch.tensor([1.0, 1e3, 1e-3, 7.0, 1.0]) + torch.tensor([0.0, 5.0, 1.0, -300.0, 0.0])
    expected = fit_classifier(inside, y, 3, c=5.0).outputs(inside)
    result = fit_classifier(stretched, y, 3, c=5.0, standardize=True).outputs(stretched)
    assert_allclose(result, expected, atol=1e-5)
    constant = torch.cat([x, torch.ones(len(x), 1)], dim=1)
    assert fit_classifier(constant, y, 3, c=5.0, standardize=True).weight.isfinite().all()


def visited(peak: float) -> tuple[float, list[float]]:
    """What the search returns and asks for, as exponents of 10, when the score falls off from 10^peak."""
    asked: list[float] = []

    def score(c: float) -> float:
        asked.append(np.log10(c))
        return -abs(np.log10(c) - peak)

    return np.log10(search_c(score)), asked


def test_search_visits_the_points_that_the_public_code_of_comm_visits() -> None:
    coarse = [-6, -4, -2, 0, 2, 4, 6]
    # Best 2, so points 0 to 28 from 0 to 4. Points 7, 14 and 21 leave 0 to 13; 3, 7, 10 leave 7 to 13; 8, 10, 12 leave
    # 8 to 11; 9, 10, 11 leave 8 and 9.
    winner, asked = visited(1.3)
    assert_allclose(asked, [*coarse, 1, 3, 3 / 7, 10 / 7, 8 / 7, 12 / 7, 9 / 7, 11 / 7], atol=1e-12)
    assert winner == pytest.approx(9 / 7)
    # Best -6, so the upper 15 of the 29 points from -8 to -4: 3, 7, 11 of them leave 0 to 6; 1, 3, 5 leave 0 to 2.
    winner, asked = visited(-9)
    assert_allclose(asked, [*coarse, *(-6 + point / 7 for point in (3, 7, 11, 1, 5, 2))], atol=1e-12)
    assert winner == pytest.approx(-6)
    assert max(visited(9)[1]) == pytest.approx(6)


def test_of_equal_scores_the_search_prefers_the_c_that_it_met_first() -> None:
    assert search_c(lambda c: 0.5) == pytest.approx(1e-6)
    assert search_c(lambda c: float(c > 5)) == pytest.approx(1e2)


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_class_metrics_equal_scikit_learn(classes: int) -> None:
    rng = np.random.default_rng(classes)
    logits = rng.normal(size=(200, classes))
    y = rng.choice(classes, size=200, p=np.arange(1, classes + 1) / sum(range(classes + 1)))
    logits[np.arange(200), y] += 0.7
    result = classification_metrics(torch.from_numpy(logits), torch.from_numpy(y))
    p = softmax(logits, axis=1)
    auc = roc_auc_score(y, p[:, 1]) if classes == 2 else roc_auc_score(y, p, multi_class="ovr", average="macro")
    assert result["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(y, p.argmax(1)), abs=1e-9)
    assert result["accuracy"] == pytest.approx(accuracy_score(y, p.argmax(1)), abs=1e-9)
    assert result["auc"] == pytest.approx(auc, abs=1e-6)
    top5 = 1.0 if classes <= 5 else top_k_accuracy_score(y, logits, k=5, labels=range(classes))
    assert result["top5"] == pytest.approx(top5, abs=1e-6)


def test_class_metrics_of_a_split_that_lacks_a_class() -> None:
    rng = np.random.default_rng(0)
    logits, y = rng.normal(size=(80, 4)), rng.choice([0, 1, 3], size=80)
    p = softmax(logits, axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = classification_metrics(torch.from_numpy(logits), torch.from_numpy(y))
        alone = classification_metrics(torch.from_numpy(logits), torch.ones(80, dtype=torch.int64))
    recalls = [(p.argmax(1)[y == c] == c).mean() for c in (0, 1, 3)]
    assert result["balanced_accuracy"] == pytest.approx(np.mean(recalls))
    assert result["auc"] == pytest.approx(np.mean([roc_auc_score(y == c, p[:, c]) for c in (0, 1, 3)]), abs=1e-6)
    assert np.isnan(alone["auc"])


@pytest.mark.parametrize(("clips", "size"), [(80, 6), (15, 40)])
@pytest.mark.parametrize("standardize", [False, True])
def test_ridge_equals_scikit_learn_for_every_alpha(clips: int, size: int, standardize: bool) -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(clips, size)) * rng.uniform(0.2, 4, size=size) + rng.normal(size=size)
    y = x[:, 0] - 0.5 * x[:, 1] + rng.normal(size=clips) + 2
    path = ridge_path(torch.from_numpy(x), torch.from_numpy(y), standardize=standardize)
    other = rng.normal(size=(20, size))
    assert len(ALPHAS) == 100
    assert_allclose(ALPHAS, np.logspace(-6, 6, 100), rtol=1e-12)
    for row, alpha in enumerate(ALPHAS):
        model = make_pipeline(StandardScaler(with_std=standardize), Ridge(alpha=alpha, solver="svd")).fit(x, y)
        assert_allclose(path.outputs(torch.from_numpy(other))[:, row].numpy(), model.predict(other), rtol=1e-6)


def test_ridge_is_chosen_on_validation_and_fitted_again_on_both() -> None:
    rng = np.random.default_rng(4)
    x, noise = rng.normal(size=(120, 30)), rng.normal(scale=3, size=120)
    y = x[:, 0] + noise
    part = {"train": slice(0, 50), "valid": slice(50, 90), "test": slice(90, None)}
    rows = {name: Rows(torch.from_numpy(x[at]), torch.from_numpy(y[at])) for name, at in part.items()}
    probe = choose_ridge(rows)
    errors = [
        ((Ridge(alpha=a).fit(x[:50], y[:50]).predict(x[50:90]) - y[50:90]) ** 2).mean() for a in np.logspace(-6, 6, 100)
    ]
    alpha = np.logspace(-6, 6, 100)[np.argmin(errors)]
    assert probe.strength == pytest.approx(alpha)
    assert 1e-6 < alpha < 1e6
    for split, fitted in (("valid", slice(0, 50)), ("test", slice(0, 90))):
        expected = Ridge(alpha=alpha).fit(x[fitted], y[fitted]).predict(x[part[split]])
        assert_allclose(probe.on(split).outputs(rows[split].features)[:, 0].numpy(), expected, rtol=1e-6)


def parts(noise: float, splits: tuple[str, ...] = ("train", "valid", "test"), clips: int = 150) -> dict[str, Rows]:
    return {split: Rows(*blobs(clips, 8, 3, noise, seed=number)) for number, split in enumerate(splits)}


def score(probe_rows: dict[str, Rows]) -> float:
    probe = choose_classifier(probe_rows, 3)
    test = probe_rows["test"]
    return classification_metrics(probe.on("test").outputs(test.features), test.targets)["balanced_accuracy"]


def test_separable_classes_are_found_and_permuted_labels_are_not() -> None:
    assert score(parts(noise=0.1)) == 1.0
    permuted = parts(noise=0.1, clips=300)
    generator = torch.Generator().manual_seed(0)
    for rows in permuted.values():
        rows.targets = rows.targets[torch.randperm(len(rows.targets), generator=generator)]
    assert abs(score(permuted) - 1 / 3) < 0.1


def test_the_map_for_validation_has_not_seen_it_and_the_final_one_has() -> None:
    rows = parts(noise=3.0)
    probe = choose_classifier(rows, 3)
    alone = fit_classifier(rows["train"].features, rows["train"].targets, 3, probe.strength)
    both = rows["train"] + rows["valid"]
    together = fit_classifier(both.features, both.targets, 3, probe.strength)
    assert_allclose(flat(probe.on("valid")), flat(alone))
    assert_allclose(flat(probe.on("test")), flat(together))
    assert (alone.weight - together.weight).abs().max() > 1e-3


def test_c_is_the_best_that_was_tried_on_validation() -> None:
    rows = parts(noise=5.0)
    message: list[str] = []
    chosen = choose_classifier(rows, 3, report=message.append)

    def on_valid(c: float) -> float:
        linear = fit_classifier(rows["train"].features, rows["train"].targets, 3, c)
        predicted = linear.outputs(rows["valid"].features).argmax(dim=1)
        return balanced_accuracy_score(rows["valid"].targets, predicted)

    assert on_valid(chosen.strength) == pytest.approx(max(on_valid(10.0**e) for e in range(-6, 7, 2)), abs=0.1)
    assert on_valid(chosen.strength) >= max(on_valid(10.0**e) for e in range(-6, 7, 2))
    assert message[:2] == ["C = 1e-06", "C = 0.0001"]


def test_without_a_validation_split_forty_percent_of_each_class_are_held_out() -> None:
    from trivium.evaluation.probe_choice import _choosing_parts

    rows = {"train": Rows(torch.arange(100.0)[:, None], torch.tensor([0] * 80 + [1] * 20))}
    fitted, held_out, is_valid = _choosing_parts(rows, strata=True)
    assert torch.bincount(fitted.targets).tolist() == [48, 12]
    assert torch.bincount(held_out.targets).tolist() == [32, 8]
    assert sorted([*fitted.features[:, 0].tolist(), *held_out.features[:, 0].tolist()]) == list(range(100))
    assert fitted.features[:, 0].tolist() != list(range(48)) + list(range(80, 92))
    assert not is_valid


def test_a_probe_split_stands_alone() -> None:
    """Train and validation may follow another rule: neither is fitted on, nor chosen on."""
    rows = parts(noise=1.0, splits=("train", "probe", "valid", "test"))
    alone = choose_classifier({"train": rows["probe"]}, 3)
    for split in ("train", "valid"):
        rows[split].features = torch.full_like(rows[split].features, torch.nan)
    probe = choose_classifier(rows, 3)
    for split in ("valid", "test"):
        assert_allclose(flat(probe.on(split)), flat(alone.final))


def test_twice_the_same() -> None:
    assert_allclose(flat(choose_classifier(parts(4.0), 3).final), flat(choose_classifier(parts(4.0), 3).final), rtol=0)
