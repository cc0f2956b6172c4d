"""A store that is prepared anew while it is read: a run keeps to the one that it began with, or says what happened."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import trivium
from driver import here, run_ranks
from trivium.cli.evaluate import main
from trivium.data.store import open_store, write_store
from trivium.data.synthetic import make_fixture
from trivium.runs import train as module

QUICK = ["encoder=identity", "trainer.max_epochs=2", "trainer.progress=off", "trainer.threads=1"]
REPLACED = r"fixture\.h5 is not the store that .* was trained on: it was prepared anew since then"


def prepare_anew(folder: Path) -> Path:
    """What `prepare ... force=true` does: a whole new file in the place of the old one."""
    store = folder / "data" / "fixture" / "fixture.h5"
    write_store(store, make_fixture(seed=1), data="fixture", feature_set="fixture/synthetic", label_range=(-3.0, 3.0))
    return store


def test_an_open_store_keeps_its_content(tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    for seed in (0, 1):
        write_store(path, make_fixture(seed=seed), data="x", feature_set="x/y", label_range=None)
        if seed == 0:
            store = open_store(path)
    old, new = make_fixture(seed=0).splits["test"], make_fixture(seed=1).splits["test"]
    np.testing.assert_array_equal(store.split("test").streams["text"].values, old.streams["text"].values)
    np.testing.assert_array_equal(store.split("test").targets["multimodal"], old.targets["multimodal"])
    np.testing.assert_array_equal(open_store(path).split("test").streams["text"].values, new.streams["text"].values)


@pytest.mark.parametrize("method", ["supervised", "comm"])  # comm: its probe reads train, valid and test at the end
def test_a_run_reads_one_store_from_beginning_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    settings = [*QUICK, f"method={method}", "encoder=identity"]
    undisturbed = here(tmp_path, *settings, f"run.dir={tmp_path / 'a'}")
    fit = module._fit

    def fit_and_prepare_anew(*arguments: Any) -> None:
        fit(*arguments)
        prepare_anew(tmp_path)

    monkeypatch.setattr(module, "_fit", fit_and_prepare_anew)
    result = here(tmp_path, *settings, f"run.dir={tmp_path / 'b'}")
    for key in ("val", "test", "train_mean_mae", "store_checksum", "probe"):
        assert result.get(key) == undisturbed.get(key)
    assert result["store_checksum"] != open_store(tmp_path / "data/fixture/fixture.h5").provenance["checksum"]


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    here(tmp_path, *QUICK, f"run.dir={tmp_path / 'run'}")
    prepare_anew(tmp_path)
    return tmp_path / "run"


def test_a_loaded_run_reads_another_store_only_where_it_is_named(finished: Path) -> None:
    run = trivium.load_run(finished)
    store = finished.parent / "data" / "fixture" / "fixture.h5"
    for call in (run.predict, run.evaluate, run.data):
        with pytest.raises(ValueError, match=REPLACED):
            call()
    assert run.evaluate(store=store)["mae"] > 0


@pytest.mark.parametrize("what", [[], ["probe=true"], ["protocol=subsets"], ["protocol=rates"], ["alignment=true"]])
def test_every_evaluation_tells_it(finished: Path, what: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(finished.rglob("*"))
    assert main([f"run={finished}", *what]) == 2
    assert "prepared anew since then" in capsys.readouterr().err
    assert sorted(finished.rglob("*")) == before


def test_ranks_that_read_different_files_stop_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "gather_objects", lambda checksum: [checksum, "another"])
    with pytest.raises(ValueError, match=r"fixture\.h5 was prepared anew while the processes of .* started"):
        here(tmp_path, *QUICK, f"run.dir={tmp_path / 'run'}")


def test_two_ranks_agree_on_what_they_read(tmp_path: Path) -> None:
    assert run_ranks(tmp_path, *QUICK, f"run.dir={tmp_path / 'run'}") == [0, 0]
    assert json.loads((tmp_path / "run" / "result.json").read_text())["world_size"] == 2
    shutil.rmtree(tmp_path / "run")
