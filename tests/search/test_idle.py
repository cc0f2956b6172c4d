"""Parameters of modalities that the data do not have are told, not searched without a word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from page_cases import store_at
from trivium.search.idle import idle_parameters

SPACE = ["optimizer.lr", "optimizer.groups.text.lr", "optimizer.groups.audio.lr", "method.post_dims.vision"]


def config(store: Path, *modalities: str) -> dict[str, Any]:
    data = {"name": "made", "features": "", "store": str(store), "modalities": list(modalities)}
    return {"data": data, "paths": {"data": "data"}}


def test_parameters_of_absent_modalities_are_found(tmp_path: Path) -> None:
    """The store has audio alone."""
    store = store_at(tmp_path / "made.h5")
    idle = {"text": ["optimizer.groups.text.lr"], "vision": ["method.post_dims.vision"]}
    assert idle_parameters(SPACE, config(store)) == idle
    assert idle_parameters(SPACE[:1], config(store)) == {}


def test_modalities_that_a_run_does_not_read_count_as_absent(tmp_path: Path) -> None:
    store = store_at(tmp_path / "made.h5")
    assert list(idle_parameters(SPACE, config(store, "text", "vision"))) == ["audio"]


def test_of_data_that_are_not_made_yet_nothing_is_said(tmp_path: Path) -> None:
    data = {"name": "fixture", "features": "", "store": "", "modalities": []}
    assert idle_parameters(SPACE, {"data": data, "paths": {"data": str(tmp_path)}}) == {}
