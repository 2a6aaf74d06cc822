"""The pages about a tenant's keys: made and shown once, rotated, revoked."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from gateway.admin.web.pages import HEADERS, Visit, Web
from gateway.admin.web.tenants import OVERLAP, OVERLAPS, end_of, overlap_of
from gateway.errors import ConfigurationError, GatewayError, InvalidInput, NoSuchRecord

ONE = "/api/tenants/{tenant}"


class KeysPages:
    """``now`` is in seconds since the epoch."""

    def __init__(self, web: Web, now: Callable[[], float]) -> None:
        self._web = web
        self._now = now

    @property
    def routes(self) -> list[Route]:
        """All of them."""
        page, keys = self._web.page, "/tenants/{tenant}/keys"
        return [
            Route(keys, page(self.back), methods=["GET"]),
            Route(f"{keys}/+new", page(self.new, changes=True), methods=["GET"]),
            Route(keys, page(self.mint, changes=True), methods=["POST"]),
            Route(f"{keys}/{{key}}/rotate", page(self.other, changes=True), methods=["GET"]),
            Route(f"{keys}/{{key}}/rotate", page(self.rotate, changes=True), methods=["POST"]),
            Route(f"{keys}/{{key}}/revoke", page(self.doubt, changes=True), methods=["GET"]),
            Route(f"{keys}/{{key}}/revoke", page(self.revoke, changes=True), methods=["POST"]),
        ]

    async def back(self, visit: Visit) -> Response:
        """Where a browser goes that loads the page anew which showed a key."""
        return RedirectResponse(f"/tenants/{visit.request.path_params['tenant']}", 303, HEADERS)

    async def new(self, visit: Visit) -> Response:
        return self._new(visit, await self._tenant(visit))

    async def mint(self, visit: Visit) -> Response:
        tenant = await self._tenant(visit)
        try:
            body = {
                "label": visit.form.get("label", ""),
                "expires": end_of(visit.form.get("expires", ""), self._now()),
            }
            made = await self._web.perform(visit, "POST", f"{ONE}/keys", body=body, tenant=tenant["id"])
        except (InvalidInput, ConfigurationError) as error:
            return self._new(visit, tenant, error)
        return self._made(visit, tenant, made, old=None)

    async def other(self, visit: Visit) -> Response:
        return self._other(visit, *await self._key(visit))

    async def rotate(self, visit: Visit) -> Response:
        tenant, key = await self._key(visit)
        try:
            body = {
                "overlap": overlap_of(visit.form),
                "expires": end_of(visit.form.get("expires", ""), self._now()),
            }
            made = await self._web.perform(visit, "POST", "/api/keys/{key}/rotate", body=body, key=key["id"])
        except (InvalidInput, ConfigurationError) as error:
            return self._other(visit, tenant, key, error)
        return self._made(visit, tenant, made, old=OVERLAPS[visit.form.get("overlap", OVERLAP)])

    async def doubt(self, visit: Visit) -> Response:
        tenant, key = await self._key(visit)
        return self._web.render(visit, "key-revoke.html", tenant=tenant, key=key, now=self._now())

    async def revoke(self, visit: Visit) -> Response:
        tenant, key = await self._key(visit)
        await self._web.perform(visit, "DELETE", "/api/keys/{key}", key=key["id"])
        said = f"Revoked the key {key['id']}. Within two seconds it opens nothing any more."
        return self._web.redirect(visit, f"/tenants/{tenant['id']}", said)

    async def _tenant(self, visit: Visit) -> Any:
        return await self._web.perform(visit, "GET", ONE, tenant=visit.request.path_params["tenant"])

    async def _key(self, visit: Visit) -> tuple[Any, Any]:
        """The tenant, and the key in the path, which must be its own. Raises NoSuchRecord."""
        tenant = await self._tenant(visit)
        told = await self._web.perform(visit, "GET", f"{ONE}/keys", tenant=tenant["id"])
        key = next((each for each in told["keys"] if each["id"] == visit.request.path_params["key"]), None)
        if key is None:
            raise NoSuchRecord("this tenant has no such key")
        return tenant, key

    def _new(self, visit: Visit, tenant: Any, error: GatewayError | None = None) -> Response:
        return self._web.render(visit, "key-form.html", tenant=tenant, fields=visit.form, error=error)

    def _other(self, visit: Visit, tenant: Any, key: Any, error: GatewayError | None = None) -> Response:
        return self._web.render(
            visit,
            "key-rotate.html",
            tenant=tenant,
            key=key,
            overlaps=OVERLAPS,
            chosen=visit.form.get("overlap", OVERLAP),
            fields=visit.form,
            error=error,
            now=self._now(),
        )

    def _made(self, visit: Visit, tenant: Any, made: Any, old: str | None) -> Response:
        """The one page that ever shows a key."""
        pairs = tenant["institutions"]
        path = f"/{pairs[0]['institution']}/top/views/article" if pairs else "/top/views/article"
        curl = shlex.join(["curl", "-H", f"X-API-Key: {made['key']}", self._web.public_url(visit.request) + path])
        return self._web.render(visit, "key-made.html", tenant=tenant, made=made, curl=curl, old=old)
