"""What a shared cache keeps, for how long, and what a 304 makes of it."""

from __future__ import annotations

import pytest

from gateway.cache.control import response_control
from gateway.cache.dates import format_date
from gateway.cache.entry import Entry
from gateway.cache.freshness import (
    Circumstances,
    Response,
    conditions,
    confirmed,
    confirmed_by,
    dated,
    freshness,
    initial_age,
    lifetime,
    merge_304,
    storable,
)
from gateway.errors import Headers

NOW = 1_800_000_000.0
NOBODY = Circumstances()
DATE = (b"date", format_date(NOW))
COOKIE = (b"set-cookie", b"id=1")


def answer(*headers: tuple[bytes, bytes], status: int = 200, sound: bool = True, took: float = 0.0) -> Response:
    cookie = any(name == b"set-cookie" for name, _ in headers)
    return Response(status, list(headers), b"{}", NOW - took, NOW, sound, sets_cookie=cookie)


def cc(value: bytes) -> tuple[bytes, bytes]:
    return (b"cache-control", value)


def is_storable(response: Response, given: Circumstances = NOBODY) -> bool:
    return storable(response, response_control(response.headers), given)


def life(response: Response) -> float:
    return lifetime(response, response_control(response.headers))


@pytest.mark.parametrize(
    ("response", "given", "expected"),
    [
        pytest.param(answer(cc(b"max-age=1")), NOBODY, True, id="rfc9111-3-explicit"),
        pytest.param(answer(), NOBODY, True, id="rfc9111-3-heuristic-status"),
        pytest.param(answer(status=201), NOBODY, False, id="rfc9111-3-other-status"),
        pytest.param(answer(cc(b"max-age=1"), status=201), NOBODY, True, id="rfc9111-3-other-status-explicit"),
        pytest.param(answer(cc(b"max-age=1"), status=206), NOBODY, False, id="rfc9111-3.3-partial"),
        pytest.param(answer(cc(b"max-age=1"), sound=False), NOBODY, False, id="rfc9112-6.3-over-long"),
        pytest.param(answer(cc(b"no-store")), NOBODY, False, id="rfc9111-5.2.2.5"),
        pytest.param(answer(cc(b"private")), NOBODY, False, id="rfc9111-5.2.2.7"),
        pytest.param(answer(cc(b"private")), Circumstances(private_scope=True), True, id="own-scope"),
        pytest.param(answer(cc(b"max-age=1")), Circumstances(no_store=True), False, id="rfc9111-5.2.1.5"),
        pytest.param(answer(cc(b"max-age=1")), Circumstances(authorized=True), False, id="rfc9111-3.5"),
        *(
            pytest.param(
                answer(cc(value)), Circumstances(authorized=True), True, id=f"rfc9111-3.5-{value.decode()}"
            )
            for value in (b"public", b"s-maxage=1", b"max-age=1, must-revalidate")
        ),
        pytest.param(answer((b"vary", b"a, *")), NOBODY, False, id="rfc9111-4.1-vary-star"),
        pytest.param(answer(COOKIE), NOBODY, False, id="a-cookie-by-a-guess"),
        pytest.param(answer(COOKIE, cc(b"public")), NOBODY, False, id="a-cookie-by-a-guess-although-public"),
        pytest.param(answer(COOKIE, cc(b"s-maxage=1")), NOBODY, True, id="rfc9111-7.3-a-cookie-as-told"),
        pytest.param(answer(COOKIE, (b"expires", b"0")), NOBODY, True, id="rfc9111-7.3-a-cookie-as-told-stale"),
        pytest.param(answer(cc(b"max-age=1"), status=416), NOBODY, False, id="rfc9110-15.5.17-about-a-range"),
        pytest.param(answer(cc(b"no-store, must-understand")), NOBODY, True, id="rfc9111-5.2.2.3-understood"),
        pytest.param(
            answer(cc(b"max-age=1, must-understand"), status=599),
            NOBODY,
            False,
            id="rfc9111-5.2.2.3-not-understood",
        ),
        pytest.param(answer(cc(b"max-age=1"), status=500), NOBODY, True, id="rfc9111-3-explicit-failure"),
        pytest.param(
            answer(cc(b"max-age=1"), status=500), Circumstances(failures=False), False, id="decision-6-no-failures"
        ),
    ],
)
def test_rfc9111_3_what_may_be_stored(response: Response, given: Circumstances, expected: bool) -> None:
    assert is_storable(response, given) is expected


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        pytest.param([cc(b"max-age=7"), (b"expires", format_date(NOW + 99))], 7.0, id="rfc9111-5.3-max-age-first"),
        pytest.param([DATE, (b"expires", format_date(NOW + 99))], 99.0, id="rfc9111-5.3"),
        pytest.param([(b"expires", format_date(NOW + 99))], 99.0, id="rfc9111-5.3-without-date"),
        pytest.param(
            [(b"date", format_date(NOW - 50)), (b"expires", format_date(NOW + 99))],
            149.0,
            id="rfc9111-4.2.1-slow-date",
        ),
        pytest.param([(b"expires", b"0"), cc(b"public")], 0.0, id="rfc9111-5.3-invalid"),
        pytest.param(
            [(b"expires", format_date(NOW + 9)), (b"expires", format_date(NOW + 9))],
            0.0,
            id="rfc9111-5.3-repeated",
        ),
        pytest.param([DATE, (b"last-modified", format_date(NOW - 1_000))], 100.0, id="rfc9111-4.2.2-a-tenth"),
        pytest.param([DATE, (b"last-modified", format_date(NOW - 1e8))], 86_400.0, id="rfc9111-4.2.2-capped"),
        pytest.param([DATE, (b"last-modified", format_date(NOW + 9))], 0.0, id="rfc9111-4.2.2-from-the-future"),
        pytest.param([DATE], 0.0, id="rfc9111-4.2.2-nothing-to-go-by"),
        pytest.param(
            [(b"cdn-cache-control", b"public"), (b"expires", format_date(NOW + 9))],
            0.0,
            id="rfc9213-2.2-not-expires",
        ),
    ],
)
def test_rfc9111_4_2_how_long_a_response_is_fresh(headers: Headers, seconds: float) -> None:
    assert life(answer(*headers)) == seconds


