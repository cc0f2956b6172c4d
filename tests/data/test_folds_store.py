"""A store with folds: each has its own splits, counts and statistics, and no clip of a fold is in two of its splits."""

import dataclasses
import json
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest

from trivium.data.clips import Array, Clips, Folds, Ragged, Source
from trivium.data.datamodule import DataModule
from trivium.data.prepare_report import report
from trivium.data.store import Store, StoreSchema, open_store, verify_store, write_store
from trivium.data.target import Target

N, K = 90, 5
FOLDS = Folds(np.arange(N) * 7 % K, tuple(f"Ses0{k + 1}" for k in range(K)), [f"speaker{n % 10}" for n in range(N)])


def made(folds: Folds | None = FOLDS) -> Source:
    rng = np.random.default_rng(4)
    lengths = rng.integers(0, 6, N)
    lengths[FOLDS.numbers == 3] = 0  # a fold without any audio
    values = {"audio": rng.normal(2, 3, (lengths.sum(), 4)), "text": rng.normal(-1, 1, (2 * N, 3))}
    values["audio"][:, 2] = 0.7  # a constant feature
    streams = {
        "text": Ragged(values["text"].astype(np.float32), np.arange(N + 1) * 2),
        "audio": Ragged(values["audio"].astype(np.float32), np.concatenate([[0], lengths.cumsum()])),
    }
    targets = {"multimodal": rng.uniform(-3, 3, N).astype(np.float32), "kind": (np.arange(N) % 3).astype(np.float32)}
    clips = Clips([f"clip{n}" for n in range(N)], streams, targets, [f"words {n}" for n in range(N)])
    described = {"kind": Target("classes", ("a", "b", "c"))}
    return Source({"train": clips}, "folder", [], described=described, folds=folds)


def write(path: Path, source: Source | None = None) -> Path:
    write_store(path, source or made(), data="own", feature_set="own/folds", label_range=(-3.0, 3.0))
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "s.h5")


def ids_of(store: Store) -> dict[str, list[str]]:
    return {split: store.split(split).ids for split in ("train", "valid", "test")}


def test_the_splits_of_each_fold_divide_the_clips_and_every_clip_is_tested_once(path: Path) -> None:
    everything = {f"clip{n}" for n in range(N)}
    tested: list[str] = []
    for fold in range(K):
        ids = ids_of(open_store(path, fold))
        assert sorted(clip for part in ids.values() for clip in part) == sorted(everything)
        assert {int(clip[4:]) * 7 % K for clip in ids["test"]} == {fold}
        assert {int(clip[4:]) * 7 % K for clip in ids["valid"]} == {(fold + 1) % K}
        tested += ids["test"]
    assert sorted(tested) == sorted(everything)


def test_a_clip_has_its_own_values_in_whatever_split_it_is(path: Path) -> None:
    whole = made().splits["train"]
    for fold in (0, 3):
        for split in ("train", "valid", "test"):
            clips = open_store(path, fold).split(split)
            for place, clip in enumerate(clips.ids):
                n = int(clip[4:])
                np.testing.assert_array_equal(clips.streams["audio"][place], whole.streams["audio"][n])
                np.testing.assert_array_equal(clips.streams["text"][place], whole.streams["text"][n])
                assert clips.targets["multimodal"][place] == whole.targets["multimodal"][n]
                assert clips.raw_text[place] == f"words {n}"  # type: ignore[index]


@pytest.mark.parametrize("fold", range(K))
def test_statistics_and_counts_are_of_the_folds_train_clips_alone(path: Path, fold: int) -> None:
    store, whole = open_store(path, fold), made().splits["train"]
    trained = [n for n in range(N) if n * 7 % K not in (fold, (fold + 1) % K)]
    for name in ("audio", "text"):
        steps = np.concatenate([whole.streams[name][n] for n in trained]).astype(np.float64)
        expected = np.where(steps.std(0) > 1e-9, steps.std(0), 1.0)
        np.testing.assert_allclose(store.statistics[name].mean, steps.mean(0), rtol=1e-12)
        np.testing.assert_allclose(store.statistics[name].std, expected, rtol=1e-12)
    assert store.statistics["audio"].std[2] == 1.0
    counts = np.bincount(whole.targets["kind"].astype(int)[trained], minlength=3)
    assert store.schema.targets["kind"].counts == tuple(counts)
    assert store.schema.targets["kind"].clips == len(trained) == store.schema.counts["train"]
    assert store.schema.counts["test"] == (FOLDS.numbers == fold).sum()
    assert (store.schema.fold, store.schema.folds) == (fold, K)


