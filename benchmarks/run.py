"""Runs the suites that the command line names: scripts/benchmark.py, `make bench`."""

from __future__ import annotations

import math
import os
import platform
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.measure import OURS, BenchmarkSettings
from benchmarks.mmsa_environment import MMSA
from benchmarks.ratio_table import show
from benchmarks.suites import ON_GPU, SUITES, Suite, SuiteResult
from benchmarks.task_process import run
from trivium.config.arguments import Types, parse_key_values, path, script, truth, whole_number
from trivium.core.files import write_json
from trivium.runs.provenance import git_commit

HELP = """\
Measure speed and memory beside what one would use otherwise.

  python scripts/benchmark.py [key=value ...]

Suites
  mmsa   MMSA, which is installed from the index into an environment of its own. A file in MMSA's layout and CMU-MOSEI's
         shape is made of random numbers, in a temporary folder that is removed at the end. Measured are: opening it so
         that training can start, one epoch of train batches (32 clips each, every value read), and Self-MM training
         steps (16 clips, BERT-base with random weights). Each side runs in fresh processes, in turn. About ten
         minutes on two cores, and MMSA's installation before the first time
  mmsa_methods
         the training steps of every method that MMSA has too (TFN, LMF, MulT, MISA, MMIM, MAG-BERT, Self-MM), each
         beside MMSA's model in MMSA's trainer, the sides in turn, on a small file of that shape. Batches of 16 clips
         with BERT-base, of 4 to 128 without. MAG-BERT needs a second environment, with an older transformers. About
         twenty minutes on two cores
  bare_loop
         epochs of runs (method=supervised, tcmax, gmc), validation, record and checkpoints included, beside a bare
         loop of the same steps that validates too, in turn in one process. A few minutes
  tcmax  TCMax's loss, forward and backward, beside the table of all pairs of clips that its definition asks for, in
         turn in one process; the memory of ours as the batch grows; three modalities that a fusion mixes. About two
         minutes, and 5 GB of memory for the table
  comm   CoMM's training step (64 clips, vision of 20 and text of 300 features) beside a plain implementation that takes
         one view and one mask after another, in turn in one process; clips as long as MOSI's, and all of 50 steps.
         About two minutes
  m3ixup M3ixup's training step beside GMC's (24 clips, text of 300, audio of 74 and vision of 35 features), in turn in
         one process; about a minute

Examples
  python scripts/benchmark.py                          everything, as in docs/results.md
  python scripts/benchmark.py suite=comm out=comm.json CoMM's step alone, numbers kept
  python scripts/benchmark.py suite=mmsa fraction=0.02 steps=4    a minute, to see it work
  python scripts/benchmark.py mmsa=off                 without MMSA: ours alone there
  python scripts/benchmark.py gpu=true                 our training steps on a GPU

Keys
  suite=all       mmsa, mmsa_methods, bare_loop, tcmax, comm, m3ixup, or some of them with commas between
  fraction=0.5    of MOSEI's 16326/1871/4659 clips; 0.5 takes 7 GB of memory on
                  MMSA's side, 6 GB of page cache and of disk
  repeats=3       processes of each side for opening and the epoch; large tables of TCMax; runs of bare_loop
  steps=12        training steps and small tables of each side that are counted; epochs of bare_loop
  store=FILE      of bare_loop: a prepared store with scores; otherwise random clips in the shape of MOSI's
  threads=1       torch's CPU threads; more only where nothing else runs, as threads that wait for each other stall
  folder=DIR      where the temporary folder is made; otherwise the system's place
  mmsa=DIR        the environment of MMSA, made if it is missing; otherwise ~/.cache/trivium/mmsa-venv; off: ours alone
  gpu=true        the training steps of mmsa (float32, bfloat16), comm (also compiled) and m3ixup on a
                  GPU, and nothing else
  out=FILE        also write every number as JSON, after each suite what there is so far
"""


def _fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 1:
        raise ValueError("expected a number above 0, at most 1")
    return value


