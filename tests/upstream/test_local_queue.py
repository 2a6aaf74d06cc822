"""Who gives way where the queue is full: one table for the scripts, and for the rules without Redis."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import pytest
import redis.asyncio

from gateway.upstream.flight import Flight, FlightRequest, Flow
from gateway.upstream.local import LocalQueue
from gateway.upstream.pacing import Budget, Priority, Shares
from gateway.upstream.queue_state import Full, Gone, Landed, Queued, QueueRules, QueueState

SPENT = Budget(3_600, 1)
A, B, C, D = (Flow(name) for name in "abcd")


@dataclass(frozen=True)
class Ask:
    """One more job, and other tenants who then ask for the same."""

    id: str
    flow: Flow
    band: Priority = Priority.PEOPLE
    also: tuple[Flow, ...] = ()
    leaves: bool = False


class Line(Protocol):
    """A queue that takes jobs."""

    async def ask(self, ask: Ask) -> bool: ...

    async def stands(self, id: str) -> str: ...


class Scripts:
    """The scripts, as one process sees them."""

    def __init__(self, client: redis.asyncio.Redis, prefix: str, rules: QueueRules) -> None:
        self.state = QueueState(client, prefix, SPENT, rules)
        self.other = QueueState(client, prefix, SPENT, rules)
        self.gens: dict[str, str] = {}

    async def ask(self, ask: Ask) -> bool:
        submit = self.state.submit
        reply = await submit(FlightRequest(ask.id, ask.flow, ask.band), token="t", looked=True)
        if isinstance(reply, Full):
            return False
        assert isinstance(reply, Queued)
        self.gens[ask.id] = reply.gen
        for flow in ask.also:
            assert isinstance(
                await self.other.submit(FlightRequest(ask.id, flow, ask.band), token="o", looked=True), Queued
            )
        if ask.leaves:
            await self.state.leave(ask.id, reply.gen)
        return True

    async def stands(self, id: str) -> str:
        standing = await self.state.poll(id, self.gens[id])
        if isinstance(standing, Landed):
            assert standing.result.startswith(b"dropped:")
            return "dropped"
        return "gone" if isinstance(standing, Gone) else "queued"


@dataclass
class Alone:
    """The rules without Redis."""

    room: LocalQueue
    flights: dict[str, Flight] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)

    async def ask(self, ask: Ask) -> bool:
        request = FlightRequest(ask.id, ask.flow, ask.band)
        flight = Flight(request, None, None, waiters=int(ask.band is Priority.PEOPLE))  # type: ignore[arg-type]
        loser = self.room.loser(flight, 0)
        if loser is flight:
            return False
        if loser is not None:
            self.room.leave(loser)
            self.ended.add(loser.request.id)
        self.room.enter(flight)
        self.flights[ask.id] = flight
        for flow in ask.also:
            flight.join(FlightRequest(ask.id, flow, ask.band))
            assert flow in flight.others.values()
        if ask.leaves:
            flight.waiters = 0
        return True

    async def stands(self, id: str) -> str:
        return "dropped" if id in self.ended else "queued"


def several(name: str, flow: Flow, count: int, **more: object) -> list[Ask]:
    return [Ask(f"{name}{i}", flow, **more) for i in range(count)]  # type: ignore[arg-type]


@dataclass(frozen=True)
class Case:
    """What is asked one after another, which of it is refused at once, and which has to go later."""

    asked: Sequence[Ask]
    refused: Iterable[str] = ()
    dropped: Iterable[str] = ()
    most: int = 6
    each: int = 6


HEAVY, LIGHT, SMALL = Flow("heavy", weight=4), Flow("light"), Flow("small", weight=0.01)
CASES = {
    "there is room": Case([*several("a", A, 3), *several("b", B, 3)]),
    "whoever has the most loses its last": Case(
        [*several("a", A, 4), *several("b", B, 2), Ask("c", C)], (), ["a3"]
    ),
    "and then the next": Case([*several("a", A, 4), *several("b", B, 2), *several("c", C, 2)], (), ["a3", "a2"]),
    "until all have the same": Case(
        [*several("a", A, 4), *several("b", B, 2), *several("c", C, 3)], ["c2"], ["a3", "a2"]
    ),
    "whoever has the most finds no room": Case([*several("a", A, 4), *several("b", B, 2), Ask("a4", A)], ["a4"]),
    "all have one each": Case([Ask(name, Flow(name)) for name in "abcdefg"], ["g"]),
    "somebody has two": Case(
        [Ask("a1", A), *(Ask(name, Flow(name)) for name in "bcfg"), Ask("a2", A), Ask("d", D)],
        (),
        ["a2"],
    ),
    "a share of four is worth four": Case(
        [*several("h", HEAVY, 4), *several("l", LIGHT, 2), Ask("c", C)], (), ["l1"]
    ),
    "a share of four lets a tenant have more": Case(
        [*several("l", LIGHT, 3), *several("h", HEAVY, 3), *several("m", HEAVY, 2)], (), ["l2", "l1"]
    ),
    "one with a small share and nothing queued has room too": Case(
        [*several("a", A, 6), Ask("small", SMALL)], (), ["a5"]
    ),
    "nobody loses its only one": Case(
        [Ask("small", SMALL), *several("a", A, 2), *several("b", B, 3), Ask("c", C)],
        (),
        ["b2"],
    ),
    "refreshes go first": Case(
        [*several("r", A, 2, band=Priority.REFRESH), *several("b", B, 4), *several("c", C, 2)], (), ["r1", "r0"]
    ),
    "then what nobody waits for": Case(
        [*several("l", A, 2, leaves=True), *several("b", B, 4), Ask("b4", B)], (), ["l1"]
    ),
    "all that is spare goes before what somebody waits for, the latest first": Case(
        [
            *(Ask(band.label, A, band=band) for band in (Priority.JOBS, Priority.WARM, Priority.REFRESH)),
            *several("b", B, 3),
            *several("c", C, 3),
        ],
        (),
        ["warm", "refresh", "jobs"],
    ),
    "a job takes the place of a refresh, and of nobody else": Case(
        [*several("a", A, 5), Ask("r", B, band=Priority.REFRESH), *several("j", C, 2, band=Priority.JOBS)],
        ["r", "j1"],
    ),
    "refreshes before what nobody waits for": Case(
        [*several("r", A, 1, band=Priority.REFRESH), *several("l", A, 1, leaves=True), *several("b", B, 5)],
        (),
        ["r0"],
    ),
    "a refresh makes nobody go": Case([*several("a", A, 3), Ask("r", B, band=Priority.REFRESH)], ["r"]),
    "one that another waits for is charged to that one": Case(
        [*several("a", A, 3), Ask("shared", A, also=(B,)), *several("b", B, 1), Ask("d", D), Ask("c", C)],
        (),
        ["a2"],
    ),
    "who then may have the most": Case(
        [*several("b", B, 3), *several("a", A, 1), *several("s", A, 2, also=(B,)), Ask("c", C), Ask("d", D)],
        (),
        ["b2", "s1"],
        each=9,
    ),
    "all of it is shared": Case([*several("s", A, 6, also=(B,)), Ask("c", C), Ask("d", D)], (), ["s3", "s2"]),
    "a tenant's own bound": Case([*several("a", A, 3)], ["a2"], each=2),
    "its own refreshes make room within it": Case(
        [*several("r", A, 2, band=Priority.REFRESH), *several("a", A, 3)], ["a2"], ["r1", "r0"], each=2
    ),
    "a room for one": Case([Ask("a", A), Ask("b", B)], ["b"], most=1),
}


async def plays(case: Case, line: Line) -> None:
    refused = [ask.id for ask in case.asked if not await line.ask(ask)]
    standings = {ask.id: await line.stands(ask.id) for ask in case.asked if ask.id not in refused}
    assert refused == list(case.refused)
    assert {id for id, standing in standings.items() if standing == "dropped"} == set(case.dropped)
    assert set(standings.values()) <= {"queued", "dropped"}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_who_gives_way(case: Case, either: redis.asyncio.Redis, prefix: str) -> None:
    await plays(case, Scripts(either, prefix, QueueRules(max_queued=case.most, max_per_tenant=case.each)))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_who_gives_way_without_redis(case: Case) -> None:
    await plays(case, Alone(LocalQueue(case.most, case.each, Shares())))


async def test_a_refusal_says_how_many_go_before_the_tenants_next_job(
    either: redis.asyncio.Redis, prefix: str
) -> None:
    line = Scripts(either, prefix, QueueRules(max_queued=6, max_per_tenant=3))
    for ask in (*several("a", A, 3), *several("b", B, 1), *several("c", C, 2)):
        assert await line.ask(ask)
    # In the order of their turns: a0 b0 c0, a1 c1, a2
    assert await line.state.submit(FlightRequest("a3", A), token="t", looked=True) == Full(6)
    assert isinstance(await line.state.submit(FlightRequest("b1", B), token="t", looked=True), Queued)
    assert await line.state.poll("a2", line.gens["a2"]) == Landed(b"dropped:5")


@pytest.mark.parametrize("phantom", [False, True])
async def test_a_tenants_account_outlives_what_an_older_version_does_to_it(
    redis_client: redis.asyncio.Redis, prefix: str, phantom: bool
) -> None:
    """An older version takes jobs out of the queue and leaves the rest as it is."""
    line = Scripts(redis_client, prefix, QueueRules(max_queued=4, max_per_tenant=4))
    for ask in several("a", A, 4):
        assert await line.ask(ask)
    key = f"{prefix}:{{queue}}"
    members = await redis_client.zrange(f"{key}:band:0", 2, 3)
    await redis_client.zrem(f"{key}:band:0", *members)
    await redis_client.hset(f"{key}:pending", "a", 2)
    await redis_client.zadd(f"{key}:load", {"phantom": 9_000} if phantom else {"a": 4_000})
    for ask in (*several("b", B, 2), Ask("c", C)):
        assert await line.ask(ask)
    assert await line.stands("a1") == "dropped"
    assert await line.stands("a0") == "queued"


async def test_an_empty_queue_keeps_no_accounts(either: redis.asyncio.Redis, prefix: str) -> None:
    line = Scripts(either, prefix, QueueRules())
    for ask in (*several("a", A, 3), Ask("shared", A, also=(B, C)), Ask("r", B, band=Priority.REFRESH)):
        assert await line.ask(ask)
    for state in (line.state, line.other):
        for id, gen in line.gens.items():
            await state.leave(id, gen, kept=False)
    kinds = {key.decode().split(":", 2)[2].split(":")[0] async for key in either.scan_iter(match=f"{prefix}:*")}
    assert kinds <= {"tat", "turn", "result", "callers"}


async def test_among_equals_a_tenant_with_nothing_queued_goes_first(
    either: redis.asyncio.Redis, prefix: str
) -> None:
    line = Scripts(either, prefix, QueueRules())
    for ask in (*several("a", A, 2), *several("b", B, 2)):
        assert await line.ask(ask)
    await either.hset(f"{prefix}:{{queue}}:fair", "v0", 1_000)  # as where the first of each is being served
    assert await line.ask(Ask("c0", C))
    assert await line.state.poll("c0", line.gens["c0"]) == Queued(line.gens["c0"], None, 2)


async def test_the_same_without_redis() -> None:
    line = Alone(LocalQueue(9, 9, Shares()))
    for ask in (*several("a", A, 3), *several("b", B, 3)):
        assert await line.ask(ask)
    served = [line.room.next() for _ in range(3)]
    assert [flight and flight.request.id for flight in served] == ["a0", "b0", "a1"]
    assert await line.ask(Ask("c0", C))
    assert [line.room.rank(line.flights[id]) for id in ("c0", "b1", "a2")] == [0, 1, 2]
