"""Files as GMC's code writes them: torch.save of an object of a class that is gone when the file is read."""

import os
import sys
import types
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

MODULE = "gmc_code.supervised.data_modules.extra.affect_dataset"


class Runs:
    """Unpickled by anyone who trusts the file, it runs a command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> object:
        return os.system, (self.command,)


@contextmanager
def class_at_hand(name: str = "AffectDataset") -> Iterator[type]:
    """The class in its module, which exists only inside the block."""
    parts = MODULE.split(".")
    modules = {".".join(parts[:n]): types.ModuleType(".".join(parts[:n])) for n in range(1, len(parts) + 1)}
    kind = type(name, (torch.utils.data.Dataset,), {"__module__": MODULE})
    setattr(modules[MODULE], name, kind)
    sys.modules.update(modules)
    try:
        yield kind
    finally:
        for module in modules:
            del sys.modules[module]


def save_object(path: Path, attributes: dict[str, Any], **options: Any) -> Path:
    """torch.save of an object with these attributes."""
    with class_at_hand() as kind:
        saved = kind()
        saved.__dict__.update(attributes)
        torch.save(saved, path, **options)
    return path


def rewrite(path: Path, member: str, change: Callable[[bytes], bytes], compression: int = zipfile.ZIP_STORED) -> None:
    """The same archive with one member's bytes changed; its checksums hold."""
    with zipfile.ZipFile(path) as archive:
        content = {info.filename: archive.read(info) for info in archive.infolist()}
    (name,) = (key for key in content if key.endswith(f"/{member}"))
    with zipfile.ZipFile(path, "w", compression) as archive:
        for key, data in content.items():
            archive.writestr(key, change(data) if key == name else data)
