"""Makes batches of a store, for a loop of one's own; trivium.data.training_data gives them to Lightning's Trainer."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from trivium.core.choices import check_choice
from trivium.core.wording import undefined
from trivium.data.batch import Batch
from trivium.data.clips import Array, Clips, Ragged, in_chunks, offsets_of
from trivium.data.resident import ResidentSplit
from trivium.data.sampler import GlobalBatchSampler
from trivium.data.store import Statistics, Store
from trivium.data.target import MULTIMODAL, Target, choose_target

CPU = torch.device("cpu")
SAMPLERS = ("shuffled", "balanced")


class BatchLoader:
    """Iterates over the batches of a resident split, and can resume in the middle of an epoch.

    Lightning calls `state_dict` and `load_state_dict`, and sets the epoch of `sampler`.
    """

    # Lightning reads this attribute of every loader that has a sampler.
    batch_sampler = None

    def __init__(self, split: ResidentSplit, sampler: GlobalBatchSampler, limit: int = 0) -> None:
        self.split, self.sampler = split, sampler
        self._length = min(len(sampler), limit) if limit else len(sampler)
        self._epoch, self._position = 0, 0

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Batch]:
        # A position counts only in the epoch that it was saved in; any other epoch, or a finished one, starts at 0.
        resumed = self._epoch == self.sampler.epoch and self._position < len(self)
        start = self._position if resumed else 0
        self._epoch = self.sampler.epoch
        order = self.sampler.order()
        order_on_device = order.to(self.split.device)

        def batch(step: int) -> Batch:
            local, shares = self.sampler.local(step), self.sampler.shares(step)
            return self.split.batch(order[local], order_on_device[local], shares, self.sampler.rank)

        next_batch: Batch | None = None
        for step in range(start, len(self)):
            current, next_batch = batch(step) if next_batch is None else next_batch, None
            # The host gathers the next batch and sends it while the GPU is still busy with the step before.
            if self.split.on_host and step + 1 < len(self):
                next_batch = batch(step + 1)
            self._position = step + 1
            yield current

    def again(self) -> BatchLoader:
        """Returns a loader of the current epoch's batches, in the same order, from the first one on."""
        loader = copy.copy(self)
        loader._position = 0
        return loader

    def ids(self, epoch: int, step: int) -> list[str]:
        """Returns the ids of all clips of global batch `step` of `epoch`, for messages."""
        sampler = self.sampler
        # Of one rank, a sampler's slice is the whole global batch.
        one_rank = replace(sampler, rank=0, world=1, epoch=epoch)
        return [self.split.ids[i] for i in one_rank.order()[one_rank.local(step)].tolist()]

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self._epoch, "position": self._position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._epoch, self._position = int(state["epoch"]), int(state["position"])


