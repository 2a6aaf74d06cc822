"""A tenant's share weighs the same wherever its jobs are submitted, and whatever befalls them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import redis.asyncio

from gateway.upstream.flight import FlightRequest, Flow
from gateway.upstream.pacing import Budget
from gateway.upstream.queue_state import Claimed, Queued, QueueRules, QueueState

SPENT = Budget(600, 50)
FREE = Budget(None, 1)
LIGHT, HEAVY = Flow("light"), Flow("heavy", weight=4)


async def queue(state: QueueState, flow: Flow, *ids: str) -> None:
    for id in ids:
        reply = await state.submit(FlightRequest(id, flow), token="t", looked=True)
        assert isinstance(reply, Queued)


async def order(state: QueueState, ids: list[str]) -> list[str]:
    """The ids as their turns come."""
    ranks = {}
    for id in ids:
        standing = await state.position(id)
        assert standing is not None
        assert not standing.running
        ranks[standing.rank] = id
    return [ranks[rank] for rank in range(len(ids))]


async def broken_off(leader: QueueState, _: QueueState) -> None:
    await leader.recover("again")


async def died(leader: QueueState, survivor: QueueState) -> None:
    while (await survivor.beat()).processes != 1:
        pass


@pytest.mark.parametrize("befalls", [broken_off, died], ids=["broken-off", "leader-died"])
async def test_a_job_that_is_queued_again_keeps_its_weight(
    redis_client: redis.asyncio.Redis, prefix: str, befalls: Callable[[QueueState, QueueState], Awaitable[None]]
) -> None:
    rules = QueueRules(dead_after=0.02)
    leader = QueueState(redis_client, prefix, FREE, rules)
    other = QueueState(redis_client, prefix, SPENT, rules)
    await leader.beat()
    assert isinstance(await leader.submit(FlightRequest("again", HEAVY), token="t", looked=True), Claimed)
    # Somebody else waits for it too, so that it outlives its leader.
    await other.submit(FlightRequest("again", HEAVY), token="o", looked=True)
    await befalls(leader, other)
    await queue(other, LIGHT, "light0", "light1")
    await queue(other, HEAVY, "heavy1", "heavy2", "heavy3")
    ids = ["again", "light0", "heavy1", "heavy2", "heavy3", "light1"]
    assert await order(other, ids) == ids


async def test_a_share_counts_across_processes(redis_client: redis.asyncio.Redis, prefix: str) -> None:
    one, two, third = (QueueState(redis_client, prefix, SPENT, QueueRules()) for _ in range(3))
    light, heavy = [f"light{i}" for i in range(4)], [f"heavy{i}" for i in range(16)]
    await queue(one, LIGHT, *light)
    for i, id in enumerate(heavy):
        await queue((one, two)[i % 2], HEAVY, id)
    turns = await order(third, light + heavy)
    for start in range(0, 20, 5):
        window = turns[start : start + 5]
        assert sum(id in light for id in window) == 1, turns
    assert [id for id in turns if id in heavy] == heavy
