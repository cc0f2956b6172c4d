"""Draws a map of a finished run's joint vectors: loads the run, reads its vectors and draws two directions."""

from __future__ import annotations

import numpy as np

from trivium.report.album import Album, Picture
from trivium.report.prediction_figures import draw_map
from trivium.results.records import Record, Values


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
    target_N: Values = loader.split.targets["multimodal"].double().numpy()
    places_N2, labels = place(vectors_NE, kind)
    caption = f"Joint vectors of {record.label}, seed {record.seed}, {split} split, coloured by the true score."
    return draw_map(album, places_N2, target_N, labels, name, caption)


def place(vectors_NE: Values, kind: str) -> tuple[Values, tuple[str, str]]:
    """Returns (N, 2) places and the axes' labels."""
    from sklearn.manifold import TSNE  # takes a second to import

    if kind == "pca":
        places_N2, shares_2 = principal_map(vectors_NE)
        x, y = (f"component {k + 1} ({100 * share:.0f} % of the variance)" for k, share in enumerate(shares_2))
        return places_N2, (x, y)
    model = TSNE(init="pca", random_state=0, perplexity=min(30.0, (len(vectors_NE) - 1) / 3))
    places_N2 = np.asarray(model.fit_transform(vectors_NE), dtype=np.float64)
    return places_N2, ("t-SNE 1 (distances are not to scale)", "t-SNE 2")


def principal_map(vectors_NE: Values) -> tuple[Values, Values]:
    """Returns (N, 2) coordinates along the two directions of largest variance, and their (2,) shares of it.

    scikit-learn makes each direction's largest loading positive. A direction that is not there is 0.
    """
    from sklearn.decomposition import PCA

    # A column of zeros has no variance, and stands in where there is but one feature.
    wide_NE = np.pad(vectors_NE, ((0, 0), (0, 1)))
    with np.errstate(invalid="ignore"):
        model = PCA(2).fit(wide_NE)
    return model.transform(wide_NE), np.nan_to_num(model.explained_variance_ratio_)
