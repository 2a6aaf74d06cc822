"""TableStore: what a registry asks of the place where its tables lie."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from gateway.errors import ConfigurationError
from gateway.tenants.edits import Edit
from gateway.tenants.tables import Tables, TenantTable

Edits = Mapping[str, Sequence[Edit]]
"""What to do, by the id of the tenant to whom it is done."""
Mark = Hashable
"""What is another whenever the place has changed."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a look found, at ``mark``: all ``tables`` where it is ``whole``, else those that changed, and the
    tenants ``removed``; what is wrong with those that are ``broken``, or with all of it (``fault``).

    ``commanded``: commands and the admin API alone led here from the state that was asked about.
    """

    tables: Tables
    mark: Mark
    whole: bool = True
    commanded: bool = False
    removed: frozenset[str] = frozenset()
    broken: Mapping[str, ConfigurationError] = field(default_factory=dict)
    fault: ConfigurationError | None = None


class TableStore(Protocol):
    """A place that several processes read and edit. All of it blocks, and raises ConfigurationError with the place
    and the reason where the place, or what lies there, cannot be used; RegistryUnavailable where another try may
    succeed. It remembers nothing of what was read: who follows it does."""

    @property
    def name(self) -> str:
        """What people call the place; never a secret."""
        ...

    def read(self) -> Tables:
        """All tables, credentials unopened."""
        ...

    def mark(self) -> Mark:
        """What tells, at little cost, whether anything has changed."""
        ...

    def change(self, since: Mark = None, *, whole: bool = False) -> Change:
        """What changed since a mark, or everything where that cannot be told, or is asked for; None for a mark is
        before everything. What lies there and cannot be used does not raise, but is in the answer. Raises
        RegistryUnavailable where there is nothing any more."""
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
