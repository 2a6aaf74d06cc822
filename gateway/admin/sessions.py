"""Sessions: who is signed in to the console, in the whole fleet.

Entrance: who comes in, by an admin token or by a session of the console.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace
from starlette.requests import Request

from gateway.admin.auth import Admin, Guard, bearer_token, is_own_source
from gateway.errors import AdminForbidden, AdminTokenUnknown, AdminUnauthenticated, CacheUnavailable, RateLimited
from gateway.proxy.network import came_by_https, client_address, subject_of
from gateway.redis import MEMORY, Client, redis_errors, shielded
from gateway.redis_url import RedisPlace
from gateway.tenants.limiter import Admission
from gateway.tenants.networks import Network
from gateway.tenants.tenant import TenantLimits

if TYPE_CHECKING:
    from gateway.settings import Settings


LONGEST = 12 * 3_600.0
"""Seconds after which a session ends, however busy."""
RENEWAL = 60.0
"""Seconds between two notes in Redis that somebody is still there, at most."""
SETTLE_SECONDS = 2.0
MOST = 1_000
"""Sessions that this process remembers for when Redis is gone; the least recently seen go first."""
SECRET_BYTES = 32
SECRET_LENGTH = 43
"""What ``secrets.token_urlsafe`` makes of so many bytes."""


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody signed in: the ``admin``, and the token that its forms carry."""

    id: str
    admin: Admin
    csrf: str = field(repr=False)


class Record(msgspec.Struct, frozen=True, array_like=True):
    """What is kept of a session, under the digest of its secret. Times are in seconds of the fleet's own
    time (clock.py).

    The ``proof`` is the admin token's, over the session's id and beginning: who can write to Redis can make no
    session of their own, and a token that is gone or has another role ends its sessions.
    """

    created: float
    seen: float
    proof: bytes


class Sessions:
    """Kept in Redis for ``idle`` seconds since they were last used. While Redis is gone, this process goes on with
    those that it knows, and with new ones; it tells Redis of those and of whoever signed out once it is back.
    """

    def __init__(self, client: Client, prefix: str, guard: Guard, now: Callable[[], float], idle: float) -> None:
        self._client = client
        self._prefix = f"{prefix}:{{session}}"
        self._guard = guard
        self._now = now
        self._idle = idle
        self._known: OrderedDict[str, Record] = OrderedDict()
        self._untold: dict[str, None] = {}
        self._ended: dict[str, None] = {}

    def __repr__(self) -> str:
        return f"<Sessions {len(self._known)} known, {len(self._untold)} to tell, {len(self._ended)} to end>"

    async def begin(self, token: str) -> str | None:
        """Signs the holder of an admin token in; answers the session's secret, None for an unknown token."""
        secret = secrets.token_urlsafe(SECRET_BYTES)
        session_id, now = _id(secret), self._now()
        proof = self._guard.vouch(token.encode(), _message(session_id, now))
        if proof is None:
            return None
        await self._keep(session_id, Record(now, now, proof), new=True)
        return secret

    async def find(self, secret: str, *, active: bool) -> Session | None:
        """The session of this secret, if it lives; ``active`` puts its idle end off."""
        if len(secret) != SECRET_LENGTH or not secret.isascii():
            return None
        session_id, now = _id(secret), self._now()
        record = await self._record(session_id)
        if record is None:
            return None
        admin = self._guard.vouched(record.proof, _message(session_id, record.created))
        idle, age = now - record.seen, now - record.created
        if admin is None or not -RENEWAL <= idle < self._idle or not -RENEWAL <= age < LONGEST:
            await self._end(session_id)
            return None
        if active and now - record.seen >= min(RENEWAL, self._idle / 10):
            await self._keep(session_id, replace(record, seen=now), new=False)
        return Session(session_id, admin, _csrf(secret))

    async def end(self, secret: str) -> None:
        """Signs out, in every process; while Redis is gone, at once in this one, in the others once it is back."""
        await self._end(_id(secret))

    async def run(self) -> None:
        """Tells Redis now and then, until cancelled, what it was not there for."""
        while True:
            await asyncio.sleep(SETTLE_SECONDS)
            await self.settle()

    async def settle(self) -> None:
        """Tells Redis of what began and ended while it was gone, in one round trip."""
        ended, untold = list(self._ended), list(self._untold)
        if not ended and not untold:
            return
        try:
            with redis_errors(self._client):
                await shielded(self._tell(ended, untold))
        except CacheUnavailable:
            return
        for each in ended:
            self._ended.pop(each, None)
        for each in untold:
            self._untold.pop(each, None)

    async def _record(self, session_id: str) -> Record | None:
        """By Redis's word, by this process's where Redis is silent."""
        if session_id in self._ended:
            return None
        try:
            with redis_errors(self._client):
                raw = await shielded(self._read(session_id))
        except CacheUnavailable:
            return self._known.get(session_id)
        if raw is None and session_id in self._untold:
            return self._known.get(session_id)
        record = None if raw is None else _decoded(raw)
        if record is None:
            self._known.pop(session_id, None)
        else:
            self._remember(session_id, record)
        return record

    async def _keep(self, session_id: str, record: Record, *, new: bool) -> None:
        """Where it is not ``new``, only if it is still there: it may have been signed out this moment."""
        self._remember(session_id, record)
        try:
            with redis_errors(self._client):
                await shielded(self._write(session_id, record, new=new))
        except CacheUnavailable:
            if new:
                _note(self._untold, session_id)

    async def _end(self, session_id: str) -> None:
        self._known.pop(session_id, None)
        self._untold.pop(session_id, None)
        try:
            with redis_errors(self._client):
                await shielded(self._tell([session_id], ()))
        except CacheUnavailable:
            _note(self._ended, session_id)

    async def _read(self, session_id: str) -> Any:
        return await self._client.get(self._name(session_id))

    async def _write(self, session_id: str, record: Record, *, new: bool) -> None:
        content = msgspec.msgpack.encode(record)
        await self._client.set(self._name(session_id), content, px=self._life(), xx=not new)

    async def _tell(self, ended: Collection[str], untold: Collection[str]) -> None:
        pipe = self._client.pipeline(transaction=False)
        for each in ended:
            pipe.delete(self._name(each))
        for each in untold:
            if (record := self._known.get(each)) is not None:
                pipe.set(self._name(each), msgspec.msgpack.encode(record), px=self._life(), nx=True)
        await pipe.execute()

    def _remember(self, session_id: str, record: Record) -> None:
        self._known[session_id] = record
        self._known.move_to_end(session_id)
        if len(self._known) > MOST:
            self._known.popitem(last=False)

    def _name(self, session_id: str) -> str:
        return f"{self._prefix}:{session_id}"

    def _life(self) -> int:
        """Milliseconds."""
        return int(min(self._idle, LONGEST) * 1_000)


def _id(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _csrf(secret: str) -> str:
    """Follows from the secret alone, so that it is kept nowhere, and tells nothing of it."""
    return hmac.digest(secret.encode(), b"csrf", "sha256").hex()


def _message(session_id: str, created: float) -> bytes:
    return f"session {session_id} {created!r}".encode()


def _decoded(raw: bytes) -> Record | None:
    try:
        return msgspec.msgpack.decode(raw, type=Record)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _note(names: dict[str, None], name: str) -> None:
    names[name] = None
    if len(names) > MOST:
        del names[next(iter(names))]


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
