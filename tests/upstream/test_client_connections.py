"""Connections are used again, but never carry anything over from one call to the next."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import uvloop

from gateway.errors import UpstreamDisconnected, UpstreamUnreachable
from gateway.upstream.client import UpstreamClient, UpstreamResponse
from gateway.upstream.connection import Connection
from gateway.upstream.network import Sockets
from gateway.upstream.transport import BeforeWrite
from tests.upstream.origin import OK, PATIENT, Peer, answering, ask, calling, certificate, serving

STOLEN = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen"
ONE_READ = b"HTTP/1.1 200 OK\r\nContent-Length: 65494\r\n\r\n" + bytes(65_494)
ENDINGS = {
    "more than its length": OK,
    "after the last chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "a body after none": b"HTTP/1.1 204 No Content\r\n\r\n",
    "exactly as much as one read takes": ONE_READ,
}


async def two_callers(client: UpstreamClient) -> tuple[UpstreamResponse, UpstreamResponse]:
    one = await ask(client, b"/one", authorization=b"Basic b25lOjE=")
    return one, await ask(client, b"/two", authorization=b"Basic dHdvOjI=")


async def each_its_own(peer: Peer, surplus: bytes, ending: bytes = OK) -> None:
    """Answers /one with something after its end, and /two well."""
    while True:
        head = await peer.head()
        await peer.say(ending + surplus if b" /one " in head else OK.replace(b"ok", b"22"))


@pytest.mark.parametrize("surplus", [STOLEN, b"x", b"\r\n", b"HTTP/1.1 200 OK\r\n", STOLEN * 20_000])
@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
async def test_what_follows_an_answer_is_nobodys_answer(surplus: bytes, ending: bytes) -> None:
    async with (
        serving(lambda peer: each_its_own(peer, surplus, ending)) as origin,
        calling(origin.url) as client,
    ):
        one, two = await two_callers(client)
    assert two.body == b"22"
    assert (one.sound, two.sound) == (False, True)
    assert origin.connections == 2


async def test_a_body_after_an_answer_to_head_is_nobodys_answer() -> None:
    async with serving(lambda peer: each_its_own(peer, b"")) as origin, calling(origin.url) as client:
        one = await ask(client, b"/one", method=b"HEAD")
        assert (one.body, one.sound) == (b"", False)
        assert (await ask(client, b"/two")).body == b"22"
    assert origin.connections == 2


async def test_a_second_record_under_tls_is_nobodys_answer(tmp_path: Path) -> None:
    """Two writes are two records: the second waits decrypted or not, where no look at the socket can see it."""

    async def two_records(peer: Peer) -> None:
        while True:
            head = await peer.head()
            if b" /one " in head:
                peer.writer.write(OK)
                peer.writer.write(STOLEN)
            else:
                peer.writer.write(OK.replace(b"ok", b"22"))

    tls, trust = certificate(tmp_path)
    async with serving(two_records, tls) as origin, calling(origin.url, ssl_context=trust) as client:
        _, two = await two_callers(client)
    assert two.body == b"22"


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "tls"])
def test_a_service_that_resets_what_it_accepts_is_a_failure_of_its_own_at_once(
    encrypted: bool, tmp_path: Path
) -> None:
    """Sometimes between two steps of connecting, which uvloop minds."""
    _, trust = certificate(tmp_path)

    def reset_all(listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                accepted, _ = listening.accept()
                accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                accepted.close()

    async def errors(url: str) -> Counter[str]:
        found: Counter[str] = Counter()
        async with calling(url, replace(PATIENT, connect=1.0), ssl_context=trust) as client:
            for _ in range(400):
                try:
                    await ask(client)
                except (UpstreamDisconnected, UpstreamUnreachable):
                    found["well told"] += 1
                except Exception as error:
                    found[repr(error)] += 1
        return found

    with socket.create_server(("127.0.0.1", 0)) as listening:
        resetting = threading.Thread(target=reset_all, args=(listening,))
        resetting.start()
        url = f"{'https' if encrypted else 'http'}://127.0.0.1:{listening.getsockname()[1]}"
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                found = runner.run(errors(url))
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            resetting.join()
    assert found == {"well told": 400}


def test_uvloop_reads_differently_and_keeps_the_same_promise(tmp_path: Path) -> None:
    """It hands over several buffers in one turn, so that more can wait unread."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for ending in ENDINGS.values():
            runner.run(test_what_follows_an_answer_is_nobodys_answer(STOLEN * 20_000, ending))
        runner.run(test_a_second_record_under_tls_is_nobodys_answer(tmp_path))


async def test_what_comes_unasked_while_a_connection_rests_is_nobodys_answer() -> None:
    later = asyncio.Event()
    said = asyncio.Event()

    async def unasked(peer: Peer) -> None:
        await answering(OK.replace(b"ok", b"1%d" % peer.number), then_close=True)(peer)
        await later.wait()
        await peer.say(STOLEN)
        said.set()
        await answering(OK)(peer)

    async with serving(unasked) as origin, calling(origin.url) as client:
        assert (await ask(client)).body == b"11"
        later.set()
        await said.wait()
        assert (await ask(client)).body == b"12"


