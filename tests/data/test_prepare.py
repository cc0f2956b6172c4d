"""Raw file to store: what is recognised and refused, and that a failure of any kind leaves nothing behind."""

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from trivium.cli import prepare as module
from trivium.cli.prepare import main
from trivium.data import manifest
from trivium.data.store import open_store, sha256_of, verify_store

ROOT = Path(__file__).resolve().parents[2]
REAL = ROOT / "../shared/data"
COUNTS = {"train": 6, "valid": 2, "test": 3}


def make_content(steps: int = 4, audio_dim: int = 3) -> dict[str, dict[str, Any]]:
    rng = np.random.default_rng(0)
    return {
        split: {
            "id": [f"{split}$_${n}" for n in range(1, n + 1)],
            "raw_text": ["words"] * n,
            "text": rng.normal(size=(n, steps, 5)).astype(np.float32),
            "audio": rng.normal(size=(n, steps, audio_dim)).astype(np.float32),
            "audio_lengths": [steps] * n,
            "regression_labels": np.linspace(-3, 3, n),
        }
        for split, n in COUNTS.items()
    }


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return dump(tmp_path / "My features_v2.pkl", make_content())


def dump(path: Path, content: object) -> Path:
    path.write_bytes(pickle.dumps(content, protocol=4))
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "stores"


