"""``Cache-Status`` values (RFC 9211), and the timings of a request's stages."""

from __future__ import annotations

import pytest

from gateway.cache.rules import Why
from gateway.observe.outcome import Forwarded, Timings, cache_status, hit_for, with_status


@pytest.mark.parametrize(
    ("ttl", "seconds"),
    [(59.9, 59), (1.0, 1), (0.3, 0), (0.0, -1), (-0.3, -1), (-1.0, -1), (-1.2, -2)],
)
def test_rfc9211_2_4_what_is_left_is_less_than_nothing_as_soon_as_it_is_over(ttl: float, seconds: int) -> None:
    assert hit_for(ttl) == cache_status(ttl=ttl) == b"stats-gateway; hit; ttl=%d" % seconds


@pytest.mark.parametrize(
    ("forwarded", "value"),
    [
        (Forwarded(Why.URI_MISS), b"fwd=uri-miss"),
        (Forwarded(Why.VARY_MISS, stored=True), b"fwd=vary-miss; stored"),
        (Forwarded(Why.STALE, 304, collapsed=True, stored=True), b"fwd=stale; fwd-status=304; collapsed; stored"),
    ],
)
def test_rfc9211_2_2_what_was_forwarded_is_no_hit(forwarded: Forwarded, value: bytes) -> None:
    assert cache_status(forwarded) == b"stats-gateway; " + value
    assert cache_status(forwarded, ttl=-2.5, detail="x") == b"stats-gateway; " + value + b"; ttl=-3; detail=x"


def test_what_the_gateway_says_itself_is_neither() -> None:
    assert cache_status(detail="GatewayQueueFull") == b"stats-gateway; detail=GatewayQueueFull"


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (b"stats-gateway; fwd=uri-miss; stored", b"stats-gateway; fwd=uri-miss; fwd-status=200; stored"),
        (b"stats-gateway; fwd=stale; fwd-status=304; stored", b"stats-gateway; fwd=stale; fwd-status=304; stored"),
        (b"stats-gateway; hit; ttl=-2; detail=refreshing", b"stats-gateway; hit; ttl=-2; detail=refreshing"),
    ],
)
def test_rfc9211_2_3_the_services_status_is_told_where_the_client_gets_another(value: bytes, told: bytes) -> None:
    assert with_status(value, 200) == told


def staged(**times: float) -> Timings:
    stages = Timings()
    stages.began = 0.0
    for name, value in times.items():
        setattr(stages, name, value)
    return stages


def test_a_hit_has_the_stages_until_its_look_up() -> None:
    stages = staged(identified=1.0, admitted=3.0, looked_up=6.0)
    assert stages.seconds(7.0) == {"identify": 1.0, "admit": 2.0, "look_up": 3.0}


def test_a_flight_is_queue_and_upstream() -> None:
    stages = staged(identified=1.0, admitted=2.0, looked_up=3.0, landed=10.0, flown=4.0)
    assert stages.seconds(11.0) == {"identify": 1.0, "admit": 1.0, "look_up": 1.0, "queue": 3.0, "upstream": 4.0}


def test_who_joined_late_waited_for_no_more_than_it_did() -> None:
    stages = staged(identified=1.0, admitted=2.0, looked_up=3.0, landed=5.0, flown=60.0)
    assert stages.seconds(5.0) == {"identify": 1.0, "admit": 1.0, "look_up": 1.0, "queue": 0.0, "upstream": 2.0}


def test_the_stage_that_ends_a_request_ends_with_it() -> None:
    assert staged().seconds(2.0) == {"identify": 2.0}
    assert staged(identified=1.0).seconds(2.5) == {"identify": 1.0, "admit": 1.5}
    assert staged(identified=1.0, admitted=1.0).spans(4.0)[-1] == ("look_up", 1.0, 4.0)


def test_a_landing_that_failed_before_it_was_asked_is_all_queue() -> None:
    stages = staged(identified=1.0, admitted=1.0, looked_up=1.0, landed=4.0)
    assert stages.seconds(4.0) == {"identify": 1.0, "admit": 0.0, "look_up": 0.0, "queue": 3.0}
