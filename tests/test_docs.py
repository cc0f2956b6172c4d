"""README.md and docs/: links lead somewhere, every page is listed, and commands name keys and choices that exist."""

import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from trivium.cli.evaluate import main as evaluate
from trivium.cli.prepare import main as prepare
from trivium.cli.report import main as report
from trivium.cli.reproduce import main as reproduce
from trivium.cli.runs import main as runs
from trivium.config.check import problems_of

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
OWN_FILES = {"docs/extending.md"}  # its commands use files that the reader has just written: test_short_way.py
SCRIPTS: dict[str, Callable[[Sequence[str]], int]] = {
    "evaluate": evaluate,
    "prepare": prepare,
    "report": report,
    "reproduce": reproduce,
    "runs": runs,
}


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """Of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    headings = re.findall(r"^#+ +(.+)$", text, flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(page: Path) -> list[str]:
    """What follows `trivium`, in the page's blocks of bash."""
    blocks = re.findall(r"^```bash\n(.*?)^```", page.read_text(), flags=re.M | re.S)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line.removeprefix("trivium ") for line in lines if line.startswith("trivium ")]


COMMANDS = [line for page in PAGES if name(page) not in OWN_FILES for line in commands(page)]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_to_a_file_and_a_heading_of_it(page: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if "://" in link or (target.exists() and (not anchor or anchor in anchors(target))):
            continue
        broken.append(link)
    assert broken == []


def test_the_list_of_pages_is_whole() -> None:
    index = ROOT / "docs" / "README.md"
    listed = {(index.parent / link).resolve() for link in re.findall(r"\]\(([^)\s#]+)\)", index.read_text())}
    assert {page for page in PAGES if page.parent != ROOT} - {index} <= listed


def test_training_commands_compose() -> None:
    wrong = {}
    for command in COMMANDS:
        script, *arguments = shlex.split(command, comments=True)
        # runs that are looked into
        arguments = [one for one in arguments if not one.startswith(("start_from=", "resume=outputs/"))]
        if script == "train" and (problems := problems_of([*arguments, "--cfg", "job"])):
            wrong[command] = problems
    assert wrong == {}


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_know_the_keys_of_commands(script: str, capsys: pytest.CaptureFixture[str]) -> None:
    SCRIPTS[script](["--help"])
    taught = capsys.readouterr().out
    used = [shlex.split(command, comments=True)[1:] for command in COMMANDS if command.startswith(f"{script} ")]
    keys = {argument.partition("=")[0] for arguments in used for argument in arguments if "=" in argument}
    assert used, "no page shows it"
    assert {key for key in keys if not re.search(rf"\b{re.escape(key)}=", taught)} == set()


def test_tables_of_commands_exist() -> None:
    tables = {table for command in COMMANDS for table in re.findall(r"\btable=(\w+)", command)}
    assert {table for table in tables if not (ROOT / "configs" / "table" / f"{table}.yaml").is_file()} == set()
