"""The world: what the service would answer on the public clients' day, to any question, at any time of that day.

It is the sandbox's, so that days add up to months and rankings agree with totals. The origin answers from it, and
what arrived is compared with it when the day is over: nothing that a cache composes may differ by a byte.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import date
from functools import cache
from hashlib import blake2b
from typing import NamedTuple

from benchmarks.contenders.nginx import basic
from benchmarks.contenders.setup import pair_of
from benchmarks.shield.clients import ARTICLES, COUNTERS
from benchmarks.shield.traffic import INSTITUTIONS
from gateway.sandbox import Habits
from gateway.sandbox.service import Service

Answered = Counter[tuple[str, bytes]]
"""How often a question was answered by a body, as its mark."""


class World(NamedTuple):
    """A world by its seed, on one day, for so many institutions."""

    seed: int
    today: date
    institutions: int = len(INSTITUTIONS)

    def service(self, name: str) -> Service:
        """The service of one institution: each has a memory of its own, large enough for all of its articles."""
        habits = Habits(examples=False, items=ARTICLES)
        return Service(self.seed, today=lambda: self.today, habits=habits, institutions=(name,))


class Oracle:
    """Answers questions about a world."""

    def __init__(self, world: World) -> None:
        self._services = {name: world.service(name) for name in INSTITUTIONS[: world.institutions]}
        self._right = cache(self._mark)

    def warm(self) -> None:
        """Draws all histories now, which takes seconds, so that no answer has to wait for that."""
        for name in self._services:
            for counter in COUNTERS:
                self.answer(f"/{name}/top/{counter}/article", own(name))

    def answer(self, target: str, authorization: str | None) -> tuple[int, bytes]:
        """Status and body."""
        path, _, query = target.partition("?")
        service = self._services.get(path.split("/")[1])
        if service is None:
            return 404, b'{"data": null, "code": "NotFound", "message": "Endpoint not found"}'
        answer = service.answer("GET", path, query, authorization.encode() if authorization else None)
        return answer.status, answer.body

    def wrong(self, answered: Mapping[tuple[str, bytes], int]) -> int:
        """How many answers were other bytes than the service's own, asked with the institution's pair."""
        return sum(count for (target, told), count in answered.items() if told != self._right(target))

    def _mark(self, target: str) -> bytes:
        return mark(self.answer(target, own(target.split("/")[1]))[1])


def own(institution: str) -> str:
    """The value of ``Authorization`` with the institution's pair."""
    return basic(pair_of(institution))


def mark(body: bytes) -> bytes:
    """What two bodies are compared by."""
    return blake2b(body, digest_size=8).digest()
