"""The rules for a request's head, without a connection."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import httptools
import pytest

from gateway.errors import (
    BadRequest,
    BadTarget,
    GatewayError,
    HeadTooLarge,
    MethodUnknown,
    Misdirected,
    TargetTooLong,
    VersionUnsupported,
)
from gateway.proxy.methods import KNOWN
from gateway.proxy.request import target_of
from gateway.server.head import check_head, check_request_line, origin_form, oversized

OURS = frozenset({b"stats.example.org", b"127.0.0.1:8080", b"secure.example.org:443"})


@pytest.mark.parametrize(
    "host",
    [b"a", b"a.b-c", b"a:80", b"a:", b"127.0.0.1:8080", b"[::1]", b"[::1]:80", b"xn--bcher-kva.example", b"%41"],
)
def test_a_valid_host_passes(host: bytes) -> None:
    check_head("1.1", [(b"host", host)])


@pytest.mark.parametrize(
    "host",
    [b"", b" ", b"a b", b"a/b", b"u@a", b"a:b", b"a:123456", b"a\\b", b"a?b", b"a#b", b"::1", b"[::1", b"\xff",
     b"a, b", b"%4", b"http://a", b":80"],
)  # fmt: skip
def test_an_invalid_host_is_refused(host: bytes) -> None:
    with pytest.raises(BadRequest):
        check_head("1.1", [(b"host", host)])


def test_http_1_0_may_leave_the_host_out_but_not_repeat_it() -> None:
    check_head("1.0", [])
    with pytest.raises(BadRequest):
        check_head("1.0", [(b"host", b"a"), (b"host", b"a")])


LINES = [b"GET / HTTP/1.1", b"\r\n\r\nM-SEARCH * HTTP/1.1", b"GET http://a/b?c HTTP/1.0"]


@pytest.mark.parametrize("line", LINES)
def test_rfc9112_3_a_request_line_is_three_words_with_single_spaces(line: bytes) -> None:
    assert check_request_line(line + b"\r\nHost: a\r\n\r\n")


@pytest.mark.parametrize("line", LINES)
def test_a_request_line_may_come_bit_by_bit(line: bytes) -> None:
    assert not any(check_request_line(line[:end]) for end in range(len(line) + 1))
    assert not check_request_line(line + b"\r")
    assert check_request_line(line + b"\r\n")


@pytest.mark.parametrize("start", [b"\x16\x03\x01", b" G", b"GET  ", b"GET\t", b"G(", b"GET / HTTP/1.1 ", b"\n"])
def test_what_will_be_no_request_line_is_refused_before_it_ends(start: bytes) -> None:
    with pytest.raises(BadRequest):
        check_request_line(start)


@pytest.mark.parametrize(
    "method", [b"FETCH", b"get", b"Get", b"GETT", b"DESCRIBE", b"SOURCE", b"PRI", b"A" * 3_000]
)
def test_rfc9110_15_6_2_a_method_that_is_not_known_is_not_implemented(method: bytes) -> None:
    with pytest.raises(MethodUnknown):
        check_request_line(method + b" / HTTP/1.1\r\n")


@pytest.mark.parametrize("method", sorted(KNOWN))
def test_the_parser_reads_every_known_method(method: bytes) -> None:
    assert check_request_line(method + b" / HTTP/1.1\r\n")
    with suppress(httptools.HttpParserUpgrade):  # as CONNECT asks for
        httptools.HttpRequestParser(object()).feed_data(method + b" /a:1 HTTP/1.1\r\n\r\n")


@pytest.mark.parametrize(
    "line", [b"GET / HTTP/2.0", b"PRI * HTTP/2.0", b"GET / HTTP/0.9", b"GET / HTTP/1.2", b"X / HTTP/3.0"]
)
def test_rfc9110_15_6_6_another_version_is_not_supported(line: bytes) -> None:
    with pytest.raises(VersionUnsupported):
        check_request_line(line + b"\r\n")


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"GET /" + b"a" * 200, TargetTooLong),
        (b"\r\nGET /" + b"a" * 95 + b" HTTP/1.1", TargetTooLong),
        (b"A" * 200, MethodUnknown),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 200, HeadTooLarge),
        (b"GET / HTTP/1.1\r\nX: a /" + b"a" * 200, HeadTooLarge),
        (b"\r\n" * 100, HeadTooLarge),
    ],
)
def test_a_head_that_is_too_large_is_refused_for_what_of_it_is(start: bytes, kind: type[GatewayError]) -> None:
    assert type(oversized(start, 100)) is kind


@pytest.mark.parametrize(
    "line",
    [b"GET  / HTTP/1.1", b"GET /  HTTP/1.1", b" GET / HTTP/1.1", b"GET / HTTP/1.1 ", b"GET\t/ HTTP/1.1", b"GET /",
     b"GET / HTTP/1.1 HTTP/1.1", b"GET / RTSP/1.0", b"GET / ICE/1.0", b"GET / http/1.1", b"\nGET / HTTP/1.1",
     b"\r\r\nGET / HTTP/1.1", b"GET / HTTP/1.1\r", b"GET / HTTP/1.1\nX: y", b""],
)  # fmt: skip
def test_rfc9112_3_any_other_request_line_is_refused(line: bytes) -> None:
    with pytest.raises(BadRequest):
        check_request_line(line + b"\r\nHost: a\r\n\r\n")


@pytest.mark.parametrize("target", [b"/", b"//", b"/a?b=/c?d", b"/%2e%2e/\\", b"/a:b@c", b"//stats.example.org/"])
def test_origin_form_stays_as_it_was_written(target: bytes) -> None:
    assert origin_form(b"GET", target, OURS) == target


@pytest.mark.parametrize("target", [b"*", b"http://stats.example.org"])
def test_rfc9112_3_2_4_an_asterisk_is_the_server_for_options_alone(target: bytes) -> None:
    assert origin_form(b"OPTIONS", target, OURS) == b"*"
    if target == b"*":
        for method in (b"GET", b"POST", b"TRACE"):
            with pytest.raises(BadTarget):
                origin_form(method, target, OURS)


@pytest.mark.parametrize(
    ("scope", "target"),
    [
        ({"raw_path": b"/a%20b", "path": "/a b", "query_string": b"c?"}, b"/a%20b?c?"),
        ({"raw_path": b"/a", "path": "/a", "query_string": b""}, b"/a"),
        ({"path": "/a b/é;c=d", "query_string": b"e"}, b"/a%20b/%C3%A9;c=d?e"),
        ({"gateway.target": b"/a?", "raw_path": b"/a", "path": "/a", "query_string": b""}, b"/a?"),
    ],
)
def test_a_target_is_as_nearly_what_was_written_as_its_server_tells(scope: dict[str, Any], target: bytes) -> None:
    assert target_of(scope) == target


@pytest.mark.parametrize(
    ("target", "origin"),
    [
        (b"http://stats.example.org/a?b", b"/a?b"),
        (b"HTTPS://STATS.EXAMPLE.ORG/%41", b"/%41"),
        (b"https://stats.example.org:443/", b"/"),
        (b"http://stats.example.org:80", b"/"),
        (b"http://127.0.0.1:8080?x", b"/?x"),
        (b"http://127.0.0.1:8080?", b"/?"),
        (b"http://127.0.0.1:8080/x?", b"/x?"),
        (b"https://secure.example.org/", b"/"),
    ],
)
def test_absolute_form_of_ours_becomes_origin_form(target: bytes, origin: bytes) -> None:
    assert origin_form(b"GET", target, OURS) == origin


@pytest.mark.parametrize(
    "target",
    [
        b"http://elsewhere.example/",
        b"http://stats.example.org:8080/",
        b"http://stats.example.org:443/",
        b"http://127.0.0.1/",
        b"http://u@stats.example.org/",
        b"http://stats.example.org.elsewhere.example/",
        b"http://stats.example.org\\@elsewhere.example/",
        b"http:///a",
        b"ftp://stats.example.org/",
    ],
)
def test_absolute_form_of_others_is_misdirected(target: bytes) -> None:
    with pytest.raises(Misdirected):
        origin_form(b"GET", target, OURS)


BAD = [
    b"/a#b",
    b"/a?b#c",
    b"*",
    b"a:443",
    b"a",
    b"",
    b"http://stats.example.org/#a",
    b"/\x01",
    b"/\xe9",
    b"/a b",
    b"/\x7f",
]


@pytest.mark.parametrize("target", BAD)
def test_other_forms_and_fragments_and_bytes_that_no_uri_has_are_bad_targets(target: bytes) -> None:
    with pytest.raises(BadTarget):
        origin_form(b"GET", target, OURS)
