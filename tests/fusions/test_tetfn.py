"""TETFN against the values of its specification, computed by the public classes in float64, and its properties."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from trivium.config.compose import compose_config
from trivium.data.store import StoreSchema
from trivium.data.target import Target
from trivium.encoders.base import Encoded
from trivium.fusions.crossmodal import TransformerStack
from trivium.fusions.tetfn import TETFN
from trivium.methods.base import Parts
from trivium.methods.build import build_method
from trivium.methods.selfmi import SelfMI
from trivium.objectives.task import L1

EXACT = {"rtol": 0.0, "atol": 1e-9}
LAYER = ("in_proj", "out_proj", "linear1", "linear2")


# The specification's rule that fills arrays, which are numbered


def matrix(p: int, rows: int, columns: int) -> Tensor:
    i, j = torch.arange(rows, dtype=torch.float64)[:, None], torch.arange(columns, dtype=torch.float64)
    return 0.4 * torch.sin(0.7 * i + 0.3 * j + p)


def bias(p: int, size: int) -> Tensor:
    return 0.1 * torch.cos(0.5 * torch.arange(size, dtype=torch.float64) + p)


def gain(p: int, size: int) -> Tensor:
    return 1 + 0.1 * torch.sin(torch.arange(size, dtype=torch.float64) + p)


def sequence(clips: int, steps: int, size: int, c: float) -> Tensor:
    b, t, d = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in (clips, steps, size)), indexing="ij")
    return torch.sin(1.1 * b + 0.8 * t + 0.5 * d + c)


@torch.no_grad()
def fill_transformer(stack: TransformerStack, number: int, arrays: Iterator[int]) -> None:
    """One transformer of a stack: 12 arrays a layer, then the last norm."""
    width = stack.width
    for layer in range(stack.layers):
        for name in LAYER:
            weight = stack.get_parameter(f"{name}_weight")[layer, number]
            weight.copy_(matrix(next(arrays), *weight.shape))
            place = stack.get_parameter(f"{name}_bias").view(stack.layers, stack.count, -1)[layer, number]
            place.copy_(bias(next(arrays), len(place)))
        for name in ("norm1", "norm2"):
            for kind, make in (("gain", gain), ("shift", bias)):
                flat = stack.get_parameter(f"{name}_{kind}").view(stack.layers, stack.count, -1)
                flat[layer, number].copy_(make(next(arrays), width))
    for kind, make in (("gain", gain), ("shift", bias)):
        stack.get_parameter(f"norm_{kind}").view(stack.count, -1)[number].copy_(make(next(arrays), width))


@torch.no_grad()
def fill_linear(layer: nn.Module, arrays: Iterator[int]) -> None:
    assert isinstance(layer, nn.Linear)
    layer.weight.copy_(matrix(next(arrays), *layer.weight.shape))
    layer.bias.copy_(bias(next(arrays), len(layer.bias)))


@torch.no_grad()
def fill_convolution(layer: nn.Module, arrays: Iterator[int]) -> None:
    assert isinstance(layer, nn.Conv1d)
    rows = layer.weight.shape[0]
    layer.weight.copy_(matrix(next(arrays), rows, layer.weight[0].numel()).view_as(layer.weight))


@torch.no_grad()
def fill_lstm(cell: nn.LSTM, arrays: Iterator[int]) -> None:
    for name in ("weight_ih_l0", "weight_hh_l0"):
        weight = cell.get_parameter(name)
        weight.copy_(matrix(next(arrays), *weight.shape))
    for name in ("bias_ih_l0", "bias_hh_l0"):
        cell.get_parameter(name).copy_(bias(next(arrays), len(cell.get_parameter(name))))


DIMS = {"text": 5, "audio": 3, "vision": 4}


def made(dims: dict[str, int] = DIMS, **settings: object) -> TETFN:
    torch.manual_seed(1)
    fusion = TETFN(dims, **{"dim": 5, "width": 6, "heads": 2, **settings}).double().eval()  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in fusion.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return fusion


def encoded(lengths: dict[str, list[int]], extra: int = 0, junk: float = 0.0) -> tuple[dict[str, Encoded], Tensor]:
    """Random tokens; a length of 0 is an absent modality. junk: what padding holds."""
    tokens = {}
    for m, (name, each) in enumerate(lengths.items()):
        length_B, steps = torch.tensor(each), 7 + extra
        values = torch.randn(len(each), 7, DIMS[name], generator=torch.Generator().manual_seed(m)).double()
        values = torch.cat([values, torch.zeros(len(each), extra, DIMS[name]).double()], dim=1)
        mask = torch.arange(steps) < length_B[:, None]
        tokens[name] = Encoded(values.masked_fill(~mask[..., None], junk), mask, values[:, 0])
    present = torch.tensor(list(lengths.values())).T > 0
    return tokens, present


def whole(lengths: tuple[int, ...] = (3, 5, 7)) -> tuple[dict[str, Encoded], Tensor]:
    return encoded({name: [length, 4] for name, length in zip(DIMS, lengths, strict=True)})


# Acceptance check 1: the vectors


def test_t1_the_text_enhanced_transformer() -> None:
    fusion = made(DIMS, positions="enhanced")
    arrays = itertools.count()
    number = fusion.enhanced.index((1, 2))
    assert fusion.lower is not None
    assert fusion.upper is not None
    fill_transformer(fusion.lower, number, arrays)
    fill_transformer(fusion.upper, number, arrays)
    assert next(arrays) == 40
    tokens = [sequence(1, 4, 6, 2.1), sequence(1, 2, 6, 1.1), sequence(1, 3, 6, 0.1)]  # text, audio = k, vision = q
    found = fusion._read((1, 2), tokens, [torch.tensor([n]) for n in (4, 2, 3)])
    expected = [
        [1.3531802838, 1.0545338922, 0.3901852551, -0.3442385536, -0.9614227616, -1.4473227517],
        [1.6090555388, 1.0282929852, 0.2182044068, -0.7778576800, -0.9223902663, -1.1419143176],
    ]
    torch.testing.assert_close(found[0], torch.tensor(expected, dtype=torch.float64), **EXACT)


def test_t2_a_transformer_without_positions() -> None:
    fusion = made(DIMS)
    number = fusion.plain.index((0, 1))
    assert fusion.across is not None
    fill_transformer(fusion.across, number, itertools.count())
    tokens = [sequence(1, 2, 6, 0.3), sequence(1, 4, 6, 1.3), sequence(1, 1, 6, 0.0)]
    found = fusion._read((0, 1), tokens, [torch.tensor([n]) for n in (2, 4, 1)])
    expected = [
        [0.8651821197, 1.2115833460, 0.8388332652, -0.1145785352, -1.0536919871, -1.5414078403],
        [1.3355624857, 1.1230572980, 0.4466037321, -0.4468724676, -1.0875183456, -1.2863792772],
    ]
    torch.testing.assert_close(found[0], torch.tensor(expected, dtype=torch.float64), **EXACT)


def test_t3_self_attention_read_at_the_last_step() -> None:
    stack = TransformerStack(1, 6, layers=2, heads=2, dropout=0.0, embed_dropout=0.0, positions=False).double().eval()
    fill_transformer(stack, 0, itertools.count())
    found = stack.last_steps(sequence(1, 3, 6, 0.4)[None], torch.tensor([[3]]), made().enhanced_dropout, [0])
    expected = [1.4677459627, 1.0776119685, 0.3086583889, -0.5739811421, -1.1071266044, -1.1332766684]
    torch.testing.assert_close(found[0, 0], torch.tensor(expected, dtype=torch.float64), **EXACT)


def test_t4_the_whole_network() -> None:
    cells = {"audio": nn.LSTM(2, 3, batch_first=True).double(), "vision": nn.LSTM(4, 2, batch_first=True).double()}
    fusion = TETFN({"text": 3, "audio": 3, "vision": 2}, dim=4, width=6, heads=2).double()
    posts = {"text": 3, "audio": 3, "vision": 2}
    encoders = {name: Pooled(size) for name, size in fusion.dims.items()}
    parts = Parts(encoders, fusion, L1(), train_clips=2, high=3.0, seed=1)  # type: ignore[arg-type]
    method = SelfMI(parts, cpc_weight=0.0, pair_weight=0.0, post_dims=posts).double().eval()
    arrays = itertools.count(3)
    for m, name in ((1, "audio"), (2, "vision")):
        fill_lstm(cells[name], arrays)
        fill_convolution(fusion.convolutions[m], arrays)
    fill_convolution(fusion.convolutions[0], arrays)
    assert fusion.across is not None
    assert fusion.lower is not None
    assert fusion.upper is not None
    assert fusion.memory is not None
    for pair in ((0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)):
        if pair in fusion.plain:
            fill_transformer(fusion.across, fusion.plain.index(pair), arrays)
        else:
            fill_transformer(fusion.lower, fusion.enhanced.index(pair), arrays)
            fill_transformer(fusion.upper, fusion.enhanced.index(pair), arrays)
    for m in range(3):
        fill_transformer(fusion.memory, m, arrays)
    for layers in (
        (fusion.out, method.joint_head.hidden[0], method.joint_head.out),
        *((method.project[s], method.heads[s].hidden[0], method.heads[s].out) for s in posts),  # type: ignore[index]
    ):
        for layer in layers:
            fill_linear(layer, arrays)
    assert next(arrays) == 3 + 297
    tokens = {
        "text": sequence(2, 3, 3, 2.0),
        "audio": cells["audio"](sequence(2, 4, 2, 3.0))[0],
        "vision": cells["vision"](sequence(2, 5, 4, 4.0))[0],
    }
    here = {
        s: Encoded(value, torch.ones(value.shape[:2], dtype=torch.bool), value[:, 0]) for s, value in tokens.items()
    }
    joint = fusion(here, torch.ones(2, 3, dtype=torch.bool))
    _close(joint[0], [1.0640673789, 0.1430914520, 0.0, 0.0])
    _close(method.joint_head(joint)[:, 0], [-0.1475379788, -0.0268971716])
    projected = method._project(here)
    _close(projected["text"][0], [0.1672802491, 0.8048662925, 1.0803065724])
    _close(projected["audio"][0], [0.2379968428, 0.3260354502, 0.2808020236])
    _close(projected["vision"][0], [0.0, 0.1128913479])
    scores = {"text": [-0.1515723580, -0.1240482617], "audio": [-0.0680777159, -0.0692386440]}
    scores["vision"] = [-0.0808128286, -0.0809544383]
    for s, expected in scores.items():
        _close(method.heads[s](projected[s])[:, 0], expected)


class Pooled(nn.Module):
    """Says an encoder's size; the tokens are given to the fusion by hand."""

    reads = "values"

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim


