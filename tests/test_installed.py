"""The package without its checkout: built, installed in an environment of its own, and used in an empty folder."""

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from driver import ROOT
from test_short_way import RUNNER, mine

FAST = "trainer.max_epochs=1 trainer.limit_batches=2 trainer.accelerator=cpu trainer.threads=1 trainer.progress=off"
MINE = {
    "mine.py": (
        "from trivium.methods.supervised import Supervised\n\n\n"
        "class Mine(Supervised):\n"
        '    """Supervised training under a name of its own."""\n'
    ),
    "conf/method/mine.yaml": (
        "# @package _global_\n"
        "# Supervised training under another name\n"
        "defaults:\n  - supervised\n  - _self_\n"
        "method:\n  _target_: mine.Mine\n  name: mine\n"
    ),
    "conf/table/tiny.yaml": (
        "# Two methods\ntitle: Two methods\nbaseline: Supervised\nseeds: 2\ndatasets: [fixture]\n"
        f"overrides: [{', '.join(FAST.split())}]\n"
        "measures: [{name: MAE, metric: mae}]\n"
        "rows:\n"
        "  - {label: Supervised, overrides: [method=supervised]}\n"
        "  - {label: Self-MI, overrides: [method=selfmi]}\n"
    ),
}


# After the commands, in their process: which package it was, and its runs from Python.
FROM_PYTHON = """
import trivium
run = trivium.load_run("outputs/runs/mine", trust=["mine"])
print(trivium.__file__, len(trivium.results("outputs")), run.evaluate("test")["mae"])
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the source distribution, which is built from what git would commit."""
    place = tmp_path_factory.mktemp("build")
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode:
        pytest.skip("not a git checkout, which says what belongs to the project")
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file() and not name.startswith("tests/"):
            (place / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            (place / "source" / name).write_bytes((ROOT / name).read_bytes())
    build = "import setuptools.build_meta as b, sys; b.build_sdist(sys.argv[1])"
    quiet = {"cwd": place / "source", "capture_output": True, "text": True, "check": True}
    subprocess.run([sys.executable, "-c", build, str(place)], **quiet)
    (source,) = place.glob("*.tar.gz")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", str(place), str(source)], **quiet)
    with tarfile.open(source) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert {"configs/train.yaml", "train.py", "scripts/prepare.py", "README.md", "LICENSE"} <= inside
    (built,) = place.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def place(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder beside an environment that has the wheel; the other libraries are this environment's."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    python = folder / "venv" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python), "install", "--no-deps"]
    subprocess.run([*pip, "--quiet", str(wheel)], check=True)
    (libraries,) = (folder / "venv").glob("lib/python*/site-packages")
    # Behind its own, so that an editable install of trivium among them is not seen.
    (libraries / "others.pth").write_text(sysconfig.get_path("purelib"))
    (folder / "work").mkdir()
    return folder


def typed(place: Path, *words: str, **environment: str) -> str:
    """Returns what `trivium WORDS` prints in the empty folder. It must succeed."""
    done = subprocess.run(
        [str(place / "venv" / "bin" / "trivium"), *words], cwd=place / "work", env=environment_of(place) | environment,
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, (words, done.stdout[-2000:], done.stderr[-4000:])
    return done.stdout + done.stderr


def environment_of(place: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "OMP_NUM_THREADS") if name in os.environ}
    return kept | {"VIRTUAL_ENV": str(place / "venv")}


def test_the_wheel_has_all_configs_and_the_mark_of_types(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    configs = {f"trivium/{file.relative_to(ROOT).as_posix()}" for file in (ROOT / "configs").rglob("*.yaml")}
    assert configs <= names
    assert {"trivium/py.typed", "trivium/report/page/page.html", "trivium/data/feature_sets.yaml"} <= names
    assert "trivium/tables/published_results.yaml" in names
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/"))]


@pytest.mark.timeout(600)
def test_every_verb_works_in_an_empty_folder(place: Path) -> None:
    work = place / "work"
    for name, text in MINE.items():
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text(text)
    mine(work / "mine.pkl")
    assert "  evaluate   " in typed(place, "--help")
    typed(place, "train", *FAST.split(), "run.dir=outputs/runs/first")
    assert (work / "data").is_dir()
    commands = {
        "help": "trivium train --help",
        "grid": f"trivium train -m method=supervised,selfmi hydra.sweep.dir=outputs/sweeps/two {FAST}",
        "search": f"trivium train -m sweep=supervised hydra.sweeper.n_trials=2 {FAST}",
        "prepare": "trivium prepare data=custom source=mine.pkl",
        "prepared": f"trivium train data=custom run.dir=outputs/custom {FAST}",
        "evaluate": "trivium evaluate run=outputs/runs/first modalities=text",
        "reproduce": "trivium reproduce table=tiny jobs=2 paths.outputs=outputs --config-dir conf",
        "report": "trivium report outputs/runs/first outputs/sweeps/two map=none",
        "own": f"trivium train method=mine trust=[mine] --config-dir conf run.dir=outputs/runs/mine {FAST}",
    }
    script = RUNNER + FROM_PYTHON
    done = subprocess.run(
        [str(place / "venv" / "bin" / "python"), "-c", script], cwd=work, env=environment_of(place), text=True,
        input=json.dumps({name: line.split() for name, line in commands.items()}), capture_output=True, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    said = json.loads((work / "said.json").read_text())
    assert [(name, printed) for name, (code, printed) in said.items() if code] == []
    assert "method=supervised" in said["help"][1]
    finished = [json.loads(file.read_text())["method"] for file in (work / "outputs").rglob("result.json")]
    # a run, one on prepared data, a grid of two, two trials, one of one's own, and of a table's two rows and two seeds
    # the second, as it finds the first of both again
    assert sorted(finished) == ["mine", *2 * ["selfmi"], *6 * ["supervised"]]
    assert (work / "outputs" / "runs" / "first" / "report.html").is_file()
    assert "Self-MI" in (work / "outputs" / "tables" / "tiny" / "table.md").read_text()
    file, lines, mae = done.stdout.split()[-3:]
    assert file.startswith(str(place / "venv"))
    assert int(lines) > 0
    assert float(mae) > 0


def test_a_store_is_prepared_where_trivium_data_says(place: Path) -> None:
    mine(place / "work" / "other.pkl")
    typed(place, "prepare", "data=custom", "source=other.pkl", TRIVIUM_DATA=str(place / "stores"))
    assert (place / "stores" / "custom" / "other.h5").is_file()
