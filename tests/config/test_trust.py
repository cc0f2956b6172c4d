"""Which modules may build objects from a config, and who may say so."""

import subprocess
import sys
from pathlib import Path

import pytest

from driver import ROOT
from trivium.config import config_folder
from trivium.config.check import problems_of
from trivium.config.trust import is_trusted, trust


def test_a_module_is_trusted_by_name_with_all_that_lies_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert not is_trusted("mine.parts.Conv")
    trust(["mine"])
    assert is_trusted("mine.parts.Conv")
    assert is_trusted("mine.Conv")
    assert not is_trusted("minexyz.Conv")
    assert not is_trusted("os.system")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("os", "'os' cannot be chosen; expected a module of your own"),
        ("builtins", "'builtins' cannot be chosen"),
        ("trivium", "'trivium' cannot be chosen"),
        ("no_such_module", "there is no module 'no_such_module' on the Python path or in "),
        ("a b", "'a b' is no module's name; expected such as mine, or mine.parts"),
        ("", "'' is no module's name"),
    ],
)
def test_a_name_that_cannot_be_trusted_is_told_before_torch(name: str, told: str) -> None:
    with pytest.raises(ValueError, match="trust: ") as refused:
        trust([name])
    assert told in str(refused.value)
    assert [told in problem for problem in problems_of([f"trust=['{name}']"])] == [True]


@pytest.mark.parametrize("text", ["trust: mine", "- mine", "trust: [mine]\nmore: 1", "trust: [1]", "trust: ["])
def test_a_damaged_file_of_trusted_modules_is_named(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "trivium.yaml").write_text(text)
    monkeypatch.setenv(config_folder.VARIABLE, str(tmp_path))
    with pytest.raises(ValueError, match=r"trivium\.yaml: (expected the key trust|cannot be read)"):
        is_trusted("mine.Conv")


def test_an_installed_plugin_brings_its_parts_and_configs(tmp_path: Path) -> None:
    """As pip would lay it down: a package, its configs, and the metadata with the entry point."""
    files = {
        "plugged/__init__.py": "from trivium.encoders.identity import Identity\n\n\nclass Same(Identity):\n    pass\n",
        "plugged/configs/encoder/same.yaml": "# The features as they are\n_target_: plugged.Same\n",
        "plugged-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: plugged\nVersion: 1.0\n",
        "plugged-1.0.dist-info/entry_points.txt": "[trivium.plugins]\nplugged = plugged\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    identity = (ROOT / "configs/encoder/identity.yaml").read_text().splitlines()
    keys = [line for line in identity if not line.startswith(("#", "_target_"))]
    (tmp_path / "plugged/configs/encoder/same.yaml").write_text(
        "\n".join([files["plugged/configs/encoder/same.yaml"], *keys])
    )
    done = subprocess.run(
        [sys.executable, "-m", "trivium", "train", "encoder=same", "trainer.max_epochs=1", "trainer.limit_batches=1"],
        cwd=tmp_path, env={"PYTHONPATH": f"{ROOT / 'src'}:{tmp_path}"}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "outputs" / "runs").iterdir()
    assert "plugged.Same" in (run / "config.yaml").read_text()
