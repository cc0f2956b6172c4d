"""Writes a measured table for LaTeX: tables to \\input, which need booktabs and nothing else."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from trivium.tables.blocks import Block, Line, Notes, sections_of
from trivium.tables.collect import Measured, is_complete, repeats_of
from trivium.tables.legend import legend

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "≈": r"$\approx$",
    "†": r"$\dagger$",
    "↓": r"$\downarrow$",
    "↑": r"$\uparrow$",
    "▲": r"$\triangle$",
    "▼": r"$\nabla$",
    # Behind a line's \\\\ it would begin a length.
    "[": "{[}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}
# In pt: the width of article's text, of a digit of \\footnotesize, and between two columns.
_LINE, _SIGN, _GAP = 345.0, 4.3, 8.0
_MARKUP = re.compile(r"\[\^\d+\]|\*\*")


def latex(parts: Sequence[Measured]) -> str:
    """Returns a table environment for each block that a line holds; the sources of published numbers are last.

    To be used with \\input after \\usepackage{booktabs}. parts: one a data set; at least one.
    """
    repeats, notes, first = repeats_of(parts), Notes(), parts[0].table
    lines = ["% \\usepackage{booktabs}; \\input this file. Written by trivium reproduce."]
    tables: list[tuple[str, Block]] = []
    for part in parts:
        if part.lacking and part.empty:
            lines.append(f"% {part.table.section or first.name}: not prepared: {' '.join(part.lacking.split())}")
            continue
        for title, blocks in sections_of(part, repeats, notes):
            for block in blocks:
                of = "" if block.heads[0] == "row" else block.heads[0]
                words = [first.title, part.heading if part.table.data else "", title, of]
                name = ". ".join(word for word in words if word)
                tables += [(f"{name}{', continued' * (k > 0)}.", columns) for k, columns in enumerate(fitting(block))]
    sentences = " ".join(["", *legend(parts, repeats, is_complete(parts))])
    for number, (caption, block) in enumerate(tables, 1):
        lines += ["", "\\begin{table}", "\\centering\\footnotesize\\setlength{\\tabcolsep}{4pt}"]
        lines += [
            f"\\caption{{{escape(caption + sentences * (number == 1))}}}",
            f"\\label{{tab:{first.name}-{number}}}",
        ]
        lines += [*_tabular(block), "\\end{table}"]
    if notes.texts:
        sources = [f"\\textsuperscript{{{number}}} {escape(text)}." for number, text in enumerate(notes.texts, 1)]
        lines += ["", "\\par\\noindent{\\footnotesize", " \\\\\n".join(sources), "\\par}"]
    return "\n".join(lines) + "\n"


def fitting(block: Block) -> list[Block]:
    r"""Returns the block in as few parts as a line of \textwidth holds, each with the first column."""
    every = [block.heads, *block.above, *block.rows, *block.below]
    first, *widths = (
        max(len(_MARKUP.sub("", row[c])) for row in every) * _SIGN + _GAP for c in range(len(block.heads))
    )
    # `most` columns are in a part.
    for most in range(len(widths), 0, -1):
        parts = [widths[at : at + most] for at in range(0, len(widths), most)]
        if most == 1 or all(first + sum(part) <= _LINE for part in parts):
            break
    # The same number of parts, and their columns alike in number.
    most = math.ceil(len(widths) / len(parts))
    return [_columns(block, at, at + most) for at in range(1, len(block.heads), most)]


def _columns(block: Block, begin: int, end: int) -> Block:
    """Returns the first and some other columns, without lines of references that say nothing of these."""

    def of(rows: Sequence[Line]) -> tuple[Line, ...]:
        return tuple((row[0], *row[begin:end]) for row in rows)

    below, above = (tuple(row for row in of(rows) if set(row[1:]) != {"-"}) for rows in (block.below, block.above))
    return Block(of([block.heads])[0], of(block.rows), below, above)


def _tabular(block: Block) -> list[str]:
    above, below = (
        [_line([f"\\emph{{{escape(row[0])}}}", *map(cell, row[1:])]) for row in rows]
        for rows in (block.above, block.below)
    )
    return [
        f"\\begin{{tabular}}{{@{{}}l{'r' * (len(block.heads) - 1)}@{{}}}}",
        "\\toprule",
        _line(map(escape, block.heads)),
        "\\midrule",
        *([*above, "\\midrule"] if above else []),
        *(_line([escape(row[0]), *map(cell, row[1:])]) for row in block.rows),
        *(["\\midrule", *below] if below else []),
        "\\bottomrule",
        "\\end{tabular}",
    ]


def cell(text: str) -> str:
    """Returns a cell escaped; a number's sign is a minus, a note's mark is raised, and what is between ** is bold."""
    if text == "-":
        return "--"
    text = re.sub(r"(^|\*\*|to )-(?=[\d.])", r"\1$-$", escape(text))
    text = re.sub(r"\{\[\}\\textasciicircum\{\}(\d+)\]", r"\\textsuperscript{\1}", text)
    return re.sub(r"\*\*(.+?)\*\*", r"\\textbf{\1}", text)


def escape(text: str) -> str:
    """Returns the text with what LaTeX would read as a command as the sign itself."""
    return "".join(_SPECIAL.get(sign, sign) for sign in text)


def _line(cells: Sequence[str] | map[str]) -> str:
    return " & ".join(cells) + r" \\"
