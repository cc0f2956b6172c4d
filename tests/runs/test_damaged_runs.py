"""No damaged file of a run ends a command in a traceback, in an error that names nothing, or never."""

import contextlib
import io
import shutil
from pathlib import Path
from typing import Any

import pytest
from damaged_runs import damages

from trivium.cli.main import main
from trivium.results.folders import gather
from trivium.results.run_list import run_list
from trivium.runs.directory import RunDirectory
from trivium.runs.resume import open_run

OLD = Path(__file__).parent / "version_0_1_0"
DAMAGES = dict(damages())
READ_TO_EVALUATE = ("config.yaml", "result.json", "model.json", "weights")
pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """Two finished runs, of which one gets damaged."""
    for name in ("whole", "damaged"):
        shutil.copytree(OLD / "runs" / "supervised", tmp_path / "outputs" / "runs" / name)
    return tmp_path / "outputs"


def call(*words: object) -> tuple[int, str, str]:
    """Returns a command's exit code, stdout and stderr; any other exception than its exit passes."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main([str(word) for word in words])
        except SystemExit as end:
            code = int(str(end.code))
    return code, out.getvalue(), err.getvalue()


def refusal(config: dict[str, Any]) -> str:
    """Returns why a training of this config cannot begin, "" if it can."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            open_run(config, []).release()
    except ValueError as error:
        return str(error)
    return ""


def test_there_are_enough_kinds() -> None:
    assert len(DAMAGES) > 250


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_run_costs_itself_and_is_named(name: str, outputs: Path) -> None:
    run = outputs / "runs" / "damaged"
    DAMAGES[name](run)
    # runs
    listed = run_list(outputs).set_index("name")
    assert listed.loc["runs/whole", "status"] == "finished"
    assert str(listed.get("status").get("runs/damaged", "")).isprintable()
    # report and results
    sources = gather([outputs / "runs"])
    paths = {record.path.name for record in sources.records}
    assert "whole" in paths
    if "damaged" not in paths and (run / "config.yaml").is_file():
        assert any(str(run) in line for line in sources.left_out)
    if not name.startswith(READ_TO_EVALUATE):
        return
    # evaluate
    code, _, errors = call(
        "evaluate", f"run={run}", f"store={OLD / 'fixture.h5'}", f"out={outputs / 'e'}", "splits=test"
    )
    assert code in (0, 2), errors
    if code:
        assert errors.startswith("error: ")
        assert str(run) in errors
        assert errors.count("\n") == 1
    # train
    config = RunDirectory(outputs / "runs" / "whole").config()
    assert str(run) in (refusal({**config, "resume": str(run)}) or str(run))


@pytest.mark.parametrize(
    "name", [name for name in DAMAGES if name.startswith(("run.json", ".lock", "config.yaml data"))]
)
def test_an_unfinished_run_that_is_damaged_is_named_by_what_looks_for_one(name: str, tmp_path: Path) -> None:
    """resume=auto looks at every unfinished run, and a damaged one costs itself."""
    run = tmp_path / "outputs" / "runs" / "damaged"
    shutil.copytree(OLD / "runs" / "selfmi_unfinished", run)
    config = RunDirectory(run).config()
    DAMAGES[name](run)
    config = {**config, "resume": "auto", "run": {**config["run"], "dir": ""}}
    config["paths"] = {**config["paths"], "outputs": str(tmp_path / "outputs")}
    assert str(run) in (refusal(config) or str(run))
