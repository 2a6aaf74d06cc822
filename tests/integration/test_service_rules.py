"""What RFC 9110 and 9111 mean in front of the service: its headers, other methods, codings, ages."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import httpx2 as httpx
import pytest

from tests.integration.house import FakeClock, House, housed
from tests.integration.stage import Stage, staged
from tests.upstream.origin import Peer, serving

TARGET = "/lboro/timeline/day/views/article/7?start_date=2014-01-01&end_date=2014-01-31"
UNKNOWN = "/lboro/some/thing"
JSON = b"Content-Type: application/json; charset=UTF-8"
LARGE = b'{"timeline": {' + b", ".join(b'"2014-01-01.%03d": 7' % number for number in range(200)) + b"}}"
SMALL = b'{"timeline": {"2014-01-01": 7}}'
FORBIDDEN = b'{"data": null, "code": "Forbidden", "message": "Unauthorized request"}'


def said(body: bytes = SMALL, *lines: bytes, status: int = 200) -> bytes:
    head = [b"HTTP/1.1 %d Said" % status, JSON, *lines, b"Content-Length: %d" % len(body), b"", b""]
    return b"\r\n".join(head) + body


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged() as stage:
        stage.tenant("reports", "lboro")
        stage.tenant("others")
        yield stage


class Service:
    """Answers as told, and keeps what it was asked."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.answer: Callable[[bytes], bytes] = lambda _: said()

    async def behave(self, peer: Peer) -> None:
        while True:
            self.heads.append(await peer.head())
            self.bodies.append(await peer.body())
            await peer.say(self.answer(self.heads[-1]))


@asynccontextmanager
async def before(stage: Stage, **settings: object) -> AsyncIterator[tuple[House, Service, FakeClock]]:
    service, clock = Service(), FakeClock(1_800_000_000.0)
    async with serving(service.behave) as origin, housed(stage, clock, upstream=origin.url, **settings) as house:
        yield house, service, clock


async def ask(house: House, stage: Stage, target: str = TARGET, **headers: str) -> httpx.Response:
    return await house.get(target, stage.keys["reports"], **({"Accept_Encoding": "identity"} | headers))


async def send(
    house: House, stage: Stage, method: str, target: str = TARGET, content: bytes = b"x"
) -> httpx.Response:
    headers = {"X-API-Key": stage.keys["reports"], "Content-Type": "a/b", "Cookie": "c=d"}
    return await house.client.request(method, target, content=content, headers=headers)


async def test_rfc9111_7_3_cookies_of_the_service_are_nobodys(stage: Stage) -> None:
    async with before(stage) as (house, service, _):
        service.answer = lambda _: said(SMALL, b"Set-Cookie: a=b", b"Cache-Control: max-age=60")
        for target in (TARGET, UNKNOWN, UNKNOWN):
            assert "set-cookie" not in (await ask(house, stage, target)).headers
        record = house.resolver.store.near
        assert len(record) == 2


async def test_rfc9111_5_1_age_and_max_age_leave_what_is_left(stage: Stage) -> None:
    async with before(stage, lifetime_closed=1_000) as (house, _, clock):
        for age in (0, 400):
            clock.time = 1_800_000_000.0 + age
            answer = await ask(house, stage)
            assert (answer.headers["age"], answer.headers["cache-control"]) == (str(age), "private, max-age=1000")
        assert "X-API-Key" in answer.headers["vary"]


async def test_rfc9111_an_unknown_endpoint_lives_as_long_as_it_says(stage: Stage) -> None:
    async with before(stage) as (house, service, clock):
        service.answer = lambda _: said(SMALL, b"Cache-Control: private, max-age=60", b"Vary: Accept")
        for _ in range(2):
            answer = await ask(house, stage, UNKNOWN, Accept="a/a")
        assert "; hit; ttl=60" in answer.headers["cache-status"]
        assert answer.headers["vary"].startswith("X-API-Key, Authorization, accept")
        await ask(house, stage, UNKNOWN, Accept="b/b")
        clock.time += 61
        await ask(house, stage, UNKNOWN, Accept="a/a")
        assert len(service.heads) == 3


