"""table=mmsa on files of MMSA's form: every row trains two steps and gets its verdict, also where it is not run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from mmsa_files import SHAPES, write_mmsa_file

from driver import ROOT
from trivium.cli import prepare, reproduce
from trivium.config.compose import compose_config
from trivium.config.pretrained_files import lacking_model
from trivium.runs.train import train
from trivium.tables.datasets import parts_of
from trivium.tables.definition import read_table
from trivium.tables.plan import plan

TABLE = ROOT / "configs" / "table" / "mmsa.yaml"
SETTINGS = ["data.batch_size=4", "trainer.max_epochs=2", "trainer.limit_batches=2", "trainer.accelerator=cpu"]
SETTINGS += ["trainer.progress=off", "trainer.threads=1"]
ROWS = {"TFN", "LMF", "MulT", "MISA", "MISA, settings of today", "Self-MM", "MMIM", "ALMT"}
# MMSA's table does not have these, and others ran them with its code on MOSI alone.
UNKNOWN = {"mosi": ("none",), "mosei": ("MMIM", "ALMT", "MAG-BERT"), "sims": ("MISA", "MMIM", "ALMT", "MAG-BERT")}
WITH_BERT = {"MISA", "MISA, settings of today", "Self-MM", "MMIM", "ALMT", "MAG-BERT", "TETFN"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the five files prepared under MMSA's names, and BERT-base of random weights and 8 units."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("mmsa")
    sizes = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 8}
    for name in ("bert-base-uncased", "bert-base-chinese"):
        transformers.BertModel(transformers.BertConfig(vocab_size=2100, **sizes)).save_pretrained(folder / name)
    with pytest.MonkeyPatch.context() as patch:
        # The real files are known by their checksums, and their names are refused for others.
        patch.setattr("trivium.data.manifest.published", lambda: [])
        for name in SHAPES:
            data, _, file = name.partition("/")
            words = [f"data={data}", f"source={write_mmsa_file(folder, name)}", f"paths.data={folder / 'data'}"]
            assert prepare.main([*words, f"name=mmsa-{file.replace('_', '-')}"]) == 0
    return folder


@pytest.fixture
def _there(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("TRIVIUM_DATA", str(place / "data"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(place / "empty"))


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("_there")
@pytest.mark.parametrize("data", ["mosi", "mosei", "sims"])
def test_every_row_trains_and_gets_a_verdict(data: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (part,) = parts_of(replace(read_table(TABLE), settings=tuple(SETTINGS)), data)
    suffix = "" if data == "sims" else ", aligned"
    assert {row.label for row in part.rows} == ROWS | {f"MAG-BERT{suffix}", f"TETFN{suffix}"}
    for run in plan(part, 1, Path("outputs/tables/mmsa/runs")):
        assert not run.lacking, (run.name, run.lacking)
        words = list(run.arguments)
        train(compose_config(words), words)
    capsys.readouterr()
    assert reproduce.main([f"table={TABLE}", f"data={data}", "seeds=1", *SETTINGS]) == 0
    text = capsys.readouterr().out
    # Another data set's table of the same folder may stand before.
    text = text.partition(f"## {data}/")[2]
    verdicts = text.partition("| row | ours beside the published spread |")[2].partition("\n\n")[0]
    for row in part.rows:
        (line,) = (line for line in verdicts.splitlines() if line.startswith(f"| {row.label} |"))
        assert "not run" not in line
        nothing = row.label.startswith(UNKNOWN[data])
        assert ("nothing published on these features" in line) == nothing, line
        # Two steps of training are worse than any paper.
        assert nothing or "worse in" in line, line


@pytest.mark.usefixtures("_there")
def test_rows_without_bert_are_not_run_and_the_others_are(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = place / "elsewhere"
    empty.mkdir()
    monkeypatch.chdir(empty)
    assert reproduce.main([f"table={TABLE}", "data=mosi", "seeds=1", "dry=true", *SETTINGS]) == 0
    lines = capsys.readouterr().out.splitlines()
    marks = {line[2:].partition("   ")[0].strip(): line.split()[-1] for line in lines if line.startswith("  ")}
    without = {label for label, mark in marks.items() if mark == "-"}
    assert {label.removesuffix(", aligned") for label in without} == WITH_BERT
    assert any("bert-base-uncased is not here, and the hub is switched off" in line for line in lines)


def test_a_model_in_the_cache_or_a_folder_or_online_is_not_lacking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = compose_config(["encoder@encoders.text=bert"])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    assert lacking_model(config) == ""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "bert-base-uncased is not here" in lacking_model(config)
    assert lacking_model(compose_config([])) == ""
    for there in ("bert-base-uncased", "hub/models--bert-base-uncased"):
        (tmp_path / there).mkdir(parents=True)
        assert lacking_model(config) == ""
        (tmp_path / there).rmdir()


def test_a_data_set_without_file_has_a_verdict_for_each_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRIVIUM_DATA", str(tmp_path / "data"))
    assert reproduce.main([f"table={TABLE}", "data=sims", "seeds=1", f"outputs={tmp_path / 'out'}"]) == 0
    text = capsys.readouterr().out
    assert text.count("| not run: data=sims: no prepared store") == 10
