"""Questions that are asked by POST: which contents mean the same, and of which nobody can say."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.catalogue.endpoints import canonical_json, recognise, with_content
from gateway.catalogue.families import Family
from gateway.catalogue.query import Query

PLAIN = b'{"groups":[{"id":327},{"id":12}]}'
JSON = (b"content-type", b"application/json")


def asked(content: bytes, *headers: tuple[bytes, bytes], query: bytes = b"") -> Query:
    return with_content(recognise(b"/count/articles", query), headers or [JSON], content)


@pytest.mark.parametrize(
    ("content", "headers"),
    [
        (PLAIN, [JSON]),
        (b'\r\n{ "groups" :\t[ {"id": 327}, {"id": 12} ] }\n', [JSON]),
        (b'{"gr\\u006fups":[{"id":327},{"id":12}]}', [JSON]),
        (PLAIN, [(b"content-type", b"Application/JSON; charset=UTF-8")]),
        (PLAIN, [(b"content-type", b'application/json;charset="utf-8"')]),
        (PLAIN, [JSON, (b"accept", b"text/html"), (b"x-request-id", b"a")]),
    ],
)
def test_rfc8259_4_white_space_and_escapes_mean_nothing(
    content: bytes, headers: list[tuple[bytes, bytes]]
) -> None:
    same = asked(content, *headers)
    assert same.canonical == asked(PLAIN).canonical
    assert same.posted is not None
    assert same.posted.content == content


def test_rfc8259_4_the_order_of_members_means_nothing_and_that_of_a_list_may() -> None:
    one, other = b'{"a":1,"b":{"c":null,"d":true}}', b'{"b":{"d":true,"c":null},"a":1}'
    assert asked(one).canonical == asked(other).canonical
    assert asked(PLAIN).canonical != asked(b'{"groups":[{"id":12},{"id":327}]}').canonical
    assert asked(PLAIN).canonical != asked(b'{"groups":[{"id":327},{"id":12},{"id":12}]}').canonical


DOUBTFUL = [
    b"",
    b"{",
    b"groups=327",
    b'{"id":1,"id":2}',
    b'{"id":1,"i\\u0064":1}',
    b'{"id":NaN}',
    b'{"id":-Infinity}',
    b'{"id":1.0}',
    b'{"id":1e2}',
    b'{"id":-0}',
    b'{"id":01}',
    b'{"id":' + b"9" * 19 + b"}",
    b'{"id":' + b"9" * 60_000 + b"}",
    b'{"id":"\xff"}',
    b'\xef\xbb\xbf{"id":1}',
    '{"id":1}'.encode("utf-16"),
    b'{"id":1}\x00',
    b'{"id":1}{"id":1}',
    b'{"id":"\n"}',
    b'{"id":1 /* one */}',
    b"[" * 30_000 + b"]" * 30_000,
    b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
]


@pytest.mark.parametrize("content", DOUBTFUL, ids=lambda content: repr(content[:20]))
def test_what_two_parsers_could_read_differently_means_its_exact_bytes(content: bytes) -> None:
    assert canonical_json(content) is None
    assert asked(content).canonical == asked(content).canonical
    assert asked(content).canonical != asked(content + b" ").canonical
    assert len(asked(content).canonical) < 200


@pytest.mark.parametrize(
    "headers",
    [
        [(b"content-type", b"text/plain")],
        [(b"content-type", b"application/json; charset=latin-1")],
        [(b"content-type", b"application/json"), (b"content-encoding", b"gzip")],
        [(b"content-type", b"application/json"), (b"content-type", b"application/json")],
        [(b"content-encoding", b"application/json")],
        [(b"accept", b"*/*")],
    ],
)
def test_of_what_is_not_said_to_be_json_nothing_else_is_supposed(headers: list[tuple[bytes, bytes]]) -> None:
    assert asked(PLAIN, *headers).canonical != asked(PLAIN).canonical
    assert asked(PLAIN, *headers).canonical != asked(b" " + PLAIN, *headers).canonical


def test_it_is_a_family_of_its_own_at_its_target_and_needs_no_credential() -> None:
    query = asked(PLAIN)
    assert (query.family, query.institution, query.protected) == (Family.COUNT, None, False)
    assert query.canonical != asked(PLAIN, query=b"x=1").canonical
    assert query.literal != asked(b" " + PLAIN).literal
    assert asked(PLAIN, query=b"x=1").exact == b"/count/articles?x=1"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**17) + 1, 10**17) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES, VALUES)
def test_what_means_the_same_is_the_same_and_nothing_else(one: object, other: object) -> None:
    spaced, dense = json.dumps(one, indent=2), json.dumps(other, ensure_ascii=False, separators=(",", ":"))
    if one == one and json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True):
        assert canonical_json(spaced.encode()) == canonical_json(dense.encode("utf-8", "surrogatepass"))
    else:
        assert canonical_json(spaced.encode()) != canonical_json(dense.encode("utf-8", "surrogatepass"))


@given(st.binary(max_size=80))
def test_whatever_is_posted_has_a_meaning(content: bytes) -> None:
    assert asked(content).canonical.isascii()
