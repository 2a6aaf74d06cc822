"""The fast lane beside the way of a request: two gateways on one Redis, one with the lane and one without,
are sent the same bytes, and must answer alike; the lane's answers are the later ones."""

from __future__ import annotations

import base64
import json
import random
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

import pytest

from tests.integration.stage import Process, Stage, staged
from tests.redis_server import RedisServer
from tests.wire import Wire, get, shown

CLOSED = b"?start_date=2014-01-01&end_date=2014-12-31"
TARGETS = [
    b"/lboro/timeline/month/views/article/23" + CLOSED,
    b"/lboro/timeline/day/downloads/author/7" + CLOSED,
    b"/lboro/breakdown/total/views/article/23" + CLOSED,
    b"/lboro/top/views/article?count=5",
    b"/total/views/article/23",
    b"/total/views/article/23?",
    b"/total/views/article/%32%33",
    b"/timeline/fortnight/views/article/23",
    b"/nothing/of/the/sort",
    b"/monash/timeline/month/views/article/23" + CLOSED,
]
METHODS = [b"GET"] * 6 + [b"HEAD", b"HEAD", b"POST", b"OPTIONS", b"get"]
CHUNKED = b"Transfer-Encoding: chunked"
VARIED = [
    b"Accept-Encoding: gzip",
    b"Accept-Encoding: zstd;q=1, gzip;q=0.5",
    b"Accept-Encoding: identity",
    b"If-None-Match: *",
    b'If-None-Match: "other"',
    b"If-Modified-Since: Wed, 25 Nov 2099 00:00:00 GMT",
    b"Range: bytes=0-9",
    b"Range: bytes=999999-",
    b"Cache-Control: max-age=100000",
    b"Cache-Control: no-cache",
    b"Cache-Control: only-if-cached",
    b"Pragma: no-cache",
    b"Origin: https://pages.example",
    b"X-Request-Id: mine-0001",
    b"X-Request-Id: not one!",
    b"Connection: close",
    b"Connection: keep-alive",
    b"Connection: Upgrade\r\nUpgrade: websocket",
    b"Expect: 100-continue",
    b"Content-Length: 0",
    b"Content-Length: 3",
    CHUNKED,
    b"Host: twice",
    b"Broken header",
    b"X-Obsolete: a\r\n folded",
]
INERT = [
    b"X-Request-Id: once-@", b"User-Agent: agent @", b"Accept: */*", b"Accept-Language: de", b"Cookie: a=@",
    b"X-Forwarded-For: 192.0.2.@, 10.0.0.@", b"X-Real-IP: 192.0.2.@", b"Forwarded: for=192.0.2.@", b"Via: 1.1 p@",
    b"X-Forwarded-Proto: https", b"Sec-Fetch-Site: cross-site", b"Sec-Fetch-Mode: cors", b"Referer: https://@/",
    b"traceparent: 00-0000000000000000000000000000000@-0000000000000001-01", b"tracestate: v=@", b"Priority: u=@",
    b'If-None-Matched: "@"', b"X-Api-Keys: @", b"Range-Unit: bytes=@", b"Te: trailers", b"X-@: @", b"Empty:",
]  # fmt: skip
"""Lines that change nothing; each time that they are sent, @ is another digit."""
ROUNDS = 4
"""The first fills both caches, so that only those after it can be compared; the lane learns in the second."""


@dataclass
class Pair:
    """A gateway with the lane, and one without; and how its callers introduce themselves."""

    lane: Process
    plain: Process
    keys: list[bytes]
    stage: Stage

    def addresses(self) -> list[tuple[str, int]]:
        return [("127.0.0.1", self.lane.port), ("127.0.0.1", self.plain.port)]

    def given(self) -> float:
        return self.lane.metric("stats_gateway_prepared_answers_total")


@pytest.fixture(scope="module")
def pair(shared_redis: RedisServer) -> Iterator[Pair]:
    settings = {"redis_url": shared_redis.url, "redis_prefix": "lane", "budget": "unlimited"}
    with staged(
        "--no-examples", **settings, invalid_keys_per_minute=0, allow_anonymous=True, anonymous_burst=100_000
    ) as stage:
        key = stage.tenant("reports", "lboro").encode()
        stage.registry().change(
            "reports", limits={"requests_per_second": 50_000.0}, origins=["https://pages.example"]
        )
        basic = base64.b64encode(b"anyone:" + key)
        yield Pair(
            stage.serve(log_hits=0),
            stage.serve(prepared_max_bytes=0),
            [
                b"X-API-Key: " + key,
                b"Authorization: Bearer " + key,
                b"Authorization: Basic " + basic,
                b"X-API-Key: " + key[:-1] + b"-",
                b"X-API-Key: " + key + b"\r\nX-API-Key: " + key,
                b"",
            ],
            stage,
        )


