"""The page in headless Chromium, opened from the file system: it sorts, filters, opens, and logs no error.

Run with `make page-test`. With TRIVIUM_SCREENSHOTS=DIR, screenshots and a print are left there to be looked at.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from browser import CHROMIUM, Browser
from page_cases import EVIL, TESTED, predicted, run_at, scored, search_at, store_at, table_at, targets
from trivium.report.write_report import write_report

pytestmark = [
    pytest.mark.page,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: `make page-test` installs Debian's package"),
]
MANY = 3000  # clips of the largest run


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of two rows and two seeds, a search, and a run of MANY clips with text that tries to be markup."""
    folder = tmp_path_factory.mktemp("page")
    small, large = store_at(folder / "small.h5"), store_at(folder / "large.h5", MANY)
    table, search = table_at(folder / "table", small), search_at(folder / "search")
    many = run_at(folder / "many", large, 7, method="comm", clips=MANY, note=EVIL)
    return write_report([table, search, many], folder / "page.html", maps="none", command="python scripts/report.py x")


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture
def browser(chromium: Browser, page: Path) -> Iterator[Browser]:
    chromium.open(page)
    yield chromium
    assert chromium.errors == []
    assert [url for url in chromium.requests if not url.startswith(("data:", "file:", "about:"))] == []


def column(browser: Browser, table: str, place: int) -> list[str]:
    """Texts of the rows that are shown, from the top."""
    found: list[str] = browser.run(
        f"[...document.querySelectorAll('#{table} tbody tr')].filter(row => row.offsetParent !== null)"
        f".map(row => row.cells[{place}].textContent)"
    )
    return found


def choose_many(browser: Browser) -> None:
    """Show the clips of the largest run."""
    browser.run("document.querySelector('#clip-run').value = 4")
    browser.run("document.querySelector('#clip-run').dispatchEvent(new Event('change'))")


def test_a_head_sorts_its_column_both_ways_and_says_so(browser: Browser) -> None:
    maes = sorted([*(scored(seed)["mae"] for seed in (1, 2, 1, 2)), scored(7, MANY)["mae"]])
    head, said = "#runs th:nth-child(4) button", "document.querySelector('#runs th:nth-child(4)').ariaSort"
    browser.click(head)
    assert column(browser, "runs", 3) == [f"{mae:.3f}" for mae in maes]
    assert browser.run(said) == "ascending"
    browser.click(head)
    assert column(browser, "runs", 3) == [f"{mae:.3f}" for mae in maes[::-1]]
    assert browser.run(said) == "descending"
    browser.click("#runs th:nth-child(1) button")
    assert column(browser, "runs", 0) == sorted(column(browser, "runs", 0), key=str.lower)
    assert browser.run(said) == "none"


def test_what_has_no_value_is_last_in_both_directions(browser: Browser) -> None:
    for _ in range(2):
        browser.click("#study-0 th:nth-child(3) button")
        assert column(browser, "study-0", 2)[-1] == "-"


def test_words_and_choices_filter_rows_and_the_count_follows(browser: Browser) -> None:
    browser.type("[data-filter=runs]", "seed OURS")
    assert column(browser, "runs", 0) == ["Ours, seed 1", "Ours, seed 2"]
    assert browser.run("document.querySelector('[data-count=runs]').textContent") == "2 of 5 rows"
    browser.type("[data-filter=runs]", "")
    browser.run(
        "const s = document.querySelector('[data-choice=\"1\"]'); s.value = 'comm';s.dispatchEvent(new Event('change'))"
    )
    assert column(browser, "runs", 0) == ["comm, seed 7"]


