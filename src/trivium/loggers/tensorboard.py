"""Implements logger=tensorboard: events in the run directory's folder tb."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from trivium.loggers.final_metrics import need, read_summary
from trivium.runs.directory import RunDirectory

# The most letters of a folder's name.
_LONGEST = 120


class TensorBoard(TensorBoardLogger):
    """Implements trivium.runs.loggers.RunLogger. config: the run's resolved config."""

    def __init__(self, config: dict[str, Any], run: RunDirectory, *, name: str, title: str, figures: bool) -> None:
        need(name)
        # TensorBoard names a run by its folder, and shows a dozen letters of it in places: 0/tb/lr=0.02.
        super().__init__(run.path, "tb", _folder(run.path / "tb", title), flush_secs=10)
        self._figures = figures

    def start(self) -> None:
        # Lightning opens the writer when the property is first read.
        _ = self.experiment

    @rank_zero_only
    def save(self) -> None:
        """Flushes the events. Lightning would write hparams.yaml too, but config.yaml has the settings."""
        self.experiment.flush()

    def send(self, run: RunDirectory) -> None:
        from torch.utils.tensorboard.summary import hparams

        summary, writer = read_summary(run.path), self.experiment
        self.log_metrics(summary.metrics, summary.step)
        # The first event names the columns of HParams, and TensorBoard would take one run's columns for all. Without
        # that event it finds the columns itself, and which of them differ.
        _, *events = hparams(summary.settings, summary.metrics)  # type: ignore[no-untyped-call]
        for event in events:
            writer._get_file_writer().add_summary(event)
        writer.add_text("config", f"```yaml\n{summary.config}```")
        writer.add_text("facts", _table(summary.facts))
        if self._figures:
            from trivium.loggers.figures import draw_figures, pixels

            for picture in draw_figures(run.path):
                writer.add_image(f"figures/{picture.name}", pixels(picture), summary.step, dataformats="HWC")

    def end(self, *, failed: bool) -> None:
        self.finalize("failed" if failed else "success")


def _folder(parent: Path, title: str) -> str:
    """Returns the folder that a resumed run has already, otherwise one named after the title, or "" without a title."""
    existing = sorted(path.name for path in parent.glob("*/")) if parent.is_dir() else []
    return existing[0] if existing else re.sub(r"[^\w.=,+-]+", "_", title)[:_LONGEST]


def _table(facts: Mapping[str, Any]) -> str:
    """Returns the facts as a Markdown table."""
    rows = [(key, str(value).replace("|", "\\|")) for key, value in facts.items()]
    return "\n".join(["| fact | value |", "|---|---|", *(f"| {key} | {value} |" for key, value in rows)])
