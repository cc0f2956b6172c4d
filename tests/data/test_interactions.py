"""Generated data: what is said to be knowable against counting in large samples and closed forms; what is rendered."""

import json
import math
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import mutual_info_score

from driver import here
from trivium.config.check import problems_of
from trivium.config.compose import compose_config
from trivium.config.generator_settings import CLASS_SCORES, Competition, Interactions, fingerprint, settings_of
from trivium.config.store_path import find_store
from trivium.data.clips import Array, Clips, Source
from trivium.data.competition import make_competition
from trivium.data.competition import what_is_knowable as knowable_of_competition
from trivium.data.interactions import make_interactions, what_is_knowable
from trivium.data.knowable import knowable_of
from trivium.data.store import open_store, verify_store
from trivium.data.synthetic import ensure_generated

NAMES = ("text", "audio", "vision")
LARGE = Interactions(
    modalities=NAMES,
    redundant=2,
    unique=1,
    synergy=2,
    synergy_bias=0.9,
    noise=0.2,
    jitter=0.01,
    length=(1, 1),
    dim=12,
    clips={"train": 60_000, "probe": 10, "valid": 10, "test": 120_000},
    seed=3,
)
SMALL = replace(
    LARGE, noise=0.1, jitter=0.5, length=(5, 10), clips={"train": 50, "probe": 60, "valid": 40, "test": 3000}
)
RIVALS = Competition(
    easy="text",
    hard="audio",
    classes=5,
    easy_noise=0.5,
    hard_noise=0.1,
    jitter=0.3,
    length=(5, 10),
    dim=16,
    clips={"train": 8000, "probe": 0, "valid": 10, "test": 8000},
    seed=0,
)


def decoded(source: Source, split: str) -> dict[str, dict[str, Array]]:
    """modality -> what it shows -> (N,) the value whose code is nearest to the clip's mean step."""
    codes, clips = json.loads(source.notes["codes"]), source.splits[split]
    return {
        name: {what: nearest(means(clips, name), np.array(code_KD)) for what, code_KD in part.items()}
        for name, part in codes.items()
    }


def means(clips: Clips, name: str) -> Array:
    stream = clips.streams[name]
    return np.add.reduceat(stream.values.astype(np.float64), stream.offsets[:-1]) / stream.lengths[:, None]


def nearest(mean_ND: Array, code_KD: Array) -> Array:
    """Codes are at right angles and equally long, so that what else is summed does not matter."""
    result: Array = (mean_ND @ code_KD.T).argmax(axis=1)
    return result


def counted(values: Sequence[Array]) -> Array:
    """One label for each combination that occurs."""
    found: Array = np.unique(np.stack(values, axis=1), axis=0, return_inverse=True)[1].ravel()
    return found


def bits(a: Array, b: Array) -> float:
    return float(mutual_info_score(a, b) / math.log(2))


def best_share(target: Array, seen: Array) -> float:
    """How often the most frequent target of each combination is right, counted in the sample itself."""
    table = np.zeros((int(seen.max()) + 1, int(target.max()) + 1))
    np.add.at(table, (seen, target.astype(int)), 1)
    return float(table.max(axis=1).sum() / len(target))


@pytest.fixture(scope="module")
def large() -> tuple[Source, dict[str, dict[str, Array]]]:
    source = make_interactions(LARGE)
    return source, decoded(source, "test")


def test_knowable_values_are_what_counting_in_a_large_sample_gives(
    large: tuple[Source, dict[str, dict[str, Array]]],
) -> None:
    source, shown = large
    targets, knowable = source.splits["test"].targets, what_is_knowable(LARGE)
    assert set(knowable["factors"]) == {"redundant", "unique_text", "unique_audio", "unique_vision", "synergy"}
    checked = 0
    for factor, known in knowable["factors"].items():
        what = factor.split("_")[0]
        for subset, value in known["from"].items():
            symbols = [shown[name][what] for name in subset.split("+") if what in shown[name]]
            seen = counted(symbols) if symbols else np.zeros(len(targets[factor]), int)
            assert value["bits"] == pytest.approx(bits(targets[factor], seen), abs=0.012), (factor, subset)
            assert value["accuracy"] == pytest.approx(best_share(targets[factor], seen), abs=0.006), (factor, subset)
            checked += 1
    assert checked == 5 * 7


