"""From where a request comes, whatever its headers say."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Headers
from gateway.proxy.callers import _parsed, client_address, is_beyond_doubt, subject_of

TRUSTED = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]


def forwarded(*values: str) -> Headers:
    return [(b"x-forwarded-for", value.encode("latin-1")) for value in values]


@pytest.mark.parametrize(
    ("peer", "headers", "address"),
    [
        ("192.0.2.1", forwarded("198.51.100.7"), "192.0.2.1"),
        ("10.0.0.1", forwarded("198.51.100.7"), "198.51.100.7"),
        ("10.0.0.1", forwarded("203.0.113.9, 198.51.100.7"), "198.51.100.7"),
        ("10.0.0.1", forwarded("198.51.100.7, 10.0.0.2"), "198.51.100.7"),
        ("10.0.0.1", forwarded("198.51.100.7", "10.0.0.2"), "198.51.100.7"),
        ("10.0.0.1", forwarded("198.51.100.7:4711"), "198.51.100.7"),
        ("10.0.0.1", forwarded('"[2001:db8::7]:4711"'), "2001:db8::7"),
        ("::ffff:10.0.0.1", forwarded("198.51.100.7"), "198.51.100.7"),
        ("fd00::1", forwarded("2001:db8::7"), "2001:db8::7"),
        ("10.0.0.1", forwarded("198.51.100.7, nonsense, 10.0.0.2"), "10.0.0.2"),
        ("10.0.0.1", forwarded(""), "10.0.0.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", forwarded("10.0.0.3, 10.0.0.2"), "10.0.0.3"),
        ("10.0.0.1", forwarded(", ".join(["198.51.100.7"] + ["10.0.0.2"] * 500)), "10.0.0.2"),
        ("", forwarded("198.51.100.7"), ""),
    ],
    ids=[
        "a stranger's word does not count", "a proxy's does", "what it was told does not", "through two proxies",
        "in two headers", "with a port", "IPv6 in brackets", "IPv4 in IPv6", "an IPv6 proxy", "garbage ends it",
        "empty", "absent", "all trusted", "a chain without end", "no peer",
    ],
)  # fmt: skip
def test_a_clients_address(peer: str, headers: Headers, address: str) -> None:
    assert client_address(peer, headers, TRUSTED) == address


def test_without_trusted_proxies_only_the_peer_counts() -> None:
    assert client_address("10.0.0.1", forwarded("198.51.100.7"), []) == "10.0.0.1"


@pytest.mark.parametrize(
    ("address", "subject"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1%eth0", "2001:db8:1:2::/64"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("", "unknown"),
        ("a.socket", "unknown"),
    ],
)
def test_ipv6_addresses_of_one_network_share_a_limit(address: str, subject: str) -> None:
    assert subject_of(address) == subject


def test_long_text_is_no_address_and_is_not_remembered() -> None:
    _parsed.cache_clear()
    long = "2001:db8::1%" + "e" * 60
    assert client_address("10.0.0.1", forwarded(f"198.51.100.7, {long}"), TRUSTED) == "10.0.0.1"
    assert client_address(long, forwarded("198.51.100.7"), TRUSTED) == long
    assert subject_of(long) == "unknown"
    assert _parsed.cache_info().currsize == 1
    assert subject_of(" " * 100 + "198.51.100.7") == "198.51.100.7"


SIGNS = ["forwarded", "via", "cdn-loop", "x-real-ip", "x-forwarded-host", "x-forwarded-for", "true-client-ip"]


@pytest.mark.parametrize("sign", SIGNS)
def test_whoever_tells_of_a_proxy_that_is_not_trusted_may_be_one(sign: str) -> None:
    told = [(sign.encode(), b"192.0.2.1")]
    assert is_beyond_doubt("192.0.2.1", [], TRUSTED)
    assert not is_beyond_doubt("192.0.2.1", told, TRUSTED)
    assert not is_beyond_doubt("192.0.2.1", told, [])
    assert not is_beyond_doubt("192.0.2.1", [(sign.encode(), b"")], [])


@pytest.mark.parametrize("peer", ["", "a.socket", "testclient", "fe80::1%eth0", "10.0.0.1"])
def test_who_has_no_address_of_its_own_made_nothing_beyond_doubt(peer: str) -> None:
    assert not is_beyond_doubt(peer, [], TRUSTED)


ADDRESS = st.sampled_from(
    ["198.51.100.7", "203.0.113.9", "10.0.0.1", "10.0.0.2", "fd00::1", "2001:db8::7", "none"]
)


@given(ADDRESS, st.lists(ADDRESS, max_size=4), st.lists(st.tuples(st.sampled_from(SIGNS), ADDRESS), max_size=2))
def test_what_is_beyond_doubt_names_nobody_but_one_caller_and_trusted_proxies(
    peer: str, chain: list[str], others: list[tuple[str, str]]
) -> None:
    headers = [*forwarded(", ".join(chain)), *((name.encode(), value.encode()) for name, value in others)]
    headers = headers if chain else headers[1:]
    if is_beyond_doubt(peer, headers, TRUSTED):
        named = {peer, *chain, *(value for name, value in others if name != "x-forwarded-host")}
        caller = client_address(peer, headers, TRUSTED)
        assert {each for each in named if not each.startswith(("10.", "fd00"))} == {caller}
        assert all(value == caller or not value.startswith("none") for value in named)


@given(st.text(), st.lists(st.binary(max_size=200), max_size=3))
def test_nothing_in_a_header_is_an_error(peer: str, values: list[bytes]) -> None:
    headers = [(b"x-forwarded-for", value) for value in values]
    assert subject_of(client_address(peer, headers, TRUSTED))
    assert subject_of(client_address("10.0.0.1", headers, TRUSTED))
    assert is_beyond_doubt(peer, headers, TRUSTED) in (True, False)
    assert is_beyond_doubt("10.0.0.1", headers, TRUSTED) in (True, False)
