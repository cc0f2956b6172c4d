"""A real SLURM of one node on this machine: munged, slurmctld and slurmd in a folder, stopped by their process ids."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from trivium.core.processes import die_with_parent

# Of a machine that does other work too: all times that a test waits for are multiplied by it.
PATIENCE = float(os.environ.get("TRIVIUM_TEST_PATIENCE", "1"))
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
# Debian has the daemons in /usr/sbin, which is not on everybody's PATH.
PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
MISSING = [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]
# cred_expire is what a job that is queued again waits for: two minutes by default, and below 5. KillWait lies between
# SIGTERM and SIGKILL, GraceTime between the SIGTERM of a preemption and that. There is no accounting. The node has more
# CPUs than the machine may have, so that jobs run side by side.
_CONFIG = """
ClusterName=trivium
SlurmctldHost={node}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={daemon_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
MpiDefault=none
ReturnToService=1
KillWait=5
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SchedulerParameters=batch_sched_delay=1,sched_interval=2
NodeName={node} NodeAddr=127.0.0.1 CPUs=4 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=20
PartitionName=urgent Nodes=ALL Default=NO MaxTime=INFINITE State=UP PriorityTier=9
"""


@dataclass
class Slurm:
    """Starts and stops the daemons, and asks them. folder: of the configuration, logs and state."""

    folder: Path
    _processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def node(self) -> str:
        return socket.gethostname()

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a user's shell on this cluster."""
        return {**os.environ, "PATH": PATH, "SLURM_CONF": str(self.folder / "slurm.conf")}

    def start(self) -> None:
        for name in ("state", "spool"):
            (self.folder / name).mkdir(parents=True)
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(1024))
        ports = {"controller_port": free_port(), "daemon_port": free_port()}
        text = _CONFIG.format(folder=self.folder, node=self.node, user=getpass.getuser(), **ports)
        (self.folder / "slurm.conf").write_text(text)
        words = (f"{option}={self.folder}/munge.{option[2:].partition('-')[0]}" for option in _MUNGE_FILES)
        # --force: a folder of tests is closed to others, whom munged would serve too.
        self._start("munged", "--force", "--foreground", *words)
        until((self.folder / "munge.socket").exists, 10, "munged")
        self.start_controller()
        self._start("slurmd", "-D")
        until(lambda: "idle" in self.ask("sinfo", "--noheader", "--format=%T"), 30, "slurmd")

    def start_controller(self) -> None:
        self._start("slurmctld", "-D")
        until(lambda: "UP" in self.ask("scontrol", "ping"), 30, "slurmctld")

    def stop_controller(self) -> None:
        self._stop("slurmctld")

    def stop(self) -> None:
        """Ends all jobs, then the daemons."""
        self.ask("scancel", f"--user={getpass.getuser()}", "--signal=KILL", "--full")
        self.ask("scancel", f"--user={getpass.getuser()}")
        with suppress(AssertionError):
            until(lambda: not self.ask("squeue", "--noheader").strip(), 15, "the queue's end")
        for name in ("slurmd", "slurmctld", "munged"):
            self._stop(name)

    def ask(self, *words: str) -> str:
        """What a command of SLURM prints; "" while SLURM does not answer."""
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True, check=False, timeout=240)
        return done.stdout if done.returncode == 0 else ""

    def jobs(self, *states: str) -> list[str]:
        """The ids of jobs in these states, such as "17" and "18_0"."""
        lines = self.ask("squeue", "--array", "--noheader", "--states=all", "--format=%i|%T").split()
        return [line.partition("|")[0] for line in lines if line.partition("|")[2] in states]

    def _start(self, name: str, *options: str) -> None:
        program = shutil.which(name, path=PATH)
        assert program is not None
        with (self.folder / f"{name}.log").open("ab") as log:
            # Ctrl-C in pytest's terminal leaves it to `stop`; with a pytest that is killed it ends at once.
            options_of_daemon = {"start_new_session": True, "preexec_fn": die_with_parent}
            self._processes[name] = subprocess.Popen(
                [program, *options], env=self.environment, stdout=log, stderr=log, **options_of_daemon
            )

    def _stop(self, name: str) -> None:
        process = self._processes.pop(name, None)
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


_MUNGE_FILES = ("--key-file", "--socket", "--pid-file", "--log-file", "--seed-file")


@contextmanager
def running(folder: Path) -> Iterator[Slurm]:
    """A SLURM in `folder`, for as long as the block lasts."""
    slurm = Slurm(folder)
    try:
        slurm.start()
        yield slurm
    finally:
        slurm.stop()


def until(is_true: Callable[[], object], seconds: float, what: str) -> None:
    """Waits until something is true. Raises AssertionError, naming it, if it is not after so many seconds."""
    end = time.monotonic() + seconds * PATIENCE
    while not is_true():
        assert time.monotonic() < end, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
