"""Rows that are trained once for all situations: a table's key trained_once, for situations that change labels alone.

A method that reads no label trains to the same weights whatever labels there are. Its runs of other situations take
over those of the situation that changes nothing, and fit their probes on the labels that they have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trivium.core.choices import suggest

if TYPE_CHECKING:
    from trivium.tables.definition import Table

# Settings of a run that takes over another one's encoders and fusion: an epoch at a rate of 0 changes no weight.
UNCHANGED = ("optimizer.lr=0", "trainer.max_epochs=1", "trainer.patience=0", "trainer.select=last")
_OF_LABELS = ("data.labelled", "data.label_noise")


def check_trained_once(table: Table) -> None:
    """Raises ValueError for a row that is not there or begins from another, and for situations of more than labels."""
    rows = {row.label: row for row in table.rows}
    for label in table.trained_once:
        if label not in rows:
            raise ValueError(
                f"trained_once: {label!r} is none of the rows{suggest(label, rows)}; they are {', '.join(rows)}"
            )
        if rows[label].start:
            raise ValueError(f"trained_once: {label!r} begins from row {rows[label].start!r} itself; leave it out")
    if table.trained_once and all(table.situations.values()):
        raise ValueError(
            "trained_once: no situation leaves all as it is, in which the rows could be trained; add one, such as "
            "unchanged: []"
        )
    for name, overrides in table.situations.items() if table.trained_once else ():
        for word in overrides:
            if word.partition("=")[0].lstrip("+~") not in _OF_LABELS:
                raise ValueError(
                    f"trained_once: situation {name!r} sets {word}, which changes the training; expected "
                    f"{' and '.join(_OF_LABELS)} alone"
                )


def refuse_learner(label: str, config: Mapping[str, Any]) -> None:
    """Raises ValueError for a row whose method reads labels. config: of its run, whose data are there."""
    # Imported here, as it imports torch, and planning most tables does not need it.
    from trivium.runs.assemble import assemble

    method = assemble({**config, "start_from": ""})[2]
    if method.learns_labels:
        raise ValueError(
            f"trained_once: row {label!r}: method={method.name} learns from labels, so a situation of other labels is "
            "another training; leave the row out"
        )
