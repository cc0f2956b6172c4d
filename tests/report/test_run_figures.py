"""What the figures of runs and searches show, against numpy and the protocol's own metrics."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpy.testing import assert_allclose

from driver import here, rows
from page_cases import TRIALS, epoch_value, run_at, search_at, store_at
from trivium.core.metric_names import CLASSES
from trivium.evaluation.metrics import compute_metrics, score_classes
from trivium.report.album import Album, Picture, compact
from trivium.report.bands import wrapped
from trivium.report.curve_panels import draw_panels, shared_column
from trivium.report.embedding import map_run, principal_map
from trivium.report.figure_style import figure_svg, open_figure
from trivium.report.prediction_figures import (
    confusion,
    draw_confusion,
    draw_map,
    draw_scatter,
    marginal_bins,
    scatter,
    scores_text,
)
from trivium.report.run_figures import (
    curve_columns,
    draw_band,
    draw_curves,
    draw_shifts,
    draw_terms,
    seed_band,
    shifted,
    term_columns,
)
from trivium.report.search_figures import Scale, draw_history, draw_importances, draw_parallel, importances
from trivium.results.records import Predicted, Record, labelled, read_record
from trivium.results.search_trials import read_search_folder


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return store_at(tmp_path_factory.mktemp("data") / "made.h5")


def clips(n: int = 200, bound: float = 4.0) -> Predicted:
    rng = np.random.default_rng(0)
    return Predicted([str(k) for k in range(n)], rng.uniform(-3, 3, n).round(1), rng.uniform(-bound, bound, n))


def test_band_is_the_mean_over_the_runs_that_reached_an_epoch() -> None:
    rng = np.random.default_rng(1)
    runs = [rng.normal(size=n) for n in (6, 4, 6)]
    mean, std, whole = seed_band(runs)
    assert whole == 4
    first, rest = np.stack([run[:4] for run in runs]), np.stack([runs[0][4:], runs[2][4:]])
    assert_allclose(mean, [*first.mean(axis=0), *rest.mean(axis=0)])
    assert_allclose(std, [*first.std(axis=0, ddof=1), *rest.std(axis=0, ddof=1)])


def test_one_run_has_a_line_and_no_band_and_a_missing_epoch_is_a_gap() -> None:
    mean, std, _ = seed_band([np.array([1.0, math.nan, 3.0])])
    assert_allclose(mean, [1.0, math.nan, 3.0])
    assert_allclose(std, 0.0)


def test_beyond_the_shortest_run_the_line_is_dotted() -> None:
    figure, axes = plt.subplots()
    draw_band(axes, [np.arange(5.0), np.arange(3.0) + 1], label="x", style=0)
    whole, rest = axes.lines
    assert_allclose(whole.get_xydata(), [[1, 0.5], [2, 1.5], [3, 2.5]])
    assert_allclose(rest.get_xydata(), [[3, 2.5], [4, 3], [5, 4]])
    assert whole.is_dashed() is False
    assert rest.is_dashed() is True
    plt.close(figure)


def test_curves_are_those_of_the_runs_files_a_line_a_setting(tmp_path: Path, store: Path) -> None:
    records = labelled([read_record(run_at(tmp_path / str(seed), store, seed)) for seed in (1, 2)])
    assert curve_columns({"supervised": records}) == ["train/loss", "val/loss", "val/mae", "val/corr"]
    mean, _, _ = seed_band([record.epochs["train/loss"] for record in records])
    assert_allclose(mean, [np.mean([epoch_value(s, k) for s in (1, 2)]) for k in range(1, 6)])


def test_mae_is_not_drawn_twice_where_it_is_the_loss(tmp_path: Path, store: Path) -> None:
    record = read_record(run_at(tmp_path / "a", store))
    file = tmp_path / "a" / "metrics.csv"
    lines = [line.split(",") for line in file.read_text().split()]
    extra = [[*line, "val/acc7" if k == 0 else "0.5"] for k, line in enumerate(lines)]
    file.write_text("\n".join(",".join(line) for line in extra) + "\n")
    assert curve_columns({"a": [record]}) == ["train/loss", "val/loss", "val/corr", "val/acc7"]


def test_more_groups_than_colours_have_a_panel_each(tmp_path: Path, store: Path) -> None:
    records = [read_record(run_at(tmp_path / str(k), store, method=f"method{k}", extra=k)) for k in range(9)]
    groups = {f"row {k}": [record] for k, record in enumerate(records)}
    drawn = draw_curves(Album(), groups, "curves")
    text = drawn.content.decode()
    assert all(f">row {k}<" in text for k in range(9))
    assert "validation MAE" in drawn.caption
    assert text.count("<use") > 9  # the epochs that were kept
    assert shared_column(groups) == "val/mae"


def test_panels_are_of_the_metric_that_most_groups_have_and_name_those_without(tmp_path: Path, store: Path) -> None:
    records = [read_record(run_at(tmp_path / str(k), store, extra=k)) for k in range(3)]
    groups = {name: [record] for name, record in zip("abc", records, strict=True)}
    for name in "ab":
        file = tmp_path / str("abc".index(name)) / "metrics.csv"
        file.write_text(file.read_text().replace("val/mae", "val/other"))
    assert shared_column(groups) == "val/corr"
    file = tmp_path / "2" / "metrics.csv"
    file.write_text(file.read_text().replace("val/corr", "val/other"))
    groups = {name: [read_record(run[0].path)] for name, run in groups.items()}  # what was read is kept
    drawn = draw_panels(Album(), groups, "curves")
    assert "Not measured while training: c." in drawn.caption


@pytest.mark.parametrize(
    ("label", "lines"),
    [
        ("Self-MI", "Self-MI"),
        ("Unimodal mixup, both in series", "Unimodal mixup,\nboth in series"),
        ("supervised, optimizer.lr=0.001", "supervised,\noptimizer.lr=0.…"),
        ("a_name_that_has_more_parts_than_two_lines_hold", "a_name_that_has_\nmore_parts_than…"),
        ("x" * 20, "x" * 15 + "…"),
    ],
)
def test_titles_break_between_the_parts_of_a_name(label: str, lines: str) -> None:
    assert wrapped(label, 16) == lines


def test_marginals_are_centred_on_the_marks_that_scores_lie_on() -> None:
    for low, high, step in ((-3.3, 3.3, 0.5), (-1.1, 1.1, 0.2), (0.0, 100.0, 10.0)):
        edges = marginal_bins(low, high)
        assert_allclose(np.diff(edges), step)
        assert_allclose(edges / step + 0.5, np.rint(edges / step + 0.5), atol=1e-9)
        assert edges[0] <= low
        assert high <= edges[-1]
        assert len(edges) <= 18


def test_terms_leave_out_their_sum_and_the_labels(tmp_path: Path, store: Path) -> None:
    terms = ("joint", "cpc_text", "shift_text", "shift_text_q50")
    records = labelled([read_record(run_at(tmp_path / "a", store, terms=terms))])
    assert term_columns(records) == ["train/joint", "train/cpc_text"]
    assert shifted(records) == ["text"]
    plain = labelled([read_record(run_at(tmp_path / "b", store, terms=["joint"]))])
    assert draw_terms(Album(), plain, "one") is None
    assert draw_shifts(Album(), plain, "none") is None


def test_confusion_is_counted_as_the_accuracy_is() -> None:
    found = clips()
    for protocol, scale in (("mosi", 1.0), ("sims", 1 / 3)):
        own = Predicted(found.ids, found.target * scale, found.prediction * scale)
        counts = confusion(protocol, own)
        metric, names = CLASSES[protocol]
        assert counts.shape == (len(names), len(names))
        accuracy = compute_metrics(protocol, own.prediction, own.target)[metric]
        assert np.trace(counts) / counts.sum() == pytest.approx(accuracy)
    rows = [np.clip(np.rint(found.target), -3, 3), np.clip(np.rint(found.prediction), -3, 3)]
    expected = [[int(((rows[0] == t) & (rows[1] == p)).sum()) for p in range(-3, 4)] for t in range(-3, 4)]
    assert confusion("mosi", found).tolist() == expected


def test_classes_of_scores_on_the_edge() -> None:
    assert score_classes("mosi", [-9, -2.5, -0.5, 0.5, 1.5, 9]).tolist() == [0, 1, 3, 3, 5, 6]  # half to even
    assert score_classes("sims", [-2, -0.7, -0.1, 0.1, 0.7, 2]).tolist() == [0, 0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="'regression' has no classes; those with classes are"):
        score_classes("regression", [0.0])


def test_dots_are_the_clips_and_the_head_has_the_metrics() -> None:
    figure, axes = plt.subplots()
    found = clips()
    scatter(axes, found)
    assert_allclose(axes.collections[0].get_offsets(), np.stack([found.target, found.prediction], axis=1))
    mae = np.abs(found.target - found.prediction).mean()
    corr = np.corrcoef(found.target, found.prediction)[0, 1]
    assert scores_text(found).split() == ["MAE", f"{mae:.3f},", "Corr", f"{corr:.3f},", "n", "=", "200"]
    assert axes.get_xlim() == axes.get_ylim()
    plt.close(figure)


def test_page_gets_the_same_image_in_fewer_bytes() -> None:
    with open_figure(2.0) as (figure, grid):
        grid[0, 0].plot([0.123456, 2], [1, 3.987654], linestyle="--")
        grid[0, 0].scatter(range(500), range(500))
        grid[0, 0].set_title("lr = 0.123456 > 0")
        whole = figure_svg(figure).decode()
    small = compact(whole)
    assert len(small) < 0.6 * len(whole)
    drawn, kept = ElementTree.fromstring(whole), ElementTree.fromstring(small)
    shapes = [[e for e in tree.iter() if e.tag.endswith(("}path", "}use", "}text"))] for tree in (drawn, kept)]
    assert [e.tag for e in shapes[0]] == [e.tag for e in shapes[1]]
    assert [e.text for e in shapes[0] if e.tag.endswith("text")] == [
        e.text for e in shapes[1] if e.tag.endswith("text")
    ]
    styles = dict(re.findall(r"\.(s\d+)\{(.*?)\}", small))
    for before, after in zip(*shapes, strict=True):
        assert styles.get(after.get("class", "")) == before.get("style")
        for key in ("x", "y", "d"):
            one, other = (re.findall(r"-?[\d.]+", e.get(key, "")) for e in (before, after))
            assert_allclose(np.array(one, float), np.array(other, float), atol=0.01)


def test_map_is_the_principal_components_whatever_their_sign() -> None:
    vectors = np.random.default_rng(2).normal(size=(50, 8)) * np.arange(1, 9)
    places, shares = principal_map(vectors)
    variances, directions = np.linalg.eigh(np.cov(vectors.T))  # the smallest first
    expected = (vectors - vectors.mean(axis=0)) @ directions[:, :-3:-1]
    assert_allclose(np.abs(places), np.abs(expected), atol=1e-9)
    assert_allclose(shares, variances[:-3:-1] / variances.sum())
    assert_allclose(principal_map(-vectors)[0], -places, atol=1e-9)  # signs follow loadings, not the solver


def test_map_of_one_feature_or_of_equal_vectors_is_flat_and_finite() -> None:
    places, shares = principal_map(np.arange(5.0)[:, None])
    assert_allclose(places, np.stack([np.arange(5.0) - 2, np.zeros(5)], axis=1), atol=1e-12)
    assert_allclose(shares, [1, 0])
    assert not principal_map(np.ones((5, 3)))[0].any()


def test_labels_tell_runs_apart_by_settings_and_never_by_seed(tmp_path: Path, store: Path) -> None:
    def made(name: str, seed: int, **settings: Any) -> Record:
        return read_record(run_at(tmp_path / name, store, seed, **settings))

    records = [made("a", 1, alpha=0.1), made("b", 2, alpha=0.1), made("c", 1, alpha=0.5), made("d", 1, method="comm")]
    labels = [record.label for record in labelled(records)]
    assert labels == ["supervised, method.alpha=0.1"] * 2 + ["supervised, method.alpha=0.5", "comm"]


def test_legend_has_an_entry_for_each_setting_however_long_their_names_are(tmp_path: Path, store: Path) -> None:
    records = [read_record(run_at(tmp_path / name, store, note="x" * 60 + name, rate=0.12345678)) for name in "ab"]
    one, other = labelled(records)
    picture = draw_curves(Album(), {one.label: [one], other.label: [other]}, "curves")
    assert picture.content.decode().count("supervised, method.note=xxx") == 2


def test_axis_of_a_parameter_is_to_scale_unless_it_has_a_few_values_or_words() -> None:
    many = [0.001, 0.002, 0.01, 0.05, 0.1, 1.0]
    assert_allclose(Scale([str(value) for value in many]).places, np.log10(many) / 3 + 1)  # over decades
    assert_allclose(Scale(["10", "20", "30", "40", "60", "110"]).places, [0, 0.1, 0.2, 0.3, 0.5, 1])
    few = Scale(["0.01", "0", "0.0010", "0.001"])
    assert_allclose(few.places, [1, 0, 0.5, 0.5])
    assert few.marks == [("0", 0.0), ("0.001", 0.5), ("0.01", 1.0)]
    assert_allclose(Scale(["lstm", "gru", "lstm"]).places, [1, 0, 1])
    assert Scale(["7", "7"]).places == [0.5, 0.5]
    alike = Scale(["a very long word: one", "a very long word: two"])
    assert len(alike.marks) == 2


class Looked(Album):
    """Takes the place of every text of a figure, in pixels, as it is drawn."""

    def keep(self, figure: Figure, name: str, caption: str) -> Picture:
        kept = super().keep(figure, name, caption)
        figure.canvas.draw()
        drawn = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text()]
        self.places = {(k, text.get_text()): text.get_window_extent() for k, text in enumerate(drawn)}
        return kept


@pytest.mark.parametrize("words", [("concat", "sum", "transformer", "lowrank", "published/comm"), ("1e-4", "0.005")])
def test_parallel_coordinates_of_many_parameters_have_no_text_on_another(tmp_path: Path, words: Sequence[str]) -> None:
    """Self-MI's space has 17, with names as long as this."""
    names = [f"optimizer.groups.vision.weight_decay{k}" for k in range(17)]
    lines = [",".join([str(k), "complete", str(1 + k / 7), *[word] * 17]) for k, word in enumerate(words)]
    (tmp_path / "trials.csv").write_text("\n".join([",".join(["number,state,value", *names]), *lines]) + "\n")
    album = Looked()
    assert draw_parallel(album, read_search_folder(tmp_path), "parallel") is not None
    assert {text for _, text in album.places} >= set(names)
    pairs = itertools.combinations(album.places.items(), 2)
    assert [(one, other) for (one, place), (other, beside) in pairs if place.overlaps(beside)] == []


