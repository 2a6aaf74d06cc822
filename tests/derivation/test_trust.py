"""How trust is earned, and lost."""

from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace

from gateway.derivation.compare import Answer, Sources, compared, settled
from gateway.derivation.from_rankings import CHECKS, CHECKS_OF_ABSENT
from gateway.derivation.ranking import Ranking
from gateway.derivation.rules import Kind, Source
from gateway.derivation.trust import (
    DOUBT_SECONDS,
    MOST_DOUBTS,
    QUOTAS,
    SUSPENDED_SECONDS,
    Check,
    State,
    Trust,
    Verdict,
    encoded,
    trust_in,
)
from tests.derivation.oracle import WINDOW, query, rule

LISTED = rule("listed")
RANKING = query("/lboro/top/views/article?count=10000")


def ranking(at: float = 0.0, **counts: int) -> Sources:
    """A ranking that came at once; items are ``i1``, ``i2``, … of 1,000, which count 10,000 less their ids."""
    places = {str(id): 10_000 - id for id in range(1, 1_000)} | {name[1:]: each for name, each in counts.items()}
    return Sources([Source(RANKING, Ranking(places))], at, at)


def total(id: int, number: int, at: float = 1.0, status: int = 200, style: bytes = b'{"totals": %d}') -> Answer:
    """The service's own answer."""
    return Answer(query(f"/lboro/total/views/article/{id}"), status, style % number, at, at)


def earned(ids: range = range(1, CHECKS + 1)) -> Trust:
    """Trust after an equal check of each of these."""
    trust = Trust()
    for id in ids:
        trust = compared(LISTED, total(id, 10_000 - id), ranking(), trust)
    return trust


def test_sixty_equal_checks_in_a_row_earn_trust() -> None:
    assert earned(range(1, CHECKS)).state is State.UNTESTED
    trust = earned()
    assert (trust.state, trust.row, trust.agreed) == (State.TRUSTED, CHECKS, CHECKS)
    assert trust.serves(Kind.PLAIN)


def test_the_same_question_again_earns_nothing() -> None:
    trust = Trust()
    for _ in range(2 * CHECKS):
        trust = compared(LISTED, total(5, 9_995), ranking(), trust)
    assert (trust.state, trust.row, trust.agreed) == (State.UNTESTED, 1, 2 * CHECKS)


def test_a_question_that_its_rule_repeats_counts_once_an_hour() -> None:
    by, trust = rule("prefix"), Trust()
    top = b'{"top": {"1": 9999, "2": 9998}}'
    for hour in range(CHECKS):
        at = hour * 3_600.0
        asked = Answer(query("/lboro/top/views/article?count=2"), 200, top, at, at)
        for _ in range(2):
            trust = compared(by, asked, ranking(at), trust)
    assert (trust.state, trust.row) == (State.TRUSTED, CHECKS)


def test_each_kind_has_a_quota_of_its_own() -> None:
    trust = earned()
    assert not trust.serves(Kind.TAIL)
    for id in range(980, 980 + QUOTAS[Kind.TAIL]):
        assert not trust.serves(Kind.TAIL)
        trust = compared(LISTED, total(id, 10_000 - id), ranking(), trust)
    assert trust.serves(Kind.TAIL)


def test_what_is_absent_needs_more_checks() -> None:
    by, trust = rule("absent"), Trust()
    for id in range(2_000, 2_000 + CHECKS_OF_ABSENT):
        assert trust.state is State.UNTESTED
        trust = compared(by, total(id, 0), ranking(), trust)
    assert trust.state is State.TRUSTED


def test_one_difference_in_a_closed_window_suspends() -> None:
    target = f"/lboro/timeline/month/views/article/3?{WINDOW}"
    source = Source(query(target.replace("month", "day")), days={"2014-03-01": 5})
    closed = Answer(query(target), 200, b'{"timeline": {"2014-03": 6}}', 1.0, 1.0, closed=True)
    trust = compared(rule("month"), closed, Sources([source], 0.0, 0.0), Trust())
    assert trust.state is State.SUSPENDED
    assert trust.sample is not None
    assert trust.sample.derived == b'{"timeline": {"2014-03": 5}}'
    assert trust.sample.told == closed.body
    assert trust.sample.question == target


def test_a_number_between_two_rankings_has_moved() -> None:
    doubtful = compared(LISTED, total(5, 9_997), ranking(0.0), earned())
    assert len(doubtful.doubts) == 1
    assert not doubtful.serves(Kind.PLAIN)
    trust = settled(LISTED, ranking(2.0, i5=9_999), {0: total(5, 0).query}, doubtful, 2.0)
    assert (trust.state, trust.doubts, trust.differences) == (State.TRUSTED, [], [])
    assert trust.checks[-1].verdict is Verdict.MOVED
    assert trust.serves(Kind.PLAIN)


def test_a_ranking_from_before_the_answer_settles_no_doubt() -> None:
    doubtful = compared(LISTED, total(5, 9_997, at=3.0), ranking(0.0), earned())
    assert settled(LISTED, ranking(2.0), {0: total(5, 0).query}, doubtful, 2.0) == doubtful


