"""The way of a request, through the whole app, in front of a sandbox that does as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx2 as httpx
import pytest

from tests.integration.house import FakeClock, House, housed
from tests.integration.stage import Stage, staged, until
from tests.loopback import LOOPBACK
from tests.redis_server import free_port

TARGET = "/lboro/timeline/day/views/article/5?start_date=2026-03-01&end_date=2026-03-09"
SWAPPED = "/lboro/timeline/day/views/article/5?end_date=2026-03-09&start_date=2026-03-01"
NOW = 1_773_100_800.0
DAY = 86_400.0
JSON = "application/json; charset=UTF-8"
FORBIDDEN = '{"message": "Unauthorized request", "code": "Forbidden", "data": null}'
BAD = '{"message": "Invalid", "code": "InvalidParams", "data": null}'


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Stage]:
    with staged("--no-examples") as stage:
        stage.tenant("reports", "lboro")
        yield stage


@pytest.fixture
def stage(sandbox: Stage) -> Iterator[Stage]:
    sandbox.reset_calls()
    yield sandbox
    sandbox.open_gate()
    httpx.delete(f"{sandbox.sandbox.url}/-/plan", **LOOPBACK)


def calls(stage: Stage) -> int:
    return int(stage.calls()["total"])


async def ask(house: House, stage: Stage, target: str = TARGET, **headers: str) -> httpx.Response:
    return await house.get(target, stage.keys["reports"], **headers)


@pytest.mark.parametrize(
    ("status", "kind", "body", "detail"),
    [
        (500, JSON, BAD, "upstream-500"),
        (503, JSON, BAD, "upstream-503"),
        (429, JSON, BAD, "upstream-429"),
        (403, "text/html", "<h1>Blocked</h1>", "upstream-403"),
        (200, "text/html", "<h1>Sorry</h1>", "upstream-200"),
    ],
)
async def test_a_stale_entry_stands_in_for_a_failure(
    stage: Stage, status: int, kind: str, body: str, detail: str
) -> None:
    clock = FakeClock(NOW)
    async with housed(stage, clock) as house:
        first = await ask(house, stage)
        clock.time += 2 * DAY
        stage.plan(status=status, content_type=kind, body=body, times=1)
        stale = await ask(house, stage)
        assert (stale.status_code, stale.content) == (200, first.content)
        assert stale.headers["cache-status"].endswith(f"detail={detail}")
        told = "" if status == 200 else f"; fwd-status={status}"
        assert f"; fwd=stale{told}; ttl=-" in stale.headers["cache-status"]
        clock.time += 8 * DAY
        stage.plan(status=status, content_type=kind, body=body, times=1)
        gone = await ask(house, stage)
    refused = {"upstream-429": "GatewayGateClosed", "upstream-403": "GatewayTargetRefused"}
    if detail in refused:
        assert (gone.status_code, gone.json()["code"]) == (503, refused[detail])
    else:
        assert (gone.status_code, gone.text, gone.headers["content-type"]) == (status, body, kind)


@pytest.mark.parametrize("status", [400, 404])
async def test_the_services_own_no_is_passed_on_and_remembered_apart(stage: Stage, status: int) -> None:
    clock = FakeClock(NOW)
    async with housed(stage, clock) as house:
        first = await ask(house, stage)
        clock.time += 2 * DAY
        stage.plan(status=status, content_type=JSON, body=BAD, times=1)
        refused = await ask(house, stage)
        again = await ask(house, stage)
        assert [(a.status_code, a.text) for a in (refused, again)] == [(status, BAD)] * 2
        assert calls(stage) == 2
        clock.time += 700
        back = await ask(house, stage)
    assert (back.status_code, back.content) == (200, first.content)
    assert calls(stage) == 3


async def test_an_error_answer_is_not_given_to_another_spelling(stage: Stage) -> None:
    async with housed(stage) as house:
        stage.plan(status=400, content_type=JSON, body=BAD, times=1)
        assert (await ask(house, stage)).status_code == 400
        assert (await ask(house, stage, SWAPPED)).status_code == 200
    assert calls(stage) == 2


@pytest.mark.parametrize(("status", "expected"), [(400, 2), (500, 1)])
async def test_in_one_flight_spellings_share_a_5xx_and_ask_for_themselves_after_a_4xx(
    stage: Stage, status: int, expected: int
) -> None:
    async with housed(stage) as house:
        stage.close_gate()
        stage.plan(status=status, content_type=JSON, body=BAD, times=1)
        tasks = [asyncio.create_task(ask(house, stage, target)) for target in (TARGET, SWAPPED)]
        async with asyncio.timeout(20):
            while house.resolver.queue.waiters < 2:
                await asyncio.sleep(0.01)
        await asyncio.to_thread(until, lambda: stage.calls()["in_flight"] == 1)
        stage.open_gate()
        answers = await asyncio.gather(*tasks)
    assert answers[0].status_code == status
    assert answers[1].status_code == (status if status == 500 else 200)
    assert calls(stage) == expected


async def test_of_many_spellings_in_one_flight_none_gets_anothers_error(stage: Stage) -> None:
    spellings = [f"{TARGET}&_={number}" for number in range(6)]
    async with housed(stage) as house:
        stage.close_gate()
        stage.plan(status=400, content_type=JSON, body=BAD, times=100)
        tasks = [asyncio.create_task(ask(house, stage, target)) for target in spellings]
        async with asyncio.timeout(20):
            while house.resolver.queue.waiters < len(spellings):
                await asyncio.sleep(0.01)
        await asyncio.to_thread(until, lambda: stage.calls()["in_flight"] == 1)
        stage.open_gate()
        answers = await asyncio.gather(*tasks)
    assert {answer.status_code for answer in answers} == {400}
    assert calls(stage) == len(spellings)


async def test_a_client_gets_a_fresher_answer_only_above_the_floor(stage: Stage) -> None:
    clock = FakeClock(NOW)
    async with housed(stage, clock) as house:
        await ask(house, stage)
        clock.time += 59
        assert "; hit" in (await ask(house, stage, Cache_Control="no-cache")).headers["cache-status"]
        clock.time += 2
        assert "fwd=request" in (await ask(house, stage, Cache_Control="no-cache")).headers["cache-status"]
    assert calls(stage) == 2


@pytest.mark.parametrize("item", ["article", "author", "collection", "group", "project"])
async def test_an_overview_is_kept_as_totals_are_with_a_key_or_without(stage: Stage, item: str) -> None:
    async with housed(stage) as house:
        for target in (f"/total/{item}/7", f"/lboro/total/{item}/7"):
            first, second = [await ask(house, stage, target) for _ in range(2)]
            assert first.json().keys() == {"views", "downloads", "shares"}
            assert first.content == second.content
            assert "fwd=uri-miss; stored" in first.headers["cache-status"]
            assert "; hit; ttl=" in second.headers["cache-status"]
    assert calls(stage) == 2


async def test_an_unknown_endpoints_json_answer_is_kept_for_a_minute_and_stands_in_for_failures(
    stage: Stage,
) -> None:
    clock = FakeClock(NOW)
    async with housed(stage, clock) as house:
        stage.plan(status=200, body='{"citations": 7}', times=1)
        first, second = [await ask(house, stage, "/citations/article/7") for _ in range(2)]
        assert first.json() == second.json() == {"citations": 7}
        assert "fwd=uri-miss; stored" in first.headers["cache-status"]
        assert "; hit; ttl=" in second.headers["cache-status"]
        assert calls(stage) == 1
        clock.time += 61
        stage.plan(status=500, body='{"message": "no", "code": "no"}', times=1)
        third = await ask(house, stage, "/citations/article/7")
        assert (third.status_code, third.json()) == (200, {"citations": 7})
        assert "detail=upstream-500" in third.headers["cache-status"]
    assert calls(stage) == 2


@pytest.mark.parametrize(
    ("content_type", "headers", "lifetime"),
    [
        ("application/json", {}, 0),
        ("application/json", {"cache-control": "no-store"}, 60),
        ("application/json", {"cache-control": "max-age=0"}, 60),
        ("text/html", {}, 60),
        ("application/json", {"set-cookie": "sid=1"}, 60),
        ("application/json", {"set-cookie": "sid=1", "last-modified": "Wed, 01 Jan 2014 00:00:00 GMT"}, 60),
    ],
)
async def test_an_unknown_endpoints_answer_passes_through_where_it_may_not_be_kept(
    content_type: str, headers: dict[str, str], lifetime: float, stage: Stage
) -> None:
    async with housed(stage, lifetime_unknown=lifetime) as house:
        for _ in range(2):
            stage.plan(status=200, body='{"citations": 7}', content_type=content_type, headers=headers, times=1)
            answer = await ask(house, stage, "/citations/article/7")
            assert (answer.status_code, answer.content) == (200, b'{"citations": 7}')
            assert "fwd=uri-miss; detail=unknown-endpoint" in answer.headers["cache-status"]
    assert calls(stage) == 2


async def test_where_nobody_tells_what_an_unknown_endpoints_answer_depends_on_it_is_the_words_asked_in(
    stage: Stage,
) -> None:
    async with housed(stage) as house:
        words: list[dict[str, str]] = [{"accept": "text/csv"}, {"accept": "application/json"}]
        words.append({"accept": "application/json", "accept-language": "fr"})
        for number, headers in enumerate([*words, *words]):
            stage.plan(status=200, body=f'{{"citations": {number}}}', times=1)
            answer = await ask(house, stage, "/citations/article/8", **headers)
            assert answer.json() == {"citations": number % len(words)}
    assert calls(stage) == len(words)


async def test_what_a_credential_brought_from_an_unknown_endpoint_is_withheld_once_it_is_refused(
    stage: Stage,
) -> None:
    secret, odd = "/lboro/citations/article/7", TARGET.replace("article/", "article/77")
    async with housed(stage, lifetime_forbidden=0.001) as house:
        stage.plan(status=200, body='{"citations": 7}', times=1)
        for _ in range(3):
            assert (await ask(house, stage, secret)).json() == {"citations": 7}
        stage.plan(status=403, body=FORBIDDEN, times=100)
        for number in range(3):
            assert (await ask(house, stage, f"{odd}&n={number}")).status_code == 403
        assert (await ask(house, stage, secret)).status_code == 403
        stage.plan(status=500, body='{"message": "no", "code": "no"}', times=1)
        assert (await ask(house, stage, secret)).status_code != 200


async def test_errors_of_unknown_endpoints_are_remembered(stage: Stage) -> None:
    async with housed(stage) as house:
        missing = [await ask(house, stage, "/no/such/endpoint") for _ in range(2)]
    assert [a.status_code for a in missing] == [404, 404]
    assert calls(stage) == 1


async def test_what_the_service_forbids_to_store_is_not_stored(stage: Stage) -> None:
    async with housed(stage) as house:
        for _ in range(2):
            stage.plan(status=200, body='{"timeline": null}', headers={"cache-control": "no-store"}, times=1)
            assert "stored" not in (await ask(house, stage)).headers["cache-status"]
    assert calls(stage) == 2


async def test_a_429_without_an_entry_goes_to_the_client_unchanged(stage: Stage) -> None:
    async with housed(stage) as house:
        stage.plan(status=429, content_type=JSON, body=BAD, headers={"retry-after": "7"}, times=1)
        answer = await ask(house, stage)
    assert (answer.status_code, answer.text) == (429, BAD)
    assert answer.headers["retry-after"] == "7"
    assert "proxy-status" not in answer.headers


async def test_a_service_that_cannot_be_reached_is_a_502(stage: Stage) -> None:
    async with housed(stage, upstream=f"http://127.0.0.1:{free_port()}") as house:
        answer = await ask(house, stage)
    assert answer.status_code == 502
    assert answer.json()["code"] == "GatewayUpstreamUnreachable"


async def test_a_service_that_does_not_answer_is_a_504(stage: Stage) -> None:
    stage.close_gate()
    async with housed(stage, upstream_timeout=0.2) as house:
        answer = await ask(house, stage)
    assert answer.status_code == 504
    assert answer.json()["code"] == "GatewayUpstreamTimeout"


async def test_over_the_deadline_a_caller_gets_503_and_finds_the_answer_later(stage: Stage) -> None:
    stage.close_gate()
    async with housed(stage, caller_timeout=0.2) as house:
        refused = await ask(house, stage)
        assert refused.status_code == 503
        assert refused.json()["code"] == "GatewayDeadlineExceeded"
        assert int(refused.headers["retry-after"]) >= 1
        stage.open_gate()
        async with asyncio.timeout(20):
            while house.resolver.queue.flights:
                await asyncio.sleep(0.01)
        assert "; hit" in (await ask(house, stage)).headers["cache-status"]
    assert calls(stage) == 1


async def test_a_well_formed_request_id_is_kept_and_any_other_replaced(stage: Stage) -> None:
    async with housed(stage) as house:
        kept = await ask(house, stage, X_Request_ID="report-2026.03_1")
        made = await ask(house, stage, X_Request_ID="not a token; at all")
    assert kept.headers["x-request-id"] == "report-2026.03_1"
    assert made.headers["x-request-id"] != "not a token; at all"
    assert len(made.headers["x-request-id"]) == 16


async def test_an_answer_is_counted_once_it_is_out_even_if_nobody_takes_it(stage: Stage) -> None:
    counted: list[bool] = []
    async with housed(stage, allow_anonymous=True) as house:

        async def broken(message: Any) -> None:
            counted.append("stats_gateway_requests_total{" in (await house.admin.get("/metrics")).text)
            raise OSError("the client has gone")

        async def connected() -> Any:
            await asyncio.Event().wait()

        request = {
            "method": "GET",
            "path": "/total/views/group/5",
            "query_string": b"",
            "headers": [(b"host", b"gateway")],
        }
        with pytest.raises(OSError, match="gone"):
            await house.app.public({"type": "http", "http_version": "1.1", **request}, connected, broken)
        assert counted == [False]
        assert 'requests_total{family="totals",outcome="miss"' in (await house.admin.get("/metrics")).text


async def test_without_a_key_public_queries_are_answered_only_where_allowed(stage: Stage) -> None:
    async with housed(stage, allow_anonymous=True) as house:
        assert (await house.get("/total/views/group/5")).status_code == 200
        refused = await house.get(TARGET)
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == 'Basic realm="stats-gateway"'
    async with housed(stage) as house:
        assert (await house.get("/total/views/group/5")).status_code == 401


def test_a_revoked_key_is_refused_while_the_gateway_runs(stage: Stage) -> None:
    with staged(budget="unlimited") as own:
        key = own.tenant("reports", "lboro")
        gateway = own.serve()

        def status() -> int:
            headers = {"X-API-Key": key}
            return httpx.get(f"{gateway.url}/total/views/group/5", headers=headers, **LOOPBACK).status_code

        assert status() == 200
        own.registry().revoke_key(key.split("_")[1])
        until(lambda: status() == 401, seconds=5)
