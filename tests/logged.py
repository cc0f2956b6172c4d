"""What wandb (offline) and TensorBoard have of a run, read back from the files that they wrote."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

QUIET = {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_CONSOLE": "off"}


@dataclass
class Logged:
    """scalars: name -> all its values as they came. images: name -> all PNGs. shown: name, group, tags and so on."""

    scalars: dict[str, list[float]] = field(default_factory=dict)
    images: dict[str, list[bytes]] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    shown: dict[str, Any] = field(default_factory=dict)


def of_wandb(run: Path) -> Logged:
    """Of a run's only wandb run."""
    from wandb.proto import wandb_internal_pb2

    (file,) = run.glob("wandb/offline-run-*/*.wandb")
    found = Logged()
    for record in map(wandb_internal_pb2.Record.FromString, _records(file)):
        kind = record.WhichOneof("record_type")
        if kind == "history":
            _add_row(found, {_key(item): json.loads(item.value_json) for item in record.history.item}, file.parent)
        elif kind == "summary":
            update = {_key(item): json.loads(item.value_json) for item in record.summary.update}
            found.facts |= {name: str(value) for name, value in update.get("facts", {}).items()}
        elif kind == "run":
            one = record.run
            found.config = {i.key: json.loads(i.value_json) for i in one.config.update if i.key != "_wandb"}
            tags = list(one.tags)
            found.shown |= {"name": one.display_name, "group": one.run_group, "job_type": one.job_type, "tags": tags}
        elif kind == "exit":
            found.shown["exit"] = record.exit.exit_code
    return found


def _add_row(found: Logged, row: dict[str, Any], folder: Path) -> None:
    for name, value in row.items():
        if name.endswith("|path"):
            found.images.setdefault(name.removesuffix("|path"), []).append((folder / "files" / value).read_bytes())
        elif "|" not in name and not name.startswith(("_", "trainer/")):
            found.scalars.setdefault(name, []).append(value)


def _key(item: Any) -> str:
    return item.key or "|".join(item.nested_key)


def _records(file: Path) -> Iterator[bytes]:
    """The records of an offline run's file, which is in LevelDB's log format behind a header of 7 bytes."""
    content, at, parts = file.read_bytes(), 7, b""
    while at + 7 <= len(content):
        if 32768 - at % 32768 < 7:  # a block's last bytes hold no header
            at += 32768 - at % 32768
            continue
        length, kind = struct.unpack("<HB", content[at + 4 : at + 7])
        parts += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def of_tensorboard(run: Path) -> Logged:
    """Of a run's only folder of events."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (folder,) = {file.parent for file in (run / "tb").rglob("events.*")}
    events = EventAccumulator(str(folder), {"images": 0, "scalars": 0}).Reload()
    tags = events.Tags()
    found = Logged(shown={"folder": str(folder.relative_to(run))})
    found.scalars = {name: [event.value for event in events.Scalars(name)] for name in tags["scalars"]}
    found.images = {name: [event.encoded_image_string for event in events.Images(name)] for name in tags["images"]}
    if "config/text_summary" in tags["tensors"]:
        text = {name: events.Tensors(f"{name}/text_summary")[0].tensor_proto for name in ("config", "facts")}
        config, facts = (text[name].string_val[0].decode() for name in ("config", "facts"))
        assert config.startswith("```yaml\n")
        found.config = yaml.safe_load(config.removeprefix("```yaml\n").removesuffix("```"))
        cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in facts.splitlines()[2:]]
        found.facts = {name: value for name, value in cells}
    return found


READERS = {"wandb": of_wandb, "tensorboard": of_tensorboard}
