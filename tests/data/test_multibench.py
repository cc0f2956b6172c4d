"""MultiBench's pickles: cut as an independent loop over clips cuts them, told from MMSA's, refused where malformed."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from driver import here
from trivium.cli.prepare import main
from trivium.config.compose import compose_config
from trivium.data import formats
from trivium.data.clips import Ragged, Source
from trivium.data.formats import ReadOptions
from trivium.data.formats.multibench import read_multibench
from trivium.data.new_clips import RunData, read_new_clips
from trivium.data.prepare import prepare
from trivium.data.store import open_store, write_store
from trivium.data.target import Target
from trivium.runs.config_hash import config_hash

COUNTS = {"train": 7, "valid": 3, "test": 4}
DIMS = {"vision": 4, "audio": 3, "text": 5}
STEPS = 6


def make_file(seed: int = 0, dtype: type = np.float32) -> dict[str, dict[str, Any]]:
    """As mosi_raw.pkl: padded in front by a length of each modality's own, -inf in audio, a clip without words."""
    rng = np.random.default_rng(seed)
    content: dict[str, dict[str, Any]] = {}
    for split, count in COUNTS.items():
        part: dict[str, Any] = {}
        for modality, dim in DIMS.items():
            part[modality] = rng.normal(size=(count, STEPS, dim)).astype(dtype)
            for clip in part[modality]:
                clip[: rng.integers(1, STEPS)] = 0
        part["audio"][0, -1, :2] = -np.inf
        part["labels"] = rng.uniform(-3, 3, size=(count, 1, 1)).astype(dtype)
        part["labels"][0] = 0
        part["id"] = [f"{split}[{n}]" for n in range(count)]
        content[split] = part
    train = content["train"]
    train["text"][2] = 0  # no words: left out
    train["text"][3, -2:] = 1
    train["text"][3, :-2] = 0
    train["vision"][3] = 1
    train["vision"][3, -2:] = 0  # nothing to see while something is said
    train["audio"][4] = -np.inf  # silence throughout
    train["audio"][5, -1, 0], content["test"]["vision"][1, -1, 1] = np.nan, np.inf
    content["test"]["text"][3, 0] = 0.25
    content["test"]["text"][3, -1] = 0  # an unknown word at the end belongs to the clip
    content["test"]["audio"][2] = 0
    return content


def slowly(part: dict[str, Any], align: bool) -> dict[str, Any]:
    """One clip, one step at a time. Clips as lists of steps; [] where a modality is absent."""
    out: dict[str, Any] = {"id": [], "labels": [], **{modality: [] for modality in DIMS}}

    def clean(row: np.ndarray) -> list[float]:
        return [float(x) if np.isfinite(x) else 0.0 for x in row]

    def first(steps: list[list[float]]) -> int:
        for t, step in enumerate(steps):
            if any(x != 0 for x in step):
                return t
        return len(steps)

    for n in range(len(part["id"])):
        clip = {modality: [clean(row) for row in part[modality][n]] for modality in DIMS}
        if sum(x for step in clip["text"] for x in step) == 0:
            continue
        out["id"].append(part["id"][n])
        out["labels"].append(float(np.ravel(part["labels"][n])[0]))
        for modality, steps in clip.items():
            kept = steps[first(clip["text"]) if align else first(steps) :]
            out[modality].append(kept if first(kept) < len(kept) else [])
    return out


def load(folder: Path, content: object, **options: Any) -> Source:
    return read_multibench(dump(folder / "file.pkl", content), **{"data": "mosi", **options})