def test_search_is_read_with_its_pruned_trial(tmp_path: Path) -> None:
    study = read_search_folder(search_at(tmp_path / "search"))
    assert study.parameters == ["optimizer.lr", "fusion.out", "encoder"]
    values = [1 - k / 10 for k in range(len(TRIALS))]
    assert [trial.value for trial in study.complete] == pytest.approx(values[::-1])  # the best first
    corr = read_search_folder(search_at(tmp_path / "corr", "val/corr"))
    assert [trial.value for trial in corr.complete] == pytest.approx(values)
    assert study.trials[-1].state == "pruned"
    assert math.isnan(study.trials[-1].value)


def test_search_file_without_its_columns_is_refused(tmp_path: Path) -> None:
    (tmp_path / "trials.csv").write_text("number,value\n0,1.0\n")
    with pytest.raises(ValueError, match=r"trials\.csv: cannot be read \(no column state\)"):
        read_search_folder(tmp_path)


def test_the_parameter_that_decides_is_the_most_important(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    lines = [f"{k},complete,{x},{x},{y}" for k, (x, y) in enumerate(rng.random((40, 2)).round(4))]
    (tmp_path / "trials.csv").write_text("\n".join(["number,state,value,decides,idle", *lines]) + "\n")
    found = importances(read_search_folder(tmp_path))
    assert next(iter(found)) == "decides"
    assert found["decides"] > 2 * found["idle"]


@pytest.mark.parametrize(("trials", "few"), [(19, True), (20, False)])
def test_importance_of_few_trials_carries_its_caveat(tmp_path: Path, trials: int, few: bool) -> None:
    values = np.random.default_rng(4).random((trials, 2)).round(4)
    lines = [f"{k},complete,{x},{y}" for k, (x, y) in enumerate(values)]
    (tmp_path / "trials.csv").write_text("\n".join(["number,state,value,lr", *lines]) + "\n")
    picture = draw_importances(Album(), read_search_folder(tmp_path), "importance")
    assert picture is not None
    assert f"over {trials} trials." in picture.caption
    assert ("Fewer than 20 trials say little" in picture.caption) is few


def test_importance_needs_a_few_trials(tmp_path: Path) -> None:
    (tmp_path / "trials.csv").write_text("number,state,value,lr\n0,complete,1.0,0.1\n1,complete,0.5,0.2\n")
    assert importances(read_search_folder(tmp_path)) == {}
    assert draw_importances(Album(), read_search_folder(tmp_path), "importance") is None


def test_every_figure_is_the_same_svg_each_time_and_two_files_beside(tmp_path: Path, store: Path) -> None:
    terms = ["joint", *(f"shift_text{q}" for q in ("", "_q10", "_q50", "_q90"))]
    records = labelled(
        [read_record(run_at(tmp_path / str(seed), store, seed, terms=["mi", *terms])) for seed in (1, 2)]
    )
    study = read_search_folder(search_at(tmp_path / "search"))
    found = clips(1100)

    album = Album(tmp_path / "figures")
    once = [
        draw_curves(album, {"supervised": records}, "curves a/b"),
        draw_terms(album, records, "terms"),
        draw_shifts(album, records, "shifts"),
        draw_scatter(album, found, "scatter", "x"),
        draw_confusion(album, found, "mosi", "confusion", "x"),
        draw_map(album, np.ones((1100, 2)), found.target, ("x", "y"), "map", "x"),
        draw_parallel(album, study, "parallel"),
        draw_history(album, study, "history"),
    ]
    assert None not in once
    assert once[0] == draw_curves(Album(), {"supervised": records}, "curves a/b")
    assert once[3] == draw_scatter(Album(), found, "scatter", "x")
    names = {"curves_a_b", "terms", "shifts", "scatter", "confusion", "map", "parallel", "history"}
    assert {file.name for file in (tmp_path / "figures").iterdir()} == {
        f"{n}.{e}" for n in names for e in ("pdf", "png")
    }
    assert not plt.get_fignums()
    sizes = {picture.name: len(picture.content) for picture in once if picture}
    assert sizes["scatter"] < 150_000  # beyond 1000 dots they are pixels


def test_a_trained_run_records_its_labels_and_can_be_mapped(tmp_path: Path) -> None:
    here(tmp_path, "method=selfmi", f"run.dir={tmp_path / 'run'}")
    record = labelled([read_record(tmp_path / "run")])[0]
    assert shifted([record]) == ["text", "audio", "vision"]
    distance = [float(row["train/shift_audio"]) for row in rows(tmp_path / "run" / "metrics.csv")]
    assert distance[0] == 0.0  # labels begin to move in epoch 2
    assert 0 < distance[1] < 3
    assert "train/shift_audio" not in term_columns([record])
    picture = map_run(Album(), record, "pca", "map")
    assert picture.kind == "image/svg+xml"
    assert record.predictions["test"].prediction.shape == record.predictions["test"].target.shape
