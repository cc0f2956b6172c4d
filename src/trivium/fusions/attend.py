"""Attention with features in front of steps: the faster layout on a CPU where heads are a few features wide.

Legend: R clips of all transformers, H heads, D features of a head, T asking steps, S steps that are seen.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def attend(query_RHDT: Tensor, key_RHDS: Tensor, value_RHDS: Tensor, mask_RST: Tensor, dropout: nn.Module) -> Tensor:
    """(R, H, D, T): sum over S of value * dropout(softmax over S of (key . query + mask)).

    The query comes scaled. mask_RST: 0 where a step is seen and -inf where not, R or 1 of them; every asking step must
    see one. In float32 at least, whatever the autocast. The gradient cannot be differentiated again.
    """
    dtype = torch.promote_types(query_RHDT.dtype, torch.float32)
    with torch.autocast(query_RHDT.device.type, enabled=False):
        inputs = (one.to(dtype).contiguous() for one in (query_RHDT, key_RHDS, value_RHDS))
        found: Tensor = _Attend.apply(*inputs, mask_RST.to(dtype), dropout)  # type: ignore[no-untyped-call]
    return found.to(query_RHDT.dtype)


class _Attend(torch.autograd.Function):
    """Written out because autograd's own backward has products of D columns, which cost a CPU four times as much."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, dropout: nn.Module) -> Tensor:
        weight_RHST = torch.softmax((key.mT @ query).add_(mask[:, None]), dim=-2)
        kept_RHST: Tensor = dropout(weight_RHST)
        found = value @ kept_RHST
        ctx.save_for_backward(query, key, value, weight_RHST, kept_RHST, found)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """With g the gradient of `found`: d scores = kept * (value . g) - weight * (found . g)."""
        query, key, value, weight_RHST, kept_RHST, found = ctx.saved_tensors
        along_RH1T = (found * gradient).sum(dim=-2, keepdim=True)
        scores_RHST = (value.mT @ gradient).mul_(kept_RHST).addcmul_(weight_RHST, along_RH1T, value=-1.0)
        return key @ scores_RHST, query @ scores_RHST.mT, gradient @ kept_RHST.mT, None, None


def future_mask(target: Tensor, source: Tensor, source_steps: int, target_steps: int) -> Tensor:
    """(..., S, T), 0 where target step t sees source step s and -inf else: s <= t + |source - target|, and s is real.

    target, source: lengths (...). A source of length 0 shows its first step, so that attention stays defined.
    """
    step_S1 = torch.arange(source_steps, device=target.device)[:, None]
    step_T = torch.arange(target_steps, device=target.device)
    reach = (source - target).abs()[..., None, None]
    seen = (step_S1 <= step_T + reach) & (step_S1 < source.clamp(min=1)[..., None, None])
    return torch.where(seen, 0.0, -torch.inf)
