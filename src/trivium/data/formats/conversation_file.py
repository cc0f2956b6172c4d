"""Finds out what the parts of a pickle of dialogues are, and returns its dialogues with their utterances checked.

Two forms are read, see `read_dialogues`. The first has no names in it, so what a part is follows from its place and
from what it holds: V vectors, N whole numbers or S texts of each utterance, by dialogue, or L a list of dialogues.
Legend: N utterances of a dialogue, D features.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from trivium.core.structure import shown
from trivium.core.wording import shortened
from trivium.data.clips import Array
from trivium.data.formats import fields
from trivium.data.splitting import SPLIT_NAMES
from trivium.data.unpickle import safe_load

# ids, speakers, labels, features, sentences, train, test, and perhaps something that their authors' code leaves alone.
_WITH_IDS = r"(?P<ids>[SN])(?P<speakers>[SNV])(?P<labels>N)(?P<features>V{1,7})(?P<sentences>S)LL(?P<rest>.?)"
# The same without ids, and with train, test and valid.
_WITHOUT_IDS = r"(?P<speakers>[SNV])(?P<labels>N)(?P<sentiments>N?)(?P<features>V{1,7})(?P<sentences>S)(?P<lists>LLL)"
# Number of parts with features -> their names. Where there are four layers of a language model, the first, its last
# layer or the text's own features, is `text`, as in the code that these files come from.
_FEATURES = {
    1: ("text",),
    2: ("text", "audio"),
    3: ("text", "audio", "vision"),
    4: ("text", "", "", ""),
    5: ("text", "", "", "", "audio"),
    6: ("text", "", "", "", "audio", "vision"),
    7: ("text", "", "", "", "", "audio", "vision"),
}
_EXPECTED = (
    "a tuple of ids, speakers, labels, text, audio, vision, sentences, train and test, as IEMOCAP_features.pkl and "
    "MELD_features_raw.pkl are, with or without vision, four layers of text and sentiments; or a dict of train, valid "
    "and test with a list of dialogues each"
)
# More classes than any data set has, and utterances than any dialogue. Letters of a dialogue's name.
_MOST, _LONGEST_NAME = 100_000, 200
# Keys of the second form -> what they are here.
_KEYS = {
    "vid": "name", "id": "name", "speakers": "speakers", "speaker": "speakers", "labels": "labels", "label": "labels",
    "sentence": "sentences", "sentences": "sentences", "text": "text", "audio": "audio", "visual": "vision",
    "vision": "vision",
}  # fmt: skip


@dataclass
class Dialogue:
    """Holds a dialogue, everything with one entry an utterance.

    numbers: what tells its utterances apart in their ids. labels, sentiments: (N,) float32 class numbers. labels are
    None of a dialogue that is to be predicted. features: modality -> (N, D).
    """

    name: str
    split: str
    numbers: list[str]
    speakers: list[str]
    labels: Array | None
    sentiments: Array | None = None
    sentences: list[str] | None = None
    features: dict[str, Array] = field(default_factory=dict)


def read_dialogues(
    path: Path, notes: dict[str, str], drop: Sequence[str] = (), labelled: bool = True
) -> list[Dialogue]:
    """Returns the dialogues of a pickle, in the order of the file's splits; those without an utterance are left out.

    1. A tuple or list of dicts from dialogue to a list with an entry an utterance, and of lists of dialogues, as
       DialogueRNN, MMGCN, MM-DFN and SDT share them.
    2. {"train" | "dev" | "test": [{"vid", "speakers", "labels", "text", "audio", "visual", "sentence"}]}, as CORECT
       shares them. Any other key must stand in `drop`.

    labelled: without it train may have no dialogues, and labels may be missing: all of the second form's, or None or {}
    in their place in the first.
    Raises ValueError, naming the file, for any other form, and naming the dialogue for parts of other lengths or types.
    """
    content = safe_load(path)
    if isinstance(content, dict):
        dialogues = _from_dicts(path, content, drop, labelled)
    elif drop:
        raise ValueError(f"{path}: drop={','.join(drop)}: the file has no keys, but parts by their place; leave it out")
    else:
        dialogues = _from_parts(path, content, notes, labelled)
    dialogues = [dialogue for dialogue in dialogues if dialogue.numbers]
    if not dialogues:
        raise ValueError(f"{path}: no dialogue has an utterance")
    if labelled and not any(dialogue.split == "train" for dialogue in dialogues):
        raise ValueError(f"{path}: split 'train' has no utterance; expected dialogues to train on")
    _refuse_unlike(path, dialogues)
    return dialogues


def _from_parts(path: Path, content: Any, notes: dict[str, str], labelled: bool) -> list[Dialogue]:
    """Returns the dialogues of the first form."""
    parts = list(content) if isinstance(content, list | tuple) else []
    kinds = "".join(map(_kind, parts))
    with_ids, without_ids = _WITH_IDS, _WITHOUT_IDS
    if not labelled:
        # An empty list of dialogues, and labels that are left out, are of kind ?.
        with_ids = with_ids.replace("LL", "[L?][L?]").replace("<labels>N", "<labels>[N?]")
        without_ids = without_ids.replace("LLL", "[L?]{3}").replace("<labels>N", "<labels>[N?]")
    match = re.fullmatch(with_ids, kinds) or re.fullmatch(without_ids, kinds)
    if match is None:
        layout = f"{len(parts)} parts of the kinds {kinds}" if parts else f"a {type(content).__name__}"
        raise ValueError(f"{path}: expected {_EXPECTED}; found {layout} (V vectors, N numbers, S texts, L dialogues)")
    named = {name: kind for name, kind in match.groupdict().items() if kind and name not in ("features", "lists")}
    if named["labels"] == "?":
        del named["labels"]
    part_of = {name: parts[match.start(name)] for name in named}
    layers = parts[match.start("features") : match.end("features")]
    names = _FEATURES[len(layers)]
    features = {name: layer for name, layer in zip(names, layers, strict=True) if name}
    if "" in names:
        notes["dropped/text"] = f"{names.count('')} further layers of the text's features; the first is kept"
    lists = parts[match.end("sentences") :]
    splits = {"train": lists[0], "test": lists[1]} | ({"valid": lists[2]} if "ids" not in named else {})
    rest = named.get("rest")
    if rest == "N":
        part_of["sentiments"] = part_of["rest"]
    elif rest == "L":
        splits |= _third_list(path, splits, part_of["rest"])
    elif rest:
        notes["dropped/parts"] = "the last, which is neither labels nor dialogues"
    return [
        _dialogue(path, name, split, part_of, features)
        for split in ("train", "valid", "test")
        for name in _names(path, splits.get(split) or ())
    ]


def _kind(part: Any) -> str:
    """Returns V, N, S or L, as the module's docstring has them, or ? for anything else."""
    if not isinstance(part, dict):
        return "L" if isinstance(part, list | tuple | set | frozenset) and len(part) else "?"
    entries = next((entry for entry in part.values() if _is_list(entry) and len(entry)), None)
    if entries is None:
        return "?"
    first = entries[0]
    if isinstance(first, str | bytes):
        return "S"
    try:
        array = np.asarray(first)
    except ValueError:
        return "?"
    if array.dtype.kind not in "fiub" or array.ndim > 1:
        return "?"
    return "V" if array.ndim else "N"


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim > 0)


