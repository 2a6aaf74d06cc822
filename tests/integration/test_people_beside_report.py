"""People with dashboards beside a report of many calls, by the clock: a miss hardly waits longer.

Two fleets run side by side, each with a service of its own. The same crowd asks both for the same at the same
moments. One of them makes a report meanwhile, which goes on at its share. The figures are printed with ``-s``.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2 as httpx
import pytest

from benchmarks.crowd import Answers, ask_together
from benchmarks.load import Client
from tests.integration.stage import Stage, staged
from tests.loopback import LOOPBACK
from tests.redis_server import RedisServer

pytestmark = pytest.mark.serial

RATE, BURST, SHARE = 2, 5, 0.1
LATENCY = 0.2
LOAD = 0.66
"""The part of the budget that people's misses take."""
PAGE = (1, 5)
"""Questions of a dashboard that nobody has asked yet, at least and at most."""
VIEWERS = 4
"""People who look at it at once."""
FULL = BURST / RATE + 1.0
"""Seconds after which an idle budget is full."""
TARGET = "/lboro/timeline/month/views/article/{}?start_date=2014-01-01&end_date=2014-06-30"
FIRST = TARGET.format(3999)
"""What is asked before anything is measured: a budget that nobody has used yet begins empty."""
MOST = 1.2
REPORT = {"institution": "lboro", "ids": list(range(1, 2001)), "counters": ["views"], "method": "each"}


@dataclass(frozen=True)
class Length:
    """Of a drill in seconds; and by how many a busy machine may delay a miss."""

    seconds: float
    busy: float


lengths = pytest.mark.parametrize(
    "length",
    [
        pytest.param(Length(14, 0.5), id="short"),
        pytest.param(Length(140, 0.0), id="long", marks=pytest.mark.drill),
    ],
)


@contextmanager
def fleet(redis: RedisServer, prefix: str) -> Iterator[Stage]:
    """Two gateways in front of a service of their own."""
    settings: dict[str, Any] = {"redis_url": redis.url, "redis_prefix": prefix, "fleet_size": 2}
    settings |= {"budget": f"{RATE}/s", "budget_burst": BURST, "jobs_share": SHARE, "caller_timeout": 60}
    words = ("--no-examples", "--items", "4000", "--latency", str(LATENCY))
    with staged(*words, log_level="warning", **settings) as stage:
        stage.tenant("people", "lboro")
        stage.tenant("reports", "lboro")
        stage.serve_several(2)
        yield stage
        for gateway in stage.gateways:
            gateway.kill()  # else it would first make the calls that are queued


def pages(seconds: float) -> list[tuple[float, list[str]]]:
    """When dashboards are opened, and what they ask for that is not stored."""
    dice, numbers = random.Random(4), itertools.count(1)
    at, found = 0.0, list[tuple[float, list[str]]]()
    mean = sum(PAGE) / 2 / RATE / LOAD
    while (at := at + dice.expovariate(1 / mean)) < seconds:
        questions = [next(numbers) for _ in range(dice.randint(*PAGE))]
        found.append((at, [TARGET.format(each) for each in questions]))
    return found


async def crowd(stage: Stage, seconds: float) -> Answers:
    """What people get who open these dashboards."""
    loop, key = asyncio.get_running_loop(), stage.keys["people"]
    begun, asked = loop.time(), []
    for number, (at, targets) in enumerate(pages(seconds)):
        await asyncio.sleep(begun + at - loop.time())
        port = stage.gateways[number % 2].port
        asked += [asyncio.create_task(ask_together(Client(port, key, (target,)), VIEWERS)) for target in targets]
    answers = await asyncio.gather(*asked)
    statuses = sum((each.statuses for each in answers), Counter[int]())
    return Answers(statuses, sorted(itertools.chain.from_iterable(each.seconds for each in answers)))


def ordered(stage: Stage) -> str:
    """The address of a report's job that is under way."""
    headers = {"X-API-Key": stage.keys["reports"], "Accept": "application/json"}
    url = stage.gateways[0].url
    answer = httpx.post(url + "/-/reports", json=REPORT, headers=headers, timeout=60, **LOOPBACK)
    assert answer.status_code == 202, answer.text
    return url + answer.headers["location"]


def calls(stage: Stage, job: str) -> int:
    """The calls that a report has made."""
    headers = {"X-API-Key": stage.keys["reports"], "Accept": "application/json"}
    view = json.loads(httpx.get(job, headers=headers, timeout=60, **LOOPBACK).text)
    assert view["state"] == "running"
    return int(view["calls"])


def at_most(answers: Answers, share: float) -> float:
    """Seconds that this share of the answers took at most."""
    return answers.seconds[min(len(answers.seconds) - 1, int(share * len(answers.seconds)))]


def described(answers: Answers) -> str:
    half, p95, slowest = (at_most(answers, share) for share in (0.5, 0.95, 1.0))
    return f"{len(answers.seconds)} answers, half within {half:.2f} s, p95 {p95:.2f} s, slowest {slowest:.2f} s"


@lengths
async def test_people_hardly_wait_longer_for_a_miss_and_the_report_goes_on(
    length: Length, shared_redis: RedisServer, prefix: str
) -> None:
    with ExitStack() as stages:
        alone, shared = (stages.enter_context(fleet(shared_redis, f"{prefix}{name}")) for name in ("a", "b"))
        for stage in (alone, shared):
            await ask_together(Client(stage.gateways[0].port, stage.keys["people"], (FIRST,)), 1)
        job = await asyncio.to_thread(ordered, shared)
        await asyncio.sleep(FULL)
        before = await asyncio.to_thread(calls, shared, job)
        without, beside = await asyncio.gather(crowd(alone, length.seconds), crowd(shared, length.seconds))
        made = await asyncio.to_thread(calls, shared, job) - before
        total = shared.calls()["total"]
    print(f"\nwithout a report: {described(without)}\nbeside one:       {described(beside)}")
    print(f"the report: {made} calls in {length.seconds:.0f} s, of {total} in all")
    assert without.statuses == beside.statuses == {200: len(without.seconds)}
    assert made >= SHARE * RATE * length.seconds - 1
    assert at_most(beside, 0.95) <= MOST * at_most(without, 0.95) + length.busy
