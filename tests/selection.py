"""Which tests run when: ``make test`` leaves out what is ``exhaustive``, ``make quick`` what needs a service.

A test that goes through servers, and is run for every combination of several parameters, is left to the exhaustive
run but for as many combinations as it takes to try each value of each parameter once. A test is quick where its
module knows no helper that starts processes, and it asks for no fixture that does; in a quick run, starting a
process is an error.
"""

from __future__ import annotations

import inspect
import sys
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from typing import TypeVar

import pytest

T = TypeVar("T")

SERVED = {"cli", "clients", "http_rules", "integration", "observe", "server", "servers", "upstream"}
"""Folders whose combinations cost a request or a process each."""
APART = {"benchmarks", "container"}
"""Folders with a target of their own; of these, ``make test`` runs what starts nothing."""
ONE_PROCESS = {"browser", "helm", "http_rules"}
"""Folders that make something once for all their files: one test process runs them."""
NEVER_QUICK = APART | ONE_PROCESS | {"clients", "documents", "fuzz", "integration", "servers"}
"""Folders in which nearly every test starts a service."""
STARTERS = {
    *("subprocess", "tests.forked", "tests.redis_server", "tests.redis_fleet", "tests.promtool"),
    *("tests.integration.stage", "tests.integration.house", "tests.upstream.houses"),
    *("tests.cli.terminal", "tests.cli.command.command"),
}
"""Modules, and functions, by which tests start processes."""
STARTED = {"clock", "fleet", "house", "redis_client", "shared_redis", "stepped_redis"}
"""Fixtures that start some, or whose tests wait for what goes on beside them."""
REAL = {"real", "redis"}
"""Parameters by which a fixture that has several kinds of Redis starts one."""
NO_PROCESS = "quick and not processes"
"""What ``make quick`` selects."""


def folder(item: pytest.Item) -> str:
    """The folder below ``tests`` that a test is in; empty for one at its top."""
    return within(item.nodeid.partition("::")[0])


def within(path: str) -> str:
    """The same by a path from the root."""
    parts = path.split("/")
    return parts[1] if len(parts) > 2 else ""


def mark(items: Sequence[pytest.Item]) -> None:
    """Gives each test the marks that follow from what it is."""
    alike: dict[str, dict[pytest.Item, Collection[object]]] = defaultdict(dict)
    for item in items:
        file, _, name = item.nodeid.partition("::")
        item.add_marker(pytest.mark.xdist_group(folder(item) if folder(item) in ONE_PROCESS else file))
        if is_quick(item):
            item.add_marker("quick")
        elif folder(item) in APART:
            item.add_marker("exhaustive")
        if folder(item) in SERVED and isinstance(item, pytest.Function) and not is_left_out(item):
            alike[f"{file}::{name.partition('[')[0]}"][item] = {*parameters(item)}
    for combinations in alike.values():
        if len(combinations) > 1:
            for item in combinations.keys() - needed(combinations):
                item.add_marker("exhaustive")


def order(item: pytest.Item) -> tuple[bool, str, str]:
    """By which tests are sorted: what takes longest in one process begins first, and what shares something that is
    started for it follows each other."""
    place = folder(item)
    front = ""
    if isinstance(item, pytest.Function) and hasattr(item, "callspec"):
        front = str(item.callspec.params.get("front", ""))
    return place not in {*ONE_PROCESS, "integration"}, place if place in ONE_PROCESS else "", front


def is_left_out(item: pytest.Item) -> bool:
    """Whether ``make test`` leaves it out."""
    return any(item.get_closest_marker(name) for name in ("drill", "exhaustive"))


def parameters(item: pytest.Function) -> Iterator[tuple[object, ...]]:
    """What a test is run with: names, and the values that are given to these together."""
    values = item.callspec.params if hasattr(item, "callspec") else {}
    given = [names_of(mark.args[0]) for mark in item.iter_markers("parametrize")]
    by_fixtures = values.keys() - {name for names in given for name in names}
    for names in (*given, *((name,) for name in by_fixtures)):
        yield (*names, *(id(values[name]) for name in names))


def names_of(names: str | Sequence[str]) -> Sequence[str]:
    """The names of a ``parametrize``, which may be one string."""
    return [name.strip() for name in names.split(",")] if isinstance(names, str) else names


def needed(combinations: Mapping[T, Collection[object]]) -> set[T]:
    """As many of these as it takes to try each value that one of them has."""
    untried = {value for values in combinations.values() for value in values}
    chosen: set[T] = set()
    while untried:
        best = max(combinations, key=lambda each: len(untried.intersection(combinations[each])))
        untried.difference_update(combinations[best])
        chosen.add(best)
    return chosen


def is_quick(item: pytest.Item) -> bool:
    """Whether a test starts no process, as far as can be seen."""
    if folder(item) in NEVER_QUICK or STARTED & {*getattr(item, "fixturenames", ())}:
        return False
    if isinstance(item, pytest.Function) and hasattr(item, "callspec"):
        values = item.callspec.params.values()
        if any(isinstance(value, str) and value in REAL for value in values):
            return False
    return not starts(getattr(item, "module", None))


@cache
def starts(module: object) -> bool:
    """Whether a module knows anything that starts processes."""
    return not STARTERS.isdisjoint(origins(module))


def origins(module: object) -> Iterator[str]:
    """What a module knows, by the modules that it is from."""
    for each in vars(module).values() if inspect.ismodule(module) else ():
        if inspect.ismodule(each):
            yield each.__name__
        else:
            origin = getattr(each, "__module__", "")
            yield origin
            yield f"{origin}.{getattr(each, '__name__', '')}"


def forbid_processes() -> None:
    """From now on, starting a process is an error in this one."""

    def heard(event: str, _: object) -> None:
        if event in ("subprocess.Popen", "os.posix_spawn", "os.fork"):
            raise AssertionError("a quick test starts a process: tests/selection.py says what is quick")

    sys.addaudithook(heard)
