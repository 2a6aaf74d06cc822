from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.cache.control import response_control
from gateway.cache.lifetimes import Answer, Kind, Lifetime, Lifetimes, lifetime
from gateway.catalogue.answers import read
from gateway.catalogue.endpoints import recognise
from gateway.catalogue.query import Query

RULES = Lifetimes(closed=100_000, open=900, totals=600, empty=300, error=500, forbidden=10, stale_if_error=50_000)
JSON = b"application/json; charset=UTF-8"
SERVICE_ERROR = b'{"data": null, "code": "InvalidParams", "message": "Invalid or unsupported params: counter"}'
FULL = {
    "total": b'{"totals": 231}',
    "timeline": b'{"timeline": {"2015-07-01": 7}}',
    "breakdown": b'{"breakdown": {"2014": {"Spain": {"total": 8}}}}',
    "top": b'{"top": {"200341": 2341}}',
}

JULY = "start_date=2015-07-01&end_date=2015-07-31"
TOTALS = "/total/views/article/23"
BREAKDOWN = f"/breakdown/day/views/article/23?{JULY}"
TOP = "/top/views/group"
CLOSED = f"/timeline/day/views/article/23?{JULY}"
DEFAULT = "/timeline/day/views/article/23"
UNKNOWN = "/citations/article/23"


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


NOON = at("2024-05-15T12:00:00")
MIDNIGHT = at("2024-05-16T00:00:00")


def asked(target: str) -> Query:
    path, _, query = target.encode().partition(b"?")
    return recognise(path, query)


def judged(
    target: str,
    body: bytes = FULL["timeline"],
    *,
    status: int = 200,
    content_type: bytes | None = JSON,
    cache_control: bytes | None = None,
    age: bytes | None = None,
    dispatched: float = NOON,
    took: float = 0.0,
    rules: Lifetimes = RULES,
    jitter: float = 0.0,
    private_scope: bool = False,
) -> Lifetime | None:
    named = [(b"content-type", content_type), (b"cache-control", cache_control), (b"age", age)]
    headers = [(name, value) for name, value in named if value is not None]
    query = asked(target)
    answer = Answer(
        status,
        headers,
        read(query.family, status, headers, body, sub_item=query.sub_item is not None),
        dispatched,
        dispatched + took,
    )
    control = response_control(headers)
    return lifetime(query, answer, rules, control, jitter=jitter, private_scope=private_scope)


def fresh_for(life: Lifetime | None, since: float = NOON) -> float:
    assert life is not None
    return life.fresh_until - since


@pytest.mark.parametrize(
    ("target", "family", "seconds"),
    [
        (TOTALS, "total", 600),
        (f"{TOTALS}?{JULY}", "total", 600),
        ("/top/views/group", "top", 600),
        (f"/top/views/group?{JULY}", "top", 600),
        ("/top/views/group?sub_item=category", "top", 600),
        (f"/top/views/group?sub_item=category&{JULY}", "top", 100_000),
        (CLOSED, "timeline", 100_000),
        (DEFAULT, "timeline", 900),
        ("/timeline/day/views/article/23?start_date=2024-05-01&end_date=2024-05-15", "timeline", 900),
        ("/timeline/day/views/article/23?start_date=2024-05-01&end_date=2099-01-01", "timeline", 900),
        ("/timeline/day/views/article/23?start_date=2024-05-01&end_date=9999-12-31", "timeline", 900),
        (f"/monash/breakdown/month/views/group/1?{JULY}", "breakdown", 100_000),
        ("/breakdown/day/views/group/1?start_date=2015-01-01&end_date=2099-01-01", "breakdown", 100_000),
        ("/breakdown/day/views/group/1?start_date=2024-01-01&end_date=2099-01-01", "breakdown", 900),
    ],
)
def test_a_lifetime_follows_the_family_and_the_window(target: str, family: str, seconds: float) -> None:
    life = judged(target, FULL[family])
    assert life == Lifetime(
        Kind.ENTRY,
        fresh_until=NOON + seconds,
        serve_until=NOON + 2 * seconds,
        keep_until=NOON + seconds + max(seconds, 50_000),
        rule={600: "totals", 900: "open", 100_000: "closed"}[int(seconds)],
        bound=MIDNIGHT if target in (DEFAULT, "/top/views/group?sub_item=category") else math.inf,
    )


@pytest.mark.parametrize(
    ("dispatched", "seconds"),
    [("2015-08-01T00:00:00", 900), ("2015-08-02T23:59:59", 900), ("2015-08-03T00:00:00", 100_000)],
)
def test_a_window_is_closed_48_hours_after_its_last_day_by_the_time_of_dispatch(
    dispatched: str, seconds: float
) -> None:
    life = judged(CLOSED, dispatched=at(dispatched), took=20)
    assert fresh_for(life, at(dispatched) + 20) == seconds


