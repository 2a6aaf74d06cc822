"""The doctor's look at everything that needs no call to the service; here its checks of settings and files."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from pathlib import Path
from urllib.parse import urlsplit

from gateway.admin.doctor.files import file_facts, may_read, modes
from gateway.admin.doctor.finding import Finding, Fix, counted, note, ok, problem, unknown, warning
from gateway.admin.doctor.redis import (
    RedisFacts,
    ask_fleet,
    ask_redis,
    fleet_findings,
    redis_findings,
    registry_findings,
)
from gateway.admin.doctor.service import trust_findings
from gateway.admin.doctor.tenants import (
    Opened,
    credential_findings,
    network_findings,
    opened,
    readiness,
    running_findings,
    tenant_findings,
)
from gateway.admin.doctor.warming import warming_findings
from gateway.errors import ConfigurationError, RegistryUnavailable
from gateway.provenance import Sources, masked
from gateway.redis import MEMORY
from gateway.redis_url import RedisPlace, masked_url
from gateway.setting_values import STATISTICS_ONLY, describe_unknown
from gateway.settings import Settings, file_warnings
from gateway.tenants.registry import keyring_of, open_registry
from gateway.tenants.schema import TenantTables
from gateway.upstream.network import TrustStore

SERVICE = "stats.figshare.com"
SHORT_TOKEN = 20
"""Characters below which a program soon guesses a token."""
MEMORY_ADVICE = "set STATS_GATEWAY_REDIS_URL for anything but trying it out"
RESEAL = "seal all passwords with the newest encryption key; older keys stay where they are"
UNSET = ("default", "profile")
SECRETS = ("redis_url", "redis_sentinel_password", "registry", "encryption_keys", "admin_token")


@dataclass(slots=True)
class Surroundings:
    """The findings, and what a look at the service needs: the credentials that open, and whether the cache's
    Redis, which holds the fleet's budget, can be used."""

    findings: list[Finding] = field(default_factory=list)
    opened: Opened = field(default_factory=Opened)
    redis: bool = False


async def look_around(settings: Settings, sources: Sources) -> Surroundings:
    """Check settings, files, Redis and the registry. Bounded in time; never raises."""
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


def exposure(settings: Settings) -> Iterator[Finding]:
    """Findings on who gets in and who can listen in, by the settings."""
    yield _admin(settings)
    yield from _metrics(settings)
    yield _public(settings)
    yield from _faults(settings)
    for name, place in (("redis", settings.redis_url), ("registry", settings.registry)):
        yield from _redis(name, place.get_secret_value())


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, as far as its name says."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def has_admin_token(settings: Settings) -> bool:
    return bool(settings.admin_token.get_secret_value() or settings.admin_tokens)


def _admin(settings: Settings) -> Finding:
    where, check = f"the admin listener, {settings.admin_host} port {settings.admin_port},", "listeners.admin"
    if is_loopback(settings.admin_host):
        if has_admin_token(settings):
            return ok(check, f"{where} can be reached from this machine only")
        return note(
            check,
            "there is no admin token, so the admin API and the console answer nobody",
            "set STATS_GATEWAY_ADMIN_TOKEN to a long random text, and restart",
        )
    if not has_admin_token(settings):
        return warning(
            check,
            f"{where} can be reached from other machines, shows them its metrics, and has no admin token",
            "set STATS_GATEWAY_ADMIN_TOKEN, or STATS_GATEWAY_ADMIN_HOST=127.0.0.1",
        )
    return note(
        check,
        f"{where} can be reached from other machines, and listens in the clear: tokens can be overheard",
        "put TLS in front of it, or set STATS_GATEWAY_ADMIN_HOST=127.0.0.1",
    )


def _metrics(settings: Settings) -> Iterator[Finding]:
    """Whether dashboards have rows by tenant, and who else sees the tenants' names."""
    if not has_admin_token(settings):
        return
    check, alone = "listeners.metrics", is_loopback(settings.admin_host)
    if settings.metrics_public and not alone:
        yield note(
            check,
            "/metrics names the tenants to everybody who reaches the admin listener",
            "set STATS_GATEWAY_METRICS_PUBLIC=false, and let the scraper send an admin token that may only read",
        )
    elif alone:
        shown = "names the tenants" if settings.metrics_public else "names tenants to those who send a token"
        yield ok(check, f"/metrics {shown}, and can be reached from this machine only")
    else:
        yield note(
            check,
            "/metrics names no tenant to a scraper without an admin token: dashboards have no rows by tenant then",
            "let it send a read-only one, as Authorization: Bearer, or set STATS_GATEWAY_METRICS_PUBLIC=true",
        )


def _public(settings: Settings) -> Finding:
    where, check = f"the public listener, {settings.host} port {settings.port},", "listeners.public"
    if is_loopback(settings.host):
        return ok(check, f"{where} can be reached from this machine only")
    return note(
        check,
        f"{where} can be reached from other machines, and listens in the clear: keys can be overheard",
        "put TLS in front of it: a reverse proxy, an ingress or a mesh",
    )


