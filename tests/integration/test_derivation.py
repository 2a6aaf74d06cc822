"""Answers that follow from rankings: compared in shadow, served where they are trusted; before a real sandbox."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import count, cycle
from secrets import token_hex
from typing import Any

import pytest
from pydantic import SecretStr

from gateway.derivation.from_rankings import CHECKS
from gateway.derivation.plans import RULES, plan_of
from gateway.derivation.rules import Kind
from gateway.derivation.trust import Check, State, Trust, Verdict
from gateway.derivation.trust_store import Place
from gateway.proxy.callers import Requester
from gateway.proxy.deriving import Deriver
from gateway.proxy.shadow import AT_ONCE, permit_of
from gateway.settings import Settings
from gateway.upstream.pacing import Priority
from tests.derivation.oracle import query
from tests.integration.house import House, housed
from tests.integration.stage import Stage, get, staged
from tests.redis_server import RedisServer, redis_server

RANKING = "/lboro/top/{}/article?count=10000"
LISTED = "listed:views:article"


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged("--no-examples") as stage:
        stage.tenant("lib", "lboro")
        stage.tenant("guest")
        stage.tenant("outsider", "lboro", password="not-the-password")
        yield stage


@asynccontextmanager
async def deriving(stage: Stage, **settings: Any) -> AsyncIterator[House]:
    """A gateway with these settings; the sandbox's calls are counted anew."""
    stage.reset_calls()
    async with housed(stage, **{"derive": "shadow"} | settings) as house:
        yield house


def deriver_of(house: House) -> Deriver:
    found = house.resolver.derivations
    assert isinstance(found, Deriver)
    return found


async def settled(house: House) -> None:
    """Returns once all that was answered has been looked at."""
    async with asyncio.timeout(20):
        while deriver_of(house).shadow.busy:
            await asyncio.sleep(0)


async def loop(house: House, targets: Iterable[str], key: str) -> list[str]:
    """The Cache-Status of each, asked one after another; the bodies are those of the service."""
    found = []
    for target in targets:
        answer = await house.get(target, key)
        assert answer.status_code == 200, answer.text
        found.append(answer.headers["cache-status"].partition("; ")[2])
        await settled(house)
    return found


def totals(ids: Iterable[int], counter: str = "views") -> list[str]:
    return [f"/lboro/total/{counter}/article/{id}" for id in ids]


def scope_of(stage: Stage, tenant: str = "lib") -> str:
    """The scope of the library's credential, or another tenant's."""
    return stage.registry().load().tenants[tenant].credentials["lboro"].fingerprint


def by_rank(stage: Stage, counter: str) -> list[int]:
    """The articles of the library, the first in the ranking first."""
    return [int(id) for id in json.loads(said(stage, RANKING.format(counter)))["top"]]


def said(stage: Stage, target: str) -> bytes:
    """What the service itself says, at a cost of one call that the tests make."""
    return get(f"{stage.sandbox.url}{target}", auth=("lboro", "sandbox-lboro")).content


async def trust_in(house: House, stage: Stage, subject: str) -> Trust:
    """The trust in a subject, in the scope of the library."""
    deriver = deriver_of(house)
    return (await deriver.book.store.of(Place(scope_of(stage), "lboro"), deriver.book.now())).get(subject, Trust())


async def test_in_shadow_misses_are_compared_and_nothing_derived_is_served(stage: Stage) -> None:
    async with deriving(stage) as house:
        statuses = await loop(house, totals(range(1, 80)), stage.keys["lib"])
        assert all(status.startswith("fwd=uri-miss; stored") for status in statuses)
        targets = stage.calls()["targets"]
        assert [each for each in targets if "/top/" in each] == [RANKING.format("views")]
        assert len(targets) == 80
        trust = await trust_in(house, stage, LISTED)
        assert (trust.state, trust.checked) == (State.TRUSTED, trust.agreed)
        assert trust.agreed >= CHECKS
        again = await loop(house, totals(range(1, 4)), stage.keys["lib"])
        assert all(status.startswith("hit; ttl=") and "detail" not in status for status in again)


