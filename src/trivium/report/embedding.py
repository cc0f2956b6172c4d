"""Draws a map of a finished run's joint vectors: loads the run, reads its vectors and draws two directions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from trivium.data.target import Target
from trivium.report.album import Album, Picture
from trivium.report.prediction_figures import draw_map
from trivium.results.records import Record, Values

# sets of labels that a map tells apart
_SETS = 7


def map_run(album: Album, record: Record, kind: str, name: str) -> Picture:
    """Draws the joint vectors of the test split (the validation split where there is no other), coloured by label.

    kind: pca or tsne. Raises ValueError if the store is not there any more or does not fit.
    """
    # torch takes seconds to import
    from trivium.evaluation.vectors import collect_vectors
    from trivium.runs.load import load_run

    run = load_run(record.path)
    store, data = run.data()
    split = "test" if "test" in store.schema.counts else "valid"
    loader = data.loader(split, device=run.method.device)
    vectors_NE: Values = collect_vectors(run.method, loader)["joint"].numpy()
    places_N2, labels = place(vectors_NE, kind)
    target_N, classes, words = colours_of(data.target, loader.split.targets["multimodal"].double().cpu().numpy())
    caption = f"Joint vectors of {record.label}, seed {record.repeat}, {split} split, coloured by the {words}."
    return draw_map(album, places_N2, target_N, labels, name, caption, classes, words)


def colours_of(target: Target, values: Values) -> tuple[Values, Sequence[str], str]:
    """Returns what dots are coloured by, (N,), the names where these are numbers of groups, and the words for it.

    It is the score, the first of several, or the class. Of labels it is a clip's set of them, the commonest sets by
    themselves and all others together.
    """
    if target.is_score:
        return values, (), "true score"
    if target.kind == "score":
        return values[:, 0], (), f"true {target.names[0]}"
    if target.kind == "classes":
        return values, target.names, "true class"
    sets = [", ".join(n for n, has in zip(target.names, row, strict=True) if has) or "none" for row in values]
    common = [name for name, _ in Counter(sets).most_common()]
    named = common if len(common) <= _SETS else [*common[: _SETS - 1], "others"]
    numbers = {name: float(min(place, len(named) - 1)) for place, name in enumerate(common)}
    return np.array([numbers[name] for name in sets]), named, "true labels"


def place(vectors_NE: Values, kind: str) -> tuple[Values, tuple[str, str]]:
    """Returns (N, 2) places and the axes' labels."""
    if kind == "pca":
        places_N2, shares_2 = principal_map(vectors_NE)
        x, y = (f"component {k + 1} ({100 * share:.0f} % of the variance)" for k, share in enumerate(shares_2))
        return places_N2, (x, y)
    # scikit-learn takes a second and a half to import.
    from sklearn.manifold import TSNE

    model = TSNE(init="pca", random_state=0, perplexity=min(30.0, (len(vectors_NE) - 1) / 3))
    places_N2 = np.asarray(model.fit_transform(vectors_NE), dtype=np.float64)
    return places_N2, ("t-SNE 1 (distances are not to scale)", "t-SNE 2")


def principal_map(vectors_NE: Values) -> tuple[Values, Values]:
    """Returns (N, 2) coordinates along the two directions of largest variance, and their (2,) shares of it.

    Each direction's largest loading is positive. A direction that is not there is 0.
    """
    # numpy's singular values: scikit-learn's PCA is the same, and takes longer to import than the page to draw.
    centred_NE = vectors_NE - vectors_NE.mean(axis=0)
    _, lengths_K, directions_KE = np.linalg.svd(centred_NE, full_matrices=False)
    places_N2, shares_2 = np.zeros((len(centred_NE), 2)), np.zeros(2)
    total = float((lengths_K**2).sum())
    for k, direction_E in enumerate(directions_KE[:2]):
        sign = np.sign(direction_E[np.abs(direction_E).argmax()])
        places_N2[:, k] = sign * (centred_NE @ direction_E)
        shares_2[k] = lengths_K[k] ** 2 / total if total else 0.0
    return places_N2, shares_2
