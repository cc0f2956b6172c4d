"""A callback that lets a training step last, so that a test has time to disturb the run in the middle."""

from __future__ import annotations

import os
import time
from typing import Any

from lightning.pytorch.callbacks import Callback


class Pause(Callback):
    """Sleeps before each training step, for as many seconds as TRIVIUM_TEST_PAUSE says, else for none."""

    def on_train_batch_start(self, *args: Any) -> None:
        time.sleep(float(os.environ.get("TRIVIUM_TEST_PAUSE", "0")))
