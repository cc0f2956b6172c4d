"""The CMU Multimodal SDK's computational sequences (.csd, HDF5): labels, words and features of videos -> clips.

A file holds `ROOT/data/VIDEO/{features, intervals}` with one row a step and intervals in seconds. A clip is one row of
the labels: `VIDEO$_$n`, n from 1 in the stored order, which is not sorted by time.
A step belongs to an interval if its midpoint lies in it; an interval without a midpoint takes the steps that overlap it
(words shorter than a feature's step, labels shorter than a word).
Legend: C labelled intervals of a video, W words, T steps, D features.
"""

from __future__ import annotations

import importlib
import json
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from trivium.data.clips import SPLITS, Array, Clips, Ragged, Source, repair
from trivium.data.text import look_up, read_embeddings

_MARKS = {  # what the SDK's and the field's file and root names contain
    "audio": ("covarep", "opensmile", "acoustic", "audio"),
    "vision": ("facet", "openface", "visual", "vision"),
    "text": ("glove", "wordvec", "word_vec", "bert"),
}
_FOLD_NAMES = {"train": "train", "valid": "valid", "val": "valid", "dev": "valid", "test": "test"}
_FOLDS_FORM = '{"train": [video ids], "valid": [...], "test": [...]}, or that under the name of the data set'
_PAUSE = "sp"


class Steps(NamedTuple):
    """One sequence of one video, by midpoint: values (T, D) numbers or (T,) strings, intervals (T, 2) in seconds."""

    values: Array
    intervals: Array


@dataclass(frozen=True)
class Sequence:
    """An open computational sequence. role: "labels", "words", or the modality of its numbers."""

    path: Path
    role: str
    videos: h5py.Group
    is_text: bool
    dim: int


@dataclass
class _Split:
    """One split while it is being filled."""

    ids: list[str] = field(default_factory=list)
    labels: list[float] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    streams: dict[str, list[Array]] = field(default_factory=dict)


def read_csd(
    files: list[Path],
    *,
    data: str,
    folds: Path | None = None,
    align: str = "words",
    embeddings: Path | None = None,
    word_lag: int | None = None,
) -> Source:
    """Read one labels sequence, at most one of words and any number of features, from .csd files or folders of them.

    files: what a sequence is, its root or file name says; `ROLE:path` says it where neither does, ROLE being labels,
    words or a modality. data: the entry of the folds file, and of the SDK's data sets.
    folds: JSON of split -> video ids, flat or under data-set names; without it, the installed SDK's own.
    align: "words" gives every stream one step a word (mean of its steps; zeros where it has none; pauses dropped);
    "intervals" keeps each stream's own steps. embeddings: word vectors as the text stream (GloVe's text format).
    word_lag: 1 if each word stands one interval after its own, 0 if not; None finds out (see `_find_word_lag`).
    Labels: the first column. A clip that a sequence does not cover has length 0 there; one that has neither a step nor
    a word is left out. -inf, +inf and NaN of features become 0, counted over the videos read. Notes say the rest.
    Raises ValueError, naming file and video, for anything that cannot be read so.
    """
    if align not in ("words", "intervals"):
        raise ValueError(f"align={align}: expected words or intervals")
    if word_lag not in (None, 0, 1):
        raise ValueError(f"word_lag={word_lag}: expected 0 or 1, or leave it out to find it")
    with ExitStack() as stack:
        labels, words, features = _by_role([_open(stack, role, path) for role, path in _expand(files)])
        _check_parts(labels, words, features, align, embeddings)
        notes = {"align": align if features else "words"}
        splits = _assign(labels, _read_folds(folds, data), folds, notes)
        if labels.dim > 1:
            notes["labels"] = f"first of {labels.dim} columns"
        reader = _Reader(labels, words, features, align)
        if words is not None:
            reader.hear([video for videos in splits.values() for video in videos], word_lag, notes)
        if embeddings is not None:
            reader.embed(embeddings)
        filled = {split: reader.fill(videos) for split, videos in splits.items()}
        if embeddings is not None:
            reader.note_unknown(notes)
        clips = {split: _finish(split, part, reader.dims, words is not None, notes) for split, part in filled.items()}
    extra = [path for path in (folds, embeddings) if path is not None]
    used = [sequence.path for sequence in (labels, words, *features) if sequence is not None]
    repairs = {modality: dict(counts) for modality, counts in reader.repairs.items()}
    return Source(clips, "csd", used + extra, repairs=repairs, notes=notes)


