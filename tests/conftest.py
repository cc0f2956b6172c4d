"""Before torch is imported anywhere: idle threads sleep, so that parallel test processes do not stall each other."""

import os
from collections.abc import Iterator

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def no_settings_of_another_test() -> Iterator[None]:
    """Commands keep --config-dir and trust= in the environment, for the processes that they start."""
    from trivium.config import config_folder, trust

    yield
    for variable in (config_folder.VARIABLE, trust.VARIABLE):
        os.environ.pop(variable, None)
