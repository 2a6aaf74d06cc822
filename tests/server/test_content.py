"""Where a request's body ends, without a connection."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.errors import BadRequest, BodyTooLarge, GatewayError, Headers, MethodNotAllowed
from gateway.proxy.methods import allowed
from gateway.server.head import EmptyBody, content_of
from gateway.upstream.message import EXTRAS_BYTES, Chunked, Content, Sized

POST = frozenset({b"GET", b"HEAD", b"POST"})
NEXT = b"GET /next HTTP/1.1\r\n"


def of(
    *headers: tuple[bytes, bytes], method: bytes = b"POST", version: str = "1.1", cap: int = 10
) -> Content | None:
    return content_of(method, version, list(headers), POST, cap)


@pytest.mark.parametrize("headers", [[], [(b"content-length", b"0")], [(b"content-length", b"00")]])
@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"POST", b"PUT"])
def test_rfc9112_6_3_without_length_or_with_none_there_is_no_body(headers: Headers, method: bytes) -> None:
    assert of(*headers, method=method) is None


@pytest.mark.parametrize("header", [(b"content-length", b"1"), (b"transfer-encoding", b"chunked")])
def test_rfc9110_9_3_1_a_body_is_for_methods_that_are_served_and_take_one(header: tuple[bytes, bytes]) -> None:
    for method in (b"GET", b"HEAD"):
        with pytest.raises(BadRequest):
            read_over(of(header, method=method), b"1\r\nx\r\n")
    with pytest.raises(MethodNotAllowed):
        read_over(of(header, method=b"OPTIONS"), b"1\r\nx\r\n")
    with pytest.raises(MethodNotAllowed) as caught:
        of(header, method=b"PUT")
    assert caught.value.allow == b"GET, HEAD, POST"
    assert of(header) is not None
    assert content_of(b"M-SEARCH", "1.1", [header], None, 10) is not None


def read_over(content: Content | None, data: bytes) -> bytes:
    """What comes after the body."""
    assert content is not None
    piece, rest = content.take(data)
    assert (piece, content.complete) == (b"", True)
    return rest


EMPTY = [b"0\r\n\r\n", b"000;a=b\r\n\r\n", b"0\r\nX: a\r\n\r\n"]


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS"])
@pytest.mark.parametrize("data", EMPTY)
def test_rfc9112_7_1_chunks_that_are_none_are_no_body(method: bytes, data: bytes) -> None:
    content = of((b"transfer-encoding", b"chunked"), method=method)
    assert isinstance(content, EmptyBody)
    assert read_over(content, data + NEXT) == NEXT


@pytest.mark.parametrize("data", [b"zz\r\n", b"0\n\n", b"0\r\nX\r\n"])
def test_chunks_that_are_none_have_to_be_well_formed_too(data: bytes) -> None:
    with pytest.raises(BadRequest):
        read_over(of((b"transfer-encoding", b"chunked"), method=b"OPTIONS"), data)


@pytest.mark.parametrize("method", [b"CONNECT", b"TRACE"])
@pytest.mark.parametrize("methods", [POST, None, frozenset({b"TRACE", b"CONNECT"})])
def test_rfc9110_9_3_6_and_9_3_8_tunnels_and_traces_are_never_served(
    method: bytes, methods: frozenset[bytes] | None
) -> None:
    with pytest.raises(MethodNotAllowed):
        content_of(method, "1.1", [], methods, 10)


DOUBTFUL: dict[str, Headers] = {
    "length and coding": [(b"content-length", b"1"), (b"transfer-encoding", b"chunked")],
    "coding and length": [(b"transfer-encoding", b"chunked"), (b"content-length", b"0")],
    "two lengths": [(b"content-length", b"1"), (b"content-length", b"2")],
    "one length twice": [(b"content-length", b"1"), (b"content-length", b"1")],
    "a list": [(b"content-length", b"1, 1")],
    "a sign": [(b"content-length", b"+1")],
    "less than nothing": [(b"content-length", b"-1")],
    "hexadecimal": [(b"content-length", b"0x1")],
    "underscore": [(b"content-length", b"1_0")],
    "a space": [(b"content-length", b"1 1")],
    "no digit": [(b"content-length", b"")],
    "a digit that is none": [(b"content-length", "١".encode())],
    "beyond measure": [(b"content-length", b"9" * 19)],
    "another coding": [(b"transfer-encoding", b"gzip")],
    "no coding": [(b"transfer-encoding", b"identity")],
    "two codings": [(b"transfer-encoding", b"gzip, chunked")],
    "chunked twice": [(b"transfer-encoding", b"chunked, chunked")],
    "chunked in two lines": [(b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"chunked")],
    "chunked with a parameter": [(b"transfer-encoding", b"chunked;q=1")],
    "chunked with a tab": [(b"transfer-encoding", b"\x0bchunked")],
    "quoted": [(b"transfer-encoding", b'"chunked"')],
    "empty": [(b"transfer-encoding", b"")],
}


@pytest.mark.parametrize("method", [b"GET", b"POST", b"PUT"])
@pytest.mark.parametrize("headers", DOUBTFUL.values(), ids=DOUBTFUL)
def test_rfc9112_6_1_framing_that_is_in_doubt_is_refused(headers: Headers, method: bytes) -> None:
    with pytest.raises(BadRequest):
        of(*headers, method=method)


def test_rfc9112_6_1_chunked_is_known_in_any_case_but_not_in_http_1_0() -> None:
    assert isinstance(of((b"transfer-encoding", b"Chunked")), Chunked)
    with pytest.raises(BadRequest):
        of((b"transfer-encoding", b"chunked"), version="1.0")


def test_rfc9110_15_5_14_a_length_over_the_cap_is_refused_before_a_byte_of_it_came() -> None:
    assert isinstance(of((b"content-length", b"10")), Sized)
    with pytest.raises(BodyTooLarge):
        of((b"content-length", b"11"))


@pytest.mark.parametrize(
    ("methods", "value"),
    [
        (POST, b"GET, HEAD, POST"),
        (frozenset({b"PUT", b"GET", b"DELETE"}), b"GET, HEAD, DELETE, PUT"),
        (None, b"GET, HEAD, DELETE, OPTIONS, PATCH, POST, PUT"),
    ],
)
def test_rfc9110_10_2_1_allow_names_what_is_served(methods: frozenset[bytes] | None, value: bytes) -> None:
    assert allowed(methods) == value


def taken(content: Content, data: bytes, cuts: list[int]) -> tuple[bytes, bytes]:
    """The content of data that arrives in pieces, and what was left after its end."""
    got = rest = b""
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    for start, end in pairwise(edges):
        if content.complete:
            rest += data[start:end]
            continue
        piece, after = content.take(data[start:end])
        got, rest = got + piece, rest + after
    return got, rest


CUTS = st.lists(st.integers(0, 1000), max_size=8)


@given(st.binary(min_size=1, max_size=200), CUTS)
def test_a_sized_body_is_whole_however_it_arrives(body: bytes, cuts: list[int]) -> None:
    content = Sized(len(body))
    assert taken(content, body + NEXT, cuts) == (body, NEXT)
    assert content.complete


EXTENSIONS = st.sampled_from([b"", b";a", b" ;a=b", b';a="\\";b";c', b"\t; \xe9"])
TRAILERS = st.lists(
    st.sampled_from([b"A: b\r\n", b"a:\r\n", b"Content-Length: 9\r\n", b"X: \xe9\t\r\n"]), max_size=3
)


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=50), EXTENSIONS), max_size=6), TRAILERS, CUTS)
@example([(b"\r\n0\r\n\r\n", b"")], [], [])
def test_rfc9112_7_1_chunks_are_put_together_however_they_arrive(
    chunks: list[tuple[bytes, bytes]], trailers: list[bytes], cuts: list[int]
) -> None:
    sent = b"".join(b"%X%b\r\n%b\r\n" % (len(chunk), extension, chunk) for chunk, extension in chunks)
    body = b"".join(chunk for chunk, _ in chunks)
    content = Chunked(len(body))
    assert taken(content, sent + b"0\r\n" + b"".join(trailers) + b"\r\n" + NEXT, cuts) == (body, NEXT)
    assert content.complete


BROKEN = [
    b"\r\n", b"g\r\n", b"-1\r\n", b"+1\r\n", b"0x1\r\n", b" 1\r\n", b"1 \r\n", b"1_0\r\n", b"1 2\r\n", b"1\n",
    b"1\r\r\n", b"1;a\rb\r\n", b"1;a\nb\r\n", b"1;\0\r\n", b"0" * 17 + b"\r\n", b"1\r\nab\r\n",
    b"1\r\na0\r\n\r\n", b"1\r\na\n", b"1\r\na\r\r\n", b"0\r\nno colon\r\n\r\n", b"0\r\n: a\r\n\r\n",
    b"0\r\nA : b\r\n\r\n", b"0\r\n a: b\r\n\r\n", b"0\n\r\n", b"0\r\n\n", b"0\r\nA: b\n\r\n",
    b"0\r\nA: \0\r\n\r\n",
]  # fmt: skip


@pytest.mark.parametrize("sent", BROKEN)
def test_rfc9112_7_1_broken_chunks_are_refused_at_once_or_as_they_come(sent: bytes) -> None:
    for cuts in ([], list(range(len(sent)))):
        with pytest.raises(BadRequest):
            taken(Chunked(100), sent, cuts)


@given(st.binary(max_size=100), CUTS)
def test_chunks_of_any_bytes_end_in_a_word_of_ours_or_not_at_all(data: bytes, cuts: list[int]) -> None:
    try:
        body, rest = taken(Chunked(50), data, cuts)
    except GatewayError:
        return
    assert len(body) <= 50
    assert data.endswith(rest)


def test_rfc9110_15_5_14_chunks_over_the_cap_are_refused_as_soon_as_they_are_announced() -> None:
    content = Chunked(10)
    assert content.take(b"5\r\nabcde\r\n5\r\nfghij\r\n") == (b"abcdefghij", b"")
    with pytest.raises(BodyTooLarge):
        content.take(b"1\r\n")
    with pytest.raises(BodyTooLarge):
        Chunked(10).take(b"f" * 16 + b"\r\n")


ENDLESS = {
    "a size": b"0" * 20_000,
    "an extension": b"1;" + b"x" * 20_000,
    "extensions": b"1;xxxxxxxx\r\na\r\n" * 2_000,
    "a trailer": b"0\r\nX: " + b"x" * 20_000,
    "trailers": b"0\r\n" + b"A: b\r\n" * 5_000,
    "no line's end": b"1\r\na" + b"\r" * 20_000,
}


@pytest.mark.parametrize("sent", ENDLESS.values(), ids=ENDLESS)
def test_rfc9112_7_1_1_what_is_read_over_is_bounded(sent: bytes) -> None:
    assert len(sent) > EXTRAS_BYTES
    with pytest.raises(BodyTooLarge):
        taken(Chunked(1_000_000), sent, list(range(0, len(sent), 500)))
