"""Arrays, frames and Hugging Face data sets become stores of the same numbers, or nothing is written."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from trivium.data import Store, from_arrays, from_frame, from_huggingface, open_store
from trivium.data.splitting import SplitOptions
from trivium.data.target import Target

SPLIT = ["train"] * 4 + ["valid"] * 2 + ["test"] * 2
EMOTION = ["calm", "happy"] * 4
RNG = np.random.default_rng(0)
SPEECH = [RNG.normal(size=(n, 4)).astype(np.float32) for n in range(1, 9)]
VALENCE = RNG.normal(size=8)


def made(tmp_path: Path, **changes: Any) -> Path:
    arguments: dict[str, Any] = {
        "modalities": {"speech": SPEECH, "wrist": np.arange(24.0).reshape(8, 3)},
        "targets": {"emotion": EMOTION, "valence": VALENCE},
        "split": SPLIT,
        "name": "gestures",
        "folder": tmp_path / "data",
    }
    return from_arrays(**{**arguments, **changes})


def test_arrays_are_stored_as_they_are(tmp_path: Path) -> None:
    path = made(tmp_path, ids=[f"c{n}" for n in range(8)], transcripts=["words"] * 8)
    assert path == tmp_path / "data" / "gestures" / "arrays.h5"
    store = open_store(path)
    assert (store.schema.feature_set, store.schema.dims) == ("gestures/arrays", {"speech": 4, "wrist": 3})
    valid = store.split("valid")
    assert (valid.ids, valid.raw_text) == (["c4", "c5"], ["words", "words"])
    np.testing.assert_array_equal(valid.streams["speech"][1], SPEECH[5])
    np.testing.assert_array_equal(valid.streams["wrist"][0], [[12, 13, 14]])
    np.testing.assert_array_equal(valid.targets["valence"], VALENCE[4:6].astype(np.float32))
    assert valid.targets["emotion"].tolist() == [0, 1]
    assert store.schema.targets["emotion"].names == ("calm", "happy")
    with pytest.raises(ValueError, match=r"arrays\.h5: exists already; force=true replaces it"):
        made(tmp_path)
    made(tmp_path, force=True)


def test_absent_tensors_and_values_that_are_not_finite(tmp_path: Path) -> None:
    speech: list[Any] = [torch.ones(2, 4, requires_grad=True), None, [[1, 2, 3, np.nan]], *SPEECH[3:]]
    train = open_store(made(tmp_path, modalities={"speech": speech, "wrist": np.ones((8, 3))})).split("train")
    assert train.streams["speech"].lengths.tolist() == [2, 0, 1, 4]
    assert train.streams["speech"][2].tolist() == [[1, 2, 3, 0]]


def test_targets_of_every_kind(tmp_path: Path) -> None:
    traits, topics = RNG.uniform(1, 7, size=(8, 2)), np.array([[0, 1, 1], [1, 0, 0]] * 4)
    targets = {"level": np.array([3, 1] * 4), "rating": [1.0, 2.0] * 4, "traits": traits, "topics": topics}
    kinds = {
        "level": "classes",
        "rating": Target("score", range=(1, 5)),
        "traits": "score",
        "topics": Target("labels", ("music", "sport", "news")),
    }
    store = open_store(made(tmp_path, targets=targets, kinds=kinds))
    described, train = store.schema.targets, store.split("train")
    assert (described["level"].names, train.targets["level"].tolist()) == (("1", "3"), [1, 0, 1, 0])
    assert (described["rating"].range, train.targets["rating"].tolist()) == ((1, 5), [1, 2, 1, 2])
    assert described["traits"].names == ("0", "1")
    np.testing.assert_array_equal(train.targets["traits"], traits[:4].astype(np.float32))
    assert (described["topics"].names, described["topics"].counts) == (("music", "sport", "news"), (2, 2, 2))
    np.testing.assert_array_equal(train.targets["topics"], topics[:4])


def folds_of(store: Store) -> dict[str, int]:
    assert store.folds is not None
    return store.folds.counts


def test_splits_may_be_drawn_and_folds_given(tmp_path: Path) -> None:
    speakers = [f"s{n % 4}" for n in range(8)]
    path = made(tmp_path, split=SplitOptions("leave_one_group_out"), group=speakers)
    assert folds_of(open_store(path)) == {f"s{n}": 2 for n in range(4)}
    path = made(tmp_path, split=None, fold=[n % 4 for n in range(8)], force=True)
    assert folds_of(open_store(path)) == {str(n): 2 for n in range(4)}
    path = made(tmp_path, split=SplitOptions("random", shares=(0.5, 0.25, 0.25)), force=True)
    assert open_store(path).schema.counts == {"train": 4, "valid": 2, "test": 2}


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "whole numbers": ({"targets": {"level": [0, 1] * 4}}, r"whole numbers \(0, 1\).* by kinds=\{'level': 'score'\}"),
    "several values": ({"targets": {"traits": np.ones((8, 2))}}, r"'traits' has 2 values a clip; say what they are by"),
    "float classes": (
        {"targets": {"level": [0.0, 1.0] * 4}, "kinds": {"level": "classes"}},
        r"column 'level': clip '0' has '0\.0'; expected a class's name or its whole number",
    ),
    "no label": ({"targets": {"valence": [0.5] * 7 + [None]}}, "column 'valence': clip '7' has no value"),
    "NaN label": ({"targets": {"valence": [0.5] * 7 + [np.nan]}}, "column 'valence': clip '7' has no value"),
    "no class": ({"targets": {"emotion": [*EMOTION[:7], pd.NA]}}, "column 'emotion': clip '7' has no value"),
    "no text": ({"targets": {"emotion": [*EMOTION[:7], np.nan]}}, "column 'emotion': clip '7' has no value"),
    "group of a column": ({"split": SplitOptions("random", group="speaker")}, r"give group=\[...\]"),
    "other D": (
        {"modalities": {"speech": [*SPEECH[:7], np.ones((2, 5))]}},
        r"'speech': expected one number of features a step for all clips; found 4 \(clip '6'\), 5 \(clip '7'\)",
    ),
    "wrong ndim": ({"modalities": {"speech": np.ones((8, 1, 2, 3))}}, r"clip '0': expected numbers \(T, D\)"),
    "ragged rows": ({"modalities": {"speech": [[[1, 2], [3]]] * 8}}, "'speech' of clip '0': expected numbers"),
    "objects": ({"modalities": {"speech": [np.array([{}])] * 8}}, "'speech' of clip '0': expected numbers"),
    "count": ({"targets": {"valence": VALENCE[:7]}}, "'valence' has 7 entries for 8 clips; expected one a clip"),
    "no modality": ({"modalities": {}}, "no modality; expected at least one"),
    "repeated id": ({"ids": list("aabcdefg")}, "id 'a' of split 'train' occurs before"),
    "id in two splits": ({"ids": list("abcdefga")}, "id 'a' of split 'test' occurs before, in split 'train'"),
    "no valid": ({"split": ["train"] * 6 + ["test"] * 2}, "no clip is in the split 'valid'"),
    "unseen class": ({"targets": {"emotion": [*EMOTION[:6], "sad", "sad"]}}, "class 'sad' of clip '6' in 'test'"),
    "unknown kind": ({"kinds": {"emotion": "class"}}, r"kinds\['emotion'\]: expected one of score, classes, labels"),
    "kind of no target": ({"kinds": {"emotoin": "classes"}}, "kinds: no target 'emotoin'"),
    "names": (
        {"targets": {"t": np.ones((8, 2))}, "kinds": {"t": Target("labels", ("a",))}},
        "target 't' has 2 values a clip, and its Target 1 names",
    ),
    "name": ({"name": "../x"}, r"name=\.\./x: expected letters"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_and_nothing_is_written(case: str, tmp_path: Path) -> None:
    changes, message = WRONG[case]
    with pytest.raises(ValueError, match=message):
        made(tmp_path, **changes)
    assert list(tmp_path.iterdir()) == []


def frame() -> pd.DataFrame:
    table = pd.DataFrame({"clip": [f"c{n}" for n in range(8)], "split": SPLIT, "valence": VALENCE, "notes": "x"})
    table["mood"] = pd.Categorical(EMOTION, categories=["happy", "calm"])
    table["speech"] = SPEECH
    return table


def test_a_frame_has_modalities_roles_and_categories(tmp_path: Path) -> None:
    path = from_frame(frame().drop(columns="notes"), name="gestures", ids="clip", folder=tmp_path)
    store = open_store(path)
    assert path == tmp_path / "gestures" / "frame.h5"
    assert store.split("test").ids == ["c6", "c7"]
    assert store.schema.dims == {"speech": 4}
    assert set(store.schema.targets) == {"valence", "mood"}
    assert store.schema.targets["mood"].names == ("happy", "calm")
    assert store.split("test").targets["mood"].tolist() == [1, 0]
    np.testing.assert_array_equal(store.split("train").streams["speech"].values, np.concatenate(SPEECH[:4]))


@pytest.mark.parametrize("cells", [np.float32, int, bool])
@pytest.mark.parametrize("words", [{}, {"targets": ["topics", "valence"]}])
def test_several_labels_of_a_clip_are_a_target_and_no_modality(
    tmp_path: Path, cells: Any, words: dict[str, Any]
) -> None:
    table = frame().drop(columns=["notes", "clip", "mood"])
    table["topics"] = list(np.array([[1, 0, 1], [0, 1, 0]] * 4).astype(cells))
    store = open_store(from_frame(table, name="g", kinds={"topics": "labels"}, folder=tmp_path, **words))
    assert store.schema.dims == {"speech": 4}
    assert store.schema.targets["topics"].kind == "labels"
    assert store.split("test").targets["topics"].tolist() == [[1, 0, 1], [0, 1, 0]]
    with pytest.raises(ValueError, match="no column 'topix'"):
        from_frame(table, name="other", kinds={"topix": "labels"}, folder=tmp_path)


def test_splits_of_a_frame_may_be_drawn_by_groups_and_its_old_splits_are_no_target(tmp_path: Path) -> None:
    table = frame().drop(columns=["notes", "mood"]).assign(speaker=[f"s{n // 2}" for n in range(8)])
    options = SplitOptions("random", group="speaker", shares=(0.5, 0.25, 0.25))
    store = open_store(from_frame(table, name="g", ids="clip", split=options, folder=tmp_path))
    assert list(store.schema.targets) == ["valence"]
    speakers = [{int(clip[1:]) // 2 for clip in store.split(split).ids} for split in store.schema.counts]
    assert sorted(speaker for part in speakers for speaker in part) == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="group='talker': no such column"):
        from_frame(table, name="other", split=SplitOptions("random", group="talker"), folder=tmp_path)


def test_a_frame_s_columns_may_be_chosen(tmp_path: Path) -> None:
    path = from_frame(frame(), name="gestures", targets=["valence"], modalities=["speech"], folder=tmp_path)
    store = open_store(path)
    assert list(store.schema.targets) == ["valence"]
    assert store.split("test").ids == ["6", "7"]  # the index
    for words, message in [
        ({"targets": ["valense"]}, "no column 'valense'"),
        ({"ids": "clips"}, "ids='clips': no such column; found clip, split"),
    ]:
        with pytest.raises(ValueError, match=message):
            from_frame(frame(), name="other", folder=tmp_path, **words)  # type: ignore[arg-type]


class Feature:
    """Stands for datasets.ClassLabel."""

    names = ("calm", "happy")


class Rows:
    """Stands for datasets.Dataset: it has columns by name, their features, and a number of rows."""

    def __init__(self, places: slice) -> None:
        self.columns: dict[str, list[Any]] = {
            "id": [f"c{n}" for n in range(8)][places],
            "speech": [values.tolist() for values in SPEECH][places],
            "emotion": ([0, 1] * 4)[places],
        }
        self.column_names = list(self.columns)
        self.features = {"id": None, "speech": None, "emotion": Feature()}

    def __getitem__(self, name: str) -> list[Any]:
        return self.columns[name]

    def __len__(self) -> int:
        return len(self.columns["id"])


def same_store(path: Path) -> None:
    store = open_store(path)
    assert store.schema.counts == {"train": 4, "valid": 2, "test": 2}
    assert store.schema.targets["emotion"].names == ("calm", "happy")
    assert store.split("valid").ids == ["c4", "c5"]
    np.testing.assert_array_equal(store.split("valid").streams["speech"].values, np.concatenate(SPEECH[4:6]))


def test_a_dict_of_data_sets_has_their_splits(tmp_path: Path) -> None:
    parts = {"train": Rows(slice(4)), "validation": Rows(slice(4, 6)), "test": Rows(slice(6, 8))}
    same_store(from_huggingface(parts, name="gestures", folder=tmp_path))


def test_a_real_data_set_of_hugging_face(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "id": datasets.Value("string"),
            "speech": datasets.Sequence(datasets.Sequence(datasets.Value("float32"))),
            "emotion": datasets.ClassLabel(names=["calm", "happy"]),
            "split": datasets.Value("string"),
        }
    )
    whole: dict[str, list[Any]] = {
        "id": [f"c{n}" for n in range(8)],
        "speech": [values.tolist() for values in SPEECH],
        "emotion": [0, 1] * 4,
        "split": SPLIT,
    }
    dataset = datasets.Dataset.from_dict(whole, features=features)
    same_store(from_huggingface(dataset, name="gestures", folder=tmp_path))
    alone = dataset.remove_columns("split")
    parts = {"train": range(4), "validation": range(4, 6), "test": range(6, 8)}
    splits = datasets.DatasetDict({name: alone.select(places) for name, places in parts.items()})
    same_store(from_huggingface(splits, name="again", folder=tmp_path))
