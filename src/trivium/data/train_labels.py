"""Takes labels away from train clips, or gives them wrong ones, to measure how a method bears few or noisy labels.

Both are a function of the seed and the share alone: the clips of a smaller share are among those of a larger one, and a
clip that is wrong at one rate is wrong at every higher one.
Legend: N train clips, n of them with a label.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from trivium.core.seeding import derive
from trivium.data.clips import Array, Clips

# The keys of a config's data at which every train clip has its own label.
ALL_LABELS = {"labelled": 1.0, "label_noise": 0.0}


@dataclass(frozen=True)
class TrainLabels:
    """Says which clips of the train split have a label, and whose label each of them has.

    places: (n,) int64, the clips that have one, in order. sources: (n,) int64, the clips whose targets they have; their
    own but for noise. clips: N.
    """

    places: Array
    sources: Array
    clips: int

    def of(self, clips: Clips) -> Clips:
        """Returns the clips of the train split that have a label, with that label."""
        targets = {name: np.asarray(values)[self.sources] for name, values in clips.targets.items()}
        # All clips stay the views of the mapping that they are.
        chosen = clips if len(self.places) == self.clips else clips.select(self.places)
        return replace(chosen, targets=targets)


def draw_train_labels(clips: int, labelled: float, noise: float, seed: int) -> TrainLabels:
    """Draws which of the train clips have a label, and which of those have another one's.

    labelled: the share in (0, 1], rounded to whole clips, one at least.
    noise: the probability in [0, 1] with which a clip gets all targets of one that is drawn from those with a label,
    each as likely, itself too. So noise keeps how often labels occur, and is defined for every kind of target.
    Raises ValueError for a share or probability outside of these.
    """
    if not 0 < labelled <= 1:
        raise ValueError(f"data.labelled: expected a share above 0 and at most 1, found {labelled:g}")
    if not 0 <= noise <= 1:
        raise ValueError(f"data.label_noise: expected a probability from 0 to 1, found {noise:g}")
    places = np.sort(np.argsort(_uniform(seed, "labelled", clips), kind="stable")[: max(1, round(labelled * clips))])
    wrong = _uniform(seed, "wrong label", clips)[places] < noise
    drawn = places[(_uniform(seed, "label of", clips)[places] * len(places)).astype(np.int64)]
    return TrainLabels(places, np.where(wrong, drawn, places), clips)


def _uniform(seed: int, what: str, clips: int) -> Array:
    return np.random.default_rng(derive(seed, what)).random(clips)
