"""Credentials: whether the encryption keys at hand open every stored password. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from gateway.doctor.finding import Finding, counted, note, ok, problem
from gateway.errors import ConfigurationError
from gateway.tenants.schema import Tables, credential_of
from gateway.tenants.tenant import Credential
from gateway.tenants.vault import Vault

MOST_TOLD = 5


@dataclass(slots=True)
class Opened:
    """The credentials that open, by tenant; why the others do not; how many need an older key."""

    held: list[tuple[str, Credential]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    old: int = 0


def opened(tables: Tables, vault: Vault) -> Opened:
    """Opens every credential of the tables."""
    result, newest = Opened(), vault.newest()
    for tenant_id, table in tables.items():
        for institution, stored in table.institutions.items():
            try:
                result.held.append((tenant_id, credential_of(tenant_id, institution, stored, vault)))
            except ConfigurationError as error:
                result.faults.append(error.message)
                continue
            try:
                credential_of(tenant_id, institution, stored, newest)
            except ConfigurationError:
                result.old += 1
    return result


def credential_findings(found: Opened) -> Iterator[Finding]:
    """What is to be said of how they opened."""
    for fault in found.faults[:MOST_TOLD]:
        yield problem(
            "credentials.opening",
            fault,
            "bring back the key that it was sealed with, or store the password anew: stats-gateway tenant add",
        )
    if len(found.faults) > MOST_TOLD:
        more = len(found.faults) - MOST_TOLD
        yield problem("credentials.opening", f"and {more} more passwords do not open", "as above")
    if found.held and not found.faults:
        yield ok("credentials.opening", f"the encryption keys open {_passwords(len(found.held))}")
    if found.old:
        yield note(
            "credentials.rotation",
            f"{_passwords(found.old)} still need an older encryption key",
            "stats-gateway secrets rotate, before that key goes",
        )


def _passwords(count: int) -> str:
    return counted(count, "password")