def _close(found: Tensor, expected: list[float]) -> None:
    torch.testing.assert_close(found.detach(), torch.tensor(expected, dtype=torch.float64), **EXACT)


# Acceptance check 2: numbers of parameters


@pytest.mark.parametrize(
    ("data", "audio", "vision", "count"),
    [("mosi", 5, 20, 1_254_224), ("mosei", 74, 35, 1_257_360), ("sims", 33, 709, 1_529_968)],
)
def test_2_it_has_the_public_code_s_number_of_parameters(data: str, audio: int, vision: int, count: int) -> None:
    config = compose_config([f"experiment=tetfn_{data}", "encoder@encoders.text=identity"])
    dims = {"text": 768, "audio": audio, "vision": vision}
    schema = StoreSchema(
        "x", "x/y", dims, {"train": 8}, dict.fromkeys(dims, 4), {"multimodal": Target("score", range=(-3.0, 3.0))}
    )
    method = build_method(config, schema, dict.fromkeys(dims, "values"))
    assert sum(parameter.numel() for parameter in method.parameters()) == count


# Other acceptance checks


def test_5_a_text_enhanced_read_has_the_length_of_k_and_depends_on_text_through_the_lower_layer_alone() -> None:
    fusion = made()
    tokens = [sequence(1, 4, 6, 2.1), sequence(1, 2, 6, 1.1), sequence(1, 3, 6, 0.1)]
    lengths = [torch.tensor([n]) for n in (4, 2, 3)]
    before = fusion._read((1, 2), tokens, lengths)
    assert before.shape == (1, 2, 6)
    other = [tokens[0] + sequence(1, 4, 6, 0.5), *tokens[1:]]
    assert not torch.allclose(fusion._read((1, 2), other, lengths), before)
    with torch.no_grad():
        assert fusion.lower is not None
        fusion.lower.out_proj_weight.zero_()  # type: ignore[operator]
    torch.testing.assert_close(fusion._read((1, 2), other, lengths), fusion._read((1, 2), tokens, lengths))


