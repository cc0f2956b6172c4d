"""Reads a folder of clips: labels.csv, and the features of each clip and modality in a file MODALITY/ID.npy.

.npz, .pt and .csv are read as .npy is. A manifest.yaml says what has other names (`folder_manifest`).
Legend: N clips, T steps, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trivium.core.choices import suggest
from trivium.data.clips import Array, Clips, Source
from trivium.data.formats.clip_files import SUFFIXES
from trivium.data.formats.folder_files import FeatureFiles
from trivium.data.formats.folder_manifest import ROLES, FolderManifest, check_name, read_manifest
from trivium.data.formats.label_table import LabelTable, read_label_table
from trivium.data.split_check import split_checked
from trivium.data.splitting import SplitColumns, SplitOptions
from trivium.data.target_columns import read_target


@dataclass(frozen=True)
class FolderOptions:
    """Holds what a command line says of a folder, beside its manifest.

    absent: modalities that a clip may lack. drop: columns that are left out. split: how clips are split.
    """

    absent: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    split: SplitOptions = field(default_factory=SplitOptions)


def read_folder(source: Path, options: FolderOptions | None = None) -> Source:
    """Reads a folder of clips, or the one that a manifest in YAML describes, and splits the clips.

    Columns of the table that have no role (id, split, fold, group, transcript) are targets, as `read_target` has them.
    Notes say of each target what was found or declared. -inf, +inf and NaN of features become 0, and are counted.
    Raises ValueError, naming the file, for anything that cannot be read so: a file that is missing, unless clips may
    lack its modality; another D; ids that are repeated or lead out of the folder; a column that is unknown; a split
    without clips; a class that no clip of train has.
    """
    options = options or FolderOptions()
    unsplit, columns = read_folder_clips(source, options)
    return split_checked(unsplit, columns, options.split)


def read_folder_clips(source: Path, options: FolderOptions | None = None) -> tuple[Source, SplitColumns]:
    """Returns a source with all clips in the split "train", in the table's order, and what it says of their splits.

    Raises ValueError as `read_folder` does, but for what concerns splits.
    """
    options = options or FolderOptions()
    manifest = read_manifest(source)
    table = read_label_table(manifest.folder / manifest.labels)
    ids = read_ids(table, manifest)
    roles = _roles(table, manifest, options.split.group)
    files = [table.path, *([] if manifest.path is None else [manifest.path])]
    content = Source({}, "folder", files)
    targets = _read_targets(table, manifest, roles, options.drop, ids, content)
    streams = FeatureFiles(manifest, table, ids, options.absent).read(content)
    transcripts = table.columns[roles["transcript"]] if "transcript" in roles else None
    if not streams and transcripts is None:
        raise ValueError(
            f"{manifest.folder}: no folder of features; expected a folder for each modality, with a file ID"
            f"{', ID'.join(SUFFIXES)} for each clip"
        )
    content.splits["train"] = Clips(ids, streams, targets, transcripts)
    columns = {role: table.column(roles[role]) if role in roles else None for role in ("split", "fold", "group")}
    return content, SplitColumns(**columns)


def read_ids(table: LabelTable, manifest: FolderManifest) -> list[str]:
    """Returns the clips' ids. Raises ValueError naming the lines of one that is empty, repeated or no file's name."""
    column = manifest.columns.get("id", "id")
    ids = table.column(column)
    if ids is None:
        raise ValueError(
            f"{table.path}: no column {column!r}{suggest(column, table.columns)}; found {', '.join(table.columns)}: "
            "every clip needs an id, which its files are named after; another column is named in manifest.yaml: "
            "columns: {id: NAME}"
        )
    splits = table.column(manifest.columns.get("split", "split")) or [""] * len(ids)
    line_of: dict[str, tuple[int, str]] = {}
    for clip, line, split in zip(ids, table.lines, splits, strict=True):
        if clip in line_of:
            first_line, first_split = line_of[clip]
            differ = f", once in {first_split!r} and once in {split!r}" if split != first_split else ""
            raise ValueError(
                f"{table.path}: id {clip!r} in line {line} stands in line {first_line} too{differ}; expected each once"
            )
        line_of[clip] = (line, split)
        parts = clip.split("/")
        if not clip or "\\" in clip or "\0" in clip or ":" in parts[0] or {"", ".", ".."} & {*parts}:
            raise ValueError(
                f"{table.path}: id {clip!r} in line {line} is no name of a file in the folder; expected one without "
                "'..' and '\\', and not beginning with '/'"
            )
    return ids


def _roles(table: LabelTable, manifest: FolderManifest, group: str) -> dict[str, str]:
    """Returns role -> column, of the roles that the table has. group: the column of groups, if not empty."""
    columns = manifest.columns | ({"group": group} if group else {})
    for role, column in columns.items():
        if column not in table.columns:
            where = f"{manifest.path}: columns.{role}" if role in manifest.columns else f"group={group}"
            raise ValueError(
                f"{where}: {table.path} has no column {column!r}{suggest(column, table.columns)}; found "
                f"{', '.join(table.columns)}"
            )
    return {role: columns.get(role, role) for role in ROLES if columns.get(role, role) in table.columns}


def _read_targets(
    table: LabelTable,
    manifest: FolderManifest,
    roles: dict[str, str],
    drop: Sequence[str],
    ids: list[str],
    content: Source,
) -> dict[str, Array]:
    """Returns the targets' values, and adds their descriptions and notes to `content`."""
    where, dropped = str(table.path), {*manifest.drop, *drop}
    for column in dropped:
        if column not in table.columns:
            raise ValueError(f"{where}: drop: no column {column!r}{suggest(column, table.columns)}")
    others = [name for name in table.columns if name not in {*roles.values(), *dropped}]
    declared = {column for name, target in manifest.targets.items() for column in target.columns or (name,)}
    if manifest.targets and (unknown := [column for column in others if column not in declared]):
        raise ValueError(
            f"{where}: column {unknown[0]!r} is not in the manifest's targets; declare it there, or leave it out: "
            f"drop: [{', '.join(unknown)}]"
        )
    names = list(manifest.targets) or others
    if not names:
        raise ValueError(f"{where}: no target; expected a column that is to be predicted, beside {', '.join(ROLES)}")
    values = {}
    for name in names:
        check_name(name, where, f"manifest.yaml: targets: {{NAME: {{kind: ..., column: {name!r}}}}}")
        target = read_target(name, manifest.targets.get(name), table.columns, ids, where)
        values[name], content.described[name] = target.values, target.target
        content.notes[name] = target.words
    return values
