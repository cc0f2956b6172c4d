"""Reports times and memory from a measured process to the one that started it.

It runs in MMSA's environment too, so it imports the standard library alone.
"""

from __future__ import annotations

import json
import os
import re
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
BATCHES = 8  # that measured steps go through: the first of the train split, in its order, on both sides
Report = Callable[[Any], None]


def reports() -> Report:
    """Returns a function that sends a value as a line of JSON to the process that started this one.

    From this call on, what libraries print goes to stderr.
    """
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def report(value: Any) -> None:
        print(json.dumps(value), file=channel, flush=True)

    return report


def peak_mib() -> float:
    """Returns this process's peak of resident memory so far, in MiB; mapped files that were touched count."""
    status = Path("/proc/self/status")
    if status.is_file():
        # On Linux getrusage starts at what the parent had when it started this process.
        match = re.search(r"^VmHWM:\s+(\d+) kB$", status.read_text(), flags=re.MULTILINE)
        if match:
            return int(match[1]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)  # bytes there, KiB elsewhere


def timed(work: Callable[[], object], least: float = 0.0) -> dict[str, float]:
    """Returns the seconds of one `work`, and its threads' CPU seconds: means over calls that fill `least` seconds."""
    start, worked, times = time.perf_counter(), time.process_time(), 0
    while not times or time.perf_counter() - start < least:
        work()
        times += 1
    return {
        "seconds": (time.perf_counter() - start) / times,
        "cpu_seconds": (time.process_time() - worked) / times,
    }


def paced(batches: Sequence[T], report: Report, finish: Callable[[], None] = lambda: None) -> Iterator[T]:
    """Yields batches in a circle, one for each line on stdin, and reports the time until the next is asked for.

    That is one whole step of the training loop that iterates over this: its seconds, and those that its threads
    worked, which other load on the machine hardly changes. finish: waits for a device.
    Ends the process with SystemExit when stdin says "stop" or is closed.
    """
    report("ready")
    step = 0
    while sys.stdin.readline().strip() == "step":
        start, worked = time.perf_counter(), time.process_time()
        yield batches[step % len(batches)]
        finish()
        report({"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - worked})
        step += 1
    raise SystemExit(0)
