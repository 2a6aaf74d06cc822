"""What a client gets of a whole answer."""

from __future__ import annotations

import gzip

import pytest
import zstandard
from msgspec.structs import replace

from gateway.cache.dates import format_date
from gateway.errors import Headers
from gateway.observe.outcome import Outcome
from gateway.proxy.delivery import AT_ONCE, Coder, deliver
from gateway.proxy.response import Response, varying

BODY = b'{"totals": 231, "timeline": {"2024-01-01": 7}}' * 100
NOW = 1_700_000_000.0
DATE, MODIFIED = format_date(NOW), format_date(NOW - 100)
ETAG = b'"abc"'
JSON = (b"content-type", b"application/json")
OUTSIDE: Headers = [
    (b"date", DATE),
    (b"cache-control", b"private, max-age=60"),
    (b"age", b"3"),
    (b"cache-status", b"stats-gateway; hit; ttl=57"),
    (b"vary", b"X-API-Key, Authorization"),
    (b"via", b"1.1 stats-gateway"),
]


def whole(body: bytes = BODY, *more: tuple[bytes, bytes], status: int = 200) -> Response:
    headers = [JSON, *OUTSIDE, (b"etag", ETAG), (b"last-modified", MODIFIED), *more]
    return Response(status, headers, body, Outcome.HIT, "reason")


async def got(
    asked: dict[str, bytes], answer: Response | None = None, *, method: str = "GET", coder: Coder | None = None
) -> Response:
    """The delivery of ``answer``, which is stored, to a client who sent these headers."""
    headers = [(b"host", b"localhost"), *((name.encode(), value) for name, value in asked.items())]
    return await deliver(whole() if answer is None else answer, method, headers, coder or Coder(1_000_000), "key")


def value(answer: Response, name: bytes) -> bytes | None:
    """The one value of a header, None without."""
    values = [given for key, given in answer.headers if key == name]
    assert len(values) <= 1
    return values[0] if values else None


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_who_asks_for_nothing_special_gets_the_whole(method: str) -> None:
    answer = await got({}, method=method)
    assert (answer.status, answer.body, answer.outcome, answer.detail) == (200, BODY, Outcome.HIT, "reason")
    assert value(answer, b"etag") == ETAG


async def test_rfc9110_14_3_a_whole_answer_says_that_ranges_may_be_asked_for() -> None:
    for answer in (whole(), whole(BODY, (b"accept-ranges", b"none")), whole(BODY, (b"accept-ranges", b"bytes"))):
        assert value(await got({}, answer), b"accept-ranges") == b"bytes"


EVERYTHING = {
    "if-none-match": ETAG,
    "if-modified-since": DATE,
    "range": b"bytes=0-1",
    "accept-encoding": b"gzip",
}


@pytest.mark.parametrize("status", [201, 203, 204, 206, 301, 304, 400, 403, 404, 416, 429, 500, 503])
async def test_rfc9110_13_2_1_what_is_no_200_is_left_alone(status: int) -> None:
    answer = whole(status=status)
    assert await got(EVERYTHING, answer) is answer


FAILING = {"if-match": b'"old"', "if-unmodified-since": format_date(NOW - 200)}


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "get"])
async def test_rfc9110_13_1_other_methods_answers_are_left_alone(method: str) -> None:
    answer = whole()
    assert await got(EVERYTHING | FAILING, answer, method=method) is answer


# Conditional requests


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "asked",
    [{"if-none-match": ETAG}, {"if-none-match": b"*"}, {"if-modified-since": MODIFIED}],
    ids=["rfc9110_13_1_2_tag", "rfc9110_13_1_2_any", "rfc9110_13_1_3_date"],
)
async def test_rfc9110_15_4_5_not_modified(asked: dict[str, bytes], method: str) -> None:
    answer = await got(asked, whole(BODY, (b"expires", DATE), (b"content-location", b"/x")), method=method)
    assert (answer.status, answer.body, answer.outcome) == (304, b"", Outcome.HIT)
    assert {name for name, _ in answer.headers} == {
        *(name for name, _ in OUTSIDE),
        *(b"etag", b"expires", b"content-location"),
    }
    assert value(answer, b"etag") == ETAG
    assert value(answer, b"vary") == b"X-API-Key, Authorization, Accept-Encoding"


async def test_rfc9110_13_1_2_another_copy_gets_the_whole() -> None:
    answer = await got({"if-none-match": b'"old"', "if-modified-since": DATE})
    assert (answer.status, answer.body) == (200, BODY)