def request(draw: random.Random, keys: list[bytes]) -> bytes:
    """A request's head, mostly a sound one, and the end of its chunks where it announces some."""
    key = draw.choice(keys[:3]) if draw.random() < 0.7 else draw.choice(keys)
    lines = [b"Host: gateway", key, *draw.sample(VARIED, draw.choice([0, 0, 1, 1, 2, 3]))]
    lines += draw.sample(INERT, draw.choice([0, 0, 2, 5]))
    draw.shuffle(lines)
    version = b"HTTP/1.0" if draw.random() < 0.05 else b"HTTP/1.1"
    first = b" ".join((draw.choice(METHODS), draw.choice(TARGETS), version))
    end = b"0\r\n\r\n" if CHUNKED in lines else b""
    return b"".join(line + b"\r\n" for line in (first, *lines) if line) + b"\r\n" + end


def once(text: bytes) -> bytes:
    """What is sent this time."""
    return re.sub(rb"@", lambda _: b"%d" % random.randrange(10), text)


def everything(address: tuple[str, int], methods: list[bytes], *pieces: bytes) -> bytes:
    """What comes back for these pieces, sent one by one: an answer to each method, or all until the end."""
    with socket.create_connection(address, timeout=20) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            connection.sendall(piece)
        with connection.makefile("rb") as stream:
            return b"".join(one_answer(stream, method) for method in methods)


def one_answer(stream: IO[bytes], method: bytes) -> bytes:
    """The next answer, after any interim ones; what there is of it where the connection ends."""
    received = b""
    while True:
        head = b""
        while (line := stream.readline()) not in (b"\r\n", b""):
            head += line
        received += head + line
        status, length = head[9:12], re.search(rb"\r\ncontent-length: (\d+)", head)
        if not line or (status[:1] != b"1" and (method == b"HEAD" or status == b"304" or length is None)):
            return received
        if status[:1] != b"1" and length is not None:
            return received + stream.read(int(length[1]))


def method_of(head: bytes) -> bytes:
    return head.partition(b" ")[0]


def is_last(head: bytes) -> bool:
    """Whether the connection ends with the answer."""
    return b" HTTP/1.0\r" in head or b"Connection: close" in head


def alike(one: bytes, other: bytes) -> bool:
    """Whether two answers differ in nothing but request ids, what is left of a limit, and a second or two."""
    ours, theirs = (re.split(rb"(?<=\r\n)", each) for each in (one, other))
    return len(ours) == len(theirs) and all(map(_same, ours, theirs))


GENERATED = re.compile(rb"x-request-id: [0-9a-f]{16}\r\n")


def _same(one: bytes, other: bytes) -> bool:
    if one == other:
        return True
    name = one.partition(b":")[0]
    if name != other.partition(b":")[0]:
        return False
    if name == b"x-request-id":
        return GENERATED.fullmatch(one) is not None and GENERATED.fullmatch(other) is not None
    if name in (b"ratelimit", b"date"):
        return True
    numbers = [[int(number) for number in re.findall(rb"\d+", line)] for line in (one, other)]
    return (
        name in (b"age", b"cache-control", b"cache-status")
        and re.sub(rb"\d+", b"", one) == re.sub(rb"\d+", b"", other)
        and all(abs(ours - theirs) <= 2 for ours, theirs in zip(*numbers, strict=True))
    )


@pytest.mark.parametrize("seed", range(12))
def test_generated_requests_are_answered_alike_down_both_ways(pair: Pair, seed: int) -> None:
    draw = random.Random(seed)
    for _ in range(25):
        head = request(draw, pair.keys)
        for number in range(ROUNDS):
            sent = once(head)
            with_lane, without = (everything(address, [method_of(head)], sent) for address in pair.addresses())
            assert alike(with_lane, without) or not number, (sent, with_lane, without)


