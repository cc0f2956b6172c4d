"""Reads pickles of IEMOCAP and MELD as models of conversations share them: features of utterances, by dialogue.

`conversation_file` finds out what each part of a file is. Here its utterances become clips, one step each, with the
data set's classes, and with splits by dialogue. Legend: N utterances, D features.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trivium.data.clips import SPLITS, Array, Clips, Ragged, Source, offsets_of
from trivium.data.draw_splits import draw_groups
from trivium.data.formats import padding
from trivium.data.formats.conversation_file import Dialogue, read_dialogues
from trivium.data.repair import no_repairs, repair
from trivium.data.split_check import split_checked
from trivium.data.splitting import SplitColumns, SplitOptions
from trivium.data.target import MULTIMODAL, Target

# The order of the numbers in the files, as their authors give it.
CLASSES = {
    "iemocap": ("happy", "sad", "neutral", "angry", "excited", "frustrated"),
    "meld": ("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger"),
}
# Ways to make four classes of IEMOCAP's six: class in the file -> class to be, without those that are left out.
FOUR = {
    "4": {0: 0, 1: 1, 2: 2, 3: 3},
    "4merged": {0: 0, 1: 1, 2: 2, 3: 3, 4: 0},
}
# MELD's own train and development dialogues lie together in the files' train split, numbered end to end.
_MELD_VALID = range(1039, 1153)
_VALID_SHARE = 0.1
GROUPS = ("dialogue", "session", "speaker")


def read_conversations(
    path: Path,
    *,
    data: str,
    emotions: str | None = None,
    drop: Sequence[str] = (),
    splitting: SplitOptions | None = None,
    labelled: bool = True,
) -> Source:
    """Reads one pickle of dialogues; nothing in it is executed.

    Each utterance is a clip of one step a modality, with the id DIALOGUE_NUMBER. The number is the file's, where it has
    whole numbers, and otherwise the place in the dialogue, from 0. The target is "multimodal", with the names of the
    classes for data="iemocap" and "meld", and "sentiment" where the file has that. NaN and infinities become 0, and are
    counted.
    emotions: of IEMOCAP's six, "4" leaves out excited and frustrated utterances, and "4merged" takes excited ones for
    happy and leaves out frustrated ones. drop: keys to leave out, of files that have keys.
    splitting: by default the file's train and test. Without a valid split in the file, the train dialogues that MELD
    itself has for development validate, and otherwise a tenth of the train dialogues at random, with seed 0. Groups are
    dialogues, or with group=session or group=speaker the first part of IEMOCAP's dialogue names, or the speakers.
    labelled: without it the file may lack labels, and the split train.
    Raises ValueError, naming file and dialogue, for parts that do not fit together, for a class that is unknown, and
    for one that no clip of train has.
    """
    notes: dict[str, str] = {}
    dialogues = read_dialogues(path, notes, drop, labelled)
    _refuse_repeated(path, dialogues)
    source = Source({"train": _clips(path, dialogues)}, "dialogues", [path], notes=notes)
    source.repairs = _repair(source.splits["train"])
    splits = _splits(dialogues, data, notes)
    if dialogues[0].labels is None:
        if emotions is not None:
            raise ValueError(f"{path}: emotions={emotions}: chooses among labels, and the file has none; leave it out")
        return _as_in_file(source, splits)
    numbers = source.splits["train"].targets[MULTIMODAL]
    names = _class_names(data, numbers)
    _refuse_unknown_classes(path, source.splits["train"], names)
    options = splitting or SplitOptions()
    if options.split not in ("", "given"):
        notes.pop("valid", None)  # of splits that are drawn anew
    groups = _groups(path, dialogues, options.group or GROUPS[0])
    places = np.arange(len(numbers))
    if emotions is not None:
        places, names = _choose_emotions(path, source, data, emotions, names)
    source.described[MULTIMODAL] = Target("classes", names)
    _name_sentiments(source, data)
    if not labelled:
        return _as_in_file(source, [splits[n] for n in places])
    columns = SplitColumns(split=[splits[n] for n in places], group=[groups[n] for n in places])
    return split_checked(source, columns, options)


def _as_in_file(source: Source, splits: list[str]) -> Source:
    """Returns the source with its clips in these splits; none of them has to be there."""
    clips, split_of_clip = source.splits["train"], np.array(splits)
    source.splits = {split: clips.select(np.flatnonzero(split_of_clip == split)) for split in SPLITS if split in splits}
    return source


def _refuse_repeated(path: Path, dialogues: list[Dialogue]) -> None:
    split_of: dict[str, str] = {}
    for dialogue in dialogues:
        if dialogue.name in split_of:
            raise ValueError(
                f"{path}: dialogue {dialogue.name!r} of split {dialogue.split!r} occurs before, in split "
                f"{split_of[dialogue.name]!r}; expected every dialogue in one split, once"
            )
        split_of[dialogue.name] = dialogue.split
        repeated = [number for number, count in Counter(dialogue.numbers).items() if count > 1]
        if repeated:
            raise ValueError(
                f"{path}: id '{dialogue.name}_{repeated[0]}' occurs twice in dialogue {dialogue.name!r}; expected "
                "different numbers of its utterances"
            )


def _clips(path: Path, dialogues: list[Dialogue]) -> Clips:
    """Returns all utterances, in the order of the dialogues. Raises ValueError for features of several sizes."""
    first = dialogues[0]
    for dialogue in dialogues:
        for modality, rows in dialogue.features.items():
            dim = first.features[modality].shape[1]
            if rows.shape[1] != dim:
                raise ValueError(
                    f"{path}: dialogue {dialogue.name!r}: {modality} has {rows.shape[1]} features, {dim} in dialogue "
                    f"{first.name!r}"
                )
    streams = {
        modality: np.concatenate([dialogue.features[modality] for dialogue in dialogues]) for modality in first.features
    }
    ids = [f"{dialogue.name}_{number}" for dialogue in dialogues for number in dialogue.numbers]
    targets = {}
    if first.labels is not None:
        targets[MULTIMODAL] = np.concatenate([d.labels for d in dialogues if d.labels is not None])
    if first.labels is not None and first.sentiments is not None:
        targets["sentiment"] = np.concatenate([d.sentiments for d in dialogues if d.sentiments is not None])
    texts = None
    if first.sentences is not None:
        texts = [text for dialogue in dialogues for text in dialogue.sentences or []]
    offsets = offsets_of(np.ones(len(ids), dtype=np.int64))
    return Clips(ids, {name: Ragged(rows, offsets) for name, rows in streams.items()}, targets, raw_text=texts)


def _repair(clips: Clips) -> dict[str, dict[str, int]]:
    """Makes values that are not finite 0, and returns how many there were in each modality."""
    repairs = {}
    for modality, ragged in clips.streams.items():
        values, counts = repair(ragged.values)
        clips.streams[modality] = Ragged(values, ragged.offsets)
        repairs[modality] = no_repairs() + counts if counts.total() else no_repairs()
    return {modality: dict(no_repairs(), **counts) for modality, counts in repairs.items()}


def _class_names(data: str, numbers: Array) -> tuple[str, ...]:
    """Returns the names of the data set's classes, or their numbers for any other.

    A file of IEMOCAP without a number above 3 is one of its four classes.
    """
    names = CLASSES.get(data)
    if names is None:
        return tuple(str(number) for number in range(max(2, int(numbers.max(initial=0)) + 1)))
    return names[:4] if data == "iemocap" and numbers.max(initial=0) < 4 else names


def _refuse_unknown_classes(path: Path, clips: Clips, names: tuple[str, ...]) -> None:
    numbers = clips.targets[MULTIMODAL]
    wrong = np.flatnonzero(~((numbers >= 0) & (numbers < len(names))))
    if len(wrong):
        n = int(wrong[0])
        raise ValueError(
            f"{path}: the label of clip {clips.ids[n]!r} is {numbers[n]:g}; expected a class number from 0 to "
            f"{len(names) - 1} ({', '.join(names)}); is data= right? ({len(wrong)} such)"
        )


def _choose_emotions(
    path: Path, source: Source, data: str, emotions: str, names: tuple[str, ...]
) -> tuple[Array, tuple[str, ...]]:
    """Leaves out the clips of other classes. Returns the places of those that stay, and the names of their classes."""
    if data != "iemocap":
        raise ValueError(f"{path}: emotions={emotions}: is for data=iemocap, whose six classes become four")
    if len(names) == 4:
        raise ValueError(f"{path}: emotions={emotions}: the file has four classes already; leave it out")
    if emotions == "6":
        return np.arange(len(source.splits["train"])), names
    clips, class_of = source.splits["train"], FOUR[emotions]
    numbers = clips.targets[MULTIMODAL].astype(int)
    places = np.flatnonzero(np.isin(numbers, list(class_of)))
    source.splits["train"] = clips.select(places)
    source.splits["train"].targets[MULTIMODAL] = np.array([class_of[n] for n in numbers[places]], dtype=np.float32)
    left_out = [name for number, name in enumerate(names) if number not in class_of]
    padding.note_dropped_clips(
        source.notes, {name: int((numbers == names.index(name)).sum()) for name in left_out}, "of other classes"
    )
    if emotions == "4merged":
        source.notes["classes"] = "excited utterances count as happy"
    return places, names[:4]


def _name_sentiments(source: Source, data: str) -> None:
    """Describes the target "sentiment". MELD's numbers get the names that the emotions of the same clips give them."""
    clips = source.splits["train"]
    if "sentiment" not in clips.targets:
        return
    numbers = clips.targets["sentiment"].astype(int)
    if numbers.min() < 0:
        raise ValueError(f"{source.files[0]}: a sentiment is {numbers.min()}; expected class numbers from 0")
    names = [str(number) for number in range(max(2, int(numbers.max()) + 1))]
    emotions = source.described[MULTIMODAL].names
    if data == "meld" and len(names) == 3:
        # The files differ in the order. In MELD joy is positive, anger negative, and neutral neither.
        sentiments = {}
        for emotion, sentiment in (("neutral", "neutral"), ("joy", "positive"), ("anger", "negative")):
            of_emotion = numbers[clips.targets[MULTIMODAL] == emotions.index(emotion)]
            if len(of_emotion):
                sentiments[int(np.bincount(of_emotion).argmax())] = sentiment
        names = [sentiments.get(number, names[number]) for number in range(3)]
    source.described["sentiment"] = Target("classes", tuple(names))


