"""Which spellings of a field are one variant (RFC 9111 §4.1), and what stale answers are for (RFC 5861)."""

from __future__ import annotations

import pytest

from tests.http_rules.client import request
from tests.http_rules.conftest import Start
from tests.http_rules.origin import Asked, Origin, Reply, Say, said
from tests.http_rules.rig import Gateway, Rig, Setup
from tests.integration.stage import until

FRESH = "Cache-Control: max-age=60"


def as_asked(field: str) -> Say:
    """An answer that varies by a field, and says by what."""

    def say(asked: Asked) -> bytes:
        return said(FRESH, f"Vary: {field}", body="|".join(asked.all(field)).encode())

    return say


SAME = [
    ("Accept", ["text/html;q=0.8,application/json"], ["application/json , TEXT/html; Q=0.800"]),
    ("Accept", ["text/plain;format=flowed"], ["text/plain ; Format=flowed"]),
    ("Accept", ["a/b, c/d"], ["a/b", "c/d"]),
    (
        "Accept-Encoding",
        ["gzip, br;q=0.5, identity;q=0"],
        ["identity;q=0,br;q=0.50, gzip"],
    ),
    ("Accept-Encoding", ["br, gzip"], ["GZIP,, br"]),
    ("Accept-Language", ["en-GB, de;q=0.7"], ["de;q=0.7,EN-gb;q=1.0"]),
    ("Accept-Charset", ["utf-8, latin1;q=0.1"], ["latin1;q=0.10 ,UTF-8"]),
    ("Cookie", ["a=1; b=2"], [" a=1; b=2\t"]),
    ("X-Kind", ["a, b"], ["a", "b"]),
    ("X-Kind", ["a"], ["  a\t"]),
]
OTHER = [
    ("Accept", ["text/html, application/json"], ["application/json, text/html"]),
    ("Accept", ["text/html;q=0.8, a/b"], ["text/html;q=0.7, a/b"]),
    ("Accept", ["text/plain;v=A"], ["text/plain;v=a"]),
    ("Accept", ['text/plain;v="a, b"'], ['text/plain;v="a,b"']),
    ("Accept", ["text/html;q=.2,a/b"], ["a/b,text/html;q=.2"]),
    ("Accept", [""], []),
    ("Accept-Language", ["en, de"], ["de, en"]),
    ("Accept-Encoding", ["gzip"], ["gzip;q=0"]),
    ("Cookie", ["a=1; b=2"], ["b=2; a=1"]),
    ("Cookie", ["a=1, b=2"], ["a=1", "b=2"]),
    ("X-Kind", ["a,b"], ["a, b"]),
    ("X-Kind", ["A"], ["a"]),
]


def lines(field: str, values: list[str]) -> list[str]:
    return [f"{field}: {value}" for value in values]


@pytest.mark.parametrize(("field", "one", "other"), SAME)
def test_rfc9111_4_1_spellings_that_mean_the_same_are_one_variant(
    gateway: Gateway, origin: Origin, path: str, field: str, one: list[str], other: list[str]
) -> None:
    origin.on(path, as_asked(field))
    first = gateway.ask(path, *lines(field, one))
    again = [*gateway.ask_until_learnt(path, *lines(field, other)), gateway.ask(path, *lines(field, one))]
    assert all(answer.body == first.body and answer.hit for answer in again)
    # What was sent is what the first wrote, to the byte.
    assert origin.asked(path)[0].all(field) == one
    assert origin.calls(path) == 1


@pytest.mark.parametrize(("field", "one", "other"), OTHER)
def test_rfc9111_4_1_what_may_mean_something_else_is_another_variant(
    gateway: Gateway, origin: Origin, path: str, field: str, one: list[str], other: list[str]
) -> None:
    origin.on(path, as_asked(field))
    for _ in range(2):
        for values in (one, other):
            assert gateway.ask(path, *lines(field, values)).body == "|".join(values).encode()
    assert origin.calls(path) == 2


