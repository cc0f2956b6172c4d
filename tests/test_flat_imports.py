"""Losses, fusions, encoders and metrics import flat, from their package, and the examples that `help` shows run."""

import doctest
import functools
import importlib
import subprocess
import sys
from typing import Any

import pytest
import torch

import trivium
import trivium.data
from trivium import encoders, fusions, objectives

PACKAGES = ("encoders", "evaluation", "fusions", "objectives")
BASES = {"Fusion", "Encoder", "Encoded", "Stream"}
NAMES = [f"{package}.{name}" for package in PACKAGES for name in importlib.import_module(f"trivium.{package}").__all__]


def thing(path: str) -> Any:
    package, name = path.split(".")
    return getattr(importlib.import_module(f"trivium.{package}"), name)


@functools.cache
def of_package(package: str) -> tuple[str, list[str]]:
    """The examples in a package's docstring, and what went wrong when they ran."""
    doc = importlib.import_module(f"trivium.{package}").__doc__ or ""
    test = doctest.DocTestParser().get_doctest(doc, {}, package, None, None)
    return "".join(example.source for example in test.examples), failures(test)


def failures(test: doctest.DocTest) -> list[str]:
    told: list[str] = []
    torch.manual_seed(0)
    doctest.DocTestRunner(verbose=False).run(test, out=told.append)
    return told


@pytest.mark.parametrize("path", NAMES)
def test_every_function_that_imports_flat_has_an_example_that_runs(path: str) -> None:
    """Its own, or one of its package's docstring that names it."""
    package, name = path.split(".")
    own = [test for test in doctest.DocTestFinder().find(thing(path), name, globs={}) if test.examples]
    shown, failed = of_package(package)
    assert own or name in shown or isinstance(thing(path), type)  # tests below use every encoder and fusion
    assert [line for test in own for line in failures(test)] == []
    assert failed == []


@pytest.mark.parametrize("name", sorted({*fusions.__all__} - BASES))
def test_every_fusion_takes_plain_tensors_and_clears_what_is_absent(name: str) -> None:
    dims = {"text": 8, "audio": 8}
    torch.manual_seed(0)
    fusion = getattr(fusions, name)(dims).eval()
    shape = (3, 4, 8) if fusion.reads == "tokens" else (3, 8)
    inputs = {m: torch.randn(shape) for m in dims}
    joint = fusion.fuse(inputs)
    assert joint.shape == (3, fusion.dim)
    present = torch.tensor([[True, True], [True, False], [False, True]])
    lacking = fusion.fuse(inputs, present)
    torch.testing.assert_close(lacking[0], joint[0])
    junk = {
        m: torch.where(present[:, c].view(-1, *[1] * (x.dim() - 1)), x, 7.0) for c, (m, x) in enumerate(inputs.items())
    }
    assert torch.equal(fusion.fuse(junk, present), lacking)
    with pytest.raises(ValueError, match=f"{name}: inputs of sizes {{'text': 8}}; expected {{'text': 8, 'audio': 8}}"):
        fusion.fuse({"text": inputs["text"]})


@pytest.mark.parametrize("name", sorted({*encoders.__all__} - BASES - {"Pretrained"}))
def test_every_encoder_takes_padded_sequences_and_does_not_see_the_padding(name: str) -> None:
    torch.manual_seed(0)
    settings: dict[str, int] = {"Identity": {}, "Transformer": {"dim": 8}}.get(name, {"hidden": 4})
    encoder = getattr(encoders, name)(6, **settings).eval()
    values, lengths = torch.randn(3, 5, 6), torch.tensor([5, 2, 1])
    pooled = encoder(encoders.Stream.padded(values, lengths)).pooled
    assert pooled.shape == (3, encoder.dim)
    alone = encoder(encoders.Stream.padded(values[1:2, :2])).pooled
    torch.testing.assert_close(pooled[1:2], alone)


def test_lengths_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"lengths \[5, 6\]; expected one length a clip, from 1 to 5"):
        encoders.Stream.padded(torch.zeros(2, 5, 3), torch.tensor([5, 6]))


def test_a_flat_name_is_the_function_whatever_was_imported_before_it() -> None:
    """Some functions have the name of their module."""
    code = (
        "import trivium.objectives.nt_xent, trivium.objectives.supcon\n"
        "from trivium.objectives.nt_xent import matching_accuracy\n"
        "from trivium.objectives import nt_xent, supcon, mixed_contrast, tcmax_loss\n"
        "print([callable(f) for f in (nt_xent, supcon, mixed_contrast, tcmax_loss)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[True, True, True, True]"


@pytest.mark.parametrize("name", ["from_arrays", "from_frame", "from_huggingface"])
def test_stores_of_one_s_own_data_have_an_example_that_runs(name: str) -> None:
    if name == "from_huggingface":
        pytest.importorskip("datasets")
    (test,) = doctest.DocTestFinder(recurse=False).find(getattr(trivium.data, name), name, globs={})
    assert len(test.examples) >= 3
    assert failures(test) == []


def test_the_package_shows_what_there_is() -> None:
    assert {"load_run", "results", "compare", "open_store", *PACKAGES} <= {*dir(trivium)}
    assert all(getattr(trivium, name) is not None for name in dir(trivium))
    assert trivium.objectives is objectives
