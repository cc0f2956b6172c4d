"""Holds the settings of data sets that are made on first use with known information in them.

trivium.data.interactions and trivium.data.competition make these data. Standard library only: the config's check reads
this before anything is loaded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, ClassVar

from trivium.core.choices import check_choice

# The generators' version: with another one, the same settings make another file.
VERSION = 2
# 2^5 levels: every table that is summed over stays below 2^20 entries.
MOST_BITS = 5
# The scores that objective=cross_entropy gives its classes.
CLASS_SCORES = {
    2: (-1.5, 1.5),
    3: (-1.5, 0.0, 1.5),
    5: (-2.0, -1.0, 0.0, 1.0, 2.0),
    7: (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0),
}
_SYMBOLS = {2: 3, 3: 5, 5: 7, 7: 11}


@dataclass(frozen=True)
class _Rendered:
    """Holds how symbols become sequences of features, and how many clips there are: the same for both generators."""

    jitter: float
    length: tuple[int, int]
    dim: int
    clips: dict[str, int]
    seed: int

    def check_rendering(self, node: str, codes: int) -> None:
        """Raises ValueError, naming the key below `node`, for a value that no data can be made with.

        codes: the number of values that a modality shows.
        """
        low, high = self.length
        if not 1 <= low <= high:
            raise ValueError(f"{node}.length: expected [low, high] with 1 <= low <= high, found {[low, high]}")
        if self.jitter < 0:
            raise ValueError(f"{node}.jitter: expected at least 0, found {self.jitter:g}")
        if self.dim < codes:
            raise ValueError(
                f"{node}.dim: expected at least {codes}, a direction for each value that a modality shows, "
                f"found {self.dim}"
            )
        for split, count in self.clips.items():
            minimum = 0 if split == "probe" else 1
            if count < minimum:
                raise ValueError(f"{node}.clips.{split}: expected at least {minimum}, found {count}")
        if self.seed < 0:
            raise ValueError(f"{node}.seed: expected at least 0, found {self.seed}")


@dataclass(frozen=True)
class Interactions(_Rendered):
    """Describes data of redundant, unique and synergistic factors; docs/synthetic.md explains each key."""

    key: ClassVar[str] = "interactions"
    modalities: tuple[str, ...]
    redundant: int
    unique: int
    synergy: int
    synergy_bias: float
    noise: float

    def __post_init__(self) -> None:
        names = self.modalities
        if len(names) not in (2, 3) or len(set(names)) != len(names):
            raise ValueError(f"data.interactions.modalities: expected two or three names, found {list(names)}")
        for name in ("redundant", "unique", "synergy"):
            _within(f"data.interactions.{name}", getattr(self, name), 0, MOST_BITS, "bits")
        if self.redundant == self.unique == self.synergy == 0:
            raise ValueError("data.interactions: redundant, unique and synergy are all 0; give one of them bits")
        _within("data.interactions.synergy_bias", self.synergy_bias, 0, 1)
        _within("data.interactions.noise", self.noise, 0, 1)
        codes = sum(2**bits for bits in (self.redundant, self.unique, self.synergy) if bits)
        self.check_rendering("data.interactions", codes)


@dataclass(frozen=True)
class Competition(_Rendered):
    """Describes data whose label an easy modality shows, and a hard one better; docs/synthetic.md explains each key."""

    key: ClassVar[str] = "competition"
    easy: str
    hard: str
    classes: int
    easy_noise: float
    hard_noise: float
    test_easy_noise: float | None = None

    def __post_init__(self) -> None:
        if self.easy == self.hard or not (self.easy and self.hard):
            raise ValueError(f"data.competition: easy and hard need two names, found {self.easy!r} and {self.hard!r}")
        check_choice("data.competition.classes", self.classes, CLASS_SCORES)
        if self.length[0] < 2:
            raise ValueError(f"data.competition.length: expected at least 2 steps, found {list(self.length)}")
        _within("data.competition.easy_noise", self.easy_noise, 0, 1)
        _within("data.competition.hard_noise", self.hard_noise, 0, 1)
        if self.test_easy_noise is not None:
            _within("data.competition.test_easy_noise", self.test_easy_noise, 0, 1)
        self.check_rendering("data.competition", self.symbols)

    @property
    def modalities(self) -> tuple[str, str]:
        return self.easy, self.hard

    @property
    def symbols(self) -> int:
        """Returns the number of the hard modality's symbols: a prime above the classes, so that no class is special."""
        return _SYMBOLS[self.classes]


GeneratorSettings = Interactions | Competition


def settings_of(data: Mapping[str, Any]) -> GeneratorSettings | None:
    """Returns the generator's settings in a config's `data` node, or None for data that are prepared from files.

    Raises ValueError naming the key, what was expected and what was found.
    """
    for kind in (Interactions, Competition):
        if kind.key in data:
            key, node = f"data.{kind.key}", data[kind.key]
            keys = [field.name for field in fields(kind)]
            # Runs that are older than such a key lack it.
            optional = {field.name for field in fields(kind) if field.default is not MISSING}
            if set(node) | optional != set(keys):
                raise ValueError(f"{key}: expected the keys {', '.join(keys)}, found {', '.join(node)}")
            if len(node["length"]) != 2:
                raise ValueError(f"{key}.length: expected [low, high], found {list(node['length'])}")
            floats = [field.name for field in fields(kind) if field.type in ("float", "float | None")]
            numbers = {name: float(node[name]) for name in floats if node.get(name) is not None}
            lists = {name: tuple(node[name]) for name in ("modalities", "length") if name in node}
            return kind(**{**node, **numbers, **lists, "clips": dict(node["clips"])})
    return None


def fingerprint(settings: GeneratorSettings) -> str:
    """Returns ten hex digits that stand for the data which the settings make; 0 and 0.0 are the same setting."""
    # A key that came later does not count where it changes nothing, so that files of before are still found.
    unset = {
        field.name for field in fields(settings) if field.default is None and getattr(settings, field.name) is None
    }
    described = {name: value for name, value in asdict(settings).items() if name not in unset}
    text = json.dumps([VERSION, settings.key, described], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _within(key: str, value: float, low: float, high: float, unit: str = "") -> None:
    if not low <= value <= high:
        raise ValueError(f"{key}: expected {low} to {high}{' ' * bool(unit)}{unit}, found {value}")
