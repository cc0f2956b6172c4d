"""The page as one HTML file: nothing is fetched, everything that comes from data is escaped."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from trivium.reports.album import Picture
from trivium.reports.page.clips import clip_data
from trivium.reports.page.pictures import Pictures
from trivium.reports.page.sources import Sources
from trivium.reports.page.tables import (
    csv_table,
    made,
    mean_table,
    run_table,
    settings_data,
    settings_table,
)
from trivium.reports.records import Record
from trivium.reports.study import Study

_FOLDER = Path(__file__).parent


def build_page(sources: Sources, pictures: Pictures, *, command: str, transcripts: bool = True) -> str:
    """The HTML. command: what makes this page again. transcripts: whether clips come with their words."""
    clips, notes = clip_data(sources.records, transcripts)
    script = (_FOLDER / "page.js").read_text(encoding="utf-8")
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["image"] = image
    return environment.get_template("page.html").render(
        title=_title(sources),
        sources=sources,
        runs=[_run(record, place, pictures) for place, record in enumerate(sources.records)],
        run_table=run_table(sources.records) if sources.records else None,
        mean_table=mean_table(sources.records),
        tables=[(table.path.name, csv_table(f"table-{k}", table.rows)) for k, table in enumerate(sources.tables)],
        studies=[_study(study, k) for k, study in enumerate(sources.studies)],
        settings=settings_table(sources.records) if sources.records else None,
        made=made(sources.records),
        pictures=pictures,
        notes=[*pictures.notes, *notes],
        command=command,
        data=script_json({"clips": clips, "settings": settings_data(sources.records)}),
        style=Markup((_FOLDER / "page.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def script_json(value: Any) -> Markup:
    """JSON for a <script type="application/json">: no character in it can end the element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def image(picture: Picture) -> str:
    """A data: address, so that figures keep their own names and styles to themselves."""
    return f"data:{picture.kind};base64,{base64.b64encode(picture.content).decode()}"


def _title(sources: Sources) -> str:
    """The tables' and searches' names, or the runs' methods and data."""
    names = [table.path.name for table in sources.tables] + [study.path.name for study in sources.studies]
    if names:
        return _listed(names)
    methods = dict.fromkeys(str(record.result["method"]) for record in sources.records)
    return f"{_listed(list(methods))} on {_listed(list(dict.fromkeys(record.data for record in sources.records)))}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _run(record: Record, place: int, pictures: Pictures) -> dict[str, Any]:
    result = record.result
    facts = {
        "directory": str(record.path),
        "best epoch": f"{result['best_epoch']} of {result['epochs']}",
        "modalities": ", ".join(result["modalities"]),
        "config": result["config_hash"][:12],
        "commit": record.record.get("git_commit") or "unknown (no git)",
        "resumed at step": ", ".join(map(str, result["resumed_at"])) or "never",
    }
    return {
        "place": place,
        "name": f"{record.label}, seed {record.seed}",
        "facts": facts,
        "command": record.command,
        "pictures": pictures.of_run.get(record.path, []),
    }


def _study(study: Study, place: int) -> dict[str, Any]:
    names = study.parameters
    rows = [
        {
            "trial": str(trial.number),
            "state": trial.state,
            "value": repr(trial.value),
            **{name: trial.parameters.get(name, "") for name in names},
            "seconds": repr(trial.seconds),
        }
        for trial in study.trials
    ]
    table = csv_table(f"study-{place}", rows)
    return {"name": study.path.name, "objective": study.objective, "command": study.command, "table": table}
