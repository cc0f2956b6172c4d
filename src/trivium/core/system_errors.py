"""Says what the system refused in words that lead on: which path, what is wrong with it, what to do."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

_ELSEWHERE = "give a folder of your own (paths.outputs=, paths.data= or out=)"
_ADVICE = {
    errno.ENOSPC: f"free some space, or {_ELSEWHERE}; nothing half-written is left, and a run goes on with resume=auto",
    errno.EDQUOT: f"your quota is used up: free some space, or {_ELSEWHERE}; a run goes on with resume=auto",
    errno.EACCES: f"it is not yours to use: {_ELSEWHERE}, or ask its owner",
    errno.EPERM: f"it is not yours to use: {_ELSEWHERE}, or ask its owner",
    errno.EROFS: f"the disk can only be read: {_ELSEWHERE}",
    errno.EMFILE: "this shell allows too few open files: raise the number with `ulimit -n 1024`",
    errno.ENFILE: "the machine has too many files open: end other programs",
    errno.EFBIG: "this shell or file system allows no file so large: raise the limit with `ulimit -f unlimited`",
    errno.EIO: "the disk or the network drive fails: copy the file again, or try later",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOMEM: "the machine has too little memory: end other programs",
}


def words_of_error(error: OSError) -> str:
    """Returns an error of the system on one line: "PATH: No space left on device; free some space, or ..."."""
    if error.errno is None or not error.strerror:
        return " ".join(str(error).split())
    places = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    where = f"{' -> '.join(places)}: " if places else ""
    advice = _ADVICE.get(error.errno)
    return f"{where}{error.strerror}{f'; {advice}' if advice else ''}"


def is_of_memory(error: BaseException) -> bool:
    """Tells whether an error says that there was too little memory, on the CPU or a GPU."""
    # torch has a class of its own for a GPU's memory alone.
    words = ("can't allocate memory", "not enough memory", "out of memory", "Cannot allocate memory")
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError | OSError) and any(word in str(error) for word in words)
    )


@contextlib.contextmanager
def of_path(path: str | os.PathLike[str]) -> Iterator[None]:
    """Lets an error of the system name the path, where it would name none: writing to a full disk, for instance."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error


def refuse_unwritable(folder: Path, key: str = "out") -> None:
    """Raises ValueError if nothing can be written into a folder, or into the nearest that is there above it.

    It is asked before a computation of minutes. key: of the setting that names another folder.
    """
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise ValueError(f"{place}: expected a folder, found a file; give another one with {key}=DIR")
    # A read-only disk refuses root too.
    if not os.access(place, os.W_OK | os.X_OK):
        raise ValueError(f"{place}: cannot be written into; give another folder with {key}=DIR")
