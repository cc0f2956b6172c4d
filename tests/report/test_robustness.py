"""scripts/evaluate.py protocol= and alignment=: what is written, printed and refused, on one run of each kind."""

from __future__ import annotations

import csv
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from scipy.integrate import trapezoid

from driver import here
from refusal import refusal
from trivium.cli.evaluate import main
from trivium.data.clips import Ragged, Source
from trivium.data.store import write_store
from trivium.data.synthetic import SPECIAL, WORDS, make_fixture

QUICK = ("trainer.max_epochs=2", "trainer.progress=off", "encoder=identity", "optimizer.lr=0.01")
DRAWN = ("subsets", "shapley", "rates", "erased", "noise")
FILES = {f"{name}.{ending}" for name in DRAWN for ending in ("csv", "png", "pdf")}
AVERAGED = ("subsets", "rates", "imbalanced", "erased")


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("robust")
    here(folder, "method=supervised", "objective=cross_entropy", *QUICK, f"run.dir={folder / 'run'}")
    return folder / "run"


@pytest.fixture(scope="module")
def comm_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("robust_comm")
    small = ("fusion=concat", "method.head_hidden=[16]", "method.head_out=8")
    here(folder, "method=comm", *QUICK, *small, f"run.dir={folder / 'run'}")
    return folder / "run"


