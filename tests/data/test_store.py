"""The store: what is written comes back, and a damaged, foreign or newer file is refused by name."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from trivium.data.clips import Clips, Ragged, Source
from trivium.data.store import open_store, verify_store, write_store
from trivium.data.synthetic import make_fixture


@pytest.fixture
def store_file(tmp_path: Path) -> Path:
    path = tmp_path / "s.h5"
    write_store(path, make_fixture(), data="fixture", feature_set="fixture/x", label_range=(-3.0, 3.0))
    return path


def test_what_was_written_comes_back(store_file: Path) -> None:
    source, store = make_fixture(), open_store(store_file)
    assert store.schema.counts == {"train": 320, "valid": 96, "test": 128}
    assert store.schema.dims == {"text": 16, "audio": 6, "vision": 8}
    assert store.schema.targets["multimodal"].range == (-3.0, 3.0)
    for split, clips in source.splits.items():
        read = store.split(split)
        assert read.ids == clips.ids
        assert read.raw_text == clips.raw_text
        for name, ragged in clips.streams.items():
            np.testing.assert_array_equal(read.streams[name].values, ragged.values)
            np.testing.assert_array_equal(read.streams[name].offsets, ragged.offsets)
        assert clips.tokens is not None
        assert read.tokens is not None
        np.testing.assert_array_equal(read.tokens.values, clips.tokens.values)
        np.testing.assert_array_equal(read.targets["multimodal"], clips.targets["multimodal"])


def test_statistics_are_numpys_over_the_train_split_alone(store_file: Path) -> None:
    values = make_fixture().splits["train"].streams["audio"].values.astype(np.float64)
    statistics = open_store(store_file).statistics["audio"]
    np.testing.assert_allclose(statistics.mean, values.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(statistics.std, values.std(axis=0), rtol=1e-9)


def test_a_constant_feature_has_standard_deviation_one_and_a_small_one_its_own(tmp_path: Path) -> None:
    rows = np.array([[1.0, 5.0, 0.0], [2.0, 5.0, 2**-20]], np.float32)
    clips = Clips(["a"], {"audio": Ragged.pack([rows])}, {"multimodal": np.zeros(1, np.float32)})
    write_store(tmp_path / "c.h5", Source({"train": clips}, "x", []), data="x", feature_set="x/y", label_range=None)
    assert open_store(tmp_path / "c.h5").statistics["audio"].std.tolist() == [0.5, 1.0, 2**-21]


def test_verify_finds_one_changed_value(store_file: Path) -> None:
    assert verify_store(store_file)["counts"]["train"] == 320
    with h5py.File(store_file, "r+") as file:
        file["valid/streams/audio/values"][3, 1] += 1e-3
    with pytest.raises(ValueError, match=r"s\.h5: content has checksum .* prepare it again"):
        verify_store(store_file)


def test_store_of_a_newer_schema_is_refused(store_file: Path) -> None:
    with h5py.File(store_file, "r+") as file:
        file.attrs["schema_version"] = 99
    with pytest.raises(ValueError, match=r"s\.h5: store of schema version 99, this Trivium reads up to 2"):
        open_store(store_file)


@pytest.mark.parametrize("kept", [0.02, 0.5, 0.999])
def test_store_cut_off_in_the_middle_is_refused(store_file: Path, kept: float) -> None:
    os.truncate(store_file, int(store_file.stat().st_size * kept))
    with pytest.raises(ValueError, match=r"s\.h5: (not a store, or cut off|.*cut off)"):
        verify_store(store_file)


@pytest.mark.parametrize("mark", [b"HEAP", b"TREE", b"SNOD", b"GCOL"])
def test_store_whose_structures_are_damaged_is_refused_by_name(store_file: Path, mark: bytes) -> None:
    """What a copy with a hole in it may look like: HDF5 has words of its own for each, and many kinds of errors."""
    whole = store_file.read_bytes()
    assert mark in whole
    store_file.write_bytes(whole.replace(mark, b"HOLE"))
    with pytest.raises(ValueError, match=r"s\.h5: not a store, or cut off or damaged \(.*\); prepare it again"):
        verify_store(store_file)


def test_a_foreign_hdf5_file_and_a_missing_one_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(ValueError, match=r"f\.h5: an HDF5 file, but no Trivium store"):
        open_store(tmp_path / "f.h5")
    with pytest.raises(ValueError, match=r"none\.h5: no such store; prepare one"):
        open_store(tmp_path / "none.h5")


def test_offsets_that_do_not_fit_are_refused(store_file: Path) -> None:
    with h5py.File(store_file, "r+") as file:
        file["test/streams/vision/offsets"][-1] += 5
    with pytest.raises(
        ValueError, match=r"test/streams/vision/offsets: expected numbers that rise from 0 to the \d+ steps, found 0 to"
    ):
        open_store(store_file)


def test_an_unknown_split_is_named(store_file: Path) -> None:
    with pytest.raises(ValueError, match=r"no split 'dev'; it has \['train', 'valid', 'test'\]"):
        open_store(store_file).split("dev")


def test_writing_to_a_mapped_split_does_not_reach_the_file(store_file: Path) -> None:
    open_store(store_file).split("train").streams["audio"].values[:] = 0
    verify_store(store_file)


def test_failed_write_leaves_the_old_store_and_nothing_else(store_file: Path) -> None:
    before = store_file.read_bytes()
    bad = make_fixture()
    bad.splits["test"].ids[0] = bad.splits["train"].ids[0]
    with pytest.raises(ValueError, match="occurs before, in split 'train'"):
        write_store(store_file, bad, data="x", feature_set="x/y", label_range=None)
    assert store_file.read_bytes() == before
    assert os.listdir(store_file.parent) == ["s.h5"]


def _write_slowly(path: Path, started: Path) -> None:
    source = make_fixture()

    class Slow(list):  # type: ignore[type-arg]
        def __iter__(self):  # type: ignore[no-untyped-def]
            started.touch()
            time.sleep(60)
            return super().__iter__()

    source.splits["test"].raw_text = Slow(source.splits["test"].raw_text or [])
    write_store(path, source, data="x", feature_set="x/y", label_range=None)


def test_sigkill_while_writing_leaves_nothing(tmp_path: Path) -> None:
    folder, started = tmp_path / "stores", tmp_path / "started"
    folder.mkdir()
    process = multiprocessing.get_context("spawn").Process(target=_write_slowly, args=(folder / "s.h5", started))
    process.start()
    while not started.exists():
        assert process.is_alive()
        time.sleep(0.02)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert os.listdir(folder) == []
