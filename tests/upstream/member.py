"""A process of a fleet, for tests that need a real one: says what its queue learns, line by line.

``python -m tests.upstream.member <redis url> <prefix>``; a line on its input names a flight to ask for.
"""

from __future__ import annotations

import asyncio
import sys

import redis.asyncio
import structlog

from gateway.upstream.credential_breaker import ANSWERED, CredentialSignal, Signal, SignalKind
from gateway.upstream.flight import Confirm, Fetched, FlightRequest, FlightResult, Flow, Work
from gateway.upstream.pacing import Budget, FleetRules
from gateway.upstream.queue import Queue
from gateway.upstream.queue_state import QueueRules


async def nothing() -> None:
    return None


def work(name: str) -> Work:
    """The service's answer to this process: your credential is no good, and in the end, go away."""

    async def refused(confirm: Confirm) -> Fetched:
        await confirm()
        sign = Signal(SignalKind.LIMITED, 200.0) if name == "b" else ANSWERED
        return Fetched(
            FlightResult("x"), signal=sign, credential=CredentialSignal("fp", refused=True, question=name)
        )

    return refused


async def main(url: str, prefix: str) -> None:
    client = redis.asyncio.Redis.from_url(url, protocol=2)
    rules = QueueRules(beat=0.1, poll=0.2)
    queue = Queue(client, prefix, Budget(None, 1), rules, fleet=FleetRules(size=9))
    await queue.start()
    told = asyncio.create_task(tell(queue))
    loop = asyncio.get_running_loop()
    while name := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
        await queue.land(FlightRequest(name, Flow("t"), exact="x"), work(name), nothing, 10.0)
    told.cancel()
    await queue.stop(grace=0)
    await client.aclose()


async def tell(queue: Queue) -> None:
    print("started", flush=True)
    while not (queue.gate_closed_for > 100 and queue.breaker.count):
        await asyncio.sleep(0.01)
    print("closed", flush=True)


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    asyncio.run(main(*sys.argv[1:]))
