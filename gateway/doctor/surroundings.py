"""Surroundings: looks at everything that needs no call to the service, and says what was found."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from gateway.doctor.credentials import Opened, credential_findings, opened
from gateway.doctor.exposure import exposure
from gateway.doctor.finding import Finding, counted, note, ok, problem, unknown, warning
from gateway.doctor.fleet import ask_fleet, fleet_findings
from gateway.doctor.modes import file_facts, may_read, modes
from gateway.doctor.networks import network_findings
from gateway.doctor.reach import trust_findings
from gateway.doctor.redis_checks import redis_findings, registry_findings
from gateway.doctor.redis_facts import RedisFacts, ask_redis
from gateway.doctor.running import readiness, running_findings
from gateway.doctor.tenants import tenant_findings
from gateway.environment import misnomer
from gateway.errors import ConfigurationError, RegistryUnavailable
from gateway.provenance import Sources
from gateway.redis_client import MEMORY
from gateway.redis_place import RedisPlace
from gateway.setting_values import STATISTICS_ONLY
from gateway.settings import Settings, unknown_in
from gateway.tenants.registry import keyring_of, open_registry
from gateway.tenants.schema import Tables
from gateway.upstream.network import TrustStore

MEMORY_ADVICE = "set STATS_GATEWAY_REDIS_URL for anything but trying it out"
UNSET = ("default", "profile")
SECRETS = ("redis_url", "redis_sentinel_password", "registry", "encryption_keys", "admin_token")


@dataclass(slots=True)
class Surroundings:
    """What was found, and what a look at the service needs of it: the credentials that open, and whether the Redis
    of the cache can be used, in which the fleet's budget is."""

    findings: list[Finding] = field(default_factory=list)
    opened: Opened = field(default_factory=Opened)
    redis: bool = False


async def look_around(settings: Settings, sources: Sources) -> Surroundings:
    """Looks at settings, files, Redis and the registry. Bounded in time; never raises."""
    found = Surroundings()
    found.findings += _settings(settings, sources)
    found.findings += exposure(settings)
    if settings.upstream.startswith("https://"):
        found.findings += trust_findings(TrustStore.of(settings.upstream_ca_file))
    found.findings += _files(settings, sources)
    cache, registry = await _ask(settings)
    found.redis = cache is not None and not cache.trouble
    found.findings += _of_redis(settings, cache, registry)
    if found.redis:
        found.findings += fleet_findings(await ask_fleet(settings), settings)
    if settings.profile != "generic":
        found.findings += _tenants(settings, found)
        found.findings += running_findings(await asyncio.to_thread(readiness, settings))
    return found


def _settings(settings: Settings, sources: Sources) -> Iterator[Finding]:
    places = sources.provenance(settings.profile)
    changed = sum(each.kind != "default" for each in places.values())
    yield ok(
        "settings.reading", f"{counted(changed, 'setting')} not as by default; see: stats-gateway config --changed"
    )
    if settings.profile == "generic":
        unread = [name for name, each in places.items() if each.kind not in UNSET and name in STATISTICS_ONLY]
        if unread:
            yield note(
                "settings.profile", f"profile generic heeds nothing of: {', '.join(unread)}", "take them out"
            )
    for variable in sources.strangers:
        what, tolerated = misnomer(variable, Settings.model_fields), settings.allow_unknown_settings
        found, more = (warning, "") if tolerated else (problem, "; serve refuses it")
        yield found("settings.variables", what, f"rename it, or take it out{more}")
    for line in unknown_in(Path(sources.file) if sources.file else None):
        yield warning("settings.file", line, "rename it, or take it out")


def _files(settings: Settings, sources: Sources) -> Iterator[Finding]:
    registry, keys = settings.registry_file, keyring_of(settings).path
    places = []
    if sources.file:
        secret = any(_holds_secret(sources, name) for name in SECRETS)
        places.append(("files.settings", Path(sources.file), "the settings file", secret))
    if registry is not None:
        places.append(("files.registry", registry, "the registry", False))
    if keys is not None and not settings.encryption_keys.get_secret_value():
        places.append(("files.encryption_keys", keys, "the encryption keys", True))
    for check, path, what, secret in places:
        facts = file_facts(check, path, what, secret=secret)
        if facts is not None:
            yield modes(facts)


def _holds_secret(sources: Sources, name: str) -> bool:
    value = str(sources.in_file.get(name, ""))
    return ("@" in value or "password=" in value) if "://" in value else bool(value) and name != "registry"


async def _ask(settings: Settings) -> tuple[RedisFacts | None, RedisFacts | None]:
    """The facts of the cache's Redis, and of the registry's where that is another one."""
    cache, registry = settings.redis_url.get_secret_value(), settings.registry.get_secret_value()

    async def facts(url: str) -> RedisFacts:
        password = settings.redis_sentinel_password.get_secret_value()
        return await ask_redis(url, settings.redis_prefix, settings.redis_timeout, sentinel_password=password)

    return (
        None if cache == MEMORY else await facts(cache),
        await facts(registry) if settings.registry_file is None and not _same_server(settings) else None,
    )


def _same_server(settings: Settings) -> bool:
    """Whether cache and registry are in one Redis, be it in different databases."""
    urls = [each.get_secret_value() for each in (settings.redis_url, settings.registry)]
    if settings.registry_file is not None or MEMORY in urls:
        return False
    one, other = (RedisPlace.parse(url) for url in urls)
    return (one.kind, one.service) == (other.kind, other.service) and not set(one.hosts).isdisjoint(other.hosts)


def _of_redis(settings: Settings, cache: RedisFacts | None, registry: RedisFacts | None) -> Iterator[Finding]:
    if cache is None:
        told = "memory://: answers, queue and budget are lost with the process, and no other process shares them"
        yield note("redis.reach", told, MEMORY_ADVICE)
    else:
        yield from redis_findings(cache, registry=_same_server(settings))
    if registry is not None:
        yield from registry_findings(registry)


def _tenants(settings: Settings, found: Surroundings) -> Iterator[Finding]:
    try:
        tables = _tables(settings)
        if tables is None:
            yield unknown(
                "registry.reading",
                f"{settings.registry_file} may not be read from here",
                "run this as the gateway's user",
            )
            return
    except RegistryUnavailable as error:
        what = "start that Redis" if settings.registry_file is None else "see to that file, or to its disk"
        yield problem("registry.reading", error.message, f"{what}, or set STATS_GATEWAY_REGISTRY")
        return
    except ConfigurationError as error:
        yield problem("registry.reading", error.message, "mend it by hand, or bring back a copy")
        return
    yield ok("registry.reading", f"{settings.masked()['registry']} reads")
    yield from tenant_findings(tables, datetime.now(UTC), allow_anonymous=settings.allow_anonymous)
    yield from network_findings(tables, settings)
    yield from _opening(settings, tables, found)


def _tables(settings: Settings) -> Tables | None:
    """The registry's tables; None where this user may not read the file."""
    path = settings.registry_file
    if path is not None and not may_read(path):
        return None
    return open_registry(settings).store.read()


def _opening(settings: Settings, tables: Tables, found: Surroundings) -> Iterator[Finding]:
    path = keyring_of(settings).path
    if path is not None and not may_read(path):
        yield unknown("credentials.opening", f"{path} may not be read from here", "run this as the gateway's user")
        return
    try:
        vault = keyring_of(settings).vault()
    except ConfigurationError as error:
        yield problem("credentials.opening", error.message, "a new one is made by: stats-gateway secrets generate")
        return
    found.opened = opened(tables, vault)
    yield from credential_findings(found.opened)
