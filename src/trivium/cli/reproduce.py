"""Parses the command line of `trivium reproduce`, runs the missing runs of a table, and writes it with its figure."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from trivium.config.arguments import Types, modules, parse_key_values, path, script, truth, whole_number
from trivium.config.config_folder import TABLES, user_config_folder
from trivium.config.help import title
from trivium.config.trust import trust
from trivium.core.interruption import Interrupted, Terminated
from trivium.core.locks import alone
from trivium.search.devices import usual_at_once
from trivium.search.jobs import FailedJob, print_failures
from trivium.tables.datasets import parts_of
from trivium.tables.definition import Table, find_table, read_table
from trivium.tables.earlier_sections import earlier_sections, in_order
from trivium.tables.estimate import Estimate
from trivium.tables.finished import FinishedRuns
from trivium.tables.overview import overview
from trivium.tables.plan import Planned, plan_parts
from trivium.tables.work import Failure, complete

HELP = """\
Reproduce a table: run what is missing of it, then write the table and its figure.

  trivium reproduce table=NAME [key=value ...] [SETTING.KEY=value ...]
  trivium reproduce runs=FOLDER [baseline=ROW] [data=A,B] [publish=DIR]

Examples
  trivium reproduce table=interactions                  what is there already is not run again
  trivium reproduce table=interactions seeds=5 jobs=2   two more seeds, two runs at once
  trivium reproduce table=interactions dry=true         what is done, what is left; starts nothing
  trivium reproduce table=selfmi publish=docs/selfmi    also as files that may be committed
  trivium reproduce table=selfmi data=mosi              of its data sets this one alone
  trivium reproduce table=methods data=mosi/NAME        on the feature set NAME, where several are prepared
  trivium reproduce table=m3ixup_mosi data.store=FILE   every row on that store
  trivium reproduce runs=outputs/sweeps/TIME baseline=supervised   a table of a grid's runs, without a YAML

Keys
  table=NAME     one of the tables below, or a YAML file of the same form
  runs=FOLDER    instead of table=: the finished runs in a folder, such as a grid's, with the seeds that there are
  baseline=ROW   with runs=: the row that the others are compared with, by its printed name
  data=A,B/NAME  some of the data sets that the table names; otherwise all of them
  seeds=N        seeds 1 to N of each row; otherwise as the table says
  trials=N       of each row that is searched; otherwise as the table says
  dry=true       show what is done of each row and seed, and how long the rest may take
  commands=true  with dry=true, also the command of each run
  audit=true     also what the best test epoch would have given, in a block of its own that nothing is selected by;
                 runs that kept no weights of their epochs are trained again (docs/protocol.md)
  jobs=N         runs at once, one thread each; otherwise 2 where there are cores for it and all runs train on the
                 CPU (trainer.accelerator=cpu), else 1
  paths.outputs=DIR  where everything goes; otherwise outputs
  outputs=DIR    the same, in short
  trust=A,B      modules of your own that rows name (docs/extending.md)
  publish=DIR    also write README.md, table.csv, values.csv, table.tex, figures and learning curves there, without
                 paths of this machine
  SETTING.KEY=VALUE  a key with a dot is a setting of every run, over the table's own: data.store=FILE

Written to OUTPUTS/tables/NAME, or FOLDER/table: table.md; table.tex (to \\input, with booktabs); table.csv (mean, std,
n, interval; what is known of chance; differences from the table's baseline, their p and verdicts; published numbers;
parameters and time); values.csv (each run); figure.png, figure.pdf; runs/ has the runs, each with its probes and
subsets, and logs/ what they said. Rows with a search are searched first, on validation alone: studies/ has their
trials, searches.csv lists them. A finished run of the same config, seed and store anywhere under OUTPUTS is taken as it
is; an interrupted one is resumed; one that another process has is waited for. Sections of other data sets that were
written before stay. A data set that is not prepared is a line that says what to do. The exit code is 1 if a run failed:
the others stand, and table.md names it. docs/tables.md has the form of a table's YAML.