@pytest.mark.parametrize(
    ("wanted", "coding"), [("gzip", "gzip"), ("gzip;q=0.5, zstd", "zstd"), ("br", None), ("gzip;q=0", None)]
)
async def test_rfc9110_12_5_3_a_large_answer_comes_in_the_coding_that_is_liked(
    stage: Stage, wanted: str, coding: str | None
) -> None:
    async with before(stage) as (house, service, _):
        service.answer = lambda _: said(LARGE, b'ETag: "v1"')
        for _ in range(2):
            answer = await ask(house, stage, Accept_Encoding=wanted)
            assert answer.headers.get("content-encoding") == coding
            assert answer.headers["etag"] == (f'"v1-{coding}"' if coding else '"v1"')
            assert "Accept-Encoding" in answer.headers["vary"]
            if coding != "zstd":
                assert answer.content == LARGE
        again = await ask(house, stage, Accept_Encoding=wanted, If_None_Match=answer.headers["etag"])
        assert (again.status_code, again.headers["etag"]) == (304, answer.headers["etag"])
        assert len(service.heads) == 1
        assert b"-gzip" not in service.heads[0]


async def test_rfc9111_5_2_2_6_what_must_not_be_transformed_is_not(stage: Stage) -> None:
    async with before(stage) as (house, service, _):
        service.answer = lambda _: said(LARGE, b"Cache-Control: no-transform")
        answer = await ask(house, stage, Accept_Encoding="gzip")
        assert ("content-encoding" in answer.headers, answer.headers["cache-control"][-14:]) == (
            False,
            ", no-transform",
        )


async def test_a_coded_answer_of_the_service_is_stored_in_one_form(stage: Stage) -> None:
    async with before(stage) as (house, service, _):
        service.answer = lambda _: said(gzip.compress(LARGE), b"Content-Encoding: gzip")
        assert (await ask(house, stage)).content == LARGE
        assert b"Accept-Encoding: gzip" in service.heads[0]


async def test_rfc9110_15_5_6_other_methods_are_refused_unless_passed(stage: Stage) -> None:
    async with before(stage) as (house, service, _):
        refused = await send(house, stage, "POST")
        assert (refused.status_code, refused.headers["allow"], service.heads) == (405, "GET, HEAD", [])
    async with before(stage, pass_methods=("POST",)) as (house, _, _):
        assert (await send(house, stage, "PUT")).headers["allow"] == "GET, HEAD, POST"


async def test_rfc9111_4_4_a_passed_method_goes_with_the_credential_and_invalidates(stage: Stage) -> None:
    async with before(stage, pass_methods=("POST",)) as (house, service, _):
        await ask(house, stage)
        service.answer = lambda _: said(b"{}", status=201)
        made = await send(house, stage, "POST", content=b"some content")
        assert (made.status_code, made.content, service.bodies[-1]) == (201, b"{}", b"some content")
        head = service.heads[-1].lower()
        assert b"\r\nauthorization: basic " in head
        assert b"\r\ncontent-type: a/b" in head
        assert b"cookie" not in head
        assert b"x-api-key" not in head
        service.answer = lambda _: said()
        assert "fwd=uri-miss; stored" in (await ask(house, stage)).headers["cache-status"]


@pytest.mark.parametrize("target", [TARGET, UNKNOWN])
@pytest.mark.parametrize(
    ("told", "passed"),
    [(["3"], b"2"), (["007"], b"6"), (["1"], b"0"), (["7", "2"], b"1"), (["x"], None), ([], None)],
)
async def test_rfc9110_7_6_2_options_go_one_hop_less_far(
    stage: Stage, target: str, told: list[str], passed: bytes | None
) -> None:
    async with before(stage, pass_methods=("OPTIONS",)) as (house, service, _):
        headers = [("X-API-Key", stage.keys["reports"]), *(("Max-Forwards", hops) for hops in told)]
        assert (await house.client.options(target, headers=headers)).status_code == 200
        sent = [line for line in service.heads[-1].lower().split(b"\r\n") if line.startswith(b"max-forwards")]
        assert sent == ([] if passed is None else [b"max-forwards: " + passed])


