"""What the rules decide, case by case."""

from __future__ import annotations

import pytest

from gateway.caching.entry import Entry
from gateway.caching.rules import Fetch, Rules, Serve, ServeAndRefresh, decide, failed, wants_fresh

RULES = Rules(refresh_floor=60)


def stored(dispatched: float = 0.0, fresh: float = 100.0, serve: float = 200.0, keep: float = 300.0) -> Entry:
    return Entry("k", 200, [], b"", b"", dispatched, dispatched, fresh, serve, keep)


ENTRY = stored()
ERROR = stored(dispatched=5.0, fresh=15.0, serve=15.0, keep=15.0)


@pytest.mark.parametrize(
    ("now", "decision"),
    [
        (99.0, Serve(ENTRY)),
        (100.0, ServeAndRefresh(ENTRY)),
        (199.0, ServeAndRefresh(ENTRY)),
        (200.0, Fetch(ENTRY)),
        (299.0, Fetch(ENTRY)),
        (300.0, Fetch(None)),
    ],
)
def test_an_entry_ages_from_fresh_to_stale_to_fallback_to_nothing(now: float, decision: object) -> None:
    assert decide(ENTRY, None, now=now, wants_fresh=False, rules=RULES) == decision


def test_a_fresh_error_record_answers_while_no_entry_is_newer() -> None:
    assert decide(None, ERROR, now=10.0, wants_fresh=False, rules=RULES) == Serve(ERROR)
    assert decide(ENTRY, ERROR, now=10.0, wants_fresh=False, rules=RULES) == Serve(ERROR)
    newer = stored(dispatched=6.0)
    assert decide(newer, ERROR, now=10.0, wants_fresh=False, rules=RULES) == Serve(newer)


def test_an_error_record_is_never_served_stale() -> None:
    assert decide(None, ERROR, now=15.0, wants_fresh=False, rules=RULES) == Fetch(None)
    assert decide(ENTRY, ERROR, now=15.0, wants_fresh=False, rules=RULES) == Serve(ENTRY)


def test_a_client_gets_a_fresher_answer_only_above_the_floor() -> None:
    assert decide(ENTRY, None, now=59.0, wants_fresh=True, rules=RULES) == Serve(ENTRY)
    assert decide(ENTRY, None, now=60.0, wants_fresh=True, rules=RULES) == Fetch(ENTRY)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([(b"cache-control", b"No-Cache")], True),
        ([(b"cache-control", b"max-age=0")], True),
        ([(b"cache-control", b"foo"), (b"cache-control", b"no-cache")], True),
        ([(b"pragma", b"no-cache")], True),
        ([(b"cache-control", b"max-age=5"), (b"pragma", b"no-cache")], False),
        ([], False),
    ],
)
def test_what_counts_as_asking_for_a_fresher_answer(headers: list[tuple[bytes, bytes]], expected: bool) -> None:
    assert wants_fresh(headers) is expected


@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        (500, b"application/json", True),
        (429, b"application/json", True),
        (403, b"text/html", True),
        (403, b"application/json; charset=UTF-8", False),
        (400, b"application/json", False),
        (404, b"text/html", False),
        (200, b"text/html", True),
        (200, b"application/json", False),
    ],
)
def test_what_counts_as_a_failure_of_the_service(status: int, kind: bytes, expected: bool) -> None:
    entry = Entry("k", status, [(b"content-type", kind)], b"", b"", 0, 0, 0, 0, 0)
    assert failed(entry) is expected
