"""Only this package's own classes and functions are built from a config, and with no key that they do not take."""

from fractions import Fraction
from pathlib import Path

import pytest

from trivium.config.instantiate import build, target

SUGGEST = "trivium.core.choices.suggest"


def test_builds_with_positional_and_run_time_arguments() -> None:
    assert build({"_target_": SUGGEST, "known": ["optimizer"]}, "optimiser") == "; nearest is optimizer"
    assert build({"_target_": SUGGEST}, "optimiser", known=["optimizer"]) == "; nearest is optimizer"


def test_builds_a_class() -> None:
    file = build({"_target_": "trivium.config.compose.ConfigFile", "path": "a/b", "package": ""}, file=Path("x"))
    assert file.group == "a"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("os.system", "refused: the module 'os' is not part of Trivium"),
        ("builtins.eval", "refused: the module 'builtins'"),
        ("triviumx.evil", "refused: the module 'triviumx'"),
        ("trivium", "refused; expected the public name"),
        ("trivium.config.compose.Path", "refused; it is no class or function that trivium itself defines"),
        ("trivium.config.check.os.system", "no module 'trivium.config.check.os'"),
        ("trivium.config.compose.__builtins__", "refused; expected the public name"),
        ("trivium.config.compose._NOISE", "refused; expected the public name"),
        ("trivium.config.compose.ROOT", "refused; it is no class or function that trivium itself defines"),
        ("trivium.config.compose.Composer.compose", "no module 'trivium.config.compose.Composer'"),
        ("trivium.config.compose.Compser", "has no 'Compser'; nearest is Composer"),
        ("trivium.confg.compose.Composer", "no module 'trivium.confg'"),
        ("trivium..config", "refused; expected the public name"),
        (3, "expected the dotted name of a class or function, found 3"),
        (None, "found None"),
    ],
)
def test_other_targets_are_refused(name: object, told: str) -> None:
    with pytest.raises(ValueError) as refused:
        target({"_target_": name})
    assert "_target_" in str(refused.value)
    assert told in str(refused.value)


def test_unknown_key_is_named_with_the_nearest() -> None:
    with pytest.raises(
        ValueError, match=r"choices\.suggest takes no key 'knwon'; nearest is known; its keys are name, known"
    ):
        build({"_target_": SUGGEST, "knwon": []}, "x")


def test_missing_key_is_named() -> None:
    with pytest.raises(ValueError, match=r"suggest: missing a required argument: 'known'"):
        build({"_target_": SUGGEST}, "x")


def test_key_of_the_run_cannot_be_set_in_a_config() -> None:
    with pytest.raises(ValueError, match="known comes from the run and cannot be set in a config"):
        build({"_target_": SUGGEST, "known": ["a"]}, "x", known=["b"])


def test_an_error_inside_the_target_passes() -> None:
    with pytest.raises(TypeError):  # not turned into a message about keys
        build({"_target_": SUGGEST, "known": Fraction(1, 2)}, "x")