def test_rows_are_compared_in_the_measure_and_from_the_row_that_are_chosen(chromium: Browser, tmp_path: Path) -> None:
    """Ours has 0.49, 0.51 and 0.5, Base, the baseline, 0.62, 0.63 and 0.625."""
    table = table_at(tmp_path / "table", store_at(tmp_path / "made.h5"), maes=TESTED)
    chromium.open(write_report([table], tmp_path / "page.html", maps="none"))
    assert column(chromium, "standing", 0) == ["Ours", "Base baseline"]
    assert column(chromium, "standing", 1) == ["0.500 ± 0.010", "0.625 ± 0.005"]
    assert column(chromium, "standing", 2) == ["-0.125-0.130 to -0.120", "-"]
    assert column(chromium, "standing", 3) == ["better .001*would show 0.015", "-"]
    assert "within the margin (0.020)" in chromium.run("document.querySelector('#verdicts').innerText")
    assert "Against Base: better: Ours." in chromium.run("document.querySelector('#verdict').innerText")
    assert chromium.run("document.querySelector('#verdict strong').textContent").startswith("Ours has the lowest MAE")
    choose(chromium, "#reference", "best")
    assert column(chromium, "standing", 2) == ["-", "+0.125+0.120 to +0.130"]
    assert column(chromium, "standing", 3) == ["-", ".001*"]  # t = 43 with two degrees of freedom
    assert chromium.run("document.querySelector('#verdicts').hidden")  # they are against the baseline
    left = "[...document.querySelectorAll('#standing tbody .mean')].map(mark => parseFloat(mark.style.left))"
    ours, base = chromium.run(left)
    assert 0 < ours < base < 100
    assert chromium.run("document.querySelectorAll('#standing tbody tr:first-child .seed').length") == 3
    assert chromium.run("document.querySelectorAll('#standing tbody .interval').length") == 2
    assert chromium.run("document.querySelector('#few').hidden")
    assert chromium.errors == []


def test_published_results_are_ticks_by_kind_beside_the_seeds(chromium: Browser, tmp_path: Path) -> None:
    table = table_at(tmp_path / "table", store_at(tmp_path / "made.h5"), maes=TESTED)
    head = "data,row,measure,metric,value,std,seeds,kind,selection,features,same_features,flaw,source,note"
    cells = ["0.55,,,authors,test,F,False,,S", "0.45,,,rerun,validation,F,True,,T", "0.1,,,rerun,,F,False,swapped,U"]
    (table / "published.csv").write_text("\n".join([head, *(f",Ours,MAE,mae,{cell}," for cell in cells)]) + "\n")
    chromium.open(write_report([table], tmp_path / "page.html", maps="none"))
    marks = "[...document.querySelectorAll('#standing tbody .cell')].map(mark => [mark.className, mark.title])"
    assert chromium.run(marks) == [["cell authors pale on-test", "0.550: S"], ["cell rerun", "0.450: T"]]
    ours, _ = column(chromium, "standing", 1)
    assert "published 0.450 to 0.550 (2 sources, 1 on these features, 1 selected on test)" in ours
    marked = "document.querySelectorAll('#standing tbody tr:first-child :is(.cell, .mean)')"
    left = f"[...{marked}].map(mark => parseFloat(mark.style.left))"
    mean, authors, rerun = chromium.run(left)
    assert rerun < mean < authors < 100
    assert not chromium.run("document.querySelector('#key-cells').hidden")
    assert chromium.errors == []


def test_two_seeds_show_neither_p_nor_interval_and_the_page_says_why(browser: Browser) -> None:
    assert column(browser, "standing", 1) == ["0.500 ± 0.014", "0.625 ± 0.007"]
    assert column(browser, "standing", 2) == ["-0.125", "-"]
    assert column(browser, "standing", 3) == ["-", "-"]
    assert browser.run("document.querySelectorAll('#standing tbody .interval').length") == 0
    assert "fewer than 3 seeds have no interval" in browser.run("document.querySelector('#few').innerText")


def choose(browser: Browser, select: str, value: str) -> None:
    found = f"document.querySelector('{select}')"
    browser.run(f"{found}.value = '{value}'; {found}.dispatchEvent(new Event('change'))")


