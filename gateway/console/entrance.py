"""Entrance: who comes in, by an admin token or by a session of the console."""

from __future__ import annotations

import hmac
from urllib.parse import urlsplit

from starlette.requests import Request

from gateway.console.guard import Admin, Guard
from gateway.console.sessions import Session, Sessions
from gateway.errors import AdminForbidden, AdminUnauthenticated

COOKIE = "stats_gateway_session"
CSRF_HEADER = "x-csrf-token"
ACTIVE_HEADER = "x-console-active"
"""The console's pages ask by themselves; with this header they say that somebody is there."""


class Entrance:
    """Checks every request to the admin listener that is not open to all."""

    def __init__(self, guard: Guard, sessions: Sessions) -> None:
        self.guard = guard
        self.sessions = sessions

    async def admit(self, request: Request, *, changes: bool) -> Admin:
        """Who uses the API. Raises AdminDisabled, AdminUnauthenticated, AdminForbidden.

        A session alone changes nothing: its own token must come along, which no foreign page knows.
        """
        self.guard.check_host(request.headers.raw)
        bearer = request.headers.get("authorization", "").lower().startswith("bearer")
        if bearer or COOKIE not in request.cookies:
            return self.guard.admit(request.headers.raw, changes=changes)
        session = await self.session(request, active=ACTIVE_HEADER in request.headers)
        if session is None:
            raise AdminUnauthenticated("The session has ended; sign in again")
        if changes and not is_csrf(session, request.headers.get(CSRF_HEADER, "")):
            raise AdminForbidden("A change by a session needs its own X-CSRF-Token")
        self.guard.check_role(session.admin, changes=changes)
        return session.admin

    async def session(self, request: Request, *, active: bool) -> Session | None:
        """The session that a request's cookie names, if it lives. Raises AdminDisabled."""
        self.guard.check_enabled()
        secret = request.cookies.get(COOKIE)
        return None if secret is None else await self.sessions.find(secret, active=active)


def check_source(request: Request) -> None:
    """Raises AdminForbidden for a form that, as the browser says, another site's page sent."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        foreign = site not in ("same-origin", "none")
    else:
        foreign = origin is not None and urlsplit(origin).netloc.lower() != request.headers["host"].lower()
    if foreign:
        raise AdminForbidden("This form was sent by another site's page.")


def is_csrf(session: Session, token: str) -> bool:
    """Whether this is the session's own token."""
    return hmac.compare_digest(session.csrf.encode(), token.encode("utf-8", "replace"))
