"""Makes data sets on first use, and the fixture: three modalities whose label needs each and their interaction.

A clip of the fixture has latent scores t, a, v ~ N(0, 1), and the label
high * clip(0.45 t + 0.3 a + 0.3 v + 0.3 t a, -1, 1): no single modality suffices, and the product term needs a fusion
of both. Text is words whose rank follows t, as features and as token ids; audio and vision are noisy steps around a
level that follows a and v.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trivium.config.generator_settings import GeneratorSettings, Interactions, fingerprint, settings_of
from trivium.config.store_path import is_fixture
from trivium.data.clips import Array, Clips, Ragged, Source
from trivium.data.competition import make_competition
from trivium.data.interactions import make_interactions
from trivium.data.store import write_store
from trivium.data.target import Target

# Fixtures that have a target of every kind beside the score; their configs choose one by data.target.
TASK_FIXTURES = ("fixture_classes", "fixture_labels", "fixture_traits")
TASKS = {
    "emotion": Target("classes", ("angry", "calm", "happy", "sad")),
    "topics": Target("labels", ("music", "sport", "travel")),
    "traits": Target("score", ("openness", "warmth", "energy"), range=(1.0, 7.0)),
}
COUNTS = {"train": 320, "valid": 96, "test": 128}
# The number of words, which go from the most negative to the most positive.
WORDS = 41
RANGES = {"fixture": (-3.0, 3.0), "fixture_sims": (-1.0, 1.0), **dict.fromkeys(TASK_FIXTURES, (-3.0, 3.0))}
# The first token ids are special: 0 pads, 1 starts and 2 ends a text.
SPECIAL = 3
DIMS = {"text": 16, "audio": 6, "vision": 8}


def make_on_first_use(path: Path, data: Mapping[str, Any]) -> None:
    """Writes the fixture or generated data to `path` unless it is there; does nothing for other data.

    data: the config's node.
    """
    name = str(data["name"])
    if is_fixture(name):
        ensure_fixture(path, name=name, label_range=RANGES[name])
    elif (settings := settings_of(data)) is not None:
        ensure_generated(path, name=name, settings=settings)


def ensure_fixture(path: Path, *, name: str, label_range: tuple[float, float]) -> Path:
    """Writes the fixture to `path` unless it exists, in under a second. Two processes may do so at once."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        source = make_fixture(high=label_range[1], tasks=name in TASK_FIXTURES)
        write_store(path, source, data=name, feature_set=f"{name}/synthetic", label_range=label_range)
    return path


def ensure_generated(path: Path, *, name: str, settings: GeneratorSettings) -> Path:
    """Writes the data that `settings` describe to `path` unless it exists. Two processes may do so at once."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        source = make_interactions(settings) if isinstance(settings, Interactions) else make_competition(settings)
        low_high = RANGES["fixture"]
        write_store(path, source, data=name, feature_set=f"{name}/{fingerprint(settings)}", label_range=low_high)
    return path


def make_fixture(high: float = 3.0, counts: dict[str, int] | None = None, seed: int = 0, tasks: bool = False) -> Source:
    """Makes the fixture. high: the label's largest possible value. counts: split -> clips. tasks: adds TASKS."""
    rng = np.random.default_rng(seed)
    tables = {name: rng.normal(size=(2, dim)).astype(np.float32) for name, dim in DIMS.items()}
    vocabulary = rng.normal(scale=0.5, size=(WORDS, DIMS["text"])).astype(np.float32)
    vocabulary += np.linspace(-1.5, 1.5, WORDS, dtype=np.float32)[:, None] * tables["text"][0]
    splits = {name: _split(rng, name, n, high, tables, vocabulary, tasks) for name, n in (counts or COUNTS).items()}
    notes = {"latent": "label = high * clip(.45 t + .3 a + .3 v + .3 t a, -1, 1)"}
    described = TASKS if tasks else {}
    return Source(splits, "synthetic", [], tokenizer="synthetic", described=dict(described), notes=notes)


def _split(
    rng: np.random.Generator,
    split: str,
    n: int,
    high: float,
    tables: dict[str, Array],
    vocabulary: Array,
    tasks: bool,
) -> Clips:
    latent = rng.normal(size=(3, n))
    t, a, v = latent
    label = high * np.clip(0.45 * t + 0.3 * a + 0.3 * v + 0.3 * t * a, -1, 1)
    words = [
        np.clip(np.rint(WORDS // 2 + 8 * t[i] + rng.normal(scale=3, size=rng.integers(4, 15))), 0, WORDS - 1).astype(
            int
        )
        for i in range(n)
    ]
    tokens = [np.concatenate([[1], w + SPECIAL, [2]]).astype(np.int32) for w in words]
    streams = {
        "text": Ragged.pack([vocabulary[w] for w in words]),
        "audio": Ragged.pack([_steps(rng, a[i], tables["audio"], 8, 40) for i in range(n)]),
        "vision": Ragged.pack([_steps(rng, v[i], tables["vision"], 5, 20) for i in range(n)]),
    }
    targets = {"multimodal": label.astype(np.float32)}
    for name, row in zip(("text", "audio", "vision"), latent, strict=True):
        targets[name] = (high * np.clip(0.5 * row, -1, 1)).astype(np.float32)
    if tasks:
        targets |= _task_targets(t, a, v)
    return Clips(
        ids=[f"{split}{i // 8:03d}$_${i % 8 + 1}" for i in range(n)],
        streams=streams,
        targets=targets,
        raw_text=[" ".join(f"word{w:02d}" for w in clip) for clip in words],
        tokens=Ragged.pack(tokens),
    )


def _task_targets(t: Array, a: Array, v: Array) -> dict[str, Array]:
    """Returns the values of TASKS: a quadrant of what text and the other two show, three halves, and three mixtures."""
    traits = (0.8 * t + 0.4 * a, 0.8 * a + 0.4 * v, 0.8 * v + 0.4 * t)
    return {
        "emotion": (2 * (t > 0) + (a + v > 0)).astype(np.float32),
        "topics": np.stack([t > 0.5, a + 0.5 * t > 0, v - 0.5 * t > 0.3], axis=1).astype(np.float32),
        "traits": np.stack([4 + 3 * np.clip(0.5 * trait, -1, 1) for trait in traits], axis=1).astype(np.float32),
    }


def _steps(rng: np.random.Generator, level: float, table: Array, shortest: int, longest: int) -> Array:
    length = int(rng.integers(shortest, longest + 1))
    noise = rng.normal(scale=1.0, size=(length, table.shape[1]))
    steps: Array = (level * table[0] + table[1] + noise).astype(np.float32)
    return steps