def test_rfc9111_4_2_2_only_statuses_that_allow_it_are_guessed_at() -> None:
    old = (b"last-modified", format_date(NOW - 1_000))
    assert life(answer(DATE, old, status=403)) == 0.0
    assert life(answer(DATE, old, cc(b"public"), status=403)) == 100.0


@pytest.mark.parametrize(
    ("response", "age"),
    [
        pytest.param(answer(), 0.0, id="rfc9111-4.2.3-without-date"),
        pytest.param(answer((b"date", format_date(NOW - 30))), 30.0, id="rfc9111-4.2.3-apparent-age"),
        pytest.param(answer((b"date", format_date(NOW + 30))), 0.0, id="rfc9111-4.2.3-fast-clock"),
        pytest.param(answer((b"age", b"5"), took=2.0), 7.0, id="rfc9111-4.2.3-age-and-delay"),
        pytest.param(
            answer((b"age", b"5"), (b"date", format_date(NOW - 30))), 30.0, id="rfc9111-4.2.3-the-larger"
        ),
    ],
)
def test_rfc9111_4_2_3_how_old_a_response_was(response: Response, age: float) -> None:
    assert initial_age(response) == age


def test_rfc5861_the_windows_follow_freshness() -> None:
    response = answer(cc(b"max-age=10, stale-while-revalidate=20, stale-if-error=30"), (b"age", b"4"))
    times = freshness(response, response_control(response.headers), NOBODY)
    assert (times.born, times.fresh_until) == (NOW - 4, NOW + 6)
    assert (times.serve_until, times.keep_until, times.stale_ok) == (NOW + 26, NOW + 36, True)


