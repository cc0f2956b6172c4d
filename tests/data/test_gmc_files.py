"""GMC's three files: cut as an independent loop over clips cuts them, found by name, refused where malformed."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from driver import here
from saved_objects import Runs, class_at_hand, save_object
from trivium.cli.prepare import main
from trivium.data import formats
from trivium.data.clips import Source
from trivium.data.formats.gmc_files import read_gmc
from trivium.data.store import open_store

COUNTS = {"train": 6, "valid": 3, "test": 4}
DIMS = {"text": 5, "audio": 3, "vision": 4}
STEPS = 7
NAN, INF = float("nan"), float("inf")
Content = dict[str, dict[str, Any]]


def make_content(seed: int = 0) -> Content:
    """Aligned and padded in front; a clip without text, one without anything, values that are not finite."""
    rng = np.random.default_rng(seed)
    content: Content = {}
    for split, count in COUNTS.items():
        part: dict[str, Any] = {m: rng.normal(size=(count, STEPS, dim)) for m, dim in DIMS.items()}
        for n in range(count):
            for modality in DIMS:
                part[modality][n, : n % STEPS] = 0
        ids = [[f"{split}{n}".encode(), b"%d.5" % n, b"9"] for n in range(count)]
        part |= {"labels": rng.uniform(-3, 3, size=(count, 1, 1)), "meta": np.array(ids), "data": "mosi"}
        content[split] = {**part, "n_modalities": 3}
    train = content["train"]
    train["text"][1] = 0
    train["audio"][2, :2] = -INF, 0.5, -INF  # audio where the text has not begun: kept, as nothing is cut apart
    train["text"][3, -1] = 0
    train["vision"][4, -1, :2] = NAN, INF
    train["audio"][4] = -INF  # silence throughout
    for modality in DIMS:
        content["test"][modality][1] = 0
    for part in content.values():
        part |= {key: torch.tensor(part[key], dtype=torch.float32) for key in (*DIMS, "labels")}
    return content


def save(folder: Path, content: Content, name: str = "mosi") -> Path:
    folder.mkdir(exist_ok=True)
    for split, part in content.items():
        save_object(folder / f"{name}_{split}_a.dt", part)
    return folder


def load(folder: Path, content: Content, data: str = "mosi") -> Source:
    return read_gmc(save(folder, content), data=data)


def slowly(part: dict[str, Any]) -> dict[str, Any]:
    """One clip, one step at a time; files padded in front."""
    out: dict[str, Any] = {"ids": [], "labels": [], **{modality: [] for modality in DIMS}}
    for n in range(len(part["labels"])):
        clip = {m: [[x if np.isfinite(x) else 0.0 for x in row] for row in part[m][n].numpy().tolist()] for m in DIMS}
        begin = 0
        while begin < STEPS and not any(x for steps in clip.values() for x in steps[begin]):
            begin += 1
        if begin == STEPS:
            continue
        video, start, end = (item.decode() for item in part["meta"][n])
        out["ids"].append(f"{video}[{start},{end}]")
        out["labels"].append(float(part["labels"][n]))
        for modality, steps in clip.items():
            out[modality].append(steps[begin:] if any(x for step in steps for x in step) else [])
    return out


def test_clips_are_cut_as_a_slow_loop_cuts_them(tmp_path: Path) -> None:
    content = make_content()
    source = load(tmp_path, content)
    assert list(source.splits) == list(COUNTS)
    for split, part in content.items():
        expected, found = slowly(part), source.splits[split]
        assert found.ids == expected["ids"]
        np.testing.assert_array_equal(found.targets["multimodal"], np.float32(expected["labels"]))
        assert list(found.streams) == list(DIMS)
        for modality, ragged in found.streams.items():
            assert [ragged[n].tolist() for n in range(len(ragged))] == expected[modality]
    train = source.splits["train"].streams
    assert train["text"].lengths.tolist() == [7, 0, 7, 4, 3, 2]
    assert train["audio"].lengths.tolist() == [7, 6, 7, 4, 0, 2]


def test_what_was_left_out_and_repaired_is_counted(tmp_path: Path) -> None:
    content = make_content()
    content["valid"]["speaker"] = [1, 2, 3]
    source = load(tmp_path, content)
    assert source.format == "gmc"
    assert [file.name for file in source.files] == [f"mosi_{split}_a.dt" for split in COUNTS]
    assert source.notes["dropped/clips"] == "1 without a value in any modality (train 0, valid 0, test 1)"
    assert source.notes["dropped/keys"] == "speaker"
    assert [source.notes[f"padding/{modality}"] for modality in DIMS] == ["front"] * 3
    assert source.repairs["audio"] == {"neg_inf": 4, "pos_inf": 0, "nan": 0}
    assert source.repairs["vision"] == {"neg_inf": 0, "pos_inf": 1, "nan": 1}


def test_file_padded_at_the_back_is_cut_there(tmp_path: Path) -> None:
    content = make_content()
    turned = {s: {k: v.flip(1) if k in DIMS else v for k, v in part.items()} for s, part in content.items()}
    one, other = load(tmp_path / "one", content), load(tmp_path / "other", turned)
    assert other.notes["padding/text"] == "back"
    for split in COUNTS:
        for modality in DIMS:
            a, b = one.splits[split].streams[modality], other.splits[split].streams[modality]
            assert [a[n].tolist() for n in range(len(a))] == [b[n].tolist()[::-1] for n in range(len(b))]


@pytest.mark.parametrize("meta", [None, np.array(["a", 1.5, None], dtype=object), [(1, 2), 3, 4], 7])
def test_clips_without_usable_ids_are_named_by_position(tmp_path: Path, meta: object) -> None:
    content = make_content()
    content["valid"]["meta"] = meta
    source = load(tmp_path, content)
    assert source.splits["valid"].ids == ["valid[0]", "valid[1]", "valid[2]"]
    assert source.splits["test"].ids[0] == "test0[0.5,9]"
    assert source.notes["ids"].startswith("made of split and position: ")


IDS: dict[str, tuple[Any, list[str]]] = {
    "strings": (["a", "b", "c"], ["a", "b", "c"]),
    "objects": (np.array([["v", 0.5], ["v", 1], [b"w", 3.0]], dtype=object), ["v[0.5]", "v[1]", "w[3]"]),
    "repeated": (np.array(["a", "a", "b"]), ["a", "a#2", "b"]),
    "infinite": (np.array([1.0, INF, NAN]), ["1", "inf", "nan"]),
}  # fmt: skip


@pytest.mark.parametrize("form", IDS)
def test_ids_of_other_forms_become_text(tmp_path: Path, form: str) -> None:
    content = make_content()
    content["valid"]["meta"], expected = IDS[form]
    assert load(tmp_path, content).splits["valid"].ids == expected


def change(split: str, key: str, value: Any) -> Callable[[Content], object]:
    return lambda content: content[split].update({key: value})


BROKEN: dict[str, tuple[Callable[[Content], object], str]] = {
    **{
        f"no_{key}": (lambda c, key=key: c["valid"].pop(key), rf"mosi_valid_a\.dt: key '{key}' is missing; found \['")
        for key in (*DIMS, "labels")
    },
    "count": (change("valid", "audio", torch.ones(4, STEPS, 3)), r"mosi_valid_a\.dt: key 'audio' has 4 entries, .* 3"),
    "meta": (change("valid", "meta", ["a", "b"]), r"mosi_valid_a\.dt: key 'meta' has 2 entries, 'labels' 3"),
    "rank": (change("train", "text", torch.ones(6, 5)), r"mosi_train_a\.dt: key 'text' must be of shape \(N, T, D\)"),
    "dims": (change("test", "vision", torch.ones(4, STEPS, 9)), r"mosi_test_a\.dt: key 'vision' has 9 features a step"),
    "steps": (change("test", "vision", torch.ones(4, 6, 4)), r"key 'vision' has 6 steps a clip, 'text' 7; .*aligned"),
    "labels": (change("test", "labels", torch.ones(4, 1, 7)), r"mosi_test_a\.dt: key 'labels' must be .*\(4, 1, 7\)"),
    "nan": (change("test", "labels", torch.full((4, 1, 1), NAN)), r"key 'labels' of clip 'test0\[0.5,9\]' is nan"),
    "no_clips": (change("valid", "labels", torch.ones(0, 1, 1)), "key 'labels' must be a tensor .* of one clip"),
    "text_of_words": (change("valid", "text", ["a", "b", "c"]), r"mosi_valid_a\.dt: key 'text' must hold numbers"),
    "labels_none": (change("valid", "labels", None), r"mosi_valid_a\.dt: key 'labels' must be a tensor"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_malformed_file_is_named_with_its_key(tmp_path: Path, case: str) -> None:
    content = make_content()
    breaks, message = BROKEN[case]
    breaks(content)
    with pytest.raises(ValueError, match=message):
        load(tmp_path, content)


def test_cut_off_file_is_named(tmp_path: Path) -> None:
    save(tmp_path, make_content())
    path = tmp_path / "mosi_valid_a.dt"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"mosi_valid_a\.dt: not a file of torch\.save, or cut off"):
        read_gmc(tmp_path, data="mosi")


@pytest.mark.parametrize("split", COUNTS)
def test_any_of_the_three_files_finds_the_others_and_a_missing_one_is_named(tmp_path: Path, split: str) -> None:
    save(tmp_path, make_content())
    path = tmp_path / f"mosi_{split}_a.dt"
    assert formats.detect([path]) == formats.detect([tmp_path]) == "gmc"
    source = formats.read("gmc", [path], formats.ReadOptions("mosi"))
    assert source.splits["train"].ids == read_gmc(tmp_path, data="mosi").splits["train"].ids
    other = tmp_path / f"mosi_{'test' if split == 'train' else 'train'}_a.dt"
    other.unlink()
    with pytest.raises(ValueError, match=rf"{other}: no such file"):
        read_gmc(path, data="mosi")


def test_folder_of_two_sets_is_told_apart_by_data(tmp_path: Path) -> None:
    save(tmp_path, make_content())
    save(tmp_path, make_content(seed=1), "mosei")
    assert {file.name[:6] for file in read_gmc(tmp_path, data="mosei").files} == {"mosei_"}
    with pytest.raises(ValueError, match=r"holds mosei_\w+\.dt, mosi_\w+\.dt of different sets; pass the one"):
        read_gmc(tmp_path, data="custom")
    with pytest.raises(ValueError, match=r"by its name this is mosei, but data=mosi; say data=mosei"):
        read_gmc(tmp_path / "mosei_train_a.dt", data="mosi")


def test_files_of_other_names_and_options_of_other_formats_are_refused(tmp_path: Path) -> None:
    save(tmp_path, make_content())
    path = (tmp_path / "mosi_train_a.dt").rename(tmp_path / "training.dt")
    with pytest.raises(ValueError, match=r"training\.dt: expected a name such as mosi_train_a\.dt"):
        read_gmc(path, data="mosi")
    with pytest.raises(
        ValueError,
        match=r"training\.dt: align= is for \.csd files and MultiBench's pickles; source= is one of GMC's three",
    ):
        formats.read("gmc", [path], formats.ReadOptions("mosi", align="true"))
    with pytest.raises(ValueError, match="takes one of GMC's three files, or their folder; found 2"):
        formats.read("gmc", [path, path], formats.ReadOptions("mosi"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty: a folder without labels\.csv, manifest\.yaml, \.csd or \.dt files"):
        formats.detect([tmp_path / "empty"])


def test_file_that_would_run_a_command_is_refused_and_does_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    proof = tmp_path / "ran"
    content = make_content()
    content["valid"]["meta"] = Runs(f"touch {proof}")
    save(tmp_path, content)
    assert main(["data=mosi", f"source={tmp_path}", f"paths.data={tmp_path / 'stores'}"]) == 2
    assert f"mosi_valid_a.dt: asks for {os.system.__module__}.system" in capsys.readouterr().err
    assert not proof.exists()
    assert not (tmp_path / "stores").exists()
    with class_at_hand():
        torch.load(tmp_path / "mosi_valid_a.dt", weights_only=False)  # it does run elsewhere: the proof can fail
    assert proof.exists()


@pytest.mark.parametrize("given", ["", "mosi_test_a.dt"])
def test_from_the_files_to_a_store_that_trains(tmp_path: Path, given: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = save(tmp_path / "gmc", make_content())
    assert main(["data=mosi", f"source={folder / given}", f"paths.data={tmp_path / 'data'}"]) == 0
    assert "repaired in audio: 4 -inf, now 0" in capsys.readouterr().out
    path = tmp_path / "data" / "mosi" / "gmc-aligned.h5"
    store = open_store(path)
    assert store.schema.source_format == "gmc"
    assert store.schema.counts == {"train": 6, "valid": 3, "test": 3}
    assert store.schema.dims == DIMS
    assert main([f"verify={path}"]) == 0
    assert capsys.readouterr().out.startswith(f"{path}: ok, mosi/gmc-aligned")
    result = here(tmp_path, "method=supervised", "data=mosi", "encoder=identity", "trainer.max_epochs=1")
    assert set(result["test"]) >= {"mae", "corr"}
