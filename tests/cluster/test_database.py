"""One study of four searches in processes of their own, in PostgreSQL and in a journal, with kills and server stops.

A trial's draws are a function of its number, and the sampler is random, so that the study must end as one that a single
search made without disturbance.
"""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import optuna
import pytest
from real_postgres import INITDB, POSTGRES, Postgres, running
from real_slurm import PATIENCE, until

import driver
from trivium.search.storage import open_storage

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900 * PATIENCE)]
TRIALS, WORKERS, KILLS = 10, 4, 6
SEARCH = [
    *("-m", "sweep=supervised", "encoder=identity", "hydra.sweeper.sampler=random", "hydra.sweeper.pruner=none"),
    *("hydra.sweeper.study=shared", f"hydra.sweeper.n_trials={TRIALS}", "trainer.max_epochs=2"),
    *("trainer.limit_batches=1", "trainer.progress=off", "run.checkpoint_every=1"),
]


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    if INITDB is None or POSTGRES is None:
        pytest.skip("no PostgreSQL here: `make cluster-test` installs Debian's package postgresql")
    # pytest's own folders are closed to the server's user.
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as started:
        yield started


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study that one search makes without disturbance."""
    folder = tmp_path_factory.mktemp("whole")
    worker = search(folder, "")
    assert driver._exit_code(worker) == 0, logs(folder)
    return folder


def search(folder: Path, storage: str) -> BaseProcess:
    """Starts a search of the study in a process of its own."""
    words = [f"paths.data={folder.parent / 'data'}", f"paths.outputs={folder / 'outputs'}"]
    words += ["trainer.accelerator=cpu", "trainer.threads=1", f"hydra.sweeper.storage='{storage}'"]
    log = folder / f"{time.monotonic_ns()}.log"
    return driver._start(driver._command, [str(driver.ROOT / "train.py"), *SEARCH, *words], folder, log, {})


def logs(folder: Path) -> str:
    return "\n".join(f"{file}\n{file.read_text()}" for file in sorted(folder.glob("*.log")))


def begun(folder: Path) -> int:
    """The number of runs with an epoch behind them."""
    return len(list((folder / "outputs" / "studies" / "shared").glob("*/metrics.csv")))


def disturbed(folder: Path, storage: str, server: Postgres | None) -> list[int]:
    """Keeps four searches at work, kills one after each further trial, and stops the server twice; the exit codes."""
    chance = random.Random(1)
    workers = [search(folder, storage) for _ in range(WORKERS)]
    stops = {2: signal.SIGINT, 4: signal.SIGQUIT} if server else {}
    for kill in range(KILLS):
        until(lambda least=kill: begun(folder) > least, 300, f"{kill + 1} runs")  # type: ignore[misc]
        time.sleep(chance.uniform(0, 1))
        victim = chance.choice([worker for worker in workers if worker.is_alive()])
        assert victim.pid is not None
        os.kill(victim.pid, signal.SIGKILL)
        victim.join()
        # It starts before the server is stopped, and so comes to its study while that is away.
        workers[workers.index(victim)] = search(folder, storage)
        if server is not None and kill in stops:
            server.stop(stops[kill])
            time.sleep(3)
            server.start()
    for worker in workers:
        worker.join(timeout=600 * PATIENCE)
    return [driver._exit_code(worker) for worker in workers]


def trials(folder: Path) -> list[dict[str, str]]:
    rows = driver.rows(folder / "outputs" / "studies" / "shared" / "trials.csv")
    return [{key: value for key, value in row.items() if key != "run"} for row in rows]


@pytest.mark.parametrize("kind", ["postgresql", "journal"])
def test_four_searches_of_one_study_lose_no_trial_and_count_none_twice(
    kind: str, tmp_path: Path, whole: Path, request: pytest.FixtureRequest
) -> None:
    server: Postgres | None = request.getfixturevalue("postgres") if kind == "postgresql" else None
    storage = "" if server is None else server.url
    assert set(disturbed(tmp_path, storage, server)) == {0}, logs(tmp_path)
    # Trials of searches that were killed at the very end.
    assert driver._exit_code(search(tmp_path, storage)) == 0, logs(tmp_path)
    assert trials(tmp_path) == trials(whole)
    assert [row["state"] for row in trials(tmp_path)] == ["complete"] * TRIALS
    study = tmp_path / "outputs" / "studies" / "shared"
    stored = optuna.load_study(study_name="shared", storage=open_storage(storage or str(study / "journal.log"))).trials
    assert [trial.number for trial in stored] == list(range(TRIALS))
    for number in range(TRIALS):
        theirs = whole / "outputs" / "studies" / "shared" / str(number)
        assert driver.record(study / str(number)) == driver.record(theirs)
    assert not (study / str(TRIALS)).exists()


def test_a_server_that_is_not_there_is_one_line_without_the_password(tmp_path: Path) -> None:
    worker = search(tmp_path, "postgresql+psycopg://me:secret@127.0.0.1:1/x")
    assert driver._exit_code(worker) == 2
    printed = logs(tmp_path)
    assert "error: hydra.sweeper.storage: postgresql+psycopg://me:***@127.0.0.1:1/x cannot be opened: " in printed
    assert "secret" not in printed
    assert not (tmp_path / "outputs" / "studies").exists() or not any((tmp_path / "outputs" / "studies").iterdir())
