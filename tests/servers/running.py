"""The public app under each ASGI server that people run, and under ``serve``, as real processes on free ports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from gateway.setting_values import PREFIX
from tests.integration.stage import Process, Stage, await_answer, spawned
from tests.redis_server import free_port

OWN = "serve"
FACTORY = ["--factory", "gateway.asgi:app"]
COMMANDS = {
    "uvicorn": ["uvicorn", *FACTORY, "--port"],
    "uvicorn without lifespan": ["uvicorn", *FACTORY, "--lifespan", "off", "--port"],
    "granian": ["granian", "--interface", "asgi", *FACTORY, "--port"],
    "hypercorn": ["hypercorn", "gateway.asgi:app()", "--bind"],
    "daphne": ["daphne", "gateway.asgi:application", "--port"],
}
"""Each as its users type it, but for the port."""
SERVERS = [OWN, *COMMANDS]
WITHOUT_LIFESPAN = {"uvicorn without lifespan", "daphne"}


@contextmanager
def asgi_server(name: str, stage: Stage, **settings: object) -> Iterator[Process]:
    """The app under one of ``SERVERS``, by the stage's settings and these, once it is ready."""
    if name == OWN:
        gateway = stage.serve(**settings)
        yield gateway
        gateway.running.terminate()
        return
    environment = stage.environment | {f"{PREFIX}{each.upper()}": str(value) for each, value in settings.items()}
    with ExitStack() as stack:
        process = started(name, stack, environment, stage.folder / f"{name}.log")
        await_answer(f"{process.url}/-/health/ready", process)
        yield process


def started(name: str, stack: ExitStack, environment: Mapping[str, str], log: Path) -> Process:
    """One of ``COMMANDS`` with this environment, which logs to this file and ends with the stack."""
    module, *words = COMMANDS[name]
    port = str(free_port())
    words.append(f"127.0.0.1:{port}" if words[-1] == "--bind" else port)
    return stack.enter_context(spawned(words, dict(environment), log, module))