async def trusted(house: House, stage: Stage, *subjects: str, scope: str = "") -> None:
    """Trust in these subjects, as if they had been checked a moment ago."""
    deriver, now = deriver_of(house), time.time()
    place = Place(scope or scope_of(stage), "lboro")
    for subject in subjects:
        rule = next(rule for rule in RULES if rule.name == subject.partition(":")[0])
        styles = rule.layout.styles[:1]  # as the sandbox writes
        checks = [Check("/", Verdict.EQUAL, now)]
        kinds = dict.fromkeys(Kind, rule.needed)
        trust = Trust(state=State.TRUSTED, row=rule.needed, kinds=kinds, styles=list(styles), checks=checks)
        await deriver.book.change(place, subject, partial(_instead, trust))


def _instead(trust: Trust, _: Trust) -> Trust:
    return trust


async def test_once_trusted_a_loop_is_answered_from_one_ranking(stage: Stage) -> None:
    ids = by_rank(stage, "views")
    async with deriving(stage, derive="on") as house:
        await loop(house, totals(ids[:70]), stage.keys["lib"])
        assert (await trust_in(house, stage, LISTED)).state is State.TRUSTED
        stage.reset_calls()
        answers = [await house.get(target, stage.keys["lib"]) for target in totals(ids[70:100])]
        assert stage.calls()["total"] == 0
        for target, answer in zip(totals(ids[70:100]), answers, strict=True):
            assert answer.content == said(stage, target)
            assert answer.headers["content-type"] == "application/json; charset=UTF-8"
            status = answer.headers["cache-status"].partition("; ")[2]
            assert status.startswith("hit; ttl=")
            assert status.endswith("; detail=ranking")
        unchanged = await house.get(target, stage.keys["lib"], If_None_Match=answer.headers["etag"])
        assert unchanged.status_code == 304
        insisted = await house.get(target, stage.keys["lib"], Cache_Control="no-cache")
        assert insisted.headers["cache-status"].partition("; ")[2].startswith("fwd=uri-miss; stored")


async def test_three_different_misses_make_the_ranking_worth_asking_for(stage: Stage) -> None:
    ids = by_rank(stage, "views")
    async with deriving(stage, derive="on") as house:
        await trusted(house, stage, LISTED)
        statuses = await loop(house, totals([ids[0], ids[1], ids[1], ids[2], ids[3]]), stage.keys["lib"])
        assert [status.partition("; ttl")[0] for status in statuses[:3]] == ["fwd=uri-miss; stored"] * 2 + ["hit"]
        assert statuses[3] == "fwd=uri-miss; stored; detail=ranking"
        assert statuses[4].endswith("; detail=ranking")
        assert len(stage.calls()["targets"]) == 3


async def test_one_answer_in_fifty_is_the_services_own(stage: Stage) -> None:
    ids = by_rank(stage, "views")
    async with deriving(stage, derive="on") as house:
        await trusted(house, stage, LISTED)
        statuses = await loop(house, totals(ids[:110]), stage.keys["lib"])
        assert sum("detail=ranking" not in status for status in statuses) == 4  # two misses, and two checks
        assert (await trust_in(house, stage, LISTED)).agreed == 2


async def test_a_difference_ends_what_is_derived(stage: Stage) -> None:
    ids = by_rank(stage, "views")
    async with deriving(stage, derive="on") as house:
        await trusted(house, stage, LISTED)
        await loop(house, totals(ids[:3]), stage.keys["lib"])
        # The service answers the next question in another style; it is asked since the client insists.
        stage.plan(status=200, body='{"totals":7}', headers={"content-type": "application/json"})
        await house.get(totals(ids[3:4])[0], stage.keys["lib"], Cache_Control="no-cache")
        await settled(house)
        trust = await trust_in(house, stage, LISTED)
        assert (trust.state, trust.reason) == (State.SUSPENDED, "an answer is written in another style")
        statuses = await loop(house, totals(ids[4:9]), stage.keys["lib"])
        assert all(status.startswith("fwd=uri-miss; stored") for status in statuses)
        assert not any("detail" in status for status in statuses)


async def take_permit(house: House, stage: Stage) -> None:
    """Another process asks for this hour's ranking of views, for checks alone."""
    requester = Requester(b"", stage.registry().load().tenants["lib"])
    (source,) = plan_of(query(totals([1])[0])).sources  # type: ignore[union-attr]
    permit = permit_of(house.resolver.lookup(requester, source, []))
    assert await deriver_of(house).book.store.permit(permit, 3_600.0) == 0.0


