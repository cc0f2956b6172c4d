"""Splits and folds of a source: no clip is lost or doubled, groups stay whole, and shares and classes are as asked."""

import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from trivium.data.clips import Clips, Ragged, Source
from trivium.data.splitting import SplitColumns, SplitOptions, split_source
from trivium.data.target import Target

N = 203
# Sizes from 1 to 22 clips.
GROUPS = [f"speaker{int(np.sqrt(2 * n))}" for n in range(N)]


def made(order: np.ndarray | None = None) -> Source:
    rng = np.random.default_rng(0)
    sequences = [rng.normal(size=(n % 4, 3)).astype(np.float32) for n in range(N)]
    classes = (np.arange(N) % 10 == 0).astype(np.float32) + 2 * (np.arange(N) % 7 == 0)
    clips = Clips(
        [f"clip{n}" for n in range(N)],
        {"audio": Ragged.pack(sequences)},
        {"multimodal": np.arange(N, dtype=np.float32), "kind": classes},
        [f"words {n}" for n in range(N)],
        Ragged.pack([np.arange(n % 3 + 1, dtype=np.int32) for n in range(N)]),
    )
    clips = clips if order is None else clips.select(order)
    return Source(
        {"train": clips}, "folder", [Path("labels.csv")], described={"kind": Target("classes", tuple("abcd"))}
    )


def split_of(source: Source) -> dict[str, str]:
    return {clip: split for split, clips in source.splits.items() for clip in clips.ids}


def test_selecting_keeps_each_clips_own_values() -> None:
    whole = made().splits["train"]
    part = whole.select(np.array([7, 0, 202, 4]))
    for place, n in enumerate((7, 0, 202, 4)):
        assert part.ids[place] == f"clip{n}"
        assert part.raw_text[place] == f"words {n}"
        np.testing.assert_array_equal(part.streams["audio"][place], whole.streams["audio"][n])
        np.testing.assert_array_equal(part.tokens[place], whole.tokens[n])  # type: ignore[index]
        assert part.targets["multimodal"][place] == n
    assert len(part.streams["audio"].values) == sum(n % 4 for n in (7, 0, 202, 4))


def test_given_splits_are_as_the_column_says_under_any_of_their_names() -> None:
    column = ["Train", "dev", "test", "train", "val", "valid"] + ["train"] * (N - 6)
    result = split_source(made(), SplitColumns(split=column))
    assert [result.splits[s].ids for s in ("valid", "test")] == [["clip1", "clip4", "clip5"], ["clip2"]]
    assert len(result.splits["train"]) == N - 4
    assert result.notes["splits"] == "given"
    assert result.folds is None


def test_given_folds_are_in_the_order_of_their_numbers() -> None:
    result = split_source(made(), SplitColumns(fold=[float(n % 11) for n in range(N)]))
    assert result.folds is not None
    assert result.folds.names == tuple(map(str, range(11)))
    np.testing.assert_array_equal(result.folds.numbers, np.arange(N) % 11)
    sessions = split_source(made(), SplitColumns(fold=[f"Ses0{5 - n % 5}" for n in range(N)])).folds
    assert sessions is not None
    assert sessions.names == ("Ses01", "Ses02", "Ses03", "Ses04", "Ses05")
    assert sessions.numbers[:2].tolist() == [4, 3]


@pytest.mark.parametrize("shares", [(0.7, 0.1, 0.2), (0.5, 0.0, 0.5), (0.98, 0.01, 0.01)])
def test_random_splits_have_their_shares_of_every_class(shares: tuple[float, ...]) -> None:
    source = split_source(made(), options=SplitOptions("random", shares=shares, seed=3))
    assert sorted(split_of(source)) == sorted(made().splits["train"].ids)
    classes = Counter(made().splits["train"].targets["kind"].tolist())
    for split, share in zip(("train", "valid", "test"), shares, strict=True):
        if not share:
            assert split not in source.splits
            continue
        counts = Counter(source.splits[split].targets["kind"].tolist())
        assert len(source.splits[split]) == pytest.approx(share * N, abs=1.5)
        assert all(counts[kind] == pytest.approx(share * n, abs=2) for kind, n in classes.items())
    assert "stratified by kind" in source.notes["splits"]
    assert "seed 3" in source.notes["splits"]


@pytest.mark.parametrize("groups", [None, ["a", "b", "c"]])
def test_the_smallest_split_has_a_clip(groups: list[str] | None) -> None:
    source = Source({"train": made().splits["train"].select(np.arange(3))}, "folder", [])
    options = SplitOptions("random", shares=(0.98, 0.01, 0.01))
    assert [len(clips) for clips in split_source(source, SplitColumns(group=groups), options).splits.values()] == [
        1
    ] * 3


def test_a_draw_depends_on_seed_and_ids_and_not_on_the_files_order() -> None:
    options = SplitOptions("random", seed=1)
    first, again = split_source(made(), options=options), split_source(made(np.arange(N)[::-1]), options=options)
    assert split_of(first) == split_of(again)
    assert split_of(first) != split_of(split_source(made(), options=SplitOptions("random", seed=2)))