class DataModule:
    """Serves the batches of a store's splits.

    reads: modality -> "values" | "tokens", in the order that batches keep. batch_size: one forward's global batch.
    standardize: modality (or "default") -> "none" | "zscore" (each feature's mean and standard deviation over the train
    split, from the store) | "mean" (the mean over time of what zscore gives, one step a clip, computed once) |
    "source" (as the source's own loader does when its normalisation is on; for MMSA files the mean over time).
    target: the name of the one to predict, or "" for "multimodal" or the only one.
    sampler: "shuffled", or "balanced", which trains on classes equally often.
    trains_on_unlabelled: set to True for a method that reads no label: it trains on all clips of a store some of whose
    train clips have none.
    Raises ValueError for a modality or a target that the store does not have, for a store with folds as a whole, and
    for balanced without classes.
    """

    def __init__(
        self,
        store: Store,
        *,
        reads: Mapping[str, str],
        batch_size: int = 32,
        eval_batch_size: int = 256,
        standardize: Mapping[str, str] | None = None,
        seed: int = 0,
        limit_batches: int = 0,
        target: str = "",
        sampler: str = "shuffled",
    ) -> None:
        super().__init__()
        self.store, self.reads = store, dict(reads)
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.standardize = dict(standardize or {"default": "none"})
        self.seed, self.limit_batches = seed, limit_batches
        self.trains_on_unlabelled = False
        store.refuse_without_fold()
        _check_reads(store, self.reads)
        self.target_name = choose_target(store.schema.targets, target, str(store.path))
        self.balanced = check_choice("data.sampler", sampler, SAMPLERS) == "balanced"
        if self.balanced and self.target.kind != "classes":
            instead = (
                ", or objective=binary_cross_entropy objective.class_weights=balanced"
                if self.target.kind == "labels"
                else ""
            )
            reason = "it draws the clips of each class equally often"
            raise ValueError(
                undefined("data.sampler=balanced", self.target.words, reason, f"take data.sampler=shuffled{instead}")
            )

    def warn_of_unseen(self) -> None:
        """Warns of classes and labels that no clip of train has, as a fold or a share of the labels may leave out."""
        if self.target.kind == "score":
            return
        counts = self.target.counted(self.clips("train").targets[MULTIMODAL]).counts
        lacking = [name for name, count in zip(self.target.names, counts, strict=True) if not count]
        if lacking:
            what = "classes" if self.target.kind == "classes" else "labels"
            warnings.warn(
                f"data.target={self.target_name}: no clip of train that has labels is of the {what} "
                f"{', '.join(lacking)}, which can then not be learnt",
                stacklevel=2,
            )

    @property
    def target(self) -> Target:
        """Returns what is to be predicted."""
        return self.store.schema.targets[self.target_name]

    def described(self, name: str) -> Target | None:
        """Returns what a target of `clips` is, or None for one that is not there.

        name: "multimodal" for the chosen one, a modality for its own, or that of another target of the store.
        """
        if name == MULTIMODAL:
            return self.target
        targets, prefix = self.store.schema.targets, _prefix_of_own(self.target_name)
        if name in self.store.schema.modalities:
            return targets.get(f"{prefix}{name}")
        return targets.get(name)

    def clips(self, split: str) -> Clips:
        """Returns a split, of train the clips that have a label, with the chosen target as its "multimodal"."""
        return self._with_chosen(self.store.split(split))

    def _with_chosen(self, clips: Clips) -> Clips:
        return replace(clips, targets=_chosen(clips.targets, self.target_name, list(clips.streams)))

    def loader(
        self, split: str, *, device: torch.device = CPU, rank: int = 0, world: int = 1, training: bool = False
    ) -> BatchLoader:
        """Returns the batches of any split, of train those of the clips that have a label; in order unless training.

        Raises ValueError, naming the clip, for one that has none of the modalities, from which a method could learn
        nothing.
        """
        use_all = training and self.trains_on_unlabelled
        clips = self._with_chosen(self.store.whole_split(split)) if use_all else self.clips(split)
        self._refuse_empty_clips(split, clips)
        resident = standardized(
            clips, self.reads, device, self.standardize, self.store.statistics, self.store.schema.source_format
        )
        size = self.batch_size if training else self.eval_batch_size
        sampler = GlobalBatchSampler(len(resident), size, self.seed, shuffle=training, rank=rank, world=world)
        if training and self.balanced:
            sampler.classes = torch.from_numpy(clips.targets[MULTIMODAL]).long()
        return BatchLoader(resident, sampler, self.limit_batches if training else 0)

    def refuse_without_valid(self) -> None:
        """Raises ValueError where the store lacks the split that training selects a checkpoint by."""
        if "valid" not in self.store.schema.counts:
            raise ValueError(
                f"{self.store.path}: no split 'valid', by which training selects; it has "
                f"{list(self.store.schema.counts)}: prepare the store again from a source that has one"
            )

    @property
    def train_batches(self) -> int:
        """Returns the number of batches of a training epoch."""
        labels = self.store.train_labels
        labelled = self.store.schema.counts["train"]
        batches = -(-(labels.clips if labels and self.trains_on_unlabelled else labelled) // self.batch_size)
        return min(batches, self.limit_batches) if self.limit_batches else batches

    def _refuse_empty_clips(self, split: str, clips: Clips) -> None:
        raggeds = [clips.read(name, what) for name, what in self.reads.items()]
        empty = np.flatnonzero(np.sum([ragged.lengths for ragged in raggeds], axis=0) == 0)
        if len(empty):
            raise ValueError(
                f"{self.store.path}: split {split!r}: clip {clips.ids[int(empty[0])]!r} has none of the modalities "
                f"{', '.join(self.reads)} ({len(empty)} such); choose more data.modalities, or prepare the store "
                "without it"
            )


def _chosen(targets: Mapping[str, Array], name: str, modalities: Sequence[str]) -> dict[str, Array]:
    """Returns the chosen target as "multimodal", and as MODALITY those of modalities that belong to it.

    These have the modality's name in a store, or NAME_MODALITY beside a target NAME other than "multimodal". Further
    targets stay under their names.
    """
    prefix = _prefix_of_own(name)
    unimodal = {m: targets[f"{prefix}{m}"] for m in modalities if f"{prefix}{m}" in targets}
    others = {key: values for key, values in targets.items() if key not in (MULTIMODAL, *modalities)}
    return {**others, MULTIMODAL: targets[name], **unimodal}


def _prefix_of_own(name: str) -> str:
    """Returns what stands before a modality in the name of its own target, beside the chosen target `name`."""
    return "" if name == MULTIMODAL else f"{name}_"


def standardized(
    clips: Clips,
    reads: Mapping[str, str],
    device: torch.device,
    standardize: Mapping[str, str],
    statistics: Mapping[str, Statistics],
    source_format: str,
) -> ResidentSplit:
    """Returns the clips on the device, standardised as DataModule's `standardize` says, with those statistics."""
    default = standardize.get("default", "none")
    kinds = {name: standardize.get(name, default) for name, what in reads.items() if what == "values"}
    for name in [name for name, kind in kinds.items() if kind == "source"]:
        clips = _as_in_the_source(clips, name, source_format)
    for name in [name for name, kind in kinds.items() if kind == "mean"]:
        clips = _mean_over_time(clips, name)
    used = {name: statistics[name] for name, kind in kinds.items() if kind in ("zscore", "mean")}
    return ResidentSplit.load(clips, dict(reads), device, used)


def choose_reads(store: Store, modalities: Sequence[str], token_readers: set[str]) -> dict[str, str]:
    """Returns modality -> "tokens" or "values", whichever its encoder reads.

    modalities: the user's choice, or empty for all that the store has.
    """
    schema = store.schema
    served = [m for m in schema.modalities if m in schema.dims or m in token_readers]
    return {m: "tokens" if m in token_readers else "values" for m in (modalities or served)}


def _check_reads(store: Store, reads: Mapping[str, str]) -> None:
    schema = store.schema
    if not reads:
        raise ValueError(
            f"{store.path}: nothing to read; it has {list(schema.modalities) or 'no features'}. A store with token ids "
            "alone needs a text encoder that reads them (encoder@encoders.text=bert)"
        )
    for name, what in reads.items():
        if what == "tokens" and schema.max_token < 0:
            raise ValueError(
                f"{store.path}: the encoder of {name!r} reads token ids, and the store has none; prepare it again with "
                "tokenizer=NAME_OR_FOLDER (the model's own)"
            )
        if what == "values" and name not in schema.dims:
            hint = " (it has token ids: encoder@encoders.text=bert reads them)" if name in schema.modalities else ""
            raise ValueError(f"{store.path}: no features of {name!r}; it has {list(schema.dims)}{hint}")


def _as_in_the_source(clips: Clips, modality: str, source_format: str) -> Clips:
    if source_format != "mmsa":
        raise ValueError(
            f"data.standardize.{modality}=source: only MMSA's loader normalises, and this store "
            f"was prepared from {source_format!r}; use none, zscore or mean"
        )
    # MMSA's loader leaves text as it is.
    return clips if modality == "text" else _mean_over_time(clips, modality)


def _mean_over_time(clips: Clips, modality: str) -> Clips:
    """Returns the clips with a modality's mean over time as its only step."""
    ragged = clips.streams[modality]
    counts = ragged.lengths
    sums = np.zeros((len(ragged), ragged.dim), np.float64)
    # In parts, as the values may be more than the memory holds. A clip may begin in one part and end in another.
    for start, rows in in_chunks(ragged.values):
        places = np.searchsorted(ragged.offsets, np.arange(start, start + len(rows)), side="right") - 1
        firsts = np.flatnonzero(np.diff(places, prepend=-1))
        sums[places[firsts]] += np.add.reduceat(rows.astype(np.float64), firsts)
    means = (sums[counts > 0] / counts[counts > 0, None]).astype(np.float32)
    return replace(clips, streams={**clips.streams, modality: Ragged(means, offsets_of(counts > 0))})
