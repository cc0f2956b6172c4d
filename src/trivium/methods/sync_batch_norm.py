"""Normalises over the global batch: exact synchronised batch norm on any device.

torch's SyncBatchNorm refuses CPU tensors in a process group, and takes one group of rows a call.
Legend: B clips on this rank, N of the global batch, F features, G groups (views and masks), W ranks.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trivium.core.distributed import gather_rows
from trivium.core.precision import at_least_float32
from trivium.data.batch import Batch


class SyncBatchNorm(nn.Module):
    """Normalises (..., B, F) by the statistics of the N clips of the global batch (Ioffe and Szegedy, 2015).

    All leading dimensions are independent groups. The result, running statistics included (momentum 0.1, unbiased
    variance), is what nn.BatchNorm1d gives when it is called group after group, in order. The ranks' statistics are
    combined by their numbers of clips, with gradient; a clip of weight 0 takes no part in them.
    In evaluation mode the running statistics are used, unless of_batch=True asks for those of the batch. Evaluation
    mode never changes them.
    A global batch of one clip has variance 0, so that the output of each group is `bias`. The running statistics then
    stay as they are, because one clip says nothing about the spread; nn.BatchNorm1d raises an error.
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
        """Returns (..., B, F) in x's dtype, computed in float32 at least."""
        assert x.shape[-2] == len(batch), (x.shape, len(batch))
        rows_GBF = at_least_float32(x).reshape(-1, *x.shape[-2:])
        if self.training or of_batch:
            mean_GF, square_GF = _moments(rows_GBF, batch.shares)
            if self.training:
                self._update_running(mean_GF.detach(), square_GF.detach(), batch.global_size)
            mean, variance = mean_GF[:, None], square_GF[:, None] / batch.global_size
        else:
            mean, variance = self.running_mean, self.running_var
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return torch.addcmul(self.bias, rows_GBF - mean, scale).view(x.shape).to(x.dtype)

    @torch.no_grad()
    def _update_running(self, mean_GF: Tensor, square_GF: Tensor, count: int) -> None:
        """Updates the running statistics by the groups' means and sums of squares over `count` clips."""
        if count == 1:
            return
        groups, keep = len(mean_GF), 1.0 - self.momentum
        # One update a group, in order, in closed form: a group's share shrinks with each update by a later group.
        later_G1 = torch.arange(groups - 1, -1, -1, dtype=mean_GF.dtype, device=mean_GF.device)[:, None]
        share_G1 = self.momentum * keep**later_G1
        self.running_mean.mul_(keep**groups).add_((share_G1 * mean_GF).sum(dim=0))
        self.running_var.mul_(keep**groups).add_((share_G1 * square_GF).sum(dim=0) / (count - 1))


def _moments(rows_GBF: Tensor, shares: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Returns the mean, and the sum of squared deviations from it, over all ranks' clips, (G, F) each.

    The ranks' moments are combined as in Chan et al. (1979), which does not cancel as a sum of squares would.
    """
    variance_GF, mean_GF = torch.var_mean(rows_GBF, dim=1, correction=0)
    square_GF = variance_GF * rows_GBF.shape[1]
    if len(shares) == 1:
        return mean_GF, square_GF
    moments_W2GF = gather_rows(torch.stack([mean_GF, square_GF])[None], (1,) * len(shares))
    # A rank without clips holds one of weight 0, which is left out. Counts are known on the host, so nothing waits.
    parts = [(share, *moments_W2GF[rank]) for rank, share in enumerate(shares) if share]
    mean_GF = torch.stack([mean * (share / sum(shares)) for share, mean, _ in parts]).sum(dim=0)
    within = torch.stack([square for _, _, square in parts]).sum(dim=0)
    between = torch.stack([share * (mean - mean_GF).square() for share, mean, _ in parts]).sum(dim=0)
    return mean_GF, within + between
