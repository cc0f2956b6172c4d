"""Every experiment runs on a fixture, with a tiny BERT in the place of the published one."""

import json
from pathlib import Path

import pytest

from driver import ROOT, here
from trivium.config.compose import compose_config
from trivium.data.synthetic import SPECIAL, WORDS

EXPERIMENTS = sorted(path.stem for path in (ROOT / "configs" / "experiment").glob("*.yaml"))
# Published sizes are counted in test_comm.py and test_gmc.py, and take most of a run's time.
SMALLER = {"encoder": ("feedforward", 64), "fusion": ("layers", 1)}
PRETRAINED = "trivium.encoders.pretrained.Pretrained"


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved BERT of two narrow layers that knows the fixture's words."""
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    folder = tmp_path_factory.mktemp("bert")
    transformers.BertModel(transformers.BertConfig(vocab_size=WORDS + SPECIAL, **sizes)).save_pretrained(folder)
    return folder


def test_there_are_experiments() -> None:
    assert {f"{method}_{data}" for method in ("selfmi", "selfmm") for data in ("mosi", "mosei", "sims")} <= {
        *EXPERIMENTS
    }


# On the other data sets an experiment differs in numbers alone; those by their own verb.
EACH = [name if "_mosi" in name else pytest.param(name, marks=pytest.mark.slow) for name in EXPERIMENTS]


@pytest.mark.parametrize("experiment", EACH)
def test_runs_two_steps_and_ends_with_a_result(experiment: str, bert: Path, tmp_path: Path) -> None:
    published = compose_config([f"experiment={experiment}"])
    window = published["trainer"]["accumulate_grad_batches"]
    fixture = "fixture_sims" if published["data"]["metrics"] == "sims" else "fixture"
    models = [
        f"encoders.{name}.model={bert}"
        for name, node in published["encoders"].items()
        if node["_target_"] == PRETRAINED
    ]
    if "placeholder_ids" in published["method"]:
        models.append("method.placeholder_ids=[1,0,2]")  # the fixture's; it has no [MASK]
    smaller = [f"{group}.{key}={size}" for group, (key, size) in SMALLER.items() if key in published[group]]
    # The tiny BERT knows fewer words than the published one's unknown word.
    unknown = ["method.unknown_id=1"] if "unknown_id" in published["method"] else []
    result = here(
        tmp_path,
        f"experiment={experiment}",
        *unknown,
        f"data={fixture}",
        *models,
        *smaller,
        f"data.batch_size={published['data']['batch_size']}",
        f"trainer.limit_batches={2 * window}",
        "trainer.max_epochs=1",
        f"run.dir={tmp_path / 'run'}",
    )
    assert result == json.loads((tmp_path / "run" / "result.json").read_text())
    data = published["data"]["name"]
    assert f"{experiment}_".startswith(f"{result['method']}_{data}_")
    assert result["test"].keys() >= ({"acc3", "f1"} if data == "sims" else {"acc7", "f1_non0"})
    rows = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    assert dict(zip(rows[0].split(","), rows[1].split(","), strict=True))["step"] == "2"