@pytest.mark.parametrize(
    ("asked", "etag"),
    [
        pytest.param({"if-none-match": b'"abc-gzip"', "accept-encoding": b"gzip"}, b'"abc-gzip"', id="coded_copy"),
        pytest.param({"if-none-match": b'"abc-gzip"'}, b'"abc-gzip"', id="coded_copy_and_no_accept_encoding"),
        pytest.param({"if-none-match": ETAG, "accept-encoding": b"gzip"}, ETAG, id="plain_copy"),
        pytest.param(
            {"if-none-match": b'"abc", "abc-zstd", "abc-gzip"', "accept-encoding": b"gzip, zstd;q=0.5"},
            b'"abc-gzip"',
            id="the_copy_that_a_200_would_have_sent",
        ),
        pytest.param({"if-none-match": b"*", "accept-encoding": b"gzip"}, b'"abc-gzip"', id="any_copy"),
        pytest.param({"if-modified-since": DATE, "accept-encoding": b"gzip"}, b'"abc-gzip"', id="by_date"),
    ],
)
async def test_rfc9110_15_4_5_a_304_has_the_etag_of_the_copy(asked: dict[str, bytes], etag: bytes) -> None:
    answer = await got(asked)
    assert (answer.status, value(answer, b"etag"), answer.body) == (304, etag, b"")
    assert value(answer, b"content-encoding") is None


async def test_rfc9111_4_3_3_a_copy_that_the_client_could_not_decode_is_no_good() -> None:
    answer = await got({"if-none-match": b'"abc-zstd"', "accept-encoding": b"gzip"})
    assert (answer.status, value(answer, b"content-encoding")) == (200, b"gzip")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("name", FAILING)
@pytest.mark.parametrize("status", [200, 203, 204])
async def test_rfc9110_15_5_13_precondition_failed(name: str, method: str, status: int) -> None:
    answer = await got({name: FAILING[name], **EVERYTHING}, whole(status=status), method=method)
    assert (answer.status, answer.body, answer.outcome) == (412, b"", Outcome.HIT)
    assert value(answer, b"cache-control") == b"no-store"
    for governing in (b"etag", b"last-modified", b"age", b"content-type", b"content-range"):
        assert value(answer, governing) is None


@pytest.mark.parametrize("status", [301, 304, 400, 403, 404, 416, 429, 500, 503])
async def test_rfc9110_13_2_1_no_condition_counts_where_there_is_no_answer_to_the_question(status: int) -> None:
    answer = whole(status=status)
    assert await got(FAILING, answer) is answer


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"if-match": ETAG, "if-unmodified-since": FAILING["if-unmodified-since"]}, 200),
        ({"if-match": ETAG, "if-none-match": ETAG}, 304),
        ({"if-match": b"*", "if-modified-since": MODIFIED}, 304),
        ({"if-unmodified-since": MODIFIED, "range": b"bytes=0-1"}, 206),
        ({"if-match": b'"old"', "if-none-match": ETAG}, 412),
        ({"if-match": b'"old"', "range": b"bytes=99999-"}, 412),
        ({"if-match": b'"abc-gzip"', "accept-encoding": b"gzip"}, 200),
        ({"if-match": b'"abc-zstd"', "accept-encoding": b"gzip"}, 412),
        ({"if-match": b'"abc-gzip"', "accept-encoding": b"gzip", "range": b"bytes=0-1"}, 412),
    ],
)
async def test_rfc9110_13_2_2_conditions_in_their_order(asked: dict[str, bytes], status: int) -> None:
    assert (await got(asked)).status == status


async def test_without_codings_only_the_answers_own_tag_counts() -> None:
    asked = [(b"if-none-match", b'"abc-gzip"')]
    assert (await deliver(whole(), "GET", asked, None, "key")).status == 200
    assert (await got({"if-none-match": b'"abc-gzip"'}, whole(b"{}"))).status == 200


# Ranges


async def test_rfc9110_15_3_7_a_part() -> None:
    answer = await got({"range": b"bytes=2-5"}, whole(BODY, (b"content-digest", b"sha-256=:AA==:")))
    assert (answer.status, answer.body) == (206, BODY[2:6])
    assert value(answer, b"content-range") == b"bytes 2-5/%d" % len(BODY)
    assert {name for name, _ in answer.headers} == {
        *(name for name, _ in OUTSIDE),
        *(b"etag", b"last-modified", b"content-type", b"content-range"),
    }


async def test_rfc9110_15_3_7_a_part_under_if_range_is_not_described_again() -> None:
    answer = await got({"range": b"bytes=2-5", "if-range": ETAG})
    assert (answer.status, answer.body) == (206, BODY[2:6])
    assert {name for name, _ in answer.headers} == {*(name for name, _ in OUTSIDE), b"etag", b"content-range"}


