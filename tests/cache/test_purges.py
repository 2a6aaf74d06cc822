"""Purge marks: what they cover, what they make of entries, and how every process learns of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import redis.asyncio
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from gateway.cache import purges as marks_module
from gateway.cache.entry import Entry
from gateway.cache.purges import EVERYTHING, Purges, PurgeScope, PurgeTimes, TooManyPurges, purged
from gateway.catalogue.endpoints import recognise, with_content
from gateway.catalogue.query import Query
from gateway.redis import Clock

WINDOW = b"start_date=2014-01-01&end_date=2014-03-01"


def query(path: bytes, parameters: bytes = WINDOW) -> Query:
    return recognise(path, parameters, ignored=frozenset(), max_bytes=4096)


LBORO = query(b"/lboro/timeline/day/views/article/23")
PUBLIC = query(b"/total/downloads/article/23", b"")
OTHER = query(b"/monash/timeline/day/views/author/23")


def entry(dispatched: float, *, life: float = 100, serve: float = 100) -> Entry:
    fresh = dispatched + life
    end = fresh + serve
    return Entry("k", 200, [], b"", b"", dispatched, dispatched, fresh, end, end, dispatched, end)


@pytest.mark.parametrize(
    ("subject", "covered"),
    [
        (EVERYTHING, {"lboro", "public", "other"}),
        (PurgeScope.institution("lboro"), {"lboro"}),
        (PurgeScope.item("article", "23"), {"lboro", "public"}),
        (PurgeScope.exact(PUBLIC.canonical), {"public"}),
        (PurgeScope.item("article", "2"), set()),
    ],
    ids=["all", "institution", "item", "query", "another"],
)
async def test_a_purge_covers_what_it_names_and_nothing_else(
    subject: PurgeScope, covered: set[str], redis_client: redis.asyncio.Redis, prefix: str
) -> None:
    purges = Purges(redis_client, prefix)
    await purges.purge(subject)
    queries = {"lboro": LBORO, "public": PUBLIC, "other": OTHER}
    assert {name for name, asked in queries.items() if purges.covering(asked)} == covered


@given(st.text(), st.text(), st.text(), st.text())
def test_names_are_injective(kind: str, item_id: str, other_kind: str, other_id: str) -> None:
    same = (kind, item_id) == (other_kind, other_id)
    assert (PurgeScope.item(kind, item_id) == PurgeScope.item(other_kind, other_id)) == same
    assert PurgeScope.institution(kind).name != PurgeScope.exact(kind.encode()).name


def test_a_hard_purge_leaves_nothing_that_was_dispatched_before_it() -> None:
    assert purged(PurgeTimes(soft=0, hard=50), [entry(50), entry(51)]) == [entry(51)]


def test_a_soft_purge_makes_stale_and_goes_on_serving() -> None:
    (found,) = purged(PurgeTimes(soft=50, hard=0), [entry(10)])
    assert (found.fresh_until, found.serve_until, found.keep_until) == (50, 210, 210)


def test_a_soft_purge_leaves_what_can_only_be_confirmed() -> None:
    """No window in which it serves stale, but a validator for which it is retained."""
    (found,) = purged(PurgeTimes(soft=50, hard=0), [structs.replace(entry(10, serve=0), drop_at=500)])
    assert (found.fresh_until, found.serve_until, found.drop_at) == (50, 110, 500)


def test_rfc9111_4_2_4_what_must_not_serve_stale_does_not_after_a_soft_purge() -> None:
    strict = structs.replace(entry(10), drop_at=500, stale_ok=False)
    (found,) = purged(PurgeTimes(soft=50, hard=0), [strict])
    assert (found.fresh_until, found.serve_until, found.keep_until, found.drop_at) == (50, 50, 50, 500)


def test_a_soft_purge_never_makes_fresh_again() -> None:
    (found,) = purged(PurgeTimes(soft=5_000, hard=0), [entry(10)])
    assert found.fresh_until == 110


def test_an_error_record_is_gone_after_a_soft_purge_too() -> None:
    assert purged(PurgeTimes(soft=50, hard=0), [entry(10, serve=0)]) == []


def test_a_later_soft_purge_does_not_bring_back_what_went_hard() -> None:
    assert purged(PurgeTimes(soft=90, hard=50), [entry(40)]) == []


async def test_nothing_purged_costs_nothing(redis_client: redis.asyncio.Redis, prefix: str) -> None:
    assert Purges(redis_client, prefix).covering(LBORO) is None


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_message_tells_every_process(
    redis_client: redis.asyncio.Redis, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(marks_module, "POLL_SECONDS", 3_600.0)
    here, there = Purges(redis_client, prefix), Purges(redis_client, prefix)
    await here.purge(PurgeScope.item("article", "1"))
    follows = asyncio.create_task(there.follow())
    await until(lambda: there._version is not None)  # it has looked, and looks no more for an hour
    stamp = await here.purge(PurgeScope.institution("lboro"), hard=True)
    await until(lambda: there.covering(LBORO) is not None)
    follows.cancel()
    assert there.covering(LBORO) == here.covering(LBORO) == PurgeTimes(soft=0.0, hard=stamp)


async def test_a_purge_after_redis_forgot_is_seen_although_it_is_again_the_first(
    redis_client: redis.asyncio.Redis, prefix: str
) -> None:
    here, there = Purges(redis_client, prefix), Purges(redis_client, prefix)
    await here.purge(PurgeScope.item("article", "1"))
    await there.poll()
    await redis_client.delete(f"{prefix}:{{purge}}:marks")
    await here.purge(EVERYTHING, hard=True)
    await there.poll()
    assert there.covering(LBORO) == here.covering(LBORO)
    assert there.covering(LBORO) is not None


async def test_a_lost_message_is_made_up_for_by_looking(redis_client: redis.asyncio.Redis, prefix: str) -> None:
    here, there = Purges(redis_client, prefix), Purges(redis_client, prefix)
    await there.poll()
    await here.purge(EVERYTHING)
    await there.poll()
    assert there.covering(OTHER) == here.covering(OTHER)
    await here.purge(EVERYTHING, hard=True)
    await there.poll()
    assert there.covering(OTHER) == here.covering(OTHER)


async def test_purges_outlive_a_redis_that_forgets(redis_client: redis.asyncio.Redis, prefix: str) -> None:
    purges = Purges(redis_client, prefix)
    await purges.purge(EVERYTHING)
    await redis_client.delete(f"{prefix}:{{purge}}:marks")
    await purges.poll()
    assert purges.covering(LBORO) is not None


async def test_purges_are_bounded_expire_and_make_room(redis_client: redis.asyncio.Redis, prefix: str) -> None:
    key = f"{prefix}:{{purge}}:marks"
    await redis_client.hset(key, mapping={f"s:item:{number}": "99999999999999999" for number in range(10_001)})
    purges = Purges(redis_client, prefix)
    lboro = PurgeScope.institution("lboro")
    with pytest.raises(TooManyPurges):
        await purges.purge(lboro)
    await redis_client.hset(key, mapping={f"s:item:{number}": "1" for number in range(5_000)})
    await purges.purge(lboro)
    assert await redis_client.hlen(key) == 5_003
    assert await redis_client.pttl(key) > 365 * 86_400_000


@pytest.mark.parametrize(("hard", "left"), [(False, 3), (True, 2)], ids=["soft", "hard"])
async def test_a_purge_of_everything_always_finds_room_and_stands_for_those_before(
    redis_client: redis.asyncio.Redis, prefix: str, hard: bool, left: int
) -> None:
    key = f"{prefix}:{{purge}}:marks"
    await redis_client.hset(key, mapping={f"s:item:{number}": "5" for number in range(10_001)})
    await redis_client.hset(key, "h:item:1", "5")
    await Purges(redis_client, prefix).purge(EVERYTHING, hard=hard)
    assert await redis_client.hlen(key) == left


async def test_what_is_older_than_any_entry_is_forgotten(redis_client: redis.asyncio.Redis, prefix: str) -> None:
    purges = Purges(redis_client, prefix)
    await redis_client.hset(f"{prefix}:{{purge}}:marks", mapping={"s:all": "5", "#": "5"})
    await purges.poll()
    assert purges.covering(LBORO) is None


@pytest.mark.parametrize(
    "nonsense",
    [b"", b"h:all", b"h:all=", b"h:all=x", b"h:all=-5", b"x:all=5", b"h:=5", b"\xff=1", b"h:all=" + b"9" * 400],
)
async def test_news_that_nobody_of_ours_sent_end_no_following(
    nonsense: bytes, redis_client: redis.asyncio.Redis, prefix: str
) -> None:
    purges, other = Purges(redis_client, prefix), Purges(redis_client, prefix)
    following = asyncio.create_task(purges.follow())
    channel = f"{prefix}:{{purge}}:news"
    while not (await redis_client.pubsub_numsub(channel))[0][1]:
        await asyncio.sleep(0.01)
    await redis_client.publish(channel, nonsense)
    await redis_client.hset(f"{prefix}:{{purge}}:marks", nonsense.partition(b"=")[0], nonsense.partition(b"=")[2])
    await other.purge(PurgeScope.institution("lboro"))
    while purges.covering(LBORO) is None:
        assert not following.done()
        await asyncio.sleep(0.01)
    assert purges.covering(PUBLIC) is None
    following.cancel()
    await asyncio.wait({following}, timeout=20)


async def test_whoever_knows_of_a_purge_dispatches_after_it(
    redis_client: redis.asyncio.Redis, prefix: str
) -> None:
    """Their clocks are behind Redis's by the time that its replies took."""
    clocks = [Clock() for _ in range(2)]
    here, there = (Purges(redis_client, prefix, clock) for clock in clocks)
    seconds, micros = await redis_client.time()
    late = seconds + micros / 1e6 - 0.5
    for clock in clocks:
        clock.sync(late, 0.0)
    stamp = await here.purge(EVERYTHING)
    await there.poll()
    for clock in clocks:
        assert clock.order() > stamp
        clock.sync(late, 0.0)  # by a reply from before the purge
        assert clock.order() > stamp


