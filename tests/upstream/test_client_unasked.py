"""Statuses that nobody asked for: what becomes of an answer that has one."""

from __future__ import annotations

import pytest

from gateway.errors import Headers, UpstreamProtocolError
from gateway.upstream.message import repaired

BODY = b"0123456789"
KIND = (b"content-type", b"text/plain")


def part(value: bytes) -> tuple[bytes, bytes]:
    return (b"content-range", value)


@pytest.mark.parametrize("status", [200, 204, 404, 416, 500])
def test_any_other_status_is_as_it_came(status: int) -> None:
    headers = [KIND, part(b"bytes 0-4/10")]
    assert repaired([], status, headers, BODY, 10) == (status, headers, BODY)


def test_rfc9110_15_3_7_a_part_that_was_asked_for_is_as_it_came() -> None:
    asked, headers = [(b"Range", b"bytes=0-9")], [part(b"bytes 0-9/20")]
    assert repaired(asked, 206, headers, BODY, 10) == (206, headers, BODY)


@pytest.mark.parametrize("headers", [[], [part(b"bytes 0-9/20")], [part(b"bytes 0-9/10")]], ids=range(3))
def test_rfc9110_15_3_7_nor_is_one_touched_that_answers_more_than_a_read(headers: Headers) -> None:
    assert repaired([], 206, headers, BODY, 10, reads=False) == (206, headers, BODY)


@pytest.mark.parametrize("value", [b"bytes 0-9/10", b"Bytes  0-9/10", b"bytes 0-0009/10"])
def test_rfc9110_15_3_7_all_of_it_is_a_200(value: bytes) -> None:
    assert repaired([], 206, [KIND, part(value)], BODY, 10) == (200, [KIND], BODY)


def test_rfc9110_14_4_what_is_all_of_it_counts_before_it_is_decoded() -> None:
    assert repaired([], 206, [part(b"bytes 0-3/4")], BODY, 4) == (200, [], BODY)
    with pytest.raises(UpstreamProtocolError):
        repaired([], 206, [part(b"bytes 0-9/10")], BODY, 4)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [part(b"")],
        [part(b"bytes 0-9")],
        [part(b"bytes 0-9/*")],
        [part(b"bytes */10")],
        [part(b"bytes 1-9/10")],
        [part(b"bytes 0-8/10")],
        [part(b"bytes 0-9/11")],
        [part(b"bytes 0-10/11")],
        [part(b"items 0-9/10")],
        [part(b"bytes 0-9/10"), part(b"bytes 0-9/10")],
        [part(b"bytes 0-" + b"9" * 5_000 + b"/" + b"9" * 5_000)],
    ],
    ids=range(12),
)
def test_rfc9110_15_3_7_a_part_that_was_not_is_refused(headers: Headers) -> None:
    with pytest.raises(UpstreamProtocolError):
        repaired([], 206, headers, BODY, 10)


def test_rfc9110_15_3_6_a_reset_has_no_content_and_nothing_that_describes_one() -> None:
    headers = [KIND, (b"content-encoding", b"gzip"), (b"x-kept", b"1")]
    assert repaired([], 205, headers, BODY, 10) == (205, [(b"x-kept", b"1")], b"")
