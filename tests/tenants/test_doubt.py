"""Which states of a registry are believed at once, and what of the others is."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gateway.errors import ConfigurationError
from gateway.tenants.edits import Change
from gateway.tenants.following import doubt_of, joined, restricted
from gateway.tenants.schema import KeyTable, TenantTable, TenantTables
from gateway.tenants.tenant import Key, Tenant, network_of

DIGEST = "sha256:" + "0" * 64
EARLY, LATE = datetime(2030, 1, 1, tzinfo=UTC), datetime(2031, 1, 1, tzinfo=UTC)


def held(letters: str) -> dict[str, Tenant]:
    """Tenants named so, with a key each; those in capitals have none."""
    return {each.lower(): Tenant(each.lower(), each, keys=_keys(each)) for each in letters}


def _keys(letter: str) -> dict[str, Key]:
    return {letter * 10: Key(letter * 10, b"")} if letter.islower() else {}


def found(letters: str) -> TenantTables:
    """Their tables; those in capitals list no key."""
    return {
        each.lower(): TenantTable(keys={each * 10: KeyTable(DIGEST)} if each.islower() else {}) for each in letters
    }


@pytest.mark.parametrize(
    ("before", "after", "doubtful"),
    [
        ("a", "", True),  # emptied
        ("ab", "", True),
        ("A", "", True),
        ("a", "A", True),  # cut before its key
        ("ab", "aB", False),
        ("ab", "a", False),  # one removed
        ("abc", "a", False),  # two removed
        ("abcd", "a", True),  # three of four
        ("abcdef", "abc", False),  # three, and no more than half
        ("abcde", "ab", True),
        ("abcde", "abCDE", True),  # cut where the keys of all stand behind all tenants
        ("abcdefghij", "abcdefg", False),
        ("abcd", "wxyz", True),  # another registry's file
        ("a", "b", False),  # renamed
        ("", "", False),
        ("", "abc", False),
        ("abc", "abc", False),
        ("abcd", "ABCDa", True),
        ("Ab", "A", True),  # nobody is left who holds a key
        ("Ab", "AB", True),
        ("Ab", "AC", True),
        ("Ab", "a", False),
        ("Abc", "Ab", False),
    ],
)
def test_what_vanished_at_once_decides(before: str, after: str, doubtful: bool) -> None:
    assert (doubt_of(held(before), Change(found(after), "mark")) is not None) is doubtful


@pytest.mark.parametrize("tenants", ["a", "ab", "abcdef"])
def test_keys_that_others_replace_are_not_lost(tenants: str) -> None:
    anew = {each: TenantTable(keys={"new" + each * 7: KeyTable(DIGEST)}) for each in tenants}
    assert doubt_of(held(tenants), Change(anew, "mark")) is None


def test_who_holds_only_revoked_keys_is_nobody_left() -> None:
    tables = {"a": TenantTable(keys={"a" * 10: KeyTable(DIGEST, revoked=EARLY)})}
    assert doubt_of(held("ab"), Change(tables, "mark")) is not None
    assert doubt_of(held("a"), Change(tables, "mark")) is None


def test_who_calls_from_networks_without_a_key_is_somebody() -> None:
    network = network_of("10.1.0.0/16")
    calling = {each: Tenant(each, each, networks=(network,)) for each in "abcd"}
    left = {"a": TenantTable(networks=("10.1.0.0/16",))}
    assert doubt_of(calling, Change(dict.fromkeys("abcd", TenantTable()), "mark")) is not None
    assert doubt_of(calling, Change({}, "mark")) is not None
    assert doubt_of(held("ab"), Change(left, "mark")) is None


def test_a_doubtful_state_moves_no_network() -> None:
    one, other = network_of("10.1.0.0/16"), network_of("10.2.0.0/16")
    tenant = Tenant("a", "A", networks=(one,))
    assert restricted(tenant, TenantTable()).networks == (one,)
    assert joined(tenant, Tenant("a", "A", networks=(other,)), ()).networks == (one,)
    assert joined(None, Tenant("b", "B", networks=(one,)), ()).networks == ()


def test_what_a_command_did_is_believed() -> None:
    assert doubt_of(held("abcd"), Change({}, "mark", commanded=True)) is None
    part = Change({}, "mark", whole=False, removed=frozenset("abcd"))
    assert doubt_of(held("abcd"), part) is None


def test_those_who_cannot_be_read_are_not_gone() -> None:
    broken = {each: ConfigurationError("no JSON") for each in "abc"}
    assert doubt_of(held("abc"), Change({}, "mark", broken=broken)) is None
    assert doubt_of(held("abcd"), Change({}, "mark", broken=broken)) is None


@pytest.mark.parametrize("revoked", [None, EARLY])
@pytest.mark.parametrize(("before", "after", "ends"), [
    (None, None, None), (None, EARLY, EARLY), (EARLY, None, EARLY), (LATE, EARLY, EARLY), (EARLY, LATE, EARLY),
])  # fmt: skip
def test_a_doubtful_state_only_takes(
    before: datetime | None, after: datetime | None, ends: datetime | None, revoked: datetime | None
) -> None:
    tenant = Tenant("a", "A", keys={"k": Key("k", b"", expires=before), "other": Key("other", b"")})
    table = TenantTable(
        name="B", keys={"k": KeyTable(DIGEST, expires=after, revoked=revoked), "new": KeyTable(DIGEST)}
    )
    assert restricted(tenant, table) == Tenant(
        "a", "A", keys={"k": Key("k", b"", expires=ends, revoked=revoked), "other": Key("other", b"")}
    )


def test_a_doubtful_state_may_disable_but_not_enable() -> None:
    tenant = Tenant("a", "A")
    assert not restricted(tenant, TenantTable(enabled=False)).enabled
    assert not restricted(Tenant("a", "A", enabled=False), TenantTable()).enabled
    assert restricted(tenant, TenantTable()) == tenant
