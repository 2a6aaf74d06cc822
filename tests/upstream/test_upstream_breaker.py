"""The gate's rules: the same for the fleet's in Redis, on memory://, and for a process on its own."""

from __future__ import annotations

import pytest
import redis.asyncio

from gateway.upstream.credential_breaker import (
    ANSWERED,
    FAILED,
    LIMITED,
    NOTHING,
    REFUSED,
    RESET,
    Signal,
    SignalKind,
)
from gateway.upstream.flight import FlightRequest, Flow
from gateway.upstream.upstream_breaker import ENOUGH, UpstreamBreaker
from tests.upstream.houses import RULES, Fleet, House, Query, about, after, closed, out, told, wait


async def test_decision_9_a_block_closes_for_as_long_as_it_says(house: House) -> None:
    await closed(house, after(200))
    assert await house.closed_for() == about(200)
    assert await house.set_out(Query()) == "GateClosed"


@pytest.mark.parametrize(("asked", "given"), [(99_999, 350), (0, 10)])
async def test_a_pause_is_clamped(house: House, asked: float, given: float) -> None:
    await closed(house, after(asked))
    assert await house.closed_for() == pytest.approx(given, abs=2)


async def test_pauses_grow_with_each_probe_that_is_blocked(house: House) -> None:
    for pause in (100, 200, 350, 350):
        await closed(house, LIMITED)
        assert await house.closed_for() == about(pause)
        await wait(house)


async def test_an_answer_lets_pauses_begin_anew(house: House) -> None:
    for sign in (LIMITED, LIMITED, ANSWERED):
        await closed(house, sign)
        await wait(house)
    await closed(house, LIMITED)
    assert await house.closed_for() == about(100)


async def test_one_burst_is_one_block(house: House) -> None:
    await closed(house, LIMITED, LIMITED, LIMITED)
    assert await house.closed_for() == about(100)
    await wait(house)
    await closed(house, LIMITED)
    assert await house.closed_for() == about(200)


async def test_closing_only_extends(house: House) -> None:
    await closed(house, after(200), after(50), LIMITED)
    assert await house.closed_for() == about(200)


async def test_a_longer_block_extends(house: House) -> None:
    await closed(house, after(50), after(300))
    assert await house.closed_for() == about(300)


async def test_answers_to_those_who_set_out_before_open_nothing(house: House) -> None:
    await closed(house, after(200), ANSWERED, FAILED)
    assert await house.closed_for() == about(200)


async def test_after_the_pause_one_probe_sets_out_and_no_other(house: House) -> None:
    await closed(house, LIMITED)
    await wait(house)
    probe = await out(house)
    assert await house.set_out(Query()) == "GateClosed"
    assert await house.closed_for() == about(10)
    await house.land(probe, ANSWERED)
    assert await house.closed_for() == 0
    await out(house)
    await out(house)


@pytest.mark.parametrize("sign", [FAILED, NOTHING, RESET], ids=["failed", "silent", "reset"])
async def test_a_probe_that_learns_nothing_is_followed_by_another(house: House, sign: Signal) -> None:
    await closed(house, LIMITED)
    await wait(house)
    await closed(house, sign)
    await out(house)
    assert await house.set_out(Query()) == "GateClosed"


async def test_a_probe_that_is_lost_is_followed_by_another(house: House) -> None:
    await closed(house, LIMITED)
    await wait(house)
    lost = await out(house)
    assert await house.set_out(Query()) == "GateClosed"
    await house.lose(lost)
    await out(house)
    assert await house.set_out(Query()) == "GateClosed"


async def test_a_block_that_comes_in_while_the_probe_is_out_counts(house: House) -> None:
    early, slow = await out(house), await out(house)
    await house.land(early, LIMITED)
    await wait(house)
    probe = await out(house)
    await house.land(slow, after(300))
    await house.land(probe, ANSWERED)
    assert await house.closed_for() == about(300)


@pytest.mark.parametrize("sign", [RESET, REFUSED], ids=["reset", "refused"])
@pytest.mark.parametrize(
    ("between", "pause"),
    [
        pytest.param([], 100, id="three-in-a-row"),
        pytest.param([ANSWERED], 0, id="answered-between"),
        pytest.param([FAILED], 0, id="failed-between"),
        pytest.param([NOTHING], 100, id="silence-between"),
    ],
)
async def test_decision_9_the_third_in_a_row_closes_where_one_tenant_is_active(
    house: House, sign: Signal, between: list[Signal], pause: float
) -> None:
    for each in (sign, sign, *between):
        await told(house, each)
        assert await house.closed_for() == 0
    await told(house, sign)
    assert await house.closed_for() == about(pause)


async def test_a_refusal_says_how_long(house: House) -> None:
    for _ in range(ENOUGH):
        await told(house, Signal(SignalKind.REFUSED, 222))
    assert await house.closed_for() == about(222)


async def test_a_failure_or_silence_closes_nothing(house: House) -> None:
    await closed(house, FAILED, NOTHING, FAILED, ANSWERED)
    assert await house.closed_for() == 0


def test_what_the_fleet_says_goes_but_for_what_it_has_yet_to_hear() -> None:
    gate = UpstreamBreaker(RULES)
    gate.update(0.0, 50.0)
    assert gate.closed_for(10.0) == 40.0
    assert gate.unreported(10.0) == 0.0
    gate.judge(10.0, after(100), FlightRequest("x", Flow("t")))
    assert gate.unreported(10.0) == 100.0
    gate.update(20.0, 0.0)
    assert gate.closed_for(20.0) == 90.0
    gate.update(20.0, 95.0)
    assert gate.unreported(20.0) == 0.0
    gate.update(30.0, 0.0)
    assert gate.closed_for(30.0) == 0.0


async def test_a_redis_whose_clock_was_set_back_keeps_nobody_out_for_longer_than_the_longest(
    redis_client: redis.asyncio.Redis, prefix: str
) -> None:
    fleet = Fleet(redis_client, prefix)
    await closed(fleet, LIMITED)
    await redis_client.hset(fleet.key, "until", str(10**17))
    assert await fleet.closed_for() == about(350)


async def test_what_the_gate_keeps_does_not_stay_for_ever(redis_client: redis.asyncio.Redis, prefix: str) -> None:
    fleet = Fleet(redis_client, prefix)
    for sign in (RESET, RESET, REFUSED):
        await told(fleet, sign, credential="c")
        kept = [key async for key in redis_client.scan_iter(match=f"{prefix}:*")]
        assert all([await redis_client.pttl(key) > 0 for key in kept])
    assert 86_400_000 < await redis_client.pttl(fleet.key) <= 86_500_000
    await wait(fleet)
    await told(fleet, ANSWERED, credential="c")
    kept = [key async for key in redis_client.scan_iter(match=f"{prefix}:*")]
    assert {key.decode().split(":")[2] for key in kept} == {"done", "result", "callers", "credentials"} | {
        *("users", "paused", "pauses")
    }
