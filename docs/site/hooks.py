"""Makes a site of pages that are written to be read on GitHub.

README.md and CHANGELOG.md of the root become pages, notebooks are shown with their outputs, and links to files that no
page holds (tests, sources) become links to the repository if mkdocs.yml names one, or else the file's name.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT_PAGES = {"README.md": "about.md", "CHANGELOG.md": "changelog.md"}  # file in the root -> page of the site
_FENCE = re.compile(r"^(```.*?^```)", flags=re.M | re.S)
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
ASSETS = ("iframe-worker.js", "site.css", "icon.svg")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that are no Markdown files of docs/, and the site's own assets."""
    root, docs = Path(config.config_file_path).parent, Path(config.docs_dir)
    for name, page in ROOT_PAGES.items():
        files.append(File.generated(config, page, content=(root / name).read_text()))
    for file in list(files):
        if file.src_uri.endswith(".ipynb"):
            files.remove(file)
            page = posixpath.splitext(file.src_uri)[0] + ".md"
            files.append(File.generated(config, page, content=notebook_page(docs / file.src_uri)))
    for name in ASSETS:
        files.append(File.generated(config, name, content=(docs / "site" / name).read_text()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns the links of a page into links of the site."""
    root, source = Path(config.config_file_path).parent, page.file.src_uri
    at_root = {page: file for file, page in ROOT_PAGES.items()}.get(source)
    return site_links(markdown, at_root or f"docs/{source}", source, root, config.repo_url or "")


def site_links(markdown: str, file: str, page: str, root: Path, repository: str = "") -> str:
    """Returns a page's text with links that work in the site; code blocks stay as they are.

    file: where the text lies in the repository. page: its path in the site. repository: its address, or "".
    """

    def replaced(match: re.Match[str]) -> str:
        image, text, link = match.groups()
        path, hash_sign, anchor = link.partition("#")
        if "://" in link or not path:
            return match[0]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(file), path))
        if not (root / target).exists():
            return match[0]  # for the strict build to complain of
        place = _place_in_site(target)
        if place:
            relative = posixpath.relpath(place, posixpath.dirname(page) or ".")
            return f"{image}[{text}]({relative}{hash_sign}{anchor})"
        if repository:
            return f"[{text}]({repository.rstrip('/')}/blob/main/{target})"
        return f"`{target}`" if text.strip("`") in (target, posixpath.basename(target)) else f"{text} (`{target}`)"

    parts = _FENCE.split(markdown)
    parts[::2] = [_LINK.sub(replaced, part) for part in parts[::2]]
    return "".join(parts)


def _place_in_site(target: str) -> str | None:
    """Returns where the site has a file of the repository, or None."""
    if target in ROOT_PAGES:
        return ROOT_PAGES[target]
    if not target.startswith("docs/"):
        return None
    place = target.removeprefix("docs/")
    return posixpath.splitext(place)[0] + ".md" if place.endswith(".ipynb") else place


def notebook_page(path: Path) -> str:
    """Returns a notebook as Markdown: text, code, and what the code printed, showed and drew."""
    notebook: Any = nbformat.read(path, as_version=4)
    parts = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
        else:
            parts += [f"```python\n{cell.source}\n```", *map(_shown, cell.outputs)]
    return "\n\n".join(parts) + "\n"


def _shown(output: Any) -> str:
    """Returns one output of a cell: a picture, a table or text, the first that it has."""
    if output.output_type == "stream":
        return f"```text\n{output.text.rstrip()}\n```"
    if output.output_type == "error":
        raise ValueError(f"the notebook ends in {output.ename}: {output.evalue}")
    data = output.data
    if "image/png" in data:
        return f'<p><img alt="figure" src="data:image/png;base64,{"".join(data["image/png"].split())}"></p>'
    if "text/html" in data:
        return re.sub(r"<style.*?</style>\s*|\n\s*", "", data["text/html"], flags=re.S)
    return f"```text\n{data['text/plain']}\n```"
