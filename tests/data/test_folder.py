"""A folder of clips becomes a store of the same numbers; what is wrong with it is one line, and nothing is written."""

import csv
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from clip_folder import EMOTIONS, SIZES, Features, write_folder
from trivium.cli.prepare import main
from trivium.data.store import Store, open_store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_folder(tmp_path / "gestures")
    return tmp_path / "gestures"


def prepare(folder: Path, *arguments: str, source: Path | None = None) -> int:
    own = [] if any(argument.startswith("data.name=") for argument in arguments) else ["data.name=own"]
    return main(["data=custom", *own, f"source={source or folder}", f"paths.data={folder.parent / 'data'}", *arguments])


def prepared(folder: Path, *arguments: str, source: Path | None = None) -> Store:
    assert prepare(folder, *arguments, source=source) == 0
    (path,) = (folder.parent / "data").rglob("*.h5")
    return open_store(path)


def refused(folder: Path, capsys: pytest.CaptureFixture[str], *arguments: str, source: Path | None = None) -> str:
    """The one line on stderr; nothing is written."""
    assert prepare(folder, *arguments, source=source) == 2
    assert not (folder.parent / "data").exists()
    (line,) = capsys.readouterr().err.splitlines()
    return line


def edit(path: Path, change: Callable[[list[str]], list[str]]) -> None:
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")


