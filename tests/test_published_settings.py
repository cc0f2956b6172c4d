"""The experiments' numbers beside the papers' public code, as the method pages and their sources state them.

Transcribed from there and not from configs/, so that a value that slips in a config is seen. Where a source leaves a
number open (Self-MI's weights, M3ixup's mixing), the one of the reading that the method's page names stands here.
"""

from typing import Any

import pytest

from trivium.config.compose import compose_config
from trivium.config.instantiate import build
from trivium.data.target import Target

SAME: dict[str, Any] = {"lr": None, "weight_decay": None}
NOT_SCALED = {"default": "none", "text": "none", "audio": "none", "vision": "none"}

# MMSA's configuration of Self-MM (SIMS: the same in Self-MM's repository): key -> MOSI, MOSEI, SIMS
SELF_MM: dict[str, tuple[Any, Any, Any]] = {
    "data.name": ("mosi", "mosei", "sims"),
    "data.batch_size": (16, 32, 32),
    "data.standardize": (NOT_SCALED,) * 3,
    "trainer.accumulate_grad_batches": (4,) * 3,
    "trainer.patience": (8,) * 3,
    "trainer.min_delta": (1e-6,) * 3,
    "trainer.select": ("best",) * 3,
    "trainer.gradient_clip": (0.0,) * 3,
    "scheduler._target_": ("trivium.schedulers.constant",) * 3,
    "objective._target_": ("trivium.objectives.task.L1",) * 3,
    "optimizer._target_": ("trivium.optimizers.adam",) * 3,
    "optimizer.betas": ([0.9, 0.999],) * 3,
    "optimizer.lr": (1e-3,) * 3,
    "optimizer.weight_decay": (1e-3, 1e-2, 1e-3),
    "optimizer.exempt_bias_and_norm": ("text",) * 3,
    "optimizer.groups.text": ({"lr": 5e-5, "weight_decay": 1e-3},) * 3,
    "optimizer.groups.audio.lr": (5e-3,) * 3,
    "optimizer.groups.audio.weight_decay": (1e-3, 0.0, 1e-2),
    "optimizer.groups.vision.lr": (5e-3, 1e-4, 5e-3),
    "optimizer.groups.vision.weight_decay": (1e-3, 0.0, 1e-2),
    "encoders.text.model": ("bert-base-uncased", "bert-base-uncased", "bert-base-chinese"),
    "encoders.text.finetune": (True,) * 3,
    "encoders.text.pool": ("cls",) * 3,
    **{
        f"encoders.{s}.{key}": (value,) * 3
        for s in ("audio", "vision")
        for key, value in {"layers": 1, "bidirectional": False, "dropout": 0.0, "pool": "last"}.items()
    },
    "encoders.audio.hidden": (16, 16, 16),
    "encoders.audio.out": (16, 16, 16),
    "encoders.vision.hidden": (32, 32, 64),
    "encoders.vision.out": (32, 32, 32),
    "fusion._target_": ("trivium.fusions.concat.Concat",) * 3,
    "fusion.out": (128,) * 3,
    "fusion.activation": ("relu",) * 3,
    "fusion.dropout": (0.0, 0.1, 0.0),
    "method.post_dims.text": (32, 32, 64),
    "method.post_dims.audio": (16, 16, 16),
    "method.post_dims.vision": (32, 32, 32),
    "method.post_dropout.text": (0.1, 0.0, 0.1),
    "method.post_dropout.audio": (0.1, 0.0, 0.1),
    "method.post_dropout.vision": (0.0, 0.0, 0.0),
    "method.exclude_zero": (True,) * 3,
    "method.label_rule": ("ratio",) * 3,
    "method.update_from_epoch": (2,) * 3,
    "method.unimodal_targets": ("generated",) * 3,
}

