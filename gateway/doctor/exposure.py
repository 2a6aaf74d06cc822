"""Exposure: who can reach the listeners, what travels in the clear, and what one may take from all. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

from gateway.doctor.finding import Finding, note, ok, problem, warning
from gateway.masking import masked_url
from gateway.redis_client import MEMORY
from gateway.redis_place import RedisPlace
from gateway.settings import Settings

SERVICE = "stats.figshare.com"
SHORT_TOKEN = 20
"""Characters below which a token is soon guessed by a program that tries."""


def exposure(settings: Settings) -> Iterator[Finding]:
    """What the settings say about who gets in and who can listen in."""
    yield _admin(settings)
    yield from _metrics(settings)
    yield _public(settings)
    yield from _token(settings)
    yield from _proxies(settings)
    yield from _upstream(settings)
    yield from _budget(settings)
    yield from _queue(settings)
    for name, place in (("redis", settings.redis_url), ("registry", settings.registry)):
        yield from _redis(name, place.get_secret_value())


def is_loopback(host: str) -> bool:
    """Whether a host is this machine alone, as far as its name says."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def has_admin_token(settings: Settings) -> bool:
    """Whether anybody can use the admin API."""
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
            f"{where} can be reached from other machines, tells them its metrics, and has no admin token",
            "set STATS_GATEWAY_ADMIN_TOKEN, or STATS_GATEWAY_ADMIN_HOST=127.0.0.1",
        )
    return note(
        check,
        f"{where} can be reached from other machines, and listens in the clear: tokens can be overheard",
        "put TLS in front of it, or set STATS_GATEWAY_ADMIN_HOST=127.0.0.1",
    )


def _metrics(settings: Settings) -> Iterator[Finding]:
    """Whether dashboards have rows by tenant, and who else has the tenants' names."""
    if not has_admin_token(settings):
        return
    check, alone = "listeners.metrics", is_loopback(settings.admin_host)
    if settings.metrics_public and not alone:
        yield note(
            check,
            "/metrics names the tenants to whoever reaches the admin listener",
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


def _token(settings: Settings) -> Iterator[Finding]:
    token = settings.admin_token.get_secret_value()
    if token and len(token) < SHORT_TOKEN:
        yield warning(
            "settings.admin_token",
            f"the admin token has only {len(token)} characters, and may do everything",
            "use a long random one, say of: openssl rand -hex 32",
        )


def _proxies(settings: Settings) -> Iterator[Finding]:
    if any(ip_network(each, strict=False).prefixlen == 0 for each in settings.trusted_proxies):
        yield warning(
            "settings.trusted_proxies",
            "every address counts as a trusted proxy, so that clients choose by which address they are limited",
            "set STATS_GATEWAY_TRUSTED_PROXIES to the networks of your own proxies",
        )


def _upstream(settings: Settings) -> Iterator[Finding]:
    parts = urlsplit(settings.upstream)
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        yield problem(
            "settings.upstream",
            f"{settings.upstream} is asked in the clear: the institutions' passwords can be overheard",
            "set STATS_GATEWAY_UPSTREAM to an https:// URL",
        )


def _budget(settings: Settings) -> Iterator[Finding]:
    interval = settings.budget_interval
    if urlsplit(settings.upstream).hostname == SERVICE and (interval is None or interval < 1):
        yield warning(
            "settings.budget",
            f"the budget, {settings.budget}, is more than the one request per second that the service asks for",
            "set STATS_GATEWAY_BUDGET=1/s, unless its operator agreed to more",
        )


def _queue(settings: Settings) -> Iterator[Finding]:
    most, each = settings.queue_max, settings.queue_max_per_tenant
    if settings.profile != "generic" and each >= most:
        yield warning(
            "settings.queue",
            f"one tenant may fill the queue: {each} jobs may wait for each, and {most} in all",
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
            f"{masked_url(url)} is asked without a password: whoever reaches it decides what is answered",
            "give that Redis a password, and a network of its own",
        )
    if not place.secure:
        yield note(
            f"{name}.clear",
            f"{masked_url(url)} is spoken to in the clear",
            "use rediss:// where the network between is not yours alone",
        )
