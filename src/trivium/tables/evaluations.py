"""Evaluates finished runs for a table beside their result.json: linear probes, subsets, erased frames and words."""

from __future__ import annotations

import contextlib
import math
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trivium.evaluation.averages import ERASED_RATES, areas, average
from trivium.runs.evaluate_run import read_probe_file
from trivium.runs.run_files import read_rows
from trivium.tables.plan import Planned


def missing(run: Planned) -> list[str]:
    """Returns the evaluations that a run lacks: the targets to probe, "subsets" and "erased"."""
    table = run.table
    targets = [target for target, vectors in table.probes.items() if not set(vectors) <= set(read_probes(run, target))]
    asked = {"subsets": table.asks_subsets, "erased": table.asks_erased}
    protocols = [name for name, is_asked in asked.items() if is_asked and not _protocol_file(run, name).is_file()]
    return [*targets, *protocols]


def evaluate(run: Planned, log: Path) -> str:
    """Makes the evaluations that a finished run lacks; returns the reason if one fails, else "".

    They run in this process, one after the other, with one thread: a second or two each, and some ten for
    erased steps. Their output goes to `log`.
    """
    lacking = missing(run)
    if not lacking:
        return ""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with log.open("a") as file, contextlib.redirect_stdout(file):
        try:
            _evaluate(run, lacking)
        except Exception as error:
            # Whatever it is, it is that run's, and the table goes on without it.
            traceback.print_exc(file=file)
            return f"evaluating it: {error if isinstance(error, ValueError) else f'{type(error).__name__}: {error}'}"
        finally:
            torch.set_num_threads(before)
    return ""


def read_probes(run: Planned, target: str) -> dict[str, Any]:
    """Returns the results of `trivium.evaluation.probe.probe_run` by vector; empty if the run has not been probed."""
    # As trivium evaluate probe=true names the file.
    file = "probe.json" if target == "multimodal" else f"probe_{target}.json"
    probes: dict[str, Any] = read_probe_file(run.directory.path / file)["probes"]
    return probes


def read_subsets(run: Planned) -> dict[frozenset[str], dict[str, float]]:
    """Returns modalities -> metric -> value, of the test split."""
    rows = read_rows(subsets_file(run))
    head = ("split", "modalities", "n")
    return {
        frozenset(row["modalities"].split("+")): {key: float(row[key] or "nan") for key in row if key not in head}
        for row in rows
    }


def read_erased(run: Planned) -> dict[str, dict[str, float]]:
    """Returns rate, "0.5", or "mean" or "auilc" of all of them -> metric -> mean over the draws, of the test split."""
    rows = [
        {key: float(value or "nan") for key, value in row.items() if key != "split"}
        for row in read_rows(erased_file(run), ("rate", "draw"))
    ]
    metrics = [key for key in rows[0] if key not in ("rate", "draw", "n", "missing")]
    groups = {f"{rate:g}": _at(rate) for rate in ERASED_RATES} | {"mean": lambda row: True}
    (area,) = areas(rows, metrics).values()
    by_rate = average(rows, groups, metrics) | {"auilc": area}
    return {rate: {metric: value["mean"] for metric, value in values.items()} for rate, values in by_rate.items()}


def _at(rate: float) -> Callable[[Mapping[str, Any]], bool]:
    return lambda row: bool(math.isclose(row["rate"], rate, abs_tol=1e-9))


def subsets_file(run: Planned) -> Path:
    return _protocol_file(run, "subsets")


def erased_file(run: Planned) -> Path:
    return _protocol_file(run, "erased")


def _protocol_file(run: Planned, protocol: str) -> Path:
    """Returns the file that `trivium evaluate protocol=NAME` writes."""
    return run.directory.path / f"{protocol}.csv"


def _evaluate(run: Planned, lacking: Sequence[str]) -> None:
    from trivium.runs.evaluate_run import probe

    for target, vectors in run.table.probes.items():
        if target in lacking:
            probe(run.directory.path, target=target, features=vectors)
    if protocols := [name for name in ("subsets", "erased") if name in lacking]:
        # It draws figures, and matplotlib takes a second to import.
        from trivium.report.robustness_report import write_protocols

        # What is erased depends on the clips and not on the run, so that one draw is the same for all rows.
        write_protocols(run.directory.path, protocols, draws=1)