def _splits(dialogues: list[Dialogue], data: str, notes: dict[str, str]) -> list[str]:
    """Returns the split of each utterance; where the file has no valid split, some of train's dialogues are it."""
    split_of = {dialogue.name: dialogue.split for dialogue in dialogues}
    train = [dialogue for dialogue in dialogues if dialogue.split == "train"]
    if "valid" not in split_of.values() and len(train) > 1:
        if data == "meld" and _is_whole_meld(split_of):
            notes["valid"] = "MELD's own development dialogues, of the file's train split"
            split_of |= {name: "valid" for name in split_of if int(name) in _MELD_VALID}
        else:
            notes["valid"] = f"a share of {_VALID_SHARE:g} of the train dialogues' utterances, at random with seed 0"
            names = [dialogue.name for dialogue in train for _ in dialogue.numbers]
            parts = draw_groups(names, (1 - _VALID_SHARE, _VALID_SHARE), 0)
            split_of |= {name: "valid" for name, part in zip(names, parts, strict=True) if part}
    return [split_of[dialogue.name] for dialogue in dialogues for _ in dialogue.numbers]


def _is_whole_meld(split_of: dict[str, str]) -> bool:
    """Tells whether dialogues are numbered as in MELD's files: train, then development, then test."""
    if not all(name.isdecimal() for name in split_of):
        return False
    train = [int(name) for name, split in split_of.items() if split == "train"]
    test = [int(name) for name, split in split_of.items() if split == "test"]
    in_order = max(train) < _MELD_VALID.stop <= min(test, default=_MELD_VALID.stop)
    return in_order and min(train) < _MELD_VALID.start and max(train) >= _MELD_VALID.start


def _groups(path: Path, dialogues: list[Dialogue], kind: str) -> list[str]:
    """Returns the group of each utterance: its dialogue, session or speaker."""
    if kind not in GROUPS:
        raise ValueError(f"{path}: group={kind}: a file of dialogues has the groups {', '.join(GROUPS)}")
    groups = []
    for dialogue in dialogues:
        # IEMOCAP's dialogues are named as Ses01F_impro05, after their session.
        session = dialogue.name[:5] if dialogue.name.startswith("Ses") else ""
        if kind == "session" and not session:
            raise ValueError(
                f"{path}: group=session: dialogue {dialogue.name!r} names no session, as Ses01F_impro05 does; take "
                "group=dialogue or group=speaker"
            )
        # The speakers of a session are told apart by their sex alone.
        of_utterance = {
            "dialogue": [dialogue.name] * len(dialogue.numbers),
            "session": [session] * len(dialogue.numbers),
            "speaker": [session + speaker for speaker in dialogue.speakers],
        }
        groups += of_utterance[kind]
    return groups
