"""Bodies are decoded, and bounded before and after."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest

from gateway.errors import UpstreamProtocolError, UpstreamTooLarge
from gateway.upstream.client import MEMBER, Body

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
    [b"not gzip", gzip.compress(b"abc")[:-8] + bytes(8), zlib.compress(b"a"), gzip.compress(b"a") + MEMBER + b"x"],
    ids=["no gzip", "a wrong checksum", "zlib", "a second member that is none"],
)
def test_a_broken_coding_is_the_services_fault(broken: bytes) -> None:
    body = Body(GZIPPED, 100)

    def read() -> None:
        body.add(broken)
        body.finish()

    with pytest.raises(UpstreamProtocolError):
        read()


def bare(content: bytes) -> bytes:
    """Deflate without its wrapper, as some servers send it."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(content) + packer.flush()


PADDING = [b"", bytes(1), bytes(40), b"rest", b"\x1f", b"\x1f\x8b", b"\x1f\x00\x8b\x08", b"\n"]
PACKED = {
    "gzip": (b"gzip", gzip.compress(b"abc")),
    "gzip-members": (b"gzip", gzip.compress(b"a") + gzip.compress(b"") + gzip.compress(b"bc")),
    "deflate": (b"deflate", zlib.compress(b"abc")),
    "deflate-bare": (b"deflate", bare(b"abc")),
}


@pytest.mark.parametrize("step", [1, 2, 3, 100])
@pytest.mark.parametrize("padding", PADDING)
@pytest.mark.parametrize("packed", PACKED)
def test_padding_after_a_complete_stream_is_dropped(packed: str, padding: bytes, step: int) -> None:
    coding, stream = PACKED[packed]
    body, sent = Body([(b"Content-Encoding", coding)], 200), stream + padding
    for at in range(0, len(sent), step):
        body.add(sent[at : at + step])
    assert body.finish() == b"abc"


def test_padding_counts_as_part_of_the_raw_size() -> None:
    body = Body(GZIPPED, 100)
    body.add(gzip.compress(b"abc"))
    with pytest.raises(UpstreamTooLarge):
        body.add(bytes(100))


@pytest.mark.parametrize(
    "coding",
    [b"none", b"None", b"UTF-8", b"utf8", b"binary", b"8bit", b"chunked", b"identity", b"", b"none, utf-8", b"x"],
)
def test_rfc9110_8_4_what_is_no_coding_was_not_applied(coding: bytes) -> None:
    body = Body([(b"content-encoding", coding)], 100)
    body.add(b'{"totals": 5}')
    assert body.finish() == b'{"totals": 5}'


@pytest.mark.parametrize("coding", [b"gzip, none", b"utf-8, X-GZIP", b"gzip;q=1"])
def test_beside_a_coding_it_changes_nothing(coding: bytes) -> None:
    body = Body([(b"content-encoding", coding)], 100)
    body.add(gzip.compress(b"abc"))
    assert body.finish() == b"abc"


@pytest.mark.parametrize("packed", PACKED)
def test_a_coding_cut_short_is_no_whole_answer(packed: str) -> None:
    coding, stream = PACKED[packed]
    ends = [len(gzip.compress(b"a")), len(gzip.compress(b"a") + gzip.compress(b""))] if "members" in packed else []
    for cut in range(1, len(stream)):
        if any(0 <= cut - end < len(MEMBER) for end in ends):
            continue  # as far as anybody can tell it was whole there
        body = Body([(b"content-encoding", coding)], 100)
        body.add(stream[:cut])
        with pytest.raises(UpstreamProtocolError):
            body.finish()


@pytest.mark.parametrize("coding", [b"br", b"zstd", b"compress", b"gzip, gzip", b"gzip, deflate"])
def test_a_coding_that_was_not_asked_for_is_refused(coding: bytes) -> None:
    with pytest.raises(UpstreamProtocolError):
        Body([(b"content-encoding", coding)], 100).add(b"x")
