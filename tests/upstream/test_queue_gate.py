"""The queue behind the gate: a block stops the whole fleet, one probe opens it, and nobody is left waiting."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import GateClosed
from gateway.upstream.credential_breaker import ANSWERED, FAILED, CredentialSignal, Signal
from gateway.upstream.flight import FlightRequest, Flow
from gateway.upstream.pacing import Budget, Priority
from gateway.upstream.queue import Queue
from gateway.upstream.queue_state import QueueRules
from tests.redis_server import RedisServer
from tests.upstream.fleet import BRIEF, BRISK, LENGTHY, Fleet, depths
from tests.upstream.test_queue import LONG, QUICK, UNLIMITED, nothing, until

ROOT = Path(__file__).parents[2]
LASTING = replace(QUICK, dead_after=60)
"""Where nobody dies, a process that the machine lets wait counts as alive."""


async def test_decision_9_a_block_closes_the_gate_for_the_whole_fleet(fleet: Fleet) -> None:
    one, two, three = await fleet.grow(3, rules=LASTING)
    first = fleet.ask(one, "a")
    await until(lambda: fleet.service.calls == ["a"])
    asked = [first, *await fleet.queued(two, "a")]
    fleet.service.says(LENGTHY)
    landings = await asyncio.gather(*asked)
    assert [landing.entry and landing.entry.status for landing in landings] == [429, 429]
    await fleet.closed()
    assert three.gate_closed_for == pytest.approx(300, abs=20)
    refused = await fleet.ask(three, "b")
    assert isinstance(refused.error, GateClosed)
    assert refused.error.retry_after == pytest.approx(300, abs=20)
    assert fleet.service.calls == ["a"]


async def test_a_closed_gate_is_known_at_once_by_message(fleet: Fleet) -> None:
    one, two = await fleet.grow(2, rules=QueueRules(beat=60, poll=60))
    await fleet.listening()
    fleet.service.says(LENGTHY)
    await fleet.ask(one, "a")
    await fleet.closed()
    await fleet.pause_over()
    fleet.service.says(ANSWERED)
    one.gate.update(0.0, 0.0)
    await fleet.ask(one, "b")
    await until(lambda: two.gate_closed_for == 0)


async def test_a_closed_gate_is_known_from_the_next_sign_of_life_without_messages(fleet: Fleet) -> None:
    (one,) = await fleet.grow(1)
    deaf = Queue(fleet.client, fleet.prefix, UNLIMITED, replace(QUICK, gate=BRISK))
    fleet.service.says(LENGTHY)
    await fleet.ask(one, "a")
    assert deaf.gate_closed_for == 0
    await deaf._heartbeat.beat()
    assert deaf.gate_closed_for > 200


async def test_while_closed_refreshes_are_dropped_and_leave_nothing(fleet: Fleet) -> None:
    (one,) = await fleet.grow(1)
    unaware = Queue(fleet.client, fleet.prefix, UNLIMITED, replace(QUICK, gate=BRISK))
    fleet.service.says(LENGTHY)
    await fleet.ask(one, "a")
    for queue in (one, unaware):
        queue.refresh(FlightRequest("b", Flow("t"), Priority.REFRESH, "x"), fleet.service.work("b"), nothing)
        await until(lambda queue=queue: queue.flights == 0)  # type: ignore[misc]
    assert fleet.service.calls == ["a"]
    assert (await one._state.beat()).queued == depths()


async def test_while_closed_a_running_flight_may_be_joined(fleet: Fleet) -> None:
    one, two = await fleet.grow(2)
    slow = fleet.ask(one, "slow")
    await until(lambda: fleet.service.calls == ["slow"])
    blocked = fleet.ask(one, "blocked")
    await until(lambda: len(fleet.service.calls) == 2)
    await one._state.land([one._state.landing(FlightRequest("nobody's", Flow("t")), "", b"", LENGTHY)])
    await fleet.closed()
    joined = [fleet.ask(queue, "slow") for queue in (one, two)]
    await until(lambda: one.waiters == 3 and two.waiters == 1 and two._flights["slow"].gen != "")
    fleet.service.says(ANSWERED, ANSWERED)
    landings = await asyncio.gather(slow, blocked, *joined)
    assert all(landing.entry and landing.entry.status == 200 for landing in landings)
    assert fleet.service.calls == ["slow", "blocked"]


async def test_after_the_pause_one_queued_job_probes_and_the_others_wait_for_it(fleet: Fleet) -> None:
    one, two = await fleet.grow(2, Budget(0.3, 1), LASTING)
    first = fleet.ask(one, "first")
    await until(lambda: fleet.service.calls == ["first"])
    tasks = await fleet.queued(two, "a", "b") + await fleet.queued(one, "c")
    fleet.service.says(LENGTHY)
    await first
    assert await fleet.idle()
    assert fleet.service.calls == ["first"]
    await fleet.pause_over()
    await until(lambda: len(fleet.service.calls) == 2)
    assert await fleet.idle()
    assert len(fleet.service.calls) == 2
    fleet.service.says(*[ANSWERED] * 3)
    landings = await asyncio.gather(*tasks)
    assert all(landing.entry and landing.entry.status == 200 for landing in landings)
    assert len(fleet.service.calls) == 4
    await until(lambda: all(queue.gate_closed_for == 0 for queue in fleet.queues))


async def test_queued_jobs_outlast_a_probe_that_is_blocked(fleet: Fleet) -> None:
    (one,) = await fleet.grow(1, Budget(0.3, 1))
    first = fleet.ask(one, "first")
    await until(lambda: fleet.service.calls == ["first"])
    tasks = await fleet.queued(one, "a", "b", "c")
    fleet.service.says(BRIEF, BRIEF, ANSWERED, ANSWERED)
    landings = await asyncio.gather(first, *tasks)
    assert sorted(landing.entry.status for landing in landings if landing.entry) == [200, 200, 429, 429]
    assert fleet.service.most == 1


@pytest.mark.parametrize("sign", [FAILED, BRIEF], ids=["learns-nothing", "blocked"])
async def test_the_first_to_come_after_the_pause_is_the_probe(fleet: Fleet, sign: Signal) -> None:
    (one,) = await fleet.grow(1)
    fleet.service.says(BRIEF, sign, ANSWERED, ANSWERED)
    await fleet.ask(one, "a")
    for name, error in (("b", None), ("c", GateClosed if sign is BRIEF else None), ("d", None)):
        if error is None:
            await until(lambda: one.gate_closed_for == 0)
        landing = await fleet.ask(one, name)
        assert error is None or isinstance(landing.error, error)
    assert fleet.service.calls == (["a", "b", "d"] if sign is BRIEF else ["a", "b", "c", "d"])


async def test_a_probe_that_dies_with_its_process_is_followed_by_another(fleet: Fleet) -> None:
    survivor, victim = await fleet.grow(2, Budget(0.3, 1))
    first = fleet.ask(victim, "first")
    await until(lambda: fleet.service.calls == ["first"])
    doomed = await fleet.queued(victim, "doomed")
    fleet.service.says(BRIEF)
    await first
    await until(lambda: fleet.service.calls == ["first", "doomed"])
    waiting = fleet.ask(survivor, "doomed")
    await until(lambda: survivor.waiters == 1 and survivor._flights["doomed"].gen != "")
    doomed[0].cancel()
    fleet.queues.remove(victim)
    await victim.stop(grace=0)
    fleet.service.says(ANSWERED)
    landing = await waiting
    assert landing.entry is not None
    assert fleet.service.calls == ["first", "doomed", "doomed"]


async def test_a_gate_that_redis_forgot_keeps_nobody_waiting(fleet: Fleet) -> None:
    (one,) = await fleet.grow(1, Budget(0.3, 1))
    first = fleet.ask(one, "first")
    await until(lambda: fleet.service.calls == ["first"])
    tasks = await fleet.queued(one, "a")
    fleet.service.says(LENGTHY, ANSWERED)
    await first
    await until(lambda: (one._dispatcher._turn or 0) > asyncio.get_running_loop().time() + 200)
    await fleet.client.delete(f"{fleet.prefix}:{{queue}}:gate")
    assert (await tasks[0]).entry is not None


async def test_the_gate_costs_no_round_trip_and_leaves_nothing_behind(fleet: Fleet) -> None:
    scripts: list[str] = []

    class Counting:
        def __getattr__(self, name: str) -> Any:
            return getattr(fleet.client, name)

        async def evalsha(self, sha: str, *args: Any) -> Any:
            scripts.append(sha)
            return await fleet.client.evalsha(sha, *args)

    queue = Queue(Counting(), fleet.prefix, UNLIMITED, QueueRules(beat=60, poll=60, gate=BRISK))  # type: ignore[arg-type]
    fleet.service.verdict = CredentialSignal("fp", refused=False)
    fleet.service.says(ANSWERED)
    await fleet.ask(queue, "a")
    assert len(scripts) == 2
    keys = [key.decode().split(":")[2] async for key in fleet.client.scan_iter(match=f"{fleet.prefix}:*")]
    assert set(keys) <= {"done", "tat", "live", "callers"}


async def test_after_a_block_no_key_stays_for_ever(fleet: Fleet) -> None:
    one, two = await fleet.grow(2, Budget(0.02, 1))
    fleet.service.verdict = CredentialSignal("fp", refused=True)
    fleet.service.says(BRIEF, *[ANSWERED] * 9)
    tasks = [fleet.ask(queue, f"job{i}") for i, queue in enumerate((one, two) * 5)]
    await asyncio.gather(*tasks)
    await until(lambda: one.flights == two.flights == 0)
    keys = [key async for key in fleet.client.scan_iter(match=f"{fleet.prefix}:*")]
    assert all([await fleet.client.pttl(key) > 0 for key in keys])
    kinds = {key.decode().split(":")[2] for key in keys}
    assert kinds <= {
        *("tat", "live", "done", "result", "turn", "gate", "refused", "refusals", "suspected", "callers"),
        *("paused", "pauses", "fleet", "terms", "alone", "users", "credentials"),
    }


async def test_a_refused_credential_reaches_every_process_by_message(fleet: Fleet) -> None:
    patient = QueueRules(beat=60, poll=60)
    one, two = await fleet.grow(2, rules=patient)
    await fleet.listening()
    await fleet.refuse(one, "a", "b")
    assert one.breaker.refused_for("fp") == pytest.approx(10, abs=5)
    await until(lambda: two.breaker.count == 1)
    assert two.breaker.refused_for("fp") == pytest.approx(10, abs=5)
    fleet.service.verdict = CredentialSignal("fp", refused=False)
    fleet.service.says(ANSWERED)
    await fleet.ask(two, "c")
    assert two.breaker.count == 0
    await until(lambda: one.breaker.count == 0)


def test_real_processes_learn_of_a_block_and_a_refusal(shared_redis: RedisServer, prefix: str) -> None:
    command = [sys.executable, "-m", "tests.upstream.member", shared_redis.url, prefix]
    members = [
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    try:
        for member in members:
            assert member.stdout is not None
            assert member.stdout.readline() == "started\n"
        asking = members[0].stdin
        assert asking is not None
        asking.write("a\nb\n")
        asking.flush()
        for member in members:
            assert member.stdout is not None
            assert member.stdout.readline() == "closed\n"
        for member in members:
            member.communicate("\n", timeout=LONG)
    finally:
        for member in members:
            member.kill()
            member.communicate()
