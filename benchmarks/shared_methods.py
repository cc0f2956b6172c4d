"""Lists the methods that both MMSA 2.2.1 and Trivium have, in settings that give both the same sizes.

MMSA 2.2.1 has neither TETFN nor ALMT. What differs between the networks is said in configs/experiment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class SharedMethod:
    """Holds a method's name and its settings on both sides, beyond those of MMSA's config and our experiment for MOSEI.

    model: MMSA's name of it. overrides: those of our side. arguments: changes of MMSA's config.
    batch: clips, or None for BenchmarkSettings.step_batch. bert: fine-tunes BERT.
    aligned: on the file where audio and vision have the text's steps.
    trainer: MMSA's name of the trainer that trains it, where its own cannot be made with this torch.
    stage: 1 for the steps of MMIM's first, in which an epoch passes over the clips before its other steps.
    transformers: the release that MMSA's side needs, where it is not the one that ours uses.
    """

    model: str
    overrides: tuple[str, ...]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    batch: int | None = None
    bert: bool = True
    aligned: bool = False
    trainer: str = ""
    stage: int = 2
    transformers: str = ""


SELF_MM = SharedMethod(
    "self_mm",
    # The bank makes labels from the first step on; MMSA's side is in its epoch 2.
    ("experiment=selfmm_mosei", "method.update_from_epoch=1"),
)
METHODS = {
    # MMSA multiplies 128, 16 and 128 values, ours three vectors of one size: here 32 on both sides.
    "TFN": SharedMethod(
        "tfn",
        ("experiment=tfn_mosei", *(f"encoders.{modality}.out=32" for modality in ("text", "audio", "vision"))),
        {"hidden_dims": [128, 32, 32], "text_out": 32},
        batch=128,
        bert=False,
    ),
    "LMF": SharedMethod("lmf", ("experiment=lmf_mosei",), batch=32, bert=False),
    # MMSA's own trainer passes `verbose` to a scheduler that takes it no more. That of EF-LSTM has the same loss and
    # optimiser, and does not clip gradients, which ours does.
    "MulT": SharedMethod(
        "mult", ("experiment=mult_mosei",), {"weight_decay": 0.0}, batch=4, bert=False, trainer="ef_lstm"
    ),
    # MMSA reads audio and vision as far as the text has tokens.
    "MISA": SharedMethod("misa", ("experiment=misa_mosei_mmsa", "method.text_lengths=true")),
    "MMIM, first stage": SharedMethod("mmim", ("experiment=mmim_mosei",), stage=1),
    "MMIM, second stage": SharedMethod("mmim", ("experiment=mmim_mosei",)),
    "MAG-BERT": SharedMethod("bert_mag", ("experiment=mag_bert_mosei",), aligned=True, transformers="4.57.6"),
    "Self-MM": SELF_MM,
}
