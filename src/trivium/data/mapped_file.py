"""Maps a store's file into memory, and opens the mapping with h5py."""

from __future__ import annotations

import io
import mmap
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from trivium.core.system_errors import of_path
from trivium.data.hdf5_errors import HDF5_ERRORS, is_of_the_system

_BY_MACHINE = {"Linux x86_64": 0x4000, "Linux aarch64": 0x4000}
# Without this flag Linux refuses to map a file that is larger than its memory, as every page might be written to.
# mmap has it from Python 3.13 on; elsewhere 0 leaves such a file refused.
_NO_RESERVE: int = getattr(mmap, "MAP_NORESERVE", _BY_MACHINE.get(f"{platform.system()} {platform.machine()}", 0))


def mapped(path: Path) -> mmap.mmap:
    """Maps a whole file copy-on-write, because torch wants writable memory and no write may reach the file.

    Raises ValueError, naming the file, if it is missing or empty, OSError if the system cannot map it.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such store; prepare one with `trivium prepare`")
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            raise ValueError(f"{path}: an empty file, no store; prepare it again")
        with of_path(path):
            if os.name != "posix":
                return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
            access = mmap.PROT_READ | mmap.PROT_WRITE
            return mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE | _NO_RESERVE, prot=access)


class _MappedFile(io.RawIOBase):
    """Presents a mapping to h5py as a file object, with a position of its own."""

    def __init__(self, content: mmap.mmap) -> None:
        self._content, self._position = memoryview(content), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: len(self._content)}[whence]
        self._position = start + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        part = self._content[self._position : self._position + len(buffer)]
        buffer[: len(part)] = part
        self._position += len(part)
        return len(part)


@contextmanager
def reading(path: Path, content: mmap.mmap) -> Iterator[h5py.File]:
    """Opens the mapped file, and turns the errors of h5py for a damaged one into a ValueError that names the file.

    Raises OSError, naming the file, for what is wrong with the system and not with the file: no memory left, too many
    open files.
    """
    try:
        with h5py.File(_MappedFile(content), "r") as file:
            yield file
    except (*HDF5_ERRORS, ValueError, OverflowError) as error:
        # Messages of our own begin with the path; h5py raises ValueError too.
        if isinstance(error, ValueError) and str(error).startswith(str(path)):
            raise
        if isinstance(error, OSError) and is_of_the_system(error):
            raise OSError(error.errno, os.strerror(error.errno or 0), str(path)) from error
        raise ValueError(f"{path}: not a store, or cut off or damaged ({error}); prepare it again") from error
