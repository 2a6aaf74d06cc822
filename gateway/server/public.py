"""The public listener's ASGI app, under the gateway's own server or another, and its health checks."""

from __future__ import annotations

import math
from typing import Any
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway.cache.dates import DateMiddleware, adds_date, without_date
from gateway.errors import GatewayError
from gateway.lifecycle import Life, Lifecycle, Phase
from gateway.proxy.request import TARGET, target_of
from gateway.proxy.response import ONE_WRITE, refusal_of, send_at_once
from gateway.server.fast_path import FastPath
from gateway.server.head import checked_target
from gateway.tenants.registry import Registry
from gateway.upstream.queue import Queue

MANAGEMENT = b"/-/"


class Gateway(Starlette):
    """The public app: answers by the fast path where that can, and hands all else outside ``/-/`` straight to the
    proxy, past router and middleware."""

    fast_path: FastPath
    life: Life
    lifecycle: Lifecycle
    hosts: frozenset[bytes]
    dates_itself: bool | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        elsewhere = ONE_WRITE not in scope
        if elsewhere:
            send = self._taken(scope, send)
        ready = self.fast_path.ready(scope)
        if ready is not None and not elsewhere:
            await send_at_once(scope, send, *ready)
        elif ready is not None:
            status, headers, body = ready  # as ``send_at_once`` would: saves each hit that call
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body})
        elif elsewhere and not await self._admits(scope, send):
            return
        elif scope[TARGET].startswith(MANAGEMENT):
            await DateMiddleware(super().__call__)(scope, receive, send)
        else:
            await self.fast_path(scope, receive, send)

    def _taken(self, scope: Any, send: Any) -> Any:
        """Prepare a request read by another server; returns the ``send`` for its answer."""
        if not isinstance(scope["headers"], list):
            scope["headers"] = list(scope["headers"])  # any iterable may come, and is read more than once
        scope[TARGET] = target_of(scope)
        if self.dates_itself is None:
            self.dates_itself = adds_date(send)
        return without_date(send) if self.dates_itself else send

    async def _admits(self, scope: Any, send: Any) -> bool:
        """Check a request read by another server; False where it was refused."""
        try:
            target = checked_target(scope, self.hosts)
            if self.lifecycle.phase is Phase.STARTING:
                await self.life.begun()
        except GatewayError as error:
            await refusal_of(error).send(scope, send, [])
            return False
        if target != scope[TARGET]:
            scope[TARGET], path = target, target.partition(b"?")[0]
            scope["raw_path"], scope["path"] = path, unquote(path.decode())
        return True


def health_routes(queue: Queue, registry: Registry, lifecycle: Lifecycle) -> list[Route]:
    async def live(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def ready(_: Request) -> Response:
        if not lifecycle.ready:
            return JSONResponse({"status": lifecycle.phase.value}, status_code=503)
        known = registry.standing
        state: dict[str, Any] = {"status": "degraded" if queue.degraded or known.reason else "ok"}
        if known.reason:
            state["registry"] = {"reason": known.reason, "age": round(known.age)}
        if queue.gate_closed_for > 0:
            state["gate"] = {"closed_for": math.ceil(queue.gate_closed_for)}
        return JSONResponse(state)

    return [Route("/-/health/live", live), Route("/-/health/ready", ready)]
