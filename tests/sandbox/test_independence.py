"""The sandbox can prove the rest of the package wrong only if it shares nothing with it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import gateway.sandbox

FOLDER = Path(gateway.sandbox.__file__).parent


def imported(source: str) -> Iterator[str]:
    """Every module that a source imports, with the names taken from it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            yield from ("." * node.level + f"{node.module or ''}.{alias.name}" for alias in node.names)


def strangers(source: str) -> list[str]:
    """Imports of the package, or relative ones, that leave the sandbox."""
    ours = [name for name in imported(source) if name.split(".")[0] in ("gateway", "")]
    return [name for name in ours if not name.startswith("gateway.sandbox.")]


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.py")), ids=lambda path: path.name)
def test_the_sandbox_imports_nothing_from_the_rest_of_the_package(path: Path) -> None:
    assert strangers(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "line",
    ["import gateway", "import gateway.errors", "from gateway import errors", "from gateway.errors import X",
     "from .. import errors", "from ..errors import X"],
)  # fmt: skip
def test_every_way_of_importing_the_rest_is_noticed(line: str) -> None:
    assert strangers(line) != []
