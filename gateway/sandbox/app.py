"""The sandbox as a Starlette app, with the service on every path and controls under ``/-/``; and its server."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from gateway.sandbox.faults import Fault, Faults, Pacer, Plan, faulty_answer
from gateway.sandbox.habits import Habits
from gateway.sandbox.question import Answer
from gateway.sandbox.service import Service

REMEMBERED = 10_000
"""How many of the latest arrivals are kept one by one."""


class Tally:
    """What is counted between two resets. Times are monotonic seconds."""

    def __init__(self, in_flight: int) -> None:
        self.total = 0
        self.by_path: Counter[str] = Counter()
        self.by_status: Counter[str] = Counter()
        self.max_in_flight = in_flight
        self.min_gap: float | None = None
        self.arrivals: deque[float] = deque(maxlen=REMEMBERED)
        self.targets: deque[str] = deque(maxlen=REMEMBERED)

    def arrived(self, path: str, target: str, now: float, in_flight: int) -> None:
        """Counts a request at the moment it comes in."""
        if self.arrivals:
            gap = now - self.arrivals[-1]
            self.min_gap = gap if self.min_gap is None else min(self.min_gap, gap)
        self.total += 1
        self.by_path[path] += 1
        self.max_in_flight = max(self.max_in_flight, in_flight)
        self.arrivals.append(now)
        self.targets.append(target)

    def answered(self, status: int) -> None:
        """Counts an answer at the moment it goes out."""
        self.by_status[str(status)] += 1


class Ledger:
    """The current tally, and the calls that are in flight."""

    def __init__(self) -> None:
        self.in_flight = 0
        self._tally = Tally(in_flight=0)

    @contextmanager
    def call(self, path: str, target: str, now: float) -> Iterator[Tally]:
        """Counts a call from its arrival to its end; its answer counts where its arrival did."""
        tally = self._tally
        self.in_flight += 1
        tally.arrived(path, target, now, self.in_flight)
        try:
            yield tally
        finally:
            self.in_flight -= 1

    def reset(self) -> None:
        """Starts again from nothing, but for the calls that are in flight."""
        self._tally = Tally(self.in_flight)

    def report(self) -> dict[str, Any]:
        """All of it as JSON values; ``arrivals`` and ``targets`` are the latest, oldest first."""
        tally = self._tally
        return {
            "total": tally.total,
            "by_path": dict(tally.by_path),
            "by_status": dict(tally.by_status),
            "max_in_flight": tally.max_in_flight,
            "min_gap_seconds": tally.min_gap,
            "in_flight": self.in_flight,
            "arrivals": list(tally.arrivals),
            "targets": list(tally.targets),
        }


class Gate:
    """Holds calls while it is closed, each for ``hold_seconds`` at most."""

    def __init__(self, hold_seconds: float, *, closed: bool = False) -> None:
        self.hold_seconds = hold_seconds
        self._opened = asyncio.Event()
        if not closed:
            self._opened.set()

    def __repr__(self) -> str:
        return f"<Gate {'closed' if self.is_closed else 'open'}, holds {self.hold_seconds:g} s>"

    @property
    def is_closed(self) -> bool:
        """Whether those who come are held."""
        return not self._opened.is_set()

    def close(self) -> None:
        """Holds those who come from now on."""
        self._opened.clear()

    def open(self) -> None:
        self._opened.set()

    async def wait(self) -> None:
        """Returns once the gate is open, or once the hold has lasted long enough."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self.hold_seconds):
                await self._opened.wait()


