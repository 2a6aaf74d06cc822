"""What the doctor says of the gateways that share a Redis."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
from cryptography.fernet import Fernet

from gateway.admin.doctor.finding import State
from gateway.admin.doctor.redis import ask_fleet, fleet_findings, terms_of
from gateway.settings import Settings, load_settings
from gateway.upstream.pacing import Budget
from gateway.upstream.queue_state import QueueRules, QueueState
from tests.redis_server import RedisServer, free_port


@pytest.fixture
def settings(shared_redis: RedisServer, prefix: str, tmp_path: Path) -> Settings:
    keys: dict[str, Any] = {
        "encryption_keys": Fernet.generate_key().decode(),
        "registry": tmp_path / "tenants.toml",
    }
    return load_settings(redis_url=shared_redis.url, redis_prefix=prefix, fleet_size=2, **keys)


async def alive(client: redis.asyncio.Redis, settings: Settings, *budgets: str, mark: str | None = None) -> None:
    """Processes with these budgets, which give a sign of life each."""
    for text in budgets:
        budget = Budget(settings.model_copy(update={"budget": text}).budget_interval, settings.budget_burst)
        state = QueueState(client, settings.redis_prefix, budget, QueueRules())
        await state.beat(terms_of(settings).mark if mark is None else mark)


async def states(settings: Settings) -> dict[str, State]:
    return {each.check: each.state for each in fleet_findings(await ask_fleet(settings), settings)}


async def test_before_the_first_gateway_there_is_nothing_to_say(settings: Settings) -> None:
    assert await states(settings) == {"fleet.size": State.NOTE}


async def test_as_many_as_there_may_be_that_agree(redis_client: redis.asyncio.Redis, settings: Settings) -> None:
    await alive(redis_client, settings, "1/s", "1/s")
    assert await states(settings) == {"fleet.size": State.OK, "fleet.agreement": State.OK}


async def test_more_than_there_may_be(redis_client: redis.asyncio.Redis, settings: Settings) -> None:
    await alive(redis_client, settings, "1/s", "1/s", "1/s")
    assert await states(settings) == {"fleet.size": State.WARNING, "fleet.agreement": State.OK}


@pytest.mark.parametrize(("budget", "mark", "named"), [("2/s", None, "budget"), ("1/s", "x", "encryption_keys")])
async def test_those_that_differ_are_a_problem_and_told_by_name(
    redis_client: redis.asyncio.Redis, settings: Settings, budget: str, mark: str | None, named: str
) -> None:
    await alive(redis_client, settings, budget, mark=mark)
    (finding,) = [
        each for each in fleet_findings(await ask_fleet(settings), settings) if each.check == "fleet.agreement"
    ]
    assert finding.state is State.PROBLEM
    assert f"another {named} than" in finding.what


async def test_a_process_that_died_before_the_last_sign_of_life_does_not_count(
    redis_client: redis.asyncio.Redis, settings: Settings
) -> None:
    await alive(redis_client, settings, "2/s")
    live = f"{settings.redis_prefix}:{{queue}}:live"
    found: Any = await redis_client.zrange(live, 0, -1)
    await redis_client.zadd(live, {found[0]: 1})
    assert await states(settings) == {"fleet.size": State.NOTE}


async def test_where_redis_does_not_say_the_fleet_is_unknown(settings: Settings) -> None:
    gone = load_settings(redis_url=f"redis://127.0.0.1:{free_port()}/0", redis_timeout=0.5)
    assert await ask_fleet(gone) is None
    assert [each.state for each in fleet_findings(None, settings)] == [State.UNKNOWN]
