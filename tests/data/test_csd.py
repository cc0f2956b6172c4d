"""The .csd reader against a naive reference on small files, and against the expanded pickle on the real ones."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from trivium.data.clips import Source
from trivium.data.formats.csd import read_csd
from trivium.data.target import Target

REAL = Path(__file__).resolve().parents[2] / "../shared/data"
FOLDS = {"mosi": {"train": ["v1", "v4", "gone"], "dev": ["v2"], "test": ["v3"]}}
# words and pauses of v1, in seconds; the labels of v1 are in no order of time
WORDS = [
    ("sp", 0.0, 0.5),
    ("It", 0.5, 1.0),
    ("was", 1.0, 1.4),
    ("sp", 1.4, 2.0),
    ("good", 2.0, 2.05),
    ("Film", 2.05, 3.0),
]
LABELS = {"v1": ([[1.4], [-0.8]], [[2.0, 3.0], [0.0, 2.0]]), "v2": ([[0.0]], [[0.0, 3.0]])}
LABELS |= {"v3": ([[3.0]], [[0.4, 1.4]]), "v4": ([[-3.0]], [[1.0, 3.0]]), "x": ([[1.0]], [[0.0, 3.0]])}


def write_sequence(path: Path, root: str, videos: dict[str, tuple[Any, Any]]) -> Path:
    with h5py.File(path, "w") as file:
        for video, (features, intervals) in videos.items():
            group = file.create_group(f"{root}/data/{video}")
            group["features"], group["intervals"] = features, np.asarray(intervals, dtype=np.float64)
    return path


def word_rows(words: list[tuple[str, float, float]]) -> tuple[Any, Any]:
    return np.array([[w.encode()] for w, _, _ in words], dtype="S12"), [[a, b] for _, a, b in words]


def steps(seed: int, seconds: float, dim: int) -> tuple[Any, Any]:
    starts = np.arange(0, 3, seconds)
    values = np.random.default_rng(seed).normal(size=(len(starts), dim)).astype(np.float32)
    return values, np.stack([starts, starts + seconds], axis=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_sequence(tmp_path / "CMU_Labels.csd", "Opinion Segment Labels", LABELS)
    write_sequence(tmp_path / "CMU_TimestampedWords.csd", "words", {v: word_rows(WORDS) for v in LABELS})
    write_sequence(tmp_path / "CMU_COVAREP.csd", "COVAREP", {v: steps(i, 0.07, 3) for i, v in enumerate(LABELS)})
    write_sequence(tmp_path / "CMU_Facet.csd", "FACET 4.2", {v: steps(i + 9, 0.2, 2) for i, v in enumerate(LABELS)})
    (tmp_path / "folds.json").write_text(json.dumps(FOLDS))
    return tmp_path


def read(folder: Path, **kwargs: Any) -> Source:
    return read_csd(kwargs.pop("files", [folder]), data="mosi", folds=folder / "folds.json", **kwargs)


def rows_in(sequence: tuple[Any, Any], low: float, high: float) -> list[Any]:
    return [row for row, (a, b) in zip(*sequence, strict=True) if low <= (a + b) / 2 < high]


def test_clips_are_numbered_in_stored_order_and_split_by_video(folder: Path) -> None:
    source = read(folder)
    train = source.splits["train"]
    assert train.ids == ["v1$_$1", "v1$_$2", "v4$_$1"]
    np.testing.assert_array_equal(train.targets["multimodal"], np.float32([1.4, -0.8, -3.0]))
    assert train.raw_text == ["good Film", "It was", "was good Film"]
    assert source.splits["valid"].ids == ["v2$_$1"]
    assert source.splits["test"].raw_text == ["It was"]
    assert source.notes["videos/in no fold"] == "1: x"
    assert source.notes["videos/without labels"] == "1: gone"
    assert source.files[0].name == "CMU_Labels.csd"


def test_word_alignment_is_the_mean_of_each_words_steps(folder: Path) -> None:
    train = read(folder).splits["train"]
    for modality, sequence in (("audio", steps(0, 0.07, 3)), ("vision", steps(9, 0.2, 2))):
        film, it, was = (rows_in(sequence, a, b) for a, b in ((2.05, 3.0), (0.5, 1.0), (1.0, 1.4)))
        np.testing.assert_allclose(train.streams[modality][0][1], np.mean(film, axis=0), rtol=1e-5)
        np.testing.assert_allclose(train.streams[modality][1], [np.mean(it, 0), np.mean(was, 0)], rtol=1e-5)
    assert [train.streams[m].lengths.tolist() for m in ("audio", "vision")] == [[2, 2, 3]] * 2
    # "good", [2.00, 2.05], holds no midpoint of vision's [2.0, 2.2]: it takes the step that covers it
    np.testing.assert_allclose(train.streams["vision"][0][0], steps(9, 0.2, 2)[0][10], rtol=1e-6)


def test_interval_alignment_keeps_the_steps_of_each_stream(folder: Path) -> None:
    train = read(folder, align="intervals").splits["train"]
    for modality, sequence in (("audio", steps(0, 0.07, 3)), ("vision", steps(9, 0.2, 2))):
        np.testing.assert_array_equal(train.streams[modality][0], rows_in(sequence, 2.0, 3.0))
        np.testing.assert_array_equal(train.streams[modality][1], rows_in(sequence, 0.0, 2.0))
    assert train.raw_text is not None


def test_steps_stored_out_of_order_are_read_in_time(folder: Path) -> None:
    before = read(folder, align="intervals").splits["train"].streams["audio"].values
    values, intervals = steps(0, 0.07, 3)
    order = np.random.default_rng(0).permutation(len(values))
    sequences = {v: steps(i, 0.07, 3) for i, v in enumerate(LABELS)} | {"v1": (values[order], intervals[order])}
    write_sequence(folder / "CMU_COVAREP.csd", "COVAREP", sequences)
    np.testing.assert_array_equal(read(folder, align="intervals").splits["train"].streams["audio"].values, before)


def test_a_word_without_any_step_is_a_zero_row(folder: Path) -> None:
    values, intervals = steps(0, 0.07, 3)
    sequences = {v: steps(i, 0.07, 3) for i, v in enumerate(LABELS)} | {"v1": (values[:9], intervals[:9])}
    write_sequence(folder / "CMU_COVAREP.csd", "COVAREP", sequences)  # ends at 0.63 s, in "It"
    clip = read(folder).splits["train"].streams["audio"][1]
    assert (clip[0] != 0).all()
    assert (clip[1] == 0).all()


def test_a_label_shorter_than_a_word_takes_the_words_it_touches(folder: Path) -> None:
    stamps = [[0.9, 0.95], [0.6, 0.7], [0.95, 1.1], [50.0, 51.0]]  # around the midpoint 0.75 of "It", [0.5, 1.0]
    write_sequence(folder / "CMU_Labels.csd", "labels", LABELS | {"v1": (np.zeros((4, 1)), stamps)})
    source = read(folder, files=[folder / "CMU_Labels.csd", folder / "CMU_TimestampedWords.csd"])
    assert source.splits["train"].ids == ["v1$_$1", "v1$_$2", "v1$_$3", "v4$_$1"]
    assert source.splits["train"].raw_text == ["It", "It", "It was", "was good Film"]


def test_words_alone_are_a_source(folder: Path) -> None:
    source = read(folder, files=[folder / "CMU_Labels.csd", folder / "CMU_TimestampedWords.csd"])
    assert source.splits["train"].streams == {}
    assert source.splits["train"].raw_text == ["good Film", "It was", "was good Film"]


def test_infinities_and_nan_are_counted_and_zeroed_before_the_mean(folder: Path) -> None:
    values, intervals = steps(0, 0.07, 3)
    values[8, 0], values[9, 1], values[10, 2] = -np.inf, np.nan, np.inf
    sequences = {v: steps(i, 0.07, 3) for i, v in enumerate(LABELS)} | {"v1": (values, intervals)}
    write_sequence(folder / "CMU_COVAREP.csd", "COVAREP", sequences)
    source = read(folder)
    assert source.repairs["audio"] == {"neg_inf": 1, "pos_inf": 1, "nan": 1}
    expected = np.mean(rows_in((np.where(np.isfinite(values), values, 0), intervals), 0.5, 1.0), axis=0)
    np.testing.assert_allclose(source.splits["train"].streams["audio"][1][0], expected, rtol=1e-5)


def test_clip_absent_from_a_sequence_has_length_zero_and_an_empty_clip_is_left_out(folder: Path) -> None:
    write_sequence(folder / "CMU_COVAREP.csd", "COVAREP", {v: steps(0, 0.07, 3) for v in ("v1", "v2", "v3")})
    labels = LABELS | {"v1": ([[1.0], [2.0], [-2.0]], [[2.0, 3.0], [50.0, 51.0], [0.0, 2.0]])}
    write_sequence(folder / "CMU_Labels.csd", "Labels", labels)
    source = read(folder, align="intervals")
    assert source.splits["train"].ids == ["v1$_$1", "v1$_$3", "v4$_$1"]  # numbers stay those of the labels file
    assert source.splits["train"].streams["audio"].lengths.tolist()[2] == 0
    assert source.notes["clips/train without a step"] == "1: v1$_$2"
    assert source.notes["clips/train without audio"] == "1: v4$_$1"


def test_split_without_anything_but_labels_is_refused(folder: Path) -> None:
    for name in ("TimestampedWords", "COVAREP", "Facet"):
        with h5py.File(folder / f"CMU_{name}.csd", "r+") as file:
            del file[f"{next(iter(file))}/data/v2"]
    with pytest.raises(ValueError, match=r"CMU_Labels\.csd: none of the 1 clips of split 'valid' has a step or a word"):
        read(folder)


def test_first_label_column_is_the_score(folder: Path) -> None:
    write_sequence(
        folder / "CMU_Labels.csd", "All Labels", {v: (np.c_[y, y, y] + [0, 1, 2], t) for v, (y, t) in LABELS.items()}
    )
    source = read(folder)
    np.testing.assert_array_equal(source.splits["train"].targets["multimodal"], np.float32([1.4, -0.8, -3.0]))
    assert source.notes["labels"] == "first of 3 columns"


# sentiment, happy, sad, anger, surprise, disgust, fear, of the five labelled clips
EMOTIONS = np.array(
    [[0, 0, 0, 0, 0, 0], [0.33, 0, 0, 0, 0, 2], [0, 1, 0, 0, 3, 0], [3, 3, 3, 3, 3, 3], [0, 0, 0, 1, 0, 0]]
)


def write_seven_columns(folder: Path, emotions: np.ndarray) -> None:
    rows = iter(emotions)
    labels = {v: (np.array([[*score, *next(rows)] for score in y]), t) for v, (y, t) in LABELS.items() if v != "x"}
    write_sequence(folder / "CMU_Labels.csd", "All Labels", labels)


def test_seven_columns_of_mosei_are_sentiment_and_six_emotions(folder: Path) -> None:
    write_seven_columns(folder, EMOTIONS)
    (folder / "folds.json").write_text(json.dumps({"mosei": FOLDS["mosi"]}))
    source = read_csd([folder], data="mosei", folds=folder / "folds.json")
    train = source.splits["train"]
    assert train.ids == ["v1$_$1", "v1$_$2", "v4$_$1"]
    np.testing.assert_array_equal(train.targets["multimodal"], np.float32([1.4, -0.8, -3.0]))
    assert train.targets["emotions"].tolist() == [[0] * 6, [1, 0, 0, 0, 0, 1], [0, 0, 0, 1, 0, 0]]
    assert source.described["emotions"] == Target("labels", ("happy", "sad", "anger", "surprise", "disgust", "fear"))
    (folder / "folds.json").write_text(json.dumps(FOLDS))
    assert list(read(folder).splits["train"].targets) == ["multimodal"]  # of other data sets, as ever
    (folder / "folds.json").write_text(json.dumps({"mosei": FOLDS["mosi"]}))
    unknown = EMOTIONS.copy()
    unknown[2, 4] = np.nan
    write_seven_columns(folder, unknown)
    with pytest.raises(ValueError, match=r"CMU_Labels\.csd: the label of clip 'v2\$_\$1' \(column 6\) is nan"):
        read_csd([folder], data="mosei", folds=folder / "folds.json")


def test_embeddings_become_the_text_stream(folder: Path) -> None:
    (folder / "glove.txt").write_text("was 1 2\nit 3 4\nnever 9 9\nFilm 5 6\n")
    source = read(folder, embeddings=folder / "glove.txt")
    np.testing.assert_array_equal(source.splits["train"].streams["text"][1], np.float32([[3, 4], [1, 2]]))
    np.testing.assert_array_equal(source.splits["train"].streams["text"][0], np.float32([[0, 0], [5, 6]]))
    assert source.notes["text/unknown"] == "1 of 4 words, 3 of 13 spoken"  # "good", in v1, v2 and v4
    (folder / "none.txt").write_text("nie 1 2\n")
    with pytest.raises(ValueError, match=r"none\.txt: has none of the 4 words of the videos"):
        read(folder, embeddings=folder / "none.txt")


def write_lagging(folder: Path) -> list[list[str]]:
    """Word k carries the interval of word k + 1, as in the public copy of MOSI. Returns the words of each clip."""
    rng = np.random.default_rng(3)
    names = ["".join(rng.choice(list("abcdef"), size=n)) for n in rng.integers(1, 12, size=1001)]
    ends = np.cumsum([0.06 * len(name) * rng.uniform(0.7, 1.4) for name in names])
    own = np.stack([np.r_[0, ends[:-1]], ends], axis=1)
    carried = np.r_[own[1:], [[ends[-1], ends[-1] + 1]]]
    clips = range(1, 1000, 10)
    everywhere = ("v1", "v2", "v3")
    labels = np.zeros((len(clips), 1)), [[own[n, 0], own[n + 9, 1]] for n in clips]
    words = np.array([[name.encode()] for name in names]), carried
    vectors = np.arange(len(names), dtype=np.float32)[:, None], carried
    frames = (own[:, :1] * 10).astype(np.float32), own  # what is heard while word k is spoken
    for path in folder.glob("*.csd"):
        path.unlink()
    write_sequence(folder / "Labels.csd", "labels", dict.fromkeys(everywhere, labels))
    write_sequence(folder / "Words.csd", "words", dict.fromkeys(everywhere, words))
    write_sequence(folder / "WordVectors.csd", "glove_vectors", dict.fromkeys(everywhere, vectors))
    write_sequence(folder / "COVAREP.csd", "COVAREP", dict.fromkeys(everywhere, frames))
    return [names[n : n + 10] for n in clips]


def test_words_that_lag_by_one_interval_are_found_and_moved_back(folder: Path) -> None:
    spoken = write_lagging(folder)
    source = read(folder)
    clips = source.splits["train"]
    assert clips.raw_text == [" ".join(words) for words in spoken]
    assert "words/lag" in source.notes
    for n in (0, 57):  # the vectors were made of these words and move with them; the audio was not and stays
        np.testing.assert_array_equal(clips.streams["text"][n][:, 0], np.arange(1 + 10 * n, 11 + 10 * n))
    with h5py.File(folder / "COVAREP.csd") as file:
        np.testing.assert_array_equal(clips.streams["audio"][57], file["COVAREP/data/v1/features"][571:581])
    as_stored = read(folder, word_lag=0)
    assert as_stored.splits["train"].raw_text[1] == " ".join([spoken[0][-1], *spoken[1][:-1]])
    assert "words/lag" not in as_stored.notes


def test_folds_may_be_flat_or_the_installed_sdks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "folds.json").write_text(json.dumps(FOLDS["mosi"]))
    expected = {"train": ["v1$_$1", "v1$_$2", "v4$_$1"], "valid": ["v2$_$1"], "test": ["v3$_$1"]}
    assert {split: clips.ids for split, clips in read(folder).splits.items()} == expected
    with pytest.raises(ValueError, match="folds=FILE"):
        read_csd([folder], data="mosi")
    package = folder / "site/mmsdk"  # the SDK is not on the index: a package of its shape stands for it
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    lists = {"train": ["v1", "v4"], "valid": ["v2"], "test": ["v3"]}
    folds = "".join(f"    standard_{split}_fold = {videos}\n" for split, videos in lists.items())
    (package / "mmdatasdk.py").write_text(f"class cmu_mosi:\n  class standard_folds:\n{folds}")
    monkeypatch.syspath_prepend(str(folder / "site"))
    monkeypatch.delitem(sys.modules, "mmsdk", raising=False)
    source = read_csd([folder], data="mosi")
    assert {split: clips.ids for split, clips in source.splits.items()} == expected
    assert source.notes["folds"] == "mmsdk"
    with pytest.raises(ValueError, match=r"no folds for data=custom: pass folds=FILE"):
        read_csd([folder], data="custom")
    for name in ("mmsdk", "mmsdk.mmdatasdk"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ('{"mosei": {"train": []}}', r"none for 'mosi'; found \['mosei'\]"),
        ('{"train": ["v1"], "tests": ["v2"]}', "key 'tests' is no split"),
        ('{"train": ["v1"], "test": ["v1"]}', "'v1' is in 'train' and in 'test'"),
        ('{"train": ["v1"], "test": ["w"]}', "none of the 1 videos of split 'test'"),
    ],
)
def test_wrong_folds(folder: Path, content: str, message: str) -> None:
    (folder / "folds.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        read(folder)


def test_modality_may_be_said_before_the_path(folder: Path) -> None:
    write_sequence(folder / "prosody.csd", "pitch", {v: steps(5, 0.1, 1) for v in LABELS})
    with pytest.raises(ValueError, match=r"prosody\.csd: .*'pitch' tells a modality; .* audio:prosody\.csd"):
        read(folder)
    known = [folder / f"CMU_{name}.csd" for name in ("Labels", "TimestampedWords", "COVAREP")]
    with pytest.raises(ValueError, match=r"holds 'audio', and so does .*COVAREP\.csd; leave one"):
        read(folder, files=[*known, Path(f"audio:{folder}/prosody.csd")])
    source = read(folder, files=[*known, Path(f"prosody:{folder}/prosody.csd")])
    assert {modality: ragged.dim for modality, ragged in source.splits["test"].streams.items()} == {
        "audio": 3,
        "prosody": 1,
    }


def test_sequences_that_are_missing(folder: Path) -> None:
    labels, words, audio = (folder / f"CMU_{name}.csd" for name in ("Labels", "TimestampedWords", "COVAREP"))
    with pytest.raises(ValueError, match="no labels among"):
        read(folder, files=[words, audio])
    with pytest.raises(ValueError, match=r"align=words needs a words sequence .* or use align=intervals"):
        read(folder, files=[labels, audio])
    assert read(folder, files=[labels, audio], align="intervals").splits["train"].raw_text is None
    with pytest.raises(ValueError, match="labels alone are no data"):
        read(folder, files=[labels])
    with pytest.raises(ValueError, match=r"nothing\.csd: no such file"):
        read(folder, files=[labels, folder / "nothing.csd"])


def _replace(folder: Path, name: str, key: str, value: Any) -> None:
    with h5py.File(folder / name, "r+") as file:
        group = file[f"{next(iter(file))}/data/v4"]
        del group[key]
        if value is not None:
            group.create_dataset(key, **value)


@pytest.mark.parametrize(
    ("name", "key", "value", "message"),
    [
        ("CMU_COVAREP.csd", "features", {"data": np.zeros((5, 3))}, "5 features but 43 intervals"),
        (
            "CMU_COVAREP.csd",
            "features",
            {"data": np.zeros((43, 4))},
            r"features \(43, 4\) .* expected \(T, 3\) numbers",
        ),
        ("CMU_COVAREP.csd", "features", None, "no dataset 'features'"),
        ("CMU_COVAREP.csd", "intervals", None, "no dataset 'intervals'"),
        ("CMU_COVAREP.csd", "intervals", {"data": np.zeros((43, 3))}, r"intervals \(43, 3\)"),
        ("CMU_COVAREP.csd", "intervals", {"data": np.full((43, 2), np.nan)}, "not finite"),
        ("CMU_COVAREP.csd", "features", {"shape": (43, 3), "dtype": h5py.ref_dtype}, "expected numbers or strings"),
        (
            "CMU_COVAREP.csd",
            "features",
            {"shape": (43,), "dtype": h5py.vlen_dtype("f4")},
            "expected numbers or strings",
        ),
        ("CMU_TimestampedWords.csd", "features", {"data": np.zeros((6, 1))}, r"expected \(T, 1\) strings"),
        ("CMU_Labels.csd", "features", {"data": [[np.nan]]}, r"clip 'v4\$_\$1' is nan"),
    ],
)
def test_malformed_video_names_file_and_video(folder: Path, name: str, key: str, value: Any, message: str) -> None:
    _replace(folder, name, key, value)
    with pytest.raises(ValueError, match=message) as caught:
        read(folder)
    assert name in str(caught.value)
    assert "v4" in str(caught.value)


def test_malformed_file(folder: Path) -> None:
    path = folder / "CMU_COVAREP.csd"
    whole = path.read_bytes()
    path.write_bytes(whole[:-2000])
    with pytest.raises(ValueError, match=r"CMU_COVAREP\.csd: not an HDF5 file, or cut off"):
        read(folder)
    for mark in (b"HEAP", b"TREE", b"SNOD"):  # of HDF5's structures: groups can then not be read, in words of its own
        assert mark in whole
        path.write_bytes(whole.replace(mark, b"HOLE"))
        with pytest.raises(ValueError, match=r"CMU_COVAREP\.csd: .* (cut off or damaged|cannot be read) \("):
            read(folder)
    path.write_bytes(b"label,score\n")
    with pytest.raises(ValueError, match="not an HDF5 file"):
        read(folder)
    with h5py.File(path, "w") as file:
        file["COVAREP/metadata/root"] = 1
    with pytest.raises(ValueError, match="expected one computational sequence"):
        read(folder)
    write_sequence(path, "COVAREP", {f"{v}[0]": steps(0, 0.07, 3) for v in LABELS})  # as the SDK writes after align
    with pytest.raises(ValueError, match=r"shares no video with .*'v1\[0\]'"):
        read(folder)


def test_import_needs_no_torch() -> None:
    code = "import sys, trivium.data.formats.csd; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.skipif(not (REAL / "CMU_MOSI_Labels.csd").exists(), reason="the real files (../shared/data) are absent")
def test_real_mosi_equals_the_expanded_pickle(tmp_path: Path) -> None:
    subprocess.run([sys.executable, REAL / "expand.py", tmp_path], check=True, capture_output=True)
    expanded = pickle.loads((tmp_path / "mosi_text_audio.pkl").read_bytes())
    files = [REAL / "CMU_MOSI_Labels.csd", REAL / "CMU_MOSI_ModifiedTimestampedWords.csd"]
    source = read_csd(files, data="mosi", folds=REAL / "folds.json")
    assert {split: len(clips) for split, clips in source.splits.items()} == {"train": 1284, "valid": 229, "test": 686}
    same_words = 0
    for split, clips in source.splits.items():
        reference = expanded[split]
        labels = dict(zip(map(str, reference["id"]), reference["regression_labels"].tolist(), strict=True))
        assert dict(zip(clips.ids, clips.targets["multimodal"].tolist(), strict=True)) == labels
        transcripts = dict(zip(map(str, reference["id"]), map(str, reference["raw_text"]), strict=True))
        assert clips.raw_text is not None
        assert all(clips.raw_text)
        same_words += sum(text == transcripts[i].lower() for i, text in zip(clips.ids, clips.raw_text, strict=True))
    assert same_words >= 1900  # 1934 of 2199; the rest differ at a boundary. 1 if the lag of the words is not seen
