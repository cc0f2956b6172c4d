"""What is told of jobs: each one's end once, how many have ended, the best so far, the time left, on bars or lines."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from trivium.runs.directory import RunDirectory
from trivium.search.jobs import as_restarted, print_jobs, print_traceback
from trivium.search.outcome import Outcome
from trivium.search.reporter import Best, Reporter
from trivium.search.scheduler import Job
from trivium.search.titles import settings_of


class Heard:
    """The lines of a reporter without a terminal, and a clock that is set by hand."""

    now = 0.0

    def __init__(self) -> None:
        self.out = io.StringIO()

    def reporter(self, total: int, lower: bool | None = None, done: int = 0) -> Reporter:
        console = Console(file=self.out)
        return Reporter(total, done=done, lower_is_better=lower, console=console, clock=lambda: self.now)

    @property
    def lines(self) -> list[str]:
        return self.out.getvalue().splitlines()


def job(number: int, folder: Path, what: str = "job", settings: str = "") -> Job:
    return Job(
        f"{what} {number}", RunDirectory(folder / str(number)), (), varied=settings_of(settings.split()), epochs=4
    )


def complete(value: float) -> Outcome:
    return Outcome("complete", f"val/loss {value}", value, 4.0)


def trained(run: RunDirectory, epochs: int) -> None:
    run.path.mkdir()
    rows = [f"{epoch},{3 * epoch}" for epoch in range(1, epochs + 1)]
    (run.path / "metrics.csv").write_text("\n".join(["epoch,seconds", *rows]) + "\n")


def test_how_many_have_ended_and_how_long_the_rest_takes(tmp_path: Path) -> None:
    heard = Heard()
    reporter = heard.reporter(5)
    reporter.begins(job(0, tmp_path, settings="seed=1"))
    heard.now = 100.0
    reporter.ends("job 0", complete(0.5))
    reporter.ends("job 0", complete(0.1))  # told once
    heard.now = 200.0
    reporter.begins(job(1, tmp_path), before=6.0)
    reporter.ends("job 1", Outcome("fail", "no " + "such file " * 50))
    assert heard.lines[:3] == [
        "[0/5] job 0 begins: seed=1",
        "[1/5] job 0: val/loss 0.5, 4 s; time left: 7 min",
        "[1/5] job 1 goes on",
    ]
    assert heard.lines[3].startswith("[2/5] job 1: FAILED: no such file such file")
    assert heard.lines[3].endswith("such file ; time left: 5 min")
    assert len(heard.lines[3]) < 300
    assert len(heard.lines) == 4


@pytest.mark.parametrize(("lower", "best"), [(True, ["0.5 (trial 7)", "0.4 (trial 8)"]), (False, ["0.6 (trial 6)"])])
def test_the_best_so_far_is_the_lowest_or_the_highest(lower: bool, best: list[str]) -> None:
    heard = Heard()
    reporter = heard.reporter(10, lower, done=6)
    for number, value in ((6, 0.6), (7, 0.5), (8, 0.4), (9, 0.4)):
        reporter.ends(f"trial {number}", complete(value))
    assert [line.split("best ")[1].split(";")[0] for line in heard.lines] == (
        ["0.6 (trial 6)", *best, best[-1]] if lower else best * 4
    )
    assert heard.lines[-1].startswith("[10/10] trial 9: ")
    assert "time left" not in heard.lines[-1]


def test_the_trials_of_other_processes_count(tmp_path: Path) -> None:
    heard = Heard()
    reporter = heard.reporter(10, True, done=2)
    heard.now = 60.0
    reporter.catch_up(5, Best(0.25, "trial 4"))
    reporter.begins(job(6, tmp_path, "trial", "lr=1"))
    reporter.ends("trial 6", complete(0.5))
    assert heard.lines == [
        "[5/10] trial 6 begins: lr=1",
        "[6/10] trial 6: val/loss 0.5, 4 s; best 0.25 (trial 4); time left: 60 s",
    ]


def test_one_whose_run_another_process_works_on_has_not_ended() -> None:
    heard = Heard()
    heard.reporter(2, True).ends("trial 0", Outcome("running", "0 is in use by another process"))
    assert heard.lines == ["[0/2] trial 0: 0 is in use by another process"]


def shown(folder: Path, width: int) -> str:
    """A terminal while a job of a long name trains, and when it has failed at length."""
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=width, _environ={})
    one = Job("[b]A row of a long name[/b], mosi/mmsa-unaligned-50, seed 12", RunDirectory(folder / "1"), (), epochs=4)
    with Reporter(3, console=console, time_left=lambda reporter: "15 min, guessed for 2 runs") as reporter:
        reporter.begins(one)
        trained(one.run, 3)
        reporter.look(["B"])
        reporter.look(["B"])
        reporter._bars.refresh()
        reporter.ends(one.name, Outcome("fail", "error: broken " * 20))
    return out.getvalue()


def test_bars_on_a_terminal_show_what_runs_and_its_epochs(tmp_path: Path) -> None:
    text = shown(tmp_path, 160)
    assert "[b]A row of a long name[/b]" in text
    assert "epoch 3 of 4, 0 s" in text
    assert "0 of 3; time left: 15 min" in text
    assert "begins" not in text
    assert text.count("B: another process has it; waiting for that") == 1
    assert "FAILED: error: broken" in text


def test_no_line_wraps_on_a_terminal_of_80_columns(tmp_path: Path) -> None:
    without_control_signs = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown(tmp_path, 80))
    lines = re.split(r"[\r\n]", without_control_signs)
    assert max(map(cell_len, lines)) <= 80
    assert any("epoch 3 of 4" in line for line in lines)


def test_lines_elsewhere_are_whole_and_have_no_control_signs(tmp_path: Path) -> None:
    heard = Heard()
    with heard.reporter(1) as reporter:
        reporter.say("a line of more than eighty signs, of which no log file has to cut any or set in a colour 123")
        reporter.begins(Job("[b]B[/b]", RunDirectory(tmp_path / "1"), ()))
    assert heard.lines == [
        "a line of more than eighty signs, of which no log file has to cut any or set in a colour 123",
        "[0/1] [b]B[/b] begins",
    ]
    assert "\x1b" not in heard.out.getvalue()


def test_a_grid_ends_with_a_line_a_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = [job(0, tmp_path, settings="seed=1"), job(1, tmp_path, settings="seed=2")]
    print_jobs(tmp_path, jobs, {"job 0": complete(0.5), "job 1": Outcome("fail", "long story")})
    head, first, second = capsys.readouterr().out.strip().splitlines()
    assert head == f"2 jobs in {tmp_path}: 1 finished, 1 failed"
    assert first.split() == ["job", "0", "val/loss", "0.5", "4", "s", "seed=1"]
    assert second.split() == ["job", "1", "failed", "seed=2"]


def test_a_fault_of_ours_shows_its_traceback_and_a_user_s_mistake_does_not(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    print_traceback(ValueError("no such file"))
    assert capsys.readouterr().err == ""
    print_traceback(KeyError("lost"))
    assert "KeyError: 'lost'" in capsys.readouterr().err
    monkeypatch.setenv("TRIVIUM_TRACEBACK", "1")
    print_traceback(ValueError("no such file"))
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
