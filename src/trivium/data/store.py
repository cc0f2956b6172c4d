"""Reads a store: one HDF5 file that holds a prepared data set, ragged and packed. docs/data.md has its schema.

Opening reads only the index (ids, targets, offsets). The file is memory-mapped once, so that every process on the
machine shares the pages in memory, and bytes that no batch needs are never read. Everything that an open store returns
comes from that one mapping. A store that is prepared anew meanwhile changes nothing of it, as every writer of stores
renames a whole new file into place. `store_writing` lays the file out.
Legend: N clips of a split, L sum of their steps, D features.
"""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from trivium.data.clips import MODALITIES, STORE_SPLITS, Array, Clips, Folds, Ragged, Source, TokenWords, in_chunks
from trivium.data.mapped_file import mapped, reading
from trivium.data.source_check import check_folds, check_source
from trivium.data.store_check import check_store, read_text
from trivium.data.store_writing import content_checksum, sha256_of, write_store
from trivium.data.target import Target, undeclared
from trivium.data.train_labels import TrainLabels, draw_train_labels

__all__ = ["Statistics", "Store", "StoreSchema", "open_store", "sha256_of", "verify_store", "write_store"]


@dataclass(frozen=True)
class StoreSchema:
    """Holds the facts of a store that a model is built from, in plain values that a run can save.

    dims: modality -> D of numeric streams. counts: split -> N. max_lengths: modality ("tokens" for token ids) -> steps
    of the longest clip in any split. targets: name -> what it is, with the counts of the train split. max_token: the
    largest token id, -1 without tokens. tokenizer: the name of the one that made the ids. folds: the number of folds,
    0 without any. fold: the one whose splits these are; None where the store was opened as a whole.
    mean_lengths: modality ("tokens" for token ids) -> steps in the mean of the train clips that have it.
    word_steps: the modalities that have one step a word, in every train clip that has them and text.
    """

    data: str
    feature_set: str
    dims: dict[str, int]
    counts: dict[str, int]
    max_lengths: dict[str, int]
    targets: dict[str, Target]
    max_token: int = -1
    tokenizer: str | None = None
    source_format: str = ""
    folds: int = 0
    fold: int | None = None
    mean_lengths: dict[str, float] = field(default_factory=dict)
    word_steps: tuple[str, ...] = ()

    @property
    def modalities(self) -> tuple[str, ...]:
        """Returns every modality of the store: the numeric ones, and text where there are token ids."""
        names = tuple(self.dims)
        return ("text", *names) if self.max_token >= 0 and "text" not in names else names

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> StoreSchema:
        value = dict(value)
        targets = value["targets"]
        if "label_range" in value:  # of schema 1, which listed the names
            score = {"kind": "score", "range": value.pop("label_range")}
            targets = dict.fromkeys(targets, score)
        described = {name: Target.from_dict(target) for name, target in targets.items()}
        return cls(**{**value, "targets": described, "word_steps": tuple(value.get("word_steps", ()))})


@dataclass
class Statistics:
    """Holds mean and standard deviation of each feature over all steps of the train split, (D,) float64."""

    mean: Array
    std: Array


