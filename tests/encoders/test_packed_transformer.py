"""The transformer encoder against torch's padded layers, and CoMM's sizes; dropout against its probability."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from trivium.data.batch import Stream
from trivium.encoders.dropout import Dropout
from trivium.encoders.real_steps import RealSteps
from trivium.encoders.transformer import Transformer, sinusoids
from trivium.encoders.transformer_layer import TransformerLayer

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "encoder"
LENGTHS = {"ragged": [3, 7, 1, 5], "full": [6, 6, 6], "one": [1, 1]}


def stream_of(lengths, dim=4, steps=0, seed=0, dtype=torch.float64):
    steps = max([steps, *lengths])
    mask = torch.arange(steps) < torch.tensor(lengths)[:, None]
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(len(lengths), steps, dim, generator=generator, dtype=torch.float64) * mask[..., None]
    return Stream(values.to(dtype), mask, torch.tensor(lengths))


def torch_layer(layer):
    """nn.TransformerEncoderLayer that shares the layer's parameters."""
    dim, wide = layer.linear2.out_features, layer.linear2.in_features
    theirs = nn.TransformerEncoderLayer(
        dim, layer.heads, wide, layer.dropout.p, batch_first=True, norm_first=True, dtype=layer.out_proj.weight.dtype
    )
    theirs.self_attn.in_proj_weight = layer.in_proj.weight
    theirs.self_attn.in_proj_bias = layer.in_proj.bias
    theirs.self_attn.out_proj.weight, theirs.self_attn.out_proj.bias = layer.out_proj.weight, layer.out_proj.bias
    theirs.linear1, theirs.linear2 = layer.linear1, layer.linear2
    theirs.norm1, theirs.norm2 = layer.norm1, layer.norm2
    return theirs