# MMSA's configuration of MMIM, the same on the three data sets but for the first stage and the text encoder
MMIM: dict[str, tuple[Any, Any, Any]] = {
    "data.name": ("mosi", "mosei", "sims"),
    "data.batch_size": (32,) * 3,
    "data.standardize": (NOT_SCALED,) * 3,
    "trainer.patience": (8,) * 3,
    "trainer.min_delta": (1e-6,) * 3,
    "trainer.select": ("best",) * 3,
    "trainer.gradient_clip": (1.0,) * 3,
    "scheduler": ({"_target_": "trivium.schedulers.plateau", "factor": 0.5, "patience": 20},) * 3,
    "objective._target_": ("trivium.objectives.task.L1",) * 3,
    "optimizer._target_": ("trivium.optimizers.adam",) * 3,
    "optimizer.lr": (1e-3,) * 3,
    "optimizer.weight_decay": (1e-4,) * 3,
    "optimizer.exempt_bias_and_norm": ("none",) * 3,
    "optimizer.groups": ({m: SAME for m in ("text", "audio", "vision", "conditionals")},) * 3,
    "encoders.text.model": ("bert-base-uncased", "bert-base-uncased", "bert-base-chinese"),
    "encoders.text.pool": ("cls",) * 3,
    "encoders.text.lr": (5e-5,) * 3,
    **{
        f"encoders.{s}.{key}": (value,) * 3
        for s in ("audio", "vision")
        for key, value in {"hidden": 16, "out": 16, "layers": 1, "bidirectional": True, "pool": "last"}.items()
    },
    "fusion.hidden": ([128],) * 3,
    "fusion.out": (128,) * 3,
    "fusion.activation": ("tanh",) * 3,
    "fusion.dropout": (0.1,) * 3,
    "fusion.hidden_dropout": (0.0,) * 3,
    "method.cpc_weight": (0.1,) * 3,
    "method.ba_weight": (0.1,) * 3,
    "method.cpc_layers": (1,) * 3,
    "method.memory_batches": (1,) * 3,
    "method.pairs": ([["text", "vision"], ["text", "audio"]],) * 3,
    "method.first_stage": (1.0, 0.5, 1.0),
}

# MMSA's configuration of TETFN: key -> MOSI, MOSEI, SIMS
TETFN: dict[str, tuple[Any, Any, Any]] = {
    "data.name": ("mosi", "mosei", "sims"),
    "data.batch_size": (64, 32, 64),
    "data.standardize": (NOT_SCALED,) * 3,
    "trainer.accumulate_grad_batches": (4,) * 3,
    "trainer.patience": (8,) * 3,
    "trainer.gradient_clip": (0.0,) * 3,
    "scheduler._target_": ("trivium.schedulers.constant",) * 3,
    "optimizer._target_": ("trivium.optimizers.adam",) * 3,
    "optimizer.lr": (3e-4, 1e-4, 3e-3),
    "optimizer.weight_decay": (1e-2, 1e-2, 1e-3),
    "optimizer.exempt_bias_and_norm": ("text",) * 3,
    "optimizer.groups.text": ({"lr": 3e-5, "weight_decay": 1e-3},) * 3,
    "optimizer.groups.audio.lr": (5e-4, 1e-3, 3e-3),
    "optimizer.groups.audio.weight_decay": (1e-2, 0.0, 0.0),
    "optimizer.groups.vision.lr": (3e-4, 5e-3, 5e-4),
    "optimizer.groups.vision.weight_decay": (0.0, 1e-3, 1e-2),
    "encoders.text.model": ("bert-base-uncased", "bert-base-uncased", "bert-base-chinese"),
    **{
        f"encoders.{s}.{key}": (value,) * 3
        for s in ("audio", "vision")
        for key, value in {"layers": 1, "bidirectional": False, "dropout": 0.0, "out": 0}.items()
    },
    "encoders.audio.hidden": (16, 32, 16),
    "encoders.vision.hidden": (64, 32, 64),
    "fusion._target_": ("trivium.fusions.tetfn.TETFN",) * 3,
    "fusion.width": (50,) * 3,
    "fusion.heads": (5,) * 3,
    "fusion.layers": (2,) * 3,
    "fusion.positions": ("enhanced",) * 3,
    "fusion.kernels.text": (1, 1, 3),
    "fusion.kernels.audio": (1, 1, 5),
    "fusion.kernels.vision": (1, 1, 5),  # the port reads audio's
    "fusion.attention_dropout.text": (0.1, 0.1, 0.0),
    "fusion.attention_dropout.audio": (0.0, 0.0, 0.1),
    "fusion.attention_dropout.vision": (0.1, 0.1, 0.0),
    "fusion.enhanced_dropout": (0.1, 0.1, 0.0),
    "fusion.relu_dropout": (0.0, 0.1, 0.1),
    "fusion.embed_dropout": (0.0, 0.1, 0.0),
    "fusion.dropout": (0.1, 0.0, 0.0),
    "fusion.dim": (64, 64, 64),
    "fusion.joint_dropout": (0.0, 0.0, 0.1),
    "method.post_dims.text": (32, 64, 64),
    "method.post_dims.audio": (32, 32, 16),
    "method.post_dims.vision": (16, 16, 32),
    "method.post_dropout.text": (0.0, 0.1, 0.0),
    "method.post_dropout.audio": (0.0, 0.0, 0.0),
    "method.post_dropout.vision": (0.0, 0.1, 0.0),
    "method.exclude_zero": (True,) * 3,
    "method.cpc_weight": (0.0,) * 3,
    "method.pair_weight": (0.0,) * 3,
}

