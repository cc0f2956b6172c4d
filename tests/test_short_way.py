"""docs/extending.md, literally: its files in an empty folder, its commands there, and what must come of them.

Nothing else is in the folder, so a part that needed a further file, or an edit of the package, would fail here.
"""

import json
import os
import pickle
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import trivium
from driver import ROOT, rows

PAGE = (ROOT / "docs/extending.md").read_text()
# a file's name before its content: `configs/data/gestures.yaml`:
FILES = dict(re.findall(r"`([\w/]+\.(?:py|yaml))`:\n\n```\w+\n(.*?)```", PAGE, flags=re.DOTALL))
BASH = re.findall(r"```bash\n(.*?)```", PAGE, flags=re.DOTALL)
SHORT = ["trainer.max_epochs=1", "trainer.limit_batches=2", "trainer.accelerator=cpu", "trainer.threads=1"]
ADDED = {
    "every encoder": "train encoder=conv --config-dir conf",
    "pairs by forward": "train method=tcmax fusion=product --config-dir conf",
    "pairs by combine": "train method=tcmax fusion=product_by_parts --config-dir conf",
    "names": "train data=gestures method=selfmi method.pairs=[[audio,wrist]] +encoder@encoders.wrist=gru"
    " +data.standardize.wrist=none +optimizer.groups.wrist.lr=1e-2 --config-dir conf",
    "all": "train method=multitask data=gestures encoder=conv fusion=product objective=huber --config-dir conf",
    "two ranks": "train method=multitask trainer=ddp trainer.devices=2 --config-dir conf",
    "sweep": "train -m method=multitask seed=1,2 --config-dir conf hydra.sweep.dir=sweep trainer.max_epochs=1 "
    "trainer.accelerator=cpu trainer.limit_batches=2 hydra/launcher=joblib hydra.launcher.n_jobs=2",
    "misspelt": "train method=multitask method.weihgt=0.2 --config-dir conf",
    "evaluate": "evaluate run=runs/all modalities=wrist --config-dir conf",
    "evaluate by trust": "evaluate run=runs/all modalities=wrist trust=[mine]",
    "evaluate untrusted": "evaluate run=runs/all modalities=wrist",
    "by trust": "train encoder=conv trust=[mine] --config-dir bare",
    "untrusted": "train encoder=conv --config-dir bare",
    "help": "train --help --config-dir conf",
}

# All commands in one process, which imports torch once: [exit code, what was printed] of each.
RUNNER = """
import contextlib, io, json, os, runpy, sys
from trivium.cli.main import main
out = {}
for name, (program, *arguments) in json.load(sys.stdin).items():
    printed, code = io.StringIO(), 0
    for variable in ("TRIVIUM_CONFIG_DIR", "TRIVIUM_TRUST"):
        os.environ.pop(variable, None)
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            if program == "trivium":
                code = main(arguments)
            else:
                sys.argv = arguments
                runpy.run_path(arguments[0], run_name="__main__")
        except SystemExit as end:
            code = end.code or 0
    out[name] = [code, printed.getvalue()]
# not to stdout, where ranks write too
json.dump(out, open("said.json", "w"))
"""


def page_commands() -> list[str]:
    """The page's commands; those that compare two processes are tests/runs' business."""
    lines = [line for block in BASH for line in block.splitlines() if line.startswith(("python ", "trivium "))]
    return [line for line in lines if "debug=exact" not in line]


def commands() -> dict[str, list[str]]:
    """name -> arguments; a training's are shortened, and its run lies in runs/NAME."""
    named = {line: line for line in page_commands()} | {name: f"trivium {line}" for name, line in ADDED.items()}
    return {
        name: shlex.split(line) + ([*SHORT, f"run.dir=runs/{folder(name)}"] if is_training(line) else [])
        for name, line in named.items()
    }


def is_training(line: str) -> bool:
    return line.startswith("trivium train ") and " -m " not in line


def folder(name: str) -> str:
    return re.sub(r"\W+", "_", name)


def product_by_parts() -> str:
    """The page's fusion with `separate` and `combine` in the place of its `forward`."""
    (instead,) = re.findall(r"In place of `forward`:\n\n```python\n(.*?)```", PAGE, flags=re.DOTALL)
    whole = FILES["mine/product.py"]
    indented = "\n".join("    " + line if line else line for line in instead.splitlines())
    return whole[: whole.index("    def forward")] + indented + "\n"


