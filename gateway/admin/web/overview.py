"""The first page: the whole fleet at a glance.

``static/glance.js`` does the same as ``summarise`` for each later overview.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from markupsafe import Markup
from starlette.responses import Response
from starlette.routing import Route

from gateway.admin.web.format import NOTHING, answering, clock, count, percent, rate, ratio, seconds, span
from gateway.admin.web.pages import PageRequest, Web
from gateway.observe.withheld import whose
from gateway.upstream.pacing import Priority
from gateway.upstream.snapshot import REASONS

CACHED = ("hit", "stale")
CALLED = ("miss", "collapsed", "revalidated", "bypass")
LOST = ("refused", "failed")
OUTCOMES = (*CACHED, *CALLED, *LOST)
COUNTS = ("requests", "cached", "called", "lost", "calls")
QUEUE, CREDENTIALS = "/queue", "/queue#not-used"
FORMATS: dict[str, Callable[[Any], str]] = {
    "count": count,
    "rate": rate,
    "percent": percent,
    "seconds": seconds,
    "span": span,
    "clock": clock,
    "word": str,
    "answering": answering,
}


def routes(web: Web) -> list[Route]:

    async def overview(request: PageRequest) -> Response:
        answer = msgspec.to_builtins(await web.perform(request, "GET", "/api/overview"), enc_hook=str)
        seen = summarise(answer)
        return web.render(
            request, "overview.html", seen=seen, show=_shower(seen), outcomes=OUTCOMES, priorities=Priority
        )

    return [Route("/", web.page(overview), methods=["GET"])]


def _shower(seen: Mapping[str, Any]) -> Callable[[str, str], Markup]:
    """A function for the template that shows a value by its path, where the page's script finds and updates it."""

    def show(path: str, form: str) -> Markup:
        value: Any = seen
        for name in path.split("."):
            value = None if value is None else value[name]
        text = NOTHING if value is None else FORMATS[form](value)
        return Markup('<span data-show="{}" data-as="{}">{}</span>').format(path, form, text)

    return show


def summarise(overview: Mapping[str, Any]) -> dict[str, Any]:
    """The API's overview with sums, ratios and sentences about what is wrong."""
    minutes = [_minute(each) for each in overview["minutes"]]
    hour = {name: sum(each[name] for each in minutes) for name in COUNTS}
    last = minutes[-2] if len(minutes) > 1 else hour
    per_second = overview["budget"]["per_second"]
    return {
        **overview,
        "minutes": minutes,
        "hour": hour | {"ratio": _ratio(hour)},
        "rate": last["requests"] / 60,
        "spared": ratio(overview["today"]["saved"], overview["today"]["requests"]),
        "allowed": None if per_second is None else per_second * 60,
        "latency": {name: overview["latency"].get(name) for name in OUTCOMES},
        "troubles": troubles(overview),
    }


def troubles(overview: Mapping[str, Any]) -> list[dict[str, str]]:
    """What an operator should look at, the worst first: ``kind`` is bad or warn, ``text`` a sentence, ``link`` the
    page on which something can be done about it, empty where that is elsewhere."""
    found: list[tuple[str, str, str]] = []
    if overview["redis"]["status"] != "ok":
        found.append(
            ("bad", "Redis does not answer. Each process goes on alone; this is what one of them knows.", "")
        )
    if overview["differing"]:
        found.append(("bad", differing(overview["differing"]), ""))
    match overview["gate"]["state"]:
        case "closed":
            left = math.ceil(overview["gate"]["closed_for"])
            why = f": {reason}" if (reason := REASONS.get(overview["gate"]["why"])) else ""
            found.append(
                ("bad", f"The service seems to block us{why}. It is asked nothing for another {left} s.", QUEUE)
            )
        case "half-open":
            found.append(
                ("warn", "The service seemed to block us. One request finds out whether it still does.", QUEUE)
            )
        case "held":
            found.append(
                ("warn", "The gate is held by hand. The service is asked nothing until it is resumed.", QUEUE)
            )
    found += [("warn", _not_used(each), CREDENTIALS) for each in overview["refused"]]
    if more := overview["refused_credentials"] - len(overview["refused"]):
        credentials = "One more credential is" if more == 1 else f"{more} more credentials are"
        found.append(("warn", f"{credentials} not used.", CREDENTIALS))
    targets = overview["refused_targets"]
    if targets:
        queries = "One query is" if targets == 1 else f"{targets} queries are"
        found.append(("warn", f"{queries} not asked for now: the service refused this alone.", QUEUE))
    if overview["processes"] > overview["fleet_size"]:
        text = f"fleet_size is {overview['fleet_size']}, but there are {overview['processes']} processes."
        found.append(("warn", f"{text} Without Redis they would ask the service too fast.", ""))
    return [{"kind": kind, "text": text, "link": link} for kind, text, link in found]


def _not_used(refused: Mapping[str, Any]) -> str:
    credential = whose(*[refused[name] for name in ("institution", "tenants", "tenants_total", "fingerprint")])
    if refused["held_for"] is not None:
        return f"An operator holds the credential for {credential}. It is not used until it is resumed."
    left = math.ceil(refused["left"])
    when = f"for another {left} s" if left else "until a question of its tenants is answered"
    return f"The service refuses the credential for {credential}. It is not used {when}."


def differing(names: Sequence[str]) -> str:
    return f"Not all processes on this Redis have the same {', '.join(names)}. The lowest budget holds for all."


def _minute(minute: Mapping[str, Any]) -> dict[str, Any]:
    outcomes = minute["outcomes"]
    found: dict[str, Any] = {"at": minute["at"], "requests": minute["requests"], "calls": minute["calls"]}
    for name, group in (("cached", CACHED), ("called", CALLED), ("lost", LOST)):
        found[name] = sum(outcomes.get(each, 0) for each in group)
    return found | {"ratio": _ratio(found)}


def _ratio(counts: Mapping[str, Any]) -> float | None:
    """The cache's share of the answered requests; None without any."""
    return ratio(counts["cached"], counts["cached"] + counts["called"])