async def test_rfc9110_15_5_14_a_body_too_large_is_refused(stage: Stage) -> None:
    async with before(stage, pass_methods=("POST",), request_max_bytes=10) as (house, service, _):
        answer = await send(house, stage, "POST", content=b"x" * 11)
        assert (answer.status_code, answer.json()["code"], service.heads) == (413, "GatewayBodyTooLarge", [])


@pytest.mark.parametrize(("floor", "calls"), [(60, 1), (0, 2)])
async def test_rfc9111_5_2_1_5_no_store_counts_where_the_floor_is_off(
    stage: Stage, floor: int, calls: int
) -> None:
    async with before(stage, refresh_floor=floor) as (house, service, _):
        for _ in range(2):
            await ask(house, stage, Cache_Control="no-store")
        assert len(service.heads) == calls


async def test_decision_7_a_probe_is_never_answered_from_what_is_withheld(stage: Stage) -> None:
    async with before(stage, breaker_pause=0.05) as (house, service, _):
        breaker = house.resolver.queue.breaker
        (credential,) = stage.registry().load().tenants["reports"].credentials.values()

        async def probe(target: str) -> httpx.Response:
            async with asyncio.timeout(10):
                while breaker.refused_for(credential.fingerprint):
                    await asyncio.sleep(0.01)
            assert breaker.refused_for(credential.fingerprint) == 0.0
            return await ask(house, stage, target)

        others = [TARGET.replace("7?", f"{number}?") for number in (8, 9, 10)]
        await ask(house, stage)
        service.answer = lambda _: said(FORBIDDEN, status=403)
        for target in others[:2]:
            assert (await ask(house, stage, target)).status_code == 403
        refused = await probe(TARGET)
        assert (refused.status_code, len(service.heads)) == (403, 4)
        service.answer = lambda _: said()
        assert ((await probe(others[2])).status_code, len(service.heads)) == (200, 5)
        assert "; hit" in (await ask(house, stage)).headers["cache-status"]


async def test_decision_9_a_closed_gate_shows_in_readiness_and_metrics(stage: Stage) -> None:
    async with before(stage) as (house, service, _):
        service.answer = lambda _: said(b"{}", b"Retry-After: 60", status=429)
        assert "gate" not in (await house.get("/-/health/ready")).json()
        assert (await ask(house, stage)).status_code == 429
        ready = await house.get("/-/health/ready")
        assert (ready.status_code, ready.json()["status"]) == (200, "ok")
        assert 55 <= ready.json()["gate"]["closed_for"] <= 60
        admin = httpx.AsyncClient(transport=httpx.ASGITransport(app=house.app.admin), base_url="http://localhost")
        async with admin:
            text = (await admin.get("/metrics")).text
        (closed,) = (line for line in text.splitlines() if line.startswith("stats_gateway_gate_closed_seconds "))
        assert 55 <= float(closed.split()[1]) <= 60
        later = await ask(house, stage, TARGET.replace("7?", "8?"))
        assert (later.status_code, later.json()["code"], len(service.heads)) == (503, "GatewayGateClosed", 1)


async def test_decision_7_the_stale_windows_are_each_familys(stage: Stage) -> None:
    windows = {"stale_while_revalidate_family": {"timeline": 50}, "stale_if_error_family": {"timeline": 100}}
    async with before(stage, lifetime_closed=10, **windows) as (house, service, clock):
        await ask(house, stage)
        service.answer = lambda _: said(b"{}", status=500)
        for age, detail in ((59, "refreshing"), (61, "upstream-500"), (109, "upstream-500")):
            clock.time = 1_800_000_000.0 + age
            answer = await ask(house, stage)
            assert (answer.status_code, answer.headers["cache-status"].endswith(f"detail={detail}")) == (200, True)
        clock.time = 1_800_000_000.0 + 111
        assert (await ask(house, stage)).status_code == 500
