"""Draws the figures of a page: of all runs, of each group of seeds, of each run, of each search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from joblib import Parallel, cpu_count, delayed

from trivium.report.album import Album, Picture
from trivium.report.embedding import map_run
from trivium.report.prediction_figures import draw_predictions
from trivium.report.rate_curves import OVER_RATES, draw_rate_curves
from trivium.report.robustness_figures import draw_shapley, draw_subsets
from trivium.report.run_figures import draw_curves, draw_shifts, draw_terms
from trivium.report.search_figures import draw_history, draw_importances, draw_parallel
from trivium.results.folders import Sources
from trivium.results.records import Record, by_group
from trivium.results.search_trials import SearchFolder
from trivium.results.sections import file_stem

Step = Callable[[str], AbstractContextManager[None]]

# Beyond as many runs, only the first seed of each group has figures.
EACH_RUN = 40
# A process starts in three seconds, which as few runs do not pay for.
_RUNS_A_WORKER = 6
_WRITTEN = {name: caption for name, (caption, _) in OVER_RATES.items()} | {
    "noise": "Metrics when features are disturbed"
}


@dataclass
class Pictures:
    """Holds the figures. overall: of all runs. of_study: by folder. of_group: by label. of_run: by directory.

    notes: what is missing, and why.
    """

    overall: list[Picture] = field(default_factory=list)
    of_study: dict[Path, list[Picture]] = field(default_factory=dict)
    of_group: dict[str, list[Picture]] = field(default_factory=dict)
    of_run: dict[Path, list[Picture]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def draw_pictures(sources: Sources, album: Album, maps: str, step: Step) -> Pictures:
    """Draws all figures of a page.

    maps: pca, tsne or none. Maps are of the first seed of each group, because a run has to be loaded for them.
    step: shows on a terminal what is drawn.
    """
    pictures = Pictures()
    groups = by_group(sources.records)
    detailed = _detailed(sources.records, pictures)
    with step("figures of all runs"):
        for table in sources.tables:
            names = {file_stem("figure", section): f" on {section}" for section in table.data_sets}
            for figure in table.figures:
                caption = f"Table {table.path.name}{names.get(figure.stem, '')}, as {figure.name} beside table.md."
                pictures.overall.append(album.read(figure, caption))
        for study in sources.studies:
            pictures.of_study[study.path] = _of_study(pictures, album, study)
        pictures.overall += _curves(sources, album)
        pictures.overall += draw_rate_curves(album, sources.records)
        for label, runs in groups.items():
            if runs[0] in detailed:
                shifts = draw_shifts(album, runs, f"labels_{label}")
                pictures.overall += [shifts] if shifts else []
                terms = draw_terms(album, runs, f"terms_{label}")
                pictures.of_group[label] = [terms] if terms else []
    firsts = {runs[0].path for runs in groups.values()}
    shown = [record for record in sources.records if record in detailed]
    # Each run's figures take about a second, and none needs another's.
    workers = min(cpu_count(), len(shown) // _RUNS_A_WORKER) or 1
    tasks = (delayed(_of_run)(album, record, maps if record.path in firsts else "none") for record in shown)
    drawn = Parallel(n_jobs=workers, return_as="generator")(tasks)
    for record in sources.records:
        with step(f"{record.label}, seed {record.repeat}"):
            if record in detailed:
                pictures.of_run[record.path], notes = next(drawn)
                pictures.notes += notes
    return pictures


def _curves(sources: Sources, album: Album) -> list[Picture]:
    """Draws learning curves of tables, of single runs and of searches, each by itself, a figure a data set."""
    kinds: dict[tuple[str, str], list[Record]] = {}
    for record in sources.records:
        path = record.path.resolve()
        kind = "table" if path in sources.of_tables else "trials" if path in sources.of_studies else "runs"
        kinds.setdefault((kind, record.data), []).append(record)
    several = len({kind for kind, _ in kinds}) > 1
    return [
        draw_curves(album, by_group(records), f"curves_{data}" + f"_{kind}" * several)
        for (kind, data), records in kinds.items()
    ]


def _of_study(pictures: Pictures, album: Album, study: SearchFolder) -> list[Picture]:
    name = study.path.name
    importance = draw_importances(album, study, f"{name}_importance")
    if importance is None:
        pictures.notes.append(f"search {name}: too few trials to say how important each parameter is")
    drawn = [draw_history(album, study, f"{name}_history"), draw_parallel(album, study, f"{name}_trials"), importance]
    return [picture for picture in drawn if picture is not None]


def _detailed(records: Sequence[Record], pictures: Pictures) -> list[Record]:
    if len(records) <= EACH_RUN:
        return list(records)
    firsts = [runs[0] for runs in by_group(records).values()]
    best = sorted(firsts, key=lambda record: record.result["val"]["loss"])[:EACH_RUN]
    chosen = "every setting" if len(best) == len(firsts) else f"the {len(best)} settings of the lowest validation loss"
    pictures.notes.append(f"{len(records)} runs: only the first seed of {chosen} has figures")
    return best


def _of_run(album: Album, record: Record, maps: str) -> tuple[list[Picture], list[str]]:
    """Draws a run's predictions, what `trivium evaluate protocol=...` has left in its directory, and its map.

    Returns also a line for each file of these that is damaged, and for a map that cannot be drawn.
    """
    stem, of = record.stem, f"{record.label}, seed {record.repeat}"
    drawn, notes = draw_predictions(album, record, f"{stem}_"), []
    for name, draw in (("subsets", draw_subsets), ("shapley", draw_shapley)):
        file = record.path / f"{name}.csv"
        if not file.is_file():
            continue
        try:
            drawn.append(draw(album, pd.read_csv(file).to_dict("records"), f"{stem}_{name}", of))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            # The file was edited or cut off: it costs its figure, not the page.
            notes.append(f"{file}: cannot be drawn ({error!r:.100}); trivium evaluate protocol={name} writes it again")
    written = {name: record.path / f"{name}.png" for name in _WRITTEN}
    drawn += [album.read(file, f"{_WRITTEN[name]}: {of}.") for name, file in written.items() if file.is_file()]
    if maps != "none":
        try:
            drawn.append(map_run(album, record, maps, f"{stem}_{maps}"))
        except ValueError as error:
            # The store may have gone; the page then has a note in place of the map.
            notes.append(f"no map of {record.path.name}: {error}")
    return drawn, notes
