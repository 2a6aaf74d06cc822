"""Jobs that nobody waits for any more: what becomes of them, in one process and in several, and without Redis."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from gateway.errors import DeadlineExceeded
from gateway.upstream.flight import FlightRequest, Flow, Reuse
from gateway.upstream.pacing import Budget, Priority
from gateway.upstream.queue import Queue
from gateway.upstream.queue_state import Left, Queued, QueueRules, QueueState
from gateway.upstream.tasks import EndOfInput
from tests.redis_server import free_port
from tests.upstream.fleet import depths
from tests.upstream.test_queue import LONG, QUICK, Origin, fleet, nothing, until

SPENT = Budget(3_600, 1)
BRISK = Budget(0.1, 1)
T = Flow("t")


def reusing(reuse: Reuse) -> Callable[[], Reuse]:
    return lambda: reuse


LATER, JOINERS, NOBODY = (reusing(reuse) for reuse in Reuse)


def ask(
    queue: Queue,
    origin: Origin,
    name: str,
    reuse: Callable[[], Reuse] = LATER,
    *,
    flow: Flow = T,
    timeout: float = LONG,
    ending: EndOfInput | None = None,
) -> asyncio.Task[Any]:
    async def landed() -> Any:
        work: Any = origin.work(name)
        landing, _ = await queue.land(
            FlightRequest(name, flow, exact="x"), work, nothing, timeout, reuse=reuse, ending=ending
        )
        return landing

    return asyncio.create_task(landed())


async def gone(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Their clients hang up."""
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def alone(prefix: str, budget: Budget) -> AsyncIterator[Queue]:
    """A process whose Redis is not there."""
    client = redis.asyncio.Redis(host="127.0.0.1", port=free_port(), protocol=2, retry=Retry(NoBackoff(), 0))
    queue = Queue(client, prefix, budget, QUICK)
    await queue.start()
    try:
        yield queue
    finally:
        await queue.stop(grace=0)
        await client.aclose()


@asynccontextmanager
async def process(kind: str, client: redis.asyncio.Redis, prefix: str, budget: Budget) -> AsyncIterator[Queue]:
    if kind == "alone":
        async with alone(prefix, budget) as queue:
            yield queue
    else:
        async with fleet(client, prefix, 1, budget) as (queue,):
            yield queue


async def one_slot(queue: Queue, client: redis.asyncio.Redis, prefix: str) -> None:
    """Lets one call go, where the budget was spent."""
    await client.set(f"{prefix}:{{queue}}:tat", "1")
    queue._dispatcher.schedule(0.0)


KINDS = pytest.mark.parametrize("kind", ["redis", "alone"])


@KINDS
@pytest.mark.parametrize("at_once", [True, False], ids=["before-it-is-queued", "while-it-is-queued"])
@pytest.mark.parametrize(
    ("reuse", "called"), [(LATER, 3), (JOINERS, 0), (NOBODY, 0)], ids=["kept", "shared", "for-nobody"]
)
async def test_what_nobody_waits_for_goes_last_or_not_at_all(
    redis_client: redis.asyncio.Redis,
    prefix: str,
    kind: str,
    at_once: bool,
    reuse: Callable[[], Reuse],
    called: int,
) -> None:
    origin = Origin()
    origin.gate.set()
    async with process(kind, redis_client, prefix, Budget(0.4, 1)) as queue:
        left = [ask(queue, origin, f"left{i}", reuse) for i in range(3)]
        await until(lambda: queue.flights == 3)
        if not at_once:
            await until(lambda: all(flight.gen or flight.alone for flight in queue._flights.values()))
        await gone(left)
        stays = [ask(queue, origin, f"stays{i}", flow=Flow("other")) for i in range(3)]
        await asyncio.gather(*stays)
        await until(lambda: queue.flights == 0)
    # On a busy machine the slots of some may come before their callers leave.
    early = len([*itertools.takewhile(lambda name: name.startswith("left"), origin.calls)])
    assert set(origin.calls[early : 3 + early]) == {"stays0", "stays1", "stays2"}
    assert len(origin.calls) == 3 + (called or early)


async def test_a_job_that_other_processes_hold_gives_way_once_nobody_waits_anywhere(
    redis_client: redis.asyncio.Redis, prefix: str
) -> None:
    one, other = (QueueState(redis_client, prefix, SPENT, QueueRules()) for _ in range(2))
    band: list[int] = []

    async def left(state: QueueState, gen: str, expected: Left) -> None:
        assert await state.leave("a", gen) is expected
        standing = await one.position("a")
        assert standing is not None
        band.append(standing.band)

    reply = await one.submit(FlightRequest("a", T), token="t", looked=True)
    assert isinstance(reply, Queued)
    await left(one, reply.gen, Left.BEHIND)
    # Another process's caller brings it forward, and leaves; the first process still holds it, for nobody.
    assert isinstance(await other.submit(FlightRequest("a", T), token="t", looked=True), Queued)
    await left(other, reply.gen, Left.BEHIND)
    # A caller of each: the job is the other's once one of them leaves.
    for state in (one, other):
        assert isinstance(await state.submit(FlightRequest("a", T), token="t", looked=True), Queued)
    await left(one, reply.gen, Left.THEIRS)
    await left(other, reply.gen, Left.BEHIND)
    assert band == [Priority.LEFT, Priority.LEFT, Priority.PEOPLE, Priority.LEFT]


