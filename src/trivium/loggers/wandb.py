"""Implements logger=wandb: one wandb run for a run directory; a resumed run goes on in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightning.pytorch.loggers import WandbLogger

from trivium.loggers.final_metrics import need, read_summary
from trivium.runs.directory import RunDirectory


class Wandb(WandbLogger):
    """Implements trivium.runs.loggers.RunLogger.

    config: the run's resolved config. finish_timeout: seconds that the end waits for wandb's server to take all of it;
    0 waits without end.
    """

    def __init__(
        self,
        config: dict[str, Any],
        run: RunDirectory,
        *,
        name: str,
        project: str,
        entity: str,
        group: str,
        title: str,
        tags: Sequence[str],
        mode: str,
        figures: bool,
        finish_timeout: float = 600.0,
    ) -> None:
        need(name)
        record, method, data = run.record(), config["method"]["name"], config["data"]["name"]
        super().__init__(
            project=project,
            entity=entity or None,
            group=group or None,
            job_type=method,
            tags=list(dict.fromkeys([method, data, *tags])),
            name=f"{run.path.name} {title}".strip(),
            save_dir=run.path,
            config=config,
            # A run that was made longer goes on in the same wandb run.
            id=record.get("first_config_hash", record["config_hash"])[:8]
            + record["created"][11:26].replace(":", "").replace(".", ""),
            resume="allow",
            mode=mode or None,
        )
        # Lightning passes this setting, which wandb no longer has and warns of.
        self._wandb_init.pop("anonymous", None)
        self._figures, self._finish_timeout = figures, finish_timeout

    def start(self) -> None:
        import wandb

        # Older versions have no such setting.
        if "finish_timeout" in getattr(wandb.Settings, "model_fields", {}):
            timeout = self._finish_timeout
            self._wandb_init["settings"] = wandb.Settings(finish_timeout=timeout, finish_timeout_raises=True)
        try:
            # Lightning starts the wandb run when the property is first read.
            _ = self.experiment
        except wandb.errors.Error as error:
            reason = str(error).rstrip(".")
            raise ValueError(
                f"logger=wandb: {reason}; logger.mode=offline needs no account and no network, and keeps the records "
                "in the run's directory for `wandb sync`"
            ) from error

    def send(self, run: RunDirectory) -> None:
        summary = read_summary(run.path)
        self.log_metrics(summary.metrics, summary.step)
        self.experiment.summary.update({"facts": summary.facts})
        if self._figures:
            import wandb

            from trivium.loggers.figures import draw_figures, pixels

            images = {
                f"figures/{picture.name}": wandb.Image(pixels(picture), caption=picture.caption)
                for picture in draw_figures(run.path)
            }
            self.experiment.log({**images, "trainer/global_step": summary.step})

    def end(self, *, failed: bool) -> None:
        self.experiment.finish(exit_code=int(failed))
