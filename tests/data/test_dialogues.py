"""Pickles of IEMOCAP and MELD: every layout gives back the utterances that went in; malformed ones are named."""

from __future__ import annotations

import pickle
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from driver import here
from refusal import refusal
from trivium.cli.prepare import main
from trivium.data import formats
from trivium.data.clips import Source
from trivium.data.formats.dialogues import read_conversations
from trivium.data.splitting import SplitOptions
from trivium.data.store import open_store
from trivium.data.target import Target

EMOTIONS = {
    "iemocap": ("happy", "sad", "neutral", "angry", "excited", "frustrated"),
    "meld": ("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger"),
}
# MELD's emotions -> sentiments, in the order of MELD_features_raw.pkl: neutral, positive, negative
SENTIMENT = [0, 1, 2, 2, 1, 2, 2]
# The published sizes of the features.
SIZES = {
    "IEMOCAP_features": {"text": 100, "audio": 100, "vision": 512},
    "iemocap_multimodal_features": {"text": 1024, "audio": 1582, "vision": 342},
    "iemocap_features_roberta": {"text": 1024},
    "MELD_features_raw": {"text": 600, "audio": 300},
    "MELD_features_raw1": {"text": 600, "audio": 300, "vision": 342},
    "meld_multimodal_features": {"text": 1024, "audio": 300, "vision": 342},
    "meld_features_roberta": {"text": 1024},
    "meld_text_and_layers": {"text": 600, "audio": 300, "vision": 342},
}
IEMOCAP = {f"Ses0{s}{'FM'[s % 2]}_impro0{n}": 2 + (s + n) % 3 for s in range(1, 6) for n in (1, 2)}
MELD = {n: 1 + n % 3 for n in (*range(6), 1041, 1152, 1153, 1160)}
TEST = {"iemocap": [name for name in IEMOCAP if name.startswith("Ses05")], "meld": [1153, 1160]}


def utterances(layout: str, seed: int = 0) -> dict[str, Any]:
    """The parts by their names, each dialogue -> one entry an utterance, as the authors' code has them."""
    data = layout[:4].lower().replace("iemo", "iemocap")
    rng = np.random.default_rng(seed)
    counts: dict[Any, int] = IEMOCAP if data == "iemocap" else MELD
    place = iter(range(10**6))
    labels = {name: [next(place) % len(EMOTIONS[data]) for _ in range(count)] for name, count in counts.items()}
    parts: dict[str, Any] = {"labels": labels}
    if data == "iemocap":
        parts["ids"] = {name: [f"{name}_F{n:03}" for n in range(count)] for name, count in counts.items()}
        parts["speakers"] = {name: ["FM"[n % 2] for n in range(count)] for name, count in counts.items()}
    else:
        # MELD lacks some utterances, and its speakers are one-hot
        parts["ids"] = {name: [n + (n > 1) for n in range(count)] for name, count in counts.items()}
        parts["speakers"] = {name: [np.eye(9)[n % 9].tolist() for n in range(count)] for name, count in counts.items()}
        parts["sentiments"] = {name: [SENTIMENT[number] for number in numbers] for name, numbers in labels.items()}
    parts["sentences"] = {name: [f"{name} says {n}" for n in range(count)] for name, count in counts.items()}
    dims = SIZES[layout]
    for modality in ("text", "layer2", "layer3", "layer4", "layer5", "audio", "vision"):
        dim = dims.get(modality, 1024)
        parts[modality] = {
            name: [rng.normal(size=dim).astype(np.float32) for _ in range(count)] for name, count in counts.items()
        }
    parts["test"] = TEST[data]
    parts["train"] = [name for name in counts if name not in TEST[data]]
    return parts


LAYERS = "layer2 layer3 layer4"
LAYOUTS = {
    "IEMOCAP_features": "ids speakers labels text audio vision sentences train test",
    "iemocap_multimodal_features": f"ids speakers labels text {LAYERS} audio vision sentences train test",
    "iemocap_features_roberta": f"speakers labels text {LAYERS} sentences train test valid",
    "MELD_features_raw": "ids speakers labels text audio sentences train test sentiments",
    "MELD_features_raw1": "ids speakers labels text audio vision sentences train test rest",
    "meld_multimodal_features": f"ids speakers labels text {LAYERS} audio vision sentences train test rest",
    "meld_features_roberta": f"speakers labels sentiments text {LAYERS} sentences train test valid",
    "meld_text_and_layers": f"ids speakers labels text {LAYERS} layer5 audio vision sentences train test rest",
}


