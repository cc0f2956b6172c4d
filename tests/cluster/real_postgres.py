"""A real PostgreSQL on loopback, in a folder of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from real_slurm import free_port, until

# Debian has a server's programs under its version alone; the newest comes last.
_FOLDERS = [*map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), os.environ["PATH"]]
INITDB, POSTGRES = (shutil.which(name, path=":".join(_FOLDERS)) for name in ("initdb", "postgres"))


class Postgres:
    """A server whose data lie in `folder`; root starts it as the user postgres, as it refuses root."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._as_user: list[str] = []
        if os.getuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(folder, user.pw_uid, user.pw_gid)
            self._as_user = [
                "setpriv",
                f"--reuid={user.pw_uid}",
                f"--regid={user.pw_gid}",
                "--clear-groups",
                "--pdeathsig=INT",
            ]
        words = [str(INITDB), "--pgdata", str(folder / "data"), "--username=trivium", "--auth=trust"]
        subprocess.run([*self._as_user, *words], check=True, capture_output=True, cwd=folder)

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://trivium@127.0.0.1:{self._port}/postgres"

    def start(self) -> None:
        words = [str(POSTGRES), "-D", str(self._folder / "data"), "-p", str(self._port), "-k", ""]
        words += ["-c", "listen_addresses=127.0.0.1"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._as_user, *words], cwd=self._folder, stdout=log, stderr=log, start_new_session=True
            )
        until(self._answers, 60, "PostgreSQL")

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT ends its connections and stops; SIGQUIT stops as a crash would."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(timeout=60)
            self._process = None

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "log").read_text()
        # After a stop like a crash it listens before it lets anyone in.
        try:
            psycopg.connect(self.url.replace("+psycopg", ""), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True


@contextmanager
def running(folder: Path) -> Iterator[Postgres]:
    """A server in `folder`, for as long as the block lasts."""
    postgres = Postgres(folder)
    try:
        postgres.start()
        yield postgres
    finally:
        postgres.stop()