def test_what_is_compared_really_came_by_the_lane(pair: Pair) -> None:
    heads = [
        b"%s %s HTTP/1.1\r\nHost: gateway\r\n%s\r\n%s\r\n" % (method, target, key, more)
        for method in (b"GET", b"HEAD")
        for target in TARGETS[:5]
        for key in pair.keys[:3]
        for more in (
            b"",
            b"Accept-Encoding: gzip\r\n",
            b"If-None-Match: *\r\n",
            b"".join(b"%s\r\n" % e for e in INERT),
        )
    ]
    for head in heads:
        everything(pair.addresses()[0], [method_of(head)], once(head))
        everything(pair.addresses()[0], [method_of(head)], once(head))
    before = pair.given()
    for head in map(once, heads):
        with_lane, without = (everything(address, [method_of(head)], head) for address in pair.addresses())
        assert alike(with_lane, without), (head, with_lane, without)
    assert pair.given() - before >= len(heads) * 0.9  # a second's turn of an age goes the other way


@pytest.mark.parametrize("seed", range(6))
def test_split_and_pipelined_requests_are_answered_alike(pair: Pair, seed: int) -> None:
    draw = random.Random(1_000 + seed)
    for _ in range(10):
        heads = [request(draw, pair.keys) for _ in range(draw.choice([1, 2, 3]))] * draw.choice([1, 2])
        last = next((place for place, head in enumerate(heads, 1) if is_last(head)), len(heads))
        heads = heads[:last]  # what is sent to a connection that closes resets it, and may take the answer along
        stream, methods = b"".join(heads), [method_of(head) for head in heads]
        cuts = sorted(draw.sample(range(len(stream)), draw.choice([0, 1, 3])))
        pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
        for number in range(ROUNDS):
            sent = [once(piece) for piece in pieces]
            with_lane, without = (everything(address, methods, *sent) for address in pair.addresses())
            assert alike(with_lane, without) or not number, (sent, with_lane, without)


def test_a_connection_goes_from_one_way_to_the_other_and_back(pair: Pair) -> None:
    head = b"GET %s HTTP/1.1\r\nHost: gateway\r\n%s\r\n\r\n" % (TARGETS[0], pair.keys[0])
    unknown = b"GET %s HTTP/1.1\r\nHost: gateway\r\n%s\r\nX-Once: %%d\r\n\r\n" % (TARGETS[0], pair.keys[0])
    with Wire(pair.addresses()[0]) as wire:
        bodies = set()
        for number in range(20):
            before = pair.given()
            bodies.add(wire.send(head).answer().body)
            bodies.add(wire.send(head + head).answer().body)
            bodies.add(wire.answer().body)
            bodies.add(wire.send(unknown % number).answer().body)
        assert pair.given() > before
        assert len(bodies) == 1
        assert wire.send(head[:-2] + b"Connection: close\r\n\r\n").answer().closes
        assert wire.ended()


def test_half_closed_after_the_request_its_client_gets_the_whole_answer(pair: Pair) -> None:
    head = b"GET %s HTTP/1.1\r\nHost: gateway\r\n%s\r\n\r\n" % (TARGETS[0], pair.keys[0])
    for address in pair.addresses():
        everything(address, [b"GET"], head)
        whole = everything(address, [b"GET"], head)
        for _ in range(ROUNDS):
            with socket.create_connection(address, timeout=20) as connection:
                connection.sendall(head)
                connection.shutdown(socket.SHUT_WR)
                received = b"".join(iter(lambda: connection.recv(65_536), b""))
            assert alike(received.replace(b"connection: close\r\n", b""), whole)


def test_every_tenth_hit_has_its_line_whichever_way_it_went(pair: Pair) -> None:
    gateway = pair.stage.serve(log_hits=0.1)
    head = b"GET %s HTTP/1.1\r\nHost: gateway\r\n%s\r\n\r\n" % (TARGETS[0], pair.keys[0])
    with Wire(("127.0.0.1", gateway.port)) as wire:
        began = time.monotonic()
        while gateway.output.count('"hits": ') < 3:
            wire.send(head).answer()
        passed = time.monotonic() - began
    hits = gateway.metric("stats_gateway_cache_hits_total")
    lines = [json.loads(line) for line in gateway.output.splitlines() if '"hits": ' in line]
    assert 3 <= len(lines) <= 3 + passed * 10
    assert gateway.metric("stats_gateway_prepared_answers_total") >= 0.99 * hits
    assert all(line["hits"] >= 10 for line in lines)
    assert sum(line["hits"] for line in lines) <= hits
    assert len({line["request_id"] for line in lines}) == len(lines)
    told = {"tenant": "reports", "family": "timeline", "outcome": "hit", "status": 200, "cache": "near"}
    assert all(line.items() >= (told | {"path": TARGETS[0].partition(b"?")[0].decode()}).items() for line in lines)
    assert all(line["stages"] and line["seconds"] < 10 for line in lines)


