"""The short way to add something of one's own: in a copy of the repository, each with the files named and no other."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from driver import ROOT

DATA_YAML = """\
# Laughter, scored from -2 to 2
defaults:
  - custom
  - _self_
name: laughter
label_range: [-2.0, 2.0]
"""

ENCODER_YAML = """\
# The largest value of each feature, after a Linear
_target_: trivium.encoders.peak.Peak
width: 12
"""
ENCODER = """\
from trivium.data.batch import Stream
from trivium.encoders.base import Encoded, Encoder
from torch import nn


class Peak(Encoder):
    def __init__(self, in_dim: int, *, width: int) -> None:
        super().__init__()
        self.linear, self.dim = nn.Linear(in_dim, width), width

    def forward(self, stream: Stream) -> Encoded:
        tokens = self.linear(stream.values)
        pooled = tokens.masked_fill(~stream.mask[..., None], -1e9).amax(dim=1)
        return Encoded(tokens, stream.mask, pooled)
"""

FUSION_YAML = """\
# The product of one projection a modality
_target_: trivium.fusions.product.Product
out: 24
"""
FUSION = """\
import torch
from torch import Tensor, nn

from trivium.encoders.base import Encoded
from trivium.fusions.base import Fusion


class Product(Fusion):
    def __init__(self, dims: dict[str, int], *, out: int) -> None:
        super().__init__()
        self.projections, self.dim = nn.ModuleList(nn.Linear(size, out) for size in dims.values()), out

    def forward(self, encoded: dict[str, Encoded], present_BM: Tensor) -> Tensor:
        parts = [project(one.pooled) for project, one in zip(self.projections, encoded.values(), strict=True)]
        return torch.stack(parts).prod(dim=0)
"""

OBJECTIVE_YAML = """\
# Huber: squared up to delta, absolute beyond
_target_: trivium.objectives.huber.Huber
delta: 0.5
"""
OBJECTIVE = """\
import torch
from torch import Tensor

from trivium.objectives.task import TaskObjective


class Huber(TaskObjective):
    outputs = 1

    def __init__(self, label_range: object, *, delta: float) -> None:
        super().__init__()
        self.delta = delta

    def forward(self, outputs_BK: Tensor, targets_B: Tensor) -> Tensor:
        return torch.nn.functional.huber_loss(outputs_BK[:, 0], targets_B, reduction="none", delta=self.delta)

    def decode(self, outputs_BK: Tensor) -> tuple[Tensor, None]:
        return outputs_BK[:, 0], None
"""

METHOD_YAML = """\
# @package _global_
# Supervised training with noise on the joint vector
defaults:
  - override /optimizer: sgd
  - _self_
method:
  _target_: trivium.methods.noisy.Noisy
  name: noisy
  noise: 0.1
"""
METHOD = """\
import torch
from torch import Tensor

from trivium.data.batch import Batch
from trivium.methods.base import Method, Parts, Prediction
from trivium.methods.heads import Head


class Noisy(Method):
    def __init__(self, parts: Parts, *, name: str, noise: float) -> None:
        super().__init__(parts)
        self.name, self.noise = name, noise
        self.head = Head(parts.fusion.dim, parts.objective.outputs)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        joint = self.fusion(self.encode(batch), batch.present)
        noisy = joint + self.noise * torch.randn_like(joint)
        task = batch.mean(self.objective(self.head(noisy), batch.targets["multimodal"]))
        size = batch.mean(joint.square().mean(dim=1))
        return {"task": task, "size": size, "loss": task + 0.01 * size}

    def predict(self, batch: Batch) -> Prediction:
        joint = self.fusion(self.encode(batch), batch.present)
        return self.decode(self.head(joint), joint)
"""

FILES = {
    "configs/data/laughter.yaml": DATA_YAML,
    "configs/encoder/peak.yaml": ENCODER_YAML,
    "src/trivium/encoders/peak.py": ENCODER,
    "configs/fusion/product.yaml": FUSION_YAML,
    "src/trivium/fusions/product.py": FUSION,
    "configs/objective/huber.yaml": OBJECTIVE_YAML,
    "src/trivium/objectives/huber.py": OBJECTIVE,
    "configs/method/noisy.yaml": METHOD_YAML,
    "src/trivium/methods/noisy.py": METHOD,
}
SHORT = ["trainer.max_epochs=1", "trainer.limit_batches=2", "trainer.accelerator=cpu", "trainer.threads=1"]
COMMANDS = {
    "prepare": ["scripts/prepare.py", "data=laughter", "source=laughter.pkl"],
    "data": ["train.py", "data=laughter"],
    "encoder": ["train.py", "encoder=peak"],
    "one_encoder": ["train.py", "encoder@encoders.audio=peak", "encoders.audio.width=6"],
    "fusion": ["train.py", "fusion=product"],
    "objective": ["train.py", "objective=huber", "objective.delta=0.3"],
    "method": ["train.py", "method=noisy", "method.noise=0.2"],
    "all": ["train.py", "method=noisy", "data=laughter", "encoder=peak", "fusion=product", "objective=huber"],
    "misspelt": ["train.py", "method=noisy", "method.noize=0.2"],
    "evaluate": ["scripts/evaluate.py", "run=runs/all", "modalities=text"],
    "help": ["train.py", "--help"],
}

# All commands in one process, which imports torch once: [exit code, what was printed] of each.
RUNNER = """
import contextlib, io, json, runpy, sys
out = {}
for name, (script, *arguments) in json.load(sys.stdin).items():
    sys.argv, printed, code = [script, *arguments], io.StringIO(), 0
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as end:
            code = end.code or 0
    out[name] = [code, printed.getvalue()]
