"""Reads a file of `torch.save` without torch and without running anything in it.

Since torch 1.6 it is a zip archive of ROOT/data.pkl and one uncompressed member ROOT/data/KEY for each storage. The
pickle goes through the restricted unpickler. A tensor becomes a numpy array over its storage's bytes, once shape,
strides and offset have been compared with their number. The device that it was saved from does not matter.
`torch.load(weights_only=True)` is not as safe, as docs/architecture.md says.
"""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from trivium.data.clips import Array
from trivium.data.unpickle import (
    RefusedError,
    RestrictedUnpickler,
    SavedObject,
    brief,
    is_shape,
    naming,
    refuse_objects,
)

# Maps torch's class of a storage to numpy's type code, without the byte order.
_STORAGES = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
# The pickled number that older versions wrote first.
_BEFORE_1_6 = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_ORDERS = {b"little": "<", b"big": ">"}
# The word for it in messages.
_KIND = "a file of torch.save"


def load_saved_object(path: Path, class_name: str) -> dict[str, Any]:
    """Returns the attributes of the one object in the file, of a class of that name in any module.

    The class itself is never imported. Tensors become numpy arrays, which may be read-only; object arrays of text,
    bytes, numbers and None are accepted.
    Raises ValueError, naming the file, for a file of another kind or another object, one from before torch 1.6, one
    that names anything but tensors, numpy arrays, plain containers and that class (nothing of it is called), and one
    that is cut off or whose parts contradict each other.
    """
    with naming(path, _KIND):
        content = _load(path, class_name)
        if not isinstance(content, SavedObject):
            raise RefusedError(f"holds {type(content).__name__}; expected an object of the class {class_name}")
        state = getattr(content, "state", None)
        if not isinstance(state, dict):
            raise RefusedError(f"its {class_name} has a state of {type(state).__name__}; expected its attributes")
        refuse_objects(state, allowed=(str, bytes, int, float, type(None)))
        return state


def load_tensors(path: Path) -> dict[str, Array]:
    """Returns the tensors in the file by their keys, or by "" if it holds a tensor alone, as numpy arrays.

    Numpy arrays count as tensors, and the arrays may be read-only. Raises ValueError, naming the file, for anything
    else in it, and as `load_saved_object` does.
    """
    with naming(path, _KIND):
        content = _load(path, class_name=None)
        tensors = content if isinstance(content, dict) else {"": content}
        for key, value in tensors.items():
            if not isinstance(key, str) or not isinstance(value, np.ndarray):
                place = "" if tensors is not content else f" under {brief(key)}"
                raise RefusedError(f"holds {type(value).__name__}{place}; expected a tensor, or a dict of tensors")
        refuse_objects(tensors, allowed=())
        return tensors


def _load(path: Path, class_name: str | None) -> Any:
    """Returns what the file holds; a class of that name is replaced by `SavedObject`. Raises RefusedError."""
    with path.open("rb") as file:
        if file.read(len(_BEFORE_1_6)) == _BEFORE_1_6:
            raise RefusedError(
                "was saved by torch before 1.6, or in its old format; where you trust it and its class can be "
                "imported, convert it: torch.save(torch.load(FILE, map_location='cpu', weights_only=False), FILE)"
            )
    with zipfile.ZipFile(path) as archive:
        return _TorchUnpickler(_Members(archive), class_name).load()


class _Members:
    """Reads members of the archive by their name below its root, and refuses compressed and repeated ones."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        names = archive.namelist()
        roots = [name.removesuffix("/data.pkl") for name in names if name.endswith("/data.pkl")]
        if len(roots) != 1:
            raise RefusedError(f"has {len(roots)} members ROOT/data.pkl; expected one, as torch.save writes")
        if len(set(names)) != len(names):
            raise RefusedError("has two members of one name")
        self._archive, self._root = archive, roots[0]
        order = self.read("byteorder").strip() if f"{self._root}/byteorder" in names else b"little"
        if order not in _ORDERS:
            raise RefusedError(f"has byte order {order!r}; expected little or big")
        self.order = _ORDERS[order]

    def read(self, name: str) -> bytes:
        try:
            info = self._archive.getinfo(f"{self._root}/{name}")
        except KeyError as error:
            raise RefusedError(f"has no member {self._root}/{name}; the file is incomplete") from error
        # A few compressed bytes could become terabytes.
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise RefusedError(f"member {info.filename} is compressed, which torch.save does not do")
        try:
            # zipfile compares the member's checksum.
            return self._archive.read(info)
        except OSError as error:
            # The file's front is missing, and the member would lie before its start.
            raise RefusedError(f"member {info.filename} cannot be read ({error}); the file is damaged") from error


class _TorchUnpickler(RestrictedUnpickler):
    """Makes numpy arrays of tensors, and a `SavedObject` of an object of any class of the name `class_name`, if any."""

    reads = "tensors, numpy arrays and plain containers"

    def __init__(self, members: _Members, class_name: str | None) -> None:
        super().__init__(io.BytesIO(members.read("data.pkl")))
        self._members, self._class_name = members, class_name
        self._storages: dict[str, Array] = {}

    def find_class(self, module: str, name: str) -> Any:
        if name == self._class_name:
            return SavedObject
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if module == "torch" and name in _STORAGES:
            # The name as text, which cannot be called.
            return name
        return super().find_class(module, name)

    def persistent_load(self, pid: Any) -> Array:
        """Returns a storage, named as ("storage", class, member, device, entries)."""
        if not isinstance(pid, tuple) or len(pid) != 5 or pid[0] != "storage":
            raise RefusedError(f"refers to {brief(pid)}; expected a storage of a tensor")
        _, kind, key, _, count = pid
        if not isinstance(kind, str) or kind not in _STORAGES:
            raise RefusedError(f"holds a storage of type {brief(kind)}; those of {', '.join(_STORAGES)} are read")
        if not isinstance(key, str) or not key.isdecimal() or len(key) > 20:
            raise RefusedError(f"holds a storage named {brief(key)}; expected a number")
        if key not in self._storages:
            dtype = np.dtype(self._members.order + _STORAGES[kind])
            raw = self._members.read(f"data/{key}")
            if not isinstance(count, int) or len(raw) != count * dtype.itemsize:
                raise RefusedError(f"storage {key} has {len(raw)} bytes, but should have {brief(count)} {dtype}")
            self._storages[key] = np.frombuffer(raw, dtype)
        return self._storages[key]


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Array:
    """Returns a tensor as a view of its storage. Its gradient flag, hooks and metadata are ignored."""
    if not is_shape((offset,)) or not is_shape(shape) or not is_shape(strides) or len(shape) != len(strides):
        raise RefusedError(
            "holds a tensor of offset, shape and strides that are not whole numbers of 0 and above, or not as many"
        )
    if not isinstance(storage, np.ndarray) or storage.ndim != 1:
        raise RefusedError(f"holds a tensor over {brief(storage)}; expected a storage")
    count = math.prod(shape)
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    # The first comparison keeps a stride of 0 from making a few bytes look like terabytes.
    if count > storage.size or (count and last >= storage.size):
        raise RefusedError(
            f"holds a tensor of offset {offset}, shape {shape}, strides {strides}, past the end of its storage of "
            f"{storage.size} entries"
        )
    steps = [stride * storage.itemsize for stride in strides]
    start = storage[offset:] if count else storage[:0]
    return np.lib.stride_tricks.as_strided(start, shape, steps, writeable=False)