def data_of(layout: str) -> str:
    return "iemocap" if layout.lower().startswith("iemocap") else "meld"


def make_file(layout: str, **replaced: Any) -> tuple[Any, ...]:
    parts = utterances(layout) | {"rest": None}
    if "valid" in LAYOUTS[layout].split():
        parts["valid"] = parts["train"][-2:]
        parts["train"] = parts["train"][:-2]
    parts |= replaced
    return tuple(parts[name] for name in LAYOUTS[layout].split())


def dump(path: Path, content: object, protocol: int = 2) -> Path:
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


def load(folder: Path, content: object, data: str, **options: Any) -> Source:
    return read_conversations(dump(folder / "file.pkl", content), data=data, **options)


def number_of(layout: str, name: Any, n: int, parts: dict[str, Any]) -> int:
    return parts["ids"][name][n] if data_of(layout) == "meld" and "ids" in LAYOUTS[layout].split() else n


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_every_layout_gives_back_the_utterances(tmp_path: Path, layout: str, protocol: int) -> None:
    parts, data = utterances(layout), data_of(layout)
    path = dump(tmp_path / f"{layout}.pkl", make_file(layout), protocol)
    assert formats.detect([path]) == "dialogues"
    source = formats.read("dialogues", [path], formats.ReadOptions(data))
    found = 0
    for clips in source.splits.values():
        assert list(clips.streams) == list(SIZES[layout])
        place_of = {clip: place for place, clip in enumerate(clips.ids)}
        for name, labels in parts["labels"].items():
            for n, label in enumerate(labels):
                place = place_of.get(f"{name}_{number_of(layout, name, n, parts)}")
                if place is None:
                    continue
                found += 1
                assert clips.targets["multimodal"][place] == label
                assert clips.raw_text is not None
                assert clips.raw_text[place] == f"{name} says {n}"
                for modality, ragged in clips.streams.items():
                    assert ragged[place].shape == (1, SIZES[layout][modality])
                    np.testing.assert_array_equal(ragged[place][0], parts[modality][name][n])
    assert found == sum(map(len, parts["labels"].values()))
    assert source.described["multimodal"] == Target("classes", EMOTIONS[data])


def dialogues_of(source: Source, split: str) -> set[str]:
    return {clip.rpartition("_")[0] for clip in source.splits[split].ids}


def test_a_tenth_of_the_train_dialogues_validates_and_none_is_divided(tmp_path: Path) -> None:
    content = make_file("IEMOCAP_features")
    source = load(tmp_path, content, "iemocap")
    train, valid, test = (dialogues_of(source, split) for split in ("train", "valid", "test"))
    assert test == set(TEST["iemocap"])
    assert train | valid == set(IEMOCAP) - test
    assert train & valid == set()
    assert len(valid) == 1  # of eight dialogues of 2 to 4 utterances
    assert load(tmp_path, content, "iemocap").splits["valid"].ids == source.splits["valid"].ids
    # a set, as IEMOCAP's file has them, has no order of its own
    as_sets = make_file(
        "IEMOCAP_features", train=set(utterances("IEMOCAP_features")["train"]), test=set(TEST["iemocap"])
    )
    assert load(tmp_path, as_sets, "iemocap").splits["valid"].ids == source.splits["valid"].ids


def test_melds_development_dialogues_validate(tmp_path: Path) -> None:
    source = load(tmp_path, make_file("MELD_features_raw1"), "meld")
    assert dialogues_of(source, "valid") == {"1041", "1152"}
    assert dialogues_of(source, "test") == {"1153", "1160"}
    # dialogues that are numbered otherwise are drawn, as IEMOCAP's are
    other = make_file("MELD_features_raw1", train=[0, 1, 2, 3, 4, 5], test=[1041])
    assert len(dialogues_of(load(tmp_path, other, "meld"), "valid")) == 1


