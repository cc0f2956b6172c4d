"""Writes a run's robustness as files, tables and figures: `trivium evaluate protocol=...` and alignment=true."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from trivium.core.files import csv_text, write_json, write_text
from trivium.core.metric_names import LABELS, guess_name
from trivium.core.system_errors import refuse_unwritable
from trivium.data.missing_laws import check_law
from trivium.evaluation.averages import Groups, areas, average, over_kinds, over_rates, over_subsets
from trivium.evaluation.erased_steps import refuse_unknown_id, score_erased
from trivium.evaluation.missing_modalities import (
    ScoreRow,
    Subject,
    clip_shares,
    measure_alignment,
    metric_shares,
    score_imbalanced,
    score_noise,
    score_rates,
    score_subsets,
)
from trivium.evaluation.subsets import SubsetPredictions, predict_subsets
from trivium.report.robustness_tables import number, print_averages, print_spreads, print_table
from trivium.runs.load import Run, load_run
from trivium.search.reporter import Reporter

if TYPE_CHECKING:
    from trivium.report.album import Album

PROTOCOLS = ("subsets", "rates", "imbalanced", "erased", "noise")


@dataclass
class _Report:
    """Names the files of one call. suffix: what their names end with."""

    run: Run
    subject: Subject
    folder: Path
    suffix: str
    title: str

    def write(self, name: str, rows: Sequence[ScoreRow], draw: Callable[[Album, str], object] | None = None) -> None:
        """Writes rows as a CSV file, and their figure beside it."""
        from trivium.report.album import Album  # matplotlib takes a second to import

        self.folder.mkdir(parents=True, exist_ok=True)
        write_text(self.folder / f"{name}{self.suffix}.csv", csv_text(list(rows[0]), rows))
        if draw is not None:
            draw(Album(self.folder), name + self.suffix)

    def write_averages(self, name: str, rows: Sequence[ScoreRow], groups: Groups, **more: object) -> None:
        """Writes the averages that papers print as a JSON file, and prints them; of rates, the areas under metrics too.

        more: further keys of the file.
        """
        metrics, file = [*_metrics(rows), "loss"], self.folder / f"{name}{self.suffix}.json"
        averages = average(rows, groups, metrics) | (areas(rows, metrics) if "rate" in rows[0] else {})
        head = {"run": str(self.run.path), "feature_set": self.run.schema.feature_set, "split": self.subject.split}
        draws = max(row.get("draw", 1) for row in rows)
        write_json(file, {**head, "n": rows[0]["n"], "protocol": name, "draws": draws, "averages": averages, **more})
        print_averages(averages, metrics)


def write_protocols(
    run_dir: Path,
    protocols: Sequence[str],
    *,
    split: str = "test",
    draws: int = 5,
    complete: bool = False,
    law: str = "keep_one",
    unknown_id: int | None = None,
    store: Path | None = None,
    out: Path | None = None,
    device: str = "cpu",
) -> None:
    """Runs the protocols on a finished run and writes each, when done, to `out` (otherwise the run's directory).

    complete: score only clips that have every modality. law: of "rates", how clips lose modalities. unknown_id: the
    token that an erased word becomes; None for the method's own. Files are those that `trivium evaluate --help` lists;
    a name ends with what differs from the default, as in subsets_valid.csv.
    Raises ValueError for a run that is not finished, a store that does not fit, an unknown split, and as
    trivium.evaluation.missing_modalities does.
    """
    report = _open(run_dir, split, complete, store, out, device)
    subject = report.subject
    if "subsets" in protocols:
        # It is refused before minutes of predictions.
        subject.refuse_incomplete()
    check_law(law, subject.modalities)
    if unknown_id is not None:
        subject.method.unknown_id = unknown_id
    if "erased" in protocols:
        refuse_unknown_id(subject.method)
    if {"subsets", "rates", "imbalanced"} & set(protocols):
        predictions = predict_subsets(subject.method, subject.loader, _track)
        if "subsets" in protocols:
            _report_subsets(report, predictions)
        if "rates" in protocols:
            _report_rates(report, predictions, draws, law)
        if "imbalanced" in protocols:
            _report_imbalanced(report, predictions, draws)
    if "erased" in protocols:
        _report_erased(report, draws)
    if "noise" in protocols:
        _report_noise(report, draws)
    if subject.method.probed and split == "valid":
        print("the readout has been fitted on the validation split too: take split=test")
    print(f"written to {report.folder}")


def write_alignment(
    run_dir: Path,
    *,
    split: str = "test",
    store: Path | None = None,
    out: Path | None = None,
    device: str = "cpu",
) -> dict[str, dict[str, float]]:
    """Writes alignment.json, prints it and returns modality -> measure -> value. Arguments: `write_protocols`."""
    report = _open(run_dir, split, False, store, out, device)
    alignment = measure_alignment(report.subject)
    head = {"run": str(report.run.path), "feature_set": report.run.schema.feature_set, "split": split}
    report.folder.mkdir(parents=True, exist_ok=True)
    file = report.folder / f"alignment{report.suffix}.json"
    write_json(file, {**head, "modalities": alignment})
    columns = {"n": "n", "top-1": "top1", "chance": "chance_top1", "MRR": "mrr", "chance MRR": "chance_mrr"}
    columns |= {"mutual kNN": "mutual_knn", "chance kNN": "chance_knn"}
    rows = [[name, *(number(values.get(key)) for key in columns.values())] for name, values in alignment.items()]
    print_table(f"{report.title}: each modality's vectors beside the joint ones", ["modality", *columns], rows)
    k = next(iter(alignment.values()))["k"]
    print(f"k is {k}; retrieval is left out where a vector's size is not the joint one's")
    print(f"written to {file}")
    return alignment


def _open(run_dir: Path, split: str, complete: bool, store: Path | None, out: Path | None, device: str) -> _Report:
    # Asked first, as an evaluation takes minutes.
    refuse_unwritable(out or run_dir)
    run = load_run(run_dir, device)
    opened, data = run.data(store)
    subject = Subject.open(run.method, data, split, complete=complete)
    parts = ["" if split == "test" else split, "complete" * complete, opened.path.stem if store else ""]
    suffix = "".join(f"_{part}" for part in parts if part)
    title = f"{run.result['method']} on {opened.schema.feature_set}, {split}, n = {int(subject.rows.sum())}"
    return _Report(run, subject, out or run.path, suffix, title)


def _report_subsets(report: _Report, predictions: SubsetPredictions) -> None:
    from trivium.report.robustness_figures import draw_shapley, draw_subsets

    subject = report.subject
    rows = score_subsets(subject, predictions)
    shares, names, metrics = metric_shares(subject, rows), subject.modalities, _metrics(rows)
    report.write("subsets", rows, lambda album, name: draw_subsets(album, rows, name, report.title))
    report.write("shapley", shares, lambda album, name: draw_shapley(album, shares, name, report.title))
    report.write("shapley_clips", clip_shares(subject, predictions))
    labels = [*(row["modalities"] for row in rows[:-1]), "all", guess_name(metrics)]
    cells = [
        [label, *(number(row[metric]) for metric in metrics)]
        for label, row in zip(labels, [*rows, subject.score_train_mean()], strict=True)
    ]
    print_table(f"{report.title}: predicted from subsets", ["modalities", *(LABELS[m] for m in metrics)], cells)
    equities = {row["metric"]: row["equity"] for row in shares}
    defined = {metric: value for metric, value in equities.items() if value is not None}
    report.write_averages("subsets", rows, over_subsets(rows), equity=defined)
    value = {(row["metric"], row["modality"]): row["value"] for row in shares}
    cells = [[name, *(number(value[metric, name]) for metric in metrics)] for name in names]
    if defined:
        cells.append(["equity", *(number(equities[metric]) for metric in metrics)])
    print_table(
        f"Shapley values: all modalities minus the {guess_name(metrics)}",
        ["modality", *(LABELS[m] for m in metrics)],
        cells,
    )


def _report_rates(report: _Report, predictions: SubsetPredictions, draws: int, law: str) -> None:
    from trivium.report.robustness_figures import draw_rates

    rows = score_rates(report.subject, predictions, draws, law)
    train_mean, file = report.subject.score_train_mean(), "rates" if law == "keep_one" else f"rates_{law}"
    report.write(file, rows, lambda album, name: draw_rates(album, {"model": rows}, name, train_mean))
    print_spreads(f"{report.title}: modalities missing at random ({law}), {_over(draws)}", rows, ["rate"])
    report.write_averages(file, rows, over_rates(rows))
    print(f"every metric and draw: {file}{report.suffix}.csv")


def _report_imbalanced(report: _Report, predictions: SubsetPredictions, draws: int) -> None:
    rows = score_imbalanced(report.subject, predictions, draws)
    report.write("imbalanced", rows)
    order = "/".join(report.subject.modalities)
    title = f"{report.title}: modalities missing at random at the rates {order}, {_over(draws)}"
    print_spreads(title, rows, ["kind", "rates"])
    report.write_averages("imbalanced", rows, over_kinds(rows))


def _report_erased(report: _Report, draws: int) -> None:
    from trivium.report.robustness_figures import draw_rates

    rows, train_mean = score_erased(report.subject, draws, _track), report.subject.score_train_mean()
    words = {"axis": "share of steps erased", "caption": "Metrics when single frames and words are erased"}
    report.write("erased", rows, lambda album, name: draw_rates(album, {"model": rows}, name, train_mean, **words))
    print_spreads(f"{report.title}: frames and words erased at random, {_over(draws)}", rows, ["rate"])
    report.write_averages("erased", rows, over_rates(rows))


def _report_noise(report: _Report, draws: int) -> None:
    from trivium.report.robustness_figures import draw_noise

    rows = score_noise(report.subject, draws, _track)
    report.write("noise", rows, lambda album, name: draw_noise(album, rows, name))
    undisturbed = [{**row, "kind": "none", "modality": "-"} for row in rows[:draws]]
    disturbed = [
        {**row, "modality": "all" if "+" in row["modalities"] else row["modalities"]} for row in rows if row["level"]
    ]
    title = f"{report.title}: features disturbed, {_over(draws)}"
    print_spreads(title, [*undisturbed, *disturbed], ["kind", "modality", "level"])
    reads = report.subject.data.reads
    left_out = [name for name, what in reads.items() if what == "tokens"]
    if left_out:
        print(f"{', '.join(left_out)}: read as token ids, which take no noise; left as it is")
    print("level: of noise in a feature's standard deviations on train, of dropped the share of steps set to zero")


def _over(draws: int) -> str:
    return f"mean ± standard deviation of {draws} draws" if draws > 1 else "one draw"


def _metrics(rows: Sequence[ScoreRow]) -> list[str]:
    return [key for key in rows[0] if key in LABELS]


def _track(items: Sequence[Any], what: str) -> Iterator[Any]:
    """Yields the items; on a terminal, stderr shows how many are left."""
    with Reporter(len(items), console=Console(stderr=True)) as progress:
        for item in items:
            with progress.step(what):
                yield item
