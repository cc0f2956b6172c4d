"""The pretended GPU of the other tests: it refuses and notes what a real one would, and computes what a CPU does."""

import pickle
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pretended_gpu import GPU, pretended_gpu
from trivium.data.batch import Batch


def row() -> torch.Tensor:
    return torch.tensor([3.0, 1.0, 2.0]).to(GPU, non_blocking=True)


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda: row() + torch.ones(3), "one device"),
        (lambda: F.linear(row(), torch.ones(2, 3)), "one device"),
        (lambda: torch.cat([row(), torch.ones(3)]), "one device"),
        (lambda: torch.rand(3, device=GPU, generator=torch.Generator()), "generator of cuda"),
        (lambda: row().cumsum(0), "no deterministic implementation"),
        (lambda: row().long()[None] @ row().long()[:, None], "not implemented on CUDA for integers"),
    ],
)
def test_refuses_what_cuda_refuses(ask: Callable[[], object], words: str) -> None:
    with pretended_gpu(), pytest.raises(RuntimeError, match=words):
        ask()


@pytest.mark.parametrize(
    "ask",
    [
        lambda: float(row().sum()),
        lambda: bool(row().any()),
        lambda: row().tolist(),
        lambda: row().cpu(),
        lambda: torch.empty(3).copy_(row()),
        lambda: torch.ones(3).to(GPU),
        lambda: torch.tensor([1.0], device=GPU),
        lambda: row().new_tensor([1.0]),
        lambda: row()[row() > 1],
        lambda: row()[torch.tensor([0])],
        lambda: row().index_put_((row() > 1,), row()[0]),
        lambda: row().nonzero(),
        lambda: row().masked_select(row() > 1),
        lambda: row().unique(),
        lambda: row().repeat_interleave(row().long()),
        lambda: torch.equal(row(), row()),
    ],
)
def test_notes_each_wait(ask: Callable[[], object]) -> None:
    with pretended_gpu() as waits:
        ask()
    assert len(waits) == 1, waits


@pytest.mark.parametrize(
    "ask",
    [
        lambda: torch.where(row() > 1, row(), 0.0) * torch.tensor(2.0),
        lambda: torch.zeros(3, device=GPU).index_copy_(0, row().argsort(), row()),
        lambda: row().repeat_interleave(row().long(), output_size=6),
        lambda: row()[row().argsort()],
        lambda: row().to(GPU),
        lambda: row().long().cumsum(0),
        lambda: row().new_zeros(3)[1:].copy_(row()[1:]),
    ],
)
def test_notes_no_wait_where_there_is_none(ask: Callable[[], torch.Tensor]) -> None:
    with pretended_gpu() as waits:
        assert ask().device == GPU
    assert waits == []


def test_a_wait_is_told_with_the_line_that_asked() -> None:
    batch = Batch({"text": None}, torch.ones(2, 1).bool(), {}, torch.arange(2), torch.ones(2), (2,))  # type: ignore[dict-item]
    with pretended_gpu() as waits:
        batch.present = batch.present.to(GPU, non_blocking=True)
        with pytest.raises(AttributeError):  # behind the line with the copy, there are no values here
            batch.restrict(["text"])
    (only,) = waits
    assert only.startswith("copy to the GPU at data/batch.py:")


@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU])
def test_values_and_gradients_are_the_cpus(cell: type[nn.LSTM] | type[nn.GRU]) -> None:
    torch.manual_seed(2)
    module, values = cell(3, 4, batch_first=True), torch.randn(2, 5, 3)
    found = []
    for device in ("cpu", "gpu"):
        with pretended_gpu():
            module.zero_grad()
            module.to(GPU if device == "gpu" else "cpu")
            out, _ = module(values.to(GPU) if device == "gpu" else values)
            F.layer_norm(out[:, -1], (4,)).square().mul(torch.arange(4.0, device=out.device)).sum().backward()
            found.append([out.detach().cpu(), *(p.grad.cpu() for p in module.parameters() if p.grad is not None)])
    torch.testing.assert_close(found[1], found[0])
    assert len(found[1]) == 5


def test_autocast_casts_as_on_cuda() -> None:
    """The CPU's leaves softmax, layer norms and sums in half precision; CUDA's makes them float32."""
    linear = nn.Linear(3, 3)
    with pretended_gpu(), torch.autocast("cuda", dtype=torch.bfloat16):
        linear.to(GPU)
        half = linear(row())
        assert half.dtype == torch.bfloat16
        assert {half.softmax(0).dtype, F.layer_norm(half, (3,)).dtype, half.sum().dtype} == {torch.float32}
        with torch.autocast("cuda", enabled=False):
            assert linear(row()).dtype == torch.float32


def test_optimisers_take_all_parameters_at_once_and_do_not_wait() -> None:
    linear = nn.Linear(3, 1)
    with pretended_gpu() as waits:
        optimizer = torch.optim.AdamW(linear.to(GPU).parameters(), lr=0.1)
        linear(row()).sum().backward()
        waits.clear()
        torch.nn.utils.clip_grad_norm_(linear.parameters(), 1.0)
        optimizer.step()
        assert waits == []
        assert {state["step"].device.type for state in optimizer.state.values()} == {"cpu"}


def test_what_is_saved_is_read_on_the_cpu_and_nothing_works_outside() -> None:
    with pretended_gpu():
        there = row()
    assert pickle.loads(pickle.dumps(there)).tolist() == [3.0, 1.0, 2.0]
    with pytest.raises(RuntimeError, match="switched off"):
        there + 1
