"""Whatever a client sends is either read or refused by an error of ours."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from gateway.admin.auth import AdminTokens
from gateway.cache.control import wishes_of
from gateway.catalogue.endpoints import recognise
from gateway.catalogue.target import pasted_target
from gateway.errors import GatewayError, Headers
from gateway.proxy.callers import client_address, subject_of
from gateway.proxy.response import preflight, response_headers
from gateway.tenants.directory import presented_key

NAMES = st.sampled_from(
    [b"x-api-key", b"authorization", b"origin", b"cache-control", b"pragma", b"x-forwarded-for", b"host", b"range",
     b"access-control-request-method", b"access-control-request-headers"]
)  # fmt: skip
VALUES = st.binary(max_size=60) | st.sampled_from(
    [
        b"Basic OnNndw==",
        b"Bearer ",
        b"max-age=9" + b"9" * 30,
        b'max-stale, no-cache="x',
        b"[::1",
        b"1.2.3.4:x",
        b"null",
    ]
)
HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=6)
PIECES = st.sampled_from(
    [
        b"/",
        b"lboro",
        b"total",
        b"timeline",
        b"top",
        b"views",
        b"article",
        b"%",
        b"%2F",
        b"%00",
        b"..",
        b"\xff",
        b"1",
    ]
) | st.binary(max_size=8)


@given(HEADERS)
def test_headers(headers: Headers) -> None:
    with suppress(GatewayError):
        presented_key(headers)
    with suppress(GatewayError):
        wishes_of(headers)
    with suppress(GatewayError):
        AdminTokens("token", {}, []).admit(headers, changes=True)
    with suppress(GatewayError):
        AdminTokens("token", {}, []).check_host(headers)
    assert subject_of(client_address("10.0.0.1", headers, []))
    for _, part in preflight("OPTIONS", headers) or []:
        assert b"\r" not in part
        assert b"\n" not in part
    for name, value in headers:
        if name == b"origin":
            assert all(b"\r" not in part and b"\n" not in part
                       for pair in response_headers(value, ("https://a.example",)) for part in pair)  # fmt: skip


@given(st.lists(PIECES, max_size=8), st.lists(PIECES | st.sampled_from([b"=", b"&", b"start_date"]), max_size=8))
def test_targets(path: list[bytes], query: list[bytes]) -> None:
    with suppress(GatewayError):
        assert recognise(
            b"/" + b"".join(path), b"".join(query), ignored=frozenset({"_"}), max_bytes=4_096
        ).canonical


@given(st.text(max_size=60))
def test_pasted_targets(text: str) -> None:
    with suppress(GatewayError):
        assert pasted_target(text).startswith(b"/")
