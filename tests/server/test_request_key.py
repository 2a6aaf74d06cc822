"""Request keys: what makes two requests the same, and which heads the parser has to judge."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice
from typing import Any

import httptools
import pytest

from gateway.proxy.methods import HOST
from gateway.server.head import check_head, check_request_line, content_of, origin_form
from gateway.server.layouts import EVERY, LONGEST, MOST, Layout, Layouts
from gateway.server.request_key import (
    COUNTED,
    DECLINED,
    RequestKey,
    has_key,
    key_of_head,
    key_of_scope,
    key_of_values,
)
from gateway.server.request_key import HEAD as ANY_HEAD

KEY = b"X-API-Key: sgw_0123456789_secret"
HEAD = b"GET /total/views/article/23?a=1 HTTP/1.1\r\nHost: gateway\r\n%s\r\n\r\n" % KEY
PEER = "192.0.2.1"
any_head = ANY_HEAD.fullmatch
INERT = {
    "agent": b"User-Agent: Mozilla/5.0 (X11; Linux x86_64)",
    "accept": b"Accept: application/json, text/plain, */*",
    "languages": b"Accept-Language: en-GB,en;q=0.9",
    "cookies": b"Cookie: a=1; b=\xc3\xa4",
    "hints": b'sec-ch-ua: "Chromium";v="130"',
    "fetch": b"Sec-Fetch-Site: cross-site",
    "referrer": b"Referer: https://pages.example/",
    "priority": b"Priority: u=1, i",
    "forwarding": b"X-Forwarded-For: 192.0.2.7, 10.0.0.1\r\nForwarded: for=192.0.2.7\r\nX-Real-IP: 192.0.2.7",
    "via": b"Via: 1.1 ingress\r\nVia: 1.1 other",
    "tracing": b"tracestate: vendor=1\r\nb3: 0",
    "persistent": b"Connection: Keep-Alive",
    "longer than one that counts": b"Host-Name: x\r\nX-Request-Id-2: x\r\nRanges: bytes=0-1",
    "shorter": b"Hos: x\r\nIf: x\r\nX: y",
    "strange": b"!#$%&'*+.^_`|~09: \t\x80\xff \t",
    "empty": b"X-Empty:",
}


def key(head: bytes, peer: str = PEER, *, exact: bool = False) -> RequestKey | None:
    return key_of_head(head, peer, exact=exact)


def with_line(line: bytes, head: bytes = HEAD) -> bytes:
    return head[:-2] + line + b"\r\n\r\n"


@pytest.mark.parametrize("line", INERT.values(), ids=INERT.keys())
def test_what_is_inert_makes_no_difference(line: bytes) -> None:
    first, _, rest = HEAD.partition(b"\r\n")
    assert key(with_line(line)) == key(first + b"\r\n" + line + b"\r\n" + rest) == key(HEAD) is not None
    assert key(with_line(line), "203.0.113.9") == key(HEAD)


@pytest.mark.parametrize(
    "other",
    [
        HEAD.replace(b"GET", b"HEAD"), HEAD.replace(b"23", b"24"), HEAD.replace(b"gateway", b"other"),
        HEAD.replace(b"secret", b"guess"), HEAD.replace(b"X-API-Key:", b"Authorization: Bearer"),
        with_line(b"Authorization: Bearer x"), with_line(b"Accept-Encoding: gzip"),
        with_line(b'If-None-Match: "a"'), with_line(b"If-Modified-Since: x"),
        with_line(b"Origin: https://pages.example"), with_line(b"Origin:"),
    ],
)  # fmt: skip
def test_what_counts_makes_one(other: bytes) -> None:
    found, plain = key(other), key(HEAD)
    assert found is not None
    assert plain is not None
    assert found[:2] != plain[:2]


def test_names_in_any_case_and_lines_in_any_order_are_the_same() -> None:
    lines = [b"HOST: gateway", b"x-Api-KEY:\tsgw_0123456789_secret"]
    start = HEAD.partition(b"\r\n")[0]
    assert key(b"\r\n".join((start, *reversed(lines), b"", b""))) == key(HEAD)


def test_a_request_id_and_a_trace_stand_beside() -> None:
    found, plain = key(with_line(b"X-Request-ID: a-1\r\ntraceparent: 00-1")), key(HEAD)
    assert found is not None
    assert plain is not None
    assert (found[:2], found[2:]) == (plain[:2], (b"a-1", b"00-1"))


@pytest.mark.parametrize(
    "line",
    [
        b"X-Forwarded-For: 198.51.100.7", b"Forwarded: for=1", b"Via: x", b"X-Real-IP: 1",
        b"x-forwarded-whatever: 1", b"Origin: x", b"Sec-Fetch-Site: none", b"CDN-Loop: x",
    ],
)  # fmt: skip
def test_without_a_key_all_counts_that_says_who_asks(line: bytes) -> None:
    nobody = HEAD.replace(KEY + b"\r\n", b"")
    one, other, elsewhere = key(nobody), key(with_line(line, nobody)), key(nobody, "192.0.2.2")
    assert one is not None
    assert other is not None
    assert elsewhere is not None
    assert len({one[1], other[1], elsewhere[1]}) == 3
    assert not has_key(one[1])


REFUSED = {
    "another method": HEAD.replace(b"GET", b"POST"),
    "another case": HEAD.replace(b"GET", b"get"),
    "HTTP/1.0": HEAD.replace(b"1.1\r", b"1.0\r"),
    "absolute form": HEAD.replace(b" /", b" http://gateway/"),
    "a fragment": HEAD.replace(b"a=1", b"a#1"),
    "a space in the target": HEAD.replace(b"a=1", b"a 1"),
    "an empty line before": b"\r\n" + HEAD,
    "two requests": HEAD + HEAD,
    "a body": HEAD + b"x",
    "half a head": HEAD[:-2],
    "bare LF": HEAD.replace(b"\r\nHost", b"\nHost"),
    "bare LF in a value": with_line(b"X-A: b\nX-C: d"),
    "bare CR in a value": with_line(b"X-A: b\rX-C: d"),
    "a folded line": with_line(b"X-A: b\r\n c"),
    "a line without a colon": with_line(b"broken"),
    "no name": with_line(b": b"),
    "a space in the name": with_line(b"X A: b"),
    "a space after the name": with_line(b"X-A : b"),
    "a space after a name that counts": HEAD.replace(b"Host:", b"Host :"),
    "a NUL": with_line(b"X-A: \x00"),
    "a DEL": with_line(b"X-A: \x7f"),
    "two Hosts": with_line(b"host: gateway"),
    "two keys": with_line(KEY),
    "two request ids": with_line(b"X-Request-ID: a\r\nX-Request-ID: b"),
    "a request id that is none": with_line(b"X-Request-ID: a b"),
    "a closing connection": with_line(b"Connection: close"),
    "two wishes for the connection": with_line(b"Connection: keep-alive, upgrade"),
    **{name.decode(): with_line(name.title() + b": 0") for name in sorted(DECLINED)},
}


@pytest.mark.parametrize("head", REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.parametrize("exact", [False, True], ids=["by meaning", "exact"])
def test_what_may_be_anything_else_is_left_to_the_proxy(head: bytes, exact: bool) -> None:
    assert key(head, exact=exact) is None


class Parsed:
    """What the protocol makes of a head: an ASGI scope. Raises what it refuses the head for."""

    def __init__(self, head: bytes) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.target = b""
        if not check_request_line(head):
            raise httptools.HttpParserError("it has no request line")
        parser = httptools.HttpRequestParser(self)
        parser.feed_data(head)
        method, version = parser.get_method(), parser.get_http_version()
        check_head(version, self.headers)
        assert content_of(method, version, self.headers, frozenset(), 0) is None
        assert parser.should_keep_alive()
        assert not parser.should_upgrade()
        target = origin_form(method, self.target, frozenset())
        self.scope: dict[str, Any] = {
            "http_version": version,
            "method": method.decode(),
            "gateway.target": target,
            "headers": self.headers,
            "client": (PEER, 1),
        }

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))


LINES = [
    *INERT.values(), b"Accept-Encoding: gzip", b'If-None-Match: "a"', b"Origin: x", b"X-Request-ID: one",
    b"traceparent: 00-1", b"Authorization: Bearer x", b"Range: bytes=0-1", b"Content-Length: 0", KEY,
    b"Host: other",
]  # fmt: skip
PIECES = [
    b"\r",
    b"\n",
    b"\r\n",
    b" ",
    b"\t",
    b":",
    b"\x00",
    b"\x7f",
    b"\xff",
    b"\r\n ",
    b"#",
    b"a",
    b"\r\n\r\n",
    b"",
]


@pytest.mark.parametrize("seed", range(4))
def test_a_head_that_has_a_key_means_the_same_to_the_parser(seed: int) -> None:
    draw, known = random.Random(seed), 0
    for _ in range(2_000):
        lines = [b"Host: gateway", *draw.sample(LINES, draw.randrange(5))]
        draw.shuffle(lines)
        head = b"GET /total/views HTTP/1.1\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"
        for _ in range(draw.choice([0, 0, 1, 2])):
            at = draw.randrange(len(head))
            head = head[:at] + draw.choice(PIECES) + head[at + draw.randrange(2) :]
        found = key(head)
        if found is None or not HOST.fullmatch(found[0][2] or b""):
            continue  # a request whose Host is refused is never answered in the first place
        known += 1
        told = key_of_scope(Parsed(head).scope, exact=False)
        assert told is not None, head
        assert (told[0], *told[2:]) == (found[0], *found[2:]), head
    assert known > 500


def head_of(lines: list[bytes]) -> bytes:
    return b"GET /total/views HTTP/1.1\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def heads(draw: random.Random, lines: list[bytes]) -> Iterator[bytes]:
    """Heads with these lines, most of them damaged somewhere, or with another value in the place of one."""
    while True:
        head = head_of([line if draw.random() < 0.95 else draw.choice(LINES) for line in lines])
        for _ in range(draw.choice([0, 0, 1, 2])):
            at = draw.randrange(len(head))
            head = head[:at] + draw.choice(PIECES) + head[at + draw.randrange(2) :]
        yield head


@pytest.mark.parametrize("seed", range(4))
def test_a_layout_reads_what_the_expression_for_any_head_reads(seed: int) -> None:
    draw, by_layout = random.Random(seed), 0
    for _ in range(60):
        lines = [b"none"]  # a layout is learnt only of a head that has a key
        while any_head(head_of(lines)) is None:
            lines = draw.sample([b"Host: gateway", b"x-API-key: other", *LINES], 5)
        layouts, plain = Layouts(), b"\r\n".join(lines).split(b"\r\n")
        layouts.known = [Layout([line.partition(b":")[0] for line in plain])]
        for head in islice(heads(draw, lines), 60):
            by_layout += layouts.known[0].match(head) is not None
            found, read = any_head(head), layouts.values(head)
            assert (read and read[0]) == (found and found.groups()), head
            if read is not None:
                meant = key_of_values(read[0], head, PEER, exact=False, locates=read[1])
                assert meant == key(head), head
    assert by_layout > 1_000


def test_a_layout_is_learnt_once_it_is_seen_twice_and_the_one_not_seen_for_longest_is_forgotten() -> None:
    layouts = Layouts()

    def send(line: bytes, times: int) -> None:
        for _ in range(times):
            assert layouts.values(with_line(line)) is not None

    for number in range(MOST * EVERY):
        send(b"X-%d: never again" % number, 1)
    assert layouts.known == []
    for number in range(MOST + 1):
        send(b"X-Client-%d: a" % number, 2 * EVERY)
        send(b"X-Client-0: b", 1)
    names = [layout.names[-1] for layout in layouts.known]
    assert names == [b"X-Client-0", *(b"X-Client-%d" % number for number in range(MOST, 1, -1))]
    kept = list(layouts.known)
    send(b"N" * LONGEST + b": long", 2 * EVERY)
    assert layouts.known == kept


def test_all_that_is_declined_counts() -> None:
    assert DECLINED < COUNTED
