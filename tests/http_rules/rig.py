"""The gateways that are held to the rules of HTTP: each way to run one, started once and kept for all checks."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from gateway.setting_values import PREFIX
from gateway.settings import load_settings
from gateway.tenants.registry import open_registry
from gateway.tenants.tenant import Pair
from tests.http_rules.client import Answer, Client
from tests.http_rules.origin import Origin
from tests.integration.stage import Process, await_answer, spawned
from tests.redis_server import free_port
from tests.servers.running import started
from tests.wire import Address

LEARNT = 4
"""So often a request has to come until the fast lane answers it: a miss, two hits that teach it, and its own."""
TENANT, INSTITUTION = "reports", "lboro"
ADMIN_TOKEN = "hunter2-admin"
COMMON: dict[str, object] = {
    "drain_seconds": 0,
    "log_level": "warning",
    "admin_token": ADMIN_TOKEN,
    "budget": "unlimited",
    "lifetime_jitter": 0,
}
PROFILES: dict[str, dict[str, object]] = {
    "generic": {"profile": "generic"},
    "statistics": {
        "allow_anonymous": True,
        "anonymous_requests_per_second": 0,
        "invalid_keys_per_minute": 0,
        "pass_methods": "POST,PUT,DELETE",
    },
}

Server = Callable[[ExitStack, Mapping[str, str], Path], Process]
"""Starts a gateway with this environment, which logs to this file, and ends it with the stack."""


def serve(stack: ExitStack, environment: Mapping[str, str], log: Path, **settings: object) -> Process:
    """``stats-gateway serve``, with these settings on top."""
    port = free_port()
    admin_port = next(other for other in iter(free_port, port))
    words = ["serve", "--port", str(port), "--admin-port", str(admin_port)]
    process = stack.enter_context(spawned(words, {**environment, **variables(settings)}, log))
    process.admin_port = admin_port
    return process


BACKENDS = ("memory", "redis")
SERVERS: dict[str, Server] = {
    "lane": serve,
    "no-lane": partial(serve, prepared_max_bytes=0, fast_lane=False),
}
"""By name. A further one only has to start the public app on ``process.port``."""
ELSEWHERE: dict[str, Server] = {
    name: partial(started, name) for name in ("uvicorn", "granian", "hypercorn", "daphne")
}
"""The app under others' servers, which keep nothing themselves: one backend tells all."""


@dataclass(frozen=True)
class Setup:
    """Where a gateway keeps what is stored, and what serves it: names of BACKENDS and SERVERS."""

    backend: str
    server: str

    def __str__(self) -> str:
        return f"{self.backend}-{self.server}"


SETUPS = (
    *(Setup(backend, server) for backend in BACKENDS for server in SERVERS),
    *(Setup("memory", server) for server in ELSEWHERE),
)


@dataclass(frozen=True)
class Gateway:
    """A running gateway; ``key`` is its tenant's, empty where there are none."""

    setup: Setup
    process: Process
    key: str = ""

    @property
    def address(self) -> Address:
        return "127.0.0.1", self.process.port

    def open(self) -> Client:
        """A connection to it."""
        return Client(self.address)

    def ask(self, target: str, *fields: str, method: str = "GET", body: bytes = b"") -> Answer:
        """One request on a connection of its own."""
        with self.open() as client:
            return client.ask(target, *fields, method=method, body=body)

    def ask_until_learnt(self, target: str, *fields: str) -> list[Answer]:
        """The same request so often that a fast lane, where there is one, gives the last answer."""
        return [self.ask(target, *fields) for _ in range(LEARNT)]


@dataclass
class Rig:
    """The gateways of all checks. Those of one setup and profile share what they store, with no others."""

    origin: Origin
    folder: Path
    stack: ExitStack
    _prefix: str = field(default_factory=lambda: f"h{secrets.token_hex(4)}")
    _running: dict[tuple[Setup, str, int], Gateway] = field(default_factory=dict)
    _key: str = ""

    def gateway(self, setup: Setup, profile: str, redis_url: str, number: int = 0) -> Gateway:
        """The one of this number, running."""
        place = (setup, profile, number)
        if place not in self._running:
            self._running[place] = self.start(setup, profile, redis_url, f"{setup}-{profile}-{number}")
        return self._running[place]

    def start(self, setup: Setup, profile: str, redis_url: str, name: str, **settings: object) -> Gateway:
        """One more, with these settings on top."""
        key = self._tenants_key() if profile == "statistics" else ""
        environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        given = {
            "upstream": self.origin.url,
            "registry": self.folder / "tenants.toml" if key else self.folder / "none.toml",
            "redis_url": redis_url,
            "redis_prefix": f"{self._prefix}-{setup}-{profile}"[:32],
            **COMMON,
            **PROFILES[profile],
            **settings,
        }
        environment |= variables(given)
        process = (SERVERS | ELSEWHERE)[setup.server](self.stack, environment, self.folder / f"{name}.log")
        await_answer(f"{process.url}/-/health/ready", process)
        return Gateway(setup, process, key)

    def _tenants_key(self) -> str:
        """The key of the one tenant there is, who holds an institution's credential."""
        if not self._key:
            place: Any = {"registry": str(self.folder / "tenants.toml")}
            registry = open_registry(load_settings(**place))
            registry.add(TENANT, TENANT)
            registry.add(TENANT, None, Pair(INSTITUTION, INSTITUTION, "secret"))
            self._key = registry.add_key(TENANT)
        return self._key


def variables(settings: Mapping[str, object]) -> dict[str, str]:
    """Settings as environment variables."""
    return {f"{PREFIX}{name.upper()}": str(value) for name, value in settings.items()}
