"""The boards of a page (trivium.reports.page.standings): of each table's data sets, or of the runs themselves."""

from __future__ import annotations

from collections.abc import Sequence

from trivium.metric_names import LABELS
from trivium.reports.page.sources import Sources
from trivium.reports.page.standings import Board, Published
from trivium.reports.page.table_folder import TableFolder
from trivium.reports.records import Record, by_group


def boards_of(sources: Sources) -> list[Board]:
    """Of tables, then of the runs that are in none of them, a board a data set.

    Not of a search's trials: they were chosen by validation, and are not to be chosen by the test split.
    """
    found = []
    for table in sources.tables:
        prefix = f"{table.path.name}, " if len(sources.tables) > 1 else ""
        found += [of_table(table, data, prefix) for data in _data_sets(table)]
    without = sources.of_studies | (sources.of_tables if found else frozenset())
    others = [record for record in sources.records if record.path.resolve() not in without]
    prefix = "other runs, " if found else ""
    for data in dict.fromkeys(record.data for record in others):
        found.append(of_records([record for record in others if record.data == data], prefix))
    return [board for board in found if board.values]


def _data_sets(table: TableFolder) -> list[str]:
    return list(dict.fromkeys(row.get("data", "") for row in table.values))


def of_table(table: TableFolder, data: str, prefix: str = "") -> Board:
    """Of values.csv and what table.csv says is published."""
    lines = [line for line in table.values if line.get("data", "") == data]
    summary = [line for line in table.rows if line.get("data", "") == data]
    measures = dict.fromkeys(line["measure"] for line in summary)
    values: dict[str, dict[str, dict[int, float]]] = {
        measure: {line["row"]: {} for line in summary if line["measure"] == measure} for measure in measures
    }
    for line in lines:
        if line["row"] in values.get(line["measure"], {}):
            values[line["measure"]][line["row"]][int(line["seed"])] = float(line["value"])
    nothing = {line["measure"]: float(line["train_mean"]) for line in summary if line.get("train_mean")}
    published: dict[str, dict[str, Published]] = {}
    for line in summary:
        if line.get("published"):
            same = line.get("same_features") == "True"
            published.setdefault(line["measure"], {})[line["row"]] = Published(float(line["published"]), same)
    return Board(prefix + data if data else f"table {table.path.name}", values, table.baseline, published, nothing)


def of_records(records: Sequence[Record], prefix: str = "") -> Board:
    """Of runs on one data set, by the metrics of their test split."""
    data, groups = records[0].data, by_group(records)
    values = {
        label: {
            name.removesuffix(f", {data}"): {
                run.seed: float(run.result["test"][metric]) for run in runs if _has(run, metric)
            }
            for name, runs in groups.items()
        }
        for metric, label in LABELS.items()
        if any(_has(run, metric) for run in records)
    }
    return Board(prefix + data, values, nothing=_nothing(records))


def _nothing(records: Sequence[Record]) -> dict[str, float]:
    """MAE of predicting the train mean; the same for all runs on one store, and left out if it is not."""
    found = {record.result.get("train_mean_mae", {}).get("test") for record in records}
    return {LABELS["mae"]: float(found.pop())} if len(found) == 1 and None not in found else {}


def _has(run: Record, metric: str) -> bool:
    return run.result.get("test", {}).get(metric) is not None
