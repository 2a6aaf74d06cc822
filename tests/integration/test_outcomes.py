"""The outcome matrix: docs/outcomes.md, case by case, through the whole app and a real Redis.

Three processes' worth of gateway in each: one fetches what is stored, one is asked, and one that comes later tells
what was stored, and whether gate and credential are as the page says for the whole fleet.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any

import httpx2 as httpx
import pytest
from pydantic import SecretStr

from tests.integration import outcome_tables as tables
from tests.integration.house import FakeClock, House, housed
from tests.integration.outcome_tables import Case
from tests.integration.scripted_origin import MOODS, NEW, OLD, OLD_TAG, REPLIES, RETRY_AFTER, Script
from tests.integration.stage import Stage, staged
from tests.redis_server import RedisServer
from tests.selection import needed
from tests.upstream.origin import serving

WINDOW = "start_date=2026-03-01&end_date=2026-12-31"
TARGET = f"/lboro/timeline/day/views/article/1?{WINDOW}"
SIBLING = f"/lboro/timeline/day/views/article/2?{WINDOW}"
REFUSED = tuple(f"/lboro/timeline/day/views/article/{number}?{WINDOW}" for number in (3, 12))
BYSTANDER = f"/timeline/day/views/article/4?{WINDOW}"
BLOCKED = f"/timeline/day/views/article/5?{WINDOW}"
RESETS = tuple(f"/timeline/day/views/article/{number}?{WINDOW}" for number in (8, 9, 10))
TOTALS = "/lboro/total/views/article/11"
FILLERS = tuple(f"/timeline/day/views/article/{number}?{WINDOW}" for number in (6, 7))

NOW = 1_773_100_800.0
LIFE, ERROR_LIFE, FORBIDDEN_LIFE, WEEK = 900, 600, 10, 7 * 86_400
AGES = {"fresh": 100, "swr": 1_000, "sie": 172_800, "too-old": LIFE + WEEK + 100, "none": 0}
"""Seconds since the entry was fetched: an open window is fresh for 15 minutes, serves for as long again, and
stands in for a failure for a week."""

PAUSE = 30.0
"""Seconds for which the gate stays closed where the service does not say; longer than a case takes."""

SETTINGS: dict[str, dict[str, Any]] = {
    "timeout": {"read_timeout": 0.15},
    "slow": {"caller_timeout": 0.3},
    "queued": {"budget": "40/s", "budget_burst": 1},
    "full": {"budget": "1/h", "budget_burst": 1, "queue_max": 1},
}
"""A budget starts empty: the first call under ``queued`` waits for its slot, under ``full`` for ever."""

CASES = tables.cases()
USUAL = needed({case: (case.entry, case.mood, case.condition, case.source, case.cache_status) for case in CASES})
"""The others are for the exhaustive run."""
PARAMETERS = [
    pytest.param(case, id=case.name, marks=() if case in USUAL else pytest.mark.exhaustive) for case in CASES
]


@pytest.fixture(scope="module")
def registry() -> Iterator[Stage]:
    with staged() as stage:
        stage.tenant("reports", "lboro")
        yield stage


@dataclass
class Trial:
    """One case at work: a gateway, how to start another beside it, their origin, and the clock they are on."""

    house: House
    gateway: Callable[..., AbstractAsyncContextManager[House]]
    script: Script
    clock: FakeClock
    key: str
    flying: int = 0

    async def get(self, target: str, **headers: str) -> httpx.Response:
        return await self.house.get(target, self.key, **headers)

    async def settled(self) -> None:
        """Waits until all flights have landed but those that the case holds up."""
        async with asyncio.timeout(20):
            while self.house.resolver.queue.flights > self.flying:
                await asyncio.sleep(0.005)

    async def told(self, target: str) -> tuple[httpx.Response, int]:
        """An answer, and how many calls it cost by the time all has settled."""
        before = self.script.calls(target)
        answer = await self.get(target)
        self.script.release.set()
        await self.settled()
        return answer, self.script.calls(target) - before

    @asynccontextmanager
    async def beside(self, **settings: Any) -> AsyncIterator[Trial]:
        """Another process of the fleet, which knows only what Redis holds."""
        async with self.gateway(**settings) as house:
            yield replace(self, house=house, flying=0)


@asynccontextmanager
async def tried(case: Case, registry: Stage, redis: RedisServer, prefix: str) -> AsyncIterator[Trial]:
    """A gateway that finds the case's entry in Redis, and a fresh one beside it in the same scope."""
    clock, script, key = FakeClock(NOW), Script(), registry.keys["reports"]
    async with serving(script.behave) as origin:
        gateway = partial(
            housed,
            registry,
            clock,
            upstream=origin.url,
            redis_url=SecretStr(redis.url),
            redis_prefix=prefix,
            gate_pause=PAUSE,
        )
        async with gateway() as house:
            if case.entry != "none":
                await house.get(TARGET, key)
            clock.time += AGES[case.entry]
            await house.get(SIBLING, key)
        script.moods[TARGET] = case.mood
        async with gateway(**settings_of(case)) as house:
            trial = Trial(house, gateway, script, clock, key)
            async with CONDITIONS[case.condition](trial):
                yield trial


