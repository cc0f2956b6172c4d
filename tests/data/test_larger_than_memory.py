"""A store may be larger than the memory: features are mapped, never copied, so that private memory stays bounded."""

import re
import subprocess
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil
import pytest

import driver
from sparse_store import write_sparse_store
from trivium.data.datamodule import DataModule
from trivium.data.store import open_store

# Bytes of private memory that a training or an evaluation may take, whatever the size of the store. Pages of the file
# are the system's cache, which it takes back when it needs them.
MOST_PRIVATE = 1 << 30
WORDS = ["data=mosei", "encoder=identity", "trainer.max_epochs=1", "trainer.progress=off", "trainer.accelerator=cpu"]


def private_bytes(pid: int) -> int:
    """The process's resident memory that no file stands behind, 0 once it has ended."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(re.search(r"Private_Dirty: +(\d+) kB", text)[1]) << 10  # type: ignore[index]


def peak(process: BaseProcess | psutil.Popen, every: float) -> int:
    """Waits for a process, and returns the most private memory that it had at any look."""
    highest = 0
    assert process.pid is not None
    while psutil.pid_exists(process.pid) and psutil.Process(process.pid).status() != "zombie":
        highest = max(highest, private_bytes(process.pid))
        time.sleep(every)
    return highest


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux's accounts of memory")
def test_training_and_evaluating_a_large_store_takes_no_memory_for_it(tmp_path: Path) -> None:
    store = tmp_path / "s.h5"
    size = write_sparse_store(store, 0.08)
    assert size > 600 << 20
    run = tmp_path / "run"
    words = [
        *WORDS,
        f"data.store={store}",
        f"run.dir={run}",
        "data.batch_size=32",
        "data.eval_batch_size=32",
        "trainer.threads=1",
    ]
    argv = [str(driver.ROOT / "train.py"), *words]
    process = driver._start(driver._command, argv, tmp_path, tmp_path / "printed.log", {})
    # A child of the tests' server shares what was imported, so less than the whole is its own.
    highest = peak(process, 0.1)
    print(f"{highest >> 20} MiB private")
    assert 0 < highest < 400 << 20
    assert driver._exit_code(process) == 0, (tmp_path / "printed.log").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems map what they have no memory for, or refuse it")
def test_a_store_larger_than_the_memory_opens_and_gives_a_batch(tmp_path: Path) -> None:
    memory = psutil.virtual_memory().total + psutil.swap_memory().total
    assert write_sparse_store(tmp_path / "s.h5", 1.1 * memory / 8.4e9) > memory
    store = open_store(tmp_path / "s.h5")
    data = DataModule(store, reads=dict.fromkeys(store.schema.dims, "values"), batch_size=4)
    assert next(iter(data.loader("train", training=True))).streams["text"].values.shape == (4, 50, 768)


@pytest.mark.slow  # reads 85 GB of zeros
@pytest.mark.timeout(3000)
def test_ten_times_mosei_trains_and_evaluates_in_a_gibibyte(tmp_path: Path) -> None:
    store, run = tmp_path / "s.h5", tmp_path / "run"
    size = write_sparse_store(store, 10)
    assert size > psutil.virtual_memory().total
    assert store.stat().st_blocks * 512 < size / 100
    train = [str(driver.ROOT / "train.py"), *WORDS, f"data.store={store}", f"run.dir={run}", "data.batch_size=256"]
    evaluate = [str(driver.ROOT / "scripts" / "evaluate.py"), f"run={run}", "splits=test", f"out={tmp_path / 'e'}"]
    for words in (train, evaluate):
        with (tmp_path / "printed.log").open("w") as log:
            process = psutil.Popen([sys.executable, *words], cwd=tmp_path, stdout=log, stderr=subprocess.STDOUT)
            highest = peak(process, 2)
        assert process.wait() == 0, (tmp_path / "printed.log").read_text()
        print(f"{size / 1e9:.0f} GB, {Path(words[0]).name}: {highest >> 20} MiB private")
        assert 0 < highest < MOST_PRIVATE
