"""TCMax over processes: value and gradient of one process that has the global batch, however the clips are shared."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.distributed as dist
from tcmax_cases import ADDITIVE_3, GENERAL_3, PARTLY, Blocks, Toy, batch_of, objective
from torch import Tensor

from ranks import on_ranks
from trivium.objectives.task import TaskObjective
from trivium.objectives.tcmax import Joint, Unimodal
from trivium.objectives.tcmax_regression import TCMaxRegression

SHARES = [(3, 2), (1, 4), (4, 0), (1, 0)]  # a rank without clips runs one of weight 0
Case = tuple[str, Blocks, dict[str, Any], int]
CASES: list[Case] = [
    *(("tcmax", blocks, {"chunk": chunk}, 3) for blocks in (ADDITIVE_3, PARTLY, GENERAL_3) for chunk in (7, 10**6)),
    *(("tcmax", PARTLY, {"negatives": negatives, "chunk": 4}, 3) for negatives in (1, 13, -1)),
    ("regression", PARTLY, {"scale": 0.8, "chunk": 50}, 1),
    ("regression", ADDITIVE_3, {"negatives": 9}, 1),
    ("joint", PARTLY, {}, 3),
    ("unimodal", PARTLY, {}, 3),
]


def made(kind: str, keys: dict[str, Any]) -> Any:
    baselines: dict[str, type[TaskObjective]] = {"joint": Joint, "unimodal": Unimodal}
    if kind == "regression":
        return TCMaxRegression((-3.0, 3.0), **keys)
    return objective(**keys) if kind == "tcmax" else baselines[kind]((-3.0, 3.0), classes=3)  # type: ignore[call-arg]


def step(case: Case, shares: tuple[int, ...], rank: int) -> dict[str, Tensor]:
    """This rank's terms, and its gradient of every parameter."""
    kind, blocks, keys, outputs = case
    toy = Toy(blocks, outputs)
    terms = made(kind, keys).losses(toy.scores(batch_of(toy.names, shares, rank)), batch_of(toy.names, shares, rank), 5)
    terms["loss"].backward()
    found = {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in toy.named_parameters()}
    return {**{f"term {name}": value.detach() for name, value in terms.items()}, **found}


def steps(rank: int) -> list[dict[str, Tensor]]:
    """Every case and split, in one process group; what DDP makes of the ranks is their mean."""
    results = []
    for case in CASES:
        for shares in SHARES:
            values = step(case, shares, rank)
            for value in values.values():
                dist.all_reduce(value)
                value /= 2
            results.append(values)
    return results


@pytest.fixture(scope="module")
def two_ranks() -> list[dict[str, Tensor]]:
    first, _ = on_ranks(2, steps)
    return list(first)


@pytest.mark.filterwarnings("ignore:TCMax on a batch of one clip")
@pytest.mark.parametrize("shares", SHARES, ids=str)
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{len(case[1])}-{case[2]}")
def test_two_processes_equal_one(case: Case, shares: tuple[int, ...], two_ranks: list[dict[str, Tensor]]) -> None:
    together = two_ranks[CASES.index(case) * len(SHARES) + SHARES.index(shares)]
    alone = step(case, (sum(shares),), rank=0)
    assert alone.keys() == together.keys()
    assert all(value.isfinite().all() for value in together.values())
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-10)
    if sum(shares) > 1:
        assert max(value.abs().max() for name, value in alone.items() if name.startswith("encoders")) > 1e-3
