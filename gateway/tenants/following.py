"""Following: the registry's last good state, kept up to date with its store, and which changes are doubted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from gateway.errors import ConfigurationError, RegistryDisputed, RegistryDoubtful, RegistryUnavailable, located
from gateway.tenants import files
from gateway.tenants.directory import Difference, Directory
from gateway.tenants.edits import Change, Mark, TenantStore
from gateway.tenants.schema import KeyTable, TenantTable, TenantTables, salvaged, tenants_of
from gateway.tenants.tenant import Key, Tenant
from gateway.tenants.vault import Keyring, Vault

MANY = 3
"""So many tenants do not vanish by one person's slip."""


def doubt_of(tenants: Mapping[str, Tenant], change: Change) -> str | None:
    """Why a change is probably an accident, such as an emptied or truncated file, or another registry's; None
    where it is not. Pure.

    An accident leaves no usable tenant, or loses most of many. What a command wrote is believed, and so is the
    removal of one tenant beside others.
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
    """Whether the loss of ``lost`` of ``before`` tenants is too much; ``left``: a usable tenant is left, or, where
    none was usable before, any tenant."""
    return lost > 0 and (not left or (lost >= MANY and 2 * lost > before))


def is_lost(tenant: Tenant, table: TenantTable | None) -> bool:
    """Whether a tenant is gone, or lists no key any more, nor a network where it had no key. A truncated table
    lists no keys, and never other ones; revoked keys are listed."""
    if table is None or (bool(tenant.keys) and not table.keys):
        return True
    return bool(tenant.networks) and not table.networks and not table.keys


def _opens(holder: Tenant | TenantTable) -> bool:
    """Whether a tenant is usable: it holds a key that is not revoked, or has networks."""
    return bool(holder.networks) or any(key.revoked is None for key in holder.keys.values())


def followed(change: Change, step: Change) -> Change:
    """A change after a further, commanded step."""
    if step.whole:
        return replace(step, commanded=False)
    news = step.tables.keys() | step.removed | step.broken.keys()
    tables = {tenant_id: table for tenant_id, table in change.tables.items() if tenant_id not in news}
    broken = {tenant_id: error for tenant_id, error in change.broken.items() if tenant_id not in news}
    return Change(tables | step.tables, step.mark, broken=broken | dict(step.broken))


def without(tenant: Tenant, before: TenantTable, after: TenantTable | None) -> Tenant | None:
    """The tenant without the keys and networks that a commanded step removed; None where it removed the tenant."""
    if after is None:
        return None
    gone, left = before.keys.keys() - after.keys.keys(), set(before.networks) - set(after.networks)
    return replace(
        tenant,
        keys={key_id: key for key_id, key in tenant.keys.items() if key_id not in gone},
        networks=tuple(network for network in tenant.networks if str(network) not in left),
    )


def joined(tenant: Tenant | None, found: Tenant, held: Collection[str]) -> Tenant:
    """The tenant with the keys that a doubtful change adds, or a new tenant; keys ``held`` by a tenant stay with
    it. A new tenant's networks wait, since they may be part of another's."""
    new = {key_id: key for key_id, key in found.keys.items() if key_id not in held}
    return replace(found, keys=new, networks=()) if tenant is None else replace(tenant, keys=tenant.keys | new)


def restricted(tenant: Tenant, table: TenantTable) -> Tenant:
    """The tenant as it was, but for what a doubtful table revokes by name: keys that it revokes or lets expire
    earlier, and everything where it disables the tenant."""
    keys = {key_id: _restricted(key, table.keys.get(key_id)) for key_id, key in tenant.keys.items()}
    return replace(tenant, enabled=tenant.enabled and table.enabled, keys=keys)


def _restricted(key: Key, table: KeyTable | None) -> Key:
    if table is None:
        return key
    ends = [end for end in (key.expires, table.expires) if end is not None]
    return replace(key, revoked=key.revoked or table.revoked, expires=min(ends, default=None))


DOUBT_SECONDS = 10.0
SILENT_SECONDS = 15.0
"""Seconds without a look that ended, after which looking counts as hanging."""

KEYS = ""
"""In place of a tenant's id where the encryption keys are at fault."""

Reason = Literal["unread", "doubtful", "broken"]


@dataclass(frozen=True, slots=True)
class Standing:
    """A registry's trouble, if any, and the seconds since all was well."""

    reason: Reason | None
    age: float


