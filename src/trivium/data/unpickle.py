"""Reads a pickle without running anything in it: numpy arrays and plain containers, nothing else.

`find_class` returns the functions below and no others. The standard library's unpickler leaves open three ways to do
harm without a class, and each is closed here:

* Python hashes a key through all the tuples in it, on the C stack. A key of two million nested tuples (2 MB of file)
  ends the process, and one that holds the same tuple twice at each of 28 levels stops it for hours. So a key must be
  text, a number, or a tuple of those. Only the unpickler written in Python shows a subclass the keys before they are
  hashed.
* BUILD gives a state to any object, even to functions and classes. Here it reaches only arrays, their types and
  `SavedObject`. A type's state from the file never reaches numpy, which would read bytes as pointers with forged flags.
* Memory for a length in the file is allocated before the bytes are read. Here the length is first compared with the
  rest of the file.

A message quotes only text and numbers of bounded length, as to write out an object from the file could take hours.
"""

from __future__ import annotations

import math
import os
import pickle
import re
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np

from trivium.core.wording import shortened
from trivium.data.clips import Array

# The most axes that a numpy array can have.
MAX_AXES = 64
_TYPE_CODE = re.compile(r"[|<>=]?(?P<code>[?biufSUO]\d*)")
# Stands for the class, as a text that cannot be called.
_NDARRAY = "numpy.ndarray"
_KEYS = (str, bytes, int, float, type(None), np.generic)


class RefusedError(ValueError):
    """Says why a file is refused; `naming` puts the file's name in front."""


class SavedObject:
    """Holds the state of an object whose class is not imported; it has no behaviour."""

    __slots__ = ("state",)
    state: Any


class _Type:
    """Holds a dtype while it is read, as its byte order comes after it in the file."""

    __slots__ = ("dtype",)

    def __init__(self, code: str, *_: Any) -> None:
        match = _TYPE_CODE.fullmatch(code)
        if match is None:
            raise RefusedError(f"holds an array of type {brief(code)}; only plain numeric and text arrays are read")
        self.dtype = np.dtype(match["code"])

    def set_state(self, state: tuple[Any, ...]) -> None:
        _, order, base, names, fields, *_ = state
        if base is not None or names is not None or fields is not None:
            raise RefusedError("holds a structured array; only plain numeric and text arrays are read")
        if order not in ("<", ">", "=", "|"):
            raise RefusedError(f"holds an array with byte order {brief(order)}")
        self.dtype = self.dtype.newbyteorder(order)


def _with_checked_keys(opcode: bytes, keys: slice) -> tuple[int, Callable[[Any], None]]:
    """Returns an entry of `dispatch` that first checks the keys on the stack. keys: where the opcode has them there."""
    load = pickle._Unpickler.dispatch[opcode[0]]

    def checked_load(unpickler: Any) -> None:
        for key in unpickler.stack[keys]:
            _checked_key(key)
        load(unpickler)

    return opcode[0], checked_load


class RestrictedUnpickler(pickle._Unpickler):
    """Reads pickles of protocol 0 to 5, from Python 2 or 3, numpy 1 or 2. OrderedDict and defaultdict become dict."""

    reads = "numpy arrays and plain containers"
    stack: list[Any]
    read: Callable[[int], bytes]

    def __init__(self, file: IO[bytes]) -> None:
        # The encoding matters only to Python 2's str, which held array bytes.
        super().__init__(_BoundedFile(file), encoding="latin1")

    def find_class(self, module: str, name: str) -> Any:
        # numpy 2 renamed numpy.core to numpy._core, and up to protocol 2 builtins have Python 2's name.
        qualified_name = f"{module}.{name}".replace("numpy.core.", "numpy._core.").replace("__builtin__.", "builtins.")
        # In a text file, lines that begin with "i" or "c" look like names of classes.
        if not qualified_name.replace(".", "").isidentifier():
            raise ValueError(f"{brief(qualified_name)} is no name")
        if qualified_name not in _ALLOWED:
            raise RefusedError(
                f"asks for {f'{module}.{name}'[:120]}, which could run code; only {self.reads} are read: save it again "
                "as a dict of those"
            )
        return _ALLOWED[qualified_name]

    def _build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, _Type):
            target.set_state(state)
        elif isinstance(target, np.ndarray):
            _set_array(target, state)
        elif isinstance(target, SavedObject):
            target.state = state
        else:
            raise RefusedError(f"gives a state to a {type(target).__name__}, which has none")

    def _bytearray8(self) -> None:
        self.stack.append(bytearray(self.read(struct.unpack("<Q", self.read(8))[0])))

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        **pickle._Unpickler.dispatch,
        pickle.BUILD[0]: _build,
        pickle.BYTEARRAY8[0]: _bytearray8,
        **dict(
            [
                _with_checked_keys(pickle.SETITEM, slice(-2, -1)),
                _with_checked_keys(pickle.SETITEMS, slice(0, None, 2)),
                _with_checked_keys(pickle.DICT, slice(0, None, 2)),
                _with_checked_keys(pickle.ADDITEMS, slice(None)),
                _with_checked_keys(pickle.FROZENSET, slice(None)),
            ]
        ),
    }


