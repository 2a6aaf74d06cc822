"""FileStore: the registry's tables in a TOML file that people may edit too."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import tomlkit
from tomlkit.exceptions import TOMLKitError

from gateway.errors import ConfigurationError, RegistryUnavailable, located
from gateway.tenants import files
from gateway.tenants.edits import Change, Edit, Mark
from gateway.tenants.schema import TenantTable, TenantTables, check_unclaimed, checked, plain, read_tables

HEADER = re.compile(r"^[ \t]*\[[^\n]*", re.MULTILINE)


class Section(NamedTuple):
    """A registry file's text in three pieces, of which ``own`` has all tables of one tenant and nobody else's."""

    before: str
    own: str
    after: str


def section_of(text: str, tenant_id: str) -> Section | None:
    """One tenant's section, empty at the end for a new one; None where its tables are not in one piece. Pure.

    Found by lines like headers, which may also stand in strings: the caller has to parse the whole edited text
    before believing in it.
    """
    headers = list(HEADER.finditer(text))
    own = re.compile(rf"[ \t]*\[tenants\.([\"']?){re.escape(tenant_id)}\1[.\]]")
    mine = [at for at, header in enumerate(headers) if own.match(header[0])]
    if not mine:
        apart = "" if not text else "\n" if text.endswith("\n") else "\n\n"
        return Section(text + apart, "", "")
    if len(mine) != mine[-1] - mine[0] + 1:
        return None
    start, following = headers[mine[0]].start(), headers[mine[-1] + 1 :]
    end = following[0].start() if following else len(text)
    return Section(text[:start], text[start:end], text[end:])


def synced(text: str, before: TenantTables, after: TenantTables) -> str:
    """The text with the differences between ``before`` and ``after``; all else, comments too, stays. Pure.

    Raises tomlkit's errors for a layout that it cannot edit.
    """
    document = tomlkit.parse(text)
    for tenant_id, table in after.items():
        if tenant_id in before:
            _sync(document["tenants"][tenant_id], _row(before[tenant_id]), _row(table))
        else:
            _sync(document, {}, {"tenants": {tenant_id: {k: v for k, v in _row(table).items() if v != {}}}})
    for tenant_id in before.keys() - after.keys():
        del document["tenants"][tenant_id]
    return document.as_string()


def _row(table: TenantTable) -> dict[str, Any]:
    """A table with its groups, also where they are empty, so that a group keeps its place and comments."""
    name = {"name": table.name} if table.name else {}
    groups: dict[str, Any] = {"limits": {}, "lifetimes": {}, "institutions": {}, "keys": {}}
    return {**name, "enabled": table.enabled, **groups, **plain(table)}


def _sync(document: Any, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    for name in before.keys() - after.keys():
        if name in document:
            del document[name]
    for name, value in after.items():
        old = before.get(name)
        if isinstance(value, dict) and name in document:
            _sync(document[name], old or {}, value)
        elif value != (old or {}):
            # A new group is assigned whole: tomlkit may hand out copies of what was just inserted.
            document[name] = value


ATTEMPTS = 5
"""Edits of a file that can only be written in place, while others write it too."""
REVISIONS_KEPT = 1_000
"""More edits than fit between two looks, a second apart: each is written durably. Some 80 bytes each."""


class FileStore:
    """A TenantStore in the file at ``path``; no file is no tables.

    An edit keeps people's comments, is atomic, and loses no concurrent edit. A file that cannot be written raises
    RegistryReadOnly. Each edit adds a line to ``<path>.revisions``, beside the file to which a link leads: the
    file's stamp before and after. A change is commanded where such lines lead to it.
    """

    def __init__(self, path: Path, reader: files.Reader | None = None) -> None:
        self.path = path
        self._files = reader or files.Reader()

    def __repr__(self) -> str:
        return f"FileStore({str(self.path)!r})"

    @property
    def name(self) -> str:
        return str(self.path)

    def read(self) -> TenantTables:
        return self._tables(self._files.read(self.path) or "")

    def mark(self) -> Mark:
        return self._files.stamp(self.path)

    def change(self, since: Mark = None, *, whole: bool = False) -> Change:
        """Everything, whatever the mark."""
        # The stamp comes first: a change during the read is then seen by the next look.
        mark = self._files.stamp(self.path)
        try:
            text = self._files.read(self.path)
            if text is None and since is not None:
                raise RegistryUnavailable(f"{self.path} is gone; the tenants stay as they were")
            tables = self._tables(text or "")
        except RegistryUnavailable:
            raise
        except ConfigurationError as error:
            return Change({}, mark, fault=error)
        return Change(tables, mark, commanded=self._commanded(since, mark))

    def get(self, tenant_id: str) -> TenantTable | None:
        return self.read().get(tenant_id)

    def tenant_of_key(self, key_id: str) -> str | None:
        holders = (tenant_id for tenant_id, table in self.read().items() if key_id in table.keys)
        return next(holders, None)

    def edit(self, edits: Mapping[str, Edit]) -> None:
        """Edit all tenants or none."""
        self.mark()  # raises for a mount that hangs
        files.check_writable(self.path)
        with files.locked(self.path, needed=False):
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    self._edit(edits)
                except files.Overtaken:
                    if attempt == ATTEMPTS:
                        raise
                else:
                    return

    def _edit(self, edits: Mapping[str, Edit]) -> None:
        found = files.stamp(self.path)
        text = files.read(self.path) or ""
        before = self._tables(text)
        after = self._applied(before, edits)
        edited = self._edited(text, before, after, edits.keys())
        files.replace(self.path, edited, announce=lambda stamp: self._note(found, stamp), before=found)

    def notes(self) -> list[str]:
        missing = f"there is no registry file at {self.path} yet, so there are no tenants"
        return [missing] if self._files.stamp(self.path) is None else []

    # Revisions

    @property
    def _revisions(self) -> Path:
        target = self.path.resolve()  # as for the lock: shared by those who use a link and those who do not
        return target.with_name(target.name + ".revisions")

    def _note(self, before: files.Stamp | None, after: files.Stamp) -> None:
        """Add the line of an edit; where that fails, followers only wait before they believe it."""
        with suppress(ConfigurationError):
            line = f"{_as_text(before)} {_as_text(after)}"
            lines = [*(files.read(self._revisions) or "").splitlines(), line]
            files.replace(self._revisions, "\n".join(lines[-REVISIONS_KEPT:]) + "\n", like=self.path)

    def _commanded(self, since: Mark, now: Mark) -> bool:
        try:
            text = self._files.read(self._revisions) or ""
        except ConfigurationError:
            return False
        return leads(text, _as_text(since), _as_text(now))

    # Editing

    def _applied(self, before: TenantTables, edits: Mapping[str, Edit]) -> TenantTables:
        after = dict(before)
        for tenant_id, edit in edits.items():
            table = edit(before.get(tenant_id))
            if table is not None:
                after[tenant_id] = table
            elif tenant_id in after:
                del after[tenant_id]
        with located(self.name):
            after = checked(after)
        check_unclaimed(before, after)
        return after

    def _edited(self, text: str, before: TenantTables, after: TenantTables, ids: Collection[str]) -> str:
        """The text as edited. Raises ConfigurationError where its layout does not allow that.

        Where one tenant alone is edited, only its section is parsed with its comments, if it has one: tomlkit
        takes a second for some hundred tenants, in which the requests of this process would wait.
        """
        own_before, own_after = (
            {each: tables[each] for each in ids if each in tables} for tables in (before, after)
        )
        section = section_of(text, *ids) if len(ids) == 1 else None
        if section is not None:
            with suppress(TOMLKitError, KeyError):
                edited = section.before + synced(section.own, own_before, own_after) + section.after
                if self._reads_as(edited, after):
                    return edited
        try:
            edited = synced(text, own_before, own_after)
        except TOMLKitError as error:
            raise ConfigurationError(f"{self.path}: cannot be edited: {error}") from None
        if not self._reads_as(edited, after):
            raise ConfigurationError(f"{self.path}: its layout is too unusual; edit it by hand")
        return edited

    def _reads_as(self, text: str, expected: TenantTables) -> bool:
        try:
            return self._tables(text) == expected
        except ConfigurationError:
            return False

    def _tables(self, text: str) -> TenantTables:
        with located(self.name):
            try:
                return read_tables(tomllib.loads(text))
            except (ValueError, RecursionError) as error:
                raise ConfigurationError(f"not TOML: {error}") from None


def leads(revisions: str, since: str, now: str) -> bool:
    """Whether lines of a stamp before and one after, the newest last, lead from ``since`` to ``now``. Pure."""
    place = now
    for line in reversed(revisions.splitlines()):
        before, _, after = line.partition(" ")
        if place == since:
            break
        if after == place:
            place = before
    return place == since != now


def _as_text(stamp: Mark) -> str:
    return "-".join(str(part) for part in stamp) if isinstance(stamp, tuple) else "none"
