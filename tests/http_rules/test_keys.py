"""What is told apart is what the origin saw: keys and variants are made of the headers that were sent."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.http_rules.conftest import Start
from tests.http_rules.origin import Asked, Origin, said
from tests.http_rules.rig import Gateway

JSON = "Content-Type: application/json"
STORED = "Cache-Control: public, max-age=60"
PROFILES = ["generic", "statistics"]
ERROR = b'{"message": "no", "code": "NotFound", "data": null}'


def echo(name: str, *fields: str) -> Callable[[Asked], bytes]:
    """Answers with what a field of the request was, on which that depends."""

    def answer(asked: Asked) -> bytes:
        return said(f"Vary: {name}", STORED, JSON, *fields, body=json.dumps(asked.all(name)).encode())

    return answer


@pytest.mark.parametrize("profile", PROFILES)
def test_rfc9110_7_6_1_what_was_for_one_hop_alone_is_nobodys_answer(
    start: Start, profile: str, origin: Origin, path: str
) -> None:
    gateway, default = start(profile), [] if profile == "generic" else ["*/*"]
    origin.on(path, echo("Accept"))
    hidden = gateway.ask(path, "Connection: accept", "Accept: text/json")
    shown = gateway.ask(path, "Accept: text/json")
    silent = gateway.ask(path)
    assert [json.loads(answer.body) for answer in (hidden, shown, silent)] == [default, ["text/json"], default]
    assert [answer.hit for answer in (hidden, shown, silent)] == [False, False, True]
    assert gateway.ask(path, "Accept: text/json").body == shown.body
    assert origin.calls(path) == 2


def test_rfc9110_7_6_1_each_line_of_connection_counts(gateway: Gateway, origin: Origin, path: str) -> None:
    origin.on(path, echo("X-Kind"))
    lines = ["Connection: keep-alive", "X-Kind: a", "Connection: , x-other ,X-KIND", "X-Other: b"]
    assert json.loads(gateway.ask(path, *lines).body) == []
    assert origin.asked(path)[0].header("x-other") is None
    assert gateway.ask(path).hit
    assert json.loads(gateway.ask(path, "X-Kind: a").body) == ["a"]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("TE", ["trailers", "gzip"]),
        ("Trailer", ["X-A", "X-B"]),
        ("Keep-Alive", ["timeout=1", "timeout=2"]),
        ("Upgrade", ["a", "b"]),
        ("Proxy-Authorization", ["Basic YTph", "Basic YTpi"]),
        ("Proxy-Connection", ["close", "keep-alive"]),
        ("Expect", ["100-continue", "something"]),
        ("Content-Length", ["0", "00"]),
        ("If-None-Match", ['"a"', '"b"']),
        ("If-Match", ["*", "*"]),
        ("Range", ["bytes=0-0", "bytes=1-1"]),
        ("If-Range", ['"a"', '"b"']),
    ],
)
def test_what_the_origin_does_not_see_decides_nothing(
    gateway: Gateway, origin: Origin, path: str, name: str, values: list[str]
) -> None:
    origin.on(path, echo(name))
    answers = [gateway.ask(path, f"{name}: {value}") for value in values] + [gateway.ask(path)]
    assert [answer.hit for answer in answers] == [False, True, True]
    assert [asked.all(name) for asked in origin.asked(path)] == [[]]


def test_rfc9110_7_2_the_origin_is_asked_by_its_own_name_by_whichever_its_gateway_is(
    gateway: Gateway, origin: Origin, path: str
) -> None:
    origin.on(path, echo("Host"))
    with gateway.open() as client:
        answers = [client.ask(path, host=host) for host in ("one.example", "two.example")]
    assert [answer.hit for answer in answers] == [False, True]
    assert json.loads(answers[0].body) == [origin.url.removeprefix("http://")]


@pytest.mark.parametrize(
    "name",
    [
        *("Accept", "Accept-Encoding", "Accept-Language", "Authorization", "Cookie", "Forwarded", "Origin"),
        *("User-Agent", "X-Api-Key", "X-Forwarded-For", "X-Forwarded-Proto", "Traceparent"),
    ],
)
def test_rfc9111_4_1_what_the_origin_sees_tells_answers_apart(
    gateway: Gateway, origin: Origin, path: str, name: str
) -> None:
    origin.on(path, echo(name))
    lines = [[f"{name}: a"], [f"{name}: b"], []]
    first = [gateway.ask(path, *line) for line in lines]
    again = [gateway.ask(path, *line) for line in lines]
    nominated = gateway.ask(path, f"Connection: {name}", f"{name}: a")
    assert [json.loads(answer.body) for answer in first[:2]] == [["a"], ["b"]]
    assert [answer.hit for answer in [*first, *again, nominated]] == [False] * 3 + [True] * 4
    assert [answer.body for answer in [*again, nominated]] == [answer.body for answer in [*first, first[2]]]


def test_rfc9110_7_6_3_via_tells_apart_whom_a_request_came_by(gateway: Gateway, origin: Origin, path: str) -> None:
    origin.on(path, echo("Via"))
    answers = [gateway.ask(path, *lines) for lines in (["Via: 1.1 a"], [], ["Via: 1.1 a"], [])]
    assert [answer.hit for answer in answers] == [False, False, True, True]
    assert [asked.header("via") for asked in origin.asked(path)] == [
        "1.1 a, 1.1 stats-gateway",
        "1.1 stats-gateway",
    ]


def test_rfc9110_5_5_white_space_around_a_value_and_how_it_is_parted_into_lines_decide_nothing(
    gateway: Gateway, origin: Origin, path: str
) -> None:
    origin.on(path, echo("X-Kind"))
    spellings = [["X-Kind: \t a, b \t "], ["X-Kind: a, b"], ["X-Kind:a", "X-Kind: b"]]
    answers = [gateway.ask(path, *lines) for lines in spellings]
    assert [answer.hit for answer in answers] == [False, True, True]
    assert json.loads(answers[0].body) == ["a, b"]


def test_rfc9111_5_2_1_nobodys_wishes_are_for_one_hop_alone(gateway: Gateway, origin: Origin, path: str) -> None:
    origin.on(path, said(STORED))
    only = gateway.ask(path, "Connection: cache-control", "Cache-Control: only-if-cached")
    assert (only.status, origin.calls(path)) == (504, 0)
    gateway.ask(path, "Connection: Cache-Control", "Cache-Control: no-store")
    assert not gateway.ask(path).hit
    assert [asked.header("cache-control") for asked in origin.asked(path)] == ["no-store", None]


def test_rfc9111_3_5_a_credential_that_was_not_sent_makes_no_answer_its_own(
    gateway: Gateway, origin: Origin, path: str
) -> None:
    origin.on(path, said("Cache-Control: max-age=60"))
    gateway.ask(path, "Connection: authorization", "Authorization: Basic YTph")
    assert origin.asked(path)[0].header("authorization") is None
    assert gateway.ask(path).hit


def test_the_services_no_is_remembered_for_those_who_asked_alike(start: Start, origin: Origin, path: str) -> None:
    gateway = start("statistics")
    origin.on(path, said(JSON, status=404, body=ERROR))
    silent, anything = gateway.ask(path), gateway.ask(path, "Accept: */*")
    hidden = gateway.ask(path, "Connection: Accept", "Accept: text/json")
    shown = gateway.ask(path, "Accept: text/json")
    assert [answer.hit for answer in (silent, anything, hidden, shown)] == [False, True, True, False]
    assert [asked.all("accept") for asked in origin.asked(path)] == [["*/*"], ["text/json"]]


@pytest.mark.parametrize("profile", PROFILES)
def test_rfc9110_8_a_body_that_is_passed_on_is_described_whatever_connection_names(
    start: Start, profile: str, origin: Origin, path: str
) -> None:
    origin.on(path, said(JSON, body=b"{}"))
    described = ["Content-Type: application/x", "Content-Encoding: x", "Content-Language: de"]
    passed = start(profile).ask(
        path, *described, "Connection: content-type, content-encoding", method="POST", body=b"x"
    )
    assert (passed.status, origin.asked(path)[0].body) == (200, b"x")
    for line in described:
        name, _, value = line.partition(": ")
        assert origin.asked(path)[0].all(name) == [value]
