"""Rows that are trained once for all situations: the same numbers as of trainings of their own, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from planned_cases import write_table

from trivium.cli.main import main
from trivium.runs.directory import RunDirectory
from trivium.tables.datasets import parts_of
from trivium.tables.definition import read_table
from trivium.tables.plan import Planned, plan

SITUATIONS = {"all labels": [], "half": ["data.labelled=0.5"]}
COMM = {
    "label": "CoMM",
    "overrides": [
        "method=comm",
        "encoder=identity",
        "trainer.max_epochs=2",
        "trainer.patience=0",
        "trainer.select=last",
    ],
}
TUNED = {"label": "Tuned", "start_from_row": "CoMM", "overrides": ["encoder=identity", "fusion=transformer"]}
ONCE: dict[str, Any] = {"datasets": ["fixture"], "situations": SITUATIONS, "trained_once": ["CoMM"]}


def planned(
    folder: Path, rows: list[dict[str, Any]], seeds: int = 1, **more: Any
) -> dict[tuple[str, str, int], Planned]:
    table = read_table(write_table(folder, rows, **{**ONCE, **more}))
    runs = [run for part in parts_of(table) for run in plan(part, seeds, folder / "runs")]
    return {(run.row.label, run.table.situation, run.seed): run for run in runs}


def test_a_situation_begins_from_the_unchanged_run_of_its_seed_and_trains_no_further(tmp_path: Path) -> None:
    runs = planned(tmp_path, [COMM, TUNED], seeds=2)
    for seed in (1, 2):
        whole, half = (runs["CoMM", situation, seed] for situation in SITUATIONS)
        assert whole.start is None
        assert "trainer.max_epochs=2" in whole.overrides
        assert half.start == whole.directory
        assert {"optimizer.lr=0", "trainer.max_epochs=1", "data.labelled=0.5", f"seed={seed}"} < set(half.overrides)
        # What begins from the row begins from its run of the same situation.
        assert runs["Tuned", "half", seed].start == half.directory


def test_numbers_are_those_of_a_training_of_its_own(tmp_path: Path) -> None:
    """The probe is fitted on the labels of the situation, on vectors that are the same bit for bit."""
    file = write_table(tmp_path, [COMM], **ONCE)
    common = [f"paths.data={tmp_path / 'data'}", "trainer.accelerator=cpu"]
    assert main(["reproduce", f"table={file}", f"outputs={tmp_path}", *common]) == 0
    words = [*COMM["overrides"], *SITUATIONS["half"], *common, f"run.dir={tmp_path / 'own'}", "seed=1"]
    assert main(["train", "data=fixture", *words]) == 0
    found = [
        json.loads(path.read_text()) for path in sorted((tmp_path / "tables" / "own" / "runs").glob("*/result.json"))
    ]
    own = RunDirectory(tmp_path / "own").result()
    tests = [result["test"] for result in found]
    assert own["test"] in tests
    # The situation of all labels is another probe.
    assert tests[0] != tests[1]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"trained_once": ["Com"]}, "trained_once: 'Com' is none of the rows; nearest is CoMM; they are CoMM, Tuned"),
        ({"trained_once": ["Tuned"]}, "trained_once: 'Tuned' begins from row 'CoMM' itself; leave it out"),
        ({"situations": {"half": ["data.labelled=0.5"]}}, "trained_once: no situation leaves all as it is"),
        (
            {"situations": {**SITUATIONS, "lost": ["method.modality_dropout=0.5"]}},
            "trained_once: situation 'lost' sets method.modality_dropout=0.5, which changes the training",
        ),
        ({"trained_once": "CoMM"}, "trained_once: expected a list"),
    ],
)
def test_what_would_not_be_the_same_training_is_refused(changed: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=told):
        read_table(write_table(tmp_path, [COMM, TUNED], **{**ONCE, **changed}))


def test_a_method_that_learns_from_labels_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIVIUM_DATA", str(tmp_path / "data"))
    assert main(["train", "data=fixture", "trainer.max_epochs=1", f"run.dir={tmp_path / 'first'}"]) == 0
    with pytest.raises(ValueError, match="table own: trained_once: row 'CoMM': method=supervised learns from labels"):
        planned(tmp_path, [{"label": "CoMM", "overrides": ["method=supervised"]}])
