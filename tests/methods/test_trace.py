"""A refactor leaves every method's losses as they were: a committed trace of the first steps, in float64.

After a change that is meant to move them: TRIVIUM_WRITE_TRACES=1 pytest tests/methods/test_trace.py, and say why.
"""

import json
import os
from pathlib import Path

import pytest

from driver import here, rows

TRACES = Path(__file__).parent / "traces"
TINY = ["encoder.feedforward=32", "encoder.layers=2", "method.head_hidden=[32,32]", "method.head_out=16"]
MULT = ["fusion.layers=1", "fusion.width=10", "fusion.dim=12", "encoder.hidden=6", "encoder.out=12"]
TETFN = ["fusion.width=10", "fusion.layers=1", "fusion.dim=12", "fusion.kernels.vision=3"]
ALMT = ["fusion.dim=16", "fusion.heads=4", "fusion.head_dim=4", "fusion.feedforward=8"]
LNLN = ["method.dim=16", "method.heads=4", "method.head_dim=4", "method.feedforward=8", "method.hidden=8"]
METHODS = {
    "supervised": ["method=supervised"],
    "supervised_classes": ["method=supervised", "objective=cross_entropy", "encoder=gru", "fusion=tensor"],
    "selfmi": ["method=selfmi"],
    "selfmi_ba": ["method=selfmi", "method.pair_estimator=ba", "method.direction=code", "encoder=transformer"],
    "ogm_ge": ["method=supervised", "method.balance=ogm_ge", "objective=cross_entropy"],
    "tcmax": ["method=tcmax"],
    "tcmax_mixing": ["method=tcmax", "fusion=bigated", "objective.negatives=500"],
    "comm": ["method=comm", *TINY],
    "cross_self": ["method=cross_self", *TINY],
    "gmc": ["method=gmc", *MULT],
    "m3ixup": ["method=m3ixup", *MULT],
    "m3ixup_modalities": ["method=m3ixup", *MULT, "method.adapt_members=modalities", "method.unimodal_mix=series"],
    "tetfn": ["method=tetfn", "encoder.hidden=6", *TETFN],
    "mmim": ["method=mmim", "encoder.hidden=8"],
    "mag_bert": ["method=mag_bert", "encoder.dim=12", "encoder.layers=1", "encoder.feedforward=16"],
    "misa": ["method=misa", "optimizer=adam", "encoder.hidden=6", "method.dim=8", "fusion.feedforward=16"],
    "misa_adversarial": [
        "method=misa",
        "optimizer=adam",
        "encoder=gru",
        "method.dim=8",
        "method.similarity=adversarial",
    ],
    "almt": ["method=published/almt", "fusion=almt", "encoder=identity", "objective=mse", *ALMT],
    "lnln": ["method=lnln", *ALMT, *LNLN],
    "supervised_mixup": ["method=supervised", "method.mixup=series", "method.modality_dropout=0.2"],
    "selfmm_faithful": ["method=selfmm", "method.faithful=true", "trainer.accumulate_grad_batches=2"],
}


# By their own verb: variants of one that stands beside them.
SLOW = {
    *("cross_self", "tcmax_mixing", "selfmm_faithful", "misa_adversarial", "m3ixup_modalities", "supervised_mixup"),
    *("selfmi_ba", "supervised_classes"),
}


@pytest.mark.parametrize("method", [pytest.param(m, marks=[pytest.mark.slow] * (m in SLOW)) for m in METHODS])
def test_losses_are_those_of_the_committed_trace(method: str, tmp_path: Path) -> None:
    epochs = 3 if method.startswith(("selfm", "tetfn")) else 2  # Self-MI's generated labels train from the third on
    here(tmp_path, *METHODS[method], "debug=exact", f"trainer.max_epochs={epochs}", f"run.dir={tmp_path / 'run'}")
    found = [float(row["loss"]) for row in rows(tmp_path / "run" / "steps.csv")]
    file = TRACES / f"{method}.json"
    if os.environ.get("TRIVIUM_WRITE_TRACES"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(found, indent=1) + "\n")
    # another processor's matrix products may differ in the last bits, which training then carries on
    assert found == pytest.approx(json.loads(file.read_text()), rel=1e-7)
