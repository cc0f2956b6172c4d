"""Weights saved under the names of version 0.1.0 load into parts that have been renamed since."""

from __future__ import annotations

import pickle

import pytest
import torch
from torch import nn

from trivium.encoders.lstm import LSTM
from trivium.encoders.old_names import accept_old_names, with_current_names
from trivium.encoders.transformer import Transformer
from trivium.fusions.mult import MulT
from trivium.fusions.transformer import TransformerFusion
from trivium.methods.gmc import TaskHead

CASES = {
    "lstm": (
        lambda: LSTM(3, hidden=4, layers=2, bidirectional=True),
        {"forward_cells.": "ahead.", "backward_cells.": "back."},
    ),
    "transformer": (
        lambda: Transformer(3, dim=8, heads=2),
        {"in_proj.": "queries_keys_values.", "out_proj.": "out.", "linear1.": "widen.", "linear2.": "narrow.",
         "norm1.": "attention_norm.", "norm2.": "feedforward_norm."},
    ),
    "fusion": (
        lambda: TransformerFusion({"text": 8, "audio": 3}, dim=8, heads=2),
        {"out_proj.": "out.", "linear1.": "widen.", "linear2.": "narrow.", "norm1.": "attention_norm.",
         "norm2.": "wide_norm."},
    ),
    "mult": (
        lambda: MulT({"text": 8, "audio": 3}, width=4, heads=2, layers=2),
        {"in_proj_": "into_", "out_proj_": "out_", "linear1": "widen", "linear2": "narrow", "norm1_": "attention_",
         "norm2_": "wide_", "norm_": "last_"},
    ),
    "predictor of GMC": (lambda: TaskHead(4, 2), {"linear1.": "widen.", "linear2.": "narrow."}),
}  # fmt: skip


def as_before(weights, old_of):
    renamed = {}
    for name, value in weights.items():
        for new, old in old_of.items():
            name = name.replace(new, old)
        renamed[name] = value
    return renamed


@pytest.mark.parametrize("case", CASES)
def test_weights_under_old_names_load_and_are_saved_under_new_ones(case):
    make, old_of = CASES[case]
    trained, fresh = make(), make()
    weights = {name: torch.randn_like(value) for name, value in trained.state_dict().items()}
    old = as_before(weights, old_of)
    assert set(old) != set(weights)
    untouched = list(old)
    fresh.load_state_dict(old)
    assert list(old) == untouched
    loaded = fresh.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in weights.items())
    assert set(with_current_names(nn.ModuleDict({"part": fresh}), {f"part.{name}": v for name, v in old.items()})) == {
        f"part.{name}" for name in weights
    }


def test_a_name_that_never_was_is_still_refused():
    module = nn.ModuleDict({"linear1": nn.Linear(2, 2)})
    accept_old_names(module, {"widen.": "linear1."})
    with pytest.raises(RuntimeError, match=r"Unexpected key.*other\.weight"):
        module.load_state_dict({"widen.weight": torch.zeros(2, 2), "widen.bias": torch.zeros(2), "other.weight": 0})
    assert pickle.loads(pickle.dumps(module))["linear1"].weight.shape == (2, 2)
