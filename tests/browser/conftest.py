"""The console on a real gateway, and a real browser in front of it."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any, Literal

import httpx2 as httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from tests.browser.chromium import BINARY, HINT, chromium
from tests.browser.visitor import Visitor
from tests.browser.witness import Witness
from tests.integration.stage import Process, Stage, staged
from tests.loopback import LOOPBACK
from tests.redis_server import RedisServer

ADMIN, WATCHER = "hunter2-admin", "hunter2-watching"
LONG = "w" * 63
PATIENCE = 20_000
"""Milliseconds in which a page does what a test waits for."""
Enter = Callable[..., Awaitable[Visitor]]

expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="package")
def console_stage(shared_redis: RedisServer) -> Iterator[Stage]:
    """A gateway with two admin tokens, on the real Redis, in front of the sandbox."""
    watcher = {"digest": f"sha256:{hashlib.sha256(WATCHER.encode()).hexdigest()}", "role": "read-only"}
    settings = {"redis_url": shared_redis.url, "redis_prefix": f"t{secrets.token_hex(6)}", "budget": "unlimited"}
    settings |= {"trusted_proxies": "127.0.0.1/32", "fleet_size": "4"}
    with staged(**settings, admin_token=ADMIN, admin_tokens=json.dumps({"watcher": watcher})) as stage:
        stage.tenant("reports", "lboro", "monash")
        stage.tenant(LONG, "lboro")
        stage.registry().change(LONG, name="N" * 200, note="n" * 2_000)
        stage.registry().add_key(LONG, "l" * 200)
        stage.serve()
        yield stage


@pytest.fixture
def gateway(console_stage: Stage) -> Process:
    return console_stage.gateways[0]


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """One for all tests of a test process; each has a context of its own."""
    if BINARY is None:
        if os.environ.get("CI"):
            pytest.fail(HINT)
        pytest.skip(HINT)
    async with chromium() as running:
        yield running


@pytest.fixture(scope="package")
def cookies(console_stage: Stage) -> dict[str, tuple[str, str]]:
    """Sessions, by role, of people who signed in before."""
    base = admin_url(console_stage.gateways[0])
    return {"admin": signed_in(base, ADMIN), "watcher": signed_in(base, WATCHER)}


@pytest_asyncio.fixture(loop_scope="session")
async def enter(browser: Browser, gateway: Process, cookies: dict[str, tuple[str, str]]) -> AsyncIterator[Enter]:
    """Lets somebody in, with a context of their own, as Playwright's options say; nothing may go wrong unseen."""
    witnesses: list[Witness] = []
    async with AsyncExitStack() as stack:

        async def enter(
            role: Literal["admin", "watcher"] | None = "admin", at: Process = gateway, **options: Any
        ) -> Visitor:
            base = admin_url(at)
            # An address of their own: from one, only so many a minute may sign in.
            headers = {"X-Forwarded-For": f"198.18.{secrets.randbelow(256)}.{secrets.randbelow(256)}"}
            context = await browser.new_context(extra_http_headers=headers, **options)
            await stack.enter_async_context(context)
            context.set_default_timeout(PATIENCE)
            if role is not None:
                name, value = cookies[role]
                await context.add_cookies([{"name": name, "value": value, "url": base}])
            witnesses.append(Witness(context, base))
            return Visitor(await context.new_page(), base, witnesses[-1])

        yield enter
    assert [fault for witness in witnesses for fault in witness.faults] == []


def admin_url(gateway: Process) -> str:
    """Where the console is."""
    return f"http://127.0.0.1:{gateway.admin_port}"


def signed_in(base: str, token: str) -> tuple[str, str]:
    """The cookie of a new session: its name, and the secret."""
    answer = httpx.post(f"{base}/sign-in", data={"token": token}, timeout=40, **LOOPBACK)
    assert answer.status_code == 303, answer.text
    (cookie,) = answer.cookies.items()
    return cookie
