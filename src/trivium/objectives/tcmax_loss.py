"""Gives TCMax as one call on plain tensors, for a loop of one's own; trivium.objectives.tcmax is the objective.

Legend: B clips, M modalities, C classes, n tuples, D size of a modality's features.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from trivium.data.batch import Batch
from trivium.objectives.factored import Factor, FactoredScores
from trivium.objectives.tcmax import Evaluation, Form, tcmax_terms

Pairings = Callable[..., Tensor]


def tcmax_loss(
    scores: Sequence[Tensor] | Pairings,
    labels_B: Tensor,
    features: Sequence[Tensor] = (),
    *,
    chunk: int = 16384,
    negatives: int = 0,
    form: Form = "bound",
    seed: int = 0,
) -> Tensor:
    """Returns TCMax's loss of a batch, a scalar in nats (OpenReview MbQhdzAhSl).

    Its negative is, up to the constant log C - H(Y), a lower bound on the total correlation of modalities and label.

    scores: where modalities do not mix, one tensor (B, C) a modality; their sum is the classifier's score, and the loss
    costs M B C (the closed form). Where they mix, the function that scores any pairing of clips, with `features`, a
    tensor (B, D) a modality: it is called with one row a tuple, (n, D) each, and returns (n, C). It is called several
    times, so it must not be random (no dropout). Gradients reach the features and what the function is made of.
    labels_B: int64 classes. chunk: tuples scored at once. negatives: 0 for all B^M tuples, n > 0 for n random ones
    (drawn by `seed`), -1 for B. form: "bound", or "zero_min", the same plus a constant that makes it 0 at least.
    Of several processes each sees its own clips alone. Raises ValueError for shapes that do not fit.

    >>> import torch
    >>> from trivium.objectives import tcmax_loss
    >>> text, audio = torch.eye(3) * 4, torch.zeros(3, 3)
    >>> labels = torch.tensor([0, 1, 2])
    >>> print(f"{tcmax_loss([text, audio], labels):.3f}")
    -1.063
    >>> joint = torch.nn.Bilinear(3, 3, 3)
    >>> tcmax_loss(joint, labels, [text, audio]).shape
    torch.Size([])
    """
    batch = _batch(len(labels_B), labels_B.device)
    how = Evaluation(chunk, negatives, form)
    whole = _mixing(scores, features, batch) if callable(scores) else _adding_up(scores, batch)
    if whole.matched.shape[:-1] != labels_B.shape or whole.matched.dim() != 2:
        raise ValueError(
            f"tcmax_loss: scores of shape {tuple(whole.matched.shape)} and labels of {tuple(labels_B.shape)}; expected "
            "(B, C) and (B,)"
        )
    return tcmax_terms(whole, labels_B, batch, seed, how, readings=False)["loss"]


def _adding_up(scores: Sequence[Tensor], batch: Batch) -> FactoredScores:
    shapes = {tuple(score.shape) for score in scores}
    if len(shapes) != 1:
        raise ValueError(
            f"tcmax_loss: scores of shapes {sorted(shapes)}; expected one tensor (B, C) a modality, all of one shape"
        )
    factors = tuple(_factor({str(m): score}, lambda *parts: parts[0], (), batch) for m, score in enumerate(scores))
    return FactoredScores(functools.reduce(torch.add, scores), {}, factors, None)


def _mixing(score: Pairings, features: Sequence[Tensor], batch: Batch) -> FactoredScores:
    if not features or any(part.dim() != 2 or len(part) != len(batch) for part in features):
        shapes = [tuple(part.shape) for part in features]
        raise ValueError(
            f"tcmax_loss: a function that scores pairings needs features, one tensor (B, D) a modality with B = "
            f"{len(batch)}; found {shapes or 'none'}"
        )
    matched_BC = score(*features)
    # The table of pairings is scored again in the backward, which has to know what else gets a gradient there.
    trained = _leaves(score(*(part.detach() for part in features)))
    return FactoredScores(
        matched_BC, {}, (_factor({str(m): part for m, part in enumerate(features)}, score, trained, batch),), None
    )


def _factor(parts: dict[str, Tensor], score: Pairings, trained: tuple[nn.Parameter, ...], batch: Batch) -> Factor:
    """Returns the block that is scored by `score`, called with rows of one length."""

    def broadcast(factors: Mapping[str, Tensor], _: Mapping[str, Tensor]) -> Tensor:
        if len(factors) == 1:
            return score(*factors.values())
        shape = torch.broadcast_shapes(*(part.shape[:-1] for part in factors.values()))  # type: ignore[no-untyped-call]
        rows = [part.expand(*shape, part.shape[-1]).reshape(-1, part.shape[-1]) for part in factors.values()]
        return score(*rows).unflatten(0, shape)  # type: ignore[no-any-return,no-untyped-call]

    present = dict.fromkeys(parts, batch.present[:, 0])
    return Factor(parts, present, broadcast, trained)


def _leaves(output: Tensor) -> tuple[nn.Parameter, ...]:
    """Returns the tensors that a backward from `output` would give gradients to."""
    leaves, visited, nodes = [], set(), [output.grad_fn]
    while nodes:
        node = nodes.pop()
        if node is None or node in visited:
            continue
        visited.add(node)
        if hasattr(node, "variable"):
            leaves.append(node.variable)
        nodes += [before for before, _ in node.next_functions]
    return tuple(leaves)


def _batch(clips: int, device: torch.device) -> Batch:
    """Returns a batch of this process alone, every clip counted."""
    present = torch.ones(clips, 1, dtype=torch.bool, device=device)
    return Batch({}, present, {}, torch.arange(clips), torch.ones(clips, device=device), (clips,))
