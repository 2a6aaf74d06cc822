"""Whether those who are to ask can, and for how long yet; and whether their passwords open."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.fernet import Fernet

from gateway.admin.doctor.finding import Finding, State, named, worst
from gateway.admin.doctor.service import PUBLIC, questions
from gateway.admin.doctor.tenants import credential_findings, opened, running_findings, tenant_findings
from gateway.tenants.schema import TenantTables, read_tables
from gateway.tenants.vault import Vault

NOW = datetime(2030, 1, 31, tzinfo=UTC)
KEYS = ("AbCdEf0001", "AbCdEf0002", "AbCdEf0003")


def key(**fields: Any) -> dict[str, Any]:
    return {"digest": "sha256:" + "0" * 64, **fields}


def day(days: float) -> datetime:
    return NOW + timedelta(days=days)


def findings(**tenants: dict[str, Any]) -> list[Finding]:
    return list(tenant_findings(read_tables({"tenants": tenants}), NOW, allow_anonymous=False))


def told(check: str, found: list[Finding]) -> list[tuple[State, str]]:
    return [(each.state, each.what) for each in found if each.check == check]


def test_no_tenants_is_a_note_that_says_what_to_type() -> None:
    (finding,) = findings()
    assert finding.state is State.NOTE
    assert "stats-gateway tenant add" in finding.advice
    assert "stats-gateway key add" in finding.advice
    (anonymous,) = tenant_findings({}, NOW, allow_anonymous=True)
    assert "public queries" in anonymous.what


def test_a_key_in_a_name_a_note_or_a_label_is_a_warning_that_does_not_repeat_it() -> None:
    secret = "x" * 43
    pasted = f"sgw_AbCdEf9999_{secret}"
    texts = {
        "named": {"name": pasted},
        "noted": {"note": f"by mail: {pasted}"},
        "sound": {"name": "sgw_AbCdEf9999"},
    }
    found = findings(**texts, labelled={"keys": {KEYS[0]: key(label=pasted)}})
    assert [each.state for each in found if each.check == "tenants.texts"] == [State.WARNING] * 3
    assert secret not in str(found)


def test_those_who_cannot_ask_are_named_once_for_each_reason() -> None:
    pair = {"lboro": {"username": "lboro", "password": "enc:x"}}
    found = findings(
        off={"enabled": False},
        keyless={"institutions": pair},
        revoked={"institutions": pair, "keys": {KEYS[0]: key(revoked=day(-1))}},
        expired={"institutions": pair, "keys": {KEYS[1]: key(expires=day(-1))}},
        poor={"keys": {KEYS[2]: key()}},
    )
    assert told("tenants.disabled", found)[0][1].endswith(": off")
    assert told("tenants.keys", found)[0][1].endswith(": keyless, revoked, expired")
    assert told("tenants.credentials", found)[0][1].endswith(": poor")
    assert told("tenants.count", found) == [(State.OK, "5 tenants, 3 keys, 3 credentials")]


@pytest.mark.parametrize(("days", "said"), [(29.9, "in 30 days"), (1, "in 1 day"), (0.1, "within a day")])
def test_a_key_that_ends_soon_is_a_warning(days: float, said: str) -> None:
    found = findings(reports={"keys": {KEYS[0]: key(label="cron", expires=day(days))}})
    assert told("tenants.expiry", found) == [(State.WARNING, f"key {KEYS[0]} (cron) of reports ends {said}")]


@pytest.mark.parametrize("fields", [{}, {"expires": day(31)}, {"expires": day(5), "revoked": day(-1)}])
def test_one_that_does_not_is_none(fields: dict[str, Any]) -> None:
    assert told("tenants.expiry", findings(reports={"keys": {KEYS[0]: key(**fields)}})) == []


def test_a_disabled_tenants_key_may_end() -> None:
    assert (
        told("tenants.expiry", findings(reports={"enabled": False, "keys": {KEYS[0]: key(expires=day(3))}})) == []
    )


@pytest.mark.parametrize(
    ("other", "state"),
    [
        ({"label": "cron", "created": day(-1)}, State.NOTE),
        ({"label": "cron", "created": day(-1), "expires": day(300)}, State.NOTE),
        ({"label": "cron", "created": day(-9)}, State.WARNING),
        ({"label": "cron", "created": day(-1), "expires": day(2)}, State.WARNING),
        ({"label": "other", "created": day(-1)}, State.WARNING),
        ({"label": "cron", "created": day(-1), "revoked": day(-1)}, State.WARNING),
    ],
)
def test_a_key_that_was_rotated_may_end(other: dict[str, Any], state: State) -> None:
    old = key(label="cron", created=day(-5), expires=day(3))
    found = findings(reports={"keys": {KEYS[0]: old, KEYS[1]: key(**other)}})
    assert told("tenants.expiry", found)[0][0] is state


# Passwords


def sealed(vault: Vault, *tenants: str, password: str = "hunter2") -> TenantTables:
    table = {"institutions": {"lboro": {"username": "lboro", "password": vault.seal(password)}}}
    return read_tables({"tenants": dict.fromkeys(tenants, table)})


def test_passwords_that_open_are_counted() -> None:
    vault = Vault([Fernet.generate_key().decode()])
    found = opened(sealed(vault, "one", "two"), vault)
    (finding,) = credential_findings(found)
    assert (finding.state, finding.what) == (State.OK, "the encryption keys open 2 passwords")
    assert [tenant for tenant, _ in found.held] == ["one", "two"]


def test_each_that_does_not_is_a_problem_that_names_it_but_not_hundreds() -> None:
    vault, other = (Vault([Fernet.generate_key().decode()]) for _ in range(2))
    found = list(credential_findings(opened(sealed(other, *(f"t{n}" for n in range(9))), vault)))
    assert {each.state for each in found} == {State.PROBLEM}
    assert "tenant 't0', institution 'lboro': the password was encrypted with another" in found[0].what
    assert len(found) == 6
    assert found[-1].what == "and 4 more passwords do not open"


def test_one_that_does_not_open_hides_no_other() -> None:
    vault, other = (Vault([Fernet.generate_key().decode()]) for _ in range(2))
    found = opened(sealed(other, "bad") | sealed(vault, "good"), vault)
    assert [tenant for tenant, _ in found.held] == ["good"]
    assert worst(credential_findings(found)) is State.PROBLEM


def test_what_still_needs_an_older_key_is_a_note() -> None:
    old, new = (Fernet.generate_key().decode() for _ in range(2))
    found = opened(sealed(Vault([old]), "one") | sealed(Vault([new]), "two"), Vault([new, old]))
    assert [each.state for each in credential_findings(found)] == [State.OK, State.NOTE]


def test_no_key_at_all_is_a_problem() -> None:
    found = opened(sealed(Vault([Fernet.generate_key().decode()]), "one"), Vault([]))
    assert "no encryption key" in next(iter(credential_findings(found))).what


def test_equal_pairs_are_one_question_and_none_is_a_public_one() -> None:
    vault = Vault([Fernet.generate_key().decode()])
    tables = sealed(vault, "one", "two") | sealed(vault, "three", password="other")
    asked = questions(opened(tables, vault).held)
    assert [each.tenants for each in asked] == [("one", "two"), ("three",)]
    assert all(each.target.startswith("/lboro/timeline/") for each in asked)
    (public,) = questions([])
    assert (public.target, public.credential) == (PUBLIC, None)


def test_many_names_are_some_names() -> None:
    assert named(["a", "b"]) == "a, b"
    assert named([str(n) for n in range(8)]) == "0, 1, 2, 3, 4 and 3 more"


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (None, {}),
        ({"status": "ok"}, {"registry.followed": State.OK}),
        ({"status": "degraded"}, {"redis.used": State.PROBLEM, "registry.followed": State.OK}),
        ({"status": "degraded", "registry": {"reason": "unread"}}, {"registry.followed": State.PROBLEM}),
    ],
)
def test_the_gateway_that_runs_here(state: dict[str, Any] | None, expected: dict[str, State]) -> None:
    assert {each.check: each.state for each in running_findings(state)} == expected