async def test_a_source_that_fails_is_fallen_back_from_and_left_alone(stage: Stage) -> None:
    ids = by_rank(stage, "views")
    async with deriving(stage, derive="on") as house:
        await trusted(house, stage, LISTED)
        await take_permit(house, stage)
        await loop(house, totals(ids[:2]), stage.keys["lib"])
        stage.plan(status=500, body="no")
        statuses = await loop(house, totals(ids[2:6]), stage.keys["lib"])
        assert all(status.startswith("fwd=uri-miss; stored") for status in statuses)
        assert sum("/top/" in target for target in stage.calls()["targets"]) == 1


async def test_a_source_that_the_service_refuses_suspends(stage: Stage) -> None:
    ids = by_rank(stage, "views")
    async with deriving(stage, derive="on") as house:
        await trusted(house, stage, LISTED)
        await loop(house, totals(ids[:2]), stage.keys["lib"])
        error = json.dumps({"message": "no such top", "code": "NotFound", "data": None})
        stage.plan(status=404, body=error, headers={"content-type": "application/json"})
        await loop(house, totals(ids[2:4]), stage.keys["lib"])
        trust = await trust_in(house, stage, LISTED)
        assert (trust.state, trust.reason) == (State.SUSPENDED, "a source was answered 404")


async def test_what_a_refused_credential_brought_is_not_derived_from(stage: Stage) -> None:
    ids = by_rank(stage, "views")
    async with deriving(stage, derive="on") as house:
        await trusted(house, stage, LISTED)
        await loop(house, totals(ids[:3]), stage.keys["lib"])
        await house.resolver.queue.hold_credential(scope_of(stage))
        statuses = await loop(house, totals(ids[3:6]), stage.keys["lib"])
        assert all(status.startswith("fwd=uri-miss; stored") for status in statuses)
        assert not any("detail" in status for status in statuses)


async def test_overviews_tops_and_timelines_follow_as_well(stage: Stage) -> None:
    ids = by_rank(stage, "shares")
    window = "start_date=2014-01-01&end_date=2014-12-31"
    timelines = [f"/lboro/timeline/{by}/views/article/3?{window}" for by in ("day", "month", "year", "total")]
    overviews = [f"/lboro/total/article/{id}" for id in ids[:5]]
    subjects = [
        "overview:all:article",
        "prefix:views:group",
        *(f"{by}:views:article" for by in ("month", "year", "total")),
    ]
    tops = [f"/lboro/top/views/group?count={count}" for count in (2, 3, 4, 5)]
    async with deriving(stage, derive="on") as house:
        await trusted(house, stage, *subjects)
        for targets, asked, detail in (
            (overviews, 2, "ranking"),
            (tops, 2, "ranking"),
            (timelines, 1, "assembled"),
        ):
            answers = [await house.get(target, stage.keys["lib"]) for target in targets]
            assert [answer.content for answer in answers] == [said(stage, target) for target in targets]
            derived = [f"detail={detail}" in answer.headers["cache-status"] for answer in answers]
            assert derived == [False] * asked + [True] * (len(targets) - asked)


async def test_public_totals_are_derived_only_where_that_is_set(stage: Stage) -> None:
    ids = by_rank(stage, "views")
    async with deriving(stage, derive="on", public_totals_from_rankings=True) as house:
        await trusted(house, stage, LISTED, scope="public")
        statuses = await loop(house, totals(ids[:6]), stage.keys["guest"])
        assert ["detail=ranking" in status for status in statuses] == [False] * 2 + [True] * 4
        own = await loop(house, totals(ids[:1]), stage.keys["lib"])
        assert "detail" not in own[0]  # its own scope has to earn its own trust


async def test_a_guest_gets_nothing_out_of_the_rankings_of_others(stage: Stage) -> None:
    ids = by_rank(stage, "views")
    async with deriving(stage, derive="on") as house:
        await trusted(house, stage, LISTED)
        await trusted(house, stage, LISTED, scope="public")
        await loop(house, totals(ids[:4]), stage.keys["lib"])
        stage.reset_calls()
        statuses = await loop(house, totals(ids[4:12]), stage.keys["guest"])
        assert all(status.startswith("fwd=uri-miss; stored") for status in statuses)
        assert stage.calls()["targets"] == totals(ids[4:12])


