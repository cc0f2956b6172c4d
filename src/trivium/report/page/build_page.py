"""Builds the page as one HTML file: nothing is fetched, everything that comes from data is escaped."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from trivium.core.metric_names import guess_name
from trivium.core.wording import brief, counted, listed
from trivium.report.album import Picture
from trivium.report.page.boards import FEWEST, Board, boards_of
from trivium.report.page.clip_data import clip_data
from trivium.report.page.pictures import Pictures
from trivium.report.page.standings import board_data
from trivium.report.page.tables import (
    csv_table,
    made,
    mean_table,
    run_table,
    settings_data,
    settings_table,
    trial_table,
)
from trivium.results.folders import Sources
from trivium.results.records import Record, by_group
from trivium.results.score_text import kind_of, number_text, spread_text
from trivium.results.spread import Spread

_FOLDER = Path(__file__).parent
_SCRIPTS = ("base", "tables", "standings", "settings", "clips", "start")  # page.NAME.js, in the order in which they run


def build_page(sources: Sources, pictures: Pictures, *, command: str, transcripts: bool = True) -> str:
    """Returns the HTML. command: makes this page again. transcripts: whether clips come with their words."""
    clips, notes = clip_data(sources.records, transcripts)
    script = _script()
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"image": image, "breakable": breakable, "whole_words": whole_words, "brief": brief}
    environment.filters |= {"facts": facts, "counted": counted}
    boards = boards_of(sources)
    data = {
        "clips": clips,
        "settings": settings_data(sources.records),
        "boards": [board_data(board) for board in boards],
    }
    return environment.get_template("page.html").render(
        title=_title(sources),
        summary=_summary(sources),
        boards=[_board(board, place, sources, len(boards)) for place, board in enumerate(boards)],
        fewest=FEWEST,
        sources=sources,
        groups=by_group(sources.records),
        places={record.path: place for place, record in enumerate(sources.records)},
        run_table=run_table(sources.records) if sources.records else None,
        tables=[(table.path.name, csv_table(f"table-{k}", table.rows)) for k, table in enumerate(sources.tables)],
        studies=[(study, trial_table(study, f"study-{k}")) for k, study in enumerate(sources.studies)],
        settings=settings_table(sources.records) if sources.records else None,
        made=made(sources.records),
        pictures=pictures,
        notes=[*pictures.notes, *notes],
        command=command,
        data=script_json(data),
        style=Markup((_FOLDER / "page.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _script() -> str:
    """Returns all pieces in one function, so that they share names and the page's globals stay clean."""
    pieces = [(_FOLDER / f"page.{name}.js").read_text(encoding="utf-8") for name in _SCRIPTS]
    return '"use strict";\n(() => {\n' + "\n".join(pieces) + "})();\n"


def script_json(value: Any) -> Markup:
    """Returns JSON for a <script type="application/json">: no character in it can end the element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def image(picture: Picture) -> str:
    """Returns a data: address, so that names and styles of a figure stay inside it."""
    return f"data:{picture.kind};base64,{base64.b64encode(picture.content).decode()}"


def breakable(text: str) -> Markup:
    """Returns the text escaped; a long name may break after its dots, strokes and the like, a number may not."""
    return Markup(re.sub(r"(?<=[_./=])(?![_./=])(?!(?<=\d\.)\d)", "<wbr>", str(escape(text))))


def whole_words(text: str) -> Markup:
    """Returns the text escaped; it breaks between words alone, not after a hyphen in one."""
    return Markup(" ").join(Markup('<span class="word">{}</span>').format(word) for word in text.split(" "))


def _title(sources: Sources) -> str:
    """Returns the tables' titles and searches' names, or the runs' methods and data."""
    searches = [f"Search {study.path.name}" for study in sources.studies]
    names = [table.title for table in sources.tables] + searches
    if names:
        return listed(names)
    methods = dict.fromkeys(str(record.result["method"]) for record in sources.records)
    return f"{listed(list(methods))} on {listed(list(dict.fromkeys(record.data for record in sources.records)))}"


def _summary(sources: Sources) -> list[str]:
    """Returns facts about the page's runs, a few words each."""
    records, facts = sources.records, []
    for study in sources.studies:
        states = [trial.state for trial in study.trials]
        counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        facts.append(f"{len(states)} trials ({counts})")
    if records:
        groups, seeds = len(by_group(records)), len({record.seed for record in records})
        folds = {record.fold for record in records} - {None}
        repeats = [counted(seeds, "seed"), *([counted(len(folds), "fold")] if folds else [])]
        facts.append(f"{counted(len(records), 'run')} of {counted(groups, 'setting')}, {', '.join(repeats)}")
        facts.append(listed(list(dict.fromkeys(record.data for record in records))))
        days = sorted({str(record.record["created"])[:10] for record in records if record.record.get("created")})
        facts += [days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"] if days else []
    if sources.left_out:
        facts.append(f"{len(sources.left_out)} left out, see the notes")
    return facts


def _board(board: Board, place: int, sources: Sources, boards: int) -> dict[str, Any]:
    """Returns what the template shows of a board.

    tiles: measure -> its value, of a board with one row. head: the board's name, "" on a page about that board alone.
    """
    tiles, head = {}, [board.name] if boards > 1 else []
    if len(board.rows) == 1:
        for measure in board.measures:
            line = board.compared[board.rows[0], measure]
            tiles[measure] = spread_text(Spread(line["mean"], line["std"], line["n"]), kind_of(measure))
        if (name := board.measures[0]) in board.train_mean:
            tiles[f"{name} of the {guess_name([name])}"] = number_text(board.train_mean[name], kind_of(name))
        head += board.rows if head or sources.tables or sources.studies else []
    elif not head:
        head = ["All measures"]
    return {"board": board, "head": ", ".join(head), "table": mean_table(board, f"means-{place}"), "tiles": tiles}


def facts(record: Record) -> dict[str, str]:
    """Returns what the page says of a run beside its metrics."""
    result = record.result
    return {
        "directory": str(record.path),
        "best epoch": f"{result['best_epoch']} of {result['epochs']}",
        "selected by": record.selected_by,
        "modalities": ", ".join(result.get("modalities", [])),
        "config": str(result.get("config_hash", ""))[:12],
        "commit": record.record.get("git_commit") or "unknown (no git)",
        "resumed at step": ", ".join(map(str, result.get("resumed_at", []))) or "never",
        **({"extended after epoch": ", ".join(map(str, at))} if (at := result.get("extended_at")) else {}),
    }