@dataclass
class Store:
    """Returns the splits of an open store as Clips, whose streams are memory-mapped and must not be written to.

    content: the mapped file as it was when the store was opened, even if another file lies at `path` later.
    folds: those of a cross-validation. As a whole such a store has one split, "train", with every clip, and no
    statistics; `of_fold` gives it the splits and statistics of a fold.
    train_labels: which train clips have a label, or None for all with their own; see `with_train_labels`.
    """

    path: Path
    schema: StoreSchema
    statistics: dict[str, Statistics]
    provenance: dict[str, Any] = field(repr=False)
    content: mmap.mmap = field(repr=False, compare=False)
    folds: Folds | None = field(default=None, repr=False, compare=False)
    train_labels: TrainLabels | None = field(default=None, repr=False, compare=False)

    def split(self, name: str) -> Clips:
        """Returns a split, of train the clips that have a label. Raises ValueError if the store has no such split."""
        clips = self.whole_split(name)
        return clips if self.train_labels is None or name != "train" else self.train_labels.of(clips)

    def whole_split(self, name: str) -> Clips:
        """Returns a split with all of its clips and their own labels, whatever `train_labels` says."""
        if name not in self.schema.counts:
            whole = self.schema.folds and self.schema.fold is None
            advice = f", and {self.schema.folds} folds: open_store(path, fold=0)" if whole else ""
            raise ValueError(f"{self.path}: no split {name!r}; it has {list(self.schema.counts)}{advice}")
        fold = self.schema.fold
        with reading(self.path, self.content) as file:
            if self.folds is None or fold is None:
                return _read_split(self.path, file[name], self.content)
            # A split's clips lie among others, so that they are copied. No larger part of the file is read.
            return _read_split(self.path, file["train"], self.content).select(self.folds.places(fold)[name])

    def of_fold(self, fold: int) -> Store:
        """Returns the store with the splits of a fold; its statistics and counts are those of the fold's train clips.

        Raises ValueError for a store without folds or without this one.
        """
        if self.folds is None:
            raise ValueError(
                f"data.fold={fold}: {self.path} has no folds; leave data.fold out, or prepare the store again with "
                "split=kfold, split=leave_one_group_out or a column of folds"
            )
        names = self.folds.names
        if not 0 <= fold < len(names):
            raise ValueError(f"data.fold={fold}: {self.path} has {len(names)} folds, 0 to {len(names) - 1}")
        places = self.folds.places(fold)
        with reading(self.path, self.content) as file:
            statistics = {
                name: Statistics(group["mean"][fold], group["std"][fold]) for name, group in file["statistics"].items()
            }
            train = {name: values[()][places["train"]] for name, values in file["train"]["targets"].items()}
            mean_lengths, word_steps = _read_lengths(file["train"], places["train"])
        schema = replace(
            self.schema,
            counts={split: len(clips) for split, clips in places.items()},
            targets={name: target.counted(train[name]) for name, target in self.schema.targets.items()},
            fold=fold,
            mean_lengths=mean_lengths,
            word_steps=word_steps,
        )
        return replace(self, schema=schema, statistics=statistics)

    def with_train_labels(self, labelled: float, noise: float, seed: int) -> Store:
        """Returns the store with those labels of the train split that `draw_train_labels` leaves.

        Its counts are then of the clips that have one. Statistics of features stay those of all, as they need no label.
        Raises ValueError for shares out of range, and for a store with folds as a whole.
        """
        if (labelled, noise) == (1, 0):
            return self
        self.refuse_without_fold()
        targets = self.whole_split("train").targets
        labels = draw_train_labels(self.schema.counts["train"], labelled, noise, seed)
        described = {
            name: target.counted(targets[name][labels.sources]) for name, target in self.schema.targets.items()
        }
        counts = {**self.schema.counts, "train": len(labels.places)}
        return replace(self, schema=replace(self.schema, counts=counts, targets=described), train_labels=labels)

    def refuse_without_fold(self) -> None:
        """Raises ValueError for a store with folds of which none is chosen, whose clips are all in "train"."""
        count = self.schema.folds
        if count and self.schema.fold is None:
            several = ",".join(map(str, range(count))) if count <= 10 else f"0,1,..,{count - 1}"
            raise ValueError(
                f"data.fold: {self.path} has {count} folds; choose one with data.fold=0..{count - 1}, or run all of "
                f"them with -m and data.fold={several}"
            )

    def with_absent(self, dims: Mapping[str, int]) -> Store:
        """Returns the store with these modalities in this order; no clip has those that the file lacks.

        dims: modality -> features a step.
        """
        schema = replace(self.schema, dims={**dims, **{m: d for m, d in self.schema.dims.items() if m not in dims}})
        absent = {name: dim for name, dim in dims.items() if name not in self.schema.dims}
        values = {part.name: getattr(self, part.name) for part in fields(self)}
        return _WidenedStore(**{**values, "schema": schema}, absent=absent)

    def refuse_other_than(self, checksum: str, run: Path) -> None:
        """Raises ValueError unless this is the store that `run` was trained on, by the checksum of its content."""
        actual = str(self.provenance["checksum"])
        if actual != checksum:
            raise ValueError(
                f"{self.path} is not the store that {run} was trained on: it was prepared anew since then (checksum "
                f"{actual[:12]}, then {checksum[:12]}). Bring the old store back, or train a new run on this one"
            )