@pytest.mark.parametrize(
    ("condition", "status"),
    [(ETAG, 206), (b'"old"', 200), (MODIFIED, 206), (DATE, 200), (b'"abc-gzip"', 200)],
    ids=["same_tag", "other_tag", "same_date", "other_date", "a_coded_copy"],
)
async def test_rfc9110_13_1_5_if_range(condition: bytes, status: int) -> None:
    assert (await got({"range": b"bytes=2-5", "if-range": condition})).status == status


async def test_rfc9110_14_2_a_part_is_one_of_the_uncoded_body() -> None:
    answer = await got({"range": b"bytes=2-5", "accept-encoding": b"gzip, zstd"})
    assert (answer.status, answer.body, value(answer, b"content-encoding")) == (206, BODY[2:6], None)
    assert value(answer, b"etag") == ETAG
    assert value(answer, b"vary") == b"X-API-Key, Authorization, Accept-Encoding"


async def test_rfc9110_15_5_17_unsatisfiable() -> None:
    answer = await got({"range": b"bytes=%d-" % len(BODY)})
    assert (answer.status, answer.body) == (416, b"")
    assert value(answer, b"content-range") == b"bytes */%d" % len(BODY)
    assert value(answer, b"cache-control") == b"no-store"
    for name in (b"etag", b"last-modified", b"age", b"content-type"):
        assert value(answer, name) is None


async def test_rfc9110_14_2_head_knows_no_ranges() -> None:
    answer = await got({"range": b"bytes=2-5"}, method="HEAD")
    assert (answer.status, answer.body) == (200, BODY)


@pytest.mark.parametrize("range_", [b"bytes=2-5", b"bytes=99999-"])
async def test_rfc9110_13_2_2_conditions_go_before_ranges(range_: bytes) -> None:
    assert (await got({"range": range_, "if-none-match": ETAG})).status == 304
    assert (await got({"range": range_, "if-modified-since": MODIFIED})).status == 304
    assert (await got({"range": b"bytes=2-5", "if-none-match": b'"old"'})).status == 206


async def test_rfc9110_14_2_a_range_that_does_not_count_gets_the_whole_coded() -> None:
    answer = await got({"range": b"bytes=0-1, 5-6", "accept-encoding": b"gzip"})
    assert (answer.status, gzip.decompress(answer.body)) == (200, BODY)


# Codings


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_rfc9110_8_4_gzip(method: str) -> None:
    answer = await got({"accept-encoding": b"gzip"}, method=method)
    assert gzip.decompress(answer.body) == BODY
    assert value(answer, b"content-encoding") == b"gzip"
    assert value(answer, b"etag") == b'"abc-gzip"'
    assert value(answer, b"vary") == b"X-API-Key, Authorization, Accept-Encoding"
    assert value(answer, b"accept-ranges") is None


async def test_rfc8878_zstd() -> None:
    answer = await got({"accept-encoding": b"gzip, deflate, br, zstd"})
    assert zstandard.ZstdDecompressor().decompress(answer.body) == BODY
    assert (value(answer, b"content-encoding"), value(answer, b"etag")) == (b"zstd", b'"abc-zstd"')


async def test_rfc9110_9_3_2_head_has_the_headers_of_get() -> None:
    for asked in ({}, {"accept-encoding": b"gzip"}, {"if-none-match": ETAG}):
        of_get, of_head = await got(asked), await got(asked, method="HEAD")
        assert (of_get.status, of_get.headers, len(of_get.body)) == (
            of_head.status,
            of_head.headers,
            len(of_head.body),
        )


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"accept-encoding": b"br"},
        {"accept-encoding": b"gzip;q=0"},
        {"accept-encoding": b"gzip", "cache-control": b"no-transform"},
    ],
    ids=[
        "rfc9110_12_5_3_nothing",
        "rfc9110_12_5_3_other",
        "rfc9110_12_5_3_excluded",
        "rfc9111_5_2_1_6_no_transform",
    ],
)
async def test_rfc9110_12_5_5_what_could_be_coded_varies_even_where_it_is_not(asked: dict[str, bytes]) -> None:
    answer = await got(asked)
    assert (answer.body, value(answer, b"content-encoding"), value(answer, b"etag")) == (BODY, None, ETAG)
    assert value(answer, b"vary") == b"X-API-Key, Authorization, Accept-Encoding"


