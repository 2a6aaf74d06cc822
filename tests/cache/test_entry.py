"""What was stored is what is read, or nothing is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.cache.entry import COMPRESS_FROM, Entry, decode, encode, stamp

headers = st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=40)), max_size=5)
bodies = st.binary(max_size=200) | st.binary(min_size=1, max_size=8).map(lambda b: b * 1000)


def entry(key: str = "k", body: bytes = b"{}", dispatched: float = 1.0) -> Entry:
    return Entry(key, 200, [(b"content-type", b"application/json")], body, b'"e"', dispatched, 1.5, 2.0, 3.0, 4.0)


@given(st.text(max_size=30), st.integers(100, 599), headers, bodies, st.floats(0, 4e9))
def test_an_entry_survives_the_journey(
    key: str, status: int, fields: list[tuple[bytes, bytes]], body: bytes, dispatched: float
) -> None:
    before = Entry(key, status, fields, body, b'"e"', dispatched, 1.5, 2.0, 3.0, 4.0)
    assert decode(encode(before), key) == [before]


@given(st.data())
def test_no_damage_goes_unnoticed(data: st.DataObject) -> None:
    whole = bytearray(encode(entry(body=b'{"totals": 231}')))
    at = data.draw(st.integers(48, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    assert decode(bytes(whole), "k") == []


@given(st.binary(max_size=300))
def test_garbage_is_no_entry(garbage: bytes) -> None:
    assert decode(garbage, "k") == []


@given(st.integers(0, 200))
def test_a_part_of_an_entry_is_no_entry(length: int) -> None:
    whole = encode(entry())
    assert decode(whole[: min(length, len(whole) - 1)], "k") == []


def test_an_entry_of_another_key_is_no_entry() -> None:
    assert decode(encode(entry("theirs")), "mine") == []


def test_large_bodies_are_compressed_and_small_ones_are_not() -> None:
    assert len(encode(entry(body=b"a" * (COMPRESS_FROM + 1)))) < COMPRESS_FROM // 2
    assert b"a" * 100 in encode(entry(body=b"a" * 100))


@given(st.floats(0, 4e9), st.floats(0, 4e9))
def test_stamps_compare_as_their_times_do(one: float, other: float) -> None:
    assert len(stamp(one)) == 16
    assert (stamp(one) <= stamp(other)) or one > other
