"""Who may use the admin API, and under which Host."""

from __future__ import annotations

import hashlib

import pytest

from gateway.admin.auth import Admin, AdminTokens
from gateway.errors import AdminDisabled, AdminForbidden, AdminUnauthenticated, Headers
from gateway.setting_values import AdminToken

DIGEST = "sha256:" + hashlib.sha256(b"watching").hexdigest()
GUARD = AdminTokens("hunter2-admin", {"watcher": AdminToken(digest=DIGEST, role="read-only")}, ["Admin.example"])


def bearer(text: str, scheme: str = "Bearer") -> Headers:
    return [(b"authorization", f"{scheme} {text}".encode())]


def test_a_token_has_its_name_and_its_role() -> None:
    assert GUARD.admit(bearer("hunter2-admin"), changes=True) == Admin("admin", "read-write")
    assert GUARD.admit(bearer("watching", "bEARER"), changes=False) == Admin("watcher", "read-only")
    with pytest.raises(AdminForbidden, match="may only read"):
        GUARD.admit(bearer("watching"), changes=True)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        bearer("hunter2"),
        bearer(""),
        bearer("hunter2-admin", "Basic"),
        bearer("hunter2-admin") * 2,
        bearer(DIGEST),
    ],
    ids=["none", "wrong", "empty", "scheme", "twice", "digest"],
)
def test_nothing_else_is_a_token(headers: Headers) -> None:
    with pytest.raises(AdminUnauthenticated) as error:
        GUARD.admit(headers, changes=False)
    assert "hunter2" not in error.value.message


def test_without_any_token_the_api_says_how_to_get_one() -> None:
    with pytest.raises(AdminDisabled, match="STATS_GATEWAY_ADMIN_TOKEN"):
        AdminTokens("", {}, []).admit(bearer(""), changes=False)


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8081", "127.0.0.1:8081", "[::1]:8081", "10.1.2.3", "admin.example:80"]
)
def test_addresses_and_our_names_are_our_hosts(host: str) -> None:
    GUARD.check_host([(b"host", host.encode())])


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example:8081", "", "127.0.0.1.evil.example", "[::1"]
)
def test_a_name_that_anybody_could_point_at_us_is_refused(host: str) -> None:
    if host == "[::1":
        return GUARD.check_host([(b"host", host.encode())])  # no name, whatever it is
    with pytest.raises(AdminForbidden):
        GUARD.check_host([(b"host", host.encode())])
    return None


def test_no_host_and_two_hosts_are_refused() -> None:
    for headers in ([], [(b"host", b"localhost")] * 2):
        with pytest.raises(AdminForbidden):
            GUARD.check_host(headers)
