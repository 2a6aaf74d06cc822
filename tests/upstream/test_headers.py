"""Which headers cross the gateway."""

from __future__ import annotations

import httpx2 as httpx
import pytest

from gateway.errors import UpstreamProtocolError
from gateway.upstream.headers import DROPPED, FORWARDED, incoming, outgoing, relative

BASE = httpx.URL("https://stats.example.org")
PREFIXED = httpx.URL("https://stats.example.org:8443/api/")


@pytest.mark.parametrize("name", sorted(DROPPED | {b"x-cache-hits", b"cf-ray", b"x-amz-cf-pop"}))
def test_what_is_not_for_clients_is_left_out_however_it_is_spelt(name: bytes) -> None:
    assert incoming([(name.title(), b"v"), (b"Date", b"d")], BASE) == [(b"date", b"d")]


def test_headers_named_by_connection_are_left_out_and_repeated_ones_keep_their_order() -> None:
    received = [(b"Link", b"1"), (b"Connection", b"a, B"), (b"A", b""), (b"b", b""), (b"LINK", b"2")]
    assert incoming(received, BASE) == [(b"link", b"1"), (b"link", b"2")]


@pytest.mark.parametrize("value", [b"a\rb", b"a\nb", b"a\x00", b"\x1b[2J", b"\x7f", b"\x01"])
def test_a_control_character_makes_the_answer_invalid_also_where_it_is_left_out(value: bytes) -> None:
    for name in (b"ETag", b"Set-Cookie"):
        with pytest.raises(UpstreamProtocolError):
            incoming([(name, value)], BASE)


def test_tabs_and_bytes_beyond_ascii_are_legal() -> None:
    assert incoming([(b"X", b"a\tb\xe9")], BASE) == [(b"x", b"a\tb\xe9")]


@pytest.mark.parametrize(
    ("location", "here"),
    [
        (b"https://stats.example.org/a?b=https://x/#c", b"/a?b=https://x/#c"),
        (b"HTTPS://Stats.Example.ORG:443/a", b"/a"),
        (b"//stats.example.org/a", b"/a"),
        (b"https://stats.example.org", b"/"),
        (b"https://stats.example.org?q", b"/?q"),
    ],
)
def test_a_location_at_the_service_is_made_relative(location: bytes, here: bytes) -> None:
    assert relative(location, BASE) == here
    assert incoming([(b"Location", location)], BASE) == [(b"location", here)]


@pytest.mark.parametrize(
    "location",
    [
        b"/a",
        b"a/b",
        b"?q",
        b"",
        b"http://stats.example.org/a",
        b"https://stats.example.org:8443/a",
        b"https://stats.example.org.evil.example/a",
        b"https://u@stats.example.org/a",
        b"https://figshare.com/a",
        b"https://stats.example.org//evil.example/",
        b"https://stats.example.org/\\evil.example/",
        b"mailto:a@example.org",
    ],
)
def test_any_other_location_is_passed_on_as_it_is(location: bytes) -> None:
    assert relative(location, BASE) == location


@pytest.mark.parametrize(
    ("location", "here"),
    [
        (b"https://stats.example.org:8443/api/a", b"/a"),
        (b"https://stats.example.org:8443/api", b"/"),
        (b"/api/a?b", b"/a?b"),
        (b"/api?b", b"/?b"),
        (b"/apis/a", b"/apis/a"),
        (b"/a", b"/a"),
        (b"https://stats.example.org:8443/apis", b"https://stats.example.org:8443/apis"),
        (b"https://stats.example.org/api/a", b"https://stats.example.org/api/a"),
        (b"/api//evil.example", b"/api//evil.example"),
    ],
)
def test_the_base_urls_path_is_taken_off_where_it_is_there(location: bytes, here: bytes) -> None:
    assert relative(location, PREFIXED) == here


def test_the_allow_list_holds_nothing_that_says_who_asks() -> None:
    assert FORWARDED.isdisjoint({b"authorization", b"x-api-key", b"cookie", b"host", b"x-forwarded-for"})


def test_without_a_credential_none_is_sent() -> None:
    names = {name.lower() for name, _ in outgoing([(b"authorization", b"x")], b"h", None)}
    assert b"authorization" not in names
