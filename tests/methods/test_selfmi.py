"""Self-MI on the fixture: what the specification says must hold of a training, and of its switches."""

import warnings
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from driver import here, rows
from trivium.config.compose import compose_config
from trivium.data.store import write_store
from trivium.data.synthetic import make_fixture
from trivium.methods.selfmi import SelfMI
from trivium.runs.assemble import assemble
from trivium.runs.resume import open_run
from trivium.runs.trainer import make_trainer

BASE = [
    "method=selfmi",
    "trainer.accelerator=cpu",
    "trainer.progress=off",
    "trainer.limit_batches=3",
    "encoder.hidden=8",
    "encoder.out=8",
    "data.batch_size=64",
]


class Watch(L.Callback):
    """Keeps every step's logged terms and the largest generated label."""

    def __init__(self) -> None:
        self.unimodal: list[list[float]] = []
        self.largest = 0.0

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, SelfMI)
        means = pl_module.meter.means()
        self.unimodal.append([means[name] for name in pl_module.heads])
        for name in pl_module.heads if pl_module.bank else ():
            self.largest = max(self.largest, float(pl_module.bank.labels(name).abs().max()))


def _config(tmp_path: Path, *overrides: str) -> dict[str, Any]:
    return compose_config([*BASE, f"paths.data={tmp_path}", f"paths.outputs={tmp_path}", *overrides])


def _fit(tmp_path: Path, *overrides: str, change: Any = None) -> tuple[SelfMI, Watch]:
    config = _config(tmp_path, *overrides)
    run = open_run(config, [])
    _, data, method = assemble(config)
    assert isinstance(method, SelfMI)
    if change is not None:
        change(method)
    trainer, _ = make_trainer(config, run)
    watch = Watch()
    trainer.callbacks.insert(0, watch)  # type: ignore[attr-defined]
    trainer.fit(method, datamodule=data)
    run.release()
    return method, watch


def test_unimodal_losses_are_exactly_zero_in_the_first_two_epochs(tmp_path: Path) -> None:
    settings = ["method.faithful=true", "method.cpc_weight=0", "method.pair_weight=0", "trainer.max_epochs=4"]
    method, watch = _fit(tmp_path, *settings, "trainer.accumulate_grad_batches=2", "trainer.patience=0")
    assert watch.unimodal[:2] == [[0.0] * 3] * 2
    assert all(value > 0 for value in watch.unimodal[2])
    assert watch.largest <= 3
    targets = method.trainer.datamodule.store.split("train").targets["multimodal"]  # type: ignore[attr-defined]
    assert torch.equal(method.bank.labels("joint"), torch.from_numpy(targets))


def test_weights_of_zero_are_self_mm_bit_for_bit(tmp_path: Path) -> None:
    """Building the mutual-information modules moves nothing else, and a weight of 0 adds nothing."""
    settings = ["trainer.max_epochs=3", "fusion.dropout=0.1"]

    def silence(method: SelfMI) -> None:
        assert method.fusion_mi is not None
        assert method.pair_mi is not None
        method.cpc_weight = method.pair_weight = 0.0

    never_built, _ = _fit(tmp_path / "a", *settings, "method=selfmm")
    assert never_built.fusion_mi is None
    assert never_built.pair_mi is None
    built, _ = _fit(tmp_path / "b", *settings, change=silence)
    weights = never_built.state_dict()
    assert weights
    assert all(torch.equal(value, built.state_dict()[name]) for name, value in weights.items())
    trained, _ = _fit(tmp_path / "c", *settings)  # with its weights it is another model
    assert any(not torch.equal(value, trained.state_dict()[name]) for name, value in weights.items())


def test_faithful_sums_gradients_and_drops_the_trailing_window(tmp_path: Path) -> None:
    """3 batches in windows of 2: one step an epoch; plain SGD then moves by the sum, Lightning's by the mean."""
    settings = [
        "method.cpc_weight=0",
        "method.pair_weight=0",
        "trainer.max_epochs=1",
        "trainer.accumulate_grad_batches=2",
    ]
    settings += ["optimizer=sgd", "optimizer.momentum=0", "optimizer.weight_decay=0", "optimizer.lr=0.01"]
    start = assemble(_config(tmp_path, *settings))[2].state_dict()
    start = {name: value.clone() for name, value in start.items()}
    faithful, _ = _fit(tmp_path, *settings, "method.faithful=true")
    first_window, _ = _fit(tmp_path, *settings, "trainer.limit_batches=2", "seed=1")
    moved = {name: value - start[name] for name, value in faithful.state_dict().items()}
    expected = {name: 2 * (value - start[name]) for name, value in first_window.state_dict().items()}
    assert max(float(value.abs().max()) for value in moved.values()) > 0
    for name, value in moved.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-6)