def control_routes(ledger: Ledger, gate: Gate, plan: Plan) -> list[Route]:
    """GET and DELETE ``/-/calls``; PUT (close) and DELETE (open) ``/-/gate``; PUT and DELETE ``/-/plan``."""

    async def calls(request: Request) -> Response:
        if request.method == "DELETE":
            ledger.reset()
        return JSONResponse(ledger.report())

    async def doorkeeper(request: Request) -> Response:
        if request.method == "PUT":
            gate.close()
        if request.method == "DELETE":
            gate.open()
        return JSONResponse({"closed": gate.is_closed})

    async def planner(request: Request) -> Response:
        if request.method == "DELETE":
            plan.cancel()
        if request.method == "PUT":
            try:
                plan.order(await request.body())
            except ValueError as error:
                return JSONResponse({"message": str(error)}, status_code=400)
        return JSONResponse({"times": plan.times})

    return [
        Route("/-/calls", calls, methods=["GET", "DELETE"]),
        Route("/-/gate", doorkeeper, methods=["GET", "PUT", "DELETE"]),
        Route("/-/plan", planner, methods=["GET", "PUT", "DELETE"]),
    ]


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
        monotonic: Callable[[], float],
    ) -> None:
        self.ledger = Ledger()
        self.plan = Plan()
        self.gate = Gate(HOLD_SECONDS)
        self._service = service
        self._pacer = pacer
        self._faults = faults
        self._silence = Gate(HOLD_SECONDS, closed=True)
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

    def hold_at_most(self, seconds: float) -> None:
        """Hold calls no longer than this, instead of ``HOLD_SECONDS``."""
        self.gate.hold_seconds = self._silence.hold_seconds = seconds

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
    habits: Habits = Habits(),  # noqa: B008 (never changes)
    clock: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
) -> Sandbox:
    """A sandbox: ``latency`` in seconds, ``rate`` in calls per second, ``fail`` a fraction from 0 to 1.

    ``clock`` (Unix seconds) says what day it is in the zone of the ``habits``, ``monotonic`` times the arrivals.
    Raises ValueError for a value outside its range.
    """
    if not latency >= 0:
        raise ValueError("latency must not be negative")
    if rate is not None and not rate > 0:
        raise ValueError("rate must be more than 0 calls per second")
    if not 0 <= fail <= 1:
        raise ValueError("fail must be a fraction from 0 to 1")
    zone = habits.time_zone()
    service = Service(seed, habits=habits, today=lambda: datetime.fromtimestamp(clock(), zone).date())
    return Sandbox(service, pacer=Pacer(rate), faults=Faults(seed, fail), latency=latency, monotonic=monotonic)


async def _send(answer: Answer, method: str, send: Send) -> None:
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.raw_headers()})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else answer.body})


BACKLOG = 2_048
KEEP_ALIVE = 75
"""Seconds that an idle connection stays open: longer than a client's pool keeps one, so that it closes first."""


class SandboxServer(uvicorn.Server):
    """Stops at SIGINT and SIGTERM without raising them again, so that being told to stop is a success."""

    def __init__(self, sandbox: Sandbox, announce: Callable[[], None]) -> None:
        config = uvicorn.Config(
            sandbox,
            http="httptools",
            ws="none",
            lifespan="off",
            access_log=False,
            log_level="warning",
            server_header=False,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=2,
        )
        super().__init__(config)
        self._sandbox = sandbox
        self._announce = announce

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Installs our handlers for as long as the server runs."""
        before = {kind: signal.signal(kind, self.handle_exit) for kind in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for kind, handler in before.items():
                signal.signal(kind, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Announces itself once requests are answered and signals are heard."""
        await super().startup(sockets)
        self._announce()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Lets go of all that is held, then stops."""
        self._sandbox.release()
        await super().shutdown(sockets)


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes any free one. Raises OSError where that cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    # asyncio sets TCP_NODELAY on what a socket accepts whose protocol says TCP, which that one's does not; without
    # it an answer in two writes waits for the client's delayed acknowledgement, some 40 ms.
    return socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, fileno=listener.detach())


def url_of(listener: socket.socket) -> str:
    """Where a listening socket is reached."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(sandbox: Sandbox, listener: socket.socket, announce: Callable[[], None]) -> None:
    """Serves until SIGINT or SIGTERM; calls ``announce`` once, when it is ready."""
    asyncio.run(SandboxServer(sandbox, announce).serve(sockets=[listener]))
