"""Public: the public listener's ASGI app, which takes requests from the gateway's own server or from another."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from starlette.applications import Starlette

from gateway.cache.dates import Dated, dates_itself, undated
from gateway.errors import GatewayError
from gateway.lifecycle import Life, Lifecycle, Phase
from gateway.proxy.methods import TARGET, target_of
from gateway.proxy.response import WHOLE, give, refusal_of
from gateway.server.fast_path import FastPath
from gateway.server.head import checked_target

MANAGEMENT = b"/-/"


class Gateway(Starlette):
    """The public app: what is answered like an earlier request is answered at once, and everything else outside
    ``/-/`` goes straight to the proxy, past router and middleware."""

    fast_path: FastPath
    life: Life
    lifecycle: Lifecycle
    hosts: frozenset[bytes]
    dates_itself: bool | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """ASGI 3."""
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        elsewhere = WHOLE not in scope
        if elsewhere:
            send = self._taken(scope, send)
        ready = self.fast_path.ready(scope)
        if ready is not None and not elsewhere:
            await give(scope, send, *ready)
        elif ready is not None:
            status, headers, body = ready  # as ``give`` would: each hit is spared that call
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body})
        elif elsewhere and not await self._admits(scope, send):
            return
        elif scope[TARGET].startswith(MANAGEMENT):
            await Dated(super().__call__)(scope, receive, send)
        else:
            await self.fast_path(scope, receive, send)

    def _taken(self, scope: Any, send: Any) -> Any:
        """Takes a request over from another server than the gateway's own; how to send its answer."""
        if not isinstance(scope["headers"], list):
            scope["headers"] = list(scope["headers"])  # any iterable may come, and is read more than once
        scope[TARGET] = target_of(scope)
        if self.dates_itself is None:
            self.dates_itself = dates_itself(send)
        return undated(send) if self.dates_itself else send

    async def _admits(self, scope: Any, send: Any) -> bool:
        """Whether what another server has read can be answered; refuses it where not."""
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
