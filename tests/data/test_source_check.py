"""A source made by a script of one's own: what would train on nonsense is refused, named, and leaves no store."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trivium.data.clips import Clips, Ragged, Source, TokenWords
from trivium.data.store import open_store, write_store

COUNTS = {"train": 6, "valid": 3, "test": 4}


def made() -> Source:
    rng = np.random.default_rng(0)

    def clips(split: str, n: int) -> Clips:
        streams = {
            name: Ragged.pack([rng.normal(size=(2 + i % 3, dim)).astype(np.float32) for i in range(n)])
            for name, dim in {"audio": 4, "wrist": 3}.items()
        }
        targets = {"multimodal": rng.uniform(0, 10, n).astype(np.float32), "hand": np.arange(n)}
        tokens = Ragged.pack([np.arange(1, 3 + i % 2, dtype=np.int32) for i in range(n)])
        words = TokenWords(Ragged(np.arange(tokens.offsets[-1]) * 0, tokens.offsets), np.ones(n, dtype=np.int64))
        texts = ["words"] * n
        return Clips([f"{split}{i}" for i in range(n)], streams, targets, texts, tokens, words)

    return Source({split: clips(split, n) for split, n in COUNTS.items()}, "gestures", [])


def write(path: Path, source: Source, label_range: tuple[float, float] | None = (0.0, 10.0)) -> None:
    write_store(path, source, data="gestures", feature_set="gestures/v1", label_range=label_range)


def values(source: Source, name: str, **changes: object) -> None:
    stream = source.splits["train"].streams[name]
    parts = {"values": stream.values, "offsets": stream.offsets} | changes
    source.splits["train"].streams[name] = Ragged(**parts)  # type: ignore[arg-type]


def rename(source: Source, new: str) -> None:
    for clips in source.splits.values():
        clips.streams[new] = clips.streams.pop("wrist")


def set_at(array: np.ndarray, place: object, value: float) -> None:
    array[place] = value


BROKEN: dict[str, tuple[Callable[[Source], object], str]] = {
    "no_train": (lambda s: s.splits.pop("train"), r"no split 'train'; found \['valid', 'test'\]"),
    "other_split": (lambda s: s.splits.update(dev=s.splits.pop("valid")), "split 'dev' is none of train, probe, valid"),
    "empty": (lambda s: s.splits.update(valid=Clips([], {}, {})), "split 'valid' is empty"),
    "number_ids": (
        lambda s: setattr(s.splits["test"], "ids", [1, 2, 3, 4]),
        "split 'test': ids must be str, found int",
    ),
    "no_text": (
        lambda s: set_at(s.splits["train"].raw_text, 2, None),
        "raw_text must be str, found NoneType at place 2",
    ),
    "id_twice": (lambda s: set_at(s.splits["test"].ids, 0, "train3"), "id 'train3' of split 'test' occurs before"),
    "nan_feature": (
        lambda s: set_at(s.splits["train"].streams["audio"].values, (4, 1), np.nan),
        "split 'train': 'audio': clip 'train1' has a value that is not finite",  # steps 2 to 4 are its
    ),
    "beyond_float32": (
        lambda s: values(s, "wrist", values=s.splits["train"].streams["wrist"].values.astype("f8") * 1e300),
        "split 'train': 'wrist': clip 'train0' has a value that is not finite",
    ),
    "nan_score": (
        lambda s: set_at(s.splits["valid"].targets["multimodal"], 1, np.nan),
        "split 'valid': target 'multimodal': that of clip 'valid1' is nan",
    ),
    "score_outside": (
        lambda s: set_at(s.splits["test"].targets["multimodal"], 2, 10.5),
        r"split 'test': the multimodal label of clip 'test2' is 10\.5, outside \[0, 10\] \(1 such\)",
    ),
    "no_score": (
        lambda s: s.splits["valid"].targets.pop("multimodal"),
        "target 'multimodal' missing, in 'train' there",
    ),
    "column_of_scores": (
        lambda s: s.splits["train"].targets.update(multimodal=np.zeros((6, 1))),
        r"target 'multimodal' must hold a score a clip, \(6,\) numbers; found \(6, 1\)",
    ),
    "words_for_scores": (
        lambda s: s.splits["train"].targets.update(hand=np.array(["left"] * 6)),
        "target 'hand' must hold a score a clip",
    ),
    "modality_in_one": (
        lambda s: s.splits["test"].streams.pop("wrist"),
        "split 'test': modality 'wrist' missing, in 'train' of 3 features",
    ),
    "dims_differ": (
        lambda s: values(s, "wrist", values=s.splits["train"].streams["wrist"].values[:, :2]),
        "split 'valid': modality 'wrist' of 3 features, in 'train' of 2 features",
    ),
    "target_in_one": (
        lambda s: s.splits["test"].targets.pop("hand"),
        "split 'test': target 'hand' missing, in 'train'",
    ),
    "tokens_in_one": (
        lambda s: s.splits.update(test=replace(s.splits["test"], tokens=None, words=None)),
        "split 'test': tokens missing, in 'train'",
    ),
    "words_in_one": (lambda s: setattr(s.splits["test"], "words", None), "split 'test': words of tokens missing"),
    "words_alone": (
        lambda s: setattr(s.splits["train"], "tokens", None),
        "'words' must have one number for each token",
    ),
    "word_too_high": (
        lambda s: set_at(s.splits["train"].words.numbers.values, 2, 1),  # type: ignore[union-attr]
        "'words' of clip 'train1' has the number 1; expected -1 for a special token, and else a word from 0 to 0",
    ),
    "word_too_low": (
        lambda s: set_at(s.splits["train"].words.numbers.values, 2, -2),  # type: ignore[union-attr]
        "'words' of clip 'train1' has the number -2",
    ),
    "word_counts": (
        lambda s: setattr(s.splits["train"], "words", TokenWords(s.splits["train"].words.numbers, np.ones(2, "i4"))),  # type: ignore[union-attr]
        "'words' must hold whole numbers, and a count for each of 6 clips",
    ),
    "count": (lambda s: s.splits["valid"].raw_text.append("x"), "has 3 ids but 4 entries in 'raw_text'"),  # type: ignore[union-attr]
    "flat_features": (
        lambda s: values(s, "audio", values=s.splits["train"].streams["audio"].values[:, 0]),
        r"'audio' must hold \(L, D\) numbers",
    ),
    "offsets_go_back": (
        lambda s: set_at(s.splits["train"].streams["audio"].offsets, 2, 1),
        "'audio': offsets must rise from 0 to its 18 steps",
    ),
    "offsets_end_early": (
        lambda s: set_at(s.splits["train"].streams["audio"].offsets, -1, 17),
        "'audio': offsets must rise from 0 to its 18 steps; found 0 to 17",
    ),
    "name_with_a_dot": (lambda s: rename(s, "left.wrist"), r"'left\.wrist' must be a name of letters, digits and _"),
    "bare_clip": (
        lambda s: s.splits.update(
            valid=Clips(
                ["a"],
                {m: Ragged.pack([np.zeros((0, d), "f4")]) for m, d in {"audio": 4, "wrist": 3}.items()},
                {"multimodal": np.zeros(1)},
            )
        ),
        "clip 'a' has no step in any modality",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_would_train_on_nonsense_is_refused_and_leaves_nothing(tmp_path: Path, case: str) -> None:
    breaks, message = BROKEN[case]
    source = made()
    breaks(source)
    with pytest.raises(ValueError, match=f"^gestures: .*{message}"):
        write(tmp_path / "a.h5", source)
    assert list(tmp_path.iterdir()) == []


def test_a_sound_source_is_written_and_other_targets_may_lie_outside_the_range(tmp_path: Path) -> None:
    source = made()
    source.splits["train"].targets["hand"] += 100  # a class number, say
    write(tmp_path / "a.h5", source)
    assert open_store(tmp_path / "a.h5").schema.counts == COUNTS
    source.splits["train"].targets["wrist"] = source.splits["train"].targets.pop("hand")
    for split in ("valid", "test"):
        source.splits[split].targets["wrist"] = source.splits[split].targets.pop("hand")
    with pytest.raises(ValueError, match=r"the wrist label of clip 'train0' is 100, outside \[0, 10\] \(6 such\)"):
        write(tmp_path / "b.h5", source)  # named after a modality, it is a score
    write(tmp_path / "b.h5", source, label_range=None)


@pytest.mark.parametrize("label_range", [(10.0, 0.0), (3.0, 3.0)])
def test_a_range_without_a_width_is_refused(tmp_path: Path, label_range: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="label_range: expected the lowest label and a higher one, found"):
        write(tmp_path / "a.h5", made(), label_range)


def test_sequences_of_unequal_features_are_not_packed() -> None:
    with pytest.raises(ValueError, match=r"steps of shapes \[\(2,\), \(3,\)\]; expected one for all"):
        Ragged.pack([np.zeros((4, 3)), np.zeros((5, 2))])
