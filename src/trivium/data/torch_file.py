"""Read a file of `torch.save` without torch and without running anything in it.

Since torch 1.6 it is a zip archive of ROOT/data.pkl and one member ROOT/data/KEY for each storage, stored as it is. The
pickle goes through the restricted unpickler; a tensor becomes a numpy array over its storage's bytes, after shape,
strides and offset were checked against their number. On which device it lay when it was saved does not matter.
"""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from trivium.data.clips import Array
from trivium.data.pickle_scan import RefusedError
from trivium.data.unpickle import RestrictedUnpickler, brief, is_shape, naming, settled

_STORAGES = {  # torch's class -> numpy's code, without byte order
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
_BEFORE_1_6 = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the pickled number that older versions wrote first
_ORDERS = {b"little": "<", b"big": ">"}


def load_saved_object(path: Path, class_name: str) -> dict[str, Any]:
    """The attributes of one object of a class of that name, whatever its module: no code of it is looked for.

    Tensors become numpy arrays, which may be read-only; object arrays of text, bytes, numbers and None are let through.
    Raises ValueError, naming the file, for a file of another kind or another object, one from before torch 1.6, one
    that names anything but tensors, numpy arrays, plain containers and that class (nothing of it is called), and one
    that is cut off or whose parts contradict each other.
    """
    with naming(path, "a file of torch.save"):
        with path.open("rb") as file:
            if file.read(len(_BEFORE_1_6)) == _BEFORE_1_6:
                raise RefusedError(
                    "was saved by torch before 1.6, or in its old format; where you trust it and its class can be "
                    "imported, convert it: torch.save(torch.load(FILE, map_location='cpu', weights_only=False), FILE)"
                )
        with zipfile.ZipFile(path) as archive:
            loader = _TorchUnpickler(_Members(archive), class_name)
            found = loader.load()
        if type(found) is not loader.foreign:
            raise RefusedError(f"holds {type(found).__name__}; expected an object of the class {class_name}")
        state = settled(getattr(found, "state", None), objects=(str, bytes, int, float, type(None)))
        if not isinstance(state, dict):
            raise RefusedError(f"its {class_name} has a state of {type(state).__name__}; expected its attributes")
        return state


class _Members:
    """The archive's members under its one root, none compressed, none twice."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        infos = archive.infolist()
        roots = [info.filename.removesuffix("/data.pkl") for info in infos if info.filename.endswith("/data.pkl")]
        if len(roots) != 1:
            raise RefusedError(f"has {len(roots)} members ROOT/data.pkl; expected one, as torch.save writes")
        self._archive, self._root = archive, roots[0]
        self._infos = {info.filename: info for info in infos}
        if len(self._infos) != len(infos):
            raise RefusedError("has two members of one name")
        given = self.read("byteorder").strip() if self._named("byteorder") in self._infos else b"little"
        if given not in _ORDERS:
            raise RefusedError(f"has byte order {given!r}; expected little or big")
        self.order = _ORDERS[given]

    def _named(self, name: str) -> str:
        return f"{self._root}/{name}"

    def read(self, name: str) -> bytes:
        info = self._infos.get(self._named(name))
        if info is None:
            raise RefusedError(f"has no member {self._named(name)}; the file is incomplete")
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise RefusedError(f"member {info.filename} is compressed, which torch.save does not do")
        try:
            return self._archive.read(info)  # compares its checksum
        except OSError as error:  # of a place before the file's start, when its front is gone
            raise RefusedError(f"member {info.filename} cannot be read ({error}); the file is damaged") from error


class _Kept:
    """In place of the saved class: has no behaviour, keeps the state it is given."""

    __slots__ = ("state",)
    state: Any

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _TorchUnpickler(RestrictedUnpickler):
    """With tensors as numpy arrays, and `_Kept` for any class of the name `class_name`."""

    reads = "tensors, numpy arrays and plain containers"

    def __init__(self, members: _Members, class_name: str) -> None:
        super().__init__(io.BytesIO(members.read("data.pkl")))
        self._members, self._class_name = members, class_name
        self._storages: dict[str, Array] = {}

        # One of its own for each file, as the pickle gets hold of the class itself
        self.foreign = type(class_name, (_Kept,), {"__slots__": ()})

    def find_class(self, module: str, name: str) -> Any:
        if name == self._class_name:
            return self.foreign
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return self._tensor
        if module == "torch" and name in _STORAGES:
            return name  # text: nothing to call or to change
        return super().find_class(module, name)

    def persistent_load(self, pid: Any) -> Array:
        """A storage: ("storage", class, member, device, entries)."""
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

    def _tensor(self, storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Array:
        """What follows are requires_grad, hooks and, in newer files, metadata: nothing of it matters to the numbers."""
        if not is_shape((offset,)) or not is_shape(shape) or not is_shape(strides) or len(shape) != len(strides):
            raise RefusedError(
                "holds a tensor of offset, shape and strides that are not whole numbers of 0 and above, or not as many"
            )
        if not isinstance(storage, np.ndarray) or storage.ndim != 1:
            raise RefusedError(f"holds a tensor over {brief(storage)}; expected a storage")
        count = math.prod(shape)
        last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
        # The first keeps a stride of 0 from making a few bytes look like terabytes
        if count > storage.size or (count and last >= storage.size):
            raise RefusedError(
                f"holds a tensor of offset {offset}, shape {shape}, strides {strides}, past the end of its storage of "
                f"{storage.size} entries"
            )
        steps = [stride * storage.itemsize for stride in strides]
        start = storage[offset:] if count else storage[:0]
        return np.lib.stride_tricks.as_strided(start, shape, steps, writeable=False)
