"""MulT against torch's own attention: one clip, one transformer and one layer at a time, without any padding."""

from __future__ import annotations

import inspect
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from trivium.encoders.base import Encoded
from trivium.fusions.crossmodal import attention_with_dropout, sinusoids
from trivium.fusions.mult import MulT
from trivium.methods.build import turn_off_dropout

DIMS = {"text": 7, "audio": 3, "vision": 4}
ODD = {"x.y": 3, "keys": 2, "eeg": 5, "text": 4}
LENGTHS = [[3, 6, 1, 4, 2, 5, 6, 1], [5, 2, 2, 1, 7, 7, 3, 1], [1, 1, 3, 4, 2, 3, 3, 4], [2, 2, 1, 6, 3, 1, 5, 5]]
B = 8
NO_DROPOUT = {"input_dropout": {}, "attention_dropout": {}, "embed_dropout": 0.0, "dropout": 0.0, "memory_dropout": 0.0}


def made(dims, **keys):
    """Float64, without dropout, every bias, gain and shift away from where it starts."""
    torch.manual_seed(1)
    fusion = MulT(dims, **{"dim": 5, "width": 12, "layers": 2, "heads": 3, **NO_DROPOUT, **keys}).double()
    with torch.no_grad():
        for parameter in fusion.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return fusion


def inputs(dims, present=None, lengths=None, junk=0.0, extra=0, clips=B):
    """Random tokens, some steps all zero; `junk` in padding and absent clips; `extra` more padded steps than needed."""
    generator = torch.Generator().manual_seed(0)
    present = torch.ones(clips, len(dims), dtype=torch.bool) if present is None else present
    encoded = {}
    for m, (name, size) in enumerate(dims.items()):
        length = torch.tensor((lengths or LENGTHS)[m])
        values = torch.randn(clips, int(length.max()), size, generator=generator, dtype=torch.float64)
        values[:, 2:3] = 0.0
        values = F.pad(values, (0, 0, 0, extra))
        real = (torch.arange(values.shape[1]) < length[:, None]) & present[:, m, None]
        values = values.masked_fill(~real[..., None], junk).requires_grad_()
        encoded[name] = Encoded(values, real, values[:, 0])
    return encoded, present


def every_subset(modalities):
    rows = list(itertools.product([False, True], repeat=modalities))
    return torch.tensor([rows[n % len(rows)] for n in range(B)])


def flat(stack, name, *place):
    """A slice of a flat parameter: place is the layer and the transformer, or the transformer alone."""
    levels = (stack.layers, stack.count)[-len(place) :]
    return getattr(stack, name).view(*levels, -1)[place]


