"""A fleet of queues, and a service that says what a test tells it to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.redis import Client
from gateway.upstream.credential_breaker import ANSWERED, CredentialSignal, PauseRules, Signal, SignalKind
from gateway.upstream.flight import Confirm, Fetched, FlightRequest, FlightResult, Flow
from gateway.upstream.pacing import Budget, Priority
from gateway.upstream.queue import Queue
from gateway.upstream.queue_state import Claimed, QueueRules
from tests.upstream.test_queue import LONG, QUICK, UNLIMITED, entry_of, nothing, until

BRISK = PauseRules(0.05, longest=900, shortest=0.02)
LENGTHY = Signal(SignalKind.LIMITED, 300.0)
BRIEF = Signal(SignalKind.LIMITED, 0.3)


def depths(**counts: int) -> tuple[int, ...]:
    """Queued calls in the order of the priorities, by their labels; the others have none."""
    return tuple(counts.pop(each.label, 0) for each in Priority) + tuple(counts.values())


@dataclass
class Service:
    """The work of flights: each call waits until it is told what sign to give."""

    calls: list[str] = field(default_factory=list)
    signs: asyncio.Queue[Signal] = field(default_factory=asyncio.Queue)
    verdict: CredentialSignal | None = None
    flying: int = 0
    most: int = 0
    on_call: Callable[[], None] = lambda: None

    def work(self, name: str) -> Any:
        async def fetch(confirm: Confirm) -> Fetched:
            await confirm()
            self.calls.append(name)
            self.on_call()
            self.flying += 1
            self.most = max(self.most, self.flying)
            sign = await self.signs.get()
            self.flying -= 1
            verdict = self.verdict and replace(self.verdict, question=name)
            status = 429 if sign.kind is SignalKind.LIMITED else 200
            return Fetched(FlightResult(name, entry_of(name, status)), signal=sign, credential=verdict)

        return fetch

    def says(self, *signs: Signal) -> None:
        for sign in signs:
            self.signs.put_nowait(sign)


class Fleet:
    """Queues of one fleet, each a process as far as the others can tell."""

    def __init__(self, client: Client, prefix: str) -> None:
        self.client = client
        self.prefix = prefix
        self.service = Service()
        self.queues: list[Queue] = []

    async def grow(self, size: int, budget: Budget = UNLIMITED, rules: QueueRules = QUICK) -> list[Queue]:
        new = [Queue(self.client, self.prefix, budget, replace(rules, gate=BRISK)) for _ in range(size)]
        for queue in new:
            await queue.start()
        self.queues += new
        return new

    def ask(self, queue: Queue, name: str, band: Priority = Priority.PEOPLE) -> asyncio.Task[FlightResult]:
        async def landed() -> FlightResult:
            return (
                await queue.land(
                    FlightRequest(name, Flow("t"), band, exact=name), self.service.work(name), nothing, LONG
                )
            )[0]

        return asyncio.create_task(landed())

    async def refuse(self, queue: Queue, *names: str) -> None:
        """The service refuses the credential ``fp`` to each of these."""
        self.service.verdict = CredentialSignal("fp", refused=True)
        for name in names:
            self.service.says(ANSWERED)
            await self.ask(queue, name)

    async def queued(self, queue: Queue, *names: str) -> list[asyncio.Task[FlightResult]]:
        """Queued calls that wait for their turn."""
        tasks = [self.ask(queue, name) for name in names]
        await until(lambda: all(name in queue._flights and queue._flights[name].gen for name in names))
        return tasks

    async def listening(self) -> None:
        """Until every process would hear a message."""
        channel = f"{self.prefix}:{{queue}}:news"
        async with asyncio.timeout(LONG):
            while (await self.client.pubsub_numsub(channel))[0][1] < len(self.queues):
                await asyncio.sleep(0.005)

    async def idle(self) -> bool:
        """Whether nobody may set out although the budget allows it."""
        await self.client.set(f"{self.prefix}:{{queue}}:tat", "1")
        return not any([isinstance(await queue._state.claim(), Claimed) for queue in self.queues])

    async def pause_over(self) -> None:
        """And all that whoever met it has been told."""
        await self.client.hset(f"{self.prefix}:{{queue}}:gate", "until", "1")
        await self.client.delete(
            *[f"{self.prefix}:{{queue}}:paused:{kind}" for kind in ("target", "bearer", "caller")]
        )

    async def closed(self) -> None:
        """Until every process knows."""
        await until(lambda: all(queue.gate_closed_for > 0 for queue in self.queues))