class _Reader:
    """Cuts videos into clips."""

    def __init__(self, labels: Sequence, words: Sequence | None, features: list[Sequence], align: str) -> None:
        self.labels, self.words, self.features, self.align = labels, words, features, align
        self.dims = {sequence.role: sequence.dim for sequence in features}
        self.repairs = {sequence.role: {"neg_inf": 0, "pos_inf": 0, "nan": 0} for sequence in features}
        self.spoken: dict[str, Steps] = {}  # words without pauses
        self.stamps: dict[str, Array] = {}  # the words' intervals as stored, pauses included
        self.vectors: dict[str, Array] | None = None
        self.said: Counter[str] = Counter()  # words of the clips, counted for the embeddings' note
        self.lag = 0

    def hear(self, videos: list[str], word_lag: int | None, notes: dict[str, str]) -> None:
        """Read every word; drop pauses."""
        assert self.words is not None
        heard = {video: _read_steps(self.words, video) for video in videos if video in self.words.videos}
        self.lag = _find_word_lag(list(heard.values())) if word_lag is None else word_lag
        if self.lag:
            notes["words/lag"] = "each word stood one interval after its own; moved back (word_lag=0 keeps the file's)"
        for video, steps in heard.items():
            self.stamps[video] = steps.intervals
            steps = _move_back(steps, self.lag)
            names = np.char.strip(steps.values.astype(str))
            voiced = (names != _PAUSE) & (names != "")
            self.spoken[video] = Steps(names[voiced], steps.intervals[voiced])

    def embed(self, path: Path) -> None:
        """Load the vectors of the words heard."""
        heard = {str(word) for steps in self.spoken.values() for word in steps.values}
        self.vectors, self.dims["text"] = read_embeddings(path, heard | {word.lower() for word in heard})
        if not self.vectors:
            raise ValueError(f"{path}: has none of the {len(heard)} words of the videos; is it of another language?")

    def note_unknown(self, notes: dict[str, str]) -> None:
        """Count the words of the clips that have no vector."""
        assert self.vectors is not None
        _, known = look_up(list(self.said), self.vectors, self.dims["text"])
        missed = [n for n, is_known in zip(self.said.values(), known, strict=True) if not is_known]
        notes["text/unknown"] = f"{len(missed)} of {len(known)} words, {sum(missed)} of {self.said.total()} spoken"

    def fill(self, videos: list[str]) -> _Split:
        """The clips of these videos, in their order."""
        part = _Split(streams={modality: [] for modality in self.dims})
        for video in videos:
            scores, intervals_C2 = _read_labels(self.labels, video)
            part.ids += [f"{video}$_${n}" for n in range(1, len(scores) + 1)]
            part.labels += scores.tolist()
            words = self.spoken.get(video, Steps(np.zeros(0, dtype=str), np.zeros((0, 2))))
            low, high = _ranges(words.intervals, intervals_C2)
            part.texts += [" ".join(words.values[a:b]) for a, b in zip(low, high, strict=True)]
            if self.vectors is not None:
                for a, b in zip(low, high, strict=True):
                    self.said.update(words.values[a:b].tolist())
                rows, _ = look_up(words.values.tolist(), self.vectors, self.dims["text"])
                part.streams["text"] += _cut(rows, low, high)
            for sequence in self.features:
                part.streams[sequence.role] += self._features(sequence, video, intervals_C2, words.intervals, low, high)
        return part

    def _features(
        self, sequence: Sequence, video: str, intervals_C2: Array, words_W2: Array, low: Array, high: Array
    ) -> list[Array]:
        if video not in sequence.videos:
            return [np.zeros((0, sequence.dim), dtype=np.float32)] * len(intervals_C2)
        steps = _read_steps(sequence, video)
        stamps = self.stamps.get(video)
        if sequence.role == "text" and stamps is not None and np.array_equal(steps.intervals, stamps):
            steps = _move_back(steps, self.lag)  # vectors made of these very words: they lag as the words do
        values, counts = repair(steps.values)
        for kind, count in counts.items():
            self.repairs[sequence.role][kind] += count
        if self.align == "intervals":
            return _cut(values, *_ranges(steps.intervals, intervals_C2))
        return _cut(_means(values, *_ranges(steps.intervals, words_W2)), low, high)


