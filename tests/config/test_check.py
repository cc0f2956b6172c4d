"""Each way of getting a command line wrong, with the line that it is answered with."""

import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from trivium.config.check import check_command_line, errors_for_users, problems_of
from trivium.config.compose import compose_config, composer
from trivium.config.store_path import find_store

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "method=selfmi optimizer=sgd debug=exact trainer=ddp trainer.accelerator=cpu",
        "encoder@encoders.text=bert +encoder@encoders.depth=gru",
        "optimizer.lr=1 optimizer.groups.text.lr=1e-4 optimizer.groups.audio.lr=null",
        "method=selfmi +method.post_dims.depth=8 +optimizer.groups.depth.lr=0.1 +data.standardize.depth=none",
        "fusion.hidden=[64] logger=wandb logger.tags=[a,b]",  # both defaults are [], which tells no type
        "data.modalities=[text,audio] run.dir=somewhere seed=0 resume=auto",
        "experiment=selfmm_sims data=fixture_sims",
        "experiment=selfmi_mosi data=fixture method=supervised encoder@encoders.audio=transformer optimizer=sgd",
        "-m seed=range(0,100) method=selfmi,selfmm data=fixture,fixture_sims",
        "data=mosi --cfg job",  # shows a config: the store need not be there
    ],
)
def test_what_is_right_passes(line: str) -> None:
    assert problems_of(line.split()) == []


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("trainer.max_epoch=3", "trainer.max_epoch: no such key; nearest is trainer.max_epochs"),
        ("+trainr.max_epochs=3", "trainr.max_epochs: no such key; nearest is trainer.max_epochs"),
        ("++trainer.max_epoch=3", "trainer.max_epoch: no such key; nearest is trainer.max_epochs"),
        ("max_epochs=3", "max_epochs: no such key; nearest is trainer.max_epochs"),
        ("mehtod=x", "mehtod: no such key; nearest is method"),
        ("+optimizer.groups.text.lrr=1", "optimizer.groups.text.lrr: no such key; nearest is optimizer.groups.text.lr"),
        ("+optimizer.groups.depth.lrr=1", "optimizer.groups.depth.lrr: no such key"),
        ("~trainer.max_epochs", "trainer.max_epochs: removed, but a run needs it"),
        ("~seed", "seed: removed, but a run needs it"),
        ("~method", "method: removed, but a run needs a choice of it"),
        ("optimizer.lr=abc", "optimizer.lr: expected a number, found 'abc'"),
        ("optimizer.lr=null", "optimizer.lr: expected a number, found None"),
        ("optimizer.groups.text.lr=x", "optimizer.groups.text.lr: expected a number or null, found 'x'"),
        ("fusion.hidden=64", "fusion.hidden: expected a list of anything, found 64"),
        ("optimizer.betas=[a]", "optimizer.betas: expected a list of numbers, found ['a']"),
        ("trainer.max_epochs=2.0", "trainer.max_epochs: expected a whole number, found 2.0"),
        ("trainer.max_epochs=true", "trainer.max_epochs: expected a whole number, found True"),
        ("trainer.deterministic=1", "trainer.deterministic: expected true or false, found 1"),
        ("trainer=3", "trainer=3: no such choice"),
        ("+trainer.max_epochs.x=3", "trainer.max_epochs: expected a whole number"),
        ("data.features=50", "data.features: expected text, found 50; to give it as text, quote it"),
        ("data.modalities=[1]", "data.modalities: expected a list of text, found [1]"),
        ("data.modalities=text", "data.modalities: expected a list of text, found 'text'"),
        (
            "data.modalities=text,audio",
            "add -m for one run each, write a list as data.modalities=[text,audio], or",
        ),
        (
            "data.standardize.text=zscores",
            "one of none, zscore, mean, source, found 'zscores'; nearest is zscore",
        ),
        ("trainer.precision=32", "trainer.precision: expected one of 32-true, 64-true"),
        (
            "method=selfmi method.direction=codes",
            "expected one of paper, code, symmetric, found 'codes'; nearest is code",
        ),
        ("method=selfmi +method.post_dims.depth=a", "method.post_dims.depth: expected a whole number, found 'a'"),
        ("method=selfmi method.post_dims.depth=8", "a new name; add it with a +: +method.post_dims.depth=8"),
        ("data=mosii", "data=mosii: no such choice; nearest is mosi; choices are custom, fixture,"),
        ("encoder@encoders.text=bret", "encoder@encoders.text=bret: no such choice; nearest is bert"),
        ("encodr@encoders.text=bert", "encodr@encoders.text: no such group; nearest is encoder@encoders.text"),
        ("encoder@encoders.txt=bert", "Could not override 'encoder@encoders.txt'; Did you mean"),
        ("+encoder@encoders.text=bert", "encoder@encoders.text: there already; leave out the +"),
        ("encoders.text.hidden=3", "choose an encoder for text alone with encoder@encoders.text=NAME"),
        ("encoder@encoders.text=lstm encoders.text.hiden=3", "no such key; nearest is encoders.text.hidden"),
        ("experiment=null", "experiment=null: to have none, write ~experiment"),
        ("data=mosi,sims", "data: mosi,sims is several values; add -m for one run each"),
        ("run.dir=/a=b", "quote it: \"run.dir='/a=b'\""),
        ("selfmi", "selfmi: expected key=value"),
        ("hydra.swep.dir=x", "hydra.swep.dir"),
        ("seed=${nothing}", "seed: Interpolation key 'nothing' not found"),
        ("optimizer._target_=os.system", "optimizer._target_: 'os.system' is refused"),
        ("data.batch_size=0", "data.batch_size: expected at least 1, found 0"),
        ("trainer.devices=0", "trainer.devices: expected at least 1, found 0"),
        ("optimizer.lr=nan", "optimizer.lr: expected at least 0, found nan"),
        ("data.label_range=[3,1]", "data.label_range: expected [low, high] with low < high"),
        ("data.modalities=[text,text]", "data.modalities: a name occurs twice"),
        ("resume=of", "resume: no run directory 'of'; nearest is off"),
        ("-m data=fixture,mosii", "data=mosii: no such choice"),
        ("-m seed=1,2,x", "seed: expected a whole number, found 'x'"),
        ("-m seed=1,2 data.batch_size=8,0", "data.batch_size: expected at least 1, found 0"),
        ("-m method=supervised,selfmi method.cpc_weight=0.1", "method.cpc_weight: no such key"),
        ("-m method=selfmi,selfmm optimizer.lr=0.1,abc", "optimizer.lr: expected a number, found 'abc'"),
        ("data=fixture_classes objective.focal_gamma=2", "no such key; objective=cross_entropy, or for labels"),
        ("--config-name other", "--config-name"),
        ("--config-dir nowhere", "--config-dir: there is no folder /"),
    ],
)
def test_each_mistake_is_named(line: str, told: str) -> None:
    problems = problems_of(line.split())
    assert len(problems) == 1, problems
    assert told in problems[0]