def mine(path: Path) -> None:
    """A file in MMSA's layout, of two modalities, scores in [-2, 2]."""
    rng = np.random.default_rng(0)
    content: dict[str, Any] = {}
    for split, count in {"train": 70, "valid": 20, "test": 24}.items():
        scores = rng.uniform(-2, 2, size=count)
        content[split] = {"id": [f"{split}$_${n}" for n in range(1, count + 1)], "regression_labels": scores}
        for name, dim in {"text": 5, "audio": 3}.items():
            content[split][name] = (scores[:, None, None] + rng.normal(size=(count, 6, dim))).astype(np.float32)
            content[split][f"{name}_lengths"] = [6] * count
    path.write_bytes(pickle.dumps(content, protocol=4))


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the page's files, and its commands' exit codes and output."""
    place = tmp_path_factory.mktemp("own")
    by_parts = {
        "mine/product_by_parts.py": product_by_parts(),
        "conf/fusion/product_by_parts.yaml": FILES["conf/fusion/product.yaml"].replace(
            "mine.product.", "mine.product_by_parts."
        ),
    }
    for name, text in (FILES | by_parts).items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    shutil.copytree(place / "conf", place / "bare", ignore=shutil.ignore_patterns("trivium.yaml"))
    mine(place / "mine.pkl")
    done = subprocess.run(
        [sys.executable, "-c", RUNNER], input=json.dumps(commands()), capture_output=True, text=True, timeout=400,
        cwd=place, env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return place


def said(copy: Path, name: str) -> tuple[int, str]:
    code, printed = json.loads((copy / "said.json").read_text())[name]
    return code, printed


def result_of(copy: Path, name: str) -> dict[str, Any]:
    code, printed = said(copy, name)
    assert code == 0, printed
    result: dict[str, Any] = json.loads((copy / "runs" / folder(name) / "result.json").read_text())
    assert np.isfinite(result["test"]["loss"])
    return result


def epoch_of(copy: Path, name: str) -> dict[str, float]:
    (row,) = rows(copy / "runs" / folder(name) / "metrics.csv")
    return {key: float(value) for key, value in row.items() if value}


def test_the_page_has_a_module_and_a_yaml_of_each_part() -> None:
    parts = {"encoder": "conv", "fusion": "product", "objective": "huber", "method": "multitask"}
    expected = {f"mine/{name}.py" for name in parts.values()} | {"mine/momentum.py", "conf/optimizer/nesterov.yaml"}
    expected |= {"mine/metrics.py", "conf/metric/sign_errors.yaml", "mine/callbacks.py"}
    expected |= {f"conf/{kind}/{name}.yaml" for kind, name in parts.items()}
    assert set(FILES) == expected | {"conf/data/gestures.yaml", "gestures.py", "conf/trivium.yaml"}
    assert len(page_commands()) >= 9


@pytest.mark.parametrize("line", page_commands())
def test_a_command_of_the_page_runs(line: str, copy: Path) -> None:
    code, printed = said(copy, line)
    assert code == 0, printed
    if is_training(line):
        result_of(copy, line)


def test_a_data_set_with_one_yaml_and_one_script(copy: Path) -> None:
    result = result_of(copy, "trivium train data=gestures --config-dir conf")
    assert result["feature_set"] == "gestures/v1"
    assert result["modalities"] == ["audio", "wrist"]
    assert result_of(copy, "trivium train data=custom")["feature_set"] == "custom/mine"


def test_a_modality_of_another_name_has_settings_of_its_own(copy: Path) -> None:
    assert result_of(copy, "names")["modalities"] == ["audio", "wrist"]
    epoch = epoch_of(copy, "names")
    assert np.isfinite(epoch["train/mi_audio_wrist"])
    assert (epoch["lr/wrist"], epoch["lr/audio"]) == (0.01, 0.005)  # Self-MI's own for audio


def test_an_encoder_with_one_file_and_one_yaml(copy: Path) -> None:
    # a convolution of width 3 a modality, then concat's Linear over 3 * 32 and the head's; the fixture's widths
    inputs = sum((3 * width + 1) * 32 for width in (16, 6, 8))
    assert result_of(copy, "every encoder")["parameters"] == inputs + (96 + 1) * 128 + (128 + 1) * 128 + 128 + 1


def test_a_fusion_with_one_file_and_one_yaml_whichever_way_it_is_written(copy: Path) -> None:
    assert result_of(copy, "pairs by forward")["test"] == pytest.approx(result_of(copy, "pairs by combine")["test"])
    forward, combine = (epoch_of(copy, f"pairs by {way}") for way in ("forward", "combine"))
    assert forward["train/tc_estimate"] == pytest.approx(combine["train/tc_estimate"], rel=1e-5)
    assert forward["train/tc_estimate"] != 0


def test_an_objective_with_one_file_and_one_yaml(copy: Path) -> None:
    name = "trivium train objective=huber objective.delta=0.5 --config-dir conf"
    lines = [line for line in rows(copy / "runs" / folder(name) / "predictions.csv") if line["split"] == "test"]
    error = np.array([abs(float(line["target"]) - float(line["prediction"])) for line in lines])
    huber = np.where(error < 0.5, error**2 / 2, 0.5 * (error - 0.25))
    assert result_of(copy, name)["test"]["loss"] == pytest.approx(huber.mean(), rel=1e-5)


def test_a_metric_with_one_function_and_one_yaml(copy: Path) -> None:
    name = "trivium train metric=sign_errors trainer.monitor=val/sign_errors --config-dir conf"
    lines = [line for line in rows(copy / "runs" / folder(name) / "predictions.csv") if line["split"] == "test"]
    strong = [line for line in lines if abs(float(line["target"])) > 0.5]
    wrong = [line for line in strong if float(line["prediction"]) * float(line["target"]) <= 0]
    assert result_of(copy, name)["test"]["sign_errors"] == pytest.approx(len(wrong) / len(strong))
    both = result_of(copy, "trivium train metric=[ccc,sign_errors] --config-dir conf")["test"]
    assert {"ccc", "sign_errors"} <= set(both)


def test_a_callback_with_one_class(copy: Path) -> None:
    (line,) = (copy / "norms.txt").read_text().splitlines()
    epoch, norm = line.split()
    assert epoch == "1"
    assert float(norm) > 0


def test_a_method_with_one_module_and_one_yaml(copy: Path) -> None:
    name = "trivium train method=multitask method.weight=0.5 --config-dir conf"
    assert result_of(copy, name)["method"] == "multitask"
    epoch = epoch_of(copy, name)
    own = sum(epoch[f"train/{modality}"] for modality in ("text", "audio", "vision"))
    assert epoch["step"] == 2
    assert epoch["train/loss"] == pytest.approx(epoch["train/joint"] + 0.5 * own)


def test_they_work_together_are_checked_and_load_again(copy: Path) -> None:
    assert result_of(copy, "all")["feature_set"] == "gestures/v1"
    code, printed = said(copy, "misspelt")
    assert (code, printed) == (2, "error: method.weihgt: no such key; nearest is method.weight\n")
    code, printed = said(copy, "evaluate")
    assert code == 0, printed
    _, text = said(copy, "help")
    for name in ("multitask", "conv", "product", "huber", "gestures"):
        assert any(shown.split()[:1] == [name] for shown in text.splitlines())


def test_a_part_of_one_s_own_runs_on_two_ranks_and_in_the_processes_of_a_sweep(copy: Path) -> None:
    assert result_of(copy, "two ranks")["method"] == "multitask"
    code, printed = said(copy, "sweep")
    assert code == 0, printed
    results = [json.loads((copy / "sweep" / job / "result.json").read_text()) for job in ("0", "1")]
    assert [result["method"] for result in results] == ["multitask", "multitask"]


def test_only_what_the_user_allows_is_built(copy: Path) -> None:
    result_of(copy, "by trust")
    code, printed = said(copy, "untrusted")
    assert code == 2
    assert "encoder._target_: 'mine.conv.Conv' is refused: the module 'mine' is not part of Trivium" in printed
    assert "trust=[mine]" in printed


def test_a_run_s_own_files_allow_nothing(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run's config has trust: [mine], and is evaluated where nobody says so."""
    config = copy / "runs" / "by_trust" / "config.yaml"
    assert "- mine" in config.read_text()
    code, printed = said(copy, "evaluate untrusted")
    assert code == 2
    assert "'mine.multitask.Multitask' is refused" in printed or "'mine.conv.Conv' is refused" in printed
    assert "trust=[mine]" in printed
    code, printed = said(copy, "evaluate by trust")
    assert code == 0, printed
    with pytest.raises(ValueError, match=r"by_trust: _target_: 'mine.conv.Conv' is refused: .* trust=\[mine\]"):
        trivium.load_run(copy / "runs" / "by_trust")
    monkeypatch.syspath_prepend(copy)
    assert np.isfinite(trivium.load_run(copy / "runs" / "by_trust", trust=["mine"]).evaluate("test")["mae"])
