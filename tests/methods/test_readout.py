"""The fitted linear map of methods that are scored by a probe: no cast of the model around it rounds it."""

import torch
from torch import nn

from trivium.methods.readout import Readout


def fitted() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(3)
    weight, bias = (torch.randn(*shape, generator=draw, dtype=torch.float64) for shape in ((2, 5), (2,)))
    model = nn.ModuleDict({"encoder": nn.Linear(5, 5), "readout": Readout(5, 2)}).to(torch.bfloat16)
    model["readout"].set(weight, bias)
    return model, weight, bias


def test_a_half_precision_model_has_its_map_in_float32() -> None:
    model, weight, bias = fitted()
    features = torch.linspace(-1, 1, 15).view(3, 5).to(torch.bfloat16)
    expected = features.double() @ weight.T + bias
    outputs = model["readout"](features)
    assert model["encoder"].weight.dtype == torch.bfloat16
    assert outputs.dtype == torch.float32
    torch.testing.assert_close(outputs.double(), expected, rtol=1e-6, atol=1e-6)


def test_a_cast_after_fitting_rounds_nothing() -> None:
    model, weight, _ = fitted()
    torch.testing.assert_close(model.half()["readout"].weight, weight.float(), rtol=0, atol=0)


def test_a_float64_model_has_its_map_in_float64() -> None:
    model, weight, _ = fitted()
    model.double()["readout"].set(weight, weight[:, 0])
    torch.testing.assert_close(model["readout"].weight, weight, rtol=0, atol=0)
