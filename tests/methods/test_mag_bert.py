"""MAG-BERT: the specification's vectors of the gate, alignment, its place in encoders, absence, ranks.

The numbers of the checks are those of section 11 of MAG-BERT's specification, whose vectors the public code made.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from batches import batch_of, share_of
from ranks import on_ranks
from tiny_tokenizer import VOCABULARY, save_tokenizer
from trivium.data.batch import Batch, Stream, Words
from trivium.data.clips import Clips, Ragged, Source
from trivium.data.datamodule import DataModule
from trivium.data.store import Store, open_store, write_store
from trivium.data.text import tokenize
from trivium.encoders.base import Encoder
from trivium.encoders.gru import GRU
from trivium.encoders.identity import Identity
from trivium.encoders.pretrained import Pretrained
from trivium.encoders.transformer import Transformer
from trivium.fusions.only import Only
from trivium.methods.adaptation_gate import AdaptationGate, align
from trivium.methods.base import Parts
from trivium.methods.mag_bert import MAGBERT
from trivium.objectives.task import L1
from trivium.optimizers import adamw

DIMS = {"text": 5, "audio": 3, "vision": 4}


def grid(b: int, t: int, j: int, factors: tuple[float, float, float, float]) -> Tensor:
    """sin(b f_b + i f_i + j f_j + c) of clip, token and feature."""
    of_b, of_i, of_j, c = factors
    clip, token = torch.arange(b).double()[:, None, None], torch.arange(t).double()[:, None]
    return (of_b * clip + of_i * token + of_j * torch.arange(j).double() + c).sin()


def vectors() -> tuple[Tensor, dict[str, Tensor]]:
    z = grid(2, 3, 4, (0.7, 0.5, 1.3, 0.2))
    v, a = 2 * grid(2, 3, 3, (1.1, 0.8, -0.6, 0.5)), 2 * grid(2, 3, 2, (-0.4, -0.6, 0.9, 1.0))
    v[:, 0], a[:, 0] = 0.0, 0.0
    return z, {"vision": v, "audio": a}


PRESENT = {"vision": torch.ones(2).bool(), "audio": torch.ones(2).bool()}


def gate_of(beta: float = 1.0, **keys: Any) -> AdaptationGate:
    gate = AdaptationGate(4, {"vision": 3, "audio": 2}, beta=beta, dropout=0.0, **keys).double()
    for layer, k in ((gate.gates[0], 1), (gate.gates[1], 2), (gate.shifts[0], 3), (gate.shifts[1], 4)):
        out, size = layer.weight.shape  # type: ignore[misc]
        r, c = torch.arange(out).double(), torch.arange(size).double()
        layer.weight.data = (0.7 * r[:, None] + 1.3 * c + 0.5 * k).sin()
        layer.bias.data = 0.5 * (0.9 * r + 0.4 * k).cos()
    r = torch.arange(4).double()
    shift = 0.1 * (0.9 * r + 2).cos()
    gate.norm.weight.data, gate.norm.bias.data = 1 + shift, shift
    return gate


def in_numpy(gate: AdaptationGate, z: Any, v: Any, a: Any) -> Any:
    """One token, from the formula."""
    W = [layer.weight.detach().numpy() for layer in (*gate.gates, *gate.shifts)]
    b = [layer.bias.detach().numpy() for layer in (*gate.gates, *gate.shifts)]
    g_v = np.maximum(W[0] @ np.concatenate([v, z]) + b[0], 0)
    g_a = np.maximum(W[1] @ np.concatenate([a, z]) + b[1], 0)
    H = g_v * (W[2] @ v + b[2]) + g_a * (W[3] @ a + b[3])
    n = np.linalg.norm(H) or 1.0
    out = z + min(gate.beta * np.linalg.norm(z) / (n + 1e-6), 1) * H
    unit = (out - out.mean()) / np.sqrt(out.var() + 1e-5)
    return unit * gate.norm.weight.detach().numpy() + gate.norm.bias.detach().numpy()


CASES = {
    1.0: (
        {
            (0, 0): [0.265550407242, 1.015196559888, -0.088152209028, -1.541902538529],
            (0, 1): [0.836492637987, 0.807681064552, -0.596112902530, -1.356445280374],
            (1, 2): [1.431122499283, 0.005447795971, -1.173505577254, -0.462515400641],
        },
        21.590963982635,
        0.917744898990,
        [0.049840761392, -0.103240482460, 0.070815553461, -0.027315847768],
    ),
    0.3: (
        {
            (0, 0): [0.163508891152, 1.029719758964, -0.001908334260, -1.545162548118],
            (0, 1): [0.741396733885, 0.852812455101, -0.489077191071, -1.423350913816],
        },
        21.533561035546,
        0.888381824442,
        [0.114900141276, -0.159638497120, 0.068230838657, -0.030078189450],
    ),
}


@pytest.mark.parametrize("beta", CASES)
def test_check_1_the_gate_has_the_public_codes_values_and_gradients(beta: float) -> None:
    rows, squares, norm, gradient = CASES[beta]
    gate, (z, x) = gate_of(beta), vectors()
    z.requires_grad_()
    out = gate(z, x, PRESENT)
    for (b, i), row in rows.items():
        assert out[b, i].tolist() == pytest.approx(row, abs=1e-9)
    assert out.square().sum().item() == pytest.approx(squares, abs=1e-9)
    for b in range(2):
        for i in range(3):
            token = in_numpy(gate, *(part[b, i].detach().numpy() for part in (z, x["vision"], x["audio"])))
            np.testing.assert_allclose(out[b, i].detach(), token, atol=1e-9)
    w = grid(2, 3, 4, (0.3, 0.9, 0.5, 0.7))
    (found,) = torch.autograd.grad((w * out).sum(), [z])
    assert found.norm().item() == pytest.approx(norm, abs=1e-9)
    assert found[0, 1].tolist() == pytest.approx(gradient, abs=1e-9)
    halves = gate_of(beta).float()(z.detach().float(), {m: part.float() for m, part in x.items()}, PRESENT)
    torch.testing.assert_close(halves, out.detach().float(), rtol=1e-4, atol=1e-5)


def test_check_1_shifts_before_scaling() -> None:
    gate, (z, x) = gate_of(), vectors()
    shift = gate.shift(z, x, PRESENT)
    first = [1.399293156668, 0.997215912523, -2.281193103279, -3.123086611529]
    assert shift[0, 1].tolist() == pytest.approx(first, abs=1e-9)
    # zero audio and vision are no zero shift, as the biases are learnt
    special = [0.0, -0.015113376817, -0.420373686766, -0.585108237245]
    assert shift[0, 0].tolist() == pytest.approx(special, abs=1e-9)
    assert shift[1, 2].tolist() == [0.0] * 4
    alphas = {
        1.0: [1, 0.354767018235, 1, 1, 1],
        0.3: [0.561051846607, 0.106430105470, 0.424171757309, 1, 1],
    }
    for beta, expected in alphas.items():  # of the last token, whose shift is 0, it does not matter
        alpha = (gate_of(beta).scale(z, shift).norm(dim=-1) / shift.norm(dim=-1)).flatten()[:5]
        assert alpha.tolist() == pytest.approx(expected, abs=1e-9)


def test_check_1_gates() -> None:
    gate, (z, x) = gate_of(), vectors()
    found = {m: layer(torch.cat([x[m], z], dim=-1)).relu() for m, layer in zip(gate.names, gate.gates, strict=True)}
    expected = {
        ("vision", 1): [0.533588641130, 1.522976132139, 1.757769700237, 1.250149033321],
        ("audio", 1): [0.343386276907, 0, 0, 0],
        ("vision", 0): [0, 0.059873203654, 0.849246207844, 1.323497771563],
        ("audio", 0): [0, 0, 0, 0.522572655249],
    }
    for (modality, token), values in expected.items():
        assert found[modality][0, token].tolist() == pytest.approx(values, abs=1e-9)
    assert not any(rows[1, 2].any() for rows in found.values())


def test_checks_1_and_8_an_absent_modality_adds_nothing_not_even_its_bias() -> None:
    gate, (z, x) = gate_of(), vectors()
    expected = {
        "vision": [0.759808148027, 0.811856421943, -0.427898552381, -1.463584842354],
        "audio": [0.819866024477, 0.821744825712, -0.593317451244, -1.357706839717],
        "both": [0.658810890851, 0.884505068622, -0.398797844137, -1.470255104092],
    }
    for absent, row in expected.items():
        present = {m: has & (absent not in (m, "both")) for m, has in PRESENT.items()}
        out = gate(z, x, present)
        assert out[0, 1].tolist() == pytest.approx(row, abs=1e-9)
        noise = {m: part if present[m][0] else 7 * part + 1 for m, part in x.items()}
        assert torch.equal(gate(z, noise, present), out)
        zeros = {m: part if present[m][0] else 0 * part for m, part in x.items()}
        assert (gate(z, zeros, PRESENT) - out).abs().max() > 1e-3


def test_check_2_no_shift_is_longer_than_beta_tokens() -> None:
    z, x = vectors()
    for beta in (0.1, 0.3, 1.0, 5.0):
        gate = gate_of(beta)
        scaled = gate.scale(z, gate.shift(z, x, PRESENT))
        assert (scaled.norm(dim=-1) <= beta * z.norm(dim=-1) + 1e-12).all()


def test_check_3_beta_from_nothing_to_everything() -> None:
    z, x = vectors()
    torch.testing.assert_close(gate_of(1e-12)(z, x, PRESENT), gate_of().norm(z))
    gate = gate_of(1e6)
    torch.testing.assert_close(gate.scale(z, gate.shift(z, x, PRESENT)), gate.shift(z, x, PRESENT))


@pytest.mark.parametrize("zero", ["shift", "token", "both"])
def test_check_4_gradients_are_finite_where_shift_or_token_is_zero(zero: str) -> None:
    gate, (z, x) = gate_of(), vectors()
    if zero != "token":
        x = {m: torch.zeros_like(part) for m, part in x.items()}
        for layer in (*gate.gates, *gate.shifts):
            layer.bias.data.zero_()
    if zero != "shift":
        z = torch.zeros_like(z)
    z.requires_grad_()
    out = gate(z, x, PRESENT)
    gradients = torch.autograd.grad(out.square().sum(), [z, *gate.parameters()])
    assert all(gradient.isfinite().all() for gradient in gradients)
    if zero == "shift":
        assert torch.equal(out, gate.norm(z))
    if zero == "token":
        expected = [-0.041614683655, -0.097095816515, -0.079096771191, -0.001238866346]
        assert out[0, 1].tolist() == pytest.approx(expected, abs=1e-9)


def test_check_6_each_token_gets_the_mean_of_its_own_steps_and_special_tokens_zeros() -> None:
    draw = torch.Generator().manual_seed(0)
    for steps, tokens in ((4, 4), (7, 3), (3, 7), (1, 5), (0, 4), (12, 5)):
        values = torch.randn(1, 12, 2, generator=draw).double()
        real = torch.arange(12)[None] < steps
        part = (torch.arange(9) > 0) & (torch.arange(9) <= tokens)  # as between [CLS] and [SEP]
        found = align(values, real, part[None])[0]
        assert not found[~part].any()
        for i in range(tokens):
            start, end = i * steps // tokens, -(-((i + 1) * steps) // tokens)
            expected = values[0, start : max(start + 1, end)].mean(0) if steps else torch.zeros(2).double()
            torch.testing.assert_close(found[1 + i], expected)
    one_to_one = torch.ones(1, 12).bool()
    torch.testing.assert_close(align(values, one_to_one, one_to_one), values)


def test_check_6_pieces_of_a_word_get_its_vector_and_a_cut_word_takes_its_vector_with_it() -> None:
    # Three clips of 6 tokens between [CLS] and [SEP]: 4 words, 4 words of which the last is cut off, and 4 steps for
    # 3 words, which are not aligned by words.
    numbers = torch.tensor(
        [
            [-1, 0, 1, 1, 1, 2, 3, -1],
            [-1, 0, 0, 1, 1, 2, 2, -1],
            [-1, 0, 0, 1, 1, 2, 2, -1],
            [-1, -1, 0, 1, -1, -1, -1, -1],
        ]
    )
    words = Words(numbers, torch.tensor([4, 4, 3, 2]))
    steps, tokens = torch.tensor([4, 4, 4, 2]), torch.tensor([8, 8, 8, 5])
    values = torch.randn(4, 7, 2, generator=torch.Generator().manual_seed(0)).double()
    real = torch.arange(7) < steps[:, None]
    inner = (torch.arange(8) > 0) & (torch.arange(8) < tokens[:, None] - 1)
    found = align(values, real, inner, words)
    nothing = torch.zeros(2).double()
    for clip in (0, 1, 3):
        for token, word in enumerate(numbers[clip].tolist()):
            assert torch.equal(found[clip, token], nothing if word < 0 else values[clip, word]), (clip, token)
    assert not (found[1] == values[1, 3]).any()  # nothing of the word that is cut off
    assert torch.equal(found[2], align(values, real, inner)[2])
    for clip in range(4):  # from its own content alone
        row = slice(clip, clip + 1)
        own = Words(numbers[row, : tokens[clip]], words.counts[row])
        alone = align(values[row, : steps[clip]], real[row, : steps[clip]], inner[row, : tokens[clip]], own)
        torch.testing.assert_close(alone[0], found[clip, : tokens[clip]], rtol=0, atol=0)


def test_check_6_a_tokenizer_without_special_tokens_leaves_no_word_out() -> None:
    values, real = torch.randn(1, 2, 3).double(), torch.ones(1, 2).bool()
    inner = torch.tensor([[False, True, True, False, False]])  # of 4 tokens, as if two of them were special
    found = align(values, real, inner, Words(torch.tensor([[0, 0, 1, 1, -1]]), torch.tensor([2])))
    assert torch.equal(found[0], torch.cat([values[0, [0, 0, 1, 1]], torch.zeros(1, 3).double()]))


def encoders_of(text: str) -> dict[str, Encoder]:
    made: Encoder
    if text == "transformer":
        made = Transformer(5, dim=8, layers=2, heads=2, feedforward=12)
    elif text == "cls":
        made = Transformer(5, dim=8, layers=2, heads=2, feedforward=12, pool="cls")
    else:
        made = GRU(5, hidden=4)
    return {"text": made, "audio": Identity(3), "vision": Identity(4)}


def method_of(text: str = "transformer", parts: dict[str, Any] | None = None, **keys: Any) -> MAGBERT:
    """In float64 and evaluation mode, its zeros and small weights made larger so that they count."""
    torch.manual_seed(4)
    encoders = encoders_of(text)
    fusion = Only({name: encoder.dim for name, encoder in encoders.items()}, modality="text")
    made = Parts(encoders, fusion, L1(), 40, 3.0, 1, **(parts or {}))
    method = MAGBERT(made, **{"placeholder_tokens": 4, **keys}).double().eval()
    for name, parameter in method.named_parameters():
        if not parameter.any() or name.startswith("gate"):
            nn.init.normal_(parameter, std=0.5)
    return method


@pytest.mark.parametrize(
    ("text", "layer"), [("transformer", 0), ("transformer", 1), ("cls", 0), ("cls", 2), ("gru", 0)]
)
def test_checks_5_and_7_a_clips_prediction_is_the_same_alone_in_a_batch_and_padded(text: str, layer: int) -> None:
    method = method_of(text, layer=layer)
    together = method.predict(batch_of(range(9), absent=True)).score
    padded = method.predict(batch_of(range(9), absent=True, steps=20)).score
    torch.testing.assert_close(padded, together)
    alone = torch.cat([method.predict(batch_of([i], absent=True)).score for i in range(9)])
    torch.testing.assert_close(alone, together)


def test_check_8_and_9_every_subset_predicts_from_what_is_there_alone() -> None:
    method, batch = method_of(), batch_of(range(14), absent=True)
    scores = method.predict(batch).score
    assert scores.isfinite().all()
    streams = {
        m: replace(s, values=torch.where(batch.present[:, c, None, None], s.values, torch.nan))
        for c, (m, s) in enumerate(batch.streams.items())
    }
    assert torch.equal(method.predict(replace(batch, streams=streams)).score, scores)
    no_text = ~batch.present[:, 0]
    assert len(set(scores[no_text].tolist())) == int(no_text.sum())
    whole = batch_of(range(14))
    assert (method.predict(whole.restrict(["audio"])).score != method.predict(whole.restrict(["vision"])).score).all()


def test_check_10_the_gate_begins_small() -> None:
    torch.manual_seed(0)
    gate = AdaptationGate(768, {"audio": 74, "vision": 47})
    z = torch.randn(4, 6, 768)
    x = {"audio": torch.randn(4, 6, 74), "vision": torch.randn(4, 6, 47)}
    for part in x.values():
        part[:, 0] = 0.0
    present = {m: torch.ones(4).bool() for m in x}
    shift = gate.shift(z, x, present)
    ratio = gate.scale(z, shift).norm(dim=-1) / z.norm(dim=-1)
    assert 0 < ratio.mean() < 0.5
    assert not shift[:, 0].any()
    counts = {
        (768, 47, 74): 1_370_112,
        (768, 20, 5): 1_222_656,
        (768, 35, 74): 1_351_680,
        (768, 709, 33): 2_323_968,
        (128, 20, 5): 39_936,
    }
    for (dim, vision, audio), count in counts.items():
        gate = AdaptationGate(dim, {"vision": vision, "audio": audio})
        assert sum(p.numel() for p in gate.parameters()) == count


def step(method: MAGBERT, batch: Batch) -> dict[str, Tensor]:
    method.zero_grad()
    loss = method.losses(batch)["loss"]
    loss.backward()
    found = {n: torch.zeros_like(p) if p.grad is None else p.grad.clone() for n, p in method.named_parameters()}
    return {"loss": loss.detach(), **found}


SHARES = [(4, 3), (9, 5), (1, 0)]


def _rank(rank: int) -> list[dict[str, Tensor]]:
    return [step(method_of(), share_of(shares, rank, absent=True)) for shares in SHARES]


def test_check_11_two_processes_give_value_and_gradient_of_one() -> None:
    for shares, first, second in zip(SHARES, *on_ranks(2, _rank), strict=True):
        alone = step(method_of(), batch_of(range(sum(shares)), absent=True))
        mean = {name: (first[name] + second[name]) / 2 for name in alone}
        torch.testing.assert_close(mean, alone, rtol=0, atol=1e-10)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    folder = tmp_path_factory.mktemp("bert")
    transformers.BertModel(transformers.BertConfig(vocab_size=50, **sizes)).save_pretrained(folder)
    return folder


def bert_method(folder: Path, parts: dict[str, Any] | None = None, **keys: Any) -> MAGBERT:
    torch.manual_seed(4)
    packed = keys.pop("packed", True)
    encoders: dict[str, Encoder] = {
        "text": Pretrained(50, model=str(folder), pool="pooler", packed=packed),
        "audio": Identity(3),
        "vision": Identity(4),
    }
    fusion = Only({name: encoder.dim for name, encoder in encoders.items()}, modality="text")
    made = Parts(encoders, fusion, L1(), 40, 3.0, 1, **(parts or {}))
    method = MAGBERT(made, **{"placeholder_tokens": 4, "placeholder_ids": [1, 3, 2], **keys}).double().eval()
    assert method.gate is not None
    for parameter in method.gate.parameters():
        nn.init.normal_(parameter, std=0.5)
    return method


def token_batch(clips: int, **how: Any) -> Batch:
    batch = batch_of(range(clips), absent=True, **how)
    text = batch.streams["text"]
    mask = torch.nn.functional.pad(text.mask, (2, 0), value=True)
    lengths = text.lengths + 2
    words = 4 + (torch.arange(mask.shape[1]) * 7 + torch.arange(clips)[:, None] * 3) % 46
    ids = torch.where(torch.arange(mask.shape[1]) == 0, 1, words)
    ids = torch.where(torch.arange(mask.shape[1]) == lengths[:, None] - 1, 2, ids)
    ids = torch.where(mask & batch.present[:, :1], ids, 0)
    mask, lengths = mask.clone(), torch.where(batch.present[:, 0], lengths, 1)
    mask[:, 1:] &= batch.present[:, :1]
    streams = {**batch.streams, "text": Stream(ids, mask, lengths)}
    return replace(batch, streams=streams)


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_in_bert_packed_and_padded_agree_and_the_gate_is_where_it_should_be(bert: Path, layer: int) -> None:
    batch = token_batch(9)
    found = [bert_method(bert, packed=packed, layer=layer).predict(batch).score for packed in (True, False)]
    torch.testing.assert_close(*found)
    assert found[0].isfinite().all()
    # by hand, for the first clip: embeddings, gate, layers, pooler, head
    method, count = bert_method(bert, layer=layer), int(batch.streams["text"].lengths[0])
    model: Any = method.encoders["text"].model
    z = model.embeddings(input_ids=batch.streams["text"].values[:1, :count])
    x = {}
    for m in ("audio", "vision"):
        own = batch.streams[m]
        words = (torch.arange(count) > 0) & (torch.arange(count) < count - 1)
        x[m] = align(own.values[:1], own.mask[:1], words[None])
        assert not x[m][0, [0, -1]].any()
    assert method.gate is not None
    hidden = z
    for number in range(3):
        if number:
            out = model.encoder.layer[number - 1](hidden)
            hidden = out[0] if isinstance(out, tuple) else out
        if number == layer:
            hidden = method.gate(hidden, x, {m: torch.ones(1).bool() for m in x})
    torch.testing.assert_close(method.out(model.pooler(hidden))[0, 0], found[0][0])


TEXTS = ["a good film", "ACTING films", "", "acting acting a good film's acting", "zebra"]
# of each clip: whether audio and vision are there, and of how many steps vision is, if not one a word
PARTS = [(True, True, 0), (True, True, 7), (True, True, 0), (True, True, 0), (False, True, 0)]


def word_store(folder: Path) -> Store:
    """Clips of TEXTS with audio of a step a word, numbered by clip and word; the blank text has 2 steps of audio."""
    rng, splits = np.random.default_rng(0), {}
    for split in ("train", "valid"):
        audio, vision = [], []
        for clip, (text, (has_audio, has_vision, steps)) in enumerate(zip(TEXTS, PARTS, strict=True)):
            words = len(text.split()) or 2
            audio.append(
                np.array([[10 * clip + w, 1, 1] for w in range(words if has_audio else 0)], "f4").reshape(-1, 3)
            )
            vision.append(rng.normal(size=((steps or words) if has_vision else 0, 4)).astype("f4"))
        streams = {"audio": Ragged.pack(audio), "vision": Ragged.pack(vision)}
        targets = {"multimodal": np.zeros(len(TEXTS), np.float32)}
        splits[split] = Clips([f"{split}{n}" for n in range(len(TEXTS))], streams, targets, TEXTS)
    source = tokenize(Source(splits, "csd", []), str(save_tokenizer(folder / "tiny", limit=8)))
    write_store(folder / "s.h5", source, data="mosi", feature_set="mosi/words", label_range=(-3.0, 3.0))
    return open_store(folder / "s.h5")


READS = {"text": "tokens", "audio": "values", "vision": "values"}


def test_check_6_with_a_tokenizer_every_piece_of_a_word_reaches_the_gate_with_the_words_vector(
    bert: Path, tmp_path: Path
) -> None:
    loader = DataModule(word_store(tmp_path), reads=READS).loader("valid")
    batch = loader.split.batch(index := torch.arange(5), index, (5,), 0)
    method, seen = bert_method(bert).float(), {}

    def look(gate: AdaptationGate, inputs: tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]) -> None:
        seen.update(inputs[1])

    assert method.gate is not None
    method.gate.register_forward_pre_hook(look)
    method.predict(batch)
    pieces = {n: [VOCABULARY[i] for i in batch.streams["text"].values[n].tolist()] for n in range(5)}
    assert pieces[1] == ["[CLS]", "act", "##ing", "film", "##s", "[SEP]", "[PAD]", "[PAD]"]
    assert pieces[3] == ["[CLS]", "act", "##ing", "act", "##ing", "a", "good", "[SEP]"]  # film's and acting are cut
    words = {0: [0, 1, 2], 1: [0, 0, 1, 1], 3: [0, 0, 1, 1, 2, 3], 4: []}
    for clip, numbers in words.items():
        expected = torch.zeros(8, 3)
        for place, word in enumerate(numbers):
            expected[1 + place] = torch.tensor([10 * clip + word, 1, 1])
        assert torch.equal(seen["audio"][clip], expected), clip
    # vision of clip 1 has 7 steps for 2 words: equal shares of the 4 tokens, as without words
    own = batch.streams["vision"]
    inner = (torch.arange(8) > 0) & (torch.arange(8) < 5)
    assert torch.equal(seen["vision"][1], align(own.values[1:2], own.mask[1:2], inner[None])[0])
    assert torch.equal(seen["vision"][3, 1:7], own.values[3, [0, 0, 1, 1, 2, 3]])


def test_aligned_by_words_a_clip_is_predicted_the_same_alone_in_any_batch_and_without_what_is_absent(
    bert: Path, tmp_path: Path
) -> None:
    store = word_store(tmp_path)
    split = DataModule(store, reads=READS).loader("valid").split
    for count in ("fixed", "data"):
        parts = {"longest": {"text": 8}, "mean_lengths": {"text": 5.0}, "word_steps": store.schema.word_steps}
        method = bert_method(bert, parts=parts, placeholder_count=count)
        together = method.predict(in_double(split.batch(index := torch.arange(5), index, (5,), 0)))
        for clips in ([0], [1], [2], [3], [4], [3, 1], [2, 4, 0]):
            some = method.predict(in_double(split.batch(index := torch.tensor(clips), index, (len(clips),), 0)))
            torch.testing.assert_close(some.score, together.score[clips])
        # the words of a text that is taken away say nothing
        whole = in_double(split.batch(index := torch.arange(5), index, (5,), 0))
        text = whole.streams["text"]
        assert text.words is not None
        other = replace(
            text, values=text.values * 0 + 5, words=Words(text.words.numbers + 1, text.words.counts * 0 + 3)
        )
        for names in (["audio"], ["audio", "vision"]):
            seen = [
                method.predict(replace(whole, streams={**whole.streams, "text": stream}).restrict(names)).score[:4]
                for stream in (text, other)
            ]
            assert torch.equal(*seen)
            assert seen[0].isfinite().all()


def in_double(batch: Batch) -> Batch:
    streams = {
        m: replace(s, values=s.values.double() if s.values.is_floating_point() else s.values)
        for m, s in batch.streams.items()
    }
    return replace(batch, streams=streams)


def test_words_of_the_other_modalities_say_how_many_placeholders_stand_for_an_absent_text(
    bert: Path, tmp_path: Path
) -> None:
    store = word_store(tmp_path)
    assert store.schema.word_steps == ("audio",)  # a clip of vision has more steps than words
    split = DataModule(store, reads=READS).loader("valid").split
    batch = split.batch(index := torch.arange(5), index, (5,), 0)
    parts = {"longest": {"text": 8}, "mean_lengths": store.schema.mean_lengths, "word_steps": ("audio",)}
    parts["mean_lengths"] = {"text": store.schema.mean_lengths["tokens"]}
    assert store.schema.mean_lengths["tokens"] == 22 / 4  # 5, 6, 8 and 3 tokens; round(5.5) is 6, of which 2 special
    method = bert_method(bert, parts=parts, placeholder_count="data")
    stream = method._with_placeholders(batch.restrict(["audio", "vision"]))
    # words: 3, 2, 2 (blank text with audio), 6 as the limit has it, and 4 where vision alone is there
    assert stream.mask.sum(dim=1).tolist() == [5, 4, 4, 8, 6]
    assert stream.values[:, 0].tolist() == [1] * 5
    assert stream.values[1].tolist() == [1, 3, 3, 2, 0, 0, 0, 0]
    assert stream.lengths.tolist() == [5, 4, 4, 8, 6]
    # placeholder i has the vectors of word i
    audio = batch.streams["audio"]
    found = align(audio.values, audio.mask & batch.present[:, 1:2], _inner(stream), stream.words)
    assert torch.equal(found[3, 1:7], audio.values[3])
    assert torch.equal(found[1, 1:3], audio.values[1, :2])
    assert not found[:, 0].any()
    # a text that is there stays as it is
    assert method._with_placeholders(batch).mask.sum(dim=1).tolist() == [5, 6, 4, 8, 3]
    # and without knowing the words it is the train split's mean
    method = bert_method(bert, parts={**parts, "word_steps": ()}, placeholder_count="data")
    assert method._with_placeholders(batch.restrict(["audio", "vision"])).mask.sum(dim=1).tolist() == [6] * 5
    assert bert_method(bert)._with_placeholders(batch.restrict(["audio"])).mask.sum(dim=1).tolist() == [6] * 5


def _inner(stream: Stream) -> Tensor:
    step = torch.arange(stream.mask.shape[1])
    return stream.mask & (step > 0) & (step < stream.lengths[:, None] - 1)


def test_a_vector_that_stands_for_a_word_is_repeated_as_often_as_there_are_words() -> None:
    parts = {"longest": {"text": 3}, "mean_lengths": {"text": 2.4}, "word_steps": ("audio",)}
    method, batch = method_of(parts=parts, placeholder_count="data"), batch_of(range(7))
    stream = method._with_placeholders(batch.restrict(["audio", "vision"]))
    words = batch.streams["audio"].lengths
    assert stream.mask.sum(dim=1).tolist() == words.clamp(max=3).tolist()
    assert words.max() > 3  # some are cut, and their vectors with them
    found = align(batch.streams["audio"].values, batch.streams["audio"].mask, stream.mask, stream.words)
    for clip, count in enumerate(words.clamp(max=3).tolist()):
        assert torch.equal(found[clip, :count], batch.streams["audio"].values[clip, :count])
    stream = method._with_placeholders(batch.restrict(["vision"]))
    assert stream.mask.sum(dim=1).tolist() == [2] * 7


def test_a_frozen_bert_still_trains_the_gate(bert: Path) -> None:
    method = bert_method(bert)
    encoder = method.encoders["text"]
    encoder.finetune = False  # type: ignore[assignment]
    encoder.requires_grad_(False)
    loss = method.losses(token_batch(7))["loss"]
    loss.backward()
    assert method.gate is not None
    assert method.gate.gates[0].weight.grad.abs().sum() > 0  # type: ignore[operator, union-attr]


def test_check_12_biases_and_norms_have_no_decay_and_all_have_one_rate(bert: Path) -> None:
    method = bert_method(bert)
    groups = {"text": {"lr": 1e-5, "weight_decay": None}}
    optimizer = adamw(method, lr=1e-5, weight_decay=0.01, exempt_bias_and_norm="all", groups=groups)
    assert {group["lr"] for group in optimizer.param_groups} == {1e-5}
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in method.named_parameters():
        free = name.endswith("bias") or "norm" in name.lower()
        assert decays[id(parameter)] == (0.0 if free else 0.01), name


def test_without_the_gate_it_is_the_text_encoder_alone() -> None:
    method, batch = method_of(gate="none"), batch_of(range(5))
    assert method.gate is None
    stream = batch.streams["text"]
    expected = method.out(method.encoders["text"](stream).pooled)[:, 0]
    torch.testing.assert_close(method.predict(batch).score, expected)
    moved = replace(batch.streams["audio"], values=batch.streams["audio"].values + 1)
    changed = replace(batch, streams={**batch.streams, "audio": moved})
    assert torch.equal(method.predict(changed).score, method.predict(batch).score)


def test_the_common_bias_shifts_once_and_only_where_something_is_there() -> None:
    z, x = vectors()
    gate = AdaptationGate(4, {"vision": 3, "audio": 2}, dropout=0.0, bias="common").double()
    assert gate.common_bias is not None
    gate.common_bias.data = torch.arange(4).double()
    for layer in (*gate.gates, *gate.shifts):
        layer.weight.data.zero_()  # type: ignore[operator, union-attr]
    assert torch.equal(gate.shift(z, x, PRESENT)[0, 0], torch.arange(4).double())
    assert not gate.shift(z, x, {m: ~has for m, has in PRESENT.items()}).any()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"carrier": "speech"}, "method.carrier: expected one of the modalities text, audio, vision"),
        ({"layer": 3}, "method.layer: expected 0 to 2"),
        ({"beta": 0.0}, "method.beta: expected a number above 0"),
        ({"gate": "off"}, "method.gate: expected one of mag, none"),
        ({"bias": "none"}, "expected one of gated, common"),
        ({"placeholder_tokens": 0}, "method.placeholder_tokens"),
        ({"placeholder_count": "mean"}, "method.placeholder_count: expected one of fixed, data"),
    ],
)
def test_wrong_settings_are_named(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        method_of(**keys)


def test_placeholder_ids_that_bert_does_not_know_are_refused(bert: Path) -> None:
    with pytest.raises(ValueError, match=r"method.placeholder_ids: .* three numbers below 50"):
        bert_method(bert, placeholder_ids=[101, 103, 102])