def _expand(files: list[Path]) -> list[tuple[str | None, Path]]:
    """(role or None, file) of each `path`, `ROLE:path` and file of a folder."""
    found: list[tuple[str | None, Path]] = []
    for item in files:
        role, colon, rest = str(item).partition(":")
        if colon and role.isidentifier() and len(role) > 1 and not item.exists():  # one letter is a Windows drive
            found.append((role, Path(rest)))
        elif item.is_dir():
            inside = sorted(item.glob("*.csd"))
            if not inside:
                raise ValueError(f"{item}: a folder without .csd files")
            found += [(None, path) for path in inside]
        else:
            found.append((None, item))
    return found


def _open(stack: ExitStack, role: str | None, path: Path) -> Sequence:
    if not path.is_file():
        raise ValueError(f"{path}: no such file; expected a .csd file of the CMU Multimodal SDK")
    try:
        file = stack.enter_context(h5py.File(path, "r"))
    except OSError as error:
        raise ValueError(f"{path}: not an HDF5 file, or cut off ({error}); download it again") from error
    roots = [name for name in file if isinstance(file[name], h5py.Group)]
    if len(roots) != 1 or not isinstance(file[roots[0]].get("data"), h5py.Group) or not len(file[roots[0]]["data"]):
        raise ValueError(
            f"{path}: expected one computational sequence, ROOT/data/VIDEO/features; found groups {roots} "
            f"with {[list(file[root]) for root in roots]}"
        )
    videos = file[roots[0]]["data"]
    first = _member(path, videos, next(iter(videos)), "features")
    is_text = h5py.check_string_dtype(first.dtype) is not None
    if is_text and _width(first) != 1:
        raise ValueError(f"{path}: strings of shape {first.shape}; expected (T, 1), one word a step")
    return Sequence(path, role or _guess_role(path, roots[0], is_text), videos, is_text, _width(first))


def _width(features: h5py.Dataset) -> int:
    return int(features.shape[1]) if features.ndim == 2 else 1


def _guess_role(path: Path, root: str, is_text: bool) -> str:
    name = f"{root} {path.stem}".lower()
    if "label" in name:
        return "labels"
    if is_text:
        return "words"
    for modality, marks in _MARKS.items():
        if any(mark in name for mark in marks):
            return modality
    raise ValueError(
        f"{path}: its name and its root {root!r} say no modality; write it before the path, as in audio:{path.name}"
    )


def _by_role(sequences: list[Sequence]) -> tuple[Sequence, Sequence | None, list[Sequence]]:
    """Labels, words and features, one of each role."""
    roles: dict[str, Sequence] = {}
    for sequence in sequences:
        role, other = sequence.role, roles.setdefault(sequence.role, sequence)
        if other is not sequence:
            raise ValueError(
                f"{sequence.path}: holds {role!r}, and so does {other.path}; leave one of the two out, or name another "
                f"modality before the path, as in NAME:{sequence.path.name}"
            )
        if sequence.is_text != (role == "words"):
            kind = "strings" if sequence.is_text else "numbers"
            raise ValueError(f"{sequence.path}: features of {role!r} are {kind}; say what it is, as in ROLE:path")
    if "labels" not in roles:
        raise ValueError(
            f"no labels among {[str(s.path) for s in sequences]}; add the SDK's labels, or mark a file as labels:path"
        )
    labels, words = roles.pop("labels"), roles.pop("words", None)
    return labels, words, [roles[role] for role in sorted(roles)]


