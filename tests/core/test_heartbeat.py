"""A rank that is not heard of ends the others within seconds, and one that has left does not."""

from __future__ import annotations

import os
import signal
import socket
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch.distributed as dist

import driver
from trivium.core import heartbeat as module
from trivium.core.heartbeat import heartbeat

SECONDS = 3.0


def start(folder: Path, case: str) -> list[BaseProcess]:
    """Starts two ranks that are in a heartbeat, and returns when both are."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [driver._start(_rank, number, port, folder, case) for number in (0, 1)]
    while len(list(folder.glob("*.ready"))) < 2:
        time.sleep(0.05)
    return processes


def _rank(number: int, port: int, folder: Path, case: str) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(number), "WORLD_SIZE": "2"}
    module.EVERY = 0.5
    dist.init_process_group("gloo")

    def last_words(reason: str) -> None:
        (folder / f"{number}.words").write_text(reason)

    for _ in range(2):
        with heartbeat(SECONDS, last_words):
            (folder / f"{number}.ready").touch()
            if case == "leaves" and number == 0:
                time.sleep(SECONDS + 2)
            elif case == "silent":
                # As a step does, which no exception reaches.
                dist.barrier()
                time.sleep(60)
        dist.barrier()
    dist.destroy_process_group()


def test_a_rank_that_is_not_heard_of_ends_the_other(tmp_path: Path) -> None:
    """A stopped process keeps its connections, as a machine behind a broken link does."""
    first, second = start(tmp_path, "silent")
    assert second.pid is not None
    os.kill(second.pid, signal.SIGSTOP)
    began = time.monotonic()
    assert driver._exit_code(first) == 1
    assert time.monotonic() - began < 20
    expected = "nothing was heard of rank 1 for 3 s: its machine or the network between is gone"
    assert (tmp_path / "0.words").read_text() == expected
    second.kill()
    second.join()


def test_a_rank_that_has_left_is_not_waited_for_and_the_next_run_is_watched_again(tmp_path: Path) -> None:
    assert [driver._exit_code(process) for process in start(tmp_path, "leaves")] == [0, 0]
    assert not list(tmp_path.glob("*.words"))
