"""Makes clips whose factors all modalities show (redundant), one shows (unique), or two show together (synergy).

The data follow the Trifeature experiment of CoMM (Dufumier et al., 2025), with sequences in place of pictures.
docs/synthetic.md has the definitions. Needs numpy alone.
Legend: N clips, L steps of a split, D features, K levels of a factor, M modalities.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from trivium.config.generator_settings import Interactions
from trivium.data import knowable
from trivium.data.clips import STORE_SPLITS, Array, Clips, Ragged, Source
from trivium.data.rendering import confusion, draw_lengths, orthogonal_codes, with_jitter

# Scores lie in [-3, 3].
HIGHEST = 3.0
# The validation split is biased as training is, because selection by a contrastive loss needs pairs like those of
# training: on balanced pairs the loss grows with what has been learned of the rule.
BIASED = ("train", "valid")

# Maps a modality and a factor that it shows to the factor's codes, (K, D).
Codes = dict[str, dict[str, Array]]


def make_interactions(settings: Interactions) -> Source:
    """Makes all splits, alike for equal settings; notes["knowable"] is the JSON of `what_is_knowable`."""
    rng = np.random.default_rng([settings.seed, len(STORE_SPLITS)])
    rule_K = rng.permutation(2**settings.synergy)
    codes = {name: _codes(rng, settings, place) for place, name in enumerate(settings.modalities)}
    splits = {
        split: _split(np.random.default_rng([settings.seed, place]), split, settings, rule_K, codes)
        for place, split in enumerate(STORE_SPLITS)
        if settings.clips[split]
    }
    as_lists = {m: {shown: code_KD.tolist() for shown, code_KD in part.items()} for m, part in codes.items()}
    notes = {"knowable": what_is_knowable(settings), "rule": rule_K.tolist(), "codes": as_lists}
    return Source(splits, "synthetic", [], notes={name: json.dumps(note) for name, note in notes.items()})


def what_is_knowable(settings: Interactions) -> dict[str, Any]:
    """Computes exactly what can be known of the factors and the score in the balanced distribution (probe, test).

    factors: factor -> {"levels", "from": subset of modalities -> {"bits", "accuracy"}}; Bayes-optimal accuracy.
    multimodal: subset -> {"mse", "corr"}, the best values that a prediction of the score can have.
    total_correlation: {"balanced", "biased" (train, valid)}, that of the modalities' symbols, in bits.
    rendering_error: bounds the probability that steps are read as another symbol than they were made from.
    """
    names, tables = settings.modalities, tables_of(settings, bias=0.5)
    biased = tables_of(settings, settings.synergy_bias)
    return {
        "factors": {
            factor: {"levels": len(table), "from": knowable.from_each_subset(table, names)}
            for factor, table in tables.items()
        },
        "multimodal": {name: _best_score(tables, members) for name, members in knowable.subsets(names).items()},
        "total_correlation": {
            "balanced": sum(map(knowable.total_correlation, tables.values())),
            "biased": sum(map(knowable.total_correlation, biased.values())),
        },
        "rendering_error": _rendering_error(settings),
    }


def tables_of(settings: Interactions, bias: float) -> dict[str, Array]:
    """Returns factor -> (K, S_1, .., S_M), the joint distribution of the factor and of the symbols that show it.

    Factors are independent of each other. bias: the probability that the synergy's rule holds.
    """
    names, tables = settings.modalities, {}
    if settings.redundant:
        k = 2**settings.redundant
        tables["redundant"] = knowable.views(_uniform(k), [knowable.channel(k, settings.noise)] * len(names))
    if settings.unique:
        k = 2**settings.unique
        noisy, silent = knowable.channel(k, settings.noise), np.ones((k, 1))
        for name in names:
            tables[f"unique_{name}"] = knowable.views(_uniform(k), [noisy if m == name else silent for m in names])
    if settings.synergy:
        k = 2**settings.synergy
        noisy = knowable.channel(k, settings.noise)
        # The identity stands for any rule: another permutation only renames the second modality's symbols.
        shown = np.stack([(1 - bias) * (1 - np.eye(k)) / (k * (k - 1)), bias * np.eye(k) / k])
        table = np.einsum("sab,ac,bd->scd", shown, noisy, noisy)
        tables["synergy"] = table.reshape(*table.shape, *[1] * (len(names) - 2))
    return tables


def _uniform(levels: int) -> Array:
    return np.full(levels, 1.0 / levels)


def _spread(levels: int) -> Array:
    """Returns (K,), the contribution of each level to the score, evenly spaced from -1 to 1."""
    return np.linspace(-1.0, 1.0, levels)


def _best_score(tables: dict[str, Array], members: tuple[int, ...]) -> dict[str, float]:
    """Returns the mean squared error and the correlation of the score's conditional mean given these modalities."""
    parts = [(_spread(len(table)), knowable.restrict(table, members)) for table in tables.values()]
    weight = HIGHEST / len(parts)
    mse = weight**2 * sum(knowable.residual(table, values_K) for values_K, table in parts)
    # The variance over levels is the factor's, as every factor is uniform.
    variance = weight**2 * sum(float(np.var(values_K)) for values_K, _ in parts)
    return {"mse": mse, "corr": math.sqrt(max(0.0, 1.0 - mse / variance))}