def _check_parts(
    labels: Sequence, words: Sequence | None, features: list[Sequence], align: str, embeddings: Path | None
) -> None:
    if words is None and (embeddings is not None or not features):
        need = f"embeddings={embeddings} needs" if embeddings is not None else "labels alone are no data; add"
        raise ValueError(f"{labels.path}: {need} a words sequence (CMU_..._TimestampedWords.csd)")
    if words is None and align == "words":
        raise ValueError(
            f"{labels.path}: align=words needs a words sequence (CMU_..._TimestampedWords.csd) among the files; "
            "add it, or use align=intervals"
        )
    for sequence in [words, *features] if words is not None else features:
        if not any(video in labels.videos for video in sequence.videos):
            raise ValueError(
                f"{sequence.path}: shares no video with {labels.path}; its videos are {list(sequence.videos)[:3]}..., "
                f"expected such as {list(labels.videos)[:3]}: are both of one data set, as published?"
            )
        if sequence.role == "text" and embeddings is not None:
            raise ValueError(f"{sequence.path}: holds text features, and so does embeddings={embeddings}; give one")


def _read_folds(path: Path | None, data: str) -> dict[str, list[str]]:
    """split -> video ids. No video may be in two splits."""
    raw = _installed_folds(data) if path is None else _load_folds(path, data)
    where = f"{path}" if path is not None else "the installed SDK's folds"
    folds: dict[str, list[str]] = {split: [] for split in SPLITS}
    owner: dict[str, str] = {}
    for name, videos in raw.items():
        if name not in _FOLD_NAMES or not isinstance(videos, list):
            raise ValueError(f"{where}: key {name!r} is no split with a list of video ids; expected {_FOLDS_FORM}")
        for video in map(str, videos):
            split = _FOLD_NAMES[name]
            if owner.setdefault(video, split) != split:
                raise ValueError(f"{where}: video {video!r} is in {owner[video]!r} and in {split!r}; expected one")
            folds[split].append(video)
    return {split: videos for split, videos in folds.items() if videos}


def _load_folds(path: Path, data: str) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"{path}: no such file; folds=FILE takes JSON, {_FOLDS_FORM}")
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # no JSON, or no UTF-8
        raise ValueError(f"{path}: not JSON ({error}); expected {_FOLDS_FORM}") from error
    if isinstance(raw, dict) and "train" not in raw:
        if data not in raw:
            raise ValueError(
                f"{path}: no entry 'train' and none for {data!r}; found {list(raw)}; expected {_FOLDS_FORM}"
            )
        raw = raw[data]
    if not isinstance(raw, dict) or "train" not in raw:
        raise ValueError(f"{path}: no split 'train' for {data!r}; expected {_FOLDS_FORM}")
    return raw


def _installed_folds(data: str) -> dict[str, Any]:
    try:
        sdk = importlib.import_module("mmsdk.mmdatasdk")
    except ImportError as error:
        raise ValueError(f"the CMU SDK is not installed ({error}): pass folds=FILE, JSON of {_FOLDS_FORM}") from error
    module = getattr(sdk, f"cmu_{data}", None)
    if module is None:
        raise ValueError(f"the CMU SDK knows no folds for data={data}: pass folds=FILE, JSON of {_FOLDS_FORM}")
    return {split: list(getattr(module.standard_folds, f"standard_{split}_fold")) for split in SPLITS}


def _assign(
    labels: Sequence, folds: dict[str, list[str]], path: Path | None, notes: dict[str, str]
) -> dict[str, list[str]]:
    """split -> its labelled videos, in the labels' order."""
    notes["folds"] = path.name if path is not None else "mmsdk"
    stored = list(labels.videos)
    wanted = {video: split for split, videos in folds.items() for video in videos}
    _note(notes, "videos/in no fold", [video for video in stored if video not in wanted])
    _note(notes, "videos/without labels", [video for video in wanted if video not in labels.videos])
    splits = {split: [video for video in stored if wanted.get(video) == split] for split in folds}
    for split, videos in splits.items():
        if not videos:
            raise ValueError(
                f"{labels.path}: has labels for none of the {len(folds[split])} videos of split {split!r} in "
                f"{path or 'the SDK'}; its videos are {stored[:3]}...: are the folds those of this data set, and the "
                "files as published (VIDEO[n] are clips that the SDK has cut already, which are not read)?"
            )
    return splits


