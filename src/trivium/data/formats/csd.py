"""Makes clips of the CMU Multimodal SDK's computational sequences (.csd, HDF5): labels, words and features of videos.

A clip is one row of the labels: `VIDEO$_$n`, n from 1 in the stored order, which is not sorted by time. Where clips to
be predicted come without labels, each video is one clip, `VIDEO`.
`intervals` decides which steps and words belong to a clip.
Legend: C labelled intervals of a video, W words.
"""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from trivium.core.choices import check_choice
from trivium.data.clips import NEW, SPLITS, Array, Clips, Ragged, Source
from trivium.data.formats import emotions
from trivium.data.formats.folds import read_folds, sdk_knows
from trivium.data.formats.intervals import PAUSE, cut, find_word_lag, means, move_back, ranges
from trivium.data.formats.sequences import ComputationalSequence, Steps, open_sequences, read_labels, read_steps
from trivium.data.repair import no_repairs, repair
from trivium.data.text import look_up, read_embeddings


def read_csd(
    files: list[Path],
    *,
    data: str,
    folds: Path | None = None,
    align: str = "words",
    embeddings: Path | None = None,
    word_lag: int | None = None,
    labelled: bool = True,
) -> Source:
    """Reads one labels sequence, at most one of words and any number of features, from .csd files or folders of them.

    files: a sequence's role follows from its root or file name. Where it does not, `ROLE:path` states it, ROLE being
    labels, words or a modality. data: the data set's name in the folds file, and in the SDK.
    folds: JSON of split -> video ids, flat or under data-set names; without it, the installed SDK's own folds.
    align: "words" gives every stream one step a word (the mean of its steps, zeros where it has none, pauses dropped);
    "intervals" keeps each stream's own steps. embeddings: a file of word vectors in GloVe's text format, which become
    the text stream. word_lag: 1 if each word has the next one's interval, 0 if not; None finds out by `find_word_lag`.
    labelled: without it there may be no labels, or NaN for each of them, and videos in no fold are of the split "new".
    Labels are the first column of their sequence. CMU-MOSEI's seven columns also give the target "emotions", the six
    whose intensity is above 0. A clip that a sequence does not cover has length 0 there; one that
    has neither a step nor a word is left out. -inf, +inf and NaN of features become 0, and are counted over the videos
    read. Notes hold the alignment, the folds, and everything that was left out.
    Raises ValueError, naming file and video, for anything that cannot be read so.
    """
    check_choice("align", align, ("words", "intervals"))
    if word_lag not in (None, 0, 1):
        raise ValueError(f"word_lag={word_lag}: expected 0 or 1, or leave it out to find it")
    with ExitStack() as stack:
        labels, words, features = open_sequences(stack, files, labelled)
        _check_parts(labels, words, features, align, embeddings)
        notes = {"align": align if features else "words"}
        clip_source = labels or words or features[0]
        if labelled:
            splits = _assign(clip_source, read_folds(folds, data), folds, notes)
        else:
            sequences = [labels] if labels is not None else [words, *features] if words is not None else features
            splits = _assign_new([video for sequence in sequences for video in sequence.videos], folds, data)
        has_emotions = labels is not None and data == "mosei" and labels.dim == emotions.COLUMNS
        if has_emotions:
            notes["labels"] = "sentiment, and six emotions, present if above 0"
        elif labels is not None and labels.dim > 1:
            notes["labels"] = f"first of {labels.dim} columns"
        reader = _ClipCutter(labels, words, features, align, emotions.COLUMNS if has_emotions else 1, labelled)
        if words is not None:
            reader.read_words([video for videos in splits.values() for video in videos], word_lag, notes)
        if embeddings is not None:
            reader.read_vectors(embeddings)
        filled = {split: reader.fill(videos) for split, videos in splits.items()}
        if embeddings is not None:
            reader.note_unknown(notes)
        clips = {split: _finish(split, part, str(clip_source.path), reader, notes) for split, part in filled.items()}
        if not labelled:
            _drop_missing_labels(clips, str(clip_source.path))
    extra = [path for path in (folds, embeddings) if path is not None]
    sequence_files = [sequence.path for sequence in (labels, words, *features) if sequence is not None]
    described = {"emotions": emotions.TARGET} if has_emotions else {}
    return Source(clips, "csd", sequence_files + extra, described=described, repairs=dict(reader.repairs), notes=notes)


@dataclass
class _CsdSplit:
    """Holds one split while it is being filled. labels: (columns,) of each clip."""

    ids: list[str] = field(default_factory=list)
    labels: list[Array] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    streams: dict[str, list[Array]] = field(default_factory=dict)


