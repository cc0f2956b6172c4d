"""The real script on tiny versions of the real tables: what it runs, what it leaves alone, and what it writes."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from driver import command, run
from trivium.cli.reproduce import main
from trivium.config.compose import compose_config
from trivium.config.config_folder import TABLES
from trivium.tables.definition import read_table
from trivium.tables.plan import plan

SMALL = ["data.batch_size=48", "trainer.max_epochs=1", "trainer.accelerator=cpu", "trainer.threads=1"]
CLIPS = "{train: 96, probe: 96, valid: 48, test: 96}"
BROKEN = {"label": "Broken", "overrides": ["method=gmc", "method.common=0"]}  # refused once the method is built


@dataclass
class Called:
    folder: Path
    table: Path
    code: int
    printed: str

    @property
    def out(self) -> Path:
        return self.folder / "outputs" / "tables" / self.table.stem

    def again(self, *arguments: str) -> tuple[int, str]:
        return call(self.folder, self.table, *arguments)


def call(folder: Path, table: Path, *arguments: str) -> tuple[int, str]:
    where = [f"table={table}", f"outputs={folder / 'outputs'}"]
    data = {"TRIVIUM_DATA": str(folder / "data")}
    return command(folder, *where, *arguments, script="scripts/reproduce.py", **data)


def shrunk(name: str, folder: Path, *rows: str, more: list[dict[str, Any]], overrides: list[str]) -> Path:
    """The table of that name with some of its rows, tiny data and one epoch."""
    values = yaml.safe_load((TABLES / f"{name}.yaml").read_text())
    values["rows"] = [row for row in values["rows"] if row["label"] in rows] + more
    assert len(values["rows"]) == len(rows) + len(more)
    kept = [o for o in values["overrides"] if o.partition("=")[0] not in {s.partition("=")[0] for s in SMALL}]
    values["overrides"] = [*kept, *SMALL, *overrides]
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(values))
    return folder / f"{name}.yaml"


@pytest.fixture(scope="module")
def interactions(tmp_path_factory: pytest.TempPathFactory) -> Called:
    """One row, whose run was killed before."""
    folder = tmp_path_factory.mktemp("interactions")
    table = shrunk("interactions", folder, "CoMM", more=[], overrides=[f"data.interactions.clips={CLIPS}"])
    (planned,) = plan(read_table(table), 1, folder / "outputs" / "tables" / "interactions" / "runs")
    assert run(folder, *planned.arguments, kill=("finish", 0)) == -9
    assert planned.status == "interrupted"
    return Called(folder, table, *call(folder, table, "seeds=1"))


@pytest.fixture(scope="module")
def competition(tmp_path_factory: pytest.TempPathFactory) -> Called:
    """Two rows, one of which fails."""
    folder = tmp_path_factory.mktemp("competition")
    overrides = ["data.competition.clips={train: 96, probe: 0, valid: 48, test: 96}"]
    table = shrunk("competition", folder, "OGM-GE", more=[BROKEN], overrides=overrides)
    return Called(folder, table, *call(folder, table, "seeds=1", "jobs=2"))


@pytest.fixture(scope="module")
def robust(tmp_path_factory: pytest.TempPathFactory) -> Called:
    """Two rows on three modalities, a baseline, and a setting on the command line."""
    folder = tmp_path_factory.mktemp("robust")
    rows = [{"label": "Plain"}, {"label": "Fast", "overrides": ["optimizer.lr=0.02"]}]
    measures = [
        {"name": "MAE text", "metric": "mae", "subset": "text"},
        {"name": "MAE all", "metric": "mae", "subset": "vision+text+audio"},  # in any order
        {"name": "Corr audio", "metric": "corr", "subset": "audio"},
        {"name": "whole", "metric": "mae"},
        {"name": "MAE at .6", "metric": "mae", "erased": 0.6},
        {"name": "MAE at .3", "metric": "mae", "erased": 0.3},
        {"name": "MAE over rates", "metric": "mae", "erased": "mean"},
        {"name": "MAE area", "metric": "mae", "erased": "auilc"},
    ]
    overrides = ["data=fixture", "method=supervised", "encoder=identity", *SMALL]
    content = {
        "title": "R",
        "overrides": overrides,
        "seeds": 2,
        "rows": rows,
        "measures": measures,
        "baseline": "Plain",
    }
    (folder / "robust.yaml").write_text(yaml.safe_dump(content))
    return Called(folder, folder / "robust.yaml", *call(folder, folder / "robust.yaml", "data.batch_size=40"))


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_all_files_are_written(interactions: Called) -> None:
    assert interactions.code == 0, interactions.printed
    for name in ("table.md", "table.csv", "values.csv", "figure.png", "figure.pdf"):
        assert (interactions.out / name).stat().st_size > 0
    assert "CoMM" in interactions.printed


@pytest.mark.slow  # a quarter of a minute
def test_chance_and_bayes_are_those_of_the_data(interactions: Called, competition: Called) -> None:
    """Four levels, noise .05: one view shows a level with probability .95 + .05 / 4. The rule: docs/synthetic.md."""
    found = {line["measure"]: line for line in lines(interactions.out / "table.csv")}
    assert list(found) == ["redundant", "unique text", "unique audio", "synergy"]
    assert [float(line["chance"]) for line in found.values()] == [0.25, 0.25, 0.25, 0.5]
    assert float(found["unique text"]["bayes"]) == pytest.approx(0.95 + 0.05 / 4, abs=1e-12)
    assert float(found["synergy"]["bayes"]) == pytest.approx(0.951, abs=1e-3)
    label = {line["measure"]: line for line in lines(competition.out / "table.csv")}
    assert [float(line["chance"]) for line in label.values()] == pytest.approx([1 / 7] * 3, abs=1e-12)
    made = compose_config([*read_table(competition.table).overrides])["data"]["competition"]
    for kind in ("easy", "hard"):  # shown as it is, or replaced by one of seven
        noise = made[f"{kind}_noise"]
        assert float(label[f"{kind} modality"]["bayes"]) == pytest.approx(1 - noise + noise / 7, abs=1e-12)


def test_values_are_those_of_the_runs_own_files(interactions: Called, competition: Called) -> None:
    (folder,) = (interactions.out / "runs").iterdir()
    for line in lines(interactions.out / "values.csv"):
        file = folder / f"probe_{line['measure'].replace(' ', '_')}.json"
        probe = json.loads(file.read_text())["probes"]["joint"]
        assert float(line["value"]) == probe["test"]["balanced_accuracy"]
        assert probe["fitted_on"] == "probe"
    (folder,) = (path for path in (competition.out / "runs").iterdir() if path.name.startswith("ogm_ge"))
    values = {line["measure"]: float(line["value"]) for line in lines(competition.out / "values.csv")}
    probes = json.loads((folder / "probe_label.json").read_text())["probes"]
    assert values == {
        "joint prediction": json.loads((folder / "result.json").read_text())["test"]["acc_argmax"],
        "easy modality": probes["text"]["test"]["balanced_accuracy"],
        "hard modality": probes["audio"]["test"]["balanced_accuracy"],
    }


def test_an_interrupted_run_is_resumed_and_not_begun_anew(interactions: Called) -> None:
    (folder,) = (interactions.out / "runs").iterdir()
    assert json.loads((folder / "result.json").read_text())["resumed_at"] == [2]  # 96 clips, one epoch


def test_what_is_done_is_not_done_again(interactions: Called) -> None:
    """Each file of the runs stays as it is; what is missing of the table comes back."""
    before = {p: p.stat().st_mtime_ns for p in (interactions.out / "runs").rglob("*") if p.is_file()}
    (interactions.out / "table.csv").unlink()
    code, printed = interactions.again("seeds=1")
    assert code == 0
    assert "1 of 1 runs are done" in printed
    assert {p: p.stat().st_mtime_ns for p in (interactions.out / "runs").rglob("*") if p.is_file()} == before
    assert (interactions.out / "table.csv").is_file()


def test_a_failed_row_is_listed_with_its_command_and_the_others_stand(competition: Called) -> None:
    assert competition.code == 1
    page = (competition.out / "table.md").read_text()
    assert "**failed**: Broken, seed 1: error: method.common: expected at least 1, found 0" in page
    assert "trivium train data=synthetic_competition" in page
    ends = {line["row"]: line["n"] for line in lines(competition.out / "table.csv")}
    assert ends == {"OGM-GE": "1", "Broken": "0"}


@pytest.mark.slow  # 20 s
def test_subsets_of_each_run_are_evaluated_and_compared_seed_by_seed(robust: Called) -> None:
    assert robust.code == 0, robust.printed
    values = {(v["row"], v["measure"], v["seed"]): float(v["value"]) for v in lines(robust.out / "values.csv")}
    assert len(values) == 2 * 8 * 2
    for folder in (robust.out / "runs").iterdir():
        row, seed = folder.name.split("_")[0].capitalize(), folder.name.split("_s")[1][0]
        found = {line["modalities"]: line for line in lines(folder / "subsets.csv")}
        assert len(found) == 7
        assert values[row, "MAE text", seed] == float(found["text"]["mae"])
        assert values[row, "Corr audio", seed] == float(found["audio"]["corr"])
        # two ways to the same number: all modalities as a subset, and the run's own test
        assert values[row, "MAE all", seed] == pytest.approx(values[row, "whole", seed], abs=1e-6)
        assert values[row, "whole", seed] == json.loads((folder / "result.json").read_text())["test"]["mae"]
    table = {(line["row"], line["measure"]): line for line in lines(robust.out / "table.csv")}
    differences = [values["Fast", "MAE text", seed] - values["Plain", "MAE text", seed] for seed in "12"]
    assert float(table["Fast", "MAE text"]["difference"]) == pytest.approx(sum(differences) / 2, abs=1e-12)
    assert (robust.out / "figure.png").stat().st_size > 0


def test_erased_frames_and_words_of_each_run_are_measured_at_their_rates(robust: Called) -> None:
    assert robust.code == 0, robust.printed
    values = {(v["row"], v["measure"], v["seed"]): float(v["value"]) for v in lines(robust.out / "values.csv")}
    for folder in (robust.out / "runs").iterdir():
        row, seed = folder.name.split("_")[0].capitalize(), folder.name.split("_s")[1][0]
        found = {line["rate"]: float(line["mae"]) for line in lines(folder / "erased.csv")}
        assert len(found) == 10
        assert values[row, "MAE at .3", seed] == found["0.3"]
        assert values[row, "MAE at .6", seed] == found["0.6"] > values[row, "whole", seed]
        averages = json.loads((folder / "erased.json").read_text())["averages"]
        assert values[row, "MAE over rates", seed] == averages["rates 0 to 0.9"]["mae"]["mean"]
        assert values[row, "MAE area", seed] == averages["AUILC 0 to 0.9"]["mae"]["mean"]
    assert (robust.out / "figure_rates.png").stat().st_size > 0
    page = (robust.out / "table.md").read_text()
    assert "figure_rates.png" in page
    assert "Frames and words of the test are erased at the rate named" in page


def test_a_setting_of_the_command_line_is_every_rows_and_is_written_down(robust: Called) -> None:
    configs = [yaml.safe_load(file.read_text()) for file in (robust.out / "runs").glob("*/config.yaml")]
    assert [config["data"]["batch_size"] for config in configs] == [40] * 4
    assert "seeds=2 data.batch_size=40`" in (robust.out / "table.md").read_text()
    code, printed = robust.again("dry=true")  # without it these are other runs
    assert code == 0
    assert "4 runs: . 4 to do" in printed


def test_a_finished_run_without_its_subsets_gets_them_and_is_not_run_again(robust: Called) -> None:
    folder = next((robust.out / "runs").iterdir())
    before = (folder / "subsets.csv").read_bytes()
    weights = (folder / "weights.safetensors").stat().st_mtime_ns
    (folder / "subsets.csv").unlink()
    code, printed = robust.again("data.batch_size=40", "dry=true")
    assert "# 3 done   e 1 to evaluate" in printed
    code, _ = robust.again("data.batch_size=40")
    assert code == 0
    assert (folder / "subsets.csv").read_bytes() == before
    assert (folder / "weights.safetensors").stat().st_mtime_ns == weights


def test_an_unknown_subset_is_named_with_those_that_there_are(robust: Called) -> None:
    table = yaml.safe_load(robust.table.read_text())
    table["measures"][0]["subset"] = "text+smell"
    changed = robust.folder / "smell" / "robust.yaml"
    changed.parent.mkdir()
    changed.write_text(yaml.safe_dump(table))
    code, printed = call(robust.folder, changed, "data.batch_size=40")
    assert code == 2
    assert "no subset text+smell, measure 'MAE text'; there are text, audio, vision, audio+text" in printed


def test_dry_shows_what_is_done_and_starts_nothing(competition: Called) -> None:
    before = sorted(competition.folder.rglob("*"))
    code, printed = competition.again("seeds=2", "dry=true")
    assert code == 0
    assert "4 runs: # 1 done   . 3 to do" in printed
    assert sorted(competition.folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["seeds=2"], "table= is missing"),
        (["table=interactions", "seeds=0"], "seeds=0: expected a whole number"),
        (["table=interactions", "jobs=x"], "jobs=x: expected a whole number"),
        (["table=interactions", "dry=yes"], "dry=yes: expected true or false"),
        (["table=nothing"], "there are audit, classes_3, classes_7, comm"),
        (["table=interactions", "data.bach_size=3", "dry=true"], "bach_size"),
    ],
)
def test_a_mistake_in_the_call_is_one_line(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert told in said.err
    assert said.out == ""


def test_help_lists_the_tables(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(file.stem in printed for file in TABLES.glob("*.yaml"))
