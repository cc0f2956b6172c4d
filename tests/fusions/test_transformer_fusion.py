"""CoMM's fusion against torch's own attention, one mask after another, with absent modalities and padding."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from trivium.encoders.base import Encoded
from trivium.fusions.transformer import TransformerFusion

B = 5
LENGTHS = {"text": [3, 6, 1, 4, 2], "audio": [5, 2, 2, 1, 7], "vision": [1, 1, 3, 4, 2]}


def made(dims, **keys):
    torch.manual_seed(1)
    return TransformerFusion(dims, **{"dim": 16, "heads": 4, **keys}).double()


def inputs(dims, present=None, junk=0.0, extra=0, seed=0):
    """Random tokens; `junk` in padding and in absent clips; `extra` more padded steps than needed."""
    generator = torch.Generator().manual_seed(seed)
    present = torch.ones(B, len(dims), dtype=torch.bool) if present is None else present
    encoded = {}
    for m, (name, size) in enumerate(dims.items()):
        lengths = torch.tensor(LENGTHS[name])
        values = torch.randn(B, int(lengths.max()), size, generator=generator, dtype=torch.float64)
        values = F.pad(values, (0, 0, 0, extra))
        real = (torch.arange(values.shape[1]) < lengths[:, None]) & present[:, m, None]
        encoded[name] = Encoded(values.masked_fill(~real[..., None], junk), real, values[:, 0])
    return encoded, present


def plain(fusion, encoded, present, mask):
    """One clip and one mask at a time, through nn.MultiheadAttention, on a list of tokens without any mask."""
    dim, heads = fusion.dim, fusion.layers[0].heads
    joint = []
    for clip in range(len(present)):
        tokens = [fusion.first[0]]
        for m, (name, adapt) in enumerate(zip(fusion.dims, fusion.adapt, strict=True)):
            if mask[m] and present[clip, m]:
                tokens.append(adapt(encoded[name].tokens[clip][encoded[name].mask[clip]]))
        rows = torch.cat(tokens)
        for layer in fusion.layers:
            attention = nn.MultiheadAttention(dim, heads, batch_first=True).double()
            del attention.in_proj_weight, attention.in_proj_bias
            attention.in_proj_weight = torch.cat([layer.query.weight, layer.key.weight, layer.value.weight])
            attention.in_proj_bias = torch.cat([layer.query.bias, layer.key.bias, layer.value.bias])
            attention.out_proj = layer.out_proj
            seen = F.layer_norm(rows, (dim,), layer.norm1.weight, layer.norm1.bias)
            rows = rows + attention(seen[None], seen[None], seen[None])[0][0]
            wide = layer.linear1(F.layer_norm(rows, (dim,), layer.norm2.weight, layer.norm2.bias))
            rows = rows + layer.linear2(wide / (1 + torch.exp(-1.702 * wide)))
        joint.append(fusion.norm(rows)[0])
    return torch.stack(joint)


def some_masks(modalities):
    """Every subset, the empty one too."""
    return torch.tensor(list(itertools.product([False, True], repeat=modalities)))


def some_present(modalities):
    rows = [[bool(n >> m & 1) for m in range(modalities)] for n in range(2**modalities)]
    return torch.tensor([rows[n % len(rows)] for n in range(B)])


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("dims", [{"text": 16, "audio": 16}, {"text": 16, "audio": 5, "vision": 3}])
@pytest.mark.parametrize("absent", [False, True])
def test_all_masks_in_one_pass_are_one_pass_a_mask_values_and_gradients(dims, layers, absent):
    fusion = made(dims, layers=layers)
    encoded, present = inputs(dims, some_present(len(dims)) if absent else None)
    for one in encoded.values():
        one.tokens.requires_grad_(True)
    leaves = [*fusion.parameters(), *(one.tokens for one in encoded.values())]
    masks = some_masks(len(dims))

    together = fusion.views(encoded, present, masks)
    apart = torch.stack([plain(fusion, encoded, present, mask) for mask in masks])

    torch.testing.assert_close(together, apart, rtol=0, atol=1e-12)
    torch.testing.assert_close(fusion(encoded, present), apart[-1], rtol=0, atol=1e-12)  # the last mask is all-true
    weight = torch.randn_like(apart)
    for mine, theirs in zip(
        torch.autograd.grad((together * weight).sum(), leaves),
        torch.autograd.grad((apart * weight).sum(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-11)


def test_sizes_and_initial_spread_are_comms():
    torch.manual_seed(0)
    fusion = TransformerFusion({"vision": 40, "text": 40})
    assert sum(p.numel() for p in fusion.parameters()) == 19840
    assert fusion.first.shape == (1, 1, 40)  # three dimensions, so weight decay takes it
    wide = TransformerFusion({"text": 512}, dim=512, layers=2)
    for layer in wide.layers:
        for linear, std in (
            (layer.query, 512**-0.5),
            (layer.key, 512**-0.5),
            (layer.value, 512**-0.5),
            (layer.out_proj, 512**-0.5 * 4**-0.5),
            (layer.linear2, 512**-0.5 * 4**-0.5),
            (layer.linear1, 1024**-0.5),
        ):
            assert float(linear.weight.detach().std()) == pytest.approx(std, rel=0.02)
    assert float(wide.first.detach().std()) == pytest.approx(1.0, rel=0.1)


@pytest.mark.parametrize("junk", [3.0, float("nan"), float("inf")])
@pytest.mark.parametrize("layers", [1, 2])
def test_content_of_padding_and_of_absent_modalities_changes_no_bit_and_no_gradient(junk, layers):
    dims, results = {"text": 16, "audio": 5}, []
    for fill in (0.0, junk):
        fusion = made(dims, layers=layers)
        joint = fusion.views(*inputs(dims, some_present(2), junk=fill), some_masks(2))
        joint.square().sum().backward()
        results.append([joint.detach(), *(parameter.grad for parameter in fusion.parameters())])
    assert all(torch.equal(clean, other) for clean, other in zip(*results, strict=True))
    assert torch.isfinite(results[0][0]).all()


def test_a_view_through_one_modality_is_blind_to_the_others_and_to_padding():
    dims = {"text": 16, "audio": 16}
    fusion, masks = made(dims), torch.eye(2, dtype=torch.bool)
    encoded, present = inputs(dims)
    other, _ = inputs(dims, seed=1)
    longer, _ = inputs(dims, extra=9)
    one = fusion.views(encoded, present, masks)
    swapped = fusion.views({"text": encoded["text"], "audio": other["audio"]}, present, masks)
    assert torch.equal(one[0], swapped[0])
    assert (one[1] - swapped[1]).abs().max() > 1e-3
    torch.testing.assert_close(fusion.views(longer, present, masks), one, rtol=0, atol=1e-12)


def test_order_of_steps_changes_nothing():
    dims = {"text": 16}
    fusion = made(dims)
    encoded, present = inputs(dims)
    length = int(encoded["text"].mask[1].sum())
    turned = copy.deepcopy(encoded)
    turned["text"].tokens[1, :length] = encoded["text"].tokens[1, :length].flip(0)
    torch.testing.assert_close(fusion(turned, present), fusion(encoded, present), rtol=0, atol=1e-12)


def test_float32_and_bfloat16_autocast_stay_near_float64():
    dims = {"text": 16, "audio": 5}
    fusion, (encoded, present) = made(dims), inputs(dims)
    exact = fusion.views(encoded, present, some_masks(2))
    small = {name: Encoded(one.tokens.float(), one.mask, one.pooled.float()) for name, one in encoded.items()}
    single = fusion.float().views(small, present, some_masks(2))
    torch.testing.assert_close(single.double(), exact, rtol=0, atol=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = fusion.views(small, present, some_masks(2))
    torch.testing.assert_close(half.double(), exact, rtol=0, atol=0.1)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"dim": 10}, r"dim: expected a multiple of heads \(4\), found 10"),
        ({"layers": 0}, r"layers: expected at least 1, found 0"),
    ],
)
def test_wrong_settings_are_named(keys, message):
    with pytest.raises(ValueError, match=message):
        made({"text": 16}, **keys)
