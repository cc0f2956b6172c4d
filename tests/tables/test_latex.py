"""table.tex: whole, escaped, and read by pdflatex where that is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from table_cases import ERRORS, compared, measured, measured_of

from trivium.tables.blocks import Block
from trivium.tables.collect import Measured
from trivium.tables.definition import Row, Table
from trivium.tables.latex import cell, escape, fitting, latex
from trivium.tables.measures import Measure
from trivium.tables.published import Published

NASTY = r"50 % of $x_1 & #2 {a} ~ ^ \relax [b] <c> | ± †"


def nasty() -> str:
    """Every special sign in labels, heads and sources, bounds, differences, notes."""
    found = compared(facts={"Mix": {"feature_set": "mosi/x", "modalities": "text"}})
    published = Published(NASTY, "theirs_1", {"Corr text": (0.45, 0.01)})
    rows = (found.table.rows[0], replace(found.table.rows[1], published=(published,)), found.table.rows[2])
    own = replace(found, table=replace(found.table, title=NASTY, rows=rows))
    other = measured()
    return latex([own, other])


def wide() -> Measured:
    """Eight measures of two units and fifteen rows, with differences: more than a line and more than a page holds."""
    names = [f"Acc-{k} Non0" for k in range(2, 9)]
    measures = (Measure("MAE", metric="mae"), *(Measure(name, metric="acc2") for name in names))
    rows = tuple(Row(label, ()) for label in ("Supervised", *(f"CoMM, linear probe {k}" for k in range(14))))
    values = {row.label: {m.name: {1: 0.5, 2: 0.625, 3: 0.5} for m in measures} for row in rows}
    table = Table("wide", "Wide", (), 3, rows, measures, {}, "Supervised")
    return measured_of(table, values, train_mean_mae=1.4)


def test_it_says_what_the_markdown_says() -> None:
    text = latex([compared()])
    d = ERRORS[1, 2] - ERRORS[0, 2]
    assert rf"Mix & \textbf{{{ERRORS[1, 2].mean():.3f} $\pm$ {ERRORS[1, 2].std(ddof=1):.3f}}} {{[}}5] \\" in text
    assert rf"GMC & {ERRORS[0, 2].mean():.3f} $\pm$ {ERRORS[0, 2].std(ddof=1):.3f} {{[}}5] $\approx$ \\" in text
    sign = "+" if d.mean() > 0 else "$-$"
    assert rf"{sign}{abs(d.mean()):.3f} $\pm$ {d.std(ddof=1):.3f} (" in text
    assert r"Empty & -- & -- \\" in text
    assert (
        text.count(r"\begin{table}") == text.count(r"\end{table}") == 2 * 4
    )  # MAE, Corr: means, intervals, differences, verdicts
    assert r"\emph{Bayes-optimal} & 95.0 & 75.0 \\" in latex([measured()])


def test_every_line_has_as_many_cells_as_its_head_and_braces_close() -> None:
    columns = 0
    for line in nasty().splitlines():
        if match := re.match(r"\\begin\{tabular\}\{@\{\}(lr*)@\{\}\}", line):
            columns = len(match[1])
        elif line.endswith(r"\\") and columns:
            assert len(re.split(r"(?<!\\)&", line)) == columns, line
        elif line == r"\end{tabular}":
            columns = 0
    bare = re.sub(r"\\[{}]", "", nasty())
    assert bare.count("{") == bare.count("}")


def test_special_signs_are_escaped() -> None:
    assert escape("a_b & 50% #1 $ {x}") == r"a\_b \& 50\% \#1 \$ \{x\}"
    assert escape("\\ ~ ^") == r"\textbackslash{} \textasciitilde{} \textasciicircum{}"
    assert cell("-0.5 ± 0.1 (.031*)") == r"$-$0.5 $\pm$ 0.1 (.031*)"
    assert cell("-0.5 to -0.1") == r"$-$0.5 to $-$0.1"
    assert cell("0.4†[^12]") == r"0.4$\dagger$\textsuperscript{12}"
    assert (cell("-"), cell("x-1")) == ("--", "x-1")
    assert cell("**-0.5 ± 0.1** ≈") == r"\textbf{$-$0.5 $\pm$ 0.1} $\approx$"


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex; Debian: texlive-latex-recommended")
def test_it_compiles(tmp_path: Path) -> None:
    (tmp_path / "table.tex").write_text(nasty())
    head = (
        r"\documentclass{article}\usepackage{booktabs}\begin{document}\input{table.tex}\input{wide.tex}\end{document}"
    )
    (tmp_path / "wide.tex").write_text(latex([wide()]))
    (tmp_path / "all.tex").write_text(head)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert (tmp_path / "all.pdf").stat().st_size > 0
    assert re.findall(r"Overfull .hbox|Float too large", done.stdout) == []  # it fits the page of a plain article


def test_columns_that_a_line_does_not_hold_go_below_with_their_rows() -> None:
    block = Block(("row", *"abcdefg"), (("A", *["12.345 ± 0.678"] * 7),), above=(("mean", "1", *["-"] * 6),))
    parts = fitting(block)
    assert [part.heads for part in parts] == [("row", *"abcd"), ("row", *"efg")]
    assert [len(part.rows[0]) for part in parts] == [5, 4]
    assert [len(part.above) for part in parts] == [1, 0]  # nothing is known of the others
    assert fitting(Block(("row", "a"), (("A", "1" * 200),))) == [Block(("row", "a"), (("A", "1" * 200),))]


def test_what_a_page_does_not_hold_is_continued_under_its_title() -> None:
    captions = re.findall(r"\\caption\{(.*)\}", latex([wide()]))
    assert captions[0].startswith("Wide. Test split")
    assert "Wide. against Supervised, continued." in captions
    assert captions[-1] == "Wide. against each other, MAE."
    assert "Wide. minus Supervised, continued." in captions
    assert "Wide. minus Supervised." in captions
