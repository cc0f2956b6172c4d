"""What is written is standard JSON and CSV."""

import csv
import io
import json
import math
from pathlib import Path

import pytest

from trivium.core.files import csv_text, write_json


def test_an_undefined_metric_is_null_and_not_a_bare_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"test": {"corr": math.nan, "mae": 0.1}, "list": [math.inf, 1.0, (2.0, "a")]})

    def refuse(name: str) -> None:
        pytest.fail(f"{name} is no JSON")

    found = json.loads((tmp_path / "x.json").read_text(), parse_constant=refuse)
    assert found == {"test": {"corr": None, "mae": 0.1}, "list": [None, 1.0, [2.0, "a"]]}


def test_rows_as_csv_are_read_back_with_what_they_lack_empty() -> None:
    text = csv_text(("name", "mae"), [{"name": 'a, "b"\nc', "mae": 0.1}, {"name": "d"}])
    assert list(csv.DictReader(io.StringIO(text))) == [{"name": 'a, "b"\nc', "mae": "0.1"}, {"name": "d", "mae": ""}]
    assert "\r" not in text
    with pytest.raises(ValueError, match="mea"):
        csv_text(("name", "mae"), [{"mea": 1}])
