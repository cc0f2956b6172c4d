"""Batch normalisation over the global batch: nn.BatchNorm1d called group after group, and one process for two."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ranks import on_ranks
from trivium.data.batch import Batch
from trivium.methods.projection_head import ProjectionHead
from trivium.methods.sync_batch_norm import SyncBatchNorm

GROUPS, CLIPS, FEATURES = 6, 7, 5


def batch(shares: Sequence[int], rank: int = 0) -> Batch:
    """A batch without content; a rank without clips runs one of weight 0."""
    here = max(1, shares[rank])
    weight = torch.full((here,), float(shares[rank] > 0), dtype=torch.float64)
    return Batch({}, torch.ones(here, 1).bool(), {}, torch.arange(here), weight, tuple(shares), rank)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return 3 + 2 * torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def close(actual: Any, expected: Any, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def norm_pair() -> tuple[SyncBatchNorm, nn.BatchNorm1d]:
    ours, theirs = SyncBatchNorm(FEATURES).double(), nn.BatchNorm1d(FEATURES).double()
    for layer in (ours, theirs):
        layer.weight.data, layer.bias.data = normal(FEATURES, seed=1), normal(FEATURES, seed=2)
    return ours, theirs


def test_one_call_over_groups_equals_batchnorm1d_called_group_after_group() -> None:
    ours, theirs = norm_pair()
    x, weight = normal(2, 3, CLIPS, FEATURES), normal(2, 3, CLIPS, FEATURES, seed=3)
    x = x * torch.arange(1, 7).view(2, 3, 1, 1)  # groups of different spread
    mine, reference = x.clone().requires_grad_(), x.clone().requires_grad_()
    for _ in range(2):  # running statistics of a second step build on the first's
        out = ours(mine, batch([CLIPS]))
        expected = torch.stack([theirs(group) for group in reference.flatten(0, 1)]).view(x.shape)
    close(out, expected)
    close(ours.running_mean, theirs.running_mean)
    close(ours.running_var, theirs.running_var)
    (out * weight).sum().backward()
    (expected * weight).sum().backward()
    close(mine.grad, reference.grad)
    close([ours.weight.grad, ours.bias.grad], [theirs.weight.grad, theirs.bias.grad])
    ours.eval(), theirs.eval()
    close(ours(x, batch([CLIPS])), torch.stack([theirs(group) for group in x.flatten(0, 1)]).view(x.shape))


def test_a_single_clip_gives_the_bias_and_leaves_the_running_statistics() -> None:
    ours, _ = norm_pair()
    x = normal(GROUPS, 1, FEATURES).requires_grad_()
    out = ours(x, batch([1]))
    close(out, ours.bias.expand_as(out))
    assert ours.running_mean.tolist() == [0.0] * FEATURES
    assert ours.running_var.tolist() == [1.0] * FEATURES
    out.square().sum().backward()
    assert x.grad.abs().max() == 0
    assert ours.bias.grad.isfinite().all()


def test_half_precision_rows_are_normalised_in_float32() -> None:
    layer = SyncBatchNorm(FEATURES)
    x = (normal(64, FEATURES) + 100).bfloat16()
    out = layer(x, batch([64]))
    assert out.dtype == torch.bfloat16
    close(layer.running_mean, 0.1 * x.float().mean(0), 1e-6)
    close(out, nn.BatchNorm1d(FEATURES)(x.float()).bfloat16(), 1e-6)


def test_head_has_the_published_size_and_order_of_layers() -> None:
    torch.manual_seed(0)
    head = ProjectionHead(40)
    assert sum(p.numel() for p in head.parameters()) == 417_024
    plain = nn.Sequential(nn.Linear(40, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, 512))
    plain = nn.Sequential(*plain, nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, 256)).double()
    head.double()
    for ours, theirs in zip(head.linears, [m for m in plain if isinstance(m, nn.Linear)], strict=True):
        theirs.load_state_dict(ours.state_dict())
    x = normal(2, 3, CLIPS, 40)
    close(head(x, batch([CLIPS])), torch.stack([plain(group) for group in x.flatten(0, 1)]).view(2, 3, CLIPS, 256))
    assert ProjectionHead(8, (4,), 3)(torch.zeros(5, 8), batch([5])).shape == (5, 3)


def step(head: ProjectionHead, x: Tensor, weight: Tensor, here: Batch) -> dict[str, Any]:
    """One training step's forward and backward with Batch.mean; weight: a different one an output."""
    head.zero_grad()
    x = x.clone().requires_grad_()
    out = head(x, here)
    here.mean((out.sin() * weight).sum(dim=(0, -1))).backward()
    assert x.grad is not None
    return {
        "out": out.detach(),
        "input": x.grad / len(here.shares),  # the mean over ranks, as DDP takes it of parameters
        "parameters": [p.grad / len(here.shares) for p in head.parameters() if p.grad is not None],
        "running": [buffer.clone() for buffer in head.buffers()],
    }


def build() -> ProjectionHead:
    torch.manual_seed(0)
    return ProjectionHead(4, (6, 5), 3).double()


def steps(rank: int, x: Tensor, weight: Tensor, all_shares: list[tuple[int, ...]]) -> list[dict[str, Any]]:
    results = []
    for shares in all_shares:
        start = sum(shares[:rank]) if shares[rank] else 0
        rows = slice(start, start + max(1, shares[rank]))
        results.append(step(build(), x[:, rows], weight[:, rows], batch(shares, rank)))
    return results


def test_two_processes_equal_one_with_uneven_shares_and_a_rank_without_clips() -> None:
    x, weight = normal(GROUPS, CLIPS, 4), normal(GROUPS, CLIPS, 3, seed=1)
    all_shares = [(4, 3), (1, 6), (7, 0)]
    whole = step(build(), x, weight, batch([CLIPS]))
    for shares, here, there in zip(all_shares, *on_ranks(2, steps, x, weight, all_shares), strict=True):
        for name in ("out", "input"):
            real = [part[name][:, :share] for part, share in zip((here, there), shares, strict=True)]
            close(torch.cat(real, dim=1), whole[name], 1e-10)
        if shares[1] == 0:
            assert there["input"].abs().max() == 0
        summed = [a + b for a, b in zip(here["parameters"], there["parameters"], strict=True)]
        close(summed, whole["parameters"], 1e-10)
        close(here["running"], whole["running"], 1e-10)
        close(there["running"], whole["running"], 1e-10)


def test_statistics_of_the_batch_in_eval_mode_leave_the_running_ones_alone() -> None:
    torch.manual_seed(5)
    norm = SyncBatchNorm(3).double()
    x = torch.randn(2, 6, 3, dtype=torch.float64) * 3 + 1
    trained = copy.deepcopy(norm)(x, batch([6]))
    evaluated = norm.eval()(x, batch([6]), of_batch=True)
    torch.testing.assert_close(evaluated, trained, rtol=0, atol=0)
    assert torch.equal(norm.running_mean, torch.zeros(3, dtype=torch.float64))
    assert not torch.allclose(norm(x, batch([6])), trained)
