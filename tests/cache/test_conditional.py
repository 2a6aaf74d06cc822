"""A client's copy is still good exactly where RFC 9110 §13 says so."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cache.conditional import (
    CODINGS,
    coded_tag,
    copy_of,
    not_modified,
    precondition_failed,
    unmodified,
    with_originals,
)
from gateway.errors import Headers

ETAG = b'"abc"'
BEFORE = b"Sun, 06 Nov 1994 08:49:36 GMT"
MODIFIED = b"Sun, 06 Nov 1994 08:49:37 GMT"
AFTER = b"Sun, 06 Nov 1994 08:49:38 GMT"

tags = st.binary(min_size=0, max_size=8).map(lambda raw: b'"' + bytes(0x23 + byte % 0x5B for byte in raw) + b'"')


def none_match(*lines: bytes) -> Headers:
    return [(b"accept", b"*/*"), *((b"if-none-match", line) for line in lines)]


def since(*lines: bytes) -> Headers:
    return [(b"if-modified-since", line) for line in lines]


@pytest.mark.parametrize(
    ("lines", "etag", "good"),
    [
        pytest.param((b'"abc"',), ETAG, True, id="rfc9110_13_1_2_same_tag"),
        pytest.param((b'"abd"',), ETAG, False, id="rfc9110_13_1_2_other_tag"),
        pytest.param((b'"ABC"',), ETAG, False, id="rfc9110_8_8_3_case_matters"),
        pytest.param((b'W/"abc"',), ETAG, True, id="rfc9110_8_8_3_2_weak_asked"),
        pytest.param((b'"abc"',), b'W/"abc"', True, id="rfc9110_8_8_3_2_weak_stored"),
        pytest.param((b'W/"abc"',), b'W/"abc"', True, id="rfc9110_8_8_3_2_both_weak"),
        pytest.param((b'w/"abc"',), ETAG, False, id="rfc9110_8_8_3_weakness_is_case_sensitive"),
        pytest.param((b'"x", "abc"',), ETAG, True, id="rfc9110_13_1_2_list"),
        pytest.param((b'"x","y"\t,\t"abc"',), ETAG, True, id="rfc9110_5_6_1_whitespace_in_a_list"),
        pytest.param((b', ,"abc",,',), ETAG, True, id="rfc9110_5_6_1_2_empty_members"),
        pytest.param((b'"x"', b'"abc"'), ETAG, True, id="rfc9110_5_3_several_lines"),
        pytest.param((b'"a,b"',), b'"a,b"', True, id="rfc9110_8_8_3_comma_within"),
        pytest.param((b'"x,"abc","y"',), ETAG, False, id="rfc9110_8_8_3_quotes_out_of_step"),
        pytest.param((b'"a,"abc","',), ETAG, False, id="rfc9110_8_8_3_tag_between_tags"),
        pytest.param((b'"x\\", "abc"',), ETAG, True, id="rfc9110_8_8_3_backslash_escapes_nothing"),
        pytest.param((b'abc, "x", "abc"',), ETAG, True, id="rfc9110_13_1_2_malformed_member_beside_a_match"),
        pytest.param((b"abc",), ETAG, False, id="rfc9110_8_8_3_unquoted"),
        pytest.param((b'"abc',), ETAG, False, id="rfc9110_8_8_3_unterminated"),
        pytest.param((b'W/ "abc"',), ETAG, False, id="rfc9110_8_8_3_space_within"),
        pytest.param((b'"a c"',), b'"a c"', False, id="rfc9110_8_8_3_space_in_the_tag"),
        pytest.param((b'""',), b'""', True, id="rfc9110_8_8_3_empty_tag"),
        pytest.param(('"ü"'.encode("latin-1"),), '"ü"'.encode("latin-1"), True, id="rfc9110_8_8_3_obs_text"),
        pytest.param((b"*",), ETAG, True, id="rfc9110_13_1_2_any"),
        pytest.param((b" * ",), ETAG, True, id="rfc9110_5_5_any_with_whitespace"),
        pytest.param((b"*",), b"", True, id="rfc9110_13_1_2_any_without_etag"),
        pytest.param((b'"x", *',), ETAG, False, id="rfc9110_13_1_2_any_is_no_member"),
        pytest.param((b"*", b"*"), ETAG, False, id="rfc9110_13_1_2_any_twice"),
        pytest.param((b'"abc"',), b"", False, id="rfc9110_13_1_2_no_etag"),
        pytest.param((b'"abc"',), b"abc", False, id="rfc9110_8_8_3_malformed_etag"),
        pytest.param((b"",), ETAG, False, id="rfc9110_13_1_2_empty"),
    ],
)
def test_rfc9110_13_1_2_if_none_match(lines: tuple[bytes, ...], etag: bytes, good: bool) -> None:
    assert not_modified(none_match(*lines), etag, b"", 200) is good


@pytest.mark.parametrize(
    ("lines", "modified", "date", "good"),
    [
        pytest.param((MODIFIED,), MODIFIED, b"", True, id="rfc9110_13_1_3_same_date"),
        pytest.param((AFTER,), MODIFIED, b"", True, id="rfc9110_13_1_3_later_date"),
        pytest.param((BEFORE,), MODIFIED, b"", False, id="rfc9110_13_1_3_earlier_date"),
        pytest.param((b"Sunday, 06-Nov-94 08:49:37 GMT",), MODIFIED, b"", True, id="rfc9110_5_6_7_rfc850"),
        pytest.param((b"Sun Nov  6 08:49:37 1994",), MODIFIED, b"", True, id="rfc9110_5_6_7_asctime"),
        pytest.param((AFTER,), b"Sunday, 06-Nov-94 08:49:37 GMT", b"", True, id="rfc9110_5_6_7_stored_rfc850"),
        pytest.param((b"tomorrow",), MODIFIED, b"", False, id="rfc9110_13_1_3_malformed"),
        pytest.param((AFTER, AFTER), MODIFIED, b"", False, id="rfc9110_13_1_3_repeated"),
        pytest.param((AFTER + b", " + AFTER,), MODIFIED, b"", False, id="rfc9110_13_1_3_list"),
        pytest.param((AFTER,), b"", MODIFIED, True, id="rfc9111_4_3_2_date_stands_in"),
        pytest.param((BEFORE,), b"", MODIFIED, False, id="rfc9111_4_3_2_date_stands_in_later"),
        pytest.param((AFTER,), b"long ago", MODIFIED, True, id="rfc9111_4_3_2_malformed_last_modified"),
        pytest.param((BEFORE,), MODIFIED, BEFORE, False, id="rfc9111_4_3_2_last_modified_goes_first"),
        pytest.param((AFTER,), b"", b"", False, id="rfc9111_4_3_2_nothing_to_compare"),
    ],
)
def test_rfc9110_13_1_3_if_modified_since(
    lines: tuple[bytes, ...], modified: bytes, date: bytes, good: bool
) -> None:
    assert not_modified(since(*lines), ETAG, modified, 200, date=date) is good


@pytest.mark.parametrize(
    ("match", "good"),
    [(b'"x"', False), (b"malformed", False), (ETAG, True)],
    ids=["rfc9110_13_2_2_no_match_is_final", "rfc9110_13_1_3_malformed_list_too", "rfc9110_13_2_2_match_is_final"],
)
def test_rfc9110_13_2_2_if_none_match_goes_before_if_modified_since(match: bytes, good: bool) -> None:
    asked = [*since(BEFORE if good else AFTER), (b"if-none-match", match)]
    assert not_modified(asked, ETAG, MODIFIED, 200) is good


@pytest.mark.parametrize("status", [201, 203, 204, 206, 301, 304, 400, 403, 404, 410, 500, 503])
def test_rfc9110_13_2_1_only_a_200_can_be_not_modified(status: int) -> None:
    assert not not_modified([*none_match(b"*", ETAG), *since(AFTER)], ETAG, MODIFIED, status)


def test_rfc9110_13_2_2_a_condition_that_fails_is_another_question() -> None:
    asked = [(b"if-match", b'"x"'), (b"if-unmodified-since", BEFORE)]
    assert not not_modified(asked, ETAG, MODIFIED, 200)


@pytest.mark.parametrize(
    ("lines", "etag", "failed"),
    [
        pytest.param((b'"abc"',), ETAG, False, id="rfc9110_13_1_1_same_tag"),
        pytest.param((b'"abd"',), ETAG, True, id="rfc9110_13_1_1_other_tag"),
        pytest.param((b'W/"abc"',), ETAG, True, id="rfc9110_8_8_3_2_weak_asked"),
        pytest.param((b'"abc"',), b'W/"abc"', True, id="rfc9110_8_8_3_2_weak_stored"),
        pytest.param((b'W/"abc"',), b'W/"abc"', True, id="rfc9110_8_8_3_2_both_weak"),
        pytest.param((b'"x", "abc"',), ETAG, False, id="rfc9110_13_1_1_list"),
        pytest.param((b'"x"', b'"abc"'), ETAG, False, id="rfc9110_5_3_several_lines"),
        pytest.param((b"*",), ETAG, False, id="rfc9110_13_1_1_any"),
        pytest.param((b"*",), b"", False, id="rfc9110_13_1_1_any_without_etag"),
        pytest.param((b'"x", *',), ETAG, True, id="rfc9110_13_1_1_any_is_no_member"),
        pytest.param((b'"abc"',), b"", True, id="rfc9110_13_1_1_no_etag"),
        pytest.param((b"abc",), b"abc", True, id="rfc9110_8_8_3_malformed_etag"),
        pytest.param((b"",), ETAG, True, id="rfc9110_13_1_1_empty"),
        pytest.param((b'"abc-gzip"',), ETAG, False, id="a_coded_copy"),
        pytest.param((b'"abc-br"',), ETAG, True, id="another_coding"),
        pytest.param((b'W/"abc-gzip"',), b'W/"abc"', True, id="rfc9110_8_8_3_2_a_weak_coded_copy"),
    ],
)
def test_rfc9110_13_1_1_if_match(lines: tuple[bytes, ...], etag: bytes, failed: bool) -> None:
    asked = [(b"if-unmodified-since", AFTER if failed else BEFORE), *((b"if-match", line) for line in lines)]
    assert precondition_failed(asked, etag, MODIFIED) is failed
    if b"-" in lines[0]:
        assert precondition_failed(asked, etag, MODIFIED, codings=())


@pytest.mark.parametrize(
    ("lines", "modified", "failed"),
    [
        pytest.param((MODIFIED,), MODIFIED, False, id="rfc9110_13_1_4_same_date"),
        pytest.param((AFTER,), MODIFIED, False, id="rfc9110_13_1_4_later_date"),
        pytest.param((BEFORE,), MODIFIED, True, id="rfc9110_13_1_4_earlier_date"),
        pytest.param((b"Sunday, 06-Nov-94 08:49:36 GMT",), MODIFIED, True, id="rfc9110_5_6_7_rfc850"),
        pytest.param((b"yesterday",), MODIFIED, False, id="rfc9110_13_1_4_malformed"),
        pytest.param((BEFORE, BEFORE), MODIFIED, False, id="rfc9110_13_1_4_repeated"),
        pytest.param((BEFORE,), b"", False, id="rfc9110_13_1_4_no_last_modified"),
        pytest.param((BEFORE,), b"long ago", False, id="rfc9110_13_1_4_malformed_last_modified"),
        pytest.param((), MODIFIED, False, id="no_condition"),
    ],
)
def test_rfc9110_13_1_4_if_unmodified_since(lines: tuple[bytes, ...], modified: bytes, failed: bool) -> None:
    asked = [(b"if-unmodified-since", line) for line in lines]
    assert precondition_failed(asked, ETAG, modified) is failed


@pytest.mark.parametrize(
    ("asked", "etag", "codings", "copy"),
    [
        pytest.param(b'"abc-gzip"', ETAG, CODINGS, b'"abc-gzip"', id="coded"),
        pytest.param(b'"abc-zstd"', ETAG, CODINGS, b'"abc-zstd"', id="coded_otherwise"),
        pytest.param(b'W/"abc-gzip"', ETAG, CODINGS, b'"abc-gzip"', id="rfc9110_8_8_3_2_weakly"),
        pytest.param(b'"abc-gzip"', b'W/"abc"', CODINGS, b'W/"abc-gzip"', id="weak_stays_weak"),
        pytest.param(b'"abc", "abc-gzip"', ETAG, CODINGS, b'"abc-gzip"', id="rfc9110_15_4_5_as_a_200_would_have"),
        pytest.param(b'"abc-gzip", "abc-zstd"', ETAG, CODINGS, b'"abc-zstd"', id="the_best_of_two"),
        pytest.param(b'"abc"', ETAG, CODINGS, ETAG, id="plain"),
        pytest.param(b'"abc-gzip"', ETAG, (b"zstd",), None, id="rfc9111_4_3_3_a_copy_in_a_coding_not_accepted"),
        pytest.param(b'"abc-gzip"', ETAG, (), None, id="no_codings"),
        pytest.param(b'"abc-br"', ETAG, CODINGS, None, id="another_coding"),
        pytest.param(b'"abc-gzip-gzip"', ETAG, CODINGS, None, id="one_suffix_at_most"),
        pytest.param(b'"x-gzip"', b'"x-gzip"', CODINGS, b'"x-gzip"', id="the_origins_own_suffix"),
        pytest.param(b'"abc"', b'"abc-gzip"', CODINGS, None, id="never_the_other_way_round"),
    ],
)
def test_rfc9110_8_8_3_3_coded_variants_have_tags_of_their_own(
    asked: bytes, etag: bytes, codings: tuple[bytes, ...], copy: bytes | None
) -> None:
    assert copy_of(none_match(asked), etag, codings) == copy
    assert not_modified(none_match(asked), etag, b"", 200, codings=codings) is (copy is not None)


@given(tags, st.sampled_from(CODINGS), st.booleans())
def test_every_coded_tag_leads_back_to_its_original(tag: bytes, coding: bytes, weak: bool) -> None:
    etag = b"W/" + tag if weak else tag
    coded = coded_tag(etag, coding)
    assert with_originals(coded) == coded + b", " + etag
    assert not_modified(none_match(coded_tag(etag, coding)), etag, b"", 200)


@pytest.mark.parametrize(
    ("listed", "known"),
    [
        (b'"a-gzip"', b'"a-gzip", "a"'),
        (b'W/"a-zstd","b" , "c,-gzip"', b'W/"a-zstd", "b", "c,-gzip", W/"a", "c,"'),
        (b'"a-gzip","a"', b'"a-gzip", "a"'),
        (b"*", b"*"),
        (b"a-gzip, ,", b"a-gzip, ,"),
        (b'"a-br" ,"b"', b'"a-br" ,"b"'),
    ],
    ids=["one", "list", "both", "any", "malformed", "another_coding"],
)
def test_the_origin_finds_the_original_tags(listed: bytes, known: bytes) -> None:
    assert with_originals(listed) == known


@pytest.mark.parametrize("etag", [b"", b"abc", b'"abc', b'w/"abc"', b'"a"b"'])
def test_rfc9110_8_8_3_a_malformed_etag_has_no_coded_form(etag: bytes) -> None:
    assert coded_tag(etag, b"gzip") == b""


GOVERNING: Headers = [
    (b"cache-control", b"private, max-age=60"),
    (b"content-location", b"/elsewhere"),
    (b"date", MODIFIED),
    (b"expires", AFTER),
    (b"vary", b"Accept-Encoding"),
    (b"age", b"3"),
    (b"cache-status", b"stats-gateway; hit"),
    (b"x-something", b"theirs"),
]
DESCRIBING: Headers = [
    (b"content-type", b"application/json"),
    (b"content-length", b"2"),
    (b"content-encoding", b"gzip"),
    (b"content-language", b"en"),
    (b"content-digest", b"sha-256=:AA==:"),
    (b"accept-ranges", b"bytes"),
]


def test_rfc9110_15_4_5_a_304_has_what_governs_the_copy_and_nothing_that_describes_a_body() -> None:
    headers = [*DESCRIBING, *GOVERNING, (b"last-modified", MODIFIED), (b"etag", b'"abc-zstd"')]
    assert unmodified(headers, ETAG) == [*GOVERNING, (b"etag", ETAG)]


def test_rfc9110_15_4_5_a_304_without_an_etag_keeps_last_modified() -> None:
    headers = [*DESCRIBING, *GOVERNING, (b"last-modified", MODIFIED)]
    assert unmodified(headers, b"") == [*GOVERNING, (b"last-modified", MODIFIED)]


@given(st.lists(st.binary(max_size=40) | st.text('abW/",*- gzip', max_size=30).map(str.encode), max_size=3))
def test_no_value_breaks_the_reader(lines: list[bytes]) -> None:
    assert not_modified([*none_match(*lines), *since(*lines)], ETAG, MODIFIED, 200) in (True, False)
    assert isinstance(with_originals(b",".join(lines)), bytes)
    asked = [(name, line) for line in lines for name in (b"if-match", b"if-unmodified-since")]
    assert precondition_failed(asked, ETAG, MODIFIED) in (True, False)


def test_a_long_list_of_tags_is_read_in_one_go() -> None:
    hostile = b'"' * 50_001 + b"W/" * 10_000
    assert not not_modified(none_match(hostile), ETAG, b"", 200)
    assert precondition_failed([(b"if-match", hostile)], ETAG, b"")
