"""Reads CMU-MOSEI's labels: a sentiment score, and the intensities of six emotions, of which a clip has any number.

The order is that of the CMU Multimodal SDK's CMU_MOSEI_Labels.csd. An emotion counts as present if its intensity,
from 0 to 3, is above 0 (Zadeh et al., ACL 2018). Legend: N clips.
"""

from __future__ import annotations

import numpy as np

from trivium.data.clips import Array
from trivium.data.target import Target

NAMES = ("happy", "sad", "anger", "surprise", "disgust", "fear")
TARGET = Target("labels", NAMES)
# Of the SDK's labels: the sentiment comes first.
COLUMNS = 1 + len(NAMES)


def presence(intensities_N6: Array) -> Array:
    """Returns (N, 6) float32, 1 for intensities above 0 and 0 for others; NaN stays, for the caller to refuse."""
    present = (intensities_N6 > 0).astype(np.float32)
    return np.where(np.isfinite(intensities_N6), present, np.float32(np.nan))


def split_labels(labels_N7: Array) -> tuple[Array, Array]:
    """Returns the sentiment, (N,), and the emotions that are present, (N, 6)."""
    return labels_N7[:, 0], presence(labels_N7[:, 1:])
