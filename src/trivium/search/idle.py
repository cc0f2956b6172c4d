"""Parameters of a search that change nothing, being of a modality that the data do not have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from trivium.config.store_path import find_store
from trivium.data.store import open_store

_NAMED = frozenset({"text", "audio", "vision"})  # modalities that configs name, whether the data have them or not


def idle_parameters(space: Iterable[str], config: Mapping[str, Any]) -> dict[str, list[str]]:
    """Modality that a run does not read -> the parameters of the space that are its own.

    config: composed. Empty before data that are made on first use are there. Raises ValueError as find_store and
    open_store do.
    """
    store = find_store(config)
    if not store.is_file():
        return {}
    read = config["data"]["modalities"] or open_store(store).schema.modalities
    absent = sorted(_NAMED - set(read))
    found = {name: [key for key in space if name in key.split(".")] for name in absent}
    return {name: keys for name, keys in found.items() if keys}
