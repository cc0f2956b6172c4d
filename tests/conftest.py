"""Before torch is imported anywhere: idle threads sleep, so that parallel test processes do not stall each other."""

import os
from collections.abc import Iterator

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OMP_NUM_THREADS", "1")


# Files that take long, many of them with few tests. They begin first, so that no worker ends alone with one of them.
LONG = (
    *("runs/test_two_processes.py", "methods/test_target_kinds.py", "test_installed.py", "test_short_way.py"),
    *("search/test_multirun.py", "search/test_search.py", "search/test_train_processes.py", "test_my_own_data.py"),
    *("runs/test_resume.py", "tables/test_reproduce.py", "tables/test_mmsa_table.py", "tables/test_row_search.py"),
    *("test_soak.py", "config/test_pairs.py", "config/test_sweep.py", "tables/test_definition.py", "test_docs.py"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        path = item.path.as_posix()
        return next((number for number, name in enumerate(LONG) if path.endswith(name)), len(LONG))

    items.sort(key=place)


@pytest.fixture(autouse=True)
def no_settings_of_another_test() -> Iterator[None]:
    """Commands keep --config-dir and trust= in the environment, for the processes that they start."""
    from trivium.config import config_folder, trust

    yield
    for variable in (config_folder.VARIABLE, trust.VARIABLE):
        os.environ.pop(variable, None)
