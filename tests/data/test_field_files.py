"""Files as people of the field have them: clips without steps, arrays of arrays, letters that no file holds."""

import pickle
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from trivium.data.clips import Clips, Ragged, Source
from trivium.data.formats import sequences
from trivium.data.formats.sequences import read_steps
from trivium.data.prepare import prepare
from trivium.data.source_check import leave_out_empty_clips
from trivium.data.store import open_store
from trivium.data.unpickle import safe_load

COUNTS = {"train": 6, "valid": 3, "test": 3}


def content() -> dict[str, dict[str, Any]]:
    """A dict in MMSA's layout, whose sequences are lists of clips of unequal length."""
    rng, splits = np.random.default_rng(0), {}
    for split, count in COUNTS.items():
        clips = {name: [rng.normal(size=(2 + n % 3, dim)).astype("f4") for n in range(count)] for name, dim in SIZES}
        splits[split] = {
            "id": [f"{split}{n}" for n in range(count)],
            "raw_text": [f"clip {n}" for n in range(count)],
            "regression_labels": rng.uniform(-1, 1, count).astype("f4"),
            **clips,
        }
    return splits


SIZES = (("text", 4), ("audio", 3), ("vision", 2))


def stored(tmp_path: Path, splits: dict[str, dict[str, Any]]) -> Any:
    source, out = tmp_path / "mine.pkl", tmp_path / "s.h5"
    source.write_bytes(pickle.dumps(splits))
    return open_store(prepare(data="custom", source=[source], out=out, force=True))


def test_an_object_array_of_arrays_is_the_list_that_it_is(tmp_path: Path) -> None:
    lists, arrays = content(), content()
    for part in arrays.values():
        for name, _ in SIZES:
            clips = np.empty(len(part[name]), object)
            clips[:] = part[name]
            part[name] = clips
    a, b = stored(tmp_path, lists).split("train"), stored(tmp_path, arrays).split("train")
    for name, _ in SIZES:
        np.testing.assert_array_equal(a.streams[name].values, b.streams[name].values)
        np.testing.assert_array_equal(a.streams[name].offsets, b.streams[name].offsets)


def test_objects_inside_an_object_array_are_refused_without_internal_names(tmp_path: Path) -> None:
    inner = np.empty(1, object)
    inner[0] = {1: 2}
    outer = np.empty(1, object)
    outer[0] = inner
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"train": {"vision": outer}}))
    with pytest.raises(ValueError, match=r"a\.pkl: key 'train/vision' is an object array that holds ndarray"):
        safe_load(tmp_path / "a.pkl")
    (tmp_path / "b.pkl").write_bytes(pickle.dumps({"train": {"vision": np.array([np.dtype("f4")], object)}}))
    with pytest.raises(ValueError, match="key 'train/vision' is an object array that holds objects;"):
        safe_load(tmp_path / "b.pkl")


@pytest.mark.parametrize("empty", [np.array([]), np.zeros((0, 2)), np.zeros((0, 7)), np.zeros((3, 0))])
def test_an_empty_array_is_a_clip_that_lacks_the_modality(empty: Any, tmp_path: Path) -> None:
    splits = content()
    splits["train"]["vision"][1] = empty
    assert stored(tmp_path, splits).split("train").streams["vision"].lengths.tolist()[:3] == [2, 0, 4]


def test_a_clip_of_another_rank_is_named_by_its_place(tmp_path: Path) -> None:
    splits = content()
    splits["valid"]["audio"][2] = np.zeros(3)
    with pytest.raises(ValueError, match=r"split 'valid': key 'audio': the clip at place 2 is of shape \(3,\)"):
        stored(tmp_path, splits)


@pytest.mark.parametrize(("key", "where"), [("raw_text", "train1"), ("id", r"so\\x00good")])
@pytest.mark.parametrize("text", ["so\0good", "good \ud83d film"])
def test_letters_that_no_file_holds_are_refused_by_clip(key: str, where: str, text: str, tmp_path: Path) -> None:
    splits = content()
    splits["train"][key][1] = text
    clip = "train1" if key == "raw_text" else ascii(text)[1:-1]
    key_of_store = "ids" if key == "id" else key
    with pytest.raises(ValueError) as caught:
        stored(tmp_path, splits)
    assert f"mine.pkl: split 'train': key {key_of_store!r} of clip '{clip}' holds a letter" in str(caught.value)
    assert "take it out" in str(caught.value)
    assert not (tmp_path / "s.h5").exists()


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_a_fill_value_is_seen_before_training(split: str, tmp_path: Path) -> None:
    splits = content()
    splits[split]["vision"][2][0, 1] = -3e38
    with pytest.raises(ValueError, match=rf"split '{split}': 'vision': clip '{split}2' has the value -3e\+38, whose"):
        stored(tmp_path, splits)


