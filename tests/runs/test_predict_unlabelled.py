"""New clips without labels, in layouts that are prepared with them: dialogues, GMC's files, the SDK's sequences."""

from __future__ import annotations

import csv
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from driver import here
from refusal import refusal
from saved_objects import save_object
from trivium.cli.evaluate import main
from trivium.cli.prepare import main as prepare

DIMS = {"text": 4, "audio": 3, "vision": 2}
DIALOGUES = {f"d{n}": 3 + n % 2 for n in range(12)}
LISTS = {"train": [f"d{n}" for n in range(8)], "valid": ["d8", "d9"], "test": ["d10", "d11"]}
CLIPS = {"train": 20, "valid": 6, "test": 7}
# video -> seconds; each is one clip, so that whole videos are the clips that are labelled
VIDEOS = {f"v{n}": 2 + n % 3 for n in range(12)}
FOLDS = {"train": [f"v{n}" for n in range(8)], "valid": ["v8", "v9"], "test": ["v10", "v11"]}
Rows = dict[str, dict[str, str]]


def dump(path: Path, content: object) -> Path:
    path.write_bytes(pickle.dumps(content, protocol=4))
    return path


def dialogue_parts() -> dict[str, Any]:
    rng = np.random.default_rng(3)
    parts: dict[str, Any] = {
        "speakers": {name: ["FM"[n % 2] for n in range(count)] for name, count in DIALOGUES.items()},
        "labels": {name: [n % 3 for n in range(count)] for name, count in DIALOGUES.items()},
        "sentences": {name: [f"{name} says {n}" for n in range(count)] for name, count in DIALOGUES.items()},
    }
    for modality, dim in DIMS.items():
        parts[modality] = {name: list(rng.normal(size=(count, dim))) for name, count in DIALOGUES.items()}
    return parts | LISTS


def as_tuple(parts: dict[str, Any], labels: Any) -> tuple[Any, ...]:
    names = ("speakers", "labels", *DIMS, "sentences", "train", "test", "valid")
    return tuple({**parts, "labels": labels}[name] for name in names)


