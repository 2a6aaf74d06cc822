"""A plain shared cache in front of any one origin: real gateways, a scripted origin, real sockets."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from gateway.cache.dates import format_date
from tests.chaos_redis import chaos_proxy
from tests.integration.stage import Process, await_answer, spawned
from tests.loopback import LOOPBACK
from tests.redis_server import RedisServer, free_port
from tests.upstream.origin import Peer, serving
from tests.wire import Wire, WireAnswer

BODY = b"0123456789" * 200
TAG = (b"ETag", b'"v1"')
FRESH = (b"Cache-Control", b"max-age=3600")
STALE = (b"Cache-Control", b"max-age=0")


@dataclass(frozen=True)
class Asked:
    """A request as the origin saw it."""

    method: str
    target: str
    head: bytes
    body: bytes

    def header(self, name: str) -> str | None:
        found = re.search(rb"\r\n" + name.encode() + rb": ([^\r]*)\r\n", self.head, re.IGNORECASE)
        return None if found is None else found[1].decode("latin-1")


Answers = Callable[[Asked], bytes | None]


def reply(*headers: tuple[bytes, bytes], status: int = 200, body: bytes = BODY) -> bytes:
    lines = [b"HTTP/1.1 %d Said" % status, *(b"%s: %s" % header for header in headers)]
    if status not in (204, 304):
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, b"", b""]) + (b"" if status in (204, 304) else body)


@dataclass
class Front:
    """Gateways before an origin whose answers a test chooses; None breaks the connection off."""

    asked: list[Asked] = field(default_factory=list)
    answers: Answers = lambda _: reply(FRESH)
    gateways: list[Process] = field(default_factory=list)
    client: httpx.AsyncClient = field(default_factory=lambda: httpx.AsyncClient(**LOOPBACK, timeout=20))

    async def behave(self, peer: Peer) -> None:
        while True:
            head = await peer.head()
            method, target = head.decode("latin-1").split(" ")[:2]
            asked = Asked(method, target, head, await peer.body())
            self.asked.append(asked)
            answer = self.answers(asked)
            if answer is None:
                peer.reset()
                return
            await peer.say(answer)

    async def ask(
        self, target: str = "/a", method: str = "GET", at: int = 0, content: bytes | None = None, **headers: str
    ) -> httpx.Response:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        given.setdefault("Accept-Encoding", "identity")
        return await self.client.request(method, self.gateways[at].url + target, headers=given, content=content)


@asynccontextmanager
async def fronted(
    folder: Path, gateways: int = 1, first: Mapping[str, object] | None = None, **settings: object
) -> AsyncIterator[Front]:
    """A front with so many gateways, which have these settings on top of the generic profile, and the ``first``
    has some of its own."""
    front = Front()
    values = {"profile": "generic", "registry": folder / "none.toml", "drain_seconds": 0, "log_level": "warning"}
    async with AsyncExitStack() as stack:
        origin = await stack.enter_async_context(serving(front.behave))
        environment = {name: value for name, value in os.environ.items() if not name.startswith("STATS_GATEWAY_")}
        for number in range(gateways):
            for name, value in {**values, "upstream": origin.url, **settings, **(first or {})}.items():
                environment[f"STATS_GATEWAY_{name.upper()}"] = str(value)
            first = None
            words = ["serve", "--port", str(free_port()), "--admin-port", str(free_port())]
            gateway = stack.enter_context(spawned(words, environment, folder / f"gateway{number}.log"))
            await asyncio.to_thread(await_answer, f"{gateway.url}/-/health/ready", gateway)
            front.gateways.append(gateway)
        async with front.client:
            yield front


@pytest.fixture
async def front(tmp_path: Path) -> AsyncIterator[Front]:
    async with fronted(tmp_path) as front:
        yield front
        assert "Traceback" not in front.gateways[0].output


async def test_rfc9111_4_2_a_fresh_answer_is_reused_as_it_came_with_its_age(front: Front) -> None:
    day = format_date(1_700_000_000)
    front.answers = lambda _: reply(FRESH, (b"Age", b"7"), (b"Set-Cookie", b"a=b"), (b"Via", b"1.1 far"), TAG)
    first, again = await front.ask(), await front.ask()
    assert len(front.asked) == 1
    assert first.content == again.content == BODY
    assert "; hit; ttl=" in again.headers["cache-status"]
    assert int(again.headers["age"]) >= 7
    for name in ("cache-control", "set-cookie", "etag", "via", "date"):
        assert first.headers.get_list(name) == again.headers.get_list(name)
        assert len(again.headers.get_list(name)) == 1
    assert again.headers["via"] == "1.1 far, 1.1 stats-gateway"
    assert day.decode() != again.headers["date"]


async def test_rfc9110_6_6_1_an_origins_date_is_passed_on_alone(front: Front) -> None:
    day = format_date(1_700_000_000)
    front.answers = lambda _: reply((b"Date", day), (b"Cache-Control", b"max-age=9000000000"))
    for _ in range(2):
        assert (await front.ask()).headers.get_list("date") == [day.decode()]


async def test_rfc9110_7_6_1_what_concerns_one_hop_is_dropped_both_ways(front: Front) -> None:
    front.answers = lambda _: reply(FRESH, (b"Connection", b"X-Hop"), (b"X-Hop", b"1"), (b"X-End", b"2"))
    answer = await front.ask(Connection="keep-alive, X-Mine", X_Mine="1", X_Theirs="2")
    assert ("x-hop" in answer.headers, answer.headers["x-end"]) == (False, "2")
    assert (front.asked[0].header("x-mine"), front.asked[0].header("x-theirs")) == (None, "2")


async def test_rfc9111_4_3_a_stale_answer_is_validated_and_freshened(front: Front) -> None:
    def answers(asked: Asked) -> bytes:
        if asked.header("if-none-match") == '"v1"':
            return reply((b"Cache-Control", b"max-age=60"), (b"X-New", b"1"), TAG, status=304)
        return reply(STALE, TAG, (b"X-Old", b"1"), (b"Content-Type", b"a/b"))

    front.answers = answers
    await front.ask()
    confirmed, fresh = await front.ask(), await front.ask()
    assert len(front.asked) == 2
    assert "fwd=stale; fwd-status=304; stored" in confirmed.headers["cache-status"]
    for answer in (confirmed, fresh):
        assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, BODY, "a/b")
        assert (answer.headers["x-old"], answer.headers["x-new"]) == ("1", "1")


async def test_rfc9111_4_3_3_a_304_about_something_else_has_the_answer_asked_for_whole(front: Front) -> None:
    def answers(asked: Asked) -> bytes:
        if asked.header("if-none-match"):
            return reply((b"ETag", b'"other"'), status=304)
        return reply(STALE, TAG)

    front.answers = answers
    await front.ask()
    assert ((await front.ask()).content, len(front.asked)) == (BODY, 3)


async def test_rfc9110_15_4_5_a_304_that_nobody_asked_for_is_the_origins_fault(front: Front) -> None:
    front.answers = lambda _: reply(status=304)
    answer = await front.ask()
    assert (answer.status_code, answer.json()["code"]) == (502, "GatewayUpstreamInvalid")


async def test_rfc9110_13_1_2_a_clients_copy_is_confirmed_from_the_cache(front: Front) -> None:
    front.answers = lambda _: reply(FRESH, TAG, (b"Last-Modified", format_date(1_700_000_000)))
    answer = await front.ask(If_None_Match='"x", W/"v1"')
    assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", '"v1"')
    assert "content-length" not in answer.headers
    assert (await front.ask(If_None_Match='"x"')).status_code == 200
    since = format_date(1_700_000_001).decode()
    assert (await front.ask(If_Modified_Since=since)).status_code == 304
    assert (await front.ask(If_None_Match='"x"', If_Modified_Since=since)).status_code == 200
    assert [asked.header("if-none-match") for asked in front.asked] == [None]


async def test_rfc9110_14_2_ranges_are_cut_from_the_whole(front: Front) -> None:
    front.answers = lambda _: reply(FRESH, TAG)
    part = await front.ask(Range="bytes=5-9")
    assert (part.status_code, part.content, part.headers["content-range"]) == (206, b"56789", "bytes 5-9/2000")
    beyond = await front.ask(Range="bytes=2000-")
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, "bytes */2000")
    other = await front.ask(Range="bytes=5-9", If_Range='"v2"')
    assert (other.status_code, other.content) == (200, BODY)
    assert (len(front.asked), front.asked[0].header("range")) == (1, None)


async def test_rfc9110_9_3_2_head_and_get_share_what_is_stored(front: Front) -> None:
    head = await front.ask(method="HEAD")
    answer = await front.ask()
    again = await front.ask(method="HEAD")
    assert (head.content, again.content, answer.content) == (b"", b"", BODY)
    assert head.headers["content-length"] == again.headers["content-length"] == str(len(BODY))
    assert len(front.asked) == 1


async def test_rfc9111_4_1_variants_are_told_apart_and_kept_beside_each_other(front: Front) -> None:
    front.answers = lambda asked: reply(FRESH, (b"Vary", b"X-Kind"), body=(asked.header("x-kind") or "-").encode())
    kinds = ["a", "b", None]
    for _ in range(2):
        for kind in kinds:
            answer = await (front.ask(X_Kind=kind) if kind else front.ask())
            assert answer.text == (kind or "-")
    assert len(front.asked) == len(kinds)


async def test_rfc9110_12_5_5_several_vary_lines_are_one_for_the_next_cache(front: Front) -> None:
    twice = [(b"Vary", b"X-Kind"), (b"Vary", b"Accept, X-Other")]
    front.answers = lambda _: reply(FRESH, *twice, body=b"a")
    for kind in ("a", "a", "a", "b"):  # the second and third from what is stored
        (line,) = (await front.ask(X_Kind=kind)).headers.get_list("vary")
        assert line.startswith("X-Kind, Accept, X-Other")
    front.answers = lambda _: reply((b"Cache-Control", b"no-store"), *twice, body=b"a")
    (line,) = (await front.ask(path="/other")).headers.get_list("vary")
    assert line.startswith("X-Kind, Accept, X-Other")


async def test_rfc9111_4_1_an_answer_that_varies_by_everything_is_not_reused(front: Front) -> None:
    front.answers = lambda _: reply(FRESH, (b"Vary", b"*"))
    for _ in range(2):
        assert "stored" not in (await front.ask()).headers["cache-status"]
    assert len(front.asked) == 2


@pytest.mark.parametrize(
    ("directives", "calls"),
    [
        pytest.param(b"max-age=60", 2, id="rfc9111-3.5"),
        pytest.param(b"max-age=60, public", 1, id="rfc9111-5.2.2.9-public"),
        pytest.param(b"s-maxage=60", 1, id="rfc9111-5.2.2.10-s-maxage"),
    ],
)
async def test_an_answer_to_authorization_is_kept_only_where_it_says_so(
    front: Front, directives: bytes, calls: int
) -> None:
    front.answers = lambda _: reply((b"Cache-Control", directives))
    await front.ask(Authorization="Basic x")
    await front.ask()
    assert (len(front.asked), front.asked[0].header("authorization")) == (calls, "Basic x")


async def test_rfc9111_4_what_may_not_be_stored_is_for_its_own_asker_alone(front: Front) -> None:
    numbers = iter(range(100))
    front.answers = lambda _: reply((b"Cache-Control", b"no-store"), body=b"%d" % next(numbers))
    answers = await asyncio.gather(*(front.ask() for _ in range(8)))
    assert len({answer.content for answer in answers}) == 8


@pytest.mark.parametrize(
    ("directives", "status"),
    [
        pytest.param(b"max-age=0, stale-if-error=60", 200, id="rfc5861-4"),
        pytest.param(b"max-age=0", 502, id="rfc9111-4.2.4-not-allowed"),
        pytest.param(b"max-age=0, stale-if-error=60, must-revalidate", 502, id="rfc9111-5.2.2.2"),
    ],
)
async def test_stale_answers_stand_in_only_where_the_origin_says_so(
    front: Front, directives: bytes, status: int
) -> None:
    front.answers = lambda _: reply((b"Cache-Control", directives), TAG)
    await front.ask()
    front.answers = lambda _: None
    answer = await front.ask()
    # On the connection that was kept and ended, and once more on a new one.
    assert (answer.status_code, len(front.asked)) == (status, 3)
    if status == 200:
        assert re.search(r"; fwd=stale; ttl=-\d+; detail=UpstreamDisconnected$", answer.headers["cache-status"])


async def test_a_resetting_origin_closes_no_gate(front: Front) -> None:
    front.answers = lambda _: None
    for _ in range(5):
        assert (await front.ask()).status_code == 502
    front.answers = lambda _: reply(FRESH)
    assert (await front.ask()).status_code == 200


async def test_rfc5861_3_a_stale_answer_serves_while_it_is_refreshed(front: Front) -> None:
    front.answers = lambda _: reply((b"Cache-Control", b"max-age=0, stale-while-revalidate=60"))
    await front.ask()
    front.answers = lambda _: reply(FRESH, body=b"new")
    stale = await front.ask()
    assert (stale.content, "detail=refreshing" in stale.headers["cache-status"]) == (BODY, True)
    async with asyncio.timeout(10):
        while (await front.ask()).content != b"new":
            await asyncio.sleep(0.01)
    assert len(front.asked) == 2


async def test_rfc9111_5_2_1_7_only_what_is_stored(front: Front) -> None:
    answer = await front.ask(Cache_Control="only-if-cached")
    assert (answer.status_code, answer.json()["code"], front.asked) == (504, "GatewayNotCached", [])
    await front.ask()
    assert (await front.ask(Cache_Control="only-if-cached")).status_code == 200


async def test_rfc9111_5_2_1_4_no_cache_is_granted_at_any_age(front: Front) -> None:
    await front.ask()
    await front.ask(Cache_Control="no-cache")
    assert len(front.asked) == 2


async def test_rfc9110_15_2_interim_answers_are_passed_over_and_unusual_statuses_on(front: Front) -> None:
    front.answers = lambda _: b"HTTP/1.1 103 Early\r\nLink: </x>\r\n\r\n" + reply(FRESH, status=299)
    for _ in range(2):
        answer = await front.ask()
        assert (answer.status_code, "link" in answer.headers) == (299, False)
    assert len(front.asked) == 1


async def test_rfc9112_6_3_what_follows_an_answer_is_nobodys_answer(front: Front) -> None:
    front.answers = lambda _: reply(FRESH, body=b"ten bytes!") + reply(FRESH, body=b"stolen")
    for target in ("/a", "/b", "/a"):
        assert (await front.ask(target)).content == b"ten bytes!"
    assert len(front.asked) == 2


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH", "PURGE", "LINK"])
async def test_rfc9111_4_4_an_unsafe_request_passes_and_invalidates(front: Front, method: str) -> None:
    await front.ask("/a")
    await front.ask("/b")
    front.answers = lambda _: reply((b"Location", b"/b"), status=201, body=b"made")
    passed = await front.ask("/a", method, content=b"content")
    assert (passed.status_code, passed.content) == (201, b"made")
    assert "; fwd=method" in passed.headers["cache-status"]
    assert (front.asked[-1].method, front.asked[-1].body) == (method, b"content")
    front.answers = lambda _: reply(FRESH, body=b"new")
    assert [(await front.ask(target)).content for target in ("/a", "/b")] == [b"new", b"new"]


@pytest.mark.parametrize(("method", "status"), [("POST", 500), ("OPTIONS", 200)])
async def test_rfc9111_4_4_a_failed_or_a_safe_request_invalidates_nothing(
    front: Front, method: str, status: int
) -> None:
    await front.ask()
    front.answers = lambda _: reply(status=status)
    assert (await front.ask(method=method)).status_code == status
    assert (await front.ask()).content == BODY
    assert len(front.asked) == 2


async def said(front: Front, data: bytes, answers: int = 1) -> list[WireAnswer]:
    """The answers to these bytes."""

    def ask() -> list[WireAnswer]:
        with Wire(("127.0.0.1", front.gateways[0].port)) as wire:
            wire.send(data)
            return [wire.answer() for _ in range(answers)]

    return await asyncio.to_thread(ask)


async def test_rfc9110_7_6_2_options_go_as_far_as_they_may_and_one_hop_less(front: Front) -> None:
    front.answers = lambda _: reply(body=b"")
    for told, passed in ((b"1", "0"), (b"10", "9"), (b"007", "6"), (b"9" * 30, "999999998"), (b"x", "x")):
        data = b"OPTIONS /a HTTP/1.1\r\nHost: a\r\nMax-Forwards: " + told + b"\r\n\r\n"
        assert (await said(front, data))[0].status == 200
        assert front.asked[-1].header("max-forwards") == passed
    front.asked.clear()
    for fields in (b"Max-Forwards: 0", b"Max-Forwards: 00", b"Max-Forwards: 5\r\nmax-forwards: 0"):
        (answer,) = await said(front, b"OPTIONS /a HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n\r\n")
        assert (answer.status, answer.headers["allow"]) == (204, "GET, HEAD, DELETE, OPTIONS, PATCH, POST, PUT")
    for target in (b"*", b"http://localhost:%d" % front.gateways[0].port):
        (answer,) = await said(front, b"OPTIONS " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (answer.status, answer.headers["cache-control"]) == (204, "no-store")
    (answer,) = await said(front, b"TRACE /a HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n")
    assert answer.status == 405
    assert front.asked == []


async def test_rfc9110_7_6_2_the_hops_of_other_methods_are_nobodys_business(front: Front) -> None:
    for method in (b"GET", b"POST"):
        data = method + b" /hops HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n"
        assert (await said(front, data))[0].status == 200
        assert front.asked[-1].header("max-forwards") == "0"


@pytest.mark.parametrize("lane", ["true", "false"])
async def test_rfc3986_3_4_an_empty_query_is_not_none(tmp_path: Path, lane: str) -> None:
    async with fronted(tmp_path, fast_lane=lane) as front:
        front.answers = lambda asked: reply(FRESH, body=asked.target.encode())
        targets = ["/x", "/x?", "/x??", "/?", "/", "//x", "//x?", "/x?&", "/x/../y", "/%7e", "/~"]
        own = f"http://localhost:{front.gateways[0].port}"
        for form in ("", own):
            for _ in range(4):
                data = b"".join(f"GET {form}{target} HTTP/1.1\r\nHost: a\r\n\r\n".encode() for target in targets)
                answers = await said(front, data, len(targets))
                assert [answer.body.decode() for answer in answers] == targets
        assert [asked.target for asked in front.asked] == targets
        await said(front, b"POST /x? HTTP/1.1\r\nHost: a\r\n\r\n")
        front.answers = lambda _: reply((b"Location", b"/?"), status=201, body=b"")
        await said(front, b"POST /y HTTP/1.1\r\nHost: a\r\n\r\n")
        front.asked.clear()
        front.answers = lambda asked: reply(FRESH, body=asked.target.encode())
        await said(front, data, len(targets))
        assert [asked.target for asked in front.asked] == ["/x?", "/?"]


async def test_rfc9111_4_4_the_whole_fleet_forgets(tmp_path: Path, shared_redis: RedisServer, prefix: str) -> None:
    async with fronted(tmp_path, 2, redis_url=shared_redis.url, redis_prefix=prefix) as front:
        assert [(await front.ask(at=at)).content for at in (0, 1, 1)] == [BODY] * 3
        front.answers = lambda _: reply(FRESH, body=b"new")
        await front.ask(method="POST", at=0)
        async with asyncio.timeout(10):
            while (await front.ask(at=1)).content != b"new":
                await asyncio.sleep(0.01)
        assert (await front.ask(at=0)).content == b"new"


async def test_rfc9111_4_4_no_answer_from_before_a_change_is_given_elsewhere_after_it(
    tmp_path: Path, shared_redis: RedisServer, prefix: str
) -> None:
    versions = count()
    with chaos_proxy(shared_redis.port) as proxy:
        proxy.lag = 0.1  # what the first knows, Redis learns late
        shared: dict[str, object] = {"redis_url": shared_redis.url, "redis_prefix": prefix, "redis_timeout": 5}
        async with fronted(tmp_path, 2, {"redis_url": proxy.url}, **shared) as front:
            front.answers = lambda _: reply(FRESH, body=b"%d" % next(versions))
            before = await front.ask(Host="a")
            changed = await front.ask(method="POST", at=1, content=b"", Host="a")
            after = await front.ask(at=1, Host="a")
    assert int(before.text) < int(changed.text) < int(after.text)


async def test_rfc9110_8_4_a_content_coding_of_the_origin_is_left_alone(front: Front) -> None:
    front.answers = lambda _: reply(FRESH, (b"Content-Encoding", b"br"))
    async with front.client.stream(
        "GET", front.gateways[0].url + "/a", headers={"Accept-Encoding": "br"}
    ) as answer:
        assert b"".join([piece async for piece in answer.aiter_raw()]) == BODY
        assert answer.headers["content-encoding"] == "br"
    assert front.asked[0].header("accept-encoding") == "br"


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    path = tmp_path / "tenants.toml"
    words = [sys.executable, "-m", "gateway", "tenant", "add", "reports", "--name", "Reports"]
    subprocess.run(words, env=os.environ | {"STATS_GATEWAY_REGISTRY": str(path)}, check=True, capture_output=True)
    return path


def test_the_generic_profile_goes_with_no_tenants(registry: Path) -> None:
    environment: dict[str, Any] = os.environ | {
        "STATS_GATEWAY_REGISTRY": str(registry),
        "STATS_GATEWAY_PROFILE": "generic",
    }
    words = [
        sys.executable,
        "-m",
        "gateway",
        "serve",
        "--port",
        str(free_port()),
        "--admin-port",
        str(free_port()),
    ]
    ended = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 2
    assert "no tenants" in ended.stderr
    assert "Traceback" not in ended.stderr
