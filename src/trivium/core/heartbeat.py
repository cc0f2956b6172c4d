"""Notices within seconds that another rank's machine is gone, or the network between, and ends this process.

A collective operation would wait for half an hour (gloo) or ten minutes (NCCL). These limits cannot be short: while one
rank writes a checkpoint, or waits for a slow disk, the others wait in such an operation. A thread that beats does not.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

from torch.distributed import TCPStore  # type: ignore[attr-defined]

from trivium.core.distributed import rank, world

# Seconds between two beats.
EVERY = 2.0
# A rank's count of beats once it has left.
_LEFT = 10**12
# Numbers the blocks of this process, as the runs of a sweep share the ranks' store.
_blocks = itertools.count()


@contextmanager
def heartbeat(seconds: float, last_words: Callable[[str], None]) -> Iterator[None]:
    """Ends this process with exit code 1, while the block lasts, when another rank is not heard of for so many seconds.

    The first rank listens to all others, and they to the first. seconds: 0 waits as long as torch does.
    last_words: called with the reason before the end, from a thread of its own. Does nothing without ranks.
    """
    if world() == 1 or seconds <= 0:
        yield
        return
    # torchrun may have started all ranks again, with the same store.
    name = f"trivium/heartbeat/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}/{next(_blocks)}"
    beat = _Heartbeat(_store(), name, seconds, last_words)
    beat.start()
    try:
        yield
    finally:
        beat.stop()


def _store() -> Any:
    """Returns a connection of its own to the ranks' store, as torch's may be busy."""
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return TCPStore(address, port, is_master=False, timeout=timedelta(seconds=60), wait_for_workers=False)


class _Heartbeat:
    """Counts in the ranks' store. Its first thread beats and listens, and may hang in the network; the second watches.

    The watch counts its own seconds and not the clock's, which goes on while a job is suspended.
    """

    def __init__(self, store: Any, name: str, seconds: float, last_words: Callable[[str], None]) -> None:
        self._store, self._name, self._seconds, self._last_words = store, name, seconds, last_words
        self._rank, self._over, self._tick = rank(), threading.Event(), 0
        others = range(1, world()) if self._rank == 0 else [0]
        self._counts = dict.fromkeys(others, -1)
        # By the watch's seconds.
        self._heard = dict.fromkeys(others, 0)

    def start(self) -> None:
        for work in (self._beat, self._watch):
            threading.Thread(target=work, daemon=True).start()

    def stop(self) -> None:
        """Says to the others that this rank has left, and need not be waited for."""
        self._over.set()
        farewell = threading.Thread(target=self._leave, daemon=True)
        farewell.start()
        # A rank that is alone by now need not wait for the network.
        farewell.join(timeout=EVERY)

    def _leave(self) -> None:
        with suppress(RuntimeError):
            self._store.add(self._key(self._rank), _LEFT)

    def _beat(self) -> None:
        while not self._over.is_set():
            # The store's host may have ended; then it is not heard of.
            with suppress(RuntimeError):
                self._store.add(self._key(self._rank), 1)
                for other, before in self._counts.items():
                    count = self._store.add(self._key(other), 0)
                    if count != before or count >= _LEFT:
                        self._counts[other], self._heard[other] = count, self._tick
            self._over.wait(EVERY)

    def _watch(self) -> None:
        while not self._over.wait(1.0):
            self._tick += 1
            late = [other for other, heard in self._heard.items() if self._tick - heard > self._seconds]
            if silent := [other for other in late if self._counts[other] < _LEFT]:
                self._end(silent)

    def _end(self, silent: list[int]) -> None:
        names = ", ".join(str(other) for other in silent)
        reason = (
            f"nothing was heard of rank {names} for {self._seconds:g} s: its machine or the network between is gone"
        )
        with suppress(Exception):
            self._last_words(reason)
        sys.stdout.flush()
        sys.stderr.flush()
        # The main thread waits in an operation of all ranks, where no exception reaches it.
        os._exit(1)

    def _key(self, rank: int) -> str:
        return f"{self._name}/{rank}"
