"""The pages about tenants and their keys: the list, one page for each tenant, and all its forms."""

from __future__ import annotations

import hashlib
import json
import math
import shlex
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from urllib.parse import urlencode

from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from gateway.admin.web.forms import Form
from gateway.admin.web.pages import HEADERS, PageRequest, Web
from gateway.cache.lifetimes import Rule
from gateway.errors import CacheUnavailable, ConfigurationError, GatewayError, InvalidInput, NoSuchRecord
from gateway.observe.counters import Row

ONE = "/api/tenants/{tenant}"
PAIR = f"{ONE}/institutions/{{institution}}"
PAGE = 50
DAYS = 14
OUTDATED = "Somebody else changed this tenant meanwhile. These are your values; save again to let them stand."
WRONG = (InvalidInput, ConfigurationError)
"""Errors that a form can mend: it is shown again with them."""
LISTS = ("origins", "networks")
LIMITS = {
    "requests_per_second": "Requests a second",
    "burst": "Burst",
    "requests_per_day": "Requests a day",
    "queued": "Queued calls",
    "share": "Share",
}
WHOLE = frozenset({"burst", "requests_per_day", "queued"})
LIFETIMES = {rule.value: rule.label for rule in Rule}
OVERLAPS = {
    "0": "at once",
    "3600": "after an hour",
    "86400": "after a day",
    "604800": "after 7 days",
    "2592000": "after 30 days",
}
OVERLAP = "604800"


class TenantsPages:
    """All pages about tenants but those about keys. ``now`` is in seconds since the epoch."""

    def __init__(self, web: Web, now: Callable[[], float]) -> None:
        self._web = web
        self._now = now

    @property
    def routes(self) -> list[Route]:
        """The routes of the pages. No tenant's id begins with a plus sign."""
        one = "/tenants/{tenant}"
        forms = {
            "/tenants/+new": self.create,
            f"{one}/edit": self.change,
            f"{one}/remove": self.remove,
            f"{one}/credential": self.seal,
            f"{one}/institutions/{{institution}}/remove": self.unseal,
        }
        return [
            Route("/tenants", self._web.page(self.list), methods=["GET"]),
            *(self._web.form(path, handler) for path, handler in forms.items()),
            Route(one, self._web.page(self.show), methods=["GET"]),
        ]

    async def list(self, request: PageRequest) -> Response:
        given = {name: request.http.query_params.get(name, "").strip() for name in ("search", "after", "before")}
        query = {name: value for name, value in given.items() if value} | {"limit": str(PAGE)}
        found = await self._web.perform(request, "GET", "/api/tenants", query=query)
        usage = await self._usage(request, 1, ",".join(each["id"] for each in found["tenants"]))
        return self._web.render(
            request,
            "tenants.html",
            found=found,
            search=given["search"],
            used=None if usage is None else {row.tenant: row for row in usage},
            pages=_pages(found, given["search"]),
        )

    async def show(self, request: PageRequest) -> Response:
        tenant = await tenant_of(self._web, request)
        keys = await self._web.perform(request, "GET", f"{ONE}/keys", tenant=tenant["id"])
        usage = await self._usage(request, DAYS, tenant["id"])
        settings = await self._web.perform(request, "GET", "/api/settings")
        census = await self._census(request)
        return self._web.render(
            request,
            "tenant.html",
            tenant=tenant,
            keys=keys["keys"],
            days=None if usage is None else by_day(usage, self._today(), DAYS),
            queued=None if census is None else sum(census.tenants.get(tenant["id"], {}).values()),
            refused={each.fingerprint for each in census.refused} if census is not None else (),
            queue_most=settings["queue_max_per_tenant"],
            lifetime_labels=LIFETIMES,
            now=self._now(),
        )

    async def create(self, request: PageRequest) -> Response:
        if not request.posted:
            return self._form(request, None, {"enabled": "on"})
        try:
            body = {"id": request.form.get("id", "")} | changes_of(request.form, {"enabled": "on"})
            tenant = await self._web.perform(request, "POST", "/api/tenants", body=body)
        except WRONG as error:
            return self._form(request, None, request.form, error)
        return self._web.redirect(request, f"/tenants/{tenant['id']}", f"Added the tenant {tenant['id']}.")

    async def change(self, request: PageRequest) -> Response:
        tenant = await tenant_of(self._web, request)
        if not request.posted:
            return self._form(request, tenant, fields_of(tenant))
        if request.form.get("version") != version_of(tenant):
            return self._form(request, tenant, request.form, InvalidInput(OUTDATED))
        try:
            body = changes_of(request.form, fields_of(tenant))
            if body:
                await self._web.perform(request, "PATCH", ONE, body=body, tenant=tenant["id"])
        except WRONG as error:
            return self._form(request, tenant, request.form, error)
        done = "Saved." if body else "There was nothing to save."
        return self._web.redirect(request, f"/tenants/{tenant['id']}", done)

    async def remove(self, request: PageRequest) -> Response:
        tenant = await tenant_of(self._web, request)
        if request.form.get("confirm") != tenant["id"]:
            error = InvalidInput("That is not its id.") if request.posted else None
            return self._web.render(request, "tenant-remove.html", tenant=tenant, error=error)
        await self._web.perform(request, "DELETE", ONE, tenant=tenant["id"])
        done = f"Removed the tenant {tenant['id']}. Its keys open nothing any more."
        return self._web.redirect(request, "/tenants", done)

    async def seal(self, request: PageRequest) -> Response:
        tenant, institution = await tenant_of(self._web, request), request.form.get("institution", "")
        if not request.posted:
            return self._pair(request, tenant, request.http.query_params)
        body = {name: request.form.get(name, "") for name in ("username", "password")}
        try:
            if not all((institution, *body.values())):
                raise InvalidInput("An institution, a username and a password are needed.")
            places = {"tenant": tenant["id"], "institution": institution}
            await self._web.perform(request, "PUT", PAIR, body=body, **places)
        except WRONG as error:
            return self._pair(request, tenant, request.form, error)
        return self._web.redirect(request, f"/tenants/{tenant['id']}", f"Set the credential for {institution}.")

    async def unseal(self, request: PageRequest) -> Response:
        places = request.http.path_params
        institution = places["institution"]
        if not request.posted:
            tenant = await tenant_of(self._web, request)
            return self._web.render(request, "credential-remove.html", tenant=tenant, institution=institution)
        await self._web.perform(request, "DELETE", PAIR, **places)
        done = f"Removed the credential for {institution}."
        return self._web.redirect(request, f"/tenants/{places['tenant']}", done)

    async def _usage(self, request: PageRequest, days: int, tenants: str) -> Any:
        """Usage of the last days; None where Redis does not answer, which is no reason not to show the rest."""
        last = self._today()
        first = last - timedelta(days=days - 1)
        query = {"first": first.isoformat(), "last": last.isoformat(), "tenant": tenants}
        try:
            return (await self._web.perform(request, "GET", "/api/usage", query=query))["usage"]
        except CacheUnavailable:
            return None

    async def _census(self, request: PageRequest) -> Any:
        try:
            return await self._web.perform(request, "GET", "/api/queue")
        except CacheUnavailable:
            return None

    def _today(self) -> date:
        return datetime.fromtimestamp(self._now(), UTC).date()

    def _form(self, request: PageRequest, tenant: Any, fields: Any, error: GatewayError | None = None) -> Response:
        return self._web.render(
            request,
            "tenant-form.html",
            tenant=tenant,
            version_of_tenant="" if tenant is None else version_of(tenant),
            fields=fields,
            limits=LIMITS,
            lifetimes=LIFETIMES,
            error=error,
        )

    def _pair(self, request: PageRequest, tenant: Any, fields: Any, error: GatewayError | None = None) -> Response:
        shown = {name: fields.get(name, "") for name in ("institution", "username")}
        return self._web.render(request, "credential-form.html", tenant=tenant, fields=shown, error=error)