@dataclass
class _WidenedStore(Store):
    """Returns splits with further modalities, modality -> features a step, that no clip has."""

    absent: dict[str, int] = field(default_factory=dict)

    def whole_split(self, name: str) -> Clips:
        clips = super().whole_split(name)
        absent_streams = {
            modality: Ragged(np.zeros((0, dim), np.float32), np.zeros(len(clips) + 1, np.int64))
            for modality, dim in self.absent.items()
        }
        return replace(clips, streams={**clips.streams, **absent_streams})


def open_store(path: str | os.PathLike[str], fold: int | None = None) -> Store:
    """Opens a prepared store, read-only, and checks its whole structure. This is cheap, as only the index is read.

    fold: of a store with folds, the one whose splits it then has; None opens it as a whole, see `Store`.
    Raises ValueError, naming the file and the path in it, if it is missing, no store, cut off, of a newer schema,
    otherwise than the schema says, or without that fold; OSError if the system cannot open it.
    """
    path = Path(path).expanduser()
    content = mapped(path)
    with reading(path, content) as file:
        version = check_store(path, file, content)
        schema = _read_schema(file, version)
        folds = _read_folds(path, file)
        groups = {} if folds else file.get("statistics", {})
        statistics = {name: Statistics(group["mean"][()], group["std"][()]) for name, group in groups.items()}
        keys = ("created", "trivium_version", "source_files", "repairs", "notes", "checksum")
        provenance = {key: file.attrs[key] for key in keys}
    for key in ("source_files", "repairs", "notes"):
        provenance[key] = json.loads(provenance[key])
    if folds is not None:
        schema = replace(schema, folds=len(folds.names))
    store = Store(path, schema, statistics, provenance, content, folds)
    return store if fold is None else store.of_fold(fold)