def publish(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: Path, **changes: Any) -> None:
    """A manifest whose one entry is this file."""
    entry = {"sha256": sha256_of(source), "data": "mosi", "name": "paper-set", "counts": COUNTS}
    entry |= {"dims": {"text": 5, "audio": 3}, "tokenizer": "bert-base-uncased"}
    path = tmp_path / "feature_sets.yaml"
    path.write_text(yaml.safe_dump([entry | changes]))
    monkeypatch.setattr(manifest, "MANIFEST", path)


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The one line that main prints on stderr, with exit code 2."""
    assert main(argv) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    return lines[0]


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_unknown_file_is_stored_under_its_own_name_and_verifies(
    source: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data=mosi", f"source={source}", f"paths.data={root}"]) == 0
    printed = capsys.readouterr().out
    path = root / "mosi" / "My-features_v2.h5"
    assert "not a published file" in printed
    assert str(path) in printed
    assert "trivium train data=mosi data.features=My-features_v2" in printed
    assert files_in(root) == ["mosi", "mosi/My-features_v2.h5"]
    store = open_store(path)
    assert store.schema.feature_set == "mosi/My-features_v2"
    assert store.schema.data == "mosi"
    assert store.schema.counts == COUNTS
    assert store.schema.dims == {"text": 5, "audio": 3}
    assert store.schema.targets["multimodal"].range == (-3.0, 3.0)
    raw = make_content()["test"]
    clips = store.split("test")
    assert clips.ids == raw["id"]
    np.testing.assert_array_equal(clips.streams["audio"].values, raw["audio"].reshape(-1, 3))
    assert main([f"verify={path}"]) == 0
    assert "ok, mosi/My-features_v2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("leave_out", "line"),
    [
        (("text", "audio"), "next: nothing here can be trained on: prepare again with tokenizer=NAME"),
        (("text", "audio", "raw_text"), "next: nothing here can be trained on: the source has labels, but no text"),
        (("valid",), "next: no split 'valid', without which nothing is trained"),
    ],
)
def test_no_command_is_advised_that_would_fail(
    leave_out: tuple[str, ...], line: str, tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = {name: part for name, part in make_content().items() if name not in leave_out}
    for part in content.values():
        for key in leave_out:
            part.pop(key, None)
    assert main(["data=mosi", f"source={dump(tmp_path / 'a.pkl', content)}", f"paths.data={root}"]) == 0
    printed = capsys.readouterr().out
    assert line in printed
    assert "train.py" not in printed


def test_a_modality_without_a_value_is_said(tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = make_content()
    content["train"]["audio"][:] = np.nan  # becomes 0, in clips as long as audio_lengths says
    content["valid"]["text"] = content["valid"]["text"].astype(np.float64) * 1e300  # float32 ends at 3e38
    assert main(["data=mosi", f"source={dump(tmp_path / 'a.pkl', content)}", f"paths.data={root}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "repaired in audio: 72 NaN, now 0" in lines
    assert "audio: no value of train is other than 0" in lines
    assert any(line.startswith("repaired in text: ") and "inf" in line for line in lines)
    assert not any(line.startswith("text: no value") for line in lines)


def test_damaged_store_does_not_verify(source: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["data=mosi", f"source={source}", f"out={root / 'a.h5'}"])
    data = bytearray((root / "a.h5").read_bytes())
    place = data.index(make_content()["test"]["audio"].tobytes()[:16])
    data[place] ^= 1
    (root / "a.h5").write_bytes(data)
    capsys.readouterr()
    assert "a.h5" in refused(capsys, f"verify={root / 'a.h5'}")


def test_published_file_is_recognised_named_and_checked(
    source: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    content = make_content()
    for part in content.values():
        part["text_bert"] = np.ones((len(part["id"]), 3, 4))
        part["text_bert"][:, 2] = 0
    dump(source, content)
    publish(monkeypatch, tmp_path, source)
    assert main(["data=mosi", f"source={source}", f"paths.data={root}"]) == 0
    assert "a published feature set" in capsys.readouterr().out
    assert open_store(root / "mosi" / "paper-set.h5").schema.tokenizer == "bert-base-uncased"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dims": {"text": 5, "audio": 74}}, "mosi/paper-set has 74 features a step in 'audio', found 3"),
        ({"dims": {"text": 5, "vision": 20}}, "has 20 features a step in 'vision', found no such key"),
        ({"counts": {**COUNTS, "test": 686}}, "has 686 clips in split 'test', found 3"),
        ({"data": "mosei"}, "by its checksum this is mosei/paper-set, but data=mosi was given"),
    ],
    ids=["dim", "modality", "count", "data"],
)
def test_file_that_contradicts_the_manifest_is_refused(
    changes: dict[str, Any], message: str, source: Path, root: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    publish(monkeypatch, tmp_path, source, **changes)
    assert message in refused(capsys, "data=mosi", f"source={source}", f"paths.data={root}")
    assert not root.exists()


def test_published_name_on_another_file_is_refused(
    source: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(capsys, "data=mosi", f"source={source}", "name=mmsa-unaligned-50", f"paths.data={root}")
    assert "78e0f8b5ef8f" in line
    assert sha256_of(source)[:12] in line
    assert not root.exists()


def test_the_manifest_holds_the_five_published_files() -> None:
    names = [f"{entry.data}/{entry.name}" for entry in manifest.published()]
    assert len(names) == len(set(names)) == 5
    assert all(len(entry.sha256) == 64 for entry in manifest.published())


@pytest.mark.parametrize("key", ["regression_labels", "regression_labels_A"])
def test_label_outside_its_range_is_named(
    key: str, source: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = make_content()
    for part in content.values():
        part[key] = [0.0] * len(part["id"])
    content["valid"][key][1] = 3.5
    dump(source, content)
    line = refused(capsys, "data=mosi", f"source={source}", f"paths.data={root}")
    assert "split 'valid'" in line
    assert "'valid$_$2' is 3.5, outside [-3, 3]" in line
    assert not root.exists()
    assert main(["data=custom", f"source={source}", f"paths.data={root}"]) == 0  # any range


def test_label_range_comes_from_the_data_sets_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "films.yaml").write_text("name: films\nlabel_range: [0, 10]\nother: ${paths.data}\n")
    (tmp_path / "data" / "open.yaml").write_text("label_range: null\n")
    monkeypatch.setattr(module, "CONFIGS", tmp_path)
    assert module.label_range_of("films") == (0.0, 10.0)
    assert module.label_range_of("open") is None
    with pytest.raises(ValueError, match=r"data=film: no such data set; nearest is films"):
        module.label_range_of("film")


def test_a_data_set_outside_the_repository_is_prepared_with_its_range(
    source: Path, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own"
    (own / "data").mkdir(parents=True)
    (own / "data" / "films.yaml").write_text("name: films\nlabel_range: [-0.5, 0.5]\n")
    arguments = ["data=films", f"source={source}", f"paths.data={root}"]
    assert "data=films: no such data set" in refused(capsys, *arguments)
    assert "outside [-0.5, 0.5]" in refused(capsys, *arguments, f"config_dir={own}")
    (own / "data" / "films.yaml").write_text("name: films\nlabel_range: [-3, 3]\n")
    assert main([*arguments, f"config_dir={own}"]) == 0
    assert len(list((root / "films").glob("*.h5"))) == 1


def test_existing_store_is_kept_unless_forced(source: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = root / "a.h5"
    assert main(["data=mosi", f"source={source}", f"out={out}"]) == 0
    before = out.read_bytes()
    assert "force=true" in refused(capsys, "data=mosi", f"source={source}", f"out={out}")
    dump(source, make_content(steps=6))
    assert out.read_bytes() == before
    assert main(["data=mosi", f"source={source}", f"out={out}", "force=true"]) == 0
    assert open_store(out).schema.max_lengths["audio"] == 6


def test_failed_force_keeps_the_previous_store(source: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = root / "a.h5"
    main(["data=mosi", f"source={source}", f"out={out}"])
    before = out.read_bytes()
    source.write_bytes(source.read_bytes()[:-20])
    refused(capsys, "data=mosi", f"source={source}", f"out={out}", "force=true")
    assert out.read_bytes() == before
    assert files_in(root) == ["a.h5"]


@pytest.mark.parametrize("name", ["truncated", "os_system"])
def test_bad_pickle_prints_one_line_and_leaves_nothing(
    name: str, source: Path, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    proof = tmp_path / "ran"
    if name == "truncated":
        source.write_bytes(source.read_bytes()[:-100])
    else:
        source.write_bytes(b"cposix\nsystem\n(S'touch " + str(proof).encode() + b"'\ntR.")
    line = refused(capsys, "data=mosi", f"source={source}", f"paths.data={root}")
    assert str(source) in line
    assert "cut off" in line or "posix.system" in line
    assert not root.exists()
    assert not proof.exists()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["data=mosi", "sorce=a.pkl"], "nearest is source"),
        (["--data=mosi"], "nearest is data"),
        (["data=mosi", "source=a.pkl", "data=sims"], "data= is given twice"),
        (["data=mosi", "source="], "'source=' has no value"),
        (["source=a.pkl"], "data= is missing"),
        (["data=mosi"], "source= is missing"),
        (["data=mozi", "source=a.pkl"], "nearest is mosi"),
        (["data=mosi", "source=nowhere/a.pkl"], "nowhere/a.pkl: no such file"),
        (["data=mosi", "source=a.pkl", "label_range=3"], "expected two numbers"),
        (["data=mosi", "source=a.pkl", "force=yes"], "force=yes: expected true or false"),
        (
            ["data=mosi", "source=a.pkl", "format=hdf"],
            "format=hdf: expected mmsa, csd, multibench, dialogues, gmc or folder",
        ),
        (["data=film", "source=a.pkl", "config_dir=nowhere"], "nowhere/data has custom"),
        (["verify=a.h5", "data=mosi"], "verify= stands alone"),
        (["verify=nowhere.h5"], "nowhere.h5"),
    ],
)
def test_wrong_argument_is_one_line_with_the_nearest_name(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refused(capsys, *argv)


def test_options_of_csd_files_and_odd_names_are_refused(
    source: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["data=mosi", f"source={source}", f"paths.data={root}"]
    assert "folds= is for .csd files" in refused(capsys, *base, "folds=folds.json")
    assert "name=../up" in refused(capsys, *base, "name=../up")
    assert "is a folder" in refused(capsys, *base, f"out={source.parent}")
    assert not root.exists()


def test_commas_in_a_files_own_name_do_not_split_it(source: Path, root: Path) -> None:
    named = source.rename(source.with_name("a,b=c.pkl"))
    assert main(["data=mosi", f"source={named}", f"paths.data={root}"]) == 0
    assert (root / "mosi" / "a-b-c.h5").exists()


def test_folder_that_cannot_be_made_is_named(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    line = refused(capsys, "data=mosi", f"source={source}", f"paths.data={tmp_path / 'file'}")
    assert "cannot be written" in line
    assert "is a file, not a folder" in line


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """A tmpfs of the test's own; skips where that is not allowed."""
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"mounting a small tmpfs needs root: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs")
def test_read_only_folder_is_named(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with mounted(tmp_path / "ro", "size=64k,ro") as folder:
        line = refused(capsys, "data=mosi", f"source={source}", f"out={folder / 'a.h5'}")
        assert str(folder / "a.h5") in line
        assert "may not be written to" in line


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs")
@pytest.mark.parametrize("size", [16, 256, 3000, 5400], ids=lambda size: f"{size}k")
def test_full_disk_leaves_nothing(size: int, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dump(source, make_content(steps=16_000))  # 5500 KiB of values, so that the disk is full early or late
    with mounted(tmp_path / "small", f"size={size}k") as folder:
        line = refused(capsys, "data=mosi", f"source={source}", f"paths.data={folder}")
        assert "No space left on device" in line
        assert str(folder) in line
        assert files_in(folder) == []


KILLED = """
import os, signal, sys
from trivium.cli.prepare import main
os.fsync = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # all is written, nothing has its name yet
main(sys.argv[1:])
"""


def test_killed_prepare_leaves_nothing_and_a_later_one_works(source: Path, root: Path) -> None:
    argv = ["data=mosi", f"source={source}", f"paths.data={root}"]
    killed = subprocess.run([sys.executable, "-c", KILLED, *argv], capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    assert not list(root.rglob("*.h5"))
    assert main(argv) == 0
    assert verify_store(root / "mosi" / "My-features_v2.h5")["counts"] == COUNTS


def test_interrupt_while_writing_leaves_nothing(source: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        main(["data=mosi", f"source={source}", f"paths.data={root}"])
    assert not root.exists()


def test_script_helps_at_once_without_torch(tmp_path: Path) -> None:
    script = str(ROOT / "scripts" / "prepare.py")
    found = subprocess.run([sys.executable, "-X", "importtime", script, "--help"], capture_output=True, text=True)
    assert found.returncode == 0
    assert "Examples" in found.stdout
    assert "verify=FILE" in found.stdout
    imported = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in found.stderr.splitlines()}
    assert "numpy" in imported
    assert not imported & {"torch", "lightning", "hydra", "transformers"}
    wrong = subprocess.run([sys.executable, script, "data=mosi"], capture_output=True, text=True, cwd=tmp_path)
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("error: ")
    assert "Traceback" not in wrong.stderr


def test_real_mosi_from_raw_file_to_store(tmp_path: Path, root: Path) -> None:
    if not (REAL / "expand.py").exists():
        pytest.skip("the real CMU-MOSI arrays are not on this machine (../shared/data)")
    subprocess.run([sys.executable, str(REAL / "expand.py"), str(tmp_path)], check=True, capture_output=True)
    raw_file = tmp_path / "mosi_text_audio.pkl"
    assert main(["data=mosi", f"source={raw_file}", f"paths.data={root}"]) == 0
    store = open_store(root / "mosi" / "mosi_text_audio.h5")
    assert store.schema.counts == {"train": 1284, "valid": 229, "test": 686}
    assert store.schema.dims == {"text": 300, "audio": 73}
    raw = pickle.loads(raw_file.read_bytes())  # our own file, just written
    for split, part in raw.items():
        clips = store.split(split)
        assert clips.ids == part["id"].tolist()
        np.testing.assert_array_equal(clips.targets["multimodal"], part["regression_labels"])
        np.testing.assert_array_equal(clips.streams["audio"].values, part["audio"][:, 0])
        assert clips.streams["text"].lengths.tolist() == part["text_lengths"]
