"""The page of trivium report as a file: what is on it, that nothing of the data gets out, and what is refused."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import html
import json
import os
import pty
import re
import shutil
import threading
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from page_cases import EVIL, SAID, TESTED, VALUES, predicted, run_at, scored, search_at, store_at, table_at, targets
from refusal import refusal
from trivium.cli.report import main
from trivium.report.page.build_page import breakable, build_page, script_json
from trivium.report.page.pictures import Pictures
from trivium.report.write_report import write_report
from trivium.results.folders import gather


class Elements(HTMLParser):
    """Every start tag with its attributes, and the text of each script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = tag == "script"
        if self.inside:
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.scripts[-1] += data


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds of one setting and one of another, on one store."""
    folder = tmp_path_factory.mktemp("runs")
    store = store_at(folder / "data" / "made.h5")
    run_at(folder / "a1", store, 1, alpha=0.1)
    run_at(folder / "a2", store, 2, alpha=0.1)
    run_at(folder / "b1", store, 1, alpha=EVIL)
    return folder


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    runs = [folder / name for name in ("a1", "a2", "b1")]
    return write_report(runs, folder / "page.html", maps="none", command="the command").read_text()


def undrawn(*folders: Path, transcripts: bool = True) -> str:
    """The page without figures, which take most of its time."""
    return build_page(gather(folders), Pictures(), command="", transcripts=transcripts)


def data_of(page: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Elements(page).scripts[0])
    return found


def cells(page: str, table: str) -> list[list[str]]:
    body = re.search(rf'<table id="{table}".*?<tbody>(.*?)</tbody>', page, re.DOTALL)
    assert body is not None
    rows = re.findall(r"<tr.*?>(.*?)</tr>", body[1], re.DOTALL)
    words = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]
    return [[html.unescape(re.sub(r"<[^>]*>", "", word)) for word in row] for row in words]


def test_nothing_is_fetched_and_nothing_else_may_run(page: str) -> None:
    elements = Elements(page)
    for tag, attributes in elements.tags:
        for key in ("src", "href", "srcset", "action", "data"):
            value = attributes.get(key) or ""
            assert value.startswith(("#", "data:")) or not value, f"<{tag} {key}={value[:60]}>"
        assert not any(key.startswith("on") for key in attributes), f"<{tag}> has a handler"
    assert "@import" not in page
    assert "url(" not in page
    policy = next(a["content"] for t, a in elements.tags if t == "meta" and a.get("http-equiv")) or ""
    code = base64.b64encode(hashlib.sha256(elements.scripts[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{code}'" in policy
    assert "default-src 'none'" in policy


def test_what_data_say_is_text_everywhere(page: str) -> None:
    elements = Elements(page)
    assert len(elements.scripts) == 2
    assert not any(attributes.get("src") == "x" for tag, attributes in elements.tags if tag == "img")
    assert EVIL in data_of(page)["clips"]["sets"][1]["texts"]
    assert any(EVIL in cell for row in cells(page, "settings") for cell in row)


def test_nothing_in_the_data_can_end_their_element() -> None:
    text = script_json({EVIL: [EVIL, 1.5, None]})
    assert not set("<>&") & set(text)
    assert json.loads(text) == {EVIL: [EVIL, 1.5, None]}


def test_results_are_those_of_the_runs(page: str) -> None:
    rows = cells(page, "runs")
    assert [row[2] for row in rows] == ["1", "2", "1"]
    for row, seed in zip(rows, (1, 2, 1), strict=True):
        found = scored(seed)
        shares = [f"{100 * found[metric]:.1f}" for metric in ("acc7", "acc5")]
        assert row[3:7] == [f"{found['mae']:.3f}", f"{found['corr']:.3f}", *shares]
    first = cells(page, "means-0")[0]
    maes, shares = ([scored(seed)[metric] for seed in (1, 2)] for metric in ("mae", "acc7"))
    assert first[1] == "2"
    assert first[2] == f"{np.mean(maes):.3f} ± {np.std(maes, ddof=1):.3f}"
    assert first[4] == f"{100 * np.mean(shares):.1f} ± {100 * np.std(shares, ddof=1):.1f}"


def test_settings_are_side_by_side_and_seeds_are_none_of_them(page: str) -> None:
    rows = cells(page, "settings")
    assert [row for row in rows if len({*row[1:]}) > 1] == [["method.alpha", "0.1", EVIL]]
    shown = [row[0] for row in rows]
    assert "data.batch_size" in shown
    assert not {"seed", "run.dir", "method._target_"} & set(shown)


def test_settings_of_each_run_can_be_put_together_again(page: str, folder: Path) -> None:
    settings = data_of(page)["settings"]
    own = [{**settings["common"], **run} for run in settings["runs"]]
    assert [run["seed"] for run in own] == ["1", "2", "1"]
    assert own[2]["method.alpha"] == EVIL
    assert own[0]["run.dir"] == str(folder / "a1")
    assert set(own[0]) <= set(settings["keys"])


def test_each_clip_is_there_once_with_every_runs_prediction(page: str) -> None:
    found = data_of(page)["clips"]
    assert len(found["sets"]) == 2  # valid and test, which all runs share
    for run, seed in zip(found["runs"], (1, 2, 1), strict=True):
        assert run["test"]["predictions"] == pytest.approx(predicted(seed), abs=5e-5)
    test = found["sets"][found["runs"][0]["test"]["set"]]
    assert test["ids"][0] == "test$_$1"
    assert test["targets"] == pytest.approx(targets(40), abs=5e-5)
    assert test["texts"][:6] == list(SAID)


def test_commands_and_provenance_are_there(page: str) -> None:
    words = html.unescape(page)
    assert words.count("trivium train method=supervised seed=2 'data.note=a b'") == 2  # with the run, and with all
    assert "the command" in words
    assert hashlib.sha1(b"supervised").hexdigest() in words
    assert "torch 2.13.0" in words


def test_no_word_of_the_clips_is_in_the_file_when_asked(folder: Path, tmp_path: Path) -> None:
    words = {"lovely", "film", "dull", "crew", "cast", "onerror"}
    full = write_report([folder / "a1"], tmp_path / "page.html", maps="none").read_text()
    assert [word for word in words if word not in full] == []
    run = folder / "a1"
    page = write_report([run], tmp_path / "page.html", maps="none", transcripts=False)
    everything = page.read_text() + "".join(base64.b64decode(found).decode() for found in images(page.read_text()))
    assert [word for word in words if word in everything] == []


def images(page: str) -> list[str]:
    """Base64 of every SVG."""
    found: list[str] = re.findall(r"data:image/svg\+xml;base64,([\w+/=]+)", page)
    assert found
    return found


def test_transcripts_of_another_store_are_not_taken(folder: Path, tmp_path: Path) -> None:
    run = shutil.copytree(folder / "a1", tmp_path / "run")
    store_at(tmp_path / "other.h5", 41)
    (run / "model.json").write_text(json.dumps({"store": str(tmp_path / "other.h5")}))
    page = undrawn(run)
    assert SAID[0] not in page
    assert "is not the store that" in page
    (run / "model.json").write_text(json.dumps({"store": "/nowhere.h5"}))
    assert "/nowhere.h5 is not there any more" in undrawn(run)


def test_a_run_that_cannot_be_mapped_is_on_the_page_with_the_reason(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: Any) -> None:
        raise ValueError("the <store> has gone")

    monkeypatch.setattr("trivium.report.page.pictures.map_run", gone)
    page = write_report([folder / "a1"], tmp_path / "page.html").read_text()
    assert "no map of a1: the &lt;store&gt; has gone" in page


def test_table_has_its_rows_its_runs_and_what_is_left_out(folder: Path, tmp_path: Path) -> None:
    table = table_at(tmp_path / "small", folder / "data" / "made.h5")
    page = undrawn(table)
    assert [row[:5] for row in cells(page, "table-0")] == [
        ["Ours", "MAE", "0.5", "0.01", "2"],
        ["Base", "MAE", "0.625", "0.01", "2"],
    ]
    assert [row[2] for row in cells(page, "means-0")] == ["0.500 ± 0.014", "0.625 ± 0.007"]
    assert [row[0] for row in cells(page, "runs")] == [f"{r}, seed {s}" for r in ("Ours", "Base") for s in (1, 2)]
    assert "base_s9_9bc12f: not finished (interrupted)" in page
    assert "<h1>Ours beside Base</h1>" in page
    board = data_of(page)["boards"][0]
    assert board["baseline"] == "Base"
    assert [row["row"] for row in board["measures"][0]["rows"]] == ["Ours", "Base"]


@pytest.mark.parametrize("relative", [True, False])
def test_runs_that_a_table_names_are_shown_wherever_they_lie(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, relative: bool
) -> None:
    table = table_at(tmp_path / "small", folder / "data" / "made.h5", runs=tmp_path / "elsewhere")
    if relative:
        values = table / "values.csv"
        values.write_text(values.read_text().replace(str(tmp_path / "elsewhere"), "../elsewhere"))
    monkeypatch.chdir(folder)
    page = undrawn(table)
    assert [row[0] for row in cells(page, "runs")] == [f"{r}, seed {s}" for r in ("Ours", "Base") for s in (1, 2)]
    shutil.rmtree(tmp_path / "elsewhere" / "ours_s1_1bc12f")
    page = undrawn(table)
    assert len(cells(page, "runs")) == 3
    gone = "1 runs of table small that are not there, such as"
    assert f"Left out: {gone} {tmp_path.resolve() / 'elsewhere' / 'ours_s1_1bc12f'}" in page


def test_runs_of_a_table_stand_in_the_order_of_its_rows_and_data_sets(folder: Path, tmp_path: Path) -> None:
    table = table_at(tmp_path / "small", folder / "data" / "made.h5")
    rows = [f"{data},{row},MAE,0.5,0.1,2" for data in ("zoo", "made/v1") for row in ("Ours", "Base")]
    (table / "table.csv").write_text("\n".join(["data,row,measure,mean,std,n", *rows]) + "\n")
    for name in ("ours_s3_abcdef", "ours_s4_abcdef"):
        run = shutil.copytree(table / "runs" / "ours_s2_2bc12f", table / "runs" / name)
        (run / "result.json").write_text((run / "result.json").read_text().replace('"made/v1"', '"zoo/v7"'))
        (run / "config.yaml").write_text((run / "config.yaml").read_text() + "note: zoo\n")
    found = [(record.label, record.data) for record in gather([table]).records]
    zoo, made = [("Ours, zoo/v7", "zoo/v7")] * 2, [("Ours, made/v1", "made/v1")] * 2
    assert found == [*zoo, *made, *[("Base, made/v1", "made/v1")] * 2]


def test_table_whose_runs_cannot_be_found_is_shown_and_says_so(folder: Path, tmp_path: Path) -> None:
    table = table_at(tmp_path / "small", folder / "data" / "made.h5")
    (table / "runs").rename(tmp_path / "elsewhere")
    page = undrawn(table)
    assert len(cells(page, "table-0")) == len(cells(page, "means-0")) == 2
    assert "runs of table small: none lies in its folder" in page
    page = undrawn(table, tmp_path / "elsewhere")
    assert len(cells(page, "runs")) == 4


def test_a_damaged_run_costs_itself_and_not_the_page(folder: Path, tmp_path: Path) -> None:
    for name in ("a1", "a2", "b1"):
        shutil.copytree(folder / name, tmp_path / "runs" / name)
    (tmp_path / "runs" / "a2" / "result.json").write_text('{"seed": 2,')
    (tmp_path / "runs" / "b1" / "result.json").write_text('{"seed": 2}')
    for name, file, content in (
        ("c", "predictions.csv", "split,id,target\ntest,a,1\n"),
        ("d", "predictions.csv", "split,id,target,prediction\ntest,a,1,0.x\n"),
        ("e", "metrics.csv", "epoch,val/loss\n1,low\n"),
        ("f", "overrides.yaml", "[seed=1"),
        ("g", "run.json", ""),
    ):
        (shutil.copytree(folder / "a1", tmp_path / "runs" / name) / file).write_text(content)
    (tmp_path / "runs" / "g" / "result.json").unlink()
    page = undrawn(tmp_path / "runs")
    assert len(cells(page, "runs")) == 1
    assert "a2/result.json: cannot be read" in page
    assert "b1/result.json: cannot be read" in page
    for said in ("c/predictions.csv", "d/predictions.csv", "f/overrides.yaml"):
        assert f"{said}: cannot be read" in page
    assert "e/metrics.csv: cannot be read" in page
    assert "g: not finished (unknown)" in page
    with pytest.raises(ValueError, match=r"a2/result\.json: cannot be read"):
        undrawn(tmp_path / "runs" / "a2")


def test_runs_that_begin_from_runs_of_other_seeds_are_one_setting(folder: Path, tmp_path: Path) -> None:
    store = folder / "data" / "made.h5"
    for seed in (1, 2):
        first = run_at(tmp_path / f"first_s{seed}_abcdef", store, seed, method="comm")
        run = run_at(tmp_path / f"tuned_s{seed}_abcdef", store, seed)
        config = run / "config.yaml"
        config.write_text(config.read_text() + f"start_from: {first}\n")
    page = undrawn(tmp_path)
    assert [row[:2] for row in cells(page, "means-0")] == [["comm", "2"], ["supervised", "2"]]
    start = next(row for row in cells(page, "settings") if row[0] == "start_from")
    assert start == ["start_from", "-", "comm"]
    (tmp_path / "first_s1_abcdef" / "config.yaml").write_text("a: [")
    # What the tuned runs began from can then be told by the directories' names alone.
    labels = {record.label for record in gather([tmp_path]).records}
    assert labels == {"comm", "supervised, start_from=first_s1_abcdef", "supervised, start_from=first_s2_abcdef"}
    shutil.rmtree(tmp_path / "first_s1_abcdef")
    shutil.rmtree(tmp_path / "first_s2_abcdef")
    assert len({record.group for record in gather([tmp_path]).records}) == 1


def test_search_has_its_trials_and_needs_no_run(tmp_path: Path) -> None:
    page = undrawn(search_at(tmp_path / "search"))
    rows = cells(page, "study-0")
    assert len(rows) == 7
    assert rows[-1][1:3] == ["pruned", "-"]
    assert "<h1>Search search</h1>" in page
    assert "Best: trial 5, val/loss <strong>0.5</strong>" in page
    assert "trivium train optimizer.lr=1.024" in page


def test_fewer_than_three_seeds_have_no_p_and_no_interval(folder: Path, tmp_path: Path) -> None:
    store = folder / "data" / "made.h5"
    for name, few, maes in (("two", True, VALUES), ("three", False, TESTED)):
        page = undrawn(table_at(tmp_path / name, store, maes=maes))
        measure = data_of(page)["boards"][0]["measures"][0]
        ours = measure["rows"][0]
        assert measure["few"] is few
        assert [ours[column] is None for column in ("mean_low", "low", "p_holm")] == [few] * 3
        assert cells(page, "means-0")[0][2].endswith("*") is not few
        assert ("Not tested, as fewer than 3 seeds" in " ".join(measure["verdict"])) is few
        assert ("(p = " in " ".join(measure["verdict"])) is not few


def test_runs_of_a_search_go_by_their_trials(folder: Path, tmp_path: Path) -> None:
    search = search_at(tmp_path / "search")
    for trial in (10, 3, 4):
        run_at(search / str(trial), folder / "data" / "made.h5", 1, alpha=0.1234567891 * trial, finished=trial != 4)
    page = undrawn(search)
    assert [row[0] for row in cells(page, "runs")] == ["trial 3, seed 1", "trial 10, seed 1"]
    assert data_of(page)["boards"] == []  # trials are not to be compared on the test split
    assert "Left out: search search: 1 trials that were stopped or are still running, as runs" in page


@pytest.mark.parametrize(
    ("file", "content"), [("trials.csv", "number,state,value\nx,complete,1\n"), ("best.json", '{"objective":')]
)
def test_a_damaged_file_of_a_search_is_named(tmp_path: Path, file: str, content: str) -> None:
    search = search_at(tmp_path / "search")
    (search / file).write_text(content)
    with pytest.raises(ValueError, match=f"search/{file}: cannot be read"):
        undrawn(search)


def test_numbers_without_a_rival_say_whose_they_are_beside_a_search_or_a_table(folder: Path, tmp_path: Path) -> None:
    search = search_at(tmp_path / "search")
    table = table_at(tmp_path / "small", folder / "data" / "made.h5")
    assert "<h3>supervised</h3>" in undrawn(search, folder / "a1")
    assert "<h3>other runs, made/<wbr>v1, comm</h3>" in undrawn(
        table, run_at(tmp_path / "c", folder / "data" / "made.h5", method="comm")
    )
    assert "<h3>supervised</h3>" not in undrawn(folder / "a1", folder / "a2")  # the page's title says it


def test_settings_of_different_classes_go_by_the_classes(folder: Path, tmp_path: Path) -> None:
    """A grid over fusions: what the others do not have, and where a class lies, is not its name."""
    for name, fusion in (
        ("a", {"_target_": "trivium.fusions.concat.Concat", "out": 128}),
        ("b", {"_target_": "trivium.fusions.film.FiLM", "condition": ""}),
        ("c", {"_target_": "trivium.fusions.share.Share"}),
    ):
        run_at(tmp_path / "three" / name, folder / "data" / "made.h5", fusion=fusion)
    labels = [record.label for record in gather([tmp_path / "three"]).records]
    assert labels == [f"supervised, method.fusion={name}" for name in ("Concat", "FiLM", "Share")]
    wide = {"_target_": "trivium.fusions.concat.Concat", "out": 256}
    run_at(tmp_path / "three" / "d", folder / "data" / "made.h5", fusion=wide)
    labels = [record.label for record in gather([tmp_path / "three"]).records]
    assert labels[0] == "supervised, method.fusion=Concat method.fusion.out=128"
    assert labels[3] == "supervised, method.fusion=Concat method.fusion.out=256"


def test_rows_of_a_mixed_folder_are_named_by_what_differs_and_not_by_directories(tmp_path: Path) -> None:
    """Directories with names like a table's runs; settings that all share, or that tell nothing more, are left out."""
    store = store_at(tmp_path / "made.h5")
    for name, settings in (
        ("x_s1_abcdef", {"rate": 0.1, "depth": 1}),
        ("y_s1_abcdef", {"rate": 0.2, "depth": 1}),
        ("z_s1_abcdef", {"rate": 0.2, "depth": 3}),
        ("w_s1_abcdef", {"method": "selfmi", "rate": 0.2, "depth": 3}),
    ):
        run_at(tmp_path / "mixed" / name, store, alike=7, **settings)
    other = shutil.copytree(tmp_path / "mixed" / "x_s1_abcdef", tmp_path / "mixed" / "v_s1_abcdef")
    (other / "result.json").write_text((other / "result.json").read_text().replace('"made/v1"', '"zoo/v7"'))
    (other / "config.yaml").write_text((other / "config.yaml").read_text() + "note: zoo\n")
    page = undrawn(tmp_path / "mixed")
    named = [f"supervised, method.rate={rate} method.depth={depth}" for rate, depth in ((0.1, 1), (0.2, 1), (0.2, 3))]
    made = data_of(page)["boards"][[board["name"] for board in data_of(page)["boards"]].index("made/v1")]
    assert {row["row"] for row in made["measures"][0]["rows"]} == {*named, "selfmi"}
    assert {row[0] for row in cells(page, "runs")} == {f"{name}, seed 1" for name in (*named, "selfmi", "supervised")}
    labels = {record.label for record in gather([tmp_path / "mixed"]).records}
    assert labels == {f"{name}, made/v1" for name in (*named, "selfmi")} | {"supervised, zoo/v7"}


