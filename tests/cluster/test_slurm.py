"""Grids, searches and ranks through a real SLURM of this machine, disturbed in every way that a cluster has."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from real_slurm import PATIENCE, Slurm, until
from sweeping import RUN, SLURM, grid, in_the_middle, train

from driver import record, rows

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900 * PATIENCE)]
# As docs/running.md has it.
SCRIPT = Path(__file__).parent / "job.sh"
# Two gloo processes on one machine: their losses are one process's to the last digits.
TWO = ["trainer=ddp", "trainer.devices=2"]
EXACT = ["debug=exact", "run.log_steps=true", "trainer.progress=off"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("jobs")


@pytest.fixture(scope="module")
def whole(folder: Path) -> Path:
    """The run of RUN that nothing disturbs, without SLURM."""
    command = train(None, folder / "whole", *RUN, f"run.dir={folder / 'whole' / 'run'}")
    assert command.end() == 0, command.printed
    return folder / "whole" / "run"


@pytest.fixture(scope="module")
def whole_of_two(folder: Path) -> Path:
    """The same on two processes, which torchrun starts."""
    command = train(None, folder / "whole_of_two", *RUN, *TWO, f"run.dir={folder / 'whole_of_two' / 'run'}")
    assert command.end() == 0, command.printed
    return folder / "whole_of_two" / "run"


def status(run: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((run / "run.json").read_text())
    return value


def test_a_job_that_is_cancelled_is_one_failure_and_the_grid_goes_on_later(
    slurm: Slurm, folder: Path, whole: Path
) -> None:
    """SLURM has no accounting here, by which submitit would know that the job has ended."""
    words = ["seed=1", "optimizer.lr=0.001,1e30,0.002"]
    command, sweep = grid(slurm, folder / "cancelled", *words, pause=0.4)
    in_the_middle(sweep / "0", command)
    slurm.ask("scancel", min(slurm.jobs("RUNNING")))
    assert command.end() == 1, command.printed
    end = command.printed[command.printed.index("2 of 3 jobs failed") :]
    assert "job 0: ChildProcessError: its process ended without a result (CANCELLED); see " in end
    assert "job 1: loss not finite" in end
    assert "sacct" not in command.printed
    assert "accounting" not in command.printed
    assert (sweep / "2" / "result.json").is_file()
    command, sweep = grid(slurm, folder / "cancelled", *words, "resume=auto", log="2")
    assert command.end() == 1, command.printed
    assert "2 finished, 1 failed" in command.printed
    assert status(sweep / "0")["resumed_at"] > [0]
    assert record(sweep / "0") == record(whole)


def test_a_search_ends_as_without_slurm(slurm: Slurm, folder: Path) -> None:
    words = ["-m", "sweep=supervised", *RUN[:-3], "trainer.max_epochs=1", "hydra.sweeper.n_trials=3"]
    words += ["fusion.dropout=interval(0,0.3)", "hydra.sweeper.at_once=2"]
    commands = {
        "slurm": train(slurm, folder / "searched", *words, *SLURM, "hydra.sweeper.study=slurm"),
        "here": train(slurm, folder / "searched", *words, "hydra.sweeper.study=here", log="2"),
    }
    values = {}
    for study, command in commands.items():
        assert command.end() == 0, command.printed
        table = rows(folder / "searched" / "outputs" / "studies" / study / "trials.csv")
        values[study] = [(row["number"], row["state"], row["value"]) for row in table]
    assert values["slurm"] == values["here"]
    assert [state for _, state, _ in values["slurm"]] == ["complete"] * 3
    assert "sacct" not in commands["slurm"].printed


@pytest.mark.parametrize("options", [["-n", "2"], ["-N", "1", "--ntasks-per-node=2"]], ids=["tasks", "tasks_per_node"])
def test_two_ranks_of_srun_have_one_process_s_losses(
    slurm: Slurm, folder: Path, options: list[str], request: pytest.FixtureRequest
) -> None:
    here = folder / "ranks" / request.node.callspec.id
    here.parent.mkdir(exist_ok=True)
    words = [*RUN[:-2], *EXACT, "data.batch_size=45"]
    one = train(None, here, *words, f"run.dir={here / 'one'}", log="one")
    two = train(slurm, here, *words, f"run.dir={here / 'two'}", "trainer.devices=2", before=("srun", *options))
    assert one.end() == 0, one.printed
    assert two.end() == 0, two.printed
    losses = [np.array([float(row["loss"]) for row in rows(here / name / "steps.csv")]) for name in ("one", "two")]
    assert len(losses[0]) == 30
    np.testing.assert_allclose(losses[1], losses[0], atol=1e-8)
    assert json.loads((here / "two" / "result.json").read_text())["world_size"] == 2


def test_ranks_that_are_not_the_devices_are_refused_by_one_line(slurm: Slurm, folder: Path) -> None:
    command = train(slurm, folder / "refused", *RUN, before=("srun", "-n", "2"))
    assert command.end() == 2, command.printed
    lines = {line for line in command.printed.splitlines() if line.startswith("error: ")}
    assert len(lines) == 1
    assert (
        "2 processes were started from outside (torchrun, srun), but trainer.devices x trainer.num_nodes" in lines.pop()
    )


def test_a_job_that_is_queued_again_in_the_middle_ends_bit_equal(slurm: Slurm, folder: Path, whole: Path) -> None:
    command, sweep = grid(slurm, folder / "requeued", "seed=1", pause=0.4)
    in_the_middle(sweep / "0", command)
    (job,) = slurm.jobs("RUNNING")
    slurm.ask("scontrol", "requeuehold", job)
    # The watcher looks once a minute at least.
    until(lambda: f"SLURM holds job {job} (" in command.printed, 90, "the warning of a job that is held")
    slurm.ask("scontrol", "release", job)
    assert command.end() == 0, command.printed
    assert status(sweep / "0")["resumed_at"] > [0]
    assert record(sweep / "0") == record(whole)


def test_a_node_that_is_set_down_costs_nothing_when_it_is_back(slurm: Slurm, folder: Path, whole: Path) -> None:
    command, sweep = grid(slurm, folder / "down", "seed=1", pause=0.4)
    in_the_middle(sweep / "0", command)
    (job,) = slurm.jobs("RUNNING")
    slurm.ask("scontrol", "update", f"NodeName={slurm.node}", "State=DOWN", "Reason=test")
    until(lambda: job in slurm.jobs("PENDING"), 60, "the job's return to the queue")
    # The job must not be taken for ended meanwhile.
    time.sleep(10)
    assert command.process.poll() is None, command.printed
    slurm.ask("scontrol", "update", f"NodeName={slurm.node}", "State=RESUME")
    assert command.end() == 0, command.printed
    assert status(sweep / "0")["resumed_at"] > [0]
    assert record(sweep / "0") == record(whole)


def test_preempted_jobs_of_one_process_and_of_two_resume_when_the_node_is_free(
    slurm: Slurm, folder: Path, whole: Path, whole_of_two: Path
) -> None:
    """Their grace time begins with SIGTERM for all processes; a job that ended by it would have failed."""
    one, first = grid(slurm, folder / "preempted", "seed=1", pause=2)
    two, second = grid(slurm, folder / "preempted_two", *TWO, "seed=1", pause=2)
    script = train(
        slurm, folder / "script", *RUN, f"run.dir={folder / 'script' / 'run'}", "resume=auto", pause=2,
        before=("sbatch", "--requeue", "--open-mode=append", "--output=job.log", str(SCRIPT)),
    )  # fmt: skip
    assert script.end() == 0, script.printed
    in_the_middle(first / "0", one)
    in_the_middle(second / "0", two)
    until((folder / "script" / "run" / "metrics.csv").is_file, 240, "the script's first epoch")
    slurm.ask("srun", "--partition=urgent", "--exclusive", "true")
    assert [one.end(), two.end()] == [0, 0], one.printed + two.printed
    until((folder / "script" / "run" / "result.json").is_file, 400, "the script's end")
    runs = {first / "0": whole, second / "0": whole_of_two, folder / "script" / "run": whole}
    for run, undisturbed in runs.items():
        assert status(run)["resumed_at"] > [0]
        assert record(run) == record(undisturbed)


def test_jobs_at_their_time_limit_go_on_with_one_process_and_with_two(
    slurm: Slurm, folder: Path, whole: Path, whole_of_two: Path
) -> None:
    # SLURM may send the signal up to a minute early, so that of two minutes 40 s to 100 s are left, the start included.
    limit = ["hydra.launcher.timeout_min=2", "hydra.launcher.signal_delay_s=20", "hydra.launcher.max_num_timeout=9"]
    # 30 steps of 4 s, so that each job has its limit once or more often.
    one, first = grid(slurm, folder / "limited", *limit, "seed=1", pause=4)
    two, second = grid(slurm, folder / "limited_two", *limit, *TWO, "seed=1", pause=4)
    assert [one.end(600), two.end(600)] == [0, 0], one.printed + two.printed
    for sweep, undisturbed in ((first, whole), (second, whole_of_two)):
        assert status(sweep / "0")["resumed_at"] > [0]
        assert record(sweep / "0") == record(undisturbed)


def test_a_job_at_its_last_time_limit_is_a_failure(slurm: Slurm, folder: Path) -> None:
    limit = ["hydra.launcher.timeout_min=2", "hydra.launcher.signal_delay_s=20"]
    command, sweep = grid(slurm, folder / "over", *limit, "seed=1", pause=4)
    assert command.end() == 1, command.printed
    assert "timed-out too many times" in command.printed
    assert (sweep / "0" / "checkpoints" / "last.ckpt").is_file()


@pytest.mark.parametrize("searching", [False, True], ids=["grid", "search"])
def test_a_sweep_that_is_killed_waits_for_its_jobs_when_it_starts_again(
    slurm: Slurm, folder: Path, whole: Path, searching: bool
) -> None:
    """One job runs and one waits in the queue when the sweep's process is killed."""
    here = folder / f"killed_{searching}"
    alone = "hydra.launcher.cpus_per_task=4"
    if searching:
        words = ["-m", "sweep=supervised", *RUN[:7], *RUN[-2:], *SLURM, "hydra.sweeper.study=killed", alone]
        words += ["hydra.sweeper.n_trials=2", "hydra.sweeper.at_once=2"]
        command, sweep = train(slurm, here, *words, pause=0.4), here / "outputs" / "studies" / "killed"
    else:
        command, sweep = grid(slurm, here, "seed=1,2", alone, pause=0.4)
    in_the_middle(sweep / "0", command)
    command.process.send_signal(signal.SIGKILL)
    command.process.wait()
    running, waiting = slurm.jobs("RUNNING"), slurm.jobs("PENDING")
    assert len(running) == len(waiting) == 1
    if searching:
        command = train(slurm, here, *words, log="2")
    else:
        command, sweep = grid(slurm, here, "seed=1,2", alone, "resume=auto", log="2")
    assert command.end() == 0, command.printed
    names = " ".join(sorted([*running, *waiting]))
    assert f"waiting for 2 jobs of an earlier start: SLURM's {names} (`scancel {names}` ends them)" in command.printed
    assert [status(sweep / number)["resumed_at"] for number in "01"] == [[], []]
    assert len({run.name for run in sweep.iterdir() if run.name.isdigit()}) == 2
    if not searching:
        assert record(sweep / "0") == record(whole)


def test_a_controller_that_is_started_again_loses_no_job(slurm: Slurm, folder: Path, whole: Path) -> None:
    command, sweep = grid(slurm, folder / "restarted", "seed=1", pause=0.4)
    in_the_middle(sweep / "0", command)
    slurm.stop_controller()
    time.sleep(5)
    assert command.process.poll() is None, command.printed
    slurm.start_controller()
    assert command.end() == 0, command.printed
    assert status(sweep / "0")["resumed_at"] == []
    assert record(sweep / "0") == record(whole)
