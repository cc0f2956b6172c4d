"""Tests the benchmark's parts: what it makes, how it counts, and our side end to end, without MMSA."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import run as bench
from benchmarks.measure import BenchmarkSettings, Files, loading, prepare, steps
from benchmarks.ratio_table import Measurement, method_rows, mmsa_rows, run_rows
from benchmarks.shared_methods import METHODS
from benchmarks.task_process import Task, run
from benchmarks.workload import COUNTS, STREAMS, write_pickle
from trivium.config.arguments import keys_of
from trivium.config.compose import compose_config
from trivium.data.synthetic import ensure_fixture

PYTHON = Path(sys.executable)
TINY_BERT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(settings, files, what preparing reported) of a five-hundredth of MOSEI and a tiny BERT."""
    pytest.importorskip("transformers")
    files = Files(tmp_path_factory.mktemp("bench"))
    settings = BenchmarkSettings(fraction=0.002, repeats=1, steps=2, threads=1, mmsa=None, bert=TINY_BERT)
    return settings, files, prepare(settings, files)


def test_pickle_has_moseis_shape_and_the_stated_lengths(tmp_path):
    means = write_pickle(tmp_path / "a.pkl", 0.01)
    content = pickle.loads((tmp_path / "a.pkl").read_bytes())
    assert {split: len(part["id"]) for split, part in content.items()} == {
        split: round(n * 0.01) for split, n in COUNTS.items()
    }
    train = content["train"]
    for name, (steps_, dim, mean) in STREAMS.items():
        assert train[name].shape == (163, steps_, dim)
        assert train[name].dtype == np.float32
        filled = np.abs(train[name]).sum(axis=2) > 0
        assert (filled[:, :-1] >= filled[:, 1:]).all()  # padding at the back alone
        assert filled.sum(axis=1).mean() == pytest.approx(means[name], abs=0.1)
        assert means[name] == pytest.approx(mean, rel=0.15)  # 163 clips, standard error 6 %
    ids, mask, _ = train["text_bert"].transpose(1, 0, 2)
    assert ((ids == 102).sum(axis=1) == 1).all()
    assert (ids[np.arange(163), mask.sum(axis=1) - 1] == 102).all()


def test_aligned_pickle_has_the_texts_steps_everywhere(tmp_path):
    write_pickle(tmp_path / "a.pkl", 0.001, aligned=True)
    train = pickle.loads((tmp_path / "a.pkl").read_bytes())["train"]
    text_steps = train["text_bert"][:, 1].sum(axis=1)
    for name in ("audio", "vision"):
        assert train[name].shape[1] == train["text"].shape[1] == 50
        assert ((np.abs(train[name]).sum(axis=2) > 0).sum(axis=1) == text_steps).all()


def test_pickle_is_the_same_for_the_same_seed(tmp_path):
    for name in "ab":
        write_pickle(tmp_path / name, 0.001)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.slow  # 11 s
