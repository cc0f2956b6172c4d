"""A measured table for LaTeX: tables to \\input, with booktabs' rules and nothing else that a plain document lacks."""

from __future__ import annotations

import re
from collections.abc import Sequence

from trivium.reports.blocks import Block, Notes, legend, sections_of
from trivium.reports.parts import Part, is_complete, seeds_of

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "†": r"$\dagger$",
    "[": "{[}",  # behind a line's \\\\ it would begin a length
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}
_NOTE = re.compile(r"\[\^(\d+)\]")


def latex(parts: Sequence[Part]) -> str:
    """A table environment for each section of each part, in their order; the sources of published numbers are last.

    To be used with \\input after \\usepackage{booktabs}. parts: one a data set; at least one.
    """
    seeds, notes, complete = seeds_of(parts), Notes(), is_complete(parts)
    first = parts[0].measured.table
    floats, lines = [], ["% \\usepackage{booktabs}; \\input this file. Written by scripts/reproduce.py."]
    for part in parts:
        if part.lacking and part.empty:
            lines.append(f"% {part.measured.table.data or first.name}: not prepared: {_one_line(part.lacking)}")
            continue
        for section in sections_of(part.measured, seeds, notes):
            words = [first.title, part.heading if part.measured.table.data else "", section.title]
            floats.append((". ".join(word for word in words if word), section.blocks))
    said = legend([part.measured.table for part in parts], seeds, complete, notes)
    for number, (title, blocks) in enumerate(floats):
        caption = escape(f"{title}." + (f" {' '.join(said)}" if number == 0 else ""))
        lines += ["", *_float(caption, blocks, f"tab:{first.name}-{number + 1}")]
    if notes.texts:
        told = [f"\\textsuperscript{{{number}}} {escape(text)}." for number, text in enumerate(notes.texts, 1)]
        lines += ["", "\\par\\noindent{\\footnotesize", " \\\\\n".join(told), "\\par}"]
    return "\n".join(lines) + "\n"


def _float(caption: str, blocks: Sequence[Block], label: str) -> list[str]:
    lines = ["\\begin{table}", "\\centering\\small", f"\\caption{{{caption}}}", f"\\label{{{label}}}"]
    for number, block in enumerate(blocks):
        lines += ["\\par\\medskip"] if number else []
        lines += _tabular(block)
    return [*lines, "\\end{table}"]


def _tabular(block: Block) -> list[str]:
    numbers = "r" * (len(block.heads) - 1)
    asides = ["\\midrule", *(_line([f"\\emph{{{escape(r[0])}}}", *map(cell, r[1:])]) for r in block.asides)]
    return [
        f"\\begin{{tabular}}{{@{{}}l{numbers}@{{}}}}",
        "\\toprule",
        _line([escape(head) for head in block.heads]),
        "\\midrule",
        *(_line([escape(row[0]), *map(cell, row[1:])]) for row in block.rows),
        *(asides if block.asides else []),
        "\\bottomrule",
        "\\end{tabular}",
    ]


def cell(text: str) -> str:
    """Escaped; a number's sign is a minus, and a note's mark is raised."""
    if text == "-":
        return "--"
    parts = _NOTE.split(text)  # what is between notes, and at odd places their numbers
    shown = [f"\\textsuperscript{{{part}}}" if at % 2 else escape(part) for at, part in enumerate(parts)]
    return re.sub(r"^-(?=[\d.])", "$-$", "".join(shown)).replace("to -", "to $-$")


def escape(text: str) -> str:
    """What LaTeX would read as a command as the sign itself."""
    return "".join(_SPECIAL.get(sign, sign) for sign in text)


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _one_line(text: str) -> str:
    return " ".join(text.split())
