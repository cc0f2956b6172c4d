"""Computes the task loss of mixed clips. Legend: b clips on this rank, N of the global batch, K outputs."""

from __future__ import annotations

from torch import Tensor

from trivium.data.mixing import Mixing
from trivium.objectives.task import CrossEntropy, TaskObjective


def mixed_loss(objective: TaskObjective, outputs_bK: Tensor, targets_N: Tensor, mixing: Mixing, rows: slice) -> Tensor:
    """Returns the task loss of this rank's mixed clips, (b,), as in mixup (Zhang et al., 2018).

    For scores it is the loss against the mixed score. For classes and labels it is the mixture of the losses against
    the target of each clip, which is the (binary) cross-entropy of soft labels. A class number is never mixed, and
    class weights and focal factors are those of the clips' own targets.
    outputs_bK: of the mixed clips. targets_N: of the global batch, unmixed. rows: this rank's clips.
    """
    if objective.target.kind == "score" and not isinstance(objective, CrossEntropy):
        return objective(outputs_bK, mixing.mix(targets_N, rows))  # type: ignore[no-any-return]
    sources_Kb, weights_Kb = mixing.sources[:, rows], mixing.weights[:, rows]
    losses = [objective(outputs_bK, targets_N[source_b]) for source_b in sources_Kb]
    parts = [weight_b.to(loss_b.dtype) * loss_b for weight_b, loss_b in zip(weights_Kb, losses, strict=True)]
    total: Tensor = sum(parts[1:], start=parts[0])
    return total
