"""trainer.monitor: one validation metric selects the epoch, stops early, steps the plateau schedule and is compared."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from driver import command, here, rows, run, run_ranks
from trivium.config.check import problems_of
from trivium.config.compose import compose_config
from trivium.config.monitor import Monitor, read_monitor
from trivium.runs.config_hash import config_hash, differences
from trivium.runs.recorder import Recorder

QUICK = ["trainer.progress=off", "trainer.accelerator=cpu", "trainer.threads=1", "encoder.hidden=8", "encoder.out=8"]
MULT = ["encoder.hidden=6", "encoder.out=12", "fusion.layers=1", "fusion.width=10", "fusion.dim=12"]
COMM = ["method=comm", "encoder.feedforward=32", "encoder.layers=1", "method.head_hidden=[32]", "method.head_out=16"]


def curve(folder: Path, column: str) -> list[float]:
    return [float(row[column]) for row in rows(folder / "metrics.csv")]


def test_the_nearest_metric_is_told_before_anything_is_written(tmp_path: Path) -> None:
    (problem,) = problems_of(["trainer.monitor=val/maee"])
    assert problem.startswith("trainer.monitor: 'val/maee' is no metric of the validation split; nearest is val/mae;")
    (problem,) = problems_of(["trainer.monitor=test/mae"])
    assert "expected auto or one of val/loss" in problem
    (problem,) = problems_of(["data=fixture_sims", "trainer.monitor=val/acc7"])
    assert "val/acc5" in problem
    with pytest.raises(ValueError, match=r"'val/total' is no validation metric of method=supervised"):
        here(tmp_path, *QUICK, "trainer.monitor=val/total")
    with pytest.raises(ValueError, match=r"'val/acc_argmax' is no validation metric of method=supervised"):
        here(tmp_path, *QUICK, "trainer.monitor=val/acc_argmax")
    assert not list(tmp_path.rglob("config.yaml"))


@pytest.mark.parametrize(
    ("monitor", "choose"), [("val/mae", min), ("val/corr", max), ("val/acc7", max), ("val/f1_non0", max)]
)
def test_the_best_epoch_of_any_metric_is_tested(tmp_path: Path, monitor: str, choose: Any) -> None:
    settings = [*QUICK, "objective=cross_entropy", "trainer.max_epochs=8", "trainer.patience=0", "optimizer.lr=0.05"]
    result = here(tmp_path, *settings, f"trainer.monitor={monitor}", f"run.dir={tmp_path / 'run'}")
    values = curve(tmp_path / "run", monitor)
    assert result["best_epoch"] == 1 + values.index(choose(values))
    assert result["val"][monitor.removeprefix("val/")] == pytest.approx(choose(values), abs=1e-6)
    assert result["selection"]["monitor"] == monitor
    assert result["selection"]["rule"] == f"{'lowest' if choose is min else 'highest'} {monitor}"
    assert result["selection"]["value"] == pytest.approx(choose(values))


def test_patience_counts_epochs_without_a_better_monitor(tmp_path: Path) -> None:
    settings = [*QUICK, "objective=cross_entropy", "trainer.max_epochs=40", "trainer.patience=3", "optimizer.lr=0.02"]
    result = here(tmp_path, *settings, "trainer.monitor=val/corr", f"run.dir={tmp_path / 'run'}")
    values = curve(tmp_path / "run", "val/corr")
    assert result["epochs"] == result["best_epoch"] + 3 < 40
    assert values.index(max(values)) + 1 == result["best_epoch"]


@pytest.mark.parametrize(("monitor", "better"), [("val/corr", max), ("val/loss", min)])
def test_the_plateau_schedule_goes_by_the_monitor(tmp_path: Path, monitor: str, better: Any) -> None:
    settings = [*QUICK, "scheduler=plateau", "scheduler.patience=0", "scheduler.factor=0.5", "trainer.patience=0"]
    settings += ["trainer.max_epochs=16", "optimizer.lr=0.05", f"trainer.monitor={monitor}"]
    here(tmp_path, *settings, f"run.dir={tmp_path / 'run'}")
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=0.05)
    mode = "max" if better is max else "min"
    expected = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode=mode, patience=0, factor=0.5)
    rates = []
    for value in curve(tmp_path / "run", monitor):
        expected.step(value)
        rates.append(optimizer.param_groups[0]["lr"])
    column = next(name for name in rows(tmp_path / "run" / "metrics.csv")[0] if name.startswith("lr/"))
    assert curve(tmp_path / "run", column) == pytest.approx(rates)
    assert min(rates) < 0.05  # else this run shows nothing


@pytest.mark.parametrize("method", ["gmc", pytest.param("m3ixup", marks=pytest.mark.slow)])
def test_by_default_the_task_selects_where_a_method_adds_a_contrast(tmp_path: Path, method: str) -> None:
    settings = [f"method={method}", *QUICK, *MULT, "trainer.max_epochs=3", "trainer.patience=0"]
    result = here(tmp_path, *settings, f"run.dir={tmp_path / 'task'}")
    losses, totals = (curve(tmp_path / "task", f"val/{name}") for name in ("loss", "total"))
    assert result["selection"]["rule"] == "lowest val/loss"
    assert result["best_epoch"] == 1 + losses.index(min(losses))
    assert result["val"]["loss"] == pytest.approx(min(losses), abs=1e-6)  # the contrast is no part of it
    assert all(total > loss + 1 for total, loss in zip(totals, losses, strict=True))
    again = here(tmp_path, *settings, "trainer.monitor=val/total", f"run.dir={tmp_path / 'total'}")
    assert again["best_epoch"] == 1 + totals.index(min(totals))


@pytest.mark.slow  # half a minute
@pytest.mark.parametrize("objective", ["l1", "cross_entropy"])
def test_a_probed_method_is_selected_by_its_probe(tmp_path: Path, objective: str) -> None:
    settings = [*COMM, "trainer.progress=off", "trainer.threads=1", "trainer.max_epochs=3", "trainer.patience=0"]
    settings += [f"objective={objective}", "trainer.monitor=val/mae", "trainer.accelerator=cpu"]
    result = here(tmp_path, *settings, f"run.dir={tmp_path / 'run'}")
    values = curve(tmp_path / "run", "val/mae")
    assert result["best_epoch"] == 1 + values.index(min(values))
    assert result["val"]["mae"] == pytest.approx(min(values), abs=1e-5)
    plain = here(tmp_path, *settings, "trainer.monitor=auto", f"run.dir={tmp_path / 'plain'}")
    assert curve(tmp_path / "run", "val/loss") == curve(tmp_path / "plain", "val/loss")  # probing changes no training
    assert plain["selection"]["rule"] == "lowest val/loss"


@pytest.mark.slow  # a quarter of a minute
def test_a_killed_run_goes_on_by_the_same_monitor(tmp_path: Path) -> None:
    settings = [*COMM, "trainer.progress=off", "trainer.monitor=val/corr", "trainer.patience=2"]
    assert run(tmp_path, *settings, f"run.dir={tmp_path / 'whole'}") == 0
    assert run(tmp_path, *settings, f"run.dir={tmp_path / 'killed'}", kill=("step", 10)) == -9
    assert run(tmp_path, *settings, f"run.dir={tmp_path / 'killed'}", "resume=auto") == 0
    whole, killed = ((tmp_path / name / "weights.safetensors").read_bytes() for name in ("whole", "killed"))
    assert whole == killed
    columns = ("val/corr", "val/loss")
    assert all(curve(tmp_path / "whole", name) == curve(tmp_path / "killed", name) for name in columns)


@pytest.mark.slow  # a quarter of a minute
def test_two_ranks_select_the_epoch_of_one(tmp_path: Path) -> None:
    settings = [*COMM, "debug=exact", "trainer.monitor=val/corr", "trainer.max_epochs=2"]
    one = here(tmp_path, *settings, f"run.dir={tmp_path / 'one'}")
    assert run_ranks(tmp_path, *settings, f"run.dir={tmp_path / 'two'}") == [0, 0]
    two = json.loads((tmp_path / "two" / "result.json").read_text())
    assert two["best_epoch"] == one["best_epoch"]
    assert curve(tmp_path / "two", "val/corr") == pytest.approx(curve(tmp_path / "one", "val/corr"), abs=1e-9)


def test_a_search_compares_what_is_monitored(tmp_path: Path) -> None:
    settings = ["method=gmc", *QUICK, *MULT, "trainer.max_epochs=2", f"paths.outputs={tmp_path}"]
    arguments = ["-m", "sweep=gmc", *settings, "hydra.sweeper.objective=auto", "trainer.monitor=val/total"]
    arguments += ["hydra.sweeper.n_trials=2", "hydra.sweeper.sampler=random", "data.batch_size=64"]
    code, printed = command(tmp_path, *arguments)
    assert code == 0, printed
    assert "for the lowest val/total" in printed
    (best,) = tmp_path.glob("studies/*/best.json")
    found = json.loads(best.read_text())
    assert found["objective"] == "val/total"
    result = json.loads((best.parent / str(found["number"]) / "result.json").read_text())
    assert found["value"] == pytest.approx(result["selection"]["value"])


def test_an_undefined_monitor_never_counts_as_better(tmp_path: Path) -> None:
    monitor = Monitor("val/corr", lower_is_better=False)
    assert not monitor.better(math.nan, monitor.worst)
    assert monitor.better(-0.5, monitor.worst)
    recorder = Recorder(None, monitor)  # type: ignore[arg-type]
    recorder.best_value = math.nan
    assert recorder.selection["value"] is None


def test_runs_of_version_0_1_0_keep_their_hash() -> None:
    """Its configs have no trainer.monitor; a key that means what it did is left out."""

    def old(config: dict[str, Any]) -> dict[str, Any]:
        trainer = {key: value for key, value in config["trainer"].items() if key != "monitor"}
        method = {key: value for key, value in config["method"].items() if key != "ba_standardised"}
        return {**config, "trainer": trainer, "method": method}

    for method in ("supervised", "selfmi", "tcmax", "comm"):
        config = compose_config([f"method={method}"])
        assert config_hash(config) == config_hash(old(config))
        assert differences(old(config), config) == []
        other = compose_config([f"method={method}", "trainer.monitor=val/mae"])
        assert differences(config, other) == ["trainer.monitor ('auto' there, 'val/mae' now)"]
        assert config_hash(other) != config_hash(old(other))
    for method in ("gmc", "m3ixup"):  # which was selected by task and contrast
        config, total = (compose_config([f"method={method}", *more]) for more in ([], ["trainer.monitor=val/total"]))
        assert config_hash(total) == config_hash(old(total)) != config_hash(config)
        last = compose_config([f"method={method}", "trainer.select=last", "trainer.patience=0"])
        assert config_hash(last) == config_hash(old(last))  # nothing was selected
    ba = compose_config(["method=selfmi", "method.pair_estimator=ba"])
    assert config_hash(ba) != config_hash(old(ba))


def test_every_metric_of_a_protocol_has_a_direction() -> None:
    for protocol, best in (("mosi", "val/acc7"), ("sims", "val/acc3"), ("regression", "val/corr")):
        config = {"data": {"metrics": protocol}}
        assert not read_monitor(best, config).lower_is_better
        assert read_monitor("val/mae", config).lower_is_better
    assert read_monitor("auto", {"data": {"metrics": "mosi"}}) == Monitor("val/loss", lower_is_better=True)
