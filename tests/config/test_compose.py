"""Composing many command lines in one session: each file is read once, and nothing of one composition is in another."""

from __future__ import annotations

import collections
from pathlib import Path
from typing import Any

import pytest

from trivium.config.compose import Composer, compose_config, composer

LINES = (
    ["method=comm", "optimizer.lr=0.5", "method.terms=cross"],
    ["experiment=selfmi_mosi", "encoders.text.pool=mean"],
    ["method=comm"],
    ["data=fixture_sims", "encoder@encoders.text=bert"],
    ["experiment=selfmi_mosi"],
)


def test_a_session_composes_as_one_that_has_composed_nothing_before() -> None:
    with composer() as session:
        together = [session.compose(line) for line in (*LINES, *reversed(LINES))]
    alone = [compose_config(line) for line in LINES]
    assert together == [*alone, *reversed(alone)]


def test_each_file_is_read_once_though_several_sessions_need_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trivium.config.compose._PACKAGE_FILES", {})
    reads: collections.Counter[str] = collections.Counter()

    def counted(load: Any, source: Any, config_path: str) -> Any:
        reads[config_path] += 1
        return load(source, config_path)

    for _ in range(2):
        with composer() as session:
            (kind,) = {type(source) for source in session.loader.repository.get_sources() if source.scheme() == "file"}
            with monkeypatch.context() as patch:
                patch.setattr(kind, "load_config", replaced_by(counted, kind.load_config))
                for line in (*LINES, *LINES):
                    session.compose(line)
    assert reads["method/comm"] == 1
    assert set(reads.values()) == {1}


def test_a_composition_is_kept_until_many_others_were_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trivium.config.compose.MAX_COMPOSITIONS", 2)
    with composer() as session:
        composed = composed_by(session, monkeypatch)
        for seed in (1, 2, 1, 3, 2, 1):
            assert session.compose([f"seed={seed}"])["seed"] == seed
            assert session.files([f"seed={seed}"])[0].path
        assert composed == ["seed=1", "seed=2", "seed=3", "seed=1"]


def composed_by(session: Composer, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Returns a list to which each command line that the session composes is added."""
    lines: list[str] = []
    load = session.loader.load_configuration

    def noted(name: str, overrides: list[str], mode: Any) -> Any:
        lines.append(" ".join(overrides))
        return load(name, overrides, mode)

    monkeypatch.setattr(session.loader, "load_configuration", noted)
    return lines


def replaced_by(counted: Any, load: Any) -> Any:
    return lambda source, config_path: counted(load, source, config_path)


def test_a_folder_that_a_line_adds_counts_for_this_line_alone(tmp_path: Path) -> None:
    (tmp_path / "fusion").mkdir()
    (tmp_path / "fusion" / "mine.yaml").write_text("_target_: trivium.fusions.Concat\nout: 7\n")
    line = ["fusion=mine", f"hydra.searchpath=[file://{tmp_path}]"]
    with composer() as session:
        before = session.compose(["fusion=concat"])
        assert session.compose(line)["fusion"]["out"] == 7
        assert session.compose(["fusion=concat"]) == before
        with pytest.raises(ValueError, match="mine"):
            session.compose(["fusion=mine"])
