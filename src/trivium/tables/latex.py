"""A measured table for LaTeX: tables to \\input, with booktabs' rules and nothing else that a plain document lacks."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from trivium.tables.blocks import Block, Notes, legend, sections_of
from trivium.tables.parts import Part, is_complete, seeds_of

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "†": r"$\dagger$",
    "↓": r"$\downarrow$",
    "↑": r"$\uparrow$",
    "[": "{[}",  # behind a line's \\\\ it would begin a length
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}
_LINE, _SIGN, _GAP = 345.0, 4.3, 8.0  # pt: article's text, a digit of \\footnotesize, between two columns
_PAGE, _ROW, _CAPTION, _LETTERS = 520.0, 9.5, 12.0, 75  # pt: its height, a row, a line of a caption; signs of that line
_NOTE = re.compile(r"\[\^(\d+)\]")


def latex(parts: Sequence[Part]) -> str:
    """A table environment for each block of each part, in their order; the sources of published numbers are last.

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
            for block in section.blocks:
                of = "" if block.heads[0] == "row" else block.heads[0]
                words = [first.title, part.heading if part.measured.table.data else "", section.title, of]
                floats.append((". ".join(word for word in words if word), block))
    said = legend([part.measured for part in parts], seeds, complete)
    legends = [f" {' '.join(said)}", *[""] * len(floats)]
    pages = [p for told, (title, block) in zip(legends, floats, strict=False) for p in _pages(title, told, block)]
    for number, (caption, blocks) in enumerate(pages, start=1):
        lines += ["", *_float(escape(caption), blocks, f"tab:{first.name}-{number}")]
    if notes.texts:
        told = [f"\\textsuperscript{{{number}}} {escape(text)}." for number, text in enumerate(notes.texts, 1)]
        lines += ["", "\\par\\noindent{\\footnotesize", " \\\\\n".join(told), "\\par}"]
    return "\n".join(lines) + "\n"


def _pages(title: str, said: str, block: Block) -> list[tuple[str, list[Block]]]:
    """The block's parts, as many in one float as a page has room for, with a caption each; said: of the first one."""
    pages: list[tuple[str, list[Block]]] = []
    left = 0.0
    for part in fitting(block):
        height = _ROW * (3 + len(part.above) + len(part.rows) + len(part.asides))
        if not pages or height > left:
            caption = f"{title}, continued." if pages else f"{title}.{said}"
            pages.append((caption, []))
            left = _PAGE - _CAPTION * math.ceil(len(caption) / _LETTERS)
        pages[-1][1].append(part)
        left -= height
    return pages


def _float(caption: str, blocks: Sequence[Block], label: str) -> list[str]:
    lines = ["\\begin{table}", "\\centering\\footnotesize\\setlength{\\tabcolsep}{4pt}"]
    lines += [f"\\caption{{{caption}}}", f"\\label{{{label}}}"]
    for number, block in enumerate(blocks):
        lines += ["\\par\\medskip"] if number else []
        lines += _tabular(block)
    return [*lines, "\\end{table}"]


def fitting(block: Block) -> list[Block]:
    r"""The block in as few parts as a line of \textwidth holds, each with the first column: columns go below others."""
    every = [block.heads, *block.above, *block.rows, *block.asides]
    first, *widths = (max(len(_NOTE.sub("", row[c])) for row in every) * _SIGN + _GAP for c in range(len(block.heads)))
    for most in range(len(widths), 0, -1):  # columns in a part
        parts = [range(at, min(at + most, len(widths))) for at in range(0, len(widths), most)]
        if most == 1 or all(first + sum(widths[c] for c in part) <= _LINE for part in parts):
            break
    most = math.ceil(len(widths) / len(parts))  # the same number of parts, and their columns alike in number
    return [_columns(block, at, at + most) for at in range(1, len(block.heads), most)]


def _columns(block: Block, begin: int, end: int) -> Block:
    """The first and some others; without lines of references that say nothing of these."""

    def of(rows: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
        return [(row[0], *row[begin:end]) for row in rows]

    above, asides = (tuple(r for r in of(rows) if set(r[1:]) != {"-"}) for rows in (block.above, block.asides))
    return Block(of([block.heads])[0], tuple(of(block.rows)), asides, above)


def _tabular(block: Block) -> list[str]:
    numbers = "r" * (len(block.heads) - 1)
    above, asides = (
        [_line([f"\\emph{{{escape(row[0])}}}", *map(cell, row[1:])]) for row in rows]
        for rows in (block.above, block.asides)
    )
    return [
        f"\\begin{{tabular}}{{@{{}}l{numbers}@{{}}}}",
        "\\toprule",
        _line([escape(head) for head in block.heads]),
        "\\midrule",
        *([*above, "\\midrule"] if above else []),
        *(_line([escape(row[0]), *map(cell, row[1:])]) for row in block.rows),
        *(["\\midrule", *asides] if asides else []),
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
