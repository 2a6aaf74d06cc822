"""One limit across processes on one Redis, in good days and bad ones. Each prints its figures with ``-s``.

The short forms run with the tests, the long ones with ``make drill``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import pytest

from gateway.tenants.lease import PATIENCE
from gateway.tenants.tenant import TenantLimits
from tests.chaos_redis import ChaosProxy, chaos_proxy
from tests.redis_server import RedisServer, redis_server
from tests.tenants.limits.fleet import Event, pressed
from tests.tenants.limits.member import Tally

pytestmark = pytest.mark.serial

SHORT, LONG = 5.0, 60.0
EDGE = 0.3
"""Seconds by which processes begin and end apart."""
BUSY = 0.6
"""Seconds by which a busy machine may delay an answer; what waited for Redis's own deadline would wait longer."""
scales = pytest.mark.parametrize(
    "seconds", [pytest.param(SHORT, id="short"), pytest.param(LONG, id="long", marks=pytest.mark.drill)]
)

short = pytest.mark.parametrize("seconds", [SHORT])


@dataclass(frozen=True, slots=True)
class House:
    """A Redis of the test's own, behind a proxy."""

    server: RedisServer
    proxy: ChaosProxy

    def slow(self, seconds: float) -> None:
        self.proxy.delay = seconds


@pytest.fixture
def house(shared_redis: RedisServer) -> Iterator[House]:
    """Depends on the shared Redis only to be skipped where there is none."""
    with redis_server() as server, chaos_proxy(server.port) as proxy:
        yield House(server, proxy)


def drill(
    name: str,
    house: House,
    prefix: str,
    seconds: float,
    events: Sequence[Event] = (),
    *,
    fleet: int = 2,
    burst: int = 40,
    late: float = 0.0,
    lost: int = 0,
) -> None:
    """A rate of 20/s for each process, pressed with 500/s; says what was admitted, and whether it should be.

    Redis answers within ``late`` seconds, or not at all; it may take ``lost`` requests of each process and not say
    so.
    """
    rate = 20 * fleet
    limits = TenantLimits(requests_per_second=rate, burst=burst)
    tallies = pressed(house.proxy.url, prefix, limits, fleet, seconds, events)
    held(name, tallies, burst + rate * seconds, more=fleet + rate * (late + EDGE), less=fleet * lost)


def held(name: str, tallies: list[Tally], allowed: float, *, more: float, less: float = 0) -> None:
    """As many as are allowed, a tenth and so many less at worst, so many more; nobody waited long; no error."""
    admitted, longest = sum(each.admitted for each in tallies), max(each.longest for each in tallies)
    print(
        f"\n{name}: {admitted} of {allowed:.0f} admitted ({admitted / allowed - 1:+.1%}),"
        f" by process {[each.admitted for each in tallies]}, {sum(each.refused for each in tallies)} refused,"
        f" slowest answer {longest:.2f} s",
        flush=True,
    )
    assert not any(each.errors for each in tallies), tallies
    assert longest <= PATIENCE + BUSY
    assert 0.9 * allowed - less <= admitted <= allowed + more


@scales
def test_a_rate_holds_across_processes_within_a_tenth(house: House, prefix: str, seconds: float) -> None:
    drill("well", house, prefix, seconds)


@pytest.mark.exhaustive
@short
@pytest.mark.parametrize("delay", [0.2, 0.8])
def test_it_holds_where_redis_is_slow(house: House, prefix: str, delay: float, seconds: float) -> None:
    house.slow(delay)
    drill(f"slow by {1_000 * delay:.0f} ms", house, prefix, seconds, late=delay)


@scales
def test_it_holds_where_redis_turns_slow(house: House, prefix: str, seconds: float) -> None:
    events: list[Event] = [(0.3 * seconds, partial(house.slow, 0.6)), (0.6 * seconds, house.proxy.behave)]
    drill("slow by 600 ms for a while, burst of 3 s", house, prefix, seconds, events, fleet=3, burst=180, late=0.6)


@short
def test_it_holds_where_redis_is_killed_and_started_again(house: House, prefix: str, seconds: float) -> None:
    events: list[Event] = [(0.3 * seconds, house.server.kill), (0.6 * seconds, house.server.start)]
    drill("killed, then started empty, burst of 5 s", house, prefix, seconds, events, burst=200, late=1.0)


@pytest.mark.exhaustive
@short
def test_it_holds_where_redis_is_paused(house: House, prefix: str, seconds: float) -> None:
    events: list[Event] = [(0.3 * seconds, house.server.pause), (0.6 * seconds, house.server.resume)]
    drill("paused, burst of 5 s", house, prefix, seconds, events, burst=200, late=1.0, lost=20)


@pytest.mark.parametrize("trouble", ["none", "killed"])
def test_a_days_limit_holds_across_processes(house: House, prefix: str, trouble: str) -> None:
    """Killed, Redis forgets the day's count, and is told it again."""
    events: list[Event] = [(1.2, house.server.kill), (1.8, house.server.start)]
    limits = TenantLimits(requests_per_second=100, burst=100, requests_per_day=300)
    tallies = pressed(house.proxy.url, prefix, limits, 3, 5.0, events if trouble == "killed" else ())
    held(f"300 a day, {trouble}", tallies, 300, more=3 if trouble == "none" else 30)


def test_a_low_rate_is_exceeded_by_one_a_process_at_most(house: House, prefix: str) -> None:
    tallies = pressed(house.proxy.url, prefix, TenantLimits(requests_per_second=1, burst=1), 4, 6.0)
    assert 6 <= sum(each.admitted for each in tallies) <= 1 + 6 + 4 + 1, tallies
