"""Read a pickle without running anything in it: numpy arrays and plain containers, nothing else.

The C unpickler parses the stream, once `pickle_scan` has gone through it, but no numpy code takes part in rebuilding: a
pickled array becomes a note of its shape, type and bytes, and is turned into an array here, after its size was checked.
(numpy's own `__setstate__` trusts the flags it finds in the file, and with forged ones reads bytes as pointers.)
What a message quotes of a file is text or numbers of bounded length: to write out what it built could take hours.
"""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from trivium.data.clips import Array
from trivium.data.pickle_scan import RefusedError, check_pickle

_TYPE_CODE = re.compile(r"[|<>=]?(?P<code>[?biufSUO]\d*|V\d+|c\d+)")
_MOST_AXES = 64  # numpy's
_NDARRAY = object()  # what `numpy.ndarray` becomes: a name to pass around, not a callable


class _Type:
    """A pickled dtype: its code, and the byte order that its state brings."""

    __slots__ = ("code", "order")

    def __init__(self, code: str) -> None:
        self.code, self.order = code, "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, order, base, names, fields, *_ = state
        if base is not None or names is not None or fields is not None:
            raise RefusedError("holds a structured array; only plain numeric and text arrays are read")
        if order not in ("<", ">", "=", "|"):
            raise RefusedError(f"holds an array with byte order {brief(order)}")
        self.order = order

    @property
    def dtype(self) -> np.dtype[Any]:
        plain = np.dtype(self.code)
        return plain if self.order == "|" else plain.newbyteorder(self.order)  # type: ignore[arg-type]


class _Pending:
    """A pickled array before it is built; `value` is set by its state."""

    __slots__ = ("objects", "value")
    __hash__ = None  # type: ignore[assignment]  # like an array, it cannot be a key
    value: Array
    objects: bool

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        shape, kind, fortran, raw = state[-4:]  # a version number comes first, except in very old files
        self.objects = kind.code.startswith("O")
        if self.objects:
            self.value = np.empty(len(raw), dtype=object)
            self.value[:] = raw
            self.value = self.value.reshape(shape, order="F" if fortran else "C")
            return
        data = raw.encode("latin1") if isinstance(raw, str) else raw  # Python 2 wrote its str
        self.value = array_of(data, kind.dtype, shape, "F" if fortran else "C")


class RestrictedUnpickler(pickle.Unpickler):
    """Hands out the `__call__` of things, on which, unlike functions, methods and classes, nothing can set attributes.

    Plain types are only those that `pickle` calls, with what it gives them: bytes(10**11) would fill the memory, and
    str(x) write out whatever it is given. An OrderedDict becomes a dict, which keeps its order too and
    takes no attributes (an `items` of the file's making, for example).
    Raises as `check_pickle` does when it is made. file: can be seeked.
    """

    reads = "numpy arrays and plain containers"

    def __init__(self, file: IO[bytes]) -> None:
        start = file.tell()
        check_pickle(file)
        file.seek(start)
        # It matters only to Python 2's str, which held array bytes; Python 3's text and bytes have opcodes of their own
        super().__init__(file, encoding="latin1")

    def find_class(self, module: str, name: str) -> Any:
        # numpy 2 renamed numpy.core to numpy._core; Python 2's name for builtins goes up to protocol 2
        full = f"{module}.{name}".replace("numpy.core.", "numpy._core.").replace("__builtin__.", "builtins.")
        if full == "numpy.ndarray":
            return _NDARRAY
        found = {
            "builtins.bytes": self._bytes,
            "builtins.bytearray": self._bytearray,
            "builtins.set": set,
            "builtins.frozenset": self._frozenset,
            "collections.OrderedDict": dict,
            "_codecs.encode": self._encode,
            "numpy.dtype": self._dtype,
            "numpy._core.multiarray._reconstruct": self._reconstruct,
            "numpy._core.multiarray.scalar": self._scalar,
            "numpy._core.numeric._frombuffer": self._frombuffer,
        }.get(full)
        if found is None:
            raise RefusedError(
                f"asks for {f'{module}.{name}'[:120]}, which could run code; only {self.reads} are read: save it again "
                "as a dict of those"
            )
        return found.__call__  # type: ignore[operator]

    def _bytes(self) -> bytes:
        return b""

    def _bytearray(self, raw: bytes | str = b"", codec: str = "latin1") -> bytearray:
        return bytearray(self._encode(raw, codec) if isinstance(raw, str) else memoryview(raw))

    def _frozenset(self, items: list[Any]) -> frozenset[Any]:
        # The scan sees a list, not what is in it: nothing may come of it that holds other keys
        if not isinstance(items, list) or any(isinstance(item, tuple | frozenset) for item in items):
            raise RefusedError("holds a frozenset of tuples or frozensets; save it again with protocol 4 or later")
        return frozenset(items)

    def _encode(self, text: str, codec: str) -> bytes:
        if codec not in ("latin1", "latin-1"):
            raise RefusedError(f"asks for the codec {brief(codec)}")
        return text.encode("latin1")

    def _dtype(self, code: str, *_: Any) -> _Type:
        match = _TYPE_CODE.fullmatch(code)
        if match is None or code[0] in "Vc":
            raise RefusedError(f"holds an array of type {brief(code)}; only plain numeric and text arrays are read")
        return _Type(match["code"])

    def _reconstruct(self, kind: Any, *_: Any) -> _Pending:
        if kind is not _NDARRAY:
            raise RefusedError(f"asks for a numpy array of another class, {brief(kind)}")
        return _Pending()

    def _scalar(self, kind: _Type, raw: bytes | str) -> Any:
        if kind.code.startswith("O"):
            raise RefusedError("holds a numpy scalar of type object")
        return array_of(raw.encode("latin1") if isinstance(raw, str) else raw, kind.dtype, (1,), "C")[0]

    def _frombuffer(self, raw: bytes, kind: _Type, shape: tuple[int, ...], order: str, axes: Any = None) -> Array:
        array = array_of(raw, kind.dtype, shape, "F" if order == "F" else "C")
        return array if axes is None else array.transpose(axes)