def test_our_loading_reads_every_batch_and_little_memory_to_open(made):
    settings, files, report = made
    result = loading(settings, files)["ours"][0]
    assert result["batches"] == -(-round(COUNTS["train"] * 0.002) // 32)
    assert 0 < result["open_seconds"] < 5
    opened = result["open_mib"] - result["imported_mib"]
    assert 0 <= opened < report["prepared"]["store_mib"] + 20
    assert result["epoch_mib"] >= result["open_mib"]


@pytest.mark.slow  # 12 s
def test_our_steps_are_timed_one_by_one(made):
    settings, files, _ = made
    result = steps(settings, files)
    assert len(result["ours"]) == 2
    assert result["mmsa"] == []
    assert all(step["cpu_seconds"] > 0 and 0 < step["seconds"] < 60 for step in result["ours"])


@pytest.mark.slow  # 20 s a method
@pytest.mark.parametrize(
    "name", [name if name == "MMIM, first stage" else pytest.param(name, marks=pytest.mark.slow) for name in METHODS]
)
def test_every_shared_method_takes_steps(name, made):
    settings, files, _ = made
    if METHODS[name].aligned:
        files = Files(files.folder, aligned=True)
        prepare(settings, files)
    result = {name: steps(settings, files, METHODS[name])}
    wall, by_cpu = method_rows(result)
    assert (wall.target, by_cpu.target, wall.unit) == (1.0, None, "steps/s")
    assert [1 / rate for rate in wall.ours] == pytest.approx([step["seconds"] for step in result[name]["ours"]])
    assert len(wall.ours) == settings.steps


@pytest.mark.parametrize("name", METHODS)
def test_shared_methods_are_experiments_that_compose(name):
    method = METHODS[name]
    config = compose_config([*method.overrides, "data.store=a.h5"])
    assert config["data"]["batch_size"] == method.batch or method.bert
    assert ("model" in config["encoders"].get("text", {})) == method.bert


def test_task_that_fails_says_why(tmp_path):
    with pytest.raises(RuntimeError, match=r"our_side prepare ended with exit code 1(?s:.*)no\.pkl"):
        run(PYTHON, "our_side", "prepare", 1, pickle=str(tmp_path / "no.pkl"), store=str(tmp_path / "a.h5"))


def test_task_left_by_an_error_is_ended(tmp_path):
    with pytest.raises(ZeroDivisionError), Task(PYTHON, "our_side", "cuda", {}, 1) as task:
        raise ZeroDivisionError
    assert task._process.returncode is not None


def test_ratio_is_above_one_where_ours_is_better():
    seconds = Measurement("open", "s", ours=[1.0, 2.0, 4.0], theirs=[10.0, 40.0, 20.0], target=5)
    assert seconds.ratios == [10, 20, 5]
    assert seconds.to_dict()["ratio"] == {"median": 10, "least": 5, "most": 20}
    assert Measurement("step", "samples/s", ours=[6.0], theirs=[4.0], faster_is_more=True).ratios == [1.5]
    assert "ratio" not in Measurement("open", "s", ours=[1.0]).to_dict()


def test_rows_take_each_side_and_each_loader():
    ours = {"open_seconds": 1.0, "open_mib": 2.0, "epoch_seconds": 3.0, "epoch_mib": 4.0}
    mmsa = {key: value * 6 for key, value in ours.items()} | {"epoch_workers_seconds": 30.0}
    times = {"ours": [{"seconds": 2.0, "cpu_seconds": 1.0}], "mmsa": [{"seconds": 4.0, "cpu_seconds": 3.0}]}
    result = mmsa_rows({"ours": [ours], "mmsa": [mmsa]}, times, batch=16)
    assert [row.ratios[0] for row in result] == [6, 6, 6, 10, 6, 2, pytest.approx(3)]
    assert result[5].ours == [8.0]
    assert [row.target for row in result] == [20, 5, 5, 5, 5, 1.3, None]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("fraction=2", "fraction=2: expected a number above 0, at most 1"),
        ("steps=many", "steps=many: expected a whole number, 1 or more"),
        ("gpu=yes", "gpu=yes: expected true or false"),
        (
            "suite=mmsa,tcmx",
            "suite=mmsa,tcmx: 'tcmx' is no suite; expected all, or of mmsa, mmsa_methods, bare_loop, tcmax",
        ),
        ("fractoin=1", "unknown argument 'fractoin=1'"),
    ],
)
def test_wrong_argument_is_refused_before_anything_is_made(argument, message, capsys):
    assert bench.main([argument]) == 2
    assert message in capsys.readouterr().err


def test_gpu_says_so_where_there_is_none(capsys):
    if run(PYTHON, "our_side", "cuda", 1) is not None:
        pytest.skip("there is a GPU here")
    assert bench.main(["gpu=true"]) == 0
    assert "no CUDA here" in capsys.readouterr().out


def test_every_key_of_the_help_is_read():
    assert set(keys_of(bench.HELP)) == {
        "suite",
        "fraction",
        "repeats",
        "steps",
        "store",
        "threads",
        "folder",
        "mmsa",
        "gpu",
        "out",
    }


def test_nothing_in_the_package_imports_the_benchmark():
    source = Path(__file__).resolve().parents[2] / "src"
    files = list(source.rglob("*.py"))
    pattern = re.compile(r"^\s*(from|import)\s+(trivium\.)?benchmarks?\b", flags=re.MULTILINE)
    assert len(files) > 100
    assert [file for file in files if pattern.search(file.read_text())] == []


@pytest.mark.slow
def test_ours_alone_end_to_end_with_bert_base(tmp_path):
    out = tmp_path / "out.json"
    command = [PYTHON, "scripts/benchmark.py", "suite=mmsa", "fraction=0.002", "repeats=1", "steps=1", "mmsa=off"]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [*command, f"folder={tmp_path}", f"out={out}"], cwd=root, capture_output=True, text=True, check=True
    )
    assert "Self-MM training step" in done.stdout
    result = json.loads(out.read_text())
    assert result["mmsa"] is None
    assert [row["n"] for row in result["suites"]["mmsa"]["rows"]] == [1] * 7
    assert [p.name for p in tmp_path.iterdir()] == ["out.json"]  # the temporary folder is gone


def test_a_run_is_measured_beside_a_bare_loop_of_the_same_steps(tmp_path):
    store = ensure_fixture(tmp_path / "fixture.h5", name="fixture", label_range=(-3.0, 3.0))
    keys = {"method": "supervised", "store": str(store), "epochs": 1, "repeats": 2}
    report = run(PYTHON, "bare_loop", "compare", 1, **keys)
    assert {side: len(times) for side, times in report.items()} == {"run": 2, "bare": 2}
    assert min(report["run"] + report["bare"]) > 0
    (row,) = run_rows({"supervised": report})
    assert row.target == pytest.approx(1 / 1.05, abs=1e-3)
    assert row.ratios == [b / r for r, b in zip(report["run"], report["bare"], strict=True)]
