"""The pages about tenants: the list, and one for each, with all that can be done with it.

Usage as the pages about tenants show it. Pure.

What the forms about tenants and keys hold, to and fro. Pure.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from urllib.parse import urlencode

from starlette.responses import Response
from starlette.routing import Route

from gateway.admin.web.pages import Form, Visit, Web
from gateway.errors import CacheUnavailable, ConfigurationError, GatewayError, InvalidInput
from gateway.observe.counters import Row


@dataclass(frozen=True, slots=True)
class Used:
    """What was asked and spent in some time: requests, those answered from the cache, upstream calls."""

    day: str
    requests: int = 0
    hits: int = 0
    calls: int = 0

    @property
    def hit_ratio(self) -> float | None:
        """None where nothing was asked."""
        return self.hits / self.requests if self.requests else None


def by_tenant(rows: Iterable[Row]) -> dict[str, Used]:
    """One day's, by tenant."""
    return {row.tenant: _used(row) for row in rows}


def by_day(rows: Iterable[Row], first: date, last: date) -> list[Used]:
    """One tenant's, the newest day first, with those on which it asked nothing."""
    found = {row.day: _used(row) for row in rows}
    days = [(last - timedelta(days=back)).isoformat() for back in range((last - first).days + 1)]
    return [found.get(day, Used(day)) for day in days]


def _used(row: Row) -> Used:
    return Used(row.day, row.requests, row.hits, row.calls)


LIMITS = {
    "requests_per_second": "Requests a second",
    "burst": "Burst",
    "requests_per_day": "Requests a day",
    "queued": "Queued jobs",
    "share": "Share",
}
LISTS = ("origins", "networks")
DECIMAL = frozenset({"requests_per_second", "share"})
LIFETIMES = {
    "closed": "Closed windows",
    "open": "Open windows",
    "totals": "Totals, overviews, counts and tops",
    "empty": "Empty answers",
    "error": "400 and 404",
    "forbidden": "403",
}
OVERLAPS = {
    "0": "at once",
    "3600": "after an hour",
    "86400": "after a day",
    "604800": "after 7 days",
    "2592000": "after 30 days",
}
OVERLAP = "604800"


def fields_of(told: Mapping[str, Any]) -> dict[str, str]:
    """A tenant, as the API tells it, as its form's fields."""
    fields = {
        "name": "" if told["name"] == told["id"] else told["name"],
        "note": told["note"],
        **{name: "\n".join(told[name]) for name in LISTS},
        **{name: _text(told["limits"][name]) for name in LIMITS},
        **{f"lifetime_{name}": _text(told["lifetimes"].get(name)) for name in LIFETIMES},
    }
    if told["enabled"]:
        fields["enabled"] = "on"
    if told["limits"]["share"] == 1.0:
        fields["share"] = ""
    return fields


def changes_of(form: Form, before: Mapping[str, str]) -> dict[str, Any]:
    """What a form changes of the fields ``before``, as the API takes it: an emptied field restores its default.

    Raises InvalidInput that names the field.
    """
    found: dict[str, Any] = {}
    for name in ("name", "note"):
        if form.get(name, "") != before.get(name, ""):
            found[name] = form.get(name) or None
    if ("enabled" in form) != ("enabled" in before):
        found["enabled"] = "enabled" in form
    for name in LISTS:
        if form.get(name, "").split() != before.get(name, "").split():
            found[name] = form.get(name, "").split() or None
    limits = _numbers(form, before, {name: name for name in LIMITS}, LIMITS)
    lifetimes = _numbers(form, before, {f"lifetime_{name}": name for name in LIFETIMES}, LIFETIMES)
    return found | ({"limits": limits} if limits else {}) | ({"lifetimes": lifetimes} if lifetimes else {})


def version_of(told: Mapping[str, Any]) -> str:
    """Differs once any of a tenant's own fields does, so that nobody overwrites what they have not seen."""
    fields = json.dumps(fields_of(told), sort_keys=True)
    return hashlib.sha256(fields.encode("utf-8", "replace")).hexdigest()[:16]


def end_of(text: str, now: float) -> datetime | None:
    """The end of a day in UTC, like 2030-01-31; None for no text. Raises InvalidInput."""
    if not text:
        return None
    try:
        end = datetime.combine(date.fromisoformat(text), time(), UTC) + timedelta(days=1)
    except (ValueError, OverflowError):
        raise InvalidInput("The day on which a key ends must be like 2030-01-31") from None
    if end.timestamp() <= now:
        raise InvalidInput("The day on which a key ends must not be over")
    return end


def overlap_of(form: Form) -> float:
    """How long a key in whose place another comes still works, in seconds. Raises InvalidInput."""
    chosen = form.get("overlap", OVERLAP)
    if chosen not in OVERLAPS:
        raise InvalidInput("Choose when the old key ends")
    return float(chosen)


