"""A client's conditions are answered from the answer at hand, never by the origin, on a read (RFC 9110 §13)."""

from __future__ import annotations

import json

import pytest

from gateway.cache.dates import format_date
from tests.http_rules.conftest import Start
from tests.http_rules.origin import BODY, Asked, Origin, said
from tests.http_rules.rig import Gateway

JSON = "Content-Type: application/json"
FRESH = "Cache-Control: max-age=60"
CHANGED = 1_700_000_000
EARLIER, THEN, LATER = (format_date(CHANGED + seconds).decode() for seconds in (-1, 0, 1))
VALIDATED = (FRESH, 'ETag: "v1"', f"Last-Modified: {THEN}")
CONDITIONS = ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range", "range")
PROFILES = ["generic", "statistics"]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "condition",
    ['If-Match: "v0"', 'If-Match: W/"v1"', "If-Match: v1", f"If-Unmodified-Since: {EARLIER}"],
)
def test_rfc9110_15_5_13_a_condition_that_fails_is_its_askers_alone(
    gateway: Gateway, origin: Origin, path: str, method: str, condition: str
) -> None:
    origin.on(path, said(*VALIDATED))
    for _ in range(4):
        failed = gateway.ask(path, condition, method=method)
        assert (failed.status, failed.body, failed.header("cache-control")) == (412, b"", "no-store")
        assert failed.all("etag") == failed.all("last-modified") == failed.all("age") == []
    answer = gateway.ask(path)
    assert (answer.status, answer.body, answer.hit) == (200, BODY, True)
    assert [name for name in CONDITIONS if origin.asked(path)[0].all(name)] == []
    assert origin.calls(path) == 1


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("conditions", "status"),
    [
        (['If-Match: "v0", "v1"'], 200),
        (['If-Match: "v0"', 'If-Match: "v1"'], 200),
        (["If-Match: *"], 200),
        ([f"If-Unmodified-Since: {THEN}"], 200),
        (["If-Unmodified-Since: yesterday"], 200),
        ([f"If-Unmodified-Since: {EARLIER}", 'If-Match: "v1"'], 200),
        ([f"If-Unmodified-Since: {LATER}", 'If-Match: "v0"'], 412),
        (['If-None-Match: "v1"', 'If-Match: "v1"'], 304),
        (['If-None-Match: "v1"', 'If-Match: "v0"'], 412),
        ([f"If-Modified-Since: {THEN}", "If-Match: *"], 304),
        ([f"If-Modified-Since: {THEN}", f"If-Unmodified-Since: {EARLIER}"], 412),
        (["Range: bytes=99-", 'If-Match: "v0"'], 412),
    ],
)
def test_rfc9110_13_2_2_conditions_in_their_order(
    gateway: Gateway, origin: Origin, path: str, method: str, conditions: list[str], status: int
) -> None:
    origin.on(path, said(*VALIDATED))
    answers = [gateway.ask(path, *conditions, method=method) for _ in range(3)]
    assert ([answer.status for answer in answers], origin.calls(path)) == ([status] * 3, 1)


def test_rfc9110_13_1_1_a_part_of_the_very_answer(gateway: Gateway, origin: Origin, path: str) -> None:
    origin.on(path, said(*VALIDATED))
    part = gateway.ask(path, 'If-Match: "v1"', "Range: bytes=2-3")
    assert (part.status, part.body) == (206, BODY[2:4])
    assert gateway.ask(path, 'If-Match: "v0"', 'If-Range: "v1"', "Range: bytes=2-3").status == 412


def test_rfc9110_13_2_1_where_there_is_nothing_no_condition_counts(
    gateway: Gateway, origin: Origin, path: str
) -> None:
    origin.on(path, said(FRESH, status=404))
    answers = [gateway.ask(path, "If-Match: *"), gateway.ask(path, 'If-Match: "v0"'), gateway.ask(path)]
    assert ([answer.status for answer in answers], origin.calls(path)) == ([404] * 3, 1)


