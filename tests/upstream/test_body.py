"""Bodies are decoded, and bounded before and after."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest

from gateway.errors import UpstreamProtocolError, UpstreamTooLarge
from gateway.upstream.body import Body

GZIPPED = [(b"Content-Encoding", b"gzip")]


@pytest.mark.parametrize("size", [0, 1, 99, 100])
def test_up_to_the_cap_an_answer_is_whole_plain_and_packed(size: int) -> None:
    content = bytes(size)
    for headers, sent in (([], content), (GZIPPED, gzip.compress(content))):
        body = Body(headers, 100)
        for at in range(len(sent)):
            body.add(sent[at : at + 1])
        assert body.finish() == content


def test_past_the_cap_it_is_refused_plain_and_packed() -> None:
    with pytest.raises(UpstreamTooLarge):
        Body([], 100).add(bytes(101))
    with pytest.raises(UpstreamTooLarge):
        Body(GZIPPED, 100).add(gzip.compress(bytes(101)))


def test_the_raw_size_counts_even_where_nothing_comes_out_of_it() -> None:
    with pytest.raises(UpstreamTooLarge):
        Body(GZIPPED, 1000).add(gzip.compress(b"") * 51)


def test_a_bomb_is_never_inflated_whole() -> None:
    bomb = gzip.compress(bytes(64 * 1024 * 1024))
    tracemalloc.start()
    try:
        with pytest.raises(UpstreamTooLarge):
            Body(GZIPPED, 100_000).add(bomb)
        assert tracemalloc.get_traced_memory()[1] < 4 * 1024 * 1024
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "broken",
    [b"not gzip", gzip.compress(b"a") + b"rest", gzip.compress(b"abc")[:-8] + bytes(8), zlib.compress(b"a")],
    ids=["no gzip", "more after it", "a wrong checksum", "zlib"],
)
def test_a_broken_coding_is_the_services_fault(broken: bytes) -> None:
    with pytest.raises(UpstreamProtocolError):
        Body(GZIPPED, 100).add(broken)


@pytest.mark.parametrize("cut", range(1, len(gzip.compress(b"abc"))))
def test_a_coding_cut_short_is_no_whole_answer(cut: int) -> None:
    body = Body(GZIPPED, 100)
    body.add(gzip.compress(b"abc")[:cut])
    with pytest.raises(UpstreamProtocolError):
        body.finish()


@pytest.mark.parametrize("coding", [b"br", b"deflate", b"zstd", b"gzip, gzip", b"gzip;q=1"])
def test_a_coding_that_was_not_asked_for_is_refused(coding: bytes) -> None:
    with pytest.raises(UpstreamProtocolError):
        Body([(b"content-encoding", coding)], 100).add(b"x")
