"""FileTables: the registry's tables in a TOML file that people may edit too.

Excerpt: one tenant's own part of a registry file's text, so that an edit need not read the others'. Pure.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import tomlkit
from tomlkit.exceptions import TOMLKitError

from gateway.errors import ConfigurationError, RegistryUnavailable
from gateway.tenants import files
from gateway.tenants.edits import Change, Edit, Edits, Mark
from gateway.tenants.schema import Tables, TenantTable, check_unclaimed, read_tables

HEADER = re.compile(r"^[ \t]*\[[^\n]*", re.MULTILINE)


class Excerpt(NamedTuple):
    """A text in three pieces, of which ``own`` has all tables of one tenant and nobody else's."""

    before: str
    own: str
    after: str

    def with_own(self, own: str) -> str:
        """The whole text with another middle."""
        return self.before + own + self.after


def excerpt(text: str, tenant_id: str) -> Excerpt | None:
    """Where a tenant's tables are, at the end for one who has none; None where they are not in one piece.

    It looks for lines like headers, and cannot tell those in strings from others: whoever puts a text together
    again has to read the whole of it before believing in it.
    """
    headers = list(HEADER.finditer(text))
    own = re.compile(rf"[ \t]*\[tenants\.([\"']?){re.escape(tenant_id)}\1[.\]]")
    mine = [at for at, header in enumerate(headers) if own.match(header[0])]
    if not mine:
        apart = "" if not text else "\n" if text.endswith("\n") else "\n\n"
        return Excerpt(text + apart, "", "")
    if len(mine) != mine[-1] - mine[0] + 1:
        return None
    start, following = headers[mine[0]].start(), headers[mine[-1] + 1 :]
    end = following[0].start() if following else len(text)
    return Excerpt(text[:start], text[start:end], text[end:])


REVISIONS_KEPT = 1_000
"""More edits than there can be between two looks of a second: each is written durably. Some 80 bytes each."""


class FileTables:
    """The tables of the file at ``path``; no file is no tables.

    Editing keeps people's comments, is atomic, and loses nothing when several processes edit at once. A file that
    cannot be written raises RegistryReadOnly. Each edit leaves a line in ``<path>.revisions``, beside the file to
    which a link leads: the file's stamp before and after. A state is a command's where such lines lead to it.
    """

    def __init__(self, path: Path, reader: files.Reader | None = None) -> None:
        self.path = path
        self._files = reader or files.Reader()

    def __repr__(self) -> str:
        return f"FileTables({str(self.path)!r})"

    @property
    def name(self) -> str:
        """As ``TableStore.name``."""
        return str(self.path)

    def read(self) -> Tables:
        """As ``TableStore.read``."""
        return self._checked(self._parsed(self._files.read(self.path) or ""))

    def mark(self) -> Mark:
        """As ``TableStore.mark``."""
        return self._files.stamp(self.path)

    def change(self, since: Mark = None, *, whole: bool = False) -> Change:
        """As ``TableStore.change``; always everything."""
        # The stamp comes first: a change during the read is then seen by the next look.
        mark = self._files.stamp(self.path)
        try:
            text = self._files.read(self.path)
            if text is None and since is not None:
                raise RegistryUnavailable(f"{self.path} is gone; the tenants stay as they were")
            tables = self._checked(self._parsed(text or ""))
        except RegistryUnavailable:
            raise
        except ConfigurationError as error:
            return Change({}, mark, fault=error)
        return Change(tables, mark, commanded=self._commanded(since, mark))

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
        self.mark()  # of a mount that hangs this says so
        files.check_writable(self.path)
        with files.locked(self.path):
            found = files.stamp(self.path)
            before = files.read(self.path) or ""
            wanted = self._parsed(before)
            there = self._checked(wanted)
            for step in steps:
                step(wanted)
            expected = self._checked(wanted)
            check_unclaimed(there, expected)
            after = self._edited_in_part(before, edits)
            if after is None or not self._reads_as(after, expected):
                after = self._edited(before, steps)
                if not self._reads_as(after, expected):
                    raise ConfigurationError(f"{self.path}: its layout is too unusual; edit it by hand")
            files.replace(self.path, after, announce=lambda stamp: self._note(found, stamp))

    def notes(self) -> list[str]:
        """As ``TableStore.notes``."""
        missing = f"there is no registry file at {self.path} yet, so there are no tenants"
        return [missing] if self._files.stamp(self.path) is None else []

    # Revisions

    @property
    def _revisions(self) -> Path:
        target = self.path.resolve()  # as the lock does: whoever comes by a link and whoever does not share it
        return target.with_name(target.name + ".revisions")

    def _note(self, before: files.Stamp | None, after: files.Stamp) -> None:
        """Leaves the line of an edit: where that fails, others only wait before they believe it."""
        with suppress(ConfigurationError):
            line = f"{_written(before)} {_written(after)}"
            lines = [*(files.read(self._revisions) or "").splitlines(), line]
            files.replace(self._revisions, "\n".join(lines[-REVISIONS_KEPT:]) + "\n", like=self.path)

    def _commanded(self, since: Mark, now: Mark) -> bool:
        try:
            text = self._files.read(self._revisions) or ""
        except ConfigurationError:
            return False
        return leads(text, _written(since), _written(now))

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


def leads(revisions: str, since: str, now: str) -> bool:
    """Whether lines of a stamp before and one after, the newest last, lead from one stamp to another. Pure."""
    place = now
    for line in reversed(revisions.splitlines()):
        before, _, after = line.partition(" ")
        if place == since:
            break
        if after == place:
            place = before
    return place == since != now


def _written(stamp: Mark) -> str:
    return "-".join(str(part) for part in stamp) if isinstance(stamp, tuple) else "none"
