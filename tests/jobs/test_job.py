"""What a job keeps, as bytes and as lines."""

from __future__ import annotations

import json

import msgspec
import pytest

from gateway.jobs.job import (
    ANSWERS,
    Chunk,
    Job,
    Kept,
    Standing,
    answer_line,
    encoded,
    job_of,
    place_of,
    standing_of,
)

KEPT = Kept("/total/views/article/1", 200, 100.0, "cached", b'{"totals":\r\n 7}\n')


def test_a_line_has_the_body_as_it_is_but_for_line_ends() -> None:
    line = answer_line(3, KEPT, now=107.9)
    assert b"\n" not in line
    assert json.loads(line) == {
        "n": 3, "target": "/total/views/article/1", "status": 200, "age": 7, "how": "cached",
        "body": {"totals": 7},
    }  # fmt: skip
    precise = msgspec.structs.replace(KEPT, body=b'{"b": 1.10, "a": 12345678901234567890}')
    assert answer_line(1, precise, now=0).endswith(b'"body":{"b": 1.10, "a": 12345678901234567890}}')


@pytest.mark.parametrize("body", [b"<h1>no</h1>\n", b"", b'{"a": ', b'"\xff"', b"[" * 100_000])
def test_a_body_that_is_no_json_is_a_text(body: bytes) -> None:
    line = answer_line(1, msgspec.structs.replace(KEPT, body=body), now=0)
    assert json.loads(line)["body"] == body.decode("utf-8", "replace")


def test_an_answer_is_found_by_its_number() -> None:
    chunks = [2, 0, 3]
    assert [place_of(chunks, number) for number in range(6)] == [(0, 0), (0, 1), (2, 0), (2, 1), (2, 2), (3, 0)]


def test_a_chunk_is_full_by_its_number_or_by_its_bytes() -> None:
    many, large = Chunk(), Chunk()
    for _ in range(ANSWERS):
        assert not many.is_full
        many.add(KEPT)
    large.add(msgspec.structs.replace(KEPT, body=b" " * 300_000))
    assert many.is_full
    assert large.is_full


def test_records_of_another_version_are_read() -> None:
    job = Job("1", "lib", "batch", 2, 5.0)
    later = msgspec.to_builtins(job) | {"new_field": 1}
    assert msgspec.convert(later, Job) == job
    assert job_of(encoded(job)) == job
    standing = Standing(hows={"cached": 2}, chunks=[2])
    assert standing_of(encoded(standing)) == standing
    assert standing_of(encoded(standing)).answered == 2
    assert (
        msgspec.msgpack.decode(msgspec.msgpack.encode(["/a", 200, 1.0, "cached", b"1"]), type=Kept).called is False
    )
