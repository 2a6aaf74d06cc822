"""Freshening (RFC 9111 §4.3.4, §3.2): what a 304 says of the stored answer, and what it must not change."""

from __future__ import annotations

import time

import pytest

from gateway.cache.dates import format_date, http_date
from tests.http_rules.client import Answer
from tests.http_rules.origin import Origin, Reply, said
from tests.http_rules.rig import LEARNT, Gateway
from tests.integration.stage import until

FRESH = "Cache-Control: max-age=600"
STALE = "Cache-Control: max-age=0"
JSON = "Content-Type: application/json"
OLD, NEW = b"0123456789", b"abcdefghij"
DAY = "Sun, 06 Nov 1994 08:49:37 GMT"
UNREADABLE: list[list[str]] = [[], ["Date: yesterday"], [f"Date: {DAY}", f"Date: {DAY}"]]


def ago(seconds: float) -> str:
    return format_date(time.time() - seconds).decode()


NOW = ago(0)


def is_recent(answer: Answer) -> bool:
    """Whether its Date is one, the only one, and of just now."""
    (date,) = answer.all("date")
    at = http_date(date.encode())
    return at is not None and abs(at - time.time()) < 60


@pytest.mark.parametrize("date", UNREADABLE, ids=["no", "bad", "two"])
def test_rfc9110_6_6_1_a_304_without_a_date_counts_from_its_receipt(
    gateway: Gateway, origin: Origin, path: str, date: list[str]
) -> None:
    old = said('ETag: "v1"', FRESH, f"Date: {ago(7_200)}", body=OLD)
    origin.on(path, old, said('ETag: "v1"', FRESH, *date, status=304))
    first, *again = gateway.ask(path), *gateway.ask_until_learnt(path)
    assert [answer.body for answer in (first, *again)] == [OLD] * 5
    assert [answer.hit for answer in again] == [False, True, True, True]
    assert all(is_recent(answer) and int(answer.header("age")) < 60 for answer in again)
    assert [asked.header("if-none-match") for asked in origin.asked(path)] == [None, '"v1"']


@pytest.mark.parametrize("date", UNREADABLE, ids=["no", "bad", "two"])
def test_rfc9110_6_6_1_nor_does_a_200(gateway: Gateway, origin: Origin, path: str, date: list[str]) -> None:
    origin.on(path, said(FRESH, *date, body=OLD))
    answers = gateway.ask_until_learnt(path)
    assert [answer.hit for answer in answers] == [False, True, True, True]
    assert all(is_recent(answer) for answer in answers)
    assert len({answer.header("date") for answer in answers}) == 1


DATE_THEMSELVES = {"uvicorn", "hypercorn"}
"""Servers that put their own Date in place of the app's."""


def test_rfc9110_6_6_1_a_304_with_a_date_of_its_own_keeps_it(gateway: Gateway, origin: Origin, path: str) -> None:
    made = ago(120)
    origin.on(path, said('ETag: "v1"', STALE, body=OLD), said('ETag: "v1"', FRESH, f"Date: {made}", status=304))
    gateway.ask(path)
    for answer in gateway.ask_until_learnt(path):
        assert answer.all("date") == [made] or gateway.setup.server in DATE_THEMSELVES
        assert 120 <= int(answer.header("age")) < 180


@pytest.mark.parametrize(
    ("stored", "told"),
    [
        pytest.param(['ETag: W/"v1"'], ['ETag: "v1"'], id="strong-for-weak"),
        pytest.param(['ETag: "v1"'], ['ETag: W/"v1"'], id="weak-for-strong"),
        pytest.param(['ETag: "v1"'], ['ETag: "v2"'], id="another-tag"),
        pytest.param(['ETag: W/"v1"'], ['ETag: W/"v2"'], id="another-weak-tag"),
        pytest.param([f"Last-Modified: {DAY}"], ['ETag: "v1"'], id="a-tag-for-a-date"),
        pytest.param([f"Last-Modified: {DAY}"], [f"Last-Modified: {ago(9_000)}"], id="another-date"),
        pytest.param(
            [f"Last-Modified: {DAY}", f"Date: {DAY}"], [f"Last-Modified: {DAY}"], id="a-date-that-is-weak"
        ),
        pytest.param([f"Last-Modified: {DAY}", f"Date: {DAY}"], [], id="nothing-for-a-date-that-is-weak"),
    ],
)
def test_rfc9111_4_3_4_a_304_about_something_else_selects_nothing(
    gateway: Gateway, origin: Origin, path: str, stored: list[str], told: list[str]
) -> None:
    """The origin is asked again, without conditions; old bytes get no other tag, and are combined with nothing."""
    news = ('ETag: "v1"', FRESH, f"Last-Modified: {DAY}")
    origin.on(path, said(*stored, STALE, body=OLD), said(*told, FRESH, status=304), said(*news, body=NEW))
    assert gateway.ask(path).body == OLD
    assert [(each.status, each.body) for each in gateway.ask_until_learnt(path)] == [(200, NEW)] * 4
    third = origin.asked(path)[2]
    assert (third.header("if-none-match"), third.header("if-modified-since")) == (None, None)
    part = gateway.ask(path, "Range: bytes=5-", 'If-Range: "v1"')
    assert (part.status, part.body, part.header("etag")) == (206, NEW[5:], '"v1"')
    assert origin.calls(path) == 3