# MMSA's configuration of MISA on its branch v_1.0, that of its published results: key -> MOSI, MOSEI, SIMS
MISA: dict[str, tuple[Any, Any, Any]] = {
    "data.name": ("mosi", "mosei", "sims"),
    "data.batch_size": (64, 32, 64),
    "data.standardize": (NOT_SCALED,) * 3,
    "trainer.accumulate_grad_batches": (2,) * 3,
    "trainer.patience": (8,) * 3,
    "trainer.min_delta": (1e-6,) * 3,
    "trainer.gradient_clip": (1.0, 0.8, 0.8),
    "trainer.gradient_clip_by": ("value",) * 3,
    "scheduler._target_": ("trivium.schedulers.constant",) * 3,
    "objective._target_": ("trivium.objectives.task.MSE",) * 3,
    "optimizer._target_": ("trivium.optimizers.adam",) * 3,
    "optimizer.lr": (1e-4,) * 3,
    "optimizer.weight_decay": (0.0,) * 3,
    "optimizer.groups.text.lr": (1e-4,) * 3,
    "encoder._target_": ("trivium.encoders.stacked.Stacked",) * 3,
    "encoder.hidden": (0,) * 3,
    "encoder.cell": ("lstm",) * 3,
    "encoders.text.model": ("bert-base-uncased", "bert-base-uncased", "bert-base-chinese"),
    "encoders.text.finetune": (True,) * 3,
    "encoders.text.pool": ("mean",) * 3,
    "fusion._target_": ("trivium.fusions.misa.MISAFusion",) * 3,
    "fusion.heads": (2,) * 3,
    "fusion.feedforward": (2048,) * 3,
    "fusion.dropout": (0.1,) * 3,
    "method.dim": (128,) * 3,
    "method.dropout": (0.2,) * 3,
    "method.similarity": ("cmd",) * 3,
    "method.difference_weight": (0.3, 0.1, 0.5),
    "method.similarity_weight": (0.8, 1.0, 0.5),
    "method.reconstruction_weight": (0.8,) * 3,
}

# MMSA's configuration of MAG-BERT: key -> MOSI, MOSEI, SIMS
MAG_BERT: dict[str, tuple[Any, Any, Any]] = {
    "data.name": ("mosi", "mosei", "sims"),
    "data.batch_size": (32,) * 3,
    "data.standardize": (NOT_SCALED,) * 3,
    "trainer.accumulate_grad_batches": (1,) * 3,
    "trainer.patience": (8,) * 3,
    "trainer.min_delta": (1e-6,) * 3,
    "trainer.gradient_clip": (0.0,) * 3,
    "scheduler._target_": ("trivium.schedulers.constant",) * 3,
    "objective._target_": ("trivium.objectives.task.L1",) * 3,
    "optimizer._target_": ("trivium.optimizers.adam",) * 3,
    "optimizer.lr": (2e-5, 1e-5, 5e-5),
    "optimizer.weight_decay": (0.0,) * 3,
    "optimizer.groups.text.lr": (2e-5, 1e-5, 5e-5),
    "encoders.audio._target_": ("trivium.encoders.identity.Identity",) * 3,
    "encoders.vision._target_": ("trivium.encoders.identity.Identity",) * 3,
    "encoders.text.model": ("bert-base-uncased", "bert-base-uncased", "bert-base-chinese"),
    "encoders.text.finetune": (True,) * 3,
    "encoders.text.pool": ("pooler",) * 3,
    "fusion._target_": ("trivium.fusions.only.Only",) * 3,
    "method.layer": (0,) * 3,
    "method.beta": (1.0,) * 3,
    "method.bias": ("gated",) * 3,
    "method.gate_dropout": (0.3, 0.2, 0.1),
    "method.dropout": (0.1,) * 3,
}

