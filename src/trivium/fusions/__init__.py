"""Fusions, several modalities' vectors in, one joint vector out: `from trivium.fusions import Concat, LowRank`."""

from trivium.fusions.base import Fusion
from trivium.fusions.concat import Concat
from trivium.fusions.cosine import Cosine
from trivium.fusions.film import FiLM
from trivium.fusions.gated import BiGated, Gated
from trivium.fusions.gmu import GMU
from trivium.fusions.lowrank import LowRank
from trivium.fusions.misa import MISAFusion
from trivium.fusions.mult import MulT
from trivium.fusions.share import Share
from trivium.fusions.sum import Sum
from trivium.fusions.tensor import TensorFusion
from trivium.fusions.transformer import TransformerFusion

__all__ = [
    "GMU",
    "BiGated",
    "Concat",
    "Cosine",
    "FiLM",
    "Fusion",
    "Gated",
    "LowRank",
    "MISAFusion",
    "MulT",
    "Share",
    "Sum",
    "TensorFusion",
    "TransformerFusion",
]
