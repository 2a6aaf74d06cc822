"""Which headers cross the gateway."""

from __future__ import annotations

import httpx2 as httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Headers, UpstreamProtocolError
from gateway.upstream.headers import (
    DROPPED,
    EVALUATED,
    FOR_ALL,
    FORWARDED,
    GENERIC,
    HOP_BY_HOP,
    STATISTICS,
    TRACED,
    HeaderPolicy,
    leaves,
    nominated,
    relative,
)

BASE = httpx.URL("https://stats.example.org")
PREFIXED = httpx.URL("https://stats.example.org:8443/api/")


@pytest.mark.parametrize(
    "name",
    sorted(DROPPED | {b"x-cache-hits", b"cf-ray", b"x-amz-cf-pop", b"ratelimit", b"x-ratelimit-remaining"}),
)
def test_what_is_not_for_clients_is_left_out_however_it_is_spelt(name: bytes) -> None:
    assert STATISTICS.incoming([(name.title(), b"v"), (b"Date", b"d")], BASE) == [(b"date", b"d")]


def test_headers_named_by_connection_are_left_out_and_repeated_ones_keep_their_order() -> None:
    received = [(b"Link", b"1"), (b"Connection", b"a, B"), (b"A", b""), (b"b", b""), (b"LINK", b"2")]
    assert STATISTICS.incoming(received, BASE) == [(b"link", b"1"), (b"link", b"2")]


@pytest.mark.parametrize("name", sorted(FOR_ALL - HOP_BY_HOP | {b"content-type", b"content-range", b"content-x"}))
def test_rfc9110_7_6_1_what_is_for_every_recipient_is_never_for_this_hop_alone(name: bytes) -> None:
    lines = [(b"connection", b"close, x-hop"), (b"connection", b", " + name.title() + b" ,"), (b"x-hop", b"v")]
    assert (name, b"v") in GENERIC.incoming([*lines, (name.title(), b"v")], BASE) or name == b"via"
    if name not in {b"host", b"via"}:
        assert (name, b"v") in GENERIC.outgoing([*lines, (name, b"v")], read=False)
    assert b"x-hop" not in dict(GENERIC.outgoing(lines, read=False)) | dict(GENERIC.incoming(lines, BASE))


@pytest.mark.parametrize("policy", [STATISTICS, GENERIC], ids=["statistics", "generic"])
@pytest.mark.parametrize("value", [b"a\rb", b"a\nb", b"a\x00", b"\x1b[2J", b"\x7f", b"\x01"])
def test_a_control_character_makes_the_answer_invalid_also_where_it_is_left_out(
    value: bytes, policy: HeaderPolicy
) -> None:
    for name in (b"ETag", b"Set-Cookie", b"Upgrade"):
        with pytest.raises(UpstreamProtocolError):
            policy.incoming([(name, value)], BASE)


def test_tabs_and_bytes_beyond_ascii_are_legal() -> None:
    assert STATISTICS.incoming([(b"X", b"a\tb\xe9")], BASE) == [(b"x", b"a\tb\xe9")]


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
    assert STATISTICS.incoming([(b"Location", location)], BASE) == [(b"location", here)]


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


@pytest.mark.parametrize(
    "location", [b"/", b"/a//b", b"/a?b=https://x/", b"a/b:c", b"?q", b"#f", b"", b"/\xc3\xa9"]
)
def test_rfc3986_4_2_a_reference_without_an_authority_stays(location: bytes) -> None:
    assert leaves(302, [(b"location", location)]) is None


@pytest.mark.parametrize(
    "location",
    [
        *(
            b"https://x/",
            b"//x",
            b"///x",
            b"/\\x",
            b"\\\\x",
            b"\\/x",
            b"http:x",
            b"a:b",
            b"mailto:a@x",
            b"/\t/x",
            b" //x",
        ),
        *(b"\t//x", b"/a b", b"/a\n"),
    ],
)
def test_what_any_client_might_read_as_another_host_leaves(location: bytes) -> None:
    headers = [(b"location", b"/a"), (b"location", location)]
    assert leaves(308, headers) == location
    for status in (200, 201, 304, 404):
        assert leaves(status, headers) is None


