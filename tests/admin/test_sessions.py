"""Sessions live as long as they may, in the whole fleet, and without Redis in their own process."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator

import pytest
import redis.asyncio

from gateway.admin.auth import READ_ONLY, READ_WRITE, AdminTokens
from gateway.admin.sessions import LONGEST, MOST, Sessions
from gateway.redis import Client
from gateway.redis_pool import Pool
from gateway.redis_url import RedisPlace
from gateway.setting_values import AdminToken
from tests.redis_server import RedisServer, redis_server

TOKEN, NAMED = "hunter2-admin", "hunter2-named"
IDLE = 1_800.0


class Time:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1_900_000_000.0

    def __call__(self) -> float:
        return self.now


def guard(named: str = NAMED, role: str = READ_ONLY, name: str = "watcher") -> AdminTokens:
    digest = "sha256:" + hashlib.sha256(named.encode()).hexdigest()
    return AdminTokens(TOKEN, {name: AdminToken.model_validate({"digest": digest, "role": role})}, ())


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def sessions(redis_client: Client, prefix: str, time: Time) -> Sessions:
    return Sessions(redis_client, prefix, guard(), time, IDLE)


def client_of(url: str) -> Client:
    place = RedisPlace.parse(url)
    return redis.asyncio.Redis.from_pool(Pool(place, place.hosts[0], 0.5, 4))


async def begun(sessions: Sessions, token: str = TOKEN) -> str:
    secret = await sessions.begin(token)
    assert secret is not None
    return secret


async def test_a_session_is_its_tokens_and_has_its_role(sessions: Sessions) -> None:
    admin = await sessions.find(await begun(sessions), active=True)
    watcher = await sessions.find(await begun(sessions, NAMED), active=True)
    assert admin is not None
    assert watcher is not None
    assert (admin.admin.name, admin.admin.role) == ("admin", READ_WRITE)
    assert (watcher.admin.name, watcher.admin.role) == ("watcher", READ_ONLY)
    assert admin.csrf != watcher.csrf
    assert await sessions.begin("wrong") is None


async def test_secrets_are_random_and_nothing_in_redis_opens_a_session(
    sessions: Sessions, redis_client: Client, prefix: str
) -> None:
    secrets = {await begun(sessions) for _ in range(20)}
    assert len(secrets) == 20
    stored = b""
    async for key in redis_client.scan_iter(f"{prefix}:*"):
        stored += key + await redis_client.get(key)
    assert stored
    for secret in secrets:
        found = await sessions.find(secret, active=False)
        assert found is not None
        for text in (secret, found.csrf, TOKEN):
            assert text.encode() not in stored


async def test_it_ends_when_nobody_used_it_for_a_while(sessions: Sessions, time: Time) -> None:
    secret = await begun(sessions)
    time.now += IDLE - 1
    assert await sessions.find(secret, active=True) is not None
    time.now += IDLE - 1
    assert await sessions.find(secret, active=True) is not None
    time.now += IDLE
    assert await sessions.find(secret, active=True) is None
    time.now -= IDLE
    assert await sessions.find(secret, active=True) is None, "an ended session does not come back"


async def test_a_page_that_asks_by_itself_does_not_put_the_end_off(sessions: Sessions, time: Time) -> None:
    secret = await begun(sessions)
    for _ in range(4):
        time.now += IDLE / 4 - 1
        assert await sessions.find(secret, active=False) is not None
    time.now += 4
    assert await sessions.find(secret, active=False) is None


async def test_it_ends_after_half_a_day_however_busy(sessions: Sessions, time: Time) -> None:
    secret, steps = await begun(sessions), int(LONGEST // 1_000)
    for _ in range(steps):
        time.now += 1_000
        assert await sessions.find(secret, active=True) is not None
    time.now += 1_000
    assert await sessions.find(secret, active=True) is None


async def test_redis_forgets_it_by_itself(sessions: Sessions, redis_client: Client, prefix: str) -> None:
    await begun(sessions)
    (key,) = [key async for key in redis_client.scan_iter(f"{prefix}:*")]
    assert 0 < await redis_client.pttl(key) <= IDLE * 1_000


async def test_another_process_knows_it_and_may_end_it(
    sessions: Sessions, redis_client: Client, prefix: str, time: Time
) -> None:
    other = Sessions(redis_client, prefix, guard(), time, IDLE)
    secret = await begun(sessions)
    assert await other.find(secret, active=True) is not None
    await other.end(secret)
    assert await sessions.find(secret, active=True) is None


@pytest.mark.parametrize(
    "changed",
    [guard("another"), guard(role=READ_WRITE), guard(name="somebody"), AdminTokens("", {}, ())],
    ids=["token", "role", "name", "all"],
)
async def test_a_token_that_went_or_changed_ends_its_sessions(
    sessions: Sessions, redis_client: Client, prefix: str, time: Time, changed: AdminTokens
) -> None:
    secret = await begun(sessions, NAMED)
    assert await Sessions(redis_client, prefix, changed, time, IDLE).find(secret, active=True) is None
    assert await sessions.find(secret, active=True) is None, "ended for good"


async def test_who_can_write_to_redis_can_make_no_session(
    sessions: Sessions, redis_client: Client, prefix: str
) -> None:
    mine, theirs = await begun(sessions, NAMED), await begun(sessions, TOKEN)
    names = [f"{prefix}:{{session}}:{_digest(secret)}" for secret in (mine, theirs)]
    for stored in (await redis_client.get(names[1]) or b"", b"", b"nonsense", b"\x93\x01\x02\xc4\x00", b"\xc1"):
        await redis_client.set(names[0], stored)
        assert await sessions.find(mine, active=True) is None
        mine = await begun(sessions, NAMED)
        names[0] = f"{prefix}:{{session}}:{_digest(mine)}"


async def test_a_renewal_does_not_bring_back_what_was_ended_meanwhile(
    redis_client: Client, prefix: str, time: Time
) -> None:
    class Ending(Sessions):
        async def _keep(self, session_id: str, record: object, *, new: bool) -> None:
            if not new:
                await redis_client.delete(f"{prefix}:{{session}}:{session_id}")
            await super()._keep(session_id, record, new=new)  # type: ignore[arg-type]

    sessions = Ending(redis_client, prefix, guard(), time, IDLE)
    secret = await begun(sessions)
    time.now += IDLE / 2
    await sessions.find(secret, active=True)
    assert await sessions.find(secret, active=True) is None


@pytest.mark.parametrize("secret", ["", "x", "x" * 43, "é" * 43, "x" * 44])
async def test_what_is_no_secret_finds_nothing(sessions: Sessions, secret: str) -> None:
    assert await sessions.find(secret, active=True) is None


class TestWithoutRedis:
    """Two processes, and a Redis that comes and goes."""

    @pytest.fixture
    def server(self) -> Iterator[RedisServer]:
        with redis_server() as server:
            yield server

    async def test_sessions_go_on_and_the_fleet_hears_of_it_later(self, server: RedisServer, time: Time) -> None:
        clients = [client_of(server.url) for _ in range(2)]
        one, other = (Sessions(client, "t", guard(), time, IDLE) for client in clients)
        kept, left = await begun(one), await begun(one)
        server.pause()
        assert await one.find(kept, active=True) is not None, "known here"
        assert await other.find(kept, active=True) is None, "not known there"
        new = await begun(one)
        assert await one.find(new, active=True) is not None
        await one.end(left)
        assert await one.find(left, active=True) is None
        await one.settle()
        assert await one.find(left, active=True) is None
        server.resume()
        await _until_it_answers(clients)
        assert await one.find(left, active=True) is None, "before anybody told Redis"
        assert await one.find(new, active=True) is not None
        await one.settle()
        assert await other.find(left, active=True) is None
        assert await other.find(new, active=True) is not None
        assert await other.find(kept, active=True) is not None
        for client in clients:
            await client.aclose()

    async def test_what_it_remembers_is_bounded(self, prefix: str, time: Time) -> None:
        client = client_of("redis://127.0.0.1:1/0")
        sessions = Sessions(client, prefix, guard(), time, IDLE)
        secrets = [await begun(sessions) for _ in range(MOST + 5)]
        assert await sessions.find(secrets[0], active=True) is None
        assert await sessions.find(secrets[-1], active=True) is not None
        for secret in secrets:
            await sessions.end(secret)
        assert repr(sessions) == f"<Sessions 0 known, 0 to write, {MOST} to end>"
        await client.aclose()


async def _until_it_answers(clients: list[redis.asyncio.Redis]) -> None:
    async with asyncio.timeout(10):
        for client in clients:
            pool = client.connection_pool
            assert isinstance(pool, Pool)
            while pool.breaker.is_open:
                await asyncio.sleep(0.02)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
