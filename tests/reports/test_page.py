"""The page of scripts/report.py as a file: what is on it, that nothing of the data gets out, and what is refused."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from page_cases import EVIL, SAID, predicted, run_at, scored, search_at, store_at, table_at, targets
from trivium.reports.page.build import script_json
from trivium.reports.report import main, write_report


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
    assert [row[3] for row in rows] == ["1", "2", "1"]
    for row, seed in zip(rows, (1, 2, 1), strict=True):
        expected = scored(seed)
        assert row[4:8] == [f"{expected[metric]:.4f}" for metric in ("mae", "corr", "acc7", "acc5")]
    first = cells(page, "means")[0]
    maes = [scored(seed)["mae"] for seed in (1, 2)]
    assert first[1:3] == ["2", f"{np.mean(maes):.3f} ± {np.std(maes, ddof=1):.3f}"]


def test_settings_that_differ_are_marked_and_seeds_are_none(page: str) -> None:
    table = re.search(r'<table id="settings".*?</table>', page, re.DOTALL)
    assert table is not None
    marked = re.findall(r'<tr><th scope="row">([^<]*)</th><td class="differs">', re.sub(r">\s+<", "><", table[0]))
    assert marked == ["method.alpha"]
    assert "data.batch_size" in table[0]
    assert [key for key in ("seed", "run.dir") if f">{key}<" in table[0]] == []


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
    assert words.count("python train.py method=supervised seed=2 'data.note=a b'") == 2  # with the run, and with all
    assert "the command" in words
    assert hashlib.sha1(b"supervised").hexdigest() in words
    assert "torch 2.13.0" in words


def test_transcripts_stay_out_when_asked_and_when_the_store_is_another(folder: Path, tmp_path: Path) -> None:
    run = shutil.copytree(folder / "a1", tmp_path / "run")
    page = write_report([run], tmp_path / "page.html", maps="none", transcripts=False).read_text()
    assert SAID[0] not in page
    store_at(tmp_path / "other.h5", 41)
    (run / "model.json").write_text(json.dumps({"store": str(tmp_path / "other.h5")}))
    page = write_report([run], tmp_path / "page.html", maps="none").read_text()
    assert SAID[0] not in page
    assert "has changed since the runs were made" in page
    (run / "model.json").write_text(json.dumps({"store": "/nowhere.h5"}))
    assert "/nowhere.h5 is not there any more" in write_report([run], tmp_path / "page.html", maps="none").read_text()


def test_a_run_that_cannot_be_mapped_is_on_the_page_with_the_reason(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: Any) -> None:
        raise ValueError("the <store> has gone")

    monkeypatch.setattr("trivium.reports.page.pictures.map_run", gone)
    page = write_report([folder / "a1"], tmp_path / "page.html").read_text()
    assert "no map of a1: the &lt;store&gt; has gone" in page


def test_table_has_its_rows_its_runs_and_what_is_left_out(folder: Path, tmp_path: Path) -> None:
    table = table_at(tmp_path / "small", folder / "data" / "made.h5")
    page = write_report([table], tmp_path / "page.html", maps="none").read_text()
    assert cells(page, "table-0") == [["Ours", "MAE", "0.5", "0.01", "2"], ["Base", "MAE", "0.625", "0.01", "2"]]
    assert [row[0] for row in cells(page, "runs")] == [f"{r}, seed {s}" for r in ("base", "ours") for s in (1, 2)]
    assert "base_s3_3bc12f: not finished (interrupted)" in page


def test_table_of_runs_that_lie_elsewhere_is_shown_and_says_so(folder: Path, tmp_path: Path) -> None:
    table = table_at(tmp_path / "small", folder / "data" / "made.h5")
    (table / "runs").rename(tmp_path / "elsewhere")
    page = write_report([table], tmp_path / "page.html", maps="none").read_text()
    assert len(cells(page, "table-0")) == 2
    assert "runs of table small: none lies in its folder" in page
    page = write_report([table, tmp_path / "elsewhere"], tmp_path / "page.html", maps="none").read_text()
    assert len(cells(page, "runs")) == 4


def test_search_has_its_trials_and_needs_no_run(tmp_path: Path) -> None:
    page = write_report([search_at(tmp_path / "search")], tmp_path / "page.html").read_text()
    rows = cells(page, "study-0")
    assert len(rows) == 7
    assert rows[-1][1:3] == ["pruned", "-"]
    assert "Search search" in page
    assert "python train.py optimizer.lr=1.024" in page


def test_runs_of_a_search_go_by_their_trials(folder: Path, tmp_path: Path) -> None:
    search = search_at(tmp_path / "search")
    for trial in (10, 3, 4):
        run_at(search / str(trial), folder / "data" / "made.h5", 1, alpha=0.1234567891 * trial, finished=trial != 4)
    page = write_report([search], tmp_path / "page.html", maps="none").read_text()
    assert [row[0] for row in cells(page, "runs")] == ["trial 3, seed 1", "trial 10, seed 1"]
    assert "Left out: search search: 1 trials that were stopped or are still running, as runs" in page


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
        (["out=page.html"], "no folder is given"),
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
    before = sorted(tmp_path.rglob("*"))
    assert main(arguments) == 2
    assert said in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_help_names_every_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert [key for key in ("out=", "figures=", "map=", "transcripts=") if f"  {key}" not in printed] == []


def test_same_runs_make_the_same_page(folder: Path, page: str, tmp_path: Path) -> None:
    runs = [folder / name for name in ("a1", "a2", "b1")]
    assert write_report(runs, tmp_path / "again.html", maps="none", command="the command").read_text() == page
