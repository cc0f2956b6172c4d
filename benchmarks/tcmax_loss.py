"""Measures TCMax's loss, as a process: `python -m benchmarks.tcmax_loss TASK JSON`. Each function in TASKS is a task.

Legend: B clips, C classes, D size of a modality's part.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.child_process import Report, peak_mib, reports, timed
from trivium.data.batch import Batch, Stream
from trivium.objectives.factored import Factor, FactoredScores
from trivium.objectives.tcmax import Evaluation, tcmax_terms

LEAST = 0.05  # seconds over which one counted time is averaged; a pass that takes longer runs once
MODALITIES = ("text", "audio", "vision")
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def dense(first_BC: Tensor, second_BC: Tensor, labels_B: Tensor) -> Tensor:
    """Returns the loss by its definition: the scores of all pairs of clips in a table of B x B x C."""
    clips, classes = first_BC.shape
    table_BBC = first_BC[:, None] + second_BC[None]
    matched_B = (first_BC + second_BC).gather(1, labels_B[:, None])
    return table_BBC.flatten().logsumexp(dim=0) - math.log(clips * clips * classes) - matched_B.mean()


def ours(first_BC: Tensor, second_BC: Tensor, labels_B: Tensor) -> Tensor:
    """Returns the same from `tcmax_terms`, called as training calls it."""
    batch = _batch({}, len(labels_B))
    factors = tuple(
        Factor({m: scores}, {m: batch.present[:, 0]}, lambda parts, _, m=m: parts[m], ())  # type: ignore[misc]
        for m, scores in zip(MODALITIES, (first_BC, second_BC), strict=False)
    )
    scores = FactoredScores(first_BC + second_BC, {}, factors, None)
    return tcmax_terms(scores, labels_B, batch, 0, Evaluation())["loss"]


SIDES: dict[str, Loss] = {"ours": ours, "dense": dense}


def compare(report: Report, *, clips: int, classes: int, repeats: int) -> None:
    """Reports passes of both sides in turn: {"ours": [{"seconds", "cpu_seconds"}, ...], "dense": [...]}."""
    passes = {side: _pass(loss, *_scores(clips, classes)) for side, loss in SIDES.items()}
    for warm_up in passes.values():
        warm_up()
    times: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for _ in range(repeats):
        for side, loss_pass in passes.items():
            times[side].append(timed(loss_pass, LEAST))
    report(times)


def peak(report: Report, *, side: str, clips: int, classes: int) -> None:
    """Reports {"mib": ...}, by which one forward and backward, scores included, raises this fresh process's peak."""
    # A first small pass, so that what torch sets up once does not count.
    _pass(SIDES[side], *_scores(2, classes))()
    before = peak_mib()
    _pass(SIDES[side], *_scores(clips, classes))()
    report({"mib": peak_mib() - before})


def mixing(report: Report, *, clips: int, classes: int, size: int, fusion: str) -> None:
    """Reports {"seconds", "cpu_seconds", "mib"} of method=tcmax's first pass, `fusion` mixing three modalities."""
    from trivium.config.compose import compose_config
    from trivium.data.store import StoreSchema
    from trivium.data.target import Target
    from trivium.methods.build import build_method

    overrides = [f"fusion={fusion}", f"fusion.out={size}", "encoder=identity", f"objective.classes={classes}"]
    config = compose_config(["method=tcmax", "objective=tcmax", *overrides])
    widths = dict.fromkeys(MODALITIES, size)
    targets = {"multimodal": Target("score", range=(-3.0, 3.0))}
    schema = StoreSchema("bench", "", widths, {"train": clips}, dict.fromkeys(MODALITIES, 1), targets)
    method = build_method(config, schema, dict.fromkeys(MODALITIES, "values"))

    def forward_and_backward(batch: Batch) -> None:
        method.losses(batch)["loss"].backward()  # type: ignore[no-untyped-call]

    forward_and_backward(_clips(2, size))
    batch, before = _clips(clips, size), peak_mib()
    taken = timed(lambda: forward_and_backward(batch))
    report({**taken, "mib": peak_mib() - before})


def _scores(clips: int, classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the scores (B, C) of two modalities, which require gradients, and the classes (B,)."""
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(clips, classes, generator=generator).requires_grad_() for _ in range(2))
    return first, second, torch.randint(classes, (clips,), generator=generator)


def _pass(loss: Loss, first_BC: Tensor, second_BC: Tensor, labels_B: Tensor) -> Callable[[], None]:
    def forward_and_backward() -> None:
        first_BC.grad = second_BC.grad = None
        loss(first_BC, second_BC, labels_B).backward()  # type: ignore[no-untyped-call]

    return forward_and_backward


def _clips(clips: int, size: int) -> Batch:
    """Makes clips of three modalities, each with one step of `size` features."""
    generator = torch.Generator().manual_seed(0)
    mask, lengths = torch.ones(clips, 1, dtype=torch.bool), torch.ones(clips, dtype=torch.int64)
    return _batch(
        {m: Stream(torch.randn(clips, 1, size, generator=generator), mask, lengths) for m in MODALITIES}, clips
    )


def _batch(streams: dict[str, Stream], clips: int) -> Batch:
    present = torch.ones(clips, max(1, len(streams)), dtype=torch.bool)
    target = torch.linspace(-3.0, 3.0, clips)
    return Batch(streams, present, {"multimodal": target}, torch.arange(clips), torch.ones(clips), (clips,))


TASKS: dict[str, Callable[..., None]] = {"compare": compare, "peak": peak, "mixing": mixing}

if __name__ == "__main__":
    TASKS[sys.argv[1]](reports(), **json.loads(sys.argv[2]))
