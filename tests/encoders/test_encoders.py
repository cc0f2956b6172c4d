"""LSTM, GRU, transformer and identity against torch's packed sequences, numpy, and themselves without padding."""

from __future__ import annotations

import inspect
import warnings
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from trivium.data.batch import Stream
from trivium.encoders.gru import GRU
from trivium.encoders.identity import Identity
from trivium.encoders.lstm import LSTM
from trivium.encoders.transformer import Transformer, sinusoids

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "encoder"
LENGTHS = [3, 7, 1, 5]


def stream_of(lengths, dim=4, steps=0, junk=0.0, dtype=torch.float64, seed=0):
    """A batch of random clips, each clip's values a function of its place alone; `junk` fills the padding."""
    steps = max([steps, *lengths])
    values = torch.full((len(lengths), steps, dim), junk, dtype=dtype)
    for n, length in enumerate(lengths):
        generator = torch.Generator().manual_seed(seed + n)
        values[n, :length] = torch.randn(length, dim, generator=generator, dtype=torch.float64).to(dtype)
    mask = torch.arange(steps) < torch.tensor(lengths)[:, None]
    return Stream(values, mask, torch.tensor(lengths))


def encoders(dim=4):
    torch.manual_seed(3)
    return {
        "lstm": LSTM(dim, hidden=6, out=5),
        "lstm-bare": LSTM(dim, hidden=6),
        "lstm-deep": LSTM(dim, hidden=6, out=5, layers=2, bidirectional=True),
        "lstm-meanmax": LSTM(dim, hidden=6, out=5, bidirectional=True, pool="meanmax"),
        "gru": GRU(dim, hidden=6, out=5, bidirectional=True, pool="mean"),
        "gru-max": GRU(dim, hidden=6, pool="max", layers=2),
        "gru-flatten": GRU(dim, hidden=6, out=5, pool="flatten", steps=40),
        "transformer": Transformer(dim, dim=8, heads=2, feedforward=16),
        "transformer-cls": Transformer(dim, dim=8, heads=2, feedforward=16, pool="cls"),
        "transformer-last": Transformer(dim, dim=8, heads=2, feedforward=16, pool="last"),
        "identity": Identity(dim),
        "identity-meanmax": Identity(dim, pool="meanmax", out=3),
        "identity-last": Identity(dim, pool="last"),
    }


