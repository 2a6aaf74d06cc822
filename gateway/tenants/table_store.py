"""TableStore: what a registry asks of the place where its tables lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from gateway.errors import ConfigurationError
from gateway.tenants.edits import Edit
from gateway.tenants.tables import Tables, TenantTable

Edits = Mapping[str, Sequence[Edit]]
"""What to do, by the id of the tenant to whom it is done."""


@dataclass(frozen=True, slots=True)
class Change:
    """What another look found: all ``tables`` where it is ``whole``, else those that changed since the last look,
    the tenants ``removed`` since, and what is wrong with those that are ``broken``."""

    tables: Tables
    whole: bool
    removed: frozenset[str] = frozenset()
    broken: Mapping[str, ConfigurationError] = field(default_factory=dict)


class TableStore(Protocol):
    """A place that several processes read and edit. All of it blocks, and raises ConfigurationError with the place
    and the reason where the place, or what lies there, cannot be used."""

    @property
    def name(self) -> str:
        """What people call the place; never a secret."""
        ...

    def read(self) -> Tables:
        """All tables, credentials unopened."""
        ...

    def begin(self) -> Tables:
        """As ``read``; the next ``change`` is counted from here."""
        ...

    def change(self) -> Change | None:
        """What changed since the last look; None where nothing did."""
        ...

    def get(self, tenant_id: str) -> TenantTable | None:
        """One tenant's table."""
        ...

    def tenant_of_key(self, key_id: str) -> str | None:
        """The id of the tenant that holds a key."""
        ...

    def edit(self, edits: Edits) -> None:
        """Does what is asked, each tenant's all or not at all, and loses nobody else's edits."""
        ...

    def notes(self) -> list[str]:
        """What an operator should know although it is no error."""
        ...
