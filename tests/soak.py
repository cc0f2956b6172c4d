"""Kills runs, searches and tables at random moments, starts them again, and compares their ends with undisturbed ones.

`make soak SECONDS=600` runs it. The last line has the figures; the exit code is 1 if anything differs.
"""

from __future__ import annotations

import csv
import json
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil
import yaml

import driver
from trivium.config.arguments import parse_key_values, script
from trivium.runs.provenance import git_commit

HELP = """\
Kill runs of every method, of one and two processes, searches and tables at random moments, and start them again.

  python tests/soak.py [key=value ...]

Keys
  seconds=60          how long; the last work is brought to its end
  seed=N              what is killed when; otherwise drawn, and printed
  kinds=run,ranks,search,table  what is killed: runs of one process, of two, searches, tables
  out=DIR             where, otherwise outputs/soak; it is emptied first
"""
# How often each kind has its turn.
KINDS = {"run": 6, "ranks": 2, "search": 1, "table": 1}
# A work that was killed so often is left alone to its end.
MOST_KILLS = 5
# Seconds for a work to end, and for all of its processes to be gone after a kill.
LONGEST, GONE = 600.0, 60.0
SMALL = ["trainer.accelerator=cpu", "trainer.threads=1", "trainer.progress=off", "trainer.patience=0"]
SHORT = ["data.batch_size=72", "trainer.max_epochs=3", "run.checkpoint_every=2", *SMALL]
TWO = ["trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu"]
SEARCH = ["-m", "sweep=supervised", "hydra.sweeper.n_trials=4", "trainer.limit_batches=3", *SHORT]
TABLE = {
    "title": "Two rows",
    "datasets": ["fixture"],
    "overrides": ["data.batch_size=72", "run.checkpoint_every=2", *SMALL],
    "seeds": 2,
    "baseline": "Supervised",
    "rows": [
        {"label": "Supervised", "overrides": ["method=supervised", "trainer.max_epochs=4"]},
        {"label": "Self-MI", "overrides": ["method=selfmi", "trainer.max_epochs=3"]},
    ],
    "measures": [{"name": "MAE", "metric": "mae"}],
}


@dataclass(frozen=True)
class Work:
    """Holds a command to be killed. kind: one of KINDS. script: of the checkout. words: behind it.

    outcome: what a folder holds when the command has ended there, which kills must not change.
    """

    kind: str
    name: str
    script: str
    words: tuple[str, ...]
    outcome: Callable[[Path], Any]


@dataclass
class Tally:
    """Counts kills by kind, the starts that took up a killed work, and works that ended as undisturbed ones."""

    kills: Counter[str] = field(default_factory=Counter)
    resumed: int = 0
    works: int = 0
    equal: int = 0
    misses: list[str] = field(default_factory=list)

    def line(self, seconds: float, seed: int) -> str:
        kills = self.kills
        commit, dirty = (git_commit() or "unknown").partition("-")[::2]
        return (
            f"soak: {kills.total()} kills ({kills['ranks']} under two processes, {kills['search']} in searches, "
            f"{kills['table']} in tables), {self.resumed} resumed, {self.equal} of {self.works} ends bit-equal, "
            f"{len(self.misses)} misses; {seconds:.0f} s, seed {seed}, commit {commit[:12]}{'-' * bool(dirty)}{dirty}"
        )


class MissedError(Exception):
    """Says what a command did that it should not do."""


def main(argv: Sequence[str]) -> int:
    """Returns the exit code: 0, 1 if something differs, 2 for a wrong argument, 130 after Ctrl-C."""
    return script(argv, HELP, lambda: _soak(parse_key_values(argv, HELP, {"seconds": float})), needs_words=False)


