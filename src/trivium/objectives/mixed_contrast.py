"""M3ixup's contrast of mixed views with the joint vectors (docs/methods/m3ixup.md), with soft instance targets.

Each view is a mixture of clips (rows of Y, as in i-Mix) and of modalities (weights W, whose negatives it meets). With
one clip and one modality, V = z_u, Y = I and W = one-hot(u), the sum over modalities is GMC's loss (sum of NT-Xent).
Legend: b clips on this rank, N of the global batch, M modalities, V views, D features.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from trivium.objectives.cpc import unit_rows


def mixed_contrast(
    view_ND: Tensor,
    joint_ND: Tensor,
    unimodal: Sequence[Tensor],
    *,
    clips_NN: Tensor | None = None,
    modalities_NM: Tensor | None = None,
    temperature: float = 0.1,
) -> Tensor:
    """Returns M3ixup's contrast of one mixed view a clip with the joint vectors, (N,), in float32 at least.

    joint_ND: the joint vector of each clip. unimodal: one tensor (N, D) a modality. Vectors need not be normalised.
    clips_NN: row i says how much of each clip view i is made of, rows of sum 1 and each column above 0 somewhere; of
    its own clip alone if None. modalities_NM: how much of each modality, rows of sum 1; equal shares if None.
    With one clip and one modality a view, summed over the modalities, its mean is GMC's loss.

    >>> import torch
    >>> from trivium.objectives import mixed_contrast
    >>> text, audio, joint = torch.randn(3, 5, 8).unbind()
    >>> share = 0.7 * torch.eye(5) + 0.3 * torch.eye(5).roll(1, dims=0)
    >>> mixed_contrast(share @ (text + audio), joint, [text, audio], clips_NN=share).shape
    torch.Size([5])
    """
    joint_ND, view_ND = unit_rows(joint_ND), unit_rows(view_ND)
    unimodal_MND = torch.stack([unit_rows(vectors_ND) for vectors_ND in unimodal])
    clips, modalities = len(joint_ND), len(unimodal)
    if clips_NN is None:
        clips_NN = torch.eye(clips, dtype=joint_ND.dtype, device=joint_ND.device)
    if modalities_NM is None:
        modalities_NM = joint_ND.new_full((clips, modalities), 1 / modalities)
    allowed_N = torch.ones(clips, dtype=torch.bool, device=joint_ND.device)
    contrast = MixedContrast(joint_ND, unimodal_MND, clips_NN, allowed_N, slice(None), temperature)
    return contrast.loss(view_ND[None], modalities_NM[None])[0]


@dataclass
class MixedContrast:
    """Holds what views are contrasted with: unit vectors of the global batch, float32 at least.

    joint: (N, D). unimodal: (M, N, D). target: (N, N), Y, row-stochastic: which clips view i is made of.
    allowed: (N,) bool; the others are no candidates, and their own values, which have to be finite, are to be ignored.
    rows: this rank's clips. temperature: above 0.
    """

    joint: Tensor
    unimodal: Tensor
    target: Tensor
    allowed: Tensor
    rows: slice
    temperature: float

    def detached(self) -> MixedContrast:
        return replace(self, joint=self.joint.detach(), unimodal=self.unimodal.detach())

    def toward_joint(self, view_VbD: Tensor) -> Tensor:
        """Returns l1, (V, M, b): a view picks the joint vectors of its clips.

        Candidates are all joint vectors and, for each modality, its vectors of clips that the view is not made of.
        l1_i = logsumexp of [v_i z_M^T, v_i z_u^T without the clips of Y_i] / temperature
             - sum over j of Y_ij v_i z_M,j / temperature.
        """
        with torch.autocast(view_VbD.device.type, enabled=False):
            joint_VbN = view_VbD @ self.joint.T / self.temperature
            unimodal_VMbN = view_VbD[:, None] @ self.unimodal.transpose(1, 2) / self.temperature
        target_bN = self.target[self.rows]
        excluded = torch.cat([self._no_candidates(), (target_bN > 0) | ~self.allowed], dim=1)
        scores = torch.cat([joint_VbN[:, None].expand_as(unimodal_VMbN), unimodal_VMbN], dim=-1)
        positive_Vb = (target_bN.to(joint_VbN.dtype) * joint_VbN).sum(dim=-1)
        return scores.masked_fill(excluded, -math.inf).logsumexp(dim=-1) - positive_Vb[:, None]

    def toward_view(self, view_VND: Tensor) -> Tensor:
        """Returns l2, (V, b): a joint vector picks the views that its clip is part of.

        Candidates are all views and the other joint vectors. view_VND: of the global batch.
        With Y'_ij = Y_ji / sum over k of Y_ki,
        l2_i = logsumexp of [z_M,i V^T, z_M,i z_M^T without i] / temperature
             - sum over j of Y'_ij z_M,i v_j / temperature.
        """
        joint_bD = self.joint[self.rows]
        with torch.autocast(view_VND.device.type, enabled=False):
            view_VbN = joint_bD @ view_VND.transpose(1, 2) / self.temperature
            joint_bN = joint_bD @ self.joint.T / self.temperature
        target_bN = (self.target / self.target.sum(dim=0)).T[self.rows].to(view_VbN.dtype)
        excluded = torch.cat([self._no_candidates(), self._itself() | ~self.allowed], dim=1)
        scores = torch.cat([view_VbN, joint_bN.expand_as(view_VbN)], dim=-1)
        return scores.masked_fill(excluded, -math.inf).logsumexp(dim=-1) - (target_bN * view_VbN).sum(dim=-1)

    def loss(self, view_VND: Tensor, weight_VbM: Tensor) -> Tensor:
        """Returns L_mix of each clip, (V, b): sum over u of W_u (l1_u + l2) / 2.

        weight_VbM: rows of W, each of sum 1.
        """
        to_joint_VMb = self.toward_joint(view_VND[:, self.rows])
        to_view_Vb = self.toward_view(view_VND)
        weighted_Vb = (weight_VbM.transpose(1, 2).to(to_joint_VMb.dtype) * to_joint_VMb).sum(dim=1)
        return (weighted_Vb + weight_VbM.sum(dim=-1).to(to_view_Vb.dtype) * to_view_Vb) / 2

    def _itself(self) -> Tensor:
        """Returns (b, N) bool: which of the N is the clip itself."""
        place_N = torch.arange(len(self.joint), device=self.joint.device)
        return place_N == place_N[self.rows][:, None]

    def _no_candidates(self) -> Tensor:
        """Returns (b, N) bool: clips that are no candidates; a clip always is its own, so that no row is empty."""
        return ~self.allowed & ~self._itself()
