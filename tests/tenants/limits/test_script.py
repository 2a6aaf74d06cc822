"""admit.lua on a real Redis against its model, whatever it is told."""

from __future__ import annotations

import asyncio
import secrets
from functools import partial
from typing import Literal, NamedTuple

import pytest
import redis.asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.tenants.lease import Demand
from gateway.tenants.limiter import RateLimiter
from gateway.tenants.ratelimit import UNSEEN, Grant, Report, Rules
from tests.clock_shim import ClockShim
from tests.redis_server import RedisServer
from tests.tenants.limits.account import Account

HOUR = 3_600.0
"""So long an interval that what comes back during a test is nothing."""
BRIEF = 1e-2
"""Requests of that interval by which a test's own duration may move a level."""


class Step(NamedTuple):
    """One demand, before which Redis may forget; it repeats one of the answers so far, or none."""

    forgets: bool
    wanted: int
    returned: int
    owed: int
    spent: int
    repeats: Literal["none", "first", "last"]


few = st.integers(0, 10)
steps = st.builds(
    Step, st.booleans(), st.integers(0, 30), few, few, few, st.sampled_from(["none", "first", "last"])
)


async def answered(admission: RateLimiter, subject: str, rules: Rules, demand: Demand) -> Grant:
    """The answer to one demand."""
    (grant,) = await admission._ask([subject], [rules], [demand])
    assert grant is not None
    return grant


@settings(max_examples=60)
@given(
    st.booleans(), st.integers(1, 25), st.just(0) | st.integers(1, 50), st.lists(steps, min_size=1, max_size=12)
)
def test_the_script_does_what_its_model_does(
    shared_redis: RedisServer, rate: bool, burst: int, most: int, asked: list[Step]
) -> None:
    asyncio.run(the_same(shared_redis.url, Rules(HOUR if rate else 0.0, burst, most), asked))


async def test_a_redis_that_forgot_adds_what_each_process_tells(shared_redis: RedisServer, prefix: str) -> None:
    """The oldest of what they heard is told first, and nothing that is told later makes up for it."""
    rules = Rules(HOUR, 1_000, 1_000)
    async with redis.asyncio.Redis.from_url(shared_redis.url, protocol=2) as client:
        admission = RateLimiter(client, prefix, lambda: 3)
        ask = partial(answered, admission, "reports", rules)
        heard = [(await ask(Demand(10, 0, Report(0.0, 0, 0, 0, UNSEEN)))).seen for _ in range(3)]
        await client.delete(*[name async for name in client.scan_iter(f"{prefix}:*")])
        told = [await ask(Demand(0, 0, Report(0.0, 7, 7, 7, seen))) for seen in heard]
        assert [each.seen.count for each in told] == [10 + 7, 20 + 14, 30 + 21]
        assert told[-1].level == pytest.approx(51 * HOUR, abs=HOUR * BRIEF)
        again = await ask(Demand(0, 0, Report(0.0, 0, 0, 0, told[0].seen)))
        assert again.seen.count == 51


async def test_what_was_told_is_counted_by_the_present_rate_and_known_as_long_as_it_counts(
    shared_redis: RedisServer, prefix: str
) -> None:
    """Else it would be counted again: where the rate was changed meanwhile, and where all of it was given back."""
    slow, slower = Rules(HOUR, 1_000, 0), Rules(2 * HOUR, 1_000, 0)
    async with redis.asyncio.Redis.from_url(shared_redis.url, protocol=2) as client:
        admission = RateLimiter(client, prefix, lambda: 2)
        ask = partial(answered, admission, "reports")
        first, last = [(await ask(slow, Demand(10, 0, Report(0.0, 0, 0, 0, UNSEEN)))).seen for _ in range(2)]
        (key,) = [name async for name in client.scan_iter(f"{prefix}:*")]
        await client.delete(key)
        await ask(slow, Demand(0, 10, Report(0.0, 0, 0, 0, first)))
        assert await client.pttl(key) > 9 * HOUR * 1_000
        again = await ask(slow, Demand(0, 0, Report(0.0, 0, 0, 0, first)))
        assert again.level == pytest.approx(0.0, abs=HOUR * BRIEF)
        told = await ask(slow, Demand(10, 0, Report(0.0, 0, 0, 0, last)))
        assert told.level == pytest.approx(20 * HOUR, abs=HOUR * BRIEF)
        await client.delete(key)
        await ask(slow, Demand(0, 0, Report(0.0, 0, 0, 0, first)))
        changed = await ask(slower, Demand(0, 0, Report(0.0, 0, 0, 0, last)))
        assert changed.level == pytest.approx(20 * HOUR, abs=HOUR * BRIEF)


async def the_same(url: str, rules: Rules, asked: list[Step]) -> None:
    key = secrets.token_hex(6)
    async with redis.asyncio.Redis.from_url(url, protocol=2) as client:
        admission, account = RateLimiter(client, key, lambda: 1), Account(rules)
        real: list[Grant] = []
        model: list[Grant] = []
        for step in asked:
            if step.forgets:
                account.forget()
                await client.delete("nothing", *[name async for name in client.scan_iter(f"{key}:*")])
            got = await answered(admission, "reports", rules, demand_of(step, real))
            expected = account.apply(demand_of(step, model), 0.0)
            assert (got.granted, got.seen.count) == (expected.granted, expected.seen.count)
            assert abs(got.level - expected.level) <= BRIEF * HOUR
            assert 0 < got.midnight <= 86_400
            assert (got.seen.born == demand_of(step, real).report.seen.born) == (
                expected.seen.born == demand_of(step, model).report.seen.born
            )
            real.append(got)
            model.append(expected)


def demand_of(step: Step, heard: list[Grant]) -> Demand:
    seen = UNSEEN
    if heard and step.repeats != "none":
        seen = heard[0 if step.repeats == "first" else -1].seen
    return Demand(step.wanted, step.returned, Report(0.0, step.owed, step.owed, step.spent, seen))


@pytest.mark.parametrize("step", [-600.0, -86_400.0, -6 * 365 * 86_400.0, 600.0])
async def test_when_redis_clock_steps_a_caller_waits_no_longer_and_has_no_second_day(
    stepped_redis: RedisServer, clock: ClockShim, prefix: str, step: float
) -> None:
    rules = Rules(1.0, 5, 20)
    async with redis.asyncio.Redis.from_url(stepped_redis.url, protocol=2) as client:
        admission = RateLimiter(client, prefix, lambda: 1)
        ask = partial(answered, admission, "reports", rules)
        full = await ask(Demand(5, 0, Report(0.0, 0, 0, 0, UNSEEN)))
        clock.step(step)
        after = await ask(Demand(1, 0, Report(0.0, 0, 0, 0, full.seen)))
        assert after.level <= 5.0
        assert after.seen.count >= full.seen.count
        used = await ask(Demand(30, 0, Report(0.0, 0, 15, 15, full.seen)))
        clock.step(-abs(step))
        assert (await ask(Demand(1, 0, Report(0.0, 0, 0, 0, used.seen)))).granted == 0
