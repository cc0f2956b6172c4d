"""Probes of labels, classes and several scores, against scikit-learn and scipy, and the readouts that they become."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.linear_model import Ridge
from sklearn.metrics import average_precision_score

import trivium
from driver import here
from trivium.evaluation import probe_choice
from trivium.evaluation.predict import predict_split
from trivium.evaluation.probe import fit_readout, probe_run
from trivium.evaluation.probe_choice import Rows, choose_each, choose_label_classifier, choose_ridge
from trivium.evaluation.vectors import collect_vectors

RUN = ["method=comm", "encoder=identity", "fusion=concat", "fusion.out=6", "method.head_hidden=[8]"]
RUN += ["method.head_out=4", "trainer.max_epochs=1", "trainer.progress=off", "trainer.limit_batches=3"]


def rows_of(columns: int, labels: bool) -> dict[str, Rows]:
    rng = np.random.default_rng(columns)
    weight = rng.normal(size=(columns, 4))
    rows = {}
    for split, clips in (("train", 90), ("valid", 60)):
        x = rng.normal(size=(clips, 4))
        y = x @ weight.T + rng.normal(size=(clips, columns)) * np.arange(1, columns + 1)
        rows[split] = Rows(torch.from_numpy(x), torch.from_numpy((y > 0).astype(float) if labels else y))
    return rows


def test_several_scores_have_a_ridge_and_an_alpha_each() -> None:
    rows = rows_of(3, labels=False)
    probe = choose_each(rows, choose_ridge)
    assert isinstance(probe.strength, list)
    assert len(set(probe.strength)) > 1  # the noise of the columns differs
    x, y = (torch.cat([getattr(part, key) for part in rows.values()]).numpy() for key in ("features", "targets"))
    for k, alpha in enumerate(probe.strength):
        final = Ridge(alpha=alpha).fit(x, y[:, k])
        np.testing.assert_allclose(probe.final.weight[k], final.coef_, rtol=1e-6)
        assert probe.final.bias[k].item() == pytest.approx(final.intercept_)
        alone = Ridge(alpha=alpha).fit(rows["train"].features, rows["train"].targets[:, k])
        np.testing.assert_allclose(probe.without_valid.weight[k], alone.coef_, rtol=1e-6)


def test_a_labels_output_is_the_logit_of_the_penalised_binary_classifier(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the weights W of two classes, with the penalty ||W|| / (2 c), W = (-w, w) / 2 is the minimum for a logit w."""
    c = 3.0
    monkeypatch.setattr(probe_choice, "search_c", lambda score: c)
    rows = rows_of(2, labels=True)
    probe = choose_each(rows, choose_label_classifier)
    assert probe.strength == [c, c]
    x, y = rows["train"].features.numpy(), rows["train"].targets.numpy()
    for k in range(2):
        sign = 2 * y[:, k] - 1

        def loss(w: np.ndarray, sign: np.ndarray = sign) -> float:
            logit = x @ w[:4] + w[4]
            return float(np.logaddexp(0, -sign * logit).mean() + np.linalg.norm(w[:4]) / np.sqrt(2) / (2 * c))

        best = minimize(loss, np.full(5, 0.1), method="BFGS", options={"gtol": 1e-9})
        np.testing.assert_allclose(probe.without_valid.weight[k], best.x[:4], atol=2e-4)
        assert probe.without_valid.bias[k].item() == pytest.approx(best.x[4], abs=2e-4)


@pytest.fixture(scope="module", params=["classes", "labels", "traits"])
def probed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, trivium.Run]:
    """A small run of CoMM on a fixture of that kind."""
    folder = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probe_choice, "search_c", lambda score: 5.0)
        result = here(folder, *RUN, f"data=fixture_{request.param}", f"run.dir={folder / 'run'}")
    assert result["probe"]["sign"] is None  # class numbers and labels are no scores whose sign could be read
    return request.param, trivium.load_run(folder / "run")


def test_the_readout_is_the_probe_of_the_joint_vector(
    probed: tuple[str, trivium.Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_choice, "search_c", lambda score: 5.0)
    kind, run = probed
    _, data = run.data()
    summary = fit_readout(run.method, data).summary
    result = probe_run(run.method, data, features=["joint"])["joint"]
    loader = data.loader("test")
    predictions, truth = predict_split(run.method, loader), loader.split.targets["multimodal"].numpy()
    if kind == "traits":
        assert summary["kind"] == "ridge"
        assert summary["alpha"] == result["ridge"]["alpha"]
        x = {
            split: collect_vectors(run.method, data.loader(split))["joint"].numpy()
            for split in ("train", "valid", "test")
        }
        both = [
            np.concatenate([x[s] if of_x else data.clips(s).targets["multimodal"] for s in ("train", "valid")])
            for of_x in (True, False)
        ]
        for k, alpha in enumerate(summary["alpha"]):
            expected = Ridge(alpha=alpha, solver="svd").fit(both[0], both[1][:, k]).predict(x["test"])
            np.testing.assert_allclose(predictions.score[:, k].numpy(), expected, atol=1e-4)
        assert "c" not in result
    elif kind == "labels":
        assert summary["labels"] == result["labels"] == ["music", "sport", "travel"]
        assert predictions.probabilities is not None
        likely = predictions.probabilities.numpy()
        expected = np.mean([average_precision_score(truth[:, c], likely[:, c]) for c in range(3)])
        assert result["test"]["map"] == pytest.approx(expected, abs=1e-4)
        assert expected > 0.6
    else:
        assert summary["classes"] == result["classes"] == 4
        assert result["rule"] == "multimodal as it is"
        share = float((predictions.score.numpy() == truth).mean())
        assert result["test"]["accuracy"] == pytest.approx(share)
        assert share > 0.3
    assert not {"ridge"} & result.keys() or kind == "traits"


@pytest.mark.parametrize(
    ("target", "classes", "message"),
    [
        ("topics", "3", "classes=3: is for one score, and 'topics' is 3 labels; leave it out"),
        ("traits", "sign", "classes=sign: is for one score, and 'traits' is 3 scores in"),
        ("emotion", "objective", "classes=objective: is for one score, and 'emotion' is 4 classes"),
        ("emotions", "", "target=emotions: .* has multimodal"),
    ],
)
def test_what_is_no_score_takes_no_rule(
    probed: tuple[str, trivium.Run], target: str, classes: str, message: str
) -> None:
    _, run = probed
    _, data = run.data()
    with pytest.raises(ValueError, match=message):
        probe_run(run.method, data, target=target, classes=classes)


def test_another_target_of_the_store_is_probed_by_its_own_kind(
    probed: tuple[str, trivium.Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_choice, "search_c", lambda score: 5.0)
    _, run = probed
    _, data = run.data()
    by_target = {
        name: probe_run(run.method, data, target=name, features=["joint"])["joint"]
        for name in ("emotion", "topics", "traits")
    }
    assert by_target["emotion"]["classes"] == 4
    assert len(by_target["topics"]["c"]) == 3
    assert len(by_target["traits"]["ridge"]["alpha"]) == 3
