"""The learning rate of every step, against the formula written out."""

import math
from collections.abc import Callable

import pytest
import torch

from trivium.schedulers import Schedule, constant, cosine, linear, plateau, step, warmup_cosine

STEPS, EPOCHS = 5, 4


def rates(make: Callable[[torch.optim.Optimizer], Schedule], losses: tuple[float, ...] = (4, 3, 2, 1)) -> list[float]:
    """The rate at which each step is taken, epoch after epoch; base rate 1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule, found = make(optimizer), []
    for epoch in range(EPOCHS):
        for _ in range(STEPS):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.after_step()
        schedule.after_epoch(losses[epoch])
    return found


def test_constant() -> None:
    assert rates(lambda o: constant(o, steps_per_epoch=STEPS, epochs=EPOCHS)) == [1.0] * 20


def test_cosine_warms_up_linearly_and_ends_at_the_final_ratio() -> None:
    found = rates(lambda o: cosine(o, steps_per_epoch=STEPS, epochs=EPOCHS, warmup_epochs=0.8, final_ratio=0.1))
    warm = [(n + 1) / 5 for n in range(4)]
    rest = [0.1 + 0.9 * (1 + math.cos(math.pi * n / 16)) / 2 for n in range(16)]
    assert found == pytest.approx(warm + rest)


def test_linear_warms_up_and_falls_to_nothing() -> None:
    found = rates(lambda o: linear(o, steps_per_epoch=STEPS, epochs=EPOCHS, warmup_ratio=0.2))
    assert found == pytest.approx([(n + 1) / 5 for n in range(4)] + [(20 - n) / 16 for n in range(4, 20)])


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [
        (200, {0: 0, 1: 5e-6, 10: 5e-5, 20: 1e-4, 21: 1e-4, 22: 9.9992e-5, 99: 6.0396e-5, 199: 3.0459e-8}),
        (20, {0: 0, 1: 5e-5, 2: 1e-4, 3: 1e-4, 4: 9.9240e-5, 19: 3.0154e-6}),
    ],
)
def test_warmup_cosine_has_the_published_rates_of_almt(epochs: int, expected: dict[int, float]) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-4)
    schedule, found = warmup_cosine(optimizer, steps_per_epoch=STEPS, epochs=epochs, warmup_ratio=0.1), {}
    for epoch in range(epochs):
        found[epoch] = optimizer.param_groups[0]["lr"]
        for _ in range(STEPS):
            optimizer.step()
            schedule.after_step()
        schedule.after_epoch(1.0)
    assert {epoch: found[epoch] for epoch in expected} == pytest.approx(expected, rel=5e-5)


def test_warmup_cosine_refuses_a_share_that_is_none() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    with pytest.raises(ValueError, match=r"scheduler\.warmup_ratio: expected a share above 0 and below 1, found 0"):
        warmup_cosine(optimizer, steps_per_epoch=STEPS, epochs=EPOCHS, warmup_ratio=0)


def test_step_falls_every_so_many_epochs() -> None:
    found = rates(lambda o: step(o, steps_per_epoch=STEPS, epochs=EPOCHS, every=2, factor=0.1))
    assert found == pytest.approx([1.0] * 10 + [0.1] * 10)


def test_plateau_falls_where_the_validation_loss_no_longer_does() -> None:
    make = lambda o: plateau(o, steps_per_epoch=STEPS, epochs=EPOCHS, factor=0.5, patience=0)  # noqa: E731
    assert rates(make, losses=(2, 2, 1, 1)) == pytest.approx([1.0] * 10 + [0.5] * 10)


@pytest.mark.parametrize("at", [3, 5, 12])
def test_restored_from_its_state_it_goes_on_as_if_never_stopped(at: int) -> None:
    def make(optimizer: torch.optim.Optimizer) -> Schedule:
        return cosine(optimizer, steps_per_epoch=STEPS, epochs=EPOCHS, warmup_epochs=1, final_ratio=0.0)

    whole = rates(make)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = make(optimizer)
    for _ in range(at):
        optimizer.step()
        schedule.after_step()
    again = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    resumed = make(again)
    again.load_state_dict(optimizer.state_dict())
    resumed.load_state_dict(schedule.state_dict())
    found = []
    for _ in range(at, STEPS * EPOCHS):
        found.append(again.param_groups[0]["lr"])
        again.step()
        resumed.after_step()
    assert found == pytest.approx(whole[at:])
