"""Prepares the documentation for a site in ``build/docs``, which ``make docs`` builds.

The pages are written for a reader of the repository. In their copies a link to a source is plain text, since a
site has only pages. The navigation is the index, ``docs/README.md``. Zensical, by the team of Material for MkDocs,
builds the site, and fails on a broken link or anchor.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
FENCE = re.compile(r"(^[ ]*```.*?^[ ]*```$)", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
SOURCE = re.compile(r'\b(src|srcset)="([^"]+)"')
ADDRESS = ("http://", "https://", "#")
CONFIG = """\
[project]
site_name = "stats-gateway"
site_description = "A caching gateway in front of the figshare statistics service"
use_directory_urls = false
nav = {nav}

[project.theme]
features = ["navigation.sections", "navigation.top", "content.code.copy"]

[[project.theme.palette]]
media = "(prefers-color-scheme: light)"
scheme = "default"

[[project.theme.palette]]
media = "(prefers-color-scheme: dark)"
scheme = "slate"

[project.markdown_extensions.tables]
[project.markdown_extensions.toc]
permalink = true
[project.markdown_extensions.pymdownx.superfences]
[project.markdown_extensions.pymdownx.highlight]
"""


def places() -> dict[Path, str]:
    """The files of the site, by where they are in the repository."""
    found = {ROOT / "README.md": "index.md", DOCS / "README.md": "contents.md"}
    found |= {ROOT / name: name.lower() for name in ("CONTRIBUTING.md", "CHANGELOG.md")}
    found[ROOT / "SECURITY.md"] = "security-policy.md"
    found |= {path: f"kubernetes/{path.name.lower()}" for path in (ROOT / "helm/stats-gateway").glob("*.md")}
    parts = [*DOCS.rglob("*.md"), *(DOCS / "images").iterdir(), *(DOCS / "samples").iterdir()]
    return {path: path.relative_to(DOCS).as_posix() for path in parts} | found


def moved(link: str, page: Path, files: Mapping[Path, str]) -> str | None:
    """A page's link as it is in the site; None where it leads to a file that is not there."""
    if link.startswith(ADDRESS):
        return link
    name, sign, anchor = link.partition("#")
    place = files.get((page.parent / name).resolve())
    return None if place is None else os.path.relpath(place, Path(files[page]).parent) + sign + anchor


def text_of(page: Path, files: Mapping[Path, str]) -> str:
    """A page's text with its links moved, except in blocks of code."""

    def link(found: re.Match[str]) -> str:
        mark, label, target = found.groups()
        place = moved(target, page, files)
        return label if place is None else f"{mark}[{LINK.sub(link, label)}]({place})"

    def source(found: re.Match[str]) -> str:
        return f'{found[1]}="{moved(found[2], page, files)}"'

    parts = FENCE.split(page.read_text(encoding="utf-8"))
    return "".join(
        part if number % 2 else SOURCE.sub(source, LINK.sub(link, part)) for number, part in enumerate(parts)
    )


def navigation(files: Mapping[Path, str]) -> list[dict[str, object]]:
    """The index as a menu: a section for each heading, a page for each link in the first column."""
    sections: list[dict[str, object]] = [{"Home": "index.md"}, {"All pages": "contents.md"}]
    for part in (DOCS / "README.md").read_text(encoding="utf-8").split("\n## ")[1:]:
        heading = part.partition(":")[0].strip()
        sections.append({heading: [{name: place} for name, place in entries(part, files) if place != "index.md"]})
    return sections


def entries(part: str, files: Mapping[Path, str]) -> Iterator[tuple[str, str]]:
    """The pages that a part of the index names, each with its place."""
    for row in re.findall(r"^\| (\[.+?) \|", part, re.MULTILINE):
        for _, name, target in LINK.findall(row):
            yield name, files[(DOCS / target.partition("#")[0]).resolve()]


def stage(folder: Path) -> None:
    """Write the site's sources and its configuration into a folder, in place of what is there."""
    shutil.rmtree(folder, ignore_errors=True)
    files = places()
    for path, place in files.items():
        there = folder / "docs" / place
        there.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md":
            there.write_text(text_of(path, files), encoding="utf-8")
        else:
            shutil.copyfile(path, there)
    nav = json.dumps(navigation(files), ensure_ascii=False)
    (folder / "zensical.toml").write_text(CONFIG.format(nav=re.sub(r'": ', '" = ', nav)), encoding="utf-8")


if __name__ == "__main__":
    stage(ROOT / "build" / "docs")
