"""The pretrained text encoder with tiny random models: packed against padded and each clip alone, errors."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings

import pytest
import torch
from torch import nn

from trivium.data.batch import Stream
from trivium.encoders import pretrained
from trivium.encoders.packing import Packing, assign_rows
from trivium.encoders.pretrained import Pretrained
from trivium.methods.build import turn_off_dropout

transformers = pytest.importorskip("transformers")

LENGTHS = [5, 17, 1, 9, 30, 12, 3]
VOCABULARY = 60
TINY = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 40,
}
PADDING = {"roberta": 1, "xlm-roberta": 1, "camembert": 1}


@pytest.fixture
def folder(tmp_path):
    """folder("bert"): a folder with the config.json of a tiny model of that type, and nothing else."""

    def write(model_type="bert", **more):
        pad = PADDING.get(model_type, 0)
        config = transformers.AutoConfig.for_model(model_type, **TINY, pad_token_id=pad, **more)
        path = tmp_path / model_type
        path.mkdir(exist_ok=True)
        (path / "config.json").write_text(config.to_json_string(use_diff=False))
        return str(path)

    return write


def stream_of(lengths, seed=0):
    """Clips of token ids, each a function of its place alone, zero in the padding."""
    values = torch.zeros(len(lengths), max(lengths), dtype=torch.int64)
    for n, length in enumerate(lengths):
        generator = torch.Generator().manual_seed(seed + n)
        values[n, :length] = torch.randint(2, VOCABULARY, (length,), generator=generator)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return Stream(values, mask, torch.tensor(lengths))


def tiny(path, **keys):
    torch.manual_seed(0)
    keys = {"random_init": True, "dropout_scale": 0.0, **keys}
    encoder = Pretrained(VOCABULARY, model=path, **keys)
    for parameter in encoder.parameters():  # biases and norms start at 0 and 1, where a mistake may not show
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    return encoder


@pytest.mark.parametrize("model_type", pretrained.PACKABLE)
@pytest.mark.parametrize("pool", ["cls", "mean", "pooler"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_packed_equals_padded_in_values_and_gradients(folder, model_type, pool, dtype, tolerance):
    results = []
    for packed in (True, False):
        encoder = tiny(folder(model_type), pool=pool, packed=packed, out=6).to(dtype)
        assert encoder.packed == packed
        out = encoder(stream_of(LENGTHS))
        (out.pooled.square().sum() + out.tokens.sin().sum()).backward()
        results.append([out.pooled, out.tokens, *(parameter.grad for parameter in encoder.parameters())])
        assert out.pooled.shape == (7, encoder.dim) == (7, 6)
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("row_length", [1, 20, 64, 100_000])
@pytest.mark.parametrize("model_type", ["bert", "roberta", "distilbert", "electra"])
def test_each_clip_equals_the_whole_model_on_that_clip_alone(folder, monkeypatch, model_type, row_length):
    monkeypatch.setattr(pretrained, "ROW_LENGTH", row_length)
    encoder = tiny(folder(model_type)).double()
    assert encoder.packed == (model_type in ("bert", "roberta"))
    stream = stream_of(LENGTHS)
    out = encoder(stream)
    for n, length in enumerate(LENGTHS):
        alone = encoder.model(input_ids=stream.values[n : n + 1, :length]).last_hidden_state[0]
        torch.testing.assert_close(out.tokens[n, :length], alone, rtol=0, atol=1e-12)
        torch.testing.assert_close(out.pooled[n], alone[0], rtol=0, atol=1e-12)
    assert out.tokens[~out.mask].abs().max() == 0


def test_packed_computes_nearly_no_padding(folder):
    encoder = tiny(folder())
    seen = []
    encoder.model.encoder.layer[0].register_forward_hook(lambda _m, inputs, _o: seen.append(inputs[0].shape[:2]))
    lengths = [3, 4, 5, 6, 7, 8, 9, 39] * 8
    encoder(stream_of(lengths))
    assert sum(lengths) <= seen[0].numel() <= 1.05 * sum(lengths) < 0.3 * len(lengths) * max(lengths)


def test_rows_hold_each_clip_once_and_are_nearly_equal():
    lengths = [1 + 37 * n % 50 for n in range(100)]
    rows = assign_rows(lengths, 128)
    loads = [sum(lengths[n] for n in row) for row in rows]
    assert sorted(n for row in rows for n in row) == list(range(100))
    assert len(rows) == -(-sum(lengths) // 128)
    assert max(loads) <= 1.05 * sum(loads) / len(loads)
    assert assign_rows([4], 128) == [[0]]


def test_packing_puts_steps_side_by_side_and_back():
    stream = stream_of([3, 1, 4, 2])
    packing = Packing.plan(stream.lengths, 4, row_length=5)
    rows = packing.pack(stream.values, fill=-7)
    assert rows.shape == packing.step.shape == (2, 5)
    for n, length in enumerate([3, 1, 4, 2]):
        at = packing.clip == n
        assert rows[at].tolist() == stream.values[n, :length].tolist()
        assert packing.step[at].tolist() == list(range(length))
    assert (rows == -7).sum() == 0
    back = packing.unpack(rows[..., None].double(), 4, 4)[..., 0]
    assert torch.equal(back, stream.values.double())
    same = packing.clip[0][:, None] == packing.clip[0]
    assert torch.equal(packing.bias(torch.float64)[0, 0] == 0, same)


def test_pretrained_weights_of_another_head_are_read_whatever_their_precision(tmp_path, folder):
    config = transformers.AutoConfig.from_pretrained(folder())
    torch.manual_seed(5)
    transformers.BertForMaskedLM(config).bfloat16().save_pretrained(tmp_path / "saved")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the pooler's weights lack, and none are wanted
        encoder = Pretrained(VOCABULARY, model=str(tmp_path / "saved")).eval()
    assert all(parameter.dtype == torch.float32 for parameter in encoder.parameters())
    saved = transformers.BertForMaskedLM.from_pretrained(tmp_path / "saved").float().eval()
    stream = stream_of(LENGTHS)
    expected = saved.bert(input_ids=stream.values, attention_mask=stream.mask.long()).last_hidden_state[:, 0]
    torch.testing.assert_close(encoder(stream).pooled, expected, rtol=0, atol=1e-5)
    with pytest.warns(UserWarning, match="no weights for its pooler"):
        Pretrained(VOCABULARY, model=str(tmp_path / "saved"), pool="pooler")


def test_every_parameter_that_trains_gets_a_gradient(folder):
    for pool in ("cls", "mean", "pooler"):
        encoder = tiny(folder(), pool=pool)
        encoder(stream_of(LENGTHS)).pooled.square().sum().backward()
        assert all(parameter.grad is not None for parameter in encoder.parameters())  # DDP would wait for it


def test_frozen_stays_in_evaluation_mode_and_keeps_no_graph(folder):
    encoder = tiny(folder(), finetune=False, dropout_scale=1.0).train()
    stream = stream_of(LENGTHS)
    assert encoder.training
    assert not encoder.model.training
    assert not any(parameter.requires_grad for parameter in encoder.model.parameters())
    assert torch.equal(encoder(stream).tokens, encoder(stream).tokens)
    assert not encoder(stream).pooled.requires_grad
    projected = tiny(folder(), finetune=False, out=3)
    projected(stream).pooled.sum().backward()
    assert projected.project.weight.grad is not None


def test_dropout_scale_multiplies_the_models_own(folder):
    stream = stream_of(LENGTHS)
    own = Pretrained(VOCABULARY, model=folder(), random_init=True)
    assert own.model.config.hidden_dropout_prob == own.model.config.attention_probs_dropout_prob == 0.1
    assert not torch.equal(own(stream).pooled, own(stream).pooled)
    double = Pretrained(VOCABULARY, model=folder(), random_init=True, dropout_scale=2.0)
    assert {m.p for m in double.model.modules() if isinstance(m, nn.Dropout)} == {0.2}
    off = Pretrained(VOCABULARY, model=folder(), random_init=True, dropout_scale=0.0)
    assert torch.equal(off(stream).pooled, off(stream).pooled)
    with pytest.raises(ValueError, match=r"dropout_scale: 10.*hidden_dropout_prob|dropout_scale: 10.*attention"):
        Pretrained(VOCABULARY, model=folder(), random_init=True, dropout_scale=10.0)


@pytest.mark.parametrize("packed", [True, False])
def test_debug_exact_reaches_every_dropout(folder, packed):
    encoder = Pretrained(VOCABULARY, model=folder(), random_init=True, packed=packed).train()
    turn_off_dropout(encoder)
    stream = stream_of(LENGTHS)
    assert torch.equal(encoder(stream).pooled, encoder(stream).pooled)


def test_a_run_rebuilds_the_architecture_from_plain_json_without_its_source(folder):
    path = folder()
    trained = tiny(path, pool="mean", out=5, dropout_scale=2.0)
    assets = json.loads(json.dumps(trained.assets()))
    assert assets == trained.assets()
    assert path not in json.dumps(assets)
    again = Pretrained(VOCABULARY, model="/nowhere/at/all", pool="mean", out=5, dropout_scale=2.0, assets=assets)
    again.load_state_dict(trained.state_dict())
    assert again.model.config.hidden_dropout_prob == 0.2
    assert again.assets() == trained.assets()
    stream = stream_of(LENGTHS)
    assert torch.equal(again.eval()(stream).pooled, trained.eval()(stream).pooled)


def test_the_same_seed_gives_the_same_random_weights(folder):
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(Pretrained(VOCABULARY, model=folder(), random_init=True).state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_wrong_vocabulary_pool_architecture_and_length_are_named(folder):
    with pytest.raises(ValueError, match=r"knows 60 token ids, the store's go up to 60.*tokenizer"):
        Pretrained(VOCABULARY + 1, model=folder(), random_init=True)
    with pytest.raises(ValueError, match=r"pool: expected one of cls, mean, pooler, found 'max'"):
        Pretrained(VOCABULARY, model=folder(), random_init=True, pool="max")
    with pytest.raises(ValueError, match=r"distilbert\) has no pooler"):
        Pretrained(VOCABULARY, model=folder("distilbert"), random_init=True, pool="pooler")
    with pytest.raises(ValueError, match=r"encoder-decoder \(t5\)"):
        Pretrained(VOCABULARY, model=folder("t5"), random_init=True)
    with pytest.raises(ValueError, match=r"a clip has 39 tokens, roberta takes at most 38"):
        tiny(folder("roberta"))(stream_of([4, 39]))
    assert tiny(folder("roberta"))(stream_of([4, 38])).tokens.shape == (2, 38, 16)


def test_incomplete_weights_are_refused(tmp_path, folder):
    config = transformers.AutoConfig.from_pretrained(folder())
    transformers.BertModel(config).save_pretrained(tmp_path / "shallow")
    config.num_hidden_layers = 3
    config.save_pretrained(tmp_path / "shallow")
    with pytest.raises(ValueError, match=r"lacks \d+ weights of a bert \(such as encoder.layer.2"):
        Pretrained(VOCABULARY, model=str(tmp_path / "shallow"))


def test_a_folder_that_is_missing_empty_or_without_weights_is_named(tmp_path, folder):
    with pytest.raises(ValueError, match=r"nowhere holds no config.json"):
        Pretrained(VOCABULARY, model=str(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty holds no config.json"):
        Pretrained(VOCABULARY, model=str(tmp_path / "empty"))
    with pytest.raises(ValueError, match=r"its weights cannot be loaded .*local folder"):
        Pretrained(VOCABULARY, model=folder())


def test_offline_says_what_was_looked_for_and_that_a_folder_works(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match=r"model: no-such-bert: .*Looked for.*cache and on the hub.*model=FOLDER"):
        Pretrained(VOCABULARY, model="no-such-bert")


def test_without_transformers_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ValueError, match=r"pip install 'trivium\[text\]'"):
        Pretrained(VOCABULARY, model="bert-base-uncased")


def test_importing_the_encoder_does_not_import_transformers():
    code = "import sys, trivium.encoders.pretrained; sys.exit('transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
