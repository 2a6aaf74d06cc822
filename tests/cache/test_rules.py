"""What the rules decide, case by case."""

from __future__ import annotations

import pytest
from msgspec import structs

from gateway.cache.control import wishes_of
from gateway.cache.entry import Entry
from gateway.cache.rules import (
    Asked,
    Fetch,
    Refuse,
    Revalidate,
    Rules,
    Serve,
    ServeAndRefresh,
    Why,
    decide,
    failed,
)

RULES = Rules(refresh_floor=60)


def stored(dispatched: float = 0.0, fresh: float = 100.0, serve: float = 200.0, keep: float = 300.0) -> Entry:
    return Entry("k", 200, [], b"", b"", dispatched, dispatched, fresh, serve, keep, dispatched, keep)


def asked(*control: bytes) -> Asked:
    return Asked(wishes_of([(b"cache-control", line) for line in control]))


PLAIN = asked()


ENTRY = stored()
ERROR = stored(dispatched=5.0, fresh=15.0, serve=15.0, keep=15.0)


@pytest.mark.parametrize(
    ("now", "decision"),
    [
        (99.0, Serve(ENTRY)),
        (100.0, ServeAndRefresh(ENTRY)),
        (199.0, ServeAndRefresh(ENTRY)),
        (200.0, Fetch(ENTRY, Why.STALE)),
        (299.0, Fetch(ENTRY, Why.STALE)),
        (300.0, Fetch(None, Why.URI_MISS)),
    ],
)
def test_an_entry_ages_from_fresh_to_stale_to_fallback_to_nothing(now: float, decision: object) -> None:
    assert decide(PLAIN, [ENTRY], None, now=now, rules=RULES) == decision


def test_a_fresh_error_record_answers_while_no_entry_is_newer() -> None:
    assert decide(PLAIN, [], ERROR, now=10.0, rules=RULES) == Serve(ERROR)
    assert decide(PLAIN, [ENTRY], ERROR, now=10.0, rules=RULES) == Serve(ERROR)
    newer = stored(dispatched=6.0)
    assert decide(PLAIN, [newer], ERROR, now=10.0, rules=RULES) == Serve(newer)


def test_an_error_record_is_never_served_stale() -> None:
    assert decide(PLAIN, [], ERROR, now=15.0, rules=RULES) == Fetch(None, Why.URI_MISS)
    assert decide(PLAIN, [ENTRY], ERROR, now=15.0, rules=RULES) == Serve(ENTRY)


def test_a_client_gets_a_fresher_answer_only_above_the_floor() -> None:
    assert decide(asked(b"no-cache"), [ENTRY], None, now=59.0, rules=RULES) == Serve(ENTRY)
    assert decide(asked(b"no-cache"), [ENTRY], None, now=60.0, rules=RULES) == Fetch(ENTRY, Why.REQUEST)
    assert decide(asked(b"no-cache"), [ENTRY], None, now=150.0, rules=RULES) == Fetch(ENTRY, Why.REQUEST)
    assert decide(asked(b"no-cache"), [ENTRY], None, now=250.0, rules=RULES) == Fetch(ENTRY, Why.STALE)
    old = structs.replace(ERROR, fresh_until=100.0)
    assert decide(asked(b"no-cache"), [], old, now=70.0, rules=RULES) == Fetch(None, Why.REQUEST)


@pytest.mark.parametrize(
    ("wishes", "now", "decision"),
    [
        pytest.param(b"max-age=50", 60.0, Fetch(ENTRY, Why.REQUEST), id="rfc9111-5.2.1.1-older-than-max-age"),
        pytest.param(b"max-age=70", 60.0, Serve(ENTRY), id="rfc9111-5.2.1.1-within-max-age"),
        pytest.param(b"min-fresh=50", 60.0, Fetch(ENTRY, Why.REQUEST), id="rfc9111-5.2.1.3-too-little-left"),
        pytest.param(b"min-fresh=30", 60.0, Serve(ENTRY), id="rfc9111-5.2.1.3-enough-left"),
        pytest.param(b"max-stale=100", 250.0, Fetch(ENTRY, Why.STALE), id="rfc9111-5.2.1.2-staler-than-that"),
        pytest.param(b"max-stale=200", 250.0, Serve(ENTRY), id="rfc9111-5.2.1.2-stale-enough"),
        pytest.param(b"max-stale", 250.0, Serve(ENTRY), id="rfc9111-5.2.1.2-however-stale"),
        pytest.param(b"only-if-cached", 60.0, Serve(ENTRY), id="rfc9111-5.2.1.7-stored"),
        pytest.param(b"only-if-cached", 250.0, Refuse(), id="rfc9111-5.2.1.7-too-stale"),
        pytest.param(b"only-if-cached, no-cache", 60.0, Refuse(), id="rfc9111-5.2.1.7-and-no-cache"),
    ],
)
def test_what_a_request_wishes_is_granted(wishes: bytes, now: float, decision: object) -> None:
    assert decide(asked(wishes), [ENTRY], None, now=now, rules=RULES) == decision


def test_rfc9111_4_3_1_what_has_a_validator_is_validated() -> None:
    entry = structs.replace(ENTRY, headers=[(b"etag", b'"a"')])
    assert decide(PLAIN, [entry], None, now=250.0, rules=RULES) == Revalidate((entry,), entry, Why.STALE)


def test_rfc9211_2_2_what_is_stored_for_other_requests_alone_is_no_miss_of_the_url() -> None:
    entry = structs.replace(ENTRY, vary=(b"x-kind",), variant="0" * 24)
    assert decide(PLAIN, [entry], None, now=50.0, rules=RULES) == Fetch(None, Why.VARY_MISS)
    tagged = structs.replace(entry, headers=[(b"etag", b'"a"')])
    assert decide(PLAIN, [tagged], None, now=50.0, rules=RULES) == Revalidate((tagged,), None, Why.VARY_MISS)


@pytest.mark.parametrize(
    ("status", "expected"),
    [(500, True), (502, True), (503, True), (504, True), (501, False), (429, False), (403, False), (200, False)],
)
def test_rfc5861_4_what_counts_as_a_failure_of_any_origin(status: int, expected: bool) -> None:
    assert failed(Entry("k", status, [], b"", b"", 0, 0, 0, 0, 0)) is expected
