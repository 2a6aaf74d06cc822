"""The first page: the whole fleet at a glance.

Glance: what the first page makes of the overview that the API tells. Pure.

``static/glance.js`` makes the same of each later one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from markupsafe import Markup
from starlette.responses import Response
from starlette.routing import Route

from gateway.admin.web import format as rendering
from gateway.admin.web.pages import Visit, Web
from gateway.upstream.snapshot import REASONS

Told = Mapping[str, Any]

CACHED = ("hit", "stale")
CALLED = ("miss", "collapsed", "revalidated", "bypass")
LOST = ("refused", "failed")
COUNTS = ("requests", "cached", "called", "lost", "calls")
OUTCOMES = (*CACHED, *CALLED, *LOST)


def glance(told: Told) -> dict[str, Any]:
    """Sums and sentences, beside what was told."""
    minutes = [_minute(each) for each in told["minutes"]]
    hour = {
        name: sum(each[name] for each in minutes) for name in ("requests", "cached", "called", "lost", "calls")
    }
    last = minutes[-2] if len(minutes) > 1 else hour
    per_second = told["budget"]["per_second"]
    return {
        **told,
        "minutes": minutes,
        "hour": hour | {"ratio": _ratio(hour)},
        "rate": last["requests"] / 60,
        "spared": _share(told["today"]["saved"], told["today"]["requests"]),
        "allowed": None if per_second is None else per_second * 60,
        "latency": {name: told["latency"].get(name) for name in OUTCOMES},
        "troubles": troubles(told),
    }


def troubles(told: Told) -> list[dict[str, str]]:
    """What an operator should look at, the worst first: each with its ``kind``, bad or warn, and a ``text``."""
    found: list[tuple[str, str]] = []
    if told["redis"]["status"] != "ok":
        found.append(("bad", "Redis does not answer. Each process goes on alone; this is what one of them knows."))
    if told["differing"]:
        found.append(("bad", differing(told["differing"])))
    match told["gate"]["state"]:
        case "closed":
            left = math.ceil(told["gate"]["closed_for"])
            why = f": {reason}" if (reason := REASONS.get(told["gate"]["why"])) else ""
            found.append(("bad", f"The service seems to block us{why}. It is asked nothing for another {left} s."))
        case "half-open":
            found.append(("warn", "The service seemed to block us. One request finds out whether it still does."))
        case "held":
            found.append(("warn", "The gate is held by hand. The service is asked nothing until it is resumed."))
    refused = told["refused_credentials"]
    if refused == 1:
        found.append(("warn", "One credential is not used: the service refuses it, or it is held."))
    elif refused:
        found.append(("warn", f"{refused} credentials are not used: the service refuses them, or they are held."))
    targets = told["refused_targets"]
    if targets:
        queries = "One query is" if targets == 1 else f"{targets} queries are"
        found.append(("warn", f"{queries} not asked for now: the service refused this alone."))
    if told["processes"] > told["fleet_size"]:
        text = f"fleet_size is {told['fleet_size']}, but there are {told['processes']} processes."
        found.append(("warn", f"{text} Without Redis they would ask the service too fast."))
    return [{"kind": kind, "text": text} for kind, text in found]


def differing(names: Sequence[str]) -> str:
    """What is wrong with gateways of one Redis that have not all the same settings."""
    return f"Not all processes on this Redis have the same {', '.join(names)}. The lowest budget holds for all."


def _minute(told: Told) -> dict[str, Any]:
    outcomes = told["outcomes"]
    found: dict[str, Any] = {"at": told["at"], "requests": told["requests"], "calls": told["calls"]}
    for name, group in (("cached", CACHED), ("called", CALLED), ("lost", LOST)):
        found[name] = sum(outcomes.get(each, 0) for each in group)
    return found | {"ratio": _ratio(found)}


def _ratio(counts: Mapping[str, Any]) -> float | None:
    """Of the requests that were answered, the part that the cache answered; None where there were none."""
    return _share(counts["cached"], counts["cached"] + counts["called"])


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


FORMATS: dict[str, Callable[[Any], str]] = {
    "count": rendering.count,
    "rate": rendering.rate,
    "percent": rendering.percent,
    "seconds": rendering.seconds,
    "clock": rendering.clock,
    "word": str,
}


def routes(web: Web) -> list[Route]:
    """Its one."""

    async def overview(visit: Visit) -> Response:
        told = msgspec.to_builtins(await web.perform(visit, "GET", "/api/overview"), enc_hook=str)
        seen = glance(told)
        return web.render(visit, "overview.html", seen=seen, show=_shower(seen), outcomes=OUTCOMES)

    return [Route("/", web.page(overview), methods=["GET"])]


def _shower(seen: Mapping[str, Any]) -> Callable[[str, str], Markup]:
    """Shows a value by its path, in a place where the page's script will find it and put the next one."""

    def show(path: str, form: str) -> Markup:
        value: Any = seen
        for name in path.split("."):
            value = None if value is None else value[name]
        text = rendering.NOTHING if value is None else FORMATS[form](value)
        return Markup('<span data-show="{}" data-as="{}">{}</span>').format(path, form, text)

    return show