def _soak(values: dict[str, Any]) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    seed = int(values.get("seed", time.time_ns() % 100_000))
    kinds = values.get("kinds", ",".join(KINDS)).split(",")
    out = Path(values.get("out", driver.ROOT / "outputs" / "soak")).absolute()
    shutil.rmtree(out, ignore_errors=True)
    # The server of processes imports for seconds, in which there is nothing to kill.
    driver.spawn(time.sleep, 0)
    begin, tally = time.monotonic(), Tally()
    try:
        disturb_in_turn(works(out, kinds, random.Random(seed)), out, tally, values.get("seconds", 60.0), seed)
    except KeyboardInterrupt:
        return 130
    finally:
        print(tally.line(time.monotonic() - begin, seed), flush=True)
    return int(bool(tally.misses))


def works(out: Path, kinds: Sequence[str], draw: random.Random) -> Iterator[Work]:
    """Yields works without end: kinds by their frequencies, methods in turn."""
    rows = yaml.safe_load((driver.ROOT / "configs" / "table" / "smoke.yaml").read_text())["rows"]
    turns = {kind: 0 for kind in KINDS}
    while True:
        (kind,) = draw.choices(kinds, [KINDS[kind] for kind in kinds])
        row = rows[turns[kind] % len(rows)]
        turns[kind] += 1
        data = f"paths.data={out / 'data'}"
        method = (*row["overrides"], *SHORT, data, "run.dir=run", "resume=auto")
        if kind == "run":
            yield Work(kind, row["label"], "train.py", method, _record)
        elif kind == "ranks":
            yield Work(kind, row["label"], "train.py", (*method, *TWO), _record)
        elif kind == "search":
            yield Work(kind, "supervised", "train.py", (*SEARCH, data, "paths.outputs=."), _trials)
        else:
            file = out / "two.yaml"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(yaml.safe_dump(TABLE))
            words = (f"table={file}", "paths.outputs=.", f"paths.data={out / 'data'}", "jobs=2")
            yield Work(kind, "two rows", "scripts/reproduce.py", words, _table)


def disturb_in_turn(series: Iterator[Work], out: Path, tally: Tally, seconds: float, seed: int) -> None:
    """Disturbs one work after the other until the time is over."""
    draw, until = random.Random(seed + 1), time.monotonic() + seconds
    undisturbed: dict[tuple[str, str], tuple[Any, float]] = {}
    for number, work in enumerate(series):
        if time.monotonic() >= until:
            return
        folder, key = out / str(number), (work.kind, work.name)
        try:
            if key not in undisturbed:
                undisturbed[key] = leave_alone(work, out / f"{number}-undisturbed")
            disturb(work, folder, *undisturbed[key], draw, tally)
            shutil.rmtree(folder)
        except MissedError as miss:
            tally.misses.append(f"{work.kind} {work.name}: {miss}")
            print(f"MISSED: {tally.misses[-1]}\n  left in {folder}", file=sys.stderr, flush=True)


def leave_alone(work: Work, folder: Path) -> tuple[Any, float]:
    """Returns the outcome of a work that nobody kills, and the seconds that it took."""
    begin = time.monotonic()
    with _started(work, folder) as process:
        process.join(LONGEST)
        _require_end(process, folder)
    seconds, outcome = time.monotonic() - begin, work.outcome(folder)
    shutil.rmtree(folder)
    return outcome, seconds


def disturb(work: Work, folder: Path, expected: Any, seconds: float, draw: random.Random, tally: Tally) -> None:
    """Starts a work and kills it, again and again, until it ends; then compares its outcome.

    seconds: what it takes undisturbed; a kill comes at any moment of these. Raises MissedError for a start that fails,
    hangs or leaves a process behind, and for another outcome than expected.
    """
    tally.works += 1
    killed: list[str] = []
    while True:
        with _started(work, folder) as process:
            process.join(draw.uniform(0, seconds) if len(killed) < MOST_KILLS else LONGEST)
            if process.exitcode is None and len(killed) < MOST_KILLS:
                victim = _kill(process, folder, work.kind, draw)
                tally.resumed += bool(killed)
                killed.append(victim)
                tally.kills[work.kind] += 1
                process.join(LONGEST)
                if process.exitcode is None:
                    raise MissedError(f"hangs after {victim} was killed")
                _require_alone(folder, victim)
                if process.exitcode:
                    continue
            _require_end(process, folder)
            tally.resumed += bool(killed)
            break
    if work.outcome(folder) != expected:
        raise MissedError(f"ended otherwise than undisturbed, after kills of {', '.join(killed) or 'nothing'}")
    tally.equal += 1
    print(f"{work.kind} {work.name}: {len(killed)} kills ({', '.join(killed)}), bit-equal", flush=True)


