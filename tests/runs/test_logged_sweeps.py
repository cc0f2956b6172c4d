"""A sweep in wandb and TensorBoard: its runs stand together, each under a name that says what is different in it."""

import json
from pathlib import Path
from typing import Any

import pytest

from driver import command, in_folder
from logged import QUIET, READERS
from trivium.search.titles import settings_of, title_of, varied

QUICK = ["encoder=identity", "trainer.max_epochs=1", "trainer.limit_batches=2", "trainer.progress=off"]


def sweep(folder: Path, *arguments: str) -> tuple[int, str]:
    return command(folder, "-m", *in_folder(folder, *QUICK, "logger.figures=false", *arguments), **QUIET)


def test_a_grid_s_runs_share_its_folder_s_name_and_have_their_own_status(tmp_path: Path) -> None:
    code, printed = sweep(tmp_path, "logger=wandb", "logger.tags=[mine]", "method=supervised", "optimizer.lr=1e30,0.02")
    assert code == 1
    (folder,) = (tmp_path / "outputs" / "sweeps").iterdir()
    runs = [READERS["wandb"](folder / job) for job in ("0", "1")]
    assert [run.shown["name"] for run in runs] == ["0 lr=1e+30", "1 lr=0.02"]
    assert [run.config["optimizer"]["lr"] for run in runs] == [1e30, 0.02]
    for run in runs:
        assert run.shown["group"] == folder.name
        assert run.shown["tags"] == ["supervised", "fixture", "mine"]
    assert [run.shown["exit"] for run in runs] == [1, 0], printed
    assert ["test/mae" in run.scalars for run in runs] == ["val/loss" in run.scalars for run in runs] == [False, True]
    assert len(list(tmp_path.rglob("*.wandb"))) == 2
    assert "logger.group" in printed.split("1 of 2 jobs failed")[1]  # so that the command repeats it in its place


def test_a_study_s_trials_share_its_name_and_say_their_parameters(tmp_path: Path) -> None:
    space = ["optimizer.lr=interval(0.001,0.1)", "fusion.dropout=0.1", "optimizer.weight_decay=0"]
    space += ["fusion=concat", "encoder.out=16", "encoder.pool=mean"]
    code, printed = sweep(tmp_path, "sweep=supervised", "logger=wandb", "hydra.sweeper.n_trials=2", *space)
    assert code == 0, printed
    (study,) = (tmp_path / "outputs" / "studies").iterdir()
    for number in ("0", "1"):
        run = READERS["wandb"](study / number)
        lr = run.config["optimizer"]["lr"]
        assert run.shown["group"] == study.name
        assert run.shown["name"] == f"{number} lr={lr:.4g}"
    assert "logger.title" not in json.loads((study / "best.json").read_text())["command"]


def test_tensorboard_opened_on_a_sweep_names_its_runs_and_compares_them(tmp_path: Path) -> None:
    code, printed = sweep(tmp_path, "logger=tensorboard", "method=supervised,selfmi", "seed=1,2")
    assert code == 0, printed
    (folder,) = (tmp_path / "outputs" / "sweeps").iterdir()
    made = [("supervised", 1), ("supervised", 2), ("selfmi", 1), ("selfmi", 2)]
    runs, columns, rows = hparams_tab(folder)
    names = [f"{job}/tb/method={method},seed={seed}" for job, (method, seed) in enumerate(made)]
    assert sorted(runs) == names
    assert columns["seed"]
    assert columns["method.name"]
    assert not columns["data.name"]
    assert "method.cpc_weight" in columns  # of one method alone
    assert not {"run.dir", "paths.data", "logger.title"} & columns.keys()
    for job, name in enumerate(names):
        result = json.loads((folder / str(job) / "result.json").read_text())
        settings, metrics = rows[name]
        assert (settings["method.name"], settings["seed"]) == made[job]
        assert metrics["test/mae"] == pytest.approx(result["test"]["mae"])
        assert metrics["selected/val/corr"] == pytest.approx(result["val"]["corr"])


def hparams_tab(folder: Path) -> tuple[list[str], dict[str, bool], dict[str, tuple[dict[str, Any], dict[str, float]]]]:
    """What TensorBoard's own code shows of --logdir FOLDER: runs, settings and whether they differ, a row a run."""
    from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
    from tensorboard.context import RequestContext
    from tensorboard.plugins.base_plugin import TBContext
    from tensorboard.plugins.hparams import api_pb2, backend_context, get_experiment, list_session_groups

    events = EventMultiplexer().AddRunsFromDirectory(str(folder))
    events.Reload()
    provider = MultiplexerDataProvider(events, str(folder))
    context = backend_context.Context(TBContext(data_provider=provider, multiplexer=events))
    asked = RequestContext(), context, ""
    experiment = get_experiment.Handler(*asked, api_pb2.GetExperimentRequest()).run()
    wanted = api_pb2.ListSessionGroupsRequest(allowed_statuses=range(4), slice_size=99)
    groups = list_session_groups.Handler(*asked, wanted).run().session_groups
    rows = {
        group.sessions[0].name: (
            {key: value.number_value or value.string_value for key, value in group.hparams.items()},
            {value.name.tag: value.value for value in group.metric_values},
        )
        for group in groups
    }
    return list(events.Runs()), {info.name: info.differs for info in experiment.hparam_infos}, rows


def test_titles_are_what_not_all_jobs_share() -> None:
    jobs = [
        ["seed=1", f"+optimizer.lr={lr}", f"fusion={fusion}"] for lr in ("0.01", "1e-3") for fusion in ("sum", "mult")
    ]
    assert [title_of(words) for words in varied(jobs)] == [
        "lr=0.01,fusion=sum",
        "lr=0.01,fusion=mult",
        "lr=1e-3,fusion=sum",
        "lr=1e-3,fusion=mult",
    ]
    assert varied(jobs[:1]) == [{}]
    alike = settings_of(["a.lr=0.0026289891606194353", "b.lr=1", "method.name='a b'"])
    assert title_of(alike) == "a.lr=0.002629,b.lr=1,name=a b"
