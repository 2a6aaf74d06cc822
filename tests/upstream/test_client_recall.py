"""A connection that turns out to have brought one answer too many takes back what it brought; none is shared."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from gateway.upstream.client import UpstreamClient, UpstreamResponse
from gateway.upstream.connection import RECALLED, Recall
from gateway.upstream.headers import GENERIC
from tests.upstream.origin import OK, Peer, answering, ask, calling, serving

STOLEN = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen"


class Late:
    """Its first connection is one answer ahead of the requests from the second on, and shows it when told to."""

    def __init__(self, *, show_with: int | None = None) -> None:
        self.told = asyncio.Event()
        self._show_with = show_with

    async def behave(self, peer: Peer) -> None:
        asked = 0
        while True:
            await peer.head()
            asked += 1
            answer = OK.replace(b"ok", b"%d%d" % (peer.number, asked))
            if peer.number > 1 or asked == 1:
                await peer.say(answer)
            elif asked == 2:
                # It arrives once the request is written: nothing tells it from that request's answer.
                await peer.say(STOLEN)
                owed = answer
            else:
                await peer.say(owed)
                owed = answer
            if peer.number == 1 and asked == self._show_with:
                await peer.say(owed)
            elif peer.number == 1 and asked == 3:
                await self.told.wait()
                await peer.say(owed)


async def remembered(client: UpstreamClient, targets: list[bytes]) -> tuple[list[UpstreamResponse], list[bytes]]:
    """The answers, and which of them are recalled, as it happens."""
    recalled: list[bytes] = []
    answers = []
    for target in targets:
        answer = await ask(client, target)
        answer.recall.add(lambda target=target: recalled.append(target))  # type: ignore[misc]
        answers.append(answer)
    return answers, recalled


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


async def test_an_answer_too_many_that_comes_while_the_connection_rests_recalls_all_it_brought() -> None:
    late = Late()
    targets = [b"/1", b"/2", b"/3"]
    async with serving(late.behave) as origin, calling(origin.url) as client:
        answers, recalled = await remembered(client, targets)
        assert [answer.body for answer in answers] == [b"11", b"stolen", b"12"]
        assert recalled == []
        late.told.set()
        await until(lambda: bool(recalled))
        assert recalled == targets
        assert (await ask(client)).body == b"21"


async def test_an_answer_too_many_that_comes_with_the_last_recalls_those_before_and_that_one() -> None:
    late = Late(show_with=3)
    targets = [b"/1", b"/2", b"/3"]
    async with serving(late.behave) as origin, calling(origin.url) as client:
        answers, recalled = await remembered(client, targets)
        assert recalled == targets
        assert [answer.sound for answer in answers] == [True, True, False]


async def test_an_answer_too_many_that_comes_while_a_slot_is_waited_for_is_seen_then() -> None:
    late = Late()
    async with serving(late.behave) as origin, calling(origin.url) as client:
        _, recalled = await remembered(client, [b"/1", b"/2", b"/3"])

        async def slot() -> None:
            late.told.set()
            await until(lambda: bool(recalled) or origin.connections > 1)

        assert (await ask(client, b"/4", slot)).body == b"21"
        assert len(recalled) == 3


@pytest.mark.parametrize("surplus", [b"x", STOLEN])
async def test_what_a_new_connection_brings_first_is_its_requests_answer_whatever_follows(surplus: bytes) -> None:
    async with serving(answering(OK + surplus)) as origin, calling(origin.url, policy=GENERIC) as client:
        answers, recalled = await remembered(client, [b"/1"])
    assert ([answer.sound for answer in answers], recalled) == ([False], [])


async def test_connections_that_end_as_they_should_recall_nothing() -> None:
    async with (
        serving(answering(OK, OK, then_close=True)) as origin,
        calling(origin.url, max_connections=1) as client,
    ):
        _, recalled = await remembered(client, [b"/%d" % number for number in range(5)])
        assert recalled == []
    assert origin.connections == 3


def test_a_recall_remembers_so_many_and_reaches_who_comes_after_it() -> None:
    recall, recalled = Recall(), list[int]()
    for number in range(RECALLED + 5):
        recall.add(lambda number=number: recalled.append(number))  # type: ignore[misc]
    recall.make()
    recall.make()
    assert recalled == list(range(5, RECALLED + 5))
    recall.add(lambda: recalled.append(-1))
    assert recalled[-1] == -1


def owner_of(head: bytes) -> bytes:
    lines = head.lower().split(b"\r\n")
    return b"".join(line for line in lines if line.startswith((b"authorization:", b"cookie:")))


OWNERS: dict[str, Callable[[UpstreamClient], Awaitable[object]]] = {
    "nobody": lambda client: ask(client),
    "lboro": lambda client: ask(client, authorization=b"Basic bGJvcm86MQ=="),
    "lboro with another password": lambda client: ask(client, authorization=b"Basic bGJvcm86Mg=="),
    "a client's own": lambda client: ask(client, headers=((b"authorization", b"Basic bGJvcm86Mw=="),)),
    "a cookie": lambda client: ask(client, headers=((b"Cookie", b"a=b"),)),
    "another cookie": lambda client: ask(client, headers=((b"cookie", b"a=c"),)),
}


async def test_no_connection_is_used_for_two_credentials_or_for_one_and_none() -> None:
    used: dict[int, set[bytes]] = {}

    async def note(peer: Peer) -> None:
        while True:
            used.setdefault(peer.number, set()).add(owner_of(await peer.head()))
            await peer.say(OK)

    async with serving(note) as origin, calling(origin.url, policy=GENERIC) as client:
        for _ in range(3):
            for each in OWNERS.values():
                await each(client)
        assert origin.connections == len(OWNERS)
    assert all(len(owners) == 1 for owners in used.values())
    assert len(set.union(*used.values())) == len(OWNERS)


async def test_connections_are_as_many_as_may_be_whoever_they_are_for_and_the_longest_rested_makes_room() -> None:
    closed: list[int] = []

    async def watch(peer: Peer) -> None:
        try:
            await answering(OK, OK, OK)(peer)
        finally:
            closed.append(peer.number)

    async with serving(watch) as origin, calling(origin.url, max_connections=2) as client:
        for credential in (b"a", b"b", b"b", b"c"):
            await ask(client, authorization=b"Basic " + credential)
        await until(lambda: closed == [1])
        await asyncio.gather(*(ask(client, authorization=b"Basic %d" % number) for number in range(20)))
        assert origin.connections == 23
        assert "0 used, 2 resting, 2 at most" in repr(client)
        assert b"Basic" not in repr(client).encode()


async def test_many_owners_wait_for_their_turn_without_losing_any() -> None:
    async def echo(peer: Peer) -> None:
        while True:
            owner = owner_of(await peer.head()).removeprefix(b"authorization: ")
            await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(owner), owner))

    async with serving(echo) as origin, calling(origin.url, max_connections=3) as client:
        owners = [b"basic %d" % (number % 7) for number in range(70)]
        answers = await asyncio.gather(*(ask(client, authorization=owner) for owner in owners))
    assert [answer.body for answer in answers] == owners
