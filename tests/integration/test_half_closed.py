"""Clients that send no more, before a real gateway and its service: answered, and only a reset is the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count

import pytest

from tests.integration.stage import Process, Stage, staged, until
from tests.wire import Wire, get, half_closed, resets

ABANDONED = "stats_gateway_requests_abandoned_total"
NUMBERS = count(1)


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """One gateway whose service can be held up."""
    settings = {"budget": "unlimited", "redis_url": "memory://", "allow_anonymous": "true", "caller_timeout": 20}
    with staged("--no-examples", **settings) as stage:
        stage.serve(anonymous_requests_per_second=0)
        yield stage
        assert "Traceback" not in stage.gateways[0].output


@pytest.fixture
def gateway(stage: Stage) -> Iterator[Process]:
    stage.reset_calls()
    yield stage.gateways[0]
    stage.open_gate()


def fresh() -> str:
    """A target that nobody has asked for."""
    return f"/total/views/article/{next(NUMBERS)}"


def wire(gateway: Process) -> Wire:
    return Wire(("127.0.0.1", gateway.port), timeout=30)


def test_who_sends_no_more_gets_the_answer_however_long_it_takes(stage: Stage, gateway: Process) -> None:
    stage.close_gate()
    with wire(gateway) as client:
        half_closed(client, get(fresh()))
        until(lambda: stage.calls()["in_flight"] == 1)
        assert gateway.metric("stats_gateway_flight_waiters") == 1
        stage.open_gate()
        answer = client.answer()
        assert (answer.status, answer.closes) == (200, True)
        assert client.ended()
    assert stage.calls()["total"] == 1


def test_all_that_was_asked_before_is_answered_whether_it_is_stored_or_not(stage: Stage, gateway: Process) -> None:
    known, news = fresh(), [fresh() for _ in range(3)]
    with wire(gateway) as client:
        assert client.send(get(known)).answer().status == 200
    stage.close_gate()
    with wire(gateway) as client:
        half_closed(client, b"".join(get(target) for new in news for target in (known, new)))
        until(lambda: stage.calls()["in_flight"] == 1)
        stage.open_gate()
        answers = [client.answer() for _ in range(6)]
        assert [answer.status for answer in answers] == [200] * 6
        assert [answer.closes for answer in answers] == [False] * 5 + [True]
        assert client.ended()


def test_a_reset_is_a_client_that_has_gone(stage: Stage, gateway: Process) -> None:
    stage.close_gate()
    before = gateway.metric(ABANDONED)
    with wire(gateway) as client:
        client.send(get(fresh()))
        until(lambda: stage.calls()["in_flight"] == 1)
        resets(client.socket)
    until(lambda: gateway.metric(ABANDONED) == before + 1)
    assert gateway.metric("stats_gateway_flight_waiters") == 0


def test_a_client_that_closes_without_a_word_leaves_nothing_behind(stage: Stage, gateway: Process) -> None:
    stage.close_gate()
    target, before = fresh(), gateway.metric(ABANDONED)
    with wire(gateway) as client:
        client.send(get(target))
        until(lambda: stage.calls()["in_flight"] == 1)
    stage.open_gate()
    until(lambda: gateway.metric("stats_gateway_flight_waiters") == 0)
    with wire(gateway) as client:
        assert "; hit;" in client.send(get(target)).answer().headers["cache-status"]
    assert stage.calls()["total"] == 1
    assert gateway.metric(ABANDONED) == before


@pytest.fixture(scope="module")
def slow(stage: Stage) -> Iterator[Process]:
    """Another gateway, that asks for one thing after another."""
    gateway = stage.serve(budget="5/s", budget_burst=1, anonymous_requests_per_second=0, anonymous_queued=100)
    yield gateway
    assert "Traceback" not in gateway.output


@contextmanager
def queued(gateway: Process, targets: list[str]) -> Iterator[list[Wire]]:
    """A client for each of these, that sends no more and waits."""
    with ExitStack() as stack:
        clients = [stack.enter_context(wire(gateway)) for _ in targets]
        for client, target in zip(clients, targets, strict=True):
            half_closed(client, get(target))
        waiting = len(targets) - 8  # the first are answered by now
        until(lambda: gateway.metric("stats_gateway_flight_waiters") >= waiting)
        yield clients


@pytest.mark.parametrize("joins", [False, True], ids=["a-question-of-its-own", "the-last-one's"])
def test_who_sends_no_more_gives_way_and_still_gets_the_answer_where_it_reads_on(
    stage: Stage, gateway: Process, slow: Process, joins: bool
) -> None:
    targets = [fresh() for _ in range(20)]
    with queued(slow, targets) as clients:
        with wire(slow) as live:
            assert live.send(get(targets[-1] if joins else fresh())).answer().status == 200
        assert stage.calls()["total"] < 15
        assert [client.answer().status for client in clients] == [200] * 20
        assert all(client.ended() for client in clients)


def test_who_closes_gives_way(stage: Stage, gateway: Process, slow: Process) -> None:
    with queued(slow, [fresh() for _ in range(20)]):
        pass
    with wire(slow) as live:
        assert live.send(get(fresh())).answer().status == 200
    assert stage.calls()["total"] < 15
