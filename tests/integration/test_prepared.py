"""Prepared answers in one gateway: whatever they rest on, once that has changed, they are not given again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx2 as httpx
import pytest
from msgspec import structs
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from gateway.cache.purges import PurgeScope
from gateway.observe.tracing import Tracing
from gateway.server.fast_path import ONCE, FastPath
from gateway.server.prepared import SHORT, PreparedAnswer, shared
from gateway.tenants.tenant import Pair
from tests.integration.house import FakeClock, House, housed
from tests.integration.stage import Stage, staged

NOW = datetime(2031, 5, 20, 12, tzinfo=UTC).timestamp()
TARGET = "/lboro/timeline/month/views/article/23?start_date=2014-01-01&end_date=2014-03-31"


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged("--no-examples") as stage:
        yield stage


@pytest.fixture
async def key(stage: Stage) -> AsyncIterator[str]:
    registry = stage.registry()
    registry.add("reports", "reports", Pair("lboro", "lboro", "sandbox-lboro"))
    yield registry.add_key("reports")
    registry.remove("reports")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
async def house(stage: Stage, key: str, clock: FakeClock) -> AsyncIterator[House]:
    async with housed(stage, clock, log_hits=0, allow_anonymous=True) as house:
        yield house


def lane(house: House) -> FastPath:
    return house.app.public.fast_path


async def prepared(house: House, key: str, target: str = TARGET, **headers: str) -> httpx.Response:
    """An answer that came by the lane: one that is not is taught to it first."""
    for _ in range(4):
        answer = await house.get(target, key, **headers)
    before = lane(house).served
    answer = await house.get(target, key, **headers)
    assert lane(house).served == before + 1
    return answer


def answers(house: House) -> list[PreparedAnswer]:
    """All that are kept."""
    return [answer for known in lane(house).prepared.questions.values() for answer in known.answers.values()]


async def goes_its_way(house: House, key: str, target: str = TARGET, **headers: str) -> httpx.Response:
    """An answer that did not."""
    before = lane(house).served
    answer = await house.get(target, key, **headers)
    assert lane(house).served == before
    return answer


async def test_the_same_request_gets_the_same_answer_but_for_its_id(house: House, key: str) -> None:
    one, other = await prepared(house, key), await prepared(house, key)
    assert one.status_code == other.status_code == 200
    assert one.content == other.content
    assert [line for line in one.headers.raw if line[0] != b"x-request-id"] == [
        line for line in other.headers.raw if line[0] != b"x-request-id"
    ]
    assert one.headers["x-request-id"] != other.headers["x-request-id"]
    assert one.headers["cache-status"].startswith("stats-gateway; hit; ttl=")


async def test_a_request_id_of_the_clients_own_comes_back(house: House, key: str) -> None:
    assert (await prepared(house, key, x_request_id="mine")).headers["x-request-id"] == "mine"


@pytest.mark.parametrize(
    "headers", [{"accept-encoding": "gzip"}, {"if-none-match": "*"}, {"accept-language": "de"}]
)
async def test_whatever_headers_it_has(house: House, key: str, headers: dict[str, str]) -> None:
    answer = await prepared(house, key, **headers)
    assert answer.status_code == (304 if "if-none-match" in headers else 200)
    assert answer.headers["cache-status"].startswith("stats-gateway; hit")


async def test_a_head_too(house: House, key: str) -> None:
    whole = await prepared(house, key)
    for _ in range(3):
        head = await house.client.head(TARGET, headers={"X-API-Key": key})
    assert (head.content, head.headers["content-length"]) == (b"", str(len(whole.content)))


@pytest.mark.parametrize("wish", ["no-cache", "max-age=999", "only-if-cached", "min-fresh=1"])
async def test_a_wish_is_thought_about_each_time(house: House, key: str, wish: str) -> None:
    await prepared(house, key)
    for _ in range(5):
        await goes_its_way(house, key, cache_control=wish)


async def test_a_part_is_cut_each_time(house: House, key: str) -> None:
    for _ in range(5):
        assert (await goes_its_way(house, key, range="bytes=0-1")).status_code in (200, 206)


async def test_age_and_what_is_left_go_with_the_time(house: House, key: str, clock: FakeClock) -> None:
    first = await prepared(house, key)
    clock.time += 61.0
    later = await prepared(house, key)
    assert int(later.headers["age"]) == int(first.headers["age"]) + 61
    assert later.headers["cache-control"] == first.headers["cache-control"]
    ttl = [int(each.headers["cache-status"].rpartition("=")[2]) for each in (first, later)]
    assert ttl[0] - ttl[1] == 61


async def test_a_stale_entry_goes_its_way(house: House, key: str, clock: FakeClock) -> None:
    answer = await prepared(house, key)
    clock.time += int(answer.headers["cache-status"].rpartition("=")[2]) + 1
    answer = await goes_its_way(house, key)
    assert "detail=refreshing" in answer.headers["cache-status"]


async def test_a_revoked_key_opens_nothing(house: House, stage: Stage, key: str) -> None:
    await prepared(house, key)
    stage.registry().revoke_key(key.split("_")[1])
    house.resolver.profile.registry.refresh()  # type: ignore[attr-defined]
    assert (await goes_its_way(house, key)).status_code == 401


async def test_an_expired_key_opens_nothing(house: House, stage: Stage, clock: FakeClock) -> None:
    registry = stage.registry()
    key = registry.add_key("reports", expires=datetime.fromtimestamp(NOW + 60, UTC))
    house.resolver.profile.registry.refresh()  # type: ignore[attr-defined]
    await prepared(house, key)
    clock.time += 61
    assert (await goes_its_way(house, key)).status_code == 401


@pytest.mark.parametrize("hard", [True, False], ids=["hard", "soft"])
async def test_what_was_purged_is_not_given_again(house: House, key: str, hard: bool, clock: FakeClock) -> None:
    await prepared(house, key)
    await house.resolver.purges.purge(PurgeScope.institution("lboro"), hard=hard)
    before = lane(house).served
    await house.get(TARGET, key)
    assert lane(house).served == before


async def test_what_becomes_of_others_takes_nobodys_answer_away(house: House, stage: Stage, key: str) -> None:
    await prepared(house, key)
    registry, purges = stage.registry(), house.resolver.purges
    registry.add("others", "others", Pair("monash", "monash", "sandbox-monash"))
    followed = house.resolver.profile.registry  # type: ignore[attr-defined]
    before = lane(house).served
    for change in (lambda: registry.add_key("others"), lambda: registry.remove("others")):
        change()
        assert followed.refresh()
        await house.get(TARGET, key)
    await purges.purge(PurgeScope.institution("monash"), hard=True)
    await house.get(TARGET, key)
    assert lane(house).served == before + 3


@pytest.mark.parametrize("given", [{"enabled": False}, {"limits": {"requests_per_second": 9.0}}], ids=str)
async def test_a_tenant_that_was_changed_goes_its_way(
    house: House, stage: Stage, key: str, given: dict[str, Any]
) -> None:
    await prepared(house, key)
    stage.registry().change("reports", **given)
    house.resolver.profile.registry.refresh()  # type: ignore[attr-defined]
    answer = await goes_its_way(house, key)
    assert answer.status_code == (200 if "limits" in given else 401)


async def test_another_record_is_another_answer(house: House, key: str) -> None:
    await prepared(house, key)
    house.resolver.store.near.clear()
    await goes_its_way(house, key)
    await prepared(house, key)


async def test_a_traced_request_leaves_it_as_it_is(
    house: House, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await prepared(house, key)
    kept, heads = answers(house), {**lane(house).prepared.repeated}
    tracing = Tracing(SimpleSpanProcessor(InMemorySpanExporter()))
    with monkeypatch.context() as traced:
        traced.setattr(lane(house).proxy.access_log, "tracing", tracing)
        for _ in range(4):
            await goes_its_way(house, key)
    assert answers(house) == kept
    assert lane(house).prepared.repeated == heads


async def test_a_refused_credential_withholds_it(house: House, key: str) -> None:
    await prepared(house, key)
    breaker = house.resolver.queue.breaker
    (tenant,) = house.resolver.profile.registry.directory.tenants.values()  # type: ignore[attr-defined]
    credential = tenant.credential_for("lboro")
    assert credential is not None
    breaker.update(credential.fingerprint, -1.0)
    assert (await goes_its_way(house, key)).status_code == 403


async def test_while_draining_answers_close_their_connections(house: House, key: str) -> None:
    await prepared(house, key)
    house.app.lifecycle.drain()
    assert (await goes_its_way(house, key)).headers["connection"] == "close"


async def test_limits_hold(house: House, stage: Stage, key: str) -> None:
    stage.registry().change("reports", limits={"requests_per_second": 0.001, "burst": 12})
    house.resolver.profile.registry.refresh()  # type: ignore[attr-defined]
    statuses, left = [], []
    for _ in range(20):
        answer = await house.get(TARGET, key)
        statuses.append(answer.status_code)
        left.append(answer.headers["ratelimit"])
    assert lane(house).served > 0
    assert 12 <= statuses.count(200) <= 13
    assert len(set(left[:12])) == 12
    assert set(statuses[13:]) == {429}


async def test_anonymous_callers_are_held_apart_by_address(stage: Stage, clock: FakeClock) -> None:
    limits = {
        "anonymous_requests_per_second": 5_000.0,
        "anonymous_burst": 5_000,
        "anonymous_requests_per_day": 100,
    }
    async with housed(stage, clock, log_hits=0, allow_anonymous=True, **limits) as house:
        target = "/total/views/article/23"
        transports = [httpx.ASGITransport(app=house.app.public, client=(f"192.0.2.{n}", 1)) for n in range(3)]
        clients = [httpx.AsyncClient(transport=each, base_url="http://gateway.test") for each in transports]
        for _ in range(50):  # the first teaches the lane what the others are given
            await clients[0].get(target)
        for client in clients[1:]:
            statuses = [(await client.get(target)).status_code for _ in range(150)]
            assert 100 <= statuses.count(200) <= 101
            assert set(statuses[101:]) == {429}
        assert lane(house).served > 10


async def test_what_comes_once_is_not_kept(house: House, key: str) -> None:
    await prepared(house, key)
    kept = lane(house).prepared.bytes
    for number in range(50):
        await house.get(TARGET, key, if_none_match=f'"{number}"')
    assert lane(house).prepared.bytes == kept
    assert len(lane(house)._once) <= ONCE


async def test_what_is_kept_is_bounded(stage: Stage, key: str, clock: FakeClock) -> None:
    async with housed(stage, clock, log_hits=0, prepared_max_bytes=30_000) as house:
        for number in range(40):
            for _ in range(4):
                await house.get(TARGET, key, if_none_match=f'"{number}"')
            assert lane(house).prepared.bytes <= 30_000
        assert 0 < len(answers(house)) < 10


async def test_it_can_be_turned_off(stage: Stage, key: str, clock: FakeClock) -> None:
    async with housed(stage, clock, prepared_max_bytes=0) as house:
        for _ in range(5):
            await goes_its_way(house, key)
        assert lane(house).prepared.bytes == 0


async def test_an_answer_whose_headers_have_odd_names_is_the_same_too(
    house: House, stage: Stage, key: str
) -> None:
    stage.plan(body='{"totals": 1}', headers={"x-100%d%s": "50%"})
    assert (await prepared(house, key, "/total/views/article/4711")).headers["x-100%d%s"] == "50%"


async def test_what_its_tenant_would_keep_longer_than_it_is_there_goes_its_way(
    stage: Stage, key: str, clock: FakeClock
) -> None:
    stage.registry().change("reports", lifetimes={"empty": 7_200.0})
    async with housed(stage, clock, log_hits=0, lifetime_empty=600.0, stale_if_error=0.1) as house:
        await prepared(house, key)
        clock.time += 1_201
        assert "hit" not in (await goes_its_way(house, key)).headers["cache-status"]


async def test_an_error_that_came_since_is_the_answer(house: House, key: str, clock: FakeClock) -> None:
    await prepared(house, key)
    near = house.resolver.store.near
    (validity,) = [each.validity for each in answers(house)]
    entry = validity.entry
    error = structs.replace(entry, key=validity.key.error, body=b"{}", status=404, dispatched=entry.dispatched + 1)
    near.put(error)
    assert (await goes_its_way(house, key)).status_code == 404
    assert (await prepared(house, key)).status_code == 404


async def test_a_clock_that_is_put_back_shows(house: House, key: str, clock: FakeClock) -> None:
    first = await prepared(house, key)
    clock.time -= 20
    earlier = await prepared(house, key)
    assert int(earlier.headers["age"]) == int(first.headers["age"]) - 20


async def test_what_it_gives_again_is_in_use(stage: Stage, key: str, clock: FakeClock) -> None:
    async with housed(stage, clock, log_hits=0, near_max_bytes=12_000) as house:
        wrong = "/lboro/total/views/article/404"
        stage.plan(status=400, content_type="application/json", body='{"message": "no", "code": "No"}', times=1)
        for target in (wrong, TARGET):
            await prepared(house, key, target)
        for number in range(20):
            clock.time += 1
            before = lane(house).served
            for target in (TARGET, wrong):
                await house.get(target, key)
            assert lane(house).served == before + 2
            await house.get(f"/total/views/article/{number}", key)
        assert house.resolver.store.near.evicted


async def test_entries_that_left_the_near_cache_are_not_kept_beyond_the_bound(
    stage: Stage, key: str, clock: FakeClock
) -> None:
    most = 60_000
    async with housed(stage, clock, log_hits=0, near_max_bytes=60_000, prepared_max_bytes=most) as house:
        for number in range(30):
            stage.plan(body=f'{{"totals": {number}, "note": "{"x" * 20_000}"}}')
            for _ in range(4):
                await house.get(f"/total/views/article/{number}", key, if_none_match="*")
        kept = answers(house)
        assert len(kept) > 2
        assert sum(each.validity.entry.size + len(each.body) for each in kept) <= most


async def test_an_answer_larger_than_all_that_is_kept_drives_nothing_out(
    stage: Stage, key: str, clock: FakeClock
) -> None:
    async with housed(stage, clock, log_hits=0, prepared_max_bytes=50_000) as house:
        await prepared(house, key)
        stage.plan(body=f'{{"totals": 1, "note": "{"x" * 60_000}"}}')
        for _ in range(5):
            await goes_its_way(house, key, "/total/views/article/23", accept_encoding="identity")
        before = lane(house).served
        await house.get(TARGET, key)
        assert lane(house).served == before + 1


@pytest.mark.parametrize(("size", "same"), [(SHORT, True), (SHORT + 1, False)], ids=["short", "long"])
def test_headers_are_shared_where_that_keeps_little(size: int, same: bool) -> None:
    one, other = shared(b"etag", b"x" * size), shared(b"etag", b"x" * size)
    assert one == other
    assert (one is other) is same


async def test_what_was_given_is_told_to_the_last(stage: Stage, key: str, clock: FakeClock) -> None:
    async with housed(stage, clock, log_hits=0) as house:
        metrics = house.app.public.fast_path.proxy.access_log.metrics
        await prepared(house, key)
        given = lane(house).served
    assert b"\nstats_gateway_prepared_answers_total %.1f\n" % given in metrics.render()
    assert b'\nstats_gateway_cache_hits_total{cache="near"} ' in metrics.render()


async def test_headers_that_can_be_read_only_once_tell_requests_apart_all_the_same(house: House, key: str) -> None:
    async def once(scope: Any, receive: Any, send: Any) -> None:
        await house.app.public({**scope, "headers": iter(scope["headers"])}, receive, send)

    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=once), base_url="http://gateway.test"
    ) as client:
        statuses = [(await client.get(TARGET, headers={"X-API-Key": key})).status_code for _ in range(3)]
        nobody = {"type": "http", "method": "GET", "raw_path": TARGET.partition("?")[0].encode(), "headers": []}
        nobody |= {
            "http_version": "2",
            "path": TARGET.partition("?")[0],
            "query_string": TARGET.partition("?")[2].encode(),
        }
        told: list[Any] = []

        async def send(message: Any) -> None:
            told.append(message)

        async def receive() -> Any:
            return {"type": "http.request"}

        await house.app.public(nobody, receive, send)
        statuses.append((await client.get(TARGET, headers={"X-API-Key": key})).status_code)
    assert statuses == [200] * 4
    assert told[0]["status"] == 401
