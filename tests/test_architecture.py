"""The rules of the house: rooms that import one way, files and functions of a size that can be read.

What breaks a rule for now is listed with its reason; an entry that is no longer needed fails too.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import grimp
import pytest

from benchmarks.house import MAX_PARAMETERS, at_top, box_of, boxes, functions, length, levels, sources
from benchmarks.walk import walks

pytestmark = pytest.mark.quick

ROOT = Path(__file__).parents[1]
MODULES = sources(ROOT)

ROOMS: tuple[frozenset[str], ...] = (
    frozenset({"redis_url"}),
    frozenset({"setting_values"}),
    frozenset({"errors"}),
    frozenset({"catalogue", "lifecycle"}),
    frozenset({"settings"}),
    frozenset({"provenance"}),
    frozenset({"redis_pool"}),
    frozenset({"redis_cluster"}),
    frozenset({"redis"}),
    frozenset({"cache"}),
    frozenset({"tenants"}),
    frozenset({"upstream"}),
    frozenset({"observe"}),
    frozenset({"derivation"}),
    frozenset({"proxy"}),
    frozenset({"jobs"}),
    frozenset({"server", "admin"}),
    frozenset({"lifespan"}),
    frozenset({"app"}),
    frozenset({"asgi", "sandbox"}),
    frozenset({"cli"}),
    frozenset({"__main__"}),
)
"""From the ground up: each imports only what is in a row below its own."""
HOST_OF_SANDBOX = "gateway.cli.sandbox"
"""The one module that imports the sandbox."""

MOST_FILES = {"miss": 55, "shared hit": 31, "fast-path hit": 13}
"""So many files a request may touch on its way."""

MAX_AT_TOP = 14
MAX_LEVELS = 15
MIN_LINES, MAX_LINES = 40, 420

SHORT = {
    "gateway.__main__": "what python -m runs",
    "gateway.asgi": "the entry point of other ASGI servers",
}
LONG: Mapping[str, int] = {}
"""Longer than a file may be, and how long they may be until they are shortened."""


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    """By module, those that it imports, under ``if TYPE_CHECKING`` and within functions too."""
    return {
        module: found - {"gateway"} for module, found in _imports(grimp.build_graph("gateway", cache_dir=None))
    }


@pytest.fixture(scope="module")
def imports_at_run_time() -> dict[str, set[str]]:
    """The same without those for type checkers."""
    graph = grimp.build_graph("gateway", exclude_type_checking_imports=True, cache_dir=None)
    return dict(_imports(graph))


def _imports(graph: grimp.ImportGraph) -> Iterator[tuple[str, set[str]]]:
    yield from ((module, graph.find_modules_directly_imported_by(module)) for module in graph.modules)


def rank(module: str) -> int:
    """The row of ROOMS that a module is in."""
    room = box_of(module).removeprefix("gateway.")
    found = [row for row, rooms in enumerate(ROOMS) if room in rooms]
    assert found, f"{module}: give {room} a place in ROOMS"
    return found[0]


def test_no_room_imports_one_above_or_beside_it(imports: Mapping[str, set[str]]) -> None:
    upwards = [
        f"{module} → {target}"
        for module, targets in imports.items()
        for target in targets
        if module != "gateway" and box_of(module) != box_of(target) and rank(module) <= rank(target)
    ]
    assert sorted(upwards) == []


def test_only_its_own_command_imports_the_sandbox(imports: Mapping[str, set[str]]) -> None:
    inside = "gateway.sandbox"
    users = {
        module
        for module, targets in imports.items()
        if box_of(module) != inside and any(box_of(target) == inside for target in targets)
    }
    assert users == {HOST_OF_SANDBOX}


def test_modules_import_each_other_in_no_circle(imports_at_run_time: Mapping[str, set[str]]) -> None:
    assert levels(imports_at_run_time) is not None


def test_rooms_are_few_levels_deep(imports: Mapping[str, set[str]]) -> None:
    depth = levels(boxes({module: targets for module, targets in imports.items() if module != "gateway"}))
    assert depth is not None, "rooms import each other in a circle"
    assert depth <= MAX_LEVELS


def test_few_files_are_loose_at_the_top() -> None:
    assert len(at_top(MODULES)) <= MAX_AT_TOP, at_top(MODULES)


def test_no_module_is_shorter_than_a_thought() -> None:
    short = {module for module, path in MODULES.items() if path.name != "__init__.py" and length(path) < MIN_LINES}
    assert short == SHORT.keys()


def test_no_file_is_too_long_to_be_read_at_once() -> None:
    long = {module: length(path) for module, path in MODULES.items() if length(path) > MAX_LINES}
    assert {module: lines for module, lines in long.items() if lines > LONG.get(module, 0)} == {}
    assert LONG.keys() - long.keys() == set(), "no longer needed"


def test_no_function_takes_more_parameters_than_one_remembers() -> None:
    assert [each.name for each in functions(MODULES) if each.parameters > MAX_PARAMETERS] == []


ALONE = """
import importlib, sys

for rooms in sys.argv[1:]:
    modules = rooms.split()
    for module in modules:
        for other in modules:
            sys.modules.pop(other, None)
        try:
            importlib.import_module(module)
        except Exception as error:
            print(module, repr(error))
    for module in modules:
        importlib.import_module(module)
"""
"""Imports each module of a row of rooms while none other of the row is loaded. Those of the rows below may stay:
they import nothing above, so that none of them can be in a circle with it."""


@pytest.mark.processes
def test_each_module_can_be_imported_alone() -> None:
    rows: list[list[str]] = [[] for _ in ROOMS]
    for module in MODULES.keys() - {"gateway", "gateway.__main__"}:
        rows[rank(module)].append(module)
    words = [sys.executable, "-W", "ignore", "-c", ALONE, *map(" ".join, rows)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout.splitlines()) == (0, []), done.stderr


def test_a_request_goes_through_few_files() -> None:
    touched = {walk.name: len(walk.files) for walk in asyncio.run(walks())}
    assert {name: touched[name] for name, most in MOST_FILES.items() if touched[name] > most} == {}
