"""Finds parameters of a search that change nothing, as the data lack their modality."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from trivium.config.store_path import find_store
from trivium.data.store import open_store

# Configs name these modalities, whether the data have them or not.
_NAMED = frozenset({"text", "audio", "vision"})


def idle_parameters(space: Iterable[str], config: Mapping[str, Any]) -> dict[str, list[str]]:
    """Returns the parameters of the space that belong to a modality that a run does not read, by modality.

    config: composed. Empty before data that are made on first use are there. Raises ValueError as find_store and
    open_store do.
    """
    store = find_store(config)
    if not store.is_file():
        return {}
    read = config["data"]["modalities"] or open_store(store).schema.modalities
    absent = sorted(_NAMED - set(read))
    keys = {name: [key for key in space if name in key.split(".")] for name in absent}
    return {name: idle for name, idle in keys.items() if idle}
