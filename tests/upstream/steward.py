"""A process of a fleet that is steered line by line, and says what it sees and does.

``python -m tests.upstream.steward <redis url> <prefix>``. In: ``hold [fingerprint]``, ``resume [fingerprint]``,
``ask <name>``, ``census``; an empty line ends it. Out: what the gate and the credential ``fp`` have become, and
what came of each line.
"""

from __future__ import annotations

import asyncio
import sys

import redis.asyncio
import structlog

from gateway.upstream.credential_breaker import ANSWERED
from gateway.upstream.flight import Confirm, Fetched, FlightRequest, FlightResult, Flow, Work
from gateway.upstream.pacing import Budget, FleetRules
from gateway.upstream.queue import Queue
from gateway.upstream.queue_state import QueueRules
from tests.upstream.test_queue import entry_of, nothing


def say(*words: str) -> None:
    print(*words, flush=True)


def work(name: str) -> Work:
    async def fetch(confirm: Confirm) -> Fetched:
        await confirm()
        say("called", name)
        return Fetched(FlightResult("x", entry_of(name)), signal=ANSWERED)

    return fetch


async def watch(queue: Queue) -> None:
    """Says every change of this process's view."""
    seen = ("open", "good")
    while True:
        view = ("held" if queue.gate.held else "open", "withheld" if queue.breaker.refused_for("fp") else "good")
        for old, new in zip(seen, view, strict=True):
            if old != new:
                say("now", new)
        seen = view
        await asyncio.sleep(0.005)


async def obey(queue: Queue, order: str, name: str) -> None:
    match order, name:
        case "hold", "":
            await queue.hold_gate()
        case "resume", "":
            await queue.resume_gate()
        case "hold", _:
            await queue.hold_credential(name)
        case "resume", _:
            await queue.resume_credential(name)
        case "ask", _:
            landing = (await queue.land(FlightRequest(name, Flow("t"), exact="x"), work(name), nothing, 15.0))[0]
            say("landed", name, "answer" if landing.error is None else type(landing.error).__name__)
        case "census", _:
            snapshot = await queue.snapshot()
            say("census", str(snapshot.processes_total), snapshot.gate.state)


async def main(url: str, prefix: str) -> None:
    client = redis.asyncio.Redis.from_url(url, protocol=2)
    queue = Queue(client, prefix, Budget(None, 1), QueueRules(beat=0.2, poll=0.2), fleet=FleetRules(size=9))
    await queue.start()
    say("started")
    watching = asyncio.create_task(watch(queue))
    loop = asyncio.get_running_loop()
    while line := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
        order, _, name = line.partition(" ")
        await obey(queue, order, name)
    watching.cancel()
    await queue.stop(grace=0)
    await client.aclose()


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    asyncio.run(main(*sys.argv[1:]))
