"""Tells, without transformers and the network, whether a config's pretrained models are known not to be here."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_PRETRAINED = "trivium.encoders.pretrained."
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


def lacking_model(config: Mapping[str, Any]) -> str:
    """Returns what is lacking of the config's pretrained encoders, and what to do; "" if nothing is known to be.

    A model that is neither a folder nor in the hub's cache is lacking only offline, as its run downloads it otherwise.
    """
    nodes = [config["encoder"], *(config.get("encoders") or {}).values()]
    for node in nodes:
        if not str((node or {}).get("_target_", "")).startswith(_PRETRAINED):
            continue
        model = str(node["model"])
        if importlib.util.find_spec("transformers") is None:
            return f"{model} needs transformers, which is not here; pip install 'trivium[text]'"
        offline = any(os.environ.get(name, "").lower() in ("1", "true", "yes", "on") for name in _OFFLINE)
        if offline and not Path(model).is_dir() and not (_cache() / f"models--{model.replace('/', '--')}").is_dir():
            return (
                f"{model} is not here, and the hub is switched off ({' or '.join(_OFFLINE)}); on a machine with "
                f"network run `hf download {model} --local-dir {model}`, and copy that folder to where this is typed"
            )
    return ""


def _cache() -> Path:
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    return Path(os.environ.get("HF_HUB_CACHE", home / "hub"))
