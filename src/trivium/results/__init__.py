"""Reads finished runs as one frame of results and compares them. The package is a function too: trivium.results(DIR).

frame          results(): a row for each run and metric
comparison     compare(): means, intervals, differences and their tests; spread: mean and deviation of a few numbers
clip_intervals intervals over seeds and clips together, from predictions
score_text     numbers as tables and pages print them
run_list       runs of any state as a frame: how far each is
records        one finished run's files; folders: which runs, tables and searches a folder holds
table_folder   a written table, whose sections have the names of sections; search_trials: a search's trials
"""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any


class _CallablePackage(ModuleType):
    """Makes trivium.results both the function of that name and the package that holds it.

    Importing any module of the package binds the name `results` in `trivium` to the package, so a function of that name
    could not stay there.
    """

    def __call__(self, folder: str | Path) -> Any:
        from trivium.results.frame import results

        return results(folder)


sys.modules[__name__].__class__ = _CallablePackage
