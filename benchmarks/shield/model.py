"""The model: what ideal caches would call, which take no time, lose nothing, and expire to the moment. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

from benchmarks.shield.traffic import BOUNDS, Request, Tenant


@cache
def spelling(target: str) -> str:
    """A target with its parameters sorted: two that are equal ask the same, whatever the parameters mean."""
    path, mark, query = target.partition("?")
    return path + mark + "&".join(sorted(query.split("&")))


@cache
def meaning(target: str) -> str:
    """The same without the default count: two are equal where they ask the same."""
    path, _, query = target.partition("?")
    return "?".join([path, *sorted(parameter for parameter in query.split("&") if parameter != "count=10")])


def calls(
    requests: Sequence[Request], tenants: Sequence[Tenant], caches: int, key: Callable[[str], str] = meaning
) -> int:
    """Upstream calls of a day with so many caches, each of which sees one of so many requests and shares nothing.

    ``key`` is what a cache tells questions apart by, beside the credential.
    """
    fresh: dict[tuple[int, str, str], float] = {}
    called = 0
    for number, request in enumerate(requests):
        username = tenants[request.tenant].usernames.get(request.target.split("/", 2)[1], "")
        place = (number % caches, username, key(request.target))
        if fresh.get(place, 0.0) <= request.at:
            called += 1
            fresh[place] = request.at + BOUNDS[request.kind]
    return called