def test_all_mistakes_at_once() -> None:
    problems = problems_of(["trainer.max_epoch=3", "optimizer.lr=abc", "data=mosii", "seed=x", "a=b=c"])
    assert [p.split(":")[0] for p in problems] == [
        "data=mosii",
        "a=b=c",
        "seed",
        "trainer.max_epoch",
        "optimizer.lr",
    ]


def test_a_sweep_of_many_choices_covers_each() -> None:
    """More than the largest full product: every swept choice must still be composed at least once."""
    sweeps = {
        "data": ["fixture", "fixture_sims"],
        "method": ["supervised", "selfmi", "selfmm"],
        "scheduler": ["constant", "plateau", "cosine", "linear", "step"],
    }
    line = [f"{group}={','.join(choices)}" for group, choices in sweeps.items()]
    assert problems_of(["-m", *line]) == []
    for key in ("scheduler.every=2", "scheduler.patience=2"):  # a key that only one of the five has
        assert problems_of(["-m", *line, f"+{key}"]) != []


def _folder_with(tmp_path: Path, name: str, text: str) -> list[str]:
    file = tmp_path / "more" / name
    file.parent.mkdir(parents=True)
    file.write_text(text)
    return ["--config-dir", str(tmp_path / "more")]


def test_a_typo_inside_an_experiment_is_found_with_its_file(tmp_path: Path) -> None:
    text = "# @package _global_\ntrainer:\n  max_epoch: 3\n  patience: soon\n"
    folder = _folder_with(tmp_path, "experiment/mine.yaml", text)
    assert problems_of([*folder, "experiment=mine"]) == [
        "trainer.patience: expected a whole number, found 'soon' (in experiment/mine.yaml)",
        "trainer.max_epoch: no such key (in experiment/mine.yaml); nearest is trainer.max_epochs",
    ]


def test_a_method_cannot_bring_keys_into_another_group(tmp_path: Path) -> None:
    text = "# @package _global_\nmethod: {_target_: trivium.methods.mine.Mine, tau: 0.1}\noptimizer: {momentun: 0.9}\n"
    folder = _folder_with(tmp_path, "method/mine.yaml", text)
    assert problems_of([*folder, "method=mine", "method.tau=0.2"]) == [
        "optimizer.momentun: no such key (in method/mine.yaml)"
    ]


