"""Checks a source before it is written to a store, where a user's own script may have made it.

Legend: N clips of a split, L sum of their steps, D features.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from trivium.data.clips import FEWEST_FOLDS, MODALITIES, STORE_SPLITS, Array, Clips, Folds, Ragged, Source, in_chunks
from trivium.data.target import MULTIMODAL, Target, undeclared

Range = tuple[float, float] | None
# Squares of larger values overflow in float32, which layers and losses compute in.
_LARGEST = 1e18


def targets_of(source: Source, label_range: Range = None) -> dict[str, Target]:
    """Returns what each target of the source's train split is: as the source says, or else as `undeclared` does.

    label_range: that of scores which the source does not describe. The descriptions have no counts yet.
    """
    train = source.splits["train"]
    modalities = {*MODALITIES, *train.streams}
    return {
        name: source.described.get(name) or undeclared(name, _everywhere(source, name), modalities, label_range)
        for name in train.targets
    }


def _everywhere(source: Source, target: str) -> Array:
    """Returns the values of a target in all splits that have it in the form of train's, end to end."""
    parts = [np.asarray(clips.targets[target]) for clips in source.splits.values() if target in clips.targets]
    train = np.asarray(source.splits["train"].targets[target])
    return np.concatenate([part for part in parts if part.shape[1:] == train.shape[1:]])


def check_source(source: Source, targets: dict[str, Target] | None = None) -> None:
    """Raises ValueError, naming file, split and key, for a source that a store cannot hold.

    Every part must have one entry a clip, and ids must be unique texts. Values must be finite numbers, and each clip
    needs a step in some modality and a value of each target, as `targets` (those of the source, if None) describe them.
    Every split must have the modalities, features, targets and tokens of train, and names must be usable as names of
    settings.
    """
    where = _where(source)
    if "train" not in source.splits:
        raise ValueError(f"{where}: no split 'train'; found {list(source.splits)}")
    for split, clips in source.splits.items():
        if split not in STORE_SPLITS:
            raise ValueError(
                f"{where}: split {split!r} is none of {', '.join(STORE_SPLITS)}; give it one of these names"
            )
        _check_clips(f"{where}: split {split!r}", clips)
        _check_alike(f"{where}: split {split!r}", clips, source.splits["train"])
    for name, target in (targets_of(source) if targets is None else targets).items():
        for split, clips in source.splits.items():
            target.check(np.asarray(clips.targets[name]), clips.ids, f"{where}: split {split!r}: target {name!r}")
    refuse_repeated_ids(where, source.splits)
    if source.folds is not None:
        if list(source.splits) != ["train"]:
            raise ValueError(
                f"{where}: folds and the splits {list(source.splits)}; with folds, all clips are in 'train'"
            )
        check_folds(where, source.splits["train"], source.folds)


def check_folds(where: str, clips: Clips, folds: Folds) -> None:
    """Raises ValueError unless every clip has one of three folds or more, none of which is empty."""
    count, numbers = len(folds.names), np.asarray(folds.numbers)
    if count < FEWEST_FOLDS or len(set(folds.names)) != count:
        raise ValueError(
            f"{where}: folds {list(folds.names)}; expected {FEWEST_FOLDS} names or more, each once, as one fold is "
            "tested, one validates and the rest is trained on"
        )
    if numbers.shape != (len(clips),) or numbers.dtype.kind not in "iu":
        raise ValueError(
            f"{where}: folds: expected a whole number a clip, ({len(clips)},), found {numbers.shape} {numbers.dtype}"
        )
    if set(numbers.tolist()) != set(range(count)):
        raise ValueError(
            f"{where}: folds: expected clips in each of 0 to {count - 1}, found {sorted(set(numbers.tolist()))}"
        )
    if folds.groups is not None and len(folds.groups) != len(clips):
        raise ValueError(f"{where}: folds: {len(folds.groups)} groups for {len(clips)} clips")


def check_labels(source: Source, label_range: tuple[float, float]) -> None:
    """Raises ValueError, naming split, clip and score, for a score outside the range, whose ends are allowed."""
    low, high = label_range
    if not low < high:
        raise ValueError(f"label_range: expected the lowest label and a higher one, found {low:g} and {high:g}")
    # An end that is no binary fraction is rounded in float32.
    slack = 1e-6 * max(abs(low), abs(high))
    for split, clips in source.splits.items():
        for target in clips.targets.keys() & {MULTIMODAL, *MODALITIES, *clips.streams} - source.described.keys():
            scores = clips.targets[target]
            outside = np.flatnonzero((scores < low - slack) | (scores > high + slack))
            if len(outside):
                n = int(outside[0])
                raise ValueError(
                    f"{_where(source)}: split {split!r}: the {target} label of clip {clips.ids[n]!r} is "
                    f"{scores[n]:g}, outside [{low:g}, {high:g}] ({len(outside)} such); is the range, or data=, "
                    "right? data=custom takes any range"
                )


