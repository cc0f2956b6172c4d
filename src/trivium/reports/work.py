"""Doing what a table lacks: each run in a process of train.py, then linear probes and subsets of what it trained."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from trivium.config.compose import CONFIGS
from trivium.reports.definition import Table
from trivium.reports.plan import Planned, seconds_left

TRAIN = CONFIGS.parent / "train.py"


@dataclass(frozen=True)
class Failure:
    """A run that did not end well. reason: its last words; log: all of them."""

    run: Planned
    reason: str
    log: Path


def complete(runs: Sequence[Planned], table: Table, *, jobs: int, logs: Path) -> list[Failure]:
    """Train what is not finished, `jobs` at once, and evaluate what is not. Tells on stdout how far it is.

    A run that fails ends nothing but itself; the failures are returned. Each run's output is logs/RUN.log.
    """
    logs.mkdir(parents=True, exist_ok=True)
    todo = [run for run in runs if run.status != "done"]
    print(f"{len(runs) - len(todo)} of {len(runs)} runs are done{_left(runs, jobs)}", flush=True)
    failures: list[Failure] = []
    with ThreadPoolExecutor(jobs) as pool:
        futures: dict[Future[float], Planned] = {pool.submit(_train, run, _log(run, logs)): run for run in todo}
        try:
            for number, future in enumerate(as_completed(futures), start=1):
                run = futures[future]
                failure = _outcome(run, future, table, logs)
                failures += [failure] if failure else []
                said = f"FAILED: {failure.reason}" if failure else f"{future.result():.0f} s"
                print(f"[{number}/{len(todo)}] {run.name}: {said}{_left(runs, jobs, failures)}", flush=True)
        except BaseException:  # Ctrl-C: what runs is stopped by the same signal, what waits must not begin
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    for run in runs:
        if run not in todo:
            failure = _evaluate(run, table, logs)
            failures += [failure] if failure else []
    return failures


def missing(run: Planned, table: Table) -> list[str]:
    """What the table asks for beside result.json and is not there: the targets to probe, and "subsets"."""
    targets = [target for target, vectors in table.probes.items() if not set(vectors) <= set(read_probes(run, target))]
    return [*targets, *(["subsets"] if table.asks_subsets and not subsets_file(run).is_file() else [])]


def read_probes(run: Planned, target: str) -> dict[str, Any]:
    """Vector -> what `trivium.evaluation.probe.probe_run` found of it; empty if it has not been probed."""
    file = probe_file(run, target)
    found: dict[str, Any] = json.loads(file.read_text())["probes"] if file.is_file() else {}
    return found


def probe_file(run: Planned, target: str) -> Path:
    """Where scripts/evaluate.py probe=true writes."""
    return run.directory.path / ("probe.json" if target == "multimodal" else f"probe_{target}.json")


def read_subsets(run: Planned) -> dict[frozenset[str], dict[str, float]]:
    """Modalities -> metric -> value, of the test split."""
    with subsets_file(run).open(newline="") as file:
        rows = list(csv.DictReader(file))
    head = ("split", "modalities", "n")
    return {
        frozenset(row["modalities"].split("+")): {key: float(row[key]) for key in row if key not in head}
        for row in rows
    }


def subsets_file(run: Planned) -> Path:
    """Where scripts/evaluate.py protocol=subsets writes."""
    return run.directory.path / "subsets.csv"


def _train(run: Planned, log: Path) -> float:
    """Seconds. Raises CalledProcessError if train.py failed. The run ends with this process, to be resumed later."""
    from trivium.runs.launch import die_with_parent  # torch, which a list of what is left does without

    begun = time.monotonic()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    with log.open("w") as file:
        file.write(f"{run.command}\n")
        file.flush()
        command = [sys.executable, str(TRAIN), *run.arguments]
        subprocess.run(
            command, env=environment, stdout=file, stderr=subprocess.STDOUT, check=True, preexec_fn=die_with_parent
        )
    return time.monotonic() - begun


def _outcome(run: Planned, future: Future[float], table: Table, logs: Path) -> Failure | None:
    error = future.exception()
    if isinstance(error, subprocess.CalledProcessError):
        log = _log(run, logs)
        return Failure(run, _last_words(log) or f"exit code {error.returncode}", log)
    if error is not None:
        raise error
    return _evaluate(run, table, logs)


def _evaluate(run: Planned, table: Table, logs: Path) -> Failure | None:
    """Here, one after the other, with one thread: a second or two each."""
    lacking = missing(run, table) if run.status == "done" else []
    if not lacking:
        return None
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    log = _log(run, logs)
    try:
        with log.open("a") as file, contextlib.redirect_stdout(file):
            for work in _works(run, table, lacking):
                work()
    except ValueError as error:
        return Failure(run, str(error), log)
    finally:
        torch.set_num_threads(before)
    return None


def _works(run: Planned, table: Table, lacking: Sequence[str]) -> list[Callable[[], object]]:
    from trivium.evaluation.evaluate import probe

    path, targets = run.directory.path, [target for target in table.probes if target in lacking]
    works: list[Callable[[], object]] = [partial(probe, path, target=t, features=table.probes[t]) for t in targets]
    if table.asks_subsets and "subsets" in lacking:
        from trivium.reports.robustness import write_protocols  # draws figures, and matplotlib takes a second to import

        works.append(partial(write_protocols, path, ["subsets"]))
    return works


def _log(run: Planned, logs: Path) -> Path:
    return logs / f"{run.directory.path.name}.log"


def _last_words(log: Path) -> str:
    """The last line that tells of an error, else the last line."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    told = [line for line in lines if line.startswith("error:") or "Error:" in line]
    return (told or lines)[-1] if lines else ""


def _left(runs: Sequence[Planned], jobs: int, failures: Sequence[Failure] = ()) -> str:
    failed = [failure.run for failure in failures]
    seconds = seconds_left([run for run in runs if run not in failed], jobs)
    if seconds is None:
        return ""
    return (
        "" if seconds == 0 else f"; about {seconds / 60:.0f} min left" if seconds >= 90 else f"; {seconds:.0f} s left"
    )
