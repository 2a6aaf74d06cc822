"""Following: the registry's last good state, kept up with the place where it lies."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Literal

from gateway.errors import ConfigurationError, RegistryDoubtful, RegistryUnavailable
from gateway.tenants import files
from gateway.tenants.directory import Difference, Directory
from gateway.tenants.doubt import doubt_of, restricted
from gateway.tenants.keyring import Keyring
from gateway.tenants.table_store import Change, Mark, TableStore
from gateway.tenants.tables import Tables, salvaged, tenants_of
from gateway.tenants.tenant import Tenant
from gateway.tenants.vault import Vault

DOUBT_SECONDS = 10.0
SILENT_SECONDS = 15.0
"""After so long without a look that ended, the looking itself is taken to hang."""

KEYS = ""
"""In a tenant's place where the encryption keys are at fault: no tenant has that id."""

Reason = Literal["unread", "doubtful", "broken"]


@dataclass(frozen=True, slots=True)
class Standing:
    """How a registry stands: what is wrong with it, if anything, and the seconds since all was well."""

    reason: Reason | None
    age: float


@dataclass(frozen=True, slots=True)
class Suspect:
    """A change that is not believed yet, with the encryption keys of its time, and since when it is there."""

    change: Change
    keys: files.Stamp | None
    why: str
    since: float


