"""Reads MMSA's pickles (CMU-MOSI, CMU-MOSEI, CH-SIMS, CH-SIMS v2): {"train" | "valid" | "test": {key: N entries}}.

A file may be aligned or unaligned, have `text` and `text_bert`, arrays or lists, float32 or float64, and padding in
front or at the back, with or without lengths. Modalities may have any names. Legend: N clips, T steps, D features.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trivium.data.clips import MODALITIES, SPLITS, Array, Clips, Ragged, Source, offsets_of
from trivium.data.formats import fields, padding
from trivium.data.formats.mmsa_labels import SCORES, is_redundant, refuse_other_classes, take_targets
from trivium.data.source_check import refuse_repeated_ids
from trivium.data.target import Target
from trivium.data.unpickle import safe_load


def read_mmsa(path: Path, *, drop: Sequence[str] = (), labelled: bool = True, known_keys_only: bool = False) -> Source:
    """Reads one MMSA pickle; nothing in it is executed.

    Padding is stripped. A clip's steps are found by the first of these rules that applies:
    1. its `MODALITY_lengths`,
    2. for `text`, the steps where `text_bert`'s mask is set,
    3. in an aligned file (same T, no value lost), the text's steps,
    4. what remains when the zero steps of the padded side are cut off, so that a clip of zeros lacks the modality.
    notes["padding/MODALITY"] is that side ("front", "back", "none"), one for all splits. `text_bert`'s token ids become
    Clips.tokens. -inf, +inf and NaN in the steps become 0 and are counted. Targets are as `take_targets` reads them.

    A key of another name is a modality if it holds (N, T, D). Any other must stand in `drop`, so that nothing of a file
    is lost unseen.
    drop: keys to leave out. labelled: False reads files without labels, and without the split train, too.
    known_keys_only: leaves other keys out, and notes them, as for published files whose content is known.
    Raises ValueError naming file, split and key for anything missing, of wrong rank, count, type or length.
    """
    content = safe_load(path)
    notes: dict[str, str] = {}
    parts = _splits(path, content, notes, needs_train=labelled)
    # `parts` then hold the only references, and each padded array is freed as soon as it is packed.
    del content
    fields.leave_out(str(path), parts, drop)
    if known_keys_only:
        _leave_out_unknown(parts, notes)
    clips, described = _clips(path, parts, labelled)
    refuse_repeated_ids(str(path), clips)
    if not known_keys_only:
        for split, part in parts.items():
            refuse_other_classes(_where(path, split), part, clips[split].targets)
    if labelled:
        _drop_partial_targets(clips, notes)
        described = {name: target for name, target in described.items() if name in clips["train"].targets}
    source = Source(clips, format="mmsa", files=[path], described=described, notes=notes)
    text = _take_tokens(path, parts, source)
    others = _other_modalities(parts)
    for modality in (*MODALITIES, *others):
        if _in_every_split(path, modality, parts):
            _in_every_split(path, f"{modality}_lengths", parts)
            padded = {split: _padded(_where(path, split), modality, part) for split, part in parts.items()}
            if _choose_steps(path, modality, padded, text, notes) and modality == "text":
                text = [part.keep for part in padded.values()]
            padding.pack_stream(modality, _kept_steps(path, padded), source)
    _refuse_left_over(path, parts)
    return source


def _where(path: Path, split: str) -> str:
    return f"{path}: split {split!r}"


def _splits(path: Path, content: Any, notes: dict[str, str], *, needs_train: bool) -> dict[str, dict[str, Any]]:
    """Returns shallow copies of the known splits, so that keys can be taken out of them."""
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a dict of splits {list(SPLITS)}, found {type(content).__name__}")
    if "train" not in content and (needs_train or not set(SPLITS) & set(content)):
        raise ValueError(
            f"{path}: split 'train' is missing; found {[str(name) for name in content]}: MMSA's layout is a dict with "
            f"the keys {list(SPLITS)}"
        )
    for split in SPLITS:
        part = content.get(split, {})
        if not isinstance(part, dict):
            raise ValueError(
                f"{_where(path, split)}: expected a dict of keys such as 'id' and 'text', found {type(part).__name__}"
            )
    unknown = [str(name) for name in content if name not in SPLITS]
    if unknown:
        notes["dropped/splits"] = ", ".join(unknown)
    return {split: dict(content[split]) for split in SPLITS if split in content}


def _leave_out_unknown(parts: dict[str, dict[str, Any]], notes: dict[str, str]) -> None:
    """Removes, and notes, keys that MMSA's layout does not have, whatever they hold."""
    unknown = {key for part in parts.values() for key in part if not _is_known(key) and not is_redundant(str(key))}
    for part in parts.values():
        for key in unknown & part.keys():
            del part[key]
    padding.note_dropped_keys(notes, set(map(str, unknown)))


