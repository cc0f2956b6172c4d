"""What an absent modality holds reaches nothing, in any method, fusion and encoder; a clip without any is refused.

Every choice of configs/method and configs/fusion is tried with every other one; new files join by being there.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from batches import DIMS, LONGEST, batch_of
from driver import here
from trivium.config.compose import composer
from trivium.data.batch import Batch, Stream
from trivium.data.clips import Ragged
from trivium.data.datamodule import DataModule
from trivium.data.store import StoreSchema, open_store, write_store
from trivium.data.synthetic import make_fixture
from trivium.data.target import Target
from trivium.evaluation.predict import predict_split
from trivium.methods.base import Method
from trivium.methods.build import build_method
from trivium.methods.readout import Readout
from trivium.methods.selfmi import SelfMI

CLIPS, STEPS = 14, LONGEST + 3  # every subset of the modalities twice
SCHEMA = StoreSchema(
    data="x",
    feature_set="x/y",
    dims=DIMS,
    counts={"train": CLIPS},
    max_lengths=dict.fromkeys(DIMS, STEPS),
    targets={"multimodal": Target("score", range=(-3.0, 3.0))},
    mean_lengths=dict.fromkeys(DIMS, 3.4),
    word_steps=("audio",),
)
READS = dict.fromkeys(DIMS, "values")
ENCODERS = {
    "lstm": ["encoder=lstm"],
    "gru": ["encoder=gru", "encoder.pool=last"],
    "transformer": ["encoder=transformer", "encoder.feedforward=32"],
    "identity": ["encoder=identity", "encoder.out=8"],
    "flatten": ["encoder=published/gmc"],
    "misa": ["encoder=published/misa"],
}
with composer() as _session:
    METHODS = {name: [f"method={name}"] for name in _session.choices("method") if "/" not in name}
    FUSIONS = {name: [f"fusion={name}"] for name in _session.choices("fusion") if "/" not in name}
METHODS |= {f"{name}-learned": [f"method={name}", "method.stand_in=learned"] for name in ("supervised", "selfmi")}
METHODS |= {
    "comm-faithful": ["method=comm", "method.faithful=true"],
    "gmc-encoded": ["method=gmc", "method.joint=encoded"],
    "mmim-learned": ["method=mmim", "method.stand_in=learned"],
    "mag_bert-data": ["method=mag_bert", "method.placeholder_count=data"],
    "mag_bert-common": ["method=mag_bert", "method.bias=common", "method.placeholder_tokens=3"],
    "misa-learned": ["method=misa", "method.absent_private=learned", "method.text_lengths=true"],
}
LNLN = [
    "method=lnln",
    "method.dim=16",
    "method.tokens=4",
    "method.heads=2",
    "method.head_dim=4",
    "method.feedforward=8",
]
METHODS |= {"lnln": LNLN, "lnln-erase": [*LNLN, "method.absent=erase", "method.masks=false", "method.unknown=learned"]}
FUSIONS |= {
    "transformer-deep": ["fusion=transformer", "fusion.layers=2"],
    "concat-bare": ["fusion=concat", "fusion.out=0"],
    "tetfn-padded": ["fusion=tetfn", "fusion.masks=false", "fusion.kernels.vision=3"],
    "almt-zeros": ["fusion=almt", "fusion.masks=false", "fusion.absent=zeros", "fusion.readout=mean"],
}
NARROW = {"dim": 16, "heads": 4, "head_dim": 4, "feedforward": 8}
SMALL = {
    "mult": {"layers": 1, "width": 10},
    "tetfn": {"layers": 1, "width": 10},
    "tetfn-padded": {"layers": 1, "width": 10},
    "tensor": {"project": 3},
    "almt": NARROW,
    "almt-zeros": NARROW,
}  # saves time
FUSIONS["text alone"] = ["fusion=published/text"]  # MAG-BERT's; in other methods it has no place for the rest
# and its audio and vision are features, of other sizes than the text's vector, which fusion=share does not take
PAIRS = [(m, f) for m, f in itertools.product(METHODS, FUSIONS) if f != ("share" if "mag_b" in m else "text alone")]
TRAINED = [(m, f) for m, f in PAIRS if m == "supervised" or f in ("concat", "transformer", "mult", "tetfn")]
ENCODER_OF = {
    (method, fusion): list(ENCODERS)[(m + f) % len(ENCODERS)]
    for (m, method), (f, fusion) in itertools.product(enumerate(METHODS), enumerate(FUSIONS))
}


@pytest.fixture(scope="module")
def configs() -> dict[str, dict[str, Any]]:
    """Of each choice a composed config; they are put together by hand, as composing every pair takes a minute."""
    choices = {**METHODS, **ENCODERS, **FUSIONS}
    with composer() as session:
        return {name: session.compose(overrides) for name, overrides in choices.items()}


def made(configs: dict[str, dict[str, Any]], method: str, fusion: str, encoder: str) -> Method:
    """In evaluation mode. What starts at zero (biases, readouts, stand-ins) is not: zeros would hide what they meet."""
    config = configs[method] | {
        "fusion": {**configs[fusion]["fusion"], **SMALL.get(fusion, {})},
        "encoder": configs[encoder]["encoder"],
    }
    if method == "tcmax":  # it takes no dropout in what mixes the modalities
        config["fusion"] = without_dropout(config["fusion"])
    built = build_method(config, SCHEMA, READS).eval()
    torch.manual_seed(0)
    for part in built.modules():
        if isinstance(part, Readout):
            part.set(torch.randn_like(part.weight), torch.randn_like(part.bias))
    with torch.no_grad():
        for parameter in built.parameters():
            if not parameter.any():
                nn.init.normal_(parameter, std=0.3)
    if isinstance(built, SelfMI):
        built.bank.start(batch_of(range(CLIPS), dtype=torch.float32).targets["multimodal"])
    return built


def without_dropout(fusion: dict[str, Any]) -> dict[str, Any]:
    off = {key: {} if isinstance(value, dict) else 0.0 for key, value in fusion.items() if key.endswith("dropout")}
    return {**fusion, **off}


def clean() -> Batch:
    return batch_of(range(CLIPS), absent=True, steps=STEPS, dtype=torch.float32)


# What is done to the absent modalities of a batch

Change = Callable[[Stream, Tensor], Stream]


def with_content(make: Callable[[Tensor], Tensor]) -> Change:
    def change(stream: Stream, gone_B: Tensor) -> Stream:
        return replace(stream, values=torch.where(gone_B[:, None, None], make(stream.values), stream.values))

    return change


def with_lengths(stream: Stream, gone_B: Tensor) -> Stream:
    """As Batch.without leaves them: a length that the modality had before it was taken away."""
    longer = torch.where(gone_B, 1 + torch.arange(CLIPS) % STEPS, stream.lengths)
    return Stream(stream.values, torch.arange(STEPS) < longer[:, None], longer)


def all_of(*changes: Change) -> Change:
    def change(stream: Stream, gone_B: Tensor) -> Stream:
        for one in changes:
            stream = one(stream, gone_B)
        return stream

    return change


def noise(values: Tensor) -> Tensor:
    return 30 * torch.randn(values.shape, generator=torch.Generator().manual_seed(3))


NOISE = with_content(noise)
CHANGES: dict[str, Change] = {
    "another clip's": with_content(lambda values: values.roll(1, dims=0) + 1),
    "inf": with_content(lambda values: torch.full_like(values, torch.inf)),
    "lengths and noise": all_of(with_lengths, NOISE),
    "lengths and nan": all_of(with_lengths, with_content(lambda values: torch.full_like(values, torch.nan))),
}


def changed(change: Change, gone_BM: Tensor | None = None) -> Batch:
    """gone_BM: which modalities to change; those that are absent, unless given."""
    batch = clean()
    gone_BM = ~batch.present if gone_BM is None else gone_BM
    streams = {name: change(stream, gone_BM[:, m]) for m, (name, stream) in enumerate(batch.streams.items())}
    return replace(batch, streams=streams)


@torch.no_grad()
def seen(method: Method, batch: Batch) -> dict[str, Tensor]:
    """All that leaves a method at prediction."""
    found = method.predict(batch)
    out = {"outputs": found.outputs, "score": found.score, "features": found.features}
    if found.probabilities is not None:
        out["probabilities"] = found.probabilities
    return {**out, **{f"vector {name}": value for name, value in method.vectors(batch).items()}}


def learnt(method: Method, batch: Batch) -> dict[str, Tensor]:
    """A training step's terms and gradients, without dropout."""
    weights = {name: parameter for name, parameter in method.named_parameters() if parameter.requires_grad}
    terms = method.losses(batch)
    found = torch.autograd.grad(terms["loss"], list(weights.values()), allow_unused=True)
    used = {name: gradient for name, gradient in zip(weights, found, strict=True) if gradient is not None}
    return {**{f"term {name}": value.detach() for name, value in terms.items()}, **used}


