"""The composition root: builds the parts from the settings and hands them to each other."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, replace
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway import __version__
from gateway.admin.auth import AdminTokens
from gateway.admin.explain import Answering, ExplainApi, ExploreApi
from gateway.admin.fleet import FleetApi, OverviewApi
from gateway.admin.operations import Operation, exactly, openapi, routes, scraped
from gateway.admin.sessions import Authenticator, Guesses, Sessions, Visitors, instance_of
from gateway.admin.tenants import TenantsApi
from gateway.admin.web import explore as explore_page
from gateway.admin.web import overview as overview_page
from gateway.admin.web.cache import CachePage
from gateway.admin.web.pages import Web, docs_routes, static_routes
from gateway.admin.web.sign_in import SignIn
from gateway.admin.web.tenants import KeysPages, TenantsPages
from gateway.cache.lifetimes import Lifetimes
from gateway.cache.purges import Marks
from gateway.cache.rules import Rules
from gateway.cache.store import NearCache, Store
from gateway.catalogue import endpoints as catalogue
from gateway.catalogue.answers import Shapes
from gateway.errors import ConfigurationError
from gateway.lifecycle import Life, Lifecycle
from gateway.lifespan import Parts
from gateway.observe.aggregate import Aggregate, Aggregates
from gateway.observe.counters import DayCounters, MinuteCounters
from gateway.observe.metrics import CONTENT_TYPE, Metrics
from gateway.observe.upstream_calls import OnBehalfOf, UpstreamCall, report_shapes
from gateway.proxy.access_log import Teller
from gateway.proxy.callers import Callers, Impersonation
from gateway.proxy.delivery import Coder
from gateway.proxy.fast_path import Facts, Lane
from gateway.proxy.fetch import Errands
from gateway.proxy.network import ByNetwork
from gateway.proxy.profiles import GenericProfile, Profile, StatisticsProfile
from gateway.proxy.proxy import Proxy, ProxyRules
from gateway.proxy.store import GenericJudge, StatisticsJudge
from gateway.redis import MEMORY, Client, Clock, connect
from gateway.server.head import Limits
from gateway.server.open_files import import_ahead
from gateway.server.public import Gateway
from gateway.server.workers import worker_number
from gateway.settings import Settings
from gateway.tenants.limiter import RateLimiter
from gateway.tenants.registry import Registry, open_registry
from gateway.tenants.tenant import ANONYMOUS, UNLIMITED, Network, Sharing, Tenant, TenantLimits
from gateway.upstream.client import Timeouts, UpstreamClient
from gateway.upstream.credential_breaker import PauseRules
from gateway.upstream.headers import GENERIC, STATISTICS, TRACED, HeaderPolicy
from gateway.upstream.network import TrustStore
from gateway.upstream.pacing import Budget, FleetRules
from gateway.upstream.queue import Queue
from gateway.upstream.queue_state import QueueRules
from gateway.upstream.runner import OnDispatch

if TYPE_CHECKING:
    from gateway.observe.tracing import Tracing

ROUNDS = 10
"""Commands, one after another, that a look-up takes at most: those it waits for, and in a cluster redirections."""
CODED_SHARE = 4
"""The near cache may have this many times the memory of the coded bodies kept beside it."""


@dataclass(frozen=True, slots=True)
class Application:
    """The two apps of one process, its phase of life, the lane past the public app, and how it is made to look at
    the registry at once."""

    public: Gateway
    admin: Starlette
    lifecycle: Lifecycle
    lane: Lane
    look_again: Callable[[], None]


def create_app(settings: Settings) -> Gateway:
    """The public app alone, complete under any ASGI server."""
    return create_application(settings).public


def create_application(settings: Settings, clock: Clock | None = None) -> Application:
    """Builds both apps; I/O begins in the public one's lifespan. Raises ConfigurationError."""
    import_ahead()
    clock = clock or Clock()
    lifecycle = Lifecycle()
    metrics = Metrics()
    redis = connect(settings)
    store = Store(redis, NearCache(settings.near_max_bytes), settings.redis_prefix, clock)
    registry = open_registry(settings)
    registry.load()
    notes = registry.notes()
    generic = settings.profile == "generic"
    if generic and registry.directory.tenants:
        raise ConfigurationError("profile generic serves everyone alike; it goes with no tenants in the registry")

    def told_the_time(now: float, skew: float) -> None:
        if clock.sync(now, skew):
            store.near.clear()  # its times are by the clock as it was; what is in Redis is mended as it is read

    queue = queue_of(settings, redis, lambda: registry.mark, told_the_time, metrics.dispatched)
    client = client_of(settings)
    no_store_counts = settings.refresh_floor == 0
    shapes = Shapes(report_shapes(metrics))
    statistics = StatisticsJudge(_lifetimes(settings), no_store_counts=no_store_counts, shapes=shapes)
    judge = GenericJudge(_lifetimes(settings)) if generic else statistics
    admission = RateLimiter(redis, settings.redis_prefix, lambda: queue.fleet.share)
    marks = Marks(redis, settings.redis_prefix, clock, on_recall=store.near.drop)
    sharing = Sharing(marks, totals=settings.totals_scope == "public")

    def tell(tally: Aggregate) -> None:
        metrics.answered(tally)
        usage.answered(tally)
        pulse.answered(tally)

    tallies = Aggregates(tell)
    usage = DayCounters(redis, settings.redis_prefix, settings.usage_days, tallies.gather)
    guard = _guard(settings)
    sessions = Sessions(redis, settings.redis_prefix, guard, clock.order, settings.session_idle)
    pulse = MinuteCounters(redis, settings.redis_prefix, clock.now, tallies.gather)
    tracing = _tracing(settings)

    def call(asker: OnBehalfOf, flight: str) -> UpstreamCall:
        return UpstreamCall(metrics, usage, pulse, tracing, asker, flight)

    profile = _profile(settings, registry)
    callers = _callers(settings, profile, admission, clock)
    teller = Teller(metrics, tallies, tracing, hit_sample=settings.log_hits)
    facts = Facts(
        profile, registry, callers, admission, marks, sharing, store.near, queue.breaker, clock, teller, lifecycle
    )
    lane = Lane(facts, settings.prepared_max_bytes)
    errands = Errands(client, store, judge, clock, call, watched=not generic)
    parts = Parts(
        settings,
        redis,
        registry,
        admission,
        marks,
        usage,
        pulse,
        queue,
        client,
        store,
        metrics,
        tallies,
        lane,
        tracing,
        lifecycle,
        sessions,
        notes,
    )
    life = Life(parts.running)
    public = exactly(Gateway(routes=_public_routes(queue, registry, lifecycle), lifespan=life.lifespan), "/-/docs")
    public.life, public.lifecycle, public.lane = life, lifecycle, lane
    public.hosts = Limits.of(settings).hosts
    public.proxy = Proxy(
        _rules(settings),
        profile,
        callers,
        store,
        marks,
        sharing,
        queue,
        errands,
        _coder(settings),
        clock,
        teller,
        lifecycle,
        lane,
    )

    def ask_as(tenant: Tenant | None) -> Answering:
        """The public proxy's way, for one tenant: the same parts, and nobody to identify."""
        proxy = copy(public.proxy)
        if tenant is not None:
            proxy.callers = Impersonation(tenant, profile, admission, clock)
        return proxy.answered

    explore = ExploreApi(registry, ask_as, settings.public_base)
    operations = [*_operations(parts, profile, marks, sharing, clock), *explore.operations]
    admin = _admin(parts, _entrance(parts, guard), operations, clock)
    return Application(public, admin, lifecycle, lane, parts.look_again)


