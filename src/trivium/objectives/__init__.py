"""Losses on plain tensors: `from trivium.objectives import nt_xent, tcmax_loss`. `help` of each shows an example."""

from trivium.objectives.barber_agakov import Conditional, barber_agakov_bound, standardise
from trivium.objectives.cpc import CPCPredictor, cpc_loss, info_nce
from trivium.objectives.mixed_contrast import mixed_contrast
from trivium.objectives.nt_xent import matching_accuracy, nt_xent
from trivium.objectives.subspaces import central_moment_discrepancy, subspace_difference
from trivium.objectives.supcon import supcon
from trivium.objectives.task import L1, MSE, BinaryCrossEntropy, CrossEntropy
from trivium.objectives.tcmax_loss import tcmax_loss

__all__ = [
    "L1",
    "MSE",
    "BinaryCrossEntropy",
    "CPCPredictor",
    "Conditional",
    "CrossEntropy",
    "barber_agakov_bound",
    "central_moment_discrepancy",
    "cpc_loss",
    "info_nce",
    "matching_accuracy",
    "mixed_contrast",
    "nt_xent",
    "standardise",
    "subspace_difference",
    "supcon",
    "tcmax_loss",
]