_TYPES: Types = {
    **dict.fromkeys(("repeats", "steps", "threads"), whole_number),
    "fraction": _fraction,
    "gpu": truth,
    "out": path,
}


def main(argv: Sequence[str]) -> int:
    """Returns the exit code: 0, 1 if a measured process failed, or 2 with one line on stderr."""
    return script(argv, HELP, lambda: _measure(parse_key_values(argv, HELP, _TYPES)), needs_words=False)


def _measure(values: dict[str, Any]) -> int:
    settings, names = _settings(values), _names(values)
    try:
        if values.get("gpu"):
            _bench_gpu(settings, values, names)
        else:
            _bench(settings, values, {name: SUITES[name] for name in names})
    except RuntimeError as error:
        print("failed:", error, file=sys.stderr)
        return 1
    return 0


def _bench(settings: BenchmarkSettings, values: dict[str, Any], suites: Mapping[str, Suite], where: str = "") -> None:
    done: dict[str, SuiteResult] = {}
    where = where or f"threads={settings.threads}, {machine()['cpu']}"
    for name, suite in suites.items():
        done[name] = result = suite(settings, values)
        show(result.rows, f"{result.title}, {where}", result.against)
        if result.note:
            print(result.note)
        _write(values, settings, done, where)


def _bench_gpu(settings: BenchmarkSettings, values: dict[str, Any], names: Sequence[str]) -> None:
    suites = {name: ON_GPU[name] for name in names if name in ON_GPU}
    if not suites:
        raise ValueError(f"gpu=true with suite={','.join(names)}: expected one of {', '.join(ON_GPU)}")
    gpu = run(OURS, "our_side", "cuda", settings.threads)
    if gpu is None:
        print("no CUDA here: gpu=true needs an NVIDIA GPU and a torch built for it; nothing was measured")
        return
    _bench(settings, values, suites, gpu)


def machine() -> dict[str, Any]:
    """Describes the machine: CPU, cores this process may use, memory in GiB (None where unknown), versions."""
    info = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*: (.+)$", info.read_text(), flags=re.MULTILINE) if info.is_file() else []
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    return {
        "cpu": names[0] if names else platform.processor() or platform.machine(),
        "cores": _cores(),
        "memory_gib": round(pages / 2**30, 1) or None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in ("torch", "transformers", "lightning", "numpy", "h5py")},
    }


def _settings(values: dict[str, Any]) -> BenchmarkSettings:
    gpu = values.get("gpu", False)
    return BenchmarkSettings(
        values.get("fraction", 0.02 if gpu else 0.5),
        repeats=values.get("repeats", 3),
        steps=values.get("steps", 50 if gpu else 12),
        threads=values.get("threads", 1),
        mmsa=None,
    )


def _names(values: dict[str, Any]) -> list[str]:
    names = list(SUITES) if values.get("suite", "all") == "all" else values["suite"].split(",")
    unknown = sorted(set(names) - set(SUITES))
    if unknown:
        raise ValueError(
            f"suite={values['suite']}: {unknown[0]!r} is no suite; expected all, or of {', '.join(SUITES)}"
        )
    return names


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _write(values: dict[str, Any], settings: BenchmarkSettings, done: Mapping[str, SuiteResult], where: str) -> None:
    if "out" not in values:
        return
    suites = {
        name: {"against": result.against, "rows": [row.to_dict() for row in result.rows], "raw": result.raw}
        for name, result in done.items()
    }
    write_json(
        values["out"],
        {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": git_commit(),
            "command": shlex.join(
                [
                    "python",
                    "scripts/benchmark.py",
                    *(f"{k}={str(v).lower() if v is True else v}" for k, v in values.items()),
                ]
            ),
            "machine": machine(),
            "where": where,
            "settings": {k: v for k, v in vars(settings).items() if k != "mmsa"},
            "mmsa": MMSA if settings.mmsa else None,
            "suites": suites,
        },
    )
