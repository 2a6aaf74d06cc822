"""Stages: where a request's time went."""

from __future__ import annotations

from gateway.observe.outcome import Stages


def staged(**times: float) -> Stages:
    stages = Stages()
    stages.began = 0.0
    for name, value in times.items():
        setattr(stages, name, value)
    return stages


def test_a_hit_has_the_stages_until_its_look_up() -> None:
    stages = staged(identified=1.0, admitted=3.0, looked_up=6.0)
    assert stages.seconds(7.0) == {"identify": 1.0, "admit": 2.0, "look_up": 3.0}


def test_a_flight_is_queue_and_upstream() -> None:
    stages = staged(identified=1.0, admitted=2.0, looked_up=3.0, landed=10.0, flown=4.0)
    assert stages.seconds(11.0) == {"identify": 1.0, "admit": 1.0, "look_up": 1.0, "queue": 3.0, "upstream": 4.0}


def test_who_joined_late_waited_for_no_more_than_it_did() -> None:
    stages = staged(identified=1.0, admitted=2.0, looked_up=3.0, landed=5.0, flown=60.0)
    assert stages.seconds(5.0) == {"identify": 1.0, "admit": 1.0, "look_up": 1.0, "queue": 0.0, "upstream": 2.0}


def test_the_stage_that_ends_a_request_ends_with_it() -> None:
    assert staged().seconds(2.0) == {"identify": 2.0}
    assert staged(identified=1.0).seconds(2.5) == {"identify": 1.0, "admit": 1.5}
    assert staged(identified=1.0, admitted=1.0).spans(4.0)[-1] == ("look_up", 1.0, 4.0)


def test_a_landing_that_failed_before_it_was_asked_is_all_queue() -> None:
    stages = staged(identified=1.0, admitted=1.0, looked_up=1.0, landed=4.0)
    assert stages.seconds(4.0) == {"identify": 1.0, "admit": 0.0, "look_up": 0.0, "queue": 3.0}
