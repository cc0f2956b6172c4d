"""Gives spoiled files to every reader, for a bounded time: no foreign exception, no hang, no memory above a bound.

`make fuzz SECONDS=600` runs it, SECONDS for each target. The last lines have the figures; the exit code is 1 if
anything was found. What was found lies in the folder that is named, and belongs into tests/fuzz_corpus/TARGET.
"""

from __future__ import annotations

import json
import resource
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st

import driver
from fuzz_targets import TARGETS, ForeignError, name_folder, read, seeds_of, spoil
from trivium.config.arguments import parse_key_values, script
from trivium.runs.provenance import git_commit

HELP = """\
Give spoiled files to readers, store, checkpoint, run, journal and config, and see whether each is refused in words.

  python tests/fuzz.py [key=value ...]

Keys
  seconds=10          how long for each target
  targets=A,B         of mmsa, multibench, dialogues, gmc, csd, folder, store, checkpoint, run, journal, config
  seed=N              what is drawn; otherwise by the time, and printed
  out=DIR             where what was found is kept, otherwise outputs/fuzz; it is emptied first
"""
# Seconds for one input. Bytes that inputs of a few kilobytes may take beyond what the first ones took.
LONGEST, MOST_MEMORY = 20, 256 << 20
# Bytes of address space that a target's process may take further, so that a crafted size does no harm to the machine.
_ADDRESSES = 4 << 30
_EXAMPLES = 200
# Inputs that are read however slow the machine is.
_FEWEST = 3
# Seconds to make what was found small.
_SMALLER = 60


class _OverError(KeyboardInterrupt):
    """Says that the time is over; hypothesis lets it pass."""


@dataclass
class Finding:
    """Holds what a target's inputs came to. memory: bytes more than before. problem: "" if nothing was found."""

    inputs: int = 0
    refused: int = 0
    memory: int = 0
    problem: str = ""


def main(argv: Sequence[str]) -> int:
    """Returns the exit code: 0, 1 if something was found, 2 for a wrong argument."""
    return script(argv, HELP, lambda: _fuzz(parse_key_values(argv, HELP, {"seconds": float})), needs_words=False)


def _fuzz(values: dict[str, Any]) -> int:
    out = Path(values.get("out", driver.ROOT / "outputs" / "fuzz")).absolute()
    shutil.rmtree(out, ignore_errors=True)
    seconds, seed = values.get("seconds", 10.0), int(values.get("seed", time.time_ns() % 100_000))
    names = values.get("targets", ",".join(TARGETS)).split(",")
    results = {name: apart(name, seconds, seed, out) for name in names}
    for name, result in results.items():
        print(f"  {name}: {result.inputs} inputs, {result.refused} refused, {result.memory >> 20} MiB more", flush=True)
        if result.problem:
            print(f"  FOUND: {result.problem}\n  left in {out / name}", flush=True)
    found = sum(bool(result.problem) for result in results.values())
    print(
        f"fuzz: {len(results)} targets, {sum(result.inputs for result in results.values())} inputs, {found} problems "
        f"(foreign exceptions, hangs over {LONGEST} s, more than {MOST_MEMORY >> 20} MiB); {seconds:.0f} s each, seed "
        f"{seed}, commit {(git_commit() or 'unknown')[:12]}"
    )
    return int(found > 0)


def apart(name: str, seconds: float, seed: int, out: Path) -> Finding:
    """Fuzzes a target in a process of its own, which a hang or a crash may end."""
    folder = out / name
    folder.mkdir(parents=True)
    process = driver._start(_in_child, name, seconds, seed, folder)
    # Its own alarm ends it far earlier; this is for a process that the alarm does not reach.
    process.join(seconds + _SMALLER + 10 * LONGEST)
    code, report = process.exitcode, folder / "report.json"
    process.kill()
    if code == 0:
        return Finding(**json.loads(report.read_text()))
    reason = f"no answer within {LONGEST} s" if code == -signal.SIGALRM else f"the process ended with {code}"
    return Finding(problem=f"{name}: {reason}")


def _in_child(name: str, seconds: float, seed: int, folder: Path) -> None:
    # What a reader would wait for without end is ended by the system, whatever holds the interpreter.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    most = psutil.Process().memory_info().vms + _ADDRESSES
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
    result = fuzz(name, seconds, seed, folder / "input")
    (folder / "report.json").write_text(json.dumps(vars(result)))


def fuzz(name: str, seconds: float, seed: int, folder: Path) -> Finding:
    """Reads spoiled inputs in `folder` until the time is over or a problem is found, which then lies beside, in found.

    What takes too much memory lies in `folder` itself.
    """
    result, rounds = Finding(), 0
    seeds, before, until = seeds_of(name), 0, time.monotonic() + seconds

    @settings(
        max_examples=_EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        print_blob=False,
    )
    @given(st.data())
    def one_round(data: st.DataObject) -> None:
        if time.monotonic() >= until + (_SMALLER if result.problem else 0) and result.inputs > _FEWEST:
            raise _OverError
        put(data.draw(st.sampled_from(seeds)), folder)
        spoil(name, folder, lambda strategy: data.draw(strategy))
        _read(name, folder, result)
        result.memory = max(result.memory, _peak() - before)
        if result.memory > MOST_MEMORY:
            result.problem = f"took {result.memory >> 20} MiB"
            raise _OverError

    try:
        # Imports count neither as time nor as memory.
        put(seeds[0], folder)
        _read(name, folder, result)
        before, until = _peak(), time.monotonic() + seconds
        while time.monotonic() < until:
            seeded(seed + rounds)(one_round)()
            rounds += 1
    except (_OverError, ForeignError):
        # The problem, if there is one, is noted.
        pass
    return result


def put(seed: Path, folder: Path) -> None:
    """Copies a seed into a folder, which has nothing else in it."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(seed, folder)
    name_folder(folder)


def _read(name: str, folder: Path, result: Finding) -> None:
    result.inputs += 1
    signal.setitimer(signal.ITIMER_REAL, LONGEST)
    try:
        result.refused += bool(read(name, folder))
    except ForeignError as error:
        result.problem = str(error)
        found = folder.with_name("found")
        shutil.rmtree(found, ignore_errors=True)
        shutil.copytree(folder, found)
        raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
