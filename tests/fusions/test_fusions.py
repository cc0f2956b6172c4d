"""Fusions against numpy's closed forms, with any number of modalities, absent ones and float64."""

from __future__ import annotations

import inspect
import string
from importlib import import_module
from pathlib import Path
from types import MethodType, SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from fusion_cases import DIMS, KINDS, B, arrays, inputs, linear, made, some_absent

from trivium.fusions.concat import Concat
from trivium.fusions.gmu import GMU
from trivium.fusions.lowrank import LowRank
from trivium.fusions.sum import Sum
from trivium.fusions.tensor import TensorFusion, UniformDropout
from trivium.methods.base import Method

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "fusion"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("junk", [3.0, float("nan"), float("inf")])
def test_content_of_an_absent_modality_changes_no_bit_and_no_gradient(kind, junk):
    """Method.encode is where an absent modality is masked; what encoders made of it never reaches a fusion."""
    results = []
    for fill in (None, junk):
        fusion = made(kind)
        outputs, present = inputs(present=some_absent(), junk=fill)
        encoders = {name: lambda stream: stream for name in outputs}  # the streams are what encoders return
        batch = SimpleNamespace(streams=outputs, present=present)
        method = SimpleNamespace(encoders=encoders)
        method.encode_modality = MethodType(Method.encode_modality, method)
        joint = fusion(Method.encode(method, batch), present)
        joint.square().sum().backward()
        results.append([joint.detach(), *(parameter.grad for parameter in fusion.parameters())])
    assert all(torch.equal(zero, other) for zero, other in zip(*results, strict=True))
    assert torch.isfinite(results[0][0]).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dims", [{"keys": 3}, {"eeg": 2, "x.y": 4}, dict(zip("abcd", (2, 3, 2, 1), strict=True))])
