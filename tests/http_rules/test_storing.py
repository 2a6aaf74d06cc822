"""Storing (RFC 9111 §3, RFC 9112 §6.3): what is passed on, repaired or refused, and kept for nobody else."""

from __future__ import annotations

import pytest

from tests.http_rules.conftest import Start
from tests.http_rules.origin import Origin, Reply, chunked, said
from tests.http_rules.rig import Gateway

FRESH = "Cache-Control: max-age=600"
JSON = "Content-Type: application/json"
EXPIRES = "Expires: Thu, 01 Jan 2099 00:00:00 GMT"
DAY = "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT"
BODY, OTHER = b'{"a": 1}', b'{"a": 2}'
BOTH = [pytest.param(profile, id=profile) for profile in ("generic", "statistics")]


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param([DAY], id="last-modified"),
        pytest.param(['ETag: "v1"'], id="to-be-validated"),
        pytest.param([DAY, "Cache-Control: public"], id="public"),
        pytest.param([DAY, "Cache-Control: must-revalidate"], id="must-revalidate"),
        pytest.param([DAY, "CDN-Cache-Control: public", EXPIRES], id="targeted"),
    ],
)
def test_rfc9111_4_2_2_a_cookie_is_nobody_elses_by_a_guess(
    gateway: Gateway, origin: Origin, path: str, fields: list[str]
) -> None:
    origin.on(path, *(said(*fields, f"Set-Cookie: id={number}") for number in range(5)))
    answers = gateway.ask_until_learnt(path)
    assert [answer.header("set-cookie") for answer in answers] == [f"id={number}" for number in range(4)]
    assert not any(answer.hit or "stored" in answer.cache_status for answer in answers)
    assert all(asked.header("if-none-match") is None for asked in origin.asked(path))


@pytest.mark.parametrize("fields", [[FRESH], [EXPIRES]], ids=["max-age", "expires"])
def test_rfc9111_7_3_an_origin_that_says_how_long_is_believed(
    gateway: Gateway, origin: Origin, path: str, fields: list[str]
) -> None:
    origin.on(path, said(*fields, "Set-Cookie: id=1"))
    assert [answer.hit for answer in gateway.ask_until_learnt(path)] == [False, True, True, True]


def test_rfc9111_4_2_2_nor_does_a_304_make_one_so(gateway: Gateway, origin: Origin, path: str) -> None:
    """The stored answer stays without the cookie, which goes to whoever it was set for alone."""
    origin.on(
        path,
        said('ETag: "v1"', body=BODY),
        said('ETag: "v1"', "Set-Cookie: id=1", status=304),
        said('ETag: "v1"', status=304),
    )
    assert [gateway.ask(path).header("set-cookie") for _ in range(3)] == ["", "id=1", ""]


@pytest.mark.parametrize("profile", BOTH)
@pytest.mark.parametrize(
    "twice",
    [
        pytest.param(chunked(FRESH, JSON, f"Content-Length: {len(BODY)}", body=BODY), id="both"),
        pytest.param(chunked(FRESH, JSON, "Content-Length: 3", body=BODY), id="another-length"),
        pytest.param(chunked(FRESH, JSON, body=BODY).replace(b"HTTP/1.1", b"HTTP/1.0", 1), id="chunks-in-1.0"),
    ],
)
def test_rfc9112_6_3_what_is_framed_twice_is_passed_on_and_kept_by_nobody(
    start: Start, origin: Origin, path: str, profile: str, twice: bytes
) -> None:
    """Its connection ends: somebody may have put another answer behind it."""
    gateway = start(profile)
    origin.on(path, twice, twice, said(FRESH, JSON, body=OTHER))
    for _ in range(2):
        answer = gateway.ask(path)
        assert (answer.status, answer.body, answer.hit) == (200, BODY, False)
        assert "stored" not in answer.cache_status
        assert answer.all("transfer-encoding") == [] or gateway.setup.server not in ("lane", "no-lane")
    assert gateway.ask(path).body == OTHER
    assert gateway.ask(path).hit
    connections = [asked.connection for asked in origin.asked(path)]
    assert len(set(connections)) == len(connections) == 3


@pytest.mark.parametrize("profile", BOTH)
@pytest.mark.parametrize(
    "content_range",
    [
        pytest.param(["Content-Range: bytes 0-7/16"], id="the-first-part"),
        pytest.param(["Content-Range: bytes 8-15/16"], id="the-last-part"),
        pytest.param(["Content-Range: bytes 0-7/*"], id="of-nobody-knows"),
        pytest.param(["Content-Range: bytes 0-15/16"], id="less-than-it-says"),
        pytest.param(["Content-Range: bytes 0-7/8", "Content-Range: bytes 8-15/16"], id="two"),
        pytest.param(["Content-Type: multipart/byteranges; boundary=x"], id="several-parts"),
        pytest.param([], id="no-range"),
    ],
)
def test_rfc9110_15_3_7_a_part_that_nobody_asked_for_is_refused(
    start: Start, origin: Origin, path: str, profile: str, content_range: list[str]
) -> None:
    gateway = start(profile)
    origin.on(path, said(*content_range, FRESH, status=206, body=BODY), said(FRESH, JSON, body=OTHER))
    assert gateway.ask(path, "Range: bytes=0-7").status == 502
    assert gateway.ask(path).body == OTHER


