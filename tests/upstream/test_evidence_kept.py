"""What the fleet keeps of the evidence: whose turn it makes, how much there is of it, and for how long."""

from __future__ import annotations

import time
from itertools import count

import redis.asyncio

from gateway.upstream.credential_breaker import ANSWERED, FAILED, REFUSED, Signal
from gateway.upstream.flight import FlightRequest, Flow
from gateway.upstream.pacing import Budget
from gateway.upstream.queue_state import Claimed, Landed, Queued, QueueRules, QueueState
from gateway.upstream.upstream_breaker import ENOUGH, MOST_ACTIVE, MOST_PAUSED, Pauses, Recent
from tests.upstream.houses import RULES, Fleet, Flight, Query, about, after, out, told, wait

NUMBERS = count()


class Queueing(Fleet):
    """A fleet whose jobs wait for their turn, as long as it is not said that there is one."""

    def __init__(self, client: redis.asyncio.Redis, prefix: str) -> None:
        super().__init__(client, prefix)
        self.slow = QueueState(client, prefix, Budget(600, 50), QueueRules(gate=RULES))

    async def queue(self, id: str, tenant: str, credential: str = "") -> Queued:
        flow = Flow(tenant, credential=credential)
        reply = await self.slow.submit(FlightRequest(id, flow), token="t", looked=True)
        assert isinstance(reply, Queued)
        return reply

    async def lands(self, query: Query, sign: Signal, id: str = "a late one") -> None:
        """A flight that somebody else leads by now."""
        await self.slow.land(
            [self.slow.landing(FlightRequest(id, query.flow, question=query.target), "", b"", sign)]
        )

    async def next(self) -> str | None:
        """The job whose turn it is."""
        await self.client.set(f"{self.prefix}:tat", "1")
        reply = await self.slow.claim()
        return reply.claim.id if isinstance(reply, Claimed) else None


async def test_through_a_half_open_gate_goes_who_closed_it_not(either: redis.asyncio.Redis, prefix: str) -> None:
    fleet = Queueing(either, prefix)
    for id, tenant in (("b1", "bad"), ("b2", "bad"), ("h1", "honest"), ("b3", "bad")):
        await fleet.queue(id, tenant)
    for tenant in ("bad", "bad", "other"):
        await fleet.lands(Query(tenant), REFUSED)
    assert await fleet.next() is None
    await wait(fleet)
    assert await fleet.next() == "h1"
    assert await fleet.next() is None, "one probe is out"


async def test_the_very_query_that_closed_it_probes_only_where_no_other_waits(
    either: redis.asyncio.Redis, prefix: str
) -> None:
    fleet = Queueing(either, prefix)
    for id in ("closer", "second"):
        await fleet.queue(id, "t")
    for _ in range(ENOUGH):
        await fleet.lands(Query("t"), REFUSED, "closer")
    await wait(fleet)
    assert await fleet.next() == "second"


async def test_what_waits_for_a_paused_credential_is_turned_away(either: redis.asyncio.Redis, prefix: str) -> None:
    fleet = Queueing(either, prefix)
    await fleet.queue("other", "one", "other")
    gens = [(await fleet.queue(f"job{number}", "one", "slow")).gen for number in range(3)]
    await fleet.lands(Query("one", credential="slow"), after(200))
    for number, gen in enumerate(gens):
        assert await fleet.slow.poll(f"job{number}", gen) == Landed(b"paused:200000000")
    assert sum((await fleet.slow.snapshot()).queued.values()) == 1
    assert await fleet.next() == "other"


async def test_so_many_are_kept_and_no_more_and_none_for_ever(either: redis.asyncio.Redis, prefix: str) -> None:
    fleet = Fleet(either, prefix)
    now = time.time() * 1e6
    for kind in ("target", "caller"):
        names = [f"old {kind} {number}" for number in range(MOST_PAUSED)]
        await either.zadd(f"{fleet.prefix}:paused:{kind}", {name: now - at for at, name in enumerate(names)})
        await either.hset(f"{fleet.prefix}:pauses:{kind}", mapping=dict.fromkeys(names, "1 0 t"))
    for number in range(MOST_ACTIVE + 5):
        await told(fleet, REFUSED, tenant=f"tenant{number}", credential=f"c{number}")
        await told(fleet, FAILED)
    endless = [key async for key in either.scan_iter(match=f"{prefix}:*") if await either.pttl(key) <= 0]
    assert not endless
    for kind in ("target", "caller"):
        assert await either.zcard(f"{fleet.prefix}:paused:{kind}") == MOST_PAUSED
        assert await either.hlen(f"{fleet.prefix}:pauses:{kind}") == MOST_PAUSED
        assert await either.zscore(f"{fleet.prefix}:paused:{kind}", f"old {kind} {MOST_PAUSED - 1}") is None
    for kind in ("callers", "credentials"):
        assert await either.zcard(f"{fleet.prefix}:{kind}") == MOST_ACTIVE


def test_alone_so_many_are_kept_and_no_more() -> None:
    pauses, recent = Pauses(RULES), Recent()
    for number in range(MOST_PAUSED + 50):
        pauses.begin(f"target{number}", Flow("t"), number, None)
        recent.note(f"tenant{number}", number)
    assert pauses.left("target49", 60) is None
    assert pauses.left("target50", 60) == about(90)
    assert len(recent.names(MOST_PAUSED)) == MOST_ACTIVE


async def test_where_the_clock_was_set_back_a_pause_is_no_longer_than_it_was(
    either: redis.asyncio.Redis, prefix: str
) -> None:
    fleet = Fleet(either, prefix)
    await told(fleet, ANSWERED, tenant="honest")
    await told(fleet, REFUSED, tenant="bad", target="bad")
    await told(fleet, after(50), tenant="bad", credential="c")
    await fleet.advance(-10_000)
    assert await fleet.set_out(Query(target="bad")) == "TargetRefused"
    assert await fleet.set_out(Query("other", credential="c")) == "SlowedDown"
    await fleet.advance(101)
    assert isinstance(await fleet.set_out(Query(target="bad")), Flight)
    assert isinstance(await fleet.set_out(Query("other", credential="c")), Flight)


async def test_a_gate_that_an_older_version_closed_opens_as_any(either: redis.asyncio.Redis, prefix: str) -> None:
    fleet = Fleet(either, prefix)
    until = round((time.time() + 100) * 1e6)
    kept = {"until": until, "level": 2, "longest": 350_000_000, "shortest": 10_000_000, "resets": 1}
    await either.hset(fleet.key, mapping=kept)  # type: ignore[arg-type]
    assert await fleet.set_out(Query()) == "GateClosed"
    await wait(fleet)
    probe = await out(fleet)
    assert await fleet.set_out(Query()) == "GateClosed"
    await fleet.land(probe, ANSWERED)
    assert await fleet.closed_for() == 0