def test_valid_split_of_the_file_is_taken(tmp_path: Path) -> None:
    source = load(tmp_path, make_file("iemocap_features_roberta"), "iemocap")
    assert dialogues_of(source, "valid") == {"Ses04F_impro01", "Ses04F_impro02"}
    assert "valid" not in source.notes
    content = make_file("MELD_features_raw1", rest=[0, 3])
    assert dialogues_of(load(tmp_path, content, "meld"), "valid") == {"0", "3"}


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (2, 0, 1)])
def test_sentiments_of_meld_are_named_after_the_emotions_whatever_their_order(
    tmp_path: Path, order: tuple[int, ...]
) -> None:
    sentiments = {n: [order[s] for s in row] for n, row in utterances("MELD_features_raw")["sentiments"].items()}
    source = load(tmp_path, make_file("MELD_features_raw", sentiments=sentiments), "meld")
    names = source.described["sentiment"].names
    for clips in source.splits.values():
        for emotion, sentiment in zip(clips.targets["multimodal"], clips.targets["sentiment"], strict=True):
            assert names[int(sentiment)] == ("neutral", "positive", "negative")[SENTIMENT[int(emotion)]]


def test_groups_make_leave_one_session_out(tmp_path: Path) -> None:
    options = SplitOptions("leave_one_group_out", "session")
    source = load(tmp_path, make_file("IEMOCAP_features"), "iemocap", splitting=options)
    assert source.folds is not None
    assert source.folds.names == ("Ses01", "Ses02", "Ses03", "Ses04", "Ses05")
    assert "valid" not in source.notes
    assert [clip[:5] for clip in source.splits["train"].ids] == [source.folds.names[n] for n in source.folds.numbers]
    speakers = load(tmp_path, make_file("IEMOCAP_features"), "iemocap", splitting=SplitOptions("kfold", "speaker"))
    assert speakers.folds is not None
    assert set(speakers.folds.groups or ()) == {f"Ses0{s}{sex}" for s in range(1, 6) for sex in "FM"}
    with pytest.raises(ValueError, match="group=session: dialogue '0' names no session"):
        load(tmp_path, make_file("MELD_features_raw"), "meld", splitting=options)
    with pytest.raises(ValueError, match=r"group=film: .* dialogue, session, speaker"):
        load(tmp_path, make_file("MELD_features_raw"), "meld", splitting=SplitOptions("kfold", "film"))


@pytest.mark.parametrize(("emotions", "class_of"), [("4", [0, 1, 2, 3]), ("4merged", [0, 1, 2, 3, 0])])
def test_four_classes_of_iemocap(tmp_path: Path, emotions: str, class_of: list[int]) -> None:
    source = load(tmp_path, make_file("IEMOCAP_features"), "iemocap", emotions=emotions)
    assert source.described["multimodal"].names == ("happy", "sad", "neutral", "angry")
    expected = {
        f"{name}_{n}": class_of[number]
        for name, numbers in utterances("IEMOCAP_features")["labels"].items()
        for n, number in enumerate(numbers)
        if number < len(class_of)
    }
    found: dict[str, int] = {}
    for clips in source.splits.values():
        found |= dict(zip(clips.ids, clips.targets["multimodal"].astype(int).tolist(), strict=True))
    assert found == expected
    with pytest.raises(ValueError, match="is for data=iemocap"):
        load(tmp_path, make_file("MELD_features_raw"), "meld", emotions=emotions)


def as_dicts(four: bool = False) -> dict[str, list[dict[str, Any]]]:
    """As data_iemocap.pkl and data_iemocap_4.pkl: a dict a dialogue, arrays of 100, 512 and 768 features."""
    rng = np.random.default_rng(3)
    content: dict[str, list[dict[str, Any]]] = {}
    for split, names in {"train": ["a", "b"], "dev": ["c"], "test": ["d"]}.items():
        content[split] = [
            {
                "vid": name,
                "speakers": ["M", "F", "M"],
                "labels": [3, 0, 1 if four else 5],
                "audio": rng.normal(size=(3, 100)),
                "visual": rng.normal(size=(3, 512)),
                "text": rng.normal(size=(3, 768)),
                "sentence": [f"{name}{n}" for n in range(3)],
            }
            for name in names
        ]
    return content


