"""Running: what the gateway that runs here, with these settings, says of its registry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import httpx2 as httpx

from gateway.doctor.finding import Finding, counted, ok, problem, warning
from gateway.settings import Settings

READY = "/-/health/ready"
SECONDS = 1.0
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 (looked up, not listened on)
REASONS = {
    "unread": "cannot read its registry",
    "broken": "cannot use all of its registry",
    "doubtful": "does not believe its registry, which has lost most of its tenants at once",
}


def readiness(settings: Settings) -> Mapping[str, Any] | None:
    """What a gateway at the public listener says of its readiness; None where none answers."""
    url = f"http://{EVERYWHERE.get(settings.host, settings.host)}:{settings.port}{READY}"
    try:
        told = httpx.get(url, timeout=SECONDS, trust_env=False).json()
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError):
        return None
    return told if isinstance(told, dict) and isinstance(told.get("status"), str) else None


def running_findings(told: Mapping[str, Any] | None) -> Iterator[Finding]:
    """What is to be said of that; nothing where no gateway runs."""
    if told is None or told["status"] not in ("ok", "degraded"):
        return
    registry = told.get("registry")
    if not isinstance(registry, dict):
        yield ok("registry.followed", "the gateway that runs here has the registry's present state")
        return
    reason, age = str(registry.get("reason")), registry.get("age")
    what = (
        f"the gateway that runs here {REASONS.get(reason, 'has trouble with its registry')}; "
        f"its last good state is {counted(age if isinstance(age, int) else 0, 'second')} old, and stays in force"
    )
    if reason == "doubtful":
        yield warning("registry.followed", what, "bring the registry back, unless that many were to go")
    else:
        yield problem("registry.followed", what, "its log says why, under registry_broken")