def table(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def silent_store(path: Path) -> Path:
    """The fixture, its third test clip without audio."""
    source = make_fixture()
    streams = source.splits["test"].streams
    clips = [streams["audio"][n][: 0 if n == 2 else None] for n in range(len(streams["audio"]))]
    streams["audio"] = Ragged.pack(clips)
    whole = Source(source.splits, "synthetic", [], tokenizer="synthetic", notes={})
    write_store(path, whole, data="other", feature_set="other/silent", label_range=(-3.0, 3.0))
    return path


def test_all_protocols_are_written_and_agree_with_the_run(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([f"run={run_dir}", "protocol=all", "draws=2", f"out={tmp_path / 'out'}"]) == 0
    out, test = tmp_path / "out", json.loads((run_dir / "result.json").read_text())["test"]
    averages = {f"{name}.json" for name in AVERAGED}
    assert {file.name for file in out.iterdir()} == {*FILES, *averages, "shapley_clips.csv", "imbalanced.csv"}
    rows = {name: table(out / f"{name}.csv") for name in (*DRAWN, "imbalanced", "shapley_clips")}
    assert [len(part) for part in rows.values()] == [7, 3 * 9, 8 * 2, 10 * 2, 2 * 4 * 4 * 2, 10 * 2, 128]
    clean = [rows["subsets"][-1], *rows["rates"][:2], *rows["erased"][:2]]
    clean += [row for row in rows["noise"] if float(row["level"]) == 0]
    for row in clean:
        assert {key: float(row[key]) for key in test} == pytest.approx(test, abs=1e-6)
    assert [row["modalities"] for row in rows["subsets"]][2:5] == ["vision", "text+audio", "text+vision"]
    assert list(rows["shapley_clips"][0]) == ["id", "target", "prediction", "text", "audio", "vision"]
    predicted = {row["id"]: float(row["prediction"]) for row in table(run_dir / "predictions.csv")}
    for row in rows["shapley_clips"]:
        assert float(row["prediction"]) == pytest.approx(predicted[row["id"]], abs=1e-6)
    printed = capsys.readouterr()
    for name in AVERAGED:
        content = json.loads((out / f"{name}.json").read_text())
        assert (content["n"], content["split"], content["draws"]) == (128, "test", 1 if name == "subsets" else 2)
    averaged = content["averages"]["rates 0 to 0.9"]["mae"]["mean"]
    assert averaged == pytest.approx(sum(float(row["mae"]) for row in rows["erased"]) / 20)
    assert re.search(rf"rates 0 to 0\.9 +{averaged:.3f}±", printed.out)
    for name, group in (("erased", "AUILC 0 to 0.9"), ("rates", "AUILC 0 to 0.7")):
        by_rate = [sum(float(row["mae"]) for row in pair) / 2 for pair in zip(*[iter(rows[name])] * 2, strict=True)]
        area = json.loads((out / f"{name}.json").read_text())["averages"][group]["mae"]["mean"]
        assert area == pytest.approx(trapezoid(by_rate, dx=0.1))
        assert re.search(rf"{group} +{area:.3f}±", printed.out)
    assert not any("AUILC" in group for group in json.loads((out / "subsets.json").read_text())["averages"])
    equity = json.loads((out / "subsets.json").read_text())["equity"]
    assert set(equity) == set(test) - {"loss"}
    written = {row["metric"]: float(row["equity"]) for row in rows["shapley"]}
    assert written == pytest.approx(equity)
    assert all(0 <= value <= 1 for value in equity.values())
    assert re.search(rf"equity +{equity['mae']:.3f} +{equity['corr']:.3f} ", printed.out)
    assert f"{float(rows['subsets'][0]['mae']):.3f}" in printed.out
    assert "mean ± standard deviation of 2 draws" in printed.out
    assert str(out) in printed.out
    assert printed.err == ""  # no bar where there is no terminal
    assert f" audio+vision  {float(rows['subsets'][5]['mae']):.3f}" in printed.out  # 80 columns, and nothing folded


def test_names_say_what_differs_from_the_default_and_a_probed_methods_validation_is_told(
    comm_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = silent_store(tmp_path / "v1.2.h5")
    assert main([f"run={comm_dir}", "protocol=rates", "split=valid", "draws=1"]) == 0
    assert "fitted on the validation split too" in capsys.readouterr().out
    assert {row["split"] for row in table(comm_dir / "rates_valid.csv")} == {"valid"}
    arguments = [f"run={comm_dir}", "protocol=subsets", f"store={store}", "complete=true", f"out={tmp_path / 'out'}"]
    assert main(arguments) == 0
    rows = table(tmp_path / "out" / "subsets_complete_v1.2.csv")
    assert {row["n"] for row in rows} == {"127"}
    assert (tmp_path / "out" / "shapley_complete_v1.2.pdf").is_file()
    assert "fitted on the validation split too" not in capsys.readouterr().out


def test_rates_and_noise_take_clips_that_lack_a_modality(comm_dir: Path, tmp_path: Path) -> None:
    store = silent_store(tmp_path / "silent.h5")
    assert main([f"run={comm_dir}", "protocol=rates,noise", "draws=1", f"store={store}", f"out={tmp_path}"]) == 0
    rates, noise = table(tmp_path / "rates_silent.csv"), table(tmp_path / "noise_silent.csv")
    assert {row["n"] for row in [*rates, *noise]} == {"128"}
    assert float(rates[0]["missing"]) == 0.0


def test_a_law_has_files_of_its_own(run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for law in ("gcnet", "imder"):
        assert main([f"run={run_dir}", "protocol=rates", f"law={law}", "draws=1", f"out={tmp_path}"]) == 0
        assert f"modalities missing at random ({law})" in capsys.readouterr().out
        rows = table(tmp_path / f"rates_{law}.csv")
        assert float(rows[-1]["missing"]) == pytest.approx(2 / 3)  # one of three stays at .7
        assert (tmp_path / f"rates_{law}.json").is_file()
    assert not (tmp_path / "rates.csv").exists()


def test_token_ids_take_no_noise_which_is_said_and_take_their_part_in_subsets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    transformers.BertConfig(vocab_size=WORDS + SPECIAL, **sizes).save_pretrained(tmp_path / "bert")
    text = ("encoder@encoders.text=bert", f"encoders.text.model={tmp_path / 'bert'}", "encoders.text.random_init=true")
    here(tmp_path, "data=fixture_sims", *QUICK, *text, "trainer.limit_batches=2", f"run.dir={tmp_path / 'run'}")
    assert main([f"run={tmp_path / 'run'}", "protocol=subsets,noise", "draws=1"]) == 0
    assert "text: read as token ids, which take no noise; left as it is" in capsys.readouterr().out
    noise, subsets = (table(tmp_path / "run" / f"{name}.csv") for name in ("noise", "subsets"))
    assert {row["modalities"] for row in noise} == {"audio", "vision", "audio+vision"}
    assert len({row["loss"] for row in subsets}) == 7
    assert set(subsets[0]) == {"split", "modalities", "n", "mae", "corr", "acc2", "acc3", "acc5", "f1", "loss"}


def test_alignment_is_written_and_printed(comm_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"run={comm_dir}", "alignment=true"]) == 0
    found = json.loads((comm_dir / "alignment.json").read_text())
    assert list(found["modalities"]) == ["text", "audio", "vision"]
    printed = capsys.readouterr().out
    for values in found["modalities"].values():
        assert values["n"] == 128
        assert f"{values['mutual_knn']:.3f}" in printed
        assert f"{values['top1']:.3f}" in printed
        assert math.isclose(values["chance_knn"], 10 / 127)


def test_alignment_leaves_out_incomplete_clips_and_retrieval_where_sizes_differ(run_dir: Path, tmp_path: Path) -> None:
    store = silent_store(tmp_path / "silent.h5")
    assert main([f"run={run_dir}", "alignment=true", f"store={store}", f"out={tmp_path}"]) == 0
    found = json.loads((tmp_path / "alignment_silent.json").read_text())["modalities"]
    assert "top1" not in found["text"]
    assert [found[name]["n"] for name in found] == [127, 127, 127]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["protocol=subset"], "protocol=subset: expected subsets, rates, imbalanced, erased, noise or all"),
        (["protocol=rates", "law=gcnt"], "law: expected one of keep_one, gcnet, imder, found 'gcnt'; nearest is gcnet"),
        (["protocol=erased", "law=gcnet"], "law= belongs to protocol=rates"),
        (["protocol=rates", "unknown_id=3"], "unknown_id= belongs to protocol=erased"),
        (["law=gcnet"], "law= belongs to protocol=; add it"),
        (["protocol=all,noise"], "protocol=all,noise: expected subsets"),
        (["protocol=rates", "draws=0"], "draws=0: expected a whole number, 1 or more"),
        (["protocol=rates", "draws=x"], "draws=x: expected a whole number"),
        (["protocol=subsets", "draws=3"], "draws= belongs to the other protocols"),
        (["protocol=rates", "split=tset"], "no split 'tset'"),
        (["protocol=rates", "splits=test"], "splits= does not go with protocol=, which takes split="),
        (["protocol=rates", "modalities=text"], "modalities= does not go with protocol="),
        (["protocol=rates", "probe=true"], "are calls of their own"),
        (["alignment=true", "protocol=rates"], "are calls of their own"),
        (["alignment=yes"], "alignment=yes: expected true or false"),
        (["alignment=true", "draws=3"], "draws= does not go with alignment=true"),
        (["alignment=true", "complete=true"], "complete= does not go with alignment=true"),
        (["alignment=true", "target=text"], "target= belongs to probes"),
        (["split=test"], "split= belongs to protocol= and alignment=true; here it is splits="),
        (["complete=true"], "complete= belongs to protocol=; add it"),
        (["probe=true", "split=test"], "split= does not go with probe=true"),
        (["protocol=subsets", "store={silent}"], "clip 'test000$_$3' and 0 others lack a modality ('audio' here)"),
        (["protocol=all", "store={silent}"], "complete=true scores the clips that have all of them"),
    ],
)
def test_mistakes_are_told_in_one_line_and_nothing_is_written(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    names: dict[str, Any] = {}
    if any("{silent}" in argument for argument in arguments):
        names["silent"] = silent_store(tmp_path / "silent.h5")
    asked = [argument.format(**names) for argument in arguments]
    assert told in refusal(main, [f"run={run_dir}", *asked, f"out={tmp_path / 'out'}"], tmp_path, capsys)