def _guard(settings: Settings) -> AdminTokens:
    token = settings.admin_token.get_secret_value()
    return AdminTokens(token, settings.admin_tokens, (*settings.admin_hosts, settings.admin_host))


def _entrance(parts: Parts, guard: AdminTokens) -> Authenticator:
    settings = parts.settings
    visitors = Visitors(_trusted(settings), settings.session_secure)
    guesses = Guesses(parts.admission, visitors, parts.metrics.wrong_token)
    return Authenticator(guard, parts.sessions, visitors, guesses, instance_of(settings))


def _operations(parts: Parts, profile: Profile, marks: Marks, sharing: Sharing, clock: Clock) -> list[Operation]:
    settings, prefix = parts.settings, parts.settings.redis_prefix
    tenants = TenantsApi(parts.registry, parts.usage)
    fleet = FleetApi(settings, parts.redis, parts.usage, marks, parts.queue, profile.recognise)
    rules = Rules(settings.refresh_floor)
    explain = ExplainApi(
        prefix,
        parts.registry,
        profile,
        parts.store,
        marks,
        sharing,
        parts.queue,
        _lifetimes(settings),
        rules,
        clock.now,
        allow_anonymous=settings.allow_anonymous,
    )
    overview = OverviewApi(
        parts.pulse,
        parts.usage,
        parts.queue,
        parts.registry,
        clock.now,
        embedded=settings.redis_url.get_secret_value() == MEMORY,
    )
    return [*overview.operations, *tenants.operations, *fleet.operations, *explain.operations]


