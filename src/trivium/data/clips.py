"""Holds clips in memory as readers make them and the store writes them: ragged, never padded, in numpy alone.

Legend: N clips, T steps of one clip, L sum of T over the clips, D features.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from trivium.data.target import Target

# The modalities and splits of the published feature files.
MODALITIES = ("text", "audio", "vision")
SPLITS = ("train", "valid", "test")
# A store may hold these. Probes are fitted on "probe" where the train split's pairs are biased on purpose.
STORE_SPLITS = ("train", "probe", "valid", "test")
# The split of clips to be predicted of which nothing else is said.
NEW = "new"
# One fold is for the test, one for validation, and at least one is trained on.
FEWEST_FOLDS = 3
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Ragged:
    """Holds N sequences end to end. values: (L, D) float32, or (L,) int32 token ids. offsets: (N+1,) int64.

    Clip n is values[offsets[n]:offsets[n+1]]; an empty slice means that the clip lacks this modality.
    """

    values: Array
    offsets: Array

    @classmethod
    def pack(cls, sequences: list[Array]) -> Ragged:
        """Packs N arrays (T_n, D) or (T_n,), at least one; T_n may be 0.

        Raises ValueError unless all have one D.
        """
        shapes = {s.shape[1:] for s in sequences}
        if len(shapes) != 1:
            raise ValueError(f"sequences of one modality have steps of shapes {sorted(shapes)}; expected one for all")
        return cls(np.concatenate(sequences), offsets_of([len(s) for s in sequences]))

    @property
    def lengths(self) -> Array:
        """Returns (N,) int64, the steps of each clip; 0 where the modality is absent."""
        return np.diff(self.offsets)

    @property
    def dim(self) -> int:
        """Returns the number of features a step; 0 for token ids."""
        return int(self.values.shape[1]) if self.values.ndim == 2 else 0

    def select(self, clips: Array) -> Ragged:
        """Returns the sequences of these clips, (n,) int64, in their order, as a copy."""
        lengths = self.lengths[clips]
        offsets = offsets_of(lengths)
        rows = np.arange(offsets[-1]) + np.repeat(self.offsets[:-1][clips] - offsets[:-1], lengths)
        return Ragged(self.values[rows], offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, n: int) -> Array:
        clip: Array = self.values[self.offsets[n] : self.offsets[n + 1]]
        return clip


@dataclass(frozen=True)
class TokenWords:
    """Says which word of its clip each token is of.

    numbers: (L,) int32 beside the token ids: the number of the word in its clip, from 0, and -1 for a special token.
    counts: (N,) int32, the number of words of each clip, with those whose tokens were cut off.
    """

    numbers: Ragged
    counts: Array

    def select(self, clips: Array) -> TokenWords:
        """Returns the words of these clips, (n,) int64, in their order, as a copy."""
        return TokenWords(self.numbers.select(clips), np.asarray(self.counts)[clips])


def offsets_of(lengths: Array | Sequence[int]) -> Array:
    """Returns (N + 1,) int64 offsets of N sequences of these lengths that lie end to end."""
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def in_chunks(values: Any) -> Iterator[tuple[int, Any]]:
    """Yields an array or HDF5 data set in parts of about four million numbers, each with the index of its first row."""
    rows = max(1, (1 << 22) // max(1, int(np.prod(values.shape[1:]))))
    for start in range(0, len(values), rows):
        yield start, values[start : start + rows]


@dataclass
class Clips:
    """Holds one split. Everything has N entries, in the source's order.

    streams: modality -> (L, D) float32. targets: name -> (N,) or (N, K) float32, as trivium.data.target.Target has it:
    "multimodal", and others where the source has them ("text", "redundant", ...). tokens: (L,) int32 token ids of the
    text modality. words: which word each token is of, where that is known.
    """

    ids: list[str]
    streams: dict[str, Ragged]
    targets: dict[str, Array]
    raw_text: list[str] | None = None
    tokens: Ragged | None = None
    words: TokenWords | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, modality: str, what: str) -> Ragged:
        """Returns a modality as an encoder reads it. what: "values" for its features, "tokens" for text's token ids."""
        if what == "values":
            return self.streams[modality]
        assert self.tokens is not None, "DataModule refuses a store without token ids"
        return self.tokens

    def select(self, clips: Array) -> Clips:
        """Returns these clips, (n,) int64, in their order, as a copy."""
        return Clips(
            [self.ids[n] for n in clips],
            {name: ragged.select(clips) for name, ragged in self.streams.items()},
            {name: np.asarray(values)[clips] for name, values in self.targets.items()},
            None if self.raw_text is None else [self.raw_text[n] for n in clips],
            None if self.tokens is None else self.tokens.select(clips),
            None if self.words is None else self.words.select(clips),
        )


@dataclass(frozen=True)
class Folds:
    """Holds the folds of a cross-validation, over all clips of a source or store.

    numbers: (N,) int64, the fold of each clip, from 0. names: of the folds, in the order of their numbers.
    groups: the group (speaker, video) of each clip, where that is known.

    Of fold k the test split is fold k, validation is the fold after it (after the last the first), and train is the
    rest. So each clip is tested once and validates once over all folds.
    """

    numbers: Array
    names: tuple[str, ...]
    groups: list[str] | None = None

    @property
    def counts(self) -> dict[str, int]:
        """Returns name -> number of clips of each fold."""
        return dict(zip(self.names, np.bincount(self.numbers, minlength=len(self.names)).tolist(), strict=True))

    def places(self, fold: int) -> dict[str, Array]:
        """Returns split -> (n,) int64, the places of its clips in fold number `fold`, in order."""
        following = (fold + 1) % len(self.names)
        test, valid = self.numbers == fold, self.numbers == following
        chosen = {"train": ~test & ~valid, "valid": valid, "test": test}
        return {split: np.flatnonzero(mask) for split, mask in chosen.items()}


@dataclass
class Source:
    """Holds the splits that a reader has read, and their origin.

    splits: with keys from STORE_SPLITS, of which a file may lack some. format: "mmsa", "csd", "synthetic".
    files: the files in the order of reading; the first one's checksum identifies the feature set.
    tokenizer: the name of the tokenizer that made `tokens`.
    described: name -> what the target of that name is; trivium.data.target.undeclared says it of others.
    folds: of a cross-validation; all clips are then in "train", the only split.
    repairs: modality -> {"neg_inf", "pos_inf", "nan"}, numbers of values. notes: key -> text, such as
    "padding/audio": "back".
    """

    splits: dict[str, Clips]
    format: str
    files: list[Path]
    tokenizer: str | None = None
    described: dict[str, Target] = field(default_factory=dict)
    folds: Folds | None = None
    repairs: dict[str, dict[str, int]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
