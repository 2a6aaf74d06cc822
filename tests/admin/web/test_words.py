"""How an answer was served and what explain found, in words."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.admin.web.cache import verdict_of
from gateway.admin.web.explore import age_of, describe_outcome, left_of
from gateway.admin.web.format import span
from gateway.cache.rules import Why
from gateway.observe.outcome import Forwarded, Outcome, cache_status


@pytest.mark.parametrize(
    ("outcome", "detail", "stored", "words"),
    [
        (Outcome.HIT, "", False, "From the cache, fresh."),
        (Outcome.STALE, "refreshing", False, "From the cache, stale, being refreshed in the background."),
        (Outcome.STALE, "upstream-503", False, "From the cache, stale, since the service answered 503."),
        (Outcome.STALE, "SomethingNew", False, "From the cache, stale, SomethingNew."),
        (Outcome.MISS, "", True, "The service was asked, and its answer is kept."),
        (Outcome.MISS, "", False, "The service was asked."),
        (Outcome.REFUSED, "Forbidden", False, "Refused by the gateway."),
        (Outcome.FAILED, "GatewayQueueFull", False, "No answer could be had."),
    ],
)
def test_an_outcome_in_words(outcome: Outcome, detail: str, stored: bool, words: str) -> None:
    status = cache_status(Forwarded(Why.URI_MISS, stored=stored), detail=detail).decode()
    assert describe_outcome(outcome, detail, status) == words


@pytest.mark.parametrize("outcome", list(Outcome))
def test_every_outcome_has_words(outcome: Outcome) -> None:
    assert describe_outcome(outcome, "", "").endswith(".")


@pytest.mark.parametrize(
    ("headers", "age", "left"),
    [
        ({"cache-status": "stats-gateway; hit; ttl=540", "age": "60"}, 60, 540),
        ({"cache-status": "stats-gateway; hit; ttl=-12; detail=refreshing", "age": "612"}, 612, -12),
        ({"cache-status": "stats-gateway; fwd=stale; ttl=-9; detail=UpstreamTimeout", "age": "1"}, 1, -9),
        ({"cache-status": "x; fwd=uri-miss", "cache-control": "private, max-age=600", "age": "1"}, 1, 599),
        ({"cache-control": "no-store"}, None, None),
        ({"cache-control": "max-age=600"}, None, None),
        ({"cache-control": "s-max-age=9, max-age=" + "9" * 40, "age": "²"}, None, None),
    ],
)  # fmt: skip
def test_age_and_what_is_left(headers: dict[str, str], age: int | None, left: int | None) -> None:
    assert (age_of(headers), left_of(headers)) == (age, left)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (0.9, "0 s"),
        (59, "59 s"),
        (843, "14 min 3 s"),
        (3_600, "1 h"),
        (600_000, "6 d 22 h"),
        (-12, "12 s"),
    ],
)
def test_a_span_has_two_units(seconds: float, words: str) -> None:
    assert span(seconds) == words


@given(st.dictionaries(st.sampled_from(["age", "cache-control", "cache-status"]), st.text(max_size=30)))
def test_whatever_the_headers_nothing_is_raised(headers: dict[str, str]) -> None:
    age_of(headers)
    left_of(headers)


def moment(second: int) -> datetime:
    return datetime.fromtimestamp(second, UTC)


ENTRY: dict[str, Any] = {
    "status": 200,
    "fetched": moment(5),
    "fresh_for": 60.0,
    "stands_in_for_failures_for": 99.0,
}
ERROR: dict[str, Any] = {"status": 404, "fetched": moment(9), "fresh_for": 30.0, "rule": "error"}
CHANGED = ERROR | {"status": 200, "rule": "changed"}


def explained(**more: Any) -> dict[str, Any]:
    return {
        "query": {"protected": True},
        "decision": "Serve",
        "entry": ENTRY,
        "error_record": None,
        "purged": None,
        "credential_withheld_for": None,
        "credential_held": False,
        "gate_closed_for": 0.0,
        "gate_held": False,
    } | more


@pytest.mark.parametrize(
    ("told", "headline", "reason"),
    [
        ({"decision": "Refuse", "why": "the tenant is disabled"}, "refused", "The tenant is disabled."),
        (explained(), "served from the cache", "fresh for another 1 min"),
        (explained(error_record=ERROR), "served from the cache", "error 404 is remembered for another 30 s"),
        (
            explained(error_record=ERROR | {"fetched": moment(1)}),
            "served from the cache",
            "fresh for another 1 min",
        ),
        (explained(error_record=ERROR, entry=None), "served from the cache", "error 404"),
        (explained(error_record=CHANGED), "served from the cache", "another shape of answer; this one is kept"),
        (explained(decision="ServeAndRefresh"), "as stale", "Meanwhile"),
        (explained(decision="Fetch", entry=None), "asked", "Nothing is stored"),
        (explained(decision="Fetch"), "asked", "too old"),
        (explained(decision="Revalidate"), "asked", "still holds"),
        (explained(decision="Fetch", gate_closed_for=5.0), "as stale", "closed for 5 s"),
        (explained(decision="Fetch", gate_closed_for=5.0, entry=None), "not be answered", "nothing stored helps"),
        (
            explained(decision="Fetch", gate_closed_for=60.0, gate_held=True),
            "as stale",
            "An operator holds the gate.",
        ),
        (explained(credential_withheld_for=60.0, credential_held=True), "refused", "An operator holds this"),
        (explained(credential_withheld_for=8.0), "refused", "tried again in 8 s"),
        (explained(credential_withheld_for=0.0), "asked", "to be tried again"),
        (explained(credential_withheld_for=8.0, query={"protected": False}), "served from the cache", "fresh"),
    ],
)
def test_a_verdict(told: dict[str, Any], headline: str, reason: str) -> None:
    verdict = verdict_of(told)
    assert headline in verdict.headline
    assert reason in verdict.reason
