"""Who may import whom: data flows one way, tensors know no configs, and Hydra stays at the edge."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "trivium"

# part -> what it must not import: everything to its right, for what stands on the left of the flow
FLOW = {
    "data": ("encoders", "fusions", "objectives", "methods", "evaluation", "runs", "reports", "tables"),
    "encoders": ("fusions", "objectives", "methods", "evaluation", "runs", "reports", "tables"),
    "fusions": ("objectives", "methods", "evaluation", "runs", "reports", "tables"),
    "objectives": ("encoders", "fusions", "methods", "evaluation", "runs", "reports", "tables"),
    "methods": ("evaluation", "runs", "reports", "tables"),
    "evaluation": ("runs", "reports", "tables", "loggers"),
    "runs": ("search", "reports", "tables", "loggers"),
    "search": ("reports", "tables", "loggers"),
    "reports": ("tables", "loggers"),
    "config": ("encoders", "fusions", "objectives", "methods", "evaluation", "runs", "reports", "tables"),
}
TENSORS_ONLY = ("objectives", "fusions", "encoders")
NO_TENSOR = ("lightning", "hydra", "omegaconf", "h5py", "pytorch_lightning")
EDGE = ("hydra", "omegaconf")


def imports(file: Path) -> set[str]:
    """Every module that a file imports, wherever in it, as a dotted name; of `from a import b` also a.b."""
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


@pytest.mark.parametrize("part", FLOW)
def test_data_flows_one_way(part: str) -> None:
    assert files(part)
    assert offenders(part, tuple(f"trivium.{other}" for other in FLOW[part])) == []


@pytest.mark.parametrize("part", TENSORS_ONLY)
def test_what_knows_tensors_knows_neither_configs_nor_files(part: str) -> None:
    assert offenders(part, (*NO_TENSOR, "trivium.config", "trivium.files")) == []
    stored = [line for line in offenders(part, ("trivium.data",)) if "trivium.data.batch" not in line]
    assert stored == []  # a Stream and a Batch are tensors


def test_hydra_stays_at_the_edge() -> None:
    assert offenders("config", EDGE)  # else this test looks for the wrong thing
    everywhere = offenders(".", EDGE)
    assert [line for line in everywhere if not line.startswith(("config/", "../hydra_plugins/"))] == []
    beside = {path.name: imports(path) for path in [ROOT / "train.py", *(ROOT / "scripts").glob("*.py")]}
    assert any(name.startswith("hydra") for name in beside["train.py"])


def test_a_run_loads_without_the_part_of_config_that_needs_hydra() -> None:
    """Outside config/, only its plain modules are imported."""
    needs_hydra = tuple(
        f"trivium.config.{file.stem}"
        for file in files("config")
        if any(name.startswith(EDGE) for name in imports(file))
    )
    assert "trivium.config.compose" in needs_hydra
    assert [line for part in FLOW if part != "config" for line in offenders(part, needs_hydra)] == []


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