class KeysPages:
    """The pages about a tenant's keys: made and shown once, rotated, revoked."""

    def __init__(self, web: Web, now: Callable[[], float]) -> None:
        self._web = web
        self._now = now

    @property
    def routes(self) -> list[Route]:
        page, keys = self._web.page, "/tenants/{tenant}/keys"
        return [
            Route(keys, page(self.back), methods=["GET"]),
            Route(f"{keys}/+new", page(self.new, changes=True), methods=["GET"]),
            Route(keys, page(self.mint, changes=True), methods=["POST"]),
            self._web.form(f"{keys}/{{key}}/rotate", self.rotate),
            self._web.form(f"{keys}/{{key}}/revoke", self.revoke),
        ]

    async def back(self, request: PageRequest) -> Response:
        """The redirect for a browser that reloads the page which showed a key."""
        return RedirectResponse(f"/tenants/{request.http.path_params['tenant']}", 303, HEADERS)

    async def new(self, request: PageRequest) -> Response:
        return self._new(request, await tenant_of(self._web, request))

    async def mint(self, request: PageRequest) -> Response:
        tenant = await tenant_of(self._web, request)
        try:
            body = {"label": request.form.get("label", ""), "expires": self._end(request)}
            made = await self._web.perform(request, "POST", f"{ONE}/keys", body=body, tenant=tenant["id"])
        except WRONG as error:
            return self._new(request, tenant, error)
        return self._made(request, tenant, made, old=None)

    async def rotate(self, request: PageRequest) -> Response:
        tenant, key = await self._key(request)
        if not request.posted:
            return self._other(request, tenant, key)
        try:
            body = {"overlap": overlap_of(request.form), "expires": self._end(request)}
            made = await self._web.perform(request, "POST", "/api/keys/{key}/rotate", body=body, key=key["id"])
        except WRONG as error:
            return self._other(request, tenant, key, error)
        return self._made(request, tenant, made, old=OVERLAPS[request.form.get("overlap", OVERLAP)])

    async def revoke(self, request: PageRequest) -> Response:
        tenant, key = await self._key(request)
        if not request.posted:
            return self._web.render(request, "key-revoke.html", tenant=tenant, key=key, now=self._now())
        await self._web.perform(request, "DELETE", "/api/keys/{key}", key=key["id"])
        done = f"Revoked the key {key['id']}. Within two seconds it opens nothing any more."
        return self._web.redirect(request, f"/tenants/{tenant['id']}", done)

    async def _key(self, request: PageRequest) -> tuple[Any, Any]:
        """The tenant, and the key in the path, which must be its own. Raises NoSuchRecord."""
        tenant = await tenant_of(self._web, request)
        found = await self._web.perform(request, "GET", f"{ONE}/keys", tenant=tenant["id"])
        key = next((each for each in found["keys"] if each["id"] == request.http.path_params["key"]), None)
        if key is None:
            raise NoSuchRecord("this tenant has no such key")
        return tenant, key

    def _end(self, request: PageRequest) -> datetime | None:
        return end_of(request.form.get("expires", ""), self._now())

    def _new(self, request: PageRequest, tenant: Any, error: GatewayError | None = None) -> Response:
        return self._web.render(request, "key-form.html", tenant=tenant, fields=request.form, error=error)

    def _other(self, request: PageRequest, tenant: Any, key: Any, error: GatewayError | None = None) -> Response:
        return self._web.render(
            request,
            "key-rotate.html",
            tenant=tenant,
            key=key,
            overlaps=OVERLAPS,
            chosen=request.form.get("overlap", OVERLAP),
            fields=request.form,
            error=error,
            now=self._now(),
        )

    def _made(self, request: PageRequest, tenant: Any, made: Any, old: str | None) -> Response:
        """The only page that ever shows a key."""
        pairs = tenant["institutions"]
        path = f"/{pairs[0]['institution']}/top/views/article" if pairs else "/top/views/article"
        url = self._web.public_url(request.http) + path
        curl = shlex.join(["curl", "-H", f"X-API-Key: {made['key']}", url])
        return self._web.render(request, "key-made.html", tenant=tenant, made=made, curl=curl, old=old)


