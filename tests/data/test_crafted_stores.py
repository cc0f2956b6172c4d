"""A store is checked when it is opened: none of hundreds of wrong ones ends in a traceback, nameless, or never."""

import errno
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from crafted_stores import as_schema_1, crafts, make_store

from trivium.data.store import open_store, verify_store

pytestmark = pytest.mark.timeout(30)
CRAFTS = dict(crafts())
# Bytes; opening a store of a few kilobytes takes none to speak of.
MOST_MEMORY = 64 << 20


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "whole.h5"
    make_store(path)
    open_store(path).split("test")
    return path


def read_all(path: Path) -> str:
    """Returns the refusal of whatever reads a store, "" if it is taken."""
    try:
        store = open_store(path)
        for split in store.schema.counts:
            store.split(split)
        verify_store(path)
    except ValueError as error:
        return str(error)
    return ""


def test_there_are_enough_kinds() -> None:
    assert len(CRAFTS) > 400


@pytest.mark.parametrize("name", CRAFTS)
def test_a_crafted_store_is_refused_by_file_and_place(name: str, whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    shutil.copy(whole, path)
    with h5py.File(path, "r+") as file:
        CRAFTS[name](file)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refusal = read_all(path)
    assert refusal.startswith(f"{path}: "), refusal
    assert "\n" not in refusal
    assert len(refusal) < 600
    assert refusal.isprintable()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * 1024 < MOST_MEMORY


@pytest.mark.parametrize("seed", range(80))
def test_damaged_bytes_are_refused_by_file_or_change_nothing(seed: int, whole: Path, tmp_path: Path) -> None:
    path, rng = tmp_path / "s.h5", np.random.default_rng(seed)
    content = bytearray(whole.read_bytes())
    for place in rng.integers(0, len(content), 1 + seed % 7):
        content[place] = rng.choice([0, 255, int(rng.integers(256))])
    path.write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refusal = read_all(path)
    assert not refusal or refusal.startswith(f"{path}: "), refusal
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MOST_MEMORY


def test_a_text_that_says_it_is_long_is_refused_before_it_is_read(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    content = bytearray(whole.read_bytes())
    with h5py.File(whole) as file:
        place = file["train/ids"].id.get_offset()
    content[place : place + 4] = (0xFFFFFFF0).to_bytes(4, "little")
    path.write_bytes(content)
    assert "train/ids: expected texts that the file holds, found 4294967" in read_all(path)


def test_a_store_of_schema_1_opens_with_scores_and_classes(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    shutil.copy(whole, path)
    as_schema_1(path)
    schema = open_store(path).schema
    assert schema.targets["multimodal"].range == (-1.0, 1.0)
    assert schema.targets["mood"].task == "classes"


def test_a_part_that_the_schema_does_not_know_is_allowed(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    shutil.copy(whole, path)
    with h5py.File(path, "r+") as file:
        file["folds/speaker"] = np.arange(6)
        file.attrs["note"] = "of a later version"
    assert open_store(path).schema.counts["train"] == 6


def test_a_store_that_is_open_for_writing_elsewhere_is_read_without_a_lock(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    shutil.copy(whole, path)
    code = "import h5py, sys; f = h5py.File(sys.argv[1], 'r+'); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        assert read_all(path) == ""
        assert other.stdin is not None
        other.stdin.close()


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.EACCES, errno.EIO])
def test_what_the_system_refuses_is_no_damaged_store(code: int, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(h5py, "File", fails)
    with pytest.raises(OSError, match=str(whole)) as caught:
        open_store(whole)
    assert "prepare it again" not in str(caught.value)
