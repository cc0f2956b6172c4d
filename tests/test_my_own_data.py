"""docs/my_own_data.md, literally: its commands in a folder that holds a reader's files, and its manifest and Python."""

import csv
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import trivium
from clip_folder import write_folder
from driver import ROOT
from test_short_way import RUNNER
from trivium.cli.prepare import main as prepare

PAGE = (ROOT / "docs" / "my_own_data.md").read_text()


def blocks(language: str) -> list[str]:
    return [block for name, block in re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, flags=re.M | re.S) if name == language]


COMMANDS = [line for block in blocks("bash") for line in block.splitlines()]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reader's folder after the page's commands; said.json has their exit codes and what they printed."""
    place = tmp_path_factory.mktemp("reader")
    write_folder(place / "gestures", {"train": 120, "valid": 45, "test": 45}, noise=4, score=False)
    commands = {line: shlex.split(line) for line in COMMANDS}
    done = subprocess.run(
        [sys.executable, "-c", RUNNER], input=json.dumps(commands), capture_output=True, text=True, timeout=400,
        cwd=place, env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return place


def said(place: Path, line: str) -> str:
    code, printed = json.loads((place / "said.json").read_text())[line]
    assert code == 0, printed
    return str(printed)


def test_there_are_five_commands_and_none_is_python() -> None:
    assert len(COMMANDS) == 5
    assert all(line.startswith("trivium ") for line in COMMANDS)


def test_every_command_of_the_page_runs(place: Path) -> None:
    for line in COMMANDS:
        said(place, line)


def test_prepare_prints_what_the_page_shows(place: Path) -> None:
    (shown,) = [block for block in blocks("") if block.startswith("gestures/gestures: not a published file")]
    assert said(place, COMMANDS[0]) == shown


def test_the_table_has_two_methods_and_three_seeds_that_learn(place: Path) -> None:
    frame = trivium.results(place / "outputs" / "gestures")
    accuracy = frame[(frame.split == "test") & (frame.metric == "acc")]
    runs = sorted(zip(accuracy.label, accuracy.seed, strict=True))
    assert runs == [(method, seed) for method in ("supervised", "tcmax") for seed in (1, 2, 3)]
    assert (accuracy.value > 0.5).all()  # chance is a third
    (line,) = [line for line in COMMANDS if line.startswith("trivium reproduce")]
    assert said(place, line).endswith("written to outputs/gestures/table\n")
    table = (place / "outputs" / "gestures" / "table" / "table.md").read_text()
    assert re.search(r"^\| tcmax \| .*±", table, flags=re.M)
    assert (place / "outputs" / "gestures" / "table" / "table.tex").is_file()


def test_the_manifest_of_the_page_is_read(tmp_path: Path) -> None:
    (manifest,) = blocks("yaml")
    (tmp_path / "how").mkdir()
    (tmp_path / "how" / "manifest.yaml").write_text(manifest)
    rng = np.random.default_rng(0)
    rows: list[dict[str, object]] = []
    for n, part in enumerate(["train"] * 6 + ["valid"] * 3 + ["test"] * 3):
        numbers = {"valence": rng.uniform(-3, 3), "openness": rng.uniform(1, 7), "warmth": rng.uniform(1, 7)}
        labels = {"emo": n % 3, "mood": n % 3 + 1, "music": n % 2, "sport": 1}
        rows.append({"clip": f"c{n}", "part": part, "speaker": f"{part}{n % 2}", "words": "so", "notes": n}
                    | numbers | labels)  # fmt: skip
        files = tmp_path / "features"
        for folder in ("hands_2024", "poses", "openface"):
            (files / folder).mkdir(parents=True, exist_ok=True)
        np.save(files / "hands_2024" / f"c{n}.npy", rng.normal(size=(4, 5)))
        np.save(files / "poses" / f"c{n}_head.npy", rng.normal(size=(4, 2)))
        if n:
            np.savez(files / "openface" / f"c{n}.npz", aus=rng.normal(size=(3, 7)), gaze=rng.normal(size=(3, 2)))
    with (tmp_path / "features" / "table.csv").open("w") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    source = tmp_path / "how"
    assert prepare(["data=custom", "data.name=mine", f"source={source}", f"paths.data={tmp_path / 'data'}"]) == 0
    store = trivium.open_store(tmp_path / "data" / "mine" / "how.h5")
    assert store.schema.dims == {"hands": 5, "head": 2, "face": 7}
    targets = {name: (target.task, target.names) for name, target in store.schema.targets.items()}
    assert targets == {
        "emotion": ("classes", ("sad", "neutral", "glad")),
        "mood": ("classes", ("low", "high")),
        "valence": ("score", ()),
        "topics": ("labels", ("music", "sport")),
        "traits": ("scores", ("openness", "warmth")),
    }


def test_the_python_of_the_page_makes_the_store_that_it_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (block,) = blocks("python")
    exec(block, {})
    assert set(trivium.open_store("data/drawn/arrays.h5").schema.targets) == {"emotion", "valence"}
