"""Loopback: how the tests' own clients ask, and how servers run beside a test in the same process."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any

LOOPBACK: dict[str, Any] = {"trust_env": False, "verify": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)}
"""Options of an httpx2 client: without proxies and, since they ask by plain HTTP, without loading the authorities
of TLS for each request."""
PATIENCE = 10.0


@contextmanager
def running(
    serving: Coroutine[Any, Any, object],
    ready: threading.Event,
    stop: Callable[[], object],
    loop_factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
) -> Iterator[asyncio.AbstractEventLoop]:
    """A server on an event loop in a thread of its own, so that no test's waiting holds it up; yields that loop.

    The server sets ``ready``, and ends after ``stop``, which is called on its loop.
    """
    loop = loop_factory()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(serving)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(PATIENCE)
    try:
        yield loop
    finally:
        with suppress(RuntimeError):  # it has ended by itself
            loop.call_soon_threadsafe(stop)
        thread.join(PATIENCE)
