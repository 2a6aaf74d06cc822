"""The gateway as people run it: ``stats-gateway serve`` on a Redis."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.contenders.contender import lacking
from benchmarks.contenders.process import Running, answers, await_ready, spawned
from benchmarks.contenders.setup import Setup
from gateway import __version__
from gateway.setting_values import PREFIX
from tests.redis_server import free_port, redis_server

OLDER = "older-"
"""Begins the names of contenders out of another checkout."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """One process, with ``settings`` of its own. Its Redis runs where the caller does, beside the load.

    Its code is that of a ``checkout``, where there is one: an older version, for comparison.

    A setup that names a ``redis_url`` is taken at its word, so that several can share one.
    """

    name: str = "gateway"
    about: str = "stats-gateway serve"
    settings: Mapping[str, object] = field(default_factory=dict)
    checkout: Path | None = None

    def older(self, checkout: Path) -> Gateway:
        """The same out of another checkout."""
        return replace(self, name=OLDER + self.name, about=f"{self.about}, an older version", checkout=checkout)

    def missing(self) -> str:
        return lacking("redis-server", "redis-server")

    def version(self) -> str:
        return __version__

    @contextmanager
    def started(self, setup: Setup) -> Iterator[Running]:
        port, admin_port = free_port(), free_port()
        words = [sys.executable, "-m", "gateway", "serve", "--port", str(port), "--admin-port", str(admin_port)]
        log = setup.folder / f"gateway-{port}.log"
        with (
            redis_of(setup) as url,
            spawned(words, log, setup.core, environment(setup, url, self.settings) | self._code()) as process,
        ):
            ready = await_ready(process, log, answers(port, "/-/health/ready"))
            yield Running(process, log, port, admin_port, ready)

    def _code(self) -> dict[str, str]:
        """Has Python take the checkout's package instead of the one that is installed, or in this folder."""
        return {} if self.checkout is None else {"PYTHONPATH": str(self.checkout), "PYTHONSAFEPATH": "1"}


@contextmanager
def redis_of(setup: Setup) -> Iterator[str]:
    """The URL of the setup's Redis, else of one that is started for as long as the block lasts."""
    if named := setup.settings.get("redis_url"):
        with nullcontext(str(named)) as url:
            yield url
    else:
        with redis_server() as server:
            yield server.url


def environment(setup: Setup, redis_url: str, settings: Mapping[str, object] | None = None) -> dict[str, str]:
    """What a gateway reads: production's defaults, but for the budget, which would pace what is to be measured."""
    told = {
        "upstream": f"http://127.0.0.1:{setup.origin_port}",
        "registry": setup.registry,
        "redis_url": redis_url,
        "budget": "unlimited",
        "log_format": "json",
        "drain_seconds": 0,
        "lifetime_closed": setup.lifetimes.closed,
        "lifetime_open": setup.lifetimes.open,
        "lifetime_totals": setup.lifetimes.totals,
        "lifetime_error": setup.lifetimes.error,
        "lifetime_forbidden": setup.lifetimes.forbidden,
        **(settings or {}),
        **setup.settings,
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    return kept | {PREFIX + name.upper(): str(value) for name, value in told.items()}
