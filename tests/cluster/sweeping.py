"""Sweeps through a real SLURM: their commands, their runs, and when a run is in its middle."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from real_slurm import PATIENCE, Slurm, until

from driver import ROOT
from trivium.core.processes import die_with_parent

# 6 epochs of 5 steps; a checkpoint after every second step and every epoch.
RUN = [
    "encoder=identity",
    "trainer.accelerator=cpu",
    "trainer.threads=1",
    "trainer.max_epochs=6",
    "trainer.patience=0",
    "trainer.limit_batches=5",
    "run.checkpoint_every=2",
    "fusion.dropout=0.1",
    "trust=[pause]",
    "trainer.callbacks=[{_target_: pause.Pause}]",
]
SLURM = ["hydra/launcher=submitit_slurm", "hydra.launcher.timeout_min=60"]
SWEEP = "sweep"
# Read by pause.py.
PAUSE = "TRIVIUM_TEST_PAUSE"


@dataclass
class Command:
    """A command of `trivium train` at work in a folder."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def printed(self) -> str:
        return self.log.read_text()

    def end(self, seconds: float = 400) -> int:
        """Its exit code, once it has ended."""
        return self.process.wait(timeout=seconds * PATIENCE)


def train(
    slurm: Slurm | None, folder: Path, *arguments: str, pause: float = 0.0, before: tuple[str, ...] = (), log: str = "1"
) -> Command:
    """Starts `train.py ARGUMENTS` in `folder`, each step of its runs with a pause of so many seconds.

    before: words in front of the command, such as srun and its options. log: the name of what it prints.
    """
    environment = {**(slurm or Slurm(folder)).environment, PAUSE: str(pause), "OMP_NUM_THREADS": "1"}
    parts = [str(Path(__file__).parent), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = ":".join(part for part in parts if part)
    words = [*before, sys.executable, str(ROOT / "train.py"), *arguments]
    data = [f"paths.data={folder.parent / 'data'}", f"paths.outputs={folder / 'outputs'}"]
    folder.mkdir(exist_ok=True)
    path = folder / f"{log}.log"
    with path.open("wb") as output:
        # With a pytest that is killed it ends at once.
        options = {"stdout": output, "stderr": output, "preexec_fn": die_with_parent}
        return Command(subprocess.Popen([*words, *data], cwd=folder, env=environment, **options), path)


def grid(slurm: Slurm, folder: Path, *arguments: str, pause: float = 0.0, log: str = "1") -> tuple[Command, Path]:
    """Starts a grid through SLURM; its command, and its folder."""
    words = ["-m", *RUN, *SLURM, f"hydra.sweep.dir={folder / SWEEP}", *arguments]
    return train(slurm, folder, *words, pause=pause, log=log), folder / SWEEP


def in_the_middle(run: Path, command: Command, seconds: float = 240) -> None:
    """Waits until a run has an epoch behind it."""

    def is_there() -> bool:
        assert command.process.poll() is None, command.printed
        return (run / "metrics.csv").is_file()

    until(is_there, seconds, f"the first epoch of {run}")
    assert not (run / "result.json").is_file()
