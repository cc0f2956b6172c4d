"""Who may import whom: every package stands on one of the house's floors, tensors know no configs, and Hydra stays at
the edge.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "trivium"

# From bottom to top: a module may import its own floor and those below it.
# docs/architecture.md draws the house.
FLOORS = (
    "core",
    "config",
    "data",
    "encoders",
    "fusions",
    "objectives",
    "methods",
    "evaluation",
    "runs",
    "results",
    "search",
    "report",
    "tables",
    "loggers",
    "cli",
)
FACE = "__init__.py"  # gives load_run and open_store of any floor, so it stands above all

# Modules that lie directly in the house, as configs of old runs name them (_target_), and where they belong.
PLACED = {"optimizers": "methods", "schedulers": "methods", "__main__": "cli"}

TENSORS_ONLY = ("objectives", "fusions", "encoders")
NO_TENSOR = ("lightning", "hydra", "omegaconf", "h5py", "pytorch_lightning")
EDGE = ("hydra", "omegaconf")
NO_HYDRA = FLOORS[FLOORS.index("data") : FLOORS.index("search") + 1]


def imports(file: Path) -> set[str]:
    """Returns every module that a file imports, wherever in it, as a dotted name; of `from a import b` also a.b."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import"
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def files(part: str) -> list[Path]:
    return sorted((SOURCE / part).rglob("*.py"))


def offenders(part: str, forbidden: tuple[str, ...]) -> list[str]:
    return [
        f"{file.relative_to(SOURCE)} imports {name}"
        for file in files(part)
        for name in sorted(imports(file))
        if any(name == f or name.startswith(f"{f}.") for f in forbidden)
    ]


def floor_of(name: str, source: Path) -> str:
    """Returns the floor of a package or module directly in the house; "" where the house has none of the name."""
    if (source / name).is_dir():
        return name
    return PLACED.get(name, "") if (source / f"{name}.py").is_file() else ""


def wrong_way(source: Path) -> set[str]:
    """Returns a line for each file and package above its floor that it imports, and for each package on no floor."""
    wrong = set()
    for file in source.rglob("*.py"):
        path = file.relative_to(source)
        if path.as_posix() == FACE:
            continue
        floor = floor_of(path.parts[0].removesuffix(".py"), source)
        if floor not in FLOORS:
            wrong.add(f"{path.parts[0]} is on no floor")
            continue
        for name in {name.split(".")[1] for name in imports(file) if name.startswith("trivium.")}:
            other = floor_of(name, source)
            if other not in FLOORS or FLOORS.index(other) > FLOORS.index(floor):
                wrong.add(f"{path.as_posix()} imports trivium.{name}")
    return wrong


def test_every_import_of_the_house_leads_down() -> None:
    assert wrong_way(SOURCE) == set()


@pytest.mark.parametrize(
    ("file", "line", "told"),
    [
        ("data/store.py", "import trivium.config.check, trivium.core.files", []),
        ("config/check.py", "from trivium.config import compose", []),
        ("cli/train.py", "from trivium.runs.train import train", []),
        ("core/seeding.py", "import trivium", []),
        ("core/files.py", "from trivium.config.check import check", ["core/files.py imports trivium.config"]),
        ("optimizers.py", "from trivium.runs.train import train", ["optimizers.py imports trivium.runs"]),
        ("spare.py", "", ["spare.py is on no floor"]),
        ("config/check.py", "from trivium import data", ["config/check.py imports trivium.data"]),
        ("data/formats/csd.py", "import trivium.methods.base as m", ["data/formats/csd.py imports trivium.methods"]),
        ("runs/train.py", "def f():\n    from trivium.search.a import b", ["runs/train.py imports trivium.search"]),
        ("runs/load.py", "from trivium import load_run", ["runs/load.py imports trivium.load_run"]),
        ("search/__init__.py", "from trivium.loggers import wandb", ["search/__init__.py imports trivium.loggers"]),
        ("tables/a.py", "from trivium.cli import train", ["tables/a.py imports trivium.cli"]),
        ("attic/old.py", "", ["attic is on no floor"]),
    ],
)
def test_an_import_the_wrong_way_is_found_anywhere(tmp_path: Path, file: str, line: str, told: list[str]) -> None:
    for name in FLOORS:
        (tmp_path / name).mkdir()
    for path in ("core/files.py", file):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("")
    (tmp_path / "__init__.py").write_text("from trivium.runs.load import load_run")
    (tmp_path / file).write_text(line)
    assert sorted(wrong_way(tmp_path)) == told


@pytest.mark.parametrize("part", TENSORS_ONLY)
def test_what_knows_tensors_knows_neither_configs_nor_files(part: str) -> None:
    assert offenders(part, (*NO_TENSOR, "trivium.config", "trivium.core.files")) == []
    # A Stream and a Batch are tensors, and a target is described in plain values.
    plain = ("trivium.data.batch", "trivium.data.target", "trivium.data.score_classes")
    stored = [line for line in offenders(part, ("trivium.data",)) if not any(name in line for name in plain)]
    assert stored == []


def test_losses_are_functions_on_tensors() -> None:
    assert offenders("objectives", ("trivium.encoders", "trivium.fusions")) == []


def test_hydra_stays_at_the_edge() -> None:
    assert offenders("config", EDGE)  # else this test looks for the wrong thing
    everywhere = offenders(".", EDGE)
    assert [line for line in everywhere if not line.startswith(("config/", "cli/train.py", "../hydra_plugins/"))] == []
    assert any(line.startswith("cli/train.py") for line in everywhere)


def test_a_run_loads_without_the_part_of_config_that_needs_hydra() -> None:
    """Outside config/, only its plain modules are imported."""
    needs_hydra = tuple(
        f"trivium.config.{file.stem}"
        for file in files("config")
        if any(name.startswith(EDGE) for name in imports(file))
    )
    assert "trivium.config.compose" in needs_hydra
    assert [line for part in NO_HYDRA for line in offenders(part, needs_hydra)] == []


MAPS = {
    file.parent: doc
    for file in SOURCE.rglob("__init__.py")
    if "\n" in (doc := ast.get_docstring(ast.parse(file.read_text())) or "") and file.parent != SOURCE
}


@pytest.mark.parametrize("package", MAPS, ids=lambda package: package.name)
def test_a_package_s_map_has_its_modules_and_no_others(package: Path) -> None:
    modules = {file.stem for file in package.glob("*.py")} - {"__init__"}
    assert modules - set(re.findall(r"\w+", MAPS[package])) == set()
    assert set(re.findall(r"^(\w+)  +\S", MAPS[package], flags=re.MULTILINE)) <= modules


def test_import_trivium_is_light() -> None:
    code = (
        "import sys, trivium; print([m for m in ('torch', 'hydra', 'numpy', 'h5py', 'lightning') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