def _numbers(
    form: Form, before: Mapping[str, str], fields: Mapping[str, str], labels: Mapping[str, str]
) -> dict[str, float | None]:
    """Those that changed, by the API's names."""
    return {
        name: _number(form.get(each, ""), labels[name], whole=name in LIMITS and name not in DECIMAL)
        for each, name in fields.items()
        if form.get(each, "") != before.get(each, "")
    }


def _number(text: str, label: str, *, whole: bool) -> float | None:
    if not text:
        return None
    try:
        number = int(text) if whole else float(text)
    except ValueError:
        raise InvalidInput(f"{label}: {'a whole' if whole else 'a'} number, or nothing") from None
    if not number > 0 or not math.isfinite(number):
        raise InvalidInput(f"{label}: a number above 0, or nothing")
    return number


def _text(number: float | None) -> str:
    return "" if number is None else f"{number:g}" if number < 1e6 else f"{number:.0f}"


ONE = "/api/tenants/{tenant}"
PAGE = 50
DAYS = 14
STALE = "Somebody else changed this tenant meanwhile. These are your values; save again to let them stand."


class TenantsPages:
    """All but the keys'. ``now`` is in seconds since the epoch."""

    def __init__(self, web: Web, now: Callable[[], float]) -> None:
        self._web = web
        self._now = now

    @property
    def routes(self) -> list[Route]:
        """All of them. No tenant's id begins with a plus sign."""
        page, one = self._web.page, "/tenants/{tenant}"
        pair = f"{one}/institutions/{{institution}}/remove"
        return [
            Route("/tenants", page(self.list), methods=["GET"]),
            Route("/tenants/+new", page(self.new, changes=True), methods=["GET"]),
            Route("/tenants/+new", page(self.create, changes=True), methods=["POST"]),
            Route(one, page(self.show), methods=["GET"]),
            Route(f"{one}/edit", page(self.edit, changes=True), methods=["GET"]),
            Route(f"{one}/edit", page(self.change, changes=True), methods=["POST"]),
            Route(f"{one}/remove", page(self.doubt, changes=True), methods=["GET"]),
            Route(f"{one}/remove", page(self.remove, changes=True), methods=["POST"]),
            Route(f"{one}/credential", page(self.pair, changes=True), methods=["GET"]),
            Route(f"{one}/credential", page(self.seal, changes=True), methods=["POST"]),
            Route(pair, page(self.doubt_pair, changes=True), methods=["GET"]),
            Route(pair, page(self.unseal, changes=True), methods=["POST"]),
        ]

    async def list(self, visit: Visit) -> Response:
        asked = {name: visit.request.query_params.get(name, "") for name in ("search", "after", "before")}
        query = {name: value.strip() for name, value in asked.items() if value.strip()} | {"limit": str(PAGE)}
        found = await self._web.perform(visit, "GET", "/api/tenants", query=query)
        today = self._today()
        shown = ",".join(each["id"] for each in found["tenants"])
        usage = await self._usage(visit, {"first": today, "last": today, "tenant": shown})
        return self._web.render(
            visit,
            "tenants.html",
            found=found,
            search=asked["search"].strip(),
            used=None if usage is None else by_tenant(usage),
            pages=_pages(found, asked["search"].strip()),
        )

    async def show(self, visit: Visit) -> Response:
        tenant = await self._tenant(visit)
        keys = await self._web.perform(visit, "GET", f"{ONE}/keys", tenant=tenant["id"])
        last = datetime.fromtimestamp(self._now(), UTC).date()
        first = last - timedelta(days=DAYS - 1)
        usage = await self._usage(
            visit, {"first": first.isoformat(), "last": last.isoformat(), "tenant": tenant["id"]}
        )
        settings = await self._web.perform(visit, "GET", "/api/settings")
        return self._web.render(
            visit,
            "tenant.html",
            tenant=tenant,
            keys=keys["keys"],
            days=None if usage is None else by_day(usage, first, last),
            queued=await self._queued(visit, tenant["id"]),
            queue_most=settings["queue_max_per_tenant"],
            lifetime_labels=LIFETIMES,
            now=self._now(),
        )

    async def new(self, visit: Visit) -> Response:
        return self._form(visit, None, {"enabled": "on"})

    async def create(self, visit: Visit) -> Response:
        try:
            body = {"id": visit.form.get("id", "")} | changes_of(visit.form, {"enabled": "on"})
            tenant = await self._web.perform(visit, "POST", "/api/tenants", body=body)
        except (InvalidInput, ConfigurationError) as error:
            return self._form(visit, None, visit.form, error)
        return self._web.redirect(visit, f"/tenants/{tenant['id']}", f"Added the tenant {tenant['id']}.")

    async def edit(self, visit: Visit) -> Response:
        tenant = await self._tenant(visit)
        return self._form(visit, tenant, fields_of(tenant))

    async def change(self, visit: Visit) -> Response:
        tenant = await self._tenant(visit)
        if visit.form.get("version") != version_of(tenant):
            return self._form(visit, tenant, visit.form, InvalidInput(STALE))
        try:
            body = changes_of(visit.form, fields_of(tenant))
            if body:
                await self._web.perform(visit, "PATCH", ONE, body=body, tenant=tenant["id"])
        except (InvalidInput, ConfigurationError) as error:
            return self._form(visit, tenant, visit.form, error)
        return self._web.redirect(
            visit, f"/tenants/{tenant['id']}", "Saved." if body else "There was nothing to save."
        )

    async def doubt(self, visit: Visit) -> Response:
        return self._doubt(visit, await self._tenant(visit))

    async def remove(self, visit: Visit) -> Response:
        tenant = await self._tenant(visit)
        if visit.form.get("confirm") != tenant["id"]:
            return self._doubt(visit, tenant, InvalidInput("That is not its id."))
        await self._web.perform(visit, "DELETE", ONE, tenant=tenant["id"])
        return self._web.redirect(
            visit, "/tenants", f"Removed the tenant {tenant['id']}. Its keys open nothing any more."
        )

    async def pair(self, visit: Visit) -> Response:
        return self._pair(visit, await self._tenant(visit), visit.request.query_params)

    async def seal(self, visit: Visit) -> Response:
        tenant, institution = await self._tenant(visit), visit.form.get("institution", "")
        body = {name: visit.form.get(name, "") for name in ("username", "password")}
        try:
            if not all((institution, *body.values())):
                raise InvalidInput("An institution, a username and a password are needed.")
            await self._web.perform(
                visit,
                "PUT",
                f"{ONE}/institutions/{{institution}}",
                body=body,
                tenant=tenant["id"],
                institution=institution,
            )
        except (InvalidInput, ConfigurationError) as error:
            return self._pair(visit, tenant, visit.form, error)
        return self._web.redirect(visit, f"/tenants/{tenant['id']}", f"Set the credential for {institution}.")

    async def doubt_pair(self, visit: Visit) -> Response:
        return self._web.render(
            visit, "credential-remove.html", tenant=await self._tenant(visit), institution=_institution(visit)
        )

    async def unseal(self, visit: Visit) -> Response:
        tenant, institution = visit.request.path_params["tenant"], _institution(visit)
        await self._web.perform(
            visit, "DELETE", f"{ONE}/institutions/{{institution}}", tenant=tenant, institution=institution
        )
        return self._web.redirect(visit, f"/tenants/{tenant}", f"Removed the credential for {institution}.")

    async def _tenant(self, visit: Visit) -> Any:
        return await self._web.perform(visit, "GET", ONE, tenant=visit.request.path_params["tenant"])

    async def _usage(self, visit: Visit, query: dict[str, str]) -> Any:
        """None where Redis does not answer: usage is no reason not to show the rest."""
        try:
            return (await self._web.perform(visit, "GET", "/api/usage", query=query))["usage"]
        except CacheUnavailable:
            return None

    async def _queued(self, visit: Visit, tenant_id: str) -> int | None:
        try:
            census = await self._web.perform(visit, "GET", "/api/queue")
        except CacheUnavailable:
            return None
        depth = census.tenants.get(tenant_id)
        return 0 if depth is None else int(depth.total)

    def _today(self) -> str:
        return datetime.fromtimestamp(self._now(), UTC).date().isoformat()

    def _form(self, visit: Visit, tenant: Any, fields: Any, error: GatewayError | None = None) -> Response:
        return self._web.render(
            visit,
            "tenant-form.html",
            tenant=tenant,
            version_of_tenant="" if tenant is None else version_of(tenant),
            fields=fields,
            limits=LIMITS,
            lifetimes=LIFETIMES,
            error=error,
        )

    def _doubt(self, visit: Visit, tenant: Any, error: GatewayError | None = None) -> Response:
        return self._web.render(visit, "tenant-remove.html", tenant=tenant, error=error)

    def _pair(self, visit: Visit, tenant: Any, fields: Any, error: GatewayError | None = None) -> Response:
        shown = {name: fields.get(name, "") for name in ("institution", "username")}
        return self._web.render(visit, "credential-form.html", tenant=tenant, fields=shown, error=error)


def _institution(visit: Visit) -> str:
    found: str = visit.request.path_params["institution"]
    return found


def _pages(found: Any, search: str) -> dict[str, str]:
    """Where the pages before and after a page of the list are."""
    kept = {"search": search} if search else {}
    ends = {"previous": ("before", found["previous"]), "next": ("after", found["next"])}
    return {
        name: "/tenants?" + urlencode(kept | {parameter: tenant_id})
        for name, (parameter, tenant_id) in ends.items()
        if tenant_id is not None
    }
