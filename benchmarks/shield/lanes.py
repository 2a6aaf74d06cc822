"""Lanes: each contender's replicas, started in front of the origin with lifetimes as short as the day is."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from cryptography.fernet import Fernet

from benchmarks.shield.replay import Lane
from benchmarks.shield.traffic import BOUNDS, Kind, Tenant
from gateway.settings import Settings
from gateway.tenants.opening import open_registry
from gateway.tenants.tenant import Pair
from tests.integration.stage import await_answer, spawned
from tests.redis_server import RedisServer, free_port, redis_server

CALLER_SECONDS = 3.0
"""How long a caller of the gateway waits, on the wall's clock. Compressed like the rest it would be less than this
machine's own hiccups, which nobody compresses; who waits for longer than ``SLOW`` is counted for all alike."""


def password(username: str) -> str:
    """Of a username at the origin, which takes any."""
    return f"of-{username}"


@dataclass
class Stand:
    """Where lanes are built: a folder, a Redis, a registry with the day's tenants. ``factor`` divides times."""

    folder: Path
    factor: float
    tenants: Sequence[Tenant]
    stack: ExitStack

    def __post_init__(self) -> None:
        self.redis: RedisServer = self.stack.enter_context(redis_server())
        self._encryption_key = Fernet.generate_key().decode()
        self._registry = str(self.folder / "tenants.toml")
        self.keys = self._registered()

    def lane(self, contender: str, replicas: int, upstream: int) -> Lane:
        """Starts a contender's replicas, each of which asks that port of the origin."""
        return Lane(contender, START[contender](self, replicas, upstream), self.keys)

    def gateways(self, replicas: int, upstream: int, budget: str) -> list[int]:
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
            "redis_url": self.redis.url,
            "redis_prefix": f"lane{upstream}",
            "registry": self._registry,
            "encryption_keys": self._encryption_key,
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

    def _registered(self) -> list[str]:
        registry = open_registry(Settings(registry=self._registry, encryption_keys=self._encryption_key))
        keys = []
        for tenant in self.tenants:
            registry.add(tenant.name, tenant.name)
            for institution, username in tenant.usernames.items():
                registry.add(tenant.name, None, Pair(institution, username, password(username)))
            keys.append(registry.add_key(tenant.name))
        return keys


START: dict[str, Callable[[Stand, int, int], list[int]]] = {
    "gateway": lambda stand, replicas, upstream: stand.gateways(replicas, upstream, f"{stand.factor:g}/s"),
    "gateway-unpaced": lambda stand, replicas, upstream: stand.gateways(replicas, upstream, "unlimited"),
}
