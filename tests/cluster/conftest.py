"""One SLURM for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from real_slurm import MISSING, Slurm, running


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    if MISSING:
        pytest.skip(f"no {', '.join(MISSING)} here: `make cluster-test` installs Debian's slurm-wlm and munge")
    with running(tmp_path_factory.mktemp("slurm")) as started:
        yield started
