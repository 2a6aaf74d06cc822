"""The model: what ideal caches would call, which take no time, lose nothing, and expire to the moment. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence
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
    return _calls(requests, tenants, caches, lambda target, username: (username, key(target)))


def calls_by_rankings(requests: Sequence[Request], tenants: Sequence[Tenant], *, public: bool) -> int:
    """Upstream calls of a day with one cache that takes an article's totals, and undated tops of articles, out of
    a ranking of them all, asked with the institution's credential; ``public``: those of who holds none, too."""

    @cache
    def place(target: str, username: str) -> Hashable:
        ranked = RANKED.fullmatch(target) if username or public else None
        return ranked.group(1, 2) if ranked else (username, meaning(target))

    return _calls(requests, tenants, 1, place)


RANKED = re.compile(r"/([^/]+)/(?:total(?=.*/[0-9]+$)|top)/([a-z]+)/article(?:/[0-9]+)?")
"""Totals of one article, and tops without parameters: the institution and the counter."""


def _calls(
    requests: Sequence[Request],
    tenants: Sequence[Tenant],
    caches: int,
    place_of: Callable[[str, str], Hashable],
) -> int:
    fresh: dict[tuple[int, Hashable], float] = {}
    called = 0
    for number, request in enumerate(requests):
        username = tenants[request.tenant].usernames.get(request.target.split("/", 2)[1], "")
        place = (number % caches, place_of(request.target, username))
        if fresh.get(place, 0.0) <= request.at:
            called += 1
            fresh[place] = request.at + BOUNDS[request.kind]
    return called