def _faults(settings: Settings) -> Iterator[Finding]:
    """Values that are allowed, and seldom meant."""
    upstream, token = urlsplit(settings.upstream), settings.admin_token.get_secret_value()
    interval, most, each = settings.budget_interval, settings.queue_max, settings.queue_max_per_tenant
    if token and len(token) < SHORT_TOKEN:
        yield warning(
            "settings.admin_token",
            f"the admin token has only {len(token)} characters, and may do everything",
            "use a long random one, say of: openssl rand -hex 32",
        )
    if any(ip_network(each, strict=False).prefixlen == 0 for each in settings.trusted_proxies):
        yield warning(
            "settings.trusted_proxies",
            "every address counts as a trusted proxy, so that clients choose by which address they are limited",
            "set STATS_GATEWAY_TRUSTED_PROXIES to the networks of your own proxies",
        )
    if upstream.scheme == "http" and not is_loopback(upstream.hostname or ""):
        yield problem(
            "settings.upstream",
            f"{settings.upstream} is asked in the clear: the institutions' passwords can be overheard",
            "set STATS_GATEWAY_UPSTREAM to an https:// URL",
        )
    if upstream.hostname == SERVICE and (interval is None or interval < 1):
        yield warning(
            "settings.budget",
            f"the budget, {settings.budget}, is more than the one request per second that the service asks for",
            "set STATS_GATEWAY_BUDGET=1/s, unless its operator agreed to more",
        )
    if settings.profile != "generic" and each >= most:
        yield warning(
            "settings.queue",
            f"one tenant may fill the queue: {each} calls may wait for each, and {most} in all",
            "set STATS_GATEWAY_QUEUE_MAX_PER_TENANT well below STATS_GATEWAY_QUEUE_MAX",
        )


def _redis(name: str, url: str) -> Iterator[Finding]:
    if "://" not in url or url == MEMORY:
        return
    place = RedisPlace.parse(url)
    if all(is_loopback(host) for host, _ in place.hosts):
        return
    if not place.options.get("password"):
        yield warning(
            f"{name}.access",
            f"{masked_url(url)} is asked without a password: anybody who reaches it decides what is answered",
            "give that Redis a password, and a network of its own",
        )
    if not place.secure:
        yield note(
            f"{name}.clear",
            f"{masked_url(url)} is spoken to in the clear",
            "use rediss:// where the network between is not yours alone",
        )


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
    for variable in sources.unknown_variables:
        what, tolerated = describe_unknown(variable, Settings.model_fields), settings.allow_unknown_settings
        found, more = (warning, "") if tolerated else (problem, "; serve refuses it")
        yield found("settings.variables", what, f"rename it, or take it out{more}")
    for line in file_warnings(Path(sources.file) if sources.file else None):
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
    """The cache's Redis, and the registry's where that is another one."""
    cache, registry = settings.redis_url.get_secret_value(), settings.registry.get_secret_value()

    async def facts(url: str) -> RedisFacts:
        password = settings.redis_sentinel_password.get_secret_value()
        return await ask_redis(url, settings.redis_prefix, settings.redis_timeout, sentinel_password=password)

    return (
        None if cache == MEMORY else await facts(cache),
        await facts(registry) if settings.registry_file is None and not _same_server(settings) else None,
    )


def _same_server(settings: Settings) -> bool:
    """Whether cache and registry are in one Redis, even in different databases."""
    urls = [each.get_secret_value() for each in (settings.redis_url, settings.registry)]
    if settings.registry_file is not None or MEMORY in urls:
        return False
    one, other = (RedisPlace.parse(url) for url in urls)
    return (one.kind, one.service) == (other.kind, other.service) and not set(one.hosts).isdisjoint(other.hosts)


def _of_redis(settings: Settings, cache: RedisFacts | None, registry: RedisFacts | None) -> Iterator[Finding]:
    if cache is None:
        what = "memory://: answers, queue and budget are lost with the process, and no other process shares them"
        yield note("redis.reach", what, MEMORY_ADVICE)
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
        yield problem("registry.reading", error.message, "repair it by hand, or restore a copy")
        return
    yield _found(settings, tables)
    yield from tenant_findings(tables, datetime.now(UTC), allow_anonymous=settings.allow_anonymous)
    yield from network_findings(tables, settings)
    yield from warming_findings(tables, settings, datetime.now(UTC))
    yield from _opening(settings, tables, found)


def _found(settings: Settings, tables: TenantTables) -> Finding:
    """Whether there is a registry, now that it could be read: a missing file reads as an empty one."""
    path, place, check = settings.registry_file, masked(settings)["registry"], "registry.reading"
    if tables:
        return ok(check, f"{place} can be read")
    if path is None or path.exists():
        return note(check, f"{place} can be read, and is empty")
    if path.absolute().parent.is_dir():
        return note(check, f"there is no file {place} yet", "tenant add makes it; else set STATS_GATEWAY_REGISTRY")
    return problem(
        check, f"there is no file {place}, nor a folder for it", "make the folder, or set STATS_GATEWAY_REGISTRY"
    )


def _tables(settings: Settings) -> TenantTables | None:
    """The registry's tables; None where this user may not read the file."""
    path = settings.registry_file
    if path is not None and not may_read(path):
        return None
    return open_registry(settings).store.read()


def _opening(settings: Settings, tables: TenantTables, found: Surroundings) -> Iterator[Finding]:
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
    yield from credential_findings(found.opened, Fix(RESEAL, open_registry(settings).reseal))