def test_a_batch_is_standardised_by_the_folds_own_statistics(path: Path) -> None:
    store = open_store(path, 1)
    data = DataModule(store, reads={"text": "values"}, standardize={"default": "zscore"})
    batch = next(iter(data.loader("train")))
    values = batch.streams["text"].values.reshape(-1, 3).double()
    np.testing.assert_allclose(values.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(values.std(0, unbiased=False), 1, atol=1e-6)


def test_as_a_whole_it_has_all_clips_and_trains_nothing(path: Path) -> None:
    store = open_store(path)
    assert store.schema.counts == {"train": N}
    assert store.statistics == {}
    assert store.folds is not None
    assert store.folds.names == FOLDS.names
    assert store.folds.groups == FOLDS.groups
    with pytest.raises(
        ValueError, match=r"s\.h5 has 5 folds; choose one with data.fold=0..4, .* -m and data.fold=0,1,2,3,4"
    ):
        DataModule(store, reads={"text": "values"})
    with pytest.raises(
        ValueError, match=r"no split 'test'; it has \['train'\], and 5 folds: open_store\(path, fold=0\)"
    ):
        store.split("test")


def test_a_fold_that_is_not_there_is_refused(tmp_path: Path, path: Path) -> None:
    for fold in (5, -1):
        with pytest.raises(ValueError, match=rf"data.fold={fold}: .*s\.h5 has 5 folds, 0 to 4"):
            open_store(path, fold)
    plain = made(None)
    plain.splits = {
        "train": plain.splits["train"].select(np.arange(60)),
        "valid": plain.splits["train"].select(np.arange(60, N)),
    }
    with pytest.raises(ValueError, match=r"data.fold=0: .*p\.h5 has no folds; leave data.fold out, or prepare"):
        open_store(write(tmp_path / "p.h5", plain), 0)


def test_folds_count_in_the_checksum_and_are_verified(tmp_path: Path, path: Path) -> None:
    summary = verify_store(path)
    assert summary["folds"] == {f"Ses0{k + 1}": 18 for k in range(K)}
    others = dataclasses.replace(FOLDS, numbers=np.roll(FOLDS.numbers, 1))
    assert verify_store(write(tmp_path / "o.h5", made(others)))["checksum"] != summary["checksum"]
    with h5py.File(path, "r+") as file:
        file["train/fold"][0] = 4
    with pytest.raises(ValueError, match="content has checksum"):
        verify_store(path)
    with h5py.File(path, "r+") as file:
        file["train/fold"][0] = 9
    with pytest.raises(ValueError, match=r"s\.h5: train/fold: expected every number from 0 to 4, found 9"):
        open_store(path)


@pytest.mark.parametrize(
    ("numbers", "names", "groups", "message"),
    [
        (np.arange(N) % 2, ("a", "b"), None, "expected 3 names or more"),
        (np.arange(N) % 3, ("a", "b", "b"), None, "each once"),
        (np.arange(N) % 3, ("a", "b", "c", "d"), None, r"clips in each of 0 to 3, found \[0, 1, 2\]"),
        (np.arange(N) % 4, ("a", "b", "c"), None, r"clips in each of 0 to 2, found \[0, 1, 2, 3\]"),
        (np.arange(N - 1) % 3, ("a", "b", "c"), None, r"expected a whole number a clip, \(90,\), found \(89,\)"),
        (np.arange(N) % 3 / 1.0, ("a", "b", "c"), None, "found .* float64"),
        (np.arange(N) % 3, ("a", "b", "c"), ["x"], "1 groups for 90 clips"),
    ],
)
def test_folds_that_do_not_fit_leave_no_store(
    tmp_path: Path, numbers: Array, names: tuple[str, ...], groups: list[str] | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        write(tmp_path / "s.h5", made(Folds(numbers, names, groups)))
    source = made()
    source.splits["test"] = source.splits["train"]
    with pytest.raises(ValueError, match=r"with folds, all clips are in 'train'|occurs before"):
        write(tmp_path / "s.h5", source)
    assert not list(tmp_path.iterdir())


def test_the_schema_of_a_fold_comes_back_from_a_runs_file(path: Path) -> None:
    schema = open_store(path, 2).schema
    stored = json.loads(json.dumps(schema.to_dict()))
    assert StoreSchema.from_dict(stored) == dataclasses.replace(schema)
    # Of runs before there were folds.
    older = {key: value for key, value in stored.items() if key not in ("fold", "folds")}
    assert StoreSchema.from_dict(older).fold is None


def test_the_report_says_how_many_folds_and_what_to_type(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report(made(), path, feature_set="own/folds", recognised=False, default=path, data_setting="data=own")
    printed = capsys.readouterr().out
    assert "clips: 90 in 5 folds (0 (Ses01): 18, 1 (Ses02): 18, " in printed
    assert "trivium train -m data=own data.features=folds" in printed
    assert " data.fold=0,1,2,3,4\n" in printed


def test_a_store_of_version_0_1_0_has_no_folds() -> None:
    store = open_store(Path(__file__).parents[1] / "runs" / "version_0_1_0" / "fixture.h5")
    assert (store.schema.folds, store.schema.fold, store.folds) == (0, None, None)
    assert set(store.statistics) == set(store.schema.dims)


def test_a_class_that_a_fold_s_train_clips_lack_is_warned_of(tmp_path: Path) -> None:
    source = made()
    # class c in fold 2 alone, so that it lacks in train where fold 2 is tested or validates
    source.splits["train"].targets["kind"] = np.where(FOLDS.numbers == 2, 2, np.arange(N) % 2).astype(np.float32)
    store = open_store(write(tmp_path / "s.h5", source))
    reads = {"text": "values"}
    with pytest.warns(
        UserWarning, match="data.target=kind: no clip of train .* is of the classes c, which can then not"
    ):
        DataModule(store.of_fold(2), reads=reads, target="kind").warn_of_unseen()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        DataModule(store.of_fold(4), reads=reads, target="kind").warn_of_unseen()
        DataModule(store.of_fold(2), reads=reads, target="multimodal").warn_of_unseen()