@pytest.mark.parametrize("profile", BOTH)
def test_rfc9110_15_3_7_a_part_that_is_all_of_it_is_the_whole(
    start: Start, origin: Origin, path: str, profile: str
) -> None:
    gateway = start(profile)
    origin.on(
        path, said(f"Content-Range: bytes 0-{len(BODY) - 1}/{len(BODY)}", FRESH, JSON, status=206, body=BODY)
    )
    for answer in gateway.ask_until_learnt(path):
        assert (answer.status, answer.body, answer.all("content-range")) == (200, BODY, [])
    part = gateway.ask(path, "Range: bytes=2-")
    assert (part.status, part.body) == (206, BODY[2:])
    assert origin.calls(path) == 1


@pytest.mark.parametrize("profile", BOTH)
@pytest.mark.parametrize("say", [said, chunked], ids=["length", "chunks"])
def test_rfc9110_15_3_6_a_205_has_no_content(
    start: Start, origin: Origin, path: str, profile: str, say: object
) -> None:
    gateway = start(profile)
    assert callable(say)
    origin.on(path, say(FRESH, JSON, "Content-Encoding: x-own", status=205, body=BODY))
    answer = gateway.ask(path)
    assert (answer.status, answer.body, answer.header("content-length")) == (205, b"", "0")
    assert answer.all("content-type") == answer.all("content-encoding") == []


@pytest.mark.parametrize("status", [pytest.param(204, id="204"), pytest.param(304, id="304")])
@pytest.mark.parametrize("profile", BOTH)
def test_rfc9112_6_3_bytes_behind_an_answer_without_content_are_nobodys(
    start: Start, origin: Origin, path: str, profile: str, status: int
) -> None:
    gateway = start(profile)
    smuggled = said(FRESH, JSON, body=b'{"smuggled": 1}')
    bad = said(FRESH, f"Content-Length: {len(smuggled)}", status=status) + smuggled
    origin.on(path, bad, said(FRESH, JSON, body=OTHER))
    first = gateway.ask(path)
    assert (first.status, first.body) == (204, b"") if status == 204 else first.status == 502
    assert b"smuggled" not in b"".join(gateway.ask(path).body for _ in range(3))
    connections = {asked.connection for asked in origin.asked(path)}
    assert len(connections) == origin.calls(path)


@pytest.mark.parametrize("profile", BOTH)
@pytest.mark.parametrize(
    "wire",
    [
        pytest.param(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", id="101"),
        pytest.param(b"HTTP/1.1 103 Early Hints\r\n\r\n", id="interim-and-no-more"),
        pytest.param(b"HTTP/1.1 199 Whatever\r\n" + FRESH.encode() + b"\r\nContent-Length: 2\r\n\r\nok", id="199"),
        pytest.param(said("Content-Length: 3", FRESH, body=BODY), id="two-lengths"),
        pytest.param(said("Content-Length: 8, 9", FRESH, body=BODY, length=False), id="two-lengths-in-one"),
        pytest.param(said("Transfer-Encoding: gzip, chunked", FRESH, length=False), id="another-coding"),
        pytest.param(said("Transfer-Encoding: identity", FRESH, body=BODY), id="identity"),
    ],
)
def test_rfc9112_6_3_what_cannot_be_read_is_no_answer(
    start: Start, origin: Origin, path: str, profile: str, wire: bytes
) -> None:
    gateway = start(profile)
    origin.on(path, Reply(wire, closes=True), said(FRESH, JSON, body=OTHER))
    refused = gateway.ask(path)
    assert refused.status == 502
    assert BODY not in refused.body
    assert gateway.ask(path).body == OTHER


def test_rfc9110_14_4_a_content_range_on_a_200_means_nothing(gateway: Gateway, origin: Origin, path: str) -> None:
    origin.on(path, said("Content-Range: bytes 0-7/16", FRESH, body=BODY))
    for answer in gateway.ask_until_learnt(path):
        assert (answer.status, answer.body) == (200, BODY)
    part = gateway.ask(path, "Range: bytes=2-3")
    assert (part.status, part.body, part.all("content-range")) == (206, BODY[2:4], ["bytes 2-3/8"])


def test_rfc9110_15_5_17_a_416_nobody_asked_for_is_passed_on(gateway: Gateway, origin: Origin, path: str) -> None:
    origin.on(path, said("Content-Range: bytes */8", FRESH, status=416), said(FRESH, body=BODY))
    assert gateway.ask(path, "Range: bytes=0-").status == 416
    assert gateway.ask(path).body == BODY
