"""Writes the pages that are made from the code: ``python docs/reference``. With ``--check`` it only compares."""

from __future__ import annotations

import sys
from pathlib import Path

import admin_api
import cli
import configuration

DOCS = Path(__file__).parents[1]
PAGES = {"configuration.md": configuration.page, "cli.md": cli.page, "admin-api.md": admin_api.page}


def main() -> None:
    """Write the pages, or exit with the names of those that are out of date."""
    made = {DOCS / name: page() for name, page in PAGES.items()}
    if "--check" in sys.argv[1:]:
        old = [path.name for path, text in made.items() if not path.is_file() or path.read_text("utf-8") != text]
        sys.exit(f"out of date: {', '.join(old)}; run: make reference" if old else 0)
    for path, text in made.items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
