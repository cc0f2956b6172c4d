"""Makes targets of columns of values, as a table of labels has them: by what is declared, or by what the values show.

Values are taken as texts, as a CSV has them. Nothing is guessed that could be wrong: whole numbers may be scores or
classes, so that they must be declared.
Legend: N clips, C classes or labels, K scores.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from trivium.core.choices import suggest
from trivium.data.clips import Array
from trivium.data.target import Target

Columns = Mapping[str, Sequence[str]]
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf|infinity)", re.IGNORECASE)
_WHOLE = re.compile(r"[+-]?\d+")
_TRUTH = {"0": 0.0, "1": 1.0, "0.0": 0.0, "1.0": 1.0, "false": 0.0, "true": 1.0}
# How a target is declared in a folder's manifest. NAME is replaced by the target's name.
IN_MANIFEST = "in manifest.yaml: targets: {NAME: {kind: score}}, or kind: classes, or kind: labels with its columns"
# More names than these are counted in a report, and not listed.
_MOST_LISTED = 20


@dataclass(frozen=True)
class Declared:
    """Holds what a user says of a target.

    kind: "score", "classes" or "labels". columns: those of its values, one for classes; () means the column of the
    target's name. names: of the classes in their order, of the labels or of several scores; () means as they are found.
    codes: value -> name of the class. range: the lowest and the highest possible score.
    """

    kind: str
    columns: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    codes: Mapping[str, str] = field(default_factory=dict)
    range: tuple[float, float] | None = None


@dataclass(frozen=True)
class ReadTarget:
    """Holds a target with its values, float32 as Target has them, and the words for it in a report."""

    target: Target
    values: Array
    words: str


def read_target(
    name: str,
    declared: Declared | None,
    columns: Columns,
    ids: Sequence[str],
    where: str,
    remedy: str = IN_MANIFEST,
) -> ReadTarget:
    """Returns the target of that name, from the columns that are declared or else from the column of its name.

    Undeclared, texts are classes with their names in sorted order, and numbers of which one has a fraction are scores.
    Raises ValueError, naming column and clip, for a value that the target cannot have, and for undeclared columns of
    whole numbers alone, of numbers and texts, or of texts that most clips have alone. remedy: how to declare one.
    """
    if declared is None:
        return _found(name, columns[name], ids, where, remedy.replace("NAME", name))
    chosen = declared.columns or (name,)
    for column in chosen:
        if column not in columns:
            raise ValueError(
                f"{where}: target {name!r}: no column {column!r}{suggest(column, columns)}; found {', '.join(columns)}"
            )
        _refuse_empty(column, columns[column], ids, where)
    if declared.kind == "classes":
        return _classes(chosen[0], declared, columns[chosen[0]], ids, where)
    read = _label if declared.kind == "labels" else _score
    values = np.array(
        [[read(c, cell, clip, where) for cell, clip in zip(columns[c], ids, strict=True)] for c in chosen]
    )
    if declared.kind == "labels" or len(chosen) > 1:
        target = Target(declared.kind, declared.names or chosen, declared.range)
        return ReadTarget(target, values.T.astype(np.float32), _words(target, "declared"))
    target = Target("score", range=declared.range)
    return ReadTarget(target, values[0].astype(np.float32), _words(target, "declared"))


def _found(name: str, cells: Sequence[str], ids: Sequence[str], where: str, remedy: str) -> ReadTarget:
    _refuse_empty(name, cells, ids, where)
    numeric = [_NUMBER.fullmatch(cell) is not None for cell in cells]
    if all(numeric):
        values = np.array([_score(name, cell, clip, where) for cell, clip in zip(cells, ids, strict=True)])
        if (values == values.round()).all():
            listed = _listed(sorted({f"{value:g}" for value in values}, key=float))
            raise ValueError(
                f"{where}: column {name!r} has whole numbers ({listed}), which may be scores or classes; say "
                f"which {remedy}; or leave the column out"
            )
        target = Target("score")
        return ReadTarget(target, values.astype(np.float32), _words(target, "found"))
    if any(numeric):
        number, text = cells[numeric.index(True)], cells[numeric.index(False)]
        raise ValueError(
            f"{where}: column {name!r} has numbers and texts: clip {ids[numeric.index(True)]!r} has {number!r}, clip "
            f"{ids[numeric.index(False)]!r} has {text!r}; make it one of both, or declare it {remedy}"
        )
    alone = sum(count == 1 for count in Counter(cells).values())
    if 2 * alone > len(cells):
        raise ValueError(
            f"{where}: column {name!r}: {alone} of {len(cells)} clips have a text that no other has, such as "
            f"{cells[0][:40]!r}, so these are no classes; leave the column out, or declare the target {remedy}"
        )
    return _classes(name, Declared("classes"), cells, ids, where, "found")


def _classes(
    column: str, declared: Declared, cells: Sequence[str], ids: Sequence[str], where: str, how: str = "declared"
) -> ReadTarget:
    """Returns a target of classes, whose values are the places of their names."""
    for cell, clip in zip(cells, ids, strict=True):
        if _NUMBER.fullmatch(cell) and not _WHOLE.fullmatch(cell) and cell not in {*declared.names, *declared.codes}:
            raise ValueError(
                f"{where}: column {column!r}: clip {clip!r} has {cell!r}; expected a class's name or its whole number, "
                "such as 1 and not 1.0"
            )
    whole = all(_WHOLE.fullmatch(cell) for cell in cells)
    keys = [str(int(cell)) if whole else cell for cell in cells]
    if declared.codes:
        names = tuple(dict.fromkeys(declared.codes.values()))
        number_of = {code: names.index(name) for code, name in declared.codes.items()}
    elif declared.names and whole and not set(keys) <= {*declared.names}:
        names = declared.names
        number_of = {str(number): number for number in range(len(names))}
    else:
        names = declared.names or tuple(sorted(set(keys), key=int if whole else None))
        number_of = {name: number for number, name in enumerate(names)}
    for key, clip in zip(keys, ids, strict=True):
        if key not in number_of:
            raise ValueError(
                f"{where}: column {column!r}: clip {clip!r} has {key!r}; expected one of {_listed(number_of)}"
                f"{suggest(key, number_of)}"
            )
    if len(names) < 2:
        raise ValueError(f"{where}: column {column!r}: every clip is of the class {names[0]!r}; expected two or more")
    target = Target("classes", names)
    return ReadTarget(target, np.array([number_of[key] for key in keys], dtype=np.float32), _words(target, how))


def _score(column: str, cell: str, clip: str, where: str) -> float:
    if not _NUMBER.fullmatch(cell) or not np.isfinite(np.float32(cell)):
        raise ValueError(f"{where}: column {column!r}: clip {clip!r} has {cell!r}; expected a finite number")
    return float(cell)


def _label(column: str, cell: str, clip: str, where: str) -> float:
    if cell.lower() not in _TRUTH:
        raise ValueError(f"{where}: column {column!r}: clip {clip!r} has {cell!r}; expected 0 or 1")
    return _TRUTH[cell.lower()]


def _refuse_empty(column: str, cells: Sequence[str], ids: Sequence[str], where: str) -> None:
    missing = [clip for cell, clip in zip(cells, ids, strict=True) if not cell]
    if missing:
        raise ValueError(
            f"{where}: column {column!r}: clip {missing[0]!r} has no value; every clip needs one"
            + (f" ({len(missing)} such clips)" if len(missing) > 1 else "")
        )


def _words(target: Target, how: str) -> str:
    names = f": {_listed(target.names)}" if target.names else ""
    return f"{target.words}{names} ({how})"


def _listed(names: Any) -> str:
    shown = list(map(str, names))
    more = f" and {len(shown) - _MOST_LISTED} more" if len(shown) > _MOST_LISTED else ""
    return ", ".join(shown[:_MOST_LISTED]) + more
