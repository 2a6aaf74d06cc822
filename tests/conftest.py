"""What all tests share: a real Redis, and the rule about doing without one."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis.asyncio
from hypothesis import HealthCheck, settings

from tests.clock_shim import ClockShim, clock_shim
from tests.redis_server import BINARY, HINT, RedisServer, redis_server
from tests.selection import NEVER_QUICK, NO_PROCESS, forbid_processes, mark, order, within

settings.register_profile("gateway", deadline=None, max_examples=10, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("exhaustive", parent=settings.get_profile("gateway"), max_examples=300)
settings.register_profile("ci", parent=settings.get_profile("gateway"), derandomize=True, print_blob=True)


def pytest_configure(config: pytest.Config) -> None:
    """Fewer examples of what is generated where not all is asked for."""
    everything = str(config.option.markexpr).startswith("(exhaustive")
    settings.load_profile("exhaustive" if everything else "ci" if os.environ.get("CI") else "gateway")


def pytest_runtestloop(session: pytest.Session) -> None:
    """No test of a quick run starts a process; who only hands them out may."""
    if is_quick(session.config) and not session.config.getoption("numprocesses", None):
        forbid_processes()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A quick run need not read what it would leave out, nor need one of what runs alone."""
    if is_quick(config):
        path = collection_path.relative_to(config.rootpath).as_posix()
        return within(f"{path}/test") in NEVER_QUICK or None
    if str(config.option.markexpr).endswith(" and serial") and collection_path.name.startswith("test_"):
        return "mark.serial" not in collection_path.read_text() or None
    return None


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """Marks come before what selects by them."""
    mark(items)
    yield
    items.sort(key=order)


def is_quick(config: pytest.Config) -> bool:
    """Whether only quick tests were asked for."""
    return str(config.option.markexpr) == NO_PROCESS


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
