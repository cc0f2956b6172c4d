"""Makes the objects of a run from its plain config: store, data module, method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from trivium.config.store_path import find_store
from trivium.core.metric_names import TASKS
from trivium.data.datamodule import DataModule, choose_reads
from trivium.data.store import Statistics, Store, open_store
from trivium.data.synthetic import make_on_first_use
from trivium.data.target import Target
from trivium.evaluation.metrics import choose_protocol
from trivium.methods.base import Method
from trivium.methods.build import build_method, token_readers


def open_data(
    config: dict[str, Any],
    store_file: Path | None = None,
    statistics: Mapping[str, Statistics] | None = None,
    *,
    kind: type[DataModule] = DataModule,
    absent: Mapping[str, int] | None = None,
) -> tuple[Store, DataModule]:
    """Opens the store that the config names (or `store_file`), and returns it with its data module.

    The fixture and generated data are made on first use.
    statistics: those to standardise with in place of the store's own, such as a trained model's. kind: the class of the
    data module. absent: modality -> features a step, in their order, of modalities that no clip need have.
    """
    node = config["data"]
    path = store_file or find_store(config)
    if store_file is None and not node["store"]:
        make_on_first_use(path, node)
    store, fold = open_store(path), node.get("fold")
    # Of another store without folds, a run of a fold predicts the splits that are there.
    if fold is not None and (store_file is None or store.schema.folds):
        store = store.of_fold(fold)
    store = store.with_train_labels(node.get("labelled", 1.0), node.get("label_noise", 0.0), config["seed"])
    if statistics is not None:
        store = replace(store, statistics=dict(statistics))
    if absent:
        store = store.with_absent(absent)
    modalities = list(node["modalities"])
    reads = choose_reads(store, modalities, token_readers(config, modalities or store.schema.modalities))
    data = kind(
        store,
        reads=reads,
        batch_size=node["batch_size"],
        eval_batch_size=node["eval_batch_size"],
        standardize=node["standardize"],
        seed=config["seed"],
        limit_batches=config["trainer"]["limit_batches"],
        target=node.get("target", ""),
        sampler=node.get("sampler", "shuffled"),
    )
    _refuse_other_range(node["label_range"], store, data.target)
    _refuse_classes_as_a_score(node["metrics"], store, data.target)
    choose_protocol(node["metrics"], data.target)
    return store, data


def assemble(config: dict[str, Any]) -> tuple[Store, DataModule, Method]:
    """Returns the store, the data module and the method to train. Raises ValueError for a store without validation."""
    # Imported here, as it imports Lightning, and loading a run imports this module.
    from trivium.data.training_data import TrainingData

    store, data = open_data(config, kind=TrainingData)
    data.refuse_without_valid()
    method = build_method(config, store.schema, data.reads, trains=True)
    data.trains_on_unlabelled = not method.learns_labels
    if method.learns_labels:
        data.warn_of_unseen()
    if store.train_labels and data.trains_on_unlabelled and data.balanced:
        raise ValueError(
            f"data.sampler=balanced: it orders the train clips by labels that data.labelled and data.label_noise take "
            f"away, and method={method.name} trains on all clips; take data.sampler=shuffled"
        )
    return store, data, method


def _refuse_other_range(label_range: list[float], store: Store, target: Target) -> None:
    stored_range = target.range
    if label_range and stored_range is not None and tuple(label_range) != stored_range:
        raise ValueError(
            f"data.label_range: {label_range}, but {store.path} was prepared with {list(stored_range)}; leave it out, "
            "or prepare the store again with label_range=LOW,HIGH"
        )


def _refuse_classes_as_a_score(metrics: str, store: Store, target: Target) -> None:
    """Raises ValueError for a store of UR-FUNNY or MUsTARD that was prepared when their two classes were a score."""
    if store.schema.source_format == "multibench" and target.is_score and TASKS.get(metrics) == "classes":
        raise ValueError(
            f"{store.path}: holds {target.words}, as older versions prepared the two classes of this data set; prepare "
            "it again from its source (force=true replaces it), or train on the score as then, with "
            "data.metrics=regression 'data.label_range=[-1,1]'"
        )
