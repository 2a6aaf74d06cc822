"""Before a service that behaves as it is feared to: what is derived is what its own world says, up to the first
difference that is found, and what differs is not trusted any more. Everything is trusted at first, undeservedly.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import combinations
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from gateway.derivation.plans import plan_of
from gateway.derivation.rules import Kind
from gateway.derivation.trust import State, Trust
from gateway.derivation.trust_store import Place
from gateway.proxy.deriving import ONE_IN, Deriver
from gateway.sandbox import Habits
from gateway.sandbox.service import Service
from tests.derivation.oracle import body_of, query, sources_of
from tests.integration.house import House, housed
from tests.integration.stage import Stage, staged
from tests.redis_server import RedisServer

SWITCHES: dict[str, dict[str, Any]] = {
    "arbitrary": {"order": "arbitrary"},
    "by time": {"order": "time"},
    "cut": {"count_limit": 20},
    "estimated": {"top_error": 0.3},
    "lagging": {"lag": 400},
    "elsewhere": {"zone": "Pacific/Auckland"},
    "revised": {"revise": 0.3},
    "null": {"empty": "null"},
    "braces": {"empty": "{}"},
}
CASES = [{}, *SWITCHES.values(), *(one | other for one, other in combinations(SWITCHES.values(), 2))]
ITEMS, REQUESTS = 60, 40
WINDOWS = (("2014-01-01", "2015-12-31"), ("2014-02-05", "2015-03-20"))


def questions() -> list[str]:
    """Everything that is asked: totals of items that there are and others, overviews, tops, and timelines."""
    today = datetime.now(UTC).date()
    windows = [*WINDOWS, ((today - timedelta(500)).isoformat(), today.isoformat())]
    counters, ids = ("views", "downloads", "shares"), range(1, ITEMS + 8)
    found = [f"/lboro/total/{counter}/article/{id}" for counter in counters for id in ids]
    found += [f"/lboro/total/article/{id}" for id in ids]
    found += [
        f"/lboro/top/{each}/{item}?count={n}"
        for each in counters
        for item in ("article", "group")
        for n in range(1, 30)
    ]
    return found + [
        f"/lboro/timeline/{by}/views/article/{id}?start_date={first}&end_date={last}"
        for by in ("day", "month", "year", "total")
        for id in (1, 2, 3, 4)
        for first, last in windows
    ]


@dataclass
class Visit:
    """What a run of requests got: wrong answers by subject, those of a subject that was found out before, and how
    many were derived."""

    wrong: Counter[str] = field(default_factory=Counter)
    late: list[str] = field(default_factory=list)
    found: set[str] = field(default_factory=set)
    derived: int = 0


async def visit(house: House, stage: Stage, service: Service, targets: list[str], draw: Random) -> Visit:
    """Ask for these, some of them insistingly, and compare each answer with the service's world."""
    visited, deriver = Visit(), house.resolver.derivations
    assert isinstance(deriver, Deriver)
    place = Place(stage.registry().load().tenants["lib"].credentials["lboro"].fingerprint, "lboro")
    await trust_all(deriver, place, targets)
    for target in targets:
        insists = {"Cache_Control": "no-cache"} if draw.random() < 0.2 else {}
        answer = await house.get(target, stage.keys["lib"], **insists)
        asked = query(target)
        derived = answer.headers["cache-status"].endswith(("detail=ranking", "detail=assembled"))
        visited.derived += derived
        if answer.content != body_of(service, asked):
            assert derived, f"{target}: an answer that was not derived differs"
            (subject,) = subjects_of(service, target)
            visited.wrong[subject] += 1
            visited.late += [subject] if subject in visited.found else []
        async with asyncio.timeout(20):
            while deriver.shadow.busy:
                await asyncio.sleep(0)
        known = await deriver.book.store.of(place, time.time())
        visited.found |= {each for each, trust in known.items() if trust.state is not State.TRUSTED}
    return visited


def subjects_of(service: Service, target: str) -> list[str]:
    """The subjects that derive an answer from what this service says."""
    plan = plan_of(query(target))
    assert plan is not None
    return [name for name, rule in plan.rules if rule.derived(query(target), sources_of(service, rule, target))]


def instead(trust: Trust, _: Trust) -> Trust:
    return trust


async def trust_all(deriver: Deriver, place: Place, targets: list[str]) -> None:
    """Trust every subject, in whatever order the service may write, as if it had not been checked for long."""
    for target in targets:
        plan = plan_of(query(target))
        for subject, rule in () if plan is None else plan.rules:
            styles = [
                each for each in rule.layout.styles if (each.comma, each.colon, each.end) == (", ", ": ", "")
            ]
            kinds = dict.fromkeys(Kind, rule.needed)
            trust = Trust(state=State.TRUSTED, row=rule.needed, kinds=kinds, styles=styles)
            await deriver.book.change(place, subject, partial(instead, trust))


async def compared(redis: RedisServer, habits: dict[str, Any], seed: int, many: int) -> Visit:
    """A visit of so many requests to a service with these habits."""
    words = [word for name, value in habits.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    draw, asked = Random(seed), questions()
    if many < len(asked):  # so few that they are about one thing
        about = draw.choice(("/total/views/", "/total/shares/", "/total/article/", "/top/views/", "/timeline/"))
        asked = [target for target in asked if about in target]
    targets = [draw.choice(asked) for _ in range(many)]
    known = Habits(**{"examples": False, "items": ITEMS} | habits)
    service = Service(1, habits=known, today=lambda: datetime.now(known.time_zone()).date())
    settings: dict[str, Any] = {
        "redis_url": SecretStr(redis.url),
        "redis_prefix": f"o{secrets.token_hex(4)}",
        "derive": "on",
    }
    with staged("--no-examples", "--items", str(ITEMS), *words) as stage:
        stage.tenant("lib", "lboro")
        async with housed(stage, **settings) as house:
            return await visit(house, stage, service, targets, draw)


@given(habits=st.sampled_from(CASES), seed=st.integers(0, 1_000_000))
def test_nothing_wrong_is_served_after_the_first_difference(
    shared_redis: RedisServer, habits: dict[str, Any], seed: int
) -> None:
    visited = asyncio.run(compared(shared_redis, habits, seed, REQUESTS))
    assert visited.late == []


WRONG = {
    "arbitrary": {"month-cut:views:article"},
    "cut": {"absent:views:article", "overview-absent:all:article"},
    "estimated": {"listed:views:article", "overview:all:article"},
    "lagging": {"listed:views:article", "overview:all:article"},
}
"""Rules that are wrong before a service with a switch, and are asked for so often that a check sees it."""


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["none", *SWITCHES])
def test_in_a_thousand_requests_the_right_rules_are_found_out(shared_redis: RedisServer, name: str) -> None:
    visited = asyncio.run(compared(shared_redis, SWITCHES.get(name, {}), 1, 1_000))
    assert visited.late == []
    assert visited.found >= WRONG.get(name, set())
    assert max(visited.wrong.values(), default=0) < ONE_IN
    if name not in WRONG:
        assert visited.wrong == Counter()
        assert visited.derived > 300