def test_best_score_is_what_means_of_a_large_sample_give(large: tuple[Source, dict[str, dict[str, Array]]]) -> None:
    source, shown = large
    score = source.splits["test"].targets["multimodal"].astype(np.float64)
    for subset, best in what_is_knowable(LARGE)["multimodal"].items():
        if len(subset.split("+")) == 3:
            continue  # as many combinations as clips
        seen = counted([symbol for name in subset.split("+") for symbol in shown[name].values()])
        count = np.bincount(seen)
        mean = (np.bincount(seen, score) / count)[seen]
        unbiased = ((score - mean) ** 2).sum() / (len(score) - len(count))
        assert best["mse"] == pytest.approx(unbiased, rel=0.015), subset
        assert best["corr"] == pytest.approx(np.corrcoef(score, mean)[0, 1], abs=0.01), subset


def test_total_correlation_is_the_information_between_what_two_modalities_show() -> None:
    two = replace(LARGE, modalities=("text", "audio"))
    source = make_interactions(two)
    for split, which in (("train", "biased"), ("test", "balanced")):
        shown = [counted(list(part.values())) for part in decoded(source, split).values()]
        assert what_is_knowable(two)["total_correlation"][which] == pytest.approx(bits(*shown), abs=0.025)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_without_noise_everything_is_known(k: int) -> None:
    settings = replace(LARGE, redundant=k, unique=k, synergy=k, noise=0.0, dim=24)
    factors = what_is_knowable(settings)["factors"]
    for name in NAMES:
        assert factors["redundant"]["from"][name] == pytest.approx({"bits": k, "accuracy": 1})
        assert factors[f"unique_{name}"]["from"][name] == pytest.approx({"bits": k, "accuracy": 1})
    assert factors["synergy"]["from"]["text+audio"] == pytest.approx({"bits": 1, "accuracy": 1})
    everything = what_is_knowable(settings)["multimodal"]["text+audio+vision"]
    assert everything == pytest.approx({"mse": 0, "corr": 1}, abs=1e-12)


@pytest.mark.parametrize(("k", "noise"), [(1, 0.05), (2, 0.3), (4, 0.6), (2, 1.0)])
def test_one_view_is_a_symmetric_channel(k: int, noise: float) -> None:
    wrong, levels = noise * (1 - 2**-k), 2**k
    capacity = k + (1 - wrong) * math.log2(1 - wrong) + wrong * math.log2(wrong) - wrong * math.log2(levels - 1)
    factors = what_is_knowable(replace(LARGE, redundant=k, unique=0, synergy=0, noise=noise, dim=24))["factors"]
    assert factors["redundant"]["from"]["audio"] == pytest.approx({"bits": capacity, "accuracy": 1 - wrong}, abs=1e-12)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_synergy_is_in_no_modality_alone_and_in_two_together(k: int) -> None:
    known = what_is_knowable(replace(LARGE, redundant=0, unique=0, synergy=k, dim=24))["factors"]["synergy"]["from"]
    for subset in ("text", "audio", "vision", "text+vision", "audio+vision"):
        assert known[subset] == pytest.approx({"bits": 0, "accuracy": 0.5}, abs=1e-12)
    # Both symbols kept: the pair tells. Else it obeys the rule as often under either label.
    assert known["text+audio"]["accuracy"] == pytest.approx(0.5 + 0.5 * (1 - LARGE.noise) ** 2)
    assert known["text+audio"]["bits"] > 0.1
    assert known["text+audio+vision"] == pytest.approx(known["text+audio"])


def test_the_rule_holds_as_often_as_said_in_each_split() -> None:
    source = make_interactions(replace(SMALL, clips=dict.fromkeys(("train", "probe", "valid", "test"), 4000)))
    rates = {split: float(clips.targets["synergy"].mean()) for split, clips in source.splits.items()}
    assert rates == pytest.approx({"train": 0.9, "probe": 0.5, "valid": 0.9, "test": 0.5}, abs=0.03)
    for clips in source.splits.values():
        for factor in ("redundant", "unique_text", "unique_vision"):
            assert np.bincount(clips.targets[factor].astype(int)) == pytest.approx(
                4000 / (4 if factor == "redundant" else 2), rel=0.15
            )