async def test_another_credential_of_the_institution_gets_nothing_out_of_a_ranking(stage: Stage) -> None:
    ids = by_rank(stage, "views")
    async with deriving(stage, derive="on") as house:
        for tenant in ("lib", "outsider"):
            await trusted(house, stage, LISTED, scope=scope_of(stage, tenant))
        await loop(house, totals(ids[:4]), stage.keys["lib"])
        statuses = await loop(house, totals(ids[4:12]), stage.keys["outsider"])
        assert all(status.startswith("fwd=uri-miss; stored") for status in statuses)
        assert not any("detail" in status for status in statuses)


async def test_what_is_asked_once_for_all_does_not_follow_from_what_a_credential_brought(stage: Stage) -> None:
    ids = by_rank(stage, "views")
    async with deriving(stage, derive="on", totals_scope="public") as house:
        await trusted(house, stage, LISTED)
        await trusted(house, stage, LISTED, scope="public")
        statuses = await loop(house, totals(ids[:6]), stage.keys["lib"])
        assert not any("detail" in status for status in statuses)
        assert stage.calls()["targets"] == totals(ids[:6])


async def test_what_was_purged_does_not_follow_from_a_ranking_from_before(stage: Stage) -> None:
    ids = by_rank(stage, "views")
    async with deriving(stage, derive="on") as house:
        await trusted(house, stage, LISTED)
        await loop(house, totals(ids[:4]), stage.keys["lib"])
        await house.admin.post("/api/purge", json={"item": f"article/{ids[4]}"})
        statuses = await loop(house, totals(ids[4:6]), stage.keys["lib"])
        assert ["detail=ranking" in status for status in statuses] == [False, True]


async def test_off_is_off(stage: Stage) -> None:
    assert Settings().derive == "shadow"
    async with deriving(stage, derive="off") as house:
        assert house.resolver.derivations is None


async def underived(house: House, targets: Iterable[str], key: str) -> None:
    """Asks one after another, over and over, until two in a row are asked for themselves, of which a check is at
    most one: trust is looked up once a second."""
    own = 0
    async with asyncio.timeout(20):
        for target in cycle(targets):
            (status,) = await loop(house, [target], key)
            own = own + 1 if status.startswith("fwd=uri-miss") and "detail" not in status else 0
            if own == 2:
                return


async def test_what_one_process_finds_out_holds_for_the_others(stage: Stage, shared_redis: RedisServer) -> None:
    ids = by_rank(stage, "views")
    redis: dict[str, Any] = {"redis_url": SecretStr(shared_redis.url), "redis_prefix": f"d{token_hex(4)}"}
    async with deriving(stage, derive="on", **redis) as one, housed(stage, derive="on", **redis) as other:
        await trusted(one, stage, LISTED)
        await loop(one, totals(ids[:4]), stage.keys["lib"])
        assert "detail=ranking" in (await loop(other, totals(ids[4:5]), stage.keys["lib"]))[0]
        book, place = deriver_of(one).book, Place(scope_of(stage), "lboro")
        await book.change(place, LISTED, lambda trust: trust.suspended(book.now(), "why"))
        async with asyncio.timeout(20):
            while (await deriver_of(other).book.of(place))[LISTED].state is State.TRUSTED:
                await asyncio.sleep(0)
        assert "detail" not in (await loop(other, totals(ids[5:6]), stage.keys["lib"]))[0]


async def test_without_redis_nothing_is_derived(stage: Stage) -> None:
    ids = by_rank(stage, "views")
    with redis_server() as server:
        redis: dict[str, Any] = {"redis_url": SecretStr(server.url), "redis_timeout": 0.5}
        async with deriving(stage, derive="on", **redis) as house:
            await trusted(house, stage, LISTED)
            await loop(house, totals(ids[:4]), stage.keys["lib"])
            server.kill()
            await underived(house, totals(ids[4:50]), stage.keys["lib"])
            statuses = await loop(house, totals(ids[-3:]), stage.keys["lib"])
            assert all("fwd=uri-miss" in status and "detail" not in status for status in statuses)