@pytest.mark.parametrize(
    ("lines", "after"),
    [
        ((), (b"Accept-Encoding",)),
        ((b"X-API-Key, Authorization",), (b"X-API-Key, Authorization, Accept-Encoding",)),
        ((b"Accept", b"Origin"), (b"Accept, Origin, Accept-Encoding",)),
        ((b"",), (b"Accept-Encoding",)),
        ((b"ACCEPT-encoding,Origin",), (b"ACCEPT-encoding,Origin",)),
        ((b"x-accept-encoding",), (b"x-accept-encoding, Accept-Encoding",)),
        ((b"*",), (b"*",)),
        ((b"Origin", b"*"), (b"Origin, *",)),
        ((b"ACCEPT-encoding", b"Origin"), (b"ACCEPT-encoding, Origin",)),
        ((b"Accept-Encoding", b""), (b"Accept-Encoding",)),
    ],
    ids=[
        "none",
        "merged",
        "several_lines",
        "empty",
        "there_already",
        "a_longer_name",
        "any",
        "any_of_several",
        "there_in_several",
        "an_empty_one",
    ],
)
def test_rfc9110_12_5_5_one_vary_line_names_accept_encoding_once(
    lines: tuple[bytes, ...], after: tuple[bytes, ...]
) -> None:
    headers = varying([JSON, *((b"vary", line) for line in lines)], b"Accept-Encoding")
    assert [value for name, value in headers if name == b"vary"] == list(after)
    assert JSON in headers


def test_several_vary_lines_become_one_where_nothing_is_added_too() -> None:
    assert varying([(b"vary", b"Accept"), JSON, (b"vary", b"Origin")]) == [JSON, (b"vary", b"Accept, Origin")]
    for unchanged in ([JSON], [(b"vary", b"Accept"), JSON]):
        assert varying(unchanged) is unchanged


@pytest.mark.parametrize(
    "answer",
    [
        whole(b"{}"),
        whole(BODY, (b"content-encoding", b"br")),
        replace(whole(), headers=[*OUTSIDE, (b"content-type", b"image/png")]),
        replace(whole(), headers=[JSON, (b"vary", OUTSIDE[4][1]), (b"cache-control", b"no-transform")]),
    ],
    ids=["small", "rfc9110_8_4_coded_already", "png", "rfc9111_5_2_2_6_no_transform"],
)
async def test_what_is_never_coded_does_not_vary(answer: Response) -> None:
    delivered = await got({"accept-encoding": b"gzip"}, answer)
    assert delivered.body == answer.body
    assert value(delivered, b"vary") == b"X-API-Key, Authorization"


async def test_what_does_not_shrink_goes_as_it_is() -> None:
    body = bytes(range(256)) * 5
    coder = Coder(1_000_000, code=lambda coding, body: None)
    answer = await got({"accept-encoding": b"gzip"}, whole(body), coder=coder)
    assert (answer.body, value(answer, b"content-encoding"), value(answer, b"etag")) == (body, None, ETAG)
    assert value(answer, b"accept-ranges") == b"bytes"


async def test_codings_can_be_switched_off() -> None:
    answer = await deliver(whole(), "GET", [(b"accept-encoding", b"gzip")], None, "key")
    assert (answer.body, value(answer, b"vary")) == (BODY, b"X-API-Key, Authorization")


async def test_what_is_not_stored_is_coded_only_where_that_is_quick() -> None:
    coder, asked = Coder(1_000_000), [(b"accept-encoding", b"gzip")]
    small = await deliver(whole(), "GET", asked, coder, None)
    large = await deliver(whole(b"a" * (AT_ONCE + 1)), "GET", asked, coder, None)
    assert value(small, b"content-encoding") == b"gzip"
    assert (value(large, b"content-encoding"), len(large.body)) == (None, AT_ONCE + 1)
    assert coder.bytes == 0


async def test_a_large_stored_body_is_coded_once_for_all() -> None:
    coded: list[bytes] = []

    def code(coding: bytes, body: bytes) -> bytes:
        coded.append(coding)
        return gzip.compress(body)

    coder, body = Coder(1_000_000, code=code), BODY * 50
    for _ in range(3):
        answer = await got({"accept-encoding": b"gzip"}, whole(body), coder=coder)
        assert gzip.decompress(answer.body) == body
    assert coded == [b"gzip"]


async def test_the_stored_answers_headers_are_never_changed() -> None:
    answer = whole()
    before = list(answer.headers)
    for asked in (
        {},
        EVERYTHING,
        {"range": b"bytes=0-1"},
        {"range": b"bytes=99999-"},
        {"accept-encoding": b"zstd"},
    ):
        await got(asked, answer)
    assert answer.headers == before