class _BoundedFile:
    """Reads a file, and refuses to read past its end before memory for the bytes is allocated."""

    def __init__(self, file: IO[bytes]) -> None:
        start = file.tell()
        self._file, self._size = file, file.seek(0, os.SEEK_END)
        self.readline = file.readline
        file.seek(start)

    def read(self, count: int) -> bytes:
        if count > 1 << 16 and count > self._size - self._file.tell():
            raise EOFError(f"{count} bytes asked for, past the end")
        return self._file.read(count)


def safe_load(path: Path) -> Any:
    """Returns the content of a pickle, in which arrays may be read-only.

    Raises ValueError, naming the file, if it names anything but numpy arrays and plain containers (nothing of it is
    called), if it holds an array of objects that are not all str (naming its key), and if it is cut off or no pickle.
    """
    with naming(path, "a pickle"), _naming_line_ends(path), path.open("rb") as file:
        content = RestrictedUnpickler(file).load()
        # pandas and old numpy wrote transcripts as arrays of str objects, and clips of unequal length as arrays of
        # arrays.
        refuse_objects(content, allowed=(str,), arrays=True)
        return content


@contextmanager
def _naming_line_ends(path: Path) -> Iterator[None]:
    """Lets an error of reading a pickle of protocol 0, which is text, say that a copy has changed its line ends."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        with path.open("rb") as file:
            start = file.read(1 << 16)
        if start[:1] != b"\x80" and b"\r\n" in start and start.count(b"\n") == start.count(b"\r\n"):
            raise RefusedError(
                "is a pickle of protocol 0 whose line ends are those of Windows (CR LF): it was copied as text, which "
                "changes it. Copy it again as binary, or save it with protocol=2 or higher"
            ) from error
        raise


@contextmanager
def naming(path: Path, kind: str) -> Iterator[None]:
    """Turns every error of reading into a ValueError that names the file; errors of the system stay OSError."""
    try:
        yield
    except RefusedError as error:
        raise ValueError(f"{path}: {error}") from error
    except FileNotFoundError as error:
        raise ValueError(f"{path}: no such file") from error
    except OSError:
        raise
    except MemoryError as error:
        raise ValueError(f"{path}: does not fit into memory, or is damaged ({error})") from error
    # A damaged stream can end in nearly any exception (EOFError, KeyError, struct.error, ...); all mean the same.
    except Exception as error:
        # It may repeat as much of the file as it likes.
        reason = shortened(f"{type(error).__name__}: {error}", 200)
        raise ValueError(f"{path}: not {kind}, or cut off ({reason})") from error


def brief(value: Any) -> str:
    """Returns a value as text for a message: up to 60 characters, a number below 2^64, or the type of anything else."""
    if isinstance(value, str):
        return repr(value[:60])
    small = value is None or isinstance(value, float) or (isinstance(value, int) and abs(value) < 1 << 64)
    return repr(value) if small else f"a {type(value).__name__}"


def is_shape(value: Any) -> bool:
    """Tells whether a value is a tuple of no more than 64 whole numbers, each 0 or above and of 63 bits."""
    return (
        isinstance(value, tuple)
        and len(value) <= MAX_AXES
        and all(isinstance(size, int) and 0 <= size < 1 << 63 for size in value)
    )


def refuse_objects(value: Any, allowed: tuple[type, ...], *, arrays: bool = False) -> None:
    """Raises RefusedError, naming the key, for an array of objects that are not all of the allowed types.

    arrays: whether they may also be all plain arrays.
    """
    visited: set[int] = set()

    def visit(value: Any, key: str) -> None:
        if isinstance(value, np.ndarray) and value.dtype.hasobject:
            refused = [item for item in value.flat if not isinstance(item, allowed)]
            if refused and not (arrays and all(map(_is_plain_array, value.flat))):
                raise RefusedError(
                    f"key {key!r} is an object array that holds {_kind_of(refused[0])}; only objects that are all "
                    f"{' or '.join(kind.__name__ for kind in allowed)} are read: save it as an array of numbers, or a "
                    "list of arrays"
                )
        if not isinstance(value, dict | list | tuple) or id(value) in visited:
            return
        visited.add(id(value))
        if isinstance(value, dict):
            for name, item in value.items():
                text = name[:60] if isinstance(name, str) else brief(name)
                visit(item, f"{key}/{text}" if key else text)
        else:
            for place, item in enumerate(value):
                visit(item, f"{key}[{place}]")

    visit(value, "")


def _is_plain_array(item: Any) -> bool:
    return isinstance(item, np.ndarray) and not item.dtype.hasobject


def _kind_of(item: Any) -> str:
    """Returns the name of an item's type, without names that only this module knows."""
    name = type(item).__name__
    known = isinstance(item, np.ndarray | np.generic) or type(item).__module__ == "builtins"
    return name if known else "objects"


