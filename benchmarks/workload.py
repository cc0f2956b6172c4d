"""Writes the file that both sides read: MMSA's layout in MOSEI's shape, with random content.

Legend: N clips, T steps of the longest clip, D features.
"""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from trivium.data.clips import Array

COUNTS = {"train": 16326, "valid": 1871, "test": 4659}  # CMU-MOSEI
STREAMS = {"text": (50, 768, 18.0), "audio": (500, 74, 170.0), "vision": (500, 35, 170.0)}  # T, D, mean steps
SHAPE = 2.0  # of the gamma distribution: the standard deviation is the mean over its square root
CLS, SEP, FIRST_WORD, VOCABULARY = 101, 102, 1000, 30522  # bert-base-uncased
LABEL_RANGE = (-3.0, 3.0)


def write_pickle(path: Path, fraction: float, seed: int = 0, *, aligned: bool = False) -> dict[str, float]:
    """Writes MOSEI's three splits, `fraction` of the clips of each. Returns each modality's mean length in train.

    aligned: audio and vision have the text's steps.
    """
    rng = np.random.default_rng(seed)
    content = {split: _split(rng, split, max(1, round(n * fraction)), aligned) for split, n in COUNTS.items()}
    with path.open("wb") as file:
        pickle.dump(content, file, protocol=4)
    train = content["train"]
    lengths = {"text": train["text_bert"][:, 1].sum(axis=1), **{m: train[f"{m}_lengths"] for m in ("audio", "vision")}}
    return {name: round(float(np.mean(steps)), 1) for name, steps in lengths.items()}


def write_model(folder: Path, **changes: int) -> None:
    """Writes a BERT-base folder with random weights and a made-up vocabulary; changes: keys of BertConfig."""
    import transformers

    config: Any = transformers.BertConfig
    model = transformers.BertModel(config(vocab_size=VOCABULARY, **changes))
    model.save_pretrained(folder)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"word{n}" for n in range(5, VOCABULARY))]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    kind = {"tokenizer_class": "BertTokenizer", "do_lower_case": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(kind), encoding="utf-8")


def _split(rng: np.random.Generator, split: str, clips: int, aligned: bool) -> dict[str, Any]:
    lengths = {name: _lengths(rng, clips, *STREAMS[name]) for name in STREAMS}
    lengths["text"] = np.maximum(lengths["text"], 3)  # [CLS], a word, [SEP]
    streams = STREAMS
    if aligned:
        lengths = dict.fromkeys(STREAMS, lengths["text"])
        streams = {name: (STREAMS["text"][0], dim, mean) for name, (_, dim, mean) in STREAMS.items()}
    scores = np.clip(rng.normal(0.2, 1.1, clips), *LABEL_RANGE).astype(np.float32)
    return {
        "id": [f"{split}{n // 8:05d}$_${n % 8 + 1}" for n in range(clips)],
        "raw_text": ["word " * int(n - 2) for n in lengths["text"]],
        **{name: _padded(rng, lengths[name], *streams[name]) for name in streams},
        "text_bert": _tokens(rng, lengths["text"], STREAMS["text"][0]),
        "audio_lengths": lengths["audio"].tolist(),
        "vision_lengths": lengths["vision"].tolist(),
        "regression_labels": scores,
        "classification_labels": np.sign(scores) + 1,
        "annotations": [("Negative", "Neutral", "Positive")[int(sign) + 1] for sign in np.sign(scores)],
    }


def _lengths(rng: np.random.Generator, clips: int, steps: int, _: int, mean: float) -> Array:
    """Draws lengths (N,) int64 from a gamma distribution, in 1..T."""
    return np.clip(np.rint(rng.gamma(SHAPE, mean / SHAPE, clips)), 1, steps).astype(np.int64)


def _padded(rng: np.random.Generator, lengths: Array, steps: int, dim: int, _: float) -> Array:
    """Draws features (N, T, D) float32, zero behind each clip's last step."""
    values = np.zeros((len(lengths), steps, dim), np.float32)
    for clip, length in zip(values, lengths, strict=True):
        clip[:length] = rng.standard_normal((length, dim), dtype=np.float32)
    return values


def _tokens(rng: np.random.Generator, lengths: Array, steps: int) -> Array:
    """Draws (N, 3, T) int64: ids, mask and segments, as MMSA stores them."""
    mask = np.arange(steps) < lengths[:, None]
    ids = np.where(mask, rng.integers(FIRST_WORD, VOCABULARY, mask.shape), 0)
    ids[:, 0] = CLS
    np.put_along_axis(ids, lengths[:, None] - 1, SEP, axis=1)
    return np.stack([ids, mask.astype(np.int64), np.zeros_like(ids)], axis=1)
