"""``Cache-Status`` (RFC 9211), case by case, with the fast lane and without."""

from __future__ import annotations

import re
from collections.abc import Callable

import httpx2 as httpx
import pytest

from tests.http_rules.client import request
from tests.http_rules.conftest import Start
from tests.http_rules.origin import Origin, Reply, Say, said
from tests.http_rules.rig import SERVERS, SETUPS, Gateway, Rig, Setup
from tests.integration.stage import until
from tests.loopback import LOOPBACK

FRESH, TAG = "Cache-Control: max-age=60", 'ETag: "v1"'
STALE = "Cache-Control: max-age=0"
ELDERLY = "Cache-Control: max-age=60, stale-if-error=600", "Age: 100"
JSON = "Content-Type: application/json"
TOTALS = b'{"totals": 7}'
TOKEN = "a-token-of-the-tests"
OURS = [setup for setup in SETUPS if setup.server in SERVERS]
"""Setups that have an admin listener."""

PARAMETER = re.compile(
    r"(hit|collapsed|stored|fwd=[a-z-]+|fwd-status=[1-5][0-9]{2}|ttl=-?[0-9]+|detail=[A-Za-z0-9-]+)"
)


def told(gateway: Gateway, target: str, *fields: str, method: str = "GET") -> str:
    """The parameters of an answer's one ``Cache-Status``, with ``n`` for seconds."""
    answer = gateway.ask(target, *fields, method=method)
    (value,) = answer.all("cache-status")
    name, *parameters = value.split("; ")
    assert name == "stats-gateway"
    assert all(PARAMETER.fullmatch(each) for each in parameters), value
    names = [each.partition("=")[0] for each in parameters]
    assert len(names) == len(set(names))
    assert ("hit" in names) != ("fwd" in names), "hit and fwd are exclusive (RFC 9211 §2.1)"
    return re.sub(r"ttl=(-?)\d+", r"ttl=\1n", "; ".join(parameters))


@pytest.fixture
def operated(rig: Rig, setup: Setup, redis_url: str) -> Callable[[str], Gateway]:
    """Gateways whose clients may always ask for fresher data, and which an operator steers."""

    def started(profile: str) -> Gateway:
        name = f"{setup}-{profile}-operated"
        if name not in OPERATED:
            OPERATED[name] = rig.start(setup, profile, redis_url, name, refresh_floor=0, admin_token=TOKEN)
        return OPERATED[name]

    return started


OPERATED: dict[str, Gateway] = {}


@pytest.mark.parametrize("profile", ["generic", "statistics"])
def test_rfc9211_2_1_a_fresh_answer_is_a_hit_however_often_it_is_given(
    start: Start, origin: Origin, item: int, profile: str
) -> None:
    gateway, target = start(profile), f"/total/views/article/{item}"
    origin.on(target, said(FRESH, JSON, body=TOTALS))
    assert told(gateway, target) == "fwd=uri-miss; stored"
    answers = gateway.ask_until_learnt(target)
    assert all(re.fullmatch(r"hit; ttl=(59|60|5[0-8])", answer.cache_status) for answer in answers)


@pytest.mark.parametrize("profile", ["generic", "statistics"])
def test_rfc9211_2_2_a_stale_answer_that_is_replaced_was_no_miss(
    start: Start, origin: Origin, item: int, profile: str
) -> None:
    gateway, target = start(profile), f"/total/views/article/{item}"
    origin.on(target, said(STALE, JSON, TAG, body=TOTALS), said(FRESH, JSON, body=TOTALS))
    assert told(gateway, target) == "fwd=uri-miss; stored"
    assert told(gateway, target) == "fwd=stale; stored"
    assert told(gateway, target) == "hit; ttl=n"


@pytest.mark.parametrize("profile", ["generic", "statistics"])
def test_rfc9211_2_3_a_confirmed_answer_tells_of_the_304(
    start: Start, origin: Origin, item: int, profile: str
) -> None:
    gateway, target = start(profile), f"/total/views/article/{item}"
    origin.on(target, said(STALE, JSON, TAG, body=TOTALS), said(FRESH, TAG, status=304))
    told(gateway, target)
    assert told(gateway, target) == "fwd=stale; fwd-status=304; stored"
    assert told(gateway, target) == "hit; ttl=n"


