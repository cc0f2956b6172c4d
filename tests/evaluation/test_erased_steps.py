"""Tests erased frames and words: alike for a clip in any batch, nothing at rate 0, and the scores of what is left."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_absolute_error

import trivium
from driver import here
from trivium.core.keyed_random import uniform
from trivium.core.seeding import derive
from trivium.data.clips import Clips, Ragged, Source
from trivium.data.datamodule import DataModule
from trivium.data.store import open_store, write_store
from trivium.data.synthetic import SPECIAL, WORDS, make_fixture
from trivium.evaluation.averages import ERASED_RATES
from trivium.evaluation.erased_steps import Erasure, refuse_unknown_id, score_erased
from trivium.evaluation.feature_noise import clip_keys
from trivium.evaluation.missing_modalities import Subject
from trivium.evaluation.predict import predict_split, score_split
from trivium.runs.load import Run

QUICK = ("trainer.max_epochs=1", "trainer.progress=off", "encoder=identity", "optimizer.lr=0.01")
LNLN = ("method=lnln", "method.dim=16", "method.depth=1", "fusion.dim=16", "trainer.limit_batches=1")
NAMES = ("text", "audio", "vision")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("erased")
    here(folder, "method=supervised", *QUICK, f"run.dir={folder / 'run'}")
    return trivium.load_run(folder / "run")


@pytest.fixture(scope="module")
def subject(run: Run) -> Subject:
    return Subject.open(run.method, run.data()[1], "test")


def of_other_batches(run: Run, size: int, store: Path | None = None) -> Subject:
    """The test split in batches of `size`, from the run's store or another."""
    data = DataModule(
        open_store(store) if store else run.data()[0],
        reads=run.data()[1].reads,
        standardize={"default": "none"},
        eval_batch_size=size,
    )
    return Subject.open(run.method, data, "test")