def test_nothing_that_is_knowable_is_lost_in_rendering() -> None:
    source, knowable = make_interactions(SMALL), what_is_knowable(SMALL)
    assert knowable["rendering_error"] < 1e-6
    shown, targets = decoded(source, "test"), source.splits["test"].targets
    rule = np.array(json.loads(source.notes["rule"]))
    guesses = {f"unique_{name}": shown[name]["unique"] for name in NAMES}
    guesses["redundant"] = shown["text"]["redundant"]
    guesses["synergy"] = rule[shown["text"]["synergy"]] == shown["audio"]["synergy"]
    sources = {**{f"unique_{name}": name for name in NAMES}, "redundant": "text", "synergy": "text+audio"}
    for factor, guess in guesses.items():
        best = knowable["factors"][factor]["from"][sources[factor]]["accuracy"]
        error = 3 * math.sqrt(best * (1 - best) / len(guess))
        assert float((guess == targets[factor]).mean()) == pytest.approx(best, abs=error), factor


def test_score_is_three_times_the_mean_of_the_factors_spread_over_minus_one_to_one() -> None:
    targets = make_interactions(SMALL).splits["test"].targets
    unique = sum(2 * targets[f"unique_{name}"] - 1 for name in NAMES)
    expected = 3 * (2 * targets["redundant"] / 3 - 1 + unique + 2 * targets["synergy"] - 1) / 5
    np.testing.assert_allclose(targets["multimodal"], expected, atol=1e-6)


def test_same_settings_same_bytes_and_a_split_does_not_depend_on_the_others_sizes() -> None:
    one, two = make_interactions(SMALL), make_interactions(replace(SMALL, clips={**SMALL.clips, "train": 70}))
    for name in NAMES:
        np.testing.assert_array_equal(one.splits["test"].streams[name].values, two.splits["test"].streams[name].values)
    other = make_interactions(replace(SMALL, seed=4))
    assert not np.array_equal(one.splits["test"].targets["redundant"], other.splits["test"].targets["redundant"])


@pytest.mark.parametrize(
    "change",
    [
        {"modalities": ("text", "audio")},
        {"redundant": 0, "synergy": 0},
        {"unique": 0},
        {"clips": {**SMALL.clips, "probe": 0}},
    ],
)
def test_factors_modalities_and_the_probe_split_may_be_left_out(change: dict[str, Any], tmp_path: Path) -> None:
    settings = replace(SMALL, **change)
    store = open_store(ensure_generated(tmp_path / "s.h5", name="synthetic", settings=settings))
    verify_store(store.path)
    assert store.schema.dims == dict.fromkeys(settings.modalities, 12)
    assert store.schema.counts == {split: n for split, n in settings.clips.items() if n}
    factors = set(knowable_of(store)["factors"])
    assert factors | {"multimodal"} == set(store.schema.targets)
    assert list(store.schema.counts) == [s for s in ("train", "probe", "valid", "test") if settings.clips[s]]


def test_each_setting_has_its_own_file_and_0_is_0_point_0() -> None:
    config = compose_config(["paths.data=d", "data=synthetic"])
    plain = config["data"]["interactions"]

    def of(**settings: Any) -> str:
        data = {**config["data"], "interactions": {**plain, **settings}}
        return find_store({**config, "data": data}).as_posix()

    assert of().startswith("d/synthetic/synthetic-")
    assert of(noise=0) == of(noise=0.0)
    changed = [
        of(noise=0.1),
        of(redundant=3),
        of(modalities=["audio", "text"]),
        of(length=[5, 11]),
        of(clips={**plain["clips"], "probe": 0}),
        of(seed=1),
    ]
    assert len({of(), *changed}) == 1 + len(changed)
    assert find_store({**config, "data": {**config["data"], "store": __file__}}) == Path(__file__)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("data.interactions.synergy_bias=0.5", None),
        ("data.interactions.modalities=[text,audio,vision] data.interactions.clips.probe=0", None),
        ("data.interactions.nois=1", "data.interactions.nois: no such key; nearest is data.interactions.noise"),
        ("data.interactions.clips.trian=1", "no such key; nearest is data.interactions.clips.train"),
        ("data.interactions.noise=abc", "data.interactions.noise: expected a number, found 'abc'"),
        ("data.interactions.redundant=1.5", "data.interactions.redundant: expected a whole number, found 1.5"),
        ("data.interactions.length=[5]", "data.interactions.length: expected [low, high], found [5]"),
        ("data.interactions.length=[5,2]", "expected [low, high] with 1 <= low <= high, found [5, 2]"),
        ("data.interactions.noise=1.5", "data.interactions.noise: expected 0 to 1, found 1.5"),
        ("data.interactions.synergy=6", "data.interactions.synergy: expected 0 to 5 bits, found 6"),
        ("data.interactions.synergy=5", "dim: expected at least 40, a direction for each value"),
        ("data.interactions.modalities=[text]", "expected two or three names, found ['text']"),
        ("data.interactions.clips.test=0", "data.interactions.clips.test: expected at least 1, found 0"),
        ("data.interactions.jitter=-1", "data.interactions.jitter: expected at least 0, found -1"),
        ("data=synthetic_competition data.competition.classes=4", "classes: expected one of 2, 3, 5, 7, found 4"),
        ("data=synthetic_competition data.competition.length=[1,5]", "length: expected at least 2 steps, found [1, 5]"),
        ("data=synthetic_competition data.competition.hard=text", "easy and hard need two names"),
        ("data=synthetic_competition data.interactions.noise=0", "data.interactions.noise: no such key"),
        ("data=fixture +data.interactions.noise=0.1", "data.interactions.noise: no such key"),
        ("data=mosi data.interactions.noise=0.1 --cfg job", "data.interactions.noise: no such key"),
    ],
)
def test_settings_are_checked_before_anything_starts(line: str, told: str | None) -> None:
    problems = problems_of((line if "data=" in line else f"data=synthetic {line}").split())
    if told is None:
        assert problems == []
    else:
        assert len(problems) == 1, problems
        assert told in problems[0]
    nothing = "redundant", "unique", "synergy"
    assert "are all 0" in problems_of(["data=synthetic", *(f"data.interactions.{name}=0" for name in nothing)])[0]


