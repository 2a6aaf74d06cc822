"""Isolation: nobody ever gets bytes that were fetched with a credential they do not hold."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx2 as httpx
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from gateway.tenants.tenant import Pair
from tests.integration.house import House, housed
from tests.integration.stage import Stage, staged
from tests.loopback import LOOPBACK

WINDOW = "start_date=2014-01-01&end_date=2014-02-01"
PATHS = (
    f"/{{}}timeline/day/views/article/3?{WINDOW}",
    f"/{{}}breakdown/month/downloads/group/2?{WINDOW}",
    f"/{{}}top/views/article?{WINDOW}",
    "/{}total/views/article/3",
    "/{}no/such/endpoint",
    f"/{{}}timeline/day/views/article/3?sub_item=category&{WINDOW}",
)
PLACES = ("", "lboro/", "monash/")
HOLDS = {
    "lboro": {"lboro": "sandbox-lboro"},
    "monash": {"monash": "sandbox-monash"},
    "wrong": {"lboro": "not-the-password"},
    "both": {"lboro": "sandbox-lboro", "monash": "not-the-password"},
    "none": {},
}
FORBIDDEN = b'{"data": null, "code": "Forbidden", "message": "Unauthorized request"}'

Answer = tuple[int, bytes]


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged("--no-examples") as stage:
        for name, pairs in HOLDS.items():
            stage.tenant(name)
            for institution, password in pairs.items():
                stage.registry().add(name, None, Pair(institution, institution, password))
        yield stage


def from_the_service(stage: Stage, holder: str, place: str, path: str) -> Answer:
    """What the service itself answers with the credential that this tenant holds, or with none."""
    institution = place.rstrip("/")
    password = HOLDS[holder].get(institution)
    auth = None if password is None else (institution, password)
    answer = httpx.get(stage.sandbox.url + path.format(place), auth=auth, **LOOPBACK, timeout=20)
    return answer.status_code, answer.content


class Visits(RuleBasedStateMachine):
    """Tenants ask in any order, near the cache and far from it; each always gets what the service gives them."""

    stage: Stage
    expected: dict[tuple[str, str, str], Answer]

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.context: AbstractAsyncContextManager[House] = housed(self.stage)
        self.house = self.loop.run_until_complete(self.context.__aenter__())

    def teardown(self) -> None:
        self.loop.run_until_complete(self.context.__aexit__(None, None, None))
        self.loop.close()

    @initialize()
    def nothing_yet(self) -> None:
        assert self.house.resolver.queue.flights == 0

    @rule(holder=st.sampled_from(sorted(HOLDS)), place=st.sampled_from(PLACES), path=st.sampled_from(PATHS))
    def one_asks(self, holder: str, place: str, path: str) -> None:
        self.check(holder, place, path, self.loop.run_until_complete(self.ask(holder, place, path)))

    @rule(
        holders=st.lists(st.sampled_from(sorted(HOLDS)), min_size=2, max_size=5),
        place=st.sampled_from(PLACES),
        path=st.sampled_from(PATHS),
    )
    def many_ask_at_once(self, holders: list[str], place: str, path: str) -> None:
        async def together() -> list[httpx.Response]:
            return await asyncio.gather(*(self.ask(holder, place, path) for holder in holders))

        for holder, answer in zip(holders, self.loop.run_until_complete(together()), strict=True):
            self.check(holder, place, path, answer)

    @rule(holder=st.sampled_from(sorted(HOLDS)), place=st.sampled_from(PLACES), path=st.sampled_from(PATHS))
    def an_administrator_looks(self, holder: str, place: str, path: str) -> None:
        told = self.loop.run_until_complete(self.explored(holder, place, path))
        assert told["tenant"] == holder
        self.compare(holder, place, path, (told["status"], told["body"].encode()))

    @rule()
    def the_near_cache_is_forgotten(self) -> None:
        self.house.resolver.store.near.clear()

    async def ask(self, holder: str, place: str, path: str) -> httpx.Response:
        return await self.house.get(path.format(place), self.stage.keys[holder])

    async def explored(self, holder: str, place: str, path: str) -> Any:
        answer = await self.house.explore(path.format(place), holder)
        assert answer.status_code == 200
        return answer.json()

    def check(self, holder: str, place: str, path: str, answer: httpx.Response) -> None:
        self.compare(holder, place, path, (answer.status_code, answer.content))

    def compare(self, holder: str, place: str, path: str, answer: Answer) -> None:
        asked = (holder, place, path)
        if asked not in self.expected:
            self.expected[asked] = from_the_service(self.stage, *asked)
        assert answer == self.expected[asked], asked


def test_no_sequence_of_requests_crosses_a_scope(stage: Stage) -> None:
    machine = type("Visits", (Visits,), {"stage": stage, "expected": {}})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=40 if settings.get_current_profile_name() == "exhaustive" else 10,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


async def test_a_wrong_password_gets_the_services_403_from_a_warm_cache(stage: Stage) -> None:
    target = PATHS[0].format("lboro/")
    async with housed(stage) as house:
        warm = await house.get(target, stage.keys["lboro"])
        assert warm.status_code == 200
        refused = await house.get(target, stage.keys["wrong"])
        assert (refused.status_code, refused.content) == (403, FORBIDDEN)
        assert "proxy-status" not in refused.headers


async def test_equal_pairs_share_one_answer(stage: Stage) -> None:
    target = PATHS[0].format("lboro/")
    stage.reset_calls()
    async with housed(stage) as house:
        await house.get(target, stage.keys["lboro"])
        shared = await house.get(target, stage.keys["both"])
    assert "; hit" in shared.headers["cache-status"]
    assert stage.calls()["total"] == 1


async def test_anothers_protected_query_is_refused_without_a_call(stage: Stage) -> None:
    stage.reset_calls()
    async with housed(stage) as house:
        refused = await house.get(PATHS[0].format("monash/"), stage.keys["lboro"])
    assert (refused.status_code, refused.content) == (403, FORBIDDEN)
    assert refused.headers["proxy-status"].startswith("stats-gateway; error=http_request_denied")
    assert stage.calls()["total"] == 0


async def test_anothers_totals_go_through_without_a_credential(stage: Stage) -> None:
    async with housed(stage) as house:
        answer = await house.get("/monash/total/views/article/3", stage.keys["lboro"])
    assert answer.status_code == 200


async def test_keyed_answers_are_private_and_vary_on_the_key(stage: Stage) -> None:
    async with housed(stage, allow_anonymous=True) as house:
        keyed = await house.get("/total/views/article/3", stage.keys["lboro"])
        anonymous = await house.get("/total/views/article/3")
    assert keyed.headers["cache-control"].startswith("private, max-age=")
    assert anonymous.headers["cache-control"].startswith("public, max-age=")
    assert keyed.headers["vary"] == anonymous.headers["vary"] == "X-API-Key, Authorization"