@pytest.mark.parametrize("four", [False, True])
def test_a_dict_of_splits_with_a_dict_a_dialogue(tmp_path: Path, four: bool) -> None:
    content = as_dicts(four)
    path = dump(tmp_path / "data_iemocap.pkl", content)
    assert formats.detect([path]) == "dialogues"
    source = read_conversations(path, data="iemocap")
    assert {split: clips.ids for split, clips in source.splits.items()} == {
        "train": ["a_0", "a_1", "a_2", "b_0", "b_1", "b_2"], "valid": ["c_0", "c_1", "c_2"],
        "test": ["d_0", "d_1", "d_2"],
    }  # fmt: skip
    assert list(source.splits["test"].streams) == ["text", "audio", "vision"]
    np.testing.assert_array_equal(
        source.splits["test"].streams["vision"].values, content["test"][0]["visual"].astype("f4")
    )
    assert len(source.described["multimodal"].names) == (4 if four else 6)
    content["dev"][0]["gaze"] = [1, 2, 3]
    with pytest.raises(ValueError, match=r"dialogue 0 of split 'dev': key 'gaze' is none of .* drop=\[gaze\]"):
        load(tmp_path, content, "iemocap")
    assert len(load(tmp_path, content, "iemocap", drop=["gaze"]).splits) == 3
    with pytest.raises(ValueError, match="drop=gase: no dialogue has such a key"):
        load(tmp_path, content, "iemocap", drop=["gaze", "gase"])


def test_defaultdicts_and_values_that_are_not_finite(tmp_path: Path) -> None:
    parts = utterances("MELD_features_raw")
    text = defaultdict(list, parts["text"])
    text[0][0][3], text[1][0][:2] = np.nan, -np.inf
    source = load(tmp_path, make_file("MELD_features_raw", text=text), "meld")
    assert source.repairs["text"] == {"neg_inf": 2, "pos_inf": 0, "nan": 1}
    assert source.splits["train"].streams["text"].values[0, 3] == 0


def change(name: str, dialogue: Any, value: Any) -> Callable[[dict[str, Any]], object]:
    """Replaces a dialogue's entry of one part by what a function makes of it."""
    return lambda parts: parts[name].update({dialogue: value(parts[name][dialogue])})


