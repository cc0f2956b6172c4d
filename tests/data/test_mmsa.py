"""MMSA pickles: every layout gives back the very sequences that were padded; every malformed one is named."""

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trivium.data.clips import Ragged, Source
from trivium.data.formats.mmsa import read_mmsa
from trivium.data.formats.padding import Padded, padded_side

COUNTS = {"train": 5, "valid": 2, "test": 3}
DIMS = {"text": 6, "audio": 3, "vision": 4}
REAL = Path(__file__).resolve().parents[2] / "../shared/data"


def make_sequences(seed: int = 0, most: int = 7) -> dict[str, dict[str, list[np.ndarray]]]:
    """split -> modality -> ragged clips, (T, D) float32 without a zero step at either end."""
    rng = np.random.default_rng(seed)

    def clip(dim: int) -> np.ndarray:
        return rng.normal(size=(rng.integers(1, most + 1), dim)).astype(np.float32)

    return {split: {m: [clip(dim) for _ in range(n)] for m, dim in DIMS.items()} for split, n in COUNTS.items()}


def pad(clips: list[np.ndarray], steps: int, side: str = "back") -> np.ndarray:
    out = np.zeros((len(clips), steps, clips[0].shape[1]), dtype=clips[0].dtype)
    for row, clip in zip(out, clips, strict=True):
        row[slice(0, len(clip)) if side == "back" else slice(steps - len(clip), steps)] = clip
    return out


def make_file(
    sequences: dict[str, dict[str, list[np.ndarray]]], *, lengths: bool = True, steps: int = 9, side: str = "back"
) -> dict[str, dict[str, Any]]:
    content: dict[str, dict[str, Any]] = {}
    for split, streams in sequences.items():
        count = len(next(iter(streams.values())))
        content[split] = {
            "id": [f"{split}$_${n}" for n in range(1, count + 1)],
            "raw_text": np.array([f"clip {n}" for n in range(count)], dtype=object),
            "regression_labels": np.linspace(-3, 3, count),
            "annotations": ["Neutral"] * count,
        }
        for modality, clips in streams.items():
            content[split][modality] = pad(clips, steps, side)
            if lengths:
                content[split][f"{modality}_lengths"] = [len(clip) for clip in clips]
    return content


def load(path: Path, content: object) -> Source:
    file = path / "file.pkl"
    file.write_bytes(pickle.dumps(content, protocol=4))
    return read_mmsa(file)


def cut(ragged: Ragged) -> list[np.ndarray]:
    return np.split(ragged.values, ragged.offsets[1:-1])


def assert_same(source: Source, sequences: dict[str, dict[str, list[np.ndarray]]]) -> None:
    for split, streams in sequences.items():
        assert set(source.splits[split].streams) == set(streams)
        for modality, clips in streams.items():
            found = source.splits[split].streams[modality]
            assert found.values.dtype == np.float32
            assert len(found) == len(clips)
            for one, other in zip(cut(found), clips, strict=True):
                np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("side", ["back", "front"])
@pytest.mark.parametrize("lengths", [True, False], ids=["lengths", "no_lengths"])
@pytest.mark.parametrize("kind", ["float32", "float64", "list_of_arrays", "nested_lists"])
def test_padding_is_stripped_from_either_side(tmp_path: Path, side: str, lengths: bool, kind: str) -> None:
    sequences = make_sequences()
    content = make_file(sequences, lengths=lengths, side=side)
    convert: dict[str, Callable[[np.ndarray], Any]] = {
        "float32": lambda a: a,
        "float64": lambda a: a.astype(np.float64),
        "list_of_arrays": list,
        "nested_lists": lambda a: a.tolist(),
    }
    for part in content.values():
        part.update({m: convert[kind](part[m]) for m in DIMS})
    source = load(tmp_path, content)
    assert_same(source, sequences)
    assert [source.notes[f"padding/{m}"] for m in DIMS] == [side] * 3
    assert source.splits["test"].ids == content["test"]["id"]
    assert source.splits["test"].raw_text == ["clip 0", "clip 1", "clip 2"]
    np.testing.assert_allclose(source.splits["test"].targets["multimodal"], [-3, 0, 3])


def test_list_of_unpadded_clips_is_read_as_it_is(tmp_path: Path) -> None:
    sequences = make_sequences()
    sequences["train"]["audio"][1][-1] = 0  # a silent last step belongs to the clip
    content = make_file(sequences, lengths=False)
    for split, part in content.items():
        part["audio"] = sequences[split]["audio"]
    assert_same(load(tmp_path, content), sequences)


