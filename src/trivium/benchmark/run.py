"""`make bench`: what scripts/benchmark.py runs."""

from __future__ import annotations

import os
import platform
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from trivium.benchmark import measure
from trivium.benchmark.environment import MMSA, default_folder, mmsa_python
from trivium.benchmark.processes import run
from trivium.benchmark.table import Row, rows, show
from trivium.config.arguments import parse_key_values
from trivium.files import write_json

HELP = """\
Measure speed and memory beside MMSA, which is installed from the index into an environment of its own.

  python scripts/benchmark.py [key=value ...]

A file in MMSA's layout and CMU-MOSEI's shape is made of random numbers, in a temporary folder that is removed at the
end. Measured are: opening it so that training can start, one epoch of train batches (32 clips each, every value read),
and Self-MM training steps (16 clips, BERT-base with random weights). Each side runs in fresh processes, in turn.
It takes about ten minutes on two cores, and MMSA's installation before the first time.

Examples
  python scripts/benchmark.py                          everything, as in docs/results.md
  python scripts/benchmark.py fraction=0.02 steps=4    a minute, to see it work
  python scripts/benchmark.py mmsa=off out=ours.json   ours alone, numbers kept
  python scripts/benchmark.py gpu=true                 our training step on a GPU, float32 and bfloat16

Keys
  fraction=0.5    of MOSEI's 16326/1871/4659 clips; 0.5 takes 7 GB of memory on
                  MMSA's side, 6 GB of page cache and of disk
  repeats=3       processes of each side for opening and the epoch
  steps=12        training steps of each side that are counted
  threads=1       torch's CPU threads; more only where nothing else runs, as threads that wait for each other stall
  folder=DIR      where the temporary folder is made; otherwise the system's place
  mmsa=DIR        the environment of MMSA, made if it is missing; otherwise ~/.cache/trivium/mmsa-venv; off: ours alone
  gpu=true        the training step on a GPU, and nothing else
  out=FILE        also write every number as JSON
"""
_KEYS = re.findall(r"^  ([a-z]+)=", HELP, flags=re.MULTILINE)


def main(argv: Sequence[str]) -> int:
    """Exit code: 0, 1 if a measured process failed, or 2 with one line on stderr."""
    if argv and argv[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0
    try:
        values = parse_key_values(argv, _KEYS)
        gpu = values.get("gpu", "false") == "true"
        settings = _settings(values)
        _bench_gpu(settings, values) if gpu else _bench(settings, values)
    except (ValueError, OSError) as error:
        print("error:", error, file=sys.stderr)
        return 2
    except RuntimeError as error:
        print("failed:", error, file=sys.stderr)
        return 1
    return 0


def _bench(settings: measure.Settings, values: dict[str, str]) -> None:
    if values.get("mmsa") != "off":
        _say("MMSA: its environment")
        try:
            settings.mmsa = mmsa_python(Path(values["mmsa"]).expanduser() if "mmsa" in values else default_folder())
        except RuntimeError as error:
            _say(f"{error}\nmeasuring ours alone")
    with tempfile.TemporaryDirectory(prefix="trivium-bench-", dir=values.get("folder")) as folder:
        files = measure.Files(Path(folder))
        _say(f"making and preparing a file of {settings.fraction:g} of MOSEI")
        prepared = measure.prepare(settings, files)
        _say(f"opening, and an epoch of batches, {settings.repeats} times a side")
        loading = measure.loading(settings, files)
        _say(f"training steps, {settings.steps} a side")
        steps = measure.steps(settings, files)
    found = rows(loading, steps, settings.step_batch)
    once = prepared["prepared"]
    show(found, f"{settings.fraction:g} of MOSEI, threads={settings.threads}, {machine()['cpu']}")
    print(f"preparing the store, once: {once['seconds']:.1f} s, peak {once['peak_mib']:.0f} MiB")
    _write(values, settings, found, {**prepared, "loading": loading, "steps": steps})


def _bench_gpu(settings: measure.Settings, values: dict[str, str]) -> None:
    name = run(measure.OURS, "ours", "cuda", settings.threads)
    if name is None:
        print("no CUDA here: gpu=true needs an NVIDIA GPU and a torch built for it; nothing was measured")
        return
    raw: dict[str, Any] = {"gpu": name}
    with tempfile.TemporaryDirectory(prefix="trivium-bench-", dir=values.get("folder")) as folder:
        files = measure.Files(Path(folder))
        measure.prepare(settings, files)
        for precision in ("32-true", "bf16-mixed"):
            _say(f"training steps, {precision}")
            raw[precision] = measure.steps(settings, files, accelerator="gpu", precision=precision)["ours"]
    batch = settings.step_batch
    found = [
        Row(
            f"Self-MM training step, {precision}", "samples/s", [batch / step["seconds"] for step in raw[precision]], []
        )
        for precision in ("32-true", "bf16-mixed")
    ]
    show(found, f"{name}, batch {batch}")
    _write(values, settings, found, raw)


def machine() -> dict[str, Any]:
    """The CPU's name, cores this process may use, and memory in GiB (both None where the system does not tell)."""
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


def _settings(values: dict[str, str]) -> measure.Settings:
    gpu = _choice(values, "gpu", ("true", "false")) == "true"
    fraction = _number(values, "fraction", 0.02 if gpu else 0.5, float)
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction={fraction:g}: expected a number above 0, at most 1")
    return measure.Settings(
        fraction,
        repeats=int(_number(values, "repeats", 3, int)),
        steps=int(_number(values, "steps", 50 if gpu else 12, int)),
        threads=int(_number(values, "threads", 1, int)),
        mmsa=None,
    )


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _number(values: dict[str, str], key: str, default: float, kind: type[int] | type[float]) -> float:
    try:
        value = kind(values.get(key, default))
    except ValueError as error:
        raise ValueError(f"{key}={values[key]}: expected a number ({error})") from error
    if value <= 0:
        raise ValueError(f"{key}={values[key]}: expected a number above 0")
    return value


def _choice(values: dict[str, str], key: str, choices: tuple[str, ...]) -> str:
    value = values.get(key, choices[-1])
    if value not in choices:
        raise ValueError(f"{key}={value}: expected {' or '.join(choices)}")
    return value


def _write(values: dict[str, str], settings: measure.Settings, found: list[Row], raw: dict[str, Any]) -> None:
    if "out" not in values:
        return
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    write_json(
        Path(values["out"]).expanduser(),
        {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": commit.stdout.strip() or None,
            "command": shlex.join(["python", "scripts/benchmark.py", *(f"{k}={v}" for k, v in values.items())]),
            "machine": machine(),
            "settings": {k: v for k, v in vars(settings).items() if k != "mmsa"},
            "mmsa": MMSA if settings.mmsa else None,
            "rows": [row.to_dict() for row in found],
            "raw": raw,
        },
    )


def _say(line: str) -> None:
    print(line, flush=True)
