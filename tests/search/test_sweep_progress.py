"""What a sweep says of its jobs: each one's end once, how many are done, the best so far, how long the rest takes."""

import json
import time
from pathlib import Path

import pytest

from trivium.runs.directory import RunDirectory
from trivium.search import progress as progress_module
from trivium.search.jobs import as_restarted, tell_where
from trivium.search.outcome import Outcome
from trivium.search.progress import Best, Progress, print_jobs, watched


class Heard(list[str]):
    """The lines, and a clock that is set by hand."""

    now = 0.0

    def progress(self, what: str, total: int, lower: bool | None = None, done: int = 0) -> Progress:
        return Progress(what, total, lower, done, clock=lambda: self.now, say=self.append)


def complete(value: float) -> Outcome:
    return Outcome("complete", f"val/loss {value}", value, 4.0)


def test_how_many_are_done_and_how_long_the_rest_takes() -> None:
    heard = Heard()
    jobs = heard.progress("job", 5)
    jobs.begun(0, "seed=1")
    heard.now = 100.0
    jobs.ended(0, complete(0.5))
    jobs.ended(0, complete(0.1))  # told once
    heard.now = 200.0
    jobs.begun(1, "")
    jobs.ended(1, Outcome("fail", "no " + "such file " * 50))
    assert heard[0] == "job 0, 1 of 5: seed=1"
    assert heard[1] == "job 0: val/loss 0.5 in 4 s | 1 of 5 done, about 7 min left"
    assert heard[2] == "job 1, 2 of 5"
    assert heard[3].startswith("job 1 failed: no such file such file")
    assert heard[3].endswith("such file  | 2 of 5 done, about 5 min left")
    assert len(heard[3]) < 300
    assert len(heard) == 4


@pytest.mark.parametrize(("lower", "best"), [(True, ["0.5 (trial 7)", "0.4 (trial 8)"]), (False, ["0.6 (trial 6)"])])
def test_the_best_so_far_is_the_lowest_or_the_highest(lower: bool, best: list[str]) -> None:
    heard = Heard()
    trials = heard.progress("trial", 10, lower, done=6)
    for number, value in ((6, 0.6), (7, 0.5), (8, 0.4), (9, 0.4)):
        trials.ended(number, complete(value))
    assert [line.split("best ")[1].split(" |")[0] for line in heard] == (
        ["0.6 (trial 6)", *best, best[-1]] if lower else best * 4
    )
    assert heard[-1].endswith("| 10 of 10 done")


def test_the_trials_of_other_processes_count() -> None:
    heard = Heard()
    trials = heard.progress("trial", 10, True, done=2)
    heard.now = 60.0
    trials.catch_up(5, Best(0.25, 4))
    trials.begun(6, "lr=1")
    trials.ended(6, complete(0.5))
    assert heard == [
        "trial 6, 6 of 10: lr=1",
        "trial 6: val/loss 0.5 in 4 s | best 0.25 (trial 4) | 6 of 10 done, about 60 s left",
    ]


def test_one_whose_run_another_process_works_on_is_not_done() -> None:
    heard = Heard()
    heard.progress("trial", 2, True).ended(0, Outcome("running", "0 is in use by another process"))
    assert heard == ["trial 0: 0 is in use by another process | 0 of 2 done"]


def test_runs_that_end_in_other_processes_are_told_while_the_launcher_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_module, "LOOK_EVERY", 0.01)
    heard = Heard()
    jobs = heard.progress("job", 5)
    runs = {number: RunDirectory(tmp_path / str(number)) for number in range(5)}

    def write(number: int, status: str, **result: float) -> None:
        runs[number].path.mkdir(exist_ok=True)
        (runs[number].path / "run.json").write_text(json.dumps({"status": status}))
        if result:
            runs[number].result_file.write_text(json.dumps({"val": result, "seconds": 2.0}))

    def wait_for(lines: int) -> None:
        until = time.monotonic() + 10
        while len(heard) < lines and time.monotonic() < until:
            time.sleep(0.01)

    write(4, "failed: in an earlier start")
    with watched(runs, "loss", jobs):
        write(1, "running")
        write(2, "finished", loss=0.5)
        wait_for(1)
        write(0, "failed: OSError: disk full")
        write(3, "pruned: after epoch 2, val/loss 0.7")
        wait_for(3)
    assert heard[0].startswith("job 2: val/loss 0.5 in 2 s | 1 of 5 done")
    assert {line.split(" |")[0] for line in heard[1:]} == {
        "job 0 failed: OSError: disk full",
        "job 3 pruned after epoch 2, val/loss 0.7",
    }


def test_a_grid_ends_with_a_line_a_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_jobs(tmp_path, {0: "seed=1", 1: "seed=2"}, {0: complete(0.5), 1: Outcome("fail", "long story")})
    head, first, second = capsys.readouterr().out.strip().splitlines()
    assert head == f"2 jobs in {tmp_path}: 1 finished, 1 failed"
    assert first.split() == ["job", "0", "val/loss", "0.5", "4", "s", "seed=1"]
    assert second.split() == ["job", "1", "failed", "seed=2"]


def test_a_fault_of_ours_shows_its_traceback_and_a_user_s_mistake_does_not(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tell_where(ValueError("no such file"))
    assert capsys.readouterr().err == ""
    tell_where(KeyError("lost"))
    assert "KeyError: 'lost'" in capsys.readouterr().err
    monkeypatch.setenv("TRIVIUM_TRACEBACK", "1")
    tell_where(ValueError("no such file"))
    assert "ValueError: no such file" in capsys.readouterr().err


def test_a_job_that_slurm_starts_again_resumes_in_its_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = {"resume": "off", "run": {"dir": "", "trial": 0}, "seed": 1}
    monkeypatch.delenv("SLURM_RESTART_COUNT", raising=False)
    assert as_restarted(config, tmp_path) == config
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert as_restarted(config, tmp_path) == {
        "resume": "auto",
        "run": {"dir": str(tmp_path), "trial": 0},
        "seed": 1,
    }
    asked = {**config, "resume": "auto"}
    assert as_restarted(asked, tmp_path) == asked
