"""Python of the pages runs as it stands: the tutorial, the blocks of own_loop.md, and that on a finished run."""

import re
import shutil
import textwrap
from pathlib import Path
from typing import Any

import nbformat
import pytest

import trivium
from driver import ROOT, here
from site_build import docs_module
from trivium.evaluation.metrics import compute_metrics

NOTEBOOK = ROOT / "docs" / "tutorial.ipynb"


def blocks(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), flags=re.M | re.S)


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """The checkout in which the notebook was run from docs/, and the notebook with its new outputs."""
    place = tmp_path_factory.mktemp("checkout")
    (place / "docs").mkdir()
    (place / "configs").symlink_to(ROOT / "configs")
    shutil.copy(ROOT / "train.py", place)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT / "src"))
        docs_module("run_notebook").run_notebook(notebook, place / "docs")
    return place, notebook


def kinds(notebook: Any) -> list[list[str]]:
    """Of each cell the types of its outputs, such as stream or image/png."""
    return [
        [max(output.get("data", {output.output_type: 0}), key=["text/plain", "text/html", "image/png", "stream"].index)
         for output in cell.get("outputs", [])]
        for cell in notebook.cells
    ]  # fmt: skip


@pytest.mark.slow
def test_the_tutorial_runs_and_its_committed_outputs_are_of_its_cells(executed: tuple[Path, Any]) -> None:
    _, notebook = executed
    committed = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(committed)
    assert kinds(committed) == kinds(notebook)
    assert sum(map(len, kinds(committed))) >= 8
    assert NOTEBOOK.stat().st_size < 150_000


@pytest.mark.slow
def test_the_tutorials_runs_are_what_it_says(executed: tuple[Path, Any]) -> None:
    frame = trivium.results(executed[0] / "outputs" / "sweeps" / "tutorial")
    mae = frame[(frame.split == "test") & (frame.metric == "mae")]
    assert sorted(zip(mae.label, mae.seed, strict=True)) == [
        (m, s) for m in ("selfmi", "supervised") for s in (1, 2, 3)
    ]
    assert (mae.value < mae.train_mean_mae / 2).all()


def test_the_block_on_a_finished_run_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here(tmp_path, "trainer.max_epochs=1", f"run.dir={tmp_path / 'outputs' / 'runs' / 'first'}")
    monkeypatch.chdir(tmp_path)
    (block,) = [block for block in blocks("docs/running.md") if "load_run" in block]
    exec(block, {})


def test_the_readmes_method_is_that_of_the_page_on_adding_one() -> None:
    (block,) = blocks("README.md")
    assert textwrap.indent(block, "    ") in "\n".join(blocks("docs/extending.md"))


def test_parts_train_in_a_loop_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec("\n".join(blocks("docs/own_loop.md")), names)
    labels = trivium.open_store("data/fixture/synthetic.h5").split("valid").targets["multimodal"]
    guess = compute_metrics("mosi", 0 * labels + labels.mean(), labels)["mae"]
    assert names["complete"]["mae"] < guess / 2
    assert names["complete"]["mae"] < names["from_text"]["mae"]
