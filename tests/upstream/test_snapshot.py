"""The snapshot counts what is there and moves nothing; a standing tells where one job is."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from gateway.errors import CacheUnavailable
from gateway.upstream.credential_breaker import NOTHING, CredentialSignal, Signal, SignalKind
from gateway.upstream.flight import Claim, FlightRequest, Flow
from gateway.upstream.pacing import Budget, Priority
from gateway.upstream.queue import Queue
from gateway.upstream.queue_state import Claimed, Landed, Left, Queued, QueueRules, QueueState
from gateway.upstream.snapshot import MOST_LISTED, GateState, QueuePosition, Refused, RunningCall, depths_of
from tests.redis_server import free_port
from tests.upstream.fleet import depths

SECOND = 1_000_000
SPENT = Budget(600, 50)
"""A budget that is empty for the length of any test."""


def about(seconds: float) -> Any:
    return pytest.approx(seconds, abs=20)


class Fleet:
    """Processes that queue what they submit, but for the one that needs no budget."""

    def __init__(self, client: redis.asyncio.Redis, prefix: str) -> None:
        self.client = client
        self.prefix = prefix
        self.free = self.state(Budget(None, 1))
        self.one, self.two = self.state(), self.state()

    def state(self, budget: Budget = SPENT, **rules: Any) -> QueueState:
        return QueueState(self.client, self.prefix, budget, QueueRules(**rules))

    def key(self, name: str) -> str:
        return f"{self.prefix}:{{queue}}:{name}"

    async def queue(
        self, state: QueueState, id: str, tenant: str, band: Priority = Priority.PEOPLE, share: float = 1.0
    ) -> str:
        reply = await state.submit(FlightRequest(id, Flow(tenant, share), band), token="t", looked=True)
        assert isinstance(reply, Queued)
        return reply.gen

    async def run(self, id: str, tenant: str, band: Priority = Priority.PEOPLE) -> Claim:
        reply = await self.free.submit(FlightRequest(id, Flow(tenant), band), token="t", looked=True)
        assert isinstance(reply, Claimed)
        return reply.claim

    async def land(self, claim: Claim, sign: Signal = NOTHING, verdict: CredentialSignal | None = None) -> None:
        await self.free.land(
            [self.free.landing(FlightRequest(claim.id, Flow("t")), claim.token, b"", sign, verdict)]
        )

    async def contents(self) -> dict[bytes, bytes | None]:
        keys = [key async for key in self.client.scan_iter(match=f"{self.prefix}:*")]
        return {key: await self.client.dump(key) for key in keys}


@pytest.fixture
def fleet(either: redis.asyncio.Redis, prefix: str) -> Fleet:
    return Fleet(either, prefix)


async def test_of_an_idle_fleet_there_is_nothing_to_tell(fleet: Fleet) -> None:
    snapshot = await fleet.one.snapshot()
    assert snapshot.queued == depths_of(depths())
    assert (snapshot.tenants, snapshot.running, snapshot.processes, snapshot.refused) == ({}, (), {}, ())
    assert (snapshot.tenants_total, snapshot.running_total, snapshot.processes_total, snapshot.refused_total) == (
        0,
        0,
        0,
        0,
    )
    assert (snapshot.gate.state, snapshot.gate.closed_for, snapshot.gate.held_for) == (GateState.OPEN, 0.0, None)
    assert snapshot.budget == about(600)
    assert (await fleet.free.snapshot()).budget == 0
    assert await fleet.contents() == {}


async def test_jobs_are_counted_by_tenant_and_band(fleet: Fleet) -> None:
    for i in range(4):
        await fleet.queue(fleet.one, f"a{i}", "a")
    await fleet.queue(fleet.two, "a0", "b")
    await fleet.queue(fleet.two, "b0", "b")
    gen = await fleet.queue(fleet.two, "b1", "b")
    assert await fleet.two.leave("b1", gen) is Left.BEHIND
    for i in range(3):
        await fleet.queue(fleet.one, f"c{i}", "c", Priority.REFRESH)
    await fleet.queue(fleet.two, "a9", "a", Priority.REFRESH)
    snapshot = await fleet.free.snapshot()
    assert snapshot.queued == depths_of(depths(people=5, left=1, refresh=4))
    assert sum(snapshot.queued.values()) == 10
    assert list(snapshot.tenants.items()) == [
        ("a", depths_of(depths(people=4, refresh=1))),
        ("c", depths_of(depths(refresh=3))),
        ("b", depths_of(depths(people=1, left=1))),
    ]
    assert (snapshot.tenants_total, snapshot.uncounted) == (3, 0)


async def test_what_runs_is_told_with_its_age_and_its_leader(fleet: Fleet) -> None:
    await fleet.run("old", "a")
    await fleet.run("new", "b", Priority.REFRESH)
    await fleet.client.zadd(fleet.key("running"), {"old": time.time() * SECOND - 300 * SECOND})
    snapshot = await fleet.one.snapshot()
    process = fleet.free.process
    assert snapshot.running == (
        RunningCall("old", "a", Priority.PEOPLE, about(300), 0, process),
        RunningCall("new", "b", Priority.REFRESH, about(0), 0, process),
    )
    assert snapshot.running_total == 2
    assert sum(snapshot.queued.values()) == 0


async def test_a_flight_that_lost_its_leader_says_so(fleet: Fleet) -> None:
    survivor = fleet.state(Budget(None, 1), dead_after=0.02)
    await fleet.free.beat()
    await fleet.run("a", "t")
    await survivor.submit(FlightRequest("a", Flow("t")), token="s", looked=True)
    while (await survivor.beat()).processes != 1:
        pass
    assert isinstance(await survivor.claim(), Claimed)
    (run,) = (await fleet.one.snapshot()).running
    assert (run.attempts, run.process) == (1, survivor.process)


async def test_processes_that_live_are_told_and_the_dead_are_not(fleet: Fleet) -> None:
    for state in (fleet.one, fleet.two):
        await state.beat()
    await fleet.client.zadd(fleet.key("live"), {"dead": time.time() * SECOND - 60 * SECOND})
    snapshot = await fleet.state(dead_after=50.0).snapshot()
    assert snapshot.processes == {fleet.one.process: about(0), fleet.two.process: about(0)}
    assert snapshot.processes_total == 2


async def test_every_state_of_the_gate_is_told(fleet: Fleet) -> None:
    async def told() -> tuple[GateState, float, float | None]:
        gate = (await fleet.one.snapshot()).gate
        return gate.state, gate.closed_for, gate.held_for

    await fleet.land(await fleet.run("a", "t"), Signal(SignalKind.LIMITED, 300.0))
    assert await told() == (GateState.CLOSED, about(300), None)
    gate = (await fleet.one.snapshot()).gate
    assert (gate.why, gate.targets_refused) == ("limited", 1)
    await fleet.two.hold()
    assert await told() == (GateState.HELD, about(300), about(0))
    await fleet.client.hset(fleet.key("gate"), "held", str(int(time.time() - 500) * SECOND))
    await fleet.two.hold()
    assert await told() == (GateState.HELD, about(300), about(500))
    await fleet.two.resume()
    assert await told() == (GateState.OPEN, 0.0, None)
    await fleet.land(await fleet.run("b", "t"), Signal(SignalKind.LIMITED, 300.0))
    await fleet.client.hset(fleet.key("gate"), "until", "1")
    assert await told() == (GateState.HALF_OPEN, 0.0, None)
    await fleet.run("probe", "another")
    assert await told() == (GateState.HALF_OPEN, fleet.free.gate.rules.shortest, None)


async def test_what_the_budget_allows_is_told_apart_from_the_gate(fleet: Fleet) -> None:
    await fleet.client.set(fleet.key("tat"), int(time.time() * SECOND) + 50 * 600_020_000 + 100 * SECOND)
    await fleet.one.hold()
    assert (await fleet.one.snapshot()).budget == about(700)
    await fleet.client.set(fleet.key("tat"), "1")
    assert (await fleet.one.snapshot()).budget == 0


async def test_credentials_that_are_refused_or_held_are_told_once_each(fleet: Fleet) -> None:
    for i, name in enumerate(("refused", "both")):
        for question in "ab":
            run = await fleet.run(f"f{i}{question}", "t")
            await fleet.land(run, verdict=CredentialSignal(name, refused=True, question=question))
    for name in ("held", "both"):
        assert await fleet.one.hold(name)
    snapshot = await fleet.two.snapshot()
    both, held = sorted(snapshot.refused[:2], key=lambda each: each.fingerprint)
    assert both == Refused("both", about(10), about(0))
    assert held == Refused("held", 0.0, about(0))
    assert snapshot.refused[2:] == (Refused("refused", about(10), None),)
    assert snapshot.refused_total == 3


async def test_what_waits_is_listed_in_the_order_of_its_turns(fleet: Fleet) -> None:
    for name, tenant, band in (
        ("late", "b", Priority.JOBS),
        ("one", "a", Priority.PEOPLE),
        ("two", "a", Priority.PEOPLE),
    ):
        await fleet.queue(fleet.one, name, tenant, band)
    waiting = (await fleet.two.snapshot()).waiting
    assert [(each.id, each.tenant, each.band) for each in waiting] == [
        ("one", "a", Priority.PEOPLE),
        ("two", "a", Priority.PEOPLE),
        ("late", "b", Priority.JOBS),
    ]
    await fleet.client.hset(fleet.key("job:one"), "gen", str(int((time.time() - 500) * SECOND)))
    assert [each.age for each in (await fleet.two.snapshot()).waiting] == [about(500), about(0), about(0)]


async def test_calls_that_wait_are_cancelled_and_those_that_run_are_not(fleet: Fleet) -> None:
    claim = await fleet.run("runs", "a")
    for name in ("one", "two"):
        await fleet.queue(fleet.one, name, "a")
    gen = await fleet.queue(fleet.one, "three", "a")
    await fleet.queue(fleet.one, "other", "b")
    assert await fleet.two.cancel("call", "two", b"said") == (1, None)
    assert await fleet.two.cancel("call", "two", b"said") == (0, None)
    assert await fleet.two.cancel("call", claim.id, b"said") == (0, None)
    assert [each.id for each in (await fleet.two.snapshot()).waiting] == ["one", "other", "three"]
    assert (await fleet.two.cancel("tenant", "a", b"said"))[0] == 2
    assert await fleet.one.poll("three", gen) == Landed(b"said")
    snapshot = await fleet.two.snapshot()
    assert ([each.id for each in snapshot.waiting], list(snapshot.tenants)) == (["other"], ["b"])
    assert [each.id for each in snapshot.running] == ["runs"]


async def test_lists_are_cut_and_counts_are_whole(fleet: Fleet) -> None:
    many = MOST_LISTED + 30
    for i in range(many):
        await fleet.queue(fleet.one, f"job{i}", f"tenant{i:03}")
    await fleet.queue(fleet.one, "last", f"tenant{many - 1:03}")
    names = [f"x{i:03}" for i in range(many)]
    now = time.time() * SECOND
    for key in ("running", "live", "refused"):
        await fleet.client.zadd(fleet.key(key), {name: now - i for i, name in enumerate(names)})
    await fleet.client.hset(fleet.key("onhold"), mapping={f"h{i}": str(int(now)) for i in range(10)})
    snapshot = await fleet.one.snapshot()
    lists: list[Any] = [snapshot.tenants, snapshot.running, snapshot.processes, snapshot.refused]
    assert [len(each) for each in lists] == [MOST_LISTED] * 4
    assert (snapshot.tenants_total, snapshot.running_total, snapshot.processes_total) == (many, many, many)
    assert snapshot.refused_total == many + 10
    assert next(iter(snapshot.tenants.items())) == (f"tenant{many - 1:03}", depths_of(depths(people=2)))
    assert sum(snapshot.queued.values()) == many + 1
    assert {each.fingerprint for each in snapshot.refused if each.held_for is not None} == {
        f"h{i}" for i in range(10)
    }


async def test_of_a_very_long_queue_the_first_jobs_are_counted_by_tenant(fleet: Fleet) -> None:
    await fleet.client.zadd(fleet.key("band:0"), {f"{i:012}:p{i}": i for i in range(4_000)})
    await fleet.client.zadd(fleet.key("band:2"), {f"{i:012}:r{i}": i for i in range(3_000)})
    snapshot = await fleet.one.snapshot()
    assert snapshot.queued == depths_of(depths(people=4_000, refresh=3_000))
    assert snapshot.uncounted == 2_000
    assert [sum(depths.values()) for depths in snapshot.tenants.values()] == [5_000]


async def test_looking_moves_nothing_and_takes_one_round_trip(fleet: Fleet) -> None:
    await fleet.run("running", "a")
    await fleet.queue(fleet.one, "queued", "a")
    await fleet.one.beat()
    await fleet.two.hold()
    await fleet.two.hold("fp")
    await fleet.client.zadd(fleet.key("refused"), {"long ago": 1.0})
    before = await fleet.contents()
    state = fleet.state()
    await state.snapshot(), await state.position("queued")
    trips: list[str] = []

    class Counting:
        async def evalsha(self, sha: str, *args: Any) -> Any:
            trips.append(sha)
            return await fleet.client.evalsha(sha, *args)

    state._client = Counting()  # type: ignore[assignment]
    await state.snapshot()
    assert len(trips) == 1
    await state.position("queued")
    assert len(trips) == 2
    assert await fleet.contents() == before


async def test_a_standing_is_the_same_whoever_asks(fleet: Fleet) -> None:
    claim = await fleet.run("running", "a")
    gens = [await fleet.queue(fleet.one, f"q{i}", "a", share=4) for i in range(3)]
    await fleet.queue(fleet.two, "refresh", "b", Priority.REFRESH)
    await fleet.one.leave("q0", gens[0])
    for state in (fleet.one, fleet.two, fleet.free):
        assert await state.position("running") == QueuePosition(0, True, "a", Priority.PEOPLE)
        assert await state.position("q1") == QueuePosition(0, False, "a", Priority.PEOPLE)
        assert await state.position("q2") == QueuePosition(1, False, "a", Priority.PEOPLE)
        assert await state.position("q0") == QueuePosition(2, False, "a", Priority.LEFT)
        assert await state.position("refresh") == QueuePosition(3, False, "b", Priority.REFRESH)
        assert await state.position("unknown") is None
    await fleet.land(claim)
    assert await fleet.one.position("running") is None


STEERING: dict[str, Callable[[Queue], Awaitable[object]]] = {
    "census": lambda queue: queue.snapshot(),
    "standing": lambda queue: queue.position("a"),
    "hold-gate": lambda queue: queue.hold_gate(),
    "resume-gate": lambda queue: queue.resume_gate(),
    "hold-credential": lambda queue: queue.hold_credential("fp"),
    "resume-credential": lambda queue: queue.resume_credential("fp"),
}


@pytest.mark.parametrize("steer", STEERING.values(), ids=STEERING)
async def test_without_redis_there_is_nothing_to_see_or_to_steer(
    prefix: str, steer: Callable[[Queue], Awaitable[object]]
) -> None:
    client = redis.asyncio.Redis(port=free_port(), retry=Retry(NoBackoff(), 0))
    queue = Queue(client, prefix, SPENT, QueueRules())
    with pytest.raises(CacheUnavailable):
        await steer(queue)
    assert not queue.gate.held
    assert queue.breaker.count == 0
    await client.aclose()
