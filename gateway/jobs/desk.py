"""Desk: asks many questions side by side for a report, and says how far it is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import TypeVar

from gateway.jobs.asking import Answered, Asker

T = TypeVar("T")
WIDTH = 32
"""How many are asked for at once at most; the asker bounds how many calls that makes."""


class Desk:
    """Asks through an asker, and counts the steps of its job: those done, and those foreseen."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self.apart = asker.apart
        self.stored = asker.stored
        self._done = 0
        self._foreseen = 0

    def __repr__(self) -> str:
        return f"<Desk {self._done} of {self._foreseen}>"

    def foresee(self, steps: int) -> None:
        """Adds steps to come."""
        self._foreseen += steps

    async def ask(self, target: str, since: float | None = None) -> Answered:
        """The asker's answer; one step."""
        answered = await self._asker.ask(target, since=since)
        self._done += 1
        total = max(self._done, self._foreseen)
        self._asker.progress(self._done, total, total - self._done)
        return answered

    async def ask_all(
        self, targets: Iterable[str], take: Callable[[int, Answered], None], since: float | None = None
    ) -> None:
        """Hands each answer over as it comes, with its target's place."""

        async def one(numbered: tuple[int, str]) -> None:
            take(numbered[0], await self.ask(numbered[1], since))

        await side_by_side(enumerate(targets), one)


async def side_by_side(each: Iterable[T], work: Callable[[T], Awaitable[None]]) -> None:
    """Works on all, in their order, a bounded number at once. Raises the first error, and ends the others."""
    left = iter(each)
    workers = [asyncio.ensure_future(_worker(left, work)) for _ in range(WIDTH)]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


async def _worker(left: Iterator[T], work: Callable[[T], Awaitable[None]]) -> None:
    for each in left:
        await work(each)
