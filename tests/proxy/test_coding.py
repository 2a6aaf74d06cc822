"""Codings are negotiated as RFC 9110 §12.5.3 says, and bodies are prepared once."""

from __future__ import annotations

import asyncio
import gzip
import random

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Headers
from gateway.proxy.delivery import (
    AT_ONCE,
    OVERHEAD,
    WORTHWHILE,
    Coder,
    acceptable,
    coded_headers,
    is_codable,
    negotiate,
    shrunk,
)

BOTH = (b"zstd", b"gzip")
JSON = (b"content-type", b"application/json")
SMALL = b'{"totals": 231}' * 200
LARGE = b'{"totals": 231}' * 5_000


def decoded(coding: bytes, body: bytes) -> bytes:
    if coding == b"gzip":
        return gzip.decompress(body)
    return zstandard.ZstdDecompressor().decompress(body, max_output_size=100_000_000)


def noise(length: int) -> bytes:
    return random.Random(7).randbytes(length)


class Counted(Coder):
    """A coder that tells which codings it prepared."""

    def __init__(self, max_bytes: int = 1_000_000) -> None:
        self.preparations: list[bytes] = []
        super().__init__(max_bytes, BOTH, self._counted)

    def _counted(self, coding: bytes, body: bytes) -> bytes | None:
        self.preparations.append(coding)
        return shrunk(coding, body)


@pytest.mark.parametrize(
    ("lines", "offered", "chosen"),
    [
        pytest.param((), BOTH, None, id="rfc9110_12_5_3_no_header"),
        pytest.param((b"",), BOTH, None, id="rfc9110_12_5_3_empty"),
        pytest.param((b"gzip",), BOTH, b"gzip", id="rfc9110_12_5_3_named"),
        pytest.param((b"GZip",), BOTH, b"gzip", id="rfc9110_8_4_1_case"),
        pytest.param((b"x-gzip",), BOTH, b"gzip", id="rfc9110_8_4_1_3_x_gzip"),
        pytest.param((b"br, deflate",), BOTH, None, id="rfc9110_12_5_3_none_offered"),
        pytest.param((b"gzip, deflate, br, zstd",), BOTH, b"zstd", id="order_of_offer_breaks_ties"),
        pytest.param((b"zstd, gzip",), (b"gzip", b"zstd"), b"gzip", id="order_of_offer_breaks_ties_reversed"),
        pytest.param((b"gzip;q=1.0, zstd;q=0.5",), BOTH, b"gzip", id="rfc9110_12_4_2_weights"),
        pytest.param((b"gzip;q=0.001, zstd;q=0",), BOTH, b"gzip", id="rfc9110_12_4_2_three_digits"),
        pytest.param((b"gzip;q=0",), BOTH, None, id="rfc9110_12_4_2_zero_excludes"),
        pytest.param((b"gzip;q=0.000, *",), BOTH, b"zstd", id="rfc9110_12_5_3_star_but_not_the_excluded"),
        pytest.param((b"*",), BOTH, b"zstd", id="rfc9110_12_5_3_star"),
        pytest.param((b"*;q=0",), BOTH, None, id="rfc9110_12_5_3_star_excluded"),
        pytest.param((b"*;q=0, gzip",), BOTH, b"gzip", id="rfc9110_12_5_3_star_excluded_but_one"),
        pytest.param((b"gzip \t;\t Q=0.5",), BOTH, b"gzip", id="rfc9110_12_4_2_whitespace_and_case"),
        pytest.param((b"gzip;q=1.",), BOTH, b"gzip", id="rfc9110_12_4_2_no_digit_after_the_point"),
        pytest.param((b"gzip;q=0.0001",), BOTH, None, id="rfc9110_12_4_2_four_digits_are_malformed"),
        pytest.param((b"gzip;q=2",), BOTH, None, id="rfc9110_12_4_2_above_one_is_malformed"),
        pytest.param((b"gzip;q=-1, zstd;q=x, gzip;level=1",), BOTH, None, id="rfc9110_12_4_2_malformed_members"),
        pytest.param((b"gzip;q=nan, zstd",), BOTH, b"zstd", id="rfc9110_12_4_2_malformed_beside_good"),
        pytest.param((b"identity",), BOTH, None, id="rfc9110_12_5_3_identity"),
        pytest.param((b"identity, gzip;q=0.5",), BOTH, None, id="rfc9110_12_5_3_identity_preferred"),
        pytest.param((b"identity;q=0.5, gzip;q=0.5",), BOTH, b"gzip", id="rfc9110_12_5_3_identity_ties"),
        pytest.param((b"identity;q=0",), BOTH, None, id="rfc9110_12_5_3_nothing_acceptable"),
        pytest.param((b"identity;q=0, *;q=0",), BOTH, None, id="rfc9110_12_5_3_nothing_at_all"),
        pytest.param((b"identity;q=0, gzip;q=0.1",), BOTH, b"gzip", id="rfc9110_12_5_3_identity_excluded"),
        pytest.param((b"gzip, gzip;q=0",), BOTH, None, id="the_smallest_of_several_weights"),
        pytest.param((b"gzip;q=0, x-gzip",), BOTH, None, id="the_smallest_wherever_it_stands"),
        pytest.param((b"br", b"gzip"), BOTH, b"gzip", id="rfc9110_5_3_several_lines"),
        pytest.param((b",, gzip ,",), BOTH, b"gzip", id="rfc9110_5_6_1_2_empty_members"),
        pytest.param((b"gzip",), (), None, id="nothing_offered"),
        pytest.param((b"br," * 100 + b"gzip",), BOTH, b"gzip", id="a_long_value"),
    ],
)
def test_rfc9110_12_5_3_negotiation(
    lines: tuple[bytes, ...], offered: tuple[bytes, ...], chosen: bytes | None
) -> None:
    assert negotiate([(b"accept-encoding", line) for line in lines], offered) == chosen


