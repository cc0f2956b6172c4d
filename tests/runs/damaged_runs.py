"""Damages one file of a run's directory: cut off, of other bytes, of wrong types, nested, or no file at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

Damage = Callable[[Path], None]
JSON = {
    "result.json": ("seed", "method", "feature_set", "metrics", "val", "val.mae", "best_epoch", "epochs", "seconds"),
    "run.json": ("status", "created", "config_hash", "resumed_at", "versions", "store_checksum"),
    "model.json": (
        "schema",
        "schema.dims",
        "schema.dims.text",
        "schema.counts.train",
        "schema.max_lengths.audio",
        "schema.targets",
        "reads",
        "reads.text",
        "assets",
        "store",
        "statistics.audio.mean",
        "statistics.audio",
    ),
    "config.yaml": (
        "seed",
        "data",
        "data.name",
        "data.modalities",
        "data.batch_size",
        "data.eval_batch_size",
        "data.standardize",
        "data.label_range",
        "data.metrics",
        "trainer",
        "trainer.devices",
        "trainer.precision",
        "trainer.max_epochs",
        "method",
        "method._target_",
        "encoder",
        "encoder._target_",
        "fusion._target_",
        "objective",
        "paths",
        "paths.data",
    ),
}
CONTENTS: dict[str, bytes] = {
    "empty": b"",
    "a text": b'"x"',
    "a list": b"[1]",
    "no UTF-8": b"\xff\xfe\x00",
    "zeros": b"\0" * 500,
    "nested lists": b"[" * 100_000,
    "tabs": b"\t- a: [}",
}
BOMB = b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
    f"{n}: &{n} [{','.join([f'*{chr(ord(n) - 1)}'] * 9)}]\n".encode() for n in "bcdefghijkl"
)
FILES = ("config.yaml", "overrides.yaml", "run.json", "result.json", "model.json", "metrics.csv", "predictions.csv")


def damages() -> Iterator[tuple[str, Damage]]:
    """Yields a name, FILE first, and what does it to a run's directory."""
    for file in (*FILES, "weights.safetensors"):
        for word, content in CONTENTS.items():
            if file != "overrides.yaml" or word not in ("empty", "null"):
                yield f"{file} {word}", _write(file, content)
        yield f"{file} cut off", _cut(file)
        yield f"{file} a folder", _folder(file)
        yield f"{file} a pipe", _pipe(file)
        yield f"{file} missing", lambda run, f=file: (run / f).unlink()
    for file in ("config.yaml", "overrides.yaml"):
        yield f"{file} aliases that unfold", _write(file, BOMB)
        yield f"{file} an alias of itself", _write(file, b"a: &a [*a]")
        yield f"{file} a tag of Python", _write(file, b"!!python/object/apply:os.system [exit]")
    for file, keys in JSON.items():
        for key in keys:
            for word in ("missing", "[]", '"x"', "-1"):
                yield f"{file} {key} {word}", _key(file, key, word)
    for file in ("metrics.csv", "predictions.csv"):
        yield f"{file} header alone", _lines(file, lambda lines: lines[:1])
        yield f"{file} a cell less", _lines(file, lambda lines: [*lines[:1], lines[1].rpartition(",")[0]])
        yield f"{file} a cell more", _lines(file, lambda lines: [*lines[:1], lines[1] + ",3"])
        yield (
            f"{file} words for numbers",
            _lines(file, lambda lines: [lines[0], ",".join(["x"] * len(lines[0].split(",")))]),
        )
        yield f"{file} another header", _lines(file, lambda lines: ["a,b,c", "1,2,3"])
        yield f"{file} a header twice", _lines(file, lambda lines: [f"{line},{line}" for line in lines])
        yield f"{file} an open quote", _lines(file, lambda lines: [lines[0], '"' + lines[1]])
    yield ".lock a pipe", _pipe(".lock")
    yield ".lock a folder", _folder(".lock")


def _write(file: str, content: bytes) -> Damage:
    return lambda run: (run / file).write_bytes(content) and None


def _cut(file: str) -> Damage:
    return lambda run: os.truncate(run / file, (run / file).stat().st_size // 2 + 3)


def _folder(file: str) -> Damage:
    def damage(run: Path) -> None:
        (run / file).unlink(missing_ok=True)
        (run / file).mkdir()

    return damage


def _pipe(file: str) -> Damage:
    def damage(run: Path) -> None:
        (run / file).unlink(missing_ok=True)
        os.mkfifo(run / file)

    return damage


def _key(file: str, key: str, word: str) -> Damage:
    def damage(run: Path) -> None:
        path = run / file
        content = yaml.safe_load(path.read_text()) if file.endswith("yaml") else json.loads(path.read_text())
        node: Any = content
        *parents, last = key.split(".")
        for name in parents:
            node = node[name]
        if word == "missing":
            del node[last]
        else:
            node[last] = json.loads(word)
        path.write_text(yaml.safe_dump(content) if file.endswith("yaml") else json.dumps(content))

    return damage


def _lines(file: str, change: Callable[[list[str]], list[str]]) -> Damage:
    def damage(run: Path) -> None:
        path = run / file
        path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")

    return damage


def copy_run(run: Path, target: Path) -> Path:
    """Copies a run's directory, checkpoints too."""
    shutil.copytree(run, target)
    return target