def often(pairs: list[tuple[str, str]], every: int) -> list[Any]:
    """Every method and every fusion several times; the pairs that are left by their own verb."""
    return [
        pair if pair[0] == "supervised" or n % every == 0 else pytest.param(*pair, marks=pytest.mark.slow)
        for n, pair in enumerate(pairs)
    ]


@pytest.mark.parametrize(("method", "fusion"), often(PAIRS, 5))
def test_nothing_of_an_absent_modality_is_seen(configs: dict[str, dict[str, Any]], method: str, fusion: str) -> None:
    encoder = ENCODER_OF[method, fusion]
    built = made(configs, method, fusion, encoder)
    expected = seen(built, clean())
    assert all(value.isfinite().all() for value in expected.values())
    for name, change in CHANGES.items():
        found = seen(built, changed(change))
        for what, value in expected.items():
            assert torch.equal(found[what], value), (encoder, name, what)
    here_BM = clean().present  # and a modality that is there is looked at
    for m in range(len(DIMS)):
        only = torch.zeros_like(here_BM)
        only[:, m] = here_BM[:, m]
        moved = (seen(built, changed(NOISE, only))["features"] != expected["features"]).any(dim=1)
        assert not (moved & ~here_BM[:, m]).any(), (encoder, m)
        assert 2 * moved.sum() > here_BM[:, m].sum(), (encoder, m)  # a ReLU may hide one


