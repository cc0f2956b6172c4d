"""Every combination of method and kind of target that is not defined is refused by name when the method is built.

The sentence says what is not defined, for which target, why, and what to take instead; and that is then defined.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from batches import DIMS
from trivium.config.compose import Composer, composer
from trivium.data.store import StoreSchema
from trivium.data.target import Target
from trivium.fusions.only import Only
from trivium.methods.base import Parts
from trivium.methods.build import build_method
from trivium.methods.supervised import Supervised
from trivium.objectives import CrossEntropy

TARGETS = {
    "a score": Target(range=(-3.0, 3.0)),
    "scores": Target("score", ("open", "warm", "brisk"), range=(1.0, 7.0)),
    "classes": Target("classes", ("glad", "sad", "calm", "cross"), counts=(9, 3, 5, 7), clips=24),
    "labels": Target("labels", ("music", "sport", "travel"), counts=(9, 3, 5), clips=24),
}
WORDS = {"scores": "3 scores in [1, 7]", "classes": "4 classes", "labels": "3 labels", "a score": "a score in [-3, 3]"}
SMALL = ["encoder=identity", "encoder.out=4"]

# Settings, the targets that they are not defined for, the name in the sentence, what it says to take, and that as
# settings of a run (or None, where the sentence offers another method alone).
UNDEFINED = [
    ("method=tcmax", ("labels",), "TCMax, for method=tcmax,", "take method=supervised", "method=supervised"),
    (
        "method=tcmax",
        ("scores",),
        "TCMax, for method=tcmax,",
        "take objective=tcmax_regression, or method=supervised",
        "method=tcmax objective=tcmax_regression fusion=share",
    ),
    ("method=tcmax objective=joint", ("labels", "scores"), "Joint, for method=tcmax,", "take ", None),
    ("method=tcmax objective=unimodal", ("labels", "scores"), "Unimodal, for method=tcmax,", "take ", None),
    (
        "method=tcmax objective=tcmax_regression",
        ("classes",),
        "TCMaxRegression, for method=tcmax,",
        "take objective=tcmax, or",
        "method=tcmax objective=tcmax fusion=share",
    ),
    ("method=tcmax objective=tcmax_regression", ("labels",), "TCMaxRegression", "take method=supervised", None),
    (
        "method.balance=ogm_ge",
        ("labels", "scores"),
        "method.balance=ogm_ge",
        "take method.balance=mmpareto",
        "method.balance=mmpareto",
    ),
    *(
        (
            f"method={name}",
            ("scores", "classes", "labels"),
            f"method={name}",
            "take method.unimodal_targets=none",
            f"method={name} method.unimodal_targets=none",
        )
        for name in ("selfmi", "selfmm", "tetfn")
    ),
    (
        "method=selfmi method.unimodal_targets=none method.pair_estimator=ba",
        ("scores", "labels"),
        "method.pair_estimator=ba",
        "take method.pair_estimator=cpc",
        "method=selfmi method.unimodal_targets=none method.pair_estimator=cpc",
    ),
    ("method=mmim", ("scores", "labels"), "method=mmim", "take method.ba_weight=0", "method=mmim method.ba_weight=0"),
    ("method=supcon", ("scores", "labels"), "method=supcon", "take method=comm", "method=comm"),
    # An objective that is none of the target's.
    ("objective=l1", ("classes", "labels"), "L1 is for a score or several scores", "take objective=auto", ""),
    ("objective=mse", ("classes", "labels"), "MSE is for a score or several scores", "take objective=auto", ""),
    ("objective=cross_entropy", ("scores", "labels"), "CrossEntropy is for a score or classes", "objective=auto", ""),
    (
        "objective=binary_cross_entropy",
        ("a score", "scores", "classes"),
        "BinaryCrossEntropy is for labels",
        "take objective=auto",
        "",
    ),
]
CASES = [(row[0], kind, *row[2:]) for row in UNDEFINED for kind in row[1]]


@pytest.fixture(scope="module")
def session() -> Iterator[Composer]:
    with composer() as opened:
        yield opened


def build(session: Composer, settings: str, kind: str) -> None:
    schema = StoreSchema(
        data="x",
        feature_set="x/y",
        dims=DIMS,
        counts={"train": 24},
        max_lengths=dict.fromkeys(DIMS, 6),
        targets={"it": TARGETS[kind]},
    )
    overrides = settings.split()
    own_encoder = any(one in ("method=mag_bert", "method=comm", "method=supcon") for one in overrides)
    config = composed(session, *overrides, *([] if own_encoder else SMALL))
    build_method(config, schema, dict.fromkeys(DIMS, "values"))


COMPOSED: dict[tuple[str, ...], dict[str, Any]] = {}


def composed(session: Composer, *overrides: str) -> dict[str, Any]:
    """The config, composed once: that takes longer than building a method."""
    if overrides not in COMPOSED:
        COMPOSED[overrides] = session.compose(list(overrides))
    return COMPOSED[overrides]


@pytest.mark.parametrize(("settings", "kind", "name", "take", "instead"), CASES)
def test_it_is_refused_in_one_sentence_and_what_it_names_is_defined(
    session: Composer, settings: str, kind: str, name: str, take: str, instead: str | None
) -> None:
    with pytest.raises(ValueError, match=re.escape(WORDS[kind])) as error:
        build(session, settings, kind)
    message = str(error.value)
    assert name in message
    assert take in message
    assert "\n" not in message
    if instead is not None:
        build(session, instead, kind)


@pytest.mark.parametrize("settings", ["method=selfmi", "method=selfmm"])
def test_generated_labels_want_a_regression_and_say_how_to_do_without(session: Composer, settings: str) -> None:
    """With cross_entropy the mutual information is not refused: only what generates labels as scores is."""
    with pytest.raises(ValueError, match=r"generates unimodal labels as scores; .*or method.unimodal_targets=none"):
        build(session, f"{settings} objective=cross_entropy", "a score")
    build(session, f"{settings} objective=cross_entropy method.unimodal_targets=none", "a score")


@pytest.mark.parametrize("method", ["misa", "lnln"])
@pytest.mark.parametrize("kind", TARGETS)
def test_methods_published_with_a_squared_error_take_it_for_scores_alone(
    session: Composer, method: str, kind: str
) -> None:
    sizes = {"misa": "method.dim=8 fusion.feedforward=8", "lnln": "method.dim=8 fusion.dim=8"}[method]
    build(session, f"method={method} {sizes}", kind)
    assert composed(session, f"method={method}")["objective"] == {
        "_target_": "trivium.objectives.task.auto",
        "scores": "mse",
    }


def test_a_method_of_ones_own_says_what_it_is_for_by_tasks() -> None:
    class ScoresAlone(Supervised):
        tasks = ("score",)

    ScoresAlone.refuse_task(TARGETS["a score"])
    message = r"ScoresAlone is not defined for 4 classes, which is the target; method=supervised takes every kind"
    with pytest.raises(ValueError, match=message):
        ScoresAlone(Parts({}, Only({"text": 4}), CrossEntropy(TARGETS["classes"]), 24, None, 0))