def as_dict(parts: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    keys = {"speakers": "speakers", "sentence": "sentences", "text": "text", "audio": "audio", "visual": "vision"}
    return {"test": [{"vid": name} | {key: parts[part][name] for key, part in keys.items()} for name in LISTS["test"]]}


def write_gmc(folder: Path, splits: tuple[str, ...], labelled: bool) -> Path:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(5)
    for split, count in CLIPS.items():
        part: dict[str, Any] = {modality: rng.normal(size=(count, 5, dim)) for modality, dim in DIMS.items()}
        part["labels"] = rng.uniform(-3, 3, size=(count, 1, 1))
        part = {key: torch.tensor(value, dtype=torch.float32) for key, value in part.items()}
        part["meta"] = np.array([[f"{split}{n}".encode(), b"0", b"9"] for n in range(count)])
        if not labelled:
            del part["labels"]
        if split in splits:
            save_object(folder / f"mosi_{split}_a.dt", part)
    return folder


def write_csd(folder: Path, labels: float | None, videos: dict[str, int] = VIDEOS) -> Path:
    """Sequences of half seconds. labels: of all clips, or NaN; None leaves the labels out."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(7)
    sequences: dict[str, dict[str, tuple[Any, Any]]] = {"covarep": {}, "facet": {}, "words": {}, "labels": {}}
    for n, (video, seconds) in enumerate(VIDEOS.items()):
        starts = np.arange(0, seconds, 0.5)
        steps = np.stack([starts, starts + 0.5], axis=1)
        sequences["covarep"][video] = rng.normal(size=(len(starts), 3)).astype(np.float32), steps
        sequences["facet"][video] = rng.normal(size=(len(starts), 2)).astype(np.float32), steps
        sequences["words"][video] = np.array([[b"good"]] * len(starts)), steps
        if labels is not None:
            sequences["labels"][video] = np.array([[labels + n % 3 - 1]]), np.array([[0.0, seconds]])
    for root, of_video in sequences.items():
        with h5py.File(folder / f"CMU_{root}.csd", "w") as file:
            for video in of_video.keys() & videos.keys():
                group = file.create_group(f"{root}/data/{video}")
                group["features"], group["intervals"] = of_video[video]
    if labels is None:
        (folder / "CMU_labels.csd").unlink()
    return folder


def rows(path: Path) -> Rows:
    with path.open() as file:
        return {row["id"]: row for row in csv.DictReader(file)}


def train(folder: Path, data: str, source: Path, *options: str) -> Path:
    assert prepare([f"data={data}", f"source={source}", f"paths.data={folder / 'data'}", *options]) == 0
    here(
        folder, "method=supervised", f"data={data}", "encoder.hidden=8", "data.eval_batch_size=7",
        "trainer.max_epochs=2", f"run.dir={folder / 'run'}", "trainer.progress=off",
    )  # fmt: skip
    return folder / "run"


def dialogue_run(folder: Path) -> Path:
    parts = dialogue_parts()
    return train(folder, "iemocap", dump(folder / "all.pkl", as_tuple(parts, parts["labels"])))


def gmc_run(folder: Path) -> Path:
    return train(folder, "mosi", write_gmc(folder / "gmc", tuple(CLIPS), labelled=True))


def csd_run(folder: Path) -> Path:
    (folder / "folds.json").write_text(json.dumps(FOLDS))
    return train(folder, "mosi", write_csd(folder / "csd", 0.5), f"folds={folder / 'folds.json'}")


@pytest.fixture(scope="module")
def run_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    runs: dict[str, Path] = {}
    makes = {"dialogues": dialogue_run, "gmc": gmc_run, "csd": csd_run}

    def run(layout: str) -> Path:
        if layout not in runs:
            runs[layout] = makes[layout](tmp_path_factory.mktemp(layout))
        return runs[layout]

    return run


NEW: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "a tuple": ("dialogues", lambda f: dump(f / "new.pkl", as_tuple(dialogue_parts() | {"train": []}, None))),
    "a tuple, by {}": ("dialogues", lambda f: dump(f / "new.pkl", as_tuple(dialogue_parts(), {}))),
    "a dict": ("dialogues", lambda f: dump(f / "new.pkl", as_dict(dialogue_parts()))),
    "one .dt file": ("gmc", lambda f: write_gmc(f / "new", ("test",), labelled=False) / "mosi_test_a.dt"),
    ".dt files": ("gmc", lambda f: write_gmc(f / "new", ("test", "valid"), labelled=False)),
    "intervals": ("csd", lambda f: write_csd(f / "new", np.nan)),
    "whole videos": ("csd", lambda f: write_csd(f / "new", None, {"v10": 3, "v11": 4})),
}


@pytest.mark.parametrize("case", NEW)
def test_clips_without_labels_get_the_predictions_that_they_have_with_them(
    case: str, run_of: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layout, write = NEW[case]
    run = run_of(layout)
    capsys.readouterr()  # what training has printed
    assert main([f"run={run}", f"source={write(tmp_path)}", f"out={tmp_path / 'out.csv'}"]) == 0
    found = rows(tmp_path / "out.csv")
    # whole videos are named by the video, and labelled ones VIDEO$_$1
    recorded = {clip.removesuffix("$_$1") if case == "whole videos" else clip: row for clip, row in _recorded(run)}
    shared = found.keys() & recorded.keys()
    assert len(shared) >= 2
    assert {clip for clip, row in recorded.items() if row["split"] == "test"} <= found.keys()
    for clip in shared:
        assert found[clip]["target"] == "nan"
        for name, value in recorded[clip].items():
            if name.startswith("p_") or (name == "prediction" and layout != "dialogues"):
                # batches of other clips move a last digit
                assert float(found[clip][name]) == pytest.approx(float(value), abs=1e-5)
    printed = capsys.readouterr().out
    assert "so there are no metrics" in printed
    assert "MAE" not in printed


def _recorded(run: Path) -> list[tuple[str, dict[str, str]]]:
    return list(rows(run / "predictions.csv").items())


def test_videos_of_no_fold_are_new_and_folds_tell_splits_apart(
    run_of: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folds.json").write_text(json.dumps({"train": ["v0"], "test": ["v10"]}))
    source, out = write_csd(tmp_path / "new", None, {"v9": 2, "v10": 3, "v11": 4}), tmp_path / "out.csv"
    words = [f"run={run_of('csd')}", f"source={source}", f"out={out}"]
    assert main(words) == 0
    assert {clip: row["split"] for clip, row in rows(out).items()} == dict.fromkeys(("v9", "v10", "v11"), "new")
    assert main([*words, f"folds={tmp_path / 'folds.json'}"]) == 0
    assert {clip: row["split"] for clip, row in rows(out).items()} == {"v9": "new", "v10": "test", "v11": "new"}
    assert main([*words, f"folds={tmp_path / 'folds.json'}", "splits=test"]) == 0
    assert list(rows(out)) == ["v10"]


def test_labelled_dialogues_need_no_train_split_to_be_scored(
    run_of: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = dialogue_parts()
    source = dump(tmp_path / "new.pkl", as_tuple(parts | {"train": [], "valid": []}, parts["labels"]))
    run = run_of("dialogues")
    capsys.readouterr()
    assert main([f"run={run}", f"source={source}", f"out={tmp_path / 'out.csv'}"]) == 0
    result = json.loads((run / "result.json").read_text())
    assert f"{result['test']['acc']:.4f}"[:5] in capsys.readouterr().out


@pytest.mark.parametrize(
    ("layout", "write", "message"),
    [
        (
            "dialogues",
            lambda f: dump(f / "new.pkl", _partly_labelled()),
            "dialogue 'd11' has no labels, and dialogue 'd10' has",
        ),
        ("gmc", lambda f: _without_text(f), "mosi_test_a.dt: key 'text' is missing"),
        ("csd", lambda f: _one_label(f), r"the label of clip 'v0$_$1' is nan; give every clip a finite score, or none"),
    ],
    ids=["dialogues", "gmc", "csd"],
)
def test_what_is_labelled_in_part_or_lacks_features_is_named(
    layout: str, write: Callable[[Path], Path], message: str, run_of: Callable[[str], Path], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    source = write(tmp_path)
    arguments = [f"run={run_of(layout)}", f"source={source}", f"out={tmp_path / 'out' / 'new.csv'}"]
    assert message in refusal(main, arguments, tmp_path / "out", capsys)


def _partly_labelled() -> dict[str, list[dict[str, Any]]]:
    content = as_dict(dialogue_parts())
    content["test"][0]["labels"] = [0] * DIALOGUES["d10"]
    return content


def _without_text(folder: Path) -> Path:
    path = folder / "mosi_test_a.dt"
    values = torch.ones(3, 5, 3)
    return save_object(path, {"audio": values, "vision": values[..., :2], "meta": None})


def _one_label(folder: Path) -> Path:
    new = write_csd(folder / "new", np.nan)
    with h5py.File(new / "CMU_labels.csd", "r+") as file:
        file["labels/data/v3/features"][0] = 1.5
    return new


@pytest.mark.parametrize("layout", ["dialogues", "gmc", "csd"])
def test_preparing_still_needs_labels(layout: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sources = {
        "dialogues": lambda: dump(tmp_path / "new.pkl", as_tuple(dialogue_parts(), None)),
        "gmc": lambda: write_gmc(tmp_path / "new", tuple(CLIPS), labelled=False),
        "csd": lambda: write_csd(tmp_path / "new", np.nan),
    }
    data = "iemocap" if layout == "dialogues" else "mosi"
    (tmp_path / "folds.json").write_text(json.dumps(FOLDS))
    options = [f"folds={tmp_path / 'folds.json'}"] if layout == "csd" else []
    arguments = [f"data={data}", f"source={sources[layout]()}", f"paths.data={tmp_path / 'data'}", *options]
    assert "label" in refusal(prepare, arguments, tmp_path / "data", capsys)
