"""ASGI apps under plain servers: uvicorn as it comes, and granian."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from benchmarks.contenders.apps import REDIS_URL
from benchmarks.contenders.contender import lacking
from benchmarks.contenders.gateway import environment, redis_of
from benchmarks.contenders.process import Running, answers, await_ready, spawned
from benchmarks.contenders.setup import Setup
from tests.redis_server import free_port

BARE = ("bare", "dressed")
APPS = "benchmarks.contenders.apps"
GATEWAY = "gateway.asgi:app"


@dataclass(frozen=True, slots=True)
class Served:
    """``app`` is the gateway's, with ``settings`` of its own, or a name in ``apps.py``; whatever it is, the server
    is told the same, but that the gateway's answers bring a Date."""

    name: str
    about: str
    app: Literal["bare", "dressed", "with_redis", "gateway"]
    server: Literal["uvicorn", "granian"] = "uvicorn"
    settings: Mapping[str, object] = field(default_factory=dict)

    def missing(self) -> str:
        try:
            version(self.server)
        except PackageNotFoundError:
            return f"{self.server} is not installed (pip install {self.server})"
        return "" if self.app in BARE else lacking("redis-server", "redis-server")

    def version(self) -> str:
        return version(self.server)

    @contextmanager
    def started(self, setup: Setup) -> Iterator[Running]:
        port = free_port()
        log = setup.folder / f"{self.name}-{port}.log"
        path = "/-/health/ready" if self.app == "gateway" else "/"
        with (
            nullcontext("") if self.app in BARE else redis_of(setup) as url,
            spawned(
                [sys.executable, "-m", *self._words(port)],
                log,
                setup.core,
                environment(setup, url, self.settings) | {REDIS_URL: url},
            ) as process,
        ):
            ready = await_ready(process, log, answers(port, path))
            yield Running(process, log, port, ready=ready)

    def _words(self, port: int) -> list[str]:
        factory = [] if self.app in BARE else ["--factory"]
        app = GATEWAY if self.app == "gateway" else f"{APPS}:{self.app}"
        words = [self.server, app, *factory, "--host", "127.0.0.1", "--port", str(port)]
        if self.server == "granian":
            return [*words, "--interface", "asgi", "--loop", "uvloop", "--backlog", "2048", "--no-ws"]
        dated = ["--no-date-header"] if self.app == "gateway" else []
        return [*words, *dated, "--no-access-log", "--log-level", "warning"]
