"""Whole runs on a GPU, Lightning's part of them included: always on a pretended one, with `pytest -m gpu` on a real
one.

What a training step asks of the device is in tests/methods/test_steps_on_a_gpu.py; here it is what Lightning asks
around it, checkpoints, the end of a run with its probe, and half precision.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import lightning as L
import pytest
import torch
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch.utils._python_dispatch import _disable_current_modes

from driver import here, record, rows
from pretended_gpu import GPU, pretended_gpu
from trivium.data.resident import ResidentStream
from trivium.data.store import open_store
from trivium.evaluation.missing_modalities import Subject, score_noise
from trivium.evaluation.subsets import predict_subsets
from trivium.evaluation.vectors import collect_vectors
from trivium.methods.base import Method
from trivium.runs.load import load_run
from trivium.runs.trainer import _accelerator

SMALL = ["data.batch_size=16", "trainer.limit_batches=4", "trainer.max_epochs=2"]
SELFMI = ["method=selfmi", "method.pair_estimator=ba", "method.update_from_epoch=1", "encoder.hidden=8"]
COMM = ["method=comm", "encoder.feedforward=16", "encoder.layers=1", "method.head_hidden=[16]", "method.head_out=8"]
KINDS = [
    "pretended",
    pytest.param(
        "real", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")]
    ),
]


class _Accelerator(CPUAccelerator):
    def setup_device(self, device: torch.device) -> None:
        pass


class _Steps(L.Callback):
    """Collects what made the host wait between an epoch's first batch and its last."""

    def __init__(self, waits: list[str]) -> None:
        self.waits, self.begin, self.found = waits, -1, list[str]()

    def on_train_batch_start(self, *_: Any) -> None:
        self.begin = len(self.waits) if self.begin < 0 else self.begin

    def on_train_batch_end(self, *_: Any) -> None:
        self.found += self.waits[self.begin :]
        self.begin = len(self.waits)

    def on_train_epoch_end(self, *_: Any) -> None:
        self.begin = -1


@contextlib.contextmanager
def trainer_on_a_pretended_gpu(memory: int = 1 << 40) -> Iterator[_Steps]:
    """Every Trainer that is made inside is one; the probes' fits, which are the CPU's, are left out of the pretence."""
    with contextlib.ExitStack() as stack:
        steps = _Steps(stack.enter_context(pretended_gpu(memory)))

        class Trainer(L.Trainer):
            def __init__(self, **keys: Any) -> None:
                keys |= {"accelerator": _Accelerator(), "strategy": SingleDeviceStrategy(device=GPU)}
                super().__init__(**keys | {"callbacks": [steps, *keys["callbacks"]]})

        stack.enter_context(mock.patch("lightning.Trainer", Trainer))
        for name in ("choose_classifier", "choose_ridge"):
            target = f"trivium.evaluation.probe.{name}"
            stack.enter_context(mock.patch(target, _without_pretence(getattr(_probe(), name))))
        yield steps


def _probe() -> Any:
    import trivium.evaluation.probe

    return trivium.evaluation.probe


def _without_pretence(function: Callable[..., Any]) -> Callable[..., Any]:
    def called(*args: Any, **keys: Any) -> Any:
        with _disable_current_modes():
            return function(*args, **keys)

    return called


def on_a_gpu(kind: str, folder: Path, *overrides: str, memory: int = 1 << 40) -> list[str]:
    """Train; what made the host wait in training steps (of a real one nothing is known).

    memory: bytes that the GPU says are free; the pretended one has no more, either.
    """
    if kind == "real":
        with mock.patch("torch.cuda.mem_get_info", return_value=(memory, memory)):
            here(folder, *overrides, "trainer.accelerator=gpu")
        return []
    with trainer_on_a_pretended_gpu(memory) as steps:
        here(folder, *overrides)
    return steps.found


def finite(numbers: dict[str, float]) -> bool:
    return all(map(math.isfinite, numbers.values()))


@pytest.mark.parametrize("kind", KINDS)
def test_interrupted_and_resumed_there_it_ends_as_on_the_cpu(kind: str, tmp_path: Path) -> None:
    settings = [*SELFMI, *SMALL, "debug=exact", "trainer.gradient_clip=1"]
    settings += ["run.checkpoint_every=2", "run.log_steps=false"]  # the log reads a loss in each step
    here(tmp_path, *settings, f"run.dir={tmp_path / 'cpu'}")
    calls = iter(range(100))

    def pulled(self: Method, *args: Any) -> Any:
        if next(calls) == 6:  # the third of four steps of the second epoch, a checkpoint behind the second
            raise RuntimeError("the plug is pulled")
        return step(self, *args)

    step = Method.training_step
    with mock.patch.object(Method, "training_step", pulled), pytest.raises(RuntimeError, match="the plug"):
        on_a_gpu(kind, tmp_path, *settings, f"run.dir={tmp_path / 'gpu'}")
    waits = on_a_gpu(kind, tmp_path, *settings, f"resume={tmp_path / 'gpu'}")
    assert json.loads((tmp_path / "gpu" / "result.json").read_text())["resumed_at"]
    assert waits == []
    for file in ("metrics.csv", "predictions.csv"):
        there, expected = rows(tmp_path / "gpu" / file), rows(tmp_path / "cpu" / file)
        assert len(there) == len(expected) > 1
        for one, other in zip(there, expected, strict=True):
            assert numbers(one) == pytest.approx(numbers(other), rel=1e-7, abs=1e-9)