FIRST = "Ses01M_impro01"
BROKEN: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "missing": (lambda p: p["audio"].pop(FIRST), f"dialogue '{FIRST}' of split 'train' is missing among the audio"),
    "count": (
        change("text", FIRST, lambda v: v[:-1]),
        f"dialogue '{FIRST}': text has 3 entries, and labels has 4",
    ),
    "sentences": (change("sentences", FIRST, lambda v: [*v, "x"]), f"'{FIRST}': sentences has 5 entries"),
    "dim": (
        change("vision", "Ses02F_impro01", lambda v: [row[:5] for row in v]),
        f"dialogue 'Ses02F_impro01': vision has 5 features, 512 in dialogue '{FIRST}'",
    ),
    "ragged": (change("audio", FIRST, lambda v: [v[0][:9], *v[1:]]), "key 'audio' has rows of unequal shape"),
    "nan_label": (change("labels", FIRST, lambda v: [np.nan, *v[1:]]), "labels: that of utterance 0 is nan"),
    "half_label": (change("labels", FIRST, lambda v: [*v[:-1], 0.5]), "labels: that of utterance 3 is 0.5"),
    "unknown": (
        change("labels", FIRST, lambda v: [*v[:-1], 9]),
        rf"the label of clip '{FIRST}_3' is 9; expected a class number from 0 to 5 \(happy, sad",
    ),
    "negative": (change("labels", FIRST, lambda v: [-1, *v[1:]]), rf"the label of clip '{FIRST}_0' is -1"),
    "twice": (
        lambda p: p["train"].append(FIRST),
        f"dialogue '{FIRST}' of split 'train' occurs before, in split 'train'",
    ),
    "two_splits": (
        lambda p: p["test"].append(FIRST),
        f"dialogue '{FIRST}' of split 'test' occurs before, in split 'train'",
    ),
    "no_train": (lambda p: p["train"].clear(), "expected a tuple of ids, speakers, .* found 9 parts of the kinds"),
    "objects": (
        change("speakers", FIRST, lambda v: np.array([1, "a", None, 2.0], dtype=object)),
        "is an object array that holds int",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_malformed_file_is_named_with_the_dialogue_and_nothing_is_written(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = utterances("IEMOCAP_features")
    breaks, message = BROKEN[case]
    breaks(parts)
    content = tuple(parts[name] for name in LAYOUTS["IEMOCAP_features"].split())
    with pytest.raises(ValueError, match=message) as error:
        load(tmp_path, content, "iemocap")
    assert str(error.value).startswith(str(tmp_path / "file.pkl"))
    arguments = ["data=iemocap", f"source={tmp_path / 'file.pkl'}", f"paths.data={tmp_path / 'data'}"]
    assert str(tmp_path / "file.pkl") in refusal(main, arguments, tmp_path, capsys)


@pytest.mark.parametrize(
    "content",
    [
        (1, 2, 3),
        [{}, {}, {}],
        make_file("IEMOCAP_features")[:-2],
        (*make_file("IEMOCAP_features"), {}, {}),
        ({"a": ["x"]}, {"a": [1]}),
    ],
    ids=["numbers", "empty", "no_splits", "more", "short"],
)
def test_another_layout_is_refused_with_what_was_found(tmp_path: Path, content: Any) -> None:
    with pytest.raises(ValueError, match=r"file\.pkl: expected a tuple of ids, speakers, labels, .* found \d+ parts"):
        load(tmp_path, content, "iemocap")


def test_repeated_utterances_and_a_third_list_of_others_are_refused(tmp_path: Path) -> None:
    ids = utterances("MELD_features_raw1")["ids"]
    with pytest.raises(ValueError, match="id '2_1' occurs twice in dialogue '2'"):
        load(tmp_path, make_file("MELD_features_raw1", ids=ids | {2: [1, 1, 2]}), "meld")
    long_name = "a" * 3000
    renamed = utterances("MELD_features_raw1")["ids"] | {long_name: [0]}
    with pytest.raises(ValueError, match="has a name of 3000 letters; expected at most 200") as error:
        load(tmp_path, make_file("MELD_features_raw1", ids=renamed, train=[0, 1, long_name]), "meld")
    assert len(str(error.value)) < 400
    with pytest.raises(ValueError, match="three lists of dialogues, of which the third is no part of the first"):
        load(tmp_path, make_file("MELD_features_raw1", train=[0, 1, 2], rest=[3]), "meld")


@pytest.mark.parametrize(
    ("layout", "options", "classes"),
    [("IEMOCAP_features", [], 6), ("IEMOCAP_features", ["emotions=4"], 4), ("MELD_features_raw1", [], 7)],
)
def test_from_the_pickle_to_a_trained_run(tmp_path: Path, layout: str, options: list[str], classes: int) -> None:
    data = data_of(layout)
    path = dump(tmp_path / f"{layout}.pkl", make_file(layout))
    assert main([f"data={data}", f"source={path}", f"paths.data={tmp_path / 'data'}", *options]) == 0
    store = tmp_path / "data" / data / f"{layout}{'-4' if options else ''}.h5"
    assert len(open_store(store).schema.targets["multimodal"].names) == classes
    assert main([f"verify={store}"]) == 0
    settings = ["method=supervised", f"data={data}", "encoder=identity", "trainer.max_epochs=1", "trainer.progress=off"]
    result = here(tmp_path, *settings)
    assert result["metrics"] == "classes"
    assert f"recall/{EMOTIONS[data][0]}" in result["test"]


def test_a_class_that_train_lacks_is_named(tmp_path: Path) -> None:
    labels = {
        name: [2 if name.startswith("Ses05") else 1 - n % 2 for n in range(count)] for name, count in IEMOCAP.items()
    }
    labels[FIRST] = [5, 4, 3, 0]
    with pytest.raises(
        ValueError, match=r"class 'neutral' of clip 'Ses05M_impro01_0' in 'test' occurs in no clip of 't"
    ):
        load(tmp_path, make_file("IEMOCAP_features", labels=labels), "iemocap")
