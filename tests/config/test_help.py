"""--help lists every group and choice with a line; what Hydra itself shows goes on working."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from trivium.config.check import check_command_line
from trivium.config.config_folder import CONFIGS
from trivium.config.help import help_text, title

TRAIN = Path(__file__).resolve().parents[2] / "train.py"


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, TRAIN, *arguments], cwd=cwd, capture_output=True, text=True, check=False)


def test_every_choice_has_a_line_of_its_own() -> None:
    lines = help_text().splitlines()
    for file in (f for f in CONFIGS.glob("*/*.yaml") if f.parent.name != "table"):  # which trivium reproduce reads
        assert title(file), f"{file} has no comment line that says what it is"
        wanted = [line for line in lines if line.split() and line.split()[0] == file.stem]
        assert any(line.endswith(title(file)) for line in wanted), file
    root = yaml.safe_load((CONFIGS / "train.yaml").read_text())
    for key in (
        "seed",
        "resume",
        *(f"run.{name}" for name in root["run"]),
        *(f"paths.{name}" for name in root["paths"]),
    ):
        assert f"{key}=" in help_text()


def test_title_skips_the_package_header(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("# @package _global_\n# What it does.\nkey: 1 # not this\n")
    assert title(file) == "What it does"


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_exits_with_0_even_beside_a_mistake(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        check_command_line(["trainer.max_epoch=3", flag])
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith("usage: trivium train")


def test_from_the_prompt(tmp_path: Path) -> None:
    helped = run("--help", cwd=tmp_path)
    assert helped.returncode == 0
    assert "method=supervised" in helped.stdout
    shown = run("method=selfmi", "data=mosi", "--cfg", "job", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert yaml.safe_load(shown.stdout)["method"]["name"] == "selfmi"
    hydra = run("--hydra-help", cwd=tmp_path)
    assert hydra.returncode == 0
    assert "--multirun" in hydra.stdout
    assert list(tmp_path.iterdir()) == []
