"""``Cache-Status`` values (RFC 9211)."""

from __future__ import annotations

import pytest

from gateway.cache.rules import Why
from gateway.observe.outcome import Forwarded, cache_status, hit_for, with_status


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