def test_a_time_that_cannot_be_moves_no_clock() -> None:
    clock = Clock()
    before = clock.order()
    clock.reached(before + 3_600)
    assert clock.order() < before + 60


RECORDS = ("p:{a}", "p:{b}", "p:{c}")


def following(client: redis.asyncio.Redis, prefix: str) -> tuple[Purges, list[str]]:
    """Purges, and the records that they report as recalled."""
    told: list[str] = []
    return Purges(client, prefix, on_recall=told.append), told


async def test_a_recall_reaches_every_process_once_by_message_or_by_looking(
    redis_client: redis.asyncio.Redis, prefix: str
) -> None:
    (here, told_here), (there, told_there), (away, told_away) = (following(redis_client, prefix) for _ in range(3))
    follows = asyncio.create_task(there.follow())
    for record in RECORDS:
        await here.recall(record)
    await until(lambda: len(told_there) == 3)
    for _ in range(2):
        await away.poll()
    await there.poll()
    follows.cancel()
    assert told_here == sorted(told_there) == sorted(told_away) == list(RECORDS)
    await here.recall(RECORDS[0])
    await away.poll()
    assert told_away[3:] == [RECORDS[0]]
    assert away.covering(LBORO) is None


async def test_recalls_are_bounded_and_leave_room_for_purges(
    redis_client: redis.asyncio.Redis, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(marks_module, "MOST_RECALLS", 2)
    purges, told = following(redis_client, prefix)
    for record in RECORDS * 3:
        await purges.recall(record)
    await purges.purge(EVERYTHING)
    fields = set(await redis_client.hkeys(f"{prefix}:{{purge}}:marks"))
    assert fields == {b"#", b"s:all", *(f"r:{record}".encode() for record in RECORDS[1:])}
    await purges.poll()
    assert (told, set(purges._recalled)) == (list(RECORDS * 3), set(RECORDS[1:]))
    assert await redis_client.pttl(f"{prefix}:{{purge}}:marks") > 0


async def test_what_is_posted_is_purged_by_its_target(redis_client: redis.asyncio.Redis, prefix: str) -> None:
    counts = recognise(b"/count/articles", b"")
    asked = [with_content(counts, [], content) for content in (b"one", b"other")]
    purges = Purges(redis_client, prefix)
    stamp = await purges.purge(PurgeScope.exact(counts.canonical))
    assert [purges.covering(each) for each in asked] == [PurgeTimes(soft=stamp, hard=0.0)] * 2
    assert purges.covering(with_content(recognise(b"/count/articles", b"a=b"), [], b"one")) is None


class Hand(Clock):
    """Shows what it is told."""

    time = 2_000_000_000.0

    def now(self) -> float:
        return self.time


TOTALS = query(b"/lboro/total/views/article/23", b"")


async def test_an_institution_that_keeps_its_totals_is_known_everywhere_for_a_day(
    redis_client: redis.asyncio.Redis, prefix: str
) -> None:
    clock = Hand()
    here, there, late = (Purges(redis_client, prefix, clock) for _ in range(3))
    follows = asyncio.create_task(there.follow())
    await until(lambda: there._version is None and there._reading is not None)
    before = here.revision
    await here.keep_private("lboro")
    await until(lambda: there.private(TOTALS))
    await late.poll()
    follows.cancel()
    assert here.revision > before
    assert here.private(TOTALS)
    assert late.private(TOTALS)
    assert not here.private(OTHER)
    assert not here.private(PUBLIC)
    assert here.covering(TOTALS) is None
    clock.time += 86_390
    assert all(each.private(TOTALS) for each in (here, there, late))
    clock.time += 20
    assert not any(each.private(TOTALS) for each in (here, there, late))


@pytest.mark.parametrize("subject", [EVERYTHING, PurgeScope.institution("lboro")], ids=["all", "it"])
@pytest.mark.parametrize("hard", [True, False], ids=["hard", "soft"])
async def test_a_purge_forgets_that_an_institution_keeps_its_totals(
    redis_client: redis.asyncio.Redis, prefix: str, subject: PurgeScope, hard: bool
) -> None:
    here, there = Purges(redis_client, prefix), Purges(redis_client, prefix)
    for _ in range(2):
        await here.keep_private("lboro")
        await there.poll()
        assert here.private(TOTALS)
        assert there.private(TOTALS)
        await there.purge(subject, hard=hard)
        await here.poll()
        assert not here.private(TOTALS)
        assert not there.private(TOTALS)


async def test_institutions_that_keep_their_totals_are_bounded(
    redis_client: redis.asyncio.Redis, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(marks_module, "MOST_PRIVATE", 2)
    purges, late = Purges(redis_client, prefix), Purges(redis_client, prefix)
    for name in ("lboro", "monash", "melbourne"):
        await purges.keep_private(name)
    await purges.recall(RECORDS[0])
    await late.poll()
    totals = [query(b"/%s/total/views/article/1" % name, b"") for name in (b"lboro", b"monash", b"melbourne")]
    for each in (purges, late):
        assert [each.private(asked) for asked in totals] == [False, True, True]
    assert len(await redis_client.hkeys(f"{prefix}:{{purge}}:marks")) == 4
