"""Cache keys are meanings: different meanings never share one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.cache.keys import PUBLIC, cache_key, encode

parts = st.lists(st.binary(max_size=12), max_size=5)


@given(parts, parts)
def test_the_encoding_is_injective(one: list[bytes], other: list[bytes]) -> None:
    assert (encode(*one) == encode(*other)) == (one == other)


def test_what_a_separator_would_confuse_stays_apart() -> None:
    assert encode(b"a=1", b"b=2") != encode(b"a=1:b=2") != encode(b"a=1&b=2")


@given(st.text(max_size=64), st.text(max_size=64), st.binary(max_size=30))
def test_another_scope_is_another_key(one: str, other: str, canonical: bytes) -> None:
    here, there = (cache_key("p", scope, canonical, b"/x") for scope in (one, other))
    assert (here.entry == there.entry) == (one == other)
    assert (here.error == there.error) == (one == other)


def test_an_error_record_is_kept_under_the_exact_request_in_its_entrys_slot() -> None:
    one = cache_key("p", PUBLIC, b"meaning", b"/a?x=1&y=2")
    other = cache_key("p", PUBLIC, b"meaning", b"/a?y=2&x=1")
    assert one.entry == other.entry
    assert one.error != other.error
    assert one.error.startswith(one.entry)
    assert one.entry == f"p:{{{one.flight}}}"


def test_headers_that_go_upstream_make_variants_of_one_error_record() -> None:
    plain, german, french = (
        cache_key("p", PUBLIC, b"meaning", b"/a", sent)
        for sent in [(), ((b"accept-language", b"de"),), ((b"accept-language", b"fr"),)]
    )
    assert plain.error == german.error == french.error
    assert len({plain.variant, german.variant, french.variant}) == 3
    assert len({plain.exact, german.exact, french.exact}) == 3
