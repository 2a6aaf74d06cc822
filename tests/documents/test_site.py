"""The site has every page once, and its links lead to its own files."""

from __future__ import annotations

import re
import runpy
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.documents.pages import FENCE, PAGES, ROOT

SITE: dict[str, Any] = runpy.run_path(str(ROOT / "docs" / "site.py"))


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site's sources."""
    folder = tmp_path_factory.mktemp("site")
    SITE["stage"](folder)
    return folder


def test_the_index_has_every_page_once(staged: Path) -> None:
    nav = tomllib.loads((staged / "zensical.toml").read_text())["project"]["nav"]
    listed = [
        place
        for part in nav
        for entry in part.values()
        if isinstance(entry, list)
        for each in entry
        for place in each.values()
    ]
    places = SITE["places"]()
    assert len(set(places.values())) == len(places)
    wanted = {places[page] for page in [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]}
    assert sorted(listed) == sorted(wanted - {"index.md", "contents.md"})


def test_links_of_the_site_lead_to_its_files(staged: Path) -> None:
    for page in (staged / "docs").rglob("*.md"):
        text = FENCE.sub("", page.read_text())
        links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'\bsrc(?:set)?="([^"]+)"', text)
        for link in links:
            if not link.startswith(("http://", "https://", "#")):
                assert (page.parent / link.partition("#")[0]).is_file(), (page.name, link)


def test_links_to_sources_become_text_and_code_stays_as_it_is(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("See [`app.py`](../app.py) and [more](more.md#part).\n\n```\n[`app.py`](../app.py)\n```\n")
    files = {page: "page.md", tmp_path / "more.md": "deep/more.md"}
    text = SITE["text_of"](page, files)
    assert text == "See `app.py` and [more](deep/more.md#part).\n\n```\n[`app.py`](../app.py)\n```\n"