def test_the_allow_list_holds_nothing_that_says_who_asks() -> None:
    assert FORWARDED.isdisjoint({b"authorization", b"x-api-key", b"cookie", b"host", b"x-forwarded-for"})


def sent(policy: HeaderPolicy, headers: Headers, *, read: bool = True) -> Headers:
    """As it is written, but for Host."""
    return policy.complete(policy.outgoing(headers, read=read))


def test_no_clients_credential_is_sent() -> None:
    given = [(b"authorization", b"x"), (b"x-api-key", b"x"), (b"cookie", b"x"), (b"host", b"x")]
    for read in (True, False):
        assert STATISTICS.outgoing(given, read=read) == []


DESCRIBED = [(b"content-type", b"application/json"), (b"content-encoding", b"gzip"), (b"content-language", b"en")]


def test_rfc9110_8_3_what_describes_the_content_goes_along_with_content_only() -> None:
    assert STATISTICS.outgoing(DESCRIBED, read=True) == []
    assert sorted(STATISTICS.outgoing(DESCRIBED, read=False)) == sorted(DESCRIBED)


def test_rfc9110_7_6_a_plain_proxy_forwards_every_end_to_end_request_header_in_its_order() -> None:
    given = [
        (b"cookie", b"a=b"), (b"authorization", b"Bearer x"), (b"x-twice", b"1"), (b"user-agent", b"ua"),
        (b"x-twice", b"2"), (b"accept-encoding", b"br"), (b"range", b"bytes=0-1"), (b"if-none-match", b"*"),
    ]  # fmt: skip
    assert sent(GENERIC, given, read=False) == [*given, (b"via", b"1.1 stats-gateway")]


@pytest.mark.parametrize("policy", [STATISTICS, GENERIC], ids=["statistics", "generic"])
@pytest.mark.parametrize("name", sorted(EVALUATED))
def test_rfc9110_13_2_2_what_the_gateway_evaluates_is_not_sent_with_a_read(
    name: bytes, policy: HeaderPolicy
) -> None:
    given = [(name, b'"a"'), (b"accept", b"x")]
    assert policy.outgoing(given, read=True) == [(b"accept", b"x")]
    assert ((name, b'"a"') in policy.outgoing(given, read=False)) is (policy is GENERIC or name in FORWARDED)


def test_a_write_is_conditional_on_a_tag_that_the_service_knows() -> None:
    given = [(b"if-match", b'"a-gzip", W/"b"'), (b"if-none-match", b'"c", "d"'), (b"x-tag", b'"a-gzip"')]
    known = [(b"if-match", b'"a-gzip", W/"b", "a"'), (b"if-none-match", b'"c", "d"'), (b"x-tag", b'"a-gzip"')]
    assert GENERIC.outgoing(given, read=False) == known


@pytest.mark.parametrize("name", sorted(HOP_BY_HOP | {b"content-length", b"host", b"expect", b"te", b"named"}))
def test_rfc9110_7_6_1_a_plain_proxy_forwards_nothing_that_concerns_one_hop(name: bytes) -> None:
    given = [(name, b"v"), (b"connection", b"close, Named"), (b"user-agent", b"ua")]
    for read in (True, False):
        assert sent(GENERIC, given, read=read) == [(b"user-agent", b"ua"), (b"via", b"1.1 stats-gateway")]


def test_rfc9110_7_6_1_what_is_for_this_hop_alone_negotiates_nothing() -> None:
    given = [(b"accept", b"a/b"), (b"accept-language", b"de"), (b"connection", b"Accept")]
    assert STATISTICS.outgoing(given, read=True) == GENERIC.outgoing(given, read=True) == given[1:2]
    assert (b"Accept", b"*/*") in sent(STATISTICS, given)


