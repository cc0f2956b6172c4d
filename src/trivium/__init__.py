"""Provides multimodal representation learning: four methods under one protocol.

load_run      opens a finished run as a model: predictions, metrics and vectors of its own data or of yours
results       reads finished runs as one pandas frame; compare gives their means, intervals and tests
open_store    opens a prepared data set
objectives, fusions, encoders, evaluation   losses, parts and metrics for a loop of one's own, on plain tensors

Importing this package imports neither torch nor Hydra nor pandas; its functions import them when they are called.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trivium import encoders, evaluation, fusions, objectives
    from trivium.data.store import open_store
    from trivium.results.comparison import compare
    from trivium.results.frame import results
    from trivium.runs.load import Run, load_run

__version__ = "0.2.0.dev0"
__all__ = [
    "Run",
    "__version__",
    "compare",
    "encoders",
    "evaluation",
    "fusions",
    "load_run",
    "objectives",
    "open_store",
    "results",
]

_MODULES = {"Run": "runs.load", "compare": "results.comparison", "load_run": "runs.load", "open_store": "data.store"}
# trivium.results is a package that can be called.
_PACKAGES = ("encoders", "evaluation", "fusions", "objectives", "results")


def __getattr__(name: str) -> Any:
    # Lazy on purpose: `trivium train` must refuse a wrong config before torch is imported.
    if name in _PACKAGES:
        return import_module(f"trivium.{name}")
    if name in _MODULES:
        return getattr(import_module(f"trivium.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'trivium' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
