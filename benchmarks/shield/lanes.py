"""Lanes: each contender's replicas, started in front of the origin with lifetimes as short as the day is."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from benchmarks.contenders.contender import Contender
from benchmarks.contenders.gateway import Gateway
from benchmarks.contenders.nginx import Nginx
from benchmarks.contenders.setup import Holder, Lifetimes, Setup
from benchmarks.contenders.varnish import Varnish
from benchmarks.shield.replay import Lane
from benchmarks.shield.tables import PACED, Spec
from benchmarks.shield.traffic import BOUNDS, Kind, Tenant
from gateway.settings import load_settings
from gateway.tenants.registry import open_registry
from gateway.tenants.tenant import Pair
from tests.redis_server import RedisServer, redis_server

EXACT = {"derive": "off"}
"""Nothing is compared either, which would cost calls."""
CONTENDERS: dict[str, Contender] = {
    "gateway-unpaced": Gateway("gateway-unpaced", settings=EXACT),
    "gateway-derived": Gateway("gateway-derived", settings={"derive": "on", "public_totals_from_rankings": True}),
    "gateway": Gateway(settings=EXACT),
    "nginx": Nginx(sorts=True),
    "varnish": Varnish(),
}
LIFETIMES = Lifetimes(BOUNDS[Kind.CLOSED], BOUNDS[Kind.OPEN], BOUNDS[Kind.TOTALS], grace=BOUNDS[Kind.OPEN])
CALLER_SECONDS = 10.0
"""How long a caller of the gateway waits, on the wall's clock. Compressed like the rest it would be no longer than
the machine's own hiccups, which nobody compresses; who waits for more than ``SLOW`` is counted for all alike."""


@dataclass
class Stand:
    """Where lanes are built: a folder, a Redis, a registry with the day's tenants. ``factor`` divides times."""

    folder: Path
    factor: float
    tenants: Sequence[Tenant]
    today: date
    stack: ExitStack

    def __post_init__(self) -> None:
        self._redis: RedisServer = self.stack.enter_context(redis_server())
        self._holders = [self._holder(tenant) for tenant in self.tenants]

    def lane(self, spec: Spec, upstream: int) -> Lane:
        """Starts a contender's replicas, each of which asks that port of the origin."""
        settings: dict[str, object] = {
            "redis_url": self._redis.url,
            "redis_prefix": f"lane{upstream}",
            # Without jitter, and with empty answers no shorter-lived, the bound is the same for all. Every other
            # setting is the default, divided or not.
            "lifetime_jitter": 0,
            "lifetime_empty": LIFETIMES.totals / self.factor,
            "caller_timeout": CALLER_SECONDS,
            "stale_if_error": LIFETIMES.closed / self.factor,
            "refresh_floor": 60.0 / self.factor,
        }
        if spec.contender == PACED:
            settings["budget"] = f"{self.factor:g}/s"
        lifetimes = LIFETIMES.divided(self.factor)
        setup = Setup(
            self.folder, upstream, self._holders, lifetimes=lifetimes, settings=settings, today=self.today
        )
        started = CONTENDERS[spec.contender].started
        ports = [self.stack.enter_context(started(setup)).port for _ in range(spec.replicas)]
        return Lane(spec.contender, ports, [holder.key for holder in self._holders], spec.hashed)

    def _holder(self, tenant: Tenant) -> Holder:
        registry = open_registry(load_settings(registry=str(self.folder / "tenants.toml")))
        registry.create(tenant.name)
        pairs = [Pair(place, username, f"sandbox-{username}") for place, username in tenant.usernames.items()]
        for pair in pairs:
            registry.put_credential(tenant.name, pair)
        return Holder(tenant.name, registry.add_key(tenant.name), pairs)