def reversed_store(path: Path) -> Path:
    """The fixture with the second half of its test clips alone, the last first."""
    source = make_fixture()
    clips = source.splits["test"]
    rows = range(len(clips))[: len(clips) // 2 : -1]
    streams = {name: Ragged.pack([ragged[n] for n in rows]) for name, ragged in clips.streams.items()}
    targets = {name: values[list(rows)] for name, values in clips.targets.items()}
    part = Clips([clips.ids[n] for n in rows], streams, targets)
    splits = {name: replace(source.splits[name], tokens=None, raw_text=None) for name in ("train", "valid")}
    whole = Source({**splits, "test": part}, "synthetic", [], notes={})
    write_store(path, whole, data="other", feature_set="other/reversed", label_range=(-3.0, 3.0))
    return path


def kept(subject: Subject, rate: float, draw: int = 1) -> dict[str, dict[str, np.ndarray]]:
    """Modality -> clip id -> the numbers of the steps that are not zero once erased."""
    erasure = Erasure(subject.method, clip_keys(subject.ids), subject.rows, rate, draw)
    result: dict[str, dict[str, np.ndarray]] = {name: {} for name in subject.modalities}
    for batch in subject.loader:
        for name, stream in erasure(batch).streams.items():
            for row, clip in enumerate(batch.index.tolist()):
                left = (stream.values[row] != 0).any(dim=1)
                result[name][subject.ids[clip]] = left.nonzero()[:, 0].numpy()
    return result


def test_what_is_lost_depends_on_the_clips_id_alone(run: Run, subject: Subject, tmp_path: Path) -> None:
    whole = kept(subject, 0.5)
    for other in (of_other_batches(run, 7), of_other_batches(run, 31, reversed_store(tmp_path / "reversed.h5"))):
        part = kept(other, 0.5)
        for name in NAMES:
            assert all(np.array_equal(whole[name][clip], left) for clip, left in part[name].items())
    again = kept(subject, 0.5, draw=2)
    assert any(not np.array_equal(again["audio"][clip], left) for clip, left in whole["audio"].items())
    assert any(len(whole["audio"][clip]) != len(whole["vision"][clip]) for clip in subject.ids)


def test_what_is_lost_at_one_rate_is_lost_at_every_higher_one(subject: Subject) -> None:
    for lower, higher in pairwise(kept(subject, rate) for rate in ERASED_RATES):
        for name in NAMES:
            assert all(set(left) <= set(lower[name][clip]) for clip, left in higher[name].items())


def test_a_row_scores_clips_erased_one_by_one(subject: Subject) -> None:
    """A loop over clips, modalities and steps, each drawn by itself."""
    rows = score_erased(subject, draws=2)
    assert [(row["rate"], row["draw"]) for row in rows] == [(rate, draw) for rate in ERASED_RATES for draw in (1, 2)]
    row = next(row for row in rows if (row["rate"], row["draw"]) == (0.4, 2))
    split, scores, lost, real = subject.loader.split, [], 0.0, 0
    for clip, name in enumerate(subject.ids):
        place = torch.tensor([clip])
        batch = split.batch(place, place, (1,), 0)
        key = torch.tensor(derive(0, "clip", name))
        for modality, stream in batch.streams.items():
            for step in range(int(stream.lengths[0])):
                drawn = uniform(
                    derive(derive(2, "erased"), "step", modality), key, torch.tensor(step), dtype=torch.float64
                )
                real += 1
                if float(drawn) < 0.4:
                    stream.values[0, step] = 0
                    lost += 1
        with torch.no_grad():
            scores.append(float(subject.method.predict(batch).score))
    assert row["mae"] == pytest.approx(mean_absolute_error(subject.targets, scores), abs=1e-6)
    assert row["missing"] == pytest.approx(lost / real, abs=0.05)  # a mean over modalities, not over all steps


def test_rate_0_is_the_plain_test_bit_for_bit(run: Run, subject: Subject) -> None:
    plain = score_split(run.method, subject.loader, predict_split(run.method, subject.loader))
    rows = [row for row in score_erased(subject, draws=2) if row["rate"] == 0]
    for row in rows:
        assert {key: row[key] for key in plain} == plain
        assert row["missing"] == 0
    # also through the erasure itself
    erasure = Erasure(run.method, clip_keys(subject.ids), subject.rows, 0.0, 1)
    erased = predict_split(run.method, subject.loader, change=erasure)
    assert torch.equal(erased.score, predict_split(run.method, subject.loader).score)


def test_share_missing_is_the_rate_within_three_binomial_deviations(subject: Subject) -> None:
    steps = min(sum(int(batch.streams[name].mask.sum()) for batch in subject.loader) for name in NAMES)
    for row in score_erased(subject, draws=1):
        assert abs(row["missing"] - row["rate"]) <= 3 * np.sqrt(row["rate"] * (1 - row["rate"]) / (3 * steps))


def test_words_become_the_unknown_one_and_the_ends_stay(run: Run) -> None:
    data = DataModule(run.data()[0], reads={"text": "tokens"}, standardize={"default": "none"})
    loader = data.loader("test")
    ids = loader.split.ids
    every = torch.ones(len(ids), dtype=torch.bool)
    erasure = Erasure(run.method, clip_keys(ids), every, 1.0, 1)
    lengths = []
    for batch in loader:
        before, after = batch.streams["text"], erasure(batch).streams["text"]
        for row, length in enumerate(before.lengths.tolist()):
            expected = before.values[row].clone()
            expected[1 : length - 1] = 100
            assert torch.equal(after.values[row], expected)
            lengths.append(length)
    assert erasure.missing == pytest.approx(sum(n - 2 for n in lengths) / sum(lengths))


def test_a_method_that_learns_an_unknown_word_is_tested_with_it(tmp_path: Path) -> None:
    here(tmp_path, *LNLN, *QUICK, "method.unknown=learned", f"run.dir={tmp_path / 'run'}")
    run = trivium.load_run(tmp_path / "run")
    subject = Subject.open(run.method, run.data()[1], "test")
    vector = run.method.unknown.detach()
    assert vector.any()
    batch = next(iter(subject.loader))
    erased = Erasure(run.method, clip_keys(subject.ids), subject.rows, 1.0, 1)(batch)
    assert torch.equal(erased.streams["text"].values[batch.streams["text"].mask][0], vector)
    assert not erased.streams["audio"].values.any()


def test_a_token_beyond_the_vocabulary_is_refused(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    transformers.BertConfig(vocab_size=WORDS + SPECIAL, **sizes).save_pretrained(tmp_path / "bert")
    text = ("encoder@encoders.text=bert", f"encoders.text.model={tmp_path / 'bert'}", "encoders.text.random_init=true")
    here(tmp_path, *QUICK, *text, "trainer.limit_batches=2", f"run.dir={tmp_path / 'run'}")
    method = trivium.load_run(tmp_path / "run").method
    method.unknown_id = WORDS + SPECIAL
    with pytest.raises(ValueError, match=rf"becomes token {WORDS + SPECIAL}, and its encoder has {WORDS + SPECIAL}"):
        refuse_unknown_id(method)
    method.unknown_id = WORDS + SPECIAL - 1
    refuse_unknown_id(method)
