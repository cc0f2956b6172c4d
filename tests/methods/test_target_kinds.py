"""Every method on every kind of target that it is defined for: it learns, predicts from any subset, resumes, scales.

The fixtures need each modality. Chance is .5 for AUROC and 0 for Corr, whatever the classes' shares are.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import trivium
from driver import here, record, rows, run, run_ranks, run_ranks_each
from trivium.core.interruption import Interrupted
from trivium.evaluation import probe_choice
from trivium.evaluation.predict import predict_split
from trivium.runs.recorder import Recorder

MODALITIES = ("text", "audio", "vision")
# 8 steps an epoch, the last of 5 clips, 3 on one rank and 2 on the other.
BUDGET = "debug=exact data.batch_size=45 trainer.max_epochs=5 optimizer.lr=0.02 trainer.progress=off"
MEANS = "encoder=identity encoder.out=8"
ALMT = "fusion.dim=8 fusion.heads=2 fusion.head_dim=4 fusion.feedforward=8"
LNLN = "method.dim=8 method.heads=2 method.head_dim=4 method.feedforward=8 method.hidden=4"
TETFN = "fusion.layers=1 fusion.width=4 fusion.heads=2 fusion.dim=8 fusion.kernels.audio=3"
COMM = "encoder=identity fusion=concat fusion.out=8 method.head_hidden=[16] method.head_out=8"
RARE = "data.sampler=balanced objective=cross_entropy objective.class_weights=balanced objective.focal_gamma=1"
# The losses of the subspaces would take most of so few steps of so small a model; test_misa.py has them.
MISA = (
    "method.dim=16 fusion.feedforward=16 method.difference_weight=0 method.similarity_weight=0 "
    "method.reconstruction_weight=0.1 optimizer.lr=0.01 trainer.max_epochs=12"
)
NO_UNIMODAL = "method.unimodal_targets=none"
# Name -> settings, and the kinds.
CASES: dict[str, tuple[str, tuple[str, ...]]] = {
    "supervised": (f"{MEANS} method.modality_dropout=0.1 method.step_dropout=0.05", ("labels", "classes", "traits")),
    "rare classes": (f"{MEANS} {RARE}", ("classes",)),
    "mixup": (f"{MEANS} method.mixup=series", ("classes", "labels", "traits")),
    "ogm_ge": (f"{MEANS} method.balance=ogm_ge", ("classes",)),
    "mmpareto": (f"{MEANS} method.balance=mmpareto", ("traits", "labels", "classes")),
    "tcmax": (f"method=tcmax {MEANS} fusion=share", ("classes",)),
    "joint": (f"method=tcmax objective=joint {MEANS} fusion=share", ("classes",)),
    "unimodal": (f"method=tcmax objective=unimodal {MEANS} fusion=share", ("classes",)),
    "tcmax_regression": (
        f"method=tcmax objective=tcmax_regression objective.negatives=400 {MEANS} fusion=share",
        ("traits",),
    ),
    "selfmi": (f"method=selfmi {NO_UNIMODAL} {MEANS}", ("labels", "classes", "traits")),
    "selfmi_ba": (
        f"method=selfmi {NO_UNIMODAL} {MEANS} method.pair_estimator=ba method.features=projected",
        ("classes",),
    ),
    "selfmm": (f"method=selfmm {NO_UNIMODAL} {MEANS}", ("classes", "labels")),
    "mmim": (f"method=mmim {MEANS}", ("classes",)),
    "mmim_cpc": (f"method=mmim {MEANS} method.ba_weight=0 method.stand_in=conditional", ("traits", "labels")),
    "comm": (f"method=comm {COMM}", ("traits", "classes", "labels")),
    "cross_self": (f"method=cross_self {COMM}", ("traits",)),
    "cross": (f"method=cross {COMM}", ("labels",)),
    "simclr": (f"method=simclr {COMM}", ("traits",)),
    "supcon": (f"method=supcon {COMM}", ("classes",)),
    "gmc": (f"method=gmc {MEANS} fusion=concat trainer.max_epochs=10", ("labels", "classes", "traits")),
    "m3ixup": (f"method=m3ixup {MEANS} fusion=concat method.weights.task_mix=0.5", ("classes", "labels", "traits")),
    "misa": (f"method=misa {MEANS} {MISA}", ("classes", "labels", "traits")),
    "mag_bert": ("method=mag_bert encoder.dim=8 encoder.layers=1", ("labels", "classes", "traits")),
    "lnln": (f"method=lnln {ALMT} {LNLN}", ("labels", "classes", "traits")),
    "almt": (
        # Of labels it learns too little to tell in less width and fewer epochs.
        "fusion=almt encoder=identity fusion.dim=16 fusion.heads=4 fusion.head_dim=4 fusion.feedforward=16 "
        "optimizer.lr=0.005 trainer.max_epochs=12",
        ("traits", "classes", "labels"),
    ),
    "tetfn": (f"method=tetfn {NO_UNIMODAL} {MEANS} {TETFN}", ("classes", "labels", "traits")),
}
PAIRS = [(name, kind) for name, (_, kinds) in CASES.items() for kind in kinds]
# Killed, and trained by two processes of their own, in every run of the tests: one of each way in which a step may read
# the target. The others by their own verb; interrupted and on two ranks in common processes all are.
ALWAYS = [
    ("supervised", "labels"),
    ("comm", "traits"),
    ("m3ixup", "classes"),
]
WHOLE: dict[tuple[str, str], tuple[Path, list[str], dict[str, Any]]] = {}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kinds")


def settings_of(folder: Path, name: str, kind: str) -> list[str]:
    return [*BUDGET.split(), f"data=fixture_{kind}", *CASES[name][0].split(), f"paths.data={folder / 'data'}"]


def path_of(name: str, kind: str) -> str:
    return f"{name.replace(' ', '_')}_{kind}"


def trained(folder: Path, name: str, kind: str) -> tuple[Path, list[str], dict[str, Any]]:
    """The directory, settings and result of a run that nobody stops; made once for all tests."""
    if (name, kind) not in WHOLE:
        settings, path = settings_of(folder, name, kind), folder / path_of(name, kind)
        WHOLE[name, kind] = path, settings, here(folder, *settings, f"run.dir={path}")
    return WHOLE[name, kind]


def short_settings(folder: Path, name: str, kind: str) -> list[str]:
    """Settings of one epoch of eight steps."""
    return [*settings_of(folder, name, kind), "trainer.max_epochs=1"]


def short(folder: Path, name: str, kind: str) -> Path:
    """The directory of a run of one epoch that nobody stops; made once for all tests."""
    path = folder / "short" / path_of(name, kind)
    if not path.is_dir():
        with one_c():
            here(folder, *short_settings(folder, name, kind), f"run.dir={path}")
    return path


@contextlib.contextmanager
def one_c() -> Iterator[None]:
    """Spares the search for a probe's C, which fits thirty classifiers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probe_choice, "search_c", lambda score: 10.0)
        yield


