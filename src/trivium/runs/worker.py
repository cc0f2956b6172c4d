"""Trains as one rank of a run: torchrun starts this module once a device (trivium.runs.launch)."""

from __future__ import annotations

import os

from trivium.core.processes import die_with_parent
from trivium.runs.torchrun import PARENT


def main() -> None:
    """Trains on the config that lies frozen in the run's directory, TRIVIUM_RUN_DIR."""
    # Before anything else is imported: torch takes seconds.
    die_with_parent(int(os.environ[PARENT]))
    from trivium.core.output import keep_printing
    from trivium.core.wording import warn_in_lines

    warn_in_lines()
    keep_printing()
    from torch.distributed.elastic.multiprocessing.errors import record

    from trivium.runs.train import train_as_worker

    # Without `record` torchrun loses a dead rank's traceback.
    record(train_as_worker)(os.environ["TRIVIUM_RUN_DIR"])


if __name__ == "__main__":
    main()
