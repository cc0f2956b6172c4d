"""Shows docstrings as they are written: an entry `name: what it is` becomes an item of a list."""

from __future__ import annotations

import re
from typing import Any

import griffe

# At the beginning of a line or of a sentence. Names are written small, so "Legend: ..." and "Source: ..." are text.
_ENTRY = re.compile(r"(?:^|(?<=[.;] ))([a-z_][\w.]*(?:, [a-z_][\w.]*)*)((?: \([^)]*\))?): ", flags=re.M)


def listed(docstring: str) -> str:
    """Returns Markdown in which each entry is an item; what a function raises is a paragraph of its own."""
    paragraphs = []
    for paragraph in docstring.split("\n\n"):
        text = _ENTRY.sub(r"\n- **\1**\2: ", paragraph)
        text = re.sub(r"^Raises ", "\nRaises ", text, flags=re.M)
        text = re.sub(r"\n\n- ", "\n- ", text)
        paragraphs.append(re.sub(r"^(?!- )(.+)\n- ", r"\1\n\n- ", text, count=1, flags=re.M).strip())
    return "\n\n".join(paragraphs)


class NamedEntries(griffe.Extension):
    """Rewrites every docstring that griffe reads."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring:
            obj.docstring.value = listed(obj.docstring.value)
