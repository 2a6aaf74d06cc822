"""An answer that drips or floods, as fast as it is read, holds up nobody else and ends at its bounds."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
import uvloop

from gateway.errors import UpstreamFailure, UpstreamProtocolError, UpstreamTimeout, UpstreamTooLarge
from gateway.upstream.message import MAX_FIELDS, MAX_HEAD, OVERHEAD_BYTES
from tests.upstream.origin import OK, PATIENT, Behaviour, Peer, answering, ask, calling, serving
from tests.upstream.troubles import CHUNKED, FLOODS, TO_THE_END, dripped, dripping, flooding, watched_turns

LONGEST_TURN = 0.05
CAP = 8 << 20
BODY = b'{"timeline": {' + b'"2026-03-01": 7, ' * 5_880 + b'"2026-03-02": 8}}'
"""100 KB."""


async def test_a_body_in_chunks_of_a_byte_is_whole_and_holds_up_nobody() -> None:
    async with serving(dripping(BODY)) as origin, calling(origin.url) as client, watched_turns() as turns:
        for _ in range(2):
            response = await ask(client)
            assert (response.body, response.sound) == (BODY, True)
    assert turns.longest < LONGEST_TURN
    assert origin.connections == 1


ERRORS = {
    **dict.fromkeys(FLOODS, UpstreamTooLarge),
    **dict.fromkeys(("interim answers", "short interim answers"), UpstreamProtocolError),
    **dict.fromkeys(("fields", "a field", "folded lines"), UpstreamProtocolError),
}


@pytest.mark.parametrize("name", FLOODS)
async def test_a_flood_without_end_ends_at_its_bound_and_holds_up_nobody(name: str) -> None:
    async with (
        serving(FLOODS[name]) as origin,
        calling(origin.url, body_max_bytes=CAP) as client,
        watched_turns() as turns,
    ):
        with pytest.raises(ERRORS[name]):
            await ask(client)
    assert turns.longest < LONGEST_TURN


@pytest.mark.parametrize("field", [b"a:\r\n", b"Connection: a,b\r\n", b"X: " + b"y," * 1000 + b"\r\n"])
async def test_a_head_as_large_as_may_be_holds_up_nobody(field: bytes) -> None:
    start, end = b"HTTP/1.1 200 OK\r\n", b"Content-Length: 2\r\n\r\nok"
    fits = (MAX_HEAD - 100) // len(field)
    heads = [start + field * number + end for number in (min(fits, MAX_FIELDS - 1), 2 * fits)]
    async with serving(answering(*heads)) as origin, calling(origin.url) as client, watched_turns() as turns:
        assert (await ask(client)).body == b"ok"
        with pytest.raises(UpstreamProtocolError):
            await ask(client)
    assert turns.longest < LONGEST_TURN


@pytest.mark.parametrize(
    "flood",
    [
        flooding(TO_THE_END, b"x"),
        flooding(CHUNKED, b"100\r\n" + b"x" * 256 + b"\r\n"),
        flooding(TO_THE_END.replace(b"\r\n\r\n", b"\r\nContent-Length: %d\r\n\r\n" % (1 << 40)), b"x"),
    ],
    ids=["to the end", "chunks", "sized"],
)
async def test_a_deadline_holds_while_bytes_flow(flood: Behaviour) -> None:
    """Nobody waits for anything here: the next bytes are always there."""
    loop = asyncio.get_running_loop()
    timeouts = replace(PATIENT, total=0.3)
    async with serving(flood) as origin, calling(origin.url, timeouts, body_max_bytes=1 << 40) as client:
        began = loop.time()
        with pytest.raises(UpstreamTimeout):
            await ask(client)
    assert loop.time() - began < 5


async def test_a_body_in_chunks_of_a_byte_is_read_up_to_the_cap() -> None:
    async with (
        serving(answering(dripped(bytes(1000)), dripped(bytes(1001)))) as origin,
        calling(origin.url, body_max_bytes=1000) as client,
    ):
        assert (await ask(client)).body == bytes(1000)
        with pytest.raises(UpstreamTooLarge):
            await ask(client)


async def test_framing_may_outweigh_what_it_frames_by_so_much_and_no_more() -> None:
    most = OVERHEAD_BYTES // 4  # a chunk of a byte has five others
    async with (
        serving(answering(dripped(bytes(most - 10)), dripped(bytes(most + 10_000)))) as origin,
        calling(origin.url) as client,
    ):
        assert len((await ask(client)).body) == most - 10
        with pytest.raises(UpstreamTooLarge):
            await ask(client)


async def test_floods_at_once_leave_room_for_an_answer() -> None:
    async def both(peer: Peer) -> None:
        flood = list(FLOODS.values())[peer.number % len(FLOODS)]
        await (flood(peer) if peer.number <= len(FLOODS) else answering(OK)(peer))

    async with serving(both) as origin, calling(origin.url, body_max_bytes=CAP) as client:
        floods = [asyncio.create_task(ask(client)) for _ in FLOODS]
        while origin.connections < len(FLOODS):
            await asyncio.sleep(0)
        assert (await ask(client)).body == b"ok"
        ended = await asyncio.gather(*floods, return_exceptions=True)
    assert all(isinstance(error, UpstreamFailure) for error in ended)


def test_uvloop_reads_more_at_once_and_holds_up_nobody_either() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test_a_body_in_chunks_of_a_byte_is_whole_and_holds_up_nobody())
        for name in FLOODS:
            runner.run(test_a_flood_without_end_ends_at_its_bound_and_holds_up_nobody(name))