def test_a_choice_of_data_may_bring_a_map_of_its_own_but_no_further_value(tmp_path: Path) -> None:
    file = tmp_path / "data" / "mine.yaml"
    file.parent.mkdir()
    text = "defaults:\n  - synthetic\n  - _self_\ninteractions: {noise: 0.3, nois: 0.1}\nbatch_sise: 3\n"
    file.write_text(text)
    assert problems_of(["--config-dir", str(tmp_path), "data=mine"]) == [
        "data.interactions.nois: no such key (in data/mine.yaml); nearest is data.interactions.noise",
        "data.batch_sise: no such key (in data/mine.yaml); nearest is data.batch_size",
    ]


def test_two_processes_may_make_the_same_file_at_once(tmp_path: Path) -> None:
    file = tmp_path / "new" / "s.h5"
    code = f"""
from pathlib import Path
from trivium.config.generator_settings import Interactions
from trivium.data.synthetic import ensure_generated
ensure_generated(Path({str(file)!r}), name="synthetic", settings={SMALL!r})
"""
    made = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [process.wait(timeout=60) for process in made] == [0, 0]
    assert [path.name for path in file.parent.iterdir()] == ["s.h5"]
    assert verify_store(file)["counts"] == SMALL.clips
    written = file.stat()
    ensure_generated(file, name="synthetic", settings=SMALL)
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (written.st_ino, written.st_mtime_ns)


def test_training_makes_the_store_and_leaves_the_probe_split_alone(tmp_path: Path) -> None:
    counts = {"train": 96, "probe": 64, "valid": 48, "test": 48}
    few = [f"data.interactions.clips.{split}={n}" for split, n in counts.items()]
    result = here(tmp_path, "data=synthetic", "trainer.max_epochs=1", *few)
    (file,) = (tmp_path / "data" / "synthetic").iterdir()
    assert verify_store(file)["counts"] == counts
    assert result["feature_set"] == f"synthetic/{file.stem.removeprefix('synthetic-')}"
    assert set(result) & {"val", "test", "probe"} == {"val", "test"}


@pytest.fixture(scope="module")
def rivals() -> Source:
    return make_competition(RIVALS)


def shown_by_rivals(source: Source, split: str) -> tuple[Array, Array]:
    """What each clip shows: easy by its mean step, hard by how far its second symbol is from its first."""
    codes, clips = json.loads(source.notes["codes"]), source.splits[split]
    code_AD, first = np.array(codes["audio"]), clips.streams["audio"].offsets[:-1]
    start, after = (nearest(clips.streams["audio"].values[first + step], code_AD) for step in (0, 1))
    return nearest(means(clips, "text"), np.array(codes["text"])), (after - start) % len(code_AD) - 1


def test_each_rivals_best_accuracy_is_reached_by_the_decoder_that_fits_it(rivals: Source) -> None:
    known = knowable_of_competition(RIVALS)["factors"]["label"]["from"]
    label = rivals.splits["test"].targets["label"]
    easy, hard = shown_by_rivals(rivals, "test")
    for subset, seen in (("text", easy), ("audio", hard), ("text+audio", counted([easy, hard]))):
        assert known[subset]["accuracy"] == pytest.approx(best_share(label, seen), abs=0.015)
        assert known[subset]["bits"] == pytest.approx(bits(label, seen), abs=0.03)
    assert known["text"]["accuracy"] == pytest.approx(0.6)
    assert known["audio"]["accuracy"] == pytest.approx(0.92)
    assert known["text+audio"]["bits"] > known["audio"]["bits"] > known["text"]["bits"]


