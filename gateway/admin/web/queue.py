"""The Queue page: what waits and what runs, the gate, and credentials that are not used, with what can be done."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from starlette.responses import Response
from starlette.routing import Route

from gateway.admin.web.format import span
from gateway.admin.web.pages import PageRequest, Web
from gateway.errors import CacheUnavailable, GatewayError, InvalidInput
from gateway.observe.withheld import whose
from gateway.upstream.pacing import Priority
from gateway.upstream.snapshot import REASONS, Refused

GATE = {"hold": "The gate is held: the service is asked nothing.", "resume": "The gate is open again."}
CREDENTIAL = {
    "hold": "The credential is held: it is not used until it is resumed.",
    "resume": "The credential is used again.",
}


class QueuePage:
    """Shows the fleet's queue, holds and resumes the gate and credentials, and cancels calls that wait."""

    def __init__(self, web: Web) -> None:
        self._web = web

    @property
    def routes(self) -> list[Route]:
        changed = {"/queue/gate": self.gate, "/queue/credential": self.credential, "/queue/cancel": self.cancel}
        return [
            Route("/queue", self._web.page(self.look), methods=["GET"]),
            *(Route(path, self._web.page(each, changes=True), methods=["POST"]) for path, each in changed.items()),
        ]

    async def look(self, request: PageRequest) -> Response:
        return await self._page(request)

    async def gate(self, request: PageRequest) -> Response:
        """Hold or resume the gate."""
        verb = _verb(request, GATE)
        await self._web.perform(request, "POST", f"/api/gate/{verb}")
        return self._web.redirect(request, "/queue", GATE[verb])

    async def credential(self, request: PageRequest) -> Response:
        """Hold or resume a credential; back to the page that asked for it."""
        verb, tenant = _verb(request, CREDENTIAL), request.form.get("tenant", "")
        operation = f"/api/breakers/{{fingerprint}}/{verb}"
        await self._web.perform(request, "POST", operation, fingerprint=request.form.get("fingerprint", ""))
        back = f"/tenants/{quote(tenant, safe='')}" if tenant else "/queue#not-used"
        return self._web.redirect(request, back, CREDENTIAL[verb])

    async def cancel(self, request: PageRequest) -> Response:
        """Take one call, or all of a tenant, out of the queue."""
        call, tenant = request.form.get("call", ""), request.form.get("tenant", "")
        places: Any = {"call": call} if call else {"tenant": tenant}
        path = "calls/{call}" if call else "tenants/{tenant}"
        try:
            done = await self._web.perform(request, "DELETE", f"/api/queue/{path}", **places)
        except GatewayError as error:
            return await self._page(request, error)
        many = "1 call" if done["cancelled"] == 1 else f"{done['cancelled']} calls"
        return self._web.redirect(request, "/queue", f"Cancelled {many}.")

    async def _page(self, request: PageRequest, error: GatewayError | None = None) -> Response:
        found: Any = None
        try:
            found = await self._web.perform(request, "GET", "/api/queue")
        except CacheUnavailable as raised:
            error = error or raised
        return self._web.render(
            request,
            "queue.html",
            error=error,
            found=found,
            priorities=Priority,
            reasons=REASONS,
            credential=_credential,
            span=span,
        )


def _verb(request: PageRequest, verbs: dict[str, str]) -> str:
    verb = request.form.get("do", "")
    if verb not in verbs:
        raise InvalidInput("Choose whether to hold or to resume")
    return verb


def _credential(refused: Refused) -> str:
    return whose(refused.institution, refused.tenants, refused.tenants_total, refused.fingerprint)
