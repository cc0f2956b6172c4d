"""Recognises the published feature sets by their source file's checksum, and checks the clips read from them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

# omegaconf brings PyYAML.
import yaml

from trivium.data.clips import Source

MANIFEST = Path(__file__).with_name("feature_sets.yaml")


@dataclass(frozen=True)
class FeatureSet:
    """Describes a published feature set.

    counts: split -> clips. dims: modality -> features a step. tokenizer: the name of the one that made the token ids.
    """

    sha256: str
    data: str
    name: str
    counts: dict[str, int]
    dims: dict[str, int]
    tokenizer: str | None = None


def published() -> list[FeatureSet]:
    """Returns every feature set of feature_sets.yaml."""
    return [FeatureSet(**entry) for entry in yaml.safe_load(MANIFEST.read_text())]


def recognise(sha256: str, *, path: Path, data: str, name: str | None) -> FeatureSet | None:
    """Returns the published feature set that has this checksum, or None for a file of the user's own.

    Raises ValueError if that set is of another data set than `data`, or if `name` is that of another published set.
    """
    sets = published()
    recognised = next((entry for entry in sets if entry.sha256 == sha256), None)
    if recognised is not None and recognised.data != data:
        raise ValueError(
            f"{path}: by its checksum this is {recognised.data}/{recognised.name}, but data={data} was given; say "
            f"data={recognised.data}"
        )
    same_name = next((entry for entry in sets if (entry.data, entry.name) == (data, name)), None)
    if same_name is not None and same_name != recognised:
        raise ValueError(
            f"{path}: name={name} is the published feature set with sha256 {same_name.sha256[:12]}, but this file has "
            f"{sha256[:12]}: it is another file, or a damaged download; give it a name of your own, or get it again"
        )
    return recognised


def check(source: Source, expected: FeatureSet) -> None:
    """Raises ValueError, naming file and key, if the source has other counts or sizes than the manifest says."""
    where = f"{source.files[0]}: feature set {expected.data}/{expected.name}"
    counts = {split: len(clips) for split, clips in source.splits.items()}
    for split, count in expected.counts.items():
        if counts.get(split) != count:
            raise ValueError(
                f"{where} has {count} clips in split {split!r}, found {counts.get(split, 'no such split')}"
            )
    streams = source.splits["train"].streams
    for modality, dim in expected.dims.items():
        actual = streams[modality].dim if modality in streams else "no such key"
        if actual != dim:
            raise ValueError(
                f"{where} has {dim} features a step in {modality!r}, found {actual}; the file or the manifest "
                "(feature_sets.yaml) is wrong"
            )