def test_settings_are_marked_against_the_setting_that_is_chosen(browser: Browser) -> None:
    marked = "[...document.querySelectorAll('#settings tr:not(.same) .differs')].map(cell => cell.textContent)"
    heads = browser.run("[...document.querySelectorAll('#settings thead th')].map(head => head.textContent)")
    assert heads == ["setting", "Ours", "Base", "comm"]
    assert "supervised" in browser.run(marked)
    choose(browser, "#settings-from select", "2")
    assert "supervised" not in browser.run(marked)
    assert {"selfmi", "comm", EVIL} <= set(browser.run(marked))


def test_only_differences_are_shown_until_all_are_asked_for(browser: Browser) -> None:
    few = column(browser, "settings", 0)
    assert few == ["method.name"]  # method.note is one run's alone
    browser.click("#differing")
    every = column(browser, "settings", 0)
    assert set(few) < set(every)
    assert "data.batch_size" in every
    assert browser.run("document.querySelector('[data-count=settings]').textContent") == f"{len(every)} rows"


def test_settings_of_parts_that_some_runs_lack_are_folded_away(chromium: Browser, tmp_path: Path) -> None:
    store = store_at(tmp_path / "made.h5")
    for name, settings in (
        ("a", {"encoder": {"kind": "lstm", "hidden": 64}, "rate": 0.1}),
        ("b", {"encoder": {"kind": "lstm", "hidden": 64}, "rate": 0.2}),
        ("c", {"encoder": {"kind": "transformer", "heads": 4}, "rate": 0.1}),
    ):
        run_at(tmp_path / "runs" / name, store, **settings)
    chromium.open(write_report([tmp_path / "runs"], tmp_path / "page.html", maps="none"))
    differing, lacking = ["method.encoder.kind", "method.rate"], ["method.encoder.hidden", "method.encoder.heads"]
    assert column(chromium, "settings", 0) == differing
    more = "document.querySelector('#lacking')"
    assert chromium.run(f"{more}.textContent") == "Show 2 settings of parts that some runs do not have"
    chromium.click("#lacking")
    assert set(column(chromium, "settings", 0)) == {*differing, *lacking}
    assert chromium.run(f"{more}.ariaExpanded + {more}.textContent").startswith("trueHide 2 settings")
    chromium.click("#differing")
    assert chromium.run(f"{more}.hidden")  # all are shown
    chromium.run("document.querySelector('#run-0 details.config').open = true")
    chromium.run("new Promise(done => setTimeout(done, 100))")
    own = "[...document.querySelectorAll('#run-0 .settings tr:not(.same) th')].map(head => head.textContent)"
    assert set(chromium.run(own)) == {*differing, "run.dir"}
    assert chromium.errors == []


def test_a_run_opens_from_its_link_with_figures_settings_and_clips(browser: Browser) -> None:
    assert browser.run("document.querySelector('#run-2').open") is False
    browser.click("a[href='#run-2']")
    browser.run("new Promise(done => setTimeout(done, 100))")
    assert browser.run("document.querySelector('#run-2').open && location.hash") == "#run-2"
    assert browser.run("document.querySelector('#run-2').closest('.group').open")
    shown = "[...document.querySelectorAll('#run-2 img')].map(image => image.decode())"
    browser.run(f"Promise.all({shown})")
    assert browser.run("[...document.querySelectorAll('#run-2 img')].every(image => image.naturalWidth > 100)")
    browser.run("document.querySelector('#run-2 details.config').open = true")
    browser.run("new Promise(done => setTimeout(done, 100))")
    settings = "[...document.querySelectorAll('#run-2 .settings tr:not(.same) th')].map(head => head.textContent)"
    assert {"seed", "method.name"} <= set(browser.run(settings))
    browser.click("#run-2 [data-clips]")
    assert browser.run("document.querySelector('#clip-run').value") == "2"


def test_an_address_with_a_run_opens_it(chromium: Browser, page: Path) -> None:
    chromium.open(page, fragment="#run-1")
    assert chromium.run("document.querySelector('#run-1').open") is True


