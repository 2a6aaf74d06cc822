"""The Cache page: what is stored for a request and what would become of it; purges, each with its preview.

Verdicts: what *explain* found, in a headline and a reason. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

from starlette.responses import Response
from starlette.routing import Route

from gateway.admin.web import format as served
from gateway.admin.web.explore import tenants_of
from gateway.admin.web.format import span
from gateway.admin.web.pages import Visit, Web
from gateway.cache.lifetimes import CHANGED
from gateway.errors import GatewayError, InvalidInput

SERVED = "It would be served from the cache"
STALE = "It would be served from the cache, as stale"
ASKED = "The service would be asked"
REFUSED = "It would be refused"
FAILED = "It could not be answered now"


KINDS = {SERVED: "good", STALE: "warn", REFUSED: "bad", FAILED: "bad"}


class Verdict(NamedTuple):
    """What would become of a request, and why."""

    headline: str
    reason: str

    @property
    def kind(self) -> str:
        """How good it is, as a class of the style sheet."""
        return KINDS.get(self.headline, "")


def verdict_of(told: Mapping[str, Any]) -> Verdict:
    """The verdict on what the operation answered."""
    decision = told["decision"]
    if decision == "Refuse":
        return Verdict(REFUSED, _sentence(told["why"]))
    withheld = told["credential_withheld_for"]
    if withheld is not None and told["query"]["protected"]:
        if withheld > 0:
            return Verdict(
                "It would be refused", f"The service refuses this credential; tried again in {span(withheld)}."
            )
        return Verdict(
            "The service would be asked", "It refused this credential before, and is to be tried again."
        )
    match decision:
        case "Serve":
            return Verdict("It would be served from the cache", _fresh(told))
        case "ServeAndRefresh":
            return Verdict(
                "It would be served from the cache, as stale",
                "Meanwhile the service is asked for a fresher answer.",
            )
    return _asking(told)


def _fresh(told: Mapping[str, Any]) -> str:
    entry, error = told["entry"], told["error_record"]
    if error is not None and error["fresh_for"] > 0 and (entry is None or entry["fetched"] <= error["fetched"]):
        left = span(error["fresh_for"])
        if error["rule"] == CHANGED:
            return f"The service took to another shape of answer; this one is kept for another {left}."
        return f"The service's own error {error['status']} is remembered for another {left}."
    if entry is None:
        return "What is stored is fresh."
    return f"What is stored is fresh for another {span(entry['fresh_for'])}; nothing is asked of the service."


def _asking(told: Mapping[str, Any]) -> Verdict:
    closed, entry = told["gate_closed_for"], told["entry"]
    if closed > 0 and entry is not None and entry["stands_in_for_failures_for"] > 0 and not told["purged"]:
        return Verdict(STALE, f"The gate is closed for {span(closed)}.")
    if closed > 0:
        return Verdict(
            "It could not be answered now", f"The gate is closed for {span(closed)}, and nothing stored helps."
        )
    if told["decision"] == "Revalidate":
        return Verdict(ASKED, "Only whether what is stored still holds.")
    if entry is None:
        return Verdict(ASKED, "Nothing is stored that answers it.")
    return Verdict(ASKED, "What is stored is too old, or was purged.")


def _sentence(text: str) -> str:
    whole = text[:1].upper() + text[1:]
    return whole if whole.endswith((".", "?")) else whole + "."


MOST_SAID = 120
"""Characters of a purge's subject that are repeated: a path may have thousands."""
SUBJECTS = ("query", "item", "institution", "all")


class CachePage:
    """Looking up, and purging in two steps: a preview that asks, and the purge."""

    def __init__(self, web: Web) -> None:
        self._web = web

    @property
    def routes(self) -> list[Route]:
        """All of them."""
        page = self._web.page
        return [
            Route("/cache", page(self.look), methods=["GET"]),
            Route("/cache/purge", page(self.purge, changes=True), methods=["POST"]),
        ]

    async def look(self, visit: Visit) -> Response:
        return await self._looked(visit, visit.request.query_params)

    async def purge(self, visit: Visit) -> Response:
        """Asks back with what the purge would cover; does it once that is confirmed."""
        try:
            body = _body(visit.form)
            if visit.form.get("confirmed") != "yes":
                return await self._doubt(visit, body)
            if _is_drastic(body) and visit.form.get("sure") != "yes":
                return await self._doubt(visit, body, InvalidInput("Tick the box to purge everything at once"))
            await self._web.perform(visit, "POST", "/api/purge", body=body)
        except GatewayError as error:
            return await self._looked(visit, visit.form, error)
        how = "at once" if body.get("hard") else "softly"
        return self._web.redirect(visit, _url("/cache", visit.form), f"Purged {how}: {_named(body)}.")

    async def _looked(self, visit: Visit, given: Mapping[str, str], error: GatewayError | None = None) -> Response:
        path, tenant = given.get("path", "").strip(), given.get("tenant", "").strip()
        told: dict[str, Any] | None = None
        if path:
            query = {"path": path} | ({"tenant": tenant} if tenant else {})
            try:
                told = await self._web.perform(visit, "GET", "/api/explain", query=query)
            except GatewayError as raised:
                error = error or raised
        return self._web.render(
            visit,
            "cache.html",
            error=error,
            path=path,
            tenant=tenant,
            tenants=await tenants_of(self._web, visit),
            told=told,
            verdict=None if told is None else verdict_of(told),
            item=_item(told),
            institution="" if told is None else told["query"]["institution"] or "",
            explore=_url("/explore", given),
            span=served.span,
        )

    async def _doubt(self, visit: Visit, body: dict[str, Any], error: GatewayError | None = None) -> Response:
        found = await self._web.perform(visit, "POST", "/api/purge/preview", body=body)
        return self._web.render(
            visit,
            "purge.html",
            error=error,
            found=found,
            named=_named(body),
            hard=body.get("hard", False),
            drastic=_is_drastic(body),
            form={name: value for name, value in visit.form.items() if name not in ("csrf", "confirmed", "sure")},
            back=_url("/cache", visit.form),
        )


def _body(form: Mapping[str, str]) -> dict[str, Any]:
    """What a form wants purged, as the operation takes it. Raises InvalidInput."""
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
    """What a purge is about, in words."""
    if body.get("all"):
        return "everything that is stored"
    ((subject, value),) = [(name, value) for name, value in body.items() if name != "hard"]
    said = value if len(value) <= MOST_SAID else value[:MOST_SAID] + "…"
    return {"query": "the query", "item": "all about", "institution": "all of"}[subject] + f" {said}"


def _item(told: dict[str, Any] | None) -> str:
    """The item that a request is about, as a purge names it."""
    query = {} if told is None else told["query"]
    return f"{query['item']}/{query['item_id']}" if query.get("item") and query.get("item_id") else ""


def _url(page: str, given: Mapping[str, str]) -> str:
    query = {name: given[name].strip() for name in ("path", "tenant") if given.get(name, "").strip()}
    return f"{page}?{urlencode(query)}" if query else page