Tables
"""
_TYPES: Types = {
    "seeds": whole_number,
    "trials": whole_number,
    "jobs": whole_number,
    "dry": truth,
    "audit": truth,
    "commands": truth,
    **dict.fromkeys(("outputs", "paths.outputs", "publish"), path),
    "trust": modules,
    "runs": path,
}


def main(argv: Sequence[str]) -> int:
    """Returns the exit code: 1 if a run failed, 2 for a mistake in the call. Raises Interrupted on Ctrl-C."""
    try:
        listed = "".join(
            f"  {file.stem:<17} {title(file)}\n" for folder in _folders() for file in sorted(folder.glob("*.yaml"))
        )
        of_runs = any(word.startswith("runs=") for word in argv)
        return script(argv, HELP + listed, lambda: _tabulate(argv) if of_runs else _reproduce(_call(argv)))
    except KeyboardInterrupt as stop:
        raise Interrupted("reproduce", *argv) from stop
    except Terminated as stop:
        raise Terminated("reproduce", *argv) from stop


def _folders() -> list[Path]:
    """Returns the folders of tables: Trivium's own, and the user's."""
    user_folder = user_config_folder()
    return [TABLES, *([] if user_folder is None else [user_folder / TABLES.name])]


@dataclass(frozen=True)
class _Call:
    """Holds the command line. data: the text of data=. publish: None where nothing is published."""

    table: Table
    data: str
    seeds: int
    jobs: int
    dry: bool
    commands: bool
    outputs: Path
    publish: Path | None

    @property
    def folder(self) -> Path:
        return self.outputs / "tables" / self.table.name


def _tabulate(argv: Sequence[str]) -> int:
    """Writes a table of the finished runs in a folder."""
    values = parse_key_values(argv, HELP, _TYPES)
    if others := [key for key in values if key not in ("runs", "baseline", "data", "publish")]:
        raise ValueError(f"{others[0]}= does not go with runs=, which takes what is there and trains nothing")
    _check_publish(values.get("publish"))
    # It reads every run, and pandas takes half a second to import.
    from trivium.tables.runs_table import runs_table

    folder = values["runs"] / "table"
    planned, left_out = runs_table(values["runs"], values.get("data", ""), values.get("baseline", ""))
    with alone(folder / ".lock"):
        _write(folder, planned, [], values.get("publish"))
    for line in left_out:
        print("left out:", line, file=sys.stderr)
    _print_places(folder, values.get("publish"))
    return 0


def _check_publish(folder: Path | None) -> None:
    if folder and folder.exists() and not folder.is_dir():
        raise ValueError(f"publish={folder}: expected a folder, found a file")


def _call(argv: Sequence[str]) -> _Call:
    settings = [word for word in argv if "." in word.partition("=")[0] and not word.startswith("paths.outputs=")]
    values = parse_key_values([word for word in argv if word not in settings], HELP, _TYPES)
    if "table" not in values:
        raise ValueError("table= is missing: the name of a table, or a YAML file; or runs=, a folder of finished runs")
    if "baseline" in values:
        raise ValueError("baseline= goes with runs=; a table's YAML names its own")
    dry, commands, publish = values.get("dry", False), values.get("commands", False), values.get("publish")
    if commands and not dry:
        raise ValueError("commands=true goes with dry=true, which lists the runs")
    if dry and publish:
        raise ValueError("publish= does not go with dry=true, which writes nothing")
    _check_publish(publish)
    if trusted := values.get("trust", []):
        trust(trusted)
        settings.append(f"trust=[{','.join(trusted)}]")
    table = read_table(find_table(values["table"], _folders()))
    if "trials" in values:
        table = table.with_trials(values["trials"])
    table = replace(table, settings=tuple(settings), request=values["table"], audit=values.get("audit", False))
    return _Call(
        table,
        values.get("data", ""),
        values.get("seeds", table.seeds),
        values.get("jobs") or _usual_jobs(table),
        dry,
        commands,
        values.get("paths.outputs") or values.get("outputs") or Path("outputs"),
        publish,
    )


def _usual_jobs(table: Table) -> int:
    """Returns the runs at once where jobs= does not say: two on a CPU with cores for them, as two would share a GPU."""
    of_rows = [word for row in table.rows for word in row.overrides]
    of_situations = [word for overrides in table.situations.values() for word in overrides]
    words = [*table.overrides, *of_rows, *of_situations, *table.settings]
    accelerators = {word.partition("=")[2] for word in words if word.startswith("trainer.accelerator=")}
    return usual_at_once({"accelerator": "cpu"}) if accelerators == {"cpu"} else 1


def _reproduce(call: _Call) -> int:
    finished = FinishedRuns(call.outputs)
    for note in finished.notes:
        print("note:", note, file=sys.stderr)
    parts, runs_folder, logs = parts_of(call.table, call.data), call.folder / "runs", call.folder / "logs"
    planned = plan_parts(parts, call.seeds, runs_folder, finished)
    estimate = Estimate(finished.epoch_times)
    if call.dry:
        print(overview(planned, call.jobs, estimate, commands=call.commands))
        return 0
    failures: list[Failure] = []
    if any(run.waits for part in planned for run in part):
        # Optuna takes half a second to import.
        from trivium.tables.run_studies import search_rows

        def plan_again() -> list[list[Planned]]:
            # A search's best trial is the run of its row's first seed.
            return plan_parts(parts, call.seeds, runs_folder, FinishedRuns(call.outputs))

        planned, failures = search_rows(plan_again, jobs=call.jobs, logs=logs, estimate=estimate)
    lost = {failure.run.name for failure in failures}
    runs = [run for part in planned for run in part]
    left = [run for run in runs if run.name not in lost]
    failures += complete(left, jobs=call.jobs, logs=logs, estimate=estimate)
    # The lock lets the second of two commands on one table see the sections that the first has written.
    with alone(call.folder / ".lock"):
        data = [runs[0].table.section for runs in planned]
        sections, notes = earlier_sections(call.table, data, call.folder, finished)
        _write(call.folder, in_order(call.table, [*planned, *sections]), failures, call.publish)
        for note in notes:
            print("note:", note, file=sys.stderr)
    failed = [FailedJob(failure.run.name, failure.run.command, failure.reason, failure.log) for failure in failures]
    print_failures(failed, len(runs), "run")
    _print_places(call.folder, call.publish)
    return 1 if failures else 0


def _print_places(folder: Path, published: Path | None) -> None:
    print(f"written to {folder}{f' and {published}' if published else ''}")


def _write(folder: Path, planned: Sequence[list[Planned]], failures: Sequence[Failure], published: Path | None) -> None:
    """Writes the table of these runs, a part a data set, and prints it."""
    # matplotlib takes a second to import, which dry=true does without.
    from trivium.tables.collect import collect
    from trivium.tables.figure import write_figures
    from trivium.tables.publish import publish
    from trivium.tables.write_files import write_tables

    reasons = {failure.run.name: failure.reason for failure in failures}
    parts = [collect(runs[0].table, runs, reasons) for runs in planned]
    folder.mkdir(parents=True, exist_ok=True)
    pictures = write_figures(folder, [part for part in parts if not part.empty])
    write_tables(folder, parts, failures, pictures)
    if published is not None:
        publish(published, folder, parts, failures, pictures)
    # The table is printed last, as a reader such as `head` may close the pipe.
    print((folder / "table.md").read_text())