@pytest.mark.parametrize(("kept", "queued"), [(True, depths(left=1)), (False, depths())])
async def test_a_job_gives_way_whose_callers_died_with_their_process(
    redis_client: redis.asyncio.Redis, prefix: str, kept: bool, queued: tuple[int, ...]
) -> None:
    dying, left = (QueueState(redis_client, prefix, SPENT, QueueRules(dead_after=0.05)) for _ in range(2))
    await dying.beat()
    reply = await left.submit(FlightRequest("a", T), token="t", looked=True, kept=kept)
    assert isinstance(reply, Queued)
    assert isinstance(await dying.submit(FlightRequest("a", T), token="t", looked=True), Queued)
    await left.leave("a", reply.gen, kept=kept)
    await left.submit(FlightRequest("a", T, Priority.LEFT), token="t", looked=True, kept=kept)
    while (pulse := await left.beat()).processes != 1:
        pass
    assert pulse.queued == queued


@KINDS
async def test_a_caller_who_was_told_to_come_back_keeps_the_jobs_place(
    redis_client: redis.asyncio.Redis, prefix: str, kind: str
) -> None:
    origin = Origin()
    origin.gate.set()
    async with process(kind, redis_client, prefix, Budget(0.5, 1)) as queue:
        refused = ask(queue, origin, "shared", JOINERS, timeout=0.1)
        hangs_up = ask(queue, origin, "shared", JOINERS)
        await until(lambda: bool((flight := queue._flights.get("shared")) and (flight.gen or flight.alone)))
        last = ask(queue, origin, "last", flow=Flow("other"))
        await until(lambda: queue.waiters == 2 and refused.done())
        assert isinstance(refused.exception(), DeadlineExceeded)
        await gone([hangs_up])
        await last
    assert origin.calls == ["shared", "last"]


async def test_whoever_comes_back_and_hangs_up_is_not_expected_any_more(
    redis_client: redis.asyncio.Redis, prefix: str
) -> None:
    origin = Origin()
    async with fleet(redis_client, prefix, 1, SPENT) as (queue,):
        refused = ask(queue, origin, "a", JOINERS, timeout=0.1)
        await until(refused.done)
        again = ask(queue, origin, "a", JOINERS)
        await until(lambda: queue.waiters == 1)
        assert queue.flights == 1
        await gone([again])
        await until(lambda: queue.flights == 0)
        await until(lambda: not any(queue.depths))


async def test_callers_who_come_and_go_do_not_wear_a_job_out(
    redis_client: redis.asyncio.Redis, prefix: str
) -> None:
    origin = Origin()
    origin.gate.set()
    async with fleet(redis_client, prefix, 1, SPENT) as (queue,):
        for _ in range(30):
            task = ask(queue, origin, "a")
            await until(lambda: "a" in queue._flights and queue._flights["a"].gen != "" and queue.waiters == 1)
            await gone([task])
            await until(lambda: queue._flights["a"].request.priority is Priority.LEFT)
        stays = ask(queue, origin, "a")
        await until(lambda: queue.waiters == 1)
        await one_slot(queue, redis_client, prefix)
        assert (await stays).entry is not None
    assert origin.calls == ["a"]


@pytest.mark.parametrize("size", [1, 2])
async def test_a_fan_out_whose_client_gives_up_gets_further_each_time(
    redis_client: redis.asyncio.Redis, prefix: str, size: int
) -> None:
    """Beside a tenant who always has something queued, and with its retries at another process."""
    origin, stored = Origin(), set[str]()
    origin.gate.set()
    names = [f"fan{i}" for i in range(30)]

    async def busy(queue: Queue) -> None:
        for i in range(10_000):
            await ask(queue, origin, f"busy{i}", flow=Flow("busy"))

    async with fleet(redis_client, prefix, size, Budget(0.03, 1)) as queues:
        others = [asyncio.create_task(busy(queues[0])) for _ in range(2)]
        await until(lambda: len(origin.calls) > 3)
        async with asyncio.timeout(3 * LONG):
            for queue in itertools.cycle(queues):
                tasks = {name: ask(queue, origin, name) for name in names if name not in stored}
                await asyncio.wait(tasks.values(), timeout=0.4)
                await gone(task for task in tasks.values() if not task.done())
                stored |= {name for name in names if name in origin.calls}
                if len(stored) == len(names):
                    break
        await gone(others)
    assert origin.calls.count("fan29") == 1