@dataclass(frozen=True, slots=True)
class Suspect:
    """A change that is doubted, with the encryption keys of its time, and since when."""

    change: Change
    keys: files.Stamp | None
    why: str
    since: float


class Following:
    """Follows a ``store``; ``directory`` is the state in force, empty until ``load``.

    A version counts as seen once it is in force; one that could not be read is tried again at the next look.
    Losses of a doubtful change (see ``doubt_of``) take effect after they stayed for ``doubt`` seconds; all else,
    and what commands do meanwhile, takes effect at once. ``mark`` is that of the newest encryption key.
    ``trouble`` says why the state in force may not be the registry's, if so. ``clock`` is monotonic.
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
        """Read everything, credentials too, and put it in force. Raises ConfigurationError, with the place and the
        reason, for what cannot be used."""
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
        """The registry's trouble; a hanging look counts as one."""
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
        """Follow the store until cancelled, looking every ``interval`` seconds. Calls ``changed`` with the new
        state and its difference from the one before, ``troubled`` once per trouble, and ``well`` when it is over.

        Broken or missing content leaves the last good state in force. A hanging look does not delay the process's
        end.
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
        """Put in force what changed in the store, or everything if the key file did; whether anything did. Raises
        ConfigurationError once per trouble, after the rest took effect."""
        before, known = self.directory, self.trouble
        self.trouble = self._look()
        if self.trouble is None:
            self._well_at = self._clock()
        elif not _same(self.trouble, known):
            raise self.trouble
        return self.directory is not before

    def _look(self) -> ConfigurationError | None:
        """Look once; the most urgent trouble."""
        keys, unread = self._keys, None
        try:
            keys = self.keyring.stamp()
        except RegistryUnavailable as error:
            unread = error  # the keys alone: the tenants are followed all the same
        try:
            if (self.store.mark(), keys) != self._looked_at:
                self._take(keys)
            self._settle()
        except RegistryUnavailable as error:
            self._looked_at = self._suspect = None
            unread = error
        except Exception as error:  # the next look may succeed
            self._looked_at = self._suspect = None
            unread = RegistryUnavailable(f"{self.store.name}: reading it failed ({type(error).__name__})")
        fault = self._faults.get(KEYS) or next(iter(self._faults.values()), None)
        return unread or self._broken or self._doubted() or fault or self._disputed()

    def _take(self, keys: files.Stamp | None) -> None:
        """Read what is new, and put it in force but for doubtful losses."""
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
        """The store's content where commands alone led to it from a suspect, after what they removed is put out of
        force."""
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
        """Apply a suspect that stayed for long enough."""
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
        """Put in force what a doubtful change revokes, for good, and what it adds, for as long as it stays."""
        self._strayed = True
        good = self._good.tenants
        self._good = self._good.changed(
            [restricted(good[tenant_id], table) for tenant_id, table in change.tables.items() if tenant_id in good]
        )
        good = self._good.tenants
        held = {key_id for tenant in good.values() for key_id in tenant.keys}
        vault, _ = self._vault()  # its error is reported when the change is applied
        more: list[Tenant] = []
        for tenant_id, table in change.tables.items():
            if tenant_id not in good or not table.keys.keys() <= held:
                found, _ = salvaged(tenant_id, table, vault, {})
                more.append(joined(good.get(tenant_id), found, held))
        directory = self._good.changed(more)
        if directory.tenants != self.directory.tenants:
            self.directory = directory

    def _apply(self, change: Change, keys: files.Stamp | None) -> None:
        """Put a change in force, each tenant as far as it is usable: a faulty credential must not keep a
        revocation from taking effect, its own tenant's or another's. Raises RegistryUnavailable, after that, where
        the encryption keys could not be read."""
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
        """The vault; without a usable key an empty one, and the error."""
        try:
            return self.keyring.vault(), None
        except ConfigurationError as error:
            return Vault([]), error

    def _removed(self, change: Change) -> Collection[str]:
        if not change.whole:
            return change.removed
        return [each for each in self._good.tenants if each not in change.tables and each not in change.broken]

    def _opened(self, tables: TenantTables, vault: Vault) -> list[Tenant]:
        with located(self.store.name):
            return tenants_of(tables, vault)


def _same(trouble: ConfigurationError, known: ConfigurationError | None) -> bool:
    """Whether a trouble is known already: what is tried again fails anew, in the same words."""
    anew = isinstance(trouble, (RegistryUnavailable, RegistryDoubtful, RegistryDisputed))
    return trouble is known or (anew and type(trouble) is type(known) and trouble.args == known.args)