def dump(path: Path, content: object, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


def clips_of(ragged: Ragged) -> list[list[list[float]]]:
    return [ragged[n].tolist() for n in range(len(ragged))]


@pytest.mark.parametrize("align", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_clips_are_cut_as_a_slow_loop_cuts_them(tmp_path: Path, align: bool, dtype: type) -> None:
    content = make_file(dtype=dtype)
    source = load(tmp_path, content, align=align)
    assert list(source.splits) == list(COUNTS)
    assert source.format == "multibench"
    for split, part in content.items():
        expected, found = slowly(part, align), source.splits[split]
        assert found.ids == expected["id"]
        np.testing.assert_array_equal(found.targets["multimodal"], np.array(expected["labels"], np.float32))
        assert list(found.streams) == ["text", "audio", "vision"]
        for modality in DIMS:
            ragged = found.streams[modality]
            assert ragged.values.dtype == np.float32
            assert ragged.lengths.tolist() == [len(clip) for clip in expected[modality]]
            for one, other in zip(clips_of(ragged), expected[modality], strict=True):
                np.testing.assert_array_equal(np.array(one), np.array(other, np.float32))


def test_a_run_s_new_clips_are_cut_alike_without_labels_train_and_audio(tmp_path: Path) -> None:
    content = make_file()
    whole = load(tmp_path, content).splits["test"]
    new = {"test": {key: value for key, value in content["test"].items() if key not in ("labels", "audio")}}
    with pytest.raises(ValueError, match="split 'train' at least"):
        load(tmp_path, new)
    found = load(tmp_path, new, labelled=False).splits["test"]
    assert (found.ids, found.targets, list(found.streams)) == (whole.ids, {}, ["text", "vision"])
    for name, ragged in found.streams.items():
        np.testing.assert_array_equal(ragged.values, whole.streams[name].values)
        np.testing.assert_array_equal(ragged.lengths, whole.streams[name].lengths)


def test_new_clips_without_labels_are_of_the_layout_that_the_run_was_trained_on(tmp_path: Path) -> None:
    """Nothing in such a file tells MultiBench's layout from MMSA's, which would not cut it by the text."""
    content = make_file()
    prepare(data="mosi", source=[dump(tmp_path / "file.pkl", content)], out=tmp_path / "s.h5")
    schema = open_store(tmp_path / "s.h5").schema
    run = RunData(schema, dict.fromkeys(DIMS, "values"), "multimodal", schema.targets["multimodal"])
    expected = open_store(tmp_path / "s.h5").split("test")
    for part in content.values():
        del part["labels"]
    new = read_new_clips([dump(tmp_path / "new.pkl", content)], None, ReadOptions("mosi"), run)
    assert new.format == "multibench"
    assert new.splits["test"].ids == expected.ids
    for name in DIMS:
        np.testing.assert_array_equal(new.splits["test"].streams[name].values, expected.streams[name].values)


def test_what_was_left_out_repaired_and_cut_is_counted(tmp_path: Path) -> None:
    content = make_file()
    content["extra"] = {}  # type: ignore[assignment]
    content["valid"]["words"] = ["a"] * 3
    with pytest.raises(ValueError, match=r"'valid': key 'words' is none of MultiBench's: .* say drop=\[words\]"):
        load(tmp_path, content)
    source = load(tmp_path, content, drop=["words"])
    assert [len(clips) for clips in source.splits.values()] == [6, 3, 4]
    assert source.notes["dropped/clips"] == "1 whose text sums to 0 (train 1, valid 0, test 0)"
    assert source.notes["dropped/splits"] == "extra"
    assert source.notes["align"] == "all from the text's first step that is not zero"
    assert [source.notes[f"padding/{modality}"] for modality in DIMS] == ["front"] * 3
    # two features of three clips; the clip of -inf throughout is absent, as one of zeros is
    assert source.repairs["audio"] == {"neg_inf": 6, "pos_inf": 0, "nan": 1}
    assert source.repairs["vision"] == {"neg_inf": 0, "pos_inf": 1, "nan": 0}
    train = source.splits["train"]
    assert train.streams["audio"].lengths[3] == 0  # the fifth clip of the file
    assert train.streams["vision"].lengths[2] == 0
    assert source.splits["test"].streams["audio"].lengths[2] == 0


def test_text_of_nothing_but_nan_is_no_text(tmp_path: Path) -> None:
    content = make_file()
    content["valid"]["text"][1] = 0
    content["valid"]["text"][1, -1] = np.nan, np.inf, -np.inf, 0, 0
    source = load(tmp_path, content)
    assert source.splits["valid"].ids == ["valid[0]", "valid[2]"]
    assert source.repairs["text"] == {"neg_inf": 0, "pos_inf": 0, "nan": 0}  # nothing of it is kept


def test_steps_before_the_texts_are_counted_and_kept_without_align(tmp_path: Path) -> None:
    content = make_file()
    before = 0
    for part in content.values():
        for said, seen in zip(part["text"], part["vision"], strict=True):
            if said.any():
                before += int(seen[: int(said.any(axis=1).argmax())].any(axis=1).sum())
    source = load(tmp_path, content)
    assert before > 0
    assert source.notes["dropped/vision"].startswith(f"{before} steps that are not zero")
    source = load(tmp_path, content, align=False)
    assert "dropped/vision" not in source.notes
    assert source.notes["align"] == "each modality from its own's first step that is not zero"
    assert source.splits["train"].streams["vision"].lengths[2] == STEPS


def test_file_padded_at_the_back_is_cut_there(tmp_path: Path) -> None:
    content = make_file()
    turned = {
        split: {key: value[:, ::-1] if key in DIMS else value for key, value in part.items()}
        for split, part in content.items()
    }
    one, other = load(tmp_path, content), load(tmp_path, turned)
    assert other.notes["padding/text"] == "back"
    for split in COUNTS:
        for modality in DIMS:
            for a, b in zip(
                clips_of(one.splits[split].streams[modality]),
                clips_of(other.splits[split].streams[modality]),
                strict=True,
            ):
                assert a == b[::-1]


IDS: dict[str, tuple[Callable[[int], Any], str]] = {
    "strings": (lambda n: [f"v[{i}]" for i in range(n)], "v[1]"),
    "bytes": (lambda n: [f"v[{i}]".encode() for i in range(n)], "v[1]"),
    "array": (lambda n: np.array([f"é{i}" for i in range(n)]), "é1"),
    "bytes_array": (lambda n: np.array([f"é{i}".encode() for i in range(n)]), "é1"),
    "objects": (lambda n: np.array([f"v{i}" for i in range(n)], dtype=object), "v1"),
    "column": (lambda n: np.array([[f"1_{i}"] for i in range(n)]), "1_1"),
    "numbers": (lambda n: np.arange(10, 10 + n), "11"),
    "number_column": (lambda n: np.arange(10.0, 10 + n)[:, None], "11"),
    "rows_of_arrays": (lambda n: [np.array([10 + i]) for i in range(n)], "11"),
    "interval": (lambda n: np.array([["vid", f"{i}.25", f"{i + 1}.5"] for i in range(n)]), "vid[1.25,2.5]"),
    "bytes_interval": (lambda n: np.array([[b"vid", b"%d" % i, b"9"] for i in range(n)]), "vid[1,9]"),
    "tuples": (lambda n: [("vid", str(i), "9") for i in range(n)], "vid[1,9]"),
}


@pytest.mark.parametrize("form", IDS)
def test_every_form_of_ids_becomes_strings(tmp_path: Path, form: str) -> None:
    make, second = IDS[form]
    content = {"train": {**make_file()["train"], "id": make(COUNTS["train"])}}
    found = load(tmp_path, content).splits["train"].ids
    assert len(set(found)) == COUNTS["train"] - 1
    assert found[1] == second


def test_repeated_ids_are_numbered_and_noted(tmp_path: Path) -> None:
    content = make_file()
    content["train"]["id"] = ["a", "a", "-", "a#2", "a", "b", "c"]
    content["test"]["id"] = ["b", "x", "y", "z"]
    source = load(tmp_path, content)
    assert source.splits["train"].ids == ["a", "a#3", "a#2", "a#4", "b", "c"]
    assert source.splits["test"].ids == ["b#2", "x", "y", "z"]
    assert source.notes["ids"].startswith("3 came again")


NAMES = {"urfunny": ("not_funny", "funny"), "mustard": ("not_sarcastic", "sarcastic")}


@pytest.mark.parametrize("data", ["urfunny", "mustard"])
@pytest.mark.parametrize("low", [0.0, -1.0])
@pytest.mark.parametrize("shape", [(), (1,), (1, 1)], ids=["N", "N1", "N11"])
def test_binary_labels_become_two_classes_with_names(
    tmp_path: Path, data: str, low: float, shape: tuple[int, ...]
) -> None:
    content = make_file()
    for part in content.values():
        part["labels"] = np.where(np.arange(len(part["id"])) % 2, 1.0, low).reshape(-1, *shape)
    source = load(tmp_path, content, data=data)
    assert source.described["multimodal"] == Target("classes", NAMES[data])
    assert source.splits["test"].targets["multimodal"].tolist() == [0, 1, 0, 1]
    assert source.splits["train"].targets["multimodal"].tolist() == [0, 1, 1, 0, 1, 0]  # without the third
    scores = load(tmp_path, content)
    assert scores.described == {}
    assert scores.splits["valid"].targets["multimodal"].tolist() == [low, 1, low]  # scores stay


def change(split: str, key: str, value: Any) -> Callable[[dict[str, Any]], object]:
    return lambda content: content[split].update({key: value})


def wide(modality: str, split: str, shape: tuple[int, ...]) -> Callable[[dict[str, Any]], object]:
    return change(split, modality, np.ones(shape, np.float32))


BROKEN: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no_train": (lambda c: c.pop("train"), r"split 'train' at least; found \['valid', 'test'\]"),
    "no_dict": (lambda c: c.update(test=[1]), "split 'test': expected a dict of keys"),
    **{
        f"no_{key}": (lambda c, key=key: c["valid"].pop(key), f"split 'valid': key '{key}' is missing; found")  # type: ignore[misc]
        for key in (*DIMS, "labels", "id")
    },
    "count": (wide("audio", "train", (6, STEPS, 3)), "split 'train': key 'audio' has 6 entries, but there are 7 ids"),
    "label_count": (change("test", "labels", np.zeros((3, 1, 1))), "'test': key 'labels' has 3 entries, .* 4 ids"),
    "dims": (wide("vision", "test", (4, STEPS, 9)), "split 'test': key 'vision' has 9 features a step, 4 in 'train'"),
    "rank": (wide("text", "train", (7, 5)), r"split 'train': key 'text' must be of shape \(N, T, D\)"),
    "steps": (wide("vision", "valid", (3, 8, 4)), "'valid': key 'vision' has 8 steps a clip, 'text' 6; .* align=false"),
    "ragged": (
        lambda c: c["valid"].update(audio=[a[n:] for n, a in enumerate(c["valid"]["audio"])]),
        "split 'valid': key 'audio' has clips of 4 to 6 steps",
    ),
    "many_labels": (change("train", "labels", np.zeros((7, 4, 2))), r"key 'labels' must be .* found \(7, 4, 2\)"),
    "nan_label": (change("test", "labels", np.full((4, 1, 1), np.nan)), r"key 'labels' of clip 'test\[0\]' is nan"),
    "no_words": (lambda c: c["valid"]["text"].fill(0), "split 'valid': key 'text' sums to 0 in every clip"),
    "empty": (change("test", "id", []), "split 'test': is empty"),
    "ids_in_threes": (change("test", "id", np.zeros((4, 1, 1))), r"key 'id' must hold .* found \(4, 1, 1\)"),
    "ids_unequal": (change("test", "id", [["a"], ["a", "b"], "c", "d"]), "key 'id' has entries of unequal shape"),
    "ids_none": (change("test", "id", [None] * 4), "key 'id' must hold strings"),
    "objects": (change("test", "id", np.array(["a", 1, 2.0, b"b"], dtype=object)), "key 'test/id' is an object array"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_malformed_file_is_named_with_split_and_key(tmp_path: Path, case: str) -> None:
    content = make_file()
    breaks, message = BROKEN[case]
    breaks(content)
    with pytest.raises(ValueError, match=message) as error:
        load(tmp_path, content)
    assert str(error.value).startswith(str(tmp_path / "file.pkl"))


def test_scores_are_no_labels_of_funny_or_not(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"file\.pkl: key 'labels' must be 0 or 1, or -1 or 1, .* is data= right"):
        load(tmp_path, make_file(), data="mustard")


class Runs:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> object:
        return os.system, (self.command,)


def test_pickle_that_would_run_a_command_is_refused_and_does_not_run(tmp_path: Path) -> None:
    proof = tmp_path / "ran"
    path = dump(tmp_path / "evil.pkl", {**make_file(), "valid": Runs(f"touch {proof}")})
    assert formats.detect([path]) == "multibench"  # without running anything either
    with pytest.raises(ValueError, match=rf"evil\.pkl: asks for {os.system.__module__}\.system"):
        read_multibench(path, data="mosi")
    assert not proof.exists()
    pickle.loads(path.read_bytes())  # the same bytes do run elsewhere: the proof can fail
    assert proof.exists()


def as_mmsa(content: dict[str, dict[str, Any]], **more: Any) -> dict[str, dict[str, Any]]:
    """The same clips under MMSA's keys."""
    renamed = {"labels": "regression_labels"}
    return {
        split: {renamed.get(key, key): np.ravel(value) if key in renamed else value for key, value in part.items()}
        | more
        for split, part in content.items()
    }


@pytest.mark.parametrize("protocol", range(6))
def test_pickles_are_told_apart_by_the_key_of_their_labels(tmp_path: Path, protocol: int) -> None:
    content = make_file()
    path = dump(tmp_path / "a.pkl", content, protocol)
    assert formats.detect([path]) == "multibench"
    found = formats.read("multibench", [path], formats.ReadOptions("mosi"))
    assert len(found.splits["test"]) == COUNTS["test"]
    mmsa = as_mmsa(content, labels=["positive"])
    assert formats.detect([dump(path, mmsa, protocol)]) == "mmsa"
    broken = {split: {"classification_labels": [0]} for split in mmsa}
    assert formats.detect([dump(path, broken, protocol)]) == "mmsa"


def test_pickle_of_neither_kind_is_left_to_the_first_reader_to_name(tmp_path: Path) -> None:
    for content in (b"", b"\x80\x04]\x94."):
        (tmp_path / "a.pkl").write_bytes(content)
        assert formats.detect([tmp_path / "a.pkl"]) == "mmsa"
        with pytest.raises(ValueError, match=r"a\.pkl: "):
            formats.read("mmsa", [tmp_path / "a.pkl"], formats.ReadOptions("mosi"))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"align": "words"}, r"file\.pkl: align=words: expected true or false"),
        ({"word_lag": 1}, r"file\.pkl: word_lag= is for \.csd files"),
        ({"folds": Path("folds.json")}, r"file\.pkl: folds= is for \.csd files"),
    ],
)
def test_options_of_other_formats_are_refused(tmp_path: Path, option: dict[str, Any], message: str) -> None:
    path = dump(tmp_path / "file.pkl", make_file())
    with pytest.raises(ValueError, match=message):
        formats.read("multibench", [path], formats.ReadOptions("mosi", **option))
    with pytest.raises(ValueError, match="takes one MultiBench pickle; found 2 sources"):
        formats.read("multibench", [path, path], formats.ReadOptions("mosi"))


