"""A SLURM of one machine: sbatch, srun and squeue as scripts first on PATH, and a thread that runs what was submitted.

Array tasks run one after the other, each in a process that has torch already, started in `elsewhere`, as a cluster may.
"""

from __future__ import annotations

import os
import re
import runpy
import shlex
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import driver

_SBATCH = r"""#!/bin/sh
number=$(( $(ls {queue} | grep -c sh$) + 101 ))
echo "$PWD $*" > {queue}/$number.arguments
for task in $(sed -n 's/^#SBATCH --array=0-\([0-9]*\).*/\1/p' "$1" | xargs -r seq 0); do
    echo "${{number}}_$task|PENDING" > {queue}/${{number}}_$task.state
done
echo "$number|PENDING" > {queue}/$number.state
cp "$1" {queue}/$number.part && mv {queue}/$number.part {queue}/$number.sh
echo "Submitted batch job $number"
"""
_SQUEUE = """#!/bin/sh
cat {queue}/*.state 2>/dev/null || true
"""


@dataclass
class FakeSlurm:
    """kill: array task -> where its process dies, as driver.run has it. scripts: what was submitted."""

    folder: Path
    kill: Mapping[int, tuple[str, int]] = field(default_factory=dict)
    scripts: list[str] = field(default_factory=list)

    @property
    def path(self) -> str:
        """PATH with its commands first."""
        return f"{self.folder / 'bin'}:{os.environ['PATH']}"

    @property
    def elsewhere(self) -> Path:
        """Where tasks start."""
        return self.folder / "elsewhere"

    @contextmanager
    def serving(self) -> Iterator[None]:
        queue = self.folder / "queue"
        for part in (queue, self.folder / "bin", self.elsewhere):
            part.mkdir()
        for name, text in {"sbatch": _SBATCH, "squeue": _SQUEUE, "srun": "#!/bin/sh\nexit 1\n"}.items():
            script = self.folder / "bin" / name
            script.write_text(text.format(queue=queue))
            script.chmod(0o755)
        over = threading.Event()
        thread = threading.Thread(target=self._serve, args=(queue, over))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _serve(self, queue: Path, over: threading.Event) -> None:
        done = set()
        while not over.wait(0.1):
            for script in sorted({*queue.glob("*.sh")} - done):
                done.add(script)
                self.scripts.append(script.read_text())
                self._run(script)

    def _run(self, script: Path) -> None:
        text, job = script.read_text(), script.stem
        array = re.search(r"^#SBATCH --array=0-(\d+)", text, re.MULTILINE)
        for task in range(int(array[1]) + 1 if array else 1):
            name = f"{job}_{task}" if array else job
            state = script.with_name(f"{name}.state")
            state.write_text(f"{name}|RUNNING\n")
            environment = {
                "SLURM_JOB_ID": f"{job}{task}" if array else job,
                "SLURM_JOB_NODELIST": "here",
                "SLURM_JOB_NAME": "train",
                **{f"SLURM_{word}": "0" for word in ("PROCID", "LOCALID", "NODEID", "RESTART_COUNT")},
                **{f"SLURM_{word}": "1" for word in ("NTASKS", "STEP_NUM_TASKS", "JOB_NUM_NODES", "NNODES")},
                **({"SLURM_ARRAY_JOB_ID": job, "SLURM_ARRAY_TASK_ID": str(task)} if array else {}),
            }
            code = driver.spawn(_task, text, environment, self.elsewhere, self.kill.get(task))
            state.write_text(f"{name}|{'FAILED' if code else 'COMPLETED'}\n")


def _task(script: str, environment: dict[str, str], start: Path, kill: tuple[str, int] | None) -> None:
    """The script's last lines: what it exports, then srun and a Python module."""
    *_, exported, line = script.strip().splitlines()
    name, _, value = exported.removeprefix("export ").partition("=")
    os.environ |= {**environment, name: value}
    words = shlex.split(line)
    options = {key: words[words.index(key) + 1] for key in ("--output", "--error")}
    python, unbuffered, flag, module, *arguments = words[words.index("--error") + 2 :]
    assert (words[0], python, unbuffered, flag) == ("srun", sys.executable, "-u", "-m")
    for number, path in ((1, options["--output"]), (2, options["--error"])):
        for sign, key in (("%A", "ARRAY_JOB_ID"), ("%a", "ARRAY_TASK_ID"), ("%j", "JOB_ID"), ("%t", "PROCID")):
            path = path.replace(sign, environment.get(f"SLURM_{key}", ""))
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.chdir(start)
    sys.argv = [module, *arguments]
    if kill is not None:
        driver._arrange_death(*kill)
    runpy.run_module(module, run_name="__main__")
