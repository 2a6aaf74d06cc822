"""The rig itself: what a check says is what the origin does, on each backend and by each server."""

from __future__ import annotations

from tests.http_rules.client import request
from tests.http_rules.conftest import Start
from tests.http_rules.origin import Asked, Origin, Reply, chunked, said
from tests.http_rules.rig import Gateway

FRESH = "Cache-Control: max-age=60"


def test_answers_come_in_turn_and_the_lane_gives_the_last(gateway: Gateway, origin: Origin, path: str) -> None:
    origin.on(path, said("Set-Cookie: a=1", "Set-Cookie: b=2", FRESH, body=b"one"))
    answers = gateway.ask_until_learnt(path)
    assert [answer.hit for answer in answers] == [False, True, True, True]
    assert all((answer.body, answer.all("set-cookie")) == (b"one", ["a=1", "b=2"]) for answer in answers)
    assert origin.calls(path) == 1


def test_a_held_answer_waits_and_a_function_sees_the_request(gateway: Gateway, origin: Origin, path: str) -> None:
    held = Reply(chunked(body=b"held"), closes=True, held=True)

    def echo(asked: Asked) -> bytes:
        return said(body=(asked.header("x-told") or "").encode())

    origin.on(path, held, echo)
    with gateway.open() as client:
        client.send(request(path))
        held.await_request()
        held.let_go()
        assert client.answer().body == b"held"
        assert client.ask(path, "X-Told: so").body == b"so"
    assert origin.calls(path) == 2


def test_the_service_has_a_tenant_and_gateways_of_one_setup_share_a_redis(
    start: Start, origin: Origin, item: int
) -> None:
    target = f"/total/views/article/{item}"
    origin.on(target, said("Content-Type: application/json", body=b'{"totals": 7}'))
    one = start("statistics")
    first = one.ask(target, f"X-API-Key: {one.key}")
    assert (first.status, first.body, first.hit) == (200, b'{"totals": 7}', False)
    if one.setup.backend == "redis":
        assert start("statistics", 1).ask(target).hit
