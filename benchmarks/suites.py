"""Defines the suites: each measures ours beside something else, and does without what a machine lacks."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks import measure
from benchmarks.mmsa_environment import default_folder, mmsa_python
from benchmarks.ratio_table import Measurement, comm_rows, gmc_rows, method_rows, mmsa_rows, run_rows, tcmax_rows
from benchmarks.shared_methods import METHODS

PRECISIONS = ("32-true", "bf16-mixed")
FRACTION = 0.07  # of MOSEI, which has the batches that steps go through
RUNS = ("supervised", "tcmax", "gmc")
MODES = ("float32", "bf16-mixed", "compiled")
Values = Mapping[str, str]


@dataclass
class SuiteResult:
    """Holds a suite's rows, the title and note printed over and under them, and every number in `raw`.

    against: what ours is compared with.
    """

    title: str
    against: str
    rows: list[Measurement]
    raw: dict[str, Any]
    note: str = ""


Suite = Callable[[measure.BenchmarkSettings, Values], SuiteResult]


def mmsa(settings: measure.BenchmarkSettings, values: Values) -> SuiteResult:
    """Measures beside MMSA, or ours alone where MMSA is "off" or cannot be installed."""
    settings.mmsa = find_mmsa(values)
    with tempfile.TemporaryDirectory(prefix="trivium-bench-", dir=values.get("folder")) as folder:
        files = measure.Files(Path(folder))
        say(f"making and preparing a file of {settings.fraction:g} of MOSEI")
        prepared = measure.prepare(settings, files)
        say(f"opening, and an epoch of batches, {settings.repeats} times a side")
        loading = measure.loading(settings, files)
        say(f"Self-MM training steps, {settings.steps} a side")
        steps = measure.steps(settings, files)
    once = prepared["prepared"]
    return SuiteResult(
        f"{settings.fraction:g} of MOSEI",
        "MMSA",
        mmsa_rows(loading, steps, settings.step_batch),
        {**prepared, "loading": loading, "steps": steps},
        f"preparing the store, once: {once['seconds']:.1f} s, peak {once['peak_mib']:.0f} MiB",
    )


def mmsa_methods(settings: measure.BenchmarkSettings, values: Values) -> SuiteResult:
    """Measures the training steps of every method that MMSA has too."""
    small = replace(settings, fraction=min(settings.fraction, FRACTION))
    reports = {}
    with tempfile.TemporaryDirectory(prefix="trivium-bench-", dir=values.get("folder")) as folder:
        files = {aligned: measure.Files(Path(folder), aligned) for aligned in (False, True)}
        for each in files.values():
            measure.prepare(small, each)
        for name, method in METHODS.items():
            small.mmsa = find_mmsa(values, method.transformers)
            say(f"{name} training steps, {small.steps} a side")
            reports[name] = measure.steps(small, files[method.aligned], method)
    return SuiteResult("Training steps in MOSEI's shape", "MMSA", method_rows(reports), reports)


def tcmax(settings: measure.BenchmarkSettings, values: Values) -> SuiteResult:
    sizes = measure.TCMaxSizes()
    say(f"TCMax beside the dense table: {settings.steps} times the small one, {settings.repeats} times the large one")
    times = measure.tcmax_times(settings, sizes)
    say("its peak memory as the batch grows")
    peaks = measure.tcmax_peaks(settings, sizes)
    say(f"three modalities mixed by {' and by '.join(sizes.fusions)}, {settings.repeats} times")
    mixing = measure.tcmax_mixing(settings, sizes)
    raw = {**times, "peaks": peaks, "mixing": mixing}
    return SuiteResult("TCMax's loss, two modalities", "dense table", tcmax_rows(times, peaks, mixing, sizes), raw)


def comm(settings: measure.BenchmarkSettings, values: Values) -> SuiteResult:
    say(f"CoMM training steps beside a plain implementation, {settings.steps} a side and kind of batch")
    reported = measure.comm(settings)
    return SuiteResult("CoMM, batch 64, vision of 20 and text of 300 features", "plain", comm_rows(reported), reported)


def m3ixup(settings: measure.BenchmarkSettings, values: Values, device: str = "cpu") -> SuiteResult:
    say(f"M3ixup training steps beside GMC's, {settings.steps} a side and kind of batch")
    reported = measure.gmc(settings, device)
    return SuiteResult(
        "M3ixup, batch 24, text of 300, audio of 74 and vision of 35 features", "GMC", gmc_rows(reported), reported
    )


def bare_loop(settings: measure.BenchmarkSettings, values: Values) -> SuiteResult:
    store = str(Path(values["store"]).expanduser().absolute()) if "store" in values else ""
    say(f"epochs of a run beside a bare loop, {settings.repeats} times {settings.steps} a side")
    reported = measure.run_epochs(settings, RUNS, store)
    what = "random clips in MOSI's shape" if not store else Path(store).name
    return SuiteResult(f"Epochs of a run, batches of 32, {what}", "bare loop", run_rows(reported), reported)


def m3ixup_gpu(settings: measure.BenchmarkSettings, values: Values) -> SuiteResult:
    return m3ixup(settings, values, "cuda")


def mmsa_gpu(settings: measure.BenchmarkSettings, values: Values) -> SuiteResult:
    raw: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="trivium-bench-", dir=values.get("folder")) as folder:
        files = measure.Files(Path(folder))
        measure.prepare(settings, files)
        for precision in PRECISIONS:
            say(f"Self-MM training steps, {precision}")
            raw[precision] = measure.steps(settings, files, accelerator="gpu", precision=precision)["ours"]
    rows = [_rate(f"Self-MM training step, {name}", settings.step_batch, raw[name]) for name in PRECISIONS]
    return SuiteResult(f"batch {settings.step_batch}", "-", rows, raw)


def comm_gpu(settings: measure.BenchmarkSettings, values: Values, device: str = "cuda") -> SuiteResult:
    raw: dict[str, Any] = {}
    for mode in MODES:
        say(f"CoMM training steps, {mode}")
        raw |= measure.comm_alone(settings, (mode,), device)
    rows = [
        _rate(f"CoMM training step, {mode}, {'T=50' if lengths == 'full' else 'lengths as in MOSI'}", 64, steps)
        for mode, both in raw.items()
        for lengths, steps in both.items()
    ]
    return SuiteResult("batch 64", "-", rows, raw)


SUITES: dict[str, Suite] = {
    **{"mmsa": mmsa, "mmsa_methods": mmsa_methods, "bare_loop": bare_loop},
    **{"tcmax": tcmax, "comm": comm, "m3ixup": m3ixup},
}
ON_GPU: dict[str, Suite] = {"mmsa": mmsa_gpu, "comm": comm_gpu, "m3ixup": m3ixup_gpu}


def find_mmsa(values: Values, transformers: str = "") -> Path | None:
    """Returns the interpreter of MMSA's environment, or None where it is "off" or cannot be installed."""
    if values.get("mmsa") == "off":
        return None
    say("MMSA: its environment")
    try:
        return mmsa_python(Path(values["mmsa"]).expanduser() if "mmsa" in values else default_folder(), transformers)
    except RuntimeError as error:
        say(f"{error}\nmeasuring ours alone")
        return None


def say(line: str) -> None:
    print(line, flush=True)


def _rate(name: str, clips: int, steps: list[dict[str, float]]) -> Measurement:
    return Measurement(name, "samples/s", [clips / step["seconds"] for step in steps], faster_is_more=True)