def test_a_pickle_that_was_copied_as_text_is_named_so(tmp_path: Path) -> None:
    text = pickle.dumps(content(), protocol=0)
    (tmp_path / "a.pkl").write_bytes(text.replace(b"\n", b"\r\n"))
    with pytest.raises(ValueError, match=r"a\.pkl: is a pickle of protocol 0 whose line ends .* protocol=2"):
        safe_load(tmp_path / "a.pkl")
    (tmp_path / "b.pkl").write_bytes(b"cos\r\nsystem\r\n.")
    with pytest.raises(ValueError, match=r"b\.pkl: is a pickle of protocol 0"):
        safe_load(tmp_path / "b.pkl")
    (tmp_path / "c.pkl").write_bytes(b"cos\nsystem\n.")
    with pytest.raises(ValueError, match="could run code"):
        safe_load(tmp_path / "c.pkl")


def test_clips_without_a_step_are_left_out_counted_and_named() -> None:
    steps = Ragged(np.zeros((3, 2), "f4"), np.array([0, 2, 2, 3, 3]))
    target = np.arange(4, dtype="f4")
    clips = Clips(list("abcd"), {"audio": steps}, {"multimodal": target}, raw_text=["w", "x", "y", "z"])
    source = Source({"train": clips}, "csd", [])
    leave_out_empty_clips(source)
    kept = source.splits["train"]
    assert (kept.ids, kept.raw_text) == (["a", "c"], ["w", "y"])
    assert kept.targets["multimodal"].tolist() == [0, 2]
    assert kept.streams["audio"].offsets.tolist() == [0, 2, 3]
    assert source.notes == {"clips/train without a step": "2: b, d"}


def test_a_clip_with_token_ids_alone_stays() -> None:
    nothing, ids = (
        Ragged(np.zeros((0, 2), "f4"), np.zeros(3, int)),
        Ragged(np.arange(3, dtype="i4"), np.array([0, 1, 3])),
    )
    clips = Clips(["a", "b"], {"audio": nothing}, {"multimodal": np.zeros(2, "f4")}, tokens=ids)
    source = Source({"train": clips}, "csd", [])
    leave_out_empty_clips(source)
    assert source.splits["train"].ids == ["a", "b"]


def sequence(path: Path, *, empty: bool) -> sequences.ComputationalSequence:
    with h5py.File(path, "w") as file:
        for video, count in (("a", 0 if empty else 2), ("b", 3)):
            file[f"V/data/{video}/features"] = np.ones((count, 4), "f4")
            file[f"V/data/{video}/intervals"] = np.ones((count, 2))
    file = h5py.File(path, "r", locking=False)
    return sequences.ComputationalSequence(path, "vision", file["V/data"], False, 4)


def test_a_video_without_a_row_is_one_without_steps(tmp_path: Path) -> None:
    assert read_steps(sequence(tmp_path / "v.csd", empty=True), "a").values.shape == (0, 4)


def test_a_store_that_lacks_a_modality_has_it_absent_in_every_clip(tmp_path: Path) -> None:
    splits = content()
    for part in splits.values():
        del part["vision"]
    store = stored(tmp_path, splits).with_absent({"text": 4, "vision": 2, "audio": 3})
    assert list(store.schema.dims) == ["text", "vision", "audio"]
    clips = store.split("valid")
    assert clips.streams["vision"].lengths.tolist() == [0, 0, 0]
    assert clips.streams["vision"].dim == 2
    assert clips.streams["audio"].lengths.tolist() == [2, 3, 4]


def test_the_printed_next_command_can_be_pasted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import shlex

    from hydra.core.override_parser.overrides_parser import OverridesParser

    source = tmp_path / "mine.pkl"
    source.write_bytes(pickle.dumps(content()))
    for name in ("a b", "c,d=e", "it's", "ü", "[x]"):
        folder = tmp_path / name
        folder.mkdir()
        prepare(data="custom", source=[source], out=folder / "s.h5")
        line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("next: "))
        words = shlex.split(line.removeprefix("next: trivium train "))
        values = {o.key_or_group: o.value() for o in OverridesParser.create().parse_overrides(words)}
        assert values == {"data": "custom", "data.store": str(folder / "s.h5")}
        shutil.rmtree(folder)
