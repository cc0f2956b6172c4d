"""Reads which videos are in which split: from a JSON file of the user's, or from the installed CMU SDK."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

from trivium.data.clips import SPLITS

_NAMES = {"train": "train", "valid": "valid", "val": "valid", "dev": "valid", "test": "test"}
_FORM = '{"train": [video ids], "valid": [...], "test": [...]}, or that under the name of the data set'


def read_folds(path: Path | None, data: str) -> dict[str, list[str]]:
    """Returns split -> video ids, from JSON at `path`, or without a path from the SDK's `cmu_{data}`.

    The JSON has the splits at its top, or under the data set's name. Empty splits are left out. Raises ValueError,
    naming the file, for any other content, and for a video in two splits.
    """
    raw = _from_sdk(data) if path is None else _from_json(path, data)
    where = f"{path}" if path is not None else "the installed SDK's folds"
    folds: dict[str, list[str]] = {split: [] for split in SPLITS}
    owner: dict[str, str] = {}
    for name, videos in raw.items():
        if name not in _NAMES or not isinstance(videos, list):
            raise ValueError(f"{where}: key {name!r} is no split with a list of video ids; expected {_FORM}")
        for video in map(str, videos):
            split = _NAMES[name]
            if owner.setdefault(video, split) != split:
                raise ValueError(f"{where}: video {video!r} is in {owner[video]!r} and in {split!r}; expected one")
            folds[split].append(video)
    return {split: videos for split, videos in folds.items() if videos}


def _from_json(path: Path, data: str) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"{path}: no such file; folds=FILE takes JSON, {_FORM}")
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        # The file is no JSON, or no UTF-8.
        raise ValueError(f"{path}: not JSON ({error}); expected {_FORM}") from error
    if isinstance(raw, dict) and "train" not in raw:
        if data not in raw:
            raise ValueError(f"{path}: no entry 'train' and none for {data!r}; found {list(raw)}; expected {_FORM}")
        raw = raw[data]
    if not isinstance(raw, dict) or "train" not in raw:
        raise ValueError(f"{path}: no split 'train' for {data!r}; expected {_FORM}")
    return raw


def sdk_knows(data: str) -> bool:
    """Tells whether the CMU SDK is installed and has folds of the data set."""
    try:
        return hasattr(importlib.import_module("mmsdk.mmdatasdk"), f"cmu_{data}")
    except ImportError:
        return False


def _from_sdk(data: str) -> dict[str, Any]:
    try:
        sdk = importlib.import_module("mmsdk.mmdatasdk")
    except ImportError as error:
        raise ValueError(f"the CMU SDK is not installed ({error}): pass folds=FILE, JSON of {_FORM}") from error
    module = getattr(sdk, f"cmu_{data}", None)
    if module is None:
        raise ValueError(f"the CMU SDK knows no folds for data={data}: pass folds=FILE, JSON of {_FORM}")
    return {split: list(getattr(module.standard_folds, f"standard_{split}_fold")) for split in SPLITS}