def test_align_on_an_mmsa_file_says_where_it_belongs(tmp_path: Path) -> None:
    path = dump(tmp_path / "file.pkl", as_mmsa(make_file()))
    with pytest.raises(ValueError, match=r"align= is for \.csd files and MultiBench's pickles"):
        formats.read("mmsa", [path], formats.ReadOptions("mosi", align="true"))


@pytest.mark.parametrize("align", ["true", "false"])
def test_from_the_pickle_to_a_store_that_verifies(
    tmp_path: Path, align: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path, root = dump(tmp_path / "mosi_data.pkl", make_file()), tmp_path / "stores"
    options = [] if align == "true" else ["align=false", "format=multibench"]
    assert main(["data=mosi", f"source={path}", f"paths.data={root}", *options]) == 0
    printed = capsys.readouterr().out
    assert "dropped/clips: 1 whose text sums to 0" in printed
    assert "repaired in audio: " in printed
    store = open_store(root / "mosi" / "mosi_data.h5")
    assert store.schema.source_format == "multibench"
    assert store.schema.counts == {"train": 6, "valid": 3, "test": 4}
    assert store.schema.dims == {"text": 5, "audio": 3, "vision": 4}
    assert store.schema.targets["multimodal"].range == (-3.0, 3.0)
    expected = slowly(make_file()["test"], align == "true")
    clips = store.split("test")
    assert clips.ids == expected["id"]
    np.testing.assert_array_equal(
        clips.streams["vision"].values, np.float32([step for clip in expected["vision"] for step in clip])
    )
    assert main([f"verify={root / 'mosi' / 'mosi_data.h5'}"]) == 0
    assert "ok, mosi/mosi_data" in capsys.readouterr().out


def as_binary(content: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    for part in content.values():
        part["labels"] = (part["labels"] > 0).astype(np.float32)
    return content


@pytest.mark.parametrize("data", ["urfunny", "mustard"])
def test_binary_sets_train_on_two_classes_without_a_further_key(tmp_path: Path, data: str) -> None:
    path = dump(tmp_path / "file.pkl", as_binary(make_file()))
    assert main([f"data={data}", f"source={path}", f"paths.data={tmp_path / 'data'}"]) == 0
    store = open_store(tmp_path / "data" / data / "file.h5")
    assert store.schema.targets["multimodal"].names == NAMES[data]
    assert set(store.split("train").targets["multimodal"].tolist()) == {0.0, 1.0}
    settings = ["method=supervised", f"data={data}", "encoder=identity", "trainer.max_epochs=1"]
    result = here(tmp_path, *settings, "trainer.progress=off")
    assert result["metrics"] == "classes"
    assert f"recall/{NAMES[data][1]}" in result["test"]
    assert result["test"]["acc"] in (0.0, 0.25, 0.5, 0.75, 1.0)  # of four clips


def test_store_whose_two_classes_are_still_a_score_says_what_to_do_and_trains_as_it_did(tmp_path: Path) -> None:
    content = as_binary(make_file())
    for part in content.values():
        part["labels"] = 2 * part["labels"] - 1
    source = load(tmp_path, content)  # a score of -1 and 1, as older versions stored it
    out = tmp_path / "data" / "urfunny" / "old.h5"
    out.parent.mkdir(parents=True)
    write_store(out, source, data="urfunny", feature_set="urfunny/old", label_range=(-1.0, 1.0))
    settings = ["method=supervised", "data=urfunny", "encoder=identity", "trainer.max_epochs=1", "trainer.progress=off"]
    with pytest.raises(ValueError, match=r"old\.h5: holds a score in \[-1, 1\].*prepare it again.*data\.metrics=regr"):
        here(tmp_path, *settings)
    as_then = ["data.metrics=regression", "data.label_range=[-1,1]", "objective=cross_entropy", "objective.classes=2"]
    result = here(tmp_path, *settings, *as_then)
    assert set(result["test"]) >= {"mae", "corr", "acc_argmax"}


def test_old_runs_of_two_classes_as_a_score_keep_their_hash() -> None:
    # The hash of `data=urfunny` alone, before its YAML had metrics: classes.
    config = compose_config(["data=urfunny", "data.metrics=regression", "data.label_range=[-1,1]"])
    assert config_hash(config) == "4c0554a7b85b452cb886c59c728cdc64b534e291db56ebe912a72f2ef37d7a81"
