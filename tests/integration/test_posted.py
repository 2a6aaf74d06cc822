"""A question that is asked by POST, in literal bytes, at two gateways on one Redis, before a recorder."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import httpx2 as httpx
import pytest

from tests.integration.recorder import Heard, Recorder, recording
from tests.integration.stage import Process, Stage, staged, until
from tests.loopback import LOOPBACK
from tests.redis_server import RedisServer
from tests.wire import Wire, WireAnswer, ask, get

TARGET = "/count/articles"
PAGE, TOKEN = "https://dashboard.example.org", "an-admin-token"
MOST = 65_536
REFUSED, FAILING, UNCHANGED, LOST, HELD = range(900_001, 900_006)
"""Groups at which the answer is another: a 400 that echoes, a failure, a 304, none at first, a late one."""
fresh_id = count(1_000).__next__


@dataclass
class Service:
    """Counts 20 articles in every group."""

    fails: bool = False
    lost: set[str] = field(default_factory=set)
    released: threading.Event = field(default_factory=threading.Event)

    def answer(self, heard: Heard) -> bytes:
        try:
            groups = [group["id"] for group in json.loads(heard.body)["groups"]]
        except (ValueError, KeyError, TypeError, RecursionError):
            groups = [REFUSED]
        if LOST in groups and "again" not in self.lost:
            self.lost.add("again")
            return b""
        if HELD in groups:
            assert self.released.wait(20)
        if REFUSED in groups:
            echo = {"message": heard.body.decode("latin-1"), "code": "InvalidParams", "data": None}
            return framed(400, json.dumps(echo).encode())
        if UNCHANGED in groups and self.fails:
            return b'HTTP/1.1 304 Said\r\nETag: "v1"\r\n\r\n'
        if FAILING in groups and self.fails:
            return framed(500, b'{"message": "down", "code": "Down", "data": null}')
        return framed(200, json.dumps({str(group): 20 for group in groups}).encode())


def framed(status: int, body: bytes) -> bytes:
    lines = [b"HTTP/1.1 %d Said" % status, b"Content-Type: application/json; charset=UTF-8", b'ETag: "v1"']
    return b"\r\n".join([*lines, b"Content-Length: %d" % len(body), b"", b""]) + body


@dataclass
class Front:
    service: Service
    origin: Recorder
    stage: Stage

    @property
    def key(self) -> str:
        return f"X-API-Key: {self.stage.keys['reports']}"

    def address(self, number: int = 0) -> tuple[str, int]:
        return ("127.0.0.1", self.stage.gateways[number].port)

    def ask(self, content: bytes, *fields: str, target: str = TARGET, number: int = 0) -> WireAnswer:
        return ask(self.address(number), post(content, *(fields or (self.key,)), target=target))

    def admin(self, method: str, path: str, **more: Any) -> Any:
        url = f"http://127.0.0.1:{self.stage.gateways[0].admin_port}{path}"
        headers = {"Authorization": f"Bearer {TOKEN}"}
        return httpx.request(method, url, headers=headers, **more, **LOOPBACK).raise_for_status().json()


@pytest.fixture(scope="module")
def running(shared_redis: RedisServer) -> Iterator[Front]:
    service = Service()
    shared = {"redis_url": shared_redis.url, "redis_prefix": f"t{secrets.token_hex(6)}", "budget": "unlimited"}
    # A client that wishes so gets the fresher answer at once.
    more = {"refresh_floor": 0, "body_timeout": 1, "admin_token": TOKEN, "allow_anonymous": "true"}
    with recording(service.answer) as origin, staged(upstream=origin.url, **shared, **more) as stage:
        stage.tenant("reports", "lboro")
        stage.tenant("slow", "lboro")
        stage.registry().change("reports", origins=[PAGE])
        stage.registry().change("slow", limits={"requests_per_second": 0.01, "burst": 2})
        stage.serve()
        stage.serve()
        yield Front(service, origin, stage)


@pytest.fixture
def front(running: Front) -> Front:
    running.origin.forget()
    running.service.fails = False
    return running


def post(content: bytes, *fields: str, target: str = TARGET, kind: str = "application/json") -> bytes:
    lines = [
        f"POST {target} HTTP/1.1",
        "Host: gateway",
        f"Content-Type: {kind}",
        f"Content-Length: {len(content)}",
    ]
    return "\r\n".join([*lines, *fields, "", ""]).encode("latin-1") + content


def groups(*ids: int) -> bytes:
    return json.dumps({"groups": [{"id": each} for each in ids]}).encode()


def status_of(answer: WireAnswer) -> str:
    return answer.headers["cache-status"].removeprefix("stats-gateway; ")


def test_a_count_is_asked_once_whoever_asks_and_however_it_is_spaced(front: Front) -> None:
    number = fresh_id()
    first = front.ask(groups(number))
    assert (first.status, first.body) == (200, b'{"%d": 20}' % number)
    assert status_of(first) == "fwd=uri-miss; stored"
    assert first.headers["content-type"] == "application/json; charset=UTF-8"
    assert first.headers["cache-control"].startswith("private, max-age=")
    spaced = b'{\r\n  "groups" : [ {"id" : %d} ]\r\n}' % number
    again = [
        front.ask(groups(number)),
        front.ask(spaced),
        front.ask(spaced, number=1),
        front.ask(groups(number), "X-Nothing: a"),  # without a key
        ask(front.address(), post(spaced, front.key, kind="application/json;charset=utf-8")),
    ]
    assert {each.body for each in again} == {first.body}
    assert all(status_of(each).startswith("hit; ttl=") for each in again)
    assert again[3].headers["cache-control"].startswith("public, max-age=")
    (heard,) = front.origin.heard
    assert heard.line == b"POST /count/articles HTTP/1.1"
    assert b"authorization" not in heard.head.lower()


DOUBTFUL = {
    "a name twice": b'{"groups": [], "groups": [{"id": %d}]}',
    "a fraction": b'{"groups": [{"id": %d}], "x": 1.0}',
    "nested deeply": b'{"groups": [{"id": %d}], "x": ' + b"[" * 3_000 + b"]" * 3_000 + b"}",
    "no JSON": b"groups=%d",
    "not UTF-8": b'{"groups": [{"id": %d}], "x": "\xff"}',
}


@pytest.mark.parametrize("content", DOUBTFUL.values(), ids=DOUBTFUL)
def test_what_may_mean_something_else_is_another_question(front: Front, content: bytes) -> None:
    content = content % fresh_id()
    for spelling in (content, content, content + b" ", content + b" "):
        assert front.ask(spelling).status in (200, 400)
    assert [heard.body for heard in front.origin.heard] == [content, content + b" "]


def test_the_order_of_groups_is_the_answers(front: Front) -> None:
    one, other = fresh_id(), fresh_id()
    assert front.ask(groups(one, other)).body == b'{"%d": 20, "%d": 20}' % (one, other)
    assert front.ask(groups(other, one)).body == b'{"%d": 20, "%d": 20}' % (other, one)
    assert len(front.origin.heard) == 2


def test_another_description_of_the_same_bytes_is_another_question(front: Front) -> None:
    content = groups(fresh_id())
    for kind in ("application/json", "text/plain", "application/json; charset=latin-1"):
        ask(front.address(), post(content, front.key, kind=kind))
    ask(front.address(), post(content, front.key, "Content-Encoding: gzip"))
    ask(front.address(), post(content, front.key, "Content-Encoding: gzip"))
    heads = [heard.head for heard in front.origin.heard]
    assert len(heads) == 4
    assert b"text/plain" in heads[1]
    assert b"charset=latin-1" in heads[2]
    assert b"\r\ncontent-encoding: gzip" in heads[3].lower()
    assert {heard.body for heard in front.origin.heard} == {content}


def sized(content: bytes) -> list[bytes]:
    return [b"Content-Length: %d\r\n\r\n" % len(content) + content]


def chunked(content: bytes) -> list[bytes]:
    chunks = b"".join(b"1;a=b\r\n%c\r\n" % each for each in content)
    return [b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\nX-Evil: a\r\n\r\n"]


def dripped(content: bytes) -> list[bytes]:
    return [b"Content-Length: %d\r\n\r\n" % len(content), *(bytes([each]) for each in content)]


FRAMINGS = {"sized": sized, "chunked": chunked, "dripped": dripped}


@pytest.mark.parametrize("framing", FRAMINGS.values(), ids=FRAMINGS)
def test_the_clients_own_bytes_go_to_the_service_however_they_came(front: Front, framing: Any) -> None:
    content = b' {"groups" :[{"id":%d}]}\n' % fresh_id()
    head = f"POST {TARGET}?from=a%20page HTTP/1.1\r\nHost: g\r\n{front.key}\r\nCookie: a=b\r\nX-Own: a\r\n"
    with Wire(front.address()) as wire:
        first, *rest = framing(content)
        wire.send(head.encode() + b"content-type: application/json\r\n" + first)
        for piece in rest:
            wire.send(piece)
        assert wire.answer().status == 200
        wire.send(get("/-/health/live"))  # the connection is where it should be
        assert wire.answer().status == 200
    (heard,) = front.origin.heard
    assert (heard.line, heard.body) == (b"POST /count/articles?from=a%20page HTTP/1.1", content)
    fields = sorted(line.partition(b":")[0].lower() for line in heard.head.split(b"\r\n")[1:])
    expected = [b"accept", b"accept-encoding", b"content-length", b"content-type", b"host", b"user-agent", b"via"]
    assert fields == expected
    assert b"\r\nContent-Length: %d" % len(content) in heard.head


def test_rfc9110_10_1_1_who_waits_for_leave_gets_it_and_who_is_refused_does_not(front: Front) -> None:
    content = groups(fresh_id())
    head = post(content, front.key, "Expect: 100-continue").removesuffix(content)
    with Wire(front.address()) as wire:
        wire.send(head)
        assert wire.socket.recv(100).startswith(b"HTTP/1.1 100 Continue\r\n")
        assert wire.send(content).answer().status == 200
    with Wire(front.address()) as wire:
        wire.send(head.replace(front.key.encode(), b"X-API-Key: nonsense"))
        assert wire.answer().status == 401
    assert len(front.origin.heard) == 1


def test_rfc9110_15_5_14_a_content_over_64_kib_is_refused_however_it_comes(front: Front) -> None:
    room = MOST - len(groups(100_000)) - len(b',"x":""') + 1
    whole = groups(100_000)[:-1] + b',"x":"' + b"a" * room + b'"}'
    assert len(whole) == MOST + 1
    fitting = whole.replace(b"aa", b"a", 1)
    assert front.ask(fitting).status == 200
    for data in (
        post(whole, front.key),
        post(b"", front.key).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        + b"10001\r\n"
        + whole
        + b"\r\n0\r\n\r\n",
    ):
        answer = ask(front.address(), data)
        assert (answer.status, answer.code) == (413, "GatewayBodyTooLarge")
    assert [heard.body for heard in front.origin.heard] == [fitting]


def test_a_content_that_does_not_come_is_waited_for_a_while_and_asks_nothing(front: Front) -> None:
    content = groups(fresh_id())
    data = post(content, front.key)[: -len(content) // 2]
    with Wire(front.address()) as left:
        left.send(data)
    with Wire(front.address()) as wire:
        answer = wire.send(data).answer()
        assert (answer.status, answer.closes) == (408, True)
    assert not front.origin.heard
    assert front.ask(content).status == 200
    assert "internal_error" not in front.stage.gateways[0].output


def test_no_other_method_and_no_other_place_takes_a_question(front: Front) -> None:
    content = groups(1)
    for method in ("PUT", "DELETE", "PATCH"):
        refused = ask(front.address(), post(content, front.key).replace(b"POST", method.encode(), 1))
        assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD, POST"), method
    for target in (
        "/lboro/count/articles",
        "/count/articles/",
        "/coun%74/articles",
        "/count/views",
        "/total/views/article/1",
    ):
        for data in (post(content, front.key, target=target), post(b"", front.key, target=target)):
            refused = ask(front.address(), data)
            assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD"), target
    assert not front.origin.heard
    body = b"GET /count/articles HTTP/1.1\r\nHost: g\r\nContent-Length: 2\r\n\r\n{}"
    assert ask(front.address(), body).status == 400
    # As for any endpoint that nobody described.
    for _ in range(2):
        assert ask(front.address(), get(TARGET, front.key)).status == 400
    assert ask(front.address(), post(groups(1), front.key)).status == 200
    assert [heard.line[:5] for heard in front.origin.heard] == [b"GET /", b"POST "]


def test_rfc9112_3_2_2_a_target_in_absolute_form_asks_the_same(front: Front) -> None:
    content, host = groups(fresh_id()), f"localhost:{front.address()[1]}"
    assert front.ask(content, target=f"http://{host}{TARGET}").status == 200
    assert status_of(front.ask(content)).startswith("hit")
    assert front.ask(content, target=f"http://elsewhere.example{TARGET}").status == 421


def cors(answer: WireAnswer) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith("access-control-")}


def test_fetch_3_2_a_page_may_ask_and_read_what_it_asked(front: Front) -> None:
    content = groups(fresh_id())
    wanted = (
        f"Origin: {PAGE}",
        "Access-Control-Request-Method: POST",
        "Access-Control-Request-Headers: content-type",
    )
    for target, methods in (
        (TARGET, "GET, HEAD, POST"),
        (f"{TARGET}?a=b", "GET, HEAD, POST"),
        ("/a", "GET, HEAD"),
    ):
        data = get(target, *wanted).replace(b"GET", b"OPTIONS", 1)
        granted = ask(front.address(), data, head=True)  # nothing follows its head
        assert (granted.status, cors(granted)["access-control-allow-methods"]) == (204, methods)
    for _ in range(3):
        mine = front.ask(content, front.key, f"Origin: {PAGE}")
        assert (mine.status, cors(mine)["access-control-allow-origin"]) == (200, PAGE)
        assert "Origin" in mine.headers["vary"]
        assert not cors(front.ask(content, front.key, "Origin: https://evil.example"))
        assert cors(front.ask(content, f"Origin: {PAGE}"))["access-control-allow-origin"] == "*"
    refused = front.ask(content, "X-API-Key: nonsense", f"Origin: {PAGE}")
    assert (refused.status, cors(refused)["access-control-allow-origin"]) == (401, "*")


def test_an_error_that_echoes_is_kept_for_the_very_same_request_alone(front: Front) -> None:
    content = b'{"groups": [{"id": %d}, {"id": %d}]}' % (REFUSED, fresh_id())
    for spelling in (content, content + b" "):
        miss, hit = front.ask(spelling), front.ask(spelling)
        assert (miss.status, status_of(miss)) == (400, "fwd=uri-miss; stored")
        assert status_of(hit).startswith("hit; ttl=")
        assert json.loads(miss.body)["message"] == json.loads(hit.body)["message"] == spelling.decode()
    assert len(front.origin.heard) == 2


def test_rfc9110_13_1_2_what_is_posted_is_never_conditional(front: Front) -> None:
    content = groups(fresh_id())
    front.ask(content)
    fresher = front.ask(content, front.key, "Cache-Control: no-cache", 'If-None-Match: "v1"', "Range: bytes=0-1")
    assert (fresher.status, status_of(fresher)) == (200, "fwd=request; stored")
    hit = front.ask(content, front.key, 'If-None-Match: "v1"', "Range: bytes=0-1")
    assert (hit.status, hit.body) == (200, fresher.body)
    assert len(front.origin.heard) == 2
    assert all(b"if-none-match" not in heard.head.lower() for heard in front.origin.heard)


@pytest.mark.parametrize(("group", "why"), [(FAILING, "upstream-500"), (UNCHANGED, "UpstreamProtocolError")])
def test_rfc5861_4_what_is_kept_stands_in_for_a_failure(front: Front, group: int, why: str) -> None:
    content = groups(group)
    stored = front.ask(content)
    front.service.fails = True
    stale = front.ask(content, front.key, "Cache-Control: no-cache")
    assert (stale.status, stale.body) == (200, stored.body)
    assert f"detail={why}" in status_of(stale)


def test_all_who_ask_at_once_in_the_whole_fleet_make_one_call(front: Front) -> None:
    number = fresh_id()
    spellings = [groups(HELD, number), b'{"groups":[{"id":%d},{"id":%d}]}' % (HELD, number)]
    front.service.released.clear()
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(front.ask, spellings[n % 2], number=n // 4) for n in range(8)]
        until(lambda: sum(each.metric("stats_gateway_flight_waiters") for each in front.stage.gateways) == 8)
        front.service.released.set()
        answers = [each.result() for each in asked]
    assert {(each.status, each.body) for each in answers} == {(200, b'{"%d": 20, "%d": 20}' % (HELD, number))}
    assert len(front.origin.heard) == 1


def test_a_kept_connection_that_ends_costs_no_answer(front: Front) -> None:
    front.service.lost.clear()
    assert front.ask(groups(fresh_id())).status == 200
    content = groups(LOST, fresh_id())
    assert front.ask(content).status == 200
    assert [heard.body for heard in front.origin.heard[1:]] == [content, content]


def test_who_has_a_limit_pays_as_for_any_read_and_is_refused_before_the_content_is_read(front: Front) -> None:
    key = f"X-API-Key: {front.stage.keys['slow']}"
    content = groups(fresh_id())
    answers = [front.ask(content, key) for _ in range(6)]
    assert {each.status for each in answers[:2]} == {200}
    assert (answers[-1].status, answers[-1].code) == (429, "GatewayRateLimited")
    with Wire(front.address()) as wire:
        assert wire.send(post(content, key).removesuffix(content)).answer().status == 429


def test_the_same_head_with_another_content_is_another_question(front: Front) -> None:
    one, other = fresh_id(), fresh_id()
    with Wire(front.address()) as wire:
        for number in (one, other) * 4:
            assert wire.send(post(groups(number), front.key)).answer().body == b'{"%d": 20}' % number
        for _ in range(4):  # an empty one, whose head is all there is
            assert wire.send(post(b"", front.key)).answer().status == 400
    assert len(front.origin.heard) == 3


@pytest.mark.parametrize("subject", [{"query": TARGET}, {"all": True}], ids=["its target", "all"])
def test_a_purge_covers_it_and_explain_knows_it(front: Front, subject: dict[str, Any]) -> None:
    content = groups(fresh_id())
    front.ask(content)
    asked = {"path": TARGET, "tenant": "reports", "body": content.decode().replace(" ", "")}
    told = front.admin("GET", "/api/explain", params=asked)
    assert (told["query"]["family"], told["scope"], told["decision"]) == ("count", {"kind": "public"}, "Serve")
    assert told["lifetime"]["rule"] == "totals"
    assert front.admin("POST", "/api/purge/preview", json=subject)["matching"] > 0
    front.admin("POST", "/api/purge", json=subject | {"hard": True})
    assert front.admin("GET", "/api/explain", params=asked)["decision"] == "Fetch"
    assert status_of(front.ask(content)) == "fwd=uri-miss; stored"


def test_it_is_counted_and_logged_as_what_it_is(front: Front) -> None:
    gateway: Process = front.stage.gateways[0]
    front.ask(groups(fresh_id()), front.key, "X-Request-Id: a-count-of-ours")
    until(lambda: "a-count-of-ours" in gateway.output)
    (line,) = [each for each in gateway.settled.splitlines() if "a-count-of-ours" in each and '"request"' in each]
    assert json.loads(line)["family"] == "count"
    assert json.loads(line)["method"] == "POST"
