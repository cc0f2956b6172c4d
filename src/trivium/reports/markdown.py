"""A measured table as a page: means, differences from the baseline, what is missing, how the numbers came about."""

from __future__ import annotations

import shlex
import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Any

from trivium.reports.blocks import Block, Notes, legend, sections_of
from trivium.reports.parts import Part, is_complete, seeds_of
from trivium.reports.plan import Planned
from trivium.reports.work import Failure


def markdown(parts: Sequence[Part], failures: Sequence[Failure]) -> str:
    """GitHub tables, rows by measures, one for each unit; then what failed or is missing, and where it comes from.

    parts: one a data set; at least one.
    """
    runs = [run for part in parts for run in part.runs]
    seeds, notes = seeds_of(parts), Notes()
    lines = [f"# {parts[0].measured.table.title}"]
    for part in parts:
        lines += _part(part, seeds, notes)
    tables = [part.measured.table for part in parts]
    lines += ["", *legend(tables, seeds, is_complete(parts), notes), *_missing(runs, failures)]
    lines += ["", *_provenance(runs, tables[0].name, tables[0].given)]
    lines += [line for number, text in enumerate(notes.texts, 1) for line in ("", f"[^{number}]: {text}")]
    return "\n".join(lines) + "\n"


def _part(part: Part, seeds: int, notes: Notes) -> list[str]:
    measured, level = part.measured, "##"
    lines = []
    if measured.table.data:
        level = "###"
        lines += ["", f"## {part.heading}"]
    if part.lacking:
        lines += ["", f"**Not prepared**: {part.lacking} (docs/data.md says where to get it.)"]
    if part.empty and part.lacking:
        return lines
    for section in sections_of(measured, seeds, notes):
        lines += ["", f"{level} {section.title}"] if section.title else []
        for block in section.blocks:
            lines += ["", *_block(block)]
    if measured.without:
        lines += ["", f"Not of these data, which lack a modality: {', '.join(measured.without)}."]
    return lines


def _block(block: Block) -> list[str]:
    asides = [(f"*{label}*", *cells) for label, *cells in block.asides]
    return [_line(row) for row in (block.heads, ["---"] * len(block.heads), *block.rows, *asides)]


def _missing(runs: Sequence[Planned], failures: Sequence[Failure]) -> list[str]:
    """What failed, with its command; and what has not been run."""
    lines = [f"- **failed**: {f.run.name}: {f.reason} (`{f.run.command}`, log {f.log})" for f in failures]
    failed = [failure.run for failure in failures]
    open_runs = [run.name for run in runs if run.status not in ("done", "no data") and run not in failed]
    lines += [f"- not run: {', '.join(open_runs)}"] if open_runs else []
    return ["", *lines] if lines else []


def _provenance(runs: Sequence[Planned], name: str, given: Sequence[str]) -> list[str]:
    done = [(run.directory.result(), run.directory.record()) for run in runs if run.status == "done"]
    data = ",".join(dict.fromkeys(run.table.data for run in runs if run.table.data))
    words = [f"table={name}", *([f"data={data}"] if data else []), f"seeds={len({run.seed for run in runs})}", *given]
    lines = [f"Made by `{shlex.join(['python', 'scripts/reproduce.py', *words])}`."]
    if done:
        commits = Counter(str(result["git_commit"])[:7] + _dirty(result) for result, _ in done)
        days = sorted({record["created"][:10] for _, record in done})
        hardware = Counter(f"{result['hardware']['cpus']} CPUs, {_gpus(result)}" for result, _ in done)
        seconds = [float(result["seconds"]) for result, _ in done]
        took = f"{statistics.median(seconds):.0f} s a run (median; {min(seconds):.0f} to {max(seconds):.0f})"
        lines.append(f"Runs of {', '.join(days)}; commits {_counted(commits)}; {_counted(hardware)}; {took}.")
    return lines


def _dirty(result: dict[str, Any]) -> str:
    return "-dirty" if str(result["git_commit"]).endswith("-dirty") else ""


def _gpus(result: dict[str, Any]) -> str:
    return ", ".join(result["hardware"]["gpus"]) or "no GPU"


def _counted(names: Counter[str]) -> str:
    return ", ".join(name if len(names) == 1 else f"{name} ({count} runs)" for name, count in names.items())


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