def numbers(row: dict[str, str]) -> dict[str, float]:
    return {key: float(value) for key, value in row.items() if key not in ("split", "id")}


@pytest.mark.parametrize("kind", KINDS)
def test_a_split_that_has_no_room_there_streams_from_the_host_with_the_same_values(kind: str, tmp_path: Path) -> None:
    settings = ["method=supervised", "encoder.hidden=8", "fusion.out=16", "data.standardize.default=zscore", *SMALL]
    settings += ["data.batch_size=8", "data.eval_batch_size=16", "run.log_steps=false"]
    on_a_gpu(kind, tmp_path, *settings, f"run.dir={tmp_path / 'resident'}")
    store = open_store(tmp_path / "data" / "fixture" / "fixture.h5")
    memory = store.split("train").streams["text"].values.nbytes // 2
    gather, pinned = ResidentStream._from_host, list[bool]()

    def gathered(*args: Any) -> torch.Tensor:
        rows = gather(*args)
        pinned.append(rows.pinned if kind == "pretended" else rows.is_pinned())  # type: ignore[attr-defined]
        return rows

    with mock.patch.object(ResidentStream, "_from_host", gathered):
        waits = on_a_gpu(kind, tmp_path, *settings, f"run.dir={tmp_path / 'streamed'}", memory=memory)
    # Of each of three modalities 2 epochs of 4 batches, their validations, and the test.
    assert len(pinned) == 3 * (2 * (4 + 6) + 8 + 6)
    assert all(pinned)
    assert waits == []
    assert record(tmp_path / "streamed") == record(tmp_path / "resident")


@pytest.mark.parametrize("kind", KINDS)
def test_a_probed_method_ends_there_in_mixed_precision(kind: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    waits = on_a_gpu(kind, tmp_path, *COMM, *SMALL, "trainer.precision=bf16-mixed", f"run.dir={run}")
    result = json.loads((run / "result.json").read_text())
    assert finite(result["test"])
    assert result["probe"]["kind"] == "ridge"
    assert waits == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("precision", ["bf16-true", "16-mixed"])
def test_a_run_in_half_precision_ends_there(precision: str, kind: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    settings = ["method=supervised", *SMALL, f"trainer.precision={precision}"]
    waits = on_a_gpu(kind, tmp_path, *settings, f"run.dir={run}")
    assert finite(json.loads((run / "result.json").read_text())["test"])
    if precision == "bf16-true":
        assert waits == []
    else:  # the scaler of gradients looks whether any is infinite
        assert kind == "real" or len(waits) == 8


@pytest.mark.parametrize("kind", KINDS)
def test_a_finished_run_is_evaluated_there_as_on_the_cpu(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "run"
    here(tmp_path, "method=supervised", *SMALL, f"run.dir={path}")
    with pretended_gpu() if kind == "pretended" else contextlib.nullcontext():
        there = evaluations(path, "cuda")
    assert there == pytest.approx(evaluations(path, "cpu"), rel=1e-3, abs=1e-3)


def evaluations(path: Path, device: str) -> dict[str, float]:
    """From some modalities, from every subset, with noise, and from vectors."""
    run = load_run(path, device)
    subject = Subject.open(run.method, run.data()[1], "test")
    assert subject.loader.split.device.type == device
    subsets = predict_subsets(run.method, subject.loader)
    noisy = {f"{row['kind']} {row['modalities']} {row['level']}": row["loss"] for row in score_noise(subject, 1)}
    vectors = {name: float(rows.double().mean()) for name, rows in collect_vectors(run.method, subject.loader).items()}
    missing = {"+".join(subset): float(found.score.mean()) for subset, found in subsets.by_subset.items()}
    return {"loss": run.evaluate("valid", modalities=["text"])["loss"], **noisy, **missing, **vectors}


@pytest.mark.parametrize(("there", "chosen"), [(True, "cuda"), (False, "cpu")])
def test_auto_is_cuda_or_the_cpu_and_never_another_kind_of_gpu(there: bool, chosen: str) -> None:
    with mock.patch("torch.cuda.is_available", return_value=there):
        assert _accelerator("auto") == chosen
        assert _accelerator("cpu") == "cpu"


def test_a_gpu_that_is_not_there_is_told_with_the_torch_that_looked(tmp_path: Path) -> None:
    with (
        mock.patch("torch.cuda.is_available", return_value=False),
        pytest.raises(ValueError, match=r"trainer.accelerator=gpu: torch [0-9.]+.* finds no NVIDIA GPU here"),
    ):
        here(tmp_path, "trainer.accelerator=gpu", f"run.dir={tmp_path / 'run'}")
    assert not (tmp_path / "run").exists()
