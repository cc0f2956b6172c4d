"""The site in headless Chromium, opened from the file system: search, narrow and dark pages, and no request elsewhere.

Run with `make page-test`. With TRIVIUM_SCREENSHOTS=DIR, screenshots are left there to be looked at.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from browser import CHROMIUM, Browser
from site_build import build_site

pytestmark = [
    pytest.mark.page,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: `make page-test` installs Debian's package"),
]
RESULTS = "[...document.querySelectorAll('.md-search-result__item a')].map(link => link.getAttribute('href'))"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("site")
    build_site(folder)
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    chromium = Browser(tmp_path_factory.mktemp("profile"))
    yield chromium
    chromium.close()


def refuse_requests_and_errors(browser: Browser) -> None:
    assert browser.errors == []
    assert [url for url in browser.requests if not url.startswith(("data:", "file:", "about:"))] == []


def test_search_finds_pages_and_functions(site: Path, browser: Browser) -> None:
    browser.open(site / "index.html")
    browser.click("[data-md-toggle=search]")
    for words, page in {"balanced accuracy": "protocol.html", "cpc_loss": "api/objectives.html"}.items():
        browser.type(".md-search__input", words)
        browser.run("document.querySelector('.md-search__input').dispatchEvent(new KeyboardEvent('keyup'))")
        until = time.monotonic() + 30
        while not any(page in link for link in browser.run(RESULTS)):
            assert time.monotonic() < until, browser.run(RESULTS)
            time.sleep(0.1)
    refuse_requests_and_errors(browser)


@pytest.mark.parametrize("width", [1280, 360])
def test_no_page_is_wider_than_its_window(width: int, site: Path, browser: Browser) -> None:
    wide = []
    for page in sorted(set(site.rglob("*.html")) - {site / "404.html"}):  # that one is for a server
        browser.open(page, width=width)
        if browser.run("document.documentElement.scrollWidth > innerWidth"):
            wide.append(str(page.relative_to(site)))
        refuse_requests_and_errors(browser)
    assert wide == []


def test_colours_follow_the_system(site: Path, browser: Browser) -> None:
    seen = {}
    for dark in (False, True):
        browser.open(site / "tutorial.html", dark=dark)
        seen[dark] = browser.run("getComputedStyle(document.body).backgroundColor")
        if folder := os.environ.get("TRIVIUM_SCREENSHOTS"):
            browser.screenshot(Path(folder) / f"site_{'dark' if dark else 'light'}.png")
    assert seen[False] == "rgb(255, 255, 255)"
    assert max(map(int, seen[True][4:-1].split(", ")[:3])) < 64