def _is_known(key: Any) -> bool:
    return key in ("id", "raw_text", "text_bert", *SCORES) or str(key).removesuffix("_lengths") in MODALITIES


def _clips(path: Path, parts: dict[str, dict[str, Any]], labelled: bool) -> tuple[dict[str, Clips], dict[str, Target]]:
    """Returns the splits' clips with ids, targets and transcripts, which are removed from the parts, without streams.

    Also returns what the targets are. The ids stay in the parts, as the number of other entries is compared with
    theirs.
    """
    wheres = {split: _where(path, split) for split in parts}
    for split, part in parts.items():
        if "id" not in part:
            raise ValueError(
                f"{wheres[split]}: key 'id' is missing; found {sorted(map(str, part))}: in MMSA's layout a split has "
                "'id' and 'regression_labels'; give yours these names"
            )
        part["id"] = fields.strings(wheres[split], "id", part["id"])
        if not part["id"]:
            raise ValueError(f"{wheres[split]}: is empty; leave the split out of the file, or give it clips")
    targets, described = take_targets(parts, wheres, needed=labelled)
    clips = {split: Clips(part["id"], {}, targets[split]) for split, part in parts.items()}
    for split, part in parts.items():
        if "raw_text" in part:
            texts = fields.strings(wheres[split], "raw_text", part.pop("raw_text"))
            fields.same_count(wheres[split], "raw_text", len(texts), len(part["id"]))
            clips[split].raw_text = texts
    return clips, described


def _drop_partial_targets(clips: dict[str, Clips], notes: dict[str, str]) -> None:
    """Drops targets that some split lacks: a store has a target in every split or not at all."""
    everywhere = set.intersection(*(set(part.targets) for part in clips.values()))
    partial = {name for part in clips.values() for name in part.targets} - everywhere
    for part in clips.values():
        part.targets = {name: values for name, values in part.targets.items() if name in everywhere}
    if partial:
        notes["dropped/targets"] = f"{', '.join(sorted(partial))} (not labelled in every split)"


def _in_every_split(path: Path, key: str, parts: dict[str, dict[str, Any]]) -> bool:
    """Tells whether the splits have a key. Raises ValueError if only some of them do."""
    splits_with_key = [split for split, part in parts.items() if part.get(key) is not None]
    missing = [split for split in parts if split not in splits_with_key]
    if splits_with_key and missing:
        raise ValueError(
            f"{_where(path, missing[0])}: key {key!r} is missing, but split {splits_with_key[0]!r} has it; either all "
            "splits need it, or none"
        )
    return bool(splits_with_key)


def _other_modalities(parts: dict[str, dict[str, Any]]) -> list[str]:
    """Returns the keys of other names that hold (N, T, D) numbers, in the file's order."""
    values: dict[str, Any] = {}
    for part in parts.values():
        for key, value in part.items():
            values.setdefault(str(key), value)
    return [
        key for key, value in values.items() if not _is_known(key) and not is_redundant(key) and _is_sequences(value)
    ]


def _is_sequences(value: Any) -> bool:
    """Tells whether a value is an array (N, T, D) of numbers, or a list of arrays (T, D)."""
    if isinstance(value, np.ndarray):
        return value.ndim == 3 and value.dtype.kind in "fiub"
    if not isinstance(value, list | tuple) or not value:
        return False
    try:
        first = np.asarray(value[0])
    except ValueError:
        # Its rows are of unequal shape.
        return False
    return first.ndim == 2 and first.dtype.kind in "fiub"


def _refuse_left_over(path: Path, parts: dict[str, dict[str, Any]]) -> None:
    """Raises ValueError for keys that are neither read nor known to repeat what is."""
    for split, part in parts.items():
        left = [key for key in part if key != "id" and not _is_known(key) and not is_redundant(str(key))]
        if not left:
            continue
        key, names = left[0], ",".join(map(str, left))
        lengths_of = str(key).removesuffix("_lengths")
        what = "lengths without their modality" if lengths_of != key else _description(part[key])
        raise ValueError(
            f"{_where(path, split)}: key {key!r} is {what}, which nothing reads: features are (N, T, D), one vector a "
            "clip (N, 1, D), targets have the name regression_labels_NAME or classification_labels_NAME. To leave it "
            f"out, say drop=[{names}]"
        )


