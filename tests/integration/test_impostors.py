"""When something takes the service's place: what is good stands in, what came is never kept, and no key leaves."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx2 as httpx
import pytest
from structlog.testing import capture_logs

from gateway.catalogue.answers import IN_A_ROW
from tests.integration.house import FakeClock, House, housed
from tests.integration.stage import Stage, staged
from tests.upstream.origin import Peer, serving

NOW = 1_800_000_000.0
DAY = 86_400
JSON, HTML = b"application/json; charset=UTF-8", b"text/html"
CLOSED = "start_date=2014-01-01&end_date=2014-01-31"
TOTALS, TIMELINE, TOP = "/total/views/article/7", f"/timeline/day/views/article/7?{CLOSED}", "/top/views/article"
OWN = f"/lboro{TIMELINE}"
GOOD = {
    TOTALS: b'{"totals": 231}',
    TIMELINE: b'{"timeline": {"2014-01-01": 7}}',
    TOP: b'{"top": {"7": 3}}',
    OWN: b'{"timeline": {"2014-01-01": 8}}',
}
PAGE = b"<h1>Sorry</h1>"


def said(body: bytes, status: int = 200, kind: bytes = JSON, *lines: bytes) -> bytes:
    """An answer as it goes over the wire; a 204 has no content."""
    head = [b"HTTP/1.1 %d Said" % status, *lines]
    if status != 204:
        head += [b"Content-Type: " + kind, b"Content-Length: %d" % len(body)]
    return b"\r\n".join([*head, b"", b""]) + body


STRANGERS = {
    "default-backend": said(b"default backend - 404", 404, b"text/plain"),
    **{str(status): said(PAGE, status, HTML) for status in (400, 401, 404, 405, 410, 421, 451)},
    "404-json": said(b'{"message": "no Route matched with those values"}', 404),
    "empty": said(b""),
    "empty-html": said(b"", 200, HTML),
    "cut": said(b'{"totals": 231'),
    "message": said(b'{"message": "down for maintenance"}'),
    "text": said(b'"maintenance"'),
    "object": said(b'{"": {}}'),
    "null": said(b"null"),
    "202": said(b'{"totals": 1}', 202),
    "203": said(b'{"totals": 1}', 203, JSON, b"Cache-Control: max-age=600"),
    "204": said(b"", 204),
    "sign-in": said(PAGE, 302, HTML, b"Location: /login"),
    "moved": said(PAGE, 301, HTML, b"Location: /login", b"Cache-Control: max-age=600"),
    "stored-by-its-word": said(PAGE, 404, HTML, b"Cache-Control: public, max-age=600"),
}


@dataclass
class Scene:
    """A gateway in front of an origin that answers with what is good until ``stranger`` says otherwise."""

    house: House
    clock: FakeClock
    key: str
    heads: list[bytes]
    stranger: Callable[[str], bytes | None]

    async def get(self, target: str, **headers: str) -> httpx.Response:
        return await self.house.get(target, self.key, **headers)

    def calls(self, target: str) -> int:
        return sum(head.split(b" ", 2)[1] == target.encode() for head in self.heads)


@asynccontextmanager
async def scene(stage: Stage, **settings: object) -> AsyncIterator[Scene]:
    heads: list[bytes] = []
    clock = FakeClock(NOW)

    async def behave(peer: Peer) -> None:
        while True:
            heads.append(await peer.head())
            target = heads[-1].split(b" ", 2)[1].decode()
            await peer.say(here.stranger(target) or said(GOOD.get(target, b'{"totals": 1}')))

    async with serving(behave) as origin, housed(stage, clock, upstream=origin.url, **settings) as house:
        here = Scene(house, clock, stage.keys["reports"], heads, lambda target: None)
        yield here


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged() as stage:
        stage.tenant("reports", "lboro")
        yield stage


def parts(wire: bytes) -> tuple[int, bytes]:
    """Status and body of an answer as it went over the wire."""
    head, _, body = wire.partition(b"\r\n\r\n")
    return int(head.split(b" ", 2)[1]), body


def opened(scene: Scene) -> bool:
    queue = scene.house.resolver.queue
    return queue.gate_closed_for == 0 and queue.breaker.count == 0


@pytest.mark.parametrize("name", STRANGERS)
async def test_decision_7_a_stale_entry_stands_in_for_it_and_stays(stage: Stage, name: str) -> None:
    async with scene(stage, lifetime_closed=600) as here:
        for target in GOOD:
            await here.get(target)
        here.clock.time += DAY
        here.stranger = lambda target: STRANGERS[name]
        for target in (*GOOD, *GOOD):
            answer = await here.get(target)
            assert (answer.status_code, answer.content) == (200, GOOD[target])
            assert f"detail=upstream-{parts(STRANGERS[name])[0]}" in answer.headers["cache-status"]
        assert {target: here.calls(target) for target in GOOD} == dict.fromkeys(GOOD, 3)
        assert opened(here)


async def test_rfc9110_15_3_7_for_a_part_that_nobody_asked_for_too(stage: Stage) -> None:
    async with scene(stage, lifetime_closed=600) as here:
        await here.get(OWN)
        here.clock.time += DAY
        here.stranger = lambda target: said(b'{"totals": 1}', 206, JSON, b"Content-Range: bytes 0-12/99")
        answer = await here.get(OWN)
        assert (answer.status_code, answer.content) == (200, GOOD[OWN])
        assert "detail=UpstreamProtocolError" in answer.headers["cache-status"]
        assert opened(here)


@pytest.mark.parametrize("name", STRANGERS)
@pytest.mark.parametrize("target", [TOTALS, OWN])
async def test_with_nothing_to_stand_in_it_goes_on_unchanged_and_is_not_kept(
    stage: Stage, name: str, target: str
) -> None:
    async with scene(stage) as here:
        here.stranger = lambda target: STRANGERS[name]
        for _ in range(2):
            answer = await here.get(target)
            assert (answer.status_code, answer.content) == parts(STRANGERS[name])
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["cache-status"] == "stats-gateway; fwd=uri-miss"
        assert here.calls(target) == 2
        assert len(here.house.resolver.store.near) == 0
        assert opened(here)
        here.stranger = lambda target: None
        assert (await here.get(target)).content == GOOD[target]


@pytest.mark.parametrize("name", ["default-backend", "404", "410", "cut", "empty", "404-json"])
async def test_of_an_unknown_endpoint_too(stage: Stage, name: str) -> None:
    target, body = "/lboro/citations/article/7", b'{"views": 3}'
    async with scene(stage) as here:
        here.stranger = lambda target: said(body, 200, JSON, b"Cache-Control: max-age=60")
        await here.get(target)
        here.clock.time += 61
        here.stranger = lambda target: STRANGERS[name]
        for _ in range(2):
            answer = await here.get(target)
            assert (answer.status_code, answer.content) == (200, body)


async def test_a_stranger_refuses_no_credential(stage: Stage) -> None:
    async with scene(stage) as here:
        here.stranger = lambda target: said(b'{"message": "Forbidden"}', 403)
        assert (await here.get(OWN)).status_code == 403
        assert here.house.resolver.queue.breaker.count == 0
        assert (await here.get(OWN)).json()["code"] == "GatewayTargetRefused"


async def test_a_json_503_of_somebody_else_is_a_refusal(stage: Stage) -> None:
    async with scene(stage) as here:
        here.stranger = lambda target: said(
            b'{"error": "overloaded"}', 503, JSON, b"Retry-After: 12345678901234567890"
        )
        assert (await here.get(TOTALS)).status_code == 503
        refused = await here.get(TOTALS)
        assert (refused.status_code, refused.json()["code"]) == (503, "GatewayTargetRefused")
        assert float(refused.headers["retry-after"]) == pytest.approx(900, abs=60)


AWAY = [
    "https://elsewhere.example/",
    "//elsewhere.example/",
    "///elsewhere.example/",
    "/\\elsewhere.example/",
    "\\\\elsewhere.example/",
    "HTTPS:elsewhere.example",
    "/\t/elsewhere.example/",
    "mailto:somebody@elsewhere.example",
    "http://127.0.0.1:9/",
]


@pytest.mark.parametrize(
    ("location", "status"),
    [*((each, 302) for each in AWAY), *((AWAY[0], each) for each in (300, 301, 303, 307, 308))],
)
async def test_a_redirect_that_leaves_the_origin_is_not_handed_on(
    stage: Stage, location: str, status: int
) -> None:
    line = b"Location: " + location.encode()
    async with scene(stage) as here:
        await here.get(TOTALS)
        here.clock.time += 2 * DAY
        here.stranger = lambda target: said(PAGE, status, HTML, b"Cache-Control: max-age=60", line)
        stale = await here.get(TOTALS)
        assert (stale.status_code, stale.content) == (200, GOOD[TOTALS])
        for target in (TOP, "/lboro/citations/article/7"):
            with capture_logs() as logs:
                answer = await here.get(target)
            assert (answer.status_code, answer.json()["code"]) == (502, "GatewayUpstreamRedirected")
            assert "location" not in answer.headers
            assert "elsewhere" not in answer.text
            assert [line["location"] for line in logs if line["event"] == "upstream_call"] == [location]
        assert opened(here)


@pytest.mark.parametrize("location", ["/a//b?c=https://x/#d", "?page=2", "next", "", "#top", "/caf\u00e9"])
async def test_a_redirect_within_the_origin_is_handed_on(stage: Stage, location: str) -> None:
    async with scene(stage) as here:
        line = b"Location: " + location.encode()
        here.stranger = lambda target: said(b"", 302, HTML, line)
        answer = await here.get("/lboro/citations/article/7")
        assert answer.status_code == 302
        assert dict(answer.headers.raw)[b"location"] == location.encode()


async def test_no_client_carries_its_key_to_where_a_redirect_leads(stage: Stage) -> None:
    stolen: list[bytes] = []

    async def thief(peer: Peer) -> None:
        stolen.append(await peer.head())
        await peer.say(said(b"{}"))

    async with serving(thief) as elsewhere, scene(stage) as here:
        line = b"Location: " + elsewhere.url.encode() + b"/"
        here.stranger = lambda target: said(b"", 302, HTML, line)
        client = httpx.AsyncClient(
            transport=Both(httpx.ASGITransport(app=here.house.app.public)),
            base_url="http://gateway.test",
            follow_redirects=True,
            headers={"X-API-Key": here.key},
        )
        async with client:
            for target in (*GOOD, "/lboro/citations/article/7"):
                assert (await client.get(target)).status_code == 502
    assert stolen == []


class Both(httpx.AsyncBaseTransport):
    """The gateway's app by its name, and the network for every other host."""

    def __init__(self, gateway: httpx.ASGITransport) -> None:
        self._gateway = gateway
        self._network = httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.host == "gateway.test":
            return await self._gateway.handle_async_request(request)
        return await self._network.handle_async_request(request)

    async def aclose(self) -> None:
        await self._network.aclose()


