"""Every way in which the service can fail has the gateway's word for it, and the next call is fine."""

from __future__ import annotations

import asyncio
import errno
import gzip
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import (
    Forbidden,
    UpstreamDisconnected,
    UpstreamProtocolError,
    UpstreamTimeout,
    UpstreamTooLarge,
    UpstreamUnreachable,
)
from gateway.upstream.connection import Connection
from gateway.upstream.network import Sockets
from tests.redis_server import free_port
from tests.upstream.origin import OK, PATIENT, Behaviour, Peer, answering, ask, calling, certificate, serving

MOMENT = 0.1


def first(behaviour: Callable[[Peer], Awaitable[None]]) -> Behaviour:
    """Misbehaves on the first connection, and answers well on every other."""

    async def behave(peer: Peer) -> None:
        await (behaviour(peer) if peer.number == 1 else answering(OK)(peer))

    return behave


async def drip(peer: Peer, head: bytes, drop: bytes) -> None:
    await peer.head()
    await peer.say(head)
    while True:
        await peer.say(drop)
        await asyncio.sleep(MOMENT / 10)


async def test_nobody_listens_at_the_base_url() -> None:
    async with calling(f"http://127.0.0.1:{free_port()}") as client:
        with pytest.raises(UpstreamUnreachable) as caught:
            await ask(client)
    assert "127.0.0.1" not in caught.value.message


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 20",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n1234",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ],
)
@pytest.mark.parametrize("reset", [False, True])
async def test_an_answer_cut_short_is_a_disconnection_and_never_an_answer(said: bytes, reset: bool) -> None:
    async def cut(peer: Peer) -> None:
        await peer.head()
        await peer.say(said)
        if reset:
            peer.reset()

    async with serving(first(cut)) as origin, calling(origin.url) as client:
        with pytest.raises(UpstreamDisconnected):
            await ask(client)
        assert (await ask(client)).body == b"ok"


@pytest.mark.parametrize(
    "said",
    [
        b"garbage\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"SSH-2.0-server\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nNo colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 40_000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\x01b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokay\r\n0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 2\r\n\r\nok",
    ],
)
async def test_what_is_not_http_is_a_protocol_error(said: bytes) -> None:
    async with serving(first(answering(said))) as origin, calling(origin.url) as client:
        with pytest.raises(UpstreamProtocolError):
            await ask(client)
        assert (await ask(client)).body == b"ok"


async def test_a_gzip_that_ends_early_in_a_whole_message_is_a_protocol_error() -> None:
    packed = gzip.compress(b"abc")[:-4]
    said = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed
    async with serving(answering(said, OK)) as origin, calling(origin.url) as client:
        with pytest.raises(UpstreamProtocolError):
            await ask(client)
        assert (await ask(client)).body == b"ok"


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (b"Content-Length: 1001\r\n", bytes(1001)),
        (b"Content-Length: 99999999999\r\n", bytes(1001)),
        (b"", bytes(1001)),
        (b"Transfer-Encoding: chunked\r\n", b"1\r\nx\r\n" * 1001),
        (b"Content-Encoding: gzip\r\n", gzip.compress(bytes(1001), mtime=0)),
    ],
)
async def test_reading_stops_at_the_cap_although_more_is_announced(head: bytes, body: bytes) -> None:
    said = b"HTTP/1.1 200 OK\r\n" + head + b"\r\n" + body
    async with (
        serving(first(answering(said))) as origin,
        calling(origin.url, body_max_bytes=1000) as client,
    ):
        with pytest.raises(UpstreamTooLarge):
            await ask(client)
        assert (await ask(client)).body == b"ok"


async def accept_and_hang(peer: Peer) -> None:
    await peer.head()
    await peer.until_closed()


async def drip_the_head(peer: Peer) -> None:
    await drip(peer, b"HTTP/1.1 200 OK\r\n", b"X: y\r\n")


async def drip_interim_answers(peer: Peer) -> None:
    await drip(peer, b"", b"HTTP/1.1 103 Early Hints\r\n\r\n")


