"""Copies configs/ into the built package; everything else stands in pyproject.toml."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

CONFIGS = Path("configs")


class BuildWithConfigs(build_py):
    """Builds the package with the config files as its data.

    setuptools takes package data from inside a package alone, and configs/ lies at the top level, where people look.
    An editable install reads them there.
    """

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for file in sorted(CONFIGS.rglob("*.yaml")):
            target = Path(self.build_lib, "trivium", file)
            self.mkpath(str(target.parent))
            self.copy_file(str(file), str(target))


setup(cmdclass={"build_py": BuildWithConfigs})