def refuse_repeated_ids(where: str, splits: dict[str, Clips]) -> None:
    """Raises ValueError, naming both splits, for an id that occurs twice."""
    split_of: dict[str, str] = {}
    for split, clips in splits.items():
        for clip in clips.ids:
            if clip in split_of:
                raise ValueError(f"{where}: id {clip!r} of split {split!r} occurs before, in split {split_of[clip]!r}")
            split_of[clip] = split


def leave_out_empty_clips(source: Source) -> None:
    """Takes clips out of the splits that have no step in any modality, and notes how many, and which.

    Nothing can be learnt from them, as the words of a clip alone are none without token ids or vectors. A split without
    any other clip is left as it is, which check_source refuses.
    """
    for split, clips in source.splits.items():
        raggeds = [ragged for _, ragged in _raggeds(clips) if len(ragged) == len(clips)]
        if not raggeds:
            continue
        clips_with_steps = np.flatnonzero(np.sum([ragged.lengths for ragged in raggeds], axis=0))
        if not 0 < len(clips_with_steps) < len(clips):
            continue
        chosen = set(clips_with_steps.tolist())
        empty = [clip for n, clip in enumerate(clips.ids) if n not in chosen]
        source.splits[split] = _only(clips, clips_with_steps)
        key, names = f"clips/{split} without a step", f"{', '.join(empty[:10])}{', ...' if len(empty) > 10 else ''}"
        # A reader may have left out others.
        before = f"{source.notes[key]}; " if key in source.notes else ""
        source.notes[key] = f"{before}{len(empty)}: {names}"


def _only(clips: Clips, rows: Array) -> Clips:
    """Returns the clips of these rows."""

    def of(ragged: Ragged) -> Ragged:
        return Ragged.pack([ragged[n] for n in rows])

    return replace(
        clips,
        ids=[clips.ids[n] for n in rows],
        streams={name: of(ragged) for name, ragged in clips.streams.items()},
        targets={name: np.asarray(values)[rows] for name, values in clips.targets.items()},
        raw_text=None if clips.raw_text is None else [clips.raw_text[n] for n in rows],
        tokens=None if clips.tokens is None else of(clips.tokens),
        words=None if clips.words is None else clips.words.select(rows),
    )


def _where(source: Source) -> str:
    return str(source.files[0]) if source.files else source.format


def _check_clips(where: str, clips: Clips) -> None:
    if not len(clips):
        raise ValueError(f"{where} is empty; leave it out or give it clips")
    for key, texts in (("ids", clips.ids), ("raw_text", clips.raw_text or [])):
        wrong_places = [n for n, text in enumerate(texts) if not isinstance(text, str)]
        if wrong_places:
            kind = type(texts[wrong_places[0]]).__name__
            raise ValueError(
                f"{where}: {key} must be str, found {kind} at place {wrong_places[0]} ({len(wrong_places)} such)"
            )
        _check_letters(where, key, clips.ids, texts)
    for name in (*clips.streams, *clips.targets):
        if not name.isidentifier():
            raise ValueError(
                f"{where}: {name!r} must be a name of letters, digits and _, as settings are named after it"
            )
    for key, count in _part_counts(clips).items():
        if count != len(clips):
            raise ValueError(f"{where} has {len(clips)} ids but {count} entries in {key!r}")
    for name, ragged in _raggeds(clips):
        _check_ragged(f"{where}: {name!r}", clips.ids, ragged, ndim=1 if name == "tokens" else 2)
    _check_words(where, clips)
    _refuse_empty_clips(where, clips)


def _check_letters(where: str, key: str, ids: list[str], texts: Sequence[str]) -> None:
    """Raises ValueError, naming the clip, for a text with a letter that no file can hold."""
    for n, text in enumerate(texts):
        wrong = next((letter for letter in text if letter == "\0" or "\ud800" <= letter <= "\udfff"), None)
        if wrong is not None:
            kind = "NUL" if wrong == "\0" else f"half of a pair, U+{ord(wrong):04X}"
            clip = ids[n] if n < len(ids) else n
            raise ValueError(
                f"{where}: key {key!r} of clip {clip!a} holds a letter that is no text ({kind}) in "
                f"{text[:40]!a}; take it out, as with text.replace('\\0', '') or "
                "text.encode(errors='replace').decode()"
            )


def _part_counts(clips: Clips) -> dict[str, int]:
    counts = {name: len(ragged) for name, ragged in _raggeds(clips)}
    counts |= {f"targets/{name}": len(values) for name, values in clips.targets.items()}
    if clips.raw_text is not None:
        counts["raw_text"] = len(clips.raw_text)
    return counts