@pytest.mark.parametrize(
    ("target", "body"),
    [
        *((TOTALS, body) for body in (b'{"totals": 0}', b'{"totals": null}', b'{"totals":-0.0 , "x": 1}')),
        *((CLOSED, body) for body in (b'{"timeline": null}', b'{"timeline": {}}', b'{"timeline" : { } }')),
        *((DEFAULT, body) for body in (b'{"timeline": null}', b'{"timeline": {}}')),
        *((BREAKDOWN, body) for body in (b'{"breakdown": {}}', b'{"breakdown": null}')),
        *((TOP, body) for body in (b'{"top": {}}', b'{"top": null}')),
    ],
)
def test_an_empty_answer_lives_briefly_even_for_a_closed_window(target: str, body: bytes) -> None:
    assert fresh_for(judged(target, body)) == 300
    assert fresh_for(judged(target, body, rules=Lifetimes(closed=7, open=7, totals=7))) == 7


@pytest.mark.parametrize(
    ("target", "body", "seconds"),
    [
        (TOP, b'{"top": {"www.google.com": 0}}', 600),
        (TOP, b'{"top": {"5": 0}}', 600),
        (CLOSED, b'{"timeline": {"total": 0}}', 100_000),
        (TOTALS, b'{"totals": 0.01}', 600),
        (TOTALS, b'{"totals": 10}', 600),
    ],
)
def test_an_answer_with_something_in_it_is_not_empty(target: str, body: bytes, seconds: float) -> None:
    assert fresh_for(judged(target, body)) == seconds


@pytest.mark.parametrize("status", [201, 203, 204, 206, 301, 302, 304, 401, 405, 410, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("target", [TOTALS, UNKNOWN])
def test_no_other_status_is_stored(status: int, target: str) -> None:
    assert judged(target, SERVICE_ERROR, status=status) is None


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (b"text/html", b"<html>blocked</html>"),
        (b"text/html", FULL["timeline"]),
        (b"application/jsonp", FULL["timeline"]),
        (None, FULL["timeline"]),
        (JSON, b""),
        (JSON, b"<html>"),
        (JSON, b'{"timeline": {"2015-07-01": 7}'),
        (JSON, b"{} {}"),
        (JSON, b'{"timeline": "\xff"}'),
        (JSON, b"[" * 100_000),
    ],
)
@pytest.mark.parametrize("status", [200, 400, 403, 404])
def test_what_is_not_json_is_never_stored(status: int, content_type: bytes | None, body: bytes) -> None:
    assert judged(CLOSED, body, status=status, content_type=content_type) is None


@pytest.mark.parametrize(
    "content_type", [b"application/json", b"Application/JSON;charset=utf-8", b"application/json ;x"]
)
def test_json_is_known_by_its_media_type(content_type: bytes) -> None:
    assert judged(CLOSED, content_type=content_type) is not None


@pytest.mark.parametrize("target", [TOTALS, CLOSED, UNKNOWN, "/lboro/foo"])
@pytest.mark.parametrize(("status", "seconds"), [(400, 500), (404, 500), (403, 10)])
def test_the_services_own_errors_are_error_records_on_any_path_and_never_served_stale(
    target: str, status: int, seconds: float
) -> None:
    end = NOON + seconds
    assert judged(target, SERVICE_ERROR, status=status) == Lifetime(
        Kind.ERROR, end, end, end, "forbidden" if status == 403 else "error", math.inf
    )


@pytest.mark.parametrize("body", [b"{}", b"[]", b'"message code"', b'{"message": "x"}', b'{"code": 1}'])
@pytest.mark.parametrize("status", [400, 404])
def test_a_json_error_that_is_not_the_services_is_not_remembered(status: int, body: bytes) -> None:
    assert judged(TOTALS, body, status=status) is None


def test_an_unknown_request_has_no_entries() -> None:
    assert judged(UNKNOWN, b'{"totals": 5}') is None


def test_an_entry_that_rests_on_today_goes_stale_at_midnight_and_serves_on() -> None:
    life = judged(DEFAULT, dispatched=MIDNIGHT - 60)
    assert life == Lifetime(Kind.ENTRY, MIDNIGHT, MIDNIGHT + 900, MIDNIGHT + 50_000, "open", MIDNIGHT)


def test_midnight_means_nothing_to_an_entry_whose_dates_are_given() -> None:
    target = "/timeline/day/views/article/23?start_date=2024-05-01&end_date=2024-05-15"
    assert fresh_for(judged(target, dispatched=MIDNIGHT - 60), MIDNIGHT - 60) == 900
    assert fresh_for(judged(TOTALS, FULL["total"], dispatched=MIDNIGHT - 60), MIDNIGHT - 60) == 600


@pytest.mark.parametrize("took", [1.0, 19.0])
def test_an_entry_that_straddled_midnight_is_stored_stale(took: float) -> None:
    life = judged(DEFAULT, dispatched=MIDNIGHT - 1, took=took)
    assert life is not None
    assert life.fresh_until == MIDNIGHT <= MIDNIGHT - 1 + took < life.serve_until


def test_an_entry_dispatched_at_midnight_belongs_to_the_new_day() -> None:
    assert fresh_for(judged(DEFAULT, dispatched=MIDNIGHT), MIDNIGHT) == 900


