"""The composition root: builds the parts of a process from its settings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from ipaddress import ip_network
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.routing import Route

from gateway import __version__
from gateway.admin.auth import AdminTokens
from gateway.admin.derivation import DerivationApi
from gateway.admin.explain import ExplainApi, ExploreApi
from gateway.admin.fleet import FleetApi, OverviewApi
from gateway.admin.jobs import JobsAdminApi
from gateway.admin.operations import Operation, exactly, openapi, routes, scraped
from gateway.admin.sessions import Authenticator, Guesses, Sessions, Visitors, instance_of
from gateway.admin.tenants import TenantsApi
from gateway.admin.web import explore as explore_page
from gateway.admin.web import overview as overview_page
from gateway.admin.web.cache import CachePage
from gateway.admin.web.pages import Web, docs_routes, static_routes
from gateway.admin.web.queue import QueuePage
from gateway.admin.web.reports import ReportsPages
from gateway.admin.web.sign_in import SignIn
from gateway.admin.web.tenants import KeysPages, TenantsPages
from gateway.cache.lifetimes import lifetimes_of
from gateway.cache.purges import Purges
from gateway.cache.rules import Rules
from gateway.cache.store import NearCache, Store
from gateway.catalogue import endpoints as catalogue
from gateway.catalogue.answers import Shapes
from gateway.catalogue.endpoints import recognise
from gateway.catalogue.query import Query
from gateway.derivation.trust_book import TrustBook
from gateway.derivation.trust_store import TrustStore
from gateway.errors import ConfigurationError
from gateway.jobs.api import JobsApi, routes_of
from gateway.jobs.drivers import KINDS, Kind
from gateway.jobs.means import Means
from gateway.jobs.report_api import ReportsApi
from gateway.jobs.report_job import ReportDriver
from gateway.jobs.runner import JobRunner
from gateway.jobs.runs import Runs
from gateway.jobs.schedule import scheduled
from gateway.jobs.scheduler import Scheduler
from gateway.jobs.store import JobLimits, JobStore
from gateway.jobs.trusts import Trusts
from gateway.lifecycle import Life, Lifecycle
from gateway.lifespan import Lifespan, MetricsRefresh, Part, RegistryWatch
from gateway.observe.counters import DayCounters, MinuteCounters
from gateway.observe.metrics import CONTENT_TYPE, Metrics
from gateway.observe.outcome import Aggregate, Aggregates
from gateway.observe.upstream_calls import UpstreamCall, report_shapes
from gateway.observe.withheld import WithheldLog
from gateway.proxy.access_log import AccessLog
from gateway.proxy.callers import ByNetwork, Callers
from gateway.proxy.delivery import Coder
from gateway.proxy.deriving import Deriver, Modes
from gateway.proxy.fetch import Fetcher
from gateway.proxy.passthrough import Passthrough
from gateway.proxy.profiles import GenericProfile, Profile, StatisticsProfile
from gateway.proxy.proxy import Proxy
from gateway.proxy.resolve import Resolver
from gateway.proxy.shadow import Shadow
from gateway.proxy.sources import Holders, SourceReader
from gateway.redis import MEMORY, Client, Clock, Sweeper, connect
from gateway.server.fast_path import FastPath
from gateway.server.head import Limits
from gateway.server.listener import import_ahead
from gateway.server.process import Application, worker_number
from gateway.server.public import Gateway, health_routes
from gateway.settings import Settings
from gateway.tenants.limiter import RateLimiter
from gateway.tenants.registry import Registry, open_registry
from gateway.tenants.tenant import ANONYMOUS, UNLIMITED, Network, Sharing, Tenant, TenantLimits
from gateway.upstream.client import client_of
from gateway.upstream.credential_breaker import PauseRules
from gateway.upstream.headers import policy_of
from gateway.upstream.pacing import Budget, FleetRules, Shares
from gateway.upstream.queue import Queue
from gateway.upstream.queue_state import QueueRules
from gateway.upstream.runner import OnDispatch

if TYPE_CHECKING:
    from gateway.observe.tracing import Tracing

ROUNDS = 10
"""Commands, one after another, that a look-up takes at most: those it waits for, and in a cluster redirections."""
CODED_SHARE = 4
"""The near cache may have this many times the memory of the coded bodies kept beside it."""


def create_app(settings: Settings) -> Gateway:
    """The public app alone, complete under any ASGI server."""
    return create_application(settings).public


def create_application(settings: Settings, clock: Clock | None = None) -> Application[Gateway]:
    """Build both apps; I/O begins in the public one's lifespan. Raises ConfigurationError."""
    import_ahead()
    return Composition(settings, clock or Clock()).application()


