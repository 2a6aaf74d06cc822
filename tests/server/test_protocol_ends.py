"""Clients that send no more, and clients that have gone, in literal bytes before a real uvicorn server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from gateway.server.head import Limits
from tests.echo import Edge, Knowing, edge, until_free
from tests.wire import Wire, get, half_closed, resets, shown


@pytest.fixture(scope="module")
def server() -> Iterator[Edge]:
    """One server for all tests that change nothing about it."""
    with edge() as running:
        yield running


@pytest.mark.parametrize("do", ["wait", "wait apart", "wait big"])
def test_rfc9112_9_6_a_client_that_sends_no_more_gets_its_answer_and_then_the_end(do: str) -> None:
    with edge() as running, Wire(running.address) as wire:
        half_closed(wire, get("/wait", f"X-Do: {do}"))
        assert running.app.arrived.acquire(timeout=5)
        assert not running.app.left.acquire(timeout=0.2)
        running.call(running.app.released.set)
        answer = wire.answer()
        assert (answer.status, answer.closes) == (200, True)
        assert wire.ended()
        until_free(running)


@pytest.mark.parametrize("lane", [None, Knowing()], ids=["no lane", "lane"])
@pytest.mark.parametrize("do", ["", "apart"])
def test_all_that_was_asked_before_the_end_of_sending_is_answered_in_order(lane: Any, do: str) -> None:
    with edge(lane=lane) as running, Wire(running.address) as wire:
        half_closed(wire, b"".join(get(f"/{n}", f"X-Do: {do}") for n in range(50)))
        answers = [wire.answer() for _ in range(50)]
        assert [shown(answer)["target"] for answer in answers] == [f"/{n}" for n in range(50)]
        assert wire.ended()
        until_free(running)


def test_an_answer_of_the_lane_reaches_a_client_that_sends_no_more() -> None:
    with edge(lane=Knowing()) as running, Wire(running.address) as wire:
        assert half_closed(wire, get("/known")).answer().body == b"known"
        assert wire.ended()
        until_free(running)


@pytest.mark.parametrize("start", [b"GET / HT", get()[:-2], get("/", "Transfer-Encoding: chunked") + b"0\r\n"])
@pytest.mark.parametrize("before", [b"", get("/before")])
def test_rfc9112_8_a_request_that_is_not_whole_when_no_more_comes_is_refused(
    server: Edge, start: bytes, before: bytes
) -> None:
    with Wire(server.address) as wire:
        half_closed(wire, before + start)
        if before:
            assert wire.answer().status == 200
        answer = wire.answer()
        assert (answer.status, answer.code, answer.closes) == (400, "GatewayBadRequest", True)
        assert wire.ended()


@pytest.mark.parametrize("before", ["GET", "HEAD"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_rfc9110_9_3_2_what_is_not_whole_is_told_apart_from_what_came_before(
    server: Edge, method: str, before: str
) -> None:
    with Wire(server.address) as wire:
        half_closed(wire, before.encode() + get()[3:] + method.encode() + b" / HT")
        assert wire.answer(head=before == "HEAD").status == 200
        answer = wire.answer(head=method == "HEAD")
        assert (answer.status, answer.closes) == (400, True)
        assert wire.ended()


@pytest.mark.parametrize("data", [b"", b"\r\n", get(), get() + b"\r\n"])
def test_an_idle_connection_on_which_no_more_comes_is_closed(server: Edge, data: bytes) -> None:
    with Wire(server.address) as wire:
        half_closed(wire, data)
        if data.strip():
            assert wire.answer().status == 200
        assert wire.ended()


def test_a_client_that_was_refused_and_then_sends_no_more_is_not_refused_twice(server: Edge) -> None:
    with Wire(server.address) as wire:
        half_closed(wire, b"GET / HTTP/1.1\r\n\r\n")
        assert wire.answer().status == 400
        assert wire.ended()


def test_a_reset_is_the_end_of_a_request() -> None:
    with edge() as running:
        with Wire(running.address) as wire:
            wire.send(get("/begin", "X-Do: begin wait").replace(b"GET", b"HEAD"))
            assert running.app.arrived.acquire(timeout=5)
            resets(wire.socket)
        until_free(running)


def test_a_client_that_has_gone_without_a_word_is_noticed_when_its_answer_is_written() -> None:
    with edge() as running:
        with Wire(running.address) as wire:
            wire.send(get("/big", "X-Do: wait big"))
            assert running.app.arrived.acquire(timeout=5)
        assert not running.app.left.acquire(timeout=0.1)
        running.call(running.app.released.set)
        until_free(running)


@pytest.mark.parametrize("spare", [0, 2])
def test_whoever_has_sent_no_more_for_longest_makes_room_before_anybody_is_refused(spare: int) -> None:
    with edge(Limits(3, 2_000, 10.0, spare=spare)) as running, ExitStack() as stack:
        ended = [stack.enter_context(Wire(running.address)) for _ in range(3)]
        for wire in ended:
            half_closed(wire, get("/wait", "X-Do: wait"))
            assert running.app.arrived.acquire(timeout=5)
        live = [stack.enter_context(Wire(running.address)) for _ in range(2)]
        assert [wire.send(get()).answer().status for wire in live] == [200, 200]
        assert [wire.ended() for wire in ended[:2]] == [True, True]
        assert running.lifecycle.refused == 0
        running.call(running.app.released.set)
        assert ended[2].answer().status == 200
        assert ended[2].ended()
        assert all(wire.send(get()).answer().status == 200 for wire in live)


@pytest.mark.parametrize("spare", [0, 2])
def test_whoever_may_send_on_makes_no_room(spare: int) -> None:
    with edge(Limits(1, 2_000, 10.0, spare=spare)) as running, Wire(running.address) as one:
        assert one.send(get()).answer().status == 200
        for _ in range(3):
            with Wire(running.address) as wire:
                assert half_closed(wire, get("/more") if spare else b"").answer().status == 503
        assert one.send(get()).answer().status == 200