def test_6_without_positions_the_order_of_a_source_that_is_seen_whole_does_not_matter() -> None:
    for positions, same in (("enhanced", True), ("all", False)):
        fusion = made(positions=positions)
        tokens = [sequence(1, 1, 6, 0.3), sequence(1, 4, 6, 1.3), sequence(1, 1, 6, 0.0)]
        lengths = [torch.tensor([n]) for n in (1, 4, 1)]
        turned = [tokens[0], tokens[1][:, [2, 0, 3, 1]], tokens[2]]
        a, b = fusion._read((0, 1), tokens, lengths), fusion._read((0, 1), turned, lengths)
        assert torch.allclose(a, b, atol=1e-12) == same


@pytest.mark.parametrize("kernel", [1, 3])
def test_7_padding_and_what_it_holds_change_nothing(kernel: int) -> None:
    fusion = made(kernels={"default": kernel})
    lengths = {"text": [3, 7, 2], "audio": [1, 4, 7], "vision": [5, 2, 3]}
    plain, present = encoded(lengths)
    longer, _ = encoded(lengths, extra=4, junk=9.0)
    torch.testing.assert_close(fusion(longer, present), fusion(plain, present))
    for name, vector in fusion.unimodal(longer).items():
        torch.testing.assert_close(vector, fusion.unimodal(plain)[name])


