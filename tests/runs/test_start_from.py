"""A run that begins with another's encoders and fusion: what is taken, what is not, and what is refused."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from driver import here
from trivium.config.check import problems_of
from trivium.runs.load import load_run
from trivium.runs.start_from import start_from


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("start")
    here(folder, "method=supervised", "trainer.max_epochs=1", f"run.dir={folder / 'first'}")
    return folder / "first"


def test_encoders_and_fusion_begin_as_the_other_run_ended(first: Path, tmp_path: Path) -> None:
    settings = ["trainer.max_epochs=1", "optimizer.lr=0", "optimizer.weight_decay=0"]
    here(
        tmp_path,
        "method=supervised",
        "method.head_hidden=[]",
        *settings,
        f"start_from={first}",
        f"run.dir={tmp_path / 'second'}",
    )
    before, after = load_file(first / "weights.safetensors"), load_file(tmp_path / "second" / "weights.safetensors")
    taken = [name for name in before if name.startswith(("encoders.", "fusion."))]
    assert len(taken) > 10
    for name in taken:
        torch.testing.assert_close(after[name], before[name], rtol=0, atol=0)


def test_another_fusion_begins_anew_with_a_warning(first: Path) -> None:
    run = load_run(first)
    weights = {name: value.clone() for name, value in run.method.state_dict().items()}
    run.method.fusion = torch.nn.Linear(2, 2)
    kept = run.method.fusion.weight.clone()
    with pytest.warns(UserWarning, match="the fusion begins anew"):
        start_from(run.method, first)
    assert torch.equal(run.method.fusion.weight, kept)
    assert torch.equal(run.method.state_dict()["encoders.text.project.weight"], weights["encoders.text.project.weight"])


def test_other_encoders_are_refused_with_the_weight_that_differs(first: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"start_from: .*encoders\.text.* there and .* here"):
        here(tmp_path, "method=supervised", "encoder.hidden=32", f"start_from={first}")
    assert not list((tmp_path / "outputs").glob("runs/*"))


def test_a_folder_without_weights_is_refused_before_training(tmp_path: Path) -> None:
    (problem,) = problems_of([f"start_from={tmp_path}"])
    assert "no result.json" in problem


def test_another_start_is_another_config(first: Path, tmp_path: Path) -> None:
    hashes = set()
    for name, start in (("a", ""), ("b", str(first))):
        here(tmp_path, "method=supervised", "trainer.max_epochs=1", f"start_from={start}", f"run.dir={tmp_path / name}")
        hashes.add(json.loads((tmp_path / name / "result.json").read_text())["config_hash"])
    assert len(hashes) == 2


@pytest.mark.slow  # test_comm.py fine-tunes both ways too
def test_comm_is_fine_tuned_by_supcon_and_by_a_head(tmp_path: Path) -> None:
    """Both ways of docs/methods/comm.md, from one pretraining."""
    tiny = ["encoder.feedforward=16", "encoder.layers=1", "trainer.max_epochs=1", "data.batch_size=64"]
    here(tmp_path, "method=comm", *tiny, "method.head_hidden=[16]", "method.head_out=8", f"run.dir={tmp_path / 'comm'}")
    start = f"start_from={tmp_path / 'comm'}"
    tuned = here(tmp_path, "method=supcon", *tiny, start, f"run.dir={tmp_path / 'supcon'}")
    assert tuned["probe"]["sign"]["test"].keys() >= {"balanced_accuracy"}
    headed = ["method=supervised", "encoder=published/comm", "fusion=transformer", *tiny, start]
    here(tmp_path, *headed, "optimizer.lr=0", "optimizer.weight_decay=0", f"run.dir={tmp_path / 'headed'}")
    before, after = (load_file(tmp_path / run / "weights.safetensors") for run in ("comm", "headed"))
    taken = [name for name in after if name.startswith(("encoders.", "fusion."))]
    assert all(torch.equal(after[name], before[name]) for name in taken)
    assert any(name.startswith("fusion.layers.0") for name in taken)


def test_another_order_of_modalities_starts_the_fusion_anew(first: Path, tmp_path: Path) -> None:
    """A fusion goes by position: with equal sizes text's weights would silently become audio's."""
    settings = ["method=supervised", "data.modalities=[vision,audio,text]", "trainer.max_epochs=1", "optimizer.lr=0"]
    with pytest.warns(UserWarning, match="the fusion begins anew.*modalities are .* there and .* here"):
        here(tmp_path, *settings, "optimizer.weight_decay=0", f"start_from={first}", f"run.dir={tmp_path / 'turned'}")
    before, after = (load_file(run / "weights.safetensors") for run in (first, tmp_path / "turned"))
    assert not torch.equal(after["fusion.layers.1.weight"], before["fusion.layers.1.weight"])
    assert torch.equal(after["encoders.text.project.weight"], before["encoders.text.project.weight"])