def test_one_side_is_used_for_all_splits(tmp_path: Path) -> None:
    sequences = make_sequences()
    sequences["valid"]["audio"] = [np.ones((9, 3), "f4"), np.ones((9, 3), "f4")]
    sequences["valid"]["audio"][0][-2:] = 0  # silence at the end of a whole clip, in a file padded in front
    source = load(tmp_path, make_file(sequences, lengths=False, side="front"))
    assert source.notes["padding/audio"] == "front"
    assert source.splits["valid"].streams["audio"].lengths.tolist() == [9, 9]


def test_side_of_the_padding_is_that_of_more_zeros_and_the_back_where_they_are_as_many() -> None:
    def side(*rows: list[int]) -> str:
        return padded_side([Padded(np.array(rows, dtype=np.float32)[..., None], None)])

    assert side([0, 0, 1, 1], [0, 0, 0, 0], [1, 1, 1, 0]) == "front"  # 2 and 1; the clip of zeros counts at neither end
    assert side([0, 0, 1, 1], [0, 0, 0, 0], [1, 0, 0, 0]) == "back"
    assert side([0, 1, 1, 1], [1, 1, 1, 0]) == "back"
    assert side([1, 1, 0, 1], [0, 0, 0, 0]) == "none"


def test_all_zero_clip_is_kept_with_lengths_and_absent_without(tmp_path: Path) -> None:
    sequences = make_sequences()
    sequences["train"]["audio"][2] = np.zeros((4, 3), "f4")
    assert load(tmp_path, make_file(sequences)).splits["train"].streams["audio"].lengths[2] == 4
    source = load(tmp_path, make_file(sequences, lengths=False))
    assert source.splits["train"].streams["audio"].lengths[2] == 0


def with_bert(content: dict[str, dict[str, Any]], text: dict[str, list[int]], steps: int = 9) -> None:
    for split, part in content.items():
        bert = np.zeros((len(text[split]), 3, steps), dtype=np.float32)
        for row, length in zip(bert, text[split], strict=True):
            row[0, :length], row[1, :length] = np.arange(101, 101 + length), 1
        part["text_bert"] = bert


@pytest.mark.parametrize("known_by", ["text_lengths", "text_bert"])
def test_aligned_file_takes_the_texts_lengths_for_all(tmp_path: Path, known_by: str) -> None:
    sequences = make_sequences()
    for streams in sequences.values():
        for m in ("audio", "vision"):
            streams[m] = [
                np.resize(clip, (len(t), DIMS[m])) for clip, t in zip(streams[m], streams["text"], strict=True)
            ]
            streams[m][0][-1] = 0  # a word in silence: cutting zeros off would lose the step
    content = make_file(sequences, lengths=False)
    lengths = {split: [len(clip) for clip in streams["text"]] for split, streams in sequences.items()}
    for split, part in content.items():
        if known_by == "text_lengths":
            part["text_lengths"] = np.array(lengths[split])
        else:
            # BERT's features of padding are not zero
            part["text"] = np.where(part["text"] == 0, np.float32(0.5), part["text"])
    if known_by == "text_bert":
        with_bert(content, lengths)
    source = load(tmp_path, content)
    assert_same(source, sequences)
    assert source.notes["lengths/audio"] == "the text's (aligned)"


def test_unaligned_file_of_equal_steps_does_not_take_the_texts_lengths(tmp_path: Path) -> None:
    sequences = make_sequences()
    content = make_file(sequences, lengths=False)
    with_bert(content, {split: [1] * n for split, n in COUNTS.items()})
    for streams in sequences.values():
        streams["text"] = [clip[:1] for clip in streams["text"]]
    assert_same(load(tmp_path, content), sequences)


def test_text_bert_becomes_token_ids_even_without_text(tmp_path: Path) -> None:
    sequences = make_sequences()
    content = make_file(sequences)
    lengths = {split: list(range(2, 2 + n)) for split, n in COUNTS.items()}
    with_bert(content, lengths)
    for split, part in content.items():
        del part["text"], part["text_lengths"]
        del sequences[split]["text"]
    source = load(tmp_path, content)
    assert_same(source, sequences)
    tokens = source.splits["train"].tokens
    assert tokens is not None
    assert tokens.values.dtype == np.int32
    assert [t.tolist() for t in cut(tokens)] == [list(range(101, 101 + n)) for n in lengths["train"]]