@pytest.mark.usefixtures("admin")
@pytest.mark.parametrize("profile", ["generic", "statistics"])
def test_two_who_ask_at_once_for_the_same_in_other_words_are_one_call(
    start: Start, origin: Origin, path: str, profile: str
) -> None:
    gateway, held = start(profile), Reply(said(FRESH, "Content-Type: application/json", body=b"{}"), held=True)
    origin.on(path, held)
    with gateway.open() as first, gateway.open() as second:
        first.send(request(path, "Accept: a/b;q=0.5, application/json"))
        held.await_request()
        second.send(request(path, "Accept: Application/JSON,a/b;q=0.50"))
        until(lambda: gateway.process.metric("stats_gateway_flight_waiters") == 2)
        held.let_go()
        assert [client.answer().body for client in (first, second)] == [b"{}", b"{}"]
    assert origin.calls(path) == 1


def test_a_remembered_error_answers_the_same_question_in_other_words(
    statistics: Gateway, origin: Origin, path: str
) -> None:
    missing = b'{"message": "m", "code": "NotFound", "data": null}'
    origin.on(path, said("Content-Type: application/json", status=404, body=missing))
    for accept in ("a/b;q=0.5, application/json", "application/json ,a/b; q=0.5"):
        answer = statistics.ask(path, f"Accept: {accept}")
        assert (answer.status, answer.body) == (404, missing)
    assert origin.calls(path) == 1


LENIENT: dict[Setup, Gateway] = {}


@pytest.fixture
def lenient(rig: Rig, setup: Setup, redis_url: str) -> Gateway:
    """A gateway whose operator wants stale answers rather than failures."""
    if setup not in LENIENT:
        LENIENT[setup] = rig.start(setup, "generic", redis_url, f"{setup}-lenient", stale_if_error=600)
    return LENIENT[setup]


@pytest.mark.parametrize(
    ("fields", "stands_in"),
    [
        pytest.param(("Cache-Control: max-age=60", "Age: 61"), True, id="rfc5861-4-setting"),
        pytest.param(("Cache-Control: max-age=0",), True, id="rfc5861-4-a-lifetime-of-nothing"),
        pytest.param(("Cache-Control: max-age=60, stale-if-error=600", "Age: 61"), True, id="rfc5861-4-its-own"),
        pytest.param(("Cache-Control: max-age=60, stale-if-error=1", "Age: 100"), False, id="its-own-is-over"),
        pytest.param(("Cache-Control: max-age=60, stale-if-error=0", "Age: 61"), False, id="its-own-is-none"),
        pytest.param(("Cache-Control: max-age=60", "Age: 661"), False, id="the-setting-is-over"),
        pytest.param(("Cache-Control: max-age=60, must-revalidate", "Age: 61"), False, id="rfc9111-5.2.2.2"),
        pytest.param(("Cache-Control: max-age=60, proxy-revalidate", "Age: 61"), False, id="rfc9111-5.2.2.8"),
        pytest.param(("Cache-Control: s-maxage=60", "Age: 61"), False, id="rfc9111-5.2.2.10"),
        pytest.param(("Cache-Control: no-cache",), False, id="rfc9111-5.2.2.4"),
        pytest.param((), False, id="no-lifetime-at-all"),
    ],
)
@pytest.mark.parametrize(
    "failure",
    [
        pytest.param(said(status=503, body=b"failed"), id="503"),
        pytest.param(Reply(b"HTTP/1.1 200 OK\r\n", closes=True), id="broken-off"),
    ],
)
def test_rfc5861_4_stale_stands_in_as_long_as_the_origin_or_else_the_operator_says(
    lenient: Gateway, origin: Origin, path: str, fields: tuple[str, ...], stands_in: bool, failure: Say
) -> None:
    origin.on(path, said(*fields, 'ETag: "v1"'), failure)
    first, again = lenient.ask(path), lenient.ask(path)
    assert first.status == 200
    assert (again.status == 200, again.body == first.body) == (stands_in, stands_in)


@pytest.mark.parametrize("status", [403, 404, 429, 501])
def test_rfc5861_4_what_is_no_failure_is_the_answer(
    lenient: Gateway, origin: Origin, path: str, status: int
) -> None:
    origin.on(path, said("Cache-Control: max-age=60", "Age: 61", 'ETag: "v1"'), said(status=status))
    assert [lenient.ask(path).status for _ in range(2)] == [200, status]


def test_rfc9111_4_2_4_unless_somebody_says_so_stale_stands_in_for_nothing(
    gateway: Gateway, origin: Origin, path: str
) -> None:
    origin.on(path, said("Cache-Control: max-age=60", "Age: 61", 'ETag: "v1"'), said(status=503))
    assert [gateway.ask(path).status for _ in range(2)] == [200, 503]
