"""A kept connection that has ended costs nobody an answer: what is safe to ask again is asked once more."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from gateway.errors import UpstreamDisconnected, UpstreamTimeout
from gateway.upstream.credential_breaker import NOTHING, RESET, signal_of_error
from gateway.upstream.message import Message
from gateway.upstream.transport import KEPT_SECONDS, rest_after
from tests.upstream.origin import OK, PATIENT, Behaviour, Peer, answering, ask, calling, serving
from tests.upstream.troubles import ending_on_reuse

ENDS = {"fin": ending_on_reuse(OK), "reset": ending_on_reuse(OK, reset=True)}


class Slots:
    """Counts the writes that were let through."""

    def __init__(self) -> None:
        self.taken = 0

    async def __call__(self) -> None:
        self.taken += 1


@pytest.mark.parametrize("ending", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
async def test_rfc9112_9_3_1_a_safe_request_on_a_connection_that_had_ended_is_asked_once_more(
    method: bytes, ending: Behaviour
) -> None:
    slots = Slots()
    async with serving(ending) as origin, calling(origin.url) as client:
        await ask(client)
        response = await ask(client, b"/again", slots, method=method)
        assert (response.status, response.body) == (200, b"ok" if method == b"GET" else b"")
    assert [head.split(b" ")[1] for head in origin.heads] == [b"/", b"/again", b"/again"]
    assert (slots.taken, origin.connections) == (2, 2)


@pytest.mark.parametrize("ending", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("method", [b"POST", b"PUT", b"DELETE", b"M-SEARCH"])
async def test_rfc9110_9_2_2_another_that_was_written_is_never_repeated(method: bytes, ending: Behaviour) -> None:
    slots = Slots()
    async with serving(ending) as origin, calling(origin.url) as client:
        await ask(client)
        with pytest.raises(UpstreamDisconnected) as caught:
            await ask(client, b"/", slots, method=method, content=b"body")
    assert signal_of_error(caught.value) == NOTHING
    assert (slots.taken, len(origin.heads), origin.connections) == (1, 2, 1)


@pytest.mark.parametrize("ending", [ending_on_reuse(), ending_on_reuse(reset=True)], ids=ENDS)
async def test_a_new_connection_that_ends_is_a_sign_and_no_reason_to_ask_again(ending: Behaviour) -> None:
    async with serving(ending) as origin, calling(origin.url) as client:
        with pytest.raises(UpstreamDisconnected) as caught:
            await ask(client)
    assert signal_of_error(caught.value) == RESET
    assert (len(origin.heads), origin.connections) == (1, 1)


async def test_it_is_asked_once_more_and_not_twice_and_on_a_new_connection_though_others_rest() -> None:
    met = asyncio.Barrier(3)

    async def one_each(peer: Peer) -> None:
        """Three at once, so that three connections rest; none is good for a second request, nor is a fourth."""
        if peer.number <= 3:
            await peer.head()
            await met.wait()
            await peer.say(OK)
        await peer.head()

    async with serving(one_each) as origin, calling(origin.url) as client:
        await asyncio.gather(*(ask(client) for _ in range(3)))
        with pytest.raises(UpstreamDisconnected) as caught:
            await ask(client)
    assert signal_of_error(caught.value) == RESET
    assert (len(origin.heads), origin.connections) == (5, 4)


async def test_an_answer_that_had_begun_is_not_asked_for_again_and_no_sign_either() -> None:
    async def cut(peer: Peer) -> None:
        await peer.head()
        await peer.say(OK)
        await peer.head()
        await peer.say(b"H")

    async with serving(cut) as origin, calling(origin.url) as client:
        await ask(client)
        with pytest.raises(UpstreamDisconnected) as caught:
            await ask(client)
    assert signal_of_error(caught.value) == NOTHING
    assert (len(origin.heads), origin.connections) == (2, 1)


async def test_both_times_share_one_deadline() -> None:
    total, half = 0.6, asyncio.Event()

    async def late(peer: Peer) -> None:
        if peer.number == 1:
            await answering(OK, then_close=True)(peer)
            await peer.head()
            await half.wait()
            return
        await peer.head()
        await peer.until_closed()

    loop = asyncio.get_running_loop()
    async with serving(late) as origin, calling(origin.url, replace(PATIENT, total=total)) as client:
        await ask(client)
        loop.call_later(total / 2, half.set)
        began = loop.time()
        with pytest.raises(UpstreamTimeout):
            await ask(client)
        took = loop.time() - began
    assert origin.connections == 2
    assert total - 0.01 < took < total * 1.4


async def test_a_slot_that_comes_after_the_deadline_is_not_written_in() -> None:
    slots = Slots()

    async def slot() -> None:
        await slots()
        if slots.taken == 2:
            await asyncio.sleep(0.2)

    async with serving(ENDS["fin"]) as origin, calling(origin.url, replace(PATIENT, total=0.2)) as client:
        await ask(client)
        with pytest.raises(UpstreamTimeout):
            await ask(client, b"/", slot)
    assert len(origin.heads) == 2


@pytest.mark.parametrize(
    ("field", "seconds"),
    [
        (b"", KEPT_SECONDS),
        (b"Keep-Alive: timeout=5\r\n", 4.0),
        (b"keep-alive: max=100, timeout=5\r\n", 4.0),
        (b'Keep-Alive: TIMEOUT = "5" , max=100\r\n', 4.0),
        (b"Keep-Alive: timeout=120\r\n", KEPT_SECONDS),
        (b"Keep-Alive: timeout=" + b"9" * 40 + b"\r\n", KEPT_SECONDS),
        (b"Keep-Alive: timeout=2\r\n", 1.0),
        (b"Keep-Alive: timeout=1\r\n", 0.0),
        (b"Keep-Alive: timeout=0\r\n", -1.0),
        (b"Keep-Alive: notimeout=1\r\n", KEPT_SECONDS),
        (b"Keep-Alive: timeout=soon\r\n", KEPT_SECONDS),
        (b"Keep-Alive: timeout=5\r\nConnection: close\r\n", 0.0),
    ],
)
def test_a_connection_rests_for_less_than_the_service_keeps_it(field: bytes, seconds: float) -> None:
    message = Message(b"GET", b"/", [(b"Host", b"service")], 100)
    message.receive(OK.replace(b"Content-Length", field + b"Content-Length"))
    assert rest_after(message) == seconds


@pytest.mark.parametrize("timeout", [1, 2], ids=["at once", "in a second"])
async def test_a_connection_that_is_not_used_in_time_is_closed_by_us(timeout: int) -> None:
    closed = asyncio.Event()

    async def watch(peer: Peer) -> None:
        await peer.head()
        await peer.say(OK.replace(b"Content-Length", b"Keep-Alive: timeout=%d\r\nContent-Length" % timeout))
        await peer.until_closed()
        closed.set()

    async with serving(watch) as origin, calling(origin.url) as client:
        await ask(client)
        async with asyncio.timeout(10):
            await closed.wait()
        assert repr(client).endswith("0 used, 0 resting, 100 at most>>")
