"""RedisStore: the registry's tables in Redis, for a fleet that is edited live."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import files
from typing import Any, assert_never

import msgspec
from redis import Redis, RedisCluster, Sentinel
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.exceptions import NoPermissionError, RedisError, ResponseError
from redis.retry import Retry

from gateway.errors import ConfigurationError, RegistryUnavailable, located
from gateway.redis_url import RedisPlace, masked_url
from gateway.tenants.edits import Change, Edit, Mark
from gateway.tenants.schema import TenantTable, TenantTables, checked, claimed, read_tables

BEGINNING = b"0-0"
"""The place before any change of a stream."""
CHANGES_KEPT = 10_000
PAGE = 1_000
NETWORK = "network:"
"""Begins a network's name in the hash of owners."""
ATTEMPTS = 100
"""How often an edit is tried again after concurrent edits of the same tenant."""


class RedisStore:
    """A TenantStore in the Redis at ``url``: a hash of JSON records by tenant, the owners of all keys and
    networks, and a stream of the ids of tenants that changed. None of them has a TTL.

    Every process follows the stream, to which only edits add: a follower that still finds its place there knows
    that commands led to the present content. One whose place is gone (trimmed, flushed, or lost at a failover)
    reads everything anew. Raises RegistryUnavailable when Redis does not answer within ``timeout`` seconds.
    """

    def __init__(self, url: str, prefix: str, timeout: float = 5.0, sentinel_password: str = "") -> None:
        self.name = masked_url(url)
        try:
            self._client = _client(RedisPlace.parse(url), sentinel_password, timeout)
        except ValueError:
            raise ConfigurationError(f"{self.name} is no Redis URL that can be read") from None
        self._tenants, self._owners, self._changes = (
            f"{prefix}:{{registry}}:{name}" for name in ("tenants", "owners", "changes")
        )
        source = files("gateway.tenants.lua").joinpath("registry.lua").read_text(encoding="utf-8")
        self._put = self._client.register_script(source)

    def __repr__(self) -> str:
        return f"RedisStore({self.name!r})"

    def read(self) -> TenantTables:
        """All tables. Raises ConfigurationError for the first record that cannot be used."""
        with self._errors():
            records = self._client.hgetall(self._tenants)
        tables, broken = self._usable(_by_id(records))
        for error in broken.values():
            raise error
        return tables

    def mark(self) -> Mark:
        """The id of the last change."""
        with self._errors():
            last = self._client.xrevrange(self._changes, count=1)
        return last[0][0] if last else None

    def change(self, since: Mark = None, *, whole: bool = False) -> Change:
        """The tenants that the stream names since, where it still has that place; else everything."""
        if whole or since is None:
            return self._whole(BEGINNING if since is None else since)
        with self._errors():
            news = self._client.xrange(self._changes, min=since, count=PAGE + 1)
        if not news or news[0][0] != since or len(news) > PAGE:
            return self._whole(since)
        return self._partly(since, news[1:])

    def get(self, tenant_id: str) -> TenantTable | None:
        raw = self._raw(tenant_id)
        return None if raw is None else self._table(tenant_id, raw)

    def tenant_of_key(self, key_id: str) -> str | None:
        with self._errors():
            owner = self._client.hget(self._owners, key_id)
        return None if owner is None else owner.decode()

    def edit(self, edits: Mapping[str, Edit]) -> None:
        """Edit one tenant after another."""
        for tenant_id, edit in edits.items():
            self._edit(tenant_id, edit)

    def notes(self) -> list[str]:
        """Warnings about persistence. Raises ConfigurationError where Redis may evict keys without a TTL."""
        with self._errors():
            try:
                policy = self._client.info("memory").get("maxmemory_policy", "")
                kept = self._client.info("persistence").get("aof_enabled", 0) or self._snapshots()
            except NoPermissionError:
                return [
                    f"the registry at {self.name} does not say whether it keeps tenants: INFO is not permitted"
                ]
        if str(policy).startswith("allkeys"):
            raise ConfigurationError(
                f"{self.name} may evict tenants (maxmemory-policy {policy}); "
                "give the registry a Redis with noeviction or a volatile-… policy"
            )
        lost = f"the registry at {self.name} has no persistence: a restart of that Redis loses all tenants"
        return [] if kept else [lost]

    def _snapshots(self) -> bool:
        """Whether Redis saves snapshots; a managed server, which does not say, counts as if it did."""
        try:
            return bool(self._client.config_get("save").get("save", "unknown"))
        except ResponseError:
            return True

    # Reading

    def _whole(self, since: Mark) -> Change:
        with self._errors(), self._client.pipeline(transaction=True) as pipe:
            pipe.xrevrange(self._changes, count=1)
            pipe.hgetall(self._tenants)
            pipe.xrange(self._changes, min=since, max=since, count=1)
            last, records, place = pipe.execute()
        if not last and since != BEGINNING:
            raise RegistryUnavailable(f"the registry at {self.name} is gone; the tenants stay as they were")
        tables, broken = self._usable(_by_id(records))
        return Change(tables, last[0][0] if last else None, commanded=bool(place), broken=broken)

    def _partly(self, since: Mark, news: Sequence[tuple[bytes, dict[bytes, bytes]]]) -> Change:
        if not news:
            return Change({}, since, whole=False, commanded=True)
        ids = sorted({fields.get(b"tenant", b"").decode(errors="replace") for _, fields in news})
        with self._errors():
            records = dict(zip(ids, self._client.hmget(self._tenants, ids), strict=True))
        removed = frozenset(tenant_id for tenant_id, raw in records.items() if raw is None)
        tables, broken = self._usable({tenant_id: raw for tenant_id, raw in records.items() if raw is not None})
        return Change(tables, news[-1][0], whole=False, commanded=True, removed=removed, broken=broken)

    def _usable(self, records: dict[str, bytes]) -> tuple[TenantTables, dict[str, ConfigurationError]]:
        tables: TenantTables = {}
        broken: dict[str, ConfigurationError] = {}
        for tenant_id in sorted(records):
            try:
                tables[tenant_id] = self._table(tenant_id, records[tenant_id])
            except ConfigurationError as error:
                broken[tenant_id] = error
        return tables, broken

    def _raw(self, tenant_id: str) -> Any:
        with self._errors():
            return self._client.hget(self._tenants, tenant_id)

    def _table(self, tenant_id: str, raw: bytes) -> TenantTable:
        with located(self.name):
            try:
                return read_tables({"tenants": {tenant_id: msgspec.json.decode(raw)}})[tenant_id]
            except msgspec.DecodeError:
                raise ConfigurationError(f"tenant {tenant_id!r}: its record is not JSON") from None

    # Editing

    def _edit(self, tenant_id: str, edit: Edit) -> None:
        for _ in range(ATTEMPTS):
            raw = self._raw(tenant_id)
            before = None if raw is None else self._table(tenant_id, raw)
            after = edit(before)
            if self._replaced(tenant_id, raw, before, None if after is None else self._checked(tenant_id, after)):
                return
        raise RegistryUnavailable(f"{self.name}: tenant {tenant_id!r} is being edited too busily; try again")

    def _checked(self, tenant_id: str, table: TenantTable) -> TenantTable:
        with located(self.name):
            return checked({tenant_id: table})[tenant_id]

    def _replaced(
        self, tenant_id: str, raw: bytes | None, before: TenantTable | None, after: TenantTable | None
    ) -> bool:
        held, holds = _changed_hands(before, after)
        record = b"" if after is None else msgspec.json.encode(after)
        with self._errors():
            answer = self._put(
                keys=[self._tenants, self._owners, self._changes],
                args=[tenant_id, raw or b"", record, CHANGES_KEPT, len(held), *held, *holds],
            )
        if isinstance(answer, bytes):
            raise self._taken(tenant_id, set(holds), answer.decode())
        return bool(answer)

    def _taken(self, tenant_id: str, wanted: set[str], owner: str) -> ConfigurationError:
        """The error about a key or network that another tenant has."""
        table = self.get(owner)
        both = wanted & _holdings(table)[1]
        if both:
            return claimed(tenant_id, min(both).removeprefix(NETWORK), owner)
        return ConfigurationError(f"tenant {tenant_id!r}: one of its keys also belongs to {owner!r}")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (RedisError, OSError, TimeoutError) as error:
            said = str(error) or type(error).__name__
            raise RegistryUnavailable(f"the registry at {self.name} does not answer: {said}") from None


