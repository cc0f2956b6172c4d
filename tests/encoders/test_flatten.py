"""pool=flatten (GMC's encoder) against a plain GRU in numpy, its published sizes, and clips of other lengths.

Legend: B clips, T steps of the batch, S steps that are flattened, H hidden units.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from trivium.config.compose import compose_config
from trivium.config.instantiate import build
from trivium.data.batch import Stream
from trivium.data.store import StoreSchema
from trivium.data.target import Target
from trivium.encoders.gru import GRU
from trivium.encoders.lstm import LSTM
from trivium.methods.build import build_method

Array = npt.NDArray[np.float64]
LENGTHS = [3, 7, 1, 5]
S = 9


def stream_of(lengths: list[int], dim: int = 4, steps: int = 0, junk: float = 0.0) -> Stream:
    """A clip's values are a function of its length alone."""
    values = torch.full((len(lengths), max([steps, *lengths]), dim), junk, dtype=torch.float64)
    for row, length in enumerate(lengths):
        draw = torch.Generator().manual_seed(length)
        values[row, :length] = torch.randn(length, dim, generator=draw, dtype=torch.float64)
    mask = torch.arange(values.shape[1]) < torch.tensor(lengths)[:, None]
    return Stream(values, mask, torch.tensor(lengths))


def made(kind: type[GRU] | type[LSTM] = GRU, **settings: Any) -> Any:
    torch.manual_seed(1)
    return kind(4, hidden=6, out=5, pool="flatten", steps=S, **settings).double().eval()


def gru_states(layer: torch.nn.GRU, inputs: Array) -> Array:
    """(S, H), Cho et al. (2014) as torch writes it."""
    w_in, w_state, b_in, b_state = (getattr(layer, f"{name}_l0").detach().numpy() for name in _NAMES)
    state, out = np.zeros(layer.hidden_size), []
    for x in inputs:
        from_x, from_state = w_in @ x + b_in, w_state @ state + b_state
        (r_x, z_x, n_x), (r_s, z_s, n_s) = np.split(from_x, 3), np.split(from_state, 3)
        reset, keep = _sigmoid(r_x + r_s), _sigmoid(z_x + z_s)
        state = (1 - keep) * np.tanh(n_x + reset * n_s) + keep * state
        out.append(state)
    return np.array(out)


_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_pooled_vector_is_one_linear_map_of_all_states_padding_included(bidirectional: bool) -> None:
    encoder, stream = made(bidirectional=bidirectional), stream_of(LENGTHS)
    out = encoder(stream)
    weight, bias = encoder.project.weight.detach().numpy(), encoder.project.bias.detach().numpy()
    for row, length in enumerate(LENGTHS):
        clip = np.zeros((S, 4))
        clip[:length] = stream.values[row, :length].numpy()
        states = gru_states(encoder.forward_cells[0], clip)
        if bidirectional:  # backwards within the clip; what lies behind its end comes last in both directions
            turned = np.concatenate([clip[:length][::-1], clip[length:]])
            back = gru_states(encoder.backward_cells[0], turned)
            states = np.concatenate([states, np.concatenate([back[:length][::-1], back[length:]])], axis=1)
        np.testing.assert_allclose(out.pooled[row].detach().numpy(), weight @ states.ravel() + bias, atol=1e-12)
        np.testing.assert_allclose(out.tokens[row, :length].detach().numpy(), states[:length], atol=1e-12)
    assert not out.tokens[~stream.mask].any()
    assert torch.equal(out.mask, stream.mask)
    assert (
        (encoder.dim, encoder.token_dim)
        == (out.pooled.shape[1], out.tokens.shape[2])
        == (5, 12 if bidirectional else 6)
    )


@pytest.mark.parametrize("settings", [{}, {"bidirectional": True}, {"layers": 2}], ids=str)
@pytest.mark.parametrize("kind", [GRU, LSTM])
def test_company_and_padding_change_nothing(kind: type[GRU] | type[LSTM], settings: dict[str, Any]) -> None:
    encoder = made(kind, **settings)
    expected = encoder(stream_of(LENGTHS, steps=S)).pooled
    for stream in (stream_of(LENGTHS), stream_of(LENGTHS, junk=7.0), stream_of(LENGTHS, steps=S, junk=torch.nan)):
        torch.testing.assert_close(encoder(stream).pooled, expected, rtol=0, atol=1e-13)
    for row, length in enumerate(LENGTHS):
        torch.testing.assert_close(encoder(stream_of([length])).pooled[0], expected[row], rtol=0, atol=1e-13)


def test_a_longer_clip_is_refused_and_one_of_just_that_length_is_not() -> None:
    encoder = made()
    assert encoder(stream_of([S, 2])).pooled.shape == (2, 5)
    message = rf"a clip of {S + 1} steps: this encoder flattens the {S} of the longest clip .* encoder.pool=last"
    with pytest.raises(ValueError, match=message):
        encoder(stream_of([S + 1, 2]))


def test_a_flattened_encoder_without_an_output_size_is_refused() -> None:
    with pytest.raises(ValueError, match="out: expected at least 1, found 0"):
        GRU(4, hidden=6, pool="flatten", steps=S)


def test_every_weight_is_trained() -> None:
    encoder = made(layers=2, bidirectional=True)
    encoder(stream_of(LENGTHS)).pooled.square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in encoder.parameters())


@pytest.mark.parametrize(("features", "count"), [(300, 119_940), (74, 99_600), (35, 96_090)])
def test_gmcs_encoders_have_the_published_number_of_parameters(features: int, count: int) -> None:
    node = compose_config(["encoder=published/gmc"])["encoder"]
    encoder = build(node, features, steps=50)
    assert sum(parameter.numel() for parameter in encoder.parameters()) == count
    assert encoder.dim == 60


def test_the_steps_are_those_of_the_stores_longest_clip_of_the_modality() -> None:
    lengths = {"text": 7, "audio": 9}
    schema = StoreSchema(
        "x",
        "x/y",
        {"text": 4, "audio": 3},
        {"train": 5},
        {**lengths, "tokens": 8},
        {"multimodal": Target("score", range=(-3.0, 3.0))},
        20,
    )
    config = compose_config(["encoder=gru", "encoder.pool=flatten", "encoder.hidden=6", "encoder.bidirectional=false"])
    encoders = build_method(config, schema, {"text": "values", "audio": "values"}).encoders
    for name, steps in lengths.items():
        linear: Tensor = encoders[name].project.weight  # type: ignore[union-attr, assignment]
        assert linear.shape[1] == 6 * steps