@pytest.mark.parametrize(
    ("stored", "told"),
    [
        pytest.param(['ETag: W/"v1"'], ['ETag: "v1"'], id="strong-for-weak"),
        pytest.param([f"Last-Modified: {DAY}"], [f"Last-Modified: {ago(9_000)}"], id="another-date"),
        pytest.param(
            [f"Last-Modified: {NOW}", f"Date: {NOW}"], [f"Last-Modified: {NOW}"], id="a-date-that-is-weak"
        ),
    ],
)
def test_rfc9111_4_3_4_nor_does_one_in_the_background(
    gateway: Gateway, origin: Origin, path: str, stored: list[str], told: list[str]
) -> None:
    """One stale hit is enough: its refresh asks again by itself, once, without conditions."""
    stale = "Cache-Control: max-age=0, stale-while-revalidate=86400"
    whole = Reply(said('ETag: "v2"', FRESH, body=NEW), held=True)
    origin.on(path, said(*stored, stale, body=OLD), said(*told, FRESH, status=304), whole)
    gateway.ask(path)
    assert gateway.ask(path).body == OLD
    whole.await_request()
    assert [(each.hit, each.body) for each in gateway.ask_until_learnt(path)] == [(True, OLD)] * LEARNT
    whole.let_go()
    until(lambda: gateway.ask(path).body == NEW)
    assert [(each.hit, each.body) for each in gateway.ask_until_learnt(path)] == [(True, NEW)] * LEARNT
    conditional = [
        bool(each.header("if-none-match") or each.header("if-modified-since")) for each in origin.asked(path)
    ]
    assert conditional == [False, True, False]


def test_rfc9111_4_3_4_an_origin_that_never_confirms_is_asked_twice_a_refresh(
    gateway: Gateway, origin: Origin, path: str
) -> None:
    """What it says without conditions counts, be it an error: nothing is asked a third time."""
    stale = "Cache-Control: max-age=0, stale-while-revalidate=600"
    mismatch = said('ETag: "v2"', status=304)
    last = Reply(said(FRESH, body=NEW), held=True)
    origin.on(path, said('ETag: "v1"', stale, body=OLD), mismatch, mismatch, last)
    gateway.ask(path)
    assert gateway.ask(path).body == OLD
    until(lambda: origin.calls(path) == 3)
    until(lambda: gateway.ask(path).hit and origin.calls(path) == 4)  # by another hit alone
    last.let_go()
    until(lambda: gateway.ask(path).body == NEW)
    assert origin.calls(path) == 4


@pytest.mark.parametrize(
    ("stored", "told"),
    [
        pytest.param(['ETag: "v1"'], ['ETag: "v1"'], id="a-strong-tag"),
        pytest.param(['ETag: W/"v1"'], ['ETag: W/"v1"'], id="a-weak-tag"),
        pytest.param([f"Last-Modified: {DAY}"], [f"Last-Modified: {DAY}"], id="a-date"),
        pytest.param(['ETag: "v1"', f"Last-Modified: {DAY}"], [f"Last-Modified: {DAY}"], id="a-date-beside-a-tag"),
        pytest.param(['ETag: "v1"'], [], id="nothing-where-one-was-asked-about"),
    ],
)
def test_rfc9111_4_3_4_a_304_about_the_stored_answer_freshens_it(
    gateway: Gateway, origin: Origin, path: str, stored: list[str], told: list[str]
) -> None:
    origin.on(path, said(*stored, STALE, body=OLD), said(*told, FRESH, "X-News: 1", status=304))
    first = gateway.ask(path)
    answers = gateway.ask_until_learnt(path)
    assert "fwd-status=304" in answers[0].cache_status
    for answer in answers:
        assert (answer.status, answer.body, answer.header("x-news")) == (200, OLD, "1")
        assert answer.header("etag") == first.header("etag")
    assert origin.calls(path) == 2


