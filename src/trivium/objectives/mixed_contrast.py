"""Contrasts mixed views with the joint vectors, with soft instance targets: M3ixup's reading (docs/methods/m3ixup.md).

A view is a mixture of clips and of modalities. Which clips it is made of are rows of the target Y, as in i-Mix (Lee et
al., 2021). Its weights W say by how much it is contrasted with each modality's vectors.
For a view of one clip and one modality, V = z_u, Y = I and W = one-hot(u), the sum over modalities u is the loss of GMC
(Poklukar et al., 2022): a sum of NT-Xent.
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
    """Holds what views are contrasted with: the unit vectors of the global batch, in float32 at least.

    joint: (N, D), z_M. unimodal: (M, N, D), z_u.
    target: (N, N), Y: row i has the shares of the clips that view i is made of, which sum to 1.
    allowed: (N,) bool, the clips that may be candidates. The values that the others get are finite, and to be ignored.
    rows: this rank's clips. temperature: above 0.
    """

    joint: Tensor
    unimodal: Tensor
    target: Tensor
    allowed: Tensor
    rows: slice
    temperature: float

    def detached(self) -> MixedContrast:
        """Returns the same contrast, from which no gradient flows into the unit vectors."""
        return replace(self, joint=self.joint.detach(), unimodal=self.unimodal.detach())

    def toward_joint(self, view_VbD: Tensor) -> Tensor:
        """Returns l1, (V, M, b): the loss of a view that picks the joint vectors of its clips.

        Its candidates are all joint vectors and, for each modality u, that modality's vectors of the other clips.
        l1_i = logsumexp of [v_i z_M^T, v_i z_u^T without the clips of Y_i] / temperature
             - sum over j of Y_ij v_i z_M,j / temperature.
        """
        with torch.autocast(view_VbD.device.type, enabled=False):
            joint_VbN = view_VbD @ self.joint.T / self.temperature
            unimodal_VMbN = view_VbD[:, None] @ self.unimodal.transpose(1, 2) / self.temperature
        target_bN = self.target[self.rows]
        # A unimodal vector of a clip that the view is made of is no negative, as NT-Xent leaves out the anchor itself.
        excluded = torch.cat([self._no_candidates(), (target_bN > 0) | ~self.allowed], dim=1)
        scores = torch.cat([joint_VbN[:, None].expand_as(unimodal_VMbN), unimodal_VMbN], dim=-1)
        # This is the cross-entropy with soft targets: a row of Y sums to 1, so the log-sum-exp leaves the sum over j.
        positive_Vb = (target_bN.to(joint_VbN.dtype) * joint_VbN).sum(dim=-1)
        return scores.masked_fill(excluded, -math.inf).logsumexp(dim=-1) - positive_Vb[:, None]

    def toward_view(self, view_VND: Tensor) -> Tensor:
        """Returns l2, (V, b): the loss of a joint vector that picks the views that its clip is part of.

        view_VND: the views of the global batch. Its candidates are all views and the other joint vectors.
        With the target read by columns, Y'_ij = Y_ji / sum over k of Y_ki,
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
        """Returns L_mix of each view, (V, b): the sum over modalities u of W_u (l1_u + l2) / 2.

        view_VND: the views of the global batch. weight_VbM: rows of W, each of sum 1.
        """
        to_joint_VMb = self.toward_joint(view_VND[:, self.rows])
        to_view_Vb = self.toward_view(view_VND)
        weighted_Vb = (weight_VbM.transpose(1, 2).to(to_joint_VMb.dtype) * to_joint_VMb).sum(dim=1)
        return (weighted_Vb + weight_VbM.sum(dim=-1).to(to_view_Vb.dtype) * to_view_Vb) / 2

    def _itself(self) -> Tensor:
        """Returns (b, N) bool, True where the two are the same clip."""
        place_N = torch.arange(len(self.joint), device=self.joint.device)
        return place_N == place_N[self.rows][:, None]

    def _no_candidates(self) -> Tensor:
        """Returns (b, N) bool, True for clips that are no candidates.

        A clip always is its own candidate, because the log-sum-exp of an empty row is -inf.
        """
        return ~self.allowed & ~self._itself()
