"""Commands that go straight to a connection: the same replies, the same errors, and connections to go round."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from pydantic import SecretStr
from redis.exceptions import ResponseError

from gateway.redis import Client, connect
from gateway.redis_pool import Pool, PooledClient
from gateway.settings import Settings
from tests.redis_server import RedisServer

LEAST = 4


@pytest.fixture
async def client(shared_redis: RedisServer) -> AsyncIterator[Client]:
    client = connect(Settings(redis_url=SecretStr(shared_redis.url), redis_connections=LEAST))
    assert isinstance(client, PooledClient)
    yield client
    await client.aclose()


async def test_what_is_sent_is_what_redis_gets(client: Client, prefix: str) -> None:
    values: list[str | bytes | int | float] = ["é", b"\x00\r\n$3\xff", 7, 0.25, b"", "x" * 100_000]
    await client.rpush(prefix, *values)
    kept = await client.lrange(prefix, 0, -1)
    assert kept == ["é".encode(), b"\x00\r\n$3\xff", b"7", b"0.25", b"", b"x" * 100_000]


async def test_a_name_of_several_words_is_a_command_and_what_it_acts_on(client: Client) -> None:
    assert (await client.config_get("maxmemory-policy"))["maxmemory-policy"]


async def test_a_pipelines_replies_are_in_order_errors_among_them(client: Client, prefix: str) -> None:
    pipe = client.pipeline(transaction=False)
    pipe.set(prefix, "text")
    pipe.incr(prefix)
    pipe.get(prefix)
    stored, refused, value = await pipe.execute(raise_on_error=False)
    assert (stored, value) == (True, b"text")
    assert isinstance(refused, ResponseError)
    assert await pipe.execute() == []


async def test_a_pipelines_first_error_is_raised_once_all_replies_are_read(client: Client, prefix: str) -> None:
    pipe = client.pipeline(transaction=False)
    pipe.set(prefix, "text")
    pipe.incr(prefix)
    pipe.get(prefix)
    with pytest.raises(ResponseError, match="Command # 2"):
        await pipe.execute()
    assert await client.get(prefix) == b"text"


async def test_a_transaction_is_one(client: Client, prefix: str) -> None:
    async with client.pipeline(transaction=True) as pipe:
        pipe.set(prefix, "1")
        pipe.incr(prefix)
        assert await pipe.execute() == [True, 2]


async def test_few_connections_serve_as_many_as_ask(client: Client, prefix: str) -> None:
    assert sorted(await asyncio.gather(*(client.incr(prefix) for _ in range(50)))) == list(range(1, 51))
    pool = client.connection_pool
    assert isinstance(pool, Pool)
    assert len(pool._available_connections) == LEAST
    assert not pool._in_use_connections


async def test_a_command_cut_off_leaves_its_connection_to_the_next(client: Client, prefix: str) -> None:
    for turns in range(12):
        command = asyncio.ensure_future(client.blpop([prefix], timeout=1))
        for _ in range(turns):
            await asyncio.sleep(0)
        command.cancel()
        await asyncio.wait({command})
        assert await client.echo(f"{turns}") == b"%d" % turns


async def test_what_follows_a_reply_that_cannot_be_read_is_nobodys_reply() -> None:
    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while asked := await reader.read(65_536):
            if b"HGETALL" in asked:
                writer.write(b":5\r\n")
                await asyncio.sleep(0.05)
                writer.write(b"$6\r\nothers\r\n")
            else:
                writer.write(b"$4\r\nmine\r\n")
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    server = await asyncio.start_server(nonsense, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = connect(Settings(redis_url=SecretStr(f"redis://127.0.0.1:{port}/0"), redis_connections=LEAST))
    pool = client.connection_pool
    assert isinstance(pool, Pool)
    held = [await pool.get_connection() for _ in range(LEAST - 1)]  # both ask on the one that is left
    pipe = client.pipeline(transaction=False)
    pipe.hgetall("a")
    pipe.echo("b")
    failing = asyncio.ensure_future(pipe.execute())
    await asyncio.sleep(0)
    assert await client.echo("c") == b"mine"
    with pytest.raises(TypeError):
        await failing
    for connection in held:
        await pool.release(connection)
    await client.aclose()
    server.close()
    await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()}, timeout=5)


async def test_connections_that_cannot_be_made_take_nobodys_place() -> None:
    url = SecretStr("rediss://127.0.0.1:1/0?ssl_cert_reqs=sometimes")
    client = connect(Settings(redis_url=url, redis_connections=LEAST))
    for _ in range(LEAST + 1):
        with pytest.raises(Exception, match="sometimes"):
            await client.echo("a")
    with suppress(Exception):
        await client.aclose()
