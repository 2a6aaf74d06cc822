"""Which pages may read answers; the ids name the Fetch standard's sections."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Headers
from gateway.proxy.response import depends_on_origin, preflight, response_headers

PAGE = b"https://dashboard.example.org"
ORIGINS = frozenset({PAGE.decode()})
ASKED: Headers = [(b"origin", PAGE), (b"access-control-request-method", b"GET")]


@pytest.mark.parametrize(
    "named",
    [
        b"x-api-key",
        b"authorization,content-type",
        b"content-type, traceparent, x-requested-with",
        b"x-whatever-a-page-likes",
        b"!#$%&'*+.^_`|~",
    ],
)
def test_fetch_3_2_2_a_preflight_of_any_page_is_granted_with_the_headers_it_names(named: bytes) -> None:
    granted = preflight("OPTIONS", [*ASKED, (b"access-control-request-headers", named)])
    assert granted is not None
    given = dict(granted)
    assert given[b"access-control-allow-origin"] == b"*"
    assert given[b"access-control-allow-headers"] == named
    assert given[b"access-control-allow-methods"] == b"GET, HEAD"


@pytest.mark.parametrize("page", [PAGE, b"https://evil.example", b"null", b""])
def test_fetch_3_2_2_every_page_is_told_the_same(page: bytes) -> None:
    assert preflight("OPTIONS", [(b"origin", page), ASKED[1]]) == preflight("OPTIONS", ASKED)


@pytest.mark.parametrize("named", [b"", b"a b", b"a,,b", b"a;b", b"a,", b"x: y", b"\xe9"])
def test_what_is_no_list_of_names_is_not_repeated(named: bytes) -> None:
    granted = preflight("OPTIONS", [*ASKED, (b"access-control-request-headers", named)])
    assert granted is not None
    assert b"access-control-allow-headers" not in dict(granted)


@pytest.mark.parametrize(
    ("method", "headers"),
    [("GET", ASKED), ("OPTIONS", ASKED[:1]), ("OPTIONS", ASKED[1:]), ("OPTIONS", [])],
    ids=["a read", "no method asked for", "no origin", "neither"],
)
def test_fetch_3_2_2_what_is_no_preflight_goes_on(method: str, headers: Headers) -> None:
    assert preflight(method, headers) is None


def test_without_origins_there_is_no_cors() -> None:
    assert response_headers(PAGE, ()) == []


def test_fetch_3_2_3_an_answer_may_be_read_by_the_tenants_pages_alone() -> None:
    assert dict(response_headers(PAGE, ORIGINS))[b"access-control-allow-origin"] == PAGE
    assert response_headers(b"https://evil.example", ORIGINS) == []
    assert response_headers(b"", ORIGINS) == []
    assert depends_on_origin(ORIGINS)
    for same_for_all in (frozenset[str](), ORIGINS | {"*"}):
        assert not depends_on_origin(same_for_all)


@given(st.binary(max_size=60), st.frozensets(st.sampled_from(["*", "https://a", "https://b"])))
def test_fetch_3_2_5_credentials_mode_is_never_allowed_and_only_known_origins_are_echoed(
    origin: bytes, origins: frozenset[str]
) -> None:
    headers = response_headers(origin, origins)
    headers += preflight("OPTIONS", [(b"origin", origin), ASKED[1]]) or []
    assert all(name != b"access-control-allow-credentials" for name, _ in headers)
    for name, value in headers:
        if name == b"access-control-allow-origin":
            assert value == b"*" or value.decode() in origins
