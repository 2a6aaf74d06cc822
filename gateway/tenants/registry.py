"""Registry: the tenants of a file or of Redis, followed and edited."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from msgspec import structs

from gateway.errors import ConfigurationError, RecordExists
from gateway.tenants import edits, schema
from gateway.tenants.edits import Edit
from gateway.tenants.file_store import FileStore
from gateway.tenants.following import Following
from gateway.tenants.schema import KeyTable, TenantTable, TenantTables
from gateway.tenants.tenant import Pair, mint_key
from gateway.tenants.vault import Keyring, Vault

if TYPE_CHECKING:
    from gateway.settings import Settings


class Registry(Following):
    """The tenants of a ``store``, followed and edited. Every method raises ConfigurationError, with the place and
    the reason, for what cannot be used."""

    def notes(self) -> list[str]:
        """Warnings for operators. Raises ConfigurationError where the gateway must not run on the registry."""
        notes, complaint = self.store.notes(), self.keyring.complaint()
        notes = [*notes, *self.directory.networks.disputes]
        if self.loaded and not self.directory.tenants and not any("no tenants" in note for note in notes):
            notes = [*notes, f"the registry at {self.store.name} has no tenants"]
        return [*notes, *([] if complaint is None else [complaint])]

    def create(self, tenant_id: str, **fields: Any) -> None:
        """Add a tenant with the fields that ``change`` takes. Raises RecordExists where there is one."""
        schema.check_tenant_id(tenant_id)
        fields = _checked(fields)

        def create(table: TenantTable | None) -> TenantTable:
            if table is not None:
                raise RecordExists(f"tenant {tenant_id!r} exists")
            return edits.with_fields(TenantTable(name=tenant_id), fields)

        self.store.edit({tenant_id: create})

    def add(self, tenant_id: str, name: str | None = None, pair: Pair | None = None) -> None:
        """Add a tenant, or name the one there is, and seal a pair into it in place of any before."""
        schema.check_tenant_id(tenant_id)
        schema.check_text(name or "", "name")
        if pair is not None:
            self._check(tenant_id, pair)

        def add(table: TenantTable | None) -> TenantTable:
            table = TenantTable(name=tenant_id) if table is None else table
            table = table if name is None else edits.with_fields(table, {"name": name})
            return table if pair is None else self._sealed(table, pair)

        self.store.edit({tenant_id: add})

    def put_credential(self, tenant_id: str, pair: Pair) -> None:
        """Seal a pair into an existing tenant, in place of any before."""
        self._check(tenant_id, pair)
        self._edit(tenant_id, lambda table: self._sealed(table, pair))

    def change(self, tenant_id: str, **fields: Any) -> None:
        """Set a tenant's own fields: ``name``, ``enabled``, ``note``, ``origins``, ``networks``; None restores a
        default.

        ``limits`` and ``lifetimes`` are mappings, of which each name is set by itself.
        """
        fields = _checked(fields)
        self._edit(tenant_id, lambda table: edits.with_fields(table, fields))

    def remove(self, tenant_id: str, institution: str | None = None) -> None:
        """Remove a tenant with its keys and credentials, or its credential for one institution."""
        if institution is None:
            self._edit(tenant_id, lambda _: None)
        else:
            self._edit(tenant_id, lambda table: edits.without_credential(tenant_id, table, institution))

    def add_key(
        self,
        tenant_id: str,
        label: str = "",
        *,
        expires: datetime | None = None,
        now: datetime | None = None,
    ) -> str:
        """Give a tenant a new key and return its text, which nothing can show again. Raises ConfigurationError for
        a key that would have expired already."""
        schema.check_text(label, "label")
        created = _whole_seconds(now)
        _check_end(expires, created)
        minted = mint_key()
        key = KeyTable(minted.stored, label, created, expires)
        self._edit(tenant_id, lambda table: edits.with_key(table, minted.id, key))
        return minted.text

    def rotate_key(
        self, key_id: str, overlap: float, *, expires: datetime | None = None, now: datetime | None = None
    ) -> str:
        """Give a key's holder a new key of the same label and return its text; the old one works for another
        ``overlap`` seconds, unless it ends earlier.

        Where the old key expires, so does the new one, after as long a life, unless ``expires`` says when. Raises
        ConfigurationError for an old key that is revoked or expired, and for a new one that would be.
        """
        tenant_id = self._holder(key_id)
        minted, moment = mint_key(), _whole_seconds(now)
        _check_end(expires, moment)
        overlapped = _whole_seconds(moment + timedelta(seconds=overlap))

        def rotate(table: TenantTable) -> TenantTable:
            old = edits.key_in(table, key_id)
            new = KeyTable(minted.stored, old.label, moment, expires or _as_long(old, moment))
            return edits.with_key(edits.retire_key(table, key_id, overlapped, moment), minted.id, new)

        self._edit(tenant_id, rotate)
        return minted.text

    def revoke_key(self, key_id: str, *, now: datetime | None = None) -> None:
        """Revoke a key for ever."""
        moment = _whole_seconds(now)
        self._edit(self._holder(key_id), lambda table: edits.revoke_key(table, key_id, moment))

    # Moving

    def import_tables(self, tables: TenantTables, *, replace: bool = False) -> None:
        """Add the tables that another registry exported, with ``replace`` also those of existing tenants.

        Their passwords stay sealed as they are. Raises ConfigurationError, before anything is written, where one
        does not open with the encryption keys here or the store may lose tenants, and RecordExists.
        """
        self.store.notes()
        for tenant_id, table in tables.items():
            schema.check_texts(tenant_id, table)
        schema.tenants_of(tables, self.keyring.vault())
        there = self.store.read()
        if not replace and (both := sorted(set(tables) & set(there))):
            others = f" and {len(both) - 1} more" if len(both) > 1 else ""
            raise RecordExists(f"there already is a tenant {both[0]!r}{others}; to replace them, use --replace")
        schema.check_unclaimed(there, there | tables)
        for batch in (_handed_over(there, tables), tables):
            self.store.edit({tenant_id: _replacing(table) for tenant_id, table in batch.items()})

    def reseal(self) -> int:
        """Seal every password with the newest encryption key; the number of tenants with any."""
        vault, tables = self.keyring.vault_for_sealing(), self.store.read()
        self._opened(tables, vault)  # before anything is written; the error names the tenant

        def reseal(table: TenantTable) -> TenantTable:
            return edits.resealed(table, lambda sealed: vault.seal(vault.open(sealed)))

        work = {each: _of_existing(each, reseal) for each, table in tables.items() if table.institutions}
        self.store.edit(work)
        return len(work)

    def renew_keys(self, also: Callable[[Vault], object] = lambda _: None) -> int:
        """Add a new encryption key to the key file, reseal, and drop the older keys once everything opens without
        them; the number of tenants with passwords. ``also`` gets all keys before the older ones go. Raises
        ConfigurationError where the keys are not in a file."""
        with self.keyring.renewing() as drop_old:
            count = self.reseal()
            also(self.keyring.vault())
            schema.tenants_of(self.store.read(), self.keyring.vault().newest())
            drop_old()
        return count

    def _sealed(self, table: TenantTable, pair: Pair) -> TenantTable:
        """Seal within the edit, under the store's lock, with the keys of that moment."""
        sealed = self.keyring.vault_for_sealing().seal(pair.password)
        return edits.with_credential(table, pair.institution, pair.username, sealed)

    def _check(self, tenant_id: str, pair: Pair) -> None:
        schema.check_pair(pair)
        self._check_keys(tenant_id, pair.institution)

    def _check_keys(self, tenant_id: str, institution: str) -> None:
        """Raise ConfigurationError where the encryption keys here open nothing else that the tenant holds: the
        gateways could not open what these keys seal."""
        table = self.store.get(tenant_id)
        others = {} if table is None else {**table.institutions}
        others.pop(institution, None)
        if table is None or not others:
            return
        tenant, fault = schema.salvaged(
            tenant_id, structs.replace(table, institutions=others), self.keyring.vault(), {}
        )
        if fault is not None and not tenant.credentials:
            raise self._named(fault)

    def _holder(self, key_id: str) -> str:
        tenant_id = self.store.tenant_of_key(key_id)
        if tenant_id is None:
            raise edits.no_such_key(key_id)
        return tenant_id

    def _edit(self, tenant_id: str, edit: Callable[[TenantTable], TenantTable | None]) -> None:
        self.store.edit({tenant_id: _of_existing(tenant_id, edit)})


