"""Lightning's callbacks and profilers, and several loggers at once: they look on, and change no number."""

import sys
from pathlib import Path

import pytest

from driver import command, here, in_folder, record, spawn
from logged import QUIET, READERS
from trivium.config.check import problems_of
from trivium.config.compose import compose_config
from trivium.runs.config_hash import config_hash

QUICK = ["encoder=identity", "trainer.max_epochs=1", "trainer.progress=off"]
WATCHED = ["trainer.callbacks=[timer,model_summary]", "trainer.profiler=simple"]


def test_watched_or_not_it_is_the_same_run(tmp_path: Path) -> None:
    here(tmp_path, *QUICK, f"run.dir={tmp_path / 'plain'}")
    here(tmp_path, *QUICK, *WATCHED, f"run.dir={tmp_path / 'watched'}")
    assert record(tmp_path / "watched") == record(tmp_path / "plain")
    assert config_hash(compose_config([*QUICK, *WATCHED])) == config_hash(compose_config(QUICK))
    assert "run_training_epoch" in (tmp_path / "watched" / "fit-profile.txt").read_text()
    # a user's own callback may do anything
    own = compose_config([*QUICK, "trainer.callbacks=[{_target_: trivium.mine.Callback}]"])
    assert config_hash(own) != config_hash(compose_config(QUICK))


def test_two_loggers_get_the_same(tmp_path: Path) -> None:
    settings = in_folder(tmp_path, *QUICK, "logger.figures=false", "trainer.callbacks=[lr_monitor]")
    code, printed = command(tmp_path, *settings, "logger=[wandb,tensorboard]", f"run.dir={tmp_path / 'run'}", **QUIET)
    assert code == 0, printed
    wandb, tensorboard = (READERS[name](tmp_path / "run") for name in ("wandb", "tensorboard"))
    assert len(wandb.scalars["test/mae"]) == 1
    assert tensorboard.scalars["test/mae"] == [pytest.approx(value) for value in wandb.scalars["test/mae"]]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("logger=[wandb,tensorbord]", "logger=tensorbord: no such choice; nearest is tensorboard"),
        ("fusion=[concat,sum]", "fusion takes one choice; several at once are for logger, metric alone"),
        ("trainer.callbacks=[lr_moniter]", "trainer.callbacks: no callback 'lr_moniter'; nearest is lr_monitor"),
        ("trainer.callbacks=[device_stats]", "device_stats writes to a logger alone; add logger=tensorboard"),
        ("trainer.callbacks=[{_target_: os.system}]", "_target_: 'os.system' is refused"),
        ("trainer.callbacks=[{lr: 1}]", "expected a name or a node with _target_"),
        ("trainer.profiler=simpel", "trainer.profiler: expected one of none, simple, advanced, pytorch"),
    ],
)
def test_what_cannot_be_is_named(line: str, told: str) -> None:
    (problem,) = problems_of([line])
    assert told in problem


def test_what_can_be_passes() -> None:
    assert problems_of(["logger=[wandb,tensorboard]", "logger.mode=offline", "trainer.callbacks=[lr_monitor]"]) == []


def test_wandb_is_imported_only_when_chosen(tmp_path: Path) -> None:
    assert spawn(_without_wandb, tmp_path) == 0


def _without_wandb(folder: Path) -> None:
    class Refusing:
        def find_spec(self, name: str, path: object = None, target: object = None) -> None:
            if name == "wandb":
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    sys.meta_path.insert(0, Refusing())  # type: ignore[arg-type]
    here(folder, *QUICK, "logger=tensorboard", "logger.figures=false")
    assert "wandb" not in sys.modules
