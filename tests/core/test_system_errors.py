"""What the system refuses is told with its path and what to do, and asked for before a long computation."""

import errno
import os
from pathlib import Path

import pytest

from trivium.config.arguments import script
from trivium.core.files import atomic_file, write_text
from trivium.core.system_errors import refuse_unwritable, words_of_error


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "your quota is used up"),
        (errno.EACCES, "ask its owner"),
        (errno.EROFS, "can only be read"),
        (errno.EMFILE, "ulimit -n"),
        (errno.EIO, "copy the file again"),
    ],
)
def test_each_refusal_has_path_and_advice(code: int, advice: str, capsys: pytest.CaptureFixture[str]) -> None:
    def fails() -> int:
        raise OSError(code, os.strerror(code), "runs/a")

    assert script(["x"], "", fails) == 2
    line = capsys.readouterr().err
    assert line.startswith(f"error: runs/a: {os.strerror(code)}; ")
    assert advice in line
    assert line.count("\n") == 1


def test_a_full_disk_names_the_file_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path / "a.txt", "before")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught, atomic_file(tmp_path / "a.txt") as file:
        file.write(b"after")
    assert caught.value.filename == str(tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_text() == "before"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_an_error_with_a_path_of_its_own_keeps_it() -> None:
    with pytest.raises(FileNotFoundError) as caught, atomic_file("/nowhere/a/b"):
        pass
    assert words_of_error(caught.value) == "/nowhere/a: No such file or directory"


def test_a_folder_that_cannot_be_written_is_named_with_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_unwritable(tmp_path / "new" / "deep")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ValueError, match=rf"^{tmp_path}: cannot be written into; give another folder with out=DIR"):
        refuse_unwritable(tmp_path / "new" / "deep")
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="file: expected a folder, found a file"):
        refuse_unwritable(tmp_path / "file" / "deep")
