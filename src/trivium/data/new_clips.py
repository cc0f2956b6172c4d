"""Reads clips that a trained run is to predict: from files of any format that is prepared, or from a store.

The files are read as preparing reads them, repairs included, and nothing is written. Legend: N clips, D features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from trivium.core.choices import suggest
from trivium.data import formats, manifest
from trivium.data.clips import MODALITIES, Array, Clips, Ragged, Source
from trivium.data.store import StoreSchema, open_store, sha256_of
from trivium.data.target import MULTIMODAL, Target, undeclared


@dataclass(frozen=True)
class RunData:
    """Holds what a trained run expects of clips.

    schema: of the store that it was trained on. reads: modality -> "values" or "tokens". target_name, target: what it
    predicts.
    """

    schema: StoreSchema
    reads: Mapping[str, str]
    target_name: str
    target: Target


def read_new_clips(files: list[Path], format: str | None, options: formats.ReadOptions, run: RunData) -> Source:
    """Returns the clips with the run's modalities alone, and its target as "multimodal" where they are labelled.

    files: a store, or what `trivium prepare` takes as source. format: None finds it out.
    A modality that the source lacks is absent in every clip. Classes and labels are matched by their names. Without
    labels, or with those of other targets alone, clips have no targets, and the note "labels" says why.
    Raises ValueError, naming the file, for a modality that the run's data did not have, another D, token ids of another
    tokenizer, and labels that the run's target cannot have.
    """
    options = replace(options, labelled=False, wanted={run.target_name: run.target})
    source = _read(files, format, options, run.schema)
    where = str(files[0])
    if any(what == "tokens" for what in run.reads.values()):
        source = _with_tokens(where, source, run)
    splits = {split: _fitted(f"{where}: split {split!r}", clips, run) for split, clips in source.splits.items()}
    for split, clips in source.splits.items():
        splits[split].targets = _targets(f"{where}: split {split!r}", source, clips, run)
    return replace(source, splits=splits)


def _read(files: list[Path], format: str | None, options: formats.ReadOptions, trained_on: StoreSchema) -> Source:
    """Reads the source; of a store with folds, the splits of the run's fold. trained_on: the run's store."""
    fold = trained_on.fold
    if len(files) == 1 and files[0].suffix in (".h5", ".hdf5") and format is None:
        store = open_store(files[0])
        if store.schema.folds and fold is not None:
            store = store.of_fold(fold)
        splits = {split: store.split(split) for split in store.schema.counts}
        source = Source(splits, store.schema.source_format, files, store.schema.tokenizer)
        source.described.update(store.schema.targets)
        return source
    if (
        format is None
        and len(files) == 1
        and files[0].is_dir()
        and not any(path.suffix in (".csd", ".dt") for path in files[0].iterdir())
    ):
        format = "folder"
    if format is None:
        format = formats.detect(files)
        # A pickle without labels does not tell the layouts apart, and is then of the one that the run knows.
        others = ("multibench", "dialogues")
        if format == "mmsa" and trained_on.source_format in others and not formats.has_mmsa_labels(files[0]):
            format = trained_on.source_format
    published = None
    if format == "mmsa" and files[0].is_file():
        checksum = sha256_of(files[0])
        published = next((entry for entry in manifest.published() if entry.sha256 == checksum), None)
    source = formats.read(format, files, replace(options, published=published is not None))
    if published is not None:
        source.tokenizer = published.tokenizer
    return source


def _with_tokens(where: str, source: Source, run: RunData) -> Source:
    """Returns the source with token ids of the run's tokenizer, made of the transcripts where it has none."""
    lacking = [split for split, clips in source.splits.items() if clips.tokens is None]
    if not lacking:
        if None not in (source.tokenizer, run.schema.tokenizer) and source.tokenizer != run.schema.tokenizer:
            raise ValueError(
                f"{where}: has token ids of {source.tokenizer}, the run was trained on those of {run.schema.tokenizer}"
            )
        return source
    texts = [clips.raw_text for clips in source.splits.values()]
    if "text" in run.reads and all(text is None for text in texts):
        return source
    if run.schema.tokenizer is None:
        raise ValueError(
            f"{where}: split {lacking[0]!r} has no token ids, which the run's text encoder reads, and the store that "
            "it was trained on does not say which tokenizer makes them; prepare a store with tokenizer=NAME, and give "
            "that as source="
        )
    from trivium.data.text import tokenize

    return tokenize(source, run.schema.tokenizer)


