"""A study's journal that is damaged, edited or of another program is refused by file and line."""

import json
import os
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from trivium.search.storage import open_storage


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """A journal of nine lines, with every operation that a search writes."""
    path = tmp_path / "journal.log"
    study = optuna.create_study(storage=open_storage(str(path)), study_name="s")
    study.set_user_attr("trivium", {"a": 1})
    study.add_trial(create_trial(state=TrialState.RUNNING, user_attrs={"host": "h"}))
    trial = optuna.trial.Trial(study, study.get_trials()[0]._trial_id)
    trial.suggest_float("x", 0, 1)
    trial.suggest_categorical("c", ["a", "b"])
    trial.report(0.5, 0)
    trial.set_user_attr("error", "none")
    study.tell(0, 0.25)
    return path


def read(path: Path) -> list[Any]:
    return optuna.load_study(study_name="s", storage=open_storage(str(path))).get_trials()


def refusal_of(path: Path) -> str:
    """Returns why a journal cannot be read, "" if it can."""
    try:
        for trial in read(path):
            assert isinstance(trial.user_attrs.get("host", ""), str)
    except ValueError as error:
        return str(error)
    except KeyError:
        # The line that made the study is another one now: a new study would be made.
        return ""
    return ""


def test_a_whole_journal_reads_as_it_was_written(journal: Path) -> None:
    (trial,) = read(journal)
    assert (trial.value, trial.user_attrs) == (0.25, {"host": "h", "error": "none"})


def test_a_torn_last_line_is_no_damage(journal: Path) -> None:
    with journal.open("ab") as file:
        file.write(b'{"op_code":8,"wor')
    assert len(read(journal)) == 1


WRONG = {
    "op_code": [None, "4", 99, -1, [], 4.5],
    "worker_id": [None, 3],
    "study_id": [None, "0", [0]],
    "trial_id": [None, "0", {}],
    "directions": [None, "x", [9], ["a"]],
    "study_name": [None, 3, []],
    "user_attr": [None, 3, [], {}, {"host": 3}],
    "user_attrs": [3, [], {"host": []}],
    "datetime_start": [3, "yesterday"],
    "datetime_complete": [3, "yesterday", []],
    "state": [None, "x", 99],
    "values": ["x", ["x"], 3],
    "distribution": [None, 3, "{", "{}", '{"name": "Nothing"}', '{"name": "FloatDistribution", "attributes": {}}'],
    "param_value_internal": [None, "x", [], 99],
    "param_name": [None, 3],
    "step": [None, "x"],
    "intermediate_value": [None, "x", []],
}
TEXTS = ["", "nul", "3", "[]", '"x"', "{}", "\x00\x01", "{", "[" * 100_000, '{"op_code": 4}', "\xff"]


def damaged_lines(lines: list[str]) -> list[tuple[int, str]]:
    cases = [(0, text) for text in TEXTS] + [(4, text) for text in TEXTS]
    for place, line in enumerate(lines):
        log = json.loads(line)
        for key, values in WRONG.items():
            if key in log:
                cases += [(place, json.dumps({**log, key: value})) for value in values]
                cases.append((place, json.dumps({name: value for name, value in log.items() if name != key})))
    return cases


def test_every_damaged_line_is_named_or_changes_nothing_that_is_read(journal: Path, tmp_path: Path) -> None:
    lines, refused = journal.read_text().splitlines(), 0
    cases = damaged_lines(lines)
    assert len(cases) > 150
    for number, (place, text) in enumerate(cases):
        path = tmp_path / f"{number}.log"
        path.write_bytes("\n".join([*lines[:place], text, *lines[place + 1 :], ""]).encode("latin1"))
        refusal = refusal_of(path)
        refused += bool(refusal)
        assert not refusal or refusal.startswith(f"{path}: line "), f"{text!r}: {refusal}"
        assert "\n" not in refusal
    assert refused > 100


def test_a_hole_in_the_middle_is_named_by_its_line(journal: Path) -> None:
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:3], lines[3][:20], b"\0" * 30 + b"\n", *lines[4:]]))
    with pytest.raises(ValueError, match=r"journal\.log: line 4 cannot be read \(.*\); bring a whole copy"):
        read(journal)


@pytest.mark.parametrize("what", ["removed", "replaced", "cut", "edited"])
def test_a_journal_that_becomes_another_under_a_search_is_refused_and_left_as_it_is(what: str, journal: Path) -> None:
    study = optuna.load_study(study_name="s", storage=open_storage(str(journal)))
    study.get_trials()
    lines = journal.read_bytes().splitlines(keepends=True)
    if what == "cut":
        os.truncate(journal, len(b"".join(lines[:4])))
    else:
        journal.rename(journal.with_suffix(".old"))
    if what in ("replaced", "edited"):  # an editor renames a new file into place
        journal.write_bytes(b"".join(lines[:4] if what == "replaced" else [*lines[:-1], lines[-1].replace(b"1", b"2")]))
    before = journal.read_bytes() if journal.exists() else None
    with pytest.raises(ValueError, match=rf"^{journal}: the study's journal was removed, replaced or cut while"):
        study.add_trial(create_trial(value=1.0))
    assert (journal.read_bytes() if journal.exists() else None) == before
