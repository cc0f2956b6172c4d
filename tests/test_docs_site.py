"""The site of `make docs`: whole and strict; it fetches nothing from elsewhere, and its links are right."""

import json
import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import yaml

import trivium
from driver import ROOT
from site_build import build_site, docs_module

DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("site")
    assert "WARNING" not in build_site(folder)
    return folder


def test_every_page_is_in_the_site(site: Path) -> None:
    pages = [path.relative_to(DOCS) for path in DOCS.rglob("*.md")]
    built = {str(path.relative_to(site)) for path in site.rglob("*.html")}
    expected = {
        str(page.with_name("index.html" if page.name == "README.md" else f"{page.stem}.html")) for page in pages
    }
    assert expected | {"about.html", "changelog.html", "tutorial.html"} <= built
    assert not (site / "site").exists()  # what makes the site is no part of it


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    loaded = re.compile(
        r"<(?:script|img|iframe|source)\b[^>]*\ssrc=[\"']?([^\"'\s>]+)|<link\b[^>]*\shref=[\"']?([^\"'\s>]+)"
    )
    found = {
        address
        for page in site.rglob("*.html")
        for pair in loaded.findall(page.read_text())
        for address in pair
        if "//" in address.partition("base64")[0]
    }
    assert found == set()
    assert not re.findall(r"(?:url\(|@import)[^;)]*//", "".join(path.read_text() for path in site.rglob("*.css")))


def test_the_reference_shows_signature_and_docstring(site: Path) -> None:
    text = re.sub(r"<[^>]+>", "", (site / "api" / "evaluation.html").read_text())
    assert "compute_metrics" in text
    assert "Computes the metrics of METRICS[protocol] over a whole split" in text
    index = json.loads((site / "search" / "search_index.json").read_text())
    assert {"api/runs.html#trivium.runs.load.load_run", "protocol.html#metrics"} <= {
        entry["location"] for entry in index["docs"]
    }


def test_the_tutorial_is_shown_with_its_outputs(site: Path) -> None:
    page = (site / "tutorial.html").read_text()
    assert "data:image/png;base64," in page
    assert "acc2_non0" in re.sub(r"<[^>]+>", "", page.partition('class="dataframe"')[2])


def test_links_lead_to_pages_or_name_the_file() -> None:
    links = docs_module("hooks").site_links
    text = (
        "[a](data.md#text) [run.py](../train.py) [how](../tests/driver.py) [start](../README.md) [x](https://x.org)\n"
    )
    fence = "```\n[a](../README.md)\n```\n"
    assert links(text + fence, "docs/running.md", "running.md", ROOT) == (
        "[a](data.md#text) [run.py](../train.py) [how](../tests/driver.py) [start](about.md) [x](https://x.org)\n"
        .replace("[run.py](../train.py)", "run.py (`train.py`)")
        .replace("[how](../tests/driver.py)", "how (`tests/driver.py`)")
    ) + fence  # fmt: skip
    assert links("[driver.py](../tests/driver.py)", "docs/a.md", "a.md", ROOT) == "`tests/driver.py`"
    at_host = links("[driver.py](../tests/driver.py)", "docs/a.md", "a.md", ROOT, "https://x.org/y/")
    assert at_host == "[driver.py](https://x.org/y/blob/main/tests/driver.py)"
    assert links("[r](docs/results.md#a) ![f](docs/f.png)", "README.md", "about.md", ROOT).startswith(
        "[r](results.md#a)"
    )
    assert links("[t](../tutorial.ipynb)", "docs/api/a.md", "api/a.md", ROOT) == "[t](../tutorial.md)"
    assert links("[gone](../gone.py)", "docs/a.md", "a.md", ROOT) == "[gone](../gone.py)"  # the strict build complains


def test_entries_of_a_docstring_become_a_list() -> None:
    listed = docs_module("docstrings").listed
    docstring = (
        "Returns x.\n\nfirst: what. second, third (b,): more\nof it.\nRaises ValueError if not.\n\nLegend: B clips."
    )
    assert listed(docstring) == (
        "Returns x.\n\n- **first**: what. \n- **second, third** (b,): more\nof it.\n\nRaises ValueError if not."
        "\n\nLegend: B clips."
    )


def test_the_readmes_figure_is_drawn_from_the_committed_values(tmp_path: Path) -> None:
    docs_module("readme_figure").draw(tmp_path / "methods")
    drawn, committed = plt.imread(tmp_path / "methods.png"), plt.imread(DOCS / "figures" / "methods.png")
    assert np.abs(drawn - committed).mean() < 0.01


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == trivium.__version__
    assert f"version = {{{trivium.__version__}}}" in (ROOT / "README.md").read_text()


def test_make_docs_stops_at_a_warning() -> None:
    (command,) = [line for line in (ROOT / "Makefile").read_text().splitlines() if "mkdocs build" in line]
    assert "--strict" in command
    assert "--quiet" not in command  # with it a missing page is no error
