"""Pairs of choices from two groups compose and pass the check: in each run of the tests an eighth of them."""

from itertools import combinations, product

import pytest

from trivium.config.check import compose_with_reference
from trivium.config.compose import Composer, composer
from trivium.config.reference import mismatches

MODALITIES = ("text", "audio", "vision")


def slots(session: Composer, every_experiment: bool = True) -> dict[str, list[str]]:
    """What a command line can choose: each group, and each modality's own encoder; "" where it may choose none.

    Choices in sub-folders (published/...) come in by the experiments, which take them. every_experiment: not one of
    each method alone.
    """
    found = {group: [c for c in session.choices(group) if "/" not in c] for group in session.groups()}
    if not every_experiment:
        found["experiment"] = list({name.split("_")[0]: name for name in found["experiment"]}.values())
    found["experiment"].append("")
    found["sweep"].append("")
    for modality in MODALITIES:
        found[f"encoder@encoders.{modality}"] = [*found["encoder"], ""]
    return {group: choices for group, choices in found.items() if choices}


def covering_rows(choices: dict[str, list[str]]) -> list[dict[str, str]]:
    """Few rows, one choice a slot, that hold every pair of choices from two slots together (greedy)."""
    missing = {
        frozenset(((a, x), (b, y))) for a, b in combinations(choices, 2) for x, y in product(choices[a], choices[b])
    }
    rows = []
    while missing:
        row = dict(sorted(min(missing, key=sorted)))
        for slot in choices:
            if slot not in row:
                gain = {c: sum(frozenset(((slot, c), pair)) in missing for pair in row.items()) for c in choices[slot]}
                row[slot] = max(gain, key=lambda c: gain[c])
        missing -= {frozenset(pair) for pair in combinations(row.items(), 2)}
        rows.append(row)
    return rows


def test_rows_cover_every_pair() -> None:
    choices = {"a": ["1", "2", "3"], "b": ["1", "2"], "c": ["1", "2"]}
    rows = covering_rows(choices)
    seen = {frozenset(pair) for row in rows for pair in combinations(row.items(), 2)}
    assert len(seen) == 3 * 2 + 3 * 2 + 2 * 2
    assert len(rows) < 3 * 2 * 2


@pytest.mark.parametrize(("every_experiment", "every"), [(False, 8), pytest.param(True, 1, marks=pytest.mark.slow)])
def test_pairs_of_choices_compose_and_pass(every_experiment: bool, every: int) -> None:
    """Rows are as many as experiments times data sets; those of one method differ in values and data set.

    every: one of so many rows is composed.
    """
    with composer() as session:
        for row in covering_rows(slots(session, every_experiment))[::every]:
            overrides = [f"{slot}={choice}" for slot, choice in row.items() if choice]
            problems = list(mismatches(*compose_with_reference(session, overrides)))
            assert not problems, (overrides, problems)


@pytest.mark.parametrize(
    ("group", "choices", "others"),
    [
        ("method", ["selfmi", "selfmm"], ["optimizer", "fusion"]),
        ("experiment", ["selfmi_mosei", "selfmm_sims"], ["method", "encoder@encoders.audio"]),
    ],
)
def test_a_choice_that_overrides_others_passes_with_each_of_theirs(
    group: str, choices: list[str], others: list[str]
) -> None:
    """The rows above set every slot at once; here a method's and an experiment's own choices stand, but for one."""
    with composer() as session:
        available = slots(session)
        for choice, slot in product(choices, others):
            for other in filter(None, available[slot]):
                overrides = [f"{group}={choice}", f"{slot}={other}"]
                problems = list(mismatches(*compose_with_reference(session, overrides)))
                assert not problems, (overrides, problems)