def _checked_key(item: Any) -> Any:
    """Returns the item if it may be a key, otherwise raises RefusedError; the module's docstring says why."""
    parts = item if isinstance(item, tuple) else (item,)
    if len(parts) > MAX_AXES or not all(isinstance(part, _KEYS) for part in parts):
        raise RefusedError(f"has {brief(item)} as a key; only text, numbers and short tuples of those are read")
    return item


def _dict_of(pairs: Iterable[Any] = ()) -> dict[Any, Any]:
    return {_checked_key(key): value for key, value in pairs}


def _encoded(text: Any, codec: str = "latin1") -> Any:
    """Returns the bytes of text, and anything else as it is: `_check_size` will check it."""
    if codec not in ("latin1", "latin-1"):
        raise RefusedError(f"asks for the codec {brief(codec)}")
    return text.encode("latin1") if isinstance(text, str) else text


def _bytearray(raw: bytes | str = b"", codec: str = "latin1") -> bytearray:
    # memoryview refuses a number: bytearray(10**11) would fill the memory.
    return bytearray(memoryview(_encoded(raw, codec)))


def _empty_array(kind: Any, *_: Any) -> Array:
    if kind is not _NDARRAY:
        raise RefusedError(f"asks for a numpy array of another class, {brief(kind)}")
    return _array_of(b"", np.dtype(np.uint8), (0,))


def _scalar(kind: _Type, raw: bytes | str) -> Any:
    if kind.dtype.hasobject:
        raise RefusedError("holds a numpy scalar of type object")
    return _array_of(_encoded(raw), kind.dtype, (1,))[0]


def _array_of(raw: Any, dtype: np.dtype[Any], shape: Any, order: str = "C", axes: Any = None) -> Array:
    """Returns the bytes as an array, without a copy."""
    _check_size(raw, dtype, shape)
    if raw:
        array = np.frombuffer(raw, dtype).reshape(shape, order="F" if order == "F" else "C")
    else:
        array = np.zeros(shape, dtype)
    array.setflags(write=False)
    return array if axes is None else array.transpose(axes)


def _set_array(array: Array, state: tuple[Any, ...]) -> None:
    """Gives an array of `_empty_array` its shape, type and values by numpy itself, once they have been checked."""
    # A version number comes first, except in very old files.
    shape, kind, fortran, raw = state[-4:]
    if array.shape != (0,) or array.dtype != np.uint8:
        raise RefusedError("gives a state to an array that has one")
    raw, dtype = _encoded(raw), kind.dtype
    _check_size(raw, dtype, shape)
    array.__setstate__((1, shape, dtype, bool(fortran), raw))  # type: ignore[arg-type]
    # An item that the file set later could be a list that takes hours to convert.
    array.setflags(write=False)


def _check_size(raw: Any, dtype: np.dtype[Any], shape: Any) -> None:
    """Raises RefusedError unless `raw` has one object, or one entry's bytes, for each entry of the shape."""
    if not is_shape(shape):
        raise RefusedError(f"holds an array whose shape is no tuple of sizes, but {brief(shape)}")
    count, is_objects = math.prod(shape), dtype.hasobject
    if not isinstance(raw, list if is_objects else bytes | bytearray):
        raise RefusedError(f"holds an array of type {dtype} whose values are {brief(raw)}")
    # numpy writes such a type for one empty string. For more entries any shape could be claimed.
    if count > 1 and not dtype.itemsize:
        raise RefusedError(f"holds an array of shape {shape} and type {dtype}, whose entries take no bytes")
    needed = count if is_objects else count * dtype.itemsize
    if len(raw) != needed:
        unit = "objects" if is_objects else "bytes"
        raise RefusedError(
            f"holds an array of shape {shape} and type {dtype}, but {len(raw)} {unit} for it, not {needed}"
        )


_ALLOWED: dict[str, Any] = {
    _NDARRAY: _NDARRAY,
    "numpy.dtype": _Type,
    "numpy._core.multiarray._reconstruct": _empty_array,
    "numpy._core.multiarray.scalar": _scalar,
    "numpy._core.numeric._frombuffer": lambda raw, kind, *layout: _array_of(raw, kind.dtype, *layout),
    "_codecs.encode": _encoded,
    "builtins.bytes": lambda: b"",
    "builtins.bytearray": _bytearray,
    "builtins.set": lambda items: set(map(_checked_key, items)),
    "builtins.frozenset": lambda items: frozenset(map(_checked_key, items)),
    "collections.OrderedDict": _dict_of,
    "collections.defaultdict": lambda *_: {},
    # What a defaultdict makes of missing keys: a text, as it is never called.
    "builtins.list": "builtins.list",
}