def test_an_error_record_that_rests_on_today_ends_at_midnight() -> None:
    life = judged(DEFAULT, SERVICE_ERROR, status=400, dispatched=MIDNIGHT - 60)
    assert life == Lifetime(Kind.ERROR, MIDNIGHT, MIDNIGHT, MIDNIGHT, "error", MIDNIGHT)
    assert judged(DEFAULT, SERVICE_ERROR, status=400, dispatched=MIDNIGHT - 1, took=2) is None


@pytest.mark.parametrize(("jitter", "share"), [(-1.0, 0.9), (0.5, 1.05), (1.0, 1.1)])
def test_jitter_spreads_lifetimes_of_entries_and_error_records(jitter: float, share: float) -> None:
    assert fresh_for(judged(TOTALS, FULL["total"], jitter=jitter)) == pytest.approx(600 * share)
    assert fresh_for(judged(TOTALS, SERVICE_ERROR, status=404, jitter=jitter)) == pytest.approx(500 * share)


@given(jitter=st.floats(-1, 1), before=st.floats(0, 3600), took=st.floats(0, 30), max_age=st.integers(0, 2000))
@example(jitter=1.0, before=850.0, took=0.0, max_age=2000)
@example(jitter=1.0, before=3600.0, took=5.0, max_age=900)
def test_nothing_lives_past_its_midnight_or_its_max_age(
    jitter: float, before: float, took: float, max_age: int
) -> None:
    sent = MIDNIGHT - 1 - before
    life = judged(DEFAULT, cache_control=b"max-age=%d" % max_age, dispatched=sent, took=took, jitter=jitter)
    assert life is not None
    assert life.fresh_until <= min(MIDNIGHT, sent + max_age, sent + took + 990)
    assert life.fresh_until <= life.serve_until <= life.keep_until


@pytest.mark.parametrize("directive", [b"no-store", b"no-cache", b"max-age=60, no-store"])
@pytest.mark.parametrize(("status", "body"), [(200, FULL["timeline"]), (404, SERVICE_ERROR), (403, SERVICE_ERROR)])
def test_what_the_service_forbids_to_store_is_not_stored(directive: bytes, status: int, body: bytes) -> None:
    for private_scope in (True, False):
        assert judged(CLOSED, body, status=status, cache_control=directive, private_scope=private_scope) is None


def test_a_private_answer_is_stored_in_a_credentials_scope_only() -> None:
    assert judged(CLOSED, cache_control=b"private") is None
    assert fresh_for(judged(CLOSED, cache_control=b"private", private_scope=True)) == 100_000


@pytest.mark.parametrize(
    ("cache_control", "age", "took", "seconds"),
    [
        (b"max-age=60", None, 0.0, 60),
        (b"max-age=60", b"20", 5.0, 40),
        (b"max-age=0, s-maxage=30", None, 0.0, 30),
        (b"max-age=999999999", None, 0.0, 100_000),
        (b"max-age=soon", None, 0.0, 0),
        (b"max-age=10", b"30", 0.0, -20),
    ],
)
def test_a_max_age_of_the_service_lowers_a_lifetime_and_never_raises_it(
    cache_control: bytes, age: bytes | None, took: float, seconds: float
) -> None:
    assert fresh_for(judged(CLOSED, cache_control=cache_control, age=age, took=took)) == seconds


def test_a_lowered_lifetime_is_also_how_long_the_entry_serves_while_refreshed() -> None:
    assert judged(CLOSED, cache_control=b"max-age=60") == Lifetime(
        Kind.ENTRY, NOON + 60, NOON + 120, NOON + 60 + 50_000, "closed", NOON + 60
    )


def test_an_entry_past_its_max_age_on_arrival_only_stands_in_for_failures() -> None:
    life = judged(CLOSED, cache_control=b"max-age=10", age=b"30")
    assert life == Lifetime(Kind.ENTRY, NOON - 20, NOON - 20, NOON - 20 + 50_000, "closed", NOON - 20)


@pytest.mark.parametrize("directive", [b"must-revalidate", b"proxy-revalidate"])
def test_an_answer_that_must_be_revalidated_is_never_served_stale(directive: bytes) -> None:
    life = judged(CLOSED, cache_control=directive)
    assert life == Lifetime(Kind.ENTRY, NOON + 1e5, NOON + 1e5, NOON + 1e5, "closed", math.inf)


def test_an_error_record_lives_no_longer_than_its_max_age() -> None:
    assert fresh_for(judged(TOTALS, SERVICE_ERROR, status=404, cache_control=b"max-age=60")) == 60
    assert judged(TOTALS, SERVICE_ERROR, status=404, cache_control=b"max-age=0") is None


@pytest.mark.parametrize("directive", [b"no-store", b"no-cache", b"private", b"max-age=1", b"must-revalidate"])
def test_directives_can_be_ignored(directive: bytes) -> None:
    deaf = Lifetimes(closed=100_000, stale_if_error=50_000, obey=False)
    assert judged(CLOSED, cache_control=directive, rules=deaf) == judged(CLOSED)
