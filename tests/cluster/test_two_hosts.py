"""Training on two hosts, one torchrun each: one process's losses, and what becomes of it when the link is gone."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from real_slurm import PATIENCE, until
from sweeping import RUN, Command, in_the_middle, train
from two_hosts import INTERFACE, TwoHosts, joined, refusal

from driver import record, rows

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900 * PATIENCE)]
EXACT = [
    *RUN,
    "debug=exact",
    "run.log_steps=true",
    "trainer.progress=off",
    "data.batch_size=45",
    "trainer.max_epochs=6",
]


@pytest.fixture(scope="module")
def hosts() -> Iterator[TwoHosts]:
    if reason := refusal():
        pytest.skip(reason)
    with joined() as hosts:
        yield hosts


def on_both(
    hosts: TwoHosts, folder: Path, *arguments: str, rendezvous: str, pause: float = 0.0, log: str = ""
) -> list[Command]:
    """Starts a torchrun on each host, of one process, on a disk that both have."""
    first, commands = hosts.address(0), []
    for host in (0, 1):
        # Both hosts have this machine's name, so that neither would know itself by the address.
        where = [f"--rdzv-conf=is_host={int(host == 0)}", f"--local-addr={hosts.address(host)}"]
        start = {
            "c10d": ["--rdzv-backend=c10d", f"--rdzv-endpoint={first}:29411", "--rdzv-id=7", *where],
            "static": [f"--master-addr={first}", "--master-port=29411"],
        }[rendezvous]
        options = ["--no-python", "--nnodes=2", "--nproc-per-node=1", *start, f"--node-rank={host}"]
        words = (
            *hosts.on(host),
            "env",
            f"GLOO_SOCKET_IFNAME={INTERFACE}",
            sys.executable,
            "-m",
            "torch.distributed.run",
        )
        settings = [*arguments, "trainer.num_nodes=2"]
        commands.append(train(None, folder, *settings, pause=pause, before=(*words, *options), log=f"{log}{host}"))
    return commands


def losses(run: Path) -> list[float]:
    return [float(row["loss"]) for row in rows(run / "steps.csv")]


@pytest.mark.parametrize("rendezvous", ["static", "c10d"])
def test_two_hosts_have_one_process_s_losses_and_outlive_the_link(
    hosts: TwoHosts, tmp_path: Path, rendezvous: str
) -> None:
    one = train(None, tmp_path / "run", *EXACT, f"run.dir={tmp_path / 'one'}", log="one")
    assert one.end() == 0, one.printed
    whole = on_both(
        hosts, tmp_path / "run", *EXACT, f"run.dir={tmp_path / 'whole'}", rendezvous=rendezvous, log="whole"
    )
    assert [command.end() for command in whole] == [0, 0], [command.printed for command in whole]
    assert len(losses(tmp_path / "one")) == 30
    np.testing.assert_allclose(losses(tmp_path / "whole"), losses(tmp_path / "one"), atol=1e-8)
    assert json.loads((tmp_path / "whole" / "result.json").read_text())["world_size"] == 2

    cut = [*EXACT, f"run.dir={tmp_path / 'cut'}", "resume=auto"]
    first = on_both(hosts, tmp_path / "run", *cut, rendezvous=rendezvous, pause=0.5, log="cut")
    in_the_middle(tmp_path / "cut", first[0])
    hosts.set_link("down")
    began = time.monotonic()
    if rendezvous == "c10d":
        # torchrun itself waits for minutes for the store on the other host.
        until(lambda: all("error: " in command.printed for command in first), 60, "the message on both hosts")
        for command in first:
            command.process.kill()
            command.process.wait()
    else:
        assert all(command.end(90) for command in first)
    assert time.monotonic() - began < 60
    for other, command in ((1, first[0]), (0, first[1])):
        lines = [line for line in command.printed.splitlines() if line.startswith("error: ")]
        assert (
            f"error: nothing was heard of rank {other} for 30 s: its machine or the network between is gone" in lines[0]
        )
        assert f"trivium train resume={tmp_path / 'cut'}" in lines[0]
    assert json.loads((tmp_path / "cut" / "run.json").read_text())["status"] == "interrupted"
    hosts.set_link("up")
    second = on_both(hosts, tmp_path / "run", *cut, rendezvous=rendezvous, log="again")
    assert [command.end() for command in second] == [0, 0], [command.printed for command in second]
    assert json.loads((tmp_path / "cut" / "run.json").read_text())["resumed_at"] > [0]
    assert record(tmp_path / "cut") == record(tmp_path / "whole")
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
