"""The lock installs on any machine, and holds what pyproject.toml asks for."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LINES = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if line and line[0] != "#"]


def test_every_line_of_the_lock_is_one_exact_version() -> None:
    assert [line for line in LINES if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line)] == []


def test_the_lock_satisfies_the_ranges_for_users() -> None:
    pinned = {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in LINES)}
    assert pinned["torch"] == "2.13.0"  # the version whose CPU build pip finds; a range would pull CUDA packages
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *project["optional-dependencies"]["text"],
        *project["optional-dependencies"]["dev"],
    ]
    for requirement in map(Requirement, wanted):
        version = pinned.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not in requirements.lock"
        assert requirement.specifier.contains(version), f"{requirement} excludes the locked {version}"
