"""Whether the gateways on a Redis agree with these settings, and are no more than these allow for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from redis.exceptions import RedisError

from gateway.admin.doctor.finding import Finding, counted, named, note, ok, problem, warning
from gateway.errors import ConfigurationError
from gateway.redis import client_at
from gateway.redis_url import RedisPlace
from gateway.settings import Settings
from gateway.tenants.registry import keyring_of
from gateway.upstream.pacing import Budget, Terms
from gateway.upstream.queue_state import QueueRules

CONNECTIONS = 4
MICRO = 1e-6


@dataclass(frozen=True, slots=True)
class FleetFacts:
    """The ``terms`` of each process whose last sign of life was the fleet's last, or shortly before it; they need
    not run any more where all ended together."""

    terms: Mapping[str, Terms] = field(default_factory=dict)


async def ask_fleet(settings: Settings) -> FleetFacts | None:
    """What a Redis knows of the processes that share it; None where it does not say."""
    password = settings.redis_sentinel_password.get_secret_value()
    place = RedisPlace.parse(settings.redis_url.get_secret_value())
    client = client_at(place, settings.redis_timeout, CONNECTIONS, password)
    key = f"{settings.redis_prefix}:{{queue}}"
    try:
        last: Any = await client.hget(f"{key}:fleet", "last")
        since = float(last or 0) - QueueRules().dead_after / MICRO
        living: Any = await client.zrangebyscore(f"{key}:live", since, "+inf")
        told: Any = await client.hgetall(f"{key}:terms")
        found = {each.decode(): Terms.parse(told[each].decode()) for each in living if each in told}
    except (RedisError, OSError, TimeoutError, ValueError):
        return None
    finally:
        await client.aclose()
    return FleetFacts(found)


def fleet_findings(facts: FleetFacts | None, settings: Settings) -> Iterator[Finding]:
    """What is to be said of the processes on the same Redis."""
    if facts is None:
        return
    if not facts.terms:
        yield note("fleet.size", "no gateway was seen on this Redis")
        return
    yield size(len(facts.terms), settings)
    yield agreement(facts, terms_of(settings))


def size(processes: int, settings: Settings) -> Finding:
    """Whether ``fleet_size`` allows for the processes that were seen."""
    told = f"{counted(processes, 'process')} last seen on this Redis; fleet_size is {settings.fleet_size}"
    if processes <= max(settings.fleet_size, settings.workers):
        return ok("fleet.size", told)
    return warning(
        "fleet.size",
        f"{told}, so that those which start without Redis would ask the service too fast",
        "set STATS_GATEWAY_FLEET_SIZE to the most replicas there may be, times workers",
    )


def agreement(facts: FleetFacts, own: Terms) -> Finding:
    """Whether all have the same budget and encryption key as these settings."""
    differing = own.differing(tuple(facts.terms.values()))
    if not differing:
        return ok("fleet.agreement", "all of them have this budget and this encryption key")
    return problem(
        "fleet.agreement",
        f"processes on this Redis have another {named(differing)} than these settings",
        "give all gateways on one Redis the same, or another redis_prefix; the lowest budget holds meanwhile",
    )


def terms_of(settings: Settings) -> Terms:
    """What a gateway with these settings tells the others."""
    try:
        mark = "" if settings.profile == "generic" else keyring_of(settings).vault().mark
    except ConfigurationError:
        mark = ""
    return Terms(*Budget(settings.budget_interval, settings.budget_burst).arguments, mark)
