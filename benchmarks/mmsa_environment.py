"""Installs MMSA from the package index into a virtual environment, with the same torch and transformers as ours."""

from __future__ import annotations

import os
import shutil
import subprocess
import venv
from importlib import metadata
from pathlib import Path

MMSA = "MMSA==2.2.1"


def default_folder() -> Path:
    """Returns a folder in the user's cache, so that the next benchmark finds the environment again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trivium" / "mmsa-venv"


def mmsa_python(folder: Path, transformers: str = "") -> Path:
    """Returns the interpreter of the environment in `folder`, which is made if it is missing or has other versions.

    transformers: a release other than the one in use here, in an environment beside that in `folder`.
    Raises RuntimeError with pip's last line if MMSA cannot be installed.
    """
    # The versions in use here, so that what differs is MMSA. +cpu is no version that an index knows.
    versions = {name: metadata.version(name).partition("+")[0] for name in ("torch", "transformers", "numpy")}
    if transformers:
        folder, versions["transformers"] = folder.with_name(f"{folder.name}-transformers-{transformers}"), transformers
    pins = [f"{name}=={version}" for name, version in versions.items()]
    wanted = "\n".join([MMSA, *pins]) + "\n"
    python, ready = folder / "bin" / "python", folder / "installed.txt"
    if not ready.is_file() or ready.read_text() != wanted:
        if folder.exists() and not ready.is_file():
            raise RuntimeError(f"{folder} is there, but was not made by this benchmark; name another with mmsa=FOLDER")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        ready.write_text("unfinished\n")
        venv.create(folder, with_pip=True)
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *pins, MMSA]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise RuntimeError(f"MMSA could not be installed into {folder}: {last}")
        ready.write_text(wanted)
    return python
