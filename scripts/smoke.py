"""Runs the commands of a first day with Trivium on the embedded fixture, and checks what each did (`make smoke`).

Everything lies in outputs/smoke, which each start makes anew. The first check that fails ends it with exit code 1, and
prints what was found instead and the end of the command's output.
"""

from __future__ import annotations

import csv
import html
import json
import math
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
# Relative to ROOT.
OUT = Path("outputs/smoke")
SMALL = f"trainer.accelerator=cpu trainer.threads=1 paths.data={OUT}/data paths.outputs={OUT}"
TABLE = f"trivium reproduce table=smoke jobs=2 paths.outputs={OUT} paths.data={OUT}/data"
# An epoch has 10 steps. With a checkpoint every 4 batches the killed trial resumes from inside one.
SEARCH = f"trivium train -m sweep=supervised hydra.sweeper.n_trials=6 hydra.sweeper.pruner=none \
trainer.max_epochs=4 run.checkpoint_every=4 {SMALL}"
GRID = f"trivium train -m optimizer.lr=0.001,1e30,0.01 trainer.max_epochs=1 {SMALL}"


class MissedError(Exception):
    """Says that a command did not do what it should."""


@dataclass(frozen=True)
class CommandResult:
    """Holds the result of a command that has ended. code: its exit code, -9 after SIGKILL. log: its output's file."""

    code: int
    seconds: float
    log: Path

    def check(self, holds: bool, expected: str, actual: object) -> None:
        """Raises MissedError, with the end of the log, unless the check holds."""
        if not holds:
            end = "\n".join(self.log.read_text().splitlines()[-30:])
            raise MissedError(f"expected {expected}, found {str(actual)[:600]}\n--- the end of {self.log}\n{end}")


def main() -> int:
    """Runs all commands and returns the exit code: 0, 1 after a failed check, 130 after Ctrl-C.

    No process is left behind.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    os.chdir(ROOT)
    if OUT.exists():
        shutil.rmtree(OUT)
    (OUT / "logs").mkdir(parents=True)
    start = time.monotonic()
    try:
        table, study, sweep = make_table(), search(), grid()
        page = make_page(table, study, sweep)
    except MissedError as miss:
        print(f"  MISSED: {miss}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(f"all of it holds, {time.monotonic() - start:.0f} s")
    print(f"table  {table / 'table.md'}\nstudy  {study}\ngrid   {sweep}\npage   {page}")
    return 0


def make_table() -> Path:
    """Checks that a table has a number for every row and measure, over all seeds; returns the table's folder."""
    result = run("table", TABLE)
    result.check(result.code == 0, "exit code 0", result.code)
    definition, folder = yaml.safe_load(Path("configs/table/smoke.yaml").read_text()), OUT / "tables" / "smoke"
    cells = {(cell["row"], cell["measure"]): cell for cell in read_csv(folder / "table.csv")}
    for row, measure in (
        (row["label"], measure["name"]) for row in definition["rows"] for measure in definition["measures"]
    ):
        cell = cells.get((row, measure), {"n": "0", "mean": "nan"})
        is_complete = cell["n"] == str(definition["seeds"]) and math.isfinite(float(cell["mean"]))
        result.check(is_complete, f"{measure} of {row} over {definition['seeds']} seeds", cell)
    print_verdict(result, f"{len(definition['rows'])} rows, {len(definition['measures'])} measures, no hole")
    return folder


def search() -> Path:
    """Checks that a search that was killed inside its trials resumes them; returns the study's folder."""
    result = run("search-killed", SEARCH, kill_when=inside_a_trial)
    result.check(
        result.code == -signal.SIGKILL, "a search still in a trial after its first, to kill", f"code {result.code}"
    )
    (study,) = (OUT / "studies").iterdir()
    finished_before = stamps(study.glob("*/result.json"))
    unfinished = [path for path in runs_of(study) if path / "result.json" not in finished_before]
    # One that has no checkpoint yet begins anew.
    interrupted = [path for path in unfinished if (path / "checkpoints" / "last.ckpt").is_file()]
    result.check(
        len(finished_before) >= 1 and 1 <= len(interrupted) <= len(unfinished) <= 2,
        "one or two interrupted trials after finished ones",
        runs_of(study),
    )
    names = " and ".join(path.name for path in interrupted)
    print_verdict(result, f"{len(finished_before)} finished, killed with SIGKILL in trial {names}")
    result = run("search", SEARCH)
    result.check(result.code == 0, "exit code 0", result.code)
    states = [trial["state"] for trial in read_csv(study / "trials.csv")]
    result.check(states == ["complete"] * 6 and len(runs_of(study)) == 6, "6 complete trials", states)
    result.check(
        stamps(finished_before) == finished_before, "the finished trials' results as they were", stamps(finished_before)
    )
    steps = [read_json(path / "run.json")["resumed_at"] for path in interrupted]
    once = all(len(at) == 1 and at[0] > 0 for at in steps)
    result.check(once, f"trial {names} resumed once, not begun anew", steps)
    resumed = " and ".join(str(at[0]) for at in steps)
    untouched = len(finished_before)
    print_verdict(result, f"6 complete, {untouched} of them untouched, trial {names} resumed at step {resumed}")
    repeat_best(study, result)
    return study