@pytest.mark.parametrize("seed", range(5))
def test_no_group_is_in_two_splits_or_folds(seed: int) -> None:
    group_of = dict(zip(made().splits["train"].ids, GROUPS, strict=True))
    random = split_of(split_source(made(), SplitColumns(group=GROUPS), SplitOptions("random", seed=seed)))
    assert len({(group_of[clip], split) for clip, split in random.items()}) == len(set(GROUPS))
    assert Counter(random.values())["train"] == pytest.approx(0.7 * N, abs=22)
    folds = split_source(made(), SplitColumns(group=GROUPS), SplitOptions("kfold", seed=seed, fold_count=4)).folds
    assert folds is not None
    assert folds.groups == GROUPS
    assert len(set(zip(GROUPS, folds.numbers.tolist(), strict=True))) == len(set(GROUPS))
    sizes = np.bincount(folds.numbers, minlength=4)
    assert sizes.max() - sizes.min() <= 3


def test_kfold_divides_every_class_evenly() -> None:
    folds = split_source(made(), options=SplitOptions("kfold")).folds
    assert folds is not None
    assert len(folds.names) == 5
    classes = made().splits["train"].targets["kind"]
    for kind in np.unique(classes):
        counts = np.bincount(folds.numbers[classes == kind], minlength=5)
        assert counts.max() - counts.min() <= 1


def test_leave_one_group_out_has_a_fold_for_each_group() -> None:
    folds = split_source(made(), SplitColumns(group=GROUPS), SplitOptions("leave_one_group_out")).folds
    assert folds is not None
    assert folds.names == tuple(sorted(set(GROUPS)))
    assert [folds.names[number] for number in folds.numbers] == GROUPS


def test_the_splits_of_a_fold_divide_the_clips_and_each_is_tested_once() -> None:
    folds = split_source(made(), options=SplitOptions("kfold", fold_count=6)).folds
    assert folds is not None
    for fold in range(6):
        places = folds.places(fold)
        assert sorted(np.concatenate(list(places.values()))) == list(range(N))
        assert set(folds.numbers[places["test"]]) == {fold}
        assert set(folds.numbers[places["valid"]]) == {(fold + 1) % 6}
    for split in ("test", "valid"):
        assert sorted(np.concatenate([folds.places(fold)[split] for fold in range(6)])) == list(range(N))


def test_a_group_in_two_given_splits_is_warned_about_in_one_line() -> None:
    column = ["train" if n < 100 else "test" for n in range(N)]
    with pytest.warns(UserWarning, match="labels.csv") as caught:
        split_source(made(), SplitColumns(split=column, group=GROUPS))
    assert len(caught) == 1
    assert "labels.csv: group 'speaker14' lies in the splits train, test" in str(caught[0].message)
    with pytest.warns(UserWarning, match=r"group 'speaker0' .* the folds 0, 1, 2 \(2 such groups\)"):
        split_source(made(), SplitColumns(fold=[n % 3 for n in range(N)], group=["speaker0"] * 150 + ["b"] * 53))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        split_source(made(), SplitColumns(split=column, group=["a" if n < 100 else "b" for n in range(N)]))


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({}, {}, r"labels.csv: no column of splits or folds; add one named split .* split=random"),
        ({"split": ["train"] * N, "fold": [0] * N}, {}, "has a column of splits and one of folds"),
        ({"split": ["train", "other"] + ["train"] * (N - 2)}, {}, "clip 'clip1' has 'other'; expected one of train"),
        ({"split": ["test"] * N}, {}, "no clip is in 'train'; found test"),
        ({"split": ["train"] * 3}, {}, "column 'split' has 3 entries for 203 clips"),
        ({"fold": [0, None] + [1] * (N - 2)}, {}, "column 'fold': clip 'clip1' has no value"),
        ({"fold": [0, float("nan")] + [1] * (N - 2)}, {}, "column 'fold': clip 'clip1' has no value"),
        ({"fold": [n % 2 for n in range(N)]}, {}, r"2 folds \(0, 1\); expected 3 or more"),
        ({"group": ["a"] * N}, {"split": "random"}, "1 groups are too few for 3 splits"),
        ({"group": ["a", "b"] * 101 + ["c"]}, {"split": "kfold"}, "3 groups are too few for 5"),
        ({}, {"split": "leave_one_group_out"}, "needs a column of groups; name it with group=COLUMN"),
        ({}, {"split": "randm"}, "randm"),
        ({}, {"split": "kfold", "fold_count": 2}, "fold_count=2: expected 3 or more"),
        ({}, {"split": "kfold", "shares": (0.5, 0.2, 0.3)}, "shares=: is for split=random"),
        ({}, {"seed": 1}, "split_seed=: is for split=random and split=kfold"),
        ({}, {"split": "random", "shares": (0.5, 0.2)}, "shares=0.5,0.2: expected three numbers"),
        ({}, {"split": "random", "shares": (0.5, 0.2, 0.4)}, "that add up to 1"),
        ({}, {"split": "random", "seed": -1}, "split_seed=-1: expected 0 or more"),
    ],
)
def test_what_cannot_be_split_is_refused(columns: dict, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        split_source(made(), SplitColumns(**columns), SplitOptions(**options))
