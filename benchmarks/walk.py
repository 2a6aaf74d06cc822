"""The way of a request through the files of ``gateway/``: traced while real requests are answered.

    python -m benchmarks.walk [--files]

One process, memory://, the ASGI door, a service on loopback. Counted are calls of the gateway's functions (a
coroutine that goes on is no new call), the files they are in, and hops: from one file to the next, and of those
the hops back to a file that was left. Tasks that a request starts, such as its flight, count with it; those that
run all the time do not.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

import fakeredis
from pydantic import SecretStr

import gateway
from gateway.app import create_application
from gateway.observe.logs import configure_logs
from gateway.settings import Settings
from gateway.tenants.registry import open_registry
from gateway.tenants.tenant import Pair

PACKAGE = str(Path(gateway.__file__).parent) + "/"
TOKEN = "walking-admin"  # noqa: S105 (of no other gateway than its own)
TARGET = "/lboro/timeline/month/views/article/{}?start_date=2014-01-01&end_date=2014-12-31"
BODY = b'{"timeline": {"2014-01": 7}}'
REPLY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
TRACED: ContextVar[bool] = ContextVar("traced", default=False)
"""Set where a request is answered, and in the tasks that are started there."""
SETTLED = 0.3
"""Seconds after which what a request set in motion has ended."""


@dataclass
class Walk:
    """What was called while one request was answered, in order: a file for each call."""

    name: str
    status: int = 0
    outcome: str = ""
    way: list[str] = field(default_factory=list)

    @property
    def files(self) -> list[str]:
        """Each file once, in the order of the way."""
        return list(dict.fromkeys(self.way))

    @property
    def hops(self) -> int:
        """How often the next call is in another file."""
        return sum(one != other for one, other in pairwise(self.way))

    @property
    def back(self) -> int:
        """Hops to a file that was left before."""
        return self.hops - len(self.files) + 1

    @property
    def rooms(self) -> int:
        """The rooms, and files loose at the top, that the way goes through."""
        return len({file.split("/")[0] for file in self.files})


@contextmanager
def traced(way: list[str]) -> Iterator[None]:
    """Adds the file of each call of the gateway's functions."""
    running: set[FrameType] = set()

    def heard(frame: FrameType, event: str, _: object) -> None:
        file = frame.f_code.co_filename
        if event == "call" and file.startswith(PACKAGE) and frame not in running and TRACED.get():
            running.add(frame)
            way.append(file.removeprefix(PACKAGE))

    token = TRACED.set(True)
    sys.setprofile(heard)
    try:
        yield
    finally:
        sys.setprofile(None)
        TRACED.reset(token)


async def ask(
    app: Any, target: str, key: str = "", *, method: str = "GET", body: bytes = b"", **more: str
) -> tuple[int, dict[bytes, bytes]]:
    """One request at an app's door: status and headers."""
    parts = urlsplit(target)
    given = {"host": "localhost", "accept": "*/*", **({"x-api-key": key} if key else {}), **more}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "method": method,
        "path": parts.path,
        "raw_path": parts.path.encode(),
        "query_string": parts.query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 80),
    }
    heads: list[Any] = []
    bodies = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        if bodies:
            return bodies.pop()
        return await asyncio.Future()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            heads.append(message)

    await app(scope, receive, send)
    return heads[0]["status"], dict(heads[0]["headers"])


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with closing(writer), suppress(asyncio.CancelledError):  # which comes when all is over
        while await reader.readline():
            while await reader.readline() not in (b"\r\n", b""):
                pass
            writer.write(REPLY)


@asynccontextmanager
async def processes(folder: Path, upstream: str) -> AsyncIterator[tuple[list[Any], str]]:
    """Two processes' worth of gateway that share an embedded Redis, and a tenant's key."""
    settings = Settings(
        upstream=upstream,
        registry=str(folder / "tenants.toml"),
        redis_url=SecretStr("memory://"),
        budget="unlimited",
        lifetime_jitter=0.0,
        admin_token=SecretStr(TOKEN),
        log_level="error",
    )
    registry = open_registry(settings)
    registry.add("reports", "Reports")
    registry.add("reports", None, Pair("lboro", "lboro", "secret"))
    key = registry.add_key("reports")
    server = fakeredis.FakeServer(server_type="redis")
    async with AsyncExitStack() as stack:
        with mock.patch.object(fakeredis, "FakeServer", return_value=server):
            apps = [create_application(settings) for _ in range(2)]
        for app in apps:
            await stack.enter_async_context(app.public.router.lifespan_context(app.public))
        yield apps, key


async def walks() -> list[Walk]:
    """A walk for each kind of request."""
    service = await asyncio.start_server(_serve, "127.0.0.1", 0)
    upstream = f"http://127.0.0.1:{service.sockets[0].getsockname()[1]}"
    found: list[Walk] = []

    async def walk(name: str, app: Any, target: str, key: str) -> None:
        taken = Walk(name)
        await asyncio.sleep(SETTLED)
        with traced(taken.way):
            taken.status, headers = await ask(app, target, key)
            if name in ("miss", "stale"):
                await asyncio.sleep(SETTLED)
        taken.outcome = headers.get(b"cache-status", b"").decode().partition("; ")[2]
        found.append(taken)

    with tempfile.TemporaryDirectory() as folder:
        async with processes(Path(folder), upstream) as ((one, other), key):
            # What is done once a process, or once a connection, is done before.
            for app in (one, other):
                for _ in range(3):
                    await ask(app.public, TARGET.format(0), key)
            first = TARGET.format(1)
            await walk("miss", one.public, first, key)
            await walk("near hit", one.public, first, key)
            await walk("second near hit", one.public, first, key)
            await walk("fast-path hit", one.public, first, key)
            await walk("shared hit", other.public, first, key)
            await walk("refused: unknown key", one.public, first, "sgw_" + "0" * 40)
            await walk("refused: institution", one.public, first.replace("lboro", "monash"), key)
            status, _ = await ask(
                one.admin,
                "/api/purge",
                method="POST",
                body=b'{"item": "article/1"}',
                authorization=f"Bearer {TOKEN}",
                **{"content-type": "application/json", "content-length": "21"},
            )
            assert status < 300, status
            await walk("stale", one.public, first, key)
    service.close()
    await asyncio.sleep(SETTLED)
    return found


def main() -> None:
    """Prints the table, and with ``--files`` each way's files in their order."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--files", action="store_true", help="the files of each way in their order")
    options = parser.parse_args()
    configure_logs("error", "json")
    found = asyncio.run(walks())
    print("| request | answer | calls | files | hops (back) | rooms |\n|---|---|---:|---:|---:|---:|")
    for each in found:
        answer = f"{each.status} {each.outcome}".strip()
        print(
            f"| {each.name} | {answer} | {len(each.way)} | {len(each.files)} | {each.hops} ({each.back})"
            f" | {each.rooms} |"
        )
    if options.files:
        for each in found:
            print(f"\n{each.name}: {' › '.join(file.removesuffix('.py') for file in each.files)}")


if __name__ == "__main__":
    main()
