"""Scenery: an hour that a fleet might have had, told to Redis by the gateway's own parts, for pictures of it."""

from __future__ import annotations

import math
from random import Random

from pydantic import SecretStr

from gateway.observe.counters import MINUTE, SHOWN, DayCounters, MinuteCounters
from gateway.observe.outcome import Outcome
from gateway.redis import connect
from gateway.settings import Settings
from tests.observe.counting import answered

SECONDS = {
    Outcome.HIT: (0.0005, 0.4),
    Outcome.STALE: (0.0006, 0.5),
    Outcome.MISS: (0.35, 0.6),
    Outcome.COLLAPSED: (0.2, 0.7),
    Outcome.REVALIDATED: (0.15, 0.3),
    Outcome.REFUSED: (0.0003, 0.3),
}
"""Median and spread of how long an answer takes."""
SHARES = (8, 5, 3, 1)
"""Of the requests, the part of each tenant."""
HOURS = 3
"""How many such hours the day has had."""
CALLED = (Outcome.STALE, Outcome.MISS, Outcome.REVALIDATED)


async def an_hour(redis_url: str, prefix: str, keys: dict[str, str], now: float) -> None:
    """The hour before ``now``, of tenants with these four keys; it is the same each time."""
    draw = Random(5)
    client = connect(Settings(redis_url=SecretStr(redis_url)))
    moment = now
    pulse, usage = MinuteCounters(client, prefix, lambda: moment), DayCounters(client, prefix, 14)
    for back in range(SHOWN - 1, -1, -1):
        moment = now - back * MINUTE
        await pulse.flush()
        for outcome, count in _minute(draw, SHOWN - back, 1.0 if back else now % MINUTE / MINUTE).items():
            median, spread = SECONDS[outcome]
            for _ in range(count):
                answered(pulse, outcome, draw.lognormvariate(math.log(median), spread))
                if outcome in CALLED:
                    pulse.call()
                _use(usage, draw.choices(list(keys), SHARES)[0], outcome, keys)
    await pulse.flush()
    await usage.flush()
    await client.aclose()


def _use(usage: DayCounters, tenant: str, outcome: Outcome, keys: dict[str, str]) -> None:
    for _ in range(HOURS):
        answered(usage, outcome, tenant=tenant, key_id=keys[tenant][4:14])
        if outcome in CALLED:
            usage.call(tenant)


def _minute(draw: Random, number: int, part: float) -> dict[Outcome, int]:
    """So much of a minute. People come in waves, and at the half hour reports ask for what nobody asked before."""
    people = 190 + 70 * math.sin(number / 9) + draw.gauss(0, 14)
    report = 46 * math.exp(-(((number - 31) / 3.5) ** 2))
    counts = {
        Outcome.HIT: people,
        Outcome.STALE: abs(draw.gauss(4, 2)),
        Outcome.MISS: abs(draw.gauss(7, 3)) + report,
        Outcome.COLLAPSED: abs(draw.gauss(2, 2)) + report / 2,
        Outcome.REVALIDATED: abs(draw.gauss(1, 1)),
        Outcome.REFUSED: draw.choice((0, 0, 0, 1, 2)),
    }
    return {outcome: round(count * part) for outcome, count in counts.items()}
