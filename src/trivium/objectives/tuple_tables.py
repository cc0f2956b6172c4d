"""Log-sums of a block's scores over tuples of clips, exact in value and gradient, in the memory of one piece.

T_y = log sum over tuples of exp s(tuple)_y. A first pass without autograd adds the table's pieces up in log space; the
backward evaluates each piece again and gives it the gradient g_y exp(s - T_y). Both passes hold one piece at a time.
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
    """Names every combination of one clip a modality; axis a of the table runs over ranges[a]."""

    ranges: tuple[range, ...]

    @property
    def count(self) -> int:
        return math.prod(map(len, self.ranges))

    def pieces(self, chunk: int) -> Iterator[Piece]:
        """Cuts the table into pieces of at most `chunk` tuples, filled from the last axis."""
        sizes: list[int] = []
        for axis in reversed(self.ranges):
            sizes.insert(0, max(1, min(len(axis), chunk // math.prod(sizes))))
        cuts = (
            [slice(start, min(start + size, axis.stop)) for start in range(axis.start, axis.stop, size)]
            for axis, size in zip(self.ranges, sizes, strict=True)
        )
        return itertools.product(*cuts)

    def pick(self, piece: Piece, axis: int, rows: Tensor) -> Tensor:
        """Returns the piece's rows on this axis, shaped to broadcast against the other axes' rows."""
        chosen = rows[piece[axis]]
        shape = [1] * len(piece)
        shape[axis] = len(chosen)
        return chosen.reshape(*shape, *rows.shape[1:])

    def shape(self, piece: Piece) -> tuple[int, ...]:
        return tuple(cut.stop - cut.start for cut in piece)


@dataclass(frozen=True)
class Samples:
    """Names the tuples listed in index_kn (k, n)."""

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

    factor: in full precision, its rows those that `tuples` names. classes: C. chunk: tuples held at once.
    labels: (N,) int64 classes of all clips, for each clip's own sums (of a TupleGrid only); None for no such sums.
    """

    factor: Factor
    tuples: TupleGrid | Samples
    classes: int
    chunk: int
    labels: Tensor | None = None

    def log_sums(self) -> tuple[Tensor, Tensor]:
        """Returns T (C,), differentiable, -inf where there are no tuples; and each clip's sums.

        Those are (k, N), or (k, 0) without labels, not differentiable: over the tuples that hold clip i's modality, at
        clip i's class; -inf where there are none. A table that fits the chunk is held, others are recomputed.
        """
        parts = list(self.factor.parts.values())
        if not 0 < self.tuples.count <= self.chunk:
            total_C, own_kN = _Recomputed.apply(self, *parts, *self.factor.parameters)  # type: ignore[no-untyped-call]
            return total_C, own_kN
        (piece,) = self.pieces()
        scores, own_kN = self.scores(piece, parts), self.no_own(parts)
        self.add_own(own_kN, piece, scores.detach())
        return scores.flatten(0, -2).logsumexp(dim=0), own_kN

    def pieces(self) -> Iterator[Piece]:
        return self.tuples.pieces(self.chunk)

    def scores(self, piece: Piece, parts: Sequence[Tensor]) -> Tensor:
        """Returns the scores of a piece's tuples, (size of each axis, C)."""
        names, pick = self.factor.modalities, self.tuples.pick
        scores = self.factor.score(
            {m: pick(piece, axis, part) for axis, (m, part) in enumerate(zip(names, parts, strict=True))},
            {m: pick(piece, axis, self.factor.present[m]) for axis, m in enumerate(names)},
        )
        return scores.expand(*self.tuples.shape(piece), self.classes)  # a score may ignore a modality

    def sums(self, parts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Returns what `log_sums` does, a piece at a time and without a graph."""
        total_C, own_kN = parts[0].new_full((self.classes,), -math.inf), self.no_own(parts)
        for piece in self.pieces():
            scores = self.scores(piece, parts)
            total_C = torch.logaddexp(total_C, scores.flatten(0, -2).logsumexp(dim=0))
            self.add_own(own_kN, piece, scores)
        return total_C, own_kN

    def no_own(self, parts: Sequence[Tensor]) -> Tensor:
        return parts[0].new_full((len(parts), 0 if self.labels is None else len(self.labels)), -math.inf)

    def add_own(self, own_kN: Tensor, piece: Piece, scores: Tensor) -> None:
        """Adds a piece to each clip's sums in place; of the scores it reads only the column of the clip's class."""
        if self.labels is None:
            return
        for axis, rows in enumerate(piece):
            label = self.tuples.pick(piece, axis, self.labels).expand(scores.shape[:-1])
            at_label = scores.gather(-1, label[..., None]).squeeze(-1)
            others = [a for a in range(len(piece)) if a != axis]
            own_kN[axis, rows] = torch.logaddexp(own_kN[axis, rows], at_label.logsumexp(dim=others))


class _Recomputed(torch.autograd.Function):
    """Computes the log-sums without holding the table: the backward scores each piece again.

    The inputs after the table are its factor's parts and parameters, which get the gradients.
    """

    @staticmethod
    def forward(ctx: Any, table: ScoreTable, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        parts = inputs[: len(table.factor.parts)]
        total_C, own_kN = table.sums(parts)
        ctx.table = table
        ctx.save_for_backward(total_C, *parts)
        ctx.mark_non_differentiable(own_kN)
        return total_C, own_kN

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_C: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        total_C, *parts = ctx.saved_tensors
        table: ScoreTable = ctx.table
        leaves = [part.detach().requires_grad_() for part in parts]
        wanted = [*leaves, *table.factor.parameters]
        sums = [torch.zeros_like(tensor) for tensor in wanted]
        for piece in table.pieces():
            with torch.enable_grad():
                scores = table.scores(piece, leaves)
            # d T_y / d s(tuple)_y is the tuple's share of the sum, exp(s - T_y).
            weight = gradient_C * (scores.detach() - total_C).exp()
            for total, part in zip(sums, torch.autograd.grad(scores, wanted, weight, allow_unused=True), strict=True):
                if part is not None:
                    total += part
        return None, *sums
