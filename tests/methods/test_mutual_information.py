"""The estimators of mutual information as what they are used for: losses that encoders are trained by."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trivium.methods.mutual_information import LEAST_LOGVAR, FusionCPC, PairMI

CLIPS, WIDTH = 64, 16
SHIPPED: dict[str, dict[str, Any]] = {
    "cpc, paper": {"estimator": "cpc", "direction": "paper"},
    "cpc, code": {"estimator": "cpc", "direction": "code"},
    "cpc, symmetric": {"estimator": "cpc", "direction": "symmetric"},
    "ba": {"estimator": "ba"},
    "ba, fitted apart": {"estimator": "ba", "separate": True},
    "ba, fitted apart, without the log variance": {"estimator": "ba", "separate": True, "normalised": False},
    "ba, MMIM's own form": {"estimator": "ba", "separate": True, "normalised": False, "standardised": False},
}


def pair_mi(width: int = WIDTH, **settings: Any) -> PairMI:
    settings = {"direction": "paper", "separate": False, "normalised": True, "standardised": True, **settings}
    return PairMI([("text", "audio")], {"text": width, "audio": width}, layers=1, **settings)


def loss_of(pair: PairMI, vectors: dict[str, Tensor], labels_N: Tensor) -> Tensor:
    everyone = dict.fromkeys(vectors, torch.ones(len(labels_N), dtype=torch.bool))
    per_clip, _, whole = pair(vectors, vectors, everyone, labels_N, slice(0, len(labels_N)))["text", "audio"]
    return per_clip.mean() + (0.0 if whole is None else whole)


def deviations(encoders: nn.ModuleDict, generator: torch.Generator) -> dict[str, float]:
    """Modality -> mean over features of the standard deviation of its vectors."""
    with torch.no_grad():
        noise = {name: torch.randn(1000, 8, generator=generator) for name in encoders}
        return {name: float(encoder(noise[name]).std(dim=0).mean()) for name, encoder in encoders.items()}


@pytest.mark.parametrize("estimator", SHIPPED)
def test_no_estimator_collapses_encoders_of_independent_noise(estimator: str) -> None:
    """There is nothing to find, so nothing to gain: vectors stay spread, and the loss stays above its bound."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    encoders = nn.ModuleDict({name: nn.Linear(8, WIDTH) for name in ("text", "audio")})
    pair = pair_mi(**SHIPPED[estimator])
    fusion = FusionCPC(2 * WIDTH, dict.fromkeys(encoders, WIDTH), layers=1, direction="paper")
    before = deviations(encoders, generator)
    optimizer = torch.optim.Adam([*encoders.parameters(), *pair.parameters(), *fusion.parameters()], lr=1e-2)
    losses = []
    for _ in range(400):
        vectors = {name: encoder(torch.randn(CLIPS, 8, generator=generator)) for name, encoder in encoders.items()}
        loss = loss_of(pair, vectors, torch.randn(CLIPS, generator=generator))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    after = deviations(encoders, generator)
    for name, spread in before.items():
        assert after[name] > 0.3 * spread, f"{name}: {spread:.3g} to {after[name]:.3g}, losses {losses[::80]}"
    # a log-likelihood of at least log sqrt(2 pi 1e-3), and an entropy of at most log 1 of a quarter of the features
    assert min(losses) > 0.5 * LEAST_LOGVAR


@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_the_scale_of_a_modality_carries_nothing(separate: bool, scale: float) -> None:
    torch.manual_seed(0)
    plain = pair_mi(estimator="ba", separate=separate).double()
    scaled = copy.deepcopy(plain)
    for _ in range(2):  # the entropy is there from the second batch on
        text, audio = torch.randn(2, CLIPS, WIDTH, dtype=torch.float64)
        labels_N = torch.randn(CLIPS)
        value = loss_of(plain, {"text": text, "audio": audio}, labels_N)
        other = loss_of(scaled, {"text": text, "audio": scale * audio + 5.0}, labels_N)
        torch.testing.assert_close(other, value, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("separate", [False, True])
def test_the_weight_of_a_barber_agakov_term_does_not_grow_with_the_vectors(separate: bool) -> None:
    values = []
    for width in (8, 64, 512):
        torch.manual_seed(0)
        pair = pair_mi(width, estimator="ba", separate=separate)
        vectors = {name: torch.randn(CLIPS, width) for name in ("text", "audio")}
        values.append(float(loss_of(pair, vectors, torch.randn(CLIPS))))
    assert max(values) < 2.0  # about 1.4, half of log (2 pi e), whatever the width
    assert max(values) / min(values) < 1.1


@pytest.mark.parametrize("separate", [False, True])
def test_the_form_that_collapses_is_refused(separate: bool) -> None:
    with pytest.raises(ValueError, match=r"method\.ba_standardised=false with .* the encoders collapse"):
        pair_mi(estimator="ba", separate=separate, standardised=False)
