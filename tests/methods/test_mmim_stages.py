"""MMIM's two stages in a training: what each of them moves, what the memory holds, and what resuming brings back."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from trivium.config.compose import compose_config
from trivium.data.batch import Batch
from trivium.encoders.base import Encoded
from trivium.methods.base import Method
from trivium.methods.mmim import MMIM
from trivium.runs.assemble import assemble
from trivium.runs.resume import open_run
from trivium.runs.trainer import make_trainer

BASE = ["method=mmim", "trainer.accelerator=cpu", "trainer.progress=off", "trainer.limit_batches=5"]
BASE += ["encoder.hidden=8", "encoder.out=8", "data.batch_size=48", "trainer.gradient_clip=1", "trainer.max_epochs=2"]


class Watch:
    """Keeps the weights before and after each stage, the steps of the first one, and each batch's terms and memory."""

    def __init__(self, method: MMIM) -> None:
        self.stages: list[tuple[dict[str, Tensor], dict[str, Tensor]]] = []
        self.terms: list[tuple[int, int, float]] = []
        self.steps = 0
        self.batches: list[list[Batch]] = []  # of each epoch, as the second stage sees them
        fit, step, losses = method._fit_conditionals, method._step_conditionals, method.losses

        def watched_fit() -> None:
            before = _weights(method)
            self.batches.append([])
            fit()
            self.stages.append((before, _weights(method)))

        def watched_step(loss: Tensor, optimizer: Any) -> None:
            self.steps += 1
            step(loss, optimizer)

        def watched_losses(batch: Batch) -> dict[str, Tensor]:
            terms = losses(batch)
            if self.batches:
                self.batches[-1].append(batch)
            if "text__vision" in method.entropies:
                held = len(method.memory["text__vision"])
                self.terms.append((method.position[1], held, float(terms["entropy_text_vision"])))
            return terms

        method._fit_conditionals = watched_fit  # type: ignore[method-assign]
        method._step_conditionals = watched_step  # type: ignore[method-assign]
        method.losses = watched_losses  # type: ignore[method-assign]


def _weights(method: Method) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in method.state_dict().items()}


def _method(tmp_path: Path, *overrides: str) -> MMIM:
    config = compose_config([*BASE, f"paths.data={tmp_path}", f"paths.outputs={tmp_path}", *overrides])
    method = assemble(config)[2]
    assert isinstance(method, MMIM)
    return method


def _fit(tmp_path: Path, *overrides: str) -> tuple[MMIM, Watch]:
    config = compose_config([*BASE, f"paths.data={tmp_path}", f"paths.outputs={tmp_path}", *overrides])
    run = open_run(config, [])
    _, data, method = assemble(config)
    assert isinstance(method, MMIM)
    trainer, _ = make_trainer(config, run)
    watch = Watch(method)
    trainer.fit(method, datamodule=data)
    run.release()
    return method, watch


def test_2_the_first_stage_moves_q_alone_and_the_second_everything_but_q(tmp_path: Path) -> None:
    method, watch = _fit(tmp_path)
    start = _weights(_method(tmp_path))
    (before, fitted), (trained, _) = watch.stages
    assert before.keys() == start.keys()
    for name, value in start.items():
        torch.testing.assert_close(before[name], value, rtol=0, atol=0)
        in_q, fixed = name.startswith("conditionals."), name.startswith("entropies.")
        assert torch.equal(fitted[name], value) != in_q, name
        assert torch.equal(trained[name], fitted[name]) == (in_q or fixed), name
        if fixed:
            assert torch.equal(method.state_dict()[name], value)


def test_3_the_entropy_counts_from_the_third_batch_of_an_epoch_on(tmp_path: Path) -> None:
    _, watch = _fit(tmp_path)
    assert [(batch, held) for batch, held, _ in watch.terms] == [(n, 1) for n in range(5)] * 2
    assert [value != 0 for *_, value in watch.terms] == [False, False, True, True, True] * 2


def test_3_a_longer_memory_fills_up_and_delays_the_entropy(tmp_path: Path) -> None:
    _, watch = _fit(tmp_path, "method.memory_batches=2")
    assert [held for _, held, _ in watch.terms] == [1, 2, 2, 2, 2] * 2
    assert [value != 0 for *_, value in watch.terms] == [False, False, False, True, True] * 2


