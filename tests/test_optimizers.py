"""Parameter groups: which parameter trains at which rate and decay."""

from typing import Any

import pytest
import torch
from torch import nn

from trivium.optimizers import adam, adamw, parameter_groups, sgd


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict({"text": nn.Linear(3, 2), "audio": nn.Linear(4, 2)})
        self.head = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
        self.cls = nn.Parameter(torch.zeros(1, 1, 2))
        self.frozen = nn.Parameter(torch.zeros(2, 2), requires_grad=False)


def by_name(model: Any, groups: list[dict[str, Any]]) -> dict[str, tuple[float, float]]:
    """parameter's name -> (lr, weight decay), each exactly once."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = [(names[id(p)], (g["lr"], g["weight_decay"])) for g in groups for p in g["params"]]
    assert len(found) == len(dict(found))
    return dict(found)


def test_every_trained_parameter_is_in_one_group_and_biases_and_norms_are_not_decayed() -> None:
    model: Any = Model()
    found = by_name(model, parameter_groups(model, 0.1, 0.01, "all", None))
    assert found.keys() == {name for name, p in model.named_parameters() if p.requires_grad}
    decayed = {name for name, (_, decay) in found.items() if decay == 0.01}
    assert decayed == {"encoders.text.weight", "encoders.audio.weight", "head.0.weight", "cls"}
    assert {lr for lr, _ in found.values()} == {0.1}


def test_a_modality_s_own_rate_and_decay_are_its_own_and_null_inherits() -> None:
    model: Any = Model()
    groups = {"text": {"lr": 5e-5, "weight_decay": 0.001}, "audio": {"lr": None, "weight_decay": 0.2}}
    found = by_name(model, parameter_groups(model, 0.1, 0.01, "none", groups))
    assert found["encoders.text.weight"] == found["encoders.text.bias"] == (5e-5, 0.001)
    assert found["encoders.audio.weight"] == (0.1, 0.2)
    assert found["head.1.weight"] == (0.1, 0.01)


def test_exemption_of_the_text_encoder_alone() -> None:
    model: Any = Model()
    found = by_name(model, parameter_groups(model, 0.1, 0.01, "text", None))
    assert {name for name, (_, decay) in found.items() if decay == 0.0} == {"encoders.text.bias"}


def test_an_encoder_s_own_rate_holds_unless_a_group_names_one() -> None:
    model: Any = Model()
    model.encoders["text"].lr = 2e-5
    assert by_name(model, parameter_groups(model, 0.1, 0.0, "all", None))["encoders.text.weight"][0] == 2e-5
    named = parameter_groups(model, 0.1, 0.0, "all", {"text": {"lr": 0.3}})
    assert by_name(model, named)["encoders.text.weight"][0] == 0.3


def test_an_unknown_exemption_is_refused() -> None:
    with pytest.raises(ValueError, match=r"exempt_bias_and_norm: expected one of all, text, none, found 'some'"):
        parameter_groups(Model(), 0.1, 0.0, "some", None)  # type: ignore[arg-type]


def test_decay_is_coupled_in_adam_and_decoupled_in_adamw() -> None:
    """With a zero gradient AdamW only shrinks the weights; Adam divides the decay by its own size, so takes lr."""
    for make, expected in ((adamw, 1 - 0.1 * 0.5), (adam, 1 - 0.1)):
        model: Any = Model()
        with torch.no_grad():
            model.cls.fill_(1.0)
        optimizer = make(model, lr=0.1, weight_decay=0.5)
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        assert model.cls.flatten().tolist() == pytest.approx([expected] * 2, rel=1e-6)


def test_sgd_has_momentum() -> None:
    model: Any = Model()
    optimizer = sgd(model, lr=0.1, weight_decay=0.0, momentum=0.5)
    for _ in range(2):
        model.cls.grad = torch.ones_like(model.cls)
        optimizer.step()
    assert model.cls.flatten().tolist() == pytest.approx([-0.1 * (1 + 1.5)] * 2)
