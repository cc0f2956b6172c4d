"""Makes clips whose label two modalities show: one easily, the other more truly but hard to read.

docs/synthetic.md has the definitions. Needs numpy alone.
Legend: N clips, L steps of a split, D features, K classes, A symbols of the hard modality.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from trivium.config.generator_settings import CLASS_SCORES, Competition
from trivium.data import knowable
from trivium.data.clips import STORE_SPLITS, Array, Clips, Ragged, Source
from trivium.data.rendering import confusion, draw_lengths, orthogonal_codes, with_jitter


def make_competition(settings: Competition) -> Source:
    """Makes all splits, alike for equal settings; notes["knowable"] is the JSON of `what_is_knowable`."""
    rng = np.random.default_rng([settings.seed, len(STORE_SPLITS)])
    norm, values = math.sqrt(settings.dim), {settings.easy: settings.classes, settings.hard: settings.symbols}
    codes = {name: orthogonal_codes(rng, count, settings.dim, norm) for name, count in values.items()}
    splits = {
        split: _split(np.random.default_rng([settings.seed, place]), split, settings, codes)
        for place, split in enumerate(STORE_SPLITS)
        if settings.clips[split]
    }
    notes = {"knowable": what_is_knowable(settings), "codes": {name: c.tolist() for name, c in codes.items()}}
    return Source(splits, "synthetic", [], notes={name: json.dumps(note) for name, note in notes.items()})


def what_is_knowable(settings: Competition) -> dict[str, Any]:
    """Computes exactly what can be known of the label from each subset of the modalities.

    factors: {"label": {"levels", "from": subset of modalities -> {"bits", "accuracy"}}}; Bayes-optimal accuracy, on the
    test split.
    total_correlation: {"modalities", "with_label"}, in bits, of the train split; the second is what TCMax bounds.
    rendering_error: bounds the probability that steps are read as another symbol than they were made from.
    """
    test_table, train_table = table_of(settings, "test"), table_of(settings, "train")
    modality_correlation = knowable.total_correlation(train_table)
    return {
        "factors": {
            "label": {"levels": settings.classes, "from": knowable.from_each_subset(test_table, settings.modalities)}
        },
        "total_correlation": {
            "modalities": modality_correlation,
            "with_label": modality_correlation + knowable.information(train_table),
        },
        "rendering_error": _rendering_error(settings),
    }


def table_of(settings: Competition, split: str) -> Array:
    """Returns (K, K, K), the joint distribution of the label and of what each modality shows in a split."""
    k = settings.classes
    channels = [knowable.channel(k, noise) for noise in _noises(settings, split)]
    return knowable.views(np.full(k, 1.0 / k), channels)


def _noises(settings: Competition, split: str) -> tuple[float, float]:
    """Returns the noise of the easy and of the hard modality in a split."""
    test_noise = settings.test_easy_noise if split == "test" else None
    return settings.easy_noise if test_noise is None else test_noise, settings.hard_noise


def _rendering_error(settings: Competition) -> float:
    """Bounds the error of reading the easy modality from its mean over time, the hard one from its first two steps."""
    distance = math.sqrt(2 * settings.dim)
    easy = confusion(settings.classes, distance * math.sqrt(settings.length[0]), settings.jitter)
    return max(easy, min(1.0, 2 * confusion(settings.symbols, distance, settings.jitter)))


def _split(rng: np.random.Generator, split: str, settings: Competition, codes: dict[str, Array]) -> Clips:
    n, k = settings.clips[split], settings.classes
    class_N = rng.integers(k, size=n)
    streams: dict[str, Ragged] = {}
    for name, noise in zip(settings.modalities, _noises(settings, split), strict=True):
        shown_N = np.where(rng.random(n) < noise, rng.integers(k, size=n), class_N)
        lengths_N = draw_lengths(rng, n, settings.length)
        symbol_L = np.repeat(shown_N, lengths_N)
        if name == settings.hard:
            symbol_L = _progression(rng, symbol_L + 1, lengths_N, settings.symbols)
        streams[name] = with_jitter(rng, codes[name][symbol_L], lengths_N, settings.jitter)
    return Clips(
        ids=[f"{split}{i:05d}" for i in range(n)],
        streams=streams,
        targets={
            "multimodal": np.array(CLASS_SCORES[k], dtype=np.float32)[class_N],
            "label": class_N.astype(np.float32),
        },
    )


def _progression(rng: np.random.Generator, stride_L: Array, lengths_N: Array, symbols: int) -> Array:
    """Returns (L,) symbols: a clip's t-th step is (start + t stride) mod symbols; all starts are equally likely."""
    start_N, first_N = rng.integers(symbols, size=len(lengths_N)), np.cumsum(lengths_N) - lengths_N
    time_L = np.arange(len(stride_L)) - np.repeat(first_N, lengths_N)
    progression: Array = (np.repeat(start_N, lengths_N) + time_L * stride_L) % symbols
    return progression