def _admin(parts: Parts, entrance: Authenticator, operations: list[Operation], clock: Clock) -> Starlette:
    """The admin API, the console, and the metrics."""
    settings = parts.settings
    web = Web(entrance, operations, __version__, settings.public_url, settings.port)
    kind, public = CONTENT_TYPE.decode(), settings.metrics_public

    def render(named: bool) -> bytes:
        parts.show()
        return parts.metrics.render(named=named)

    found = [
        *routes(entrance, operations),
        *docs_routes(openapi(__version__, operations), tokens=entrance.tokens),
        Route("/metrics", scraped(entrance, render, kind, public=public)),
        *SignIn(web).routes,
        *overview_page.routes(web),
        *TenantsPages(web, clock.now).routes,
        *KeysPages(web, clock.now).routes,
        *CachePage(web).routes,
        *explore_page.routes(web),
        *static_routes(entrance.tokens),
    ]
    return exactly(Starlette(routes=found), "/docs", web.out_of_place)


def _callers(settings: Settings, profile: Profile, admission: RateLimiter, clock: Clock) -> Callers:
    minute = settings.invalid_keys_per_minute
    penalty = TenantLimits(requests_per_second=minute / 60, burst=minute) if minute else UNLIMITED
    return Callers(profile, admission, clock, penalty, _trusted(settings))


def _trusted(settings: Settings) -> list[Network]:
    return [ip_network(network, strict=False) for network in settings.trusted_proxies]


def _anonymous(settings: Settings) -> Tenant | None:
    """Callers without a key, with their limits; None where there may be none."""
    if not settings.allow_anonymous:
        return None
    limits = TenantLimits(
        requests_per_second=settings.anonymous_requests_per_second or None,
        burst=settings.anonymous_burst,
        requests_per_day=settings.anonymous_requests_per_day or None,
        queued=settings.anonymous_queued,
        share=settings.anonymous_share,
    )
    return replace(ANONYMOUS, limits=limits)


def _profile(settings: Settings, registry: Registry) -> Profile:
    if settings.profile == "generic":
        return GenericProfile(max_bytes=settings.target_max_bytes, policy=_policy(settings))
    return StatisticsProfile(
        registry,
        ByNetwork(settings.public_hosts, _trusted(settings)),
        anonymous=_anonymous(settings),
        ignored=frozenset(settings.ignored_parameters),
        max_bytes=settings.target_max_bytes,
    )