def reference_rnn(encoder, cls, layers):
    """torch's own stacked recurrent net with the encoder's weights."""
    hidden = encoder.forward_cells[0].hidden_size
    net = cls(
        encoder.forward_cells[0].input_size,
        hidden,
        layers,
        batch_first=True,
        bidirectional=len(encoder.backward_cells) > 0,
    ).double()
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            kind, _, end = name.rpartition("_l")
            part = encoder.backward_cells if end.endswith("_reverse") else encoder.forward_cells
            parameter.copy_(getattr(part[int(end[0])], f"{kind}_l0"))
    return net


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(("ours", "cls"), [(LSTM, nn.LSTM), (GRU, nn.GRU)])
def test_recurrent_equals_torch_on_packed_sequences_values_and_gradients(ours, cls, bidirectional, layers):
    torch.manual_seed(0)
    encoder = ours(4, hidden=6, out=5, layers=layers, bidirectional=bidirectional).double()
    net, stream = reference_rnn(encoder, cls, layers), stream_of(LENGTHS)
    packed = pack_padded_sequence(stream.values, stream.lengths, batch_first=True, enforce_sorted=False)
    states, ends = net(packed)
    states, _ = pad_packed_sequence(states, batch_first=True)
    ends = ends[0] if cls is nn.LSTM else ends
    last = torch.cat([ends[-2], ends[-1]], dim=1) if bidirectional else ends[-1]

    out = encoder(stream)

    tokens = encoder.project(states) * stream.mask[..., None]
    torch.testing.assert_close(out.tokens, tokens, rtol=0, atol=1e-12)
    torch.testing.assert_close(out.pooled, encoder.project(last), rtol=0, atol=1e-12)
    weight = torch.randn(out.pooled.shape, dtype=torch.float64)
    (out.pooled * weight).sum().backward()
    (encoder.project(last) * weight).sum().backward()
    for name, parameter in net.named_parameters():
        kind, _, end = name.rpartition("_l")
        part = encoder.backward_cells if end.endswith("_reverse") else encoder.forward_cells
        mine = getattr(part[int(end[0])], f"{kind}_l0").grad
        torch.testing.assert_close(mine, parameter.grad, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", encoders())
def test_padding_and_company_change_no_clip(name):
    encoder = encoders()[name].eval()  # float32, the kernels that runs use
    together = encoder(stream_of(LENGTHS, steps=40, dtype=torch.float32))
    for n, length in enumerate(LENGTHS):
        alone = encoder(stream_of([length], dtype=torch.float32, seed=n))
        torch.testing.assert_close(together.pooled[n], alone.pooled[0], rtol=0, atol=1e-6)
        torch.testing.assert_close(together.tokens[n, :length], alone.tokens[0], rtol=0, atol=1e-6)
    assert together.tokens[~together.mask].abs().max() == 0


@pytest.mark.parametrize("name", encoders())
def test_content_of_padding_reaches_neither_pooled_vectors_nor_gradients(name):
    gradients = []
    for junk in (0.0, 7.0):
        encoder = encoders()[name].double().eval()
        stream = stream_of(LENGTHS, steps=9, junk=junk)
        stream.values.requires_grad_(True)
        pooled = encoder(stream).pooled
        pooled.square().sum().backward()
        gradients.append([pooled.detach(), stream.values.grad] + [p.grad for p in encoder.parameters()])
        assert stream.values.grad[~stream.mask].abs().max() == 0
    for zero, junk in zip(*gradients, strict=True):
        torch.testing.assert_close(zero, junk, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", encoders())
@pytest.mark.parametrize("lengths", [[1], [4], [2, 1]])
def test_shapes_declared_and_all_parameters_used_in_small_batches(name, lengths):
    encoder = encoders()[name].double()
    out = encoder(stream_of(lengths))
    assert out.pooled.shape == (len(lengths), encoder.dim)
    assert out.tokens.shape[:2] == out.mask.shape == (len(lengths), max(lengths))
    assert out.pooled.dtype == out.tokens.dtype == torch.float64
    if out.pooled.requires_grad:
        out.pooled.sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())  # DDP would wait for it


def test_lstm_defaults_to_self_mm():
    encoder = LSTM(74, hidden=16, out=16)
    assert encoder.dim == 16
    assert sum(p.numel() for p in encoder.parameters()) == 4 * (74 * 16 + 16 * 16 + 2 * 16) + 16 * 16 + 16


def test_dropout_is_active_in_training_only():
    torch.manual_seed(0)
    for encoder in (
        LSTM(4, hidden=6, out=5, dropout=0.5),
        LSTM(4, hidden=6, input_dropout=0.5),
        Transformer(4, dim=8, heads=2, input_dropout=0.5, dropout=0.0),
    ):
        stream = stream_of(LENGTHS, dtype=torch.float32)
        assert not torch.equal(encoder(stream).pooled, encoder(stream).pooled)
        encoder.eval()
        assert torch.equal(encoder(stream).pooled, encoder(stream).pooled)


def test_dropout_between_layers_leaves_the_first_layer_alone():
    torch.manual_seed(0)
    one, two = GRU(4, hidden=6, dropout=0.5), GRU(4, hidden=6, dropout=0.5, layers=2)
    stream = stream_of(LENGTHS, dtype=torch.float32)
    for encoder in (one, two):
        encoder.dropout.register_forward_hook(lambda *_, seen=encoder: setattr(seen, "calls", seen.calls + 1))
        encoder.calls = 0
        encoder(stream)
    assert (one.calls, two.calls) == (1, 2)


def test_transformer_is_the_same_with_and_without_gradient_and_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder = Transformer(4, dim=8, heads=2, feedforward=16, dropout=0.0)
        stream = stream_of(LENGTHS, steps=9, dtype=torch.float32)
        trained = encoder.train()(stream)
        with torch.no_grad():
            inferred = encoder.eval()(stream)
    assert trained.tokens.shape == inferred.tokens.shape == (4, 9, 8)
    torch.testing.assert_close(trained.tokens, inferred.tokens, rtol=0, atol=1e-5)
    torch.testing.assert_close(trained.pooled, inferred.pooled, rtol=0, atol=1e-5)


def test_transformer_tells_orders_apart_and_its_layers_start_different():
    torch.manual_seed(0)
    encoder = Transformer(4, dim=8, heads=2, layers=2).eval()
    stream = stream_of([6], dtype=torch.float32)
    turned = Stream(stream.values.flip(1), stream.mask, stream.lengths)
    assert (encoder(stream).pooled - encoder(turned).pooled).abs().max() > 1e-3
    first, second = (dict(layer.named_parameters()) for layer in encoder.layers)
    assert all(not torch.equal(first[k], second[k]) for k in first if k.endswith("weight") and "norm" not in k)


def test_sinusoids_follow_the_formula():
    step, pair = np.arange(50)[:, None], np.arange(4)
    angle = step / 10000 ** (2 * pair / 8)
    expected = np.empty((50, 8))
    expected[:, 0::2], expected[:, 1::2] = np.sin(angle), np.cos(angle)
    found = sinusoids(torch.zeros(1, 50, 8, dtype=torch.float64))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("pool", ["mean", "max", "last", "meanmax"])
def test_identity_pools_as_numpy_and_has_no_parameters(pool):
    encoder, stream = Identity(4, pool=pool), stream_of(LENGTHS)
    clips = [stream.values[n, :length].numpy() for n, length in enumerate(LENGTHS)]
    how = {
        "mean": lambda x: x.mean(0),
        "max": lambda x: x.max(0),
        "last": lambda x: x[-1],
        "meanmax": lambda x: np.concatenate([x.mean(0), x.max(0)]),
    }[pool]
    np.testing.assert_allclose(encoder(stream).pooled.numpy(), np.stack([how(clip) for clip in clips]), atol=1e-14)
    assert list(encoder.parameters()) == []
    assert torch.equal(encoder(stream).tokens, stream.values)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LSTM(4, hidden=6, pool="avg"), r"pool: expected one of last, mean, max, meanmax, flatten, found"),
        (lambda: LSTM(4, hidden=0), r"hidden: expected at least 1, found 0"),
        (lambda: GRU(4, hidden=3, out=-1), r"out: expected at least 0, found -1"),
        (lambda: Transformer(4, dim=10, heads=4), r"dim: expected an even multiple of heads \(4\), found 10"),
        (lambda: Transformer(4, dim=8, pool="max"), r"pool: expected one of mean, cls, last"),
        (lambda: Identity(4, pool="sum"), r"pool: expected one of"),
    ],
)
def test_wrong_settings_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def resolved(file: Path) -> dict:
    """A choice's keys with those of the file that it builds on."""
    keys = yaml.safe_load(file.read_text())
    for entry in keys.pop("defaults", []):
        if entry != "_self_":
            base = entry.removeprefix("/encoder/").split("@")[0]
            keys = {**resolved(CONFIGS / f"{base}.yaml"), **keys}
    return keys


@pytest.mark.parametrize("file", sorted(CONFIGS.rglob("*.yaml")), ids=lambda file: file.stem)
def test_every_choice_has_a_title_and_keys_that_its_target_takes(file):
    assert file.read_text().startswith("# ")
    keys = resolved(file)
    module, _, name = keys.pop("_target_").rpartition(".")
    target = getattr(import_module(module), name)
    inspect.signature(target).bind(4, **keys)
    assert not [key for key, value in keys.items() if value is None]
    if target.reads == "values":
        encoder = target(4, **keys, **({"steps": max(LENGTHS)} if target.takes_steps else {}))
        assert encoder(stream_of(LENGTHS, dtype=torch.float32)).pooled.shape == (4, encoder.dim)