@pytest.mark.parametrize(("method", "fusion"), often(TRAINED, 3))
def test_nothing_of_an_absent_modality_is_learnt(configs: dict[str, dict[str, Any]], method: str, fusion: str) -> None:
    built = made(configs, method, fusion, ENCODER_OF[method, fusion]).double()
    found = []
    for batch in (clean(), changed(CHANGES["lengths and noise"])):
        batch.streams = {name: replace(stream, values=stream.values.double()) for name, stream in batch.streams.items()}
        found.append(learnt(built, batch))
    assert found[0].keys() == found[1].keys()
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-10)


# Clips without any modality


def bare(path: Path, split: str) -> str:
    """A store whose clip 5 of `split` has text alone; its id."""
    source = make_fixture(counts={"train": 40, "valid": 12, "test": 12})
    clips = source.splits[split]
    for name in ("audio", "vision"):
        ragged = clips.streams[name]
        clips.streams[name] = Ragged.pack([ragged[n][: 0 if n == 5 else None] for n in range(len(ragged))])
    write_store(path, source, data="fixture", feature_set="fixture/bare", label_range=(-3.0, 3.0))
    return clips.ids[5]


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_training_refuses_a_clip_that_has_none_of_the_chosen_modalities(tmp_path: Path, split: str) -> None:
    clip = bare(tmp_path / "s.h5", split)
    settings = [f"data.store={tmp_path / 's.h5'}", "trainer.max_epochs=1", "trainer.progress=off", "data.batch_size=16"]
    message = (
        f"s.h5: split '{split}': clip '{clip}' has none of the modalities audio, vision (1 such); choose more data"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        here(tmp_path, *settings, "data.modalities=[audio,vision]", f"run.dir={tmp_path / 'bare'}")
    assert not (tmp_path / "bare" / "result.json").exists()
    assert here(tmp_path, *settings, "data.modalities=[audio,text]", f"run.dir={tmp_path / 'some'}")["epochs"] == 1


def test_prediction_refuses_a_clip_that_has_none_of_the_asked_modalities(
    tmp_path: Path, configs: dict[str, dict[str, Any]]
) -> None:
    clip = bare(tmp_path / "s.h5", "test")
    store = open_store(tmp_path / "s.h5")
    data = DataModule(store, reads=dict.fromkeys(store.schema.dims, "values"))
    method = build_method(configs["supervised"], store.schema, data.reads)
    with pytest.raises(ValueError, match=re.escape(f"clip '{clip}' has none of the modalities to predict from")):
        predict_split(method, data.loader("test"), ["audio", "vision"])
    assert len(predict_split(method, data.loader("test"), ["text", "vision"]).score) == 12
