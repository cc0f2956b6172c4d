"""A command line that refuses what it was asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest


def refusal(
    main: Callable[[Sequence[str]], int], arguments: Sequence[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> str:
    """The one line on stderr of a command that ends with 2 and leaves the folder as it was."""
    before = sorted(folder.rglob("*"))
    assert main(arguments) == 2
    assert sorted(folder.rglob("*")) == before
    (line,) = capsys.readouterr().err.splitlines()
    return line
