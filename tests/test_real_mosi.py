"""Real CMU-MOSI from the raw file to the result table. Skipped where the data are not beside the repository."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from driver import run
from trivium.data.prepare import prepare
from trivium.data.store import open_store

DATA = Path(__file__).resolve().parents[1] / "../shared/data"
pytestmark = pytest.mark.skipif(not (DATA / "expand.py").is_file(), reason="no ../shared/data beside the repository")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """data/mosi/{text_audio,trimodal}.h5, prepared from the expanded pickles."""
    folder = tmp_path_factory.mktemp("mosi")
    subprocess.run([sys.executable, str(DATA / "expand.py"), str(folder)], check=True, capture_output=True)
    for name, file in (("text_audio", "mosi_text_audio.pkl"), ("trimodal", "mosi_trimodal_229.pkl")):
        prepare(
            data="mosi",
            source=[folder / file],
            name=name,
            out=None,
            data_root=folder / "data",
            label_range=(-3.0, 3.0),
        )
    return folder


@pytest.mark.slow
def test_selfmi_on_the_official_split_beats_the_train_mean(folder: Path) -> None:
    settings = ["method=selfmi", "data=mosi", "data.features=text_audio", "trainer.max_epochs=6"]
    assert run(folder, *settings, "data.batch_size=32", f"run.dir={folder / 'official'}") == 0
    result = json.loads((folder / "official" / "result.json").read_text())
    assert result["test"]["mae"] < 0.85 * result["train_mean_mae"]["test"]


def test_the_trimodal_file_runs_with_all_three_modalities(folder: Path) -> None:
    """171 clips to learn from and 30 to test on: too few to ask for more than that it runs."""
    settings = ["method=selfmi", "data=mosi", "data.features=trimodal"]
    assert run(folder, *settings, f"run.dir={folder / 'trimodal'}") == 0
    result = json.loads((folder / "trimodal" / "result.json").read_text())
    assert result["modalities"] == ["text", "audio", "vision"]
    assert 0 < result["test"]["mae"] < 6


def test_the_csd_files_give_the_same_clips(folder: Path) -> None:
    files = [DATA / "CMU_MOSI_Labels.csd", DATA / "CMU_MOSI_ModifiedTimestampedWords.csd"]
    path = prepare(
        data="mosi",
        source=files,
        name="csd",
        out=None,
        data_root=folder / "data",
        label_range=(-3.0, 3.0),
        folds=DATA / "folds.json",
    )
    csd, pickle = open_store(path), open_store(folder / "data" / "mosi" / "text_audio.h5")
    assert csd.schema.counts == {"train": 1284, "valid": 229, "test": 686}
    for split in csd.schema.counts:
        ours, theirs = csd.split(split), pickle.split(split)
        assert dict(zip(ours.ids, ours.targets["multimodal"], strict=True)) == pytest.approx(
            dict(zip(theirs.ids, theirs.targets["multimodal"], strict=True)), abs=1e-6
        )
