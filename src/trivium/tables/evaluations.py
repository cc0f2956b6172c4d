"""Evaluates finished runs for a table beside their result.json: linear probes of their vectors, and subsets."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trivium.runs.evaluate_run import read_probe_file
from trivium.runs.run_files import read_rows
from trivium.tables.plan import Planned


def missing(run: Planned) -> list[str]:
    """Returns the evaluations that a run lacks: the targets to probe, and "subsets"."""
    table = run.table
    targets = [target for target, vectors in table.probes.items() if not set(vectors) <= set(read_probes(run, target))]
    return [*targets, *(["subsets"] if table.asks_subsets and not subsets_file(run).is_file() else [])]


def evaluate(run: Planned, log: Path) -> str:
    """Makes the evaluations that a finished run lacks; returns the reason if one fails, else "".

    They run in this process, one after the other, with one thread: a second or two each. Their output goes to `log`.
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


def subsets_file(run: Planned) -> Path:
    """Returns the file that `trivium evaluate protocol=subsets` writes."""
    return run.directory.path / "subsets.csv"


def _evaluate(run: Planned, lacking: Sequence[str]) -> None:
    from trivium.runs.evaluate_run import probe

    for target, vectors in run.table.probes.items():
        if target in lacking:
            probe(run.directory.path, target=target, features=vectors)
    if run.table.asks_subsets and "subsets" in lacking:
        # It draws figures, and matplotlib takes a second to import.
        from trivium.report.robustness_report import write_protocols

        write_protocols(run.directory.path, ["subsets"])
