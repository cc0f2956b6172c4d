"""Finds and reads the files of features of a folder of clips: one for each clip and modality."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from trivium.core.choices import suggest
from trivium.data.clips import MODALITIES, Array, Ragged, Source
from trivium.data.formats.clip_files import SUFFIXES, read_clip_file
from trivium.data.formats.folder_manifest import FolderManifest, ModalityFiles, check_name
from trivium.data.formats.label_table import LabelTable
from trivium.data.repair import no_repairs, repair


class FeatureFiles:
    """Finds and reads the files of all modalities.

    absent: the modalities that a clip may lack. used: the files that belong to a clip.
    """

    def __init__(self, manifest: FolderManifest, table: LabelTable, ids: list[str], absent: Sequence[str]) -> None:
        self.manifest, self.table, self.ids = manifest, table, ids
        self.modalities = manifest.modalities or _find_modalities(manifest.folder)
        self.absent = {*manifest.absent, *absent}
        self.used: set[Path] = set()
        for name in self.modalities:
            check_name(name, str(manifest.folder), f"manifest.yaml: modalities: {{NAME: {name}}}")
        for name in sorted(self.absent - {*self.modalities}):
            raise ValueError(
                f"{manifest.folder}: absent: no modality {name!r}{suggest(name, self.modalities)}; found "
                f"{', '.join(self.modalities) or 'none'}"
            )

    def read(self, content: Source, *, may_lack: bool = False) -> dict[str, Ragged]:
        """Returns modality -> features, and adds repairs and notes to `content`.

        may_lack: leaves out a modality that clips may lack if none of them has it, where it is refused otherwise.
        """
        streams = {}
        for name, files in self.modalities.items():
            ragged = self._read_modality(name, files, content)
            if ragged is not None:
                streams[name] = ragged
            elif not (may_lack and name in self.absent):
                example = f"{self._path(files, self.ids[0])}{'' if _has_suffix(files) else SUFFIXES[0]}"
                raise ValueError(
                    f"{self._folder(files)}: no file of the {len(self.ids)} clips in {self.table.path}; modality "
                    f"{name!r} needs files such as {example}"
                )
        folders = {self._folder(files) for files in self.modalities.values()}
        unused = sorted({file for folder in folders for file in _feature_files(folder)} - self.used)
        if unused:
            content.notes["files of no clip"] = f"{len(unused)}, such as {unused[0]}"
        return streams

    def _read_modality(self, name: str, files: ModalityFiles, content: Source) -> Ragged | None:
        """Returns the features of all clips, or None if no clip has a file."""
        sequences: list[Array | None] = []
        first: tuple[Path, int] | None = None
        counts = no_repairs()
        for clip, line in zip(self.ids, self.table.lines, strict=True):
            path = self._find(name, files, clip, line)
            if path is None:
                sequences.append(None)
                continue
            values, repaired = repair(read_clip_file(path, files.array))
            first = first or (path, values.shape[1])
            if values.shape[1] != first[1]:
                raise ValueError(
                    f"{path}: {values.shape[1]} features a step, but {first[0]} has {first[1]}; all clips need the same"
                )
            if not len(values) and name not in self.absent:
                raise ValueError(f"{path}: has no step; say absent={name} if clips may lack {name}")
            counts.update(repaired)
            sequences.append(values)
        if first is None:
            return None
        content.repairs[name] = dict(counts)
        empty = np.zeros((0, first[1]), dtype=np.float32)
        return Ragged.pack([empty if values is None else values for values in sequences])

    def _find(self, name: str, files: ModalityFiles, clip: str, line: int) -> Path | None:
        """Returns the file of a clip, or None if the clip may lack the modality."""
        path = self._path(files, clip)
        candidates = [path] if _has_suffix(files) else [path.with_name(path.name + suffix) for suffix in SUFFIXES]
        there = [candidate for candidate in candidates if candidate.is_file()]
        if len(there) > 1:
            raise ValueError(f"{there[0]}: {there[1].name} is there too; keep one of them for clip {clip!r}")
        self.used.update(there)
        if not there and name not in self.absent:
            kinds = "" if _has_suffix(files) else f" (or {', '.join(SUFFIXES[1:])})"
            raise ValueError(
                f"{candidates[0]}: no such file{kinds}, but clip {clip!r} stands in line {line} of {self.table.path}; "
                f"put it there, take out the line, or say absent={name} if clips may lack {name}"
            )
        return there[0] if there else None

    def _path(self, files: ModalityFiles, clip: str) -> Path:
        return self.manifest.folder / files.pattern.replace("{id}", clip)

    def _folder(self, files: ModalityFiles) -> Path:
        """Returns the folder that all files of a modality are in, or below."""
        return self.manifest.folder / Path(files.pattern.partition("{id}")[0] + "x").parent


def find_clips(manifest: FolderManifest) -> list[str]:
    """Returns the ids of all clips that have a file MODALITY/ID.npy in a folder without a table, sorted.

    Raises ValueError for a folder without such files.
    """
    modalities = _find_modalities(manifest.folder)
    ids = {
        file.relative_to(manifest.folder / name).with_suffix("").as_posix()
        for name in modalities
        for file in _feature_files(manifest.folder / name)
    }
    if not ids:
        raise ValueError(
            f"{manifest.folder}: has neither {manifest.labels} nor files of features; expected a folder for each "
            f"modality, with a file ID{', ID'.join(SUFFIXES)} for each clip"
        )
    return sorted(ids)


def _find_modalities(folder: Path) -> dict[str, ModalityFiles]:
    """Returns the folders that have files of features: text, audio and vision in this order, then others by name."""
    names = [path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    modalities = [name for name in names if next(_feature_files(folder / name), None) is not None]
    known = {name: place for place, name in enumerate(MODALITIES)}
    return {
        name: ModalityFiles(f"{name}/{{id}}")
        for name in sorted(modalities, key=lambda m: (known.get(m, len(known)), m))
    }


def _feature_files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.suffix in SUFFIXES and path.is_file())


def _has_suffix(files: ModalityFiles) -> bool:
    return Path(files.pattern).suffix in SUFFIXES