def test_who_accepts_anything_asks_as_one_who_does_not_say() -> None:
    said = [(b"accept", b" */*\t")]
    assert STATISTICS.outgoing(said, read=True) == STATISTICS.outgoing([], read=True) == []
    assert sent(STATISTICS, said) == sent(STATISTICS, [])
    listed = [(b"accept", b"a/b"), (b"accept", b"*/*")]
    assert STATISTICS.outgoing(listed, read=True) == listed


def test_a_plain_proxy_names_itself_where_the_client_did_not_and_invents_no_coding() -> None:
    assert [name.lower() for name, _ in sent(GENERIC, [])] == [b"user-agent", b"via"]


names = st.sampled_from(sorted(FOR_ALL | HOP_BY_HOP | {b"accept", b"x-a", b"x-b", b"cookie"}))
listed = st.lists(names | st.just(b"X-A"), max_size=4).map(b" ,\t".join)
values = listed | st.text(alphabet=' \t*/"a,W-gzip', max_size=8).map(str.encode)
fields = st.lists(st.tuples(names | st.just(b"connection"), values), max_size=8)


@given(fields, st.sampled_from([GENERIC, STATISTICS]), st.booleans())
def test_rfc9110_7_6_1_what_is_left_is_for_the_service_whatever_a_client_sends(
    headers: Headers, policy: HeaderPolicy, read: bool
) -> None:
    sent = policy.outgoing(headers, read=read)
    assert policy.outgoing(sent, read=read) == sent
    hidden = (HOP_BY_HOP | nominated(headers)) - FOR_ALL
    assert hidden.isdisjoint(name for name, _ in sent)
    assert {name for name, _ in sent} <= {name for name, _ in headers}
    assert all(value == value.strip(b" \t") for _, value in sent)


def test_what_each_call_has_anew_is_not_the_clients() -> None:
    given = [(b"traceparent", b"00-a-b-01"), (b"tracestate", b"x=y"), (b"x", b"1")]
    assert HeaderPolicy(transparent=True, replaced=TRACED).outgoing(given, read=True) == given[2:]
    assert GENERIC.outgoing(given, read=True) == given


@pytest.mark.parametrize(
    ("given", "after"),
    [
        ([b"1.0 a"], [b"1.0 a, 1.1 stats-gateway"]),
        ([b"1.0 a", b"1.1 b"], [b"1.0 a", b"1.1 b, 1.1 stats-gateway"]),
        ([b""], [b"1.1 stats-gateway"]),
        ([], [b"1.1 stats-gateway"]),
    ],
)
def test_rfc9110_7_6_3_via_names_this_hop_last_both_ways(given: list[bytes], after: list[bytes]) -> None:
    headers = [(b"via", value) for value in given]
    for crossed in (sent(GENERIC, headers), GENERIC.incoming(headers, BASE)):
        assert [value for name, value in crossed if name == b"via"] == after


def test_rfc9110_7_6_3_via_tells_the_version_of_what_was_received() -> None:
    assert GENERIC.incoming([], BASE, b"1.0") == [(b"via", b"1.0 stats-gateway")]


def test_rfc9110_7_6_a_plain_proxy_passes_every_end_to_end_answer_header_on() -> None:
    received = [
        (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"server", b"s"),
        (b"location", b"https://stats.example.org/a"),
        (b"content-encoding", b"br"), (b"cache-control", b"max-age=1"), (b"age", b"1"),
        (b"www-authenticate", b"Basic"),
        (b"x-cache", b"HIT"), (b"date", b"d"), (b"etag", b'"e"'),
    ]  # fmt: skip
    hop = [(b"Connection", b"x-hop"), (b"X-Hop", b"1"), (b"Keep-Alive", b"timeout=5"), (b"Content-Length", b"0")]
    assert GENERIC.incoming(received + hop, BASE) == [*received, (b"via", b"1.1 stats-gateway")]
