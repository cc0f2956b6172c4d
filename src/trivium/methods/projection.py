"""CoMM's projection head, and the batch normalisation inside it: over the global batch, exactly, on any device.

torch's SyncBatchNorm refuses CPU tensors in a process group, and takes one group of rows a call.
Legend: B clips on this rank, N of the global batch, F features, E embedding, G groups (views and masks), W ranks.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trivium.data.batch import Batch
from trivium.distributed import gather_rows
from trivium.precision import at_least_float32


class GlobalBatchNorm(nn.Module):
    """Batch normalisation (Ioffe and Szegedy, 2015) of (..., B, F) over the N clips of the global batch.

    All leading dimensions are independent groups: what nn.BatchNorm1d gives when it is called group after group, in
    order, running statistics included (momentum 0.1, unbiased variance). The ranks' statistics are combined by their
    clip counts, with gradient; a clip of weight 0 takes no part in them. In eval mode the running statistics are used,
    unless of_batch asks for the batch's own; they are not changed there.
    A global batch of one clip has variance 0: each group's output is `bias`, and, since one clip says nothing about
    the spread, the running statistics stay as they are (nn.BatchNorm1d raises an error).
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, features: int, *, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_var", torch.ones(features))

    def forward(self, x: Tensor, batch: Batch, *, of_batch: bool = False) -> Tensor:
        """(..., B, F) -> (..., B, F), in x's dtype, computed in float32 at least."""
        assert x.shape[-2] == len(batch), (x.shape, len(batch))
        rows_GBF = at_least_float32(x).reshape(-1, *x.shape[-2:])
        if self.training or of_batch:
            mean_GF, square_GF = _moments(rows_GBF, batch.shares)
            if self.training:
                self._run(mean_GF.detach(), square_GF.detach(), batch.global_size)
            mean, variance = mean_GF[:, None], square_GF[:, None] / batch.global_size
        else:
            mean, variance = self.running_mean, self.running_var
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return torch.addcmul(self.bias, rows_GBF - mean, scale).view(x.shape).to(x.dtype)

    @torch.no_grad()
    def _run(self, mean_GF: Tensor, square_GF: Tensor, count: int) -> None:
        if count == 1:
            return
        groups, keep = len(mean_GF), 1.0 - self.momentum
        # What is left of each group's step once those after it have been taken.
        after_G1 = torch.arange(groups - 1, -1, -1, dtype=mean_GF.dtype, device=mean_GF.device)[:, None]
        left_G1 = self.momentum * keep**after_G1
        self.running_mean.mul_(keep**groups).add_((left_G1 * mean_GF).sum(dim=0))
        self.running_var.mul_(keep**groups).add_((left_G1 * square_GF).sum(dim=0) / (count - 1))


class ProjectionHead(nn.Module):
    """Linear, then batch normalisation, ReLU and Linear for each of `hidden`: (..., B, E) -> (..., B, out).

    Used in training only: what CoMM evaluates is the vector that goes in.
    """

    def __init__(self, dim: int, hidden: Sequence[int] = (512, 512), out: int = 256) -> None:
        super().__init__()
        if min(out, *hidden, 1) < 1:
            raise ValueError(f"method.head_hidden, head_out: expected sizes of at least 1, found {list(hidden)}, {out}")
        sizes = [dim, *hidden, out]
        self.linears = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        self.norms = nn.ModuleList(GlobalBatchNorm(size) for size in hidden)

    def forward(self, x: Tensor, batch: Batch, *, of_batch: bool = False) -> Tensor:
        for linear, norm in zip(self.linears, self.norms, strict=False):
            x = norm(linear(x), batch, of_batch=of_batch).relu()
        out: Tensor = self.linears[-1](x)
        return out


def _moments(rows_GBF: Tensor, shares: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Mean and sum of squares about it, (G, F) each, over the clips of all ranks (Chan et al., 1979)."""
    variance_GF, mean_GF = torch.var_mean(rows_GBF, dim=1, correction=0)
    square_GF = variance_GF * rows_GBF.shape[1]
    if len(shares) == 1:
        return mean_GF, square_GF
    every = gather_rows(torch.stack([mean_GF, square_GF])[None], (1,) * len(shares))  # (W, 2, G, F)
    # A rank with no clip holds a clip of weight 0: it is not looked at. Counts are known on the host: no wait.
    parts = [(share, *every[rank]) for rank, share in enumerate(shares) if share]
    mean_GF = torch.stack([mean * (share / sum(shares)) for share, mean, _ in parts]).sum(dim=0)
    within = torch.stack([square for _, _, square in parts]).sum(dim=0)
    between = torch.stack([share * (mean - mean_GF).square() for share, mean, _ in parts]).sum(dim=0)
    return mean_GF, within + between