@pytest.mark.parametrize("absent", list(DIMS))
def test_any_modality_may_be_missing(tmp_path: Path, absent: str) -> None:
    sequences = make_sequences()
    for streams in sequences.values():
        del streams[absent]
    assert_same(load(tmp_path, make_file(sequences)), sequences)


def test_unimodal_labels_become_targets(tmp_path: Path) -> None:
    content = make_file(make_sequences())
    for part in content.values():
        for key in "TAV":
            part[f"regression_labels_{key}"] = np.full((len(part["id"]), 1), ord(key), dtype=np.float64)
    targets = load(tmp_path, content).splits["valid"].targets
    assert {name: values.tolist() for name, values in targets.items() if name != "multimodal"} == {
        "text": [84, 84], "audio": [65, 65], "vision": [86, 86]
    }  # fmt: skip


def test_infinities_and_nan_of_real_steps_become_zero_and_are_counted(tmp_path: Path) -> None:
    sequences = make_sequences()
    content = make_file(sequences)
    audio = content["train"]["audio"]
    audio[0, 0, :2] = -np.inf
    audio[1, 0, 0], content["test"]["audio"][0, 0, 1] = np.nan, np.inf
    audio[0, len(sequences["train"]["audio"][0]) :] = 0
    source = load(tmp_path, content)
    assert source.repairs["audio"] == {"neg_inf": 2, "pos_inf": 1, "nan": 1}
    assert source.repairs["text"] == {"neg_inf": 0, "pos_inf": 0, "nan": 0}
    found = cut(source.splits["train"].streams["audio"])[0]
    np.testing.assert_array_equal(found[0], [0, 0, sequences["train"]["audio"][0][0, 2]])


def test_splits_and_targets_that_are_not_read_are_noted(tmp_path: Path) -> None:
    content = make_file(make_sequences())
    content["unlabelled"] = {"id": ["x"]}
    content["train"]["regression_labels_T"] = [0.0] * 5  # not in valid and test
    source = load(tmp_path, content)
    assert source.notes["dropped/splits"] == "unlabelled"
    assert source.notes["dropped/targets"].startswith("text ")
    assert list(source.splits["train"].targets) == ["multimodal"]


def test_lengths_counted_from_the_wrong_side_are_refused(tmp_path: Path) -> None:
    content = make_file(make_sequences(most=6), side="front")
    for part in content.values():
        part["audio_lengths"] = [1] * len(part["id"])  # what "first zero step, at least 1" gives for this file
    with pytest.raises(ValueError, match=r"file\.pkl: key 'audio_lengths' would leave out .* padded in front"):
        load(tmp_path, content)


def change(split: str, key: str, value: Any) -> Callable[[dict[str, Any]], object]:
    return lambda content: content[split].update({key: value})


