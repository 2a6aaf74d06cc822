from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.catalogue.endpoints import recognise
from gateway.catalogue.families import Family
from gateway.catalogue.query import Query, encoded
from tests.catalogue.service import READINGS, Request, neighbours, requests, spelt

ROOM = 100_000


def plain(request: Request, data: st.DataObject) -> Query:
    path, query = data.draw(spelt(request))
    return recognise(path, query, max_bytes=ROOM)


@given(st.data(), requests())
def test_permuted_and_percent_encoded_spellings_of_a_request_share_a_canonical_form(
    data: st.DataObject, request: Request
) -> None:
    one, other = plain(request, data), plain(request, data)
    assert one.family is not Family.UNKNOWN
    assert one.canonical == other.canonical


@given(st.data(), requests())
def test_requests_that_differ_in_ignored_parameters_share_a_canonical_form(
    data: st.DataObject, request: Request
) -> None:
    path, query = data.draw(spelt(request, ignored=True))
    assert recognise(path, query, max_bytes=ROOM).canonical == plain(request, data).canonical


@given(st.data(), neighbours() | st.tuples(requests(), requests()))
def test_requests_that_the_service_may_answer_differently_never_share_a_canonical_form(
    data: st.DataObject, pair: tuple[Request, Request]
) -> None:
    one, other = pair
    assume(any(one.meaning(limit) != other.meaning(limit) for limit in READINGS))
    assert plain(one, data).canonical != plain(other, data).canonical


@given(st.data(), requests())
def test_a_query_says_in_decoded_values_what_the_request_asks(data: st.DataObject, request: Request) -> None:
    query = plain(request, data)
    assert (query.institution, query.counter, query.item) == (request.institution, request.counter, request.item)
    assert query.item_id == request.item_id
    assert query.granularity == (request.granularity if request.family in ("timeline", "breakdown") else None)


fields = st.lists(
    st.none() | st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("0123:-"), max_size=12)
)


@given(fields)
def test_the_encoding_can_be_read_back_so_no_two_sequences_share_it(sequence: list[str | None]) -> None:
    assert read_back(encoded(sequence).decode()) == sequence


def test_fields_that_hold_separators_stay_apart() -> None:
    assert encoded(["a", "1", "b", "2"]) != encoded(["a", "1:b", "2"])
    assert encoded(["a", "1&b=2"]) != encoded(["a", "1", "b", "2"])
    assert encoded([None]) != encoded([""]) != encoded(["-"])


@given(fields)
def test_the_encoding_is_never_a_request_target(sequence: list[str | None]) -> None:
    assert not encoded(sequence).startswith(b"/")


def read_back(text: str) -> list[str | None]:
    sequence: list[str | None] = []
    while text:
        if text[0] == "-":
            sequence.append(None)
            text = text[1:]
        else:
            length, _, rest = text.partition(":")
            sequence.append(rest[: int(length)])
            text = rest[int(length) :]
    return sequence
