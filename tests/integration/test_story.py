"""A request's story, from its X-Request-ID through log, trace and metric; with two gateways and a collector."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.crowd import Client, Reply
from tests.integration.scripted_origin import Script
from tests.integration.stage import Process, Stage, staged, until
from tests.otlp import Collector, Told, collecting
from tests.redis_server import RedisServer, free_port
from tests.upstream.origin import serving

TARGET = "/lboro/timeline/day/views/article/77?start_date=2014-01-01&end_date=2014-03-01"
CLIENT_TRACE = "0af7651916cd43dd8448eb211c80319c"
CLIENT_SPAN = "b7ad6b7169203331"
TRACEPARENT = f"00-{CLIENT_TRACE}-{CLIENT_SPAN}-01"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture(scope="module")
def sandbox(shared_redis: RedisServer) -> Iterator[Stage]:
    settings = {"budget": "unlimited", "log_format": "json", "log_hits": "1.0"}
    with staged("--no-examples", redis_url=shared_redis.url, **settings) as stage:
        stage.tenant("reports", "lboro")
        yield stage


@pytest.fixture
def stage(sandbox: Stage, prefix: str) -> Iterator[Stage]:
    """A cold cache, and no gateway yet."""
    sandbox.environment["STATS_GATEWAY_REDIS_PREFIX"] = prefix
    sandbox.reset_calls()
    yield sandbox
    sandbox.open_gate()
    while sandbox.gateways:
        sandbox.gateways.pop().kill()


def lines(gateway: Process, event: str = "request") -> list[dict[str, Any]]:
    """The log's lines of one kind; once it is ready, all lines must be JSON."""
    written = gateway.settled.partition("\nready\n")[2].splitlines()
    return [line for line in map(json.loads, written) if line["event"] == event]


def line_of(gateway: Process, request_id: str) -> dict[str, Any]:
    (line,) = (line for line in lines(gateway) if line["request_id"] == request_id)
    return line


def asked(stage: Stage, gateway: Process, request_id: str, **headers: str) -> Client:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return Client(gateway.port, TARGET, stage.keys["reports"], {"X-Request-ID": request_id} | given)


def counted(gateway: Process, line: dict[str, Any]) -> float:
    """What the metric says of the series that a line of the log names."""
    labels = ",".join(f'{name}="{line[name]}"' for name in ("family", "outcome", "status", "tenant"))
    return gateway.metric("stats_gateway_requests_total" + re.escape(f"{{{labels}}}"))


async def two_at_once(stage: Stage, **headers: str) -> tuple[Reply, Reply]:
    """One cold request to each of two gateways, the second while the first one's flight is under way."""
    first, second = stage.gateways
    stage.close_gate()
    leader = asyncio.create_task(asked(stage, first, "leader", **headers).ask())
    await asyncio.to_thread(until, lambda: stage.calls()["in_flight"] == 1)
    follower = asyncio.create_task(asked(stage, second, "follower").ask())
    await asyncio.to_thread(until, lambda: second.metric("stats_gateway_flight_waiters") == 1)
    stage.open_gate()
    return await leader, await follower


async def test_a_request_can_be_followed_through_log_trace_and_metric(stage: Stage, collector: Collector) -> None:
    first, second = (stage.serve(otlp_endpoint=collector.url) for _ in range(2))
    led, followed = await two_at_once(stage, traceparent=TRACEPARENT)
    assert (led.headers["x-request-id"], followed.headers["x-request-id"]) == ("leader", "follower")

    # The log: both lines, and the one call that both share.
    leader, follower = line_of(first, "leader"), line_of(second, "follower")
    assert (leader["outcome"], follower["outcome"]) == ("miss", "collapsed")
    assert leader["flight"] == follower["flight"]
    (call,) = lines(first, "upstream_call") + lines(second, "upstream_call")
    assert (call["flight"], call["request_id"], call["status"]) == (leader["flight"], "leader", 200)
    assert list(leader["stages"]) == ["identify", "admit", "look_up", "queue", "upstream"]
    assert sum(leader["stages"].values()) <= leader["seconds"] + 1e-4
    assert leader["path"] == TARGET.partition("?")[0]

    # The metric: the series that each line names counted it.
    assert (counted(first, leader), counted(second, follower)) == (1, 1)
    assert second.metric("stats_gateway_flights_joined_total") == 1

    # The trace: the client's goes on, the call is inside it, the follower's has a link to that call.
    await asyncio.to_thread(until, lambda: collector.of_request("leader") and collector.of_request("follower"))
    await asyncio.to_thread(until, lambda: collector.named("upstream"))
    (server,), (joined,) = collector.of_request("leader"), collector.of_request("follower")
    (upstream,) = collector.named("upstream")
    assert (server.trace, server.parent, server.name) == (CLIENT_TRACE, CLIENT_SPAN, "GET timeline")
    assert leader["trace_id"] == call["trace_id"] == CLIENT_TRACE
    assert (upstream.trace, upstream.parent) == (server.trace, server.id)
    assert joined.trace == follower["trace_id"] != server.trace
    assert joined.links == (upstream.id,)
    assert server.attributes["stats_gateway.outcome"] == "miss"
    assert stages_of(collector, server) == ["identify", "admit", "look_up", "queue"]
    assert server.began <= upstream.began <= upstream.ended <= server.ended