def safe_load(path: Path) -> Any:
    """What a pickle holds, of protocol 0 to 5, from Python 2 or 3, numpy 1 or 2; arrays may be read-only.

    Raises ValueError, naming the file, if it names anything but numpy arrays and plain containers (nothing of it is
    called), holds an array of objects that are not all str (naming its key), or is cut off or no pickle at all.
    """
    with naming(path, "a pickle"), path.open("rb") as file:
        return settled(RestrictedUnpickler(file).load())


@contextmanager
def naming(path: Path, kind: str) -> Iterator[None]:
    """Every error of reading becomes a ValueError that names the file; but what the system says of it stays OSError."""
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
    # A damaged stream can end in nearly any exception (EOFError, KeyError, struct.error, ...): all mean the same
    except Exception as error:
        raise ValueError(f"{path}: not {kind}, or cut off ({type(error).__name__}: {error})") from error


def brief(value: Any) -> str:
    """For a message: up to 60 characters of text or a number; of anything else, and of a longer number, the type."""
    if isinstance(value, str):
        return repr(value[:60])
    small = value is None or isinstance(value, float) or (isinstance(value, int) and abs(value) < 1 << 64)
    return repr(value) if small else f"a {type(value).__name__}"


def is_shape(value: Any) -> bool:
    """A tuple of no more than 64 whole numbers, each 0 or above and of 63 bits."""
    return (
        isinstance(value, tuple)
        and len(value) <= _MOST_AXES
        and all(isinstance(size, int) and 0 <= size < 1 << 63 for size in value)
    )


def array_of(raw: Any, dtype: np.dtype[Any], shape: tuple[int, ...], order: str) -> Array:
    """The bytes as an array, without a copy. Raises RefusedError if their number does not fit shape and type."""
    if not is_shape(shape):
        raise RefusedError(f"holds an array whose shape is no tuple of sizes, but {brief(shape)}")
    count = math.prod(shape)
    needed = count * dtype.itemsize
    if count > 1 and not dtype.itemsize:  # numpy writes it for one empty string; of more, any shape could be claimed
        raise RefusedError(f"holds an array of shape {shape} and type {dtype}, whose entries take no bytes")
    if len(raw) != needed:
        raise RefusedError(
            f"holds an array of shape {shape} and type {dtype}, but {len(raw)} bytes for it, not {needed}"
        )
    if not needed:
        return np.zeros(shape, dtype)
    return np.frombuffer(raw, dtype).reshape(shape, order=order)  # type: ignore[call-overload, no-any-return]


def settled(root: Any, objects: tuple[type, ...] = (str,)) -> Any:
    """The same tree with every pending array put in place; shared and self-containing parts stay so.

    objects: what arrays of objects may hold. pandas and old numpy wrote transcripts as arrays of str.
    Raises RefusedError, naming the key, for an array of other objects.
    """
    done: dict[int, Any] = {}
    held: list[Any] = []  # ids are only unique while what they name is alive

    def settle(value: Any, key: str) -> Any:
        if isinstance(value, _Pending):
            if value.objects:
                _refuse_objects(value.value, key, objects)
            return value.value
        if not isinstance(value, dict | list | tuple):
            return value
        if id(value) in done:
            return done[id(value)]
        held.append(value)
        done[id(value)] = value
        if isinstance(value, tuple):
            done[id(value)] = tuple(settle(item, f"{key}[{n}]") for n, item in enumerate(value))
        else:
            pairs: Any = value.items() if isinstance(value, dict) else enumerate(value)
            _settle_items(value, pairs, key, settle)
        return done[id(value)]

    return settle(root, "")


def _settle_items(value: Any, pairs: Any, key: str, settle: Callable[[Any, str], Any]) -> None:
    for name, item in pairs:
        if isinstance(item, _Pending | dict | list | tuple):
            text = name[:60] if isinstance(name, str) else brief(name)
            label = f"[{name}]" if isinstance(value, list) else f"{'/' if key else ''}{text}"
            value[name] = settle(item, key + label)


def _refuse_objects(array: Array, key: str, allowed: tuple[type, ...]) -> None:
    others = [item for item in array.flat if not isinstance(item, allowed)]
    if others:
        named = " or ".join(kind.__name__ for kind in allowed)
        raise RefusedError(
            f"key {key!r} is an object array that holds {type(others[0]).__name__}; only objects that are all {named} "
            "are read: save it as an array of numbers, or a list of arrays"
        )
