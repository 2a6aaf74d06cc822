"""Who asks: keys in request headers."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import AmbiguousKey, Headers, Unauthenticated, render
from gateway.tenants.directory import Caller, Directory, identify, presented_key
from gateway.tenants.tenant import ANONYMOUS, Key, Tenant, mint_key

MINTED = mint_key()
OTHER = mint_key()
REVOKED = mint_key()
DISABLED = mint_key()
EXPIRED = mint_key()
NOW = 1_800_000_000.0
KEY = MINTED.text.encode()
REPORTS = Tenant(
    id="reports",
    name="Reports",
    keys={
        MINTED.id: Key(MINTED.id, MINTED.digest),
        EXPIRED.id: Key(EXPIRED.id, EXPIRED.digest, expires=datetime(2026, 1, 1, tzinfo=UTC)),
        REVOKED.id: Key(REVOKED.id, REVOKED.digest, revoked=datetime(2026, 1, 1, tzinfo=UTC)),
    },
)
CLOSED = Tenant(id="closed", name="Closed", enabled=False, keys={DISABLED.id: Key(DISABLED.id, DISABLED.digest)})
DIRECTORY = Directory([REPORTS, CLOSED])


def api_key(value: bytes) -> tuple[bytes, bytes]:
    return b"x-api-key", value


def bearer(value: bytes) -> tuple[bytes, bytes]:
    return b"authorization", b"Bearer " + value


def basic(pair: bytes) -> tuple[bytes, bytes]:
    return b"authorization", b"Basic " + base64.b64encode(pair)


WAYS = {
    "x-api-key": api_key(KEY),
    "bearer": bearer(KEY),
    "bearer in capitals": (b"authorization", b"BEARER " + KEY),
    "basic": basic(b"lboro:" + KEY),
    "basic in small letters": (b"authorization", basic(b"u:" + KEY)[1].replace(b"Basic", b"basic")),
    "basic without a username": basic(b":" + KEY),
    "basic with a username that is not ASCII": basic("é:".encode() + KEY),
    "basic with a username in latin-1": basic("José:".encode("latin-1") + KEY),
    "basic with a username in UTF-16": basic("José".encode("utf-16") + b":" + KEY),
    "basic with a username of any bytes": basic(bytes(set(range(256)) - {ord(":")}) + b":" + KEY),
    "figshare's own scheme": (b"authorization", b"token " + KEY),
    "figshare's own scheme in capitals": (b"authorization", b"TOKEN  " + KEY),
    "white space around": api_key(b" \t" + KEY + b" "),
    "more spaces after the scheme": bearer(b"  " + KEY),
}


@pytest.mark.parametrize("header", WAYS.values(), ids=WAYS)
def test_each_way_of_sending_a_key_finds_its_tenant(header: tuple[bytes, bytes]) -> None:
    headers = [(b"host", b"gateway"), header, (b"accept", b"*/*")]
    assert identify(headers, DIRECTORY, None, NOW).tenant is REPORTS


def test_the_same_key_in_two_different_headers_is_fine() -> None:
    assert presented_key([api_key(KEY), basic(b"u:" + KEY)]) == KEY


def test_no_key_is_anonymous_where_that_is_allowed() -> None:
    assert identify([(b"host", b"gateway")], DIRECTORY, ANONYMOUS, NOW) == Caller(ANONYMOUS)


def test_no_key_is_refused_where_one_is_needed() -> None:
    with pytest.raises(Unauthenticated, match="is needed"):
        identify([], DIRECTORY, None, NOW)


@pytest.mark.parametrize("anonymous", [ANONYMOUS, None], ids=["allowed", "refused"])
def test_unknown_revoked_expired_forged_and_disabled_keys_are_refused_with_one_message(
    anonymous: Tenant | None,
) -> None:
    forged = f"sgw_{MINTED.id}_{'x' * 43}"
    messages = set()
    for text in (OTHER.text, REVOKED.text, EXPIRED.text, DISABLED.text, forged, "no-key-at-all"):
        with pytest.raises(Unauthenticated) as refusal:
            identify([api_key(text.encode())], DIRECTORY, anonymous, NOW)
        messages.add(refusal.value.message)
    assert len(messages) == 1


BAD = {
    "two different keys": [api_key(KEY), bearer(OTHER.text.encode())],
    "X-API-Key twice": [api_key(KEY), api_key(OTHER.text.encode())],
    "X-API-Key twice and equal": [api_key(KEY), api_key(KEY)],
    "Authorization twice": [bearer(KEY), basic(b"u:" + KEY)],
    "oversized X-API-Key": [api_key(b"k" * 513)],
    "oversized Authorization": [bearer(b"k" * 513)],
    "basic that is not base64": [(b"authorization", b"Basic \xff!!")],
    "basic without padding": [(b"authorization", b"Basic YWJjOg")],
    "basic without colon": [basic(KEY)],
    "basic that is empty": [(b"authorization", b"Basic")],
}


@pytest.mark.parametrize("headers", BAD.values(), ids=BAD)
def test_bad_key_headers_are_ambiguous(headers: Headers) -> None:
    with pytest.raises(AmbiguousKey) as refusal:
        identify(headers, DIRECTORY, ANONYMOUS, NOW)
    assert render(refusal.value)[0] == 400


REFUSED = {
    "empty X-API-Key": [api_key(b"")],
    "X-API-Key of spaces": [api_key(b"  ")],
    "empty X-API-Key beside a key": [api_key(b""), bearer(KEY)],
    "empty bearer": [(b"authorization", b"Bearer")],
    "empty basic password": [basic(b"lboro:")],
    "empty Authorization": [(b"authorization", b"")],
    "unknown scheme": [(b"authorization", b"Digest " + KEY)],
    "a key without a scheme": [(b"authorization", KEY)],
    "an institution's own password": [basic(b"lboro:hunter2")],
    "a password that is not UTF-8": [basic(b"lboro:\xff\xfe")],
    "a key after a second colon": [basic(b"a:b:" + KEY)],
    "an empty token": [(b"authorization", b"token")],
    "another scheme's name in it": [(b"authorization", b"tokens " + KEY)],
}


@pytest.mark.parametrize("headers", REFUSED.values(), ids=REFUSED)
def test_useless_keys_are_refused_even_where_none_is_needed(headers: Headers) -> None:
    with pytest.raises(Unauthenticated) as refusal:
        identify(headers, DIRECTORY, ANONYMOUS, NOW)
    assert render(refusal.value)[0] == 401


def test_an_institutions_password_is_told_apart_and_never_echoed() -> None:
    header = basic(b"lboro:hunter2")
    with pytest.raises(Unauthenticated, match="must be a gateway key") as refusal:
        presented_key([header])
    told = repr(refusal.value) + repr(render(refusal.value))
    for secret in ("hunter2", "lboro", header[1].decode().removeprefix("Basic ")):
        assert secret not in told


def test_a_value_of_the_longest_size_is_still_read() -> None:
    assert presented_key([api_key(b"k" * 512)]) == b"k" * 512


values = st.one_of(
    st.binary(max_size=600),
    st.sampled_from([KEY, OTHER.text.encode(), b"", b"Bearer", b"Basic", b"Basic Og==", b"Bearer " + KEY]),
    st.binary(max_size=80).map(lambda pair: basic(pair)[1]),
    st.binary(max_size=80).map(lambda token: bearer(token)[1]),
)
lines = st.tuples(st.sampled_from([b"x-api-key", b"authorization", b"host", b"x-api-keys"]), values)


@given(st.lists(lines, max_size=5), st.booleans())
def test_any_headers_end_in_a_tenant_or_in_a_refusal(headers: Headers, allow_anonymous: bool) -> None:
    sent = [value for name, value in headers if name in (b"x-api-key", b"authorization")]
    try:
        tenant = identify(headers, DIRECTORY, ANONYMOUS if allow_anonymous else None, NOW).tenant
    except (AmbiguousKey, Unauthenticated):
        assert sent or not allow_anonymous
    else:
        assert tenant is (REPORTS if sent else ANONYMOUS)
