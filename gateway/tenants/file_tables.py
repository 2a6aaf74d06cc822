"""FileTables: the registry's tables in a TOML file that people may edit too."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from gateway.errors import ConfigurationError
from gateway.tenants import files
from gateway.tenants.edits import Edit
from gateway.tenants.excerpt import excerpt
from gateway.tenants.table_store import Change, Edits
from gateway.tenants.tables import Tables, TenantTable, read_tables


class FileTables:
    """The tables of the file at ``path``; no file is no tables.

    Editing keeps people's comments, is atomic, and loses nothing when several processes edit at once. A file that
    cannot be written raises RegistryReadOnly.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: files.Stamp | None = None
        self._filled = False

    def __repr__(self) -> str:
        return f"FileTables({str(self.path)!r})"

    @property
    def name(self) -> str:
        """As ``TableStore.name``."""
        return str(self.path)

    def read(self) -> Tables:
        """As ``TableStore.read``."""
        return self._checked(self._parsed(files.read(self.path) or ""))

    def begin(self) -> Tables:
        """As ``TableStore.begin``."""
        # The stamp comes first: a change during the read is then seen by the next look.
        self._seen = files.stamp(self.path)
        if self._seen is None and self._filled:
            raise ConfigurationError(f"{self.path} is gone; the tenants stay as they were")
        tables = self.read()
        self._filled = bool(tables)
        return tables

    def change(self) -> Change | None:
        """As ``TableStore.change``; raises once per change for a file that is broken or gone."""
        if files.stamp(self.path) == self._seen:
            return None
        return Change(self.begin(), whole=True)

    def get(self, tenant_id: str) -> TenantTable | None:
        """As ``TableStore.get``."""
        return self.read().get(tenant_id)

    def tenant_of_key(self, key_id: str) -> str | None:
        """As ``TableStore.tenant_of_key``."""
        holders = (tenant_id for tenant_id, table in self.read().items() if key_id in table.keys)
        return next(holders, None)

    def edit(self, edits: Edits) -> None:
        """Edits the text with its comments and the plain values; written, once, only if both agree.

        Where they are one tenant's, only its own part of the text is taken apart with its comments, if that is in
        one piece: that costs ten times what reading takes.
        """
        steps = [step for steps in edits.values() for step in steps]
        files.check_writable(self.path)
        with files.locked(self.path):
            before = files.read(self.path) or ""
            wanted = self._parsed(before)
            self._checked(wanted)
            for step in steps:
                step(wanted)
            expected = self._checked(wanted)
            after = self._edited_in_part(before, edits)
            if after is None or not self._reads_as(after, expected):
                after = self._edited(before, steps)
                if not self._reads_as(after, expected):
                    raise ConfigurationError(f"{self.path}: its layout is too unusual; edit it by hand")
            files.replace(self.path, after)

    def notes(self) -> list[str]:
        """As ``TableStore.notes``."""
        missing = f"there is no registry file at {self.path} yet, so there are no tenants"
        return [] if self.path.exists() else [missing]

    def _edited_in_part(self, text: str, edits: Edits) -> str | None:
        """None where the text's layout, or edits of several tenants, ask for the whole."""
        if len(edits) != 1:
            return None
        ((tenant_id, steps),) = edits.items()
        found = excerpt(text, tenant_id)
        if found is None:
            return None
        try:
            return found.with_own(self._edited(found.own, steps))
        except ConfigurationError:
            return None

    def _edited(self, text: str, steps: Sequence[Edit]) -> str:
        try:
            document = tomlkit.parse(text)
            for step in steps:
                step(document)
            return document.as_string()
        except TOMLKitError as error:
            raise ConfigurationError(f"{self.path}: cannot be edited: {error}") from None

    def _reads_as(self, text: str, expected: Tables) -> bool:
        try:
            return self._checked(self._parsed(text)) == expected
        except ConfigurationError:
            return False

    def _parsed(self, text: str) -> dict[str, Any]:
        try:
            return tomllib.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConfigurationError(f"{self.path}: not TOML: {error}") from None

    def _checked(self, document: dict[str, Any]) -> Tables:
        try:
            return read_tables(document)
        except ConfigurationError as error:
            raise type(error)(f"{self.path}: {error.message}") from None
