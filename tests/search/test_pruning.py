"""What a trial tells its study after each epoch, and when it is given up."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from test_study import opened

from trivium.methods.comm import CoMM
from trivium.methods.supervised import Supervised
from trivium.runs.pruned import Pruned
from trivium.search.pruning import Pruning, join
from trivium.search.study import OpenStudy


class Trainer:
    """One process, or one of two whose first has said `said`."""

    is_global_zero = True
    max_epochs = 5

    def __init__(self, said: str | None = None) -> None:
        self.is_global_zero = said is None
        self.strategy = SimpleNamespace(broadcast=lambda own: own if said is None else said)


def epochs(*losses: float) -> list[dict[str, float]]:
    return [{"epoch": n, "val/loss": loss, "val/mae": loss / 2} for n, loss in enumerate(losses, 1)]


def begun(search: OpenStudy, number: int, history: list[dict[str, float]], method: type = Supervised) -> Pruning:
    """The callback as a run has it that begins after `history`."""
    pruning = Pruning(search.folder, number, SimpleNamespace(history=history, stopped=False))  # type: ignore[arg-type]
    pruning.on_fit_start(Trainer(), method.__new__(method))  # type: ignore[arg-type]
    return pruning


@pytest.fixture
def study(tmp_path: Path) -> OpenStudy:
    """With one complete trial, whose loss was 2 and then 1, and a second that has just begun."""
    search = opened(tmp_path, pruner="median", n_trials=3)
    first, _ = search.next(2)
    trial, _ = join(search.folder, first.number)
    for step in range(5):
        trial.report(1.0 if step else 2.0, step)
    search.study.tell(0, 1.0)
    return search


def reported(search: OpenStudy) -> dict[int, float]:
    return search.trials()[1].intermediate_values


def end(pruning: Pruning, hook: str = "on_train_epoch_end", **trainer: Any) -> str:
    """Why the trial is given up, or nothing."""
    try:
        getattr(pruning, hook)(Trainer(**trainer), None)
    except Pruned as reason:
        return str(reason)
    return ""


@pytest.mark.filterwarnings("error:The reported value is ignored")
def test_each_epoch_is_reported_once_and_the_worse_trial_given_up(study: OpenStudy) -> None:
    history = epochs(1.5)
    pruning = begun(study, 1, history)
    assert end(pruning) == ""
    history += epochs(1.5, 1.6)[1:]
    assert end(pruning) == "after epoch 2, val/loss 1.6"
    assert reported(study) == {0: 1.5, 1: 1.6}


def test_a_run_killed_before_it_was_given_up_is_given_up_when_it_begins_again(study: OpenStudy) -> None:
    assert end(begun(study, 1, []), "on_train_start") == ""
    assert end(begun(study, 1, epochs(2.5)), "on_train_start") == "after epoch 1, val/loss 2.5"
    assert end(begun(study, 1, epochs(2.5)), "on_train_start") == "after epoch 1, val/loss 2.5"  # reported by then
    assert reported(study) == {0: 2.5}


def test_the_last_epoch_is_not_given_up(study: OpenStudy) -> None:
    assert end(begun(study, 1, epochs(2, 2, 2, 2, 2))) == ""
    assert len(reported(study)) == 5


def test_the_other_processes_of_a_run_stop_with_the_first(study: OpenStudy) -> None:
    assert end(begun(study, 1, epochs(2.5)), said="after epoch 1") == "after epoch 1"
    assert end(begun(study, 1, epochs(2.5)), said="") == ""
    assert reported(study) == {}


def test_a_loss_that_is_another_while_training_gives_up_nothing(tmp_path: Path, study: OpenStudy) -> None:
    assert end(begun(study, 1, epochs(2.5), CoMM)) == ""
    assert reported(study) == {}
    by_error = opened(tmp_path / "mae", objective="val/mae")
    by_error.next(1)
    assert end(begun(by_error, 0, epochs(2.5), CoMM)) == ""
    assert by_error.trials()[0].intermediate_values == {0: 1.25}
