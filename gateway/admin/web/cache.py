"""The Cache page: what is stored for a request, what would become of it, and purges, each with its preview."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

from starlette.responses import Response
from starlette.routing import Route

from gateway.admin.web.explore import FAMILIES, tenants_of
from gateway.admin.web.format import sentence, span
from gateway.admin.web.pages import PageRequest, Web
from gateway.cache.lifetimes import CHANGED
from gateway.errors import GatewayError, InvalidInput

SERVED = "It would be served from the cache"
STALE = "It would be served from the cache, as stale"
ASKED = "The service would be asked"
REFUSED = "It would be refused"
FAILED = "It could not be answered now"
KINDS = {SERVED: "good", STALE: "warn", REFUSED: "bad", FAILED: "bad"}
"""Classes of the style sheet."""
MOST_SHOWN = 120
"""Characters of a purge's subject that are repeated: a path may have thousands."""
SUBJECTS = {"query": "the query", "item": "all about", "institution": "all of", "all": "everything that is stored"}


class CachePage:
    """Look-ups, and purges in two steps: a preview that asks, and the purge."""

    def __init__(self, web: Web) -> None:
        self._web = web

    @property
    def routes(self) -> list[Route]:
        page = self._web.page
        return [
            Route("/cache", page(self.look), methods=["GET"]),
            Route("/cache/stored", page(self.stored), methods=["GET"]),
            Route("/cache/purge", page(self.purge, changes=True), methods=["POST"]),
        ]

    async def look(self, request: PageRequest) -> Response:
        return await self._page(request, request.http.query_params)

    async def stored(self, request: PageRequest) -> Response:
        """What is stored by family, and how full Redis is."""
        found = await self._web.perform(request, "GET", "/api/stored")
        return self._web.render(request, "stored.html", found=found, labels=FAMILIES)

    async def purge(self, request: PageRequest) -> Response:
        """Show what the purge would cover; do it once that is confirmed."""
        form = request.form
        try:
            body = _body(form)
            if form.get("confirmed") != "yes":
                return await self._preview(request, body)
            if _is_drastic(body) and form.get("sure") != "yes":
                error = InvalidInput("Tick the box to purge everything at once")
                return await self._preview(request, body, error)
            await self._web.perform(request, "POST", "/api/purge", body=body)
        except GatewayError as error:
            return await self._page(request, form, error)
        how = "at once" if body.get("hard") else "softly"
        return self._web.redirect(request, _url("/cache", form), f"Purged {how}: {_named(body)}.")

    async def _page(
        self, request: PageRequest, given: Mapping[str, str], error: GatewayError | None = None
    ) -> Response:
        path, tenant = given.get("path", "").strip(), given.get("tenant", "").strip()
        found: dict[str, Any] | None = None
        if path:
            query = {"path": path} | ({"tenant": tenant} if tenant else {})
            try:
                found = await self._web.perform(request, "GET", "/api/explain", query=query)
            except GatewayError as raised:
                error = error or raised
        return self._web.render(
            request,
            "cache.html",
            error=error,
            path=path,
            tenant=tenant,
            tenants=await tenants_of(self._web, request),
            found=found,
            verdict=None if found is None else verdict_of(found),
            item=_item({} if found is None else found["query"]),
            institution="" if found is None else found["query"]["institution"] or "",
            explore=_url("/explore", given),
            span=span,
        )

    async def _preview(
        self, request: PageRequest, body: dict[str, Any], error: GatewayError | None = None
    ) -> Response:
        kept = {name: text for name, text in request.form.items() if name not in ("csrf", "confirmed", "sure")}
        return self._web.render(
            request,
            "purge.html",
            error=error,
            found=await self._web.perform(request, "POST", "/api/purge/preview", body=body),
            named=_named(body),
            hard=body.get("hard", False),
            drastic=_is_drastic(body),
            form=kept,
            back=_url("/cache", request.form),
        )