@KINDS
async def test_an_answer_that_was_not_kept_tells_what_becomes_of_those_like_it(
    redis_client: redis.asyncio.Redis, prefix: str, kind: str
) -> None:
    origin, known = Origin(), asyncio.Event()
    origin.gate.set()

    def reuse() -> Reuse:
        known_now = bool(origin.calls) or known.is_set()
        return Reuse.JOINERS if known_now else Reuse.LATER

    async with process(kind, redis_client, prefix, Budget(0.2, 1) if kind == "alone" else SPENT) as queue:
        left = [ask(queue, origin, f"left{i}", reuse) for i in range(10)]
        await until(
            lambda: all(flight.gen or flight.alone for flight in queue._flights.values()) and queue.flights == 10
        )
        await gone(left)
        if kind != "alone":
            await one_slot(queue, redis_client, prefix)
        await until(lambda: queue.flights == 0)
    assert len(origin.calls) == 1


@pytest.mark.parametrize(
    ("reuse", "told"), [(LATER, "on its way"), (JOINERS, "its place in the queue is kept"), (NOBODY, "in time.")]
)
async def test_a_refusal_promises_what_is_true(
    redis_client: redis.asyncio.Redis, prefix: str, reuse: Callable[[], Reuse], told: str
) -> None:
    origin = Origin()
    async with fleet(redis_client, prefix, 1, SPENT) as (queue,):
        task = ask(queue, origin, "a", reuse, timeout=0.2)
        await until(task.done)
        error = task.exception()
        assert isinstance(error, DeadlineExceeded)
        assert told in error.message
        assert ("on its way" in error.message) == (reuse is LATER)
        await until(lambda: queue.flights == (0 if reuse is NOBODY else 1))


def queued(queue: Queue, name: str) -> bool:
    flight = queue._flights.get(name)
    return flight is not None and (bool(flight.gen) or flight.alone)


def ended(*, come: bool) -> EndOfInput:
    ending = EndOfInput()
    if come:
        ending.reach()
    return ending


@KINDS
@pytest.mark.parametrize("come", [True, False], ids=["ended-before", "ends-meanwhile"])
@pytest.mark.parametrize(
    ("reuse", "first"), [(LATER, "stays"), (JOINERS, "ended"), (NOBODY, "ended")], ids=["kept", "shared", "own"]
)
async def test_whoever_sends_no_more_gives_way_where_that_costs_nothing_and_is_answered(
    redis_client: redis.asyncio.Redis,
    prefix: str,
    kind: str,
    come: bool,
    reuse: Callable[[], Reuse],
    first: str,
) -> None:
    origin = Origin()
    origin.gate.set()
    async with process(kind, redis_client, prefix, Budget(0.3, 1)) as queue:
        await ask(queue, origin, "spends")
        endings = [ended(come=come) for _ in range(3)]
        patient = [ask(queue, origin, f"ended{i}", reuse, ending=each) for i, each in enumerate(endings)]
        await until(lambda: all(task.done() or queued(queue, f"ended{i}") for i, task in enumerate(patient)))
        for each in endings:
            if not each.reached:
                each.reach()
        stays = [ask(queue, origin, f"stays{i}", flow=Flow("other")) for i in range(3)]
        landings = await asyncio.gather(*stays, *patient)
    assert all(landing.error is None for landing in landings)
    # On a busy machine the first one's slot may come before the others are there; fair turns are by tenant.
    if first == "stays":
        early = origin.calls[1].startswith("ended")
        assert all(name.startswith("stays") for name in origin.calls[1 + early : 4 + early])
    else:
        assert {name[:5] for name in origin.calls[1:4]} == {"ended", "stays"}


@pytest.mark.parametrize("left", [False, True], ids=["the-other-stays", "the-other-leaves"])
async def test_whoever_sends_no_more_gets_what_another_process_waits_for(
    redis_client: redis.asyncio.Redis, prefix: str, left: bool
) -> None:
    origin, ending = Origin(), EndOfInput()
    origin.gate.set()
    async with fleet(redis_client, prefix, 2, SPENT) as (here, there):
        patient = ask(here, origin, "a", ending=ending)
        await until(lambda: queued(here, "a"))
        other = ask(there, origin, "a")
        await until(lambda: queued(there, "a"))
        ending.reach()
        await until(
            lambda: here._flights["a"].request.priority is Priority.LEFT and not here._flights["a"].restated
        )
        if left:
            await gone([other])
            await until(lambda: there._flights["a"].request.priority is Priority.LEFT)
        await one_slot(there, redis_client, prefix)
        await one_slot(here, redis_client, prefix)
        assert (await patient).error is None
    assert origin.calls == ["a"]


async def test_whoever_sends_no_more_is_not_expected_back(redis_client: redis.asyncio.Redis, prefix: str) -> None:
    origin = Origin()
    async with fleet(redis_client, prefix, 1, SPENT) as (queue,):
        patient = ask(queue, origin, "a", timeout=0.2, ending=ended(come=True))
        with pytest.raises(DeadlineExceeded):
            await patient
        assert (queue._flights["a"].refused, queue._flights["a"].patient, queue.waiters) == (0, 0, 0)