def test_total_correlation_with_the_label_is_the_sum_of_what_each_tells_the_next() -> None:
    known = knowable_of_competition(RIVALS)
    total = known["total_correlation"]
    # TC(x1, x2, y) = I(y; x1) + I(y; x2) + I(x1; x2 | y), and the last is 0: noises are independent
    expected = sum(known["factors"]["label"]["from"][name]["bits"] for name in ("text", "audio"))
    assert total["with_label"] == pytest.approx(expected, abs=1e-12)


def test_no_step_of_the_hard_rival_says_anything_alone_nor_does_its_mean_linearly(rivals: Source) -> None:
    train, test = rivals.splits["train"], rivals.splits["test"]
    stream, code_AD = train.streams["audio"], np.array(json.loads(rivals.notes["codes"])["audio"])
    for step in range(RIVALS.length[0]):
        symbol = nearest(stream.values[stream.offsets[:-1] + step], code_AD)
        assert set(symbol) == set(range(RIVALS.symbols))
        assert bits(train.targets["label"], symbol) < 0.006  # of 2.3; 24 cells too many add 0.002 bits by chance
    for name, low, high in (("text", 0.57, 0.63), ("audio", 0.17, 0.23)):
        model = LogisticRegression(max_iter=500).fit(means(train, name), train.targets["label"])
        assert low < model.score(means(test, name), test.targets["label"]) < high, name


def test_every_step_of_the_hard_rival_goes_on_by_the_same_stride(rivals: Source) -> None:
    stream, code_AD = rivals.splits["valid"].streams["audio"], np.array(json.loads(rivals.notes["codes"])["audio"])
    for clip in range(len(stream)):
        strides = np.diff(nearest(stream[clip], code_AD)) % RIVALS.symbols
        assert set(strides) == {strides[0]}
        assert 1 <= strides[0] <= RIVALS.classes


@pytest.mark.parametrize("classes", [2, 3, 5, 7])
def test_cross_entropy_sees_exactly_these_classes(classes: int) -> None:
    import torch

    from trivium.objectives.task import CrossEntropy

    scores = CLASS_SCORES[classes]
    objective = CrossEntropy((-3.0, 3.0), classes=classes)
    assert objective.classes(torch.tensor(scores)).tolist() == list(range(classes))
    certain = torch.full((classes, classes), -1e4).fill_diagonal_(0.0)
    assert objective.decode(certain)[0].tolist() == pytest.approx(list(scores))


def test_settings_of_prepared_data_are_none_and_a_foreign_map_is_refused() -> None:
    assert settings_of({"name": "mosi"}) is None
    with pytest.raises(ValueError, match=r"data\.competition: expected the keys .*, easy, hard, .* found noise"):
        settings_of({"competition": {"noise": 1}})
    assert fingerprint(RIVALS) != fingerprint(replace(RIVALS, seed=1))


def test_a_shift_changes_the_easy_modality_of_the_test_split_alone_and_what_can_be_known_there() -> None:
    usual = replace(RIVALS, clips={"train": 500, "probe": 0, "valid": 500, "test": 4000})
    shifted = replace(usual, test_easy_noise=0.8)
    before, after = make_competition(usual), make_competition(shifted)
    for split in ("train", "valid"):
        for name in usual.modalities:
            one, two = (source.splits[split].streams[name].values for source in (before, after))
            np.testing.assert_array_equal(one, two)
    known = knowable_of_competition(shifted)["factors"]["label"]["from"]
    assert known[usual.easy]["accuracy"] == pytest.approx(1 - 0.8 * (1 - 1 / usual.classes))
    before_shift = knowable_of_competition(usual)
    assert known[usual.hard] == pytest.approx(before_shift["factors"]["label"]["from"][usual.hard])
    # It is of the train split.
    assert knowable_of_competition(shifted)["total_correlation"] == before_shift["total_correlation"]


def test_without_a_shift_the_data_have_the_file_that_they_had() -> None:
    assert fingerprint(RIVALS) == fingerprint(replace(RIVALS, test_easy_noise=None))
    assert fingerprint(replace(RIVALS, test_easy_noise=0.1)) != fingerprint(RIVALS)