def _names(path: Path, dialogues: Any) -> list[Any]:
    """Returns a list of dialogues in its order, and those of a set in the order of their names.

    Raises ValueError for names that are neither text nor whole numbers.
    """
    for name in dialogues:
        if not isinstance(name, str | int | np.integer):
            raise ValueError(f"{path}: a list of dialogues has {shown(name)}; expected names or numbers of dialogues")
    if isinstance(dialogues, set | frozenset):
        return sorted(dialogues, key=lambda name: (isinstance(name, str), name))
    return list(dialogues)


def _third_list(path: Path, splits: Mapping[str, Any], third: Any) -> dict[str, list[Any]]:
    """Returns train and valid, if the third list has some of train's dialogues."""
    train, chosen = _names(path, splits["train"]), set(_names(path, third))
    if not chosen < set(train):
        raise ValueError(
            f"{path}: has three lists of dialogues, of which the third is no part of the first, so that which of them "
            "validates is unknown; save it as a dict of train, valid and test"
        )
    return {"train": [name for name in train if name not in chosen], "valid": _names(path, third)}


def _dialogue(path: Path, name: Any, split: str, part_of: Mapping[str, Any], features: Mapping[str, Any]) -> Dialogue:
    where = _where(path, str(name))

    def entry(key: str, part: Any) -> Any:
        if name not in part:
            raise ValueError(f"{where} of split {split!r} is missing among the {key}; found {len(part)} others")
        return part[name]

    values = {key: entry(key, part) for key, part in part_of.items() if isinstance(part, dict) and key != "rest"}
    rows = {modality: entry(modality, part) for modality, part in features.items()}
    return _checked(where, str(name), split, values, rows)


def _from_dicts(path: Path, content: dict[Any, Any], drop: Sequence[str], labelled: bool) -> list[Dialogue]:
    """Returns the dialogues of the second form."""
    dialogues, dropped = [], set()
    for split, items in content.items():
        if split not in SPLIT_NAMES or not isinstance(items, list | tuple):
            raise ValueError(
                f"{path}: key {str(split)!r} is no split with a list of dialogues; expected {', '.join(SPLIT_NAMES)}"
            )
        for n, item in enumerate(items):
            where = f"{path}: dialogue {n} of split {split!r}"
            if not isinstance(item, dict):
                raise ValueError(f"{where}: expected a dict of vid, labels, text, ..., found {type(item).__name__}")
            dropped |= set(drop) & item.keys()
            values = {key: value for key, value in item.items() if key not in drop}
            unknown = [str(key) for key in values if key not in _KEYS]
            if unknown:
                raise ValueError(
                    f"{where}: key {unknown[0]!r} is none of {', '.join(_KEYS)}. To leave it out, say "
                    f"drop=[{','.join(unknown)}]"
                )
            values = {_KEYS[key]: value for key, value in values.items()}
            rows = {modality: values.pop(modality) for modality in ("text", "audio", "vision") if modality in values}
            name = str(values.pop("name", f"{split}{n}"))
            where = _where(path, name)
            if labelled and "labels" not in values:
                raise ValueError(f"{where}: expected labels and features; found {', '.join([*values, *rows])}")
            dialogues.append(_checked(where, name, SPLIT_NAMES[split], values, rows))
    if set(drop) - dropped:
        raise ValueError(f"{path}: drop={sorted(set(drop) - dropped)[0]}: no dialogue has such a key")
    return dialogues


