"""Computes log-sums of a block's scores over tuples of clips, exact in value and gradient, in the memory of one piece.

T_y = log of the sum over tuples of exp s(tuple)_y. The forward adds up the pieces of the table in log space, without
autograd. The backward evaluates each piece again and gives it the gradient g_y exp(s - T_y), where g_y is that of T_y.
Both hold one piece at a time.
Legend: k modalities of a block, N clips, n tuples, C classes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from trivium.objectives.factored import Factor

Piece = tuple[slice, ...]


@dataclass(frozen=True)
class TupleGrid:
    """Lists all tuples that take modality a from a clip in ranges[a]: a table with one axis a modality."""

    ranges: tuple[range, ...]

    @property
    def count(self) -> int:
        """Returns the number of tuples."""
        return math.prod(map(len, self.ranges))

    def pieces(self, chunk: int) -> Iterator[Piece]:
        """Yields pieces of at most `chunk` tuples, which are as long as they can be on the last axes."""
        sizes: list[int] = []
        for axis in reversed(self.ranges):
            sizes.insert(0, max(1, min(len(axis), chunk // math.prod(sizes))))
        cuts = (
            [slice(start, min(start + size, axis.stop)) for start in range(axis.start, axis.stop, size)]
            for axis, size in zip(self.ranges, sizes, strict=True)
        )
        return itertools.product(*cuts)

    def pick(self, piece: Piece, axis: int, rows: Tensor) -> Tensor:
        """Returns the rows of a piece's clips on this axis, in a shape that broadcasts against the other axes."""
        chosen = rows[piece[axis]]
        shape = [1] * len(piece)
        shape[axis] = len(chosen)
        return chosen.reshape(*shape, *rows.shape[1:])

    def shape(self, piece: Piece) -> tuple[int, ...]:
        """Returns the number of clips on each axis of a piece."""
        return tuple(cut.stop - cut.start for cut in piece)


@dataclass(frozen=True)
class Samples:
    """Lists n tuples: tuple t takes modality a from clip index_kn[a, t]. Its methods are those of TupleGrid."""

    index_kn: Tensor

    @property
    def count(self) -> int:
        return self.index_kn.shape[1]

    def pieces(self, chunk: int) -> Iterator[Piece]:
        return ((slice(start, min(start + chunk, self.count)),) for start in range(0, self.count, chunk))

    def pick(self, piece: Piece, axis: int, rows: Tensor) -> Tensor:
        return rows[self.index_kn[axis, piece[0]]]

    def shape(self, piece: Piece) -> tuple[int, ...]:
        return (piece[0].stop - piece[0].start,)


@dataclass(frozen=True)
class ScoreTable:
    """Scores the tuples of one block, a piece at a time.

    factor: in full precision, with the rows of all clips that `tuples` lists. classes: C.
    chunk: number of tuples whose scores are held at once.
    labels: (N,) int64 classes of all clips, for the sums of each clip (with a TupleGrid only); None leaves those out.
    """

    factor: Factor
    tuples: TupleGrid | Samples
    classes: int
    chunk: int
    labels: Tensor | None = None

    def log_sums(self) -> tuple[Tensor, Tensor]:
        """Returns T, (C,), with gradient, and the sums of each clip, (k, N), without; (k, 0) if there are no labels.

        Entry (a, i) of the latter is the log-sum over the tuples that take modality a from clip i, at clip i's class.
        Sums over no tuples are -inf. A table of at most `chunk` tuples is held for the backward; others are recomputed.
        """
        parts = list(self.factor.parts.values())
        if not 0 < self.tuples.count <= self.chunk:
            inputs = (*parts, *self.factor.parameters)
            total_C, clip_sums_kN = _Recomputed.apply(self, *inputs)  # type: ignore[no-untyped-call]
            return total_C, clip_sums_kN
        (piece,) = self.tuples.pieces(self.chunk)
        scores, clip_sums_kN = self.scores(piece, parts), self.empty_clip_sums(parts)
        self.add_to_clip_sums(clip_sums_kN, piece, scores.detach())
        return scores.flatten(0, -2).logsumexp(dim=0), clip_sums_kN

    def scores(self, piece: Piece, parts: Sequence[Tensor]) -> Tensor:
        """Returns the scores of a piece's tuples, (size of axis 1, ..., C)."""
        names, pick = self.factor.modalities, self.tuples.pick
        scores = self.factor.score(
            {m: pick(piece, axis, part) for axis, (m, part) in enumerate(zip(names, parts, strict=True))},
            {m: pick(piece, axis, self.factor.present[m]) for axis, m in enumerate(names)},
        )
        # A score that ignores a modality has an axis of size 1 for it.
        return scores.expand(*self.tuples.shape(piece), self.classes)

    def sums(self, parts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Returns what `log_sums` does, a piece at a time and without gradient."""
        total_C, clip_sums_kN = parts[0].new_full((self.classes,), -math.inf), self.empty_clip_sums(parts)
        for piece in self.tuples.pieces(self.chunk):
            scores = self.scores(piece, parts)
            total_C = torch.logaddexp(total_C, scores.flatten(0, -2).logsumexp(dim=0))
            self.add_to_clip_sums(clip_sums_kN, piece, scores)
        return total_C, clip_sums_kN

    def empty_clip_sums(self, parts: Sequence[Tensor]) -> Tensor:
        """Returns the sums of each clip before the first piece, (k, N): log 0."""
        return parts[0].new_full((len(parts), 0 if self.labels is None else len(self.labels)), -math.inf)

    def add_to_clip_sums(self, clip_sums_kN: Tensor, piece: Piece, scores: Tensor) -> None:
        """Adds a piece to the sums of each clip, in place. Of a clip's scores it takes those at the clip's class."""
        if self.labels is None:
            return
        for axis, rows in enumerate(piece):
            label = self.tuples.pick(piece, axis, self.labels).expand(scores.shape[:-1])
            at_label = scores.gather(-1, label[..., None]).squeeze(-1)
            others = [a for a in range(len(piece)) if a != axis]
            clip_sums_kN[axis, rows] = torch.logaddexp(clip_sums_kN[axis, rows], at_label.logsumexp(dim=others))


class _Recomputed(torch.autograd.Function):
    """Computes the log-sums without holding the table: the backward scores each piece again.

    The inputs after the table are the parts and the parameters of its factor, which get the gradients.
    """

    @staticmethod
    def forward(ctx: Any, table: ScoreTable, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        parts = inputs[: len(table.factor.parts)]
        total_C, clip_sums_kN = table.sums(parts)
        ctx.table = table
        ctx.save_for_backward(total_C, *parts)
        ctx.mark_non_differentiable(clip_sums_kN)
        return total_C, clip_sums_kN

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_C: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        total_C, *parts = ctx.saved_tensors
        table: ScoreTable = ctx.table
        leaves = [part.detach().requires_grad_() for part in parts]
        wanted = [*leaves, *table.factor.parameters]
        sums = [torch.zeros_like(tensor) for tensor in wanted]
        for piece in table.tuples.pieces(table.chunk):
            with torch.enable_grad():
                scores = table.scores(piece, leaves)
            # d T_y / d s(tuple)_y is the tuple's share of the sum, exp(s - T_y).
            weight = gradient_C * (scores.detach() - total_C).exp()
            for total, part in zip(sums, torch.autograd.grad(scores, wanted, weight, allow_unused=True), strict=True):
                if part is not None:
                    total += part
        return None, *sums