def settings_of(case: Case) -> dict[str, Any]:
    """Short timeouts only where the service is asked, so that a busy machine changes no outcome."""
    return (SETTINGS.get(case.mood, {}) if case.calls else {}) | SETTINGS.get(case.condition, {})


@asynccontextmanager
async def as_it_is(_: Trial) -> AsyncIterator[None]:
    yield


@asynccontextmanager
async def full(trial: Trial) -> AsyncIterator[None]:
    """Of two requests where one may wait, the other's refusal says that the queue is full."""
    fillers = {asyncio.create_task(trial.get(target)) for target in FILLERS}
    done, waiting = await asyncio.wait(fillers, return_when=asyncio.FIRST_COMPLETED)
    assert [code(task.result()) for task in done] == ["GatewayQueueFull"]
    trial.flying = 1
    yield
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


@asynccontextmanager
async def gate_closed(trial: Trial) -> AsyncIterator[None]:
    trial.script.moods[BLOCKED] = "429-retry-after"
    assert (await trial.get(BLOCKED)).status_code == 429
    yield


@asynccontextmanager
async def credential_refused(trial: Trial) -> AsyncIterator[None]:
    for target in REFUSED:
        trial.script.moods[target] = "403-json"
        assert (await trial.get(target)).status_code == 403
    yield


@asynccontextmanager
async def target_refused(trial: Trial) -> AsyncIterator[None]:
    """A client that wishes for a fresh answer met it."""
    mood, trial.script.moods[TARGET] = trial.script.moods[TARGET], "403-html"
    calls = trial.script.calls(TARGET)
    await trial.get(TARGET, Cache_Control="no-cache")
    assert trial.script.calls(TARGET) == calls + 1
    trial.script.moods[TARGET] = mood
    yield


CONDITIONS = {
    "free": as_it_is,
    "queued": as_it_is,
    "full": full,
    tables.GATE_CLOSED: gate_closed,
    tables.REFUSED: credential_refused,
    tables.TARGET_REFUSED: target_refused,
}


def test_the_page_has_every_case_once() -> None:
    expected = [f"{e}/{m}/{b}" for e, m, b in product(tables.ENTRIES, MOODS, tables.BUDGETS)]
    conditions = (tables.GATE_CLOSED, tables.REFUSED, tables.TARGET_REFUSED)
    expected += [f"{e}/ok/{c}" for e, c in product(tables.ENTRIES, conditions)]
    assert sorted(case.name for case in CASES) == sorted(expected)


@pytest.mark.parametrize("case", PARAMETERS)
async def test_decision_7_outcome(case: Case, registry: Stage, shared_redis: RedisServer, prefix: str) -> None:
    async with tried(case, registry, shared_redis, prefix) as trial:
        answer, calls = await trial.told(TARGET)
        assert cache_status(answer) == case.cache_status
        check_answer(case, answer)
        assert calls == case.calls
        check_validator(case, trial.script)
        if case.afterwards:
            async with trial.beside(**SETTINGS.get(case.condition, {})) as other:
                await check_afterwards(case, other)


def cache_status(answer: httpx.Response) -> str:
    """The header with ``n`` for seconds, and without the cache's name."""
    value = answer.headers["cache-status"].removeprefix("stats-gateway; ")
    return re.sub(r"ttl=(-?)\d+", r"ttl=\1n", value)


def ttl(answer: httpx.Response) -> int | None:
    """The seconds in ``Cache-Status`` of what is stored."""
    found = re.search(r"; ttl=(-?\d+)", answer.headers["cache-status"])
    return None if found is None else int(found[1])


def code(answer: httpx.Response) -> str:
    """The ``code`` of an answer in the service's error shape, empty for any other answer."""
    return str(answer.json().get("code", ""))


def left(case: Case) -> int:
    return LIFE - AGES[case.entry]


