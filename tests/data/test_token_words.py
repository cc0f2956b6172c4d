"""The words that tokens are of go wherever the tokens go: store, folds, few labels, batches, and files to predict."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from trivium.data.clips import Clips, Folds, Ragged, Source, TokenWords
from trivium.data.datamodule import DataModule
from trivium.data.formats import ReadOptions
from trivium.data.new_clips import RunData, read_new_clips
from trivium.data.source_check import leave_out_empty_clips
from trivium.data.store import Store, StoreSchema, open_store, verify_store, write_store

COUNTS = {"train": 12, "valid": 6, "test": 6}
READS = {"text": "tokens", "audio": "values", "vision": "values"}


def clips_of(split: str, count: int) -> Clips:
    """Clip n has n % 4 words of 1, 2, 1 ... tokens between two special ones, an audio step a word, and other vision."""
    numbers = [
        np.array([-1, *(w for w in range(n % 4) for _ in range(1 + w % 2)), -1][: 9 * (n % 4)]) for n in range(count)
    ]
    steps = [np.full((n % 4, 2), n, np.float32) for n in range(count)]
    vision = [np.full((1 + n % 3, 3), -n, np.float32) for n in range(count)]
    tokens = [np.arange(1, 1 + len(row), dtype=np.int32) + n for n, row in enumerate(numbers)]
    return Clips(
        [f"{split}{n}" for n in range(count)],
        {"audio": Ragged.pack(steps), "vision": Ragged.pack(vision)},
        {"multimodal": np.linspace(-3, 3, count).astype(np.float32)},
        tokens=Ragged.pack(tokens),
        words=TokenWords(Ragged.pack([row.astype(np.int32) for row in numbers]), np.arange(count, dtype=np.int32) % 4),
    )


def write(path: Path, source: Source | None = None) -> Store:
    source = source or Source({split: clips_of(split, n) for split, n in COUNTS.items()}, "own", [], tokenizer="tiny")
    write_store(path, source, data="own", feature_set="own/words", label_range=(-3.0, 3.0))
    return open_store(path)


def of_clip(clips: Clips, n: int) -> tuple[list[int], int]:
    assert clips.words is not None
    return clips.words.numbers[n].tolist(), int(clips.words.counts[n])


def agree(clips: Clips, expected: Clips) -> None:
    """Every clip has the words that the clip of its name has."""
    places = {clip: n for n, clip in enumerate(expected.ids)}
    for n, clip in enumerate(clips.ids):
        assert of_clip(clips, n) == of_clip(expected, places[clip]), clip


def test_a_store_gives_them_back_and_its_checksum_covers_them(tmp_path: Path) -> None:
    store = write(tmp_path / "s.h5")
    for split, count in COUNTS.items():
        agree(store.split(split), clips_of(split, count))
    verify_store(tmp_path / "s.h5")
    with h5py.File(tmp_path / "s.h5", "r+") as file:
        file["valid/tokens/words"][1] = -1
    with pytest.raises(ValueError, match="content has checksum"):
        verify_store(tmp_path / "s.h5")


def test_a_store_without_them_opens_as_before(tmp_path: Path) -> None:
    source = Source({s: replace(clips_of(s, n), words=None) for s, n in COUNTS.items()}, "own", [], tokenizer="tiny")
    store = write(tmp_path / "s.h5", source)
    with h5py.File(tmp_path / "s.h5") as file:
        assert list(file["train/tokens"]) == ["offsets", "values"]
    assert store.split("train").words is None
    assert store.schema.word_steps == ()
    batch = next(iter(DataModule(store, reads=READS).loader("valid")))
    assert batch.streams["text"].words is None


def test_every_view_of_a_store_has_those_of_its_own_clips(tmp_path: Path) -> None:
    train = clips_of("train", 12)
    few = write(tmp_path / "s.h5").with_train_labels(0.5, 0.0, seed=3).split("train")
    assert len(few) == 6
    agree(few, train)
    folds = Folds(np.arange(12) * 5 % 3, ("a", "b", "c"))
    write(tmp_path / "f.h5", Source({"train": train}, "own", [], tokenizer="tiny", folds=folds))
    for fold in range(3):
        store = open_store(tmp_path / "f.h5", fold)
        for split in ("train", "valid", "test"):
            agree(store.split(split), train)
    agree(train.select(np.array([7, 2, 2])), train)
    source = Source({"train": replace(train, streams={"audio": train.streams["audio"]})}, "own", [])
    leave_out_empty_clips(source)
    assert len(source.splits["train"]) == 9  # of the others nothing is left
    agree(source.splits["train"], train)


@pytest.mark.parametrize("clips", [[3, 1, 0], [4, 0], [5]])
def test_a_batch_has_them_beside_its_tokens(tmp_path: Path, clips: list[int]) -> None:
    store = write(tmp_path / "s.h5")
    split = DataModule(store, reads=READS).loader("valid").split
    index = torch.tensor(clips)
    stream = split.batch(index, index, (len(clips),), 0).streams["text"]
    assert stream.words is not None
    whole = clips_of("valid", 6)
    for row, clip in enumerate(clips):
        numbers, count = of_clip(whole, clip)
        padding = [-1] * (stream.values.shape[1] - len(numbers))
        assert stream.words.numbers[row].tolist() == numbers + padding
        assert int(stream.words.counts[row]) == count
    assert stream.words.numbers.dtype == torch.int64
    audio = split.batch(index, index, (len(clips),), 0).streams["audio"]
    assert audio.words is None


def test_a_store_to_be_predicted_brings_them(tmp_path: Path) -> None:
    store = write(tmp_path / "s.h5")
    run = RunData(store.schema, READS, "multimodal", store.schema.targets["multimodal"])
    agree(read_new_clips([tmp_path / "s.h5"], None, ReadOptions(data="own"), run).splits["test"], clips_of("test", 6))


def test_the_schema_says_what_has_a_step_a_word_and_how_long_train_clips_are(tmp_path: Path) -> None:
    store = write(tmp_path / "s.h5")
    assert store.schema.word_steps == ("audio",)
    lengths = {name: clips_of("train", 12).read(name, what).lengths for name, what in READS.items()}
    means = {name: number[number > 0].mean() for name, number in lengths.items()}
    found = store.schema.mean_lengths
    assert found == pytest.approx({"tokens": means["text"], "audio": means["audio"], "vision": means["vision"]})
    assert StoreSchema.from_dict(store.schema.to_dict()) == store.schema
    older = {key: value for key, value in store.schema.to_dict().items() if key not in ("mean_lengths", "word_steps")}
    assert StoreSchema.from_dict(older).word_steps == ()
    # of a fold it is the train clips' alone
    folds = Folds(np.arange(12) // 4, ("a", "b", "c"))
    write(tmp_path / "f.h5", Source({"train": clips_of("train", 12)}, "own", [], tokenizer="tiny", folds=folds))
    assert open_store(tmp_path / "f.h5", 0).schema.mean_lengths["vision"] == np.mean([1 + n % 3 for n in range(8, 12)])