class _ClipCutter:
    """Cuts the sequences of videos into clips.

    spoken: video -> its words without pauses. word_intervals: video -> the words' intervals as stored, pauses included.
    columns: those of the labels that are read, from the first.
    word_counts: how often each word occurs in the clips, for the note on words without a vector.
    """

    def __init__(
        self,
        labels: ComputationalSequence | None,
        words: ComputationalSequence | None,
        features: list[ComputationalSequence],
        align: str,
        columns: int,
        labelled: bool,
    ) -> None:
        self.labels, self.words, self.features, self.align = labels, words, features, align
        self.columns, self.labelled = columns, labelled
        self.dims = {sequence.role: sequence.dim for sequence in features}
        self.repairs = {sequence.role: no_repairs() for sequence in features}
        self.spoken: dict[str, Steps] = {}
        self.word_intervals: dict[str, Array] = {}
        self.vectors: dict[str, Array] | None = None
        self.word_counts: Counter[str] = Counter()
        self.lag = 0

    def read_words(self, videos: list[str], word_lag: int | None, notes: dict[str, str]) -> None:
        """Reads the words of these videos, moves them back by the lag and drops pauses."""
        assert self.words is not None
        words = {video: read_steps(self.words, video) for video in videos if video in self.words.videos}
        self.lag = find_word_lag(list(words.values())) if word_lag is None else word_lag
        if self.lag:
            notes["words/lag"] = "each word stood one interval after its own; moved back (word_lag=0 keeps the file's)"
        for video, steps in words.items():
            self.word_intervals[video] = steps.intervals
            steps = move_back(steps, self.lag)
            names = np.char.strip(steps.values.astype(str))
            voiced = (names != PAUSE) & (names != "")
            self.spoken[video] = Steps(names[voiced], steps.intervals[voiced])

    def read_vectors(self, path: Path) -> None:
        """Reads the vectors of the spoken words from `path`."""
        vocabulary = {str(word) for steps in self.spoken.values() for word in steps.values}
        self.vectors, self.dims["text"] = read_embeddings(path, vocabulary | {word.lower() for word in vocabulary})
        if not self.vectors:
            raise ValueError(
                f"{path}: has none of the {len(vocabulary)} words of the videos; is it of another language?"
            )

    def note_unknown(self, notes: dict[str, str]) -> None:
        """Notes how many words of the clips have no vector."""
        assert self.vectors is not None
        _, known = look_up(list(self.word_counts), self.vectors, self.dims["text"])
        unknown_counts = [n for n, is_known in zip(self.word_counts.values(), known, strict=True) if not is_known]
        notes["text/unknown"] = (
            f"{len(unknown_counts)} of {len(known)} words, {sum(unknown_counts)} of {self.word_counts.total()} spoken"
        )

    def fill(self, videos: list[str]) -> _CsdSplit:
        """Returns the clips of these videos, in the videos' order."""
        part = _CsdSplit(streams={modality: [] for modality in self.dims})
        for video in videos:
            if self.labels is None:
                labels, intervals_C2 = np.full((1, 1), np.nan, np.float32), np.array([[-np.inf, np.inf]])
                part.ids.append(video)
            else:
                labels, intervals_C2 = read_labels(self.labels, video, self.columns, self.labelled)
                part.ids += [f"{video}$_${n}" for n in range(1, len(labels) + 1)]
            part.labels += list(labels)
            words = self.spoken.get(video, Steps(np.zeros(0, dtype=str), np.zeros((0, 2))))
            low, high = ranges(words.intervals, intervals_C2)
            part.texts += [" ".join(words.values[a:b]) for a, b in zip(low, high, strict=True)]
            if self.vectors is not None:
                for a, b in zip(low, high, strict=True):
                    self.word_counts.update(words.values[a:b].tolist())
                rows, _ = look_up(words.values.tolist(), self.vectors, self.dims["text"])
                part.streams["text"] += cut(rows, low, high)
            for sequence in self.features:
                part.streams[sequence.role] += self._features(sequence, video, intervals_C2, words.intervals, low, high)
        return part

    def _features(
        self, sequence: ComputationalSequence, video: str, intervals_C2: Array, words_W2: Array, low: Array, high: Array
    ) -> list[Array]:
        if video not in sequence.videos:
            return [np.zeros((0, sequence.dim), dtype=np.float32)] * len(intervals_C2)
        steps = read_steps(sequence, video)
        word_intervals = self.word_intervals.get(video)
        # Vectors that were made of these very words lag as the words do.
        if sequence.role == "text" and word_intervals is not None and np.array_equal(steps.intervals, word_intervals):
            steps = move_back(steps, self.lag)
        values, counts = repair(steps.values)
        self.repairs[sequence.role].update(counts)
        if self.align == "intervals":
            return cut(values, *ranges(steps.intervals, intervals_C2))
        return cut(means(values, *ranges(steps.intervals, words_W2)), low, high)