def test_what_may_not_be_kept_is_compared_all_the_same(gateway: Gateway, origin: Origin, path: str) -> None:
    origin.on(path, said("Cache-Control: no-store", 'ETag: "v1"'))
    assert [gateway.ask(path, f'If-Match: "v{number}"').status for number in (0, 1)] == [412, 200]
    assert [asked.all("if-match") for asked in origin.asked(path)] == [[], []]


def test_what_changed_meanwhile_is_what_is_compared(gateway: Gateway, origin: Origin, path: str) -> None:
    origin.on(path, said("Cache-Control: max-age=0", 'ETag: "v1"'), said(FRESH, 'ETag: "v2"'))
    assert [gateway.ask(path, 'If-Match: "v1"').status for _ in range(4)] == [200, 412, 412, 412]
    assert [asked.all("if-none-match") for asked in origin.asked(path)] == [[], ['"v1"']]


@pytest.mark.parametrize(
    ("profile", "status"),
    [(profile, status) for profile in PROFILES for status in (412, 416, 417, 425, 428, 431, 511)]
    + [("generic", 429)],  # the service's own would close the gate
)
def test_rfc6585_an_answer_to_one_request_as_it_was_made_is_not_stored(
    start: Start, profile: str, origin: Origin, path: str, status: int
) -> None:
    gateway = start(profile)
    said_no = said(FRESH, JSON, status=status, body=b'{"message": "no", "code": "No", "data": null}')
    origin.on(path, said_no, said(FRESH, JSON, body=b"{}"))
    assert gateway.ask(path).status == status
    assert gateway.ask(path).status == 200


def test_a_known_questions_answer_is_compared_too(start: Start, origin: Origin, item: int) -> None:
    gateway, target = start("statistics"), f"/total/views/article/{item}"
    origin.on(target, said(JSON, 'ETag: "v1"', body=b'{"totals": 7}'))
    statuses = [
        gateway.ask(target, f"If-Match: {tag}", method=method).status
        for method in ("GET", "HEAD")
        for tag in ('"v0"', 'W/"v1"', '"v1"', "*")
    ]
    assert (statuses, origin.calls(target)) == ([412, 412, 200, 200] * 2, 1)
    assert origin.asked(target)[0].all("if-match") == []


def test_rfc9110_8_8_3_3_a_coded_copy_is_one_of_the_answers(start: Start, origin: Origin, path: str) -> None:
    gateway = start("statistics")
    body = json.dumps({"long": "a" * 5_000}).encode()
    origin.on(path, said(FRESH, JSON, 'ETag: "v1"', body=body))
    tag = gateway.ask(path, "Accept-Encoding: gzip").header("etag")
    assert tag == '"v1-gzip"'
    for more, status in (([], 200), (["Range: bytes=0-1"], 412)):
        assert gateway.ask(path, "Accept-Encoding: gzip", f"If-Match: {tag}", *more).status == status
    gateway.ask(path, f"If-Match: {tag}", method="PUT", body=b"{}")
    assert origin.asked(path)[-1].header("if-match") == '"v1-gzip", "v1"'


@pytest.mark.parametrize("profile", PROFILES)
def test_rfc9110_13_1_a_write_takes_its_conditions_along(
    start: Start, profile: str, origin: Origin, path: str
) -> None:
    lines = {
        "if-match": '"v0"',
        "if-none-match": '"v1"',
        "if-unmodified-since": EARLIER,
        "if-modified-since": THEN,
        "if-range": '"v0"',
        "range": "bytes=0-1",
    }
    ranges = {} if profile == "generic" else {"if-range", "range"}

    def answer(asked: Asked) -> bytes:
        return said(JSON, status=412 if asked.header("if-match") == '"v0"' else 200, body=b"{}")

    origin.on(path, answer)
    fields = [f"{name}: {value}" for name, value in lines.items()]
    passed = start(profile).ask(
        path, *fields, "Connection: if-match", "Expect: 100-continue", method="PUT", body=b"{}"
    )
    (asked,) = origin.asked(path)
    assert (passed.status, asked.body, asked.all("expect")) == (412, b"{}", [])
    for name, value in lines.items():
        assert asked.all(name) == ([] if name in ranges else [value])
