"""Heart: this process's signs of life, and what it learns of the fleet with each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from gateway.errors import CacheUnavailable
from gateway.upstream.board import Board
from gateway.upstream.fleet import Fleet
from gateway.upstream.replies import Pulse

log = structlog.get_logger("gateway")


class Heart:
    """Beats every ``period`` seconds and hands each pulse on.

    ``fleet`` and ``depths`` are the processes, and the queued jobs by band, when last seen, ``degraded`` whether
    the last sign of life was lost: Redis does not answer, or does not let anything be written.
    """

    def __init__(self, board: Board, period: float, fleet: Fleet, on_pulse: Callable[[Pulse], None]) -> None:
        self.fleet = fleet
        self.depths = (0, 0, 0)
        self.degraded = False
        self._board = board
        self._period = period
        self._on_pulse = on_pulse

    @property
    def depth(self) -> int:
        """Queued jobs of all bands, when last seen."""
        return sum(self.depths)

    async def beat(self) -> bool:
        """A sign of life; whether Redis took it."""
        try:
            pulse = await self._board.beat(self.fleet.rules.mark())
        except CacheUnavailable as error:
            self._found(lost=True, reason=error.message)
            return False
        self._found(lost=False)
        self.depths = pulse.queued
        self.fleet.heard(pulse)
        self._on_pulse(pulse)
        return True

    async def run(self) -> None:
        """Beats until cancelled."""
        while True:
            await asyncio.sleep(self._period)
            await self.beat()

    def _found(self, lost: bool, **reason: str) -> None:
        if lost == self.degraded:
            return
        self.degraded = lost
        if lost:
            log.warning("redis_lost", consequence="near cache, local flights and a share of the budget", **reason)
        else:
            log.warning("redis_back")
