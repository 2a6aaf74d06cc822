"""The sandbox as a Starlette app: the service on every path, and its own controls under ``/-/``."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from gateway.sandbox.answer import Answer
from gateway.sandbox.controls import control_routes
from gateway.sandbox.faults import Fault, Faults, Pacer, faulty_answer
from gateway.sandbox.gate import Gate
from gateway.sandbox.ledger import Ledger
from gateway.sandbox.plan import Plan
from gateway.sandbox.service import Service

HOLD_SECONDS = 60.0
"""How long the gate or a timeout holds a call at most."""


class Sandbox(Starlette):
    """An ASGI app; what is under ``/-/`` is neither counted, paced, delayed nor failed."""

    def __init__(
        self,
        service: Service,
        *,
        pacer: Pacer,
        faults: Faults,
        latency: float,
        hold_seconds: float,
        monotonic: Callable[[], float],
    ) -> None:
        self.ledger = Ledger()
        self.plan = Plan()
        self.gate = Gate(hold_seconds)
        self._service = service
        self._pacer = pacer
        self._faults = faults
        self._silence = Gate(hold_seconds, closed=True)
        self._latency = Gate(latency, closed=latency > 0)
        self._monotonic = monotonic
        super().__init__(routes=control_routes(self.ledger, self.gate, self.plan))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        now = self._monotonic()
        if scope["type"] != "http" or scope["path"].startswith("/-/"):
            await super().__call__(scope, receive, send)
            return
        path = scope.get("raw_path", scope["path"].encode()).decode("latin-1")
        query = scope["query_string"].decode("latin-1")
        with self.ledger.call(path, f"{path}?{query}" if query else path, now) as tally:
            answer = await self._answer(scope, receive, path, query, now)
            tally.answered(answer.status)
            await _send(answer, scope["method"], send)

    def release(self) -> None:
        """Ends every wait, for good: nothing that is held may keep a server from stopping."""
        for gate in (self.gate, self._silence, self._latency):
            gate.open()

    async def _answer(self, scope: Scope, receive: Receive, path: str, query: str, now: float) -> Answer:
        refusal = self._pacer.refusal(now)
        if refusal is not None:
            return refusal
        await self.gate.wait()
        planned = self.plan.next()
        fault = None if planned else self._faults.next()
        if fault is Fault.TIMEOUT:
            await self._silence.wait()
        await self._latency.wait()
        if planned is not None:
            return planned
        if fault is not None:
            return faulty_answer(fault)
        authorization = dict(scope["headers"]).get(b"authorization")
        content = await Request(scope, receive).body() if scope["method"] == "POST" else b""
        return self._service.answer(scope["method"], path, query, authorization, content)


def create_sandbox(
    *,
    seed: int = 1,
    latency: float = 0.0,
    rate: float | None = None,
    fail: float = 0.0,
    examples: bool = True,
    clock: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
    hold_seconds: float = HOLD_SECONDS,
) -> Sandbox:
    """A sandbox: ``latency`` in seconds, ``rate`` in calls per second, ``fail`` a fraction from 0 to 1.

    ``clock`` (Unix seconds) says what day it is in UTC, ``monotonic`` times the arrivals; nothing is held
    longer than ``hold_seconds``. Raises ValueError for a value outside its range.
    """
    if not latency >= 0:
        raise ValueError("latency must not be negative")
    if rate is not None and not rate > 0:
        raise ValueError("rate must be more than 0 calls per second")
    if not 0 <= fail <= 1:
        raise ValueError("fail must be a fraction from 0 to 1")
    service = Service(seed, examples=examples, today=lambda: datetime.fromtimestamp(clock(), UTC).date())
    return Sandbox(
        service,
        pacer=Pacer(rate),
        faults=Faults(seed, fail),
        latency=latency,
        hold_seconds=hold_seconds,
        monotonic=monotonic,
    )


async def _send(answer: Answer, method: str, send: Send) -> None:
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.raw_headers()})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else answer.body})
