"""Builds the site of the documentation for tests, as `make docs` does, and imports what makes it."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

from driver import ROOT


def build_site(folder: Path) -> str:
    """Builds the site into `folder` and returns what was printed; fails if a link or page is missing."""
    # Without --quiet, which lets --strict pass over warnings.
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        capture_output=True,
        text=True,
        timeout=200,
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def docs_module(name: str) -> ModuleType:
    """Imports a module of docs/site, which is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / "site" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # A dataclass looks for its module there.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
