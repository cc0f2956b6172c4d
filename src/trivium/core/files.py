"""Writes files that are whole or not there: every file that Trivium writes goes through `atomic_file`."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from trivium.core.system_errors import of_path


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Opens a binary file for reading and writing, which appears at `path` complete or not at all.

    The bytes go to an unnamed file in the target's folder where the file system has such files (Linux O_TMPFILE), so
    that even SIGKILL leaves nothing behind. Elsewhere they go to a hidden `.NAME.PID.part`, which any error removes.
    The bytes are on disk (fsync) before the name is. Raises OSError as the file system does (full, read-only, no
    permission).
    """
    with of_path(path):
        yield from _atomic(Path(path))


def _atomic(path: Path) -> Iterator[IO[bytes]]:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    # Windows opens no folder; there the name may reach the disk later than the bytes.
    folder = os.open(path.parent, os.O_RDONLY) if os.name == "posix" else None
    unnamed = _open_unnamed(path.parent)
    file: IO[bytes] = part.open("w+b") if unnamed is None else os.fdopen(unnamed, "w+b")
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if unnamed is not None:
                # A folder descriptor makes Python call linkat, which alone follows /proc's link to the unnamed file.
                os.link(f"/proc/self/fd/{unnamed}", part, src_dir_fd=folder, follow_symlinks=True)
        os.replace(part, path)
        if folder is not None:
            os.fsync(folder)
    finally:
        if folder is not None:
            os.close(folder)
        part.unlink(missing_ok=True)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Writes value as indented JSON, atomically; NaN and infinities, which JSON does not have, become null."""
    with atomic_file(path) as file:
        file.write((json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes text as UTF-8, atomically."""
    with atomic_file(path) as file:
        file.write(text.encode())


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Returns rows as CSV beneath the columns' names; a cell that a row lacks is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _open_unnamed(folder: Path) -> int | None:
    flag = getattr(os, "O_TMPFILE", 0)
    if not flag or not Path("/proc/self/fd").exists():
        return None
    try:
        return os.open(folder, flag | os.O_RDWR, 0o644)
    except OSError as error:
        if isinstance(error, FileNotFoundError | PermissionError | NotADirectoryError):
            raise
        # The file system has no unnamed files (NFS and some overlays have none): a named one has to do.
        return None