def _replacing(table: TenantTable) -> Edit:
    return lambda _: table


def _of_existing(tenant_id: str, edit: Callable[[TenantTable], TenantTable | None]) -> Edit:
    """An edit that raises NoSuchRecord where there is no such tenant."""
    return lambda table: edit(edits.existing(tenant_id, table))


def _checked(fields: dict[str, Any]) -> dict[str, Any]:
    """A tenant's own fields, networks as they are written everywhere. Raises ConfigurationError."""
    schema.check_text(fields.get("name") or "", "name")
    schema.check_note(fields.get("note") or "")
    networks = fields.get("networks")
    return fields if networks is None else {**fields, "networks": schema.networks_in(networks)}


def _as_long(old: KeyTable, now: datetime) -> datetime | None:
    """The end of a key made ``now`` with as long a life as another's."""
    if old.expires is None:
        return None
    return old.expires if old.created is None else now + (old.expires - old.created)


def _check_end(expires: datetime | None, now: datetime) -> None:
    if expires is not None and expires <= now:
        raise ConfigurationError("the new key would have expired already; give an end in the future")


def _whole_seconds(moment: datetime | None) -> datetime:
    return (moment or datetime.now(UTC)).replace(microsecond=0)


def _handed_over(there: TenantTables, tables: TenantTables) -> TenantTables:
    """The present tables of tenants that lose networks by ``tables``, without those networks: a store that edits
    one tenant after another must free a network before it gives it away."""
    wanted = {network for table in tables.values() for network in table.networks}
    lost = {
        tenant_id: wanted & set(old.networks) - set(tables[tenant_id].networks)
        for tenant_id, old in there.items()
        if tenant_id in tables
    }
    return {
        tenant_id: structs.replace(
            there[tenant_id], networks=tuple(n for n in there[tenant_id].networks if n not in gone)
        )
        for tenant_id, gone in lost.items()
        if gone
    }


def keyring_of(settings: Settings) -> Keyring:
    """The encryption keys of the setting, or of the file beside a registry file."""
    return Keyring(settings.encryption_keys.get_secret_value(), settings.registry_file)


def open_registry(settings: Settings) -> Registry:
    """The registry of ``settings.registry``, in a file or in Redis; nothing is read yet."""
    path = settings.registry_file
    if path is not None:
        return Registry(FileStore(path), keyring_of(settings), settings.registry_doubt)
    # Late, so that commands on a file do not wait for the Redis client to load.
    from gateway.tenants.redis_store import RedisStore

    url = settings.registry.get_secret_value()
    sentinels = settings.redis_sentinel_password.get_secret_value()
    tables = RedisStore(url, settings.redis_prefix, sentinel_password=sentinels)
    return Registry(tables, keyring_of(settings), settings.registry_doubt)