COMM = {
    "data.modalities": ["vision", "text"],
    "data.standardize": NOT_SCALED,
    "data.batch_size": 64,
    "trainer.max_epochs": 100,
    "trainer.patience": 0,
    "trainer.select": "last",
    "trainer.gradient_clip": 0.0,
    "scheduler._target_": "trivium.schedulers.constant",
    "optimizer._target_": "trivium.optimizers.adamw",
    "optimizer.lr": 1e-3,
    "optimizer.weight_decay": 1e-2,
    "optimizer.betas": [0.9, 0.999],
    "optimizer.exempt_bias_and_norm": "all",
    "encoder.dim": 40,
    "encoder.layers": 5,
    "encoder.heads": 5,
    "encoder.feedforward": 2048,
    "encoder.dropout": 0.1,
    "encoder.positions": "none",
    "encoder.input_bias": False,
    "encoder.final_norm": False,
    "fusion._target_": "trivium.fusions.transformer.TransformerFusion",
    "fusion.dim": 40,
    "fusion.layers": 1,
    "fusion.heads": 8,
    "method.temperature": 0.1,
    "method.head_hidden": [512, 512],
    "method.head_out": 256,
    "method.augment.default": "drop+noise",
    "method.drop_max": 0.8,
    "method.noise_std": 0.1,
}

GMC = {
    "data.standardize": NOT_SCALED,
    "data.batch_size": 24,
    "trainer.max_epochs": 40,
    "trainer.patience": 0,
    "trainer.select": "last",
    "trainer.gradient_clip": 0.8,
    "scheduler._target_": "trivium.schedulers.plateau",
    "scheduler.factor": 0.1,
    "scheduler.patience": 20,
    "optimizer._target_": "trivium.optimizers.adam",
    "optimizer.lr": 1e-3,
    "optimizer.weight_decay": 0.0,
    "objective._target_": "trivium.objectives.task.L1",
    "encoder._target_": "trivium.encoders.gru.GRU",
    "encoder.hidden": 30,
    "encoder.out": 60,
    "encoder.layers": 1,
    "encoder.bidirectional": False,
    "encoder.pool": "flatten",
    "encoder.dropout": 0.0,
    "encoder.input_dropout": 0.0,
    "fusion._target_": "trivium.fusions.mult.MulT",
    "fusion.dim": 60,
    "fusion.width": 30,
    "fusion.layers": 5,
    "fusion.heads": 5,
    "fusion.input_dropout": {"default": 0.0, "text": 0.25, "audio": None, "vision": None},
    "fusion.attention_dropout": {"default": 0.0, "text": 0.1, "audio": None, "vision": None},
    "fusion.embed_dropout": 0.25,
    "fusion.dropout": 0.1,
    "fusion.memory_dropout": 0.1,
    "method.joint": "inputs",
    "method.common": 60,
    "method.temperature": 0.3,
    "method.weights.task": 1.0,
    "method.weights.gmc": 1.0,
}

M3IXUP = {  # reading R1
    "method.weights": {"task": 1.0, "gmc": 1.0, "unimodal": 0.5, "adapt": 0.5, "explore": 0.5, "task_mix": 0.0},
    "method.mixup_alpha": 1.0,
    "method.unimodal_mix": "one",
    "method.soft_targets": True,
    "method.adapt_members": "joint",
    "method.adapt_alpha": 1.0,
    "method.adapt_rate": 0.1,
    "method.adapt_max": 0.5,
    "method.explore_alpha": 1.0,
    "method.explore_rate": 0.1,
    "method.explore_labels": "initial",
    "method.update": "coefficients",
    "method.interpolation": "linear",
    "method.steps": "together",
}

