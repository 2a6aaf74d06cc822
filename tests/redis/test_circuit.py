"""The circuit by itself: when Redis counts as lost, and when its connections do."""

from __future__ import annotations

from gateway.redis_pool import RENEWAL_SECONDS, Circuit


def test_it_opens_once_and_makes_all_connections_old() -> None:
    circuit = Circuit()
    assert circuit.lost(0)
    assert not circuit.lost(0)
    assert circuit.is_open
    assert (circuit.epoch, circuit.opened) == (1, 1)


def test_a_straggler_of_an_earlier_epoch_does_not_open_it_again() -> None:
    circuit = Circuit()
    circuit.lost(0)
    circuit.answered(now=10.0)
    assert not circuit.lost(0)
    assert not circuit.is_open
    assert circuit.lost(1)


def test_what_breaks_right_after_a_trial_waits_for_the_next_one() -> None:
    circuit = Circuit()
    assert not circuit.flapping(10.0)
    circuit.lost(0)
    circuit.answered(10.0)
    assert circuit.flapping(10.0 + RENEWAL_SECONDS / 2)
    assert not circuit.flapping(10.0 + RENEWAL_SECONDS)


def test_a_demoted_server_makes_connections_old_at_most_once_a_second() -> None:
    circuit = Circuit()
    for now in (1.0, 1.1, 1.9, 2.0):
        circuit.demoted(now)
    assert circuit.epoch == 2
    assert not circuit.is_open
