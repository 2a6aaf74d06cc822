"""The doctor beside a running fleet: it keeps to the fleet's budget, and what it advises works."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from gateway.admin.doctor.redis import RedisFacts, ServerFacts, redis_findings
from tests.cli.command import command
from tests.conftest import needs_redis
from tests.integration.crowd import Client
from tests.integration.stage import get, staged
from tests.redis_server import RedisServer, redis_server

RATE = 2
INTERVAL = 1 / RATE
QUERIES = 12


def target(number: int) -> str:
    return f"/lboro/timeline/month/views/article/{number}?start_date=2014-01-01&end_date=2014-06-30"


@pytest.mark.serial
async def test_the_doctors_calls_and_the_gateways_share_one_budget(shared_redis: RedisServer, prefix: str) -> None:
    settings = {"redis_url": shared_redis.url, "redis_prefix": prefix, "budget": f"{RATE}/s", "budget_burst": 1}
    with staged(**settings) as stage:
        for tenant in ("lboro", "monash", "melbourne"):
            stage.tenant(tenant, tenant)
        gateway = stage.serve()
        own: Any = {name: value for name, value in stage.environment.items() if name.startswith("STATS_GATEWAY_")}
        crowd = asyncio.gather(
            *(Client(gateway.port, target(n), stage.keys["lboro"]).ask() for n in range(QUERIES))
        )
        done = await asyncio.to_thread(command, "doctor", "--json", "--upstream", "--yes", **own)
        replies = await crowd
        calls = await asyncio.to_thread(stage.calls)
    found = [each for each in json.loads(done.out)["findings"] if each["check"] == "upstream.credentials"]
    assert [each["state"] for each in found] == ["ok"] * 3
    assert {reply.status for reply in replies} == {200}
    assert calls["by_status"] == {"200": QUERIES + 3}
    assert calls["min_gap_seconds"] >= 0.9 * INTERVAL


def test_a_gateway_works_under_the_acl_that_is_advised() -> None:
    needs_redis()
    refusing = RedisFacts("redis", servers=(ServerFacts(),), refused={"to read": "NOPERM"})
    (advice,) = [each.advice for each in redis_findings(refusing, registry=False) if "refuses" in each.what]
    with redis_server() as server:
        server.call("ACL", "SETUSER", "gateway", "reset", "on", ">secret", *advice.rpartition("like: ")[2].split())
        url = f"redis://gateway:secret@127.0.0.1:{server.port}/0"
        with staged(redis_url=url, budget="unlimited", admin_token="hunter2-hunter2-hunter2") as stage:
            key = stage.tenant("reports", "lboro")
            one, other = stage.serve(), stage.serve()
            answers = [get(each.url + target(1), headers={"X-API-Key": key}) for each in (one, other)]
            preview = command(
                "purge", "--all", "--preview",
                STATS_GATEWAY_ADMIN_URL=f"http://127.0.0.1:{one.admin_port}",
                STATS_GATEWAY_ADMIN_TOKEN="hunter2-hunter2-hunter2",
            )  # fmt: skip
            assert get(f"{one.url}/-/health/ready").json() == {"status": "ok"}
            assert "NOPERM" not in one.output + other.output
        assert server.call("ACL", "LOG") == []
    assert [answer.status_code for answer in answers] == [200, 200]
    assert "; hit" in answers[1].headers["cache-status"]
    assert preview.code == 0, preview.err