def padded(encoder, stream):
    """The same encoder with every step padded and masked."""
    x, mask = encoder.embed(stream.values), stream.mask
    if encoder.cls is not None:
        x = torch.cat([encoder.cls.expand(len(x), 1, -1), x], dim=1)
        mask = torch.cat([torch.ones_like(mask[:, :1]), mask], dim=1)
    if encoder.positions == "sinusoidal":
        x = x + sinusoids(x)
    for layer in encoder.layers:
        x = torch_layer(layer)(x, src_key_padding_mask=torch.zeros_like(x[..., 0]).masked_fill(~mask, -torch.inf))
    x = encoder.norm(x) * mask[..., None]
    if encoder.cls is not None:
        return x[:, 1:], x[:, 0]
    return x, x.sum(dim=1) / mask.sum(dim=1, keepdim=True)


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"pool": "cls"},
        {"positions": "none", "input_bias": False, "final_norm": False},
        {"positions": "none", "pool": "cls", "layers": 1},
    ],
    ids=str,
)
def test_packed_steps_give_the_padded_encoder_values_and_gradients(keys, lengths):
    torch.manual_seed(0)
    encoder = Transformer(4, dim=8, heads=2, feedforward=16, dropout=0.0, **keys).double()
    stream = stream_of(lengths, steps=max(lengths) + (2 if len(set(lengths)) > 1 else 0))
    stream.values.requires_grad_(True)
    out, (tokens, pooled) = encoder(stream), padded(encoder, stream)
    torch.testing.assert_close(out.tokens, tokens, rtol=0, atol=1e-12)
    torch.testing.assert_close(out.pooled, pooled, rtol=0, atol=1e-12)
    leaves = [stream.values, *encoder.parameters()]
    weights = torch.randn_like(tokens), torch.randn_like(pooled)
    mine = torch.autograd.grad((out.tokens * weights[0]).sum() + (out.pooled * weights[1]).sum(), leaves)
    theirs = torch.autograd.grad((tokens * weights[0]).sum() + (pooled * weights[1]).sum(), leaves)
    for found, expected in zip(mine, theirs, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize(("features", "count"), [(20, 864_040), (300, 875_240), (5, 863_440)])
def test_comms_encoder_has_its_published_size(features, count):
    keys = yaml.safe_load((CONFIGS / "transformer.yaml").read_text())
    keys |= yaml.safe_load((CONFIGS / "published" / "comm.yaml").read_text())
    keys = {key: value for key, value in keys.items() if key not in ("defaults", "_target_")}
    encoder = Transformer(features, **keys)
    assert sum(p.numel() for p in encoder.parameters()) == count
    assert [layer.dropout.p for layer in encoder.layers] == [0.1] * 5
    assert [layer.heads for layer in encoder.layers] == [5] * 5


def test_without_positions_the_order_of_steps_changes_no_pooled_vector():
    torch.manual_seed(0)
    stream = stream_of([6, 4])
    values = stream.values.clone()
    values[0] = values[0].flip(0)
    values[1, :4] = values[1, :4].roll(1, 0)
    turned = Stream(values, stream.mask, stream.lengths)
    for positions, same in (("none", True), ("sinusoidal", False)):
        encoder = Transformer(4, dim=8, heads=2, positions=positions).double().eval()
        difference = (encoder(stream).pooled - encoder(turned).pooled).abs().max()
        assert (difference < 1e-12) == same, (positions, difference)


def test_initial_weights_are_torchs_from_the_same_random_numbers():
    torch.manual_seed(5)
    mine = TransformerLayer(8, 2, 16, 0.1)
    torch.manual_seed(5)
    theirs = nn.TransformerEncoderLayer(8, 2, 16, 0.1)
    for a, b in (
        (mine.in_proj.weight, theirs.self_attn.in_proj_weight),
        (mine.in_proj.bias, theirs.self_attn.in_proj_bias),
        (mine.out_proj.weight, theirs.self_attn.out_proj.weight),
        (mine.out_proj.bias, theirs.self_attn.out_proj.bias),
        (mine.linear1.weight, theirs.linear1.weight),
        (mine.linear1.bias, theirs.linear1.bias),
        (mine.linear2.weight, theirs.linear2.weight),
        (mine.linear2.bias, theirs.linear2.bias),
    ):
        assert torch.equal(a, b)


def test_padding_is_no_work():
    """The feed-forward part sees real steps only, whatever the batch is padded to."""
    encoder = Transformer(4, dim=8, heads=2, feedforward=32, layers=1)
    shapes = []
    encoder.layers[0].dropout.register_forward_hook(lambda _, inputs, __: shapes.append(inputs[0].shape))
    encoder(stream_of([3, 7, 1, 5], steps=40, dtype=torch.float32))
    assert shapes == [(16, 8), (16, 32), (16, 8)]


def test_packing_and_padding_undo_each_other_and_gradients_come_back_to_their_steps():
    stream = stream_of([3, 1, 2], steps=5)
    real = RealSteps.of(stream.lengths, 5, "cpu")
    values = stream.values.clone().requires_grad_(True)
    rows = real.pack(values)
    assert real.step.tolist() == [0, 1, 2, 0, 0, 1]
    assert torch.equal(real.pad(rows), stream.values)
    weight = torch.randn_like(rows)
    (rows * weight).sum().backward()
    assert torch.equal(values.grad, real.pad(weight))
    assert torch.autograd.gradcheck(lambda v: real.pad(real.pack(v)), values)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_drops_its_share_and_keeps_the_mean(p):
    torch.manual_seed(0)
    layer, ones = Dropout(p), torch.ones(999, 1001, requires_grad=True)  # a size that 4 does not divide
    out = layer(ones)
    dropped = float((out == 0).double().mean())
    assert dropped == pytest.approx(p, abs=4 * (p * (1 - p) / ones.numel()) ** 0.5 + 2**-16)
    kept = out.detach()[out.detach() != 0]
    assert float(kept.min()) == float(kept.max()) == pytest.approx(1 / (1 - p), rel=2**-13)
    # neighbours share a 64-bit draw and must not share a fate
    both = (out.detach()[:, :-1] == 0) & (out.detach()[:, 1:] == 0)
    assert float(both.double().mean()) == pytest.approx(p * p, abs=5e-3)
    out.sum().backward()
    assert torch.equal(ones.grad, out.detach())
    assert torch.equal(layer.eval()(ones), ones)


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_dropout_of_all_or_nothing(p):
    assert torch.equal(Dropout(p)(torch.ones(3, 5)), torch.full((3, 5), 1.0 - p))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"dim": 9, "heads": 3}, r"dim: expected an even multiple of heads \(3\), found 9"),
        ({"dim": 10, "heads": 4, "positions": "none"}, r"dim: expected a multiple of heads \(4\), found 10"),
        ({"dim": 8, "heads": 4, "positions": "learnt"}, r"positions: expected one of sinusoidal, none, found 'learnt'"),
    ],
)
def test_wrong_settings_are_named(keys, message):
    with pytest.raises(ValueError, match=message):
        Transformer(4, **keys)


def test_an_odd_size_is_fine_without_positions():
    assert Transformer(4, dim=9, heads=3, positions="none").dim == 9