def _note(notes: dict[str, str], key: str, names: list[str]) -> None:
    """The count and the first ten; nothing if there are none."""
    if names:
        notes[key] = f"{len(names)}: {', '.join(names[:10])}{', ...' if len(names) > 10 else ''}"


def _member(path: Path, videos: h5py.Group, video: str, key: str) -> h5py.Dataset:
    """A dataset of numbers or strings; anything else (object arrays, references, opaque bytes) is refused."""
    group = videos[video]
    dataset = group.get(key) if isinstance(group, h5py.Group) else None
    if not isinstance(dataset, h5py.Dataset):
        raise ValueError(f"{path}: video {video!r} has no dataset {key!r}; expected features and intervals")
    if dataset.dtype.kind not in "fiu" and h5py.check_string_dtype(dataset.dtype) is None:
        raise ValueError(f"{path}: {key} of video {video!r} are of type {dataset.dtype}; expected numbers or strings")
    return dataset


def _read_steps(sequence: Sequence, video: str, in_time: bool = True) -> Steps:
    """All steps of one video; in_time sorts them by midpoint."""
    where = f"{sequence.path}: video {video!r}"
    features = _member(sequence.path, sequence.videos, video, "features")
    stamps = _member(sequence.path, sequence.videos, video, "intervals")
    is_text = h5py.check_string_dtype(features.dtype) is not None
    if is_text != sequence.is_text or features.ndim not in (1, 2) or _width(features) != sequence.dim:
        kind = "strings" if sequence.is_text else "numbers"
        raise ValueError(f"{where} has features {features.shape} {features.dtype}; expected (T, {sequence.dim}) {kind}")
    try:
        values = features.asstr("utf-8")[()] if is_text else features[()]
        intervals = np.asarray(stamps[()])
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{where} cannot be read ({error}); download the file again") from error
    if intervals.ndim != 2 or intervals.shape[1] != 2 or intervals.dtype.kind not in "fiu":
        raise ValueError(f"{where} has intervals {intervals.shape} {intervals.dtype}; expected (T, 2) seconds")
    if len(values) != len(intervals):
        raise ValueError(f"{where} has {len(values)} features but {len(intervals)} intervals; expected as many")
    if not np.isfinite(intervals).all():
        raise ValueError(f"{where} has an interval that is not finite; expected seconds")
    values = values.reshape(-1) if is_text else values.reshape(len(values), -1)
    if not in_time:
        return Steps(values, intervals)
    order = np.argsort(intervals.sum(axis=1, dtype=np.float64), kind="stable")
    return Steps(values[order], intervals[order].astype(np.float64))


def _read_labels(labels: Sequence, video: str) -> tuple[Array, Array]:
    """Scores (C,) and intervals (C, 2), in the stored order: it numbers the clips."""
    steps = _read_steps(labels, video, in_time=False)
    scores = steps.values[:, 0].astype(np.float32)
    wrong = np.flatnonzero(~np.isfinite(scores))
    if len(wrong):
        n = int(wrong[0])
        raise ValueError(
            f"{labels.path}: the label of clip '{video}$_${n + 1}' is {scores[n]}; expected a finite score"
        )
    return scores, steps.intervals.astype(np.float64)


def _find_word_lag(videos: list[Steps]) -> int:
    """1 if each word stands one interval after its own, else 0 (also when there are too few words to tell).

    Long words take long: over a corpus, letters and log seconds correlate by about 0.5. In a public copy of
    CMU_MOSI_ModifiedTimestampedWords.csd they do so by 0.00, and by 0.54 with the interval before. Read as stored,
    each of its clips begins with the last word of the clip before and lacks its own last word.
    """
    if sum(len(steps.values) for steps in videos) < 500:
        return 0
    return int(_length_by_duration(videos, 1) > 0.3 and _length_by_duration(videos, 0) < 0.1)