def embedded(rows_TE):
    steps, width = rows_TE.shape
    rate = np.exp(-np.arange(width // 2) * np.log(1e4) / (width // 2 - 1))
    angle = np.arange(1, steps + 1)[:, None] * rate
    place = torch.from_numpy(np.concatenate([np.sin(angle), np.cos(angle)], axis=1))
    coded = torch.stack([place[t] if rows_TE[t, 0] != 0 else torch.zeros(width) for t in range(steps)])
    return rows_TE * math.sqrt(width) + coded


def transformer(stack, g, rows_TE, source_SE=None):
    """One clip through one transformer, (T, E). source_SE: None for self-attention, empty for an absent source."""
    width = stack.width
    rows = embedded(rows_TE)
    source = None if source_SE is None or not len(source_SE) else embedded(source_SE)
    for n in range(stack.layers):
        if source_SE is None or source is not None:
            attention = nn.MultiheadAttention(width, stack.heads).double()
            del attention.in_proj_weight, attention.in_proj_bias, attention.out_proj.weight, attention.out_proj.bias
            attention.in_proj_weight, attention.in_proj_bias = (
                stack.in_proj_weight[n, g],
                flat(stack, "in_proj_bias", n, g),
            )
            attention.out_proj.weight = stack.out_proj_weight[n, g]
            attention.out_proj.bias = flat(stack, "out_proj_bias", n, g)
            gain, shift = flat(stack, "norm1_gain", n, g), flat(stack, "norm1_shift", n, g)
            asking = F.layer_norm(rows, (width,), gain, shift)
            seen = asking if source is None else F.layer_norm(source, (width,), gain, shift)
            future = torch.ones(len(asking), len(seen)).triu(1 + abs(len(asking) - len(seen))).bool()
            rows = rows + attention(asking[:, None], seen[:, None], seen[:, None], attn_mask=future)[0][:, 0]
        normed = F.layer_norm(rows, (width,), flat(stack, "norm2_gain", n, g), flat(stack, "norm2_shift", n, g))
        wide = F.linear(normed, stack.linear1_weight[n, g], flat(stack, "linear1_bias", n, g)).relu()
        rows = rows + F.linear(wide, stack.linear2_weight[n, g], flat(stack, "linear2_bias", n, g))
    return F.layer_norm(rows, (width,), flat(stack, "norm_gain", g), flat(stack, "norm_shift", g))


def plain(fusion, encoded, present):
    """(B, dim), clip by clip."""
    places = range(len(fusion.dims))
    joint = []
    for clip in range(len(present)):
        rows = [
            fusion.project[m](one.tokens[clip][one.mask[clip]]) for m, one in enumerate(encoded[n] for n in fusion.dims)
        ]
        slots = []
        for m in places:
            if not present[clip, m]:
                slots.append(torch.zeros(fusion.memory.width, dtype=torch.float64))
                continue
            numbers = [n for n, (target, _) in enumerate(fusion.pairs) if target == m]
            assert [fusion.pairs[n][1] for n in numbers] == [other for other in places if other != m]
            results = [transformer(fusion.across, n, rows[m], rows[fusion.pairs[n][1]]) for n in numbers]
            own = torch.cat(results, dim=1) if results else rows[m]
            slots.append(transformer(fusion.memory, m, own)[-1])
        x = torch.cat(slots)
        joint.append(fusion.out(x + fusion.linear2(fusion.linear1(x).relu())))
    return torch.stack(joint)


def assert_same(fusion, encoded, present, tolerance=1e-10):
    leaves = [*fusion.parameters(), *(one.tokens for one in encoded.values())]
    found, expected = fusion(encoded, present), plain(fusion, encoded, present)
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)
    weight = torch.randn_like(expected)
    gradients = [torch.autograd.grad((joint * weight).sum(), leaves, allow_unused=True) for joint in (found, expected)]
    for mine, theirs in zip(*gradients, strict=True):
        assert mine is not None
        torch.testing.assert_close(mine, torch.zeros_like(mine) if theirs is None else theirs, rtol=0, atol=tolerance)


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("dims", [{"keys": 3}, {"text": 7, "audio": 3}, DIMS, ODD], ids=len)
def test_clips_of_one_length_are_the_published_transformers_values_and_gradients(dims, layers):
    encoded, present = inputs(dims, lengths=[[4, 4]] * 4, clips=2)
    assert_same(made(dims, layers=layers), encoded, present)


@pytest.mark.parametrize("dims", [{"keys": 3}, {"text": 7, "audio": 3}, DIMS, ODD], ids=len)
@pytest.mark.parametrize("absent", [False, True])
def test_ragged_clips_are_what_each_is_alone_with_every_subset_of_modalities(dims, absent):
    encoded, present = inputs(dims, every_subset(len(dims)) if absent else None)
    assert_same(made(dims), encoded, present)


def test_a_width_and_depth_of_the_paper():
    encoded, present = inputs(DIMS, every_subset(3))
    assert_same(made(DIMS, dim=60, width=30, layers=5, heads=5), encoded, present, 1e-9)


@pytest.mark.parametrize("dims", [{"keys": 3}, DIMS], ids=len)
def test_more_padding_changes_nothing(dims):
    fusion = made(dims)
    for absent in (None, every_subset(len(dims))):
        joint = [fusion(*inputs(dims, absent, extra=extra)) for extra in (0, 9)]
        torch.testing.assert_close(*joint, rtol=0, atol=1e-12)


@pytest.mark.parametrize("junk", [3.0, float("nan"), float("inf")])
def test_content_of_padding_and_of_absent_modalities_changes_no_bit_and_no_gradient(junk):
    results = []
    for fill in (0.0, junk):
        fusion = made(DIMS)
        joint = fusion(*inputs(DIMS, every_subset(3), junk=fill))
        joint.square().sum().backward()
        results.append([joint.detach(), *(parameter.grad for parameter in fusion.parameters())])
    assert all(torch.equal(clean, other) for clean, other in zip(*results, strict=True))
    assert all(torch.isfinite(value).all() for value in results[0])


def test_parameters_are_as_many_as_gmcs_and_one_dimensional_exactly_where_no_weight_decays():
    for dims, count in (((300, 74, 35), 1_084_410), ((300, 5, 20), 1_081_890)):
        fusion = MulT(dict(zip(("text", "audio", "vision"), dims, strict=True)))
        assert sum(parameter.numel() for parameter in fusion.parameters()) == count
    for name, parameter in fusion.named_parameters():
        assert (parameter.ndim == 1) == name.endswith(("bias", "gain", "shift")), name


def test_each_matrix_starts_as_its_own_xavier_uniform_and_biases_at_zero():
    torch.manual_seed(0)
    stack = MulT(DIMS, width=120, layers=2).across
    for name, fans in (("in_proj", 4), ("out_proj", 2), ("linear1", 5), ("linear2", 5)):
        weight = getattr(stack, f"{name}_weight").detach().flatten(2)
        bound = math.sqrt(6 / (fans * 120))
        assert float(weight.abs().max()) <= bound
        assert weight.abs().amax(dim=2).min() > 0.999 * bound
        torch.testing.assert_close(weight.std(dim=2), torch.full((2, 6), bound / math.sqrt(3)), rtol=0.03, atol=0)
        assert not getattr(stack, f"{name}_bias").any()


def slots_of(dims, **keys):
    """A fusion in training whose joint vector is the self-attention transformers' results, side by side."""
    fusion = made(dims, **keys)
    nn.init.zeros_(fusion.linear2.weight)
    nn.init.zeros_(fusion.linear2.bias)
    fusion.out = nn.Identity()
    return fusion


def changes(fusion, encoded, present):
    """Which slots come out otherwise when asked again, bool (B, M)."""
    first, second = (fusion(encoded, present).unflatten(1, (len(fusion.dims), -1)) for _ in range(2))
    return (first != second).any(dim=2)


def test_attention_dropout_is_where_text_is_the_source_and_input_dropout_on_text():
    torch.manual_seed(0)
    everything = torch.ones(B, 3, dtype=torch.bool)
    without_text = everything.clone()
    without_text[:, 0] = False
    attention = slots_of(DIMS, attention_dropout={"default": 0.0, "text": 0.5, "audio": None})
    for lengths in (LENGTHS, [LENGTHS[0]] * 3):  # of one length, all transformers could run at once
        assert changes(attention, *inputs(DIMS, lengths=lengths)).any(dim=0).tolist() == [False, True, True]
    assert not changes(attention, *inputs(DIMS, without_text)).any()
    tokens = slots_of(DIMS, input_dropout={"text": 0.5})
    assert changes(tokens, *inputs(DIMS)).any(dim=0).all()
    assert not changes(tokens, *inputs(DIMS, without_text)).any()
    default = slots_of(DIMS, attention_dropout={"default": 0.5, "text": 0.0, "audio": 0.0})
    assert changes(default, *inputs(DIMS)).any(dim=0).tolist() == [True, True, False]
    published = MulT(DIMS)
    assert [drop.p for drop in published.input_dropouts] == [0.25, 0.0, 0.0]
    assert [drop.p for drop in published.source_dropouts] == [0.1, 0.0, 0.0]


@pytest.mark.parametrize("kind", ["embed_dropout", "dropout", "memory_dropout"])
def test_each_dropout_is_active_in_training_only_and_found_where_all_are_turned_off(kind):
    torch.manual_seed(0)
    fusion = slots_of(DIMS, **{kind: 0.3})
    encoded, present = inputs(DIMS)
    assert changes(fusion, encoded, present).any(dim=0).all()
    assert fusion.random_combine
    quiet = fusion.eval()(encoded, present)
    assert torch.equal(quiet, fusion(encoded, present))
    fusion.train()
    turn_off_dropout(fusion)
    torch.testing.assert_close(fusion(encoded, present), quiet, rtol=0, atol=1e-12)
    assert not changes(fusion, encoded, present).any()


def test_the_same_seed_drops_the_same():
    joints = []
    for _ in range(2):
        fusion = made(DIMS, **{key: 0.3 for key in ("embed_dropout", "dropout", "memory_dropout")})
        torch.manual_seed(5)
        joints.append(fusion(*inputs(DIMS)))
    assert torch.equal(*joints)


class Fixed(nn.Module):
    """A dropout that always drops the same."""

    def forward(self, weights):
        generator = torch.Generator().manual_seed(3)
        return weights * (torch.rand(weights.shape, generator=generator, dtype=weights.dtype) > 0.4) / 0.6


def test_attention_drops_its_weights_by_the_drawn_mask():
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, n, 6, dtype=torch.float64) for n in (4, 5, 5))
    mask = torch.rand(2, 1, 4, 5) < 0.6
    mask[..., 0] = True
    scores = torch.einsum("rthd,rshd->rhts", *(x.unflatten(2, (2, 3)) for x in (query, key))) / math.sqrt(3)
    weight = Fixed()(scores.masked_fill(~mask, -torch.inf).softmax(dim=-1).mT).mT
    expected = torch.einsum("rhts,rshd->rthd", weight, value.unflatten(2, (2, 3))).flatten(2)
    found = attention_with_dropout(query, key, value, heads=2, mask=mask, dropout=Fixed())
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_positions_are_sines_then_cosines_counted_from_one():
    found = sinusoids(6, 3, torch.zeros(1, dtype=torch.float64)).numpy()
    for k, t in itertools.product(range(3), range(3)):
        angle = (t + 1) * 10000 ** (-k / 2)
        assert found[t, k] == pytest.approx(math.sin(angle), abs=1e-12)
        assert found[t, 3 + k] == pytest.approx(math.cos(angle), abs=1e-12)