@pytest.mark.parametrize("value", [b"no-transform", b"max-age=0, No-Transform"])
def test_rfc9111_5_2_1_6_no_transform_asked_for(value: bytes) -> None:
    assert negotiate([(b"accept-encoding", b"gzip"), (b"cache-control", value)], BOTH) is None


@pytest.mark.parametrize(
    ("lines", "codings"),
    [
        ((), BOTH),
        ((b"",), ()),
        ((b"gzip, zstd;q=0.5",), (b"gzip", b"zstd")),
        ((b"gzip;q=0, *",), (b"zstd",)),
        ((b"identity, gzip;q=0.1",), (b"gzip",)),
    ],
    ids=["no_header_means_any", "empty_means_none", "best_first", "without_the_excluded", "also_the_less_liked"],
)
def test_rfc9110_12_5_3_what_is_acceptable(lines: tuple[bytes, ...], codings: tuple[bytes, ...]) -> None:
    assert acceptable([(b"accept-encoding", line) for line in lines], BOTH) == codings


@given(st.binary(max_size=40) | st.text("gzipzstd*;q=.01, ", max_size=40).map(str.encode))
def test_no_value_breaks_the_negotiation(value: bytes) -> None:
    asked = [(b"accept-encoding", value)]
    chosen = negotiate(asked, BOTH)
    assert chosen is None or chosen == acceptable(asked, BOTH)[0]


@pytest.mark.parametrize(
    ("headers", "codable"),
    [
        pytest.param([JSON], True, id="json"),
        pytest.param([(b"content-type", b"Application/JSON; charset=UTF-8")], True, id="json_with_charset"),
        pytest.param([(b"content-type", b"application/problem+json")], True, id="plus_json"),
        pytest.param([(b"content-type", b"application/atom+xml;type=feed")], True, id="plus_xml"),
        pytest.param([(b"content-type", b"text/csv")], True, id="text"),
        pytest.param([(b"content-type", b"text/javascript")], True, id="javascript"),
        pytest.param([(b"content-type", b"image/svg+xml")], True, id="svg"),
        pytest.param([(b"content-type", b"image/png")], False, id="png"),
        pytest.param([(b"content-type", b"application/zip")], False, id="zip"),
        pytest.param([(b"content-type", b"application/jsonish")], False, id="not_quite_json"),
        pytest.param([(b"content-type", b"application/x; y=a/b+json")], False, id="plus_json_in_a_parameter"),
        pytest.param([], False, id="no_type"),
        pytest.param([JSON, (b"content-encoding", b"br")], False, id="rfc9110_8_4_coded_already"),
        pytest.param(
            [(b"cache-control", b"public, No-Transform"), JSON], False, id="rfc9111_5_2_2_6_no_transform"
        ),
        pytest.param([(b"cache-control", b"public, max-age=1"), JSON], True, id="rfc9111_5_2_2_other_directives"),
    ],
)
def test_what_may_and_should_be_coded(headers: Headers, codable: bool) -> None:
    assert is_codable(headers, SMALL) is codable


def test_small_bodies_are_not_worth_it() -> None:
    assert not is_codable([JSON], b"a" * WORTHWHILE)
    assert is_codable([JSON], b"a" * (WORTHWHILE + 1))


def test_rfc9110_8_8_3_3_a_coded_variant_has_headers_of_its_own() -> None:
    before = [
        JSON,
        (b"etag", b'W/"abc"'),
        (b"accept-ranges", b"bytes"),
        (b"repr-digest", b"sha-256=:AA==:"),
        (b"content-digest", b"sha-256=:AA==:"),
        (b"age", b"3"),
    ]
    assert coded_headers(before, b"gzip") == [
        JSON,
        (b"age", b"3"),
        (b"etag", b'W/"abc-gzip"'),
        (b"content-encoding", b"gzip"),
    ]


