"""A gateway inside the test's own process, in front of a real sandbox: for what needs a hand on its clock."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2 as httpx
from pydantic import SecretStr

from gateway.app import create_application
from gateway.proxy.resolve import Resolver
from gateway.redis import Clock
from gateway.server.process import Application
from gateway.server.public import Gateway
from gateway.settings import Settings
from tests.integration.stage import Stage

TOKEN = "hunter2-admin"


class FakeClock(Clock):
    """Shows what it is told."""

    def __init__(self, now: float) -> None:
        super().__init__()
        self.time = now

    def now(self) -> float:
        return self.time

    def sync(self, fleet: float, skew: float) -> bool:
        """Nobody corrects it."""
        return False


@dataclass
class House:
    """The app, and clients that call both its listeners' apps without a network."""

    app: Application[Gateway]
    client: httpx.AsyncClient
    admin: httpx.AsyncClient

    @property
    def resolver(self) -> Resolver:
        """The resolver behind its proxy."""
        return self.app.public.fast_path.proxy.resolver

    async def get(self, target: str, key: str = "", **headers: str) -> httpx.Response:
        """One GET as the holder of a key; ``_`` in header names stands for ``-``."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.get(target, headers=given | ({"X-API-Key": key} if key else {}))

    async def explore(self, target: str, tenant: str | None = None) -> httpx.Response:
        """One GET as an administrator explores it."""
        query = {"path": target} | ({} if tenant is None else {"tenant": tenant})
        return await self.admin.get("/api/explore", params=query)


@asynccontextmanager
async def housed(stage: Stage, clock: Clock | None = None, **settings: Any) -> AsyncIterator[House]:
    """A gateway on the embedded cache with an unlimited budget, in front of the stage's sandbox."""
    values: dict[str, Any] = {
        "redis_url": SecretStr("memory://"),
        "upstream": stage.sandbox.url,
        "registry": stage.environment["STATS_GATEWAY_REGISTRY"],
        "budget": "unlimited",
        "lifetime_jitter": 0.0,
        "derive": "off",
        "admin_token": SecretStr(TOKEN),
    }
    app = create_application(Settings(**(values | settings)), clock)
    public, private = httpx.ASGITransport(app=app.public), httpx.ASGITransport(app=app.admin)
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    async with (
        app.public.router.lifespan_context(app.public),
        httpx.AsyncClient(transport=public, base_url="http://gateway.test") as client,
        httpx.AsyncClient(transport=private, base_url="http://localhost", headers=bearer) as admin,
    ):
        yield House(app, client, admin)
