"""What all tests share: a real Redis, and the rule about doing without one."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from collections.abc import AsyncIterator, Iterator

import pytest
import redis.asyncio
from hypothesis import HealthCheck, settings

from tests.clock_shim import ClockShim, clock_shim
from tests.redis_server import BINARY, HINT, RedisServer, redis_server

settings.register_profile("gateway", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", parent=settings.get_profile("gateway"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "gateway")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As in a test run in the background; all that it starts would ignore Ctrl-C too.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def needs_redis() -> None:
    """Skips a test where there is no redis-server; fails it in CI."""
    if BINARY is None:
        if os.environ.get("CI"):
            pytest.fail(HINT)
        pytest.skip(HINT)


@pytest.fixture(scope="session")
def shared_redis() -> Iterator[RedisServer]:
    """One redis-server for all tests of a test process; each uses a prefix of its own."""
    needs_redis()
    with redis_server() as server:
        yield server


@pytest.fixture
def clock() -> Iterator[ClockShim]:
    """A clock that the test steps."""
    with clock_shim() as clock:
        yield clock


@pytest.fixture
def stepped_redis(clock: ClockShim) -> Iterator[RedisServer]:
    """A redis-server that goes by that clock."""
    needs_redis()
    with redis_server(environment=clock.environment) as server:
        yield server


@pytest.fixture
def prefix() -> str:
    """A Redis key prefix that no other test uses."""
    return f"t{secrets.token_hex(6)}"


@pytest.fixture
async def redis_client(shared_redis: RedisServer) -> AsyncIterator[redis.asyncio.Redis]:
    """A client of the real Redis."""
    client = redis.asyncio.Redis.from_url(shared_redis.url, protocol=2)
    yield client
    # Commands run to their end although those who sent them were cancelled.
    commands = asyncio.all_tasks() - {asyncio.current_task()}
    if commands:
        await asyncio.wait(commands, timeout=5)
    await client.aclose()
