"""A small application behind the real edge, as a command and in-process, and raw clients for it."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import traceback
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from gateway.errors import ConfigurationError
from gateway.lifecycle import Lifecycle
from gateway.observe.logs import AUDIT, dropped_lines
from gateway.server.serve import serve
from gateway.settings import Settings, load_settings


@dataclass(frozen=True)
class SmallApplication:
    public: Starlette
    admin: Starlette
    lifecycle: Lifecycle
    look_again: Callable[[], None]
    fast_path: None = None


def small_application(settings: Settings) -> SmallApplication:
    """``/pid``, ``/slow?seconds``, ``/say?times`` and a readiness route; its end and each reload leave a mark."""
    lifecycle = Lifecycle()

    def mark(what: str) -> None:
        with Path(settings.registry.get_secret_value()).open("a") as marks:
            marks.write(f"{what}\n")

    async def pid(_: Request) -> Response:
        return PlainTextResponse(str(os.getpid()))

    async def slow(request: Request) -> Response:
        await asyncio.sleep(float(request.url.query))
        return PlainTextResponse("slow but whole")

    async def say(request: Request) -> Response:
        for _ in range(int(request.url.query)):
            say_all()
        return PlainTextResponse(str(sum(dropped_lines().values())))

    async def ready(_: Request) -> Response:
        return PlainTextResponse(lifecycle.phase.value, status_code=200 if lifecycle.ready else 503)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        if "broken" in settings.upstream:
            raise RuntimeError("a part does not start")
        lifecycle.started()
        yield
        mark("ended")

    if "refused" in settings.upstream:
        raise ConfigurationError("these settings cannot be used")
    routes = [Route("/pid", pid), Route("/slow", slow), Route("/say", say), Route("/-/health/ready", ready)]
    admin = Starlette(routes=[Route("/pid", pid), Route("/metrics-folder", metrics_folder)])
    return SmallApplication(
        Starlette(routes=routes, lifespan=lifespan), admin, lifecycle, lambda: mark("looked again")
    )


def say_all() -> None:
    """A line or more by each way in which something is written in a running server."""
    structlog.get_logger("gateway").info("ours")
    structlog.get_logger(AUDIT).info("audit")
    logging.getLogger("uvicorn.error").error("uvicorn's")
    asyncio.get_running_loop().call_exception_handler({"message": "asyncio's", "exception": OSError("broken")})
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("a warning", stacklevel=1)
    try:
        raise RuntimeError("a traceback")
    except RuntimeError:
        traceback.print_exc()
    print("printed", file=sys.stderr)
    print("printed")


async def metrics_folder(_: Request) -> Response:
    return PlainTextResponse(os.environ.get("PROMETHEUS_MULTIPROC_DIR", "none"))


def main() -> int:
    """What ``python -m tests.edge`` would be, but for the name of its module in a worker."""
    try:
        return serve(load_settings(), small_application, lambda line: print(line, flush=True))
    except ConfigurationError as error:
        print(error.message, file=sys.stderr)
        return 2


ROOT = Path(__file__).parent.parent
COMMAND = [sys.executable, "-c", "import sys, tests.edge; sys.exit(tests.edge.main())"]
