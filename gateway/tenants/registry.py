"""FileRegistry: tenants in a TOML file that people and processes edit, and that is followed while it changes."""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from gateway.errors import ConfigurationError
from gateway.tenants import edits, files, keys
from gateway.tenants.directory import Directory
from gateway.tenants.edits import Edit
from gateway.tenants.keyring import Keyring
from gateway.tenants.tables import Tables, check_pair, check_tenant_id, check_text, read_tables, tenants_of
from gateway.tenants.tenant import Pair

Stamps = tuple[files.Stamp | None, files.Stamp | None]


class FileRegistry:
    """The registry file at ``path``; ``directory`` is its last good state, empty until ``load``.

    Everything here raises ConfigurationError, with the path and the reason, for a file that cannot be used.
    Editing keeps people's comments, is atomic, and loses nothing when several processes edit at once.
    """

    def __init__(self, path: Path, keyring: Keyring) -> None:
        self.path = path
        self.directory = Directory()
        self._keyring = keyring
        self._seen: Stamps | None = None

    def __repr__(self) -> str:
        return f"FileRegistry({str(self.path)!r}, {self.directory!r})"

    def load(self) -> Directory:
        """Reads the file, credentials and all, and makes it the current state; no file is no tenants."""
        # The stamps come first: a change during the read is then seen by the next look.
        self._seen = self._stamps()
        vault = self._keyring.vault()
        try:
            self.directory = Directory(tenants_of(self.tables(), vault))
        except ConfigurationError as error:
            raise self._about(error) from None
        return self.directory

    def notes(self) -> list[str]:
        """What an operator should know although it is no error."""
        missing = f"there is no registry file at {self.path} yet, so there are no tenants"
        complaint = self._keyring.complaint()
        return [note for note in (None if self.path.exists() else missing, complaint) if note is not None]

    def tables(self) -> Tables:
        """The file's tables, credentials unopened: to be listed where the encryption keys are not at hand."""
        return self._read_tables(files.read(self.path) or "")

    # Following

    async def watch(
        self,
        changed: Callable[[Directory], None],
        broken: Callable[[ConfigurationError], None],
        *,
        interval: float = 1.0,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Follows the file until cancelled, looking every ``interval`` seconds; calls back once per change.

        A file that is broken or gone leaves the last good state in force.
        """
        while True:
            await pause(interval)
            try:
                if await asyncio.to_thread(self.refresh):
                    changed(self.directory)
            except ConfigurationError as error:
                broken(error)

    def refresh(self) -> bool:
        """Loads the file if it, or the key file, changed since the last look; whether it did.

        Raises ConfigurationError once per change for a file that is broken or gone.
        """
        now = self._stamps()
        if now == self._seen:
            return False
        if now[0] is None and self.directory.tenants:
            self._seen = now
            raise ConfigurationError(f"{self.path} is gone; the tenants stay as they were")
        self.load()
        return True

    def _stamps(self) -> Stamps:
        return files.stamp(self.path), files.stamp(self._keyring.path)

    # Editing

    def add(self, tenant_id: str, name: str | None = None, pair: Pair | None = None) -> None:
        """Adds a tenant, or names the one there is, and seals a pair into it in place of any before."""
        check_tenant_id(tenant_id)
        check_text(name or "", "name")
        steps = [edits.put_tenant(tenant_id, name)]
        if pair is not None:
            check_pair(pair)
            sealed = self._keyring.vault_for_sealing().seal(pair.password)
            steps.append(edits.put_credential(tenant_id, pair.institution, pair.username, sealed))
        self._edit(*steps)

    def change(self, tenant_id: str, **fields: Any) -> None:
        """Sets a tenant's own fields: ``name``, ``enabled``, ``note``, ``origins``; None restores a default.

        ``limits`` and ``lifetimes`` are mappings, of which each name is set by itself.
        """
        check_text(fields.get("name") or "", "name")
        steps: list[Edit] = []
        for name, value in fields.items():
            if name in ("limits", "lifetimes"):
                steps += [edits.set_in(tenant_id, name, each, to) for each, to in value.items()]
            else:
                steps.append(edits.set_field(tenant_id, name, value))
        self._edit(*steps)

    def remove(self, tenant_id: str, institution: str | None = None) -> None:
        """Removes a tenant with its keys and credentials, or its credential for one institution."""
        if institution is None:
            self._edit(edits.remove_tenant(tenant_id))
        else:
            self._edit(edits.remove_credential(tenant_id, institution))

    def add_key(
        self,
        tenant_id: str,
        label: str = "",
        *,
        expires: datetime | None = None,
        now: datetime | None = None,
    ) -> str:
        """Gives a tenant a new key and returns its text, which nothing can show again."""
        check_text(label, "label")
        minted = keys.mint()
        created = _whole_seconds(now)
        self._edit(edits.put_key(tenant_id, minted.id, minted.digest, label, created, expires))
        return minted.text

    def rotate_key(self, key_id: str, overlap: float, *, now: datetime | None = None) -> str:
        """Gives a key's holder a new one of the same label and returns its text; the old one works for another
        ``overlap`` seconds."""
        found = [
            (tenant_id, table.keys[key_id]) for tenant_id, table in self.tables().items() if key_id in table.keys
        ]
        if not found:
            raise edits.no_such_key(key_id)
        ((tenant_id, old),) = found
        minted, moment = keys.mint(), now or datetime.now(UTC)
        self._edit(
            edits.put_key(tenant_id, minted.id, minted.digest, old.label, _whole_seconds(moment)),
            edits.expire_key(key_id, _whole_seconds(moment + timedelta(seconds=overlap))),
        )
        return minted.text

    def revoke_key(self, key_id: str, *, now: datetime | None = None) -> None:
        """Revokes a key for ever."""
        self._edit(edits.revoke_key(key_id, _whole_seconds(now)))

    def _edit(self, *steps: Edit) -> None:
        """Applies edits to the text with its comments and to the plain values; written only if both agree."""
        with files.locked(self.path):
            before = files.read(self.path) or ""
            wanted = self._parsed(before)
            self._checked(wanted)
            for step in steps:
                step(wanted)
            expected = self._checked(wanted)
            after = self._edited(before, steps)
            if not self._reads_as(after, expected):
                raise ConfigurationError(f"{self.path}: its layout is too unusual; edit it by hand")
            files.replace(self.path, after)

    def _edited(self, text: str, steps: Iterable[Edit]) -> str:
        try:
            document = tomlkit.parse(text)
            for step in steps:
                step(document)
            return document.as_string()
        except TOMLKitError as error:
            raise ConfigurationError(f"{self.path}: cannot be edited: {error}") from None

    def _reads_as(self, text: str, expected: Tables) -> bool:
        try:
            return self._read_tables(text) == expected
        except ConfigurationError:
            return False

    def _read_tables(self, text: str) -> Tables:
        return self._checked(self._parsed(text))

    def _parsed(self, text: str) -> dict[str, Any]:
        try:
            return tomllib.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConfigurationError(f"{self.path}: not TOML: {error}") from None

    def _checked(self, document: dict[str, Any]) -> Tables:
        try:
            return read_tables(document)
        except ConfigurationError as error:
            raise self._about(error) from None

    def _about(self, error: ConfigurationError) -> ConfigurationError:
        named = error.message.startswith(str(self.path))
        return error if named else ConfigurationError(f"{self.path}: {error.message}")


def _whole_seconds(moment: datetime | None) -> datetime:
    return (moment or datetime.now(UTC)).replace(microsecond=0)