def _shown(settings: Interactions, place: int) -> dict[str, int]:
    """Returns factor -> number of values, for each factor that the modality at this place shows."""
    bits = {"redundant": settings.redundant, "unique": settings.unique, "synergy": settings.synergy * (place < 2)}
    return {name: 2**number for name, number in bits.items() if number}


def _norm(settings: Interactions, place: int) -> float:
    """Returns the norm of a code with which features have a variance of about 1, however many factors are shown."""
    return math.sqrt(settings.dim / max(1, len(_shown(settings, place))))


def _rendering_error(settings: Interactions) -> float:
    steps = settings.length[0]
    return max(
        confusion(k, _norm(settings, place) * math.sqrt(2 * steps), settings.jitter)
        for place in range(len(settings.modalities))
        for k in _shown(settings, place).values()
    )


def _codes(rng: np.random.Generator, settings: Interactions, place: int) -> dict[str, Array]:
    shown = _shown(settings, place)
    codes_VD = orthogonal_codes(rng, sum(shown.values()), settings.dim, _norm(settings, place))
    ends = np.cumsum(list(shown.values()), dtype=int)
    return {name: codes_VD[end - k : end] for (name, k), end in zip(shown.items(), ends, strict=True)}


def _split(rng: np.random.Generator, split: str, settings: Interactions, rule_K: Array, codes: Codes) -> Clips:
    bias = settings.synergy_bias if split in BIASED else 0.5
    factors, shown = _draw(rng, settings, settings.clips[split], rule_K, bias)
    n = settings.clips[split]
    return Clips(
        ids=[f"{split}{i:05d}" for i in range(n)],
        streams={name: _stream(rng, n, symbols, codes[name], settings) for name, symbols in shown.items()},
        targets={
            "multimodal": _score(factors),
            **{f: level_N.astype(np.float32) for f, (level_N, _) in factors.items()},
        },
    )


def _draw(
    rng: np.random.Generator, settings: Interactions, n: int, rule_K: Array, bias: float
) -> tuple[dict[str, tuple[Array, int]], dict[str, dict[str, Array]]]:
    """Draws factor -> (level (N,), K), and modality -> factor -> the symbol shown (N,), noise included."""
    names = settings.modalities
    factors: dict[str, tuple[Array, int]] = {}
    shown: dict[str, dict[str, Array]] = {name: {} for name in names}

    def show(name: str, what: str, symbol_N: Array, levels: int) -> None:
        replaced_N = rng.random(n) < settings.noise
        shown[name][what] = np.where(replaced_N, rng.integers(levels, size=n), symbol_N)

    if settings.redundant:
        k = 2**settings.redundant
        level_N = rng.integers(k, size=n)
        factors["redundant"] = level_N, k
        for name in names:
            show(name, "redundant", level_N, k)
    if settings.unique:
        k = 2**settings.unique
        for name in names:
            level_N = rng.integers(k, size=n)
            factors[f"unique_{name}"] = level_N, k
            show(name, "unique", level_N, k)
    if settings.synergy:
        k = 2**settings.synergy
        first_N, holds_N = rng.integers(k, size=n), rng.random(n) < bias
        # Where the rule does not hold, the k - 1 other symbols are equally likely.
        offset_N = np.where(holds_N, 0, rng.integers(1, k, size=n))
        factors["synergy"] = holds_N.astype(np.int64), 2
        show(names[0], "synergy", first_N, k)
        show(names[1], "synergy", (rule_K[first_N] + offset_N) % k, k)
    return factors, shown


def _score(factors: dict[str, tuple[Array, int]]) -> Array:
    """Returns (N,) scores: 3 x the mean over the factors of 2 level / (K - 1) - 1."""
    parts = [_spread(k)[level_N] for level_N, k in factors.values()]
    scores: Array = (HIGHEST * np.mean(parts, axis=0)).astype(np.float32)
    return scores


def _stream(
    rng: np.random.Generator, n: int, symbols: dict[str, Array], codes: dict[str, Array], settings: Interactions
) -> Ragged:
    content_ND = np.zeros((n, settings.dim))
    for what, symbol_N in symbols.items():
        content_ND += codes[what][symbol_N]
    lengths_N = draw_lengths(rng, n, settings.length)
    return with_jitter(rng, np.repeat(content_ND, lengths_N, axis=0), lengths_N, settings.jitter)