def test_thousands_of_clips_are_sorted_searched_and_rendered_a_piece_at_a_time(browser: Browser) -> None:
    choose_many(browser)
    errors = np.abs(predicted(7, MANY).round(4) - targets(MANY).astype(float).round(4))
    assert column(browser, "clips", 4) == [f"{error:.2f}" for error in np.sort(errors)[::-1][:60]]
    took = browser.run(
        "(() => { const t = performance.now(); document.querySelector('[data-clip=target]').click();"
        "return performance.now() - t })()"
    )
    assert column(browser, "clips", 2)[:2] == ["-3.00", "-3.00"]
    assert took < 1000  # milliseconds, on a machine that does other things too
    browser.click("#clip-more")
    assert len(column(browser, "clips", 0)) == 120
    browser.type("#clip-search", "THIN plot")
    browser.run("new Promise(done => setTimeout(done, 300))")
    assert browser.run("document.querySelector('#clip-count').textContent").startswith(f"{MANY // 6} of {MANY} clips")
    assert {cell.split("test$")[0] for cell in column(browser, "clips", 0)} == {"the plot is thin"}


def test_another_run_of_the_same_clips_stands_beside_and_sorts(browser: Browser) -> None:
    assert browser.run("[...document.querySelectorAll('#clip-beside option')].map(option => option.value)") == [
        "",
        "1",
        "2",
        "3",
    ]  # not the run of other clips
    choose(browser, "#clip-beside", "1")
    one, other, true = predicted(1).round(4), predicted(2).round(4), targets(40).astype(float).round(4)
    gains = np.abs(other - true) - np.abs(one - true)
    browser.click("[data-clip=gain]")
    assert column(browser, "clips", 6)[:5] == [f"{gain:.2f}" for gain in np.sort(gains)[::-1][:5]]
    assert browser.run("document.querySelectorAll('#clips tbody .track .beside').length") == 40
    choose(browser, "#clip-beside", "")
    assert browser.run("document.querySelector('[data-clip=error]').parentElement.ariaSort") == "descending"


def test_text_that_looks_like_markup_stays_text(browser: Browser) -> None:
    browser.type("#clip-search", "onerror")
    browser.run("new Promise(done => setTimeout(done, 300))")
    assert column(browser, "clips", 0)[0].startswith(EVIL)
    assert browser.run("document.querySelectorAll('img[src=x]').length") == 0
    assert browser.run("document.title") != "taken"


def test_the_keyboard_alone_reaches_and_works_everything(browser: Browser) -> None:
    describe = "(e => e.id || e.dataset.column || e.dataset.filter || e.getAttribute('href') || e.tagName)"
    choose_many(browser)
    seen = []
    for _ in range(200):
        browser.press("Tab")
        seen.append(browser.run(f"{describe}(document.activeElement)"))
        ringed = browser.run("getComputedStyle(document.activeElement).outlineStyle")
        assert ringed != "none", f"no focus to be seen on {seen[-1]}"
        if seen[-1] == "clip-more":
            break
    assert seen[0] == "#main"
    assert {
        "theme",
        "measure",
        "reference",
        "runs",
        "differing",
        "clip-run",
        "clip-search",
        "clip-more",
        "#run-0",
    } <= set(seen)
    browser.press("Enter")
    assert len(column(browser, "clips", 0)) == 120
    browser.run("document.querySelector('#runs th:nth-child(4) button').focus()")
    browser.press(" ")
    assert browser.run("document.querySelector('#runs th:nth-child(4)').ariaSort") == "ascending"


def test_theme_is_the_systems_until_the_button_sets_one(chromium: Browser, page: Path) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    chromium.open(page, dark=True)
    dark = chromium.run(ground)
    chromium.open(page, dark=False)
    light = chromium.run(ground)
    assert dark != light
    chromium.click("#theme")
    assert chromium.run(ground) == dark
    chromium.click("#theme")
    assert chromium.run(ground) == light
    chromium.click("#theme")
    assert chromium.run("document.querySelector('#theme').textContent") == "Theme: system"


