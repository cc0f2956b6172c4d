"""Nothing that only Linux has is needed to import Trivium, to write files, to lock, and to train."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from driver import ROOT

# Windows has no fcntl and no signal masks, macOS no unnamed files and no death signal.
HIDE = """
import os, signal, sys
import filelock  # which locks by other means where there is no fcntl
filelock.lock_descriptor
sys.modules["fcntl"] = None
for module, names in ((os, ["O_TMPFILE"]), (signal, ["pthread_sigmask"])):
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
"""
TRAIN = """
import importlib, pkgutil
import trivium
for module in pkgutil.walk_packages(trivium.__path__, "trivium."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
from trivium.core.locks import alone, is_taken, take
lock = take(Path("a.lock"))
assert lock is not None and is_taken(Path("a.lock"))
lock.close()
assert not is_taken(Path("a.lock"))
from trivium.cli.main import main
code = main(["train", "trainer.max_epochs=1", "trainer.limit_batches=1", "trainer.accelerator=cpu", "run.dir=run"])
assert code == 0, code
assert trivium.load_run("run").evaluate("test")["mae"] > 0
"""


@pytest.mark.slow
def test_a_run_without_what_only_linux_has(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"from pathlib import Path\n{HIDE}{TRAIN}"], cwd=tmp_path, capture_output=True,
        text=True, timeout=200, env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads((tmp_path / "run" / "result.json").read_text())["seed"] == 1
    assert not list((tmp_path / "run").rglob(".*.part"))
