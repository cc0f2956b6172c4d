"""table.tex: whole, escaped, and read by pdflatex where that is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from table_cases import ERRORS, compared, measured

from trivium.reports.latex import cell, escape, latex
from trivium.reports.parts import Part
from trivium.reports.published import Published

NASTY = r"50 % of $x_1 & #2 {a} ~ ^ \relax [b] <c> | ± †"


def nasty() -> str:
    """Every special sign in labels, heads and sources, bounds, differences, notes."""
    found = compared()
    published = Published(NASTY, "theirs_1", {"Corr text": (0.45, 0.01)})
    rows = (found.table.rows[0], replace(found.table.rows[1], published=(published,)), found.table.rows[2])
    own = replace(found, table=replace(found.table, title=NASTY, rows=rows), used={"Mix": [("mosi/x", ("text",))]})
    other = measured()
    return latex([Part(own, []), Part(other, [])])


def test_it_says_what_the_markdown_says() -> None:
    text = latex([Part(compared(), [])])
    d = ERRORS[1, 2] - ERRORS[0, 2]
    assert rf"Mix & {ERRORS[1, 2].mean():.3f} $\pm$ {ERRORS[1, 2].std(ddof=1):.3f} {{[}}5] \\" in text
    sign = "+" if d.mean() > 0 else "$-$"
    assert rf"{sign}{abs(d.mean()):.3f} $\pm$ {d.std(ddof=1):.3f} (" in text
    assert r"Empty & -- & -- \\" in text
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 2  # MAE, Corr
    assert r"\emph{Bayes-optimal} & 95.0 & 75.0 \\" in latex([Part(measured(), [])])


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


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex; Debian: texlive-latex-recommended")
def test_it_compiles(tmp_path: Path) -> None:
    (tmp_path / "table.tex").write_text(nasty())
    head = r"\documentclass{article}\usepackage{booktabs}\begin{document}\input{table.tex}\end{document}"
    (tmp_path / "all.tex").write_text(head)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert (tmp_path / "all.pdf").stat().st_size > 0