def test_a_modality_s_own_vector_is_the_maximum_over_its_real_steps() -> None:
    fusion = made(kernels={"default": 2})
    tokens, _ = encoded({"text": [3, 7, 2], "audio": [1, 4, 7], "vision": [5, 0, 3]})
    for name, values, lengths in zip(DIMS, *fusion._convolve(tokens), strict=True):
        for clip, length in enumerate(lengths.tolist()):
            expected = values[clip, :length].amax(dim=0) if length else torch.zeros(6).double()
            torch.testing.assert_close(fusion.unimodal(tokens)[name][clip], expected)


def test_8_text_alone_is_a_clip_whose_audio_and_vision_have_no_steps() -> None:
    fusion = made()
    subsets = [subset for subset in itertools.product((0, 4), repeat=3) if any(subset)]
    tokens, present = encoded({name: [subset[m] for subset in subsets] for m, name in enumerate(DIMS)})
    joint = fusion(tokens, present)
    assert joint.isfinite().all()
    for row, subset in enumerate(subsets):
        one, here = encoded({name: [n] for name, n in zip(DIMS, subset, strict=True)})
        # of the row's own values
        one = {
            s: Encoded(torch.where(e.mask[..., None], tokens[s].tokens[row : row + 1], 0.0), e.mask, e.pooled)
            for s, e in one.items()
        }
        torch.testing.assert_close(fusion(one, here)[0], joint[row])
        for m, name in enumerate(DIMS):
            assert subset[m] or not fusion.unimodal(one)[name].any()


@pytest.mark.parametrize("kernel", [1, 3])
def test_the_convolution_is_torch_s(kernel: int) -> None:
    fusion = made(kernels={"default": kernel})
    tokens, _ = encoded({name: [7, 7] for name in DIMS})
    for name, convolution, found in zip(DIMS, fusion.convolutions, fusion._convolve(tokens)[0], strict=True):
        torch.testing.assert_close(found, convolution(tokens[name].tokens.mT).mT)


def test_10_a_clip_shorter_than_the_kernel_counts_as_one_step() -> None:
    fusion = made(kernels={"text": 5, "audio": 3, "vision": 3})
    tokens, lengths = fusion._convolve(encoded({"text": [2, 7], "audio": [1, 3], "vision": [4, 1]})[0])
    assert [length.tolist() for length in lengths] == [[1, 3], [1, 1], [2, 1]]
    assert all(value.isfinite().all() for value in tokens)
    short = {s: Encoded(e.tokens[:, :2], e.mask[:, :2], e.pooled) for s, e in whole((2, 1, 2))[0].items()}
    assert fusion(short, torch.ones(2, 3, dtype=torch.bool)).isfinite().all()


def test_11_the_last_step_of_a_source_changes_the_last_row_alone() -> None:
    fusion = made(layers=1)
    tokens = [sequence(1, 4, 6, 0.3), sequence(1, 4, 6, 1.3), sequence(1, 4, 6, 0.0)]
    lengths = [torch.tensor([4])] * 3
    other = [tokens[0], tokens[1].clone(), tokens[2]]
    other[1][0, 3, 2] += 1  # one feature, as a layer norm takes a shift of all away
    moved = (fusion._read((0, 1), tokens, lengths) != fusion._read((0, 1), other, lengths))[0].any(dim=1)
    assert moved.tolist() == [False, False, False, True]


# Without masks: the public code, which reads no lengths, written out step by step for one clip


