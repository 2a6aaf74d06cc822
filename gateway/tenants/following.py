"""Following: the registry's last good state, kept up with the place where it lies.

Doubt: whether a registry may have lost this much at once, and what of it is believed at any rate. Pure.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from gateway.errors import ConfigurationError, RegistryDisputed, RegistryDoubtful, RegistryUnavailable
from gateway.tenants import files
from gateway.tenants.directory import Difference, Directory
from gateway.tenants.edits import Change, Mark, TenantStore
from gateway.tenants.schema import KeyTable, TenantTable, TenantTables, salvaged, tenants_of
from gateway.tenants.tenant import Key, Tenant
from gateway.tenants.vault import Keyring, Vault

MANY = 3
"""As many tenants as do not vanish by one person's slip."""


def doubt_of(tenants: Mapping[str, Tenant], change: Change) -> str | None:
    """Why a change is more likely an accident than somebody's will; None where it is not.

    Emptied files, files that were cut, and other registries' files look like that: nobody is left, or most of many
    tenants are gone. What a command wrote is believed, and so is the removal of one tenant beside others.
    """
    if change.commanded or not change.whole:
        return None
    lost = {
        tenant_id
        for tenant_id, tenant in tenants.items()
        if tenant_id not in change.broken and is_lost(tenant, change.tables.get(tenant_id))
    }
    unread = [tenants[tenant_id] for tenant_id in change.broken if tenant_id in tenants]
    left = any(map(_opens, change.tables.values())) or any(map(_opens, unread))
    if not any(map(_opens, tenants.values())):
        left = left or bool(change.tables)
    if not is_many(len(lost), len(tenants), left=left):
        return None
    return f"{len(lost)} of {len(tenants)} tenants are gone from it, or have lost their keys, at once"


def is_many(lost: int, before: int, *, left: bool) -> bool:
    """Whether so many lost of those before are too many; ``left`` says whether anybody is left who may
    ask; where nobody could before, whether anybody is left."""
    return lost > 0 and (not left or (lost >= MANY and 2 * lost > before))


def is_lost(tenant: Tenant, table: TenantTable | None) -> bool:
    """Whether a tenant is gone, or no key of it is listed any more, nor a network where it had no key. A cut
    leaves no keys, and never other ones; those that are revoked are listed."""
    if table is None or (bool(tenant.keys) and not table.keys):
        return True
    return bool(tenant.networks) and not table.networks and not table.keys


def _opens(holder: Tenant | TenantTable) -> bool:
    """Whether anybody may ask as it: it holds a key that is not revoked, or calls from networks of its own."""
    return bool(holder.networks) or any(key.revoked is None for key in holder.keys.values())


def followed(change: Change, step: Change) -> Change:
    """What a look found, as a step that was commanded after it left it."""
    if step.whole:
        return replace(step, commanded=False)
    news = step.tables.keys() | step.removed | step.broken.keys()
    tables = {tenant_id: table for tenant_id, table in change.tables.items() if tenant_id not in news}
    broken = {tenant_id: error for tenant_id, error in change.broken.items() if tenant_id not in news}
    return Change(tables | step.tables, step.mark, broken=broken | dict(step.broken))


def without(tenant: Tenant, before: TenantTable, after: TenantTable | None) -> Tenant | None:
    """The tenant without the keys and networks that a commanded step took from its table; None where that removed
    it."""
    if after is None:
        return None
    gone, left = before.keys.keys() - after.keys.keys(), set(before.networks) - set(after.networks)
    return replace(
        tenant,
        keys={key_id: key for key_id, key in tenant.keys.items() if key_id not in gone},
        networks=tuple(network for network in tenant.networks if str(network) not in left),
    )


def joined(tenant: Tenant | None, found: Tenant, held: Collection[str]) -> Tenant:
    """The tenant with the keys that a doubtful state adds, or a new one; those ``held`` stay whose they are. So do
    networks: a new one's wait, since they may be part of another's."""
    new = {key_id: key for key_id, key in found.keys.items() if key_id not in held}
    return replace(found, keys=new, networks=()) if tenant is None else replace(tenant, keys=tenant.keys | new)


def restricted(tenant: Tenant, table: TenantTable) -> Tenant:
    """The tenant as it was, without what a doubtful table takes from it by name: keys that it revokes or lets
    expire earlier, and everything where it disables the tenant."""
    keys = {key_id: _restricted(key, table.keys.get(key_id)) for key_id, key in tenant.keys.items()}
    return replace(tenant, enabled=tenant.enabled and table.enabled, keys=keys)


