"""The contract of a method: what losses and predict return is checked at the first training step, by name."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn

from batches import DIMS, batch_of
from trivium.data.batch import Batch
from trivium.encoders.identity import Identity
from trivium.fusions.concat import Concat
from trivium.methods.base import Method, Parts, Prediction
from trivium.methods.options import Options, split_options
from trivium.methods.trainable import trainable
from trivium.objectives.task import L1


def parts() -> Parts:
    encoders: Any = {name: Identity(size, out=4) for name, size in DIMS.items()}
    return Parts(encoders, Concat(dict.fromkeys(DIMS, 4), out=3), L1(), 5, 3.0, 1)


class Mine(Method):
    """Returns what a test wants it to; `outcome` and `prediction` are functions of the method and a loss a clip."""

    outcome: Any = staticmethod(lambda batch, loss_B: {"loss": batch.mean(loss_B)})
    prediction: Any = staticmethod(lambda method, outputs, joint: method.decode(outputs, joint))

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self.head, self.modes = nn.Linear(3, 1), list[bool]()

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        outputs = self.head(self.fuse(self.encode(batch), batch.present))
        result: dict[str, Tensor] = self.outcome(batch, self.objective(outputs, batch.targets["multimodal"]))
        return result

    def predict(self, batch: Batch) -> Prediction:
        self.modes.append(self.training)
        joint = self.fuse(self.encode(batch), batch.present)
        result: Prediction = self.prediction(self, self.head(joint), joint)
        return result


def made(**functions: Any) -> Mine:
    kind = type("Mine", (Mine,), {name: staticmethod(function) for name, function in functions.items()})
    method: Mine = kind(parts()).double()
    return method


@pytest.mark.parametrize(
    ("outcome", "error", "message"),
    [
        (lambda batch, loss_B: batch.mean(loss_B), TypeError, r"Mine.losses returned a Tensor; expected a dict of"),
        (lambda batch, loss_B: {"loss": 1.0}, TypeError, r"Mine.losses returned a float as 'loss'; expected a dict"),
        (lambda batch, loss_B: {"loss": loss_B}, ValueError, r"shape \(5,\) as 'loss'; expected .* Batch.mean makes"),
        (lambda batch, loss_B: {"task": batch.mean(loss_B)}, ValueError, r"Mine.losses returned the terms task; expec"),
        (lambda batch, loss_B: {}, ValueError, r"Mine.losses returned the terms of an empty dict; expected a dict"),
    ],
)
def test_losses_that_are_no_named_scalars_are_refused(outcome: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        made(outcome=outcome).training_step(batch_of(range(5)), 0)


def test_a_predict_that_returns_no_prediction_is_refused_before_an_epoch_is_over() -> None:
    with pytest.raises(TypeError, match=r"Mine.predict returned a Tensor; expected a trivium.methods.base.Prediction"):
        made(prediction=lambda method, outputs, joint: outputs).training_step(batch_of(range(5)), 0)


def test_the_check_runs_once_in_evaluation_mode_and_leaves_the_modes_as_they_were() -> None:
    method = made()
    method.encoders["text"].eval()  # as a frozen encoder may be
    for number in range(2):
        output = method.training_step(batch_of(range(5)), number)
        assert output["loss"].requires_grad
        assert output["unscaled"].item() == output["loss"].item()
    assert method.modes == [False]
    assert method.training
    assert not method.encoders["text"].training


def test_a_method_without_losses_or_predict_cannot_be_made() -> None:
    with pytest.raises(TypeError, match=r"abstract.*losses"):
        type("Empty", (Method,), {})(parts())


def test_a_trained_method_is_a_lightning_module_and_otherwise_what_it_was() -> None:
    plain = Mine(parts()).double()
    kind = trainable(type(plain))
    lightning: Any = kind(parts()).double()
    assert isinstance(lightning, L.LightningModule)
    assert not isinstance(plain, L.LightningModule)
    assert (kind.__name__, kind.__module__, trainable(type(plain))) == ("Mine", __name__, kind)
    assert list(lightning.state_dict()) == list(plain.state_dict())
    lightning.load_state_dict(plain.state_dict())
    lightning.trainer = SimpleNamespace(current_epoch=3)
    for method, epoch in ((plain, 0), (lightning, 3)):
        assert method.current_epoch == epoch
        assert method.device == torch.device("cpu")
    lightning.trainer.current_epoch = 0  # the key of a step's random numbers
    losses = [method.training_step(batch_of(range(5)), 0)["loss"].item() for method in (plain, lightning)]
    assert losses[0] == losses[1]


def test_shared_options_are_split_from_a_method_s_own_settings() -> None:
    settings = {"head_hidden": [4], "mixup": "input", "mixup_weight": 0.5, "stand_in": "learned"}
    options, own = split_options(settings, ("modality_dropout", "mixup"))
    assert options == Options(mixup="input", mixup_weight=0.5)
    assert own == {"head_hidden": [4], "stand_in": "learned"}  # not shared: the constructor refuses it by name


def test_finishing_an_epoch_gives_its_means_and_starts_the_next() -> None:
    method = made()
    batch = batch_of(range(5))
    losses = [torch.stack([method.training_step(batch, n)["unscaled"]]).item() for n in range(2)]
    assert method.finish_epoch() == pytest.approx({"loss": sum(losses) / 2})
    assert method.finish_epoch() == {}
