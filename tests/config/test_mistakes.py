"""Mistakes of a constructor's kind: told before torch where that is possible, and always with their key."""

from pathlib import Path

import pytest

from driver import command
from trivium.config.check import problems_of


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("encoder.dropout=2", "encoder.dropout: expected a number from 0 to 1, found 2"),
        ("fusion.dropout=-1", "fusion.dropout: expected a number from 0 to 1, found -1"),
        ("encoder@encoders.text=gru encoders.text.dropout=2", "encoders.text.dropout: expected a number from 0"),
        ("fusion=mult fusion.input_dropout.text=3", "fusion.input_dropout.text: expected a number from 0"),
        (
            "method=comm fusion=transformer method.temperature=0",
            "method.temperature: expected a number above 0, found 0",
        ),
        ("epochs=3", "epochs: no such key; it is trainer.max_epochs=N here"),
        ("+trainer.epochs=3", "trainer.epochs: no such key; it is trainer.max_epochs=N here"),
        ("n_trials=5", "n_trials: no such key; it is -m sweep=NAME hydra.sweeper.n_trials=N here"),
        ("seeds=3", "seeds: no such key; it is -m seed=1,2,3 here"),
        ("lr=0.1", "lr: no such key; nearest is optimizer.lr"),
        ("learning_rate=0.1", "learning_rate: no such key; it is optimizer.lr=X here"),
    ],
)
def test_a_mistake_is_told_with_its_key_before_torch(line: str, told: str) -> None:
    problems = problems_of(line.split())
    assert any(told in problem for problem in problems), problems


def test_a_part_s_own_refusal_names_where_the_part_stands(tmp_path: Path) -> None:
    """What only the constructor knows comes later, and still says which key it is about."""
    code, printed = command(tmp_path, "fusion=mult", "fusion.dim=31", "fusion.heads=4", "trainer.accelerator=cpu")
    assert code == 2
    (line,) = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: fusion: ")
    assert "Error executing job" not in printed


def test_a_warning_is_a_line_without_a_place_in_the_code(tmp_path: Path) -> None:
    few = ["data.batch_size=1", "trainer.limit_batches=1", "trainer.max_epochs=1", "trainer.accelerator=cpu"]
    code, printed = command(tmp_path, "method=tcmax", *few)
    assert code == 0, printed
    lines = [line for line in printed.splitlines() if "no negatives" in line]
    assert lines == ["warning: TCMax on a batch of one clip has no negatives: it is cross-entropy - log C"]
    assert ".py:" not in printed
