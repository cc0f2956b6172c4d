"""A command goes on when nobody reads it, when its output is full, and where the locale has no umlauts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PRINTS = """
import sys
from trivium.core.output import keep_printing
keep_printing()
for n in range(20000):
    print("a line of a training", n)
sys.stdout.flush()
print("done", file=sys.stderr)
"""
NAMES = """
import sys
from trivium.core.output import use_utf8
use_utf8()
open(sys.argv[1], "w").close()
print("\\u250f\\u2501 wrote", sys.argv[1])
"""


def test_a_closed_pipe_ends_no_work() -> None:
    done = subprocess.run(
        ["bash", "-c", f'set -o pipefail; "{sys.executable}" -c "$0" | head -1', PRINTS],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "a line of a training 0\n", "done\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk_for_the_log_ends_no_work() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", PRINTS], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 0
    assert (
        done.stderr
        == "warning: what is printed is lost from here on: No space left on device; the work goes on\ndone\n"
    )


@pytest.mark.parametrize("locale", ["POSIX", "C", "de_DE.ISO-8859-1"])
def test_umlauts_in_paths_and_lines_need_no_locale(locale: str, tmp_path: Path) -> None:
    environment = {**os.environ, "LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    environment.pop("PYTHONIOENCODING", None)
    argv = [sys.executable, "-c", NAMES, str(tmp_path / "größe_漢")]
    done = subprocess.run(argv, env=environment, capture_output=True, check=False)
    assert done.stderr == b""
    assert done.stdout.decode() == f"┏━ wrote {tmp_path / 'größe_漢'}\n"
    assert os.listdir(os.fsencode(tmp_path)) == ["größe_漢".encode()]
