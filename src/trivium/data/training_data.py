"""Serves a store's batches to Lightning's Trainer, and keeps the test split closed while it fits."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from lightning.pytorch.trainer.states import TrainerFn, TrainerStatus

from trivium.data.batch import Batch
from trivium.data.datamodule import BatchLoader, DataModule


class TrainingData(DataModule, L.LightningDataModule):
    """Is the DataModule that a Trainer takes: train and validation batches; the test split only once no fit is running.

    It is built as a DataModule is.
    """

    def loader(self, split: str, **settings: Any) -> BatchLoader:
        """Returns what DataModule's does. Raises RuntimeError for the test split while a fit is running."""
        if split == "test" and self._fitting:
            raise RuntimeError(
                "the test split is not opened while a fit is running: training and selection must not see it; use "
                "'valid', or ask after trainer.fit has returned"
            )
        return super().loader(split, **settings)

    def train_dataloader(self) -> BatchLoader:
        return self._rank_loader("train", training=True)

    def val_dataloader(self) -> BatchLoader:
        return self._rank_loader("valid", training=False)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        # The batch was gathered on the device already, and its lengths belong on the CPU.
        return batch

    @property
    def _fitting(self) -> bool:
        # Validation inside fit has TrainerFn.FITTING too. After the fit the function stays and the status changes.
        state = None if self.trainer is None else self.trainer.state
        return state is not None and state.fn == TrainerFn.FITTING and state.status == TrainerStatus.RUNNING

    def _rank_loader(self, split: str, training: bool) -> BatchLoader:
        assert self.trainer is not None
        return self.loader(
            split,
            device=self.trainer.strategy.root_device,
            rank=self.trainer.global_rank,
            world=self.trainer.world_size,
            training=training,
        )