def _restricted(key: Key, table: KeyTable | None) -> Key:
    if table is None:
        return key
    ends = [end for end in (key.expires, table.expires) if end is not None]
    return replace(key, revoked=key.revoked or table.revoked, expires=min(ends, default=None))


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
    """The tenants of a ``store``; ``directory`` is the state in force, empty until ``load``.

    What was found counts as seen once it is in force, and what could not be read is tried again at the next look.
    What a state has lost at once that lost too much is gone after it stayed so for ``doubt`` seconds, see
    ``doubt_of``; all else, and whatever commands do meanwhile, is in force at once.
    ``mark`` is that of the newest encryption key. ``trouble`` says why the state in force may not be the
    registry's; None where it is. ``clock`` is monotonic.
    """

    def __init__(
        self,
        store: TenantStore,
        keyring: Keyring,
        doubt: float = DOUBT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store = store
        self.keyring = keyring
        self.directory = Directory()
        self.mark = ""
        self.loaded = False
        self.trouble: ConfigurationError | None = None
        self._doubt_seconds = doubt
        self._clock = clock
        self._well_at = clock()
        self._good = self.directory  # in force but for what a doubtful state adds
        self._strayed = False  # from what was at the mark that is applied
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
        vault = self.keyring.vault()
        self.directory, self.mark = Directory(self._opened(change.tables, vault)), vault.mark
        self._good, self._strayed = self.directory, False
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
        return unread or self._broken or self._doubted() or fault or self._disputed()

    def _take(self, keys: files.Stamp | None) -> None:
        """Reads what is new, and puts it in force but for the losses that are doubtful."""
        before, self._suspect = self._suspect, None
        change = self._commanded_since(before)
        commanded = change is not None
        if change is None:
            change = self.store.change(self._applied, whole=self._strayed or keys != self._keys)
        self._looked_at = change.mark, keys
        self._broken = change.fault
        if change.fault is not None:
            return
        why = doubt_of(self._good.tenants, change)
        if why is None:
            self._apply(change, keys)
            return
        if before is not None and (commanded or before.change.tables == change.tables):
            self._suspect = replace(before, change=change, keys=keys)
        else:
            self._suspect = Suspect(change, keys, why, self._clock())
        self._put_in_force(change)

    def _commanded_since(self, suspect: Suspect | None) -> Change | None:
        """What is there where commands alone led to it from a suspect, once what they removed is gone."""
        step = None if suspect is None else self.store.change(suspect.change.mark)
        if suspect is None or step is None or not step.commanded:
            return None
        change = followed(suspect.change, step)
        fewer: list[Tenant] = []
        removed: list[str] = []
        for tenant_id, table in suspect.change.tables.items():
            tenant = self._good.tenants.get(tenant_id)
            if tenant is not None and tenant_id not in change.broken:
                left = without(tenant, table, change.tables.get(tenant_id))
                removed.append(tenant_id) if left is None else fewer.append(left)
        self._good = self._good.changed(fewer, removed)
        return change

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

    def _disputed(self) -> ConfigurationError | None:
        found = self.directory.networks.disputes
        return RegistryDisputed(f"{self.store.name}: {found[0]}") if found else None

    def _put_in_force(self, change: Change) -> None:
        """Of a doubtful state what it revokes, for good, and what it adds, for as long as it is there."""
        self._strayed = True
        good = self._good.tenants
        self._good = self._good.changed(
            [restricted(good[tenant_id], table) for tenant_id, table in change.tables.items() if tenant_id in good]
        )
        good = self._good.tenants
        held = {key_id for tenant in good.values() for key_id in tenant.keys}
        vault, _ = self._vault()  # told when it settles, and a doubt is told already
        more: list[Tenant] = []
        for tenant_id, table in change.tables.items():
            if tenant_id not in good or not table.keys.keys() <= held:
                found, _ = salvaged(tenant_id, table, vault, {})
                more.append(joined(good.get(tenant_id), found, held))
        directory = self._good.changed(more)
        if directory.tenants != self.directory.tenants:
            self.directory = directory

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
        self.directory = self._good = self._good.changed(usable, removed)
        self.mark = vault.mark
        if isinstance(fault, RegistryUnavailable):
            raise self._named(fault)
        news = {KEYS, *change.tables, *removed}
        others = {} if change.whole else {each: wrong for each, wrong in self._faults.items() if each not in news}
        self._faults = faults | others
        self._applied, self._keys, self._strayed = change.mark, keys, False

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
        return [each for each in self._good.tenants if each not in change.tables and each not in change.broken]

    def _opened(self, tables: TenantTables, vault: Vault) -> list[Tenant]:
        try:
            return tenants_of(tables, vault)
        except ConfigurationError as error:
            raise self._named(error) from None


def _same(trouble: ConfigurationError, known: ConfigurationError | None) -> bool:
    """Whether a trouble has been told: what is tried again fails anew, in the same words."""
    anew = isinstance(trouble, (RegistryUnavailable, RegistryDoubtful, RegistryDisputed))
    return trouble is known or (anew and type(trouble) is type(known) and trouble.args == known.args)