def _where(path: Path, name: str) -> str:
    """Returns the words that messages about a dialogue begin with. Raises ValueError for a name that is none."""
    if len(name) > _LONGEST_NAME:
        raise ValueError(
            f"{path}: dialogue {shortened(name, 60)!r} has a name of {len(name)} letters; expected at most "
            f"{_LONGEST_NAME}"
        )
    return f"{path}: dialogue {name!r}"


def _refuse_unlike(path: Path, dialogues: list[Dialogue]) -> None:
    """Raises ValueError unless all dialogues have the same modalities, and all or none have sentences, and labels."""
    for dialogue in dialogues:
        first = dialogues[0]
        if (dialogue.labels is None) != (first.labels is None):
            unlabelled, other = (dialogue, first) if dialogue.labels is None else (first, dialogue)
            raise ValueError(
                f"{path}: dialogue {unlabelled.name!r} has no labels, and dialogue {other.name!r} has; give all of "
                "them labels, or none"
            )
        if list(dialogue.features) != list(first.features) or (dialogue.sentences is None) != (first.sentences is None):
            raise ValueError(
                f"{path}: dialogue {dialogue.name!r} has {', '.join(dialogue.features)}, and dialogue {first.name!r} "
                f"{', '.join(first.features)}, with sentences in both or neither; make them alike"
            )


def _checked(where: str, name: str, split: str, values: Mapping[str, Any], features: Mapping[str, Any]) -> Dialogue:
    """Returns a dialogue whose parts have one entry an utterance. Raises ValueError where they do not fit together."""
    if not features:
        raise ValueError(f"{where}: expected labels and features; found {', '.join(values)}")
    counted = "labels" if "labels" in values else next(iter(features))
    labels = _whole_numbers(where, "labels", values["labels"]) if "labels" in values else None
    for key, part in {**values, **features}.items():
        if not _is_list(part):
            raise ValueError(f"{where}: {key} must be a list with an entry an utterance; found {type(part).__name__}")
    count = len({**values, **features}[counted])
    for key, part in {**values, **features}.items():
        if len(part) != count:
            raise ValueError(f"{where}: {key} has {len(part)} entries, and {counted} has {count}; expected as many")
    ids = list(values.get("ids", ()))
    numbered = bool(ids) and not any(isinstance(number, str | bytes) for number in ids)
    numbers = [str(int(number)) for number in _whole_numbers(where, "ids", ids)] if numbered else map(str, range(count))
    return Dialogue(
        name,
        split,
        list(numbers),
        [_speaker(where, speaker) for speaker in values.get("speakers", [""] * count)],
        labels,
        _whole_numbers(where, "sentiments", values["sentiments"]) if "sentiments" in values else None,
        fields.strings(where, "sentences", values["sentences"]) if "sentences" in values else None,
        {modality: _rows(where, modality, rows) for modality, rows in features.items()} if count else {},
    )


def _whole_numbers(where: str, key: str, value: Any) -> Array:
    array = fields.numbers(where, key, value)
    if array.ndim != 1:
        raise ValueError(f"{where}: {key} must be one number an utterance; found {array.shape}")
    bad = np.flatnonzero(~(np.isfinite(array) & (array == np.floor(array)) & (np.abs(array) < _MOST)))
    if len(bad):
        raise ValueError(
            f"{where}: {key}: that of utterance {int(bad[0])} is {array[bad[0]]:g}; expected whole numbers, of classes"
        )
    return array.astype(np.float32)


def _speaker(where: str, speaker: Any) -> str:
    """Returns a speaker's name; of a one-hot vector, the number."""
    if isinstance(speaker, str | bytes):
        return fields.strings(where, "speakers", [speaker])[0]
    vector = fields.numbers(where, "speakers", speaker)
    if not vector.size or vector.ndim > 1 or not np.isfinite(vector).all():
        raise ValueError(f"{where}: speakers must be names, numbers or one-hot vectors; found {shown(speaker)}")
    return str(int(vector.argmax()) if vector.ndim else int(vector))


def _rows(where: str, modality: str, value: Any) -> Array:
    rows = fields.numbers(where, modality, value)
    if rows.ndim != 2 or not rows.shape[1]:
        raise ValueError(f"{where}: {modality} must be one vector (D,) an utterance; found {rows.shape}")
    return rows
