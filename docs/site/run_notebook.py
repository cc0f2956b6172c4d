"""Runs a notebook in its own folder and keeps its outputs: python docs/site/run_notebook.py docs/tutorial.ipynb"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

CELL_SECONDS = 250


def run_notebook(notebook: Any, folder: Path) -> None:
    """Runs all cells in `folder`, with this interpreter's `python`; the outputs replace those of before."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    client = NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        kernel_name="python3",
        # Without these a notebook that is run again differs by times and by how its lines arrived.
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute(env={**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"})
    for cell in notebook.cells:
        cell.metadata.clear()


if __name__ == "__main__":
    place = Path(sys.argv[1])
    content = nbformat.read(place, as_version=4)
    run_notebook(content, place.parent)
    nbformat.write(content, place)
