"""What is read from SLURM's queue, here a script in the place of squeue; tests/cluster has a real one."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import cloudpickle
import pytest
from submitit import SlurmJob
from submitit.core.utils import DelayedSubmission

from trivium.search import slurm_queue
from trivium.search.slurm_queue import QueueWatcher, jobs_in_queue, wait_for_earlier_jobs


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of which each look at the queue prints the first line, with ; for ends of lines, and takes it away."""
    answers, script = tmp_path / "answers", tmp_path / "squeue"
    script.write_text(f'#!/bin/sh\nhead -1 {answers} | tr ";" "\\n"\nsed -i 1d {answers}\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return answers


def submitted(folder: Path, job: str, number: int, *overrides: str) -> None:
    """A job's folder, as Hydra's launcher leaves it."""
    (folder / job).mkdir(parents=True)
    submission = DelayedSubmission(print, list(overrides), "hydra.sweep.dir", number, "", {})
    (folder / job / f"{job}_submitted.pkl").write_bytes(cloudpickle.dumps(submission))


def test_a_job_that_the_queue_has_forgotten_has_ended_and_one_that_is_queued_again_has_not(queue: Path) -> None:
    queue.write_text("7_0|RUNNING;7_1|CANCELLED;8|REQUEUED\n7_0|PENDING;8|COMPLETING\n")
    watcher = QueueWatcher()
    for job in ("7_0", "7_1", "8", "9"):
        watcher.register_job(job)
    assert [watcher.is_done(job) for job in ("7_0", "7_1", "8", "9")] == [False, True, False, True]
    assert watcher.get_state("7_1") == "CANCELLED"
    assert watcher.get_state("9") == "no longer in the queue"
    watcher.update()
    assert not watcher.is_done("7_0")
    assert not watcher.is_done("8")


def test_a_job_that_slurm_holds_is_warned_of_once(queue: Path) -> None:
    held = "7|PENDING|launch failed requeued held;8|PENDING|Resources;9|RUNNING|None;10|PENDING|JobHeldUser"
    queue.write_text(f"{held}\n{held}\n")
    watcher = QueueWatcher()
    for job in ("7", "8", "9"):  # 10 is not ours
        watcher.register_job(job)
    with pytest.warns(
        UserWarning, match=r"SLURM holds job 7 \(launch failed.*scontrol release 7` .* `scancel 7`"
    ) as told:
        watcher.update()
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        watcher.update()
    assert watcher.get_state("7") == "PENDING"


def test_a_slurm_that_does_not_answer_changes_no_state(queue: Path) -> None:
    queue.write_text("7|RUNNING\n")
    watcher = QueueWatcher()
    watcher.register_job("7")
    assert not watcher.is_done("7")
    (queue.parent / "squeue").write_text("#!/bin/sh\necho 'slurm_load_jobs error: Unable to\n contact' >&2; exit 1\n")
    with pytest.raises(
        ValueError, match=r"^SLURM does not answer \(squeue: slurm_load_jobs error: Unable to contact\)$"
    ):
        jobs_in_queue()
    with pytest.warns(UserWarning, match="SLURM does not answer"):
        watcher.update()
    assert not watcher.is_done("7")


def test_jobs_of_an_earlier_start_are_named_and_waited_for_unless_a_process_waits_for_them(
    queue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(slurm_queue, "_LOOK_EVERY", 0.01)
    folder = tmp_path / ".submitit"
    for task, trial in enumerate((3, 5, 8)):
        submitted(folder, f"7_{task}", task, "seed=1", f"run.trial={trial}")
    submitted(folder, "6_0", 0, "seed=1")
    queue.write_text("6_0|FAILED;7_0|RUNNING;7_1|PENDING;7_2|RUNNING\n7_1|RUNNING\n7_1|COMPLETED\n")
    asked: list[int] = []
    wait_for_earlier_jobs(folder, lambda number: asked.append(number) or number != 8)  # type: ignore[func-returns-value]
    assert {3, 5, 8} == set(asked)
    words = "waiting for 2 jobs of an earlier start: SLURM's 7_0 7_1 (`scancel 7_0 7_1` ends them)"
    assert capsys.readouterr().out.splitlines() == [words]
    assert queue.read_text() == ""
    assert SlurmJob(folder=folder / "%j", job_id="7_0").submission().args[2] == 0


def test_a_sweep_that_was_never_started_asks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    wait_for_earlier_jobs(tmp_path / ".submitit", lambda number: True)
