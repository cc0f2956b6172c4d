"""Reads a folder of clips that a trained run is to predict: with or without labels, and without a table too.

Legend: N clips.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from trivium.core.choices import suggest
from trivium.data.clips import NEW, Array, Clips, Source
from trivium.data.formats.folder import FolderOptions, read_ids
from trivium.data.formats.folder_files import FeatureFiles, find_clips
from trivium.data.formats.folder_manifest import FolderManifest, read_manifest
from trivium.data.formats.label_table import LabelTable, read_label_table
from trivium.data.target import Target
from trivium.data.target_columns import Declared, read_target


def read_new_folder(source: Path, options: FolderOptions, wanted: Mapping[str, Target]) -> Source:
    """Reads a folder of clips, or the one that a manifest in YAML describes, with the targets that are wanted.

    With labels.csv (or the manifest's table) its rows are the clips, a column `split` says their splits, and columns
    of the wanted targets are read as these describe them; other columns are left alone. Without a table every file is
    of a clip that has its name, and a clip lacks the modalities that have no file of it.
    wanted: name -> what the target is, with the names of its classes, labels or scores.
    Raises ValueError, naming the file, for anything that cannot be read so.
    """
    manifest = read_manifest(source)
    path = manifest.folder / manifest.labels
    if path.is_file() or manifest.path is not None:
        table = read_label_table(path)
    else:
        ids = find_clips(manifest)
        table = LabelTable(path, {"id": ids}, [0] * len(ids))
        options = replace(options, absent=tuple(FeatureFiles(manifest, table, ids, ()).modalities))
    ids = read_ids(table, manifest)
    content = Source({}, "folder", [path] if path.is_file() else [manifest.folder])
    files = FeatureFiles(manifest, table, ids, options.absent)
    for name in options.drop:
        if name not in {*files.modalities, *table.columns}:
            raise ValueError(
                f"{manifest.folder}: drop: no modality or column {name!r}{suggest(name, files.modalities)}; found "
                f"{', '.join(files.modalities)}"
            )
        files.modalities.pop(name, None)
    streams = files.read(content, may_lack=True)
    transcripts = table.column(manifest.columns.get("transcript", "transcript"))
    targets = _targets(table, manifest, wanted, ids, content)
    clips = Clips(ids, streams, targets, transcripts)
    splits = table.column(manifest.columns.get("split", "split")) or [NEW] * len(ids)
    for split in dict.fromkeys(splits):
        content.splits[split or NEW] = clips.select(np.flatnonzero(np.array(splits) == split))
    return content


def _targets(
    table: LabelTable, manifest: FolderManifest, wanted: Mapping[str, Target], ids: list[str], content: Source
) -> dict[str, Array]:
    """Returns the values of the wanted targets whose columns the table has, and describes them in `content`."""
    values = {}
    for name, target in wanted.items():
        of_run = Declared(target.kind, target.names if target.shape else (name,), target.names if target.names else ())
        declared = manifest.targets.get(name, of_run)
        if all(column in table.columns for column in declared.columns or (name,)):
            read = read_target(name, declared, table.columns, ids, str(table.path))
            values[name], content.described[name] = read.values, read.target
    return values