def _raggeds(clips: Clips) -> Iterator[tuple[str, Ragged]]:
    yield from clips.streams.items()
    if clips.tokens is not None:
        yield "tokens", clips.tokens


def _check_ragged(where: str, ids: list[str], ragged: Ragged, *, ndim: int) -> None:
    values, offsets = ragged.values, np.asarray(ragged.offsets)
    if values.ndim != ndim or values.dtype.kind not in "fiub" or 0 in values.shape[1:]:
        shape = "(L,) token ids" if ndim == 1 else "(L, D) numbers, the steps of all clips end to end"
        raise ValueError(f"{where} must hold {shape}; found {values.shape} {values.dtype}")
    if offsets[0] != 0 or (np.diff(offsets) < 0).any() or offsets[-1] != len(values):
        raise ValueError(
            f"{where}: offsets must rise from 0 to its {len(values)} steps; found {offsets[0]} to {offsets[-1]}, or "
            "they fall"
        )
    for start, chunk in in_chunks(values):
        # Values are stored as float32, in which one that is too large is infinite.
        with np.errstate(over="ignore"):
            finite = np.isfinite(np.asarray(chunk, dtype=np.float32))
        if not finite.all():
            step = start + int(np.flatnonzero(~finite.reshape(len(finite), -1).all(axis=1))[0])
            clip = ids[int(np.searchsorted(offsets, step, side="right")) - 1]
            raise ValueError(
                f"{where}: clip {clip!r} has a value that is not finite; trivium.data.repair.repair makes such values 0"
            )
        large = np.abs(np.asarray(chunk, dtype=np.float32).reshape(len(finite), -1)) > _LARGEST
        if ndim == 2 and large.any():
            row, column = (int(place[0]) for place in np.nonzero(large))
            clip = ids[int(np.searchsorted(offsets, start + row, side="right")) - 1]
            raise ValueError(
                f"{where}: clip {clip!r} has the value {float(chunk[row].reshape(-1)[column]):g}, whose square no "
                "float32 holds, so that no method could compute with it; is it a fill value for what is missing? Write "
                "NaN or 0 there instead"
            )


def _check_words(where: str, clips: Clips) -> None:
    """Raises ValueError unless `words` has a number for each token, below the number of words of its clip."""
    tokens, words = clips.tokens, clips.words
    if words is None:
        return
    numbers, counts = np.asarray(words.numbers.values), np.asarray(words.counts)
    if (
        tokens is None
        or not np.array_equal(tokens.offsets, words.numbers.offsets)
        or len(numbers) != len(tokens.values)
    ):
        raise ValueError(f"{where}: 'words' must have one number for each token of 'tokens'")
    if counts.shape != (len(clips),) or {numbers.dtype.kind, counts.dtype.kind} - {"i", "u"}:
        raise ValueError(
            f"{where}: 'words' must hold whole numbers, and a count for each of {len(clips)} clips; found "
            f"{numbers.dtype} and {counts.shape} {counts.dtype}"
        )
    wrong = (numbers < -1) | (numbers >= np.repeat(counts, tokens.lengths))
    if wrong.any():
        step = int(np.flatnonzero(wrong)[0])
        n = int(np.searchsorted(tokens.offsets, step, side="right")) - 1
        raise ValueError(
            f"{where}: 'words' of clip {clips.ids[n]!r} has the number {numbers[step]}; expected -1 for a special "
            f"token, and else a word from 0 to {counts[n] - 1}"
        )


def _refuse_empty_clips(where: str, clips: Clips) -> None:
    parts = [ragged.lengths for _, ragged in _raggeds(clips)]
    empty = np.flatnonzero(np.sum(parts, axis=0) == 0)
    if parts and len(empty):
        raise ValueError(f"{where}: clip {clips.ids[int(empty[0])]!r} has no step in any modality; leave it out")


def _check_alike(where: str, clips: Clips, train: Clips) -> None:
    if not clips.targets:
        raise ValueError(f"{where}: no target; every clip needs one, such as {MULTIMODAL!r}, its score")
    contents, expected = _contents(clips), _contents(train)
    for name in sorted(contents.keys() | expected.keys()):
        actual, expected_text = contents.get(name, "missing"), expected.get(name, "missing")
        if actual != expected_text:
            raise ValueError(f"{where}: {name} {actual}, in 'train' {expected_text}; make them alike")


def _contents(clips: Clips) -> dict[str, str]:
    """Returns name -> description of the parts that must be alike in all splits."""
    return {
        **{f"modality {name!r}": f"of {ragged.dim} features" for name, ragged in clips.streams.items()},
        **{f"target {name!r}": "there" for name in clips.targets},
        **({} if clips.tokens is None else {"tokens": "there"}),
        **({} if clips.words is None else {"words of tokens": "there"}),
    }