class Composition:
    """The parts of one process, room by room, and the two apps that are made of them."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.settings, self.clock, self.prefix = settings, clock, settings.redis_prefix
        self.generic = settings.profile == "generic"
        self.embedded = settings.redis_url.get_secret_value() == MEMORY
        self.lifecycle, self.metrics = Lifecycle(), Metrics()
        self.redis = connect(settings)
        # tenants
        self.registry = open_registry(settings)
        self.registry.load()
        self.watch = RegistryWatch(self.registry, self.registry.notes())
        if self.generic and self.registry.directory.tenants:
            why = "profile generic serves everyone alike; it goes with no tenants in the registry"
            raise ConfigurationError(why)
        self.admission = RateLimiter(self.redis, self.prefix, lambda: self.queue.fleet.share)
        # cache
        self.store = Store(self.redis, NearCache(settings.near_max_bytes), self.prefix, clock)
        self.purges = Purges(self.redis, self.prefix, clock, on_recall=self.store.near.drop)
        self.sharing = Sharing(self.purges, totals=settings.totals_scope == "public")
        # upstream
        on_dispatch = self.metrics.dispatched
        self.queue = queue_of(settings, self.redis, lambda: self.registry.mark, self.sync_clock, on_dispatch)
        self.client = client_of(settings)
        # observe
        self.tracing = _tracing(settings)
        self.tallies = Aggregates(self.count)
        self.usage = DayCounters(self.redis, self.prefix, settings.usage_days, self.tallies.gather)
        self.minutes = MinuteCounters(self.redis, self.prefix, clock.now, self.tallies.gather)
        self.queue.breaker.on_change = WithheldLog(lambda: self.registry.directory).note
        # proxy
        self.profile = _profile(settings, self.registry, self.metrics)
        self.callers = _callers(settings, self.profile, self.admission, clock)
        self.resolver = self.build_resolver()
        self.deriver = self.build_deriver()
        self.proxy = self.build_proxy()
        # jobs
        self.trusts = Trusts(self.redis, self.prefix)
        self.runner = self.build_runner()
        runs, warmings = Runs(self.redis, self.prefix), scheduled(settings)
        self.scheduler = Scheduler(warmings, runs, self.runner, self.lifecycle, clock.now)
        self.jobs = JobsApi(self.runner, self.callers, self.lifecycle, settings.body_timeout)
        self.reports = ReportsApi(self.jobs, self.trusts)
        # server
        self.fast_path = FastPath(self.proxy, self.registry, settings.prepared_max_bytes)
        # admin
        self.guard = _guard(settings)
        self.sessions = Sessions(self.redis, self.prefix, self.guard, clock.order, settings.session_idle)

    def sync_clock(self, now: float, skew: float) -> None:
        """Set the clock by the fleet's."""
        if self.clock.sync(now, skew):
            self.store.near.clear()  # its times are by the old clock; what is in Redis is mended as it is read

    def tenant(self, id: str) -> Tenant | None:
        """A tenant as it is now."""
        return self.registry.directory.tenants.get(id)

    def count(self, tally: Aggregate) -> None:
        """Add answers to all counters."""
        self.metrics.answered(tally)
        self.usage.answered(tally)
        self.minutes.answered(tally)

    def show(self) -> None:
        """Bring counters and gauges up to date."""
        self.tallies.gather()
        self.metrics.show(self.queue, self.store, self.redis)
        self.metrics.show_registry(self.registry.standing)
        self.metrics.prepared.reached(self.fast_path.served)
        self.metrics.connections_refused.reached(self.lifecycle.refused)
        self.metrics.files_exhausted.reached(self.lifecycle.exhausted)

    def render(self, named: bool) -> bytes:
        """The metrics, with the tenants ``named`` or not."""
        self.show()
        return self.metrics.render(named=named)

    def build_resolver(self) -> Resolver:
        """Finds answers: in the cache, or by a call."""

        call = partial(UpstreamCall, self.metrics, self.usage, self.minutes, self.tracing)
        fetcher = Fetcher(self.client, self.store, self.profile, call)
        rules, longest = Rules(self.settings.refresh_floor), ROUNDS * self.settings.redis_timeout
        return Resolver(fetcher, self.purges, self.sharing, self.queue, rules, self.prefix, longest)

    def build_deriver(self) -> Deriver | None:
        """Derives answers, or compares what it would derive; None where neither is wanted."""
        settings, resolver, metrics = self.settings, self.resolver, self.metrics
        modes = Modes(settings.derive, settings.derive_family, settings.derive_tenant)
        if self.generic or modes.never:
            return None
        holder = Holders(self.registry).holder if settings.public_totals_from_rankings else None
        reader = SourceReader(resolver, holder)
        book = TrustBook(TrustStore(self.redis, self.prefix), self.clock.now, metrics.derivation_checked)
        shadow = Shadow(reader, book, self.tenant, lambda: self.queue.budget.spacing)
        deriver = resolver.derivations = Deriver(
            modes, reader, book, shadow, lifetimes_of(settings), metrics.derives
        )
        return deriver

    def build_runner(self) -> JobRunner:
        """Leads jobs."""
        settings = self.settings
        store = JobStore(self.redis, self.prefix, JobLimits(settings.jobs_per_tenant, settings.jobs_max_bytes))
        means = Means(self.resolver, self.registry, self.admission, _recogniser(settings), self.metrics.jobs)
        reports = ReportDriver(self.trusts, self.clock.now, self.metrics.jobs)
        return JobRunner(store, means, {**KINDS, "report": Kind(reports.drive)}, self.lifecycle)

    def build_proxy(self) -> Proxy:
        settings = self.settings
        return Proxy(
            self.callers,
            self.resolver,
            _passthrough(settings, self.resolver),
            _coder(settings),
            AccessLog(self.metrics, self.tallies, self.tracing, hit_sample=settings.log_hits),
            self.lifecycle,
            settings.caller_timeout,
        )

    # The two apps

    def application(self) -> Application[Gateway]:
        """Both apps of this process."""
        return Application(self.public(), self.admin(), self.lifecycle, self.watch.look, self.fast_path)

    def public(self) -> Gateway:
        """The public app, whose lifespan runs everything."""
        lifespan = Lifespan(self.queue, [*self.parts()], self.lifecycle, self.settings.upstream_timeout)
        life = Life(lifespan.running)
        routes = [
            *health_routes(self.queue, self.registry, self.lifecycle),
            *docs_routes(catalogue.openapi(__version__), "/-"),
            *([] if self.generic else routes_of(self.callers, self.jobs.paths | self.reports.paths)),
        ]
        app = exactly(Gateway(routes=routes, lifespan=life.lifespan), "/-/docs")
        app.life, app.lifecycle, app.fast_path = life, self.lifecycle, self.fast_path
        app.hosts = Limits.of(self.settings).hosts
        return app

    def parts(self) -> Iterator[Part]:
        """What runs beside the requests, in the order in which it stops."""
        refresh = MetricsRefresh(self.metrics, self.queue, self.show)
        yield Part(self.watch.run)
        if not self.generic:
            yield Part(self.scheduler.run)
            yield Part(self.runner.run, self.runner.stop)
        yield Part(refresh.run, refresh.stop)
        if self.deriver is not None:
            yield Part(self.deriver.shadow.run, self.deriver.stop)
        yield Part(self.admission.run, self.admission.stop)
        yield Part(self.purges.follow)
        yield Part(partial(self.store.broadcast, self.purges))
        yield Part(self.usage.run)
        yield Part(self.sessions.run)
        yield Part(self.minutes.run)
        if self.generic or self.settings.pass_methods:
            yield Part(self.store.follow)
        if self.embedded:
            yield Part(Sweeper(self.redis, self.prefix, self.settings.memory_max_bytes).run)
        yield Part(stop=self.client.aclose)
        yield Part(stop=self.redis.aclose)
        if self.tracing is not None:
            yield Part(stop=partial(asyncio.to_thread, self.tracing.close))

    def admin(self) -> Starlette:
        """The admin API, the console, and the metrics."""
        settings, entrance, now = self.settings, self.build_entrance(), self.clock.now
        operations = [*self.operations()]
        web = Web(entrance, operations, __version__, settings.public_url, settings.port)
        scrape = scraped(entrance, self.render, CONTENT_TYPE.decode(), public=settings.metrics_public)
        pages = [
            *routes(entrance, operations),
            *docs_routes(openapi(__version__, operations), tokens=entrance.tokens),
            Route("/metrics", scrape),
            *SignIn(web).routes,
            *overview_page.routes(web),
            *TenantsPages(web, now).routes,
            *KeysPages(web, now).routes,
            *QueuePage(web).routes,
            *CachePage(web).routes,
            *explore_page.routes(web),
            *([] if self.generic else ReportsPages(web, self.reports.made_of, now).routes),
            *static_routes(entrance.tokens),
        ]
        return exactly(Starlette(routes=pages), "/docs", web.out_of_place)

    def build_entrance(self) -> Authenticator:
        """Who may use the admin listener."""
        visitors = Visitors(_trusted(self.settings), self.settings.session_secure)
        guesses = Guesses(self.admission, visitors, self.metrics.wrong_token)
        return Authenticator(self.guard, self.sessions, visitors, guesses, instance_of(self.settings))

    def operations(self) -> Iterator[Operation]:
        """The admin API's operations."""
        now, registry, settings = self.clock.now, self.registry, self.settings
        yield from OverviewApi(
            self.minutes, self.usage, self.queue, registry, now, embedded=self.embedded
        ).operations
        yield from TenantsApi(registry, self.usage).operations
        yield from FleetApi(
            settings, self.redis, self.usage, self.purges, self.queue, registry, self.profile.recognise
        ).operations
        yield from DerivationApi(TrustStore(self.redis, self.prefix), now).operations
        yield from ExplainApi(
            self.resolver, registry, lifetimes_of(settings), allow_anonymous=settings.allow_anonymous
        ).operations
        yield from ExploreApi(registry, self.proxy.explore, settings.public_base).operations
        if not self.generic:
            yield from JobsAdminApi(self.jobs, self.reports, registry, self.callers).operations


