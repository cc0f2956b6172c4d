"""Parses the command line of `trivium report` and writes runs, tables and searches as one HTML file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from trivium.config.arguments import Types, modules, one_of, parse_key_values, path, script, truth
from trivium.config.trust import trust
from trivium.core.wording import command

HELP = """\
Show runs, a table or a search on a page: one HTML file that needs no network and can be sent as it is.

  trivium report FOLDER... [key=value ...]

Examples
  trivium report outputs/runs/NAME                      one run
  trivium report outputs/runs/A outputs/runs/B          two runs and where their settings differ
  trivium report outputs/tables/selfmi                  a table, its figure and all its runs
  trivium report outputs/studies/NAME                   a search: its best trial, figures, every trial
  trivium report outputs/sweeps/TIME out=sweep.html     every finished run of a sweep
  trivium report outputs/runs/NAME figures=paper        the figures also as paper/NAME.pdf and .png

FOLDER
  a finished run (has config.yaml and result.json); a table of trivium reproduce (has table.csv); a search (has
  trials.csv); or a folder of runs. Runs in it that are not finished are left out, and the page says so.

Keys
  out=FILE           where the page goes; otherwise report.html in the first FOLDER
  figures=DIR        also write every figure there, for a column of a paper: PDF and PNG
  map=pca|tsne|none  how joint vectors are placed on a map; otherwise pca. The first seed of each setting is loaded for
                     it, and its store must still be there; none is the fastest
  trust=A,B          modules of your own that runs name, for the map (docs/extending.md); their code is run
  transcripts=false  leave out what is said in the clips, for pages that go where the data may not

On the page: which row is best, by how much, and whether that is more than chance; every run, sortable and filterable;
learning curves, loss terms, predicted against true, confusion of classes, Self-MI's generated labels, maps, a search's
trials, and what trivium evaluate protocol=... has left; settings with their differences; every clip's prediction,
beside another run's; the commands, commit, versions and machine. docs/report.md says how to read it.
"""
_TYPES: Types = {
    "out": path,
    "figures": path,
    "map": one_of("pca", "tsne", "none"),
    "transcripts": truth,
    "trust": modules,
}


def main(argv: Sequence[str]) -> int:
    """Returns the exit code: 0, or 2 after one line on stderr."""
    return script(argv, HELP, lambda: _report(argv))


def _report(argv: Sequence[str]) -> int:
    # A folder whose name has a "=" is no setting.
    settings = [word for word in argv if "=" in word and not Path(word).is_dir()]
    folders = [path(word) for word in argv if word not in settings]
    values = parse_key_values(settings, HELP, _TYPES)
    trust(values.get("trust", []))
    if not folders:
        raise ValueError("no folder; expected that of a run, a table or a search")
    file = values.get("out", folders[0] / "report.html")
    if "out" in values and not file.parent.is_dir():
        raise ValueError(f"out={file}: there is no folder {file.parent}; make it, or choose another")
    if file.is_dir():
        raise ValueError(f"out={file}: a folder; name a file in it, such as out={file / 'report.html'}")
    # Checked here, as figures take up to a minute to draw.
    if file.parent.is_dir() and not os.access(file.parent, os.W_OK):
        raise ValueError(f"{file.parent}: cannot be written into; say where the page is to go with out=FILE")
    # matplotlib takes a second to import, so that it is imported after the command line has been checked.
    from trivium.report.write_report import write_report

    write_report(
        folders,
        file,
        figures=values.get("figures"),
        maps=values.get("map", "pca"),
        transcripts=values.get("transcripts", True),
        command=command("report", *argv),
    )
    print(f"written to {file}")
    return 0
