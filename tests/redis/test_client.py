"""Redis at its worst, for whoever asks it: bounded, mapped to one error, and over as soon as Redis is back."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from pydantic import SecretStr

from gateway.cache.purges import Purges
from gateway.errors import CacheUnavailable
from gateway.redis import (
    Client,
    Invocation,
    Script,
    connect,
    ignored,
    invoke,
    invoke_all,
    redis_errors,
    shielded,
    text,
)
from gateway.redis_pool import REPLY_MAX_BYTES, Pool, PooledConnection
from gateway.settings import Settings
from tests.chaos_redis import NONSENSE, SILENT, ChaosProxy, chaos_proxy
from tests.redis_server import RedisServer, free_port, redis_server

pytestmark = pytest.mark.serial

LIMIT = 0.4
PATIENCE = 5.0


@pytest.fixture
def server(shared_redis: RedisServer) -> Iterator[RedisServer]:
    """One that a test may break; depends on the shared one only to be skipped where there is none."""
    with redis_server() as server:
        yield server


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[ChaosProxy]:
    with chaos_proxy(server.port) as proxy:
        yield proxy


@asynccontextmanager
async def connected(url: str, **settings: Any) -> AsyncIterator[tuple[Client, Pool]]:
    values = {"redis_timeout": LIMIT, "redis_connections": 10} | settings
    client = connect(Settings(redis_url=SecretStr(url), **values))
    assert isinstance(client.connection_pool, Pool)
    yield client, client.connection_pool
    await client.aclose()


async def command(client: Client, *words: object) -> Any:
    with redis_errors(client):
        return await shielded(client.execute_command(*words))  # type: ignore[no-untyped-call]


async def ask(client: Client, number: int = 1) -> None:
    """Two values, as a look-up reads them. Raises CacheUnavailable."""
    with redis_errors(client):
        first, second = await command(client, "MGET", f"a{number}", f"b{number}")
        assert (first, second) in ((None, None), (b"%d" % number, b"b")), "somebody else's reply"


async def is_up(client: Client, number: int = 1) -> bool:
    try:
        await ask(client, number)
    except CacheUnavailable:
        return False
    return True


async def comes_back(client: Client) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await is_up(client):
            await asyncio.sleep(0.02)


async def took(client: Client) -> float:
    """Seconds until a command failed."""
    begun = asyncio.get_running_loop().time()
    with pytest.raises(CacheUnavailable):
        await ask(client)
    return asyncio.get_running_loop().time() - begun


async def test_every_wait_is_bounded(server: RedisServer) -> None:
    async with connected(server.url) as (client, pool):
        await ask(client)
        assert pool.limit == LIMIT
        assert pool.timeout == LIMIT / 2
        connection = await pool.get_connection()
        assert connection.socket_connect_timeout == LIMIT
        assert isinstance(connection, PooledConnection)
        assert connection.deadline - asyncio.get_running_loop().time() <= LIMIT
        await pool.release(connection)


async def test_a_paused_redis_costs_the_crowd_one_wait_and_then_nothing(server: RedisServer) -> None:
    async with connected(server.url) as (client, pool):
        await ask(client)
        server.pause()
        begun = asyncio.get_running_loop().time()
        await asyncio.gather(*(took(client) for _ in range(200)))
        assert asyncio.get_running_loop().time() - begun < LIMIT * 4
        assert pool.breaker.is_open
        assert max([await took(client) for _ in range(100)]) < LIMIT / 2
        server.resume()
        await comes_back(client)
        assert pool.breaker.opened == 1


async def test_while_redis_is_gone_only_the_trial_connects(server: RedisServer, proxy: ChaosProxy) -> None:
    async with connected(proxy.url) as (client, pool):
        await ask(client)
        server.kill()
        for _ in range(20):
            await asyncio.gather(*(took(client) for _ in range(50)))
            await asyncio.sleep(0.02)
        assert proxy.connections <= pool.max_connections + 5
        server.start()
        await comes_back(client)
        assert await asyncio.gather(*(is_up(client) for _ in range(100))) == [True] * 100
        assert proxy.connections <= 2 * pool.max_connections + 5


async def test_absent_at_first_it_is_used_once_it_is_there(shared_redis: RedisServer) -> None:
    port = free_port()
    async with connected(f"redis://127.0.0.1:{port}/0") as (client, _):
        assert not await is_up(client)
        with redis_server(port=port):
            await comes_back(client)
            assert await is_up(client)


async def test_one_broken_connection_is_mended_at_once(server: RedisServer) -> None:
    async with connected(server.url) as (client, pool):
        await ask(client)
        server.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await comes_back(client)
        assert pool.breaker.opened <= 1


@pytest.mark.parametrize("kind", NONSENSE)
async def test_nonsense_is_an_error_of_ours_and_its_connection_is_never_used_again(
    proxy: ChaosProxy, kind: str
) -> None:
    async with connected(proxy.url) as (client, pool):
        await client.mset({f"a{i}": f"{i}" for i in range(5)} | {f"b{i}": "b" for i in range(5)})
        await asyncio.gather(*(ask(client, i) for i in range(5)))
        proxy.nonsense = kind
        for _ in range(3):
            assert await took(client) < LIMIT * 3
        proxy.behave()
        await comes_back(client)
        await asyncio.gather(*(ask(client, i) for i in range(5) for _ in range(4)))
        assert pool.breaker.opened >= 1


@pytest.mark.parametrize("kind", sorted(set(NONSENSE) - set(SILENT)))
async def test_nonsense_at_the_first_connection(proxy: ChaosProxy, kind: str) -> None:
    async with connected(proxy.url.replace("/0", "/1")) as (client, _):
        proxy.nonsense = kind
        assert await took(client) < LIMIT * 3
        proxy.behave()
        await comes_back(client)


async def test_a_reply_without_end_is_not_read_for_ever() -> None:
    sent = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.read(1)
        writer.write(NONSENSE["endless-bulk"])
        with suppress(OSError):
            while True:
                writer.write(bytes(1024 * 1024))
                sent += 1024 * 1024
                await writer.drain()

    flooder = await asyncio.start_server(flood, "127.0.0.1", 0)
    port = flooder.sockets[0].getsockname()[1]
    async with flooder, connected(f"redis://127.0.0.1:{port}/0", redis_timeout=30) as (client, _):
        await took(client)
        flooder.close()
    assert sent < 2 * REPLY_MAX_BYTES


async def test_a_slow_redis_is_used_all_the_same(proxy: ChaosProxy) -> None:
    proxy.delay = 0.05
    async with connected(proxy.url) as (client, pool):
        assert await asyncio.gather(*(is_up(client) for _ in range(20))) == [True] * 20
        assert not pool.breaker.is_open


async def test_too_many_at_once_is_no_reason_to_give_redis_up(proxy: ChaosProxy) -> None:
    proxy.delay = 0.1
    async with connected(proxy.url, redis_connections=4) as (client, pool):
        up = await asyncio.gather(*(is_up(client) for _ in range(100)))
        assert any(up)
        assert pool.breaker.opened == 0


async def test_a_full_redis_still_answers_what_it_can(server: RedisServer) -> None:
    async with connected(server.url) as (client, pool):
        server.call("CONFIG", "SET", "maxmemory", 1)
        with pytest.raises(CacheUnavailable):
            await command(client, "SET", "a", "b")
        await ask(client)
        assert pool.breaker.opened == 0


async def test_a_demoted_redis_is_read_and_its_name_looked_up_anew(server: RedisServer, proxy: ChaosProxy) -> None:
    async with connected(proxy.url) as (client, pool):
        await ask(client)
        server.call("REPLICAOF", "127.0.0.1", free_port())
        for _ in range(5):
            with pytest.raises(CacheUnavailable):
                await command(client, "SET", "a", "b")
            await ask(client)
        assert pool.breaker.opened == 0
        assert proxy.connections == 2


async def test_a_cancelled_caller_leaves_no_reply_to_the_next(proxy: ChaosProxy) -> None:
    async with connected(proxy.url, redis_connections=4, redis_timeout=PATIENCE) as (client, _):
        await client.mset({f"a{i}": f"{i}" for i in range(20)} | {f"b{i}": "b" for i in range(20)})
        proxy.delay = 0.03
        for pause in (0, 0.01, 0.02, 0.035):
            askers = [asyncio.ensure_future(ask(client, i)) for i in range(10)]
            await asyncio.sleep(pause)
            for asker in askers:
                asker.cancel()
            assert await asyncio.gather(*(is_up(client, i) for i in range(10, 20))) == [True] * 10


@pytest.mark.parametrize("what", ["command", "script", "scripts", "purges"])
async def test_what_fails_after_its_caller_left_is_not_logged(proxy: ChaosProxy, what: str) -> None:
    logged: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: logged.append(context))
    async with connected(proxy.url) as (client, _):
        await ask(client)
        proxy.delay = 3 * LIMIT
        echo = Invocation(Script("return 1", "0" * 40), "a", ())
        asks = {
            "command": lambda: command(client, "GET", "a"),
            "script": lambda: invoke(client, echo, text),
            "scripts": lambda: invoke_all(client, [echo, echo]),
            "purges": Purges(client, "p").poll,
        }
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(LIMIT / 4):
                await asks[what]()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert left, "nothing goes on without its caller"
        await asyncio.wait(left, timeout=PATIENCE)
        del left, asks
        gc.collect()
    assert logged == []


async def test_a_script_unknown_to_a_new_server_is_sent_whole(server: RedisServer) -> None:
    script = Script.load("gateway.cache.lua", "put.lua")
    async with connected(server.url) as (client, _):
        calls = [Invocation(script, "k", (b"1" * 40, 10_000, "1")) for _ in range(3)]
        assert len(await invoke_all(client, calls)) == 3
        server.call("SCRIPT", "FLUSH")
        assert len(await invoke_all(client, calls)) == 3
        server.call("SCRIPT", "FLUSH")
        await invoke(client, calls[0], ignored)


@pytest.mark.parametrize("kind", NONSENSE)
async def test_scripts_meet_nonsense(proxy: ChaosProxy, kind: str) -> None:
    script = Script.load("gateway.cache.lua", "put.lua")
    calls = [Invocation(script, "k", (b"1" * 40, 10_000, "1")) for _ in range(2)]
    async with connected(proxy.url) as (client, _):
        await invoke_all(client, calls)
        proxy.nonsense = kind
        for _ in range(2):
            try:
                await asyncio.wait_for(invoke_all(client, calls), LIMIT * 5)
            except CacheUnavailable:
                continue
            assert kind in ("wrong-type", "wrong-shape", "not-text", "two-for-one", "unhashable", "pushes")
        proxy.behave()
        await comes_back(client)


async def test_a_command_on_a_connection_that_was_closed_meanwhile_makes_it_anew(
    server: RedisServer, proxy: ChaosProxy
) -> None:
    async with connected(proxy.url) as (client, pool):
        await ask(client)
        connection = await pool.get_connection()
        await connection.disconnect()
        assert not await connection.is_clean()
        await pool.release(connection)
        await ask(client)
        assert (proxy.connections, pool.breaker.opened) == (2, 0)


async def test_replies_come_in_the_form_that_the_library_gives_them(server: RedisServer) -> None:
    async with connected(server.url) as (client, _):
        await client.hset("h", mapping={"a": 1, "b": "é"})
        assert await client.hgetall("h") == {b"a": b"1", b"b": "é".encode()}
        assert (await client.info("server"))["tcp_port"] == server.port
        assert await client.scan(match="h") == (0, [b"h"])
        assert await client.get("nothing") is None
