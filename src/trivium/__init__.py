"""Provides multimodal representation learning: four methods under one protocol.

Importing this package imports neither torch nor Hydra nor pandas; its functions import them when they are called.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trivium.data.store import open_store
    from trivium.results.comparison import compare
    from trivium.results.frame import results
    from trivium.runs.load import load_run

__version__ = "0.2.0.dev0"
__all__ = ["__version__", "compare", "load_run", "open_store", "results"]

_MODULES = {"compare": "results.comparison", "load_run": "runs.load", "open_store": "data.store"}


def __getattr__(name: str) -> Any:
    # Lazy on purpose: train.py must refuse a wrong config before torch is imported.
    if name == "results":
        # The package itself can be called.
        return import_module("trivium.results")
    if name in _MODULES:
        return getattr(import_module(f"trivium.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'trivium' has no attribute {name!r}")
