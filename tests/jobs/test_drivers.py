"""What a batch asks, in which order, and how far it says it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.jobs.drivers import batch
from gateway.jobs.job import wanting


@dataclass
class Held:
    """An asker that has nothing stored, and answers when the test says so."""

    permits: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    left: int = -1

    async def apart(self, function: Callable[[], Any]) -> Any:
        return function()

    async def stored(self, targets: Sequence[str]) -> list[None]:
        return [None] * len(targets)

    async def ask(self, target: str) -> None:
        await self.permits.acquire()

    def plan(self, cached: int, refused: int, calls: int) -> None:
        self.left = -1

    def progress(self, done: int, total: int, calls_left: int) -> None:
        self.left = calls_left


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_what_is_not_answered_yet_is_left_whoever_waits_to_ask_it() -> None:
    asker = Held()
    asked = asyncio.create_task(batch(wanting([f"/{number}" for number in range(5)]), asker))  # type: ignore[arg-type]
    for answered in range(5):
        await settled()
        assert asker.left == 5 - answered
        asker.permits.release()
    await asked
    assert asker.left == 0