def verify_store(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads every byte of a store and compares the content with the checksum that was written at preparation.

    Returns {"feature_set", "counts", "folds", "dims", "checksum", "source_files"}; folds is fold's name -> clips, empty
    without folds. Raises ValueError naming the file and what
    differs.
    """
    store = open_store(path)
    with reading(store.path, store.content) as file:
        checksum = content_checksum(file)
        for name in store.schema.counts:
            clips = _read_split(store.path, file[name], store.content)
            check_source(Source({"train": clips}, "store", [store.path]), store.schema.targets)
        if store.folds is not None:
            check_folds(str(store.path), clips, store.folds)
    if checksum != store.provenance["checksum"]:
        raise ValueError(
            f"{path}: content has checksum {checksum[:12]}, but {store.provenance['checksum'][:12]} was written; "
            "the file was changed or damaged: prepare it again with `trivium prepare`"
        )
    schema = store.schema
    return {
        "feature_set": schema.feature_set,
        "counts": schema.counts,
        "folds": {} if store.folds is None else store.folds.counts,
        "dims": schema.dims,
        "checksum": checksum,
        "source_files": store.provenance["source_files"],
    }


def _read_schema(file: h5py.File, version: int) -> StoreSchema:
    attributes = file.attrs
    splits = [name for name in STORE_SPLITS if name in file]
    streams = {m: [file[s]["streams"][m] for s in splits] for m in file["train"]["streams"]}
    tokens = [file[s]["tokens"] for s in splits if "tokens" in file[s]]
    longest = {m: max(map(_longest, groups)) for m, groups in streams.items()}
    if tokens:
        longest["tokens"] = max(map(_longest, tokens))
    mean_lengths, word_steps = _read_lengths(file["train"])
    return StoreSchema(
        data=str(attributes["data"]),
        feature_set=str(attributes["feature_set"]),
        dims={m: int(groups[0]["values"].shape[1]) for m, groups in streams.items()},
        counts={s: len(file[s]["ids"]) for s in splits},
        max_lengths=longest,
        targets=_read_targets(file, version),
        max_token=max((int(part.max(initial=0)) for g in tokens for _, part in in_chunks(g["values"])), default=-1),
        tokenizer=None if "tokenizer" not in attributes else str(attributes["tokenizer"]),
        source_format=str(attributes["source_format"]),
        mean_lengths=mean_lengths,
        word_steps=word_steps,
    )


def _read_targets(file: h5py.File, version: int) -> dict[str, Target]:
    """Returns the store's targets, with the train split's counts. Of schema 1 they are as `undeclared` guesses."""
    values = {name: dataset[()] for name, dataset in file["train"]["targets"].items()}
    if version >= 2:
        described = json.loads(file.attrs["targets"])
        targets = {name: Target.from_dict(target) for name, target in described.items()}
    else:
        low_high = file.attrs.get("label_range")
        label_range = None if low_high is None else (float(low_high[0]), float(low_high[1]))
        modalities = {*MODALITIES, *file["train"]["streams"]}
        targets = {name: undeclared(name, _everywhere(file, name), modalities, label_range) for name in values}
    return {name: target.counted(values[name]) for name, target in targets.items()}


def _read_folds(path: Path, file: h5py.File) -> Folds | None:
    train = file["train"]
    if "fold" not in train:
        return None
    groups = read_text(path, train["group"]) if "group" in train else None
    return Folds(train["fold"][()], tuple(json.loads(file.attrs["folds"])), groups)


def _everywhere(file: h5py.File, target: str) -> Array:
    return np.concatenate([file[split]["targets"][target][()] for split in STORE_SPLITS if split in file])


def _read_lengths(train: h5py.Group, clips: Array | None = None) -> tuple[dict[str, float], tuple[str, ...]]:
    """Returns `mean_lengths` and `word_steps` of a schema.

    clips: the train clips of a fold, (n,) int64; None for all clips.
    """
    groups = {**train["streams"], **({"tokens": train["tokens"]} if "tokens" in train else {})}
    lengths = {name: np.diff(group["offsets"][()]) for name, group in groups.items()}
    words = lengths.get("text")
    if "tokens" in train and "word_counts" in train["tokens"]:
        words = train["tokens"]["word_counts"][()]
    if clips is not None:
        lengths, words = (
            {name: of_all[clips] for name, of_all in lengths.items()},
            None if words is None else words[clips],
        )
    means = {name: float(number[number > 0].mean()) for name, number in lengths.items() if number.any()}
    if words is None:
        return means, ()
    both = {name: (number > 0) & (words > 0) for name, number in lengths.items() if name not in ("text", "tokens")}
    in_step = [name for name, has in both.items() if has.any() and np.array_equal(lengths[name][has], words[has])]
    return means, tuple(in_step)


def _longest(group: h5py.Group) -> int:
    return int(np.diff(group["offsets"][()]).max(initial=0))


def _read_split(path: Path, group: h5py.Group, content: mmap.mmap) -> Clips:
    return Clips(
        ids=read_text(path, group["ids"]),
        streams={name: _view_ragged(part, content) for name, part in group["streams"].items()},
        targets={name: values[()] for name, values in group["targets"].items()},
        raw_text=read_text(path, group["raw_text"]) if "raw_text" in group else None,
        tokens=_view_ragged(group["tokens"], content) if "tokens" in group else None,
        words=_view_words(group["tokens"], content) if "tokens" in group and "words" in group["tokens"] else None,
    )


def _view_ragged(group: h5py.Group, content: mmap.mmap) -> Ragged:
    """Returns sequences whose values are a view of the mapping, where the file's layout allows it."""
    return Ragged(_view(group["values"], content), group["offsets"][()])


def _view_words(group: h5py.Group, content: mmap.mmap) -> TokenWords:
    """Returns the words of token ids, as `_view_ragged` does the ids."""
    return TokenWords(Ragged(_view(group["words"], content), group["offsets"][()]), group["word_counts"][()])


def _view(values: h5py.Dataset, content: mmap.mmap) -> Array:
    """Returns the values of a data set: a view of the mapping, where the file's layout allows it."""
    offset = values.id.get_offset()
    # HDF5 gives no offset for values without a step, or in a layout that another writer chose.
    if offset is None:
        copied: Array = values[()]
        return copied
    return np.frombuffer(content, dtype=values.dtype, count=values.size, offset=offset).reshape(values.shape)