class Following:
    """The tenants of a ``store``; ``directory`` is their last good state, empty until ``load``.

    What was found counts as seen once it is in force, and what could not be read is tried again at the next look.
    A state that has lost too much at once is in force after it stayed for ``doubt`` seconds; see ``doubt_of``.
    ``trouble`` says why the state in force may not be the registry's; None where it is. ``clock`` is monotonic.
    """

    def __init__(
        self,
        store: TableStore,
        keyring: Keyring,
        doubt: float = DOUBT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store = store
        self.keyring = keyring
        self.directory = Directory()
        self.loaded = False
        self.trouble: ConfigurationError | None = None
        self._doubt_seconds = doubt
        self._clock = clock
        self._well_at = clock()
        self._applied: Mark = None
        self._keys: files.Stamp | None = None
        self._looked_at: tuple[Mark, files.Stamp | None] | None = None
        self._suspect: Suspect | None = None
        self._broken: ConfigurationError | None = None
        self._faults: dict[str, ConfigurationError] = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.store!r}, {self.directory!r})"

    def load(self) -> Directory:
        """Reads all, credentials too, and makes it the current state. Raises ConfigurationError, with the place
        and the reason, for what cannot be used."""
        self._keys = self.keyring.stamp()
        change = self.store.change()
        for error in (change.fault, *change.broken.values()):
            if error is not None:
                raise error
        self.directory = Directory(self._opened(change.tables, self.keyring.vault()))
        self._applied = change.mark
        self._looked_at = change.mark, self._keys
        self._suspect, self._broken, self._faults, self.trouble = None, None, {}, None
        self._well_at = self._clock()
        self.loaded = True
        return self.directory

    @property
    def standing(self) -> Standing:
        """How the registry stands; a look that does not end shows too."""
        age = self._clock() - self._well_at
        match self.trouble:
            case None:
                return Standing("unread" if age > SILENT_SECONDS else None, age)
            case RegistryUnavailable():
                return Standing("unread", age)
            case RegistryDoubtful():
                return Standing("doubtful", age)
        return Standing("broken", age)

    async def watch(
        self,
        changed: Callable[[Directory, Difference], None],
        troubled: Callable[[ConfigurationError], None],
        well: Callable[[], None] = lambda: None,
        *,
        interval: float = 1.0,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Follows the store until cancelled, looking every ``interval`` seconds; calls back once per change, with
        the state that is now in force and how it differs from the one before; once per trouble; and when all is
        well again.

        What is broken or gone leaves the last good state in force. A look that hangs keeps nobody from ending.
        """
        while True:
            await pause(interval)
            before, trouble = self.directory, self.trouble
            wrong: ConfigurationError | None = None
            try:
                await asyncio.wrap_future(files.aside(self.refresh))
            except ConfigurationError as error:
                wrong = error
            if self.directory is not before:
                changed(self.directory, await asyncio.to_thread(self.directory.since, before))
            if wrong is not None:
                troubled(wrong)
            elif trouble is not None and self.trouble is None:
                well()

    def refresh(self) -> bool:
        """Takes over what changed in the store, or all if the key file did; whether anything did.

        Raises ConfigurationError once per trouble, after the rest took effect.
        """
        before, known = self.directory, self.trouble
        self.trouble = self._look()
        if self.trouble is None:
            self._well_at = self._clock()
        elif not _same(self.trouble, known):
            raise self.trouble
        return self.directory is not before

    def _look(self) -> ConfigurationError | None:
        """Looks once; what is wrong, the most urgent first."""
        keys, unread = self._keys, None
        try:
            keys = self.keyring.stamp()
        except RegistryUnavailable as error:
            unread = error  # of the keys: who may ask is followed all the same
        try:
            if (self.store.mark(), keys) != self._looked_at:
                self._take(keys)
            self._settle()
        except RegistryUnavailable as error:
            self._looked_at = self._suspect = None
            unread = error
        except Exception as error:  # whatever it is, the next look may find better
            self._looked_at = self._suspect = None
            unread = RegistryUnavailable(f"{self.store.name}: reading it failed ({type(error).__name__})")
        fault = self._faults.get(KEYS) or next(iter(self._faults.values()), None)
        return unread or self._broken or self._doubted() or fault

    def _take(self, keys: files.Stamp | None) -> None:
        """Reads what is new, and puts it in force unless that is doubtful."""
        change = self.store.change(self._applied, whole=keys != self._keys)
        self._looked_at = change.mark, keys
        before, self._suspect = self._suspect, None
        self._broken = change.fault
        if change.fault is not None:
            return
        why = doubt_of(self.directory.tenants, change)
        if why is None:
            self._apply(change, keys)
            return
        stayed = before is not None and before.change.tables == change.tables
        self._suspect = Suspect(change, keys, why, before.since if before and stayed else self._clock())
        self.directory = self._restricted(change)

    def _settle(self) -> None:
        """Believes what has stayed for long enough."""
        suspect = self._suspect
        if suspect is not None and self._clock() - suspect.since >= self._doubt_seconds:
            self._suspect = None
            self._apply(suspect.change, suspect.keys)

    def _doubted(self) -> ConfigurationError | None:
        if self._suspect is None:
            return None
        return RegistryDoubtful(
            f"{self.store.name}: {self._suspect.why}; they stay as they were, unless it stays so for "
            f"{self._doubt_seconds:g} s or a command says so"
        )

    def _restricted(self, change: Change) -> Directory:
        """The state in force without the keys that even a doubtful one revokes."""
        before = self.directory.tenants
        both = [tenant_id for tenant_id in before if tenant_id in change.tables]
        now = [restricted(before[tenant_id], change.tables[tenant_id]) for tenant_id in both]
        fewer = [tenant for tenant in now if tenant != before[tenant.id]]
        return self.directory.changed(fewer) if fewer else self.directory

    def _apply(self, change: Change, keys: files.Stamp | None) -> None:
        """Tenant by tenant, and each as far as it can be used: what is wrong with one credential must not keep a
        revocation from taking effect, its own tenant's or another's.

        Raises RegistryUnavailable, after that, where the encryption keys could not be read.
        """
        vault, fault = self._vault()
        usable: list[Tenant] = []
        faults: dict[str, ConfigurationError] = dict(change.broken)
        if fault is not None:
            faults[KEYS] = self._named(fault)
        for tenant_id, table in change.tables.items():
            before = self.directory.tenants.get(tenant_id)
            tenant, wrong = salvaged(tenant_id, table, vault, {} if before is None else before.credentials)
            usable.append(tenant)
            if wrong is not None:
                faults[tenant_id] = self._named(wrong)
        removed = self._removed(change)
        self.directory = self.directory.changed(usable, removed)
        if isinstance(fault, RegistryUnavailable):
            raise self._named(fault)
        news = {KEYS, *change.tables, *removed}
        others = {} if change.whole else {each: wrong for each, wrong in self._faults.items() if each not in news}
        self._faults = faults | others
        self._applied, self._keys = change.mark, keys

    def _named(self, error: ConfigurationError) -> ConfigurationError:
        return type(error)(f"{self.store.name}: {error.message}")

    def _vault(self) -> tuple[Vault, ConfigurationError | None]:
        """The vault; without a usable key one that opens nothing, and why."""
        try:
            return self.keyring.vault(), None
        except ConfigurationError as error:
            return Vault([]), error

    def _removed(self, change: Change) -> Collection[str]:
        if not change.whole:
            return change.removed
        return [each for each in self.directory.tenants if each not in change.tables and each not in change.broken]

    def _opened(self, tables: Tables, vault: Vault) -> list[Tenant]:
        try:
            return tenants_of(tables, vault)
        except ConfigurationError as error:
            raise self._named(error) from None


def _same(trouble: ConfigurationError, known: ConfigurationError | None) -> bool:
    """Whether a trouble has been told: what is tried again fails anew, in the same words."""
    anew = isinstance(trouble, (RegistryUnavailable, RegistryDoubtful))
    return trouble is known or (anew and type(trouble) is type(known) and trouble.args == known.args)
