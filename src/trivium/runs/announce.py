"""Says what a run is, a line at a time: its settings and data before torch is imported, then its folder and its model.

Lines have at most 80 columns, but for paths.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trivium.config.store_path import find_store
from trivium.core.wording import counted

if TYPE_CHECKING:
    import lightning as L

    from trivium.methods.base import Method

Say = Callable[[str, str], None]

_COLUMNS = 80


def say(label: str, text: str) -> None:
    """Prints a label and what belongs to it."""
    # Paths are for copying, so none is broken.
    wrapper = textwrap.TextWrapper(_COLUMNS, break_long_words=False, break_on_hyphens=False)
    wrapper.initial_indent, wrapper.subsequent_indent = f"{label:<8}", " " * 8
    print(wrapper.fill(text), flush=True)


def silent(label: str, text: str) -> None:
    """Says nothing: what sweeps, tables and all ranks but the first use in the place of `say`."""


def say_settings(config: Mapping[str, Any]) -> None:
    """Says method, data, seed and epochs, then what the data's store has; makes data that are made on first use.

    Only the first of the ranks of an outer torchrun or srun speaks, and none with trainer.progress=off. Imports no
    torch. Raises ValueError as `find_store` and `open_store`.
    """
    if config["trainer"]["progress"] == "off" or not _is_first_rank():
        return
    epochs = counted(config["trainer"]["max_epochs"], "epoch")
    patience = ", fewer if it gets no better" if config["trainer"]["patience"] else ""
    name, data = config["method"].get("name"), config["data"]["name"]
    say("train", f"{name} on {data}, seed {config['seed']}, {epochs}{patience}")
    if config["start_from"]:
        say("from", str(config["start_from"]))
    _say_data(config)


def _say_data(config: Mapping[str, Any]) -> None:
    from trivium.data.store import open_store
    from trivium.data.synthetic import make_on_first_use

    path = find_store(config)
    if not path.is_file():
        say("data", f"made now, as it is used for the first time: {path}")
        make_on_first_use(path, config["data"])
    node = config["data"]
    store = open_store(path, node.get("fold"))
    store.refuse_without_fold()
    schema, labelled = store.schema, node.get("labelled", 1.0)
    counts = ", ".join(f"{count} {split}" for split, count in schema.counts.items())
    names = node["modalities"] or schema.modalities
    sizes = ", ".join(f"{name} {schema.dims.get(name, 'tokens')}" for name in names)
    fold = "" if schema.fold is None else f", fold {schema.fold} of {schema.folds}"
    say("data", f"{schema.feature_set}{fold}: {counts} clips")
    if labelled != 1:
        count = store.with_train_labels(labelled, 0.0, config["seed"]).schema.counts["train"]
        say("", f"{count} of {schema.counts['train']} train clips have a label")
    if noise := node.get("label_noise", 0.0):
        say("", f"a train clip has another one's label with probability {noise:g}")
    say("", sizes)


def say_model(method: Method, trainer: L.Trainer, tell: Say = say) -> None:
    """Says how large the model is, and on which device it trains."""
    parameters = list(method.parameters())
    count = sum(parameter.numel() for parameter in parameters)
    trained = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
    part = "" if trained == count else f", {trained:,} of them trained"
    device = str(trainer.strategy.root_device)
    several = f"{trainer.world_size} devices, the first " if trainer.world_size > 1 else ""
    tell("model", f"{count:,} parameters{part}, on {several}{device}{_gpu(device)}")


def _gpu(device: str) -> str:
    import torch

    return f" ({torch.cuda.get_device_name(device)})" if device.startswith("cuda") else ""


def resumed_at(checkpoint: Path, epochs: int) -> str:
    """Says where a checkpoint stands: "at epoch 4 of 20, step 35"."""
    from trivium.runs.checkpointing import load_checkpoint

    if not checkpoint.is_file():
        return "from its beginning, as it has no checkpoint yet"
    state = load_checkpoint(checkpoint)
    behind = len(state["callbacks"]["Recorder"]["history"])
    if behind >= epochs or state["callbacks"]["Recorder"]["stopped"]:
        return f"at its test, as all {behind} epochs are trained"
    return f"at epoch {behind + 1} of {epochs}, step {state['global_step'] + 1}"


def _is_first_rank() -> bool:
    in_step = int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1
    return int(os.environ.get("RANK") or (os.environ.get("SLURM_PROCID") if in_step else None) or "0") == 0
