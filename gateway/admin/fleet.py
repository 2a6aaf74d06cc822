"""The admin API's operations on the whole fleet: overview, usage, purges, queue, gate, breakers, settings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any

import msgspec
from msgspec.structs import asdict as fields_of

from gateway import __version__
from gateway.admin.operations import Call, Operation, Parameter
from gateway.cache.contents import Recognise, contents
from gateway.cache.purges import Purges, PurgeScope, preview
from gateway.catalogue.endpoints import ITEMS
from gateway.catalogue.target import parted, pasted_target
from gateway.errors import CacheUnavailable, InvalidInput, NoSuchRecord
from gateway.observe.counters import DayCounters, MinuteCounters
from gateway.observe.overview import Gate, Overview, Pace, Redis, Tenants, Work
from gateway.observe.withheld import named
from gateway.provenance import masked
from gateway.redis import Client
from gateway.settings import Settings
from gateway.tenants.registry import Registry
from gateway.tenants.schema import check_institution, check_no_key, check_tenant_id
from gateway.upstream.queue import Queue
from gateway.upstream.snapshot import QueueSnapshot

SHOWN_DAYS = 7
MOST_TENANTS = 1_000
MOST_REFUSED = 5
"""Credentials that the overview names."""


class PurgeBody(msgspec.Struct, forbid_unknown_fields=True):
    """What to purge: exactly one of a query (a path as clients ask it), an item (like article/23), an institution,
    and all. A soft purge makes answers stale, but they are served while they are fetched again; a hard one removes
    them."""

    query: Annotated[str, msgspec.Meta(max_length=8_192)] | None = None
    item: Annotated[str, msgspec.Meta(max_length=300)] | None = None
    institution: Annotated[str, msgspec.Meta(max_length=200)] | None = None
    all: bool = False
    hard: bool = False


class FleetApi:
    """Operations on what all processes share; their names are in the API's ``operationId``."""

    def __init__(
        self,
        settings: Settings,
        redis: Client,
        usage: DayCounters,
        purges: Purges,
        queue: Queue,
        registry: Registry,
        recognise: Recognise,
    ) -> None:
        self._settings = settings
        self._redis = redis
        self._usage = usage
        self._purges = purges
        self._queue = queue
        self._registry = registry
        self._recognise = recognise

    @property
    def operations(self) -> list[Operation]:
        days = {
            "first": Parameter("first day, by UTC", "date"),
            "last": Parameter("last day, by default today", "date"),
            "tenant": Parameter("only this tenant, or these, with commas between"),
        }
        one = "/api/breakers/{fingerprint}"
        preview = "/api/purge/preview"
        return [
            Operation("GET", "/api/usage", "Requests, hits and upstream calls, by day", self.usage, days),
            Operation("GET", "/api/stored", "What is stored, by family, and Redis's memory", self.stored),
            Operation("POST", "/api/purge", "Purge what is stored", self.purge, body=PurgeBody),
            Operation("POST", preview, "Estimate what that would cover", self.estimate, body=PurgeBody),
            Operation("GET", "/api/queue", "What waits and what runs in the whole fleet", self.queue),
            Operation("DELETE", "/api/queue/calls/{call}", "Take a waiting call out of the queue", self.cancel),
            Operation(
                "DELETE", "/api/queue/tenants/{tenant}", "Take out a tenant's waiting calls", self.cancel_all
            ),
            Operation("GET", "/api/gate", "Whether upstream calls are allowed", self.gate),
            Operation("POST", "/api/gate/hold", "Stop all upstream calls until resumed", self.hold),
            Operation("POST", "/api/gate/resume", "Allow upstream calls again, at once", self.resume),
            Operation("GET", "/api/breakers", "Suspended credentials", self.breakers),
            Operation("POST", f"{one}/hold", "Suspend a credential until resumed", self.hold_credential),
            Operation("POST", f"{one}/resume", "Use a credential again, at once", self.resume_credential),
            Operation("GET", "/api/settings", "The effective settings, secrets masked", self.settings),
        ]

    async def usage(self, call: Call) -> Any:
        last = _day(call.query.get("last"), datetime.now(UTC).date())
        first = _day(call.query.get("first"), last - timedelta(days=SHOWN_DAYS - 1))
        if first > last:
            raise InvalidInput("first must not be after last")
        rows = await self._usage.report(first, last, _tenants(call.query.get("tenant")))
        return {"first": first, "last": last, "usage": rows}

    async def purge(self, call: Call) -> Any:
        subject = self._subject(call.body)
        call.facts.update({name: value for name, value in fields_of(call.body).items() if value})
        at = await self._purges.purge(subject, hard=call.body.hard)
        return {"purged": datetime.fromtimestamp(at, UTC), "hard": call.body.hard}

    async def estimate(self, call: Call) -> Any:
        return await preview(self._redis, self._settings.redis_prefix, self._subject(call.body), self._recognise)

    async def stored(self, _: Call) -> Any:
        return await contents(self._redis, self._settings.redis_prefix, self._recognise)

    async def queue(self, _: Call) -> Any:
        snapshot = await self._queue.snapshot()
        return replace(snapshot, refused=named(snapshot.refused, self._registry.directory))

    async def cancel(self, call: Call) -> Any:
        if not await self._queue.cancel_call(call.path["call"]):
            raise NoSuchRecord("no such call waits; it may be running already")
        return {"cancelled": 1}

    async def cancel_all(self, call: Call) -> Any:
        check_tenant_id(call.path["tenant"])
        return {"cancelled": await self._queue.cancel_tenant(call.path["tenant"])}

    async def gate(self, _: Call) -> Any:
        return (await self._queue.snapshot()).gate

    async def hold(self, call: Call) -> Any:
        await self._queue.hold_gate()
        return await self.gate(call)

    async def resume(self, call: Call) -> Any:
        await self._queue.resume_gate()
        return await self.gate(call)

    async def breakers(self, _: Call) -> Any:
        snapshot = await self._queue.snapshot()
        refused = named(snapshot.refused, self._registry.directory)
        return {"refused": refused, "total": snapshot.refused_total}

    async def hold_credential(self, call: Call) -> Any:
        await self._queue.hold_credential(_fingerprint(call))
        return await self.breakers(call)

    async def resume_credential(self, call: Call) -> Any:
        await self._queue.resume_credential(_fingerprint(call))
        return await self.breakers(call)

    async def settings(self, _: Call) -> Any:
        return masked(self._settings)

    def _subject(self, body: PurgeBody) -> PurgeScope:
        wanted = {name: value for name, value in fields_of(body).items() if name != "hard" and value}
        if len(wanted) != 1:
            raise InvalidInput("Give exactly one of query, item, institution, all")
        ((name, value),) = wanted.items()
        check_no_key(str(value), f"the {name}")
        match name:
            case "query":
                return PurgeScope.exact(self._recognise(*parted(pasted_target(value))).canonical)
            case "item":
                kind, _, item_id = value.partition("/")
                if kind not in ITEMS or not item_id or "/" in item_id or not item_id.isprintable():
                    raise InvalidInput(f"item must be like article/23, with one of {', '.join(sorted(ITEMS))}")
                return PurgeScope.item(kind, item_id)
            case "institution":
                check_institution(value)
                return PurgeScope.institution(value)
        return PurgeScope.everything()