def test_3_a_checkpoint_holds_the_memory_and_which_epoch_is_fitted(tmp_path: Path) -> None:
    method, _ = _fit(tmp_path)
    checkpoint: dict[str, Any] = {}
    method.on_save_checkpoint(checkpoint)
    other = _method(tmp_path)
    other.trainer = method.trainer
    other.on_load_checkpoint(checkpoint)
    assert other.fitted_epoch == 1
    rows, labels = method.memory["text__audio"][0]
    assert len(rows) == 48
    torch.testing.assert_close(other.memory["text__audio"], [(rows, labels)], rtol=0, atol=0)


@pytest.mark.parametrize(("share", "steps"), [(1.0, 5), (0.5, 3)])
def test_4_the_first_stage_visits_its_share_of_the_batches_rounded_up(tmp_path: Path, share: float, steps: int) -> None:
    _, watch = _fit(tmp_path, f"method.first_stage={share}")
    assert watch.steps == 2 * steps == 2 * math.ceil(share * 5)


def test_9_without_the_two_weights_it_is_training_on_the_task_from_the_same_start(tmp_path: Path) -> None:
    with_terms = _weights(_method(tmp_path))
    method = _method(tmp_path, "method.cpc_weight=0", "method.ba_weight=0")
    for name, value in method.state_dict().items():
        assert torch.equal(value, with_terms[name]), name
    assert not method.pairs
    config = compose_config([*BASE, f"paths.data={tmp_path}", f"paths.outputs={tmp_path}"])
    batch = next(iter(assemble(config)[1].loader("train")))
    terms = method.losses(batch)
    assert set(terms) == {"task", "loss"}
    assert torch.equal(terms["task"], terms["loss"])
    score = method.eval().predict(batch).score
    torch.testing.assert_close(method.losses(batch)["loss"], (score - batch.targets["multimodal"]).abs().mean())


