"""Writes a measured table as a page in GitHub's Markdown."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence

from trivium.core.wording import command
from trivium.tables.blocks import Block, Line, Notes, sections_of, verdict_block
from trivium.tables.collect import Measured, is_complete, repeats_of
from trivium.tables.legend import legend
from trivium.tables.plan import Planned
from trivium.tables.work import Failure

# Section ("" in a table without data sets) -> figure's file and what it shows.
Pictures = Mapping[str, Sequence[tuple[str, str]]]


def markdown(parts: Sequence[Measured], failures: Sequence[Failure], pictures: Pictures | None = None) -> str:
    """Returns the page: each part's tables, what failed or is missing, and where the numbers come from.

    parts: one a data set; at least one.
    """
    repeats, notes = repeats_of(parts), Notes()
    lines = [f"# {parts[0].table.title}"]
    for part in parts:
        lines += _part(part, repeats, notes)
        for file, shown in (pictures or {}).get(part.table.section, ()):
            lines += ["", f"![{shown}]({file})"]
    lines += ["", *legend(parts, repeats, is_complete(parts))]
    lines += [*_missing([run for part in parts for run in part.runs], failures), "", *_provenance(parts)]
    lines += [line for number, text in enumerate(notes.texts, 1) for line in ("", f"[^{number}]: {text}")]
    return "\n".join(lines) + "\n"


def _part(part: Measured, repeats: int, notes: Notes) -> list[str]:
    level = "###" if part.table.data else "##"
    lines = ["", f"## {part.heading}"] if part.table.data else []
    if part.lacking:
        lines += ["", f"**Not prepared**: {part.lacking} (docs/data.md says where to get it.)"]
    if part.empty and part.lacking:
        block = verdict_block(part)
        return [*lines, "", *_table(block)] if block.rows else lines
    for title, blocks in sections_of(part, repeats, notes):
        lines += ["", f"{level} {title}"] if title else []
        for block in blocks:
            lines += ["", *_table(block)]
    if part.without:
        lines += ["", f"Not of these data, which lack a modality: {', '.join(part.without)}."]
    return lines


def _table(block: Block) -> list[str]:
    above, below = ([(f"*{label}*", *cells) for label, *cells in rows] for rows in (block.above, block.below))
    return [_line(row) for row in (block.heads, ["---"] * len(block.heads), *above, *block.rows, *below)]


def _line(cells: Sequence[str] | Line) -> str:
    r"""Returns a line of a table; a bar inside a cell would end it, in code as well."""
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _missing(runs: Sequence[Planned], failures: Sequence[Failure]) -> list[str]:
    """Returns lines on what failed, with its command, and on what has not been run."""
    lines = [f"- **failed**: {f.run.name}: {f.reason} (`{f.run.command}`, log {f.log})" for f in failures]
    failed = [failure.run for failure in failures]
    waiting: dict[str, list[str]] = {}
    for run in runs:
        if run.status not in ("done", "no data") and run not in failed:
            name = f"{run.row.label} ({run.table.section})" if run.table.data else run.row.label
            waiting.setdefault(name, []).append(run.repeat)
    lines += [f"- not run: {name}, seed{'s' * (len(seeds) > 1)} {', '.join(seeds)}" for name, seeds in waiting.items()]
    return ["", *lines] if lines else []


def _provenance(parts: Sequence[Measured]) -> list[str]:
    """Returns the commands, and the days, commits, machines and times of the runs."""
    done = [(run.result(), run.directory.record()) for part in parts for run in part.runs if run.status == "done"]
    lines = [f"Made by {' and '.join(f'`{line}`' for line in _commands(parts))}."]
    if done:
        commits = [str(result["git_commit"]) for result, _ in done]
        days = sorted({record["created"][:10] for _, record in done})
        machines = [result["hardware"] for result, _ in done]
        seconds = [float(result["seconds"]) for result, _ in done]
        run_time = f"{statistics.median(seconds):.0f} s a run (median; {min(seconds):.0f} to {max(seconds):.0f})"
        commits = [commit[:7] + "-dirty" * commit.endswith("-dirty") for commit in commits]
        hardware = [f"{machine['cpus']} CPUs, {', '.join(machine['gpus']) or 'no GPU'}" for machine in machines]
        lines.append(f"Runs of {', '.join(days)}; commits {_counted(commits)}; {_counted(hardware)}; {run_time}.")
    return lines


def _commands(parts: Sequence[Measured]) -> list[str]:
    """Returns the commands that make the parts again, one for those with the same number of seeds."""
    if parts[0].table.words:
        return [command("reproduce", *parts[0].table.words)]
    commands = []
    for seeds in dict.fromkeys(part.seeds for part in parts):
        tables = [part.table for part in parts if part.seeds == seeds]
        data = ",".join(dict.fromkeys(table.data for table in tables if table.data))
        words = [f"table={tables[0].request or tables[0].name}", *([f"data={data}"] if data else []), f"seeds={seeds}"]
        words += [f"trials={tables[0].trials}"] * bool(tables[0].trials)
        words += ["audit=true"] * tables[0].audit
        commands.append(command("reproduce", *words, *tables[0].settings))
    return commands


def _counted(names: Sequence[str]) -> str:
    counts = Counter(names)
    return ", ".join(name if len(counts) == 1 else f"{name} ({count} runs)" for name, count in counts.items())