print(json.dumps(out))
"""


def laughter(path: Path) -> None:
    """A file in MMSA's layout, of two modalities."""
    rng = np.random.default_rng(0)
    content: dict[str, Any] = {}
    for split, count in {"train": 70, "valid": 20, "test": 24}.items():
        scores = rng.uniform(-2, 2, size=count)
        content[split] = {"id": [f"{split}$_${n}" for n in range(1, count + 1)], "regression_labels": scores}
        for name, dim in {"text": 5, "audio": 3}.items():
            content[split][name] = (scores[:, None, None] + rng.normal(size=(count, 6, dim))).astype(np.float32)
            content[split][f"{name}_lengths"] = [6] * count
    path.write_bytes(pickle.dumps(content, protocol=4))


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository's code and configs with the newcomer's files, and its commands' exit codes and output."""
    folder = tmp_path_factory.mktemp("copy")
    unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("src", "configs", "scripts"):
        shutil.copytree(ROOT / name, folder / name, ignore=unwanted)
    shutil.copy(ROOT / "train.py", folder)
    for name, text in FILES.items():
        assert not (folder / name).exists()
        (folder / name).write_text(text)
    laughter(folder / "laughter.pkl")
    commands = {
        name: line + ([*SHORT, f"run.dir=runs/{name}"] if line[0] == "train.py" else [])
        for name, line in COMMANDS.items()
    }
    done = subprocess.run(
        [sys.executable, "-c", RUNNER], input=json.dumps(commands), capture_output=True, text=True, timeout=240,
        cwd=folder, env={**os.environ, "PYTHONPATH": str(folder / "src")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (folder / "said.json").write_text(done.stdout)
    return folder


def said(copy: Path, name: str) -> tuple[int, str]:
    code, printed = json.loads((copy / "said.json").read_text())[name]
    return code, printed


def result_of(copy: Path, name: str) -> dict[str, Any]:
    code, printed = said(copy, name)
    assert code == 0, printed
    result: dict[str, Any] = json.loads((copy / "runs" / name / "result.json").read_text())
    assert np.isfinite(result["test"]["loss"])
    return result


def test_a_data_set_with_one_yaml_and_one_prepare(copy: Path) -> None:
    code, printed = said(copy, "prepare")
    assert code == 0, printed
    result = result_of(copy, "data")
    assert result["feature_set"] == "laughter/laughter"
    assert result["modalities"] == ["text", "audio"]


def test_an_encoder_with_one_file_and_one_yaml(copy: Path) -> None:
    # per modality a Linear, then concat's over 3 * 12 and the head's; the fixture's widths are 16, 6 and 8
    inputs = (16 + 1 + 6 + 1 + 8 + 1) * 12
    assert result_of(copy, "encoder")["parameters"] == inputs + (36 + 1) * 128 + (128 + 1) * 128 + 128 + 1
    assert result_of(copy, "one_encoder")["test"]["mae"] != result_of(copy, "encoder")["test"]["mae"]


def test_a_fusion_with_one_file_and_one_yaml(copy: Path) -> None:
    assert result_of(copy, "fusion")["parameters"] != result_of(copy, "objective")["parameters"]


def test_an_objective_with_one_file_and_one_yaml(copy: Path) -> None:
    result = result_of(copy, "objective")
    rows = [line.split(",") for line in (copy / "runs/objective/predictions.csv").read_text().splitlines()]
    error = np.array([abs(float(row[2]) - float(row[3])) for row in rows if row[0] == "test"])
    huber = np.where(error < 0.3, error**2 / 2, 0.3 * (error - 0.15))
    assert result["test"]["loss"] == pytest.approx(huber.mean(), rel=1e-5)


def test_a_method_with_one_module_and_one_yaml(copy: Path) -> None:
    assert result_of(copy, "method")["method"] == "noisy"
    columns, row = (line.split(",") for line in (copy / "runs/method/metrics.csv").read_text().splitlines())
    epoch = {name: float(value) for name, value in zip(columns, row, strict=True)}
    assert epoch["step"] == 2
    assert epoch["train/loss"] == pytest.approx(epoch["train/task"] + 0.01 * epoch["train/size"])
    assert epoch["lr/rest"] == 0.01  # the optimiser that the method's YAML asks for


def test_they_work_together_are_checked_and_load_again(copy: Path) -> None:
    assert result_of(copy, "all")["feature_set"] == "laughter/laughter"
    code, printed = said(copy, "misspelt")
    assert (code, printed) == (2, "error: method.noize: no such key; nearest is method.noise\n")
    code, printed = said(copy, "evaluate")
    assert code == 0, printed
    _, text = said(copy, "help")
    for line in ("noisy", "peak", "product", "huber", "laughter"):
        assert any(shown.split()[:1] == [line] for shown in text.splitlines())
