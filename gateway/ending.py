"""Ending: the end of what a client sends on its connection, and who is told of it.

It does not say that the client has gone: whoever sends no more may read on (RFC 9112 §9.6). But most who go say no
more than that, so that nobody else should have to wait for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

ENDING = "gateway.ending"
"""Where a protocol leaves in its ASGI scope the Ending of the request's connection."""


class Ending:
    """The end of what one client sends; ``come`` says whether it has."""

    def __init__(self) -> None:
        self.come = False
        self._told: set[Callable[[], None]] = set()

    def comes(self) -> None:
        """The client sends no more."""
        self.come = True
        for tell in tuple(self._told):
            tell()

    @contextmanager
    def told(self, tell: Callable[[], None]) -> Iterator[None]:
        """Calls ``tell`` when it comes meanwhile; at once where it has come."""
        if self.come:
            tell()
        self._told.add(tell)
        try:
            yield
        finally:
            self._told.discard(tell)
