"""Redis Cluster and Sentinel: clients that find the right node, on the connections of redis_pool.py.

redis-py's own cluster client costs twice the time of each command, makes no bounded wait for a connection, closes
connections in use when slots move, and sends ASKING on whichever connection is free, so that the command after it
may go without.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline, PubSub
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import AskError, ClusterDownError, MovedError, RedisError, TryAgainError
from redis.exceptions import ConnectionError as RedisConnectionError

from gateway.redis_pool import Pool, PooledClient, PooledPipeline, RedisBreaker, now
from gateway.redis_url import Address, RedisPlace

REDIRECTS = 8
"""How often a command may be redirected: a moving slot needs two, a stale topology one more."""
PAUSE_SECONDS = 0.02
FRESH_SECONDS = 1.0
"""The least time between two reads of the topology; MOVED corrects single slots meanwhile."""
KEY_AT = {"EVALSHA": 3, "EVAL": 3}
KEYLESS = frozenset({"PING", "INFO", "DBSIZE", "SCAN", "TIME", "CONFIG", "SCRIPT"})


class Nodes:
    """The known nodes, each with its connections and breaker, and the owner of each slot."""

    def __init__(self, place: RedisPlace, limit: float, max_connections: int) -> None:
        self._place = place
        self._limit = limit
        self._max_connections = max_connections
        self._clients: dict[Address, Redis] = {}
        self._pools: dict[Address, Pool] = {}
        self._owners: list[Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        self._looked = float("-inf")
        self._looking: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Nodes {len(self._clients)} known, {len(set(self._owners) - {None})} with slots>"

    @property
    def breaker(self) -> RedisBreaker:
        """The sums of all breakers; open where all are."""
        found = RedisBreaker()
        breakers = [pool.breaker for pool in self.pools]
        found.errors = sum(each.errors for each in breakers)
        found.opened = sum(each.opened for each in breakers)
        found.is_open = bool(breakers) and all(each.is_open for each in breakers)
        return found

    @property
    def pools(self) -> list[Pool]:
        return list(self._pools.values())

    def at(self, address: Address) -> Redis:
        """The client of the node at an address, known or new."""
        client = self._clients.get(address)
        if client is None:
            pool = self._pools[address] = Pool(self._place, address, self._limit, self._max_connections)
            client = self._clients[address] = PooledClient.from_pool(pool)
        return client

    async def of(self, slot: int) -> tuple[Address, Redis]:
        """The owner of a slot. Raises redis-py's ConnectionError where it is not known."""
        owner = self._owners[slot]
        if owner is None or self._silent(owner):
            await self.look()
            owner = self._owners[slot]
        if owner is None:
            raise RedisConnectionError("no node of the cluster has this slot")
        return owner, self.at(owner)

    def any(self) -> Redis:
        """A node whose breaker is closed, if any."""
        owners = dict.fromkeys(owner for owner in self._owners if owner is not None)
        known = [*owners, *self._place.hosts]
        return self.at(next((each for each in known if not self._silent(each)), known[0]))

    def masters(self) -> list[Redis]:
        """Every node that has slots."""
        return [self.at(owner) for owner in dict.fromkeys(self._owners) if owner is not None]

    def moved(self, slot: int, owner: Address) -> None:
        """Note a slot's new owner, and read the topology anew, since more slots may have moved."""
        self._owners[slot] = owner
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look_quietly())

    async def look(self) -> None:
        """Read the topology, at most once a second and once at a time. Raises redis-py's errors."""
        if self._looking is None or self._looking.done():
            if now() - self._looked < FRESH_SECONDS:
                return
            self._looking = asyncio.create_task(self._look())
        await asyncio.shield(self._looking)

    def distrust(self) -> None:
        """Use no connection of any node again: the one with the unfit reply is not known."""
        for pool in self.pools:
            pool.distrust()

    async def aclose(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait({self._looking})
        for client in self._clients.values():
            await client.aclose()

    def _silent(self, address: Address) -> bool:
        pool = self._pools.get(address)
        return pool is not None and pool.breaker.is_open

    async def _look_quietly(self) -> None:
        try:
            await self._look()
        except (RedisError, OSError, TimeoutError):
            return

    async def _look(self) -> None:
        self._looked = now()
        failure: Exception = RedisConnectionError("no node of the cluster answers")
        for address in dict.fromkeys([*(a for a in self._clients if not self._silent(a)), *self._place.hosts]):
            try:
                # By name, since redis-py would make something else of CLUSTER SLOTS.
                found = await self.at(address).execute_command("CLUSTER", "SLOTS")  # type: ignore[no-untyped-call]
                owners = owners_of(found, address[0])
            except (RedisError, OSError, TimeoutError) as error:
                failure = error
                continue
            self._owners = owners
            await self._forget(set(owners))
            return
        raise failure

    async def _forget(self, owners: set[Address | None]) -> None:
        """Drop the nodes that left the cluster or have no slots any more."""
        for address in [each for each in self._clients if each not in owners and each not in self._place.hosts]:
            del self._pools[address]
            await self._clients.pop(address).aclose()


class ClusterClient(PooledClient):
    """A client for commands with one key, or several with one hash tag."""

    def __init__(self, place: RedisPlace, limit: float, max_connections: int) -> None:
        self.nodes = Nodes(place, limit, max_connections)
        super().__init__(connection_pool=self.nodes.any().connection_pool)
        self.connection_pool = self.nodes  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<ClusterClient {self.nodes!r}>"

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command to its key's node, and follow redirections. Raises redis-py's errors."""
        slot = slot_of(args)
        if slot is None:
            return await self.nodes.any().execute_command(*args, **options)  # type: ignore[no-untyped-call]

        def send(node: Redis) -> Awaitable[Any]:
            return node.execute_command(*args, **options)  # type: ignore[no-untyped-call]

        return await routed(self.nodes, slot, send, args)

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        """A pipeline whose commands are all about one slot."""
        return SlotPipeline(self.nodes, self.response_callbacks)

    def pubsub(self, **options: Any) -> PubSub:
        """A subscription at any node: a cluster hands messages on to all of its nodes."""
        return self.nodes.any().pubsub(**options)

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        await self.nodes.aclose()


class SlotPipeline(PooledPipeline):
    """A pipeline to the node of its first command's slot. A moving slot fails it; its caller may send it again."""

    def __init__(self, nodes: Nodes, callbacks: Any) -> None:
        super().__init__(nodes.any().connection_pool, callbacks, transaction=False, shard_hint=None)
        self._nodes = nodes

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        slot = slot_of(self.command_stack[0][0]) if self.command_stack else None
        if slot is None:
            return []
        try:
            _, node = await self._nodes.of(slot)
            self.connection_pool = node.connection_pool
            replies = list(await super().execute(raise_on_error))
        except MovedError as error:
            self._nodes.moved(error.slot_id, error.node_addr)
            raise
        moved = next((each for each in replies if isinstance(each, MovedError)), None)
        if moved is not None:
            self._nodes.moved(moved.slot_id, moved.node_addr)
        return replies


async def routed(nodes: Nodes, slot: int, send: Callable[[Redis], Awaitable[Any]], args: tuple[Any, ...]) -> Any:
    """The reply of a slot's owner, after redirections. Raises redis-py's errors."""
    address, node = await nodes.of(slot)
    for _ in range(REDIRECTS):
        try:
            return await send(node)
        except MovedError as error:
            address = (error.host or address[0], error.port)
            nodes.moved(slot, address)
            node = nodes.at(address)
        except AskError as error:
            try:
                return await _asked(nodes.at((error.host or address[0], error.port)), args)
            except (AskError, TryAgainError):
                await asyncio.sleep(PAUSE_SECONDS)
        except TryAgainError:
            await asyncio.sleep(PAUSE_SECONDS)
        except ClusterDownError as error:
            await nodes.look()
            raise RedisConnectionError("the cluster is down") from error
    raise RedisConnectionError("the cluster sends a command from node to node")


async def _asked(node: Redis, args: tuple[Any, ...]) -> Any:
    """The reply to a command after ASKING, which counts for the next command on its connection only."""
    pipe = node.pipeline(transaction=False)
    pipe.execute_command("ASKING")
    pipe.execute_command(*args)
    _, reply = await pipe.execute(raise_on_error=False)
    if isinstance(reply, Exception):
        raise reply
    return reply


def slot_of(args: tuple[Any, ...]) -> int | None:
    """The slot of a command's first key; None where it has none."""
    name = str(args[0]).partition(" ")[0].upper()
    if name in KEYLESS:
        return None
    key = args[KEY_AT.get(name, 1)]
    return key_slot(key if isinstance(key, bytes) else str(key).encode())


def owners_of(found: Any, asked: str) -> list[Address | None]:
    """The owner of each slot by a reply to CLUSTER SLOTS; a node without a name is the host that was ``asked``.
    Raises RedisConnectionError for a malformed reply."""
    owners: list[Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
    try:
        for first, last, master, *_ in found:
            host = master[0].decode() if isinstance(master[0], bytes) else master[0]
            address = (host or asked, int(master[1]))
            owners[int(first) : int(last) + 1] = [address] * (int(last) - int(first) + 1)
    except (TypeError, ValueError, IndexError) as error:
        raise RedisConnectionError("a topology that cannot be read") from error
    if len(owners) != REDIS_CLUSTER_HASH_SLOTS:
        raise RedisConnectionError("a topology that cannot be read")
    return owners


KNOWN_SECONDS = 0.5
"""How long the sentinels' reply is reused: connections are made many at a time."""
SHARE = 0.5
"""The part of a command's time that all sentinels together may take."""


class SentinelPool(Pool):
    """Connections to a service's master, for which the sentinels are asked whenever a connection is made: after a
    failure or a demotion, which renew connections, the next master is found.

    ``password`` is the sentinels' own, if any; they use TLS where Redis does.
    """

    def __init__(self, place: RedisPlace, limit: float, max_connections: int, password: str = "") -> None:
        super().__init__(place, place.hosts[0], limit, max_connections)
        patience = limit * SHARE / len(place.hosts)
        options: dict[str, Any] = {name: value for name, value in place.options.items() if name.startswith("ssl_")}
        options |= {"ssl": place.secure, "password": password or None, "protocol": 2}
        options |= {"socket_timeout": patience, "socket_connect_timeout": patience}
        options |= {"retry": Retry(NoBackoff(), 0), "driver_info": None}
        self._service = place.service
        self._sentinel = Sentinel(list(place.hosts), sentinel_kwargs=options)  # type: ignore[no-untyped-call]
        self._asking = asyncio.Lock()
        self._known_until = float("-inf")
        self._known_epoch = -1

    async def locate(self) -> Address:
        """The master's address. Raises redis-py's ConnectionError where no sentinel knows it."""
        async with self._asking:
            if now() >= self._known_until or self._known_epoch != self.breaker.epoch:
                epoch = self.breaker.epoch
                host, port = await self._sentinel.discover_master(self._service)
                self.address = (host, int(port))
                self._known_until, self._known_epoch = now() + KNOWN_SECONDS, epoch
            return self.address

    async def aclose(self) -> None:
        await super().aclose()
        for each in self._sentinel.sentinels:
            await each.aclose()