def stages_of(collector: Collector, span: Told) -> list[str]:
    inside = [each for each in collector.spans if each.parent == span.id and each.name != "upstream"]
    assert all(span.began - 1e6 <= each.began <= each.ended <= span.ended for each in inside)
    return [each.name for each in sorted(inside, key=lambda each: (each.began, each.ended))]


@pytest.mark.parametrize("told", [True, False])
async def test_the_service_is_told_of_a_trace_only_where_asked(
    stage: Stage, collector: Collector, *, told: bool
) -> None:
    script = Script()
    async with serving(script.behave) as origin:
        gateway = await asyncio.to_thread(
            stage.serve, upstream=origin.url, otlp_endpoint=collector.url, trace_upstream=told
        )
        await asked(stage, gateway, "one", traceparent=TRACEPARENT).ask()
    await asyncio.to_thread(until, lambda: collector.named("upstream"))
    (head,) = script.asked[TARGET]
    (upstream,) = collector.named("upstream")
    sent = [line for line in head.decode().split("\r\n") if line.lower().startswith("traceparent")]
    assert sent == ([f"traceparent: 00-{CLIENT_TRACE}-{upstream.id}-01"] if told else [])


async def test_a_malformed_trace_begins_a_new_one(stage: Stage, collector: Collector) -> None:
    gateway = stage.serve(otlp_endpoint=collector.url)
    for number, header in enumerate(("00-zz-1-01", "x" * 500, "00-" + "0" * 32 + "-" + "0" * 16 + "-01")):
        reply = await asked(stage, gateway, f"odd-{number}", traceparent=header).ask()
        assert reply.status == 200
    await asyncio.to_thread(until, lambda: len(collector.named("GET timeline")) == 3)
    assert {span.parent for span in collector.named("GET timeline")} == {""}


async def test_a_collector_that_is_gone_costs_nobody_an_answer(stage: Stage) -> None:
    with collecting() as collector:
        url = collector.url
    gateway = stage.serve(otlp_endpoint=url)
    replies = [await asked(stage, gateway, f"r{number}").ask() for number in range(5)]
    assert {reply.status for reply in replies} == {200}


async def test_a_failure_says_in_all_three_why(stage: Stage, collector: Collector) -> None:
    gateway = stage.serve(otlp_endpoint=collector.url, upstream=f"http://127.0.0.1:{free_port()}")
    reply = await asked(stage, gateway, "broken").ask()
    assert reply.status == 502
    line = line_of(gateway, "broken")
    assert (line["outcome"], line["detail"], line["level"]) == (
        "failed",
        json.loads(reply.body)["code"],
        "warning",
    )
    assert counted(gateway, line) == 1
    await asyncio.to_thread(until, lambda: collector.of_request("broken"))
    (span,) = collector.of_request("broken")
    assert span.failed
    assert span.attributes["stats_gateway.detail"] == line["detail"]


async def test_plain_hits_are_sampled_and_everything_else_is_not(stage: Stage) -> None:
    gateway = stage.serve(log_hits="0.25")
    for number in range(5):
        await asked(stage, gateway, f"r{number}").ask()
    assert [(line["outcome"], line.get("hits")) for line in lines(gateway)] == [("miss", None), ("hit", 4)]
    assert {line["cache"] for line in lines(gateway) if line["outcome"] == "hit"} == {"near"}


async def test_every_hit_has_a_line_where_that_is_wished(stage: Stage) -> None:
    gateway = stage.serve(log_hits="1")
    for number in range(9):
        await asked(stage, gateway, f"all{number}").ask()
    told = [(line["request_id"], line["hits"]) for line in lines(gateway) if line["outcome"] == "hit"]
    assert told == [(f"all{number}", 1) for number in range(10 - len(told) - 1, 9)]
    assert len(told) >= 8


async def test_no_key_in_a_path_reaches_the_log(stage: Stage) -> None:
    gateway = stage.serve()
    key = stage.keys["reports"]
    for target in (f"/total/views/article/{key}", f"/total/views/article/1?key={key}", f"/{key}/x"):
        await Client(gateway.port, target, key).ask()
    assert len(lines(gateway)) == 3
    assert key not in gateway.output
    assert any(line.get("path") == "/total/views/article/sgw_***" for line in lines(gateway))


async def test_a_client_that_leaves_is_counted_and_logged(stage: Stage) -> None:
    gateway = stage.serve()
    stage.close_gate()
    task = asyncio.create_task(asked(stage, gateway, "gone").ask(resets_early=True))
    await asyncio.to_thread(until, lambda: stage.calls()["in_flight"] == 1)
    task.cancel()
    await asyncio.to_thread(until, lambda: gateway.metric("stats_gateway_requests_abandoned_total") == 1)
    stage.open_gate()
    assert [line["request_id"] for line in lines(gateway, "request_abandoned")] == ["gone"]