def _fitted(where: str, clips: Clips, run: RunData) -> Clips:
    """Returns the clips with all modalities of the run, and no others. Raises ValueError for those that do not fit."""
    known, dims = run.schema.modalities, run.schema.dims
    for name, ragged in clips.streams.items():
        if name not in known:
            raise ValueError(
                f"{where}: {name!r} is no modality of this run, which was trained on {', '.join(run.reads)}"
                f"{suggest(name, known)}; leave it out with drop=[{name}], or rename it"
            )
        if name in run.reads and run.reads[name] == "values" and ragged.dim != dims[name]:
            raise ValueError(f"{where}: {name!r} has {ragged.dim} features a step, the run was trained on {dims[name]}")
    empty_offsets = np.zeros(len(clips) + 1, dtype=np.int64)
    streams = {
        name: clips.streams.get(name, Ragged(np.zeros((0, dims[name]), np.float32), empty_offsets))
        for name, what in run.reads.items()
        if what == "values"
    }
    tokens = words = None
    if "tokens" in run.reads.values():
        tokens, words = clips.tokens or Ragged(np.zeros(0, np.int32), empty_offsets), clips.words
    if not sum(int(ragged.lengths.sum()) for ragged in (*streams.values(), *([] if tokens is None else [tokens]))):
        raise ValueError(
            f"{where}: has none of the run's modalities {', '.join(run.reads)}; found "
            f"{', '.join(clips.streams) or 'no features'}"
        )
    return Clips(clips.ids, streams, {}, clips.raw_text, tokens, words)


def _targets(where: str, source: Source, clips: Clips, run: RunData) -> dict[str, Array]:
    """Returns the values of the run's target as "multimodal", or nothing without labels."""
    if run.target_name not in clips.targets:
        others = f" (of other targets: {', '.join(clips.targets)})" if clips.targets else ""
        source.notes["labels"] = f"none of {run.target_name!r}{others}, so there are no metrics"
        return {}
    values = np.asarray(clips.targets[run.target_name], dtype=np.float32)
    described = source.described.get(run.target_name)
    stored = described or undeclared(run.target_name, values, {*MODALITIES, *clips.streams})
    values = _renumbered(where, values, stored, run)
    run.target.check(values, clips.ids, f"{where}: target {run.target_name!r}")
    return {MULTIMODAL: values}


def _renumbered(where: str, values: Array, stored: Target, run: RunData) -> Array:
    """Returns the values in the order of the run's classes, labels or scores, matched by name."""
    expected, name = run.target, run.target_name
    if stored.task != expected.task:
        raise ValueError(
            f"{where}: target {name!r} is {stored.words}, the run predicts {expected.words}; leave the labels out to "
            "predict without metrics"
        )
    unknown = [part for part in stored.names if part not in expected.names]
    if unknown or (stored.kind != "classes" and len(stored.names) != len(expected.names)):
        raise ValueError(
            f"{where}: target {name!r} has {', '.join(stored.names)}, the run predicts {', '.join(expected.names)}; "
            "give them the same names"
        )
    if stored.names == expected.names:
        return values
    if stored.kind == "classes":
        number_of = np.array([expected.names.index(part) for part in stored.names], dtype=np.float32)
        return number_of[values.astype(np.int64)]
    return values[:, [stored.names.index(part) for part in expected.names]]
