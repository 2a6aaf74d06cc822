"""The breaker by itself: when Redis counts as lost, and when its connections do."""

from __future__ import annotations

from gateway.redis_pool import RENEWAL_SECONDS, RedisBreaker


def test_it_opens_once_and_makes_all_connections_old() -> None:
    breaker = RedisBreaker()
    assert breaker.lost(0)
    assert not breaker.lost(0)
    assert breaker.is_open
    assert (breaker.epoch, breaker.opened) == (1, 1)


def test_a_straggler_of_an_earlier_epoch_does_not_open_it_again() -> None:
    breaker = RedisBreaker()
    breaker.lost(0)
    breaker.answered(now=10.0)
    assert not breaker.lost(0)
    assert not breaker.is_open
    assert breaker.lost(1)


def test_what_breaks_right_after_a_trial_waits_for_the_next_one() -> None:
    breaker = RedisBreaker()
    assert not breaker.flapping(10.0)
    breaker.lost(0)
    breaker.answered(10.0)
    assert breaker.flapping(10.0 + RENEWAL_SECONDS / 2)
    assert not breaker.flapping(10.0 + RENEWAL_SECONDS)


def test_a_demoted_server_makes_connections_old_at_most_once_a_second() -> None:
    breaker = RedisBreaker()
    for now in (1.0, 1.1, 1.9, 2.0):
        breaker.demoted(now)
    assert breaker.epoch == 2
    assert not breaker.is_open
