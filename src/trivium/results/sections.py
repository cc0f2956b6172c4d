"""Names the sections of a table: a data set, NAME or NAME/FEATURES, and perhaps a situation, as DATA: SITUATION."""

from __future__ import annotations

from trivium.results.records import slug

BETWEEN = ": "


def section_name(data: str, situation: str) -> str:
    """Returns DATA, or DATA: SITUATION."""
    return f"{data}{BETWEEN}{situation}" if situation else data


def split_section(section: str) -> tuple[str, str]:
    """Returns the data set, NAME or NAME/FEATURES, and the situation, "" without one."""
    data, _, situation = section.partition(BETWEEN)
    return data, situation


def name_of(section: str) -> str:
    """Returns the name of a section's data set, without its features."""
    return split_section(section)[0].partition("/")[0]


def file_stem(kind: str, section: str) -> str:
    """Returns KIND_DATA_FEATURES_SITUATION, or KIND for a table without data sets."""
    data, situation = split_section(section)
    return "_".join([kind, *filter(None, data.split("/")), *([slug(situation)] if situation else [])])
