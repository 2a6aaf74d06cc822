"""Jobs in a real Redis and in the embedded one: who leads them, what they keep, and their bounds."""

from __future__ import annotations

import asyncio
from typing import Any

import fakeredis
import pytest
import redis.asyncio

from gateway.errors import CacheUnavailable, TooManyJobs
from gateway.jobs.asking import Ended
from gateway.jobs.job import ANSWERS, Job, Kept, Look, Standing, State, wanting
from gateway.jobs.log import JobLog
from gateway.jobs.store import LEASE_SECONDS, LIFE, NEW_SECONDS, JobLimits, JobStore

WANTS = wanting(["/a", "/b"])


def job(id: str = "j1", tenant: str = "lib") -> Job:
    return Job(id, tenant, "batch", 2, 5.0)


def kept(number: int, **more: object) -> Kept:
    return Kept(f"/{number}", 200, 1.0, "cached", b'{"totals": %d}' % number, **more)  # type: ignore[arg-type]


@pytest.fixture(params=["redis", "memory"])
def client(request: pytest.FixtureRequest) -> redis.asyncio.Redis:
    if request.param == "redis":
        real: redis.asyncio.Redis = request.getfixturevalue("redis_client")
        return real
    return fakeredis.FakeAsyncRedis(server=fakeredis.FakeServer(server_type="redis"))


@pytest.fixture
def store(client: redis.asyncio.Redis, prefix: str) -> JobStore:
    return JobStore(client, prefix, JobLimits(jobs=2, bytes=10_000))


async def led(store: JobStore, id: str = "j1", token: str = "first") -> JobLog:
    """A new job, led under this token."""
    await store.create(job(id), WANTS, token)
    return JobLog(store, job(id), WANTS, token, Standing())


async def carried_on(store: JobStore, id: str = "j1", token: str = "second") -> JobLog:
    """A job as the process that takes it reads it."""
    assert await store.take(id, token)
    found = await store.find(id)
    assert found is not None
    log = JobLog(store, found[0], WANTS, token, found[1])
    await log.read(bodies=True)
    return log


async def written(log: JobLog, *new: Kept | Look, state: State = State.RUNNING) -> None:
    """Writes these, and leaves the job in this state."""
    await log.add(new)
    log.close(state)
    await log.run()


async def test_what_was_kept_is_read_by_whoever_carries_on(store: JobStore) -> None:
    answers = [kept(number) for number in range(ANSWERS + 2)]
    await written(await led(store), *answers, Look(1, "10"), kept(0, since=7.0))
    log = await carried_on(store)
    assert (log.standing.answered, log.standing.chunks) == (ANSWERS + 3, [ANSWERS, 3])
    assert [log.replayed(each.target, None) for each in answers] == answers
    assert (log.replayed("/0", None), log.replayed("/0", 7.0)) == (None, kept(0, since=7.0))
    assert (log.looked(1), log.looked(2)) == ("10", None)
    await written(log, kept(999))
    standing = await store.standing("j1")
    assert standing is not None
    assert standing.chunks == [ANSWERS, 4]


async def test_a_former_leader_writes_nothing_any_more(store: JobStore) -> None:
    former = await led(store)
    await written(await carried_on(store), kept(1))
    with pytest.raises(Ended):
        await written(former, kept(2))
    standing = await store.standing("j1")
    assert standing is not None
    assert standing.answered == 1


async def test_a_call_is_written_before_the_job_goes_on_from_it(store: JobStore) -> None:
    log = await led(store)
    running = asyncio.create_task(log.run())
    await log.add([kept(1)], durable=True)
    standing = await store.standing("j1")
    assert standing is not None
    assert standing.answered == 1
    log.close(State.DONE)
    await running