def _description(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array {value.shape} {value.dtype}"
    if isinstance(value, list | tuple) and value:
        return f"a {type(value).__name__} of {len(value)} {type(value[0]).__name__}"
    return f"a {type(value).__name__}"


def _take_tokens(path: Path, parts: dict[str, dict[str, Any]], source: Source) -> list[Array] | None:
    """Removes `text_bert` from the parts and sets Clips.tokens.

    Returns its masks, (N, T) bool for each split, or None if there is no such key.
    """
    if not _in_every_split(path, "text_bert", parts):
        return None
    masks = []
    for split, part in parts.items():
        where = _where(path, split)
        bert = fields.numbers(where, "text_bert", part.pop("text_bert"))
        if bert.ndim != 3 or bert.shape[1] != 3:
            raise ValueError(
                f"{where}: key 'text_bert' must be of shape (N, 3, T), ids, mask and segments; found {bert.shape}"
            )
        fields.same_count(where, "text_bert", len(bert), len(part["id"]))
        ids, mask, segments = bert[:, 0], bert[:, 1], bert[:, 2]
        if not np.isin(mask, (0, 1)).all():
            raise ValueError(f"{where}: key 'text_bert': row 1, the mask, must be 0 or 1; are its rows in this order?")
        if not ((ids >= 0) & (ids == np.floor(ids)) & (ids < 2**31)).all():
            raise ValueError(f"{where}: key 'text_bert': row 0, the token ids, must be whole numbers from 0")
        if segments.any():
            source.notes["dropped/segments"] = "segment ids of text_bert that are not 0"
        keep = mask.astype(bool)
        source.splits[split].tokens = Ragged(ids[keep].astype(np.int32), offsets_of(keep.sum(axis=1)))
        masks.append(keep)
    return masks


def _padded(where: str, modality: str, part: dict[str, Any]) -> padding.Padded:
    """Removes a modality and its lengths from a split, checks them against each other, and returns them."""
    values, steps = fields.sequences(where, modality, part.pop(modality))
    fields.same_count(where, modality, len(values), len(part["id"]))
    key = f"{modality}_lengths"
    lengths = part.pop(key, None)
    if lengths is not None:
        return padding.Padded(values, fields.lengths(where, key, lengths, steps))
    return padding.Padded(values, steps if (steps != values.shape[1]).any() else None)


def _choose_steps(
    path: Path, modality: str, padded: dict[str, padding.Padded], text: list[Array] | None, notes: dict[str, str]
) -> bool:
    """Sets every split's `keep` by one rule, and notes the rule. Returns whether the file states which steps are real.

    text: the text's steps, (N, T) bool for each split, where they are known.
    """
    parts = list(padded.values())
    if any(part.lengths is not None for part in parts):
        rule = f"{modality}_lengths"
        for part in parts:
            # The clips of this split happen to be of one length, while those of another split are not.
            if part.lengths is None:
                part.lengths = np.full(len(part.real), part.real.shape[1])
        side, lost_steps = padding.keep_by_lengths(parts)
        _report_lost(path, modality, side, lost_steps, sum(int(part.real.sum()) for part in parts), notes)
    elif modality == "text" and text and all(p.real.shape == k.shape for p, k in zip(parts, text, strict=True)):
        rule, side = "the mask of text_bert", padding.padded_side(parts)
        for part, keep in zip(parts, text, strict=True):
            # BERT's features of padding are not zero, so the mask alone says which steps are real.
            part.keep = keep
    elif text and padding.keep_as_text(parts, text):
        rule, side = "the text's (aligned)", padding.padded_side(parts)
    else:
        rule, side = "zero steps cut off", padding.keep_nonzero(parts)
    notes[f"padding/{modality}"], notes[f"lengths/{modality}"] = side, rule
    return rule != "zero steps cut off"


def _report_lost(path: Path, modality: str, side: str, lost_steps: int, real: int, notes: dict[str, str]) -> None:
    """Notes how many steps that are not zero the lengths leave out.

    Raises ValueError if these are more than half: the lengths were then counted from the front of a file that is padded
    in front.
    """
    key = f"{modality}_lengths"
    if side == "front" and 2 * lost_steps > real:
        raise ValueError(
            f"{path}: key {key!r} would leave out {lost_steps} of {real} steps of {modality!r} that are not zero: the "
            "file is padded in front, and the lengths were counted for padding at the back; remove the key from every "
            "split, and the lengths are found from the zeros"
        )
    if lost_steps:
        notes[f"dropped/{modality}"] = f"{lost_steps} of {real} steps that are not zero, but lie past {key}"


def _kept_steps(path: Path, padded: dict[str, padding.Padded]) -> Iterator[padding.KeptSteps]:
    """Yields the steps that each split keeps, and removes its padded array from `padded` to free the memory."""
    for split in list(padded):
        part = padded.pop(split)
        yield padding.KeptSteps(split, _where(path, split), part.values, part.keep)
