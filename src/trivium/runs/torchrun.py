"""Is torchrun, started by trivium.runs.launch, and tells the workers that it starts which process it is.

A worker sets its death signal when its interpreter has started. If torchrun is dead by then, only the id that it gave
shows that.
"""

from __future__ import annotations

import os

# The id of the process that started this one, or that starts the worker.
PARENT = "TRIVIUM_PARENT"


def main() -> None:
    """Runs torchrun on this process's arguments."""
    os.environ[PARENT] = str(os.getpid())
    # It imports torch.
    from torch.distributed.run import main as torchrun

    torchrun()


if __name__ == "__main__":
    main()
