"""Names a study by what all its trials share."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from trivium.runs.config_hash import dotted, hashed_part


def shared_settings(config: Mapping[str, Any], searched: Iterable[str]) -> dict[str, Any]:
    """Returns the settings that decide about a run's numbers, by dotted key, without those that are searched.

    searched: keys such as optimizer.lr, and groups such as fusion or encoder@encoders.text.
    """
    flat = dotted(hashed_part(dict(config)))
    for key in searched:
        place = key.lstrip("+").rpartition("@")[2] + "."
        flat = {name: value for name, value in flat.items() if not f"{name}.".startswith(place)}
    return flat


def study_name(words: Sequence[str], settings: Mapping[str, Any]) -> str:
    """Returns the words, each once, and a hash of the settings: selfmi_mosi_1a2b3c."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:6]
    return re.sub(r"[^\w.-]", "-", "_".join([*dict.fromkeys(words), digest]))
