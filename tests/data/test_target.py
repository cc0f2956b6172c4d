"""Tests the description of targets, what a store keeps of it, and how one of several is chosen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from trivium.data.clips import Clips, Ragged, Source
from trivium.data.datamodule import DataModule
from trivium.data.score_classes import SCORE_CLASSES, add_score_classes
from trivium.data.store import StoreSchema, open_store, verify_store, write_store
from trivium.data.synthetic import ensure_fixture
from trivium.data.target import Target, choose_target, undeclared
from trivium.objectives import CrossEntropy


def clips(split: str, targets: dict[str, Any]) -> Clips:
    n = len(next(iter(targets.values())))
    values = np.random.default_rng(n).normal(size=(2 * n, 3)).astype(np.float32)
    stream = Ragged(values, np.arange(0, 2 * n + 1, 2))
    return Clips([f"{split}{i}" for i in range(n)], {"text": stream}, {k: np.asarray(v) for k, v in targets.items()})


def made(described: dict[str, Target], **targets: Any) -> Source:
    splits = {split: clips(split, targets) for split in ("train", "valid", "test")}
    return Source(splits, "test", [], described=described)


MOOD = Target("classes", ("glad", "sad", "calm"))
TOPICS = Target("labels", ("music", "sport"))
TRAITS = Target("score", ("open", "warm"), range=(1.0, 5.0))
EVERY = {
    "mood": [0, 2, 1, 2],
    "topics": [[0, 1], [1, 1], [0, 0], [1, 0]],
    "traits": [[1.0, 5.0], [2.5, 3.0], [4.0, 4.0], [1.5, 2.0]],
    "multimodal": [0.5, -1.0, 2.0, 0.0],
}


def test_a_store_gives_back_every_target_with_its_names_range_and_counts(tmp_path: Path) -> None:
    source = made({"mood": MOOD, "topics": TOPICS, "traits": TRAITS}, **EVERY)
    write_store(tmp_path / "a.h5", source, data="d", feature_set="d/f", label_range=(-3.0, 3.0))
    verify_store(tmp_path / "a.h5")
    store = open_store(tmp_path / "a.h5")
    targets = store.schema.targets
    assert targets["mood"] == Target("classes", MOOD.names, counts=(1, 1, 2), clips=4)
    assert targets["topics"] == Target("labels", TOPICS.names, counts=(2, 2), clips=4)
    assert targets["traits"] == TRAITS
    assert targets["multimodal"] == Target(range=(-3.0, 3.0))
    for name, values in EVERY.items():
        np.testing.assert_array_equal(store.split("test").targets[name], np.asarray(values, dtype=np.float32))
    assert StoreSchema.from_dict(store.schema.to_dict()) == store.schema


def test_a_store_of_schema_1_has_scores_in_its_range_and_class_numbers(tmp_path: Path) -> None:
    source = made({}, multimodal=[0.5, -1.0, 2.0, 0.0], text=[0.1, 0.2, 0.3, 0.4], factor=[0, 3, 1, 0])
    write_store(tmp_path / "a.h5", source, data="d", feature_set="d/f", label_range=(-3.0, 3.0))
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        del file.attrs["targets"]
        file.attrs["schema_version"] = 1
        file.attrs["label_range"] = np.array([-3.0, 3.0])
    targets = open_store(tmp_path / "a.h5").schema.targets
    assert targets["multimodal"] == targets["text"] == Target(range=(-3.0, 3.0))
    assert targets["factor"] == Target("classes", ("0", "1", "2", "3"), counts=(2, 1, 0, 1), clips=4)


def test_the_schema_that_runs_of_version_0_1_0_saved_is_still_read() -> None:
    saved = {
        "data": "mosi",
        "feature_set": "mosi/f",
        "dims": {"text": 3},
        "counts": {"train": 4},
        "max_lengths": {"text": 2},
        "targets": ["multimodal", "text"],
        "label_range": [-3.0, 3.0],
    }
    schema = StoreSchema.from_dict(saved)
    assert schema.targets == dict.fromkeys(("multimodal", "text"), Target(range=(-3.0, 3.0)))


@pytest.mark.parametrize(
    ("target", "values", "message"),
    [
        (MOOD, [0, 1, 3, 0], "clip 'train2' is 3; expected a class number from 0 to 2"),
        (MOOD, [0, 0.5, 1, 0], "clip 'train1' is 0.5; expected a class number from 0 to 2"),
        (MOOD, [0, np.nan, 1, 0], "clip 'train1' is nan; every clip needs a number"),
        (TOPICS, [[0, 1], [2, 0], [0, 0], [1, 1]], "clip 'train1' \\(music\\) is 2; expected 0 or 1"),
        (TOPICS, [0, 1, 1, 0], "must hold 2 labels a clip, \\(4, 2\\) numbers; found \\(4,\\)"),
        (TRAITS, [[1, 5], [0, 2], [3, 3], [1, 1]], "clip 'train1' \\(open\\) is 0; expected a number in \\[1, 5\\]"),
    ],
)
def test_a_value_that_the_target_cannot_have_is_refused_by_clip(
    tmp_path: Path, target: Target, values: list[Any], message: str
) -> None:
    with pytest.raises(
        ValueError, match=f"split 'train': target 'it': .*{message}|split 'train': target 'it' {message}"
    ):
        write_store(tmp_path / "a.h5", made({"it": target}, it=values), data="d", feature_set="d/f", label_range=None)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("kind", "names"), [("classes", ("one",)), ("labels", ()), ("classes", ("a", "a")), ("labels", ("a", ""))]
)
def test_a_target_without_proper_names_is_refused(kind: str, names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=f"a target of {kind}: expected at least"):
        Target(kind, names)


def test_what_nobody_described_is_a_score_by_name_or_class_numbers_by_value() -> None:
    assert undeclared("multimodal", np.array([0.0, 1.0]), {"text"}) == Target()
    assert undeclared("text", np.array([0.0, 1.0]), {"text"}) == Target()
    assert undeclared("factor", np.array([0.0, 1.0]), {"text"}).kind == "classes"
    assert undeclared("factor", np.array([0.0, -1.0]), {"text"}) == Target()


def test_the_chosen_target_is_the_named_one_or_multimodal_or_the_only_one() -> None:
    two = {"mood": MOOD, "topics": TOPICS}
    assert choose_target(two, "topics", "s.h5") == "topics"
    assert choose_target({**two, "multimodal": Target()}, "", "s.h5") == "multimodal"
    assert choose_target({"mood": MOOD}, "", "s.h5") == "mood"
    with pytest.raises(
        ValueError, match=r"data.target: s.h5 has several targets; choose one of mood .3 classes., topics"
    ):
        choose_target(two, "", "s.h5")
    with pytest.raises(ValueError, match=r"data.target: 'moot' is no target of s.h5; nearest is mood"):
        choose_target(two, "moot", "s.h5")


def test_a_batch_has_the_chosen_target_and_the_modalities_own_that_belong_to_it(tmp_path: Path) -> None:
    store = open_store(ensure_fixture(tmp_path / "f.h5", name="fixture_classes", label_range=(-3.0, 3.0)))
    reads = dict.fromkeys(("text", "audio"), "values")
    chosen = next(iter(DataModule(store, reads=reads, target="emotion").loader("valid")))
    np.testing.assert_array_equal(chosen.target[:9].numpy(), store.split("valid").targets["emotion"][:9])
    assert "text" not in chosen.targets
    usual = next(iter(DataModule(store, reads=reads).loader("valid")))
    np.testing.assert_array_equal(usual.target[:9].numpy(), store.split("valid").targets["multimodal"][:9])
    np.testing.assert_array_equal(usual.targets["text"][:9].numpy(), store.split("valid").targets["text"][:9])


@pytest.mark.parametrize(("bounds", "count"), list(SCORE_CLASSES))
def test_classes_of_a_score_are_those_that_cross_entropy_trains_on(bounds: tuple[float, float], count: int) -> None:
    import torch

    cuts = [0.1, -0.1, 0.7, -0.7, 0.0, 0.5, -0.5, 1.5, -1.5, 2.5, *bounds]
    scores = np.concatenate([np.linspace(*bounds, 601), [cut for cut in cuts if bounds[0] <= cut <= bounds[1]]])
    scores = scores.astype(np.float32)
    expected = CrossEntropy(bounds, classes=count).classes(torch.from_numpy(scores))
    np.testing.assert_array_equal(SCORE_CLASSES[bounds, count].numbers(scores), expected.numpy())


def test_score_classes_become_targets_with_names_and_are_refused_without_a_range() -> None:
    source = made({}, multimodal=[0.5, -1.0, 2.0, 0.0])
    add_score_classes(source, [3, 7], (-3.0, 3.0))
    assert source.described["classes_3"].names == ("negative", "neutral", "positive")
    np.testing.assert_array_equal(source.splits["test"].targets["classes_3"], [2, 0, 2, 1])
    np.testing.assert_array_equal(source.splits["test"].targets["classes_7"], [3, 2, 5, 3])
    with pytest.raises(ValueError, match=r"classes=4: not defined for scores in .*; expected 2 or 3 or 5 or 7"):
        add_score_classes(source, [4], (-3.0, 3.0))
    with pytest.raises(ValueError, match=r"classes=3: not defined for scores in None; expected a data set with scores"):
        add_score_classes(source, [3], None)
