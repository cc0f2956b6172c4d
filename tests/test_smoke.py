"""scripts/smoke.py says so when a command did not do what it should: each check of it fails on a wrong outcome."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from driver import ROOT

TABLE = "rows: [{label: Joint}, {label: Cross+Self}]\nmeasures: [{name: MAE}]\nseeds: 2\n"
BEST = "trivium train optimizer.lr=0.1 'x=<a>'"
FAILED = "1 of 3 jobs failed\njob 1: loss not finite at epoch 1\n  trivium train optimizer.lr=1e+30\n"


def load() -> Any:
    spec = importlib.util.spec_from_file_location("smoke", ROOT / "scripts" / "smoke.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["smoke"] = module  # where its dataclass looks
    spec.loader.exec_module(module)
    return module


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


class Commands:
    """What the five commands leave, well done; `spoil` changes what one of them has left."""

    def __init__(self, smoke: Any) -> None:
        self.smoke, self.out = smoke, smoke.OUT
        self.study, self.sweep = self.out / "studies" / "s", self.out / "sweeps" / "now"
        self.spoiled: dict[str, Callable[[], Any]] = {}
        self.codes = {"search-killed": -9, "grid": 1}
        self.said = {"search": BEST, "grid": FAILED}

    def spoil(self, name: str, change: Callable[[], Any]) -> None:
        self.spoiled[name] = change

    def run(self, name: str, command: str, kill_when: Any = None) -> Any:
        getattr(self, name.replace("-", "_"))()
        self.spoiled.get(name, lambda: None)()
        write(self.out / "logs" / name, self.said.get(name, ""))
        return self.smoke.CommandResult(self.codes.get(name, 0), 1.0, self.out / "logs" / name)

    def result(self, run: Path, value: float) -> None:
        write(run / "result.json", json.dumps({"val": {"loss": value}}))

    def table(self) -> None:
        folder = self.out / "tables" / "smoke"
        write(folder / "table.csv", "row,measure,mean,n\nJoint,MAE,1.5,2\nCross+Self,MAE,0.5,2\n")
        self.result(folder / "runs" / "Joint_s1", 0.0)

    def search_killed(self) -> None:
        self.result(self.study / "0", 0.5)
        write(self.study / "1" / "run.json", json.dumps({"resumed_at": []}))
        write(self.study / "1" / "checkpoints" / "last.ckpt", "")

    def search(self) -> None:
        write(self.study / "1" / "run.json", json.dumps({"resumed_at": [8]}))
        for number in range(1, 6):
            self.result(self.study / str(number), 0.5 + number)
        write(self.study / "trials.csv", "number,state\n" + "".join(f"{n},complete\n" for n in range(6)))
        write(self.study / "best.json", json.dumps({"number": 0, "value": 0.5, "command": BEST}))

    def best(self) -> None:
        self.result(self.out / "best", 0.5)

    def grid(self) -> None:
        for number in "02":
            self.result(self.sweep / number, 1.0)
        (self.sweep / "1").mkdir()

    def page(self) -> None:
        runs = [file.parent for folder in ("tables/smoke/runs", "studies/s", "sweeps/now") for file in
                sorted((self.out / folder).glob("*/result.json"))]  # fmt: skip
        named = ["Joint Cross+Self trivium train optimizer.lr=0.1 &#39;x=&lt;a&gt;&#39;", *map(str, runs)]
        failed = f"{self.sweep / '1'}: not finished (failed: NonFiniteLossError)"
        write(self.out / "page.html", "\n".join(['<a href="#x"><img src="data:image/png;base64,">', *named, failed]))


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    smoke = load()
    monkeypatch.setattr(smoke, "ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "configs" / "table" / "smoke.yaml", TABLE)
    write(tmp_path / "outputs" / "runs" / "mine", "kept")
    write(smoke.OUT / "page.html", "of the last time")
    made = Commands(smoke)
    monkeypatch.setattr(smoke, "run", made.run)
    monkeypatch.setattr(smoke.signal, "signal", lambda *_: None)
    return made


def test_what_is_well_done_passes_and_nothing_else_is_deleted(
    commands: Commands, capsys: pytest.CaptureFixture[str]
) -> None:
    assert commands.smoke.main() == 0
    printed = capsys.readouterr().out
    assert "trial 1 resumed at step 8" in printed
    assert all(
        str(path) in printed for path in (commands.out / "tables/smoke/table.md", commands.study, commands.sweep)
    )
    assert Path("outputs/runs/mine").read_text() == "kept"


SPOILED: dict[str, tuple[str, Callable[[Commands], Any], str]] = {
    "a row is missing": (
        "table",
        lambda c: write(c.out / "tables/smoke/table.csv", "row,measure,mean,n\nJoint,MAE,1.5,2\n"),
        "MAE of Cross+Self over 2 seeds",
    ),
    "a seed is missing": (
        "table",
        lambda c: write(c.out / "tables/smoke/table.csv", "row,measure,mean,n\nJoint,MAE,1.5,1\n"),
        "MAE of Joint over 2 seeds",
    ),
    "a cell is empty": (
        "table",
        lambda c: write(c.out / "tables/smoke/table.csv", "row,measure,mean,n\nJoint,MAE,nan,2\n"),
        "MAE of Joint",
    ),
    "a run of the table failed": ("table", lambda c: c.codes.update(table=1), "exit code 0, found 1"),
    "the search failed": ("search", lambda c: c.codes.update(search=1), "exit code 0, found 1"),
    "the best command failed": ("best", lambda c: c.codes.update(best=1), "exit code 0, found 1"),
    "the page failed": ("page", lambda c: c.codes.update(page=2), "exit code 0, found 2"),
    "the search ended before it was killed": ("search-killed", lambda c: c.codes.pop("search-killed"), "to kill"),
    "killed between two trials": ("search-killed", lambda c: shutil.rmtree(c.study / "1"), "one or two interrupted"),
    "killed before a checkpoint": (
        "search-killed",
        lambda c: (c.study / "1/checkpoints/last.ckpt").unlink(),
        "one or two interrupted",
    ),
    "killed in the first": ("search-killed", lambda c: (c.study / "0/result.json").unlink(), "after finished ones"),
    "a seventh trial": ("search", lambda c: (c.study / "6").mkdir(), "6 complete trials"),
    "a finished trial run again": ("search", lambda c: os.utime(c.study / "0/result.json", (1, 1)), "as they were"),
    "another result": ("search", lambda c: c.result(c.study / "0", 0.4), "as they were"),
    "begun anew": (
        "search",
        lambda c: write(c.study / "1/run.json", json.dumps({"resumed_at": [0]})),
        "trial 1 resumed once",
    ),
    "no best command": ("search", lambda c: c.said.pop("search"), "the best trial's command"),
    "another value": (
        "best",
        lambda c: c.result(c.out / "best", 0.5000001),
        "the val/loss of trial 0, 0.5, found 0.50",
    ),
    "the grid says all is well": ("grid", lambda c: c.codes.update(grid=0), "exit code 1, found 0"),
    "the failure ended the grid": ("grid", lambda c: shutil.rmtree(c.sweep / "2"), "jobs 0 and 2 finished"),
    "told without its command": ("grid", lambda c: c.said.update(grid=FAILED[:50]), "job 1 reported at the end"),
    "a page that fetches": (
        "page",
        lambda c: write(c.out / "page.html", '<script src="https://cdn.example/plot.js">'),
        "a page that fetches nothing, found [' src=\"https://",
    ),
    "a page without the failed run": (
        "page",
        lambda c: write(c.out / "page.html", (c.out / "page.html").read_text().replace("not finished", "")),
        "on the page",
    ),
}


@pytest.mark.parametrize("case", SPOILED)
def test_a_wrong_outcome_is_told_with_exit_code_1(
    case: str, commands: Commands, capsys: pytest.CaptureFixture[str]
) -> None:
    name, change, told = SPOILED[case]
    commands.spoil(name, lambda: change(commands))
    assert commands.smoke.main() == 1
    printed = capsys.readouterr()
    assert told in printed.err
    assert "all of it holds" not in printed.out


SLEEPER = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_no_process_outlives_it(tmp_path: Path, number: signal.Signals) -> None:
    """A command with a child of its own, and the signal to smoke.py alone."""
    code = f"""
import sys
sys.path.insert(0, {str(ROOT / "scripts")!r})
import smoke
smoke.ROOT = {str(tmp_path)!r}
smoke.make_table = lambda: smoke.run("sleeper", {f'python -c "{SLEEPER}"'!r})
sys.exit(smoke.main())
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # tests run in the background are deaf to Ctrl-C
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("$ python")
    while len(found := descendants(process.pid)) < 2:
        time.sleep(0.05)
    process.send_signal(number)
    assert process.wait(timeout=20) == 128 + number
    deadline = time.monotonic() + 5
    while any(alive(pid) for pid in found):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def descendants(pid: int) -> list[int]:
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return children + [found for child in children for found in descendants(child)]


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"
