"""What rules caching counts whatever ``Connection`` names; all else that it names is dropped (RFC 9110 §7.6.1)."""

from __future__ import annotations

import json

import pytest

from gateway.cache.dates import format_date
from tests.http_rules.conftest import Start
from tests.http_rules.origin import BODY, Asked, Origin, said
from tests.http_rules.rig import Gateway

JSON = "Content-Type: application/json"
FRESH = "Cache-Control: max-age=60"
LONG_AGO = format_date(1_700_000_000).decode()
WAYS = {
    "list": ["Connection: cache-control, vary, age"],
    "lines": ["Connection: close", "Connection: Age", "Connection: x-hop,CACHE-CONTROL ,"],
    "rfc9112_5_2_folded": ["Connection: x-hop,\r\n cache-control"],
    "last": ["Connection: Cache-Control"],
}
UNFOLDING = {"hypercorn", "daphne"}
"""Servers whose parsers join what was folded, in place of the app's own."""


@pytest.mark.parametrize("profile", ["generic", "statistics"])
@pytest.mark.parametrize("way", WAYS)
def test_rfc9111_5_2_a_private_answer_is_nobody_elses(
    start: Start, profile: str, origin: Origin, path: str, way: str
) -> None:
    gateway = start(profile)
    origin.on(path, said(*WAYS[way], "Cache-Control: private, max-age=60", "X-Hop: 1", JSON, body=b"{}"))
    answers = [gateway.ask(path) for _ in range(2)]
    assert ([answer.hit for answer in answers], origin.calls(path)) == ([False, False], 2)
    assert [answer.all("x-hop") for answer in answers] == [[] if "x-hop" in str(WAYS[way]) else ["1"]] * 2
    if profile == "generic":
        assert answers[0].header("cache-control") == "private, max-age=60"


def test_rfc9112_5_2_a_folded_directive_counts(gateway: Gateway, origin: Origin, path: str) -> None:
    origin.on(path, said("Cache-Control: max-age=60,\r\n\tprivate"))
    assert [gateway.ask(path).hit for _ in range(2)] == [False, False]


@pytest.mark.parametrize("profile", ["generic", "statistics"])
def test_rfc9111_4_1_variants_are_told_apart(start: Start, profile: str, origin: Origin, path: str) -> None:
    gateway = start(profile)

    def answer(asked: Asked) -> bytes:
        kind = json.dumps(asked.all("accept")).encode()
        return said("Connection: vary", "Vary: Accept", FRESH, JSON, body=kind)

    origin.on(path, answer)
    for _ in range(2):
        assert [gateway.ask(path, f"Accept: {kind}").body for kind in "ab"] == [b'["a"]', b'["b"]']
    assert origin.calls(path) == 2
    origin.on(path + "any", said("Connection: vary", "Vary: *", FRESH, JSON, body=b"{}"))
    assert [gateway.ask(path + "any").hit for _ in range(2)] == [False, False]


def test_rfc9111_4_2_3_an_answer_is_as_old_as_it_says(gateway: Gateway, origin: Origin, path: str) -> None:
    origin.on(path, said("Connection: age", "Age: 50", FRESH))
    gateway.ask(path)
    again = gateway.ask(path)
    assert again.ttl is not None
    assert (again.hit, again.ttl <= 10, int(again.header("age")) >= 50) == (True, True, True)


@pytest.mark.parametrize(
    "fields",
    [
        ["Connection: expires", "Expires: 0", f"Last-Modified: {LONG_AGO}"],
        ["Connection: date", f"Date: {LONG_AGO}", FRESH],
        ["Connection: cache-control", "Cache-Control: no-cache", f"Last-Modified: {LONG_AGO}"],
        ["Connection: pragma, cache-control", "Cache-Control: max-age=0", f"Last-Modified: {LONG_AGO}"],
        ["Connection: cdn-cache-control", "CDN-Cache-Control: no-store", FRESH],
    ],
    ids=["expires", "date", "no-cache", "max-age", "cdn-cache-control"],
)
def test_rfc9111_4_2_an_answer_is_as_fresh_as_it_says(
    gateway: Gateway, origin: Origin, path: str, fields: list[str]
) -> None:
    origin.on(path, said(*fields))
    assert [gateway.ask(path).hit for _ in range(2)] == [False, False]


