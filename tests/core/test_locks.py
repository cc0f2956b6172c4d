"""Who has a lock, who merely looks, and whose file is not there any more."""

import errno
import fcntl
import os
import time
from multiprocessing import get_context
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from trivium.core.locks import alone, is_taken, refuse_without_locks, take


def _keep(path: Path, said: Path) -> None:
    lock = take(path)
    assert lock is not None
    said.touch()
    time.sleep(600)


def test_a_lock_is_one_process_s_until_that_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "lock"
    assert not is_taken(path)
    process = get_context("fork").Process(target=_keep, args=(path, tmp_path / "said"))
    process.start()
    while not (tmp_path / "said").exists():
        time.sleep(0.01)
    assert is_taken(path)
    assert take(path, wait=0.0) is None
    process.kill()
    process.join()
    assert not is_taken(path)
    lock = take(path, wait=0.0)
    assert lock is not None
    assert is_taken(path)
    lock.close()
    assert not is_taken(path)


def test_who_looks_keeps_nobody_from_working(tmp_path: Path) -> None:
    """A look holds the lock, however briefly: a run that starts just then is not refused."""
    path = tmp_path / "lock"
    with path.open("ab") as look:
        fcntl.flock(look, fcntl.LOCK_SH)
        assert take(path, wait=0.0) is None
        Thread(target=lambda: (time.sleep(0.05), look.close())).start()
        lock = take(path, wait=60.0)
    assert lock is not None
    lock.close()


def test_two_who_look_do_not_take_each_other_for_one_who_works(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with path.open("ab") as look:
        fcntl.flock(look, fcntl.LOCK_SH)
        assert not is_taken(path)


def test_the_lock_of_a_file_that_was_removed_is_none(tmp_path: Path) -> None:
    """A refused run takes its folder back while another process waits for its lock."""
    path = tmp_path / "run" / "lock"
    first = take(path)
    assert first is not None
    found = []
    waiting = Thread(target=lambda: found.append(take(path, wait=60.0)))
    waiting.start()
    time.sleep(0.1)  # it has the file open by now; if not, the test passes for less
    path.unlink()
    path.parent.rmdir()
    first.close()
    waiting.join()
    assert found[0] is not None
    assert os.path.samestat(path.stat(), os.fstat(found[0].fileno()))
    assert is_taken(path)
    found[0].close()


def test_what_is_done_alone_is_waited_for(tmp_path: Path) -> None:
    path, done = tmp_path / "lock", []

    def second() -> None:
        with alone(path):
            done.append("second")

    with alone(path):
        waiting = Thread(target=second)
        waiting.start()
        time.sleep(0.1)
        done.append("first")
    waiting.join()
    assert done == ["first", "second"]


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_without_locks_it_warns_and_goes_on_or_is_refused(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)
    path = tmp_path / "run" / ".lock"
    with pytest.warns(UserWarning, match=rf"{path.parent}: its file system grants no locks"):
        file = take(path)
    assert file is not None
    file.close()
    assert not is_taken(path)
    with pytest.warns(UserWarning, match="grants no locks"), alone(path):
        pass
    with pytest.raises(ValueError, match=rf"{path.parent}: its file system grants no locks \(flock\), and trials mix"):
        refuse_without_locks(path, "trials mix")


@pytest.mark.timeout(20)
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_something_else_in_the_place_of_a_lock_is_named_and_not_waited_for(make: Any, tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    make(path)
    for look in (take, is_taken):
        with pytest.raises(ValueError, match=r"\.lock: expected a file that is locked"):
            look(path)
    with pytest.raises(ValueError, match=r"\.lock: expected a file"), alone(path):
        pass