def gauge(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("stats_gateway_answer_shape_changed{")]


async def test_a_service_that_changes_its_shape_is_told_of_and_kept_briefly_beside_what_is_good(
    stage: Stage,
) -> None:
    def new(target: str) -> bytes:
        return said(json.dumps({"value": 9, "of": target}).encode(), 200, JSON)

    async with scene(stage, lifetime_totals=600) as here:
        await here.get(TOTALS)
        here.clock.time += 2 * DAY
        here.stranger = new
        with capture_logs() as logs:
            for number in range(IN_A_ROW - 1):
                answer = await here.get(f"/total/views/article/{100 + number}")
                assert (answer.status_code, answer.json()["value"]) == (200, 9)
                assert answer.headers["cache-control"] == "no-store"
            assert (await here.get(TOTALS)).content != GOOD[TOTALS]  # the twentieth
        (line,) = (line for line in logs if line["event"] == "answers_changed")
        assert (line["log_level"], line["family"], line["names"]) == ("error", "totals", ("of", "value"))
        assert gauge((await here.house.admin.get("/metrics")).text) == [
            'stats_gateway_answer_shape_changed{family="totals"} 1.0'
        ]

        calls = here.calls(TOTALS)
        here.clock.time += 50
        kept = await here.get(TOTALS)
        assert "; hit; ttl=10" in kept.headers["cache-status"]
        assert (kept.json()["of"], here.calls(TOTALS)) == (TOTALS, calls)

        here.clock.time += 11
        here.stranger = lambda target: said(PAGE, 500, HTML)
        assert (await here.get(TOTALS)).content == GOOD[TOTALS]

        with capture_logs() as logs:
            here.stranger = lambda target: None
            assert (await here.get(TOTALS)).content == GOOD[TOTALS]
        assert [line["family"] for line in logs if line["event"] == "answers_as_known"] == ["totals"]
        assert gauge((await here.house.admin.get("/metrics")).text)[0].endswith(" 0.0")


@pytest.mark.parametrize("coding", ["none", "UTF-8", "binary", "8bit", "chunked", "identity, None"])
async def test_rfc9110_8_4_a_coding_that_is_none_does_not_hide_the_answer(stage: Stage, coding: str) -> None:
    async with scene(stage) as here:
        line = b"Content-Encoding: " + coding.encode()
        here.stranger = lambda target: said(GOOD[target], 200, JSON, line)
        answer = await here.get(TOTALS, Accept_Encoding="identity")
        assert (answer.status_code, answer.content) == (200, GOOD[TOTALS])
        assert "content-encoding" not in answer.headers
        assert "fwd=uri-miss; stored" in answer.headers["cache-status"]


async def test_rfc1952_2_2_padding_after_the_coded_answer_is_dropped(stage: Stage) -> None:
    async with scene(stage) as here:
        packed = gzip.compress(GOOD[TOTALS]) + bytes(512)
        here.stranger = lambda target: said(packed, 200, JSON, b"Content-Encoding: gzip")
        answer = await here.get(TOTALS)
        assert (answer.status_code, answer.content) == (200, GOOD[TOTALS])
        assert "fwd=uri-miss; stored" in answer.headers["cache-status"]
