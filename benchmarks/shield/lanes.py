"""Lanes: each contender's replicas, started in front of the origin with lifetimes as short as the day is."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contenders.contender import Contender
from benchmarks.contenders.nginx import Nginx
from benchmarks.contenders.setup import Holder, Lifetimes, Setup
from benchmarks.contenders.varnish import Varnish
from benchmarks.shield.replay import Lane
from benchmarks.shield.traffic import BOUNDS, Kind, Tenant
from gateway.settings import load_settings
from gateway.tenants.opening import open_registry
from gateway.tenants.tenant import Pair
from tests.integration.stage import await_answer, spawned
from tests.redis_server import BINARY, HINT, RedisServer, free_port, redis_server

PEERS: dict[str, Contender] = {"nginx": Nginx(sorts=True), "varnish": Varnish()}
CONTENDERS = ("gateway", "gateway-unpaced", *PEERS)
LIFETIMES = Lifetimes(BOUNDS[Kind.CLOSED], BOUNDS[Kind.OPEN], BOUNDS[Kind.TOTALS], grace=BOUNDS[Kind.OPEN])
CALLER_SECONDS = 3.0
"""How long a caller of the gateway waits, on the wall's clock. Compressed like the rest it would be less than this
machine's own hiccups, which nobody compresses; who waits for longer than ``SLOW`` is counted for all alike."""


def missing(contender: str) -> str:
    """What a contender lacks on this machine, or nothing."""
    return PEERS[contender].missing() if contender in PEERS else "" if BINARY else HINT


@dataclass
class Stand:
    """Where lanes are built: a folder, a Redis, a registry with the day's tenants. ``factor`` divides times."""

    folder: Path
    factor: float
    tenants: Sequence[Tenant]
    stack: ExitStack

    def __post_init__(self) -> None:
        self._redis: RedisServer = self.stack.enter_context(redis_server())
        self._holders = self._registered()

    def lane(self, contender: str, replicas: int, upstream: int) -> Lane:
        """Starts a contender's replicas, each of which asks that port of the origin."""
        if contender in PEERS:
            ports = [self._peer(PEERS[contender], upstream) for _ in range(replicas)]
        else:
            budget = "unlimited" if contender == "gateway-unpaced" else f"{self.factor:g}/s"
            ports = self._gateways(replicas, upstream, budget)
        return Lane(contender, ports, [holder.key for holder in self._holders])

    def _peer(self, peer: Contender, upstream: int) -> int:
        lifetimes = LIFETIMES.divided(self.factor)
        setup = Setup(self.folder, upstream, self._holders, lifetimes=lifetimes)
        return self.stack.enter_context(peer.started(setup)).port

    def _gateways(self, replicas: int, upstream: int, budget: str) -> list[int]:
        """Gateways of one fleet. Jitter is off, so that the bound is the same for all contenders; everything else
        is the default, divided where it is a time of the day."""
        scaled = {
            "lifetime_closed": BOUNDS[Kind.CLOSED],
            "lifetime_open": BOUNDS[Kind.OPEN],
            "lifetime_totals": BOUNDS[Kind.TOTALS],
            "stale_if_error": BOUNDS[Kind.CLOSED],
            "refresh_floor": 60.0,
        }
        settings: dict[str, object] = {name: seconds / self.factor for name, seconds in scaled.items()}
        settings |= {
            "lifetime_jitter": 0,
            "caller_timeout": CALLER_SECONDS,
            "budget": budget,
            "upstream": f"http://127.0.0.1:{upstream}",
            "redis_url": self._redis.url,
            "redis_prefix": f"lane{upstream}",
            "registry": self._registry,
            "log_level": "warning",
            "drain_seconds": 0,
        }
        kept = {name: value for name, value in os.environ.items() if not name.startswith("STATS_GATEWAY_")}
        environment = kept | {f"STATS_GATEWAY_{name.upper()}": str(value) for name, value in settings.items()}
        started = []
        for replica in range(replicas):
            words = ["serve", "--port", str(free_port()), "--admin-port", str(free_port())]
            log = self.folder / f"gateway-{upstream}-{replica}.log"
            started.append(self.stack.enter_context(spawned(words, environment, log)))
        for process in started:
            await_answer(f"{process.url}/-/health/ready", process)
        return [process.port for process in started]

    @property
    def _registry(self) -> Path:
        return self.folder / "tenants.toml"

    def _registered(self) -> list[Holder]:
        registry = open_registry(load_settings(registry=str(self._registry)))
        holders = []
        for tenant in self.tenants:
            registry.create(tenant.name)
            pairs = [Pair(place, username, f"of-{username}") for place, username in tenant.usernames.items()]
            for pair in pairs:
                registry.put_credential(tenant.name, pair)
            holders.append(Holder(tenant.name, registry.add_key(tenant.name), pairs))
        return holders