@pytest.mark.parametrize("dark", [False, True])
def test_words_and_marks_stand_out_from_their_ground(chromium: Browser, page: Path, dark: bool) -> None:
    chromium.open(page, dark=dark)
    names = ("paper", "soft", "ink", "quiet", "link", "mark", "mark-ink", "edge", "score", "other", "focus")
    probe = "document.body.appendChild(document.createElement('i'))"
    shown = f"(i => {{ i.style.color = 'var(--NAME)'; return getComputedStyle(i).color }})({probe})"
    colour = {name: chromium.run(shown.replace("NAME", name)) for name in names}
    pairs = [(word, ground) for word in ("ink", "quiet", "link") for ground in ("paper", "soft")]
    for word, ground in [*pairs, ("mark-ink", "mark")]:
        assert contrast(colour[word], colour[ground]) >= 4.5, (word, ground)  # WCAG AA
    for mark in ("edge", "score", "other", "focus"):
        assert contrast(colour[mark], colour["paper"]) >= 3, mark


def test_everything_that_is_worked_with_has_a_name_and_a_place(browser: Browser) -> None:
    """What axe checks first: names of controls, images, regions and heads; one h1; no level left out; unique ids."""
    lacking = browser.run("""(() => {
        const all = selector => [...document.querySelectorAll(selector)], name = element => (element.ariaLabel
            || element.labels?.[0]?.textContent || element.alt || element.textContent).trim();
        const found = all('button, select, input, a, img, summary, [role=region], [role=status]:not([hidden])')
            .filter(e => !name(e) && e.id !== 'clip-count').map(e => e.outerHTML.slice(0, 90));
        found.push(...all('thead th').filter(e => !e.textContent.trim()).map(e => e.outerHTML));
        found.push(...all('tbody tr').filter(e => e.closest('#clips') === null && e.cells[0].scope !== 'row')
            .map(e => e.outerHTML));
        const levels = all('h1, h2, h3, h4').map(e => Number(e.tagName[1]));
        if (levels.filter(level => level === 1).length !== 1) found.push('h1');
        levels.forEach((level, k) => { if (k && level > levels[k - 1] + 1) found.push(`h${level} too deep`) });
        const ids = all('[id]').map(e => e.id);
        found.push(...ids.filter((id, k) => ids.indexOf(id) !== k));
        found.push(...all('[tabindex="0"]').filter(e => !e.role).map(e => e.outerHTML.slice(0, 90)));
        return found;
    })()""")
    assert lacking == []