def _check_parts(
    labels: ComputationalSequence | None,
    words: ComputationalSequence | None,
    features: list[ComputationalSequence],
    align: str,
    embeddings: Path | None,
) -> None:
    first = labels or words or features[0]
    if words is None and (embeddings is not None or not features):
        need = f"embeddings={embeddings} needs" if embeddings is not None else "labels alone are no data; add"
        raise ValueError(f"{first.path}: {need} a words sequence (CMU_..._TimestampedWords.csd)")
    if words is None and align == "words":
        raise ValueError(
            f"{first.path}: align=words needs a words sequence (CMU_..._TimestampedWords.csd) among the files; "
            "add it, or use align=intervals"
        )
    for sequence in [words, *features] if words is not None else features:
        if not any(video in first.videos for video in sequence.videos):
            raise ValueError(
                f"{sequence.path}: shares no video with {first.path}; its videos are {list(sequence.videos)[:3]}..., "
                f"expected such as {list(first.videos)[:3]}: are both of one data set, as published?"
            )
        if sequence.role == "text" and embeddings is not None:
            raise ValueError(f"{sequence.path}: holds text features, and so does embeddings={embeddings}; give one")


def _assign(
    labels: ComputationalSequence, folds: dict[str, list[str]], path: Path | None, notes: dict[str, str]
) -> dict[str, list[str]]:
    """Returns split -> its labelled videos, in the order of the labels."""
    notes["folds"] = path.name if path is not None else "mmsdk"
    stored = list(labels.videos)
    split_of_video = {video: split for split, videos in folds.items() for video in videos}
    _note(notes, "videos/in no fold", [video for video in stored if video not in split_of_video])
    _note(notes, "videos/without labels", [video for video in split_of_video if video not in labels.videos])
    splits = {split: [video for video in stored if split_of_video.get(video) == split] for split in folds}
    for split, videos in splits.items():
        if not videos:
            raise ValueError(
                f"{labels.path}: has labels for none of the {len(folds[split])} videos of split {split!r} in "
                f"{path or 'the SDK'}; its videos are {stored[:3]}...: are the folds those of this data set, and the "
                "files as published (VIDEO[n] are clips that the SDK has cut already, which are not read)?"
            )
    return splits


def _assign_new(videos: list[str], path: Path | None, data: str) -> dict[str, list[str]]:
    """Returns split -> videos to predict: those of the folds where these are known, and the others as NEW."""
    folds = read_folds(path, data) if path is not None or sdk_knows(data) else {}
    split_of_video = {video: split for split, chosen in folds.items() for video in chosen}
    splits: dict[str, list[str]] = {split: [] for split in (*SPLITS, NEW)}
    for video in dict.fromkeys(videos):
        splits[split_of_video.get(video, NEW)].append(video)
    return {split: chosen for split, chosen in splits.items() if chosen}


def _drop_missing_labels(splits: dict[str, Clips], where: str) -> None:
    """Removes the labels if all are NaN. Raises ValueError, naming the clip, if some are."""
    missing = {split: np.isnan(clips.targets["multimodal"]) for split, clips in splits.items()}
    if all(nan.all() for nan in missing.values()):
        for clips in splits.values():
            clips.targets.clear()
        return
    for split, nan in missing.items():
        if nan.any():
            raise ValueError(
                f"{where}: the label of clip {splits[split].ids[int(nan.argmax())]!r} is nan; give every clip a finite "
                "score, or none, to predict without metrics"
            )


def _finish(split: str, part: _CsdSplit, where: str, reader: _ClipCutter, notes: dict[str, str]) -> Clips:
    """Returns the split's clips, packed, without those that have neither a step nor a word."""
    dims = reader.dims
    lengths = {modality: np.array([len(rows) for rows in part.streams[modality]]) for modality in dims}
    covered = np.array([bool(text) for text in part.texts]) | (sum(lengths.values(), np.zeros(len(part.ids))) > 0)
    _note(notes, f"clips/{split} without a step", [part.ids[n] for n in np.flatnonzero(~covered)])
    chosen = np.flatnonzero(covered)
    if not len(chosen):
        raise ValueError(
            f"{where}: none of the {len(part.ids)} clips of split {split!r} has a step or a word in the "
            "other files; are all of one data set?"
        )
    for modality, count in lengths.items():
        _note(notes, f"clips/{split} without {modality}", [part.ids[n] for n in chosen if count[n] == 0])
    labels = np.stack(part.labels)[chosen]
    targets = {"multimodal": labels[:, 0]}
    if labels.shape[1] == emotions.COLUMNS:
        targets["multimodal"], targets["emotions"] = emotions.split_labels(labels)
    return Clips(
        ids=[part.ids[n] for n in chosen],
        streams={modality: Ragged.pack([part.streams[modality][n] for n in chosen]) for modality in dims},
        targets=targets,
        raw_text=[part.texts[n] for n in chosen] if reader.words is not None else None,
    )


def _note(notes: dict[str, str], key: str, names: list[str]) -> None:
    """Notes the number of names and the first ten of them, if there are any."""
    if names:
        notes[key] = f"{len(names)}: {', '.join(names[:10])}{', ...' if len(names) > 10 else ''}"
