"""Whether callers without a key are told by their addresses, and whether they should be."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.admin.doctor.finding import Finding, State
from gateway.admin.doctor.tenants import network_findings
from gateway.settings import Settings
from gateway.tenants.schema import read_tables


def findings(tenants: dict[str, list[str]], **settings: Any) -> list[Finding]:
    tables = read_tables({"tenants": {name: {"networks": networks} for name, networks in tenants.items()}})
    return list(network_findings(tables, Settings(**{"public_hosts": "stats.example.org", **settings})))


def test_without_networks_there_is_nothing_to_say() -> None:
    assert findings({"a": []}) == []


def test_sound_networks_are_counted_and_that_is_all() -> None:
    (finding,) = findings({"a": ["10.1.0.0/16", "fd00:1:2::/48"], "b": ["10.2.0.0/16"]})
    assert (finding.state, finding.what) == (State.OK, "3 networks of 2 tenants may call without a key")


@pytest.mark.parametrize(
    ("tenants", "settings", "state", "what"),
    [
        ({"a": ["10.1.0.0/16"]}, {"public_hosts": ""}, State.WARNING, "nobody is told by a network"),
        ({"a": ["10.1.0.0/16"], "b": ["10.1.0.0/16"]}, {}, State.PROBLEM, "claimed by tenants 'a' and 'b'"),
        (
            {"a": ["10.1.0.0/16"], "b": ["10.1.2.0/24"], "c": ["10.1.2.3"]},
            {},
            State.NOTE,
            "10.1.2.3/32 (c) lies within 10.1.2.0/24 (b): calls from there are c's",
        ),
        (
            {"a": ["10.1.0.0/16", "10.2.0.0/16"]},
            {"trusted_proxies": "192.0.2.1, 10.1.2.3"},
            State.WARNING,
            "trusted proxies, 10.1.2.3, have addresses in 10.1.0.0/16 (a):",
        ),
        ({"a": ["10.1.0.0/16"]}, {"trusted_proxies": "10.0.0.0/8"}, State.WARNING, "trusted proxies, 10.0.0.0/8,"),
        ({"a": ["198.18.1.0/24", "8.8.8.0/24"]}, {}, State.WARNING, "public addresses: 8.8.8.0/24 (a);"),
        ({"a": ["2600:1:2::/48"]}, {}, State.WARNING, "public addresses: 2600:1:2::/48 (a);"),
        ({"a": ["10.0.0.0/15"]}, {}, State.NOTE, "wide networks: 10.0.0.0/15 (a);"),
        ({"a": ["fd00:1::/32"]}, {}, State.NOTE, "wide networks: fd00:1::/32 (a);"),
        ({"a": ["127.0.0.1"]}, {}, State.NOTE, "this machine's own addresses: 127.0.0.1/32 (a);"),
    ],
)  # fmt: skip
def test_what_may_surprise_is_told(
    tenants: dict[str, list[str]], settings: dict[str, str], state: State, what: str
) -> None:
    found = findings(tenants, **settings)
    assert found[0].what.startswith(what) or any(what in each.what and each.state is state for each in found[1:])
    assert all(each.advice for each in found if each.state in (State.WARNING, State.PROBLEM))


def test_names_that_are_none_are_told_even_without_networks() -> None:
    (finding,) = findings({}, public_hosts="https://stats.example.org stats.example.org:8443")
    assert finding.check == "settings.public_hosts"
    assert finding.what.endswith(": https://stats.example.org")


def test_that_any_page_may_use_a_key_lets_none_use_an_address() -> None:
    tables = read_tables({"tenants": {"a": {"networks": ["10.1.0.0/16"], "origins": ["*"]}}})
    found = list(network_findings(tables, Settings(public_hosts="stats.example.org")))
    assert [each.state for each in found] == [State.OK, State.NOTE]
    assert "any page may call with a key of a;" in found[1].what
