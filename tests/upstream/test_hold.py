"""Hold and resume by hand: the whole fleet's gate, and one credential."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest
import redis.asyncio

from gateway.errors import GateClosed, Overload
from gateway.upstream.credential_breaker import (
    ANSWERED,
    FAILED,
    HELD,
    LIMITED,
    MOST,
    RESET,
    CredentialBreaker,
    CredentialSignal,
    PauseRules,
    Signal,
)
from gateway.upstream.credential_breaker import HELD as WITHHELD
from gateway.upstream.flight import FlightRequest, FlightResult, Flow
from gateway.upstream.pacing import Budget
from gateway.upstream.queue import Queue
from gateway.upstream.queue_state import QueueRules
from gateway.upstream.upstream_breaker import UpstreamBreaker
from tests.redis_server import RedisServer, redis_server
from tests.upstream.fleet import BRIEF, BRISK, LENGTHY, Fleet
from tests.upstream.test_queue import LONG, QUICK, UNLIMITED, until

PATIENT = QueueRules(beat=60, poll=60)
SPENT = Budget(600, 50)
"""A budget that is empty for the length of any test, until its record is set back; then it is ample."""


def status(landing: FlightResult) -> int | None:
    return None if landing.entry is None else landing.entry.status


async def kept(fleet: Fleet) -> list[str]:
    """What Redis keeps of holds and refusals."""
    kinds = ("gate", "onhold", "refused", "refusals", "probing")
    keys = [key.decode() async for key in fleet.client.scan_iter(match=f"{fleet.prefix}:*")]
    return [key for key in keys if key.split(":")[2] in kinds]


# The gate


async def test_a_hold_is_everyones_and_so_is_its_end(fleet: Fleet) -> None:
    one, two = await fleet.grow(2, rules=PATIENT)
    await fleet.listening()
    await one.hold_gate()
    assert one.gate.held
    await until(lambda: two.gate.held)
    for queue in (one, two):
        refused = await fleet.ask(queue, "a")
        assert isinstance(refused.error, GateClosed)
        assert "operator" in refused.error.message
        assert refused.error.retry_after == HELD
    assert fleet.service.calls == []
    await two.resume_gate()
    await until(lambda: one.gate_closed_for == two.gate_closed_for == 0)
    fleet.service.says(ANSWERED)
    assert status(await fleet.ask(one, "a")) == 200
    assert await kept(fleet) == []


async def test_a_hold_is_known_from_the_next_sign_of_life_and_to_newcomers(fleet: Fleet) -> None:
    (one,) = await fleet.grow(1)
    deaf = Queue(fleet.client, fleet.prefix, UNLIMITED, replace(QUICK, gate=BRISK))
    await one.hold_gate()
    assert not deaf.gate.held
    await deaf._heartbeat.beat()
    assert deaf.gate.held
    (late,) = await fleet.grow(1)
    assert late.gate.held
    await one.resume_gate()
    await deaf._heartbeat.beat()
    assert deaf.gate_closed_for == 0


async def test_while_held_nothing_sets_out_and_then_all_that_was_queued_does(fleet: Fleet) -> None:
    one, two = await fleet.grow(2, SPENT)
    tasks = await fleet.queued(one, "a", "b") + await fleet.queued(two, "c")
    await one.hold_gate()
    assert await fleet.idle()
    joined = fleet.ask(two, "a")
    await until(lambda: two.waiters == 2 and two._flights["a"].gen != "")
    assert await fleet.idle()
    assert fleet.service.calls == []
    fleet.service.says(*[ANSWERED] * 3)
    await two.resume_gate()
    assert [status(landing) for landing in await asyncio.gather(*tasks, joined)] == [200] * 4
    assert sorted(fleet.service.calls) == ["a", "b", "c"]


async def test_a_resume_tells_the_next_in_line_without_any_poll(fleet: Fleet) -> None:
    one, two = await fleet.grow(2, SPENT, PATIENT)
    await fleet.listening()
    tasks = await fleet.queued(two, "a")
    await one.hold_gate()
    assert await fleet.idle()
    fleet.service.says(ANSWERED)
    await one.resume_gate()
    assert status(await asyncio.wait_for(tasks[0], LONG)) == 200


@pytest.mark.parametrize(
    "signs",
    [
        pytest.param([ANSWERED], id="answered"),
        pytest.param([FAILED], id="failed"),
        pytest.param([BRIEF], id="blocked"),
        pytest.param([RESET], id="reset"),
        pytest.param([RESET] * 3, id="resets"),
    ],
)
async def test_a_hold_outlasts_what_flights_under_way_say(fleet: Fleet, signs: list[Signal]) -> None:
    one, two = await fleet.grow(2)
    flights = [fleet.ask(one, f"early{i}") for i in range(len(signs))]
    await until(lambda: len(fleet.service.calls) == len(signs))
    await two.hold_gate()
    fleet.service.says(*signs)
    await asyncio.gather(*flights)
    assert await fleet.client.pttl(f"{fleet.prefix}:{{queue}}:gate") == -1
    if await fleet.client.hexists(f"{fleet.prefix}:{{queue}}:gate", "until"):
        await fleet.pause_over()
    assert isinstance((await fleet.ask(two, "late")).error, GateClosed)
    await one._heartbeat.beat()
    assert one.gate.held
    assert len(fleet.service.calls) == len(signs)


async def test_a_probe_that_is_out_ends_no_hold_and_none_follows_it(fleet: Fleet) -> None:
    (one,) = await fleet.grow(1)
    fleet.service.says(BRIEF)
    await fleet.ask(one, "a")
    await until(lambda: one.gate_closed_for == 0)
    probe = fleet.ask(one, "probe")
    await until(lambda: fleet.service.calls == ["a", "probe"])
    await one.hold_gate()
    assert await fleet.client.pttl(f"{fleet.prefix}:{{queue}}:gate") == -1
    fleet.service.says(ANSWERED)
    assert status(await probe) == 200
    await fleet.pause_over()
    assert isinstance((await fleet.ask(one, "b")).error, GateClosed)
    assert one.gate.held
    assert fleet.service.calls == ["a", "probe"]


async def test_a_resume_ends_a_closing_by_a_block_at_once(fleet: Fleet) -> None:
    one, two = await fleet.grow(2, rules=PATIENT)
    await fleet.listening()
    fleet.service.says(LENGTHY)
    await fleet.ask(one, "a")
    await fleet.closed()
    await two.resume_gate()
    await until(lambda: one.gate_closed_for == two.gate_closed_for == 0)
    fleet.service.says(ANSWERED)
    assert status(await fleet.ask(one, "b")) == 200


def test_a_view_of_a_hold_does_not_end_by_itself_and_forgets_no_closing_that_is_yet_to_be_told() -> None:
    gate = UpstreamBreaker(BRISK)
    gate.update(0.0, -1.0)
    assert gate.closed_for(1e9) == HELD
    gate.judge(10.0, Signal(LIMITED.kind, 100.0), FlightRequest("x", Flow("t")))
    gate.judge(11.0, ANSWERED, FlightRequest("x", Flow("t")))
    assert gate.closed_for(12.0) == HELD
    assert gate.unreported(12.0) == 98.0
    gate.update(13.0, -1.0)
    assert gate.unreported(13.0) == 97.0
    gate.update(14.0, 0.0)
    assert not gate.held
    assert gate.closed_for(14.0) == 96.0


@pytest.fixture
def mortal() -> Iterator[RedisServer]:
    """A Redis that the test may stop."""
    with redis_server() as server:
        yield server


async def test_a_process_that_loses_redis_keeps_to_the_hold(mortal: RedisServer, prefix: str) -> None:
    client = redis.asyncio.Redis.from_url(mortal.url, protocol=2)
    fleet = Fleet(client, prefix)
    try:
        (one,) = await fleet.grow(1)
        await one.hold_gate()
        mortal.stop()
        await until(lambda: one.degraded)
        landing = await fleet.ask(one, "a")
        assert isinstance(landing.error, GateClosed)
        assert fleet.service.calls == []
    finally:
        await fleet.queues[0].stop(grace=0)
        await client.aclose()


# Credentials


async def test_a_held_credential_is_withheld_everywhere_until_it_is_resumed(fleet: Fleet) -> None:
    one, two = await fleet.grow(2, rules=PATIENT)
    await fleet.listening()
    await one.hold_credential("fp")
    await until(lambda: two.breaker.count == 1)
    (late,) = await fleet.grow(1)
    everyone = [one.breaker, two.breaker, late.breaker]
    assert [breaker.refused_for("fp") for breaker in everyone] == [WITHHELD] * 3
    assert [await breaker.probe("fp") for breaker in everyone] == [False] * 3
    assert [breaker.refused_for("another") for breaker in everyone] == [None] * 3
    assert await fleet.client.pttl(f"{fleet.prefix}:{{queue}}:onhold") == -1
    await fleet.listening()
    await two.resume_credential("fp")
    assert two.breaker.refused_for("fp") is None
    await until(lambda: not any(breaker.count for breaker in everyone))
    assert await kept(fleet) == []


@pytest.mark.parametrize("refused", [False, True], ids=["accepted", "refused"])
async def test_a_held_credential_outlasts_verdicts_on_it(fleet: Fleet, refused: bool) -> None:
    one, two = await fleet.grow(2)
    await one.hold_credential("fp")
    # A process that knows it as refused reports an acceptance.
    two.breaker.update("fp", 5.0)
    fleet.service.verdict = CredentialSignal("fp", refused=refused)
    fleet.service.says(ANSWERED)
    await fleet.ask(two, "a")
    for queue in (one, two):
        await queue._heartbeat.beat()
        assert queue.breaker.refused_for("fp") == WITHHELD
        assert not await queue.breaker.probe("fp")


async def test_a_process_that_has_not_heard_of_a_hold_gets_no_probe(fleet: Fleet) -> None:
    (one,) = await fleet.grow(1)
    deaf = Queue(fleet.client, fleet.prefix, UNLIMITED, replace(QUICK, gate=BRISK))
    await one.hold_credential("fp")
    deaf.breaker.update("fp", 0.0)
    assert not await deaf.breaker.probe("fp")
    assert deaf.breaker.refused_for("fp") == pytest.approx(WITHHELD, abs=20)


async def test_whoever_holds_or_resumes_knows_it_without_any_news(fleet: Fleet) -> None:
    deaf = Queue(fleet.client, fleet.prefix, UNLIMITED, replace(QUICK, gate=BRISK))
    await deaf.hold_credential("fp")
    assert deaf.breaker.refused_for("fp") == WITHHELD
    await deaf.resume_credential("fp")
    assert deaf.breaker.refused_for("fp") is None


async def test_a_resume_ends_a_refusal_at_once_and_pauses_begin_anew(fleet: Fleet) -> None:
    one, two = await fleet.grow(2, rules=PATIENT)
    await fleet.listening()
    for names in ("ab", "cd"):
        await fleet.refuse(one, *names)
        await until(lambda: two.breaker.count == 1)
        assert two.breaker.refused_for("fp") == pytest.approx(10, abs=5)
        await two.resume_credential("fp")
        await until(lambda: one.breaker.count == two.breaker.count == 0)


async def test_so_many_credentials_can_be_held_and_no_more(fleet: Fleet) -> None:
    (one,) = await fleet.grow(1)
    await fleet.client.hset(f"{fleet.prefix}:{{queue}}:onhold", mapping={f"fp{i}": "1" for i in range(MOST)})
    with pytest.raises(Overload):
        await one.hold_credential("one more")
    await one.hold_credential("fp1")
    await one._heartbeat.beat()
    assert one.breaker.refused_for("one more") is None
    assert one.breaker.count == MOST


async def test_without_redis_a_held_credential_stays_held() -> None:
    async def ask(fingerprint: str, question: str, tenant: str) -> tuple[bool, float | None]:
        raise AssertionError("nobody is asked about a held credential")

    breaker = CredentialBreaker(PauseRules(10.0), ask, clock=lambda: 0.0)
    breaker.replace({"fp": -1.0})
    breaker.judge(CredentialSignal("fp", refused=False))
    breaker.update("fp", None)
    assert breaker.refused_for("fp") == WITHHELD
    assert not await breaker.probe("fp")
    breaker.replace({})
    assert breaker.refused_for("fp") is None