def known(pair: Pair, target: bytes = TARGETS[0]) -> bytes:
    """A head that the lane knows."""
    head = b"GET %s HTTP/1.1\r\nHost: gateway\r\n%s\r\n\r\n" % (target, pair.keys[0])
    before = pair.given()
    for _ in range(4):
        everything(pair.addresses()[0], [b"GET"], head)
    assert pair.given() > before
    return head


def pause() -> None:
    """What was sent before arrives by itself."""
    time.sleep(0.1)


def test_what_looks_like_a_known_request_is_none_inside_another_head(pair: Pair) -> None:
    head = known(pair)
    with Wire(pair.addresses()[0]) as wire:
        wire.send(b"GET /total/views/article/1 HTTP/1.1\r\nHost: gateway\r\nX-Rest: ")
        pause()
        answer = wire.send(head).answer()
        assert (answer.status, answer.code) == (400, "GatewayBadRequest")  # it has two Hosts


def test_a_known_request_waits_for_the_answer_before_it(pair: Pair) -> None:
    head = known(pair)
    with Wire(pair.addresses()[0]) as wire:
        pair.stage.close_gate()
        try:
            wire.send(b"GET /total/downloads/article/777 HTTP/1.1\r\nHost: gateway\r\n%s\r\n\r\n" % pair.keys[0])
            pause()
            wire.send(head)
            pause()
        finally:
            pair.stage.open_gate()
        first, second = wire.answer(), wire.answer()
    assert list(shown(first)) == ["totals"]
    assert list(shown(second)) == ["timeline"]


def test_nothing_is_answered_after_a_refusal(pair: Pair) -> None:
    head = known(pair)
    with Wire(pair.addresses()[0]) as wire:
        assert wire.send(b"GET / HTTP/1.1\r\n\r\n").answer().status == 400
        before = pair.given()
        wire.send(head)
        assert wire.ended()
        assert pair.given() == before


def test_what_looks_like_a_known_request_is_none_inside_a_body(pair: Pair) -> None:
    gateway = pair.stage.serve(pass_methods="POST", request_max_bytes=10_000)
    head = b"GET %s HTTP/1.1\r\nHost: gateway\r\n%s\r\n\r\n" % (TARGETS[0], pair.keys[0])
    with Wire(("127.0.0.1", gateway.port)) as wire:
        for _ in range(4):
            wire.send(head).answer()
        assert gateway.metric("stats_gateway_prepared_answers_total")
        post = b"POST %s HTTP/1.1\r\nHost: gateway\r\nX-API-Key: wrong\r\nContent-Length: %d\r\n\r\n"
        assert wire.send(post % (TARGETS[0], len(head))).answer().status == 401
        wire.send(head)  # this is the body
        pause()
        assert wire.send(get("/-/health/live")).answer().body == b'{"status":"ok"}'


def test_who_never_reads_is_not_answered_without_end(pair: Pair) -> None:
    pair.stage.plan(body=json.dumps({"totals": 1, "note": "x" * 200_000}))
    head = known(pair, b"/total/views/article/888")
    before = pair.given()
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        deaf.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        deaf.connect(pair.addresses()[0])
        for _ in range(100):
            deaf.sendall(head)
            time.sleep(0.02)
        assert 0 < pair.given() - before < 60


def test_a_connection_whose_first_request_is_known_outlives_the_time_for_a_head(pair: Pair) -> None:
    gateway = pair.stage.serve(head_timeout=0.5)
    head = b"GET %s HTTP/1.1\r\nHost: gateway\r\n%s\r\n\r\n" % (TARGETS[0], pair.keys[0])
    for _ in range(4):
        everything(("127.0.0.1", gateway.port), [b"GET"], head)
    with Wire(("127.0.0.1", gateway.port)) as wire:
        before = gateway.metric("stats_gateway_prepared_answers_total")
        assert wire.send(head).answer().status == 200
        assert gateway.metric("stats_gateway_prepared_answers_total") > before
        time.sleep(1.0)
        assert wire.send(head).answer().status == 200