def check_answer(case: Case, answer: httpx.Response) -> None:
    """Status, and whose body it is."""
    assert answer.status_code == case.status
    match case.source:
        case "the entry":
            assert answer.text == OLD
            assert ttl(answer) in (left(case), None)
        case "the service":
            reply = REPLIES[case.mood]
            assert (answer.text, answer.headers["content-type"]) == (reply.body, reply.kind)
            assert "proxy-status" not in answer.headers
            if case.mood == "429-retry-after":
                assert answer.headers["retry-after"] == str(RETRY_AFTER)
        case refusal:
            assert code(answer) == refusal
            assert "proxy-status" in answer.headers
            assert case.status != 503 or int(answer.headers["retry-after"]) >= 1


def check_validator(case: Case, script: Script) -> None:
    """Only for an entry that is still kept is the service asked whether it has changed (RFC 9110 §13.1.2)."""
    if case.calls:
        asks = f"if-none-match: {OLD_TAG}".encode() in script.asked[TARGET][-1].lower()
        assert asks == (case.entry in ("swr", "sie"))


async def check_afterwards(case: Case, trial: Trial) -> None:
    """With a full queue nothing can be asked, so that the gate does not show."""
    if case.condition != "full":
        await check_gate(case, trial)
    await check_credential(trial)
    await check_stored(case, trial)


async def check_gate(case: Case, trial: Trial) -> None:
    """A request of nobody's credential, for what nobody has asked, tells whether the gate is closed."""
    answer, calls = await trial.told(BYSTANDER)
    if "gate closed" not in case.afterwards:
        assert (answer.status_code, calls) == (200, 1)
        return
    assert (code(answer), calls) == ("GatewayGateClosed", 0)
    pause = RETRY_AFTER if case.mood == "429-retry-after" else PAUSE
    assert pause / 2 < int(answer.headers["retry-after"]) <= pause


async def check_credential(trial: Trial) -> None:
    """A fresh entry in the same scope tells that one answer withholds nothing of it."""
    answer, calls = await trial.told(SIBLING)
    assert (answer.status_code, answer.text, ttl(answer), calls) == (200, OLD, LIFE, 0)


async def check_stored(case: Case, trial: Trial) -> None:
    """What the same request finds, where the service would only say 500."""
    trial.script.moods[TARGET] = "500"
    again, calls = await trial.told(TARGET)
    if "error record" in case.afterwards:
        assert (again.status_code, again.text, calls) == (int(case.mood[:3]), REPLIES[case.mood].body, 0)
        life = FORBIDDEN_LIFE if case.mood == "403-json" else ERROR_LIFE
        assert ttl(again) == life
        trial.clock.time += life + 1
        again, calls = await trial.told(TARGET)
        assert (again.status_code, again.text) == (
            (200, OLD) if "entry kept" in case.afterwards else (500, REPLIES["500"].body)
        )
        return
    if "target refused" in case.afterwards:
        assert calls == 0
        assert case.status == 200 or code(again) == "GatewayTargetRefused"
    match next(iter(case.afterwards - {"gate closed", "target refused"})):
        case "entry kept":
            assert (again.status_code, again.text, ttl(again)) == (200, OLD, left(case))
        case "entry replaced" | "entry stored":
            assert (again.status_code, again.text, ttl(again), calls) == (200, NEW, LIFE, 0)
        case "entry refreshed":
            assert (again.status_code, again.text, ttl(again), calls) == (200, OLD, LIFE, 0)
        case "nothing stored":
            assert (again.status_code, ttl(again)) in ((500, None), (503, None))
        case unknown:
            pytest.fail(f"the page says {unknown!r}")


async def test_decision_9_the_third_reset_in_a_row_closes_the_gate(
    registry: Stage, shared_redis: RedisServer, prefix: str
) -> None:
    case = next(case for case in CASES if case.name == "none/reset/free")
    async with tried(case, registry, shared_redis, prefix) as trial:
        for target in RESETS:
            trial.script.moods[target] = "reset"
            assert code(await trial.get(target)) == "GatewayUpstreamDisconnected"
        answer, calls = await trial.told(BYSTANDER)
    assert (code(answer), calls) == ("GatewayGateClosed", 0)


async def test_decision_7_totals_need_no_credential_and_go_on_while_it_is_refused(
    registry: Stage, shared_redis: RedisServer, prefix: str
) -> None:
    case = next(case for case in CASES if case.name == f"none/ok/{tables.REFUSED}")
    async with tried(case, registry, shared_redis, prefix) as trial:
        assert (await trial.get(TARGET)).status_code == 403
        answer, calls = await trial.told(TOTALS)
    assert (answer.status_code, calls) == (200, 1)