async def tenant_of(web: Web, request: PageRequest) -> Any:
    """The tenant in the path, as the API shows it. Raises NoSuchRecord."""
    return await web.perform(request, "GET", ONE, tenant=request.http.path_params["tenant"])


def by_day(rows: list[Row], last: date, days: int) -> list[Row]:
    """One tenant's usage, the newest day first, with the days on which it made no request."""
    found = {row.day: row for row in rows}
    names = [(last - timedelta(days=back)).isoformat() for back in range(days)]
    return [found.get(day, Row(day, "")) for day in names]


def _pages(found: Any, search: str) -> dict[str, str]:
    """The URLs of the pages before and after a page of the list."""
    kept = {"search": search} if search else {}
    ends = {"previous": ("before", found["previous"]), "next": ("after", found["next"])}
    return {
        name: "/tenants?" + urlencode(kept | {parameter: tenant_id})
        for name, (parameter, tenant_id) in ends.items()
        if tenant_id is not None
    }


# Forms


def fields_of(tenant: Mapping[str, Any]) -> dict[str, str]:
    """A tenant, as the API shows it, as its form's fields."""
    fields = {
        "name": "" if tenant["name"] == tenant["id"] else tenant["name"],
        "note": tenant["note"],
        **{name: "\n".join(tenant[name]) for name in LISTS},
        **{name: _text(tenant["limits"][name]) for name in LIMITS},
        **{f"lifetime_{name}": _text(tenant["lifetimes"].get(name)) for name in LIFETIMES},
    }
    if tenant["enabled"]:
        fields["enabled"] = "on"
    if tenant["limits"]["share"] == 1.0:
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
    limits, lifetimes = _numbers(form, before, LIMITS), _numbers(form, before, LIFETIMES, "lifetime_")
    return found | ({"limits": limits} if limits else {}) | ({"lifetimes": lifetimes} if lifetimes else {})


def version_of(tenant: Mapping[str, Any]) -> str:
    """A digest of a tenant's fields, so that nobody overwrites a change they have not seen."""
    fields = json.dumps(fields_of(tenant), sort_keys=True)
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
    """Seconds for which a rotated key still works. Raises InvalidInput."""
    chosen = form.get("overlap", OVERLAP)
    if chosen not in OVERLAPS:
        raise InvalidInput("Choose when the old key ends")
    return float(chosen)


def _numbers(
    form: Form, before: Mapping[str, str], labels: Mapping[str, str], prefix: str = ""
) -> dict[str, float | None]:
    """The numbers that changed, by the API's names; the fields' names have a ``prefix``."""
    return {
        name: _number(form.get(prefix + name, ""), label, whole=name in WHOLE)
        for name, label in labels.items()
        if form.get(prefix + name, "") != before.get(prefix + name, "")
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
