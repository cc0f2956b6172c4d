"""scripts/reproduce.py: run what a table lacks, then write the table and its figure."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from trivium.config.arguments import parse_key_values
from trivium.config.compose import TABLES
from trivium.config.help import title
from trivium.reports.datasets import parts_of
from trivium.reports.definition import find_table, read_table
from trivium.reports.finished import FinishedRuns
from trivium.reports.plan import Planned, plan, seconds_left
from trivium.reports.work import Failure, complete, missing

HELP = """\
Reproduce a table: run what is missing of it, then write the table and its figure.

  python scripts/reproduce.py table=NAME [key=value ...] [SETTING.KEY=value ...]

Examples
  python scripts/reproduce.py table=interactions                  what is there already is not run again
  python scripts/reproduce.py table=interactions seeds=5 jobs=2   two more seeds, two runs at once
  python scripts/reproduce.py table=interactions dry=true         what is done, what is left; starts nothing
  python scripts/reproduce.py table=selfmi data=mosi              of its data sets this one alone
  python scripts/reproduce.py table=methods data=mosi/NAME        on the feature set NAME, where several are prepared
  python scripts/reproduce.py table=m3ixup_mosi data.store=FILE   every row on that store

Keys
  table=NAME     one of the tables below, or a YAML file of the same form
  data=A,B/NAME  some of the data sets that the table names; otherwise all of them
  seeds=N        seeds 1 to N of each row; otherwise as the table says
  dry=true       list the runs and how long they may take
  jobs=N         runs at once, one thread each; otherwise 1
  outputs=DIR    where everything goes; otherwise outputs
  SETTING.KEY=VALUE  a key with a dot is a setting of every run, over the table's own: data.store=FILE

Written to OUTPUTS/tables/NAME: table.md; table.tex (to \\input, with booktabs); table.csv (mean, std, n, interval;
what is known of chance; differences from the table's baseline and their p; published numbers); values.csv (each run);
figure.png, figure.pdf; runs/ has the runs, each with its probes and subsets, and logs/ what they said. A finished run
of the same config, seed and store anywhere under OUTPUTS is taken as it is; an interrupted one is resumed. A data set
that is not prepared is a line that says what to do. The exit code is 1 if a run failed: the others stand, and table.md
names it. docs/tables.md has the form of a table's YAML.

Tables
"""
_KEYS = ("table", "data", "seeds", "dry", "jobs", "outputs")


def main(argv: Sequence[str]) -> int:
    """Exit code: 0; 1 if a run failed; 2 with one line on stderr for a mistake in the call; 130 after Ctrl-C."""
    if not argv or argv[0] in ("-h", "--help", "help"):
        listed = "".join(f"  {file.stem:<17} {title(file)}\n" for file in sorted(TABLES.glob("*.yaml")))
        print(HELP + listed, end="")
        return 0 if argv else 2
    try:
        settings = [word for word in argv if "." in word.partition("=")[0]]
        return _reproduce(parse_key_values([word for word in argv if word not in settings], _KEYS), settings)
    except (ValueError, OSError) as error:
        print("error:", error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130


def _reproduce(values: Mapping[str, str], settings: Sequence[str]) -> int:
    if "table" not in values:
        raise ValueError("table= is missing: the name of a table, or a YAML file")
    dry = values.get("dry", "false")
    if dry not in ("true", "false"):
        raise ValueError(f"dry={dry}: expected true or false")
    table = replace(read_table(find_table(values["table"], TABLES)), given=tuple(settings))
    jobs, seeds = _count(values, "jobs", 1), _count(values, "seeds", table.seeds)
    outputs = Path(values.get("outputs", "outputs"))
    folder, finished = outputs / "tables" / table.name, FinishedRuns(outputs)
    planned = [plan(part, seeds, folder / "runs", finished) for part in parts_of(table, values.get("data", ""))]
    runs = [run for part in planned for run in part]
    if dry == "true":
        _list(runs, jobs)
        return 0
    failures = complete(runs, jobs=jobs, logs=folder / "logs")
    _write(folder, planned, failures)
    for failure in failures:
        print(f"failed: {failure.run.name}: {failure.reason}\n  {failure.run.command}", file=sys.stderr)
    print(f"written to {folder}")
    return 1 if failures else 0


def _write(folder: Path, planned: Sequence[Sequence[Planned]], failures: Sequence[Failure]) -> None:
    # matplotlib takes a second to import
    from trivium.reports.collect import collect
    from trivium.reports.parts import Part
    from trivium.reports.table import write_tables
    from trivium.reports.table_figures import write_figure

    parts = [Part(collect(runs[0].table, runs), runs) for runs in planned]
    write_tables(folder, parts, failures)
    for part in parts:
        if not (part.empty and part.lacking):
            write_figure(folder, part.measured)
    print((folder / "table.md").read_text())


def _list(runs: Sequence[Planned], jobs: int) -> None:
    for run in runs:
        lacking = missing(run) if run.status == "done" else []
        print(f"{run.status + (', to evaluate' if lacking else ''):<17} {run.name:<24} {run.command}")
    for told in dict.fromkeys(run.lacking for run in runs if run.status == "no data"):
        print(f"no data: {told} (docs/data.md says where to get it)")
    done, absent = (sum(run.status == status for run in runs) for status in ("done", "no data"))
    seconds = seconds_left(runs, jobs)
    about = "unknown: none is done yet" if seconds is None else f"about {seconds / 60:.0f} min"
    without = f", {absent} without data" if absent else ""
    print(f"{done} of {len(runs)} runs are done, {len(runs) - done - absent} left{without}; time left {about}")


def _count(values: Mapping[str, str], key: str, default: int) -> int:
    text = values.get(key, str(default))
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{key}={text}: expected a whole number, 1 or more")
    return int(text)