def losses_of(path: Path) -> list[float]:
    return [float(row["loss"]) for row in rows(path / "steps.csv")]


every_pair = pytest.mark.parametrize(("name", "kind"), PAIRS)
some_pairs = pytest.mark.parametrize(
    ("name", "kind"), [pytest.param(*pair, marks=[pytest.mark.slow] * (pair not in ALWAYS)) for pair in PAIRS]
)


@every_pair
def test_it_learns_and_predicts_from_every_subset(
    folder: Path, name: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind != "traits":
        # The search for C fits thirty classifiers; which one wins is no matter here.
        monkeypatch.setattr(probe_choice, "search_c", lambda score: 10.0)
    path, _, result = trained(folder, name, kind)
    test = result["test"]
    if kind == "traits":
        assert test["corr"] > 0.4
    else:
        assert test["auroc"] > 0.75
    if kind == "classes":
        assert test["acc"] > result["train_guess"]["test"]["acc"] + 0.1
    finished = trivium.load_run(path)
    _, data = finished.data()
    loader = data.loader("valid")
    shape = (len(loader.split), *data.target.shape)
    whole = predict_split(finished.method, loader)
    for size in (1, 2):
        for subset in itertools.combinations(MODALITIES, size):
            predicted = predict_split(finished.method, loader, subset)
            assert predicted.score.shape == shape
            assert bool(predicted.score.isfinite().all())
            likely, all_likely = (p.score if p.probabilities is None else p.probabilities for p in (predicted, whole))
            assert not torch.equal(likely, all_likely)


@some_pairs
def test_killed_and_resumed_it_ends_bit_equal(folder: Path, tmp_path: Path, name: str, kind: str) -> None:
    path, settings, _ = trained(folder, name, kind)
    resumed = [*settings, f"run.dir={tmp_path / 'run'}", "run.checkpoint_every=3", "resume=auto"]
    assert run(tmp_path, *resumed, kill=("step", 12)) == -9
    assert run(tmp_path, *resumed) == 0
    expected, found = record(path), record(tmp_path / "run")
    if "probe" in WHOLE[name, kind][2] and kind != "traits":
        # The other run's probe has the C of the test above.
        expected, found = {"epochs": expected["epochs"]}, {"epochs": found["epochs"]}
    assert found == expected


@every_pair
def test_interrupted_and_resumed_it_ends_bit_equal(
    folder: Path, tmp_path: Path, name: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = short(folder, name, kind)
    settings = [*short_settings(folder, name, kind), "run.checkpoint_every=3", f"run.dir={tmp_path}", "resume=auto"]
    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "on_train_batch_end", interrupting(Recorder.on_train_batch_end, 5))
        with pytest.raises(Interrupted):
            here(folder, *settings)
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "interrupted"
    with one_c():
        here(folder, *settings)
    assert record(tmp_path) == record(whole)
    assert losses_of(tmp_path) == losses_of(whole)


def interrupting(original: Callable[..., None], steps: int) -> Callable[..., None]:
    """on_train_batch_end as it is, but for Ctrl-C in the place of that step's."""
    calls = iter(range(10**9))

    def interrupted(*arguments: Any, **keywords: Any) -> None:
        if next(calls) == steps:
            raise KeyboardInterrupt
        original(*arguments, **keywords)

    return interrupted


@pytest.fixture(scope="module")
def two_ranks(folder: Path) -> Path:
    """An epoch of every pair on the same two processes, one after the other; the folder of the runs."""
    place = folder / "two_ranks"
    runs = [[*short_settings(folder, *pair), f"run.dir={place / path_of(*pair)}"] for pair in PAIRS]
    assert run_ranks_each(folder, runs) == [0, 0]
    return place


@every_pair
def test_two_ranks_are_one_process(folder: Path, two_ranks: Path, name: str, kind: str) -> None:
    one, two = losses_of(short(folder, name, kind)), losses_of(two_ranks / path_of(name, kind))
    assert len(two) == 8
    np.testing.assert_allclose(two, one, atol=1e-8)


@some_pairs
def test_two_processes_equal_one(folder: Path, tmp_path: Path, name: str, kind: str) -> None:
    path, settings, _ = trained(folder, name, kind)
    assert run_ranks(tmp_path, *settings, f"run.dir={tmp_path / 'two'}") == [0, 0]
    one, two = (
        np.array([float(row["loss"]) for row in rows(run_dir / "steps.csv")]) for run_dir in (path, tmp_path / "two")
    )
    assert len(one) == len(two) >= 40
    np.testing.assert_allclose(two, one, atol=1e-8)
