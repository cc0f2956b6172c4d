"""Says which row of a board is best, by how much, and whether that is more than chance.

Shares are in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from trivium.core.metric_names import LABELS, guess_name
from trivium.core.wording import listed
from trivium.evaluation.significance import is_told
from trivium.report.page.boards import FEWEST, Board
from trivium.results.score_text import Kind, number_text, spread_text
from trivium.results.spread import Spread

# the columns of trivium.compare for a row and measure, and "row"
Line = Mapping[str, Any]
# columns of trivium.compare that page.js reads
_DRAWN = (
    *("mean", "std", "mean_low", "mean_high"),
    *("best_difference", "best_low", "best_high", "p_best"),
    *("difference", "low", "high", "p_holm", "smallest"),
)
# Verdict of compare -> what a sentence says of the rows that have it.
_IN_WORDS = {
    **{word: word for word in ("better", "worse", "lower", "higher")},
    "same": "the same within {margin}",
    "not told": "not told apart",
}


def first_measure(measures: Sequence[str]) -> str:
    """Returns the measure to show first: the first metric, of subsets of modalities that with the most of them."""
    metrics = [label for label in LABELS.values() if f"{measures[0]} ".startswith(f"{label} ")]
    metric = max(metrics, key=len, default=measures[0])
    of_subsets = [name for name in measures if name.startswith(f"{metric} ")]
    return metric if metric in measures else max(of_subsets, key=len, default=measures[0])


def standings(board: Board, measure: str) -> list[Line]:
    """Returns the rows, the best first; in the board's order where it is not known what is better.

    Rows without a value come last.
    """
    lines = [{"row": row, **board.compared[row, measure]} for row in board.rows]
    known, lower = [line for line in lines if not math.isnan(line["mean"])], board.kind(measure).lower
    if lower is not None:
        known.sort(key=lambda line: line["mean"] if lower else -line["mean"])
    return [*known, *(line for line in lines if math.isnan(line["mean"]))]


def verdict(board: Board, measure: str, lines: Sequence[Line]) -> list[str]:
    """Returns sentences: the best row, those that it is not told apart from, and each row against the baseline.

    lines: the board's standings in the measure.
    """
    kind, known = board.kind(measure), [line for line in lines if not math.isnan(line["mean"])]
    if not known:
        return ["No row has a value yet."]
    if kind.lower is None:
        return _against(board, measure, known)
    best, others = known[0], known[1:]
    score = spread_text(Spread(best["mean"], best["std"], best["n"]), kind)
    sentences = [f"{best['row']} has the {'lowest' if kind.lower else 'highest'} {measure}: {score}."]
    if not math.isnan(best["difference"]):
        sentences.append(_against_baseline(best, board.baseline, kind))
    elif best["row"] == board.baseline and others:
        sentences.append("It is the baseline.")
    tested = [line for line in others if _enough(line["best_n"])]
    near = [line["row"] for line in tested if not is_told(line["p_best"])]
    if near:
        sentences.append(f"Not told apart from it by these seeds: {listed(near, '; ')}.")
    elif tested:
        which = " that was tested" if len(tested) < len(others) else ""
        sentences.append(f"Every other row{which} is further away than seeds explain.")
    if few := [line["row"] for line in others if line not in tested]:
        which = f": {listed(few, '; ')}" if tested else ""
        sentences.append(f"Not tested, as fewer than {FEWEST} seeds say too little about chance{which}.")
    return [*sentences, *_against(board, measure, known)]


def _against(board: Board, measure: str, lines: Sequence[Line]) -> list[str]:
    """Returns a sentence of each row's verdict against the baseline; none where no row has one."""
    kind, rows = board.kind(measure), {word: list[str]() for word in _IN_WORDS}
    for line in lines:
        if line["verdict"]:
            rows[line["verdict"]].append(line["row"])
    margins = [line["margin"] for line in lines if not math.isnan(line["margin"])]
    margin = number_text(margins[0], kind) if margins else ""
    words = [f"{_IN_WORDS[word].format(margin=margin)}: {listed(names, ', ')}" for word, names in rows.items() if names]
    return [f"Against {board.baseline}: {'; '.join(words)}."] if words else []


def _enough(seeds: Any) -> bool:
    """Returns whether compare's number of common seeds, NA without a difference, is enough for a test."""
    return bool(pd.notna(seeds) and seeds >= FEWEST)


def _against_baseline(best: Line, baseline: str, kind: Kind) -> str:
    p = best["p_holm"]
    way = "below" if best["difference"] < 0 else "above"
    distance = f"That is {number_text(abs(best['difference']), kind)} {way} {baseline}, the baseline"
    if math.isnan(p):
        untested = ", by the same in every seed, which no test can judge" if _enough(best["difference_n"]) else ""
        return f"{distance}{untested}."
    return f"{distance} (p = {p:.3f}), {'more than seeds explain' if is_told(p) else 'which seeds may explain'}."


def board_data(board: Board) -> dict[str, Any]:
    """Returns what page.js draws of a board; null for what is not known."""
    return {
        "name": board.name,
        "baseline": board.baseline,
        "first": first_measure(board.measures),
        "measures": [_measure_data(board, measure) for measure in board.measures],
    }


def _measure_data(board: Board, measure: str) -> dict[str, Any]:
    lines, kind = standings(board, measure), board.kind(measure)
    return {
        "name": measure,
        "share": kind.share,
        "lower": kind.lower,
        "verdict": verdict(board, measure, lines),
        "train_mean": board.train_mean.get(measure),
        "guess": guess_name([measure]),
        "few": any(0 < line["n"] < FEWEST for line in lines),
        "margin": next((_known(line["margin"]) for line in lines if not math.isnan(line["margin"])), None),
        "rows": [_row_data(board, measure, line) for line in lines],
    }


def _row_data(board: Board, measure: str, line: Line) -> dict[str, Any]:
    return {
        "row": line["row"],
        "values": [[seed, _known(value)] for seed, value in board.seeds.get((line["row"], measure), [])],
        "published": board.published.get((line["row"], measure)),
        "verdict": line["verdict"],
        "told": {"best": is_told(line["p_best"]), "baseline": is_told(line["p_holm"])},
        "clips": [_known(end) for end in board.clips.get((line["row"], measure), ())],
        "cells": [asdict(cell) for cell in board.cells.get((line["row"], measure), ())],
        **{column: _known(line[column]) for column in _DRAWN},
    }


def _known(value: Any) -> float | None:
    return None if pd.isna(value) else round(float(value), 6)
