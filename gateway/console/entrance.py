"""Entrance: who comes in, by an admin token or by a session of the console."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.requests import Request

from gateway.console.guard import Admin, Guard, bearer_token, is_own_source
from gateway.console.sessions import Session, Sessions
from gateway.errors import AdminForbidden, AdminTokenUnknown, AdminUnauthenticated, RateLimited
from gateway.proxy.network import came_by_https, client_address, subject_of
from gateway.redis_client import MEMORY
from gateway.redis_place import RedisPlace
from gateway.tenants.limiter import Admission
from gateway.tenants.networks import Network
from gateway.tenants.tenant import TenantLimits

if TYPE_CHECKING:
    from gateway.settings import Settings

COOKIE = "stats_gateway_session"
"""The cookie's name, with the instance's after it."""
CSRF_HEADER = "x-csrf-token"
ACTIVE_HEADER = "x-console-active"
"""The console's pages ask by themselves; with this header they say that somebody is there."""
PER_MINUTE = 10
GUESSES = TenantLimits(requests_per_second=PER_MINUTE / 60, burst=PER_MINUTE)
"""How many wrong tokens one address may send."""


@dataclass(frozen=True, slots=True)
class Visitors:
    """From where requests come. ``trusted`` proxies are believed whom they saw, and whether by https; ``secure``
    says that it always is."""

    trusted: Sequence[Network]
    secure: bool

    def address(self, request: Request) -> str:
        """The client's."""
        return client_address(_peer(request), request.headers.raw, self.trusted)

    def by_https(self, request: Request) -> bool:
        """Whether the browser certainly speaks https."""
        return self.secure or came_by_https(_peer(request), request.headers.raw, self.trusted)

    def is_own(self, request: Request) -> bool | None:
        """Whether it came from a page of our own, or from no page; None where the browser says nothing."""
        return is_own_source(request.headers.raw, https=self.by_https(request))

    def is_foreign(self, request: Request) -> bool:
        """Whether another origin's page sent it, as the browser says."""
        return self.is_own(request) is False

    def check_source(self, request: Request) -> None:
        """Raises AdminForbidden for a request that, as the browser says, another origin's page sent."""
        if self.is_foreign(request):
            raise AdminForbidden("This was sent by another site's page")

    def check_own(self, request: Request) -> None:
        """Raises AdminForbidden for a request of which the browser does not say that it is our own page's."""
        self.check_source(request)
        if not self.is_own(request):
            raise AdminForbidden(
                "The browser does not say that a page of this console sent this; ask it from there"
            )


@dataclass(frozen=True, slots=True)
class Guesses:
    """Counts wrong tokens, and limits how many one address may send, in the whole fleet, wherever it sends them.

    The right token is never limited: whoever shares an address with a guesser still gets in.
    """

    admission: Admission
    visitors: Visitors
    count: Callable[[str], None]

    async def note(self, request: Request, via: str) -> None:
        """A wrong token came ``via`` the form, the API or the metrics. Raises RateLimited."""
        self.count(via)
        subject = subject_of(self.visitors.address(request))
        try:
            await self.admission.admit(f"sign-in:{subject}", GUESSES)
        except RateLimited as error:
            wait, headers = error.retry_after or 1.0, error.headers
            raise RateLimited(
                "Too many wrong admin tokens from this address", retry_after=wait, headers=headers
            ) from None


class Entrance:
    """Checks every request to the admin listener that is not open to all. ``instance`` tells this installation's
    cookies from those of others on the same host, which a browser does not keep apart by port."""

    def __init__(
        self, guard: Guard, sessions: Sessions, visitors: Visitors, guesses: Guesses, instance: str
    ) -> None:
        self.guard = guard
        self.sessions = sessions
        self.visitors = visitors
        self.guesses = guesses
        self.instance = instance
        self.cookie = f"{COOKIE}_{instance}"

    async def admit(self, request: Request, *, changes: bool, acts: bool) -> Admin:
        """Who uses the API. Raises AdminDisabled, AdminUnauthenticated, AdminForbidden, RateLimited.

        A session counts for no other's pages, and alone does nothing: what ``changes`` anything needs the
        session's own token, which no foreign page knows; what ``acts`` needs that token, or the browser's word
        that the page is ours.
        """
        self.guard.check_host(request.headers.raw)
        if self.cookie not in request.cookies or bearer_token(request.headers.raw) is not None:
            return await self.by_token(request, "api", changes=changes)
        self.visitors.check_source(request)
        session = await self.session(request, active=ACTIVE_HEADER in request.headers)
        if session is None:
            raise AdminUnauthenticated("The session has ended; sign in again")
        if not is_csrf(session, request.headers.get(CSRF_HEADER, "")):
            if changes:
                raise AdminForbidden("A change by a session needs its own X-CSRF-Token")
            if acts:
                self.visitors.check_own(request)
        self.guard.check_role(session.admin, changes=changes)
        return session.admin

    async def by_token(self, request: Request, via: str, *, changes: bool = False) -> Admin:
        """Whose admin token a request brings. Raises as ``admit``."""
        try:
            return self.guard.admit(request.headers.raw, changes=changes)
        except AdminTokenUnknown:
            await self.guesses.note(request, via)
            raise

    async def knows(self, request: Request) -> bool:
        """Whether a request for the metrics comes from somebody with an admin token, or signed in. Raises
        AdminUnauthenticated for a wrong token, RateLimited."""
        if bearer_token(request.headers.raw) is not None:
            await self.by_token(request, "metrics")
            return True
        return not self.visitors.is_foreign(request) and await self.session(request, active=False) is not None

    async def session(self, request: Request, *, active: bool) -> Session | None:
        """The session that a request's cookie names, if it lives; no other's page puts its idle end off.
        Raises AdminDisabled."""
        self.guard.check_enabled()
        secret = request.cookies.get(self.cookie)
        if secret is None:
            return None
        return await self.sessions.find(secret, active=active and not self.visitors.is_foreign(request))


def instance_of(settings: Settings) -> str:
    """A short name of all processes that share their sessions: those with one Redis and one prefix; with
    ``memory://`` the process alone, by its admin listener."""
    url = settings.redis_url.get_secret_value()
    if url == MEMORY:
        place = f"{settings.admin_host} {settings.admin_port}"
    else:
        parsed = RedisPlace.parse(url)
        place = f"{parsed.hosts} {parsed.service} {parsed.options.get('db', 0)}"  # never its password
    return hashlib.sha256(f"{place} {settings.redis_prefix}".encode()).hexdigest()[:8]


def is_csrf(session: Session, token: str) -> bool:
    """Whether this is the session's own token."""
    return hmac.compare_digest(session.csrf.encode(), token.encode("utf-8", "replace"))


def _peer(request: Request) -> str:
    return request.client.host if request.client else ""