async def test_a_redis_that_is_silent_takes_no_more_than_the_callers_time(stage: Stage) -> None:
    target, requester = totals(by_rank(stage, "views"))[0], Requester(b"", stage.registry().load().tenants["lib"])
    with redis_server() as server:
        redis: dict[str, Any] = {"redis_url": SecretStr(server.url), "redis_timeout": 60.0}
        async with deriving(stage, derive="on", **redis) as house:
            await trusted(house, stage, LISTED)
            server.pause()
            lookup, deadline = house.resolver.lookup(requester, query(target), []), time.monotonic() + 0.2
            async with asyncio.timeout(20):
                assert await deriver_of(house).instead(lookup, (), deadline, Priority.PEOPLE, stale=None) is None
            server.resume()


async def test_what_waits_to_be_compared_is_bounded(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    async with deriving(stage) as house:
        answer = await house.get(totals([1])[0], stage.keys["lib"])
        assert answer.status_code == 200
        await settled(house)
        shadow, moments = deriver_of(house).shadow, count(time.monotonic() + 1_000.0, 1_000.0)
        monkeypatch.setattr("gateway.proxy.shadow.monotonic", lambda: next(moments))
        lookup = house.resolver.lookup(
            Requester(b"", stage.registry().load().tenants["lib"]), query(totals([1])[0]), []
        )
        entry = await house.resolver.stored(lookup)
        assert entry is not None
        for _ in range(3 * AT_ONCE):
            shadow.observed(lookup, entry, serves=False)
        assert len(shadow._seen) == AT_ONCE


@pytest.mark.parametrize(
    "settings", [{"derive_tenant": {"lib": "off"}}, {"derive_family": {"totals": "off"}}], ids=str
)
async def test_off_for_a_tenant_or_a_family_neither_compares_nor_asks(stage: Stage, settings: Any) -> None:
    async with deriving(stage, derive="on", **settings) as house:
        for target in totals(range(1, 8)):
            await house.get(target, stage.keys["lib"])
        await settled(house)
        assert stage.calls()["total"] == 7
        assert await trust_in(house, stage, LISTED) == Trust()


async def test_a_number_in_doubt_is_settled_by_one_more_ranking_at_once(stage: Stage) -> None:
    ids = by_rank(stage, "views")
    async with deriving(stage, derive="on") as house:
        await trusted(house, stage, LISTED)
        await loop(house, totals(ids[:3]), stage.keys["lib"])
        stage.plan(status=200, body='{"totals": 99999999}', content_type="application/json; charset=UTF-8")
        await house.get(totals(ids[3:4])[0], stage.keys["lib"], Cache_Control="no-cache")
        await settled(house)
        trust = await trust_in(house, stage, LISTED)
        assert (trust.state, trust.doubts, len(trust.differences)) == (State.UNTESTED, [], 1)
        assert trust.sample is not None
        assert trust.sample.told == b'{"totals": 99999999}'
        assert sum("/top/" in target for target in stage.calls()["targets"]) == 2


async def test_a_batch_is_answered_from_one_ranking_and_a_report_asks_for_each_item(stage: Stage) -> None:
    targets, key = totals(by_rank(stage, "views")[:8]), {"X-API-Key": stage.keys["lib"]}
    async with deriving(stage, derive="on") as house:
        await trusted(house, stage, LISTED)
        batch = await house.client.post("/-/batch", json={"targets": targets}, headers=key)
        assert stage.calls()["targets"].count(RANKING.format("views")) == 1
        assert len(stage.calls()["targets"]) < len(targets)
        answers = [line for line in map(json.loads, batch.text.splitlines()) if "body" in line]
        found = {line["target"]: line["body"] for line in answers}
        assert found == {target: json.loads(said(stage, target)) for target in targets}
        stage.reset_calls()
        ids = [int(target.rpartition("/")[2]) for target in targets]
        order = {"institution": "lboro", "item": "article", "ids": ids, "counters": ["views"], "method": "each"}
        report = await house.client.post("/-/reports", json=order, headers=key)
        assert report.status_code == 200
        assert sorted(stage.calls()["targets"]) == sorted(targets)