def test_names_break_after_their_parts_and_numbers_do_not() -> None:
    assert breakable("optimizer.lr=0.00026") == "optimizer.<wbr>lr=<wbr>0.00026"
    assert breakable("a_b/c...") == "a_<wbr>b/<wbr>c...<wbr>"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "nowhere: no such folder; expected a finished run"),
        (["empty"], "empty: neither a run, a table nor a search; expected a finished run"),
        (["open"], "open: not finished (no result.json); start it again with resume=auto"),
        (["all"], "all: none of its 1 runs is finished"),
        (["a1", "map=umap"], "map=umap: expected pca, tsne or none"),
        (["a1", "transcript=false"], "nearest is transcripts"),
        (["a1", "transcripts=no"], "transcripts=no: expected true or false"),
        (["a1", "out=nowhere/page.html"], "there is no folder nowhere"),
        (["a1", "out=empty"], "out=empty: a folder; name a file in it, such as out=empty/report.html"),
        (["begun"], "begun: a search of which no trial has ended yet"),
        (["out=page.html"], "no folder; expected that of a run, a table or a search"),
    ],
)
def test_what_is_wrong_is_named(
    arguments: list[str],
    said: str,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    shutil.copytree(folder / "a1", tmp_path / "a1")
    shutil.copytree(folder / "a1", tmp_path / "open")
    (tmp_path / "open" / "result.json").unlink()
    shutil.copytree(tmp_path / "open", tmp_path / "all" / "0")
    shutil.copytree(tmp_path / "open", tmp_path / "begun" / "0")
    (tmp_path / "begun" / "study.yaml").touch()
    assert said in refusal(main, arguments, tmp_path, capsys)


def test_a_terminal_shows_what_is_drawn_and_how_much_is_left(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    terminal, end = pty.openpty()
    pieces: list[bytes] = []

    def read() -> None:
        with contextlib.suppress(OSError):  # the other end was closed
            while piece := os.read(terminal, 4096):
                pieces.append(piece)

    reader = threading.Thread(target=read)
    reader.start()
    with os.fdopen(end, "w") as stderr:
        monkeypatch.setattr("sys.stderr", stderr)
        write_report([folder / "a1", folder / "b1"], tmp_path / "page.html", maps="none")
    reader.join()
    os.close(terminal)
    shown = b"".join(pieces).decode()
    for words in ("figures of all runs", "supervised, method.alpha=0.1, seed 1", "3 of 4; time left: "):
        assert words in shown


def test_nothing_is_shown_where_there_is_no_terminal(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_report([folder / "a1"], tmp_path / "page.html", maps="none")
    assert capsys.readouterr().err == ""


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_drawn(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr("trivium.report.write_report.write_report", lambda *_, **__: pytest.fail("it began"))
    assert main([str(folder / "a1")]) == 2
    assert f"{folder / 'a1'}: cannot be written into; say where" in capsys.readouterr().err


def test_help_names_every_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert [key for key in ("out=", "figures=", "map=", "transcripts=") if f"  {key}" not in printed] == []


def test_same_runs_make_the_same_page(folder: Path, page: str, tmp_path: Path) -> None:
    runs = [folder / name for name in ("a1", "a2", "b1")]
    assert write_report(runs, tmp_path / "again.html", maps="none", command="the command").read_text() == page