def _guard(settings: Settings) -> AdminTokens:
    token, hosts = settings.admin_token.get_secret_value(), (*settings.admin_hosts, settings.admin_host)
    return AdminTokens(token, settings.admin_tokens, hosts)


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


def _profile(settings: Settings, registry: Registry, metrics: Metrics) -> Profile:
    lifetimes, max_bytes = lifetimes_of(settings), settings.target_max_bytes
    if settings.profile == "generic":
        return GenericProfile(lifetimes, max_bytes=max_bytes, policy=policy_of(settings))
    return StatisticsProfile(
        registry,
        ByNetwork(settings.public_hosts, _trusted(settings)) if settings.public_hosts else None,
        _anonymous(settings),
        _recogniser(settings),
        lifetimes,
        Shapes(report_shapes(metrics)),
        no_store_counts=settings.refresh_floor == 0,
    )


def _recogniser(settings: Settings) -> Callable[[bytes, bytes, bool], Query]:
    ignored, max_bytes = frozenset(settings.ignored_parameters), settings.target_max_bytes
    return partial(recognise, ignored=ignored, max_bytes=max_bytes)


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
        shares=Shares(settings.jobs_share, settings.warm_share),
        longest_run=settings.upstream_timeout + settings.connect_timeout + settings.pool_timeout + 10,
        gate=PauseRules(settings.gate_pause, settings.gate_longest, shortest=1.0),
        breaker=PauseRules(settings.breaker_pause, settings.breaker_longest),
    )
    budget = Budget(settings.budget_interval, settings.budget_burst)
    fleet = FleetRules(max(settings.fleet_size, settings.workers), settings.workers, worker_number(), mark)
    return Queue(redis, settings.redis_prefix, budget, rules, fleet, on_clock, on_dispatch)


def _passthrough(settings: Settings, resolver: Resolver) -> Passthrough:
    methods = None if settings.profile == "generic" else frozenset(settings.pass_methods)
    authorities = frozenset({urlsplit(settings.upstream).netloc.lower().encode()})
    return Passthrough(resolver, methods, settings.request_max_bytes, authorities)
