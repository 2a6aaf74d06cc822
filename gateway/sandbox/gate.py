"""Gate: holds whoever comes while it is closed."""

from __future__ import annotations

import asyncio
from contextlib import suppress


class Gate:
    """Open or closed; a wait at it ends when it opens, or after ``hold_seconds``."""

    def __init__(self, hold_seconds: float, *, closed: bool = False) -> None:
        self.hold_seconds = hold_seconds
        self._opened = asyncio.Event()
        if not closed:
            self._opened.set()

    def __repr__(self) -> str:
        return f"<Gate {'closed' if self.is_closed else 'open'}, holds {self.hold_seconds:g} s>"

    @property
    def is_closed(self) -> bool:
        """Whether those who come are held."""
        return not self._opened.is_set()

    def close(self) -> None:
        """Holds those who come from now on."""
        self._opened.clear()

    def open(self) -> None:
        """Releases all who are held."""
        self._opened.set()

    async def wait(self) -> None:
        """Returns once the gate is open, or once the hold has lasted long enough."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self.hold_seconds):
                await self._opened.wait()