@pytest.mark.parametrize("unasked", [STOLEN, b""], ids=["bytes", "an end"])
async def test_rfc9112_9_3_1_a_connection_that_ends_while_its_slot_is_waited_for_costs_one_more_slot_and_no_call(
    unasked: bytes,
) -> None:
    later = asyncio.Event()

    async def end(peer: Peer) -> None:
        await answering(OK.replace(b"ok", b"1%d" % peer.number), then_close=True)(peer)
        await later.wait()
        await peer.say(unasked)

    slots = 0

    async def slot() -> None:
        nonlocal slots
        slots += 1
        later.set()
        for _ in range(100):
            await asyncio.sleep(0)

    async with serving(end) as origin, calling(origin.url) as client:
        assert (await ask(client)).body == b"11"
        assert (await ask(client, b"/two", slot, content=b"body", method=b"POST")).body == b"12"
    assert (slots, len(origin.heads), origin.connections) == (2, 2, 2)


@pytest.mark.parametrize("reset", [False, True])
async def test_rfc9112_9_5_an_answer_to_a_request_that_is_still_being_sent_is_its_answer(reset: bool) -> None:
    async def refuse_early(peer: Peer) -> None:
        if peer.number == 1:
            await peer.head()
            await peer.say(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
            for _ in range(100):
                await asyncio.sleep(0)
            if reset:
                peer.reset()
                return
            await peer.until_closed()
        await answering(OK)(peer)

    async with serving(refuse_early) as origin, calling(origin.url) as client:
        refused = await ask(client, method=b"POST", content=bytes(4_000_000))
        assert (refused.status, refused.body, refused.sound) == (413, b"no", True)
        assert (await ask(client)).body == b"ok"


async def test_many_bodies_on_one_connection_are_each_their_own() -> None:
    async def echo(peer: Peer) -> None:
        while True:
            await peer.head()
            body = await peer.body()
            await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    async with serving(echo) as origin, calling(origin.url) as client:
        for size in (0, 1, 70_000, 1_000_000, 0):
            content = b"x" * size
            assert (await ask(client, method=b"PUT", content=content)).body == content
    assert origin.connections == 1


async def test_a_connection_that_the_service_closed_meanwhile_is_not_used() -> None:
    async with serving(answering(OK, then_close=True)) as origin, calling(origin.url) as client:
        for _ in range(3):
            assert (await ask(client)).body == b"ok"
            for _ in range(100):
                await asyncio.sleep(0)
    assert origin.connections == 3


async def test_connection_close_is_obeyed() -> None:
    closing = OK.replace(b"Content-Length", b"Connection: close\r\nContent-Length")
    async with serving(answering(closing)) as origin, calling(origin.url) as client:
        assert [response.body for response in await two_callers(client)] == [b"ok", b"ok"]
    assert origin.connections == 2


async def test_many_calls_at_once_share_the_connections_there_may_be() -> None:
    async def echo(peer: Peer) -> None:
        while True:
            target = (await peer.head()).split(b" ")[1]
            await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(target), target))

    async with serving(echo) as origin, calling(origin.url, max_connections=3) as client:
        targets = [b"/%d" % number for number in range(60)]
        responses = await asyncio.gather(*(ask(client, target) for target in targets))
    assert [response.body for response in responses] == targets
    assert origin.connections == 3


async def cancelled_after(turns: int, client: UpstreamClient, pause: BeforeWrite) -> bool:
    """Cancels a call after so many turns of the loop; whether it was done before."""
    call = asyncio.create_task(ask(client, b"/", pause))
    for _ in range(turns):
        await asyncio.sleep(0)
    if call.done():
        return call.result().body == b"ok"
    call.cancel()
    await asyncio.wait({call})
    assert call.cancelled()
    return False


async def test_cancellations() -> None:
    """Cancelled at each turn of its way in turn, a call leaves a client that works with its one connection."""

    async def slow(peer: Peer) -> None:
        while True:
            await peer.head()
            for byte in OK:
                await peer.say(bytes([byte]))
                await asyncio.sleep(0)

    async def pause() -> None:
        await asyncio.sleep(0)

    async with serving(slow) as origin, calling(origin.url, max_connections=1) as client:
        turns = 0
        while not await cancelled_after(turns, client, pause):
            assert (await ask(client)).body == b"ok"
            turns += 1
    assert turns > 40


class Unconnected(Sockets):
    """A network on which connecting takes for ever, the first time."""

    def __init__(self) -> None:
        self.connecting = asyncio.Event()

    async def connect(self, host: str, port: int, tls: ssl.SSLContext | None, seconds: float) -> Connection:
        if not self.connecting.is_set():
            self.connecting.set()
            await asyncio.Event().wait()
        return await super().connect(host, port, tls, seconds)


async def test_cancellations_while_connecting_and_while_waiting_for_a_connection() -> None:
    network = Unconnected()
    async with (
        serving(answering(*[OK] * 9)) as origin,
        calling(origin.url, max_connections=1, network=network) as client,
    ):
        calls = [asyncio.create_task(ask(client)) for _ in range(4)]
        await network.connecting.wait()
        for call in (calls[2], calls[0]):
            call.cancel()
        assert [(await calls[1]).body, (await calls[3]).body] == [b"ok", b"ok"]


async def test_closing_the_client_closes_its_connections_and_leaves_no_task() -> None:
    closed = asyncio.Event()

    async def watch(peer: Peer) -> None:
        await answering(OK)(peer)
        closed.set()

    async with serving(watch) as origin:
        before = asyncio.all_tasks()
        async with calling(origin.url) as client:
            await ask(client)
        async with asyncio.timeout(10):
            await closed.wait()
        left = asyncio.all_tasks() - before
        unfinished = (await asyncio.wait(left, timeout=10))[1] if left else set()
        assert not unfinished
