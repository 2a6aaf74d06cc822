from __future__ import annotations

import unicodedata
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.catalogue.endpoints import recognise
from gateway.catalogue.target import check_target
from gateway.errors import BadTarget

FRAGMENTS = [
    *(b"/", b"//", b".", b"..", b"%2e", b"%2E%2e", b"%2f", b"%5C", b"\\", b"%", b"%z1", b"%1", b"%00", b"%0d%0a"),
    *(b"\x00", b"\r\n", b" ", b"\x7f", b"\xff", b"\xc3\xa9", b"%C3%A9", b"%FF", b"%C3", b"%C2%85", b"%ED%A0%80"),
    *(
        b"total",
        b"timeline",
        b"top",
        b"views",
        b"article",
        b"lboro",
        b"-",
        b"5",
        b";",
        b"?",
        b"#",
        b"&",
        b"=",
        b"+",
    ),
    *(b"count=", b"start_date=", b"end_date=2015-02-30", b"sub_item", b"9999-12-31", b"0000-00-00", b"9" * 5000),
]

BAD_EITHER_WAY = [
    (b"\x00", "a control character"),
    (b"\r\n", "a control character"),
    (b"\x7f", "a control character"),
    (b"\t", "a control character"),
    (b" ", "a space"),
    (b"\xc3\xa9", "outside ASCII"),
    (b"\xff", "outside ASCII"),
    (b"\\", "a backslash"),
    (b"#", "must be percent-encoded"),
    (b'"', "must be percent-encoded"),
    (b"<", "must be percent-encoded"),
    (b">", "must be percent-encoded"),
    (b"%", "without two hexadecimal digits"),
    (b"%z1", "without two hexadecimal digits"),
    (b"%1", "without two hexadecimal digits"),
    (b"%%41", "without two hexadecimal digits"),
    (b"%00", "percent-encoded control character"),
    (b"%0d%0A", "percent-encoded control character"),
    (b"%7F", "percent-encoded control character"),
    (b"%c2%85", "percent-encoded control character"),
    (b"%FF", "not UTF-8"),
    (b"%C3", "not UTF-8"),
    (b"%C0%AE", "not UTF-8"),
    (b"%ED%A0%80", "not UTF-8"),
]

BAD_IN_A_PATH = [
    (b"", "no slash"),
    (b"total/views", "no slash"),
    (b"*", "no slash"),
    (b"/.", "'.' or '..' segment"),
    (b"/..", "'.' or '..' segment"),
    (b"/lboro/../monash", "'.' or '..' segment"),
    (b"/lboro/./total", "'.' or '..' segment"),
    (b"/lboro/..;x/monash", "'.' or '..' segment"),
    (b"/lboro/..%3bx/monash", "'.' or '..' segment"),
    (b"/lboro/%2e%2E/monash", "encoded dot"),
    (b"/lboro/.%2e/monash", "encoded dot"),
    (b"/total/views/article/a%2Eb", "encoded dot"),
    (b"/total/views/article/a%2fb", "encoded slash"),
    (b"/lboro%2Ftotal", "encoded slash"),
    (b"/lboro%5Ctotal", "encoded backslash"),
    (b"//", "empty segment"),
    (b"//lboro/total", "empty segment"),
    (b"/lboro//total", "empty segment"),
    (b"/lboro/total//", "empty segment"),
]


@pytest.mark.parametrize(("bad", "says"), BAD_EITHER_WAY)
@pytest.mark.parametrize("part", ["path", "query"])
def test_a_byte_or_encoding_that_no_uri_should_hold_is_refused_by_name(bad: bytes, says: str, part: str) -> None:
    path, query = (b"/a" + bad + b"/b", b"") if part == "path" else (b"/a", b"a=" + bad + b"&c=d")
    with pytest.raises(BadTarget, match=says) as refusal:
        check_target(path, query, 4096)
    assert f"its {part} has" in refusal.value.message
    assert refusal.value.message.isascii()
    assert refusal.value.message.isprintable()


@pytest.mark.parametrize(("path", "says"), BAD_IN_A_PATH)
def test_a_path_that_could_be_read_in_two_ways_is_refused_by_name(path: bytes, says: str) -> None:
    with pytest.raises(BadTarget, match=says):
        check_target(path, b"", 4096)


def test_a_refusal_says_where_the_trouble_is() -> None:
    with pytest.raises(BadTarget, match="at byte 6 of the path"):
        check_target(b"/lboro//total", b"", 4096)


@pytest.mark.parametrize(
    ("path", "query"),
    [
        (b"/", b""),
        (b"/lboro/", b""),
        (b"/total/views/article/23", b"start_date=2015-07-01&_=1"),
        (b"/total/views/article/10.6084%20m9", b""),
        (b"/total/views/article/10.6084", b""),
        (b"/.well-known/...", b""),
        (b"/a..b/..c/d..", b""),
        (b"/caf%C3%A9/%E2%82%AC", b"q=%f0%9f%99%82"),
        (b"/-._~!$&'()*+,;=:@", b"-._~!$&'()*+,;=:@/?[]"),
        (b"/%41%25%3F%23", b"path=%2Fa%2F%2e%2e&back=%5C"),
        (b"/a", b"x=//../.&&="),
        (b"/a[0]/b|c^d`{e}", b"a[]={1|2}^`"),
    ],
)
def test_what_has_one_reading_passes(path: bytes, query: bytes) -> None:
    check_target(path, query, 4096)


def test_the_limit_counts_the_question_mark() -> None:
    check_target(b"/" + b"a" * 61, b"b", 64)
    check_target(b"/" + b"a" * 63, b"", 64)
    with pytest.raises(BadTarget, match=r"65 bytes long; at most 64"):
        check_target(b"/" + b"a" * 61, b"bb", 64)
    with pytest.raises(BadTarget, match=r"65 bytes long; at most 64"):
        check_target(b"/" + b"a" * 64, b"", 64)


hostile = st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=6), max_size=12).map(b"".join)


@given(hostile, hostile, st.booleans())
@example(b"", b"", False)
def test_a_hostile_target_is_recognised_or_refused_and_never_breaks_anything(
    path: bytes, query: bytes, rooted: bool
) -> None:
    path = b"/" + path if rooted else path
    try:
        query_seen = recognise(path, query)
    except BadTarget:
        return
    assert query_seen.exact == (path + b"?" + query if query else path)
    segments = [unquote(segment, errors="strict") for segment in path.decode("ascii").split("/")]
    assert segments[0] == ""
    assert "" not in segments[1:-1]
    assert not any(unsafe in segment for segment in segments for unsafe in ("/", "\\"))
    assert not {".", ".."}.intersection(segments)
    decoded = unquote(path.decode("ascii") + query.decode("ascii"), errors="strict")
    assert "Cc" not in map(unicodedata.category, decoded)


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="/\\."), min_size=1))
def test_any_text_can_be_an_item_id_once_it_is_percent_encoded(text: str) -> None:
    encoded = "".join(f"%{byte:02X}" for byte in text.encode()).encode()
    assert recognise(b"/total/views/article/" + encoded, b"", max_bytes=100_000).item_id == text