BROKEN: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no_train": (lambda c: c.pop("train"), r"split 'train' is missing; found \['valid', 'test'\]"),
    "no_ids": (lambda c: c["valid"].pop("id"), "split 'valid': key 'id' is missing"),
    "no_labels": (
        lambda c: c["test"].pop("regression_labels"),
        r"split 'test': key 'regression_labels' is missing; .* give yours",
    ),
    "no_audio_in_one": (lambda c: c["test"].pop("audio"), "split 'test': key 'audio' is missing, but split 'train'"),
    "lengths_in_one": (lambda c: c["test"].pop("audio_lengths"), "split 'test': key 'audio_lengths' is missing"),
    "rank_2": (
        change("train", "audio", np.ones((5, 3))),
        r"'train': key 'audio' must be .*\(N, T, D\).*\(5, 3\)",
    ),
    "rank_4": (change("train", "audio", np.ones((5, 9, 3, 1))), r"key 'audio' must be of shape .* \(5, 9, 3, 1\)"),
    "bert_rank": (
        lambda c: [p.update(text_bert=np.ones((len(p["id"]), 2, 9))) for p in c.values()],
        r"key 'text_bert' must be of shape \(N, 3, T\)",
    ),
    "label_rank": (
        change("train", "regression_labels", np.ones((5, 2))),
        r"key 'regression_labels' must be .*\(N,\)",
    ),
    "count": (change("train", "vision", np.ones((4, 9, 4))), "key 'vision' has 4 entries, but there are 5 ids"),
    "label_count": (change("valid", "regression_labels", [0.0] * 3), "'regression_labels' has 3 entries, .* 2 ids"),
    "too_long": (
        change("train", "audio_lengths", [1, 2, 10, 1, 1]),
        "'audio_lengths': clip 2 has length 10, .* 9",
    ),
    "negative": (change("train", "audio_lengths", [1, 2, -1, 1, 1]), "'audio_lengths': clip 2 has length -1"),
    "fraction": (change("train", "audio_lengths", [1, 2, 1.5, 1, 1]), "'audio_lengths': clip 2 has length 1.5"),
    "id_twice": (
        change("train", "id", ["a", "b", "c", "a", "d"]),
        "id 'a' of split 'train' occurs before, in split 'train'",
    ),
    "id_in_two_splits": (change("test", "id", ["x", "train$_$2", "y"]), r"id 'train\$_\$2' of split 'test' .* 'train'"),
    "empty_split": (change("valid", "id", []), "split 'valid': is empty"),
    "text_labels": (change("train", "regression_labels", ["1"] * 5), "'regression_labels' must hold numbers"),
    "nan_label": (change("train", "regression_labels", [0, 1, np.nan, 0, 0]), r"of clip 'train\$_\$3' is nan"),
    "number_ids": (change("train", "id", np.arange(5)), r"key 'id' must hold strings, .* int at place 0 \(5 such\)"),
    "no_transcript": (change("train", "raw_text", ["a", "b", np.nan, "d", "e"]), r"'raw_text' .* float at place 2 \(1"),
    "text_audio": (change("train", "audio", np.full((5, 9, 3), "x")), "key 'audio' must hold numbers"),
    "dims_differ": (change("test", "audio", np.ones((3, 9, 2))), "split 'test': key 'audio' has 2 features a step, 3"),
    "no_dict": (lambda c: c.update(train=[1, 2]), "split 'train': expected a dict of keys"),
    "object_audio": (
        change("train", "audio", np.array(["a", 1.0], dtype=object)),
        "key 'train/audio' is an object array",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_malformed_file_is_named_with_split_and_key(tmp_path: Path, case: str) -> None:
    content = make_file(make_sequences())
    breaks, message = BROKEN[case]
    breaks(content)
    with pytest.raises(ValueError, match=message) as error:
        load(tmp_path, content)
    assert str(error.value).startswith(str(tmp_path / "file.pkl"))


def test_file_that_is_no_dict_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"file\.pkl: expected a dict of splits .* found list"):
        load(tmp_path, [1, 2])


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not (REAL / "expand.py").exists():
        pytest.skip("the real CMU-MOSI arrays are not on this machine (../shared/data)")
    folder = tmp_path_factory.mktemp("real")
    subprocess.run([sys.executable, str(REAL / "expand.py"), str(folder)], check=True, capture_output=True)
    return folder


def test_real_mosi_official_split_comes_back_clip_by_clip(real: Path) -> None:
    path = real / "mosi_text_audio.pkl"
    source = read_mmsa(path)
    raw = pickle.loads(path.read_bytes())  # our own file, just written
    assert {split: len(clips) for split, clips in source.splits.items()} == {"train": 1284, "valid": 229, "test": 686}
    for split, clips in source.splits.items():
        part = raw[split]
        assert clips.ids == part["id"].tolist()
        assert clips.raw_text == part["raw_text"].tolist()
        np.testing.assert_array_equal(clips.targets["multimodal"], part["regression_labels"])
        assert clips.streams["text"].lengths.tolist() == part["text_lengths"]
        assert (clips.streams["audio"].dim, clips.streams["text"].dim) == (73, 300)
        for n in (0, len(clips) - 1):
            np.testing.assert_array_equal(cut(clips.streams["text"])[n], part["text"][n, : part["text_lengths"][n]])
    assert source.notes["padding/text"] == "back"


def test_real_trimodal_file_has_its_three_modalities_aligned(real: Path) -> None:
    source = read_mmsa(real / "mosi_trimodal_229.pkl")
    assert [len(source.splits[split]) for split in ("train", "valid", "test")] == [171, 28, 30]
    train = source.splits["train"].streams
    assert {m: r.dim for m, r in train.items()} == {"text": 300, "audio": 74, "vision": 47}
    np.testing.assert_array_equal(train["audio"].offsets, train["vision"].offsets)