def test_a_number_outside_ends_trust_and_a_second_one_suspends() -> None:
    trust = earned()
    for state in (State.UNTESTED, State.SUSPENDED):
        doubtful = compared(LISTED, total(5, 9_990), ranking(0.0), trust)
        trust = settled(LISTED, ranking(2.0, i5=9_999), {0: total(5, 0).query}, doubtful, 2.0)
        assert trust.state is state
        assert not trust.serves(Kind.PLAIN)
    assert trust.reason == "2 of 60 answers differ"


def test_two_differences_far_apart_do_not_suspend() -> None:
    trust = earned()
    for _ in range(2):
        doubtful = compared(LISTED, total(5, 9_990), ranking(0.0), trust)
        trust = settled(LISTED, ranking(2.0), {0: total(5, 0).query}, doubtful, 2.0)
        assert trust.state is State.UNTESTED
        for id in range(100, 160):
            trust = compared(LISTED, total(id, 10_000 - id), ranking(), trust)
    assert trust.state is State.TRUSTED


def test_no_trust_is_earned_while_something_is_in_doubt() -> None:
    trust = compared(LISTED, total(999, 5), ranking(0.0), earned(range(1, CHECKS)))
    trust = compared(LISTED, total(60, 9_940), ranking(0.0), trust)
    assert (trust.state, trust.row) == (State.UNTESTED, CHECKS)
    trust = settled(LISTED, ranking(2.0, i999=5), {0: total(999, 0).query}, trust, 2.0)
    assert trust.state is State.TRUSTED


def test_a_doubt_that_nothing_settles_counts_as_a_difference() -> None:
    doubtful = compared(LISTED, total(5, 9_990), ranking(0.0), earned())
    late = settled(LISTED, ranking(0.0), {}, doubtful, 1.0 + DOUBT_SECONDS)
    assert (late.state, late.doubts, len(late.differences)) == (State.UNTESTED, [], 1)


def test_doubts_are_bounded() -> None:
    trust = Trust()
    for id in range(1, MOST_DOUBTS + 5):
        trust = compared(LISTED, total(id, 1), ranking(0.0), trust)
    assert len(trust.doubts) == MOST_DOUBTS


@pytest.mark.parametrize("status", [400, 404])
def test_an_error_in_place_of_a_number_suspends(status: int) -> None:
    assert compared(LISTED, total(5, 9_995, status=status), ranking(), earned()).state is State.SUSPENDED


@pytest.mark.parametrize("style", [b'{"totals":%d}', b'{"totals": %d}\n', b'{"totals": %d, "more": 1}'])
def test_an_answer_in_another_style_suspends(style: bytes) -> None:
    trust = compared(LISTED, total(5, 9_995, style=style), ranking(), earned())
    assert (trust.state, trust.reason) == (State.SUSPENDED, "an answer is written in another style")


def test_the_same_numbers_in_another_order_suspend() -> None:
    top = Answer(query("/lboro/top/views/article?count=2"), 200, b'{"top": {"2": 9998, "1": 9999}}', 1.0, 1.0)
    assert compared(rule("prefix"), top, ranking(), Trust()).state is State.SUSPENDED


def test_an_answer_older_than_its_source_proves_nothing_unless_it_is_equal() -> None:
    trust = earned(range(1, 3))
    assert compared(LISTED, total(5, 9_000, at=1.0), ranking(2.0), trust) == trust
    assert compared(LISTED, total(5, 9_995, at=1.0), ranking(2.0), trust).row == trust.row + 1


def test_a_suspension_lasts_a_day_whatever_is_checked_meanwhile() -> None:
    suspended = earned().suspended(10.0, "the endpoint is gone")
    assert compared(LISTED, total(5, 9_995), ranking(), suspended).state is State.SUSPENDED
    assert compared(LISTED, total(5, 1), ranking(), suspended).doubts == []
    assert suspended.as_of(10.0 + SUSPENDED_SECONDS - 1).state is State.SUSPENDED
    anew = suspended.as_of(10.0 + SUSPENDED_SECONDS)
    assert (anew.state, anew.row, anew.styles) == (State.UNTESTED, 0, None)


def test_what_a_rule_does_not_derive_is_no_check() -> None:
    trust = earned(range(1, 3))
    assert compared(LISTED, total(5_000, 0), ranking(), trust) is trust


def test_a_record_is_read_as_it_was_written() -> None:
    doubtful = compared(LISTED, total(5, 9_990), ranking(0.0), earned())
    assert trust_in(encoded(doubtful)) == doubtful


def test_records_of_other_versions_are_left_alone_and_damaged_ones_trust_nothing() -> None:
    assert trust_in(encoded(replace(earned(), version=2))) is None
    assert trust_in(msgspec.msgpack.encode({"version": 1, "later": True})) == Trust()
    for damaged in (b"", b"\xc1", msgspec.msgpack.encode([1]), encoded(earned())[:-3]):
        assert trust_in(damaged) == Trust()


def test_long_answers_are_shortened_for_people() -> None:
    long = total(5, 1, status=404)._replace(body=b"x" * 10_000)
    trust = compared(LISTED, long, ranking(), Trust())
    assert isinstance(trust.sample, Check)
    assert len(trust.sample.told) == 512