def rewrite(folder: Path, columns: dict[str, list[object]]) -> None:
    """Adds or replaces columns of labels.csv."""
    with (folder / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    for name, cells in columns.items():
        for row, cell in zip(rows, cells, strict=True):
            row[name] = str(cell)
    with (folder / "labels.csv").open("w") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def declare(folder: Path, text: str) -> None:
    (folder / "manifest.yaml").write_text(text)


def folds_of(store: Store) -> dict[str, int]:
    assert store.folds is not None
    return store.folds.counts


def assert_features(store: Store, features: Features) -> None:
    for split in store.schema.counts:
        clips = store.split(split)
        for modality, by_clip in features.items():
            for n, clip in enumerate(clips.ids):
                np.testing.assert_array_equal(clips.streams[modality][n], by_clip[clip], err_msg=f"{modality} {clip}")


def test_every_clip_has_the_numbers_of_its_files_in_the_table_s_order(tmp_path: Path) -> None:
    features = write_folder(tmp_path / "gestures")
    store = prepared(tmp_path / "gestures", "data.name=gestures")
    assert store.path == tmp_path / "data" / "gestures" / "gestures.h5"
    assert (store.schema.data, store.schema.feature_set) == ("gestures", "gestures/gestures")
    assert store.schema.dims == {name: dim for name, (dim, _, _) in SIZES.items()}
    assert store.split("test").ids == ["test_0", "test_1", "test_2"]
    assert_features(store, features)
    emotion, valence = store.schema.targets["emotion"], store.schema.targets["valence"]
    assert (emotion.kind, emotion.names, emotion.counts) == ("classes", EMOTIONS, (2, 2, 2))
    assert (valence.kind, valence.names, valence.range) == ("score", (), None)
    with (tmp_path / "gestures" / "labels.csv").open() as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    train = store.split("train")
    for clip, number, score in zip(train.ids, train.targets["emotion"], train.targets["valence"], strict=True):
        assert EMOTIONS[int(number)] == rows[clip]["emotion"]
        assert score == np.float32(rows[clip]["valence"])


def test_what_was_found_and_what_to_type_next_is_printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(folder / "wrist" / "old.npy", np.zeros((2, 3)))
    prepared(folder)
    lines = capsys.readouterr().out.splitlines()
    assert "emotion: 3 classes: angry, calm, happy (found)" in lines
    assert "valence: a score (found)" in lines
    assert f"files of no clip: 1, such as {folder / 'wrist' / 'old.npy'}" in lines
    assert lines[-1].startswith("next: trivium train data=custom data.name=own data.target=emotion")


@pytest.mark.parametrize("suffix", [".npz", ".pt", ".csv"])
def test_every_kind_of_file_gives_the_same_store(suffix: str, tmp_path: Path) -> None:
    folder = tmp_path / "gestures"
    features = write_folder(folder)
    for file in folder.rglob("*.npy"):
        values = np.load(file)
        file.unlink()
        target = file.with_suffix(suffix)
        if suffix == ".npz":
            np.savez_compressed(target, anything=values)
        elif suffix == ".pt":
            torch.save(torch.from_numpy(values).requires_grad_(), target)
        else:
            np.savetxt(target, values, delimiter=",", fmt="%.9g", header="", comments="")
    assert_features(prepared(folder), features)


def test_a_vector_is_one_step_and_a_csv_may_name_its_columns(folder: Path) -> None:
    for file in (folder / "wrist").glob("*.npy"):
        np.save(file, np.float32([1, 2, 3]))
    for file in (folder / "speech").glob("*.npy"):
        values = np.load(file)
        file.unlink()
        names = ",".join(f"f{k}" for k in range(8))
        np.savetxt(file.with_suffix(".csv"), values, delimiter=",", header=f"\ufeff{names}", comments="")
    store = prepared(folder)
    assert store.schema.max_lengths["wrist"] == 1
    np.testing.assert_array_equal(store.split("train").streams["wrist"][0], [[1, 2, 3]])
    assert store.schema.max_lengths["speech"] <= SIZES["speech"][2]


def test_a_file_of_several_arrays_needs_the_name_of_one(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file in list((folder / "wrist").glob("*.npy")):
        np.savez(file.with_suffix(".npz"), motion=np.load(file), mask=np.ones(3))
        file.unlink()
    for file in list((folder / "speech").glob("*.npy")):
        torch.save({"f0": torch.zeros(4, 2), "mfcc": torch.ones(4, 5)}, file.with_suffix(".pt"))
        file.unlink()
    line = refused(folder, capsys)
    assert "expected one array, found f0, mfcc; choose one in manifest.yaml: modalities: {NAME: {files: " in line
    declare(folder, "modalities:\n  wrist: {files: wrist, array: motion}\n  speech: {files: speech, array: mfcc}\n")
    store = prepared(folder)
    assert store.schema.dims == {"wrist": 3, "speech": 5}


def test_a_manifest_names_columns_files_and_targets(tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    (folder / "a").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for n in range(6):
        np.save(folder / "a" / f"clip{n}_hands.npy", rng.normal(size=(4, 2)))
        np.save(folder / "a" / f"clip{n}_head.npy", rng.normal(size=(1 + n, 7)))
    part = ["train", "train", "train", "dev", "test", "test"]
    rows = ["name;is quoted,part,emo,joy,rage,stars,notes,words"]
    rows += [f'"clip{n}",{part[n]},{n % 3},{n % 2},1,{n - 2},x,"well, {n}"' for n in range(6)]
    (folder / "table.csv").write_text("\n".join(rows))
    manifest = tmp_path / "how.yaml"
    manifest.write_text(
        """
        folder: raw
        labels: table.csv
        columns: {id: "name;is quoted", split: part, transcript: words}
        modalities: {hands: "a/{id}_hands.npy", head: "a/{id}_head"}
        targets:
          emotion: {kind: classes, column: emo, names: [sad, neutral, glad]}
          moods: {kind: labels, columns: [joy, rage]}
          stars: {kind: score, range: [-2, 3]}
          traits: {kind: score, columns: [stars, joy], names: [stars, mirth]}
        drop: [notes]
        """
    )
    store = prepared(folder, source=manifest)
    assert store.schema.feature_set == "own/how"
    assert store.schema.counts == {"train": 3, "valid": 1, "test": 2}
    assert store.schema.dims == {"hands": 2, "head": 7}
    train, targets = store.split("train"), store.schema.targets
    assert train.raw_text == ["well, 0", "well, 1", "well, 2"]
    assert targets["emotion"].names == ("sad", "neutral", "glad")
    assert train.targets["emotion"].tolist() == [0, 1, 2]
    assert (targets["moods"].kind, targets["moods"].names) == ("labels", ("joy", "rage"))
    assert train.targets["moods"].tolist() == [[0, 1], [1, 1], [0, 1]]
    assert targets["stars"].range == (-2, 3)
    assert (targets["traits"].task, targets["traits"].names) == ("scores", ("stars", "mirth"))
    assert train.targets["traits"].tolist() == [[-2, 0], [-1, 1], [0, 0]]


def test_class_numbers_keep_their_order_and_may_be_given_names(folder: Path) -> None:
    rewrite(folder, {"emotion": [(10, 2, 1)[n % 3] for n in range(12)]})
    declare(folder, "targets: {emotion: {kind: classes}}\ndrop: [valence]\n")
    store = prepared(folder)
    assert store.schema.targets["emotion"].names == ("1", "2", "10")
    assert store.split("test").targets["emotion"].tolist() == [2, 1, 0]
    declare(folder, "targets: {emotion: {kind: classes, names: {1: low, 2: low, 10: high}}}\ndrop: [valence]\n")
    store = prepared(folder, "force=true")
    assert store.schema.targets["emotion"].names == ("low", "high")
    assert store.split("test").targets["emotion"].tolist() == [1, 0, 0]


def test_clips_may_lack_a_modality_only_if_that_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "wrist" / "train_1.npy").unlink()
    line = refused(folder, capsys)
    assert (
        f"{folder / 'wrist' / 'train_1.npy'}: no such file (or .npz, .pt, .csv), but clip 'train_1' stands in " in line
    )
    assert "line 3 of" in line
    assert "absent=wrist" in line
    store = prepared(folder, "absent=wrist")
    assert store.split("train").streams["wrist"].lengths[1] == 0
    assert store.split("train").streams["speech"].lengths[1] > 0
    declare(folder, "absent: [wrist]")
    assert prepared(folder, "force=true").split("train").streams["wrist"].lengths[1] == 0


def test_values_that_are_not_finite_are_made_0_and_counted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = np.load(folder / "wrist" / "train_0.npy")
    values[0] = [np.nan, np.inf, -np.inf]
    np.save(folder / "wrist" / "train_0.npy", values)
    store = prepared(folder)
    assert store.split("train").streams["wrist"][0][0].tolist() == [0, 0, 0]
    assert store.provenance["repairs"]["wrist"] == {"neg_inf": 1, "pos_inf": 1, "nan": 1}
    assert "repaired in wrist: 1 -inf, 1 +inf, 1 NaN, now 0" in capsys.readouterr().out


def test_a_byte_order_mark_and_ids_with_folders_are_read(folder: Path) -> None:
    (folder / "wrist" / "day1").mkdir()
    (folder / "speech" / "day1").mkdir()
    for modality in SIZES:
        os.rename(folder / modality / "test_2.npy", folder / modality / "day1" / "c.2.npy")
    edit(folder / "labels.csv", lambda lines: [line.replace("test_2,", "day1/c.2,") for line in lines])
    (folder / "labels.csv").write_bytes(b"\xef\xbb\xbf" + (folder / "labels.csv").read_bytes())
    assert prepared(folder).split("test").ids == ["test_0", "test_1", "day1/c.2"]


def test_the_range_of_a_data_set_holds_for_its_scores(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "target 'valence': that of clip 'train_" in refused(folder, capsys, "label_range=-0.1,0.1")
    store = prepared(folder, "label_range=-9,9")
    assert store.schema.targets["valence"].range == (-9, 9)


def test_folds_and_groups_of_the_table_and_splits_at_random(folder: Path) -> None:
    rewrite(folder, {"split": [n % 3 for n in range(12)]})
    edit(folder / "labels.csv", lambda lines: [lines[0].replace("split", "fold"), *lines[1:]])
    store = prepared(folder)
    assert folds_of(store) == {"0": 4, "1": 4, "2": 4}
    rewrite(folder, {"speaker": [f"s{n // 3}" for n in range(12)]})
    store = prepared(folder, "split=leave_one_group_out", "group=speaker", "force=true")
    assert folds_of(store) == {f"s{n}": 3 for n in range(4)}
    assert set(store.schema.targets) == {"emotion", "valence"}
    store = prepared(folder, "split=random", "shares=.5,.25,.25", "group=speaker", "force=true")
    assert store.schema.counts == {"train": 6, "valid": 3, "test": 3}
    speakers = {name: {clip.rpartition("_")[0] for clip in store.split(name).ids} for name in store.schema.counts}
    assert all(speakers.values())


class Runs:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, (str(self.path),)


def test_nothing_in_a_file_is_executed(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trap = tmp_path / "trap"
    file = folder / "wrist" / "train_0.npy"
    kept = file.read_bytes()
    np.save(file, np.array([Runs(trap)], dtype=object))
    assert "holds an array of objects, which could run code" in refused(folder, capsys)
    file.unlink()
    np.savez(file.with_suffix(".npz"), a=np.array([Runs(trap)], dtype=object))
    assert "holds an array of objects, which could run code" in refused(folder, capsys)
    file.with_suffix(".npz").unlink()
    torch.save(Runs(trap), file.with_suffix(".pt"))
    assert "which could run code" in refused(folder, capsys)
    torch.save({"a": torch.zeros(2, 3), "n": 3}, file.with_suffix(".pt"))
    assert "holds int under 'n'; expected a tensor, or a dict of tensors" in refused(folder, capsys)
    file.with_suffix(".pt").unlink()
    assert not trap.exists()
    file.write_bytes(kept)
    prepared(folder)


def line_with(clip: str, old: str, new: str) -> Callable[[list[str]], list[str]]:
    return lambda lines: [line.replace(old, new) if line.startswith(f"{clip},") else line for line in lines]


# What is done to a good folder -> what the one line says.
MALFORMED: dict[str, tuple[Callable[[Path], object], str]] = {
    "other D": (
        lambda folder: np.save(folder / "wrist" / "valid_1.npy", np.zeros((4, 5))),
        "wrist/valid_1.npy: 5 features a step, but {folder}/wrist/train_0.npy has 3",
    ),
    "NaN label": (
        lambda folder: rewrite(folder, {"valence": ["0.5"] * 11 + ["nan"]}),
        "column 'valence': clip 'test_2' has 'nan'; expected a finite number",
    ),
    "empty label": (
        lambda folder: rewrite(folder, {"emotion": ["calm"] * 10 + ["", "happy"]}),
        "column 'emotion': clip 'test_1' has no value",
    ),
    "class in test that train lacks": (
        lambda folder: edit(folder / "labels.csv", line_with("test_2", "happy", "sad")),
        "target 'emotion': class 'sad' of clip 'test_2' in 'test' occurs in no clip of 'train'",
    ),
    "duplicate id": (
        lambda folder: edit(folder / "labels.csv", lambda lines: [*lines, lines[2]]),
        "id 'train_1' in line 14 stands in line 3 too; expected each once",
    ),
    "id in two splits": (
        lambda folder: edit(folder / "labels.csv", lambda lines: [*lines, lines[2].replace(",train,", ",test,")]),
        "id 'train_1' in line 14 stands in line 3 too, once in 'train' and once in 'test'",
    ),
    "empty split": (
        lambda folder: edit(folder / "labels.csv", lambda lines: [x.replace(",valid,", ",test,") for x in lines]),
        "no clip is in the split 'valid', by which training selects",
    ),
    "no train": (
        lambda folder: edit(folder / "labels.csv", lambda lines: [x.replace(",train,", ",test,") for x in lines]),
        "no clip is in 'train'",
    ),
    "unknown split": (
        lambda folder: edit(folder / "labels.csv", line_with("test_2", ",test,", ",tset,")),
        "column 'split': clip 'test_2' has 'tset'; expected one of train, valid, val, dev, test",
    ),
    "no split": (
        lambda folder: edit(folder / "labels.csv", lambda lines: [lines[0].replace("split", "part"), *lines[1:]]),
        "no column of splits",
    ),
    "undeclared whole numbers": (
        lambda folder: rewrite(folder, {"emotion": [0, 1, 2] * 4}),
        "column 'emotion' has whole numbers (0, 1, 2), which may be scores or classes; say which in manifest.yaml: "
        "targets: {{emotion: {{kind: score}}}}, or kind: classes",
    ),
    "whole numbers with a point": (
        lambda folder: rewrite(folder, {"emotion": ["0.0", "1.0", "2.0"] * 4}),
        "column 'emotion' has whole numbers (0, 1, 2), which may be scores or classes",
    ),
    "float class numbers": (
        lambda folder: (
            rewrite(folder, {"emotion": ["0", "1", "2.0"] * 4}),
            declare(folder, "targets: {emotion: {kind: classes}, valence: {kind: score}}"),
        ),
        "column 'emotion': clip 'train_2' has '2.0'; expected a class's name or its whole number",
    ),
    "numbers and texts": (
        lambda folder: rewrite(folder, {"valence": ["0.5"] * 11 + ["n/a"]}),
        "column 'valence' has numbers and texts: clip 'train_0' has '0.5', clip 'test_2' has 'n/a'",
    ),
    "texts that are no classes": (
        lambda folder: rewrite(folder, {"emotion": [f"so he said {n}" for n in range(12)]}),
        "column 'emotion': 12 of 12 clips have a text that no other has, such as 'so he said 0'",
    ),
    "one class": (
        lambda folder: rewrite(folder, {"emotion": ["calm"] * 12}),
        "column 'emotion': every clip is of the class 'calm'; expected two or more",
    ),
    "label that is neither 0 nor 1": (
        lambda folder: (
            rewrite(folder, {"emotion": [0, 1] * 5 + [2, 1]}),
            declare(folder, "targets: {moods: {kind: labels, columns: [emotion]}}\ndrop: [valence]"),
        ),
        "column 'emotion': clip 'test_1' has '2'; expected 0 or 1",
    ),
    "score outside its range": (
        lambda folder: declare(folder, "targets: {valence: {kind: score, range: [50, 60]}}\ndrop: [emotion]"),
        "expected a number in [50, 60]",
    ),
    "class of another name": (
        lambda folder: declare(
            folder, "targets: {emotion: {kind: classes, names: [angry, calm, hapy]}}\ndrop: [valence]"
        ),
        "column 'emotion': clip 'train_2' has 'happy'; expected one of angry, calm, hapy; nearest is hapy",
    ),
    "column that the manifest does not name": (
        lambda folder: declare(folder, "targets: {valence: {kind: score}}"),
        "column 'emotion' is not in the manifest's targets; declare it there, or leave it out: drop: [emotion]",
    ),
    "unknown column": (
        lambda folder: declare(folder, "targets: {valence: {kind: score, column: valense}}\ndrop: [emotion, valence]"),
        "target 'valence': no column 'valense'; nearest is valence",
    ),
    "unknown column of a role": (
        lambda folder: declare(folder, "columns: {split: part}"),
        "manifest.yaml: columns.split: {folder}/labels.csv has no column 'part'",
    ),
    "unknown column to drop": (
        lambda folder: declare(folder, "drop: [emotoin]"),
        "no column 'emotoin'; nearest is emoti",
    ),
    "unknown key": (
        lambda folder: declare(folder, "target: {valence: {kind: score}}"),
        "manifest.yaml: unknown key 'target'; nearest is targets; expected folder, labels, columns",
    ),
    "unknown key of a target": (
        lambda folder: declare(folder, "targets: {valence: {kind: score, low: 3}}"),
        "manifest.yaml: targets.valence: unknown key 'low'; expected kind, column, columns, names, range",
    ),
    "unknown kind": (
        lambda folder: declare(folder, "targets: {valence: {kind: class}}"),
        "manifest.yaml: targets.valence.kind: expected one of score, classes, labels, found 'class'; near",
    ),
    "yes and no in YAML": (
        lambda folder: declare(folder, "targets: {emotion: {kind: classes, names: [no, yes]}}"),
        "targets.emotion.names: expected a text, found False; put it into quotes",
    ),
    "no YAML": (lambda folder: declare(folder, "targets: {"), "manifest.yaml: is no YAML"),
    "a list as manifest": (
        lambda folder: declare(folder, "- a"),
        "manifest.yaml: expected keys and values, found list",
    ),
    "unknown modality may be absent": (
        lambda folder: declare(folder, "absent: [wirst]"),
        "absent: no modality 'wirst'; nearest is wrist",
    ),
    "no file of a modality": (
        lambda folder: declare(folder, "modalities: {gaze: eyes}\nabsent: [gaze]"),
        "no file of the 12 clips in {folder}/labels.csv; modality 'gaze' needs files such as {folder}/eyes/train_0.npy",
    ),
    "name of a modality": (
        lambda folder: os.rename(folder / "wrist", folder / "left wrist"),
        "'left wrist' cannot be the name of a target or modality",
    ),
    "name of a target": (
        lambda folder: edit(
            folder / "labels.csv", lambda lines: [lines[0].replace("emotion", "my emotion"), *lines[1:]]
        ),
        "'my emotion' cannot be the name of a target or modality",
    ),
    "no features": (
        lambda folder: [file.unlink() for file in folder.rglob("*.npy")],
        "{folder}: no folder of features; expected a folder for each modality, with a file ID.npy, ID.npz",
    ),
    "empty CSV": (lambda folder: (folder / "labels.csv").write_text("\n"), "labels.csv: is empty"),
    "no clip": (
        lambda folder: edit(folder / "labels.csv", lambda lines: lines[:1]),
        "labels.csv: has the columns' names and no clip",
    ),
    "no UTF-8": (
        lambda folder: (folder / "labels.csv").write_bytes("id,split\na,trän\n".encode("latin1")),
        "labels.csv: line 2 is not in UTF-8 (byte 0xe4); save the file as UTF-8",
    ),
    "semicolons": (
        lambda folder: edit(folder / "labels.csv", lambda lines: [line.replace(",", ";") for line in lines]),
        "labels.csv: the first line has semicolons between the columns' names ('id;split;emotion;valence'); expected "
        "commas",
    ),
    "short row": (
        lambda folder: edit(folder / "labels.csv", lambda lines: [*lines[:4], "train_3,train,calm"]),
        "labels.csv: line 5 has 3 cells, the first line 4",
    ),
    "column twice": (
        lambda folder: edit(folder / "labels.csv", lambda lines: [lines[0].replace("valence", "split"), *lines[1:]]),
        "labels.csv: two columns are named 'split'",
    ),
    "no id": (
        lambda folder: edit(folder / "labels.csv", lambda lines: [lines[0].replace("id,", "clip,"), *lines[1:]]),
        "labels.csv: no column 'id'; found clip, split, emotion, valence",
    ),
    "id that leaves the folder": (
        lambda folder: edit(folder / "labels.csv", line_with("test_2", "test_2", "../speech/test_2")),
        "id '../speech/test_2' in line 13 is no name of a file in the folder",
    ),
    "absolute id": (
        lambda folder: edit(folder / "labels.csv", line_with("test_2", "test_2", "/etc/passwd")),
        "id '/etc/passwd' in line 13 is no name of a file in the folder",
    ),
    "wrong ndim": (
        lambda folder: np.save(folder / "wrist" / "train_2.npy", np.zeros((1, 4, 3))),
        "wrist/train_2.npy: expected an array (T, D) of steps and features, or (D,) for one step; found (1, 4, 3)",
    ),
    "no step": (
        lambda folder: np.save(folder / "wrist" / "train_2.npy", np.zeros((0, 3))),
        "wrist/train_2.npy: has no step; say absent=wrist if clips may lack wrist",
    ),
    "texts": (
        lambda folder: np.save(folder / "wrist" / "train_2.npy", np.array([["a", "b", "c"]])),
        "wrist/train_2.npy: expected numbers, found <U1",
    ),
    "cut off": (
        lambda folder: (folder / "wrist" / "train_2.npy").write_bytes(
            (folder / "wrist" / "train_2.npy").read_bytes()[:-4]
        ),
        "wrist/train_2.npy: not a .npy file, or cut off",
    ),
    "no array": (
        lambda folder: (folder / "wrist" / "train_2.npy").write_bytes(b"junk"),
        "wrist/train_2.npy: ",
    ),
    "damaged zip": (
        lambda folder: (
            (folder / "wrist" / "train_2.npy").unlink(),
            (folder / "wrist" / "train_2.npz").write_bytes(b"PK\3\4junk"),
        ),
        "wrist/train_2.npz: not a .npz file, or cut off",
    ),
    "feature CSV with texts": (
        lambda folder: (
            (folder / "wrist" / "train_2.npy").unlink(),
            (folder / "wrist" / "train_2.csv").write_text("a,b,c\n1,2,3\n1,x,3\n"),
        ),
        "wrist/train_2.csv: expected numbers with commas between them, a line for each step; could not",
    ),
    "two files of a clip": (
        lambda folder: (folder / "wrist" / "train_2.csv").write_text("1,2,3\n"),
        "wrist/train_2.npy: train_2.csv is there too; keep one of them for clip 'train_2'",
    ),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_input_is_one_clear_line_and_nothing_is_written(
    case: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, expected = MALFORMED[case]
    spoil(folder)
    line = refused(folder, capsys)
    assert line.startswith("error: ")
    assert str(folder) in line
    assert expected.format(folder=folder) in line


def test_other_arguments_that_are_wrong(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no such file" in refused(folder, capsys, source=tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "a folder without labels.csv, manifest.yaml," in refused(folder, capsys, source=tmp_path / "empty")
    assert "data.name=mosi: is the name of a known data set; say data=mosi" in refused(folder, capsys, "data.name=mosi")
    assert "data.name=../x: expected letters" in refused(folder, capsys, "data.name=../x")
    assert "folds= is for .csd files" in refused(folder, capsys, "folds=a.json")
    declare(folder, "folder: nowhere")
    assert "nowhere is no folder" in refused(folder, capsys)


def test_a_header_that_claims_terabytes_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = folder / "wrist" / "train_2.npy"
    header = {"descr": "<f4", "fortran_order": False, "shape": (1 << 38, 3)}
    with file.open("wb") as target:
        np.lib.format.write_array_header_1_0(target, header)
    assert "wrist/train_2.npy: not a .npy file, or cut off" in refused(folder, capsys)
    with zipfile.ZipFile(file.with_suffix(".npz"), "w") as archive:
        archive.write(file, "a.npy")
    file.unlink()
    line = refused(folder, capsys)
    assert "wrist/train_2.npz: " in line