def test_any_number_and_names_of_modalities(kind, dims):
    fusion = made(kind, dims)
    for present in (None, some_absent(len(dims))):
        joint = fusion(*inputs(dims, present))
        assert joint.shape == (B, fusion.dim) == (B, 7)
        assert joint.dtype == torch.float64
    joint.sum().backward()
    assert all(parameter.grad is not None for parameter in fusion.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_a_clip_without_any_modality_is_finite_and_order_of_the_dict_does_not_matter(kind):
    fusion = made(kind)
    assert torch.isfinite(fusion(*inputs(present=torch.zeros(B, 3, dtype=torch.bool)))).all()
    encoded, present = inputs()
    turned = dict(reversed(encoded.items()))
    assert torch.equal(fusion(encoded, present), fusion(turned, present))


def test_concat_is_relu_of_a_linear_on_the_concatenation_with_zeros_for_the_absent():
    fusion = made("concat")
    encoded, present = inputs(present=some_absent())
    expected = np.maximum(linear(fusion.layers[1], np.concatenate(arrays(encoded), axis=1)), 0)
    np.testing.assert_allclose(fusion(encoded, present).detach().numpy(), expected, atol=1e-12)


def test_concat_hidden_layers():
    fusion = made("concat-deep")
    encoded, present = inputs()
    x = np.concatenate(arrays(encoded), axis=1)
    for layer in (fusion.layers[1], fusion.layers[4], fusion.layers[7]):
        x = np.tanh(linear(layer, x))
    np.testing.assert_allclose(fusion(encoded, present).detach().numpy(), x, atol=1e-12)


def test_sum_leaves_out_the_bias_of_an_absent_modality():
    fusion = made("sum")
    encoded, present = inputs(present=some_absent())
    terms = [linear(layer, x) for layer, x in zip(fusion.project, arrays(encoded), strict=True)]
    expected = sum(term * present[:, m, None].numpy() for m, term in enumerate(terms))
    np.testing.assert_allclose(fusion(encoded, present).detach().numpy(), expected, atol=1e-12)


def outer(factors):
    """(B, X1), ..., (B, XM) -> (B, X1 * ... * XM), the first modality's index slowest."""
    letters = string.ascii_lowercase[: len(factors)]
    whole = np.einsum(",".join("z" + one for one in letters) + "->z" + letters, *factors)
    return whole.reshape(len(whole), -1)


def with_one(x):
    return np.concatenate([x, np.ones((len(x), 1))], axis=1)


def test_tensor_is_the_outer_product_of_projections_with_an_appended_one():
    fusion = made("tensor")
    encoded, present = inputs(present=some_absent())
    factors = [
        with_one(np.maximum(linear(layer, x), 0) * present[:, m, None].numpy())
        for m, (layer, x) in enumerate(zip(fusion.project, arrays(encoded), strict=True))
    ]
    expected = np.maximum(linear(fusion.out, outer(factors)), 0)
    np.testing.assert_allclose(fusion(encoded, present).detach().numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_tensors_dropout_is_torchs_in_distribution(dtype):
    torch.manual_seed(0)
    dropout, values = UniformDropout(0.4), torch.full((400, 500), 3.0, dtype=dtype, requires_grad=True)
    dropped = dropout(values)
    dropped.sum().backward()
    kept = dropped != 0
    assert abs(kept.double().mean() - 0.6) < 4 * (0.24 / kept.numel()) ** 0.5
    assert kept.double().mean(dim=0).std().item() == pytest.approx((0.24 / 400) ** 0.5, rel=0.1)  # independent
    assert dropped.dtype is dtype
    torch.testing.assert_close(dropped[kept], torch.full_like(dropped[kept], 5.0))
    torch.testing.assert_close(values.grad, kept.to(dtype) / 0.6)
    assert dropout.eval()(values) is values
    assert torch.equal(UniformDropout(0.0)(values), values)
    assert not UniformDropout(1.0)(values).any()


def test_lowrank_equals_the_full_tensor_made_of_its_factors():
    fusion = made("lowrank")
    encoded, present = inputs(present=some_absent())
    # per modality (R, E, P + 1), the bias as the column that the appended 1 meets
    factors = [
        np.concatenate([layer.weight.detach().numpy(), layer.bias.detach().numpy()[:, None]], axis=1).reshape(3, 7, -1)
        for layer in fusion.factors
    ]
    weight = np.einsum("rea,reb,rec->eabc", *factors).reshape(7, -1)
    expected = outer([with_one(x) for x in arrays(encoded)]) @ weight.T
    np.testing.assert_allclose(fusion(encoded, present).detach().numpy(), expected, atol=1e-12)


def test_gmu_with_two_modalities_is_the_papers_unit():
    dims = {"text": 5, "audio": 3}
    fusion = made("gmu", dims)
    encoded, present = inputs(dims)
    text, audio = arrays(encoded)
    logits = linear(fusion.gate, np.concatenate([text, audio], axis=1)).reshape(B, 2, 7)
    gate = 1 / (1 + np.exp(logits[:, 1] - logits[:, 0]))
    expected = gate * np.tanh(linear(fusion.project[0], text)) + (1 - gate) * np.tanh(linear(fusion.project[1], audio))
    np.testing.assert_allclose(fusion(encoded, present).detach().numpy(), expected, atol=1e-12)


def test_gmu_gives_a_modality_that_is_alone_the_whole_gate():
    fusion = made("gmu")
    present = torch.zeros(B, 3, dtype=torch.bool)
    present[:, 2] = True
    encoded, present = inputs(present=present)
    expected = np.tanh(linear(fusion.project[2], arrays(encoded)[2]))
    np.testing.assert_allclose(fusion(encoded, present).detach().numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("make", [Concat, Sum, TensorFusion, LowRank, GMU])
def test_dropout_is_active_in_training_only(make):
    torch.manual_seed(0)
    fusion = make(DIMS, out=7, dropout=0.5).double()
    assert not torch.equal(fusion(*inputs()), fusion(*inputs()))
    fusion.eval()
    assert torch.equal(fusion(*inputs()), fusion(*inputs()))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Concat(DIMS, activation="swish"),
            r"activation: expected one of none, relu, tanh, gelu, found 'swish'",
        ),
        (lambda: Concat(DIMS, hidden=[8, 0]), r"hidden: expected at least 1, found 0"),
        (lambda: Sum({}, out=3), r"at least one modality"),
        (lambda: LowRank(DIMS, rank=0), r"rank: expected at least 1, found 0"),
        (lambda: TensorFusion(dict.fromkeys("abcdefgh", 4)), r"project: 16 for 8 modalities .* fusion=lowrank"),
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
            base = entry.removeprefix("/fusion/").split("@")[0]
            keys = {**resolved(CONFIGS / f"{base}.yaml"), **keys}
    return keys


@pytest.mark.parametrize("file", sorted(CONFIGS.rglob("*.yaml")), ids=lambda file: file.stem)
def test_every_choice_has_a_title_and_keys_that_its_target_takes(file):
    assert file.read_text().startswith("# ")
    keys = resolved(file)
    module, _, name = keys.pop("_target_").rpartition(".")
    target = getattr(import_module(module), name)
    if target.takes_steps:
        keys["steps"] = dict.fromkeys(DIMS, 6)
    inspect.signature(target).bind(DIMS, **keys)
    assert not [key for key, value in keys.items() if value is None]
    if keys.get("embed_depth") == 0:
        # LNLN gives it embedded tokens, of its own size and number: tests/methods/test_lnln.py
        return
    dims = dict.fromkeys(DIMS, 16)  # of one size, as with one encoder for all
    fusion = target(dims, **keys).double()
    assert fusion(*inputs(dims)).shape == (B, fusion.dim)
