"""MISA: the specification's network and adversarial vectors, absence, ranks, and what training does to the losses.

The numbers of the checks are those of section 11 of MISA's specification, whose vectors the public code made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from batches import batch_of, share_of, subsets
from driver import here, rows
from ranks import on_ranks
from trivium.config.compose import compose_config
from trivium.data.batch import Batch, Stream
from trivium.data.store import StoreSchema
from trivium.data.target import Target
from trivium.encoders.lstm import LSTM
from trivium.encoders.stacked import Stacked
from trivium.fusions.concat import Concat
from trivium.fusions.misa import MISAFusion
from trivium.methods.base import Parts
from trivium.methods.build import build_method
from trivium.methods.misa import MISA, Reversal
from trivium.objectives.task import MSE

FEATURES = {
    "text": (3, (0.7, 1.3, 0.2, 0.5)),
    "vision": (2, (1.1, -0.6, 0.5, 0.8)),
    "audio": (2, (-0.4, 0.9, 1.0, -0.6)),
}
LENGTHS = [4, 4, 3, 2]
SCORES = [-0.852952115920, -2.370929764769, 1.159280173321, 0.655258568599]
TERMS = {
    "task": 3.407317454435,
    "difference": 3.563363473505,
    "similarity": 0.337454806676,
    "reconstruction": 1.222134125077,
    "loss": 6.035915428240,
}
PUBLISHED = {"difference_weight": 0.3, "similarity_weight": 1.0, "reconstruction_weight": 1.0, "dropout": 0.0}


def weight(shape: Sequence[int], k: int, scale: float = 0.5) -> Tensor:
    i, j = torch.arange(shape[0]).double()[:, None], torch.arange(shape[1]).double()
    return scale * (0.7 * i + 1.3 * j + 0.5 * k).sin()


def bias(size: int, k: int) -> Tensor:
    return 0.1 * (0.9 * torch.arange(size).double() + 0.4 * k).cos()


def fill(linear: Any, k: int, scale: float = 0.5) -> None:
    linear.weight.data = weight(linear.weight.shape, k, scale)
    linear.bias.data = bias(len(linear.bias), k)


def fill_norm(norm: Any, k: int) -> None:
    norm.weight.data, norm.bias.data = 1 + bias(len(norm.weight), k), bias(len(norm.bias), k)


def fill_encoder(encoder: Any, k0: int) -> None:
    cells = zip(encoder.forward_cells, encoder.backward_cells, strict=True)
    for number, cell in enumerate(cell for pair in cells for cell in pair):
        for name, k in (("ih", k0 + 2 * number), ("hh", k0 + 2 * number + 1)):
            own = getattr(cell, f"weight_{name}_l0")
            own.data = weight(own.shape, k)
            getattr(cell, f"bias_{name}_l0").data = bias(len(own), k)
    fill_norm(encoder.norm, k0 + 8)


def vector_network(**keys: Any) -> MISA:
    """The network of section 10.2, in evaluation mode."""
    encoders: dict[str, Any] = {name: Stacked(size) for name, (size, _) in FEATURES.items()}
    names = [f"{name}_{space}" for space in ("private", "shared") for name in FEATURES]
    fusion = MISAFusion(dict.fromkeys(names, 4), dropout=0.0)
    method = MISA(Parts(encoders, fusion, MSE(), 4, 3.0, 1), dim=4, **{**PUBLISHED, **keys}).double().eval()
    for name, k0 in (("vision", 21), ("audio", 31), ("text", 41)):
        fill_encoder(method.encoders[name], k0)
    for m in range(3):
        project: Any = method.project[m]
        fill(project[0], 1 + m)
        fill_norm(project[2], 1 + m)
        fill(method.private[m], 4 + m)
        if method.weights["reconstruction"]:
            fill(method.decode_subspaces[m], 8 + m)
    fill(method.shared, 7)
    layer = fusion.layer
    for part, k in ((layer.in_proj, 11), (layer.out_proj, 12), (layer.linear1, 13)):
        fill(part, k)
    fill(layer.linear2, 14, 0.05)
    fill_norm(layer.norm1, 15)
    fill_norm(layer.norm2, 16)
    fill(method.head.hidden[0], 17)
    fill(method.head.out, 18)
    return method


def vector_batch() -> Batch:
    i, t = torch.arange(4).double()[:, None, None], torch.arange(4).double()[:, None]
    lengths = torch.tensor(LENGTHS)
    mask = torch.arange(4) < lengths[:, None]
    streams = {}
    for name, (size, (a, b, c, g)) in FEATURES.items():
        values = (a * i + g * t + b * torch.arange(size).double() + c).sin()
        streams[name] = Stream(torch.where(mask[..., None], values, 0.0), mask, lengths)
    target = torch.tensor([1.2, -0.4, 2.1, -1.5], dtype=torch.float64)
    weight = torch.ones(4, dtype=torch.float64)
    return Batch(streams, torch.ones(4, 3).bool(), {"multimodal": target}, torch.arange(4), weight, (4,))


def test_check_1_the_network_has_the_public_codes_values_and_gradients() -> None:
    method, batch = vector_network(), vector_batch()
    space = method.to_subspaces(batch)
    e_v = [0.190920090477, 0.164797200023, -0.068638840157, -0.170409293091]
    e_v += [0.178282336961, 0.063474990010, -0.204620190853, -0.127308368380]
    assert method.encode(batch)["vision"].pooled[0].tolist() == pytest.approx(e_v, abs=1e-9)
    u_t = [1.721064771832, 0.368346945641, -0.917307238529, -0.920915214535]
    assert space.projected[0, 0].tolist() == pytest.approx(u_t, abs=1e-9)
    s_t = [0.287037256496, 0.162738611242, 0.172003078331, 0.318062367523]
    assert space.shared[0, 0].tolist() == pytest.approx(s_t, abs=1e-9)
    p_a = [0.352624881555, 0.193528293861, 0.175458394332, 0.283780927722]
    assert space.private[0, 2].tolist() == pytest.approx(p_a, abs=1e-9)
    joint = method.predict(batch).features[0]
    first = [1.391438721758, 0.774862064348, -0.493061780109, -1.349666840981]
    last = [-0.613089985667, -0.767161429519, -0.299970273510, 1.446141846384]
    assert joint[:4].tolist() == pytest.approx(first, abs=1e-9)
    assert joint[-4:].tolist() == pytest.approx(last, abs=1e-9)
    assert method.predict(batch).score.tolist() == pytest.approx(SCORES, abs=1e-9)
    terms = method.losses(batch)
    assert {name: value.item() for name, value in terms.items()} == pytest.approx(TERMS, abs=1e-9)
    terms["loss"].backward()
    vision: Any = method.encoders["vision"]
    norms = [
        part.grad.norm().item()
        for part in (method.shared.weight, vision.forward_cells[0].weight_ih_l0, method.head.hidden[0].weight)
    ]
    assert norms == pytest.approx([33.221837976722, 15.181155690614, 11.107225602063], abs=1e-5)


def test_check_1_in_float32_too() -> None:
    method, batch = vector_network().float(), vector_batch()
    batch.streams = {n: Stream(s.values.float(), s.mask, s.lengths) for n, s in batch.streams.items()}
    batch.targets, batch.weight = {"multimodal": batch.targets["multimodal"].float()}, batch.weight.float()
    found = {name: value.item() for name, value in method.losses(batch).items()}
    assert found == pytest.approx(TERMS, rel=1e-4)


def test_check_1_the_rule_for_absent_modalities_has_the_specifications_values() -> None:
    method, batch = vector_network(), vector_batch()
    expected = {
        ("text", "audio"): [-0.435668488432, -0.313406985676, -0.336377737337, 1.599980839130],
        ("vision",): [0.762626570905, -0.268870494424, 0.756412683784, 0.661365143727],
    }
    for present, scores in expected.items():
        assert method.predict(batch.restrict(list(present))).score.tolist() == pytest.approx(scores, abs=1e-9)


def test_check_1_and_8_the_discriminator_and_its_reversed_gradient() -> None:
    i, j = torch.arange(6).double()[:, None], torch.arange(4).double()
    abc = {"s_t": (0.7, 1.3, 0.2), "s_v": (1.1, -0.6, 0.5), "s_a": (-0.4, 0.9, 1.0)}
    shared = torch.stack([0.5 + 0.4 * (a * i + b * j + c).sin() for a, b, c in abc.values()], dim=1).requires_grad_()
    method = vector_network(similarity="adversarial", reversal=0.8)
    discriminator = method.discriminator
    assert isinstance(discriminator, nn.Sequential)
    fill(discriminator[0], 19, 1.0)
    fill(discriminator[3], 20, 1.0)
    value = method._adversarial(batch_of(range(6)), discriminator, shared)
    assert value.item() == pytest.approx(1.122980552736, abs=1e-9)
    reversed_S, *own = torch.autograd.grad(value, [shared, *discriminator.parameters()])
    row = [-0.006778972417, 0.002697937582, 0.008222362703, 0.001701007201]
    assert reversed_S[:, 0][0].tolist() == pytest.approx(row, abs=1e-9)
    assert reversed_S[:, 0].norm().item() == pytest.approx(0.091559932571, abs=1e-9)
    plain = torch.nn.functional.cross_entropy(discriminator(shared).flatten(0, 1), torch.arange(3).repeat(6))
    straight, *expected = torch.autograd.grad(plain, [shared, *discriminator.parameters()])
    torch.testing.assert_close(reversed_S, -0.8 * straight)
    torch.testing.assert_close(own, expected)
    assert torch.equal(Reversal.apply(shared, 0.8), shared)  # type: ignore[no-untyped-call]


def small(*, fusion: bool = True, modalities: int = 3, **keys: Any) -> MISA:
    """A small MISA on the clips of `batches`, in float64, with nothing random."""
    torch.manual_seed(3)
    sizes = dict(list({"text": 5, "audio": 3, "vision": 4}.items())[:modalities])
    encoders: dict[str, Any] = {name: LSTM(size, hidden=4) for name, size in sizes.items()}
    dims = MISA.fusion_sizes({"dim": 6}, sizes)
    joint = MISAFusion(dims, feedforward=16, dropout=0.0) if fusion else Concat(dims, out=8)
    parts = Parts(encoders, joint, MSE(), 40, 3.0, 1)
    return MISA(parts, dim=6, **{"dropout": 0.0, **keys}).double()


def step(method: MISA, batch: Batch) -> dict[str, Tensor]:
    """The terms, and the gradient of every parameter, zero where there is none."""
    method.zero_grad()
    terms = method.losses(batch)
    terms["loss"].backward()
    found = {n: torch.zeros_like(p) if p.grad is None else p.grad.clone() for n, p in method.named_parameters()}
    return {**{f"term {name}": value.detach() for name, value in terms.items()}, **found}


SHARES = [(4, 3), (9, 5), (3, 0), (1, 0)]
KEYS: list[dict[str, Any]] = [{}, {"similarity": "adversarial", "absent_private": "learned"}]


def _rank(rank: int) -> list[dict[str, Tensor]]:
    return [step(small(**keys), share_of(shares, rank, absent=True)) for keys in KEYS for shares in SHARES]


def test_check_5_two_processes_give_value_and_gradient_of_one() -> None:
    ranks = on_ranks(2, _rank)
    cases = [(keys, shares) for keys in KEYS for shares in SHARES]
    for (keys, shares), first, second in zip(cases, *ranks, strict=True):
        alone = step(small(**keys), batch_of(range(sum(shares)), absent=True))
        mean = {name: (first[name] + second[name]) / 2 for name in alone}
        torch.testing.assert_close(mean, alone, rtol=0, atol=1e-10, msg=lambda m, at=(keys, shares): f"{at}: {m}")


def test_check_6_without_weights_it_is_training_on_the_task_and_nothing_is_built() -> None:
    none = {"difference_weight": 0.0, "similarity_weight": 0.0, "reconstruction_weight": 0.0}
    method, batch = small(**none), batch_of(range(7))
    terms = method.losses(batch)
    assert terms.keys() == {"task", "loss"}
    score = method.predict(batch).score
    assert terms["loss"].item() == pytest.approx(
        float((score - batch.targets["multimodal"]).square().mean().detach()), abs=1e-12
    )
    terms["loss"].backward()
    assert all(parameter.grad is not None for parameter in method.parameters())
    assert {n for n, _ in small().named_parameters()} - {n for n, _ in method.named_parameters()} == {
        f"decode_subspaces.{m}.{part}" for m in range(3) for part in ("weight", "bias")
    }


def test_check_7_each_term_is_that_of_the_clips_concerned() -> None:
    method, batch = small(), batch_of(range(10), absent=True)
    space, present = method.to_subspaces(batch), batch.present.numpy()
    s, p = (part.detach().numpy() for part in (space.shared, space.private))
    u = space.projected.detach()
    terms = {name: value.item() for name, value in method.losses(batch).items()}

    def cmd(x: Any, y: Any) -> float:
        return sum(
            float(np.linalg.norm(a - b))
            for a, b in [
                (x.mean(0), y.mean(0)),
                *((((x - x.mean(0)) ** k).mean(0), ((y - y.mean(0)) ** k).mean(0)) for k in range(2, 6)),
            ]
        )

    def unlike(x: Any, y: Any) -> float:
        x, y = ((c := z - z.mean(0)) / (np.linalg.norm(c, axis=1, keepdims=True) + 1e-6) for z in (x, y))
        return float(((x.T @ y) ** 2).mean())

    pairs = [(0, 1), (0, 2), (1, 2)]
    of = [s[present[:, m], m] for m in range(3)]
    assert terms["similarity"] == pytest.approx(sum(cmd(of[m], of[n]) for m, n in pairs) / 3, abs=1e-10)
    own = sum(unlike(p[present[:, m], m], s[present[:, m], m]) for m in range(3))
    both = {(m, n): present[:, m] & present[:, n] for m, n in pairs}
    assert terms["difference"] == pytest.approx(
        own + sum(unlike(p[both[m, n], m], p[both[m, n], n]) for m, n in pairs), abs=1e-10
    )
    errors = [
        float((method.decode_subspaces[m](space.private + space.shared)[:, m] - u[:, m])[present[:, m]].square().mean())
        for m in range(3)
    ]
    assert terms["reconstruction"] == pytest.approx(sum(errors) / 3, abs=1e-10)


def test_check_7_every_subset_predicts_and_stand_ins_change_incomplete_clips_alone() -> None:
    batch = batch_of(range(7), absent=True)
    plain = small().predict(batch).score
    assert plain.isfinite().all()
    complete = subsets(7).all(dim=1)
    for keys in ({"absent_private": "learned"}, {"absent_shared": "masked"}):
        method = small(**keys)
        for stand_in in method.private_stand_ins:
            nn.init.ones_(stand_in)
        changed = method.predict(batch).score != plain
        assert torch.equal(changed, ~complete), keys


def test_check_9_the_order_of_tokens_is_nothing_but_the_order_of_the_heads_columns() -> None:
    torch.manual_seed(0)
    fusion = MISAFusion(dict.fromkeys("abcdef", 4), dropout=0.0)
    vectors, present = torch.randn(5, 6, 4), torch.rand(5, 6) > 0.3
    order = torch.tensor([4, 2, 0, 5, 1, 3])
    from trivium.encoders.base import Encoded

    def fused(columns: Tensor) -> Tensor:
        rows = torch.where(present[..., None], vectors, 0.0)[:, columns]
        has = present[:, columns]
        encoded = {n: Encoded(rows[:, k, None], has[:, k, None], rows[:, k]) for k, n in enumerate("abcdef")}
        out: Tensor = fusion(encoded, has)
        return out.unflatten(1, (6, 4))

    torch.testing.assert_close(fused(order), fused(torch.arange(6))[:, order])


def test_the_layer_is_torchs_with_its_norms_last() -> None:
    torch.manual_seed(0)
    fusion = MISAFusion(dict.fromkeys("abcdef", 8), feedforward=12, dropout=0.0)
    reference = nn.TransformerEncoderLayer(8, 2, 12, 0.0, batch_first=True)
    layer = fusion.layer
    reference.self_attn.in_proj_weight.data = layer.in_proj.weight.data
    reference.self_attn.in_proj_bias.data = layer.in_proj.bias.data
    for name, own in (("self_attn.out_proj", layer.out_proj), ("linear1", layer.linear1), ("linear2", layer.linear2)):
        reference.get_submodule(name).load_state_dict(own.state_dict())
    x = torch.randn(5, 6, 8)
    present = torch.rand(5, 6) > 0.3
    present[:, 0] = True
    expected = reference(x, src_key_padding_mask=~present)
    torch.testing.assert_close(fusion._layer(x, present), expected)


@pytest.mark.slow  # 20 s
def test_check_10_training_lowers_similarity_and_reconstruction_and_keeps_the_subspaces_apart(tmp_path: Any) -> None:
    settings = ["method=misa", "encoder=lstm", "method.dim=16", "fusion.feedforward=32", "data.batch_size=80"]
    settings += ["optimizer=adam", "trainer.max_epochs=8", "trainer.patience=0"]
    found = {}
    for name, keys in {"with": ["run.log_steps=false"], "without": ["method.difference_weight=1e-9"]}.items():
        here(tmp_path, *settings, *keys, f"run.dir={tmp_path / name}")
        epochs = rows(tmp_path / name / "metrics.csv")
        found[name] = [
            {term: float(epoch[f"train/{term}"]) for term in ("similarity", "reconstruction", "difference")}
            for epoch in epochs
        ]
    first, last = found["with"][0], found["with"][-1]
    assert last["similarity"] < first["similarity"]
    assert last["reconstruction"] < first["reconstruction"]
    assert last["difference"] < found["without"][-1]["difference"]


@pytest.mark.parametrize(
    ("dims", "lines"),
    [
        ((300, 74, 47), 5_143_549),
        ((300, 5, 20), 4_800_541),
        ((300, 74, 35), 5_097_613),
        ((300, 33, 709), 25_327_257),
    ],
)
def test_parameters_are_as_many_as_in_misa(dims: tuple[int, int, int], lines: int) -> None:
    sizes = dict(zip(("text", "audio", "vision"), dims, strict=True))
    schema = StoreSchema(
        "d", "d/f", sizes, {"train": 9}, dict.fromkeys(sizes, 50), {"multimodal": Target("score", range=(-3.0, 3.0))}
    )
    reads = dict.fromkeys(sizes, "values")
    count = [
        sum(p.numel() for p in build_method(compose_config(["method=misa", *keys]), schema, reads).parameters())
        for keys in ([], ["method.similarity=adversarial"])
    ]
    assert count == [lines, lines + 16_899]


def test_text_lengths_cuts_the_other_modalities_to_the_text() -> None:
    method, batch = small(text_lengths=True), batch_of(range(7), absent=True)
    cut = method.encode(batch)
    for row in range(7):
        text = int(batch.streams["text"].lengths[row]) if batch.present[row, 0] else 99
        for m, name in enumerate(("audio", "vision"), start=1):
            steps = min(text, int(batch.streams[name].lengths[row])) if batch.present[row, m] else 0
            assert int(cut[name].mask[row].sum()) == steps
            if steps:
                alone = batch.streams[name].values[row : row + 1, :steps]
                mask = torch.ones(1, steps, dtype=torch.bool)
                expected = method.encoders[name](Stream(alone, mask, torch.tensor([steps]))).pooled
                torch.testing.assert_close(cut[name].pooled[row : row + 1], expected)


@pytest.mark.parametrize("modalities", [1, 2])
def test_fewer_modalities_and_another_fusion_will_do(modalities: int) -> None:
    batch = batch_of(range(5), dims=dict(list({"text": 5, "audio": 3}.items())[:modalities]))
    for fusion in (True, False):
        found = step(small(modalities=modalities, fusion=fusion), batch)
        assert all(value.isfinite().all() for value in found.values())


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"similarity": "cdm"}, "method.similarity: expected one of cmd, adversarial"),
        ({"absent_shared": "none"}, "method.absent_shared"),
        ({"difference_weight": -1.0}, "method.difference_weight: expected a number from 0"),
        ({"reversal": float("nan")}, "method.reversal: expected a number from 0"),
        ({"dim": 0}, "method.dim"),
    ],
)
def test_wrong_settings_are_named(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MISA(Parts({"text": LSTM(5, hidden=4)}, Concat({"x": 4}), MSE(), 4, 3.0, 1), **keys)
