"""The pages that are made from the code are those of today's code."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from gateway.cli import app
from gateway.server.process import LIVE
from gateway.settings import Settings
from tests.documents.pages import ROOT, section

DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    """The pages by their names."""
    return {path.name: path.read_text() for path in DOCS.glob("*.md")}


def leaves(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    for name, each in group.commands.items():
        if isinstance(each, TyperGroup):
            yield from leaves(each, (*path, name))
        else:
            yield " ".join((*path, name)), each


def test_the_pages_are_made_from_the_code_of_today() -> None:
    done = subprocess.run(
        [sys.executable, str(DOCS / "reference"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_setting_is_on_its_page_with_what_needs_no_restart(pages: dict[str, str]) -> None:
    page = pages["configuration.md"]
    assert all(f"| `{name}` |" in page for name in Settings.model_fields)
    assert f"**Restart.** {', '.join(f'`{name}`' for name in sorted(LIVE))} takes effect on a reload" in page


def test_every_command_is_on_its_page_with_all_its_options(pages: dict[str, str]) -> None:
    for name, command in leaves(typer.main.get_command(app)):
        text = section(pages["cli.md"], name)
        for option in (spelt for param in command.params for spelt in param.opts if spelt.startswith("--")):
            assert f"`{option}" in text or option == "--help", (name, option)
