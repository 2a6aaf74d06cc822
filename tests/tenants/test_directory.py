"""The snapshot that requests are answered from."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.tenants.directory import Difference, Directory
from gateway.tenants.tenant import Key, NewKey, Tenant, mint_key

NOW = 1_700_000_000.0


def holding(minted: NewKey, **changes: Any) -> Tenant:
    revoked = changes.pop("revoked", None)
    key = Key(minted.id, minted.digest, revoked=revoked)
    return Tenant(id="reports", name="Reports", keys={minted.id: key}, **changes)


def test_a_live_key_finds_its_tenant() -> None:
    minted = mint_key()
    tenant = holding(minted)
    assert Directory([tenant]).holder_of(minted.text.encode(), NOW) == (tenant, tenant.keys[minted.id])


def test_the_right_id_with_another_secret_finds_nobody() -> None:
    minted, other = mint_key(), mint_key()
    forged = f"sgw_{minted.id}_{other.text.rpartition('_')[2]}".encode()
    assert Directory([holding(minted)]).holder_of(forged, NOW) is None


def test_a_revoked_key_and_a_disabled_tenants_find_nobody() -> None:
    minted = mint_key()
    for tenant in (holding(minted, revoked=datetime(2999, 1, 1, tzinfo=UTC)), holding(minted, enabled=False)):
        assert Directory([tenant]).holder_of(minted.text.encode(), NOW) is None


def test_an_expired_key_finds_nobody_from_its_moment_on() -> None:
    minted = mint_key()
    key = Key(minted.id, minted.digest, expires=datetime.fromtimestamp(NOW, UTC))
    directory = Directory([Tenant(id="reports", name="Reports", keys={minted.id: key})])
    assert directory.holder_of(minted.text.encode(), NOW - 0.001) is not None
    assert directory.holder_of(minted.text.encode(), NOW) is None


def test_a_directory_does_not_change() -> None:
    directory = Directory([holding(mint_key())])
    with pytest.raises(TypeError):
        directory.tenants["other"] = holding(mint_key())  # type: ignore[index]


def test_it_tells_who_is_new_other_and_gone_since_another() -> None:
    names = {name: Tenant(id=name, name=name) for name in "abcd"}
    before = Directory([names["a"], names["c"], names["b"]])
    after = Directory([Tenant(id="b", name="B"), Tenant(id="a", name="a"), names["d"]])
    assert after.since(before) == Difference(added=["d"], changed=["b"], removed=["c"])
    assert after.since(after) == Difference([], [], [])


def test_its_repr_counts_and_shows_nothing_else() -> None:
    assert repr(Directory([holding(mint_key())])) == "Directory(tenants=1, keys=1)"
