"""Checks where a new store is to lie, and writes it there. A failure leaves neither a file nor a folder."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from trivium.data.clips import Source
from trivium.data.store import write_store


def feature_name(name: str) -> str:
    """Returns the name. Raises ValueError for one that cannot be the name of a feature set, and so of a file."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ValueError(f"name={name}: expected letters, digits, '.', '_' and '-', a letter or digit first")
    return name


def check_place(target: Path, force: bool) -> None:
    """Raises ValueError for a store that cannot be written, before a minute's work is spent on reading."""
    if target.is_dir():
        raise ValueError(f"{target}: is a folder; out= takes a file, such as {target / 'NAME.h5'}")
    if target.exists() and not force:
        raise ValueError(f"{target}: exists already; force=true replaces it, name= or out= writes beside it")
    folder = next(parent for parent in target.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        reason = "may not be written to" if folder.is_dir() else "is a file, not a folder"
        raise ValueError(
            f"{target}: cannot be written, {folder} {reason}; choose another place with out= or paths.data="
        )


def write_new(target: Path, source: Source, **attributes: Any) -> None:
    """Writes a store, with the folders that it needs. A failure leaves neither; its OSError becomes a ValueError."""
    new_folders = [folder for folder in (target.parent, *target.parent.parents) if not folder.exists()]
    finished = False
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_store(target, source, **attributes)
        finished = True
    except OSError as error:
        raise ValueError(
            f"{target}: cannot be written ({error.strerror or error}); nothing was left there: free some space, or "
            "choose another place with out= or paths.data="
        ) from error
    finally:
        for folder in [] if finished else new_folders:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
