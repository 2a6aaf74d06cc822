"""The near cache is bounded, and never goes back in time."""

from __future__ import annotations

from msgspec.structs import replace

from gateway.cache.store import NearCache
from tests.cache.test_entry import entry


def test_the_least_recently_used_leave_first() -> None:
    size = entry("a").size
    near = NearCache(size * 2)
    near.put(entry("a"))
    near.put(entry("b"))
    near.get("a")
    near.put(entry("c"))
    assert near.get("b") == ()
    assert near.get("a")
    assert near.get("c")
    assert near.bytes == size * 2


def test_what_is_larger_than_the_cache_stays_out() -> None:
    near = NearCache(1_000)
    near.put(entry("a", body=b"x" * 1_000))
    assert len(near) == 0
    assert near.bytes == 0


def test_an_older_answer_never_replaces_a_newer_one() -> None:
    near = NearCache(10_000)
    near.put(entry("a", body=b"new", dispatched=2.0))
    near.put(entry("a", body=b"old", dispatched=1.0))
    assert [found.body for found in near.get("a")] == [b"new"]


def test_replacing_and_dropping_keep_the_count() -> None:
    near = NearCache(10_000)
    near.put(entry("a", body=b"x"))
    near.put(entry("a", body=b"x" * 100, dispatched=2.0))
    assert near.bytes == entry("a", body=b"x" * 100).size
    near.drop("a")
    near.drop("a")
    assert near.bytes == 0


def test_all_variants_of_a_record_count() -> None:
    near = NearCache(10_000)
    one, other = (replace(entry("a", body=b"x" * size), variant=f"{size:024}") for size in (1, 100))
    near.put(one)
    near.put(other)
    assert near.bytes == one.size + other.size
    near.put(replace(one, body=b""))
    assert near.bytes == one.size - 1 + other.size
    near.clear()
    near.drop("a")
    assert near.bytes == 0


def test_each_record_that_is_kept_has_a_serial_of_its_own() -> None:
    near = NearCache(entry("a").size * 2)
    assert near.serial("a") is None
    near.put(entry("a"))
    first = near.serial("a")
    near.put(entry("a"))
    assert near.serial("a") not in (None, first)
    near.put(entry("b"))
    near.put(entry("c"))
    assert near.serial("a") is None
    assert len({near.serial("b"), near.serial("c"), None}) == 3
    near.drop("b")
    assert near.serial("b") is None
    near.clear()
    assert near.serial("c") is None
