"""The rules for a request's head, without a connection."""

from __future__ import annotations

import pytest

from gateway.errors import BadRequest, BadTarget, Misdirected
from gateway.head import check_head, check_request_line, origin_form

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


@pytest.mark.parametrize("line", [b"GET / HTTP/1.1", b"\r\n\r\nM-SEARCH * HTTP/2.0", b"GET http://a/b?c HTTP/1.0"])
def test_rfc9112_3_a_request_line_is_three_words_with_single_spaces(line: bytes) -> None:
    check_request_line(line + b"\r\nHost: a\r\n\r\n")


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
    assert origin_form(target, OURS) == target


@pytest.mark.parametrize(
    ("target", "origin"),
    [
        (b"http://stats.example.org/a?b", b"/a?b"),
        (b"HTTPS://STATS.EXAMPLE.ORG/%41", b"/%41"),
        (b"https://stats.example.org:443/", b"/"),
        (b"http://stats.example.org:80", b"/"),
        (b"http://127.0.0.1:8080?x", b"/?x"),
        (b"https://secure.example.org/", b"/"),
    ],
)
def test_absolute_form_of_ours_becomes_origin_form(target: bytes, origin: bytes) -> None:
    assert origin_form(target, OURS) == origin


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
        origin_form(target, OURS)


@pytest.mark.parametrize("target", [b"/a#b", b"/a?b#c", b"*", b"a:443", b"a", b"", b"http://stats.example.org/#a"])
def test_other_forms_and_fragments_are_bad_targets(target: bytes) -> None:
    with pytest.raises(BadTarget):
        origin_form(target, OURS)