def _changed_hands(before: TenantTable | None, after: TenantTable | None) -> tuple[list[str], list[str]]:
    """The keys and networks that a tenant gives up by an edit, and those it is to have: all its keys; of its
    networks those alone that come or go, since one in dispute must not prevent other edits."""
    keys, networks = _holdings(before)
    new_keys, new_networks = _holdings(after)
    return [*keys, *networks - new_networks], [*new_keys, *new_networks - networks]


def _holdings(table: TenantTable | None) -> tuple[list[str], set[str]]:
    if table is None:
        return [], set()
    return list(table.keys), {NETWORK + network for network in table.networks}


def _by_id(records: dict[bytes, bytes]) -> dict[str, bytes]:
    return {tenant_id.decode(errors="replace"): raw for tenant_id, raw in records.items()}


def _client(place: RedisPlace, sentinel_password: str, timeout: float) -> Any:
    times: dict[str, Any] = {"socket_timeout": timeout, "socket_connect_timeout": timeout}
    options = {"ssl": place.secure, **place.options, **times}
    match place.kind:
        case "one":
            host, port = place.hosts[0]
            return Redis(host, port, retry=Retry(NoBackoff(), 0), **options)
        case "sentinel":
            tls = {name: value for name, value in options.items() if name.startswith("ssl")}
            sentinels = Sentinel(  # type: ignore[no-untyped-call]
                list(place.hosts), sentinel_kwargs={"password": sentinel_password or None, **tls, **times}
            )
            once = Retry(NoBackoff(), 1)
            return sentinels.master_for(place.service, retry=once, **options)  # type: ignore[no-untyped-call]
        case "cluster":
            nodes = [ClusterNode(host, port) for host, port in place.hosts]  # type: ignore[no-untyped-call]
            return RedisCluster(startup_nodes=nodes, **{k: v for k, v in options.items() if k != "db"})
        case _:
            assert_never(place.kind)