@pytest.mark.parametrize("directive", [b"must-revalidate", b"proxy-revalidate", b"no-cache"])
def test_rfc9111_4_2_4_what_must_be_validated_is_never_stale_and_served(directive: bytes) -> None:
    response = answer(cc(b"max-age=10, stale-while-revalidate=20, stale-if-error=30, " + directive))
    times = freshness(response, response_control(response.headers), Circumstances(stale_if_error=1_000.0))
    assert times.serve_until == times.keep_until == times.fresh_until
    assert times.fresh_until == (NOW if directive == b"no-cache" else NOW + 10)
    assert not times.stale_ok


def stored(tag: bytes = b"", modified: bytes = b"", **more: object) -> Entry:
    headers = [(b"content-type", b"a/b"), (b"x", b"old"), (b"age", b"9")]
    headers += [(b"etag", tag)] if tag else []
    headers += [(b"last-modified", modified)] if modified else []
    return Entry("k", 200, headers, b"body", tag, NOW, NOW, NOW, NOW, NOW)


def test_rfc9111_4_3_1_how_the_origin_is_asked() -> None:
    assert conditions([stored(b'"a"', b"day")]) == [(b"if-none-match", b'"a"'), (b"if-modified-since", b"day")]
    assert conditions([stored(b'"a"', b"day"), stored(b'W/"b"')]) == [(b"if-none-match", b'"a", W/"b"')]
    assert conditions([stored()]) == []


def test_rfc9111_4_3_4_which_stored_response_a_304_is_about() -> None:
    one, two = stored(b'"a"'), stored(b'W/"b"')
    assert confirmed([one, two], [(b"etag", b'W/"b"')]) is two
    assert confirmed([one, two], [(b"etag", b'"b"')]) is None
    assert confirmed([one, two], [(b"etag", b'W/"a"')]) is None
    assert confirmed([one, two], [(b"etag", b'"c"')]) is None
    assert confirmed([one], []) is one
    assert confirmed([one, two], []) is None


def test_rfc9110_8_8_2_2_a_date_confirms_what_was_not_sent_in_the_second_of_the_change() -> None:
    modified = format_date(NOW - 60)
    news, sent = [(b"last-modified", modified)], dated_at(modified, NOW - 59)
    assert confirmed([sent], news) is sent
    assert confirmed([sent], []) is sent
    assert confirmed([dated_at(modified, NOW - 60)], news) is None
    assert confirmed([dated_at(modified, NOW - 60)], []) is None
    assert confirmed([sent], [(b"last-modified", format_date(NOW))]) is None


def dated_at(modified: bytes, made: float) -> Entry:
    entry = stored(modified=modified)
    entry.headers.append((b"date", format_date(made)))
    return entry


def test_rfc9111_3_2_a_304_replaces_what_it_names_and_nothing_of_the_body() -> None:
    news = [(b"x", b"new"), (b"x", b"newer"), (b"content-type", b"c/d"), (b"content-length", b"0")]
    news.append((b"repr-digest", b"sha-256=:bmV3:"))
    merged = merge_304(stored(b'"a"').headers, news)
    assert merged == [(b"content-type", b"a/b"), (b"etag", b'"a"'), (b"x", b"new"), (b"x", b"newer")]


def test_rfc9111_4_3_4_a_confirmed_response_is_as_if_it_had_come_now() -> None:
    entry = dated_at(b"", NOW - 9_000)
    whole = confirmed_by(entry, answer(cc(b"max-age=60"), status=304))
    assert (whole.status, whole.body, life(whole), initial_age(whole)) == (200, b"body", 60.0, 0.0)
    assert [value for name, value in whole.headers if name == b"date"] == [format_date(NOW)]


@pytest.mark.parametrize("dates", [[], [b"yesterday"], [format_date(NOW - 9)] * 2], ids=["none", "bad", "two"])
def test_rfc9110_6_6_1_without_a_readable_date_the_time_of_receipt_counts(dates: list[bytes]) -> None:
    headers = dated(answer(*((b"date", date) for date in dates)))
    assert headers == [(b"date", format_date(NOW))]
    assert dated(answer((b"date", format_date(NOW - 9)))) == [(b"date", format_date(NOW - 9))]
