"""Reads the features of one clip from a file of its own: .npy, .npz, .pt or .csv. Nothing in it is executed.

Legend: T steps, D features.
"""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path

import numpy as np

from trivium.data.clips import Array
from trivium.data.formats.label_table import read_text
from trivium.data.torch_file import load_tensors
from trivium.data.unpickle import RefusedError, naming

SUFFIXES = (".npy", ".npz", ".pt", ".csv")


def read_clip_file(path: Path, key: str = "") -> Array:
    """Returns (T, D) numbers as the file has them; a vector of D features is one step.

    key: the array's name in a file of several (.npz, or a .pt of a dict). A .csv has a line a step, and its first line
    may have the columns' names.
    Raises ValueError, naming the file, for one that is missing, damaged, of objects or of another rank, and for several
    arrays without a key.
    """
    arrays = _READERS[path.suffix](path)
    if key and key not in arrays:
        raise ValueError(f"{path}: has no array {key!r}; found {', '.join(map(repr, arrays))}")
    if not key and len(arrays) != 1:
        names = ", ".join(arrays) or "none"
        raise ValueError(
            f"{path}: expected one array, found {names}; choose one in manifest.yaml: "
            "modalities: {NAME: {files: FOLDER, array: KEY}}"
        )
    values = arrays[key] if key else next(iter(arrays.values()))
    if values.dtype.kind not in "fiub":
        raise ValueError(f"{path}: expected numbers, found {values.dtype}")
    if values.ndim not in (1, 2) or 0 in values.shape[values.ndim - 1 :]:
        raise ValueError(
            f"{path}: expected an array (T, D) of steps and features, or (D,) for one step; found {values.shape}"
        )
    return values if values.ndim == 2 else values[None]


def _read_npy(path: Path) -> dict[str, Array]:
    with naming(path, "a .npy file"):
        try:
            # A header that claims more than the file has is refused before memory is allocated.
            return {"": np.load(path, mmap_mode="r", allow_pickle=False)}
        except ValueError as error:
            raise _objects_refused(error) from error


def _read_npz(path: Path) -> dict[str, Array]:
    with naming(path, "a .npz file"), zipfile.ZipFile(path) as archive:
        arrays = {}
        for name in archive.namelist():
            with archive.open(name) as member:
                try:
                    arrays[name.removesuffix(".npy")] = np.lib.format.read_array(member, allow_pickle=False)
                except ValueError as error:
                    raise _objects_refused(error) from error
        return arrays


def _objects_refused(error: ValueError) -> ValueError:
    """Returns numpy's error, or one that says what to do where the file has objects instead of numbers."""
    if "bject" not in str(error) and "pickle" not in str(error):
        return error
    return RefusedError(
        "holds an array of objects, which could run code; save numbers: numpy.save(FILE, array.astype('float32'))"
    )


def _read_csv(path: Path) -> dict[str, Array]:
    """Returns the numbers of a .csv, without its first line where none of its cells is a number."""
    lines = [line for line in read_text(path).splitlines() if line.strip()]
    if lines and not any(_is_number(cell) for cell in next(csv.reader(lines[:1]))):
        lines = lines[1:]
    if not lines:
        raise ValueError(f"{path}: has no line of numbers; expected a line for each step")
    try:
        return {"": np.loadtxt(io.StringIO("\n".join(lines)), delimiter=",", ndmin=2, comments=None)}
    except ValueError as error:
        # numpy adds advice on its own arguments behind a semicolon.
        reason = str(error).split(";", 1)[0].rstrip(".")
        raise ValueError(
            f"{path}: expected numbers with commas between them, a line for each step; {reason}"
        ) from error


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


_READERS = {".npy": _read_npy, ".npz": _read_npz, ".pt": load_tensors, ".csv": _read_csv}
