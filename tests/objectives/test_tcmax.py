"""TCMax's loss against its definition, tuple by tuple in float64: values, gradients, readings and drawn tuples."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tcmax_cases import (
    ADDITIVE_2,
    ADDITIVE_3,
    CLASSES,
    GENERAL_2,
    GENERAL_3,
    LAYOUTS,
    PARTLY,
    Blocks,
    Toy,
    all_tuples,
    batch_of,
    numpy_bound,
    objective,
    scores_at,
)
from torch import Tensor, nn

from trivium.data.batch import Batch
from trivium.objectives.factored import Factor, FactoredScores, merged
from trivium.objectives.tcmax import Joint, TCMax, Unimodal, draw_tuples
from trivium.objectives.tcmax_regression import TCMaxRegression

N = 5


def gradients(toy: nn.Module, loss: Tensor) -> list[Tensor]:
    found = torch.autograd.grad(loss, list(toy.parameters()), allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(toy.parameters(), found, strict=True)]


def singles(*tables_NC: Tensor, bias: Tensor | None = None) -> FactoredScores:
    """Additive scores whose parts are the scores themselves."""
    names = [chr(ord("a") + m) for m in range(len(tables_NC))]
    factors = tuple(
        Factor({m: table}, {m: torch.ones(len(table), dtype=torch.bool)}, lambda parts, _, m=m: parts[m], ())
        for m, table in zip(names, tables_NC, strict=True)
    )
    matched = torch.stack(tables_NC).sum(dim=0)
    return FactoredScores(matched if bias is None else matched + bias, {}, factors, bias)


def as_one_block(scores: FactoredScores, *together: int) -> FactoredScores:
    """The same scores with the numbered blocks (all, if none is) evaluated as one."""
    chosen = together or tuple(range(len(scores.factors)))
    rest = tuple(f for i, f in enumerate(scores.factors) if i not in chosen)
    return replace(scores, factors=(merged([scores.factors[i] for i in chosen]), *rest))


def plain_batch(labels_N: Tensor) -> Batch:
    """labels_N: classes of three."""
    count = len(labels_N)
    return Batch(
        {}, torch.ones(count, 2) > 0, {"multimodal": labels_N - 1.0}, torch.arange(count), torch.ones(count), (count,)
    )


@pytest.mark.parametrize("blocks", LAYOUTS)
def test_terms_equal_the_dense_table_in_numpy(blocks: Blocks) -> None:
    toy, batch = Toy(blocks), batch_of([m for block in sorted(sum(blocks, ())) for m in block])
    scores = toy.scores(batch)
    modalities = len(toy.names)
    labels = objective().classes(batch.targets["multimodal"]).numpy()
    table = scores_at(scores, all_tuples(N, modalities)).detach().numpy().reshape(*[N] * modalities, CLASSES)

    terms = objective(chunk=7).losses(scores, batch, key=0)

    expected = numpy_bound(table.reshape(-1, CLASSES), scores.matched.detach().numpy(), labels)
    assert terms["loss"].item() == pytest.approx(expected, abs=1e-12)
    assert terms["tc_estimate"].item() == pytest.approx(-expected, abs=1e-12)
    matched_p = [table[(i,) * modalities + (y,)] for i, y in enumerate(labels)] - np.log(np.exp(table).sum())
    assert terms["zero_min"].item() == pytest.approx(-matched_p.mean() - math.log(N), abs=1e-12)
    p = np.exp(table) / np.exp(table).sum()
    for axis, m in enumerate(m for block in blocks for m in block):
        marginal = np.moveaxis(p, axis, 0).reshape(N, -1, CLASSES).sum(axis=1)
        reading = -np.mean([math.log(marginal[i, y]) for i, y in enumerate(labels)]) - math.log(N)
        assert terms[f"reading_{m}"].item() == pytest.approx(reading, abs=1e-12)
    assert list(terms)[-1] == "loss"
    assert not any(value.requires_grad for name, value in terms.items() if name != "loss")


@pytest.mark.parametrize("chunk", [1, 7, 20, 10**6])
@pytest.mark.parametrize("blocks", LAYOUTS)
def test_gradients_equal_those_of_the_dense_table(blocks: Blocks, chunk: int) -> None:
    toy = Toy(blocks)
    batch = batch_of(toy.names)
    labels = objective().classes(batch.targets["multimodal"])
    scores = toy.scores(batch)
    table = scores_at(scores, all_tuples(N, len(toy.names)))
    dense = table.logsumexp(dim=(0, 1)) - scores.matched.gather(1, labels[:, None]).mean()
    loss = objective(chunk=chunk).losses(toy.scores(batch), batch, key=0)["loss"]
    for got, wanted in zip(gradients(toy, loss), gradients(toy, dense), strict=True):
        assert wanted.abs().max() > 1e-6  # every parameter of encoders, blocks and bias takes part
        torch.testing.assert_close(got, wanted, rtol=0, atol=1e-13)


@pytest.mark.parametrize("blocks", [ADDITIVE_2, ADDITIVE_3])
@pytest.mark.parametrize("form", ["bound", "zero_min"])
def test_closed_form_factorised_and_general_agree(blocks: Blocks, form: str) -> None:
    toy = Toy(blocks)
    batch = batch_of(toy.names)
    together = [lambda s: s, as_one_block, *([lambda s: as_one_block(s, 0, 2)] if len(blocks) == 3 else [])]
    results = []
    for arrange in together:
        for chunk in (6, 10**6):
            terms = objective(chunk=chunk, form=form).losses(arrange(toy.scores(batch)), batch, key=0)
            slopes = gradients(toy, terms["loss"])
            results.append((terms["loss"], *(terms[f"reading_{m}"] for m in toy.names), *slopes))
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("chunk", [1, 3, 5, 12, 64])
def test_no_more_tuples_than_the_chunk_are_scored_at_once_and_each_once_a_pass(chunk: int) -> None:
    toy, sizes = Toy(GENERAL_3), []
    batch = batch_of(toy.names)
    scores = toy.scores(batch)

    def counted(parts: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        result = scores.factors[0].score(parts, present)
        sizes.append(result[..., 0].numel())
        return result

    spied = replace(scores, factors=(replace(scores.factors[0], score=counted),))
    loss = objective(chunk=chunk).losses(spied, batch, key=0)["loss"]
    assert sum(sizes) == N**3
    loss.backward()
    assert sum(sizes) == 2 * N**3
    assert max(sizes) <= chunk


@pytest.mark.parametrize("modalities", [2, 3])
def test_constant_scores_give_zero(modalities: int) -> None:
    tables = torch.full((modalities, N, CLASSES), 3.7, dtype=torch.float64)
    batch = plain_batch(torch.tensor([0, 1, 2, 1, 0]))
    for scores in (singles(*tables), as_one_block(singles(*tables)), as_one_block(singles(*tables), 0, 1)):
        terms = objective(chunk=4).losses(scores, batch, key=0)
        assert terms["loss"].item() == pytest.approx(0, abs=1e-14)
        assert terms["zero_min"].item() == pytest.approx(math.log(N ** (modalities - 1) * CLASSES), abs=1e-14)


@pytest.mark.parametrize("modalities", [2, 3])
def test_floor_is_approached_by_a_large_diagonal_and_never_crossed(modalities: int) -> None:
    labels = torch.tensor([0, 1, 2, 1, 0])
    batch, floor = plain_batch(labels), -math.log(N ** (modalities - 1) * CLASSES)
    names = ["a", "b", "c"][:modalities]

    def score(parts: dict[str, Tensor], _: dict[str, Tensor], size: float) -> Tensor:
        product = torch.ones(())
        for m in names:
            product = product * parts[m][..., :N]  # one-hot rows: one where all are the same clip's
        return size * product.sum(dim=-1, keepdim=True) * parts["a"][..., N:]

    rows = torch.cat([torch.eye(N), F.one_hot(labels, CLASSES)], dim=1).double()
    here = {m: torch.ones(N, dtype=torch.bool) for m in names}
    for size, distance in ((1.0, None), (10.0, None), (40.0, 1e-12)):
        sized = lambda parts, present, size=size: score(parts, present, size)  # noqa: E731
        factor = Factor(dict.fromkeys(names, rows), here, sized, ())
        matched = size * F.one_hot(labels, CLASSES).double()
        loss = objective().losses(FactoredScores(matched, {}, (factor,), None), batch, key=0)["loss"].item()
        assert loss >= floor - 1e-14
        assert distance is None or loss <= floor + distance


@pytest.mark.parametrize("blocks", [ADDITIVE_3, PARTLY, GENERAL_3])
def test_only_the_positive_term_knows_which_rows_belong_together(blocks: Blocks) -> None:
    toy = Toy(blocks)
    batch = batch_of(toy.names)
    order = torch.tensor([3, 0, 4, 1, 2])

    def moved(names: list[str], labels: bool) -> Batch:
        present = batch.present.clone()
        for m in names:
            present[:, toy.names.index(m)] = batch.present[order, toy.names.index(m)]
        streams = {m: rows[order] if m in names else rows for m, rows in batch.streams.items()}
        targets = {"multimodal": batch.targets["multimodal"][order if labels else slice(None)]}
        return replace(batch, streams=streams, present=present, targets=targets)

    def loss_and_positive(on: Batch) -> tuple[float, float]:
        scores = toy.scores(on)
        labels = objective().classes(on.targets["multimodal"])
        positive = scores.matched.gather(1, labels[:, None]).mean().item()
        return objective(chunk=9).losses(scores, on, key=0)["loss"].item(), positive

    loss, positive = loss_and_positive(batch)
    assert loss_and_positive(moved(toy.names, labels=True))[0] == pytest.approx(loss, abs=1e-13)
    other, other_positive = loss_and_positive(moved(["b"], labels=False))
    assert abs(other - loss) > 1e-3
    assert other + other_positive == pytest.approx(loss + positive, abs=1e-13)


@pytest.mark.parametrize("blocks", LAYOUTS)
def test_scores_of_hundreds_stay_finite_in_float32(blocks: Blocks) -> None:
    toy = Toy(blocks).float()
    batch = batch_of(toy.names)
    with torch.no_grad():
        for block in toy.blocks:
            block.head.weight *= 200 * 3
    scores = toy.scores(batch)
    assert scores.matched.abs().max() > 200
    terms = objective(chunk=7).losses(scores, batch, key=0)
    assert all(value.isfinite() and value.dtype == torch.float32 for value in terms.values())
    assert all(slope.isfinite().all() for slope in gradients(toy, terms["loss"]))


@pytest.mark.parametrize("chunk", [7, 10**6])
@pytest.mark.parametrize("negatives", [0, 20])
@pytest.mark.parametrize("blocks", [ADDITIVE_2, PARTLY])
def test_autocast_changes_neither_value_nor_gradient(blocks: Blocks, negatives: int, chunk: int) -> None:
    toy = Toy(blocks).float()
    batch = batch_of(toy.names)
    scores = toy.scores(batch)
    plain = objective(chunk=chunk, negatives=negatives).losses(scores, batch, key=0)["loss"]
    plain_slopes = gradients(toy, plain)
    scores = toy.scores(batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = objective(chunk=chunk, negatives=negatives).losses(scores, batch, key=0)["loss"]
    cast_slopes = gradients(toy, cast)
    assert torch.equal(cast, plain)
    assert all(torch.equal(a, b) for a, b in zip(cast_slopes, plain_slopes, strict=True))


def test_halves_are_summed_in_float32_and_get_their_gradient_back_as_halves() -> None:
    toy = Toy(GENERAL_2).to(torch.bfloat16)
    batch = batch_of(toy.names)
    loss = objective(chunk=7).losses(toy.scores(batch), batch, key=0)["loss"]
    assert loss.dtype == torch.float32
    assert {slope.dtype for slope in gradients(toy, loss)} == {torch.bfloat16}
    assert loss.item() == pytest.approx(
        objective().losses(toy.double().scores(batch_of(toy.names)), batch, key=0)["loss"].item(), abs=0.05
    )


@pytest.mark.parametrize("blocks", LAYOUTS)
@pytest.mark.parametrize("negatives", [1, 9, -1])
def test_drawn_tuples_equal_numpy_and_the_dense_gradient(blocks: Blocks, negatives: int) -> None:
    toy = Toy(blocks)
    batch = batch_of(toy.names)
    labels = objective().classes(batch.targets["multimodal"])
    tuples_nM = draw_tuples(len(toy.names), N, negatives, key=42).T
    scores = toy.scores(batch)
    table = scores_at(scores, tuples_nM)
    expected = numpy_bound(table.detach().numpy(), scores.matched.detach().numpy(), labels.numpy())
    dense = table.logsumexp(dim=(0, 1)) - scores.matched.gather(1, labels[:, None]).mean()
    wanted = gradients(toy, dense)
    for chunk in (4, 10**6):
        terms = objective(negatives=negatives, chunk=chunk).losses(toy.scores(batch), batch, key=42)
        assert terms["loss"].item() == pytest.approx(expected, abs=1e-12)
        shift = math.log(N ** (len(toy.names) - 1) * CLASSES)
        assert terms["zero_min"].item() == pytest.approx(expected + shift, abs=1e-12)
        torch.testing.assert_close(gradients(toy, terms["loss"]), wanted, rtol=0, atol=1e-13)
        assert not [name for name in terms if name.startswith("reading")]


def test_drawn_tuples_are_uniform_independent_and_a_function_of_the_key() -> None:
    index_Mn = draw_tuples(2, 4, 20_000, key=1)
    assert index_Mn.shape == (2, 20_000)
    pairs = torch.bincount(index_Mn[0] * 4 + index_Mn[1], minlength=16) / 20_000
    assert (pairs - 1 / 16).abs().max() < 5 * math.sqrt(1 / 16 / 20_000)
    assert torch.equal(index_Mn, draw_tuples(2, 4, 20_000, key=1))
    assert not torch.equal(index_Mn, draw_tuples(2, 4, 20_000, key=2))
    in_order = draw_tuples(3, 50, -1, key=1)
    assert in_order.shape == (3, 50)
    assert in_order[0].tolist() == list(range(50)) != in_order[1].tolist()


def test_more_drawn_tuples_come_closer_to_all_of_them() -> None:
    toy = Toy(GENERAL_2)
    batch = batch_of(toy.names)
    whole = objective().losses(toy.scores(batch), batch, key=0)["loss"].item()
    drawn = objective(negatives=200_000, chunk=10**6).losses(toy.scores(batch), batch, key=0)["loss"].item()
    assert drawn == pytest.approx(whole, abs=0.01)


def test_blocks_that_share_a_parameter_give_it_one_gradient() -> None:
    weight = nn.Parameter(torch.randn(CLASSES, WIDTH := 4, dtype=torch.float64))
    rows = torch.randn(2, N, WIDTH, dtype=torch.float64)
    batch = plain_batch(torch.tensor([0, 1, 2, 1, 0]))
    here = torch.ones(N, dtype=torch.bool)
    factors = tuple(
        Factor({m: rows[i]}, {m: here}, lambda parts, _, m=m: parts[m] @ weight.T, (weight,))
        for i, m in enumerate("ab")
    )

    def slope(made: TCMax, arrange: Callable[[FactoredScores], FactoredScores]) -> Tensor:
        scores = arrange(FactoredScores(rows.sum(dim=0) @ weight.T, {}, factors, None))
        return torch.autograd.grad(made.losses(scores, batch, key=0)["loss"], weight)[0]

    closed, chunked = slope(objective(), lambda scores: scores), slope(objective(chunk=3), as_one_block)
    torch.testing.assert_close(chunked, closed, rtol=0, atol=1e-13)


def test_frozen_parts_and_parameters_are_left_alone() -> None:
    toy = Toy(GENERAL_2)
    batch = batch_of(toy.names)
    objective(chunk=3).losses(toy.scores(batch), batch, key=0)["loss"].backward()
    wanted = toy.encoders["a"].weight.grad.clone()
    toy.zero_grad()
    toy.blocks.requires_grad_(False)
    toy.encoders["b"].requires_grad_(False)
    objective(chunk=3).losses(toy.scores(batch), batch, key=0)["loss"].backward()
    torch.testing.assert_close(toy.encoders["a"].weight.grad, wanted, rtol=0, atol=1e-14)
    assert all(p.grad is None for p in (*toy.blocks.parameters(), *toy.encoders["b"].parameters()))


def test_one_clip_alone_is_cross_entropy_and_warned_about() -> None:
    toy = Toy(PARTLY)
    batch = batch_of(toy.names, shares=(1,))
    scores = toy.scores(batch)
    with pytest.warns(UserWarning, match="no negatives"):
        loss = objective().losses(scores, batch, key=0)["loss"]
    expected = F.cross_entropy(scores.matched, objective().classes(batch.targets["multimodal"])) - math.log(CLASSES)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-13)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        objective().losses(toy.scores(batch_of(toy.names)), batch_of(toy.names), key=0)


def test_tcmax_validates_and_decodes_as_cross_entropy_does() -> None:
    outputs, targets = torch.randn(4, 3), torch.tensor([-2.0, 0.0, 1.0, 3.0])
    assert torch.equal(
        objective()(outputs, targets), F.cross_entropy(outputs, torch.tensor([0, 1, 2, 2]), reduction="none")
    )
    score, probabilities = objective().decode(outputs)
    torch.testing.assert_close(probabilities, outputs.softmax(dim=1))
    torch.testing.assert_close(score, outputs.softmax(dim=1) @ torch.tensor([-1.5, 0.0, 1.5]))


def test_joint_is_the_cross_entropy_of_matched_scores() -> None:
    toy = Toy(PARTLY)
    batch = batch_of(toy.names)
    scores = toy.scores(batch)
    terms = Joint((-3.0, 3.0), classes=3).losses(scores, batch, key=0)
    labels = objective().classes(batch.targets["multimodal"])
    assert terms["loss"].item() == pytest.approx(F.cross_entropy(scores.matched, labels).item(), abs=1e-14)


def test_unimodal_is_each_modality_s_cross_entropy_over_the_clips_that_have_it() -> None:
    toy = Toy(PARTLY)
    batch = batch_of(toy.names)
    batch.present[:, 2] = False
    scores = toy.scores(batch)
    terms = Unimodal((-3.0, 3.0), classes=3).losses(scores, batch, key=0)
    labels = objective().classes(batch.targets["multimodal"])
    total = 0.0
    for column, m in enumerate(toy.names[:2]):
        here = batch.present[:, column]
        assert 0 < here.sum() < N or m == "a"
        expected = F.cross_entropy(scores.unimodal[m][here], labels[here])
        assert terms[f"unimodal_{m}"].item() == pytest.approx(expected.item(), abs=1e-13)
        total += expected.item()
    assert terms["unimodal_c"].item() == 0
    assert terms["loss"].item() == pytest.approx(total, abs=1e-13)


@pytest.mark.parametrize("blocks", LAYOUTS)
@pytest.mark.parametrize(("negatives", "chunk"), [(0, 11), (0, 10**6), (13, 5)])
def test_regression_equals_its_definition(blocks: Blocks, negatives: int, chunk: int) -> None:
    toy, s = Toy(blocks, outputs=1), 0.7
    batch = batch_of(toy.names)
    y, scores = batch.targets["multimodal"], toy.scores(batch)
    count = len(toy.names) + 1
    tuples = draw_tuples(count, N, negatives, key=3).T if negatives else all_tuples(N, count)
    predicted = scores_at(scores, tuples[:, :-1])[:, 0]
    table = -((y[tuples[:, -1]] - predicted) ** 2) / (2 * s**2)
    matched = -((y - scores.matched[:, 0]) ** 2) / (2 * s**2)
    dense = table.logsumexp(dim=0) - math.log(len(tuples)) - matched.mean()

    regression = TCMaxRegression((-3.0, 3.0), scale=s, negatives=negatives, chunk=chunk)
    terms = regression.losses(toy.scores(batch), batch, key=3)
    assert list(terms) == ["tc_estimate", "zero_min", "loss"]
    assert terms["loss"].item() == pytest.approx(dense.item(), abs=1e-12)
    assert terms["zero_min"].item() == pytest.approx(dense.item() + len(toy.names) * math.log(N), abs=1e-12)
    torch.testing.assert_close(gradients(toy, terms["loss"]), gradients(toy, dense), rtol=0, atol=1e-12)
    torch.testing.assert_close(regression(scores.matched, y), (scores.matched[:, 0] - y) ** 2)
    assert torch.equal(regression.decode(scores.matched)[0], scores.matched[:, 0])


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"chunk": 0}, "objective.chunk: expected at least 1"),
        ({"negatives": -2}, "objective.negatives: -2; expected 0"),
        ({"form": "zero"}, "objective.form: expected one of bound, zero_min, found 'zero'"),
    ],
)
def test_settings_out_of_range_are_refused(keys: dict[str, object], message: str) -> None:
    for made in (lambda **k: TCMax((-3.0, 3.0), **k), TCMaxRegression):
        with pytest.raises(ValueError, match=message):
            made(**keys)
    with pytest.raises(ValueError, match=r"objective.scale: expected a number above 0"):
        TCMaxRegression(scale=0.0)
