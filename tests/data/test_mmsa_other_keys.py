"""MMSA's layout with keys of other names: modalities, targets, and what must not be lost unseen."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from refusal import refusal
from trivium.cli.prepare import main
from trivium.data.clips import Source
from trivium.data.formats.mmsa import read_mmsa
from trivium.data.store import open_store
from trivium.data.target import Target

COUNTS = {"train": 6, "valid": 3, "test": 4}
DIMS = {"audio": 3, "gaze": 2, "pulse": 1}
STEPS = 5


def make_file(labels: bool = True) -> dict[str, dict[str, Any]]:
    """Audio, and two modalities that MMSA does not know, padded at the back; `gaze` has its lengths in the file."""
    rng = np.random.default_rng(1)
    content: dict[str, dict[str, Any]] = {}
    for split, count in COUNTS.items():
        part: dict[str, Any] = {"id": [f"{split}{n}" for n in range(count)]}
        if labels:
            part["regression_labels"] = np.linspace(-3, 3, count)
        for modality, dim in DIMS.items():
            part[modality] = rng.normal(size=(count, STEPS, dim)).astype(np.float32)
            for n, clip in enumerate(part[modality]):
                clip[1 + n % STEPS :] = 0
        part["gaze"][0, 0] = 0  # looked at nothing: a step, as the lengths say
        part["gaze_lengths"] = [1 + n % STEPS for n in range(count)]
        content[split] = part
    return content


def dump(path: Path, content: object) -> Path:
    path.write_bytes(pickle.dumps(content, protocol=4))
    return path


def load(folder: Path, content: object, **options: Any) -> Source:
    return read_mmsa(dump(folder / "file.pkl", content), **options)


def test_arrays_of_other_names_are_modalities_with_their_lengths(tmp_path: Path) -> None:
    content = make_file()
    source = load(tmp_path, content)
    for split, part in content.items():
        clips = source.splits[split]
        assert list(clips.streams) == ["audio", "gaze", "pulse"]
        for modality, ragged in clips.streams.items():
            lengths = [1 + n % STEPS for n in range(len(clips))]
            assert ragged.lengths.tolist() == lengths
            expected = np.concatenate([row[:length] for row, length in zip(part[modality], lengths, strict=True)])
            np.testing.assert_array_equal(ragged.values, expected)
    assert source.notes["lengths/gaze"] == "gaze_lengths"
    assert source.notes["lengths/pulse"] == "zero steps cut off"


def test_classes_beside_scores_are_left_out_only_if_they_follow_from_them(tmp_path: Path) -> None:
    content = make_file()
    for part in content.values():
        part["classification_labels"] = np.sign(part["regression_labels"])
        part["annotations"] = np.where(part["regression_labels"] < 1, "low", "high").tolist()
    assert list(load(tmp_path, content).splits["train"].targets) == ["multimodal"]
    content["valid"]["annotations"] = ["low", "high", "low"]
    with pytest.raises(ValueError, match=r"split 'valid': key 'annotations' holds classes that do not follow from the"):
        load(tmp_path, content)
    assert list(load(tmp_path, content, drop=["annotations"]).splits["train"].targets) == ["multimodal"]


def test_a_class_that_train_lacks_is_refused_and_nothing_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = make_file(labels=False)
    for part in content.values():
        part["annotations"] = ["sad", "glad"] * (len(part["id"]) // 2) + ["sad"] * (len(part["id"]) % 2)
    content["test"]["annotations"][3] = "angry"
    file = dump(tmp_path / "file.pkl", content)
    words = ["data=custom", "data.name=own", f"source={file}", f"paths.data={tmp_path / 'data'}"]
    message = refusal(main, words, tmp_path, capsys)
    assert "class 'angry' of clip 'test3' in 'test' occurs in no clip of 'train'" in message


def test_a_list_of_clips_of_another_name_is_a_modality_and_is_repaired(tmp_path: Path) -> None:
    content = make_file()
    content["train"]["pulse"][0, 0] = -np.inf
    for part in content.values():
        part["pulse"] = [clip[: 1 + n % STEPS] for n, clip in enumerate(part["pulse"])]
    source = load(tmp_path, content)
    assert source.repairs["pulse"] == {"neg_inf": 1, "pos_inf": 0, "nan": 0}
    assert source.splits["valid"].streams["pulse"].lengths.tolist() == [1, 2, 3]


def test_such_a_store_trains_with_its_modalities(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = dump(tmp_path / "file.pkl", make_file())
    assert main(["data=custom", f"source={path}", f"paths.data={tmp_path / 'data'}"]) == 0
    assert open_store(tmp_path / "data" / "custom" / "file.h5").schema.dims == DIMS
    assert "gaze" in capsys.readouterr().out


def add(key: str, value: Any, split: str = "") -> dict[str, dict[str, Any]]:
    content = make_file()
    for name, part in content.items():
        if split in ("", name):
            part[key] = value(len(part["id"])) if callable(value) else value
    return content


LOST: dict[str, tuple[dict[str, dict[str, Any]], str]] = {
    "numbers": (add("pitch", lambda n: [1.0] * n), "split 'train': key 'pitch' is a list of 6 float"),
    "vectors": (add("face", lambda n: np.ones((n, 7), "f4")), r"key 'face' is an array \(6, 7\) float32"),
    "rank_4": (add("face", lambda n: np.ones((n, 2, 2, 2), "f4")), r"key 'face' is an array \(6, 2, 2, 2\)"),
    "one_split": (add("speaker", ["a"] * 4, "test"), "split 'test': key 'speaker' is a list of 4 str"),
    "lengths": (add("hands_lengths", lambda n: [1] * n), "key 'hands_lengths' is lengths without their modality"),
    "config": (add("config", {"a": 1}), "key 'config' is a dict"),
}


@pytest.mark.parametrize("case", LOST)
def test_what_nothing_reads_is_refused_unless_it_is_dropped(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, message = LOST[case]
    with pytest.raises(ValueError, match=message) as error:
        load(tmp_path, content)
    key = next(key for key in content["test"] if key not in make_file()["test"])
    assert str(error.value).endswith(f"To leave it out, say drop=[{key}]")
    arguments = ["data=custom", f"source={tmp_path / 'file.pkl'}", f"paths.data={tmp_path / 'data'}"]
    assert f"drop=[{key}]" in refusal(main, arguments, tmp_path, capsys)
    assert main([*arguments, f"drop=[{key}]"]) == 0
    assert open_store(tmp_path / "data" / "custom" / "file.h5").schema.dims == DIMS


def test_a_modality_may_be_dropped_and_a_misspelled_one_is_named(tmp_path: Path) -> None:
    source = load(tmp_path, make_file(), drop=["gaze", "gaze_lengths"])
    assert list(source.splits["train"].streams) == ["audio", "pulse"]
    with pytest.raises(ValueError, match=r"file\.pkl: drop=gase: no such key; nearest is gaze; it has id, "):
        load(tmp_path, make_file(), drop=["gase"])


def test_a_modality_of_another_name_must_be_in_every_split_and_of_one_size(tmp_path: Path) -> None:
    content = make_file()
    del content["test"]["pulse"]
    with pytest.raises(ValueError, match="split 'test': key 'pulse' is missing, but split 'train' has it"):
        load(tmp_path, content)
    content = make_file()
    content["valid"]["pulse"] = np.ones((3, 5, 2))
    with pytest.raises(ValueError, match="split 'valid': key 'pulse' has 2 features a step, 1 in 'train'"):
        load(tmp_path, content)


def test_keys_that_repeat_the_scores_stay_out_of_published_layouts(tmp_path: Path) -> None:
    content = make_file()
    for part in content.values():
        count = len(part["id"])
        for ending in ("", "_T", "_A", "_V", "_M"):
            part[f"annotations{ending}"] = ["Positive"] * count
            part[f"classification_labels{ending}"] = [1] * count
        part["regression_labels_M"] = part["regression_labels"]
        part["audio_lengths"] = part["gaze_lengths"]
        part["vision_lengths"] = [1] * count
    source = load(tmp_path, content)
    assert list(source.splits["train"].targets) == ["multimodal"]
    assert source.described == {}
    known = load(tmp_path, content, known_keys_only=True)
    assert list(known.splits["train"].streams) == ["audio"]
    assert known.notes["dropped/keys"] == "gaze, gaze_lengths, pulse"


CLASSES = {"train": [2, 0, 1, 1, 0, 2], "valid": [0, 1, 1], "test": [2, 2, 0, 1]}
WORDS = ("negative", "neutral", "positive")


def with_classes(names: bool, numbers: bool) -> dict[str, dict[str, Any]]:
    content = make_file(labels=False)
    for split, part in content.items():
        if numbers:
            part["classification_labels"] = np.array(CLASSES[split], dtype=float)
        if names:
            part["annotations"] = [WORDS[number] for number in CLASSES[split]]
    return content


@pytest.mark.parametrize(
    ("names", "numbers", "expected"), [(True, True, WORDS), (True, False, WORDS), (False, True, ("0", "1", "2"))]
)
def test_without_scores_the_classes_are_the_target(
    tmp_path: Path, names: bool, numbers: bool, expected: tuple[str, ...]
) -> None:
    source = load(tmp_path, with_classes(names, numbers))
    assert source.described["multimodal"] == Target("classes", expected)
    assert {split: clips.targets["multimodal"].tolist() for split, clips in source.splits.items()} == CLASSES


def test_classes_that_annotations_do_not_tell_apart_keep_their_numbers(tmp_path: Path) -> None:
    content = with_classes(names=True, numbers=True)
    content["test"]["annotations"][0] = "neutral"
    assert load(tmp_path, content).described["multimodal"].names == ("0", "1", "2")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([0, 1, np.nan], "'valid': key 'classification_labels' of clip 'valid2' is nan; expected class numbers"),
        ([0, 0.5, 1], "'valid': key 'classification_labels' of clip 'valid1' is 0.5"),
        ([0, -1, 1], "'valid': key 'classification_labels' of clip 'valid1' is -1"),
        (["a", "b", "c"], "'classification_labels' holds names in one split and numbers in another"),
        ([0, 1], "'valid': key 'classification_labels' has 2 entries, but there are 3 ids"),
    ],
)
def test_a_label_that_is_no_class_is_named(tmp_path: Path, value: list[Any], message: str) -> None:
    content = with_classes(names=False, numbers=True)
    content["valid"]["classification_labels"] = value
    with pytest.raises(ValueError, match=message):
        load(tmp_path, content)


def test_further_targets_have_their_name_after_the_key_of_the_labels(tmp_path: Path) -> None:
    content = make_file()
    for split, part in content.items():
        part["regression_labels_arousal"] = np.linspace(0, 1, len(part["id"]))
        part["classification_labels_speaker"] = [WORDS[number] for number in CLASSES[split]]
    source = load(tmp_path, content)
    assert list(source.splits["valid"].targets) == ["multimodal", "arousal", "speaker"]
    assert source.splits["valid"].targets["speaker"].tolist() == CLASSES["valid"]
    assert source.described == {"speaker": Target("classes", WORDS)}
    np.testing.assert_array_equal(source.splits["valid"].targets["arousal"], np.float32([0, 0.5, 1]))


INTENSITIES = np.array([[0, 0, 0, 0, 0, 0], [0.33, 0, 0, 0, 0, 2], [0, 1, 0, 0, 3, 0]])


def with_emotions(key: str) -> dict[str, dict[str, Any]]:
    content = make_file()
    for part in content.values():
        intensities = np.resize(INTENSITIES, (len(part["id"]), 6))
        if key == "regression_labels":
            part[key] = np.c_[part[key], intensities]
        else:
            part[key] = intensities
    return content


@pytest.mark.parametrize("key", ["emotions", "emotion_labels", "regression_labels"])
def test_six_emotions_of_mosei_are_labels_beside_the_score(tmp_path: Path, key: str) -> None:
    source = load(tmp_path, with_emotions(key))
    assert source.splits["valid"].targets["multimodal"].tolist() == [-3, 0, 3]
    assert source.splits["valid"].targets["emotions"].tolist() == [[0] * 6, [1, 0, 0, 0, 0, 1], [0, 1, 0, 0, 1, 0]]
    assert source.described["emotions"].kind == "labels"
    assert source.described["emotions"].names == ("happy", "sad", "anger", "surprise", "disgust", "fear")


def test_emotions_that_are_not_six_or_no_number_are_named(tmp_path: Path) -> None:
    content = with_emotions("emotions")
    content["test"]["emotions"][1, 2] = np.nan
    with pytest.raises(
        ValueError, match="split 'test': key 'emotions' of clip 'test1' has an emotion that is no number"
    ):
        load(tmp_path, content)
    content["test"]["emotions"] = np.zeros((4, 8))
    with pytest.raises(
        ValueError, match=r"'test': key 'emotions' must be of shape \(N, 6\), happy, .*; found \(4, 8\)"
    ):
        load(tmp_path, content)