def test_a_choice_that_builds_on_another_adds_no_key(tmp_path: Path) -> None:
    text = "defaults:\n  - adam\n  - _self_\nlr: 0.1\nweigth_decay: 0.1\n"
    folder = _folder_with(tmp_path, "optimizer/mine.yaml", text)
    problem = "optimizer.weigth_decay: no such key (in optimizer/mine.yaml); nearest is optimizer.weight_decay"
    assert problems_of([*folder, "optimizer=mine"]) == [problem]


def test_stores(tmp_path: Path) -> None:
    root = [f"paths.data={tmp_path}", "data=mosi"]
    assert "no prepared store" in problems_of(root)[0]
    assert "trivium prepare data=mosi source=FILE" in problems_of(root)[0]
    (tmp_path / "mosi").mkdir()
    (tmp_path / "mosi" / "mmsa-unaligned-50.h5").touch()
    assert problems_of(root) == []
    assert find_store(compose_config(root)) == tmp_path / "mosi" / "mmsa-unaligned-50.h5"
    (tmp_path / "mosi" / "glove.h5").touch()
    several = f"data.features: {tmp_path / 'mosi'} has several feature sets, choose one of glove, mmsa-unaligned-50"
    assert problems_of(root) == [several]
    assert problems_of([*root, "data.features=glove"]) == []
    assert "no 'gloves'" in (told := problems_of([*root, "data.features=gloves"])[0])
    assert "nearest is glove; prepared are glove, mmsa-unaligned-50" in told
    file = tmp_path / "mosi" / "glove.h5"
    assert find_store(compose_config([*root, f"data.store={file}"])) == file
    assert "data.store: no file" in problems_of([*root, "data.store=nothing.h5"])[0]
    fixture = compose_config([f"paths.data={tmp_path}", "data=fixture_sims"])
    assert find_store(fixture) == tmp_path / "fixture" / "fixture_sims.h5"


def test_resume_takes_a_directory(tmp_path: Path) -> None:
    assert problems_of([f"resume={tmp_path}"]) == []


def test_command_line_wins_over_debug_over_experiment_over_root() -> None:
    with composer() as session:
        plain = session.compose(["experiment=selfmi_mosi"])
        fast = session.compose(["experiment=selfmi_mosi", "debug=fast"])
        given = session.compose(["experiment=selfmi_mosi", "debug=fast", "trainer.max_epochs=7"])
    assert [c["trainer"]["max_epochs"] for c in (plain, fast, given)] == [100, 2, 7]
    assert plain["data"]["batch_size"] == 16


def test_selfmm_experiments_differ_from_selfmi_in_the_weights_alone() -> None:
    for data in ("mosi", "mosei", "sims"):
        ours, theirs = compose_config([f"experiment=selfmi_{data}"]), compose_config([f"experiment=selfmm_{data}"])
        method = {"name": "selfmm", "cpc_weight": 0.0, "pair_weight": 0.0}
        assert theirs == ours | {"method": ours["method"] | method}
        assert ours["method"]["cpc_weight"] > 0


def test_errors_for_users(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRIVIUM_TRACEBACK", raising=False)
    with pytest.raises(SystemExit) as stop, errors_for_users():
        raise ValueError("store.h5: cut off")
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith("error: store.h5: cut off\n")
    with pytest.raises(KeyError), errors_for_users():
        raise KeyError("a bug")
    monkeypatch.setenv("TRIVIUM_TRACEBACK", "1")
    with pytest.raises(ValueError, match="cut off"), errors_for_users():
        raise ValueError("store.h5: cut off")


def test_check_exits_with_2_and_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        check_command_line(["seed=x", "trainer.max_epoch=3"])
    assert stop.value.code == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: seed: expected a whole number, found 'x'",
        "error: trainer.max_epoch: no such key; nearest is trainer.max_epochs",
    ]


def test_from_the_prompt_within_two_seconds_and_nothing_written(tmp_path: Path) -> None:
    command = [sys.executable, str(REPOSITORY / "train.py"), "trainer.max_epoch=3", "optimizer.lr=abc"]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    seconds = []
    for _ in range(3):
        start = _children()
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        seconds.append(_children() - start)
        assert done.returncode == 2
        assert done.stderr.splitlines() == [
            "error: trainer.max_epoch: no such key; nearest is trainer.max_epochs",
            "error: optimizer.lr: expected a number, found 'abc'",
        ]
        assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
    assert statistics.median(seconds) < 2.0, seconds


def _children() -> float:
    """Processor seconds of all children so far, which a busy machine does not lengthen as it does the clock's."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_the_check_imports_neither_torch_nor_lightning() -> None:
    code = (
        "import sys; from trivium.config.check import problems_of; problems_of(['data=mosi', 'seed=x']); "
        "problems_of(['data=mosi']); print(sorted({'torch', 'lightning', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
