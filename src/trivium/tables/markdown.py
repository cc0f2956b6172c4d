"""A measured table as a page: means, differences from the baseline, what is missing, how the numbers came about."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from trivium.tables.blocks import Block, Notes, legend, sections_of
from trivium.tables.parts import Part, commands_of, is_complete, seeds_of
from trivium.tables.plan import Planned
from trivium.tables.work import Failure

Pictures = Mapping[str, Sequence[tuple[str, str]]]  # data set, "" in a table without -> file and what it shows


def markdown(parts: Sequence[Part], failures: Sequence[Failure], pictures: Pictures | None = None) -> str:
    """GitHub tables, rows by measures, one for each unit; then what failed or is missing, and where it comes from.

    parts: one a data set; at least one.
    """
    runs = [run for part in parts for run in part.runs]
    seeds, notes = seeds_of(parts), Notes()
    lines = [f"# {parts[0].measured.table.title}"]
    for part in parts:
        lines += _part(part, seeds, notes)
        for file, shown in (pictures or {}).get(part.measured.table.data, ()):
            lines += ["", f"![{shown}]({file})"]
    told = legend([part.measured for part in parts], seeds, is_complete(parts))
    lines += ["", *told, *_missing(runs, failures), "", *_provenance(parts)]
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
    above, asides = ([(f"*{label}*", *cells) for label, *cells in rows] for rows in (block.above, block.asides))
    first, *others = [_line(row) for row in (block.heads, *above, *block.rows, *asides)]
    return [first, f"| {' | '.join(['---'] * len(block.heads))} |", *others]


def _missing(runs: Sequence[Planned], failures: Sequence[Failure]) -> list[str]:
    """What failed, with its command; and what has not been run."""
    lines = [f"- **failed**: {f.run.name}: {f.reason} (`{f.run.command}`, log {f.log})" for f in failures]
    failed = [failure.run for failure in failures]
    seeds: dict[str, list[int]] = {}
    for run in runs:
        if run.status not in ("done", "no data") and run not in failed:
            name = f"{run.row.label} ({run.table.data})" if run.table.data else run.row.label
            seeds.setdefault(name, []).append(run.seed)
    lines += [f"- not run: {name}, {_seeds(its)}" for name, its in seeds.items()]
    return ["", *lines] if lines else []


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"


def _provenance(parts: Sequence[Part]) -> list[str]:
    done = [(run.result(), run.directory.record()) for part in parts for run in part.runs if run.status == "done"]
    lines = [f"Made by {' and '.join(f'`{command}`' for command in commands_of(parts))}."]
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
    r"""A bar inside a cell would end it, in code as well."""
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