@pytest.mark.parametrize("profile", ["generic", "statistics"])
@pytest.mark.parametrize(
    "wish",
    ["Cache-Control: no-cache", "Cache-Control: max-age=0", "Cache-Control: min-fresh=900", "Pragma: no-cache"],
)
def test_rfc9211_2_2_a_client_who_wishes_for_fresher_data(
    operated: Callable[[str], Gateway], origin: Origin, item: int, profile: str, wish: str
) -> None:
    gateway, target = operated(profile), f"/total/views/article/{item}"
    origin.on(target, said(FRESH, JSON, "Age: 1", body=TOTALS))
    told(gateway, target)
    assert told(gateway, target, wish) == "fwd=request; stored"
    assert told(gateway, target) == "hit; ttl=n"


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        pytest.param(said(status=503), "fwd=request; fwd-status=503; ttl=n; detail=upstream-503", id="503"),
        pytest.param(said(TAG, status=304), "fwd=request; fwd-status=304; stored", id="304"),
    ],
)
def test_rfc9211_2_2_a_wish_that_changes_nothing(
    gateway: Gateway, origin: Origin, path: str, failure: Say, expected: str
) -> None:
    origin.on(path, said("Cache-Control: max-age=60, stale-if-error=60", TAG), failure)
    told(gateway, path)
    assert told(gateway, path, "Cache-Control: no-cache") == expected


def test_rfc9211_2_2_nothing_stored_for_requests_like_this(gateway: Gateway, origin: Origin, path: str) -> None:
    origin.on(path, said(FRESH, "Vary: X-Kind"))
    assert told(gateway, path, "X-Kind: a") == "fwd=uri-miss; stored"
    assert told(gateway, path, "X-Kind: b") == "fwd=vary-miss; stored"
    assert told(gateway, path, "X-Kind: b") == "hit; ttl=n"


@pytest.mark.parametrize("profile", ["generic", "statistics"])
def test_rfc9211_2_2_a_method_that_is_passed_on(start: Start, origin: Origin, path: str, profile: str) -> None:
    origin.on(path, said(JSON, status=201, body=b"{}"))
    assert told(start(profile), path, method="POST") == "fwd=method"


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        pytest.param(said(status=503), "fwd=stale; fwd-status=503; ttl=-n; detail=upstream-503", id="503"),
        pytest.param(
            Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", closes=True),
            "fwd=stale; ttl=-n; detail=UpstreamDisconnected",
            id="broken-off",
        ),
    ],
)
def test_rfc9211_2_1_stale_instead_of_a_failure_is_a_hit_only_where_nobody_was_asked(
    gateway: Gateway, origin: Origin, path: str, failure: Say, expected: str
) -> None:
    origin.on(path, said(*ELDERLY), failure)
    told(gateway, path)
    for _ in range(2):
        assert told(gateway, path) == expected
    assert origin.calls(path) == 3


def test_the_services_failures_tell_the_same(statistics: Gateway, origin: Origin, item: int) -> None:
    target = f"/total/views/article/{item}"
    failure = said(JSON, status=500, body=b'{"message": "m", "code": "c", "data": null}')
    origin.on(target, said(STALE, JSON, body=TOTALS), failure)
    assert told(statistics, target) == "fwd=uri-miss; stored"
    assert told(statistics, target) == "fwd=stale; fwd-status=500; ttl=-n; detail=upstream-500"


def test_rfc9211_2_4_stale_while_it_is_refreshed_is_a_hit_of_less_than_nothing(
    gateway: Gateway, origin: Origin, path: str
) -> None:
    held = Reply(said(FRESH), held=True)
    origin.on(path, said("Cache-Control: max-age=60, stale-while-revalidate=600", "Age: 60"), held)
    told(gateway, path)
    assert told(gateway, path) == "hit; ttl=-n; detail=refreshing"
    held.await_request()
    held.let_go()


@pytest.mark.usefixtures("admin")
@pytest.mark.parametrize("profile", ["generic", "statistics"])
def test_rfc9211_2_4_what_was_just_purged_softly_is_stale(
    operated: Callable[[str], Gateway], origin: Origin, item: int, profile: str
) -> None:
    gateway, target = operated(profile), f"/total/views/article/{item}"
    held = Reply(said(FRESH, JSON, body=TOTALS), held=True)
    origin.on(target, said("Cache-Control: max-age=60, stale-while-revalidate=600", JSON, body=TOTALS), held)
    told(gateway, target)
    gateway.ask_until_learnt(target)
    httpx.post(
        f"http://127.0.0.1:{gateway.process.admin_port}/api/purge",
        json={"query": target},
        headers={"Authorization": f"Bearer {TOKEN}"},
        **LOOPBACK,
    ).raise_for_status()
    answer = gateway.ask(target)
    assert answer.cache_status.startswith("hit; ttl=-")
    assert answer.cache_status.endswith("; detail=refreshing")
    held.let_go()