@pytest.mark.parametrize(
    "switch",
    [
        ["method.stages=one"],
        ["method.ba_normalised=true", "method.direction=paper"],
        ["method.initialisation=torch", "method.direction=symmetric", "method.cpc_layers=2"],
        ["method.stand_in=learned", "method.modality_dropout=0.3"],
        ["method.stand_in=conditional", "method.modality_dropout=0.3", "method.ba_weight=0"],
        ["method.pairs=[[text,vision],[text,audio],[vision,audio]]"],
        ["data.modalities=[audio,text]", "trainer.accumulate_grad_batches=2"],
        ["data.batch_size=1"],
        ["objective=cross_entropy", "fusion=mult", "fusion.layers=1"],
    ],
    ids=" ".join,
)
def test_every_switch_trains(tmp_path: Path, switch: list[str]) -> None:
    method, _ = _fit(tmp_path, *switch)
    assert all(bool(value.isfinite().all()) for value in method.state_dict().values())
    assert all(parameter.requires_grad for parameter in method.conditionals.parameters())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["method.first_stage=0"], "method.first_stage: expected a share above 0 and at most 1, found 0"),
        (["method.memory_batches=0"], "method.memory_batches: expected at least 1, found 0"),
        (["method.stand_in=conditional", "fusion=transformer"], "expected a fusion of vectors such as fusion=concat"),
        (["method.pairs=[[text,smell]]"], "expected two modalities of"),
        (
            ["method.clip_norm=all", "method.stages=one"],
            "method.clip_norm=all: .* expected method.stages=two, found one",
        ),
    ],
)
def test_what_is_out_of_range_is_refused_by_name(tmp_path: Path, settings: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _method(tmp_path, *settings)


def lld(method: MMIM, encoded: dict[str, Encoded], x: str, y: str) -> Tensor:
    """The public code's, by hand: without the log of the variance."""
    q: Any = method.conditionals[f"{x}__{y}"]
    mean, logvar = q.mu(encoded[x].pooled), q.logvar(encoded[x].pooled)
    return -((mean - encoded[y].pooled).square() / (2 * logvar.exp())).sum(dim=1).mean()


def entropy(rows: Tensor, labels: Tensor) -> Tensor:
    """Half of each class's Gaussian entropy, with the guard."""
    total = torch.zeros((), dtype=rows.dtype)
    for chosen in (labels > 0, labels < 0):
        centred = rows[chosen] - rows[chosen].mean(dim=0)
        covariance = centred.T @ centred / int(chosen.sum()) + 1e-4 * torch.eye(rows.shape[1], dtype=rows.dtype)
        total = total + 0.25 * covariance.det().log()
    return total


def as_the_public_code(method: MMIM, epochs: list[list[Batch]], limit: float, window: int = 1) -> list[float]:
    """Two stages an epoch with an Adam each, where the norm is of every gradient of the model; the norms."""
    q, projections = list(method.conditionals.parameters()), list(method.entropies.parameters())
    everything = list(method.parameters())
    apart = {id(parameter) for parameter in (*q, *projections)}
    adam_q = torch.optim.Adam(q, lr=0.001, weight_decay=1e-4)
    adam = torch.optim.Adam([p for p in everything if id(p) not in apart], lr=0.001, weight_decay=1e-4)
    norms = []
    for parameter in everything:
        parameter.requires_grad_(True)
    for batches in epochs:
        for batch in batches:
            method.zero_grad(set_to_none=True)
            encoded = method.encode(batch)
            (-sum(lld(method, encoded, x, y) for x, y in method.pairs)).backward()  # type: ignore[union-attr]
            norms.append(float(torch.nn.utils.clip_grad_norm_(everything, limit)))
            adam_q.step()
        memory: dict[str, tuple[Tensor, Tensor]] = {}
        method.zero_grad(set_to_none=True)
        for number, batch in enumerate(batches):
            encoded = method.encode(batch)
            joint = method.fuse(encoded, batch.present)
            loss = (method.head(joint)[:, 0] - batch.target).abs().mean()
            loss = loss + sum(weight * value for weight, value in method._cpc(batch, encoded, joint).values())
            for x, y in method.pairs:
                rows = method.entropies[f"{x}__{y}"](encoded[y].pooled)
                loss = loss - 0.1 * lld(method, encoded, x, y)
                if number > 1:
                    before, labels = memory[y]
                    loss = loss - 0.1 * entropy(torch.cat([rows, before]), torch.cat([batch.target, labels]))
                memory[y] = rows.detach(), batch.target
            (loss / window).backward()
            if number % window == window - 1:
                norms.append(float(torch.nn.utils.clip_grad_norm_(everything, limit)))
                adam.step()
                method.zero_grad(set_to_none=True)
    return norms


@pytest.mark.parametrize("settings", [["trainer.gradient_clip=0"], ["trainer.gradient_clip_by=value"]])
def test_the_norm_of_all_gradients_is_refused_where_there_is_none(tmp_path: Path, settings: list[str]) -> None:
    with pytest.raises(
        ValueError, match=r"method\.clip_norm=all: there is no norm to clip by; set trainer\.gradient_clip"
    ):
        _fit(tmp_path, "method.clip_norm=all", *settings)


@pytest.mark.parametrize("window", [1, 2])
def test_the_norm_of_all_gradients_is_the_public_code_s(tmp_path: Path, window: int) -> None:
    exact = ["debug=exact", "trainer.limit_batches=4", "trainer.gradient_clip=0.3"]
    exact += [f"trainer.accumulate_grad_batches={window}"]
    method, watch = _fit(tmp_path, *exact, "method.clip_norm=all", "run.dir=" + str(tmp_path / "all"))
    by_hand = _method(tmp_path, *exact).double()
    assert [len(batches) for batches in watch.batches] == [4, 4]
    norms = as_the_public_code(by_hand, watch.batches, 0.3, window)
    assert len(norms) == 2 * (4 + 4 // window)
    assert min(norms) > 0.3  # so that each step was clipped
    for name, value in by_hand.state_dict().items():
        torch.testing.assert_close(method.state_dict()[name], value, rtol=0, atol=1e-10)
    stepped, _ = _fit(tmp_path, *exact, "run.dir=" + str(tmp_path / "stepped"))
    moved = {
        name for name, value in stepped.state_dict().items() if (method.state_dict()[name] - value).abs().max() > 1e-9
    }
    # Adam takes the scale of a gradient away but for what differs between steps
    assert any(name.startswith("conditionals.") for name in moved)
    assert any(name.startswith("encoders.") for name in moved)
    assert all(parameter.grad is None for parameter in method.entropies.parameters())
    assert not any(parameter.requires_grad for parameter in method.entropies.parameters())


def test_the_optimiser_has_a_rate_of_q_s_own(tmp_path: Path) -> None:
    method, _ = _fit(tmp_path, "optimizer.groups.conditionals.lr=0.005")
    groups = {group["role"]: group for group in method.trainer.optimizers[0].param_groups}
    assert groups["conditionals"]["lr"] == 0.005
    assert groups["rest"]["lr"] == 0.001
    assert {id(p) for p in groups["conditionals"]["params"]} == {id(p) for p in method.conditionals.parameters()}
