"""Writes the grid of docs/when.md and the README, situation by method, from docs/results: python docs/site/when_grid.py

A cell is the verdict on a method against its situation's baseline, and the difference of the means. A situation whose
table is not committed is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "docs" / "when.md", ROOT / "README.md")
BEGIN, END = "<!-- grid: made by docs/site/when_grid.py -->", "<!-- end of grid -->"
SYMBOLS = {"better": "▲", "worse": "▼", "same": "=", "not told": "?"}
MOSI = "mosi/mosi-text-audio"


@dataclass(frozen=True)
class Situation:
    """Holds a line of the grid. heading: of docs/when.md. section: of the table's CSV, "" where it has but one."""

    title: str
    heading: str
    table: str
    section: str
    measure: str
    baseline: str = "Supervised"

    @property
    def file(self) -> Path:
        """Returns the table's committed CSV file."""
        return ROOT / "docs" / "results" / self.table / "table.csv"


BEST, AUDIO, FEW = "at-their-best", "a-modality-that-carries-next-to-nothing", "few-labels"
WRONG, MISSING = "wrong-labels", "missing-modalities"
KINDS, COMPETE = "redundant-unique-and-synergistic-information", "modalities-that-compete"
LOST = f"{MOSI}: 60 % lost"
SITUATIONS = (
    Situation("all labels, both modalities", BEST, "searched", MOSI, "MAE"),
    Situation("the same beside text alone", AUDIO, "when_audio", MOSI, "MAE", "Text alone"),
    Situation("25 % of the labels", FEW, "when_labels", f"{MOSI}: 25 %", "MAE"),
    Situation("10 % of the labels", FEW, "when_labels", f"{MOSI}: 10 %", "MAE"),
    Situation("5 % of the labels", FEW, "when_labels", f"{MOSI}: 5 %", "MAE"),
    Situation("40 % of the labels wrong", WRONG, "when_noise", f"{MOSI}: 40 %", "MAE"),
    Situation("text missing in the test", MISSING, "when_missing", MOSI, "MAE audio"),
    Situation("audio missing in the test", MISSING, "when_missing", MOSI, "MAE text"),
    Situation("60 % of frames and words missing in the test", MISSING, "when_erased", MOSI, "MAE at .6"),
    Situation("60 % missing in training", MISSING, "when_missing_training", LOST, "MAE"),
    Situation("60 % missing in training, audio in the test", MISSING, "when_missing_training", LOST, "MAE text"),
    Situation("redundant information", KINDS, "when_interactions", "", "redundant"),
    Situation("unique information", KINDS, "when_interactions", "", "unique audio"),
    Situation("synergy", KINDS, "when_interactions", "", "synergy"),
    Situation("easy beside better modality", COMPETE, "when_competition", "test like training", "accuracy", "Joint"),
    Situation(
        "the same, easy one fails in the test", COMPETE, "when_competition", "easy one fails", "accuracy", "Joint"
    ),
)
# Row of the tables -> column of the grid.
METHODS = {
    "Supervised": "Supervised",
    "Supervised, cross-entropy": "cross-entropy",
    "Unimodal": "Unimodal",
    "TCMax": "TCMax",
    "Self-MI": "Self-MI",
    "CoMM, linear probe": "CoMM, probed",
    "CoMM, fine-tuned": "CoMM, tuned",
    "GMC": "GMC",
    "M3ixup": "M3ixup",
}


def grid(folder: str) -> str:
    """Returns the grid in Markdown. folder: of the page's links to docs/when.md, "" on that page itself."""
    lines = ["| situation | against | " + " | ".join(METHODS.values()) + " |", "|---" * (len(METHODS) + 2) + "|"]
    for situation in SITUATIONS:
        if situation.file.is_file():
            by_row = _lines(situation)
            baseline = f"{situation.baseline} {_number(by_row.loc[situation.baseline, 'mean'], situation.measure)}"
            cells = [_cell(by_row, method, situation) for method in METHODS]
            title = f"[{situation.title}]({folder}#{situation.heading})"
            lines.append(f"| {' | '.join([title, baseline, *cells])} |")
    return "\n".join(lines)


def _lines(situation: Situation) -> pd.DataFrame:
    """Returns the lines of the situation's section and measure, by row. Raises ValueError unless there is one such."""
    frame = pd.read_csv(situation.file)
    if "data" in frame:
        sections = [name for name in frame["data"].unique() if name.endswith(situation.section)]
        if len(sections) != 1:
            raise ValueError(f"{situation.file}: expected one section {situation.section!r}, found {sections}")
        frame = frame[frame["data"] == sections[0]]
    by_row = frame[frame["measure"] == situation.measure].set_index("row")
    if situation.baseline not in by_row.index:
        raise ValueError(f"{situation.file}: no {situation.measure!r} of {situation.baseline!r}")
    return by_row


def _cell(by_row: pd.DataFrame, method: str, situation: Situation) -> str:
    """Returns the verdict's sign and the difference; nothing for the baseline and for a method that was not asked."""
    if method not in by_row.index or by_row.loc[method, "verdict"] not in SYMBOLS:
        return ""
    line = by_row.loc[method]
    difference = line["mean"] - by_row.loc[situation.baseline, "mean"]
    return f"{SYMBOLS[line['verdict']]} {_number(difference, situation.measure, sign=True)}"


def _number(value: float, measure: str, sign: bool = False) -> str:
    """Returns a MAE with two digits; any other measure is a share: in percent, and differences in points."""
    # + 0.0 takes the sign from a zero that was rounded.
    if measure.startswith("MAE"):
        rounded = round(value, 2) + 0.0
        text = f"{rounded:{'+' * sign}.2f}"
        return text.replace("0.", ".", 1) if abs(rounded) < 1 else text
    points = round(100 * value)
    return f"{points:+d}" if sign else f"{points} %"


def with_grid(page: Path) -> str:
    """Returns the page's text with the grid between its marks made anew. Raises ValueError without the marks."""
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{page}: expected the lines {BEGIN} and {END}")
    folder = "" if page.parent.name == "docs" else "docs/when.md"
    return f"{before}{BEGIN}\n\n{grid(folder)}\n\n{END}{after}"


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(with_grid(page), encoding="utf-8")