def test_rfc9110_8_8_3_a_malformed_etag_is_left_out_of_a_coded_variant() -> None:
    assert coded_headers([(b"etag", b"abc")], b"zstd") == [(b"content-encoding", b"zstd")]


@given(st.sampled_from(BOTH), st.binary(min_size=1, max_size=20), st.integers(200, 2_000))
def test_a_coded_body_is_the_body(coding: bytes, piece: bytes, times: int) -> None:
    body = piece * times
    coded = shrunk(coding, body)
    assert coded is None or decoded(coding, coded) == body


@pytest.mark.parametrize("coding", BOTH)
def test_rfc9110_8_8_1_a_coded_body_is_the_same_each_time(coding: bytes) -> None:
    assert shrunk(coding, SMALL) == shrunk(coding, SMALL)


def test_rfc1952_2_3_1_gzip_names_no_time() -> None:
    coded = shrunk(b"gzip", SMALL)
    assert coded is not None
    assert coded[4:8] == b"\0\0\0\0"


def test_rfc9659_3_zstd_needs_a_window_of_8_mib_at_most() -> None:
    coded = shrunk(b"zstd", noise(1_000_000) * 10)
    assert coded is not None
    assert zstandard.get_frame_parameters(coded).window_size <= 8 * 1024 * 1024


@pytest.mark.parametrize("body", [SMALL, LARGE], ids=["small", "large"])
async def test_a_body_is_prepared_once_for_each_coding(body: bytes) -> None:
    coder = Counted()
    for _ in range(3):
        for coding in BOTH:
            coded = await coder.coded("k", coding, body)
            assert coded is not None
            assert decoded(coding, coded) == body
    assert coder.preparations == list(BOTH)


async def test_callers_at_the_same_time_share_one_preparation() -> None:
    coder = Counted()
    results = await asyncio.gather(*(coder.coded("k", b"gzip", LARGE) for _ in range(50)))
    assert len(set(results)) == 1
    assert coder.preparations == [b"gzip"]


async def test_a_caller_who_leaves_cancels_nothing() -> None:
    coder = Counted()
    first = asyncio.create_task(coder.coded("k", b"gzip", LARGE))
    await asyncio.sleep(0)
    second = asyncio.create_task(coder.coded("k", b"gzip", LARGE))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert await second is not None
    assert coder.preparations == [b"gzip"]


@pytest.mark.parametrize("body", [noise(2_000), noise(AT_ONCE + 1)], ids=["small", "large"])
async def test_that_a_body_does_not_shrink_is_remembered(body: bytes) -> None:
    coder = Counted()
    assert [await coder.coded("k", b"gzip", body) for _ in range(3)] == [None] * 3
    assert coder.preparations == [b"gzip"]


async def test_different_keys_never_share() -> None:
    coder = Counted()
    one, other = await coder.coded(("k", 1.0), b"gzip", SMALL), await coder.coded(("k", 2.0), b"gzip", SMALL * 2)
    assert one is not None
    assert other is not None
    assert decoded(b"gzip", one) == SMALL
    assert decoded(b"gzip", other) == SMALL * 2
    assert len(coder.preparations) == 2


async def test_the_least_recently_used_leave_first() -> None:
    size = OVERHEAD + len(shrunk(b"gzip", SMALL) or b"")
    coder = Counted(2 * size)
    for key in ("a", "b", "a", "c", "a"):
        await coder.coded(key, b"gzip", SMALL)
    assert len(coder.preparations) == 3
    assert coder.bytes == 2 * size
    await coder.coded("b", b"gzip", SMALL)
    assert len(coder.preparations) == 4


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 40)), max_size=30), st.integers(0, 3_000))
def test_what_is_kept_stays_within_its_bounds(asked: list[tuple[int, int]], max_bytes: int) -> None:
    coder = Coder(max_bytes)

    async def ask() -> None:
        for key, times in asked:
            await coder.coded((key, times), b"gzip", noise(50) * times)
            assert 0 <= coder.bytes <= max_bytes

    asyncio.run(ask())


async def test_what_does_not_fit_is_not_prepared_again() -> None:
    coder = Counted(OVERHEAD + 50)
    body = noise(2_000) * 2
    assert [await coder.coded("k", b"gzip", body) for _ in range(3)] == [None] * 3
    assert coder.preparations == [b"gzip"]


async def test_without_a_key_nothing_is_kept_and_large_bodies_are_left_alone() -> None:
    coder = Counted()
    assert await coder.coded(None, b"gzip", SMALL) == shrunk(b"gzip", SMALL)
    assert await coder.coded(None, b"gzip", LARGE) is None
    assert coder.bytes == 0