def repeat_best(study: Path, search_result: CommandResult) -> None:
    """Checks that the command that a search prints for its best trial repeats the trial's value, bit for bit."""
    best = read_json(study / "best.json")
    search_result.check(best["command"] in search_result.log.read_text(), "the best trial's command", "none printed")
    result = run("best", f"{best['command']} run.dir={OUT}/best")
    result.check(result.code == 0, "exit code 0", result.code)
    value = read_json(OUT / "best" / "result.json")["val"]["loss"]
    result.check(value == best["value"], f"the val/loss of trial {best['number']}, {best['value']!r}", repr(value))
    print_verdict(result, f"val/loss {value!r}, as in trial {best['number']}")


def grid() -> Path:
    """Checks that a failing job is reported at the end and ends no other; returns the sweep's folder."""
    result = run("grid", GRID)
    result.check(result.code == 1, "exit code 1", result.code)
    (sweep,) = (OUT / "sweeps").iterdir()
    finished = [path.name for path in runs_of(sweep) if (path / "result.json").is_file()]
    result.check(finished == ["0", "2"], "jobs 0 and 2 finished", finished)
    end = r"1 of 3 jobs failed\n(job 1: loss not finite.*)\n *trivium train .*optimizer\.lr=1e\+30"
    reported = re.search(end, result.log.read_text())
    result.check(reported is not None, "job 1 reported at the end with its error and command", "nothing of the kind")
    print_verdict(result, f"exit code 1, jobs 0 and 2 finished; reported: {reported[1][:50] if reported else ''}...")
    return sweep


def make_page(table: Path, study: Path, sweep: Path) -> Path:
    """Checks that the page fetches nothing, and names every finished run and the failed one; returns its path."""
    page = OUT / "page.html"
    result = run("page", f"trivium report {table} {study} {sweep} out={page}")
    result.check(result.code == 0, "exit code 0", result.code)
    fetched = re.findall(r"""\s(?:src|href)=["']?(?!["']|data:|#)[^\s>]+""", page.read_text())
    result.check(not fetched, "a page that fetches nothing", fetched)
    runs = [run.parent for folder in (table / "runs", study, sweep) for run in folder.glob("*/result.json")]
    text = html.unescape(page.read_text())
    named = [row["row"] for row in read_csv(table / "table.csv")] + [str(run) for run in runs]
    named += [read_json(study / "best.json")["command"], f"{sweep / '1'}: not finished (failed"]
    result.check(all(name in text for name in named), "on the page", [name for name in named if name not in text])
    print_verdict(result, f"one file of {len(text) / 1e6:.1f} MB, {len(runs)} runs, the failed one named as left out")
    return page


def run(name: str, command: str, kill_when: Callable[[], bool] = lambda: False) -> CommandResult:
    """Prints a command and runs it to its end, or kills it once kill_when() is true.

    If this process is stopped meanwhile, it kills the command and all that the command started.
    """
    print(f"$ {command}", flush=True)
    program, *words = shlex.split(command)
    # of this environment, whether it is activated or not
    words = [sys.executable, *(["-m", "trivium"] if program == "trivium" else []), *words]
    log, start = OUT / "logs" / f"{name}.log", time.monotonic()
    with log.open("w") as out:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=out, process_group=0)
    try:
        while process.poll() is None:
            if kill_when():
                process.kill()
            time.sleep(0.01)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    return CommandResult(process.returncode, time.monotonic() - start, log)


def inside_a_trial() -> bool:
    """Tells whether a trial has finished, and a later one has a checkpoint and has ended an epoch."""
    runs = [run for study in (OUT / "studies").glob("*") for run in runs_of(study)]
    unfinished = [run for run in runs if not (run / "result.json").exists() and (run / "metrics.csv").exists()]
    return any((run / "result.json").exists() for run in runs) and any(
        len(read_csv(run / "metrics.csv")) > 0 and (run / "checkpoints" / "last.ckpt").exists() for run in unfinished
    )


def print_verdict(result: CommandResult, text: str) -> None:
    print(f"  ok, {result.seconds:.0f} s: {text}", flush=True)


def stamps(files: Iterable[Path]) -> dict[Path, tuple[int, bytes]]:
    return {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in files}


def runs_of(folder: Path) -> list[Path]:
    """Returns the runs' folders of a study or a sweep, in the order of their numbers."""
    return sorted((path for path in folder.glob("*") if path.name.isdigit()), key=lambda path: int(path.name))


def read_csv(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(file.read_text().splitlines()))


def read_json(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text()))


if __name__ == "__main__":
    sys.exit(main())
