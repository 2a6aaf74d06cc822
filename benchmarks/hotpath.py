"""What the steps of a hit cost on this machine, in microseconds: medians of several rounds, in one process.

Run with ``make bench-hotpath``. Figures are for comparison within one run; machines differ and are noisy.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from gateway.app import create_application
from gateway.cache.entry import Entry, decode, encode
from gateway.cache.keys import PUBLIC, cache_key
from gateway.cache.rules import Asked, Rules, decide
from gateway.catalogue.endpoints import recognise
from gateway.observe.logs import configure_logs
from gateway.settings import Settings

PATH, QUERY = b"/timeline/month/views/article/23", b"start_date=2014-01-01&end_date=2014-12-31"
BODY = b'{"timeline": {' + b", ".join(b'"2014-%02d": %d' % (m, m * 7) for m in range(1, 13)) + b"}}"


def median_us(rounds: int, repeat: int, act: Callable[[], object]) -> float:
    """Median over rounds of the microseconds that one call takes."""
    costs = []
    for _ in range(rounds):
        begin = time.perf_counter()
        for _ in range(repeat):
            act()
        costs.append((time.perf_counter() - begin) / repeat * 1e6)
    return statistics.median(costs)


async def median_us_async(rounds: int, repeat: int, act: Callable[[], Awaitable[object]]) -> float:
    """The same for a coroutine function."""
    costs = []
    for _ in range(rounds):
        begin = time.perf_counter()
        for _ in range(repeat):
            await act()
        costs.append((time.perf_counter() - begin) / repeat * 1e6)
    return statistics.median(costs)


def stored_entry(key: str) -> Entry:
    """A fresh entry of a usual size."""
    now = time.time()
    headers = [(b"content-type", b"application/json; charset=UTF-8")]
    return Entry(key, 200, headers, BODY, b'"e"', now, now, now + 9e5, now + 9e5, now + 9e5, now, now + 9e5)


async def near_hit(rounds: int, repeat: int) -> float:
    """A hit through the whole ASGI app, without a server."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            allow_anonymous=True,
            anonymous_requests_per_second=0,
            registry=Path(folder) / "tenants.toml",
            log_level="error",
        )
        app = create_application(settings).public
        key = cache_key(settings.redis_prefix, PUBLIC, recognise(PATH, QUERY).canonical, PATH + b"?" + QUERY)
        app.fast_path.proxy.resolver.store.near.put(stored_entry(key.entry))
        scope: dict[str, Any] = {
            "type": "http",
            "http_version": "1.1",
            "method": "GET",
            "path": PATH.decode(),
            "raw_path": PATH,
            "query_string": QUERY,
            "headers": [(b"host", b"gateway.test"), (b"accept", b"*/*")],
        }
        statuses: list[int] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if "status" in message:
                statuses.append(message["status"])

        cost = await median_us_async(rounds, repeat, lambda: app(scope, receive, send))
        assert set(statuses) == {200}
        return cost


def main() -> None:
    configure_logs("warning", "json")
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--repeat", type=int, default=2_000)
    args = parser.parse_args()
    query = recognise(PATH, QUERY)
    entry = stored_entry(cache_key("sgw", PUBLIC, query.canonical, query.exact).entry)
    data, now, rules = encode(entry), time.time(), Rules()
    rows = {
        "recognise": lambda: recognise(PATH, QUERY),
        "cache key": lambda: cache_key("sgw", PUBLIC, query.canonical, query.exact),
        "decide": lambda: decide(Asked(), (entry,), None, now=now, rules=rules),
        "encode an entry": lambda: encode(entry),
        "decode an entry": lambda: decode(data, entry.key),
    }
    for name, act in rows.items():
        print(f"{name:20} {median_us(args.rounds, args.repeat, act):8.2f} µs", flush=True)
    print(f"{'near hit, ASGI':20} {asyncio.run(near_hit(args.rounds, args.repeat)):8.2f} µs")


if __name__ == "__main__":
    main()