class _started:  # noqa: N801, used as a function
    """Runs a work in a folder, and at the end of the block kills whatever is left of it."""

    def __init__(self, work: Work, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        argv = [str(driver.ROOT / work.script), *work.words]
        self.process = driver._start(driver._command, argv, folder, folder / "printed.log", {})

    def __enter__(self) -> BaseProcess:
        return self.process

    def __exit__(self, *_: object) -> None:
        for process in _processes_in(self.folder):
            _end(process)
        self.process.kill()
        self.process.join()


def _kill(process: BaseProcess, folder: Path, kind: str, draw: random.Random) -> str:
    """Kills one of a work's processes, or all of them; returns which."""
    others = _processes_in(folder)
    by_name = {
        "torchrun": [other for other in others if "trivium.runs.torchrun" in _words(other)],
        "a worker": [other for other in others if "trivium.runs.worker" in _words(other)],
        "a job": [other for other in others if kind == "table" and other.pid != process.pid and _is_job(other)],
    }
    by_name = {name: found for name, found in by_name.items() if found}
    choices = ["the parent", *by_name, *(["all"] if len(others) > 1 else [])]
    victim = draw.choice(choices)
    parent = [other for other in others if other.pid == process.pid]
    victims = {"the parent": parent, "all": draw.sample(others, len(others))}.get(victim)
    for target in [draw.choice(by_name[victim])] if victims is None else victims:
        _end(target)
    return victim


def _is_job(process: psutil.Process) -> bool:
    """Tells whether a process is a run of a table: a child of the table's server of processes."""
    words = _words(process)
    parent = _quiet(process.parent)
    return "forkserver" in words and parent is not None and _words(parent) == words


def _processes_in(folder: Path) -> list[psutil.Process]:
    """Returns the processes whose working folder is this one; all that a work starts have it."""
    return [p for p in psutil.process_iter() if _quiet(p.cwd) == str(folder) and _quiet(p.status) != "zombie"]


def _words(process: psutil.Process) -> str:
    return " ".join(_quiet(process.cmdline) or [])


def _quiet(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except psutil.Error:
        return None


def _end(process: psutil.Process) -> None:
    _quiet(process.kill)


def _require_alone(folder: Path, victim: str) -> None:
    until = time.monotonic() + GONE
    while left := _processes_in(folder):
        if time.monotonic() >= until:
            names = "; ".join(f"{process.pid} {_words(process)[:80]}" for process in left)
            raise MissedError(f"{GONE:.0f} s after {victim} was killed there are still {names}")
        time.sleep(0.05)


def _require_end(process: BaseProcess, folder: Path) -> None:
    if process.exitcode != 0:
        last = "\n".join((folder / "printed.log").read_text(errors="replace").splitlines()[-15:])
        code = "none, it hangs" if process.exitcode is None else process.exitcode
        raise MissedError(f"expected exit code 0, found {code}; the last that it printed:\n{last}")


def _record(folder: Path) -> Any:
    return driver.record(folder / "run")


def _trials(folder: Path) -> Any:
    (study,) = (folder / "studies").iterdir()
    rows = _rows_without_times(study / "trials.csv")
    best = json.loads((study / "best.json").read_text())["value"]
    return rows, best, {run.parent.name: driver.record(run.parent) for run in study.glob("*/result.json")}


def _table(folder: Path) -> Any:
    (table,) = (folder / "tables").iterdir()
    runs = {run.parent.name: driver.record(run.parent) for run in table.glob("runs/*/result.json")}
    return _rows_without_times(table / "table.csv"), runs


def _rows_without_times(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return [{k: v for k, v in row.items() if k not in ("seconds", "run")} for row in csv.DictReader(file)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