def test_float32_bfloat16_autocast_and_bfloat16_stay_near_float64():
    fusion = made(DIMS)
    encoded, present = inputs(DIMS, every_subset(3))
    exact = fusion(encoded, present).detach()
    small = {name: Encoded(one.tokens.float(), one.mask, one.pooled) for name, one in encoded.items()}
    torch.testing.assert_close(fusion.float()(small, present).double(), exact, rtol=0, atol=1e-4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = fusion(small, present)
    mixed.square().sum().backward()
    torch.testing.assert_close(mixed.double(), exact, rtol=0, atol=0.3)
    half = {name: Encoded(one.tokens.bfloat16(), one.mask, one.pooled) for name, one in encoded.items()}
    torch.testing.assert_close(fusion.bfloat16()(half, present).double(), exact, rtol=0, atol=0.6)


def test_no_value_is_read_on_the_host():
    """Tensors without values: what would wait for a GPU, or take a shape from a value, fails here."""
    with FakeTensorMode(allow_non_fake_inputs=False):
        fusion = MulT(DIMS, width=12, heads=3, layers=2)
        mask, present = torch.ones(B, 4, dtype=torch.bool), torch.ones(B, 3, dtype=torch.bool)
        encoded = {name: Encoded(torch.zeros(B, 4, size), mask, torch.zeros(B, 1)) for name, size in DIMS.items()}
        joint = fusion(encoded, present)
        joint.sum().backward()
        assert joint.shape == (B, 60)
        with pytest.raises(DataDependentOutputException):
            present.all().item()


def test_the_config_says_what_the_constructor_has_by_default():
    file = Path(__file__).resolve().parents[2] / "configs" / "fusion" / "mult.yaml"
    keys = yaml.safe_load(file.read_text())
    del keys["_target_"]
    for name, value in keys.items():
        default = inspect.signature(MulT).parameters[name].default
        assert default == (None if isinstance(value, dict) else value)
    ours, theirs = (
        [[drop.p for drop in one] for one in (fusion.input_dropouts, fusion.source_dropouts)]
        for fusion in (MulT(DIMS), MulT(DIMS, **keys))
    )
    assert ours == theirs


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"width": 10}, r"width: expected an even multiple of heads \(3\) from 4 on, found 10"),
        ({"width": 9}, r"width: expected an even multiple of heads \(3\) from 4 on, found 9"),
        ({"width": 2, "heads": 1}, r"width: expected an even multiple of heads \(1\) from 4 on, found 2"),
        ({"layers": 0}, r"layers: expected at least 1, found 0"),
        ({"dropout": 1.0}, r"^dropout: expected a probability in \[0, 1\), found 1\.0"),
        ({"embed_dropout": -0.1}, r"embed_dropout: expected a probability in \[0, 1\), found -0\.1"),
        ({"input_dropout": {"audio": 1.5}}, r"input_dropout\.audio: expected a probability in \[0, 1\), found 1\.5"),
        ({"attention_dropout": {"eeg": 0.1}}, r"attention_dropout\.eeg: no such modality; expected default or one of "
                                              r"text, audio, vision"),
    ],
)  # fmt: skip
def test_wrong_settings_are_named(keys, message):
    with pytest.raises(ValueError, match=message):
        made(DIMS, **keys)
    with pytest.raises(ValueError, match="at least one modality"):
        MulT({})
