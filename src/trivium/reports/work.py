"""Doing what a table lacks: each run in a process of train.py, then linear probes and subsets of what it trained."""

from __future__ import annotations

import contextlib
import csv
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from trivium.reports.plan import Planned, seconds_left
from trivium.reports.processes import RunFailedError, train


@dataclass(frozen=True)
class Failure:
    """A run that did not end well. reason: its last words; log: all of them."""

    run: Planned
    reason: str
    log: Path


def complete(runs: Sequence[Planned], *, jobs: int, logs: Path) -> list[Failure]:
    """Train what is not finished, `jobs` at once, and evaluate what is not. Tells on stdout how far it is.

    A run that fails ends nothing but itself and those that begin from it; the failures are returned. Each run's output
    is logs/RUN.log. Runs whose data are not there are left alone.
    """
    logs.mkdir(parents=True, exist_ok=True)
    before = sum(run.status == "done" for run in runs)
    todo = [run for run in runs if run.status not in ("done", "no data")]
    print(f"{before} of {len(runs)} runs are done{_left(runs, jobs)}", flush=True)
    failures: list[Failure] = []
    with ThreadPoolExecutor(jobs) as pool:
        futures: dict[Future[float], Planned] = {}
        by_path: dict[Path, Future[float]] = {}
        for run in todo:  # a run that others begin from is submitted before them, so that waiting for it ends
            first = by_path.get(run.start.path) if run.start else None
            by_path[run.directory.path] = future = pool.submit(_train, run, _log(run, logs), first)
            futures[future] = run
        try:
            for number, future in enumerate(as_completed(futures), start=1):
                run = futures[future]
                failure = _outcome(run, future, logs)
                failures += [failure] if failure else []
                said = f"FAILED: {failure.reason}" if failure else f"{future.result():.0f} s"
                print(f"[{number}/{len(todo)}] {run.name}: {said}{_left(runs, jobs, failures)}", flush=True)
        except BaseException:  # Ctrl-C: what runs is stopped by the same signal, what waits must not begin
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    told = [failure.run for failure in failures]
    for run in runs:
        if run.status == "done" and run not in told:
            failure = _evaluate(run, logs)
            failures += [failure] if failure else []
    return failures


def missing(run: Planned) -> list[str]:
    """What the table asks for beside result.json and is not there: the targets to probe, and "subsets"."""
    table = run.table
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


def _train(run: Planned, log: Path, first: Future[float] | None) -> float:
    """Seconds. Raises RunFailedError if the run, or the one that it begins from, failed."""
    if first is not None and first.exception() is not None:
        raise RunFailedError(f"the run that it begins from, {run.start and run.start.path}, failed")
    begun = time.monotonic()
    log.write_text(f"{run.command}\n")
    train(run.arguments, log)
    return time.monotonic() - begun


def _outcome(run: Planned, future: Future[float], logs: Path) -> Failure | None:
    error = future.exception()
    if isinstance(error, RunFailedError):
        log = _log(run, logs)
        return Failure(run, str(error) or _last_words(log), log)
    if error is not None:
        raise error
    return _evaluate(run, logs)


def _evaluate(run: Planned, logs: Path) -> Failure | None:
    """Here, one after the other, with one thread: a second or two each."""
    lacking = missing(run) if run.status == "done" else []
    if not lacking:
        return None
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    log = _log(run, logs)
    try:
        with log.open("a") as file, contextlib.redirect_stdout(file):
            for work in _works(run, lacking):
                work()
    except ValueError as error:
        return Failure(run, str(error), log)
    finally:
        torch.set_num_threads(before)
    return None


def _works(run: Planned, lacking: Sequence[str]) -> list[Callable[[], object]]:
    from trivium.runs.evaluate import probe

    path, table = run.directory.path, run.table
    targets = [target for target in table.probes if target in lacking]
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