TCMAX = {  # the public code's, CREMA-D's length
    "optimizer._target_": "trivium.optimizers.sgd",
    "optimizer.lr": 1e-3,
    "optimizer.momentum": 0.9,
    "optimizer.weight_decay": 1e-4,
    "optimizer.exempt_bias_and_norm": "none",
    "scheduler.factor": 0.1,
    "objective.form": "bound",
    "objective.negatives": 0,
}

SELF_MI = {
    "method.pair_estimator": "cpc",
    "method.pairs": [["text", "vision"], ["text", "audio"]],
    "method.direction": "paper",
    "method.features": "encoder",
    "method.joint": "fusion",
    "method.cpc_layers": 1,
    "method.ba_normalised": True,
    "method.faithful": False,
}


# ALMT's public code (methods/almt, sections 3 to 5); depth of the last fusion -> MOSI, MOSEI, SIMS
ALMT: dict[str, Any] = {
    "method.name": "almt",
    "method.head_hidden": [],
    "method.modality_dropout": 0.0,
    "objective._target_": "trivium.objectives.task.MSE",
    "data.batch_size": 64,
    "data.standardize": NOT_SCALED,
    "trainer.max_epochs": 200,
    "trainer.patience": 0,
    "trainer.select": "best",
    "trainer.gradient_clip": 0.0,
    "scheduler._target_": "trivium.schedulers.warmup_cosine",
    "scheduler.warmup_ratio": 0.1,
    "optimizer._target_": "trivium.optimizers.adamw",
    "optimizer.lr": 1e-4,
    "optimizer.groups.text.lr": 1e-4,
    "optimizer.weight_decay": 1e-4,
    "optimizer.exempt_bias_and_norm": "none",
    "encoder": {"_target_": "trivium.encoders.identity.Identity", "pool": "mean", "out": 0},
    "encoders.text.finetune": True,
    "encoders.text.out": 0,
    "fusion.dim": 128,
    "fusion.tokens": 8,
    "fusion.embed_depth": 1,
    "fusion.layers": 3,
    "fusion.heads": 8,
    "fusion.head_dim": 64,
    "fusion.feedforward": 128,
    "fusion.readout": "token",
}
DEPTHS = {"mosi": 2, "mosei": 4, "sims": 4}
BERTS = {"mosi": "bert-base-uncased", "mosei": "bert-base-uncased", "sims": "bert-base-chinese"}


# LNLN's public code (methods/lnln, sections 2 to 6); what it shares with ALMT is checked as ALMT's
OWN = {"method.name", "method.head_hidden", "fusion.embed_depth", "fusion.readout"}
LNLN: dict[str, Any] = {key: value for key, value in ALMT.items() if key not in OWN} | {
    "method.name": "lnln",
    "method.dim": 128,
    "method.tokens": 8,
    "method.depth": 2,
    "method.heads": 8,
    "method.head_dim": 64,
    "method.feedforward": 128,
    "method.hidden": 64,
    "method.reverse": "all",
    "method.detach_targets": False,
    "method.valid_rate": 0.5,
    "method.unknown_id": 100,
    "fusion.embed_depth": 0,
    "fusion.readout": "mean",
}
ADVERSARIAL = {"mosi": 0.8, "mosei": 0.8, "sims": 0.6}


def check(overrides: list[str], expected: dict[str, Any]) -> None:
    config = compose_config(overrides)
    # objective=auto stands for the one that a score gets.
    objective = type(build(config["objective"], Target(range=(-3.0, 3.0))))
    config["objective"]["_target_"] = f"{objective.__module__}.{objective.__qualname__}"
    found = {key: _at(config, key) for key in expected}
    assert found == expected


