"""logger=tensorboard: events in the run directory's folder tb."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from trivium.loggers.final import need, read_final
from trivium.runs.directory import RunDirectory

_LONGEST = 120  # letters of a folder's name


class TensorBoard(TensorBoardLogger):
    """Implements trivium.runs.loggers.RunLogger. config: the run's, resolved."""

    def __init__(self, config: dict[str, Any], run: RunDirectory, *, name: str, title: str, figures: bool) -> None:
        need(name)
        # TensorBoard calls a run by its folder, and shows a dozen letters in places: 0/tb/lr=0.02
        super().__init__(run.path, "tb", _folder(run.path / "tb", title), flush_secs=10)
        self._figures = figures

    def start(self) -> None:
        _ = self.experiment

    @rank_zero_only
    def save(self) -> None:
        """Without Lightning's hparams.yaml; config.yaml is there."""
        self.experiment.flush()

    def send(self, run: RunDirectory) -> None:
        from torch.utils.tensorboard.summary import hparams

        final, writer = read_final(run.path), self.experiment
        self.log_metrics(final.metrics, final.step)
        # Without the first, which names the columns of HParams: TensorBoard would take those of one run for all, and
        # finds them by itself otherwise, with which of them differ.
        _, *session = hparams(final.settings, final.metrics)  # type: ignore[no-untyped-call]
        for summary in session:
            writer._get_file_writer().add_summary(summary)
        writer.add_text("config", f"```yaml\n{final.config}```")
        writer.add_text("facts", _table(final.facts))
        if self._figures:
            from trivium.loggers.figures import draw_figures, pixels

            for one in draw_figures(run.path):
                writer.add_image(f"figures/{one.name}", pixels(one), final.step, dataformats="HWC")

    def end(self, *, failed: bool) -> None:
        self.finalize("failed" if failed else "success")


def _folder(beneath: Path, title: str) -> str:
    """The one that a resumed run has; else the title's, "" for none."""
    found = sorted(path.name for path in beneath.glob("*/")) if beneath.is_dir() else []
    return found[0] if found else re.sub(r"[^\w.=,+-]+", "_", title)[:_LONGEST]


def _table(facts: Mapping[str, Any]) -> str:
    """In Markdown."""
    rows = [(key, str(value).replace("|", "\\|")) for key, value in facts.items()]
    return "\n".join(["| fact | value |", "|---|---|", *(f"| {key} | {value} |" for key, value in rows)])