def _length_by_duration(videos: list[Steps], lag: int) -> float:
    """Correlation of a word's letters with the log of its seconds, pauses left out; 0 where either is constant."""
    moved = [_move_back(steps, lag) for steps in videos]
    names = np.concatenate([steps.values.astype(str) for steps in moved])
    intervals = np.concatenate([steps.intervals for steps in moved])[names != _PAUSE]
    letters = np.char.str_len(names[names != _PAUSE])
    seconds = np.log(np.maximum(intervals[:, 1] - intervals[:, 0], 1e-3))
    if letters.std() == 0 or seconds.std() == 0:
        return 0.0
    return float(np.corrcoef(letters, seconds)[0, 1])


def _move_back(steps: Steps, lag: int) -> Steps:
    """Each value with the interval `lag` places before; the first values have none and are left out."""
    return Steps(steps.values[lag:], steps.intervals[: len(steps.intervals) - lag])


def _ranges(steps_T2: Array, intervals_C2: Array) -> tuple[Array, Array]:
    """[low, high) of the steps in each interval, (C,) each; steps are in order of their midpoints."""
    low, high = (np.searchsorted(steps_T2.mean(axis=1), intervals_C2[:, side]) for side in (0, 1))
    high = np.maximum(low, high)
    if not len(steps_T2):
        return low, high
    empty = low == high  # no midpoint inside: only the step before and the step after can overlap
    before, after = np.maximum(low - 1, 0), np.minimum(high, len(steps_T2) - 1)
    takes_before = empty & (low > 0) & (steps_T2[before, 1] > intervals_C2[:, 0])
    takes_after = empty & (high < len(steps_T2)) & (steps_T2[after, 0] < intervals_C2[:, 1])
    return low - takes_before, high + takes_after


def _cut(values: Array, low: Array, high: Array) -> list[Array]:
    return [values[a:b] for a, b in zip(low, high, strict=True)]


def _means(values: Array, low: Array, high: Array) -> Array:
    """(W, D) float32 mean of values[low:high]; zeros where that is empty. Summed in float64."""
    bounds = np.stack([low, high], axis=1).reshape(-1)
    padded = np.concatenate(
        [values, np.zeros((1, values.shape[1]), dtype=values.dtype)]
    )  # reduceat refuses an end at T
    sums = (
        np.add.reduceat(padded, bounds, axis=0, dtype=np.float64)[::2]
        if len(bounds)
        else np.zeros((0, values.shape[1]))
    )
    counts = (high - low)[:, None]
    return np.where(counts > 0, sums / np.maximum(counts, 1), 0.0).astype(np.float32)


def _finish(split: str, part: _Split, dims: dict[str, int], has_words: bool, notes: dict[str, str]) -> Clips:
    """Leave out clips with nothing in them, and pack the rest."""
    lengths = {modality: np.array([len(rows) for rows in part.streams[modality]]) for modality in dims}
    covered = np.array([bool(text) for text in part.texts]) | (sum(lengths.values(), np.zeros(len(part.ids))) > 0)
    _note(notes, f"clips/{split} without a step", [part.ids[n] for n in np.flatnonzero(~covered)])
    kept = np.flatnonzero(covered)
    if not len(kept):
        raise ValueError(f"no clip of split {split!r} has a step or a word; are all files of one data set?")
    for modality, count in lengths.items():
        _note(notes, f"clips/{split} without {modality}", [part.ids[n] for n in kept if count[n] == 0])
    return Clips(
        ids=[part.ids[n] for n in kept],
        streams={modality: Ragged.pack([part.streams[modality][n] for n in kept]) for modality in dims},
        targets={"multimodal": np.array(part.labels, dtype=np.float32)[kept]},
        raw_text=[part.texts[n] for n in kept] if has_words else None,
    )
