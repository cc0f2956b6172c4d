"""Reads the command line of `trivium runs` and lists the runs of a folder."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trivium.config.arguments import Types, one_of, parse_key_values, script
from trivium.core.metric_names import metric_text
from trivium.core.wording import counted, shortened

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = ("name", "method", "data", "seed", "status", "epoch", "test", "when")
_SORTED_BY = {"test": "value"}

HELP = """\
List the runs of a folder, the newest first: what each is, how far it is, and what it reached.

  trivium runs [FOLDER] [sort=COLUMN]

Examples
  trivium runs                                  all runs anywhere beneath outputs
  trivium runs outputs/sweeps/TIME sort=test    a grid's, by the main test metric
  trivium runs sort=method                      by method

FOLDER
  a folder with runs anywhere beneath it, or a run; otherwise outputs

Keys
  sort=COLUMN    name, method, data, seed, status, epoch, test or when; otherwise when, the newest first

name: the run's directory beneath FOLDER. status: finished; running or unfinished, with the epochs that are done; pruned
or failed, with the reason; damaged, with the file. epoch: the one that was tested. test: the first test metric of the
data set. when: the time at which it began. In Python, trivium.results.run_list.run_list(FOLDER) is the same as a frame.
"""
_TYPES: Types = {"sort": one_of(*_COLUMNS)}
_LONGEST_STATUS = 60
# A pipe has no width, and gets whole lines.
_WIDTH_OF_A_FILE = 400


def main(argv: Sequence[str]) -> int:
    """Returns the exit code: 0, or 2 with one line on stderr."""
    return script(argv, HELP, lambda: _list(argv), needs_words=False)


def _list(argv: Sequence[str]) -> int:
    settings = [word for word in argv if "=" in word and not Path(word).is_dir()]
    folders = [word for word in argv if word not in settings]
    if len(folders) > 1:
        raise ValueError(f"{' '.join(folders)}: expected one folder, found {len(folders)}")
    values = parse_key_values(settings, HELP, _TYPES)
    folder = Path(folders[0] if folders else "outputs").expanduser()
    # pandas takes half a second to import, which a mistake in the call need not wait for.
    from trivium.results.run_list import run_list, sorted_runs

    runs = run_list(folder)
    if runs.empty:
        print(f"{folder}: no runs in it; trivium train makes one")
        return 0
    column = values.get("sort", "when")
    _print(folder, sorted_runs(runs, _SORTED_BY.get(column, column)))
    return 0


def _print(folder: Path, runs: pd.DataFrame) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{counted(len(runs), 'run')} in {folder}", title_justify="left")
    for column in _COLUMNS:
        table.add_column(column, justify="right" if column in ("seed", "epoch", "test") else "left", overflow="fold")
    for run in runs.astype(object).where(runs.notna(), None).to_dict("records"):
        test = "" if run["metric"] is None else f"{run['metric']} {metric_text(run['value'], share=False)}"
        shown = {**run, "test": test, "when": f"{run['when']:%Y-%m-%d %H:%M}"}
        shown["status"] = shortened(run["status"], _LONGEST_STATUS)
        table.add_row(*("-" if shown[column] in (None, "") else str(shown[column]) for column in _COLUMNS))
    Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else _WIDTH_OF_A_FILE).print(table)