def test_rfc9110_13_1_5_what_is_tagged_weakly_is_combined_with_nothing(
    gateway: Gateway, origin: Origin, path: str
) -> None:
    """A weak 304 may bring the date of a change to bytes that are not the stored ones."""
    changed = f"Last-Modified: {ago(9_000)}"
    origin.on(
        path,
        said('ETag: W/"v1"', f"Last-Modified: {DAY}", STALE, body=OLD),
        said('ETag: W/"v1"', changed, FRESH, status=304),
    )
    gateway.ask(path)
    gateway.ask(path)
    for condition in (changed.removeprefix("Last-Modified: "), 'W/"v1"', '"v1"'):
        answer = gateway.ask(path, "Range: bytes=5-", f"If-Range: {condition}")
        assert (answer.status, answer.body) == (200, OLD)
    assert origin.calls(path) == 2


@pytest.mark.parametrize("named", ['"en"', '"de"'])
def test_rfc9111_4_3_4_of_several_variants_the_named_one_is_freshened(
    gateway: Gateway, origin: Origin, path: str, named: str
) -> None:
    varying, bodies = "Vary: Accept-Language", {'"en"': OLD, '"de"': NEW}
    origin.on(
        path,
        *(said(f"ETag: {tag}", varying, STALE, body=body) for tag, body in bodies.items()),
        said(f"ETag: {named}", varying, FRESH, status=304),
    )
    for language in ("en", "de"):
        gateway.ask(path, f"Accept-Language: {language}")
    answers = gateway.ask_until_learnt(path, "Accept-Language: fr")
    assert {(answer.body, answer.header("etag")) for answer in answers} == {(bodies[named], named)}
    assert [answer.hit for answer in answers] == [False, True, True, True]
    asked = origin.asked(path)[2].header("if-none-match")
    assert asked is not None
    assert set(asked.split(", ")) == {'"en"', '"de"'}


def test_rfc9111_4_3_3_a_304_that_nobody_asked_for_is_none(gateway: Gateway, origin: Origin, path: str) -> None:
    origin.on(path, said('ETag: "v1"', FRESH, status=304), said(FRESH, body=NEW))
    assert gateway.ask(path).status == 502
    assert gateway.ask(path).body == NEW


def test_rfc9111_3_2_a_304_changes_nothing_that_describes_the_stored_body(
    gateway: Gateway, origin: Origin, path: str
) -> None:
    described = {
        "content-type": "text/plain",
        "content-encoding": "x-own",
        "content-digest": "sha-256=:b2xk:",
        "repr-digest": "sha-256=:b2xk:",
    }
    lies = ("text/html", "gzip", "sha-256=:bmV3:", "sha-256=:bmV3:")
    origin.on(
        path,
        said('ETag: "v1"', STALE, *(f"{name}: {value}" for name, value in described.items()), body=OLD),
        said(
            *('ETag: "v1"', FRESH, "Content-Length: 3", "Content-Range: bytes 0-2/3", "X-News: 1"),
            *(f"{name}: {lie}" for name, lie in zip(described, lies, strict=True)),
            status=304,
        ),
    )
    gateway.ask(path)
    for answer in gateway.ask_until_learnt(path):
        assert {name: answer.header(name) for name in described} == described
        assert (answer.body, answer.header("content-length"), answer.header("x-news")) == (OLD, "10", "1")
        assert answer.all("content-range") == []
    assert origin.calls(path) == 2


def test_rfc9111_4_3_5_a_head_freshens_as_a_get_does(gateway: Gateway, origin: Origin, path: str) -> None:
    """The origin is never asked by HEAD, whose answer could only say that something is another by now."""
    origin.on(path, said('ETag: "v1"', STALE, body=OLD), said('ETag: "v1"', FRESH, status=304))
    gateway.ask(path)
    head = gateway.ask(path, method="HEAD")
    assert (head.status, head.header("content-length")) == (200, "10")
    assert gateway.ask(path).hit
    assert [asked.method for asked in origin.asked(path)] == ["GET", "GET"]


def test_the_service_too(statistics: Gateway, origin: Origin, path: str) -> None:
    """An unknown endpoint's JSON, whose lifetime is the service's own."""
    body = b'{"a": 1}'
    origin.on(
        path,
        said('ETag: W/"v1"', JSON, FRESH, f"Date: {ago(7_200)}", body=body),
        said('ETag: W/"v1"', FRESH, status=304),
    )
    statistics.ask(path)
    answers = statistics.ask_until_learnt(path)
    assert [(answer.hit, answer.body) for answer in answers] == [(False, body), *[(True, body)] * 3]