def attended(query: Tensor, source: Tensor, weights: dict[str, Tensor], heads: int) -> Tensor:
    """Multi-head attention of (T, E) to (S, E), causal for arrays of T and S steps."""
    width = query.shape[1]
    size, rows = width // heads, [slice(n * width, (n + 1) * width) for n in range(3)]
    q, k, v = (
        x @ weights["in_proj_weight"][row].T + weights["in_proj_bias"][row]
        for x, row in zip((query, source, source), rows, strict=True)
    )
    out = torch.zeros(len(query), width).double()
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        for i in range(len(query)):
            seen = min(len(source), i + abs(len(source) - len(query)) + 1)
            scores = torch.stack([q[i, part] @ k[j, part] / size**0.5 for j in range(seen)])
            shares = scores.exp() / scores.exp().sum()
            out[i, part] = sum((share * v[j, part] for j, share in enumerate(shares)), torch.zeros(size).double())
    return out @ weights["out_proj_weight"].T + weights["out_proj_bias"]


def normed(x: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
    centred = x - x.mean(dim=1, keepdim=True)
    return centred / (centred.square().mean(dim=1, keepdim=True) + 1e-5).sqrt() * gain + shift


def placed(x: Tensor, positions: bool) -> Tensor:
    """sqrt(E) x, with the sinusoid of step t + 1 where the first channel is not 0."""
    steps, width = x.shape
    out = x * width**0.5
    for t in range(steps if positions else 0):
        angles = [(t + 1) * 10000.0 ** (-i / (width // 2 - 1)) for i in range(width // 2)]
        sines = [*map(math.sin, angles), *map(math.cos, angles)]
        out[t] += torch.tensor(sines, dtype=torch.float64) * float(x[t, 0] != 0)
    return out


def read_by(stack: TransformerStack, number: int, target: Tensor, source: Tensor | None) -> Tensor:
    """X(target; source), (T, E); of None self-attention."""
    x, s = placed(target, stack.positions), None if source is None else placed(source, stack.positions)
    for layer in range(stack.layers):
        w = {}
        for name in LAYER:
            w[f"{name}_weight"] = stack.get_parameter(f"{name}_weight")[layer, number]
            w[f"{name}_bias"] = stack.get_parameter(f"{name}_bias").view(stack.layers, stack.count, -1)[layer, number]
        norm1, norm2 = (
            [
                stack.get_parameter(f"{n}_{kind}").view(stack.layers, stack.count, -1)[layer, number]
                for kind in ("gain", "shift")
            ]
            for n in ("norm1", "norm2")
        )
        first = normed(x, *norm1)
        x = x + attended(first, first if s is None else normed(s, *norm1), w, stack.heads)
        hidden = (normed(x, *norm2) @ w["linear1_weight"].T + w["linear1_bias"]).clamp(min=0)
        x = x + hidden @ w["linear2_weight"].T + w["linear2_bias"]
    return normed(x, *(stack.get_parameter(f"norm_{kind}").view(stack.count, -1)[number] for kind in ("gain", "shift")))


def as_the_public_code(fusion: TETFN, arrays: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """The joint vector of a clip that has every modality, and each one's own vector; arrays: (T, D) with padding."""
    assert fusion.across is not None
    assert fusion.lower is not None
    assert fusion.upper is not None
    assert fusion.memory is not None
    tokens = []
    for values, convolution in zip(arrays, fusion.convolutions, strict=True):
        weight = convolution.get_parameter("weight")
        windows = [values[t : t + weight.shape[2]].T for t in range(len(values) - weight.shape[2] + 1)]
        tokens.append(torch.stack([(weight * window).sum(dim=(1, 2)) for window in windows]))
    last = []
    for target in range(3):
        read = []
        for source in (m for m in range(3) if m != target):
            if (target, source) in fusion.plain:
                number = fusion.plain.index((target, source))
                read.append(read_by(fusion.across, number, tokens[target], tokens[source]))
            else:
                number = fusion.enhanced.index((target, source))
                told = read_by(fusion.lower, number, tokens[source], tokens[0])
                read.append(read_by(fusion.upper, number, tokens[target], told))
        last.append(read_by(fusion.memory, target, torch.cat(read, dim=1), None)[-1])
    return fusion.out(torch.cat(last)).clamp(min=0), [each.max(dim=0).values for each in tokens]


STEPS = {"text": 7, "audio": 9, "vision": 8}


def arrays_of(tokens: dict[str, Encoded], clip: int, steps: dict[str, int]) -> list[Tensor]:
    """A clip's arrays, zeros up to `steps`."""
    arrays = []
    for name, each in tokens.items():
        values = each.tokens[clip, : int(each.mask[clip].sum())]
        arrays.append(torch.cat([values, torch.zeros(steps[name] - len(values), values.shape[1]).double()]))
    return arrays


@torch.no_grad()
@pytest.mark.parametrize("kernels", [{"default": 1}, {"text": 3, "audio": 2, "vision": 1}])
@pytest.mark.parametrize("positions", ["enhanced", "all"])
def test_without_masks_padding_counts_as_in_the_public_code(kernels: dict[str, int], positions: str) -> None:
    lengths = {"text": [3, 7, 1], "audio": [1, 4, 6], "vision": [5, 2, 7]}
    tokens, present = encoded(lengths, junk=9.0)
    fusion = made(kernels=kernels, positions=positions, masks=False, steps=STEPS)
    joint, own = fusion(tokens, present), fusion.unimodal(tokens)
    assert (joint > 0).any()
    for clip in range(3):
        expected, vectors = as_the_public_code(fusion, arrays_of(tokens, clip, STEPS))
        torch.testing.assert_close(joint[clip], expected, **EXACT)
        for name, vector in zip(DIMS, vectors, strict=True):
            torch.testing.assert_close(own[name][clip], vector, **EXACT)
    # with masks it is what the reference makes of each clip's own steps
    masked = made(kernels=kernels, positions=positions)
    least = {name: kernels.get(name, 1) for name in DIMS}
    for clip in range(3):
        steps = {name: max(least[name], lengths[name][clip]) for name in DIMS}
        expected, _ = as_the_public_code(masked, arrays_of(tokens, clip, steps))
        torch.testing.assert_close(masked(tokens, present)[clip], expected, **EXACT)
    assert (masked(tokens, present) - joint).abs().max() > 1e-3


@torch.no_grad()
def test_without_masks_a_clip_depends_on_the_stores_longest_and_not_on_its_batch() -> None:
    lengths = {"text": [3, 7, 2], "audio": [1, 4, 0], "vision": [5, 0, 3]}
    tokens, present = encoded(lengths)
    fusion = made(kernels={"default": 2}, masks=False, steps=STEPS)
    joint, own = fusion(tokens, present), fusion.unimodal(tokens)
    for clip in range(3):
        row = slice(clip, clip + 1)
        alone = {
            name: Encoded(e.tokens[row, : max(1, n)], e.mask[row, : max(1, n)], e.pooled[row])
            for (name, e), n in zip(tokens.items(), (each[clip] for each in lengths.values()), strict=True)
        }
        torch.testing.assert_close(fusion(alone, present[row])[0], joint[clip])
        for name, vector in fusion.unimodal(alone).items():
            torch.testing.assert_close(vector[0], own[name][clip])
    # an absent modality has no steps that could be read, not even padded ones
    filled = {
        name: Encoded(torch.where(e.mask.any(dim=1)[:, None, None], e.tokens, 5.0), e.mask, e.pooled)
        for name, e in tokens.items()
    }
    assert torch.equal(fusion(filled, present), joint)
    assert not own["audio"][2].any()
    assert not own["vision"][1].any()
    # and it has zeros in its place before the last Linear
    fusion.out.weight[:, 12:24] += 1
    moved = (fusion(tokens, present) - joint).abs().amax(dim=1)
    assert (moved[:2] > 1e-3).all()
    assert moved[2] == 0
    # longer stores are another padding
    longer = made(kernels={"default": 2}, masks=False, steps={**STEPS, "audio": 12})
    assert (longer(tokens, present) - joint)[:2].abs().max() > 1e-6


@pytest.mark.parametrize("names", [("audio", "vision"), ("text", "audio"), ("vision",)])
def test_any_modalities_do(names: tuple[str, ...]) -> None:
    fusion = made({name: DIMS[name] for name in names})
    tokens, present = encoded({name: [3, 5] for name in names})
    assert fusion(tokens, present).shape == (2, 5)
    assert set(fusion.unimodal(tokens)) == set(names)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 9, "heads": 3}, r"width: expected an even multiple of heads \(3\)"),
        ({"kernels": {"smell": 3}}, "kernels.smell: no such modality"),
        ({"kernels": {"text": 0}}, "kernels.text: expected at least 1, found 0"),
        ({"relu_dropout": 1.0}, r"relu_dropout: expected a probability in \[0, 1\)"),
        ({"positions": "some"}, "fusion.positions"),
    ],
)
def test_what_is_out_of_range_is_refused_by_name(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made(**settings)