def test_rfc9111_4_3_an_answer_is_validated_by_what_it_says(gateway: Gateway, origin: Origin, path: str) -> None:
    hidden = "Connection: etag, cache-control, last-modified"
    tag = 'ETag: "v1"'

    def answer(asked: Asked) -> bytes:
        if asked.header("if-none-match") == '"v1"':
            return said(hidden, tag, "Cache-Control: max-age=60", status=304)
        return said(hidden, tag, "Cache-Control: max-age=0")

    origin.on(path, answer)
    answers = [gateway.ask(path) for _ in range(3)]
    assert [each.body for each in answers] == [BODY] * 3
    assert ([each.hit for each in answers], origin.calls(path)) == ([False, False, True], 2)
    assert gateway.ask(path, 'If-None-Match: "v1"').status == 304


@pytest.mark.parametrize(
    ("status", "field"),
    [
        (200, "Content-Type: a/b"),
        (200, "Content-Language: de"),
        (200, "Content-Encoding: br"),
        (200, "Content-Location: /elsewhere"),
        (200, 'ETag: "v1"'),
        (200, f"Last-Modified: {LONG_AGO}"),
        (200, "Set-Cookie: a=b"),
        (200, "Vary: X-Kind"),
        (200, "Warning: 199 - x"),
        (301, "Location: /elsewhere"),
        (401, 'WWW-Authenticate: Basic realm="x"'),
        (405, "Allow: GET"),
        (503, "Retry-After: 7"),
    ],
)
def test_rfc9110_7_6_1_what_is_for_every_recipient_reaches_the_client(
    gateway: Gateway, origin: Origin, path: str, status: int, field: str
) -> None:
    name, _, value = field.partition(": ")
    origin.on(path, said(f"Connection: x-hop, {name}", field, FRESH, "X-Hop: 1", status=status))
    for _ in range(2):
        answer = gateway.ask(path)
        assert (answer.status, answer.header(name), answer.all("x-hop")) == (status, value, [])


def test_rfc9110_7_6_1_what_concerns_one_hop_is_never_kept(gateway: Gateway, origin: Origin, path: str) -> None:
    hop = {
        *("X-Hop", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Authentication-Info"),
        *("Proxy-Connection", "TE", "Trailer", "Upgrade"),
    }
    origin.on(path, said("Connection: x-hop, keep-alive", *(f"{name}: x" for name in hop), FRESH, "X-End: x"))
    for answer in gateway.ask_until_learnt(path):
        assert [name for name in hop if answer.all(name)] == []
        assert answer.header("x-end") == "x"


@pytest.mark.parametrize("n", range(150))
def test_stress(n: int, gateway: Gateway, origin: Origin, path: str) -> None:
    trailers = b"Cache-Control: private\r\nAge: 1000\r\nVary: *\r\nSet-Cookie: a=b\r\nConnection: etag\r\n"
    head = said(
        "Transfer-Encoding: chunked", "Trailer: Cache-Control, Age", FRESH, 'ETag: "v1"', length=False, body=b""
    )
    origin.on(path, head + b"2\r\nok\r\n0\r\n" + trailers + b"\r\n")
    answers = gateway.ask_until_learnt(path)
    assert [answer.hit for answer in answers] == [False, True, True, True]
    for answer in answers:
        assert (answer.body, answer.header("etag"), answer.header("cache-control")) == (b"ok", '"v1"', FRESH[15:])
        assert answer.all("set-cookie") == answer.all("trailer") == answer.all("vary") == []


def test_rfc9112_5_2_a_request_is_not_folded(gateway: Gateway, origin: Origin, path: str) -> None:
    if gateway.setup.server in UNFOLDING:
        pytest.skip("this server joins the lines before the app sees them")
    answer = gateway.ask(path, "Connection: x-hop,\r\n accept", "Accept: a/b")
    assert (answer.status, origin.calls(path)) == (400, 0)