def contrast(one: str, other: str) -> float:
    """WCAG's ratio of two colours such as rgb(0, 0, 0)."""

    def luminance(colour: str) -> float:
        parts = np.array(re.findall(r"\d+", colour), float) / 255
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize(("width", "dark"), [(360, False), (360, True), (1280, False), (1280, True)])
def test_nothing_is_wider_than_the_screen(chromium: Browser, page: Path, width: int, dark: bool) -> None:
    chromium.open(page, width=width, dark=dark, fragment="#run-0")
    chromium.run("document.querySelectorAll('img').forEach(image => { image.loading = 'eager' })")
    chromium.run("Promise.all([...document.images].filter(i => i.offsetParent).map(i => i.decode()))")
    assert chromium.run("document.documentElement.scrollWidth") <= width
    scroll = "document.querySelector('#clips').closest('.scroll')"
    assert chromium.run(f"{scroll}.scrollWidth - {scroll}.clientWidth") <= 0  # clips need no sideways scrolling
    assert chromium.errors == []
    if folder := os.environ.get("TRIVIUM_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        chromium.screenshot(Path(folder) / f"{width}_{'dark' if dark else 'light'}.png", whole=True)
        chromium.pdf(Path(folder) / "print.pdf")


@pytest.mark.parametrize("width", [360, 1280])
def test_all_tabs_can_be_reached(chromium: Browser, page: Path, width: int) -> None:
    chromium.open(page, width=width)
    hit = "[...document.querySelectorAll('nav a')].map(a => { const r = a.getBoundingClientRect();"
    hit += "return document.elementFromPoint(r.x + r.width / 2, r.y + r.height / 2) === a && r.left >= 0"
    reached = chromium.run(f"{hit} && r.right <= {width} }})")
    assert reached == [True] * 7


@pytest.mark.parametrize("width", [360, 1280])
def test_text_of_figures_is_legible(chromium: Browser, page: Path, width: int) -> None:
    """11 pixels at least: each figure is put into the page once more, so that the style of its text is known."""
    chromium.open(page, width=width, fragment="#run-0")
    chromium.run("document.querySelectorAll('details').forEach(d => { d.open = true })")
    chromium.run("document.querySelectorAll('img').forEach(image => { image.loading = 'eager' })")
    chromium.run("Promise.all([...document.images].map(i => i.decode()))")
    sizes = chromium.run("""[...document.images].filter(i => i.src.includes('svg')).map(image => {
        const frame = document.createElement('div'), root = frame.attachShadow({mode: 'open'});
        document.body.append(frame);
        root.innerHTML = atob(image.src.split(',')[1]);
        const svg = root.querySelector('svg'), scale = image.clientWidth / svg.viewBox.baseVal.width;
        const size = text => scale * parseFloat(getComputedStyle(text).fontSize);
        const sizes = [...svg.querySelectorAll('text')].map(size);
        frame.remove();
        return Math.min(...sizes);
    })""")
    assert len(sizes) > 10
    assert min(sizes) >= 11


def test_an_edge_that_cuts_a_table_fades_until_its_end_and_the_keyboard_gets_there(
    chromium: Browser, page: Path
) -> None:
    chromium.open(page, width=360)
    table = "document.querySelector('#runs').parentElement"
    assert chromium.run(f"getComputedStyle({table}).maskImage").startswith("linear-gradient")
    chromium.run(f"{table}.focus()")
    chromium.press("ArrowRight")
    chromium.run("new Promise(done => setTimeout(done, 400))")
    assert chromium.run(f"{table}.scrollLeft") > 0
    for _ in range(60):
        chromium.press("ArrowRight")
    chromium.run("new Promise(done => setTimeout(done, 600))")
    assert chromium.run(f"{table}.scrollLeft + {table}.clientWidth - {table}.scrollWidth") >= -1
    assert chromium.run(f"getComputedStyle({table}).maskImage") == "none"
    assert not chromium.run("document.querySelector('#clips').parentElement.className.includes('cut')")  # it fits
    chromium.open(page)
    assert not chromium.run("document.querySelector('#standing').parentElement.className.includes('cut')")
    assert chromium.errors == []


def test_nothing_moves_by_itself_where_motion_is_not_wanted(chromium: Browser, page: Path) -> None:
    moves = "getComputedStyle(document.documentElement).scrollBehavior"
    chromium.open(page)
    assert chromium.run(moves) == "smooth"
    chromium.open(page, still=True)
    assert chromium.run(moves) == "auto"


def test_a_hundred_runs_open_at_once(chromium: Browser, tmp_path: Path) -> None:
    """Of as many clips as MOSI's test split has."""
    clips, store = 686, store_at(tmp_path / "store.h5", 686)
    for row in range(10):
        for seed in range(1, 11):
            run_at(tmp_path / "runs" / f"row{row}_s{seed}_abcdef", store, seed, clips=clips, row=row)
    page = write_report([tmp_path / "runs"], tmp_path / "page.html", maps="none")
    assert page.stat().st_size < 10e6
    chromium.open(page)
    timing = "performance.getEntriesByType('navigation')[0]"
    assert chromium.run(f"{timing}.domComplete") < 6000  # a third of it on a machine that does nothing else
    sorting = "(() => { const t = performance.now(); document.querySelector('#runs button').click();"
    assert chromium.run(f"{sorting} document.body.offsetHeight; return performance.now() - t }})()") < 1000
    assert chromium.errors == []
