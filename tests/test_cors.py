"""Which pages may read answers; the ids name the Fetch standard's sections."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cors import preflight, response_headers
from gateway.errors import Headers

PAGE = b"https://dashboard.example.org"
ORIGINS = frozenset({PAGE.decode()})
ASKED: Headers = [(b"origin", PAGE), (b"access-control-request-method", b"GET")]


def test_fetch_3_2_2_a_preflight_of_a_tenants_page_is_granted_without_a_key() -> None:
    granted = preflight("OPTIONS", ASKED, ORIGINS)
    assert granted is not None
    status, headers = granted
    given = dict(headers)
    assert status == 204
    assert given[b"access-control-allow-origin"] == PAGE
    assert b"X-API-Key" in given[b"access-control-allow-headers"]
    assert given[b"access-control-allow-methods"] == b"GET, HEAD"


def test_fetch_3_2_2_another_pages_preflight_is_told_nothing() -> None:
    granted = preflight("OPTIONS", [(b"origin", b"https://evil.example"), ASKED[1]], ORIGINS)
    assert granted is not None
    assert granted[0] == 403
    assert not any(name.startswith(b"access-control-") for name, _ in granted[1])


@pytest.mark.parametrize(
    ("method", "headers"),
    [("GET", ASKED), ("OPTIONS", ASKED[:1]), ("OPTIONS", ASKED[1:]), ("OPTIONS", [])],
    ids=["a read", "no method asked for", "no origin", "neither"],
)
def test_fetch_3_2_2_what_is_no_preflight_goes_on(method: str, headers: Headers) -> None:
    assert preflight(method, headers, ORIGINS) is None


def test_without_origins_there_is_no_cors() -> None:
    assert preflight("OPTIONS", ASKED, ()) is None
    assert response_headers(PAGE, ()) == []


def test_fetch_3_2_3_an_answer_may_be_read_by_the_tenants_pages_alone() -> None:
    assert dict(response_headers(PAGE, ORIGINS))[b"access-control-allow-origin"] == PAGE
    assert response_headers(b"https://evil.example", ORIGINS) == [(b"vary", b"Origin")]
    assert response_headers(b"", ORIGINS) == [(b"vary", b"Origin")]


@given(st.binary(max_size=60), st.frozensets(st.sampled_from(["*", "https://a", "https://b"])))
def test_fetch_3_2_5_credentials_mode_is_never_allowed_and_only_known_origins_are_echoed(
    origin: bytes, origins: frozenset[str]
) -> None:
    headers = response_headers(origin, origins)
    granted = preflight("OPTIONS", [(b"origin", origin), ASKED[1]], origins)
    headers += granted[1] if granted else []
    assert all(name != b"access-control-allow-credentials" for name, _ in headers)
    for name, value in headers:
        if name == b"access-control-allow-origin":
            assert value == b"*" or value.decode() in origins