def _body(form: Mapping[str, str]) -> dict[str, Any]:
    """The body of the purge that a form wants. Raises InvalidInput."""
    subject = form.get("subject", "")
    if subject not in SUBJECTS:
        raise InvalidInput("Choose what to purge")
    hard = {"hard": True} if form.get("how") == "hard" else {}
    if subject == "all":
        return {"all": True} | hard
    value = form.get("path" if subject == "query" else subject, "")
    if not value:
        raise InvalidInput(f"Say which {subject} to purge")
    return {subject: value} | hard


def _is_drastic(body: Mapping[str, Any]) -> bool:
    """Whether every answer would have to be fetched again while clients wait."""
    return bool(body.get("all") and body.get("hard"))


def _named(body: Mapping[str, Any]) -> str:
    """A purge's subject in words."""
    if body.get("all"):
        return SUBJECTS["all"]
    ((subject, value),) = [(name, value) for name, value in body.items() if name != "hard"]
    return f"{SUBJECTS[subject]} {value if len(value) <= MOST_SHOWN else value[:MOST_SHOWN] + '…'}"


def _item(query: Mapping[str, Any]) -> str:
    """A request's item as a purge names it."""
    return f"{query['item']}/{query['item_id']}" if query.get("item") and query.get("item_id") else ""


def _url(page: str, given: Mapping[str, str]) -> str:
    query = {name: given[name].strip() for name in ("path", "tenant") if given.get(name, "").strip()}
    return f"{page}?{urlencode(query)}" if query else page


class Verdict(NamedTuple):
    """What would become of a request, and why."""

    headline: str
    reason: str

    @property
    def kind(self) -> str:
        return KINDS.get(self.headline, "")


def verdict_of(found: Mapping[str, Any]) -> Verdict:
    """The verdict on a result of *explain*."""
    if found["decision"] == "Refuse":
        return Verdict(REFUSED, sentence(found["why"]))
    withheld = found["credential_withheld_for"]
    if withheld is not None and found["query"]["protected"]:
        if found["credential_held"]:
            return Verdict(REFUSED, "An operator holds this credential: it is not used until it is resumed.")
        if withheld > 0:
            return Verdict(REFUSED, f"The service refuses this credential; tried again in {span(withheld)}.")
        return Verdict(ASKED, "It refused this credential before, and is to be tried again.")
    match found["decision"]:
        case "Serve":
            return Verdict(SERVED, _fresh(found["entry"], found["error_record"]))
        case "ServeAndRefresh":
            return Verdict(STALE, "Meanwhile the service is asked for a fresher answer.")
    return _asking(found)


def _fresh(entry: Mapping[str, Any] | None, error: Mapping[str, Any] | None) -> str:
    if error is not None and error["fresh_for"] > 0 and (entry is None or entry["fetched"] <= error["fetched"]):
        left = span(error["fresh_for"])
        if error["rule"] == CHANGED:
            return f"The service took to another shape of answer; this one is kept for another {left}."
        return f"The service's own error {error['status']} is remembered for another {left}."
    if entry is None:
        return "What is stored is fresh."
    return f"What is stored is fresh for another {span(entry['fresh_for'])}; nothing is asked of the service."


def _asking(found: Mapping[str, Any]) -> Verdict:
    closed, entry = found["gate_closed_for"], found["entry"]
    if closed > 0:
        gate = "An operator holds the gate" if found["gate_held"] else f"The gate is closed for {span(closed)}"
        if entry is not None and entry["stands_in_for_failures_for"] > 0 and not found["purged"]:
            return Verdict(STALE, f"{gate}.")
        return Verdict(FAILED, f"{gate}, and nothing stored helps.")
    if found["decision"] == "Revalidate":
        return Verdict(ASKED, "Only whether what is stored still holds.")
    if entry is None:
        return Verdict(ASKED, "Nothing is stored that answers it.")
    return Verdict(ASKED, "What is stored is too old, or was purged.")
