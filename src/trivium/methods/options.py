"""Defines the options that several methods share: keys of a method's YAML beside those of the method alone.

A method lists in `Method.shared_options` those that it takes. build_method makes an `Options` of them, which reaches
the method in `Parts.options`, so that no constructor has to repeat them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from trivium.core.choices import suggest
from trivium.data.missing_laws import check_law, check_rate

# Option -> the keys of the YAML that belong to it.
KEYS = {
    "modality_dropout": ("modality_dropout", "modality_dropout_law", "step_dropout"),
    "stand_in": ("stand_in",),
    "mixup": ("mixup", "mixup_alpha", "mixup_weight"),
    "balance": ("balance", "balance_until", "ogm_alpha", "pareto_gamma"),
}


@dataclass(frozen=True)
class Options:
    """Holds the shared options of one method. With its default an option changes nothing.

    modality_dropout: probability, in [0, 1), with which a training clip loses each modality that it has; one stays. A
    mapping has one for each modality, and "default" for the others, otherwise 0.
    modality_dropout_law: how clips lose modalities at that rate, "keep_one", "gcnet" or "imder"
    (trivium.data.missing_laws).
    step_dropout: the same of each real step, a frame or a word, which is then erased (trivium.data.erase).
    stand_in: what the fusion sees of an absent modality, "zero" or "learned" (trivium.methods.stand_ins).
    mixup, mixup_alpha, mixup_weight: which layers are mixed, and how much (trivium.methods.mixup.Mixup).
    balance: "none", "ogm_ge" or "mmpareto" (trivium.methods.balance). balance_until: the last epoch that is balanced,
    counted from 0. ogm_alpha: above 0; a larger one weakens a stronger modality more. pareto_gamma: above 0, MMPareto's
    factor on an encoder's gradient.
    Raises ValueError for these two outside [0, 1); the others are checked where they are used.
    """

    modality_dropout: float | Mapping[str, float] = 0.0
    modality_dropout_law: str = "keep_one"
    step_dropout: float | Mapping[str, float] = 0.0
    stand_in: str = "zero"
    mixup: str = "none"
    mixup_alpha: float = 1.0
    mixup_weight: float = 1.0
    balance: str = "none"
    balance_until: int = 50
    ogm_alpha: float = 0.8
    pareto_gamma: float = 1.5

    def __post_init__(self) -> None:
        for option in ("modality_dropout", "step_dropout"):
            rates = getattr(self, option)
            named = rates.items() if isinstance(rates, Mapping) else [("", rates)]
            for name, rate in named:
                if not 0.0 <= rate < 1.0:
                    key = f"method.{option}{name and '.'}{name}"
                    raise ValueError(f"{key}: expected a probability in [0, 1), found {rate}")

    def rates(self, option: str, modalities: Iterable[str]) -> dict[str, float]:
        """Returns the probability of each modality. option: modality_dropout or step_dropout.

        Raises ValueError for a modality that the mapping alone has.
        """
        names, rates = list(modalities), getattr(self, option)
        if not isinstance(rates, Mapping):
            return dict.fromkeys(names, rates)
        for name in rates:
            if name not in {*names, "default"}:
                raise ValueError(
                    f"method.{option}.{name}: no such modality{suggest(name, names)}; expected default or some of "
                    f"{', '.join(names)}"
                )
        return {name: rates.get(name, rates.get("default", 0.0)) for name in names}

    def law(self, modalities: Iterable[str]) -> str:
        """Returns modality_dropout_law. Raises ValueError if the law is not for these modalities or their rates."""
        key, rates = "method.modality_dropout_law", self.rates("modality_dropout", modalities)
        law = check_law(self.modality_dropout_law, list(rates), key)
        if law == "keep_one":
            return law
        if len(set(rates.values())) > 1:
            listed = ", ".join(f"{name} {rate:g}" for name, rate in rates.items())
            raise ValueError(
                f"{key}={law}: expected one rate for all modalities, found {listed}; give method.modality_dropout one "
                f"number, or take {key}=keep_one"
            )
        for rate in rates.values():
            check_rate(law, rate, key, "method.modality_dropout")
        return law


def split_options(settings: Mapping[str, Any], shared: Iterable[str]) -> tuple[Options, dict[str, Any]]:
    """Returns the shared options among a method's settings, and the settings that remain for the method alone.

    shared: the names of options that the method takes (Method.shared_options).
    """
    keys = {key for option in shared for key in KEYS[option]}
    options = Options(**{key: value for key, value in settings.items() if key in keys})
    return options, {key: value for key, value in settings.items() if key not in keys}
