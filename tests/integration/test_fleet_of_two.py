"""What must hold across processes: revocation, rotation, purge and limits, on a real Redis and two gateways."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2 as httpx
import pytest
import redis.asyncio
from cryptography.fernet import Fernet

from gateway.cache.purges import Purges, PurgeScope
from tests.integration.stage import Process, Stage, get, staged, until
from tests.redis_server import RedisServer

WINDOW = "start_date=2014-01-01&end_date=2014-03-01"
LBORO = f"/lboro/timeline/day/views/article/77?{WINDOW}"


@pytest.fixture(params=["file", "redis"])
def stage(shared_redis: RedisServer, prefix: str, request: pytest.FixtureRequest) -> Iterator[Stage]:
    """Two gateways on one Redis, their registry in a file, then in that Redis."""
    settings = {"redis_url": shared_redis.url, "redis_prefix": prefix, "budget": "unlimited"}
    if request.param == "redis":
        settings |= {"registry": shared_redis.url, "encryption_keys": Fernet.generate_key().decode()}
    with staged(**settings) as stage:
        stage.tenant("reports", "lboro")
        stage.serve_several(2)
        yield stage


def ask(gateway: Process, target: str, key: str) -> httpx.Response:
    return get(gateway.url + target, headers={"X-API-Key": key})


def everywhere(stage: Stage, target: str, key: str) -> list[httpx.Response]:
    return [ask(gateway, target, key) for gateway in stage.gateways]


def statuses(stage: Stage, target: str, key: str) -> set[int]:
    return {answer.status_code for answer in everywhere(stage, target, key)}


def caches(stage: Stage, target: str, key: str) -> list[str]:
    return [answer.headers["cache-status"] for answer in everywhere(stage, target, key)]


def warm(stage: Stage, target: str, key: str) -> None:
    """Until the answer is in both near caches, and in both fast lanes."""
    assert statuses(stage, target, key) == {200}
    for _ in range(4):
        assert all("; hit" in status for status in caches(stage, target, key))
    assert all(gateway.metric("stats_gateway_prepared_answers_total") > 0 for gateway in stage.gateways)


async def purge(stage: Stage, subject: PurgeScope, *, hard: bool) -> None:
    """As any process of the fleet would."""
    client = redis.asyncio.Redis.from_url(stage.environment["STATS_GATEWAY_REDIS_URL"], protocol=2)
    await Purges(client, stage.environment["STATS_GATEWAY_REDIS_PREFIX"]).purge(subject, hard=hard)
    await client.aclose()


def test_a_revoked_key_is_refused_by_every_process_near_cache_or_not(stage: Stage) -> None:
    key = stage.keys["reports"]
    warm(stage, LBORO, key)
    began = time.monotonic()
    stage.registry().revoke_key(key.split("_")[1])
    until(lambda: statuses(stage, LBORO, key) == {401})
    print(f"revoked everywhere after {time.monotonic() - began:.2f} s")
    assert statuses(stage, LBORO, key) == {401}


def test_a_rotated_key_and_the_one_before_overlap_and_then_only_the_new_one_works(stage: Stage) -> None:
    old = stage.keys["reports"]
    warm(stage, LBORO, old)
    new = stage.registry().rotate_key(old.split("_")[1], 4.0)
    # Keys that are not valid may be tried a few times only.
    until(lambda: statuses(stage, LBORO, new) == {200}, pause=0.2)
    assert statuses(stage, LBORO, old) <= {200, 401}
    until(lambda: statuses(stage, LBORO, old) == {401}, pause=0.2)
    assert statuses(stage, LBORO, new) == {200}


def test_nothing_fetched_with_the_old_credential_is_served_after_a_new_one(stage: Stage) -> None:
    key = stage.keys["reports"]
    warm(stage, LBORO, key)
    stage.tenant("reports", "lboro", password="wrong")
    until(lambda: statuses(stage, LBORO, key) == {403})
    assert all(statuses(stage, LBORO, key) == {403} for _ in range(5))


@pytest.mark.parametrize("stage", ["file"], indirect=True)  # keys of the setting are renewed by restarts
def test_encryption_keys_are_renewed_while_all_serve_and_no_request_fails(stage: Stage) -> None:
    key = stage.keys["reports"]
    warm(stage, LBORO, key)
    before = Path(stage.environment["STATS_GATEWAY_REGISTRY"] + ".key").read_text()
    seen: set[int] = set()
    with ThreadPoolExecutor(1) as pool:
        renewed = pool.submit(stage.registry().renew_keys)
        while not renewed.done():
            seen |= statuses(stage, LBORO, key)
        assert renewed.result() == 1

    def anew() -> bool:
        """Another key is another fingerprint, under which nothing is stored yet."""
        seen.update(statuses(stage, LBORO, key))
        return bool(stage.calls()["total"] >= 2)

    until(anew)
    for _ in range(20):
        seen |= statuses(stage, LBORO, key)
    assert seen == {200}
    assert before.strip() not in Path(stage.environment["STATS_GATEWAY_REGISTRY"] + ".key").read_text()


def test_a_hard_purge_reaches_every_near_cache(stage: Stage) -> None:
    key = stage.keys["reports"]
    other = f"/total/views/article/78?{WINDOW}"
    warm(stage, LBORO, key)
    warm(stage, other, key)
    stage.reset_calls()
    asyncio.run(purge(stage, PurgeScope.item("article", "77"), hard=True))
    until(lambda: stage.calls()["total"] > 0 or not statuses(stage, LBORO, key))
    until(lambda: all("; hit" in status for status in caches(stage, LBORO, key)))
    assert all("; hit" in status for status in caches(stage, other, key))
    assert 1 <= stage.calls()["total"] <= 2


def test_a_soft_purge_goes_on_serving_while_it_refreshes(stage: Stage) -> None:
    key = stage.keys["reports"]
    warm(stage, LBORO, key)
    stage.reset_calls()
    asyncio.run(purge(stage, PurgeScope.institution("lboro"), hard=False))
    seen: list[str] = []

    def refreshed() -> bool:
        seen.extend(caches(stage, LBORO, key))
        return bool(stage.calls()["total"]) and all("; hit; ttl=-" not in status for status in seen[-2:])

    until(refreshed)
    assert all("; hit" in status for status in seen), seen


def test_one_limit_holds_across_processes_and_is_told_in_headers(stage: Stage) -> None:
    key = stage.keys["reports"]
    warm(stage, LBORO, key)
    stage.registry().change("reports", limits={"requests_per_second": 0.01, "burst": 5})
    until(lambda: all("ratelimit" in answer.headers for answer in everywhere(stage, LBORO, key)))
    answers = [answer for _ in range(12) for answer in everywhere(stage, LBORO, key)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert 24 - len(refused) <= 5 + 2
    assert refused[-1].json()["code"] == "GatewayRateLimited"
    assert int(refused[-1].headers["retry-after"]) > 1
    assert "ratelimit-policy" in refused[-1].headers