def _tenants(text: str | None) -> list[str] | None:
    if text is None:
        return None
    found = text.split(",")
    if len(found) > MOST_TENANTS:
        raise InvalidInput(f"At most {MOST_TENANTS} tenants can be named")
    return found


def _day(text: str | None, default: date) -> date:
    try:
        day = default if text is None else date.fromisoformat(text)
    except ValueError:
        raise InvalidInput("A day must be like 2030-01-31") from None
    if not 1970 <= day.year <= 9998:
        raise InvalidInput("A day must be between 1970 and 9998")
    return day


def _fingerprint(call: Call) -> str:
    text = call.path["fingerprint"]
    if len(text) != 64 or set(text) - set("0123456789abcdef"):
        raise InvalidInput("A fingerprint is 64 of 0-9 and a-f; see /api/breakers and /api/explain")
    return text


class OverviewApi:
    """The overview, in three concurrent round trips; without Redis it has what this process knows."""

    def __init__(
        self,
        minutes: MinuteCounters,
        usage: DayCounters,
        queue: Queue,
        registry: Registry,
        now: Callable[[], float],
        *,
        embedded: bool,
    ) -> None:
        self._minutes = minutes
        self._usage = usage
        self._queue = queue
        self._registry = registry
        self._now = now
        self._embedded = embedded

    @property
    def operations(self) -> list[Operation]:
        return [Operation("GET", "/api/overview", "The whole fleet at a glance", self.overview)]

    async def overview(self, _: Call) -> Any:
        now = self._now()
        moment = datetime.fromtimestamp(now, UTC).replace(microsecond=0)
        report, today, snapshot = await asyncio.gather(
            self._minutes.report(now), self._usage.total(moment.date()), self._snapshot()
        )
        whole = report.whole and snapshot is not None and not self._queue.degraded
        snapshot = snapshot or self._queue.local_snapshot()
        return Overview(
            version=__version__,
            now=moment,
            processes=self._queue.fleet.processes,
            minutes=report.minutes,
            today=today,
            latency=report.latency,
            budget=self._pace(),
            queue=_work(snapshot),
            gate=Gate(snapshot.gate.state, snapshot.gate.closed_for, snapshot.gate.held_for, snapshot.gate.why),
            refused_credentials=snapshot.refused_total,
            redis=Redis("ok" if whole else "degraded", self._embedded),
            registry=Tenants(len(self._registry.directory.tenants)),
            refused_targets=snapshot.gate.targets_refused,
            fleet_size=self._queue.fleet.rules.size,
            differing=self._queue.fleet.differing,
            refused=named(snapshot.refused[:MOST_REFUSED], self._registry.directory),
        )

    async def _snapshot(self) -> QueueSnapshot | None:
        try:
            return await self._queue.snapshot()
        except CacheUnavailable:
            return None

    def _pace(self) -> Pace:
        budget = self._queue.budget
        return Pace(None if budget.interval is None else round(1 / budget.interval, 6), budget.burst)


def _work(snapshot: QueueSnapshot) -> Work:
    return Work(sum(snapshot.queued.values()), snapshot.running_total, snapshot.queued)
