"""Credentials that are not used, by the names that people know them by: their institution and their tenants."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import structlog

from gateway.tenants.directory import Directory
from gateway.upstream.credential_breaker import Standing
from gateway.upstream.snapshot import Refused

log = structlog.get_logger("gateway")

MOST_NAMED = 10
"""Tenants of one credential that are named; how many there are is said beside."""
EVENTS = {
    Standing.REFUSED: "credential_refused",
    Standing.HELD: "credential_held",
    Standing.USED: "credential_used_again",
}


def named(refused: Sequence[Refused], directory: Directory) -> tuple[Refused, ...]:
    """The credentials with their institutions and tenants. One that no tenant has any more keeps neither."""
    if not refused:
        return ()
    found = _holders({each.fingerprint for each in refused}, directory)
    return tuple([_with_names(each, *found.get(each.fingerprint, ("", []))) for each in refused])


def whose(institution: str, tenants: Sequence[str], total: int, fingerprint: str) -> str:
    """A credential in words: its institution and the tenants who have it."""
    if not institution:
        return f"{fingerprint[:8]} (of no tenant any more)"
    shown = list(tenants[:3])
    more = [f"{total - len(shown)} more"] if total > len(shown) else []
    return f"{institution} ({', '.join(shown + more)})"


class WithheldLog:
    """Writes a line for each credential that stops or begins to be used, with its institution and tenants."""

    def __init__(self, directory: Callable[[], Directory]) -> None:
        self._directory = directory

    def note(self, fingerprint: str, standing: Standing) -> None:
        """Log what became of a credential, as far as this process knows."""
        (each,) = named([Refused(fingerprint, 0.0, None)], self._directory())
        write = log.info if standing is Standing.USED else log.warning
        names = {"institution": each.institution, "tenants": each.tenants, "count": each.tenants_total}
        write(EVENTS[standing], **names, fingerprint=fingerprint[:16])


def _holders(fingerprints: Collection[str], directory: Directory) -> dict[str, tuple[str, list[str]]]:
    found: dict[str, tuple[str, list[str]]] = {}
    for tenant in directory.tenants.values():
        for institution, credential in tenant.credentials.items():
            if credential.fingerprint in fingerprints:
                found.setdefault(credential.fingerprint, (institution, []))[1].append(tenant.id)
    return found


def _with_names(each: Refused, institution: str, tenants: list[str]) -> Refused:
    return replace(
        each, institution=institution, tenants=tuple(sorted(tenants)[:MOST_NAMED]), tenants_total=len(tenants)
    )