def _at(config: dict[str, Any], key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = value[part]
    return value


@pytest.mark.parametrize("column", [0, 1, 2], ids=["mosi", "mosei", "sims"])
@pytest.mark.parametrize(("method", "weight"), [("selfmi", 0.1), ("selfmm", 0.0)])
def test_self_mm_and_self_mi_have_mmsas_column(method: str, weight: float, column: int) -> None:
    expected = {key: values[column] for key, values in SELF_MM.items()}
    check(
        [f"experiment={method}_{expected['data.name']}"],
        expected | SELF_MI | {"method.name": method, "method.cpc_weight": weight, "method.pair_weight": weight},
    )


@pytest.mark.parametrize("column", [0, 1, 2], ids=["mosi", "mosei", "sims"])
def test_mmim_has_mmsas_settings(column: int) -> None:
    expected = {key: values[column] for key, values in MMIM.items()}
    check([f"experiment=mmim_{expected['data.name']}"], expected)


@pytest.mark.parametrize("column", [0, 1, 2], ids=["mosi", "mosei", "sims"])
def test_tetfn_has_mmsas_column(column: int) -> None:
    expected = {key: values[column] for key, values in TETFN.items()}
    check([f"experiment=tetfn_{expected['data.name']}"], expected)


@pytest.mark.parametrize("column", [0, 1, 2], ids=["mosi", "mosei", "sims"])
def test_misa_has_the_settings_of_mmsas_results(column: int) -> None:
    expected = {key: values[column] for key, values in MISA.items()}
    check([f"experiment=misa_{expected['data.name']}"], expected)


@pytest.mark.parametrize("column", [0, 1, 2], ids=["mosi", "mosei", "sims"])
def test_mag_bert_has_mmsas_settings(column: int) -> None:
    expected = {key: values[column] for key, values in MAG_BERT.items()}
    check([f"experiment=mag_bert_{expected['data.name']}"], expected)


@pytest.mark.parametrize("data", ["mosi", "mosei", "sims"])
def test_comm_has_its_published_settings(data: str) -> None:
    check(
        [f"experiment=comm_{data}"], {key: value for key, value in COMM.items() if data == "mosi" or "data." not in key}
    )


def test_comm_of_three_modalities_has_their_rate() -> None:
    three = {"data.modalities": ["vision", "text", "audio"], "optimizer.lr": 1e-4}
    check(["experiment=comm_mosi_trimodal"], COMM | three)


def test_supcon_has_its_own_temperature() -> None:
    check(["experiment=comm_mosi", "method=supcon"], COMM | {"method.temperature": 0.07})


@pytest.mark.parametrize("method", ["gmc", "m3ixup"])
@pytest.mark.parametrize("data", ["mosi", "mosei"])
def test_gmc_has_its_codes_settings_and_m3ixup_the_readings_on_top(method: str, data: str) -> None:
    check([f"experiment={method}_{data}"], GMC | {"data.name": data} | (M3IXUP if method == "m3ixup" else {}))


def test_tcmax_has_its_codes_optimiser_by_name() -> None:
    check(["method=tcmax", "optimizer=published/tcmax", "scheduler=step"], TCMAX)


@pytest.mark.parametrize("data", DEPTHS)
def test_almt_has_its_codes_settings(data: str) -> None:
    own = {"data.name": data, "fusion.depth": DEPTHS[data], "encoders.text.model": BERTS[data]}
    check([f"experiment=almt_{data}"], ALMT | own)


@pytest.mark.parametrize("data", DEPTHS)
def test_lnln_has_its_codes_settings(data: str) -> None:
    weights = {"task": 1.0, "completeness": 0.9, "adversarial": ADVERSARIAL[data], "reconstruction": 0.1}
    own = {"data.name": data, "fusion.depth": DEPTHS[data], "encoders.text.model": BERTS[data]}
    check([f"experiment=lnln_{data}"], LNLN | own | {"method.weights": weights})


# MMSA's config_regression.json of commit a94e65d: key -> MOSI, MOSEI, SIMS
_STOP: dict[str, tuple[Any, Any, Any]] = {
    "data.name": ("mosi", "mosei", "sims"),
    "trainer.patience": (8,) * 3,
    "trainer.min_delta": (1e-6,) * 3,
    "objective._target_": ("trivium.objectives.task.L1",) * 3,
    "optimizer._target_": ("trivium.optimizers.adam",) * 3,
}
TFN = _STOP | {
    "data.batch_size": (32, 128, 32),
    "optimizer.lr": (1e-3, 5e-3, 5e-4),
    "optimizer.weight_decay": (0.0,) * 3,
    "encoders.text.hidden": (128, 128, 128),
    "encoders.text.out": (32, 128, 256),
    "encoders.text.dropout": (0.0, 0.0, 0.0),  # of one layer, which MMSA sets to 0
    "encoders.audio.out": (32, 16, 32),
    "encoders.vision.out": (128, 128, 128),
    "fusion.out": (64, 16, 32),
    "fusion.dropout": (0.5, 0.4, 0.4),
    "method.head_hidden": ([64], [16], [32]),
}
LMF = _STOP | {
    "data.batch_size": (64, 32, 64),
    "optimizer.lr": (1e-3, 1e-3, 5e-4),  # factor_lr
    "optimizer.groups.text.lr": (None, None, 2e-3),  # learning_rate where it is another
    "optimizer.weight_decay": (5e-3, 1e-3, 5e-3),
    "optimizer.exempt_bias_and_norm": ("none",) * 3,
    "encoders.text.hidden": (128, 128, 64),
    "encoders.text.out": (64, 64, 32),  # half of it
    "encoders.text.dropout": (0.0, 0.0, 0.0),  # of one layer, which MMSA sets to 0
    "encoders.audio.out": (16, 16, 16),
    "encoders.vision.out": (128, 128, 64),
    "fusion.rank": (3, 4, 4),
    "fusion.out": (1, 1, 1),
}
MULT = _STOP | {
    "data.batch_size": (16, 4, 16),
    "data.standardize": (NOT_SCALED,) * 3,
    "trainer.accumulate_grad_batches": (8,) * 3,
    "trainer.gradient_clip": (0.6,) * 3,
    "trainer.gradient_clip_by": ("value",) * 3,
    "optimizer.lr": (2e-3, 5e-4, 2e-3),
    "optimizer.weight_decay": (0.0,) * 3,  # not passed on there
    "scheduler.factor": (0.1,) * 3,
    "scheduler.patience": (5, 20, 10),
    "fusion.width": (50, 30, 50),
    "fusion.heads": (10, 6, 10),
    "fusion.layers": (4, 4, 2),
    "fusion.input_dropout.text": (0.5, 0.3, 0.3),
    "fusion.embed_dropout": (0.2, 0.0, 0.1),
    "fusion.dropout": (0.0, 0.0, 0.2),  # res_dropout
    "fusion.attention_dropout.text": (0.3, 0.4, 0.2),
    "fusion.attention_dropout.audio": (0.2, 0.0, 0.1),
    "fusion.attention_dropout.vision": (0.0, 0.0, 0.0),
    "fusion.memory_dropout": (0.3, 0.4, 0.2),
    "method.head_hidden": ([],) * 3,
}
MISA_TODAY: dict[str, tuple[Any, Any, Any]] = {
    "data.name": ("mosi", "mosei", "sims"),
    "data.batch_size": (16, 64, 64),
    "trainer.accumulate_grad_batches": (2,) * 3,
    "trainer.gradient_clip": (0.8, 0.8, 1.0),
    "trainer.gradient_clip_by": ("value",) * 3,
    "optimizer.lr": (1e-4,) * 3,
    "optimizer.weight_decay": (0.0,) * 3,  # not passed on there
    "method.dropout": (0.2, 0.5, 0.0),
    "method.difference_weight": (0.1, 0.3, 0.3),
    "method.similarity_weight": (0.3, 0.8, 1.0),
    "method.reconstruction_weight": (1.0, 1.0, 0.8),
    "encoders.text.model": ("bert-base-uncased", "bert-base-uncased", "bert-base-chinese"),
    "encoders.text.finetune": (True,) * 3,
}


@pytest.mark.parametrize("column", [0, 1, 2], ids=["mosi", "mosei", "sims"])
@pytest.mark.parametrize(
    ("name", "settings"),
    [("tfn_{}", TFN), ("lmf_{}", LMF), ("mult_{}", MULT), ("misa_{}_mmsa", MISA_TODAY)],
    ids=["tfn", "lmf", "mult", "misa"],
)
def test_mmsas_models_have_its_settings_of_today(
    name: str, settings: dict[str, tuple[Any, Any, Any]], column: int
) -> None:
    expected = {key: values[column] for key, values in settings.items()}
    check([f"experiment={name.format(expected['data.name'])}"], expected)
