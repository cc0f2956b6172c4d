"""TCMax on plain tensors: by its definition over every pairing, and as the objective computes it."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from trivium.objectives import tcmax_loss

B, C = 4, 3
LABELS = torch.tensor([0, 2, 1, 2])


def drawn(*shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]


def by_definition(score_of, modalities: int) -> Tensor:
    """-mean F(i, ..., i)_y + log of the mean of exp F over all tuples and classes; score_of: clips -> (C,)."""
    table = torch.stack([score_of(clips) for clips in itertools.product(range(B), repeat=modalities)])
    matched = torch.stack([score_of((i,) * modalities)[LABELS[i]] for i in range(B)])
    return table.logsumexp(dim=(0, 1)) - math.log(table.numel()) - matched.mean()


@pytest.mark.parametrize("modalities", [2, 3])
def test_scores_that_add_up(modalities: int) -> None:
    scores = drawn(*[(B, C)] * modalities)
    expected = by_definition(lambda clips: sum(s[i] for s, i in zip(scores, clips, strict=True)), modalities)
    loss = tcmax_loss(scores, LABELS)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-12)
    for found, wanted in zip(torch.autograd.grad(loss, scores), torch.autograd.grad(expected, scores), strict=True):
        torch.testing.assert_close(found, wanted)
    shifted = tcmax_loss(scores, LABELS, form="zero_min")
    assert (shifted - loss).item() == pytest.approx((modalities - 1) * math.log(B) + math.log(C))


@pytest.mark.parametrize("chunk", [1, 7, 10_000])
@pytest.mark.parametrize("kind", ["module", "function"])
def test_a_function_of_pairings_gets_its_gradients_whatever_the_chunk(kind: str, chunk: int) -> None:
    """Its parameters' too, which a plain function does not list."""
    text, audio = drawn((B, 5), (B, 2))
    torch.manual_seed(0)
    layer = nn.Bilinear(5, 2, C).double()
    scores = layer if kind == "module" else lambda a, b: layer(a, b)
    expected = by_definition(lambda clips: layer(text[clips[0]], audio[clips[1]]), 2)
    loss = tcmax_loss(scores, LABELS, [text, audio], chunk=chunk)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-12)
    wanted = [text, audio, *layer.parameters()]
    for one, other in zip(torch.autograd.grad(loss, wanted), torch.autograd.grad(expected, wanted), strict=True):
        torch.testing.assert_close(one, other)


def test_drawn_tuples_are_the_seed_s() -> None:
    scores = drawn((B, C), (B, C))
    values = [tcmax_loss(scores, LABELS, negatives=9, seed=seed).item() for seed in (1, 1, 2)]
    assert values[0] == values[1] != values[2]


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda a, b: tcmax_loss([a, b[:, :2]], LABELS), r"of shapes .*\(4, 2\), \(4, 3\).*; expected one tensor"),
        (lambda a, b: tcmax_loss([a, b], LABELS[:3]), r"of shape \(4, 3\) and labels of \(3,\); expected \(B, C\)"),
        (lambda a, b: tcmax_loss(nn.Bilinear(C, C, C), LABELS), r"needs features, one tensor \(B, D\) a .*none"),
        (lambda a, b: tcmax_loss([a, b], LABELS, form="zero"), "expected one of bound, zero_min, found 'zero'"),
    ],
)  # fmt: skip
def test_shapes_that_do_not_fit_are_told(call, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        call(*drawn((B, C), (B, C)))