async def test_the_end_is_written_though_it_comes_while_something_else_is(store: JobStore) -> None:
    log = await led(store)
    running = asyncio.create_task(log.run())
    await log.add([kept(1)])
    await asyncio.sleep(0)  # it is being written now
    log.close(State.DONE, now=9.0)
    await running
    standing = await store.standing("j1")
    assert standing is not None
    assert (standing.state, standing.ended, standing.answered) == (State.DONE, 9.0, 1)


async def test_what_redis_has_forgotten_is_written_again(
    store: JobStore, client: redis.asyncio.Redis, prefix: str
) -> None:
    log = await led(store)
    running = asyncio.create_task(log.run())
    await log.add([kept(number) for number in range(ANSWERS + 1)], durable=True)
    await client.delete(*[key async for key in client.scan_iter(f"{prefix}:*")])
    await log.add([kept(1000)], durable=True)
    log.close()
    await running
    after = await carried_on(store)
    assert after.standing.answered == ANSWERS + 2
    assert after.replayed("/5", None) == kept(5)


async def test_a_redis_that_is_away_for_a_moment_fails_no_job_that_is_carried_on(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await written(await led(store), kept(1))
    troubles = [CacheUnavailable("away")]
    read = store.chunk

    async def chunk(id: str, index: int) -> bytes | None:
        if troubles:
            raise troubles.pop()
        return await read(id, index)

    monkeypatch.setattr(store, "chunk", chunk)
    monkeypatch.setattr("gateway.jobs.log.RETRY_SECONDS", 0.0)
    assert (await carried_on(store)).replayed("/1", None) == kept(1)


async def test_only_a_job_without_a_leader_is_claimed(store: JobStore) -> None:
    await led(store)
    assert await store.claim() is None
    await store.lease("j1", 0)
    assert await store.claim() == "j1"
    assert await store.claim() is None
    await store.release("j1")
    await store.lease("j1", -LEASE_SECONDS)
    assert await store.claim() == "j1"


async def test_a_job_is_cancelled_and_then_forgotten(store: JobStore) -> None:
    log = await led(store)
    await store.cancel(job(), Standing())
    with pytest.raises(Ended):
        await written(log, kept(1))
    assert not await store.take("j1", "second")
    found = await store.find("j1")
    assert found is not None
    assert found[1].state is State.CANCELLED
    await store.cancel(*found)
    assert await store.find("j1") is None
    assert await store.of("lib") == []


async def test_a_job_that_was_ended_and_forgotten_is_not_written_anew(
    store: JobStore, client: redis.asyncio.Redis, prefix: str
) -> None:
    log = await led(store)
    await store.cancel(job(), Standing())
    await store.cancel(job(), Standing(State.CANCELLED))
    with pytest.raises(Ended):
        await written(log, kept(1))
    assert await store.find("j1") is None
    assert await client.pttl(f"{prefix}:job:j1") > 0


async def test_a_job_that_was_ended_counts_no_more_whatever_its_leader_counted(store: JobStore) -> None:
    await led(store, "j1")
    await led(store, "j2")
    for id, times in (("j1", 1), ("j2", 2)):
        for _ in range(times):
            await store.cancel(job(id), Standing())
        await store.count(job(id), Standing())  # its leader, which has not noticed yet
        await store.settle(job(id))
    await led(store, "j3")
    await led(store, "j4")


async def test_a_tenant_has_so_many_jobs_that_have_not_ended(store: JobStore) -> None:
    first, second = await led(store, "j1"), await led(store, "j2")
    with pytest.raises(TooManyJobs):
        await led(store, "j3")
    await store.create(job("o1", "other"), WANTS, "another")
    await written(first, state=State.DONE)
    await store.count(first.job, first.standing)
    await led(store, "j3")
    assert {each.id for each, _ in await store.of("lib")} == {"j1", "j2", "j3"}
    assert [each.id for each, _ in await store.of("other")] == ["o1"]
    assert second.standing.state is State.RUNNING


async def test_a_job_that_was_counted_and_never_kept_takes_no_place_for_long(
    store: JobStore, client: redis.asyncio.Redis, prefix: str
) -> None:
    counts = f"{prefix}:jobs:of:lib"

    async def counted(id: str) -> tuple[int, bytes]:
        """When a job was counted, and what else is known of it."""
        raw: Any = await client.hget(counts, id)
        at, _, rest = raw.partition(b"|")
        return int(at), rest

    async def left(id: str) -> float:
        """For how many seconds a job counts."""
        now: Any = await client.time()
        return (await counted(id))[0] + LIFE - int(now[0])

    await led(store, "j1")
    assert await store.count(job("j1"), Standing())  # as its leader does at once
    assert await store.count(job("j2"), Standing(), new=True)  # here Redis goes, before the job is kept
    assert left_is(await left("j1"), LIFE)
    assert left_is(await left("j2"), NEW_SECONDS)
    with pytest.raises(TooManyJobs):
        await led(store, "j3")
    at, rest = await counted("j2")
    await client.hset(counts, "j2", b"%d|%b" % (at - NEW_SECONDS - 1, rest))  # a minute ago
    await led(store, "j3")
    kept: Any = await client.hkeys(counts)
    assert sorted(kept) == [b"j1", b"j3"]


def left_is(seconds: float, expected: float) -> bool:
    """Whether the seconds are those, but for what the test took."""
    return expected - 50 < seconds <= expected


async def test_jobs_that_have_ended_give_way_to_what_others_keep(store: JobStore) -> None:
    old, new = await led(store, "j1"), await led(store, "j2")
    assert await store.count(old.job, Standing(State.DONE, bytes=9_000))
    assert await store.count(new.job, Standing(bytes=5_000))
    assert await store.find("j1") is None
    assert not await store.count(new.job, Standing(bytes=10_001))


async def test_what_cannot_be_read_is_no_job(store: JobStore, client: redis.asyncio.Redis, prefix: str) -> None:
    await led(store)
    await client.hset(f"{prefix}:job:j1", "standing", b"garbage")
    assert await store.find("j1") is None
    assert await store.standing("j1") is None


async def test_the_newest_jobs_of_all_tenants_are_listed_while_they_are_kept(store: JobStore) -> None:
    orders = [job("j1"), job("j2", "dash"), job("j3")]
    for each in orders:
        await store.create(each, WANTS, "first")
        await asyncio.sleep(0.002)  # the list is in the order of milliseconds
    assert [found.id for found, _ in await store.newest(10)] == ["j3", "j2", "j1"]
    assert [found.id for found, _ in await store.newest(1)] == ["j3"]
    assert [found.id for found, _ in await store.newest(10, "dash")] == ["j2"]
    for _ in range(2):  # ended, then forgotten
        await store.cancel(orders[2], Standing())
    assert [found.id for found, _ in await store.newest(10)] == ["j2", "j1"]


async def test_the_list_of_all_jobs_is_bounded_and_ends(
    store: JobStore, client: redis.asyncio.Redis, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.jobs.store.MOST_LISTED", 2)
    for number in range(3):
        await store.create(job(f"j{number}", f"tenant{number}"), WANTS, "first")
        await asyncio.sleep(0.002)
    assert [found.id for found, _ in await store.newest(10)] == ["j2", "j1"]
    assert await client.ttl(f"{prefix}:jobs:all") > 0


async def test_ending_without_forgetting_leaves_what_has_ended_already(store: JobStore) -> None:
    await written(await led(store), kept(0), state=State.DONE)
    assert not await store.cancel(job(), Standing(), forget=False)
    found = await store.find("j1")
    assert found is not None
    assert found[1].state is State.DONE
    assert [each.id for each, _ in await store.of("lib")] == ["j1"]
    await store.create(job("j2"), WANTS, "first")
    assert await store.cancel(job("j2"), Standing(), forget=False)
    assert not await store.cancel(job("j2"), Standing(), forget=False)
