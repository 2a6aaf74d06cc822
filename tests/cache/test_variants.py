"""Which requests a stored variant is for."""

from __future__ import annotations

from hashlib import blake2b

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from gateway.cache.entry import SOLE, VARIANT, Entry
from gateway.cache.keys import KINDS, canonical_value, select, variant_of

ENTRY = Entry("k", 200, [], b"", b"", 0.0, 0.0, 100.0, 200.0, 300.0)
VARY = (b"accept", b"x-kind")

members = st.lists(st.text('ab,;/*=q10." -Q', max_size=12).map(str.encode), max_size=4).map(b",".join)


def stored(variant: str) -> Entry:
    return structs.replace(ENTRY, vary=VARY, variant=variant)


def test_rfc9111_4_1_an_entry_serves_only_requests_that_agree_on_what_it_varies_by() -> None:
    entry = stored(variant_of(VARY, [(b"accept", b"a/b, c/d;q=0.5")]))
    assert select([entry], [(b"Accept", b" C/d;q=0.50,a/b ")]) == entry
    assert select([entry], [(b"accept", b"a/b"), (b"accept", b"c/d;q=.5")]) is None
    assert select([entry], [(b"accept", b"a/b, c/d;q=0.5"), (b"x-kind", b"")]) is None
    assert select([entry], []) is None
    assert variant_of((), [(b"accept", b"a/b")]) == SOLE


def test_the_newest_is_selected_of_those_that_agree() -> None:
    one, two = stored(variant_of(VARY, [])), stored(variant_of(VARY, [(b"x-kind", b"a")]))
    assert select([two, one], []) is one
    assert select([two, ENTRY, one], []) is ENTRY


def test_what_a_version_without_canonical_forms_stored_is_found_by_its_spelling() -> None:
    digest = blake2b(digest_size=VARIANT // 2)
    for name, marked in ((b"accept", b"+C/d;q=0.50,a/b"), (b"x-kind", b"-")):
        digest.update(len(name).to_bytes(4, "big") + name + len(marked).to_bytes(4, "big") + marked)
    entry = stored(digest.hexdigest())
    assert select([entry], [(b"accept", b"C/d;q=0.50,a/b")]) is entry
    assert select([entry], [(b"accept", b"a/b, c/d;q=0.5")]) is None


@given(st.sampled_from(sorted(KINDS)), members)
def test_a_canonical_form_stands_for_itself(name: bytes, value: bytes) -> None:
    form = canonical_value(name, value.strip())
    assert canonical_value(name, form) == form


@given(members)
def test_a_field_of_no_known_grammar_is_left_as_it_is(value: bytes) -> None:
    assert canonical_value(b"cookie", value) == value