SWITCHES = [
    ["method.pair_estimator=ba"],
    ["method.pair_estimator=ba", "method.ba_optimisation=separate"],
    [
        "method.pair_estimator=ba",
        "method.ba_optimisation=separate",
        "method.ba_normalised=false",
        "method.ba_standardised=false",
    ],
    ["method.direction=code"],
    ["method.direction=symmetric", "method.cpc_layers=2"],
    ["method.features=projected", "method.joint=hidden"],
    ["method.pairs=[[text,vision],[text,audio],[audio,vision]]"],
    ["method.label_rule=centres", "method.exclude_zero=false"],
    ["method.label_rule=tanh", "method.update_from_epoch=1"],
    ["method.unimodal_targets=annotated"],
    ["method.unimodal_targets=none"],
    ["method.unimodal_targets=none", "method.features=projected", "method.cpc_weight=0"],
    ["data.modalities=[text,audio]"],
    ["data.modalities=[audio]"],
    ["data.batch_size=1"],
    ["fusion=tensor"],
    ["data=fixture_sims"],
]


@pytest.mark.parametrize("switch", SWITCHES, ids=lambda s: " ".join(s))
def test_every_switch_trains(tmp_path: Path, switch: list[str]) -> None:
    method, watch = _fit(tmp_path, "trainer.max_epochs=3", *switch)
    assert all(bool(torch.isfinite(value).all()) for value in method.state_dict().values())
    assert watch.largest <= 3


def test_a_classification_objective_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="method=selfmi generates unimodal labels as scores; choose objective=l1"):
        assemble(_config(tmp_path, "objective=cross_entropy"))


@pytest.mark.parametrize(("data", "high"), [("fixture", 3.0), ("fixture_sims", 1.0)])
def test_labels_are_clamped_to_the_data_s_own_range(tmp_path: Path, data: str, high: float) -> None:
    method = assemble(_config(tmp_path, f"data={data}"))[2]
    assert isinstance(method, SelfMI)
    assert method.bank.high == high  # not the largest label that happens to be in train


@pytest.mark.parametrize(
    ("modalities", "told"),
    [("audio,vision", True), ("text,audio", False), ("audio", False), ("text,audio,vision", False)],
)
def test_a_beta_without_any_pair_is_told(tmp_path: Path, modalities: str, told: bool) -> None:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        method = assemble(_config(tmp_path, f"data.modalities=[{modalities}]"))[2]
    assert isinstance(method, SelfMI)
    assert told == any("method.pair_weight adds nothing" in str(warning.message) for warning in found)
    assert (method.pair_mi is None) == (modalities in ("audio,vision", "audio"))


def test_labels_on_one_side_of_0_are_told_that_a_centre_is_missing(tmp_path: Path) -> None:
    source = make_fixture()
    for clips in source.splits.values():
        clips.targets = {name: scores + 4 for name, scores in clips.targets.items()}
    write_store(tmp_path / "s.h5", source, data="custom", feature_set="custom/x", label_range=(0.0, 10.0))
    settings = ["data=custom", f"data.store={tmp_path / 's.h5'}", "trainer.max_epochs=1"]
    with pytest.warns(UserWarning, match=r"selfmi: train labels lie in \[1, 7\], all on one side of 0"):
        _fit(tmp_path, *settings)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*one side of 0")
        _fit(tmp_path / "annotated", *settings, "method.unimodal_targets=annotated")
        _fit(tmp_path / "two sides", "trainer.max_epochs=1")


def test_annotated_labels_that_the_store_lacks_are_named(tmp_path: Path) -> None:
    source = make_fixture()
    for clips in source.splits.values():
        del clips.targets["audio"]
    write_store(tmp_path / "s.h5", source, data="fixture", feature_set="fixture/x", label_range=(-3.0, 3.0))
    with pytest.raises(ValueError, match=r"no unimodal labels of \['audio'\]"):
        _fit(tmp_path, f"data.store={tmp_path / 's.h5'}", "method.unimodal_targets=annotated")


@pytest.mark.parametrize("precision", ["32-true", "bf16-true"])
def test_unimodal_losses_are_exactly_zero_until_labels_are_generated(tmp_path: Path, precision: str) -> None:
    """In half precision too: a bank that is rounded would hold other labels than the human ones."""
    settings = [*BASE, f"trainer.precision={precision}", "trainer.max_epochs=3", "trainer.limit_batches=0"]
    here(tmp_path, *settings, f"run.dir={tmp_path / 'run'}")
    unimodal = [
        [float(row[f"train/{s}"]) for s in ("text", "audio", "vision")]
        for row in rows(tmp_path / "run" / "metrics.csv")
    ]
    assert unimodal[:2] == [[0.0] * 3] * 2
    assert min(unimodal[2]) > 0