def _coder(settings: Settings) -> Coder | None:
    codings = tuple(coding.encode() for coding in settings.content_codings)
    return Coder(settings.near_max_bytes // CODED_SHARE, codings) if codings else None


def _tracing(settings: Settings) -> Tracing | None:
    if not settings.otlp_endpoint:
        return None
    try:
        from gateway.observe.tracing import Tracing
    except ImportError:
        raise ConfigurationError("otlp_endpoint needs the extra: pip install 'stats-gateway[otel]'") from None
    return Tracing.to_collector(
        settings.otlp_endpoint, sample=settings.trace_sample, upstream=settings.trace_upstream
    )


def queue_of(
    settings: Settings,
    redis: Client,
    mark: Callable[[], str] = lambda: "",
    on_clock: Callable[[float, float], object] = lambda now, skew: None,
    on_dispatch: OnDispatch = lambda priority, waited: None,
) -> Queue:
    """This process's end of the fleet's queue; ``mark`` is that of the newest encryption key."""
    rules = QueueRules(
        max_queued=settings.queue_max,
        max_per_tenant=settings.queue_max_per_tenant,
        longest_run=settings.upstream_timeout + settings.connect_timeout + settings.pool_timeout + 10,
        gate=PauseRules(settings.gate_pause, settings.gate_longest, shortest=1.0),
        breaker=PauseRules(settings.breaker_pause, settings.breaker_longest),
    )
    budget = Budget(settings.budget_interval, settings.budget_burst)
    fleet = FleetRules(max(settings.fleet_size, settings.workers), settings.workers, worker_number(), mark)
    return Queue(redis, settings.redis_prefix, budget, rules, fleet, on_clock, on_dispatch)


def client_of(settings: Settings) -> UpstreamClient:
    """The client that asks the service. Raises ConfigurationError where upstream_ca_file cannot be used."""
    timeouts = Timeouts(
        connect=settings.connect_timeout,
        read=settings.read_timeout,
        write=settings.write_timeout,
        pool=settings.pool_timeout,
        total=settings.upstream_timeout,
    )
    trusted = None
    if settings.upstream.startswith("https://"):
        trusted = TrustStore.of(settings.upstream_ca_file).context()
    return UpstreamClient(
        settings.upstream,
        timeouts,
        settings.body_max_bytes,
        policy=_policy(settings),
        ssl_context=trusted,
    )


def _policy(settings: Settings) -> HeaderPolicy:
    if settings.profile != "generic":
        return STATISTICS
    return replace(GENERIC, replaced=TRACED) if settings.otlp_endpoint and settings.trace_upstream else GENERIC


def _lifetimes(settings: Settings) -> Lifetimes:
    if settings.profile == "generic":
        return Lifetimes(
            stale_if_error=settings.stale_if_error,
            stale_while_revalidate_family=settings.stale_while_revalidate_family,
            stale_if_error_family=settings.stale_if_error_family,
        )
    return Lifetimes(
        closed=settings.lifetime_closed,
        open=settings.lifetime_open,
        totals=settings.lifetime_totals,
        empty=settings.lifetime_empty,
        error=settings.lifetime_error,
        forbidden=settings.lifetime_forbidden,
        unknown=settings.lifetime_unknown,
        jitter=settings.lifetime_jitter,
        stale_if_error=settings.stale_if_error,
        obey=settings.upstream_directives == "obey",
        stale_while_revalidate_family=settings.stale_while_revalidate_family,
        stale_if_error_family=settings.stale_if_error_family,
    )


def _rules(settings: Settings) -> ProxyRules:
    return ProxyRules(
        prefix=settings.redis_prefix,
        caller_timeout=settings.caller_timeout,
        look_up_timeout=ROUNDS * settings.redis_timeout,
        rules=Rules(settings.refresh_floor),
        passed=None if settings.profile == "generic" else frozenset(settings.pass_methods),
        request_max_bytes=settings.request_max_bytes,
        authorities=frozenset({urlsplit(settings.upstream).netloc.lower().encode()}),
    )


def _public_routes(queue: Queue, registry: Registry, lifecycle: Lifecycle) -> list[Route]:
    async def live(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def ready(_: Request) -> Response:
        if not lifecycle.ready:
            return JSONResponse({"status": lifecycle.phase.value}, status_code=503)
        known = registry.standing
        state: dict[str, Any] = {"status": "degraded" if queue.degraded or known.reason else "ok"}
        if known.reason:
            state["registry"] = {"reason": known.reason, "age": round(known.age)}
        if queue.gate_closed_for > 0:
            state["gate"] = {"closed_for": math.ceil(queue.gate_closed_for)}
        return JSONResponse(state)

    return [
        Route("/-/health/live", live),
        Route("/-/health/ready", ready),
        *docs_routes(catalogue.openapi(__version__), "/-"),
    ]