@pytest.mark.parametrize("setup", OURS, indirect=True, ids=str)
@pytest.mark.parametrize(
    ("lifetime", "first"),
    [
        ("max-age=60", "hit; ttl=-n; detail=refreshing"),
        ("max-age=60, must-revalidate", "fwd=stale; fwd-status=304; stored"),
        ("s-maxage=60", "fwd=stale; fwd-status=304; stored"),
    ],
)
def test_what_was_purged_softly_is_confirmed_without_a_window_too(
    operated: Callable[[str], Gateway], origin: Origin, path: str, lifetime: str, first: str
) -> None:
    """By its validator; before that it serves only what may serve stale."""
    gateway, fields = operated("generic"), (f"Cache-Control: {lifetime}", 'ETag: "v1"')
    origin.on(path, said(*fields), said(*fields, status=304))
    gateway.ask_until_learnt(path)
    httpx.post(
        f"http://127.0.0.1:{gateway.process.admin_port}/api/purge",
        json={"query": path},
        headers={"Authorization": f"Bearer {TOKEN}"},
        **LOOPBACK,
    ).raise_for_status()
    assert told(gateway, path) == first
    until(lambda: told(gateway, path) == "hit; ttl=n")
    assert [asked.header("if-none-match") for asked in origin.asked(path)] == [None, '"v1"']


@pytest.mark.usefixtures("admin")
def test_rfc9211_2_6_one_call_for_several(gateway: Gateway, origin: Origin, path: str) -> None:
    held = Reply(said(FRESH), held=True)
    origin.on(path, held)
    with gateway.open() as first, gateway.open() as second:
        first.send(request(path))
        held.await_request()
        second.send(request(path))
        until(lambda: gateway.process.metric("stats_gateway_flight_waiters") == 2)
        held.let_go()
        answers = [client.answer().cache_status for client in (first, second)]
    assert answers == ["fwd=uri-miss; stored", "fwd=uri-miss; collapsed; stored"]


@pytest.mark.parametrize(
    ("fields", "status", "expected"),
    [
        (('If-None-Match: "v1"',), 304, "fwd=uri-miss; fwd-status=200; stored"),
        (("Range: bytes=2-4",), 206, "fwd=uri-miss; fwd-status=200; stored"),
        (("Range: bytes=99-",), 416, "fwd=uri-miss; fwd-status=200; stored"),
    ],
)
def test_rfc9211_2_3_what_the_client_gets_is_not_what_the_origin_said(
    gateway: Gateway, origin: Origin, path: str, fields: tuple[str, ...], status: int, expected: str
) -> None:
    origin.on(path, said(FRESH, TAG))
    answer = gateway.ask(path, *fields)
    assert (answer.status, answer.cache_status) == (status, expected)
    assert all(
        re.fullmatch(r"hit; ttl=\d+", each.cache_status) for each in gateway.ask_until_learnt(path, *fields)
    )


@pytest.mark.parametrize("profile", ["generic", "statistics"])
def test_rfc9211_2_5_what_may_not_be_kept_is_a_miss_each_time(
    start: Start, origin: Origin, path: str, profile: str
) -> None:
    origin.on(path, said("Cache-Control: no-store", JSON, body=b"{}"))
    for _ in range(2):
        assert told(start(profile), path) == "fwd=uri-miss; detail=unknown-endpoint"


def test_rfc9211_2_the_origins_own_cache_is_told_of_first(gateway: Gateway, origin: Origin, path: str) -> None:
    origin.on(path, said(FRESH, TAG, "Cache-Status: Far; hit"))
    answer = gateway.ask(path, 'If-None-Match: "v1"')
    assert answer.all("cache-status") == ["Far; hit", "stats-gateway; fwd=uri-miss; fwd-status=200; stored"]
    for each in gateway.ask_until_learnt(path):
        assert each.all("cache-status")[0] == "Far; hit"
        assert re.fullmatch(r"stats-gateway; hit; ttl=\d+", each.all("cache-status")[1])
