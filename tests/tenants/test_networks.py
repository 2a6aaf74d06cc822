"""The networks that tenants call from: how they are written, whose an address is, and one tenant for each."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from gateway.errors import ConfigurationError, RecordExists, RegistryDisputed
from gateway.tenants.directory import Directory, Networks
from gateway.tenants.registry import Registry
from gateway.tenants.schema import TenantTable, check_unclaimed, read_tables
from gateway.tenants.tenant import Tenant, network_of
from tests.tenants.places import Reopen


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("10.1.0.0/16", "10.1.0.0/16"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("192.0.2.7", "192.0.2.7/32"),
        ("2001:DB8:1::/48", "2001:db8:1::/48"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("fd00:0:0::1", "fd00::1/128"),
        ("::ffff:10.1.0.0/112", "10.1.0.0/16"),
        ("::ffff:a01:203", "10.1.2.3/32"),
    ],
)
def test_a_network_is_written_in_one_way(text: str, network: str) -> None:
    assert str(network_of(text)) == network


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("10.1.2.3/16", "the network is 10.1.0.0/16"),
        ("2001:db8:1::1/48", "the network is 2001:db8:1::/48"),
        ("::ffff:10.1.2.3/112", "the network is 10.1.0.0/16"),
        ("0.0.0.0/0", "at least 8 bits"),
        ("10.0.0.0/7", "at least 8 bits"),
        ("::/0", "at least 32 bits"),
        ("2001:d00::/24", "at least 32 bits"),
        ("::ffff:0.0.0.0/96", "at least 8 bits"),
        ("fe80::1%eth0", "has a zone"),
        ("fe80::%1/64", "has a zone"),
        ("10.1.0.0/255.255.0.0", "no network"),
        ("10.1.0.0/0.0.255.255", "no network"),
        ("10.1.0.0/33", "no network"),
        ("2001:db8::/129", "no network"),
        ("10.1", "no network"),
        ("10.1.0.0/", "no network"),
        ("10.1.0.0 /16", "no network"),
        ("010.1.0.0/16", "no network"),
        ("١٠.1.0.0/16", "no network"),
        ("gateway.example", "no network"),
        ("", "no network"),
        ("*", "no network"),
    ],
)
def test_what_is_no_network_or_too_wide_is_refused_with_the_reason(text: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint.replace(".", r"\.")):
        network_of(text)


@given(st.text())
def test_any_text_is_a_network_or_a_complaint(text: str) -> None:
    try:
        network = network_of(text)
    except ConfigurationError:
        return
    assert network_of(str(network)) == network


def calling(tenant_id: str, *networks: str, enabled: bool = True) -> Tenant:
    return Tenant(tenant_id, tenant_id, networks=tuple(map(network_of, networks)), enabled=enabled)


def caller(networks: Networks, address: str) -> str | None:
    """Whose an address is; empty where somebody's network is nobody's."""
    claim = networks.claim_on(ip_address(address))
    return None if claim is None else "" if claim.tenant is None else claim.tenant.id


def test_the_longest_prefix_wins_among_all_tenants() -> None:
    networks = Networks([
        calling("wide", "10.0.0.0/8", "2001:db8::/32"), calling("narrow", "10.1.0.0/16", "10.1.2.3"),
        calling("middle", "10.1.2.0/24", "2001:db8:1::/48"),
    ])  # fmt: skip
    assert [caller(networks, f"10.{rest}") for rest in ("9.9.9", "1.9.9", "1.2.9", "1.2.3")] == [
        "wide", "narrow", "middle", "narrow",
    ]  # fmt: skip
    assert caller(networks, "11.1.2.3") is None
    assert [caller(networks, each) for each in ("2001:db8::1", "2001:db8:1::1", "2001:db9::1")] == [
        "wide", "middle", None,
    ]  # fmt: skip
    assert not Networks()
    assert networks


v4 = st.integers(0, 2**32 - 1).map(IPv4Address)
v6 = st.integers(0, 2**128 - 1).map(IPv6Address)


@given(st.one_of(v4, v6), st.lists(st.tuples(st.one_of(v4, v6), st.integers(0, 96)), max_size=8))
def test_whose_an_address_is_is_what_comparing_all_networks_would_tell(
    address: IPv4Address | IPv6Address, others: list[tuple[IPv4Address | IPv6Address, int]]
) -> None:
    near = [(address, 8), (address, 20)] if isinstance(address, IPv4Address) else [(address, 40), (address, 90)]
    found = {
        ip_network((int(each) >> host << host, each.max_prefixlen - host) if each.version == 6 else
                   f"{IPv4Address(int(each) >> host % 25 << host % 25)}/{32 - host % 25}")
        for each, host in [*others, *near]
    }  # fmt: skip
    tenants = [Tenant(str(network), "", networks=(network,)) for network in sorted(found, key=str)]
    holding = [network for network in found if address in network]
    expected = str(max(holding, key=lambda network: network.prefixlen)) if holding else None
    assert caller(Networks(tenants), str(address)) == expected


def test_two_who_claim_one_network_both_lose_it_and_a_disabled_tenant_keeps_its_own() -> None:
    networks = Networks([
        calling("around", "10.0.0.0/8"), calling("b", "10.1.0.0/16"), calling("a", "10.1.0.0/16"),
        calling("off", "10.2.0.0/16", enabled=False),
    ])  # fmt: skip
    assert [caller(networks, each) for each in ("10.1.1.1", "10.2.1.1", "10.3.1.1")] == ["", "", "around"]
    (dispute,) = networks.disputes
    assert "10.1.0.0/16 is claimed by tenants 'a' and 'b'" in dispute


def test_a_directory_that_changes_knows_the_networks_of_its_time() -> None:
    before = Directory([calling("a", "10.1.0.0/16"), calling("b")])
    moved = before.changed([calling("a"), calling("b", "10.1.0.0/16")])
    assert [caller(each.networks, "10.1.1.1") for each in (before, moved)] == ["a", "b"]
    assert caller(moved.changed([], ["b"]).networks, "10.1.1.1") is None
    other = moved.changed([Tenant("c", "C")])
    assert other.networks is moved.networks
    assert caller(other.changed([calling("b", "10.1.0.0/16", enabled=False)]).networks, "10.1.1.1") == ""


# In the registry


def networks_of(registry: Registry, tenant_id: str) -> list[str]:
    return list(map(str, registry.load().tenants[tenant_id].networks))


def test_networks_are_kept_as_they_are_written_everywhere(anywhere: Registry) -> None:
    anywhere.create("a", networks=["2001:DB8:1::/48", "::ffff:10.1.0.0/112", "10.1.0.0/16", "192.0.2.7"])
    assert networks_of(anywhere, "a") == ["2001:db8:1::/48", "10.1.0.0/16", "192.0.2.7/32"]
    anywhere.change("a", networks=["10.2.0.0/16"])
    assert networks_of(anywhere, "a") == ["10.2.0.0/16"]
    anywhere.change("a", networks=None)
    assert networks_of(anywhere, "a") == []


def test_a_network_has_one_tenant(anywhere: Registry, reopen: Reopen) -> None:
    anywhere.create("a", networks=["10.1.0.0/16", "10.9.0.0/16"])
    anywhere.create("b", networks=["10.1.2.0/24"])
    for wanted in (["10.1.0.0/16"], ["10.1.2.0/24", "::ffff:10.1.0.0/112"]):
        with pytest.raises(ConfigurationError, match=r"network 10\.1\.0\.0/16 belongs to 'a' already"):
            anywhere.change("b", networks=wanted)
        with pytest.raises(ConfigurationError, match="already"):
            anywhere.create("c", networks=wanted)
    assert networks_of(anywhere, "b") == ["10.1.2.0/24"]
    anywhere.change("a", networks=["10.9.0.0/16"])
    reopen().change("b", networks=["10.1.0.0/16"])
    anywhere.remove("a")
    anywhere.change("b", networks=["10.1.0.0/16", "10.9.0.0/16"])
    assert networks_of(anywhere, "b") == ["10.1.0.0/16", "10.9.0.0/16"]


def test_an_import_brings_networks_and_takes_nobodys(anywhere: Registry, registry: Registry) -> None:
    registry.create("a", networks=["10.1.0.0/16"])
    registry.create("b", networks=["10.2.0.0/16"])
    tables = registry.store.read()
    anywhere.import_tables({"a": tables["a"]})
    anywhere.create("c", networks=["10.2.0.0/16"])
    with pytest.raises(RecordExists):
        anywhere.import_tables(tables)
    with pytest.raises(ConfigurationError, match="'c' already"):
        anywhere.import_tables(tables, replace=True)
    assert set(anywhere.load().tenants) == {"a", "c"}
    anywhere.change("c", networks=None)
    anywhere.import_tables(tables, replace=True)
    assert networks_of(anywhere, "b") == ["10.2.0.0/16"]
    with pytest.raises(ConfigurationError, match="'z' already"):
        check_unclaimed({}, {each: TenantTable(networks=("10.1.0.0/16",)) for each in "yz"})


@pytest.mark.parametrize("swap", [False, True], ids=["handed over", "swapped"])
def test_an_import_may_move_networks_between_its_tenants(anywhere: Registry, swap: bool) -> None:
    first, second = ("10.1.0.0/16",), ("10.2.0.0/16",)
    anywhere.create("a", networks=first)
    anywhere.create("b", networks=second)
    there = anywhere.store.read()
    tables = {
        "0": structs.replace(there["a"], networks=()),
        "a": structs.replace(there["a"], networks=second if swap else first + second),
        "b": structs.replace(there["b"], networks=first if swap else ()),
    }
    anywhere.import_tables(tables, replace=True)
    assert anywhere.store.read() == tables


def test_what_is_no_network_is_refused_and_changes_nothing(anywhere: Registry) -> None:
    anywhere.create("a", networks=["10.1.0.0/16"])
    for wrong in ("10.1.2.3/16", "sgw_AbCdEf0001_" + "0" * 27):
        with pytest.raises(ConfigurationError) as refused:
            anywhere.change("a", networks=["10.2.0.0/16", wrong])
        assert "0" * 27 not in str(refused.value)
    assert networks_of(anywhere, "a") == ["10.1.0.0/16"]
    with pytest.raises(ConfigurationError, match=r"tenant 'a': '10\.1\.2\.3/16' has bits set"):
        read_tables({"tenants": {"a": {"networks": ["10.1.2.3/16"]}}})


def test_a_network_in_dispute_is_an_alarm_until_it_ends_and_stops_no_edit(
    anywhere: Registry, reopen: Reopen
) -> None:
    """As an editor, or a copy that was brought back, may leave it: commands refuse it."""
    anywhere.create("a", networks=["10.1.0.0/16"])
    anywhere.create("b", networks=["10.2.0.0/16"])
    anywhere.load()
    smuggle(anywhere, "b", "10.2.0.0/16", "10.1.0.0/16")
    with pytest.raises(RegistryDisputed, match="'a' and 'b'"):
        anywhere.refresh()
    assert not anywhere.refresh(), "told once"
    assert anywhere.standing.reason == "broken"
    assert caller(anywhere.directory.networks, "10.1.1.1") == ""
    late = reopen()
    late.load()
    assert any("'a' and 'b'" in each for each in late.notes())
    with pytest.raises(RegistryDisputed):
        late.refresh()
    late.change("b", enabled=False)
    late.change("a", note="whose is it?")
    late.change("b", networks=None)
    assert anywhere.refresh()
    assert anywhere.standing.reason is None
    assert caller(anywhere.directory.networks, "10.1.1.1") == "a"
    with pytest.raises(ConfigurationError, match="'a' already"):
        late.change("b", networks=["10.1.0.0/16"])


def smuggle(registry: Registry, tenant_id: str, text: str, other: str) -> None:
    """Writes past the commands."""
    store = registry.store
    if hasattr(store, "path"):
        before = store.path.read_text()
        head, mark, tail = before.partition(f"[tenants.{tenant_id}]")
        store.path.write_text(head + mark + tail.replace(text, other))
    else:
        raw = store._client.hget(store._tenants, tenant_id)  # type: ignore[attr-defined]
        store._client.hset(store._tenants, tenant_id, raw.replace(text.encode(), other.encode()))  # type: ignore[attr-defined]
        store._client.xadd(store._changes, {"tenant": tenant_id})  # type: ignore[attr-defined]
