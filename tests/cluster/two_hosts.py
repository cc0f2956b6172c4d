"""Two hosts on one machine: network namespaces that a pair of virtual interfaces joins. Needs root and iproute2."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

IP = shutil.which("ip", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
INTERFACE = "veth0"
_ADDRESSES = ("10.213.77.1", "10.213.77.2")


@dataclass(frozen=True)
class TwoHosts:
    """The names of two network namespaces. Each has one interface, INTERFACE, beside its loopback."""

    names: tuple[str, str]

    def address(self, host: int) -> str:
        """A host's address, as both see it."""
        return _ADDRESSES[host]

    def on(self, host: int) -> tuple[str, ...]:
        """The words that run a command on a host."""
        return (str(IP), "netns", "exec", self.names[host])

    def set_link(self, state: str) -> None:
        """Takes the link "down", or "up" again."""
        _ip("-n", self.names[0], "link", "set", INTERFACE, state)


def refusal() -> str:
    """Why there are no network namespaces here, or ""."""
    if IP is None:
        return "no program ip here: `make cluster-test` installs Debian's package iproute2"
    name = f"trivium_try_{os.getpid()}"
    done = subprocess.run([IP, "netns", "add", name], capture_output=True, text=True, check=False)
    if done.returncode:
        return f"network namespaces are not allowed here: {done.stderr.strip()}"
    _ip("netns", "delete", name)
    return ""


@contextmanager
def joined() -> Iterator[TwoHosts]:
    """Two hosts, for as long as the block lasts."""
    hosts = TwoHosts((f"trivium_a_{os.getpid()}", f"trivium_b_{os.getpid()}"))
    first, second = hosts.names
    try:
        for name in hosts.names:
            _ip("netns", "add", name)
        _ip("-n", first, "link", "add", INTERFACE, "type", "veth", "peer", "name", INTERFACE, "netns", second)
        for name, address in zip(hosts.names, _ADDRESSES, strict=True):
            _ip("-n", name, "address", "add", f"{address}/24", "dev", INTERFACE)
            for interface in ("lo", INTERFACE):
                _ip("-n", name, "link", "set", interface, "up")
        yield hosts
    finally:
        for name in hosts.names:
            subprocess.run([str(IP), "netns", "delete", name], capture_output=True, check=False)


def _ip(*words: str) -> None:
    subprocess.run([str(IP), *words], check=True, capture_output=True)
