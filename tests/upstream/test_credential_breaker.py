"""Refused credentials: known to the whole fleet, tried again by one, and by each process alone without Redis."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from itertools import count

import pytest
import redis.asyncio

from gateway.errors import CacheUnavailable
from gateway.upstream.credential_breaker import (
    MOST,
    MOST_SUSPECTED,
    CredentialBreaker,
    CredentialSignal,
    PauseRules,
)
from gateway.upstream.flight import FlightRequest, Flow
from gateway.upstream.pacing import Budget
from gateway.upstream.queue_state import Claimed, QueueRules, QueueState
from gateway.upstream.upstream_breaker import ACTIVE, Evidence

RULES = PauseRules(100, longest=350)
ACCEPTED = CredentialSignal("fp", refused=False)
NUMBERS = count()


def refused(question: str = "") -> CredentialSignal:
    """A refusal of a question that nobody asked before, unless told."""
    return CredentialSignal("fp", refused=True, question=question or f"question{next(NUMBERS)}")


@dataclass
class Alone:
    """A breaker without Redis, and a clock that is moved by hand."""

    now: float = 1_000.0
    breaker: CredentialBreaker = field(init=False)

    def __post_init__(self) -> None:
        async def gone(fingerprint: str, question: str, tenant: str) -> tuple[bool, float | None]:
            raise CacheUnavailable("gone")

        self.breaker = CredentialBreaker(RULES, gone, clock=lambda: self.now)


class Fleet:
    """Processes that hear of each other by signs of life alone: messages may be lost."""

    def __init__(self, client: redis.asyncio.Redis, prefix: str) -> None:
        self.client = client
        self.prefix = f"{prefix}:{{queue}}"
        self.states = [QueueState(client, prefix, Budget(None, 1), QueueRules(breaker=RULES)) for _ in range(3)]
        self.breakers = [CredentialBreaker(RULES, state.probe) for state in self.states]

    async def land(self, process: int, verdict: CredentialSignal, tenant: str = "t") -> None:
        state, flow = self.states[process], Flow(tenant, credential="fp")
        reply = await state.submit(FlightRequest(f"f{time.monotonic_ns()}", flow), token="t", looked=True)
        assert isinstance(reply, Claimed)
        landing = state.landing(FlightRequest(reply.claim.id, flow), "t", b"result", credential=verdict)
        settled = await state.land([landing])
        self.breakers[process].settled(verdict, settled.refused_for)

    async def convict(self, process: int = 0) -> None:
        """Two different questions are refused."""
        for _ in range(2):
            await self.land(process, refused())

    async def beat(self) -> None:
        for state, breaker in zip(self.states, self.breakers, strict=True):
            breaker.replace((await state.beat()).refused)

    async def wait(self) -> None:
        """Until the pause is over, as every process knows."""
        await self.client.zadd(f"{self.prefix}:refused", {"fp": time.time() * 1e6 - 1})
        await self.beat()

    def refused_for(self) -> list[float | None]:
        return [breaker.refused_for("fp") for breaker in self.breakers]


@pytest.fixture
def fleet(either: redis.asyncio.Redis, prefix: str) -> Fleet:
    return Fleet(either, prefix)


def about(seconds: float) -> object:
    return pytest.approx(seconds, abs=5)


async def test_decision_7_a_refused_credential_is_known_to_all_and_its_acceptance_too(fleet: Fleet) -> None:
    assert fleet.refused_for() == [None] * 3
    await fleet.convict()
    await fleet.beat()
    assert fleet.refused_for() == [about(100)] * 3
    assert [breaker.count for breaker in fleet.breakers] == [1] * 3
    await fleet.land(1, ACCEPTED)
    await fleet.beat()
    assert fleet.refused_for() == [None] * 3


async def test_pauses_grow_but_not_with_those_who_asked_before(fleet: Fleet) -> None:
    for pause in (100, 200, 350, 350):
        await fleet.convict(0)
        await fleet.convict(1)
        await fleet.beat()
        assert fleet.refused_for() == [about(pause)] * 3
        await fleet.wait()


async def test_after_an_acceptance_pauses_begin_anew(fleet: Fleet) -> None:
    for verdict in (refused(), refused(), refused(), ACCEPTED, refused(), refused()):
        await fleet.wait() if fleet.breakers[0].count else None
        await fleet.land(0, verdict)
    await fleet.beat()
    assert fleet.refused_for() == [about(100)] * 3


async def test_one_process_probes_until_its_verdict(fleet: Fleet) -> None:
    await fleet.convict()
    await fleet.beat()
    assert [await breaker.probe("fp") for breaker in fleet.breakers] == [False] * 3
    await fleet.wait()
    assert fleet.refused_for() == [0] * 3
    assert [await breaker.probe("fp") for breaker in fleet.breakers] == [True, False, False]
    await fleet.land(0, refused())
    await fleet.wait()
    assert [await breaker.probe("fp") for breaker in reversed(fleet.breakers)] == [True, False, False]
    await fleet.land(2, ACCEPTED)
    assert [await breaker.probe("fp") for breaker in fleet.breakers] == [True] * 3
    assert fleet.refused_for() == [None] * 3


async def test_whoever_asks_to_probe_too_early_hears_how_long_it_takes(fleet: Fleet) -> None:
    await fleet.convict()
    late = fleet.breakers[1]
    late.update("fp", 0.0)
    assert not await late.probe("fp")
    assert late.refused_for("fp") == about(100)


async def test_a_probe_that_brings_no_verdict_gives_way_in_time(fleet: Fleet) -> None:
    await fleet.convict()
    await fleet.wait()
    assert await fleet.breakers[0].probe("fp")
    left = await fleet.client.pttl(f"{fleet.prefix}:probing:fp")
    assert 0 < left <= QueueRules().longest_run * 1_000


async def test_nothing_about_refusals_stays_for_ever(fleet: Fleet) -> None:
    await fleet.land(0, refused())
    suspected = await fleet.client.pttl(f"{fleet.prefix}:suspected:fp")
    assert 0 < suspected <= 86_400_000
    await fleet.land(0, refused())
    await fleet.wait()
    await fleet.breakers[0].probe("fp")
    kept = [
        key async for key in fleet.client.scan_iter(match=f"{fleet.prefix}:*") if b"ref" in key or b"prob" in key
    ]
    assert len(kept) == 3, kept
    assert all([0 < await fleet.client.pttl(key) <= 86_400_000 for key in kept])
    await fleet.client.zadd(f"{fleet.prefix}:refused", {"old": time.time() * 1e6 - 86_401e6})
    await fleet.beat()
    assert await fleet.client.zcard(f"{fleet.prefix}:refused") == 1
    await fleet.land(0, ACCEPTED)
    assert not [
        key async for key in fleet.client.scan_iter(match=f"{fleet.prefix}:*") if b"ref" in key or b"prob" in key
    ]


async def test_of_very_many_refused_a_bounded_number_travels(fleet: Fleet) -> None:
    until = time.time() * 1e6 + 60e6
    await fleet.client.zadd(f"{fleet.prefix}:refused", {f"fp{i}": until + i for i in range(MOST + 500)})
    await fleet.beat()
    assert fleet.breakers[0].count == MOST
    fleet.breakers[0].update("one more", 5.0)
    assert fleet.breakers[0].refused_for("one more") is None


async def test_one_odd_question_refuses_nothing_however_often(fleet: Fleet) -> None:
    for process in range(3):
        await fleet.land(process, refused("odd"))
    await fleet.beat()
    assert fleet.refused_for() == [None] * 3
    assert sum(breaker.refusals for breaker in fleet.breakers) == 3


async def test_another_processes_success_between_clears_the_suspicion(fleet: Fleet) -> None:
    for process, verdict in ((0, refused()), (1, ACCEPTED), (0, refused()), (2, ACCEPTED), (2, refused())):
        await fleet.land(process, verdict)
    await fleet.beat()
    assert fleet.refused_for() == [None] * 3
    await fleet.land(1, refused())
    assert fleet.breakers[1].refused_for("fp") == about(100)


async def test_one_tenants_odd_questions_refuse_nothing_to_another_that_uses_the_credential(fleet: Fleet) -> None:
    await fleet.land(0, ACCEPTED, "quiet")
    for process in (0, 1, 2, 0, 1):
        await fleet.land(process, refused(), "noisy")
    await fleet.beat()
    assert fleet.refused_for() == [None] * 3
    await fleet.land(2, refused(), "quiet")
    assert fleet.breakers[2].refused_for("fp") == about(100)


async def test_who_comes_to_a_credential_that_is_refused_on_anothers_evidence_alone_may_probe_at_once(
    fleet: Fleet,
) -> None:
    for question in ("odd", "strange"):
        await fleet.land(0, refused(question), "noisy")
    await fleet.beat()
    assert [await breaker.probe("fp", "new", "noisy") for breaker in fleet.breakers] == [False] * 3
    assert [await breaker.probe("fp", "new", "quiet") for breaker in fleet.breakers] == [True, False, False]
    assert not await fleet.breakers[0].probe("fp", "new", "quiet")
    await fleet.land(0, refused("new"), "quiet")
    assert fleet.breakers[0].refused_for("fp") == about(100)
    assert [await breaker.probe("fp", "other", "third") for breaker in fleet.breakers] == [False] * 3


async def test_alone_who_comes_to_a_credential_refused_on_anothers_evidence_may_probe_at_once() -> None:
    alone = Alone()
    for question in ("odd", "strange"):
        alone.breaker.judge(refused(question), "noisy")
    assert not await alone.breaker.probe("fp", "new", "noisy")
    assert await alone.breaker.probe("fp", "new", "quiet")
    assert not await alone.breaker.probe("fp", "new", "quiet")


async def test_alone_one_tenants_odd_questions_refuse_nothing_to_another() -> None:
    alone = Alone()
    for _ in range(5):
        alone.breaker.judge(refused(), "noisy", alone=False)
    assert alone.breaker.refused_for("fp") is None
    alone.breaker.judge(refused(), "quiet", alone=False)
    assert alone.breaker.refused_for("fp") == 100


def test_who_uses_a_credential_counts_for_some_time() -> None:
    evidence = Evidence(PauseRules(1.0))
    noisy, quiet = (Flow(name, credential="fp") for name in ("noisy", "quiet"))
    evidence.note_active(0.0, noisy)
    assert evidence.sole_user(0.0, noisy)
    evidence.note_active(1.0, quiet)
    assert not evidence.sole_user(1.0, noisy)
    assert evidence.sole_user(1.0 + ACTIVE, noisy)
    assert evidence.sole_user(1.0, Flow("noisy", credential="other"))


async def test_alone_one_odd_question_refuses_nothing_and_a_success_clears_the_suspicion() -> None:
    alone = Alone()
    for verdict in (refused("odd"), refused("odd"), ACCEPTED, refused(), ACCEPTED, None, refused()):
        alone.breaker.judge(verdict)
        assert alone.breaker.refused_for("fp") is None
    alone.breaker.judge(refused())
    assert alone.breaker.refused_for("fp") == 100


async def test_without_redis_each_process_judges_by_the_same_rules() -> None:
    alone = Alone()
    for pause in (100, 200, 350, 350):
        for _ in range(3):
            alone.breaker.judge(refused())
        assert alone.breaker.refused_for("fp") == pause
        assert not await alone.breaker.probe("fp")
        alone.now += pause
        assert alone.breaker.refused_for("fp") == 0
    assert await alone.breaker.probe("fp")
    assert not await alone.breaker.probe("fp")
    alone.now += 60
    assert await alone.breaker.probe("fp")
    alone.breaker.judge(ACCEPTED)
    assert alone.breaker.refused_for("fp") is None
    assert await alone.breaker.probe("fp")


async def test_a_question_that_was_refused_leaves_the_probe_to_others_for_as_long_again(fleet: Fleet) -> None:
    for question in ("odd", "strange"):
        await fleet.land(0, refused(question))
    await fleet.wait()
    assert [await breaker.probe("fp", "odd") for breaker in fleet.breakers] == [False] * 3
    assert await fleet.breakers[2].probe("fp", "ordinary")
    await fleet.land(2, ACCEPTED)
    assert fleet.breakers[2].refused_for("fp") is None


async def test_where_nobody_asks_anything_else_the_same_question_probes_in_the_end(fleet: Fleet) -> None:
    for question in ("odd", "strange"):
        await fleet.land(0, refused(question))
    await fleet.client.zadd(f"{fleet.prefix}:refused", {"fp": time.time() * 1e6 - 101e6})
    await fleet.beat()
    assert await fleet.breakers[0].probe("fp", "odd")


async def test_so_many_refused_questions_are_remembered(fleet: Fleet) -> None:
    for _ in range(MOST_SUSPECTED + 5):
        await fleet.land(0, refused())
    assert await fleet.client.hlen(f"{fleet.prefix}:suspected:fp") == MOST_SUSPECTED


async def test_alone_a_refused_question_leaves_the_probe_to_others_for_as_long_again() -> None:
    alone = Alone()
    for question in ("odd", "strange"):
        alone.breaker.judge(refused(question))
    alone.now += 100
    assert not await alone.breaker.probe("fp", "odd")
    assert await alone.breaker.probe("fp", "ordinary")
    alone.now += 100
    assert await alone.breaker.probe("fp", "odd")
