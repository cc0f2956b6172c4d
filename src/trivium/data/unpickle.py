"""Read a pickle without running anything in it: numpy arrays and plain containers, nothing else.

The C unpickler parses the stream, but no numpy code takes part in rebuilding: a pickled array becomes a note of its
shape, type and bytes, and is turned into an array here, after its size was checked. (numpy's own `__setstate__` trusts
the flags it finds in the file, and with forged ones reads bytes as pointers.)
"""

from __future__ import annotations

import math
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from trivium.data.clips import Array

_PLAIN = {
    ("collections", "OrderedDict"): OrderedDict,
    **{
        ("builtins", t.__name__): t
        for t in (bytes, bytearray, set, frozenset, list, dict, tuple, str, int, float, bool)
    },
}
_TYPE_CODE = re.compile(r"[|<>=]?(?P<code>[?biufSUO]\d*|V\d+|c\d+)")
_NDARRAY = object()  # what `numpy.ndarray` becomes: a name to pass around, not a callable


class RefusedError(ValueError):
    """A reason that is ours; `naming` puts the file's name in front."""


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
            raise RefusedError(f"holds an array with byte order {order!r}")
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
    """Hands out bound methods, which, unlike functions and classes, a pickle cannot set attributes on."""

    reads = "numpy arrays and plain containers"

    def find_class(self, module: str, name: str) -> Any:
        plain = ("builtins" if module == "__builtin__" else module, name)  # Python 2's name for it, up to protocol 2
        if plain in _PLAIN:
            return _PLAIN[plain]
        if (module, name) == ("_codecs", "encode"):
            return self._encode
        # numpy 2 renamed numpy.core to numpy._core; files of both ages are around
        found = {
            "numpy.dtype": self._dtype,
            "numpy.ndarray": _NDARRAY,
            "numpy._core.multiarray._reconstruct": self._reconstruct,
            "numpy._core.multiarray.scalar": self._scalar,
            "numpy._core.numeric._frombuffer": self._frombuffer,
        }.get(f"{module}.{name}".replace("numpy.core.", "numpy._core."))
        if found is None:
            raise RefusedError(
                f"asks for {module}.{name}, which could run code; only {self.reads} are read: save it again as a "
                "dict of those"
            )
        return found

    def _encode(self, text: str, codec: str) -> bytes:
        if codec not in ("latin1", "latin-1"):
            raise RefusedError(f"asks for the codec {codec!r}")
        return text.encode("latin1")

    def _dtype(self, code: str, *_: Any) -> _Type:
        match = _TYPE_CODE.fullmatch(code)
        if match is None or code[0] in "Vc":
            raise RefusedError(f"holds an array of type {code!r}; only plain numeric and text arrays are read")
        return _Type(match["code"])

    def _reconstruct(self, kind: Any, *_: Any) -> _Pending:
        if kind is not _NDARRAY:
            raise RefusedError(f"asks for a numpy array of the class {kind!r}")
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
        return settled(_load(file))


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


def _load(file: IO[bytes]) -> Any:
    # latin1 matters only to Python 2's str, which held array bytes; Python 3's text and bytes have opcodes of their own
    return RestrictedUnpickler(file, encoding="latin1").load()


def array_of(raw: Any, dtype: np.dtype[Any], shape: tuple[int, ...], order: str) -> Array:
    """The bytes as an array, without a copy. Raises RefusedError if their number does not fit shape and type."""
    needed = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or len(raw) != needed:
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
            label = f"[{name}]" if isinstance(value, list) else f"{'/' if key else ''}{name}"
            value[name] = settle(item, key + label)


def _refuse_objects(array: Array, key: str, allowed: tuple[type, ...]) -> None:
    others = [item for item in array.flat if not isinstance(item, allowed)]
    if others:
        named = " or ".join(kind.__name__ for kind in allowed)
        raise RefusedError(
            f"key {key!r} is an object array that holds {type(others[0]).__name__}; only objects that are all {named} "
            "are read: save it as an array of numbers, or a list of arrays"
        )
