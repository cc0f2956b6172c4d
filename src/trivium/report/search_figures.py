"""Draws a search: its trials in order, parallel coordinates, and how much each parameter decided.

Legend: T trials that have a value.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, ListedColormap, Normalize
from matplotlib.ticker import MaxNLocator

from trivium.report.album import Album, Picture
from trivium.report.figure_style import COLOURS, open_figure
from trivium.results.records import Values
from trivium.results.search_trials import SearchFolder, as_numbers

# ratio of largest to smallest from which an axis is logarithmic
_LOG_FROM = 30.0
# without the brightest colours, which are too light for a line
_COLOURS = ListedColormap(colormaps["cividis"](np.linspace(0, 0.88, 256)))
# different values up to which an axis has each as a mark, evenly spaced
_LEVELS = 5
# letters of all words on an axis together
_LETTERS = 36
# trials from which there is an importance
_FEWEST = 4
# Below as many trials the order of the bars changes from one search to the next of the same space.
_RELIABLE = 20


def draw_parallel(album: Album, study: SearchFolder, name: str) -> Picture | None:
    """Draws each trial as a line through its parameters, coloured by the objective; None without a complete trial."""
    trials = study.complete
    names = [n for n in study.parameters if all(n in trial.parameters for trial in trials)]
    if not trials or not names:
        return None
    columns = [Scale([trial.parameters[n] for trial in trials]) for n in names]
    values_T = np.array([trial.value for trial in trials])
    scale, colours = _scale(values_T, study.lower_is_better)
    rows = range(len(names))
    with open_figure(0.95 + 0.31 * len(names)) as (figure, grid):
        axes = grid[0, 0]
        for t in range(len(trials)):
            across = [column.places[t] for column in columns]
            axes.plot(across, rows, color=colours(scale(values_T[t])), linewidth=0.9, alpha=0.8)
        label = f"best: trial {trials[0].number}"
        axes.plot([c.places[0] for c in columns], rows, color="#D55E00", linewidth=1.8, label=label)
        beside = 0.023 * max(len(label) for column in columns for label, _ in column.marks) + 0.03
        for k, column in enumerate(columns):
            _axis(axes, k, names[k], column, beside)
        axes.set_axis_off()
        axes.set_xlim(-beside, 1 + beside)
        axes.set_ylim(len(names) - 0.7, -0.65)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), frameon=False, borderpad=0)
        bar = figure.colorbar(ScalarMappable(scale, colours), ax=axes, location="bottom", aspect=40, pad=0.02)
        bar.set_label(study.objective or "objective")
        bar.outline.set_visible(False)
        others = len(study.trials) - len(trials)
        left_out = f"; {others} without a value are left out" if others else ""
        return album.keep(figure, name, f"{len(trials)} trials, each a line through its parameters{left_out}.")


def draw_history(album: Album, study: SearchFolder, name: str) -> Picture | None:
    """Draws the objective of each trial in their order, and the best so far; None without a complete trial."""
    trials = sorted(study.complete, key=lambda trial: trial.number)
    if not trials:
        return None
    numbers, values = [trial.number for trial in trials], np.array([trial.value for trial in trials])
    best = (np.minimum if study.lower_is_better else np.maximum).accumulate(values)
    others = [trial.number for trial in study.trials if not trial.complete]
    with open_figure(1.9) as (figure, grid):
        axes = grid[0, 0]
        axes.plot(numbers, values, "o", color=COLOURS[0], markersize=3, linestyle="none", label="trial")
        axes.step(numbers, best, where="post", color=COLOURS[4], linewidth=1.2, label="best so far")
        if others:
            # at the foot of the axes, whatever the values are
            foot: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "clip_on": False}
            axes.plot(others, [0.0] * len(others), "x", color="#666666", markersize=4, label="without a value", **foot)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
        axes.set_xlabel("trial")
        axes.set_ylabel(study.objective or "objective")
        figure.legend(loc="outside upper center", ncols=3, frameon=False)
        return album.keep(figure, name, "The objective of every trial, in the order in which they began.")


def _scale(values_T: Values, lower_is_better: bool) -> tuple[Normalize, Colormap]:
    """Returns colours of which dark is better; the worst tenth shares one, as one bad trial would use up all others."""
    tenth = 0.1 if len(values_T) > _FEWEST else 0.0
    low, high = np.quantile(values_T, (0.0, 1.0 - tenth) if lower_is_better else (tenth, 1.0)).tolist()
    return Normalize(low, high, clip=True), _COLOURS if lower_is_better else _COLOURS.reversed()


class Scale:
    """Scales one parameter's axis: places (T,) from 0 to 1, and marks, pairs of a label and its place.

    Words and a few numbers are evenly spaced; more numbers lie to scale, logarithmic over decades.
    """

    def __init__(self, texts: list[str]) -> None:
        numbers = as_numbers(texts)
        if numbers is None or len({*numbers}) <= _LEVELS:
            keys: list[Any] = texts if numbers is None else numbers
            kinds = sorted({*keys})
            even = np.linspace(0, 1, len(kinds)).tolist() if len(kinds) > 1 else [0.5]
            levels = dict(zip(kinds, even, strict=True))
            self.places = [levels[key] for key in keys]
            letters = min(14, _LETTERS // len(levels))
            self.marks = [(_short(kind, letters), place) for kind, place in levels.items()]
            return
        low, high = min(numbers), max(numbers)
        across = math.log if low > 0 and high / low >= _LOG_FROM else float
        span = across(high) - across(low)
        self.places = [(across(number) - across(low)) / span for number in numbers]
        self.marks = [(_short(low), 0.0), (_short(high), 1.0)]


def _short(value: float | str, letters: int = 0) -> str:
    """Returns three digits of a number, and the first letters of a word."""
    if isinstance(value, float):
        return f"{value:.3g}"
    return value if len(value) <= letters else f"{value[: letters - 1]}…"


def _axis(axes: Axes, row: int, name: str, column: Scale, beside: float) -> None:
    """Draws a line with its marks, those of the ends beside it, and its name above, as names are long."""
    axes.hlines(row, 0, 1, color="#888888", linewidth=0.6, zorder=0)
    box: dict[str, Any] = {"facecolor": "white", "alpha": 0.75, "pad": 0.6, "edgecolor": "none"}
    axes.text(-beside, row - 0.45, name, ha="left", va="center", bbox=box, zorder=5)
    for label, place in column.marks:
        side, shift = {0.0: ("right", -0.02), 1.0: ("left", 0.02)}.get(place, ("center", 0.0))
        axes.text(place + shift, row, label, ha=side, va="center", color="#444444", bbox=box, zorder=5)


def importances(study: SearchFolder) -> dict[str, float]:
    """Returns parameter -> its share of what decides the objective, by Optuna's PED-ANOVA, the largest first.

    Empty with fewer trials than can say. Parameters that were never varied, or not tried in every trial, are left out.
    """
    # Optuna takes a second to import.
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    trials = study.complete
    texts = {n: [trial.parameters.get(n, "") for trial in trials] for n in study.parameters}
    texts = {n: values for n, values in texts.items() if len({*values}) > 1 and "" not in values}
    if len(trials) < _FEWEST or len({trial.value for trial in trials}) < 2 or not texts:
        return {}
    columns: dict[str, tuple[Any, list[Any]]] = {n: _distribution(optuna, values) for n, values in texts.items()}
    verbosity = optuna.logging.get_verbosity()
    # Optuna announces each new study, and this one is of no interest.
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    rebuilt = optuna.create_study(direction="minimize" if study.lower_is_better else "maximize")
    optuna.logging.set_verbosity(verbosity)
    for t, trial in enumerate(trials):
        rebuilt.add_trial(
            optuna.trial.create_trial(
                params={n: values[t] for n, (_, values) in columns.items()},
                distributions={n: kind for n, (kind, _) in columns.items()},
                value=trial.value,
            )
        )
    return dict(get_param_importances(rebuilt, evaluator=PedAnovaImportanceEvaluator()))


def _distribution(optuna: Any, texts: list[str]) -> tuple[Any, list[Any]]:
    numbers = as_numbers(texts)
    if numbers is None:
        return optuna.distributions.CategoricalDistribution(sorted({*texts})), texts
    low, high = min(numbers), max(numbers)
    log = low > 0 and high / low >= _LOG_FROM
    return optuna.distributions.FloatDistribution(low, high, log=log), numbers


def draw_importances(album: Album, study: SearchFolder, name: str) -> Picture | None:
    """Draws bars, the most important parameter on top; None where `importances` is empty."""
    shares_of = importances(study)
    if not shares_of:
        return None
    with open_figure(0.55 + 0.19 * len(shares_of)) as (figure, grid):
        axes = grid[0, 0]
        shares: Values = np.array(list(shares_of.values()))
        axes.barh(range(len(shares_of)), shares, 0.7, color=COLOURS[0])
        axes.set_yticks(range(len(shares_of)), list(shares_of))
        axes.tick_params(axis="y", length=0)
        axes.invert_yaxis()
        axes.set_xlim(0, max(1e-9, float(shares.max())) * 1.05)
        axes.set_xlabel("importance (PED-ANOVA)")
        count = len(study.complete)
        few = f" Fewer than {_RELIABLE} trials say little: take it as a hint, not as a ranking." * (count < _RELIABLE)
        return album.keep(figure, name, f"How much each parameter decides the objective, over {count} trials.{few}")
