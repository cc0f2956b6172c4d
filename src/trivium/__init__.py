"""Trivium: multimodal representation learning, four methods under one protocol.

Importing this package imports neither torch nor Hydra; `load_run` and `open_store` bring them in when called.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trivium.data.store import open_store
    from trivium.runs.load import load_run

__version__ = "0.1.0"
__all__ = ["__version__", "load_run", "open_store"]


def __getattr__(name: str) -> Any:
    # Lazy on purpose: train.py must refuse a wrong config before torch is imported.
    if name == "load_run":
        from trivium.runs.load import load_run

        return load_run
    if name == "open_store":
        from trivium.data.store import open_store

        return open_store
    raise AttributeError(f"module 'trivium' has no attribute {name!r}")