async def drip_the_body(peer: Peer) -> None:
    await drip(peer, b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", b"x")


async def drip_chunks(peer: Peer) -> None:
    await drip(peer, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n")


async def stop_mid_body(peer: Peer) -> None:
    await peer.head()
    await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1")
    await peer.until_closed()


@pytest.mark.parametrize("behaviour", [accept_and_hang, stop_mid_body])
async def test_silence_lasts_no_longer_than_the_read_timeout(behaviour: Behaviour) -> None:
    async with (
        serving(first(behaviour)) as origin,
        calling(origin.url, replace(PATIENT, read=MOMENT)) as client,
    ):
        with pytest.raises(UpstreamTimeout):
            await ask(client)
        assert (await ask(client)).body == b"ok"


@pytest.mark.parametrize(
    "behaviour",
    [accept_and_hang, stop_mid_body, drip_the_head, drip_interim_answers, drip_the_body, drip_chunks],
)
async def test_nothing_lasts_longer_than_the_total_timeout(behaviour: Behaviour) -> None:
    async with (
        serving(first(behaviour)) as origin,
        calling(origin.url, replace(PATIENT, total=MOMENT), max_connections=1) as client,
    ):
        with pytest.raises(UpstreamTimeout):
            await ask(client)
        assert (await ask(client)).body == b"ok"


async def test_the_total_timeout_starts_when_the_request_is_written() -> None:
    total = MOMENT * 2

    async def budget() -> None:
        turn = asyncio.Event()
        asyncio.get_running_loop().call_later(total * 2, turn.set)
        await turn.wait()

    async with (
        serving(answering(OK, OK)) as origin,
        calling(origin.url, replace(PATIENT, total=total)) as client,
    ):
        assert (await ask(client, b"/", budget)).body == b"ok"
        assert (await ask(client, b"/", budget)).body == b"ok"
    assert origin.connections == 1


async def test_a_tls_handshake_lasts_no_longer_than_the_connect_timeout() -> None:
    async with (
        serving(lambda peer: peer.until_closed()) as origin,
        calling(origin.url.replace("http", "https"), replace(PATIENT, connect=MOMENT)) as client,
    ):
        with pytest.raises(UpstreamTimeout):
            await ask(client)


async def test_waiting_for_a_connection_lasts_no_longer_than_the_pool_timeout() -> None:
    async with (
        serving(accept_and_hang) as origin,
        calling(origin.url, replace(PATIENT, pool=MOMENT), max_connections=1) as client,
    ):
        running = asyncio.create_task(ask(client))
        while not origin.heads:
            await asyncio.sleep(0)
        with pytest.raises(UpstreamTimeout):
            await ask(client)
        running.cancel()
        await asyncio.wait({running})


async def test_what_nobody_reads_yet_is_not_taken_without_end() -> None:
    """An answer that comes while the request is still being written, and is longer than what may wait."""
    taken = asyncio.Event()

    async def talk(peer: Peer) -> None:
        await peer.head()
        await peer.say(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        for _ in range(64):
            await peer.say(bytes(1 << 20))
        taken.set()

    async with serving(talk) as origin, calling(origin.url, replace(PATIENT, write=1)) as client:
        with pytest.raises(UpstreamTimeout):
            await ask(client, method=b"POST", content=bytes(64 << 20))
        assert not taken.is_set()


class Recorder(Sockets):
    """Real sockets whose timeouts are noted down."""

    def __init__(self) -> None:
        self.seen: dict[str, float] = {}

    async def connect(self, host: str, port: int, tls: ssl.SSLContext | None, seconds: float) -> Connection:
        self.seen["connect"] = seconds
        connection = await super().connect(host, port, tls, seconds)
        write, read = connection.write, connection.read

        async def noted_write(data: bytes, seconds: float) -> None:
            self.seen["write"] = seconds
            await write(data, seconds)

        async def noted_read(seconds: float) -> bytes:
            self.seen["read"] = seconds
            return await read(seconds)

        connection.write, connection.read = noted_write, noted_read  # type: ignore[method-assign]
        return connection


async def test_every_timeout_reaches_the_socket() -> None:
    network = Recorder()
    timeouts = replace(PATIENT, connect=3, write=4, read=5)
    async with serving(answering(OK)) as origin, calling(origin.url, timeouts, network=network) as client:
        await ask(client)
    assert network.seen == {"connect": 3, "write": 4, "read": 5}


NO_CONNECTION = [
    socket.gaierror(socket.EAI_NONAME, "stats.example.org"),
    ssl.SSLCertVerificationError("stats.example.org"),
    ConnectionRefusedError("stats.example.org"),
    OSError(errno.EMFILE, "stats.example.org"),
]


@pytest.mark.parametrize("error", NO_CONNECTION, ids=lambda error: type(error).__name__)
async def test_whatever_goes_wrong_while_connecting_has_our_word_for_it(
    error: OSError, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr("anyio.connect_tcp", fail)
    async with calling("http://127.0.0.1:1") as client:
        with pytest.raises(UpstreamUnreachable) as caught:
            await ask(client)
    assert "example.org" not in caught.value.message


async def test_an_error_of_before_write_is_raised_as_it_is_and_spares_the_service() -> None:
    refusal = Forbidden("the budget says no")

    async def refuse() -> None:
        raise refusal

    async with serving(answering(OK, OK)) as origin, calling(origin.url, max_connections=1) as client:
        await ask(client)
        for _ in range(2):
            with pytest.raises(Forbidden) as caught:
                await ask(client, b"/", refuse)
            assert caught.value is refusal
        await ask(client)
    assert len(origin.heads) == 2


async def test_a_tls_connection_broken_mid_answer_is_a_disconnection(tmp_path: Path) -> None:
    async def alert(peer: Peer) -> None:
        await peer.head()
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1")
        peer.reset()

    tls, trust = certificate(tmp_path)
    async with serving(first(alert), tls) as origin, calling(origin.url, ssl_context=trust) as client:
        with pytest.raises(UpstreamDisconnected):
            await ask(client)
        assert (await ask(client)).body == b"ok"
