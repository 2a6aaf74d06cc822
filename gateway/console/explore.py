"""Explore: a request made for real, as one of the tenants, and how it was served."""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.catalogue.target import pasted_target
from gateway.console.operations import Call, Operation, Parameter
from gateway.console.telling import told_headers
from gateway.errors import GatewayError, InvalidInput, NoSuchRecord
from gateway.observe.outcome import Outcome
from gateway.proxy.methods import TARGET
from gateway.proxy.request import Exchange
from gateway.proxy.response import Answer
from gateway.tenants.registry import Registry
from gateway.tenants.tenant import Tenant

OURS = b"/-/"
"""Paths of the public listener that never reach the proxy."""
KEY = "$GATEWAY_KEY"
"""Stands for the key in a line to paste: no key is known here."""

Answering = Callable[[Exchange], Awaitable[Answer | None]]
As = Callable[[Tenant | None], Answering]
"""The way of a request for a tenant, or for callers without a key."""


@dataclass(frozen=True, slots=True)
class Exploration:
    """One request and its answer, as that tenant would have got it; ``tenant`` is None for a caller without a key.

    ``body`` is the answer's as text, ``json`` the same where it is JSON, byte for byte; ``seconds`` is how long it
    took. ``curl`` is the same request as a line to paste, with a variable in the key's place.
    """

    path: str
    tenant: str | None
    status: int
    headers: Mapping[str, str]
    body: str
    json: msgspec.Raw | None
    cache_status: str
    outcome: Outcome
    detail: str
    seconds: float
    curl: str


class ExploreApi:
    """One operation, which spends what the tenant's own request would: its limit, its usage, its part of the
    budget."""

    def __init__(self, registry: Registry, ask_as: As, base_url: str) -> None:
        self._registry = registry
        self._ask_as = ask_as
        self._base_url = base_url

    @property
    def operations(self) -> list[Operation]:
        """The one."""
        query = {
            "path": Parameter("the path and query as a client asks them"),
            "tenant": Parameter("as whose request; as a caller's without a key unless told"),
        }
        summary = "Make a request as a tenant, and show its answer"
        return [Operation("GET", "/api/explore", summary, self.explore, query, reveals=True)]

    async def explore(self, call: Call) -> Exploration:
        if "path" not in call.query:
            raise InvalidInput("The parameter path is needed, percent-encoded")
        written = pasted_target(call.query["path"])
        if written.startswith(OURS):
            raise InvalidInput("What is under /-/ is the gateway's own, and no question to the service")
        tenant = self._tenant(call.query.get("tenant"))
        exchange = Exchange.of(_scope(written), _connected)
        call.facts["request_id"] = exchange.id.decode()
        if tenant is not None:
            call.facts["tenant"] = tenant.id
        began = time.perf_counter()
        answer = await self._ask_as(tenant)(exchange)
        seconds = time.perf_counter() - began
        if answer is None:
            raise GatewayError("The request ended without an answer.")
        headers = told_headers([*answer.headers, *exchange.told])
        target = written.decode()
        return Exploration(
            path=target,
            tenant=None if tenant is None else tenant.id,
            status=answer.status,
            headers=headers,
            body=answer.body.decode("utf-8", "replace"),
            json=_json(answer.body),
            cache_status=headers.get("cache-status", ""),
            outcome=answer.outcome,
            detail=answer.detail,
            seconds=round(seconds, 6),
            curl=curl_line(self._base_url + target, keyed=tenant is not None),
        )

    def _tenant(self, tenant_id: str | None) -> Tenant | None:
        if tenant_id is None:
            return None
        tenant = self._registry.directory.tenants.get(tenant_id)
        if tenant is None:
            raise NoSuchRecord("there is no such tenant")
        return tenant


def curl_line(url: str, *, keyed: bool) -> str:
    """A request as a line to paste into a shell that has the key in a variable."""
    return f'curl -H "X-API-Key: {KEY}" {shlex.quote(url)}' if keyed else f"curl {shlex.quote(url)}"


def _scope(target: bytes) -> dict[str, Any]:
    return {"type": "http", "method": "GET", TARGET: target, "headers": []}


async def _connected() -> Any:
    """The connection of a client that stays."""
    await asyncio.get_running_loop().create_future()


def _json(body: bytes) -> msgspec.Raw | None:
    """The body for other JSON to hold as it is: its order and its numbers are not ours to change."""
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return msgspec.Raw(body)
