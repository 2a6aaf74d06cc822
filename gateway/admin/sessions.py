"""The console's sessions, in Redis for the whole fleet, and the authentication of requests by session or token."""

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

from gateway.admin.auth import Admin, AdminTokens, bearer_token, is_own_source
from gateway.errors import AdminForbidden, AdminTokenUnknown, AdminUnauthenticated, CacheUnavailable, RateLimited
from gateway.proxy.callers import came_by_https, client_address, subject_of
from gateway.redis import MEMORY, Client, redis_errors, shielded, text
from gateway.redis_url import RedisPlace
from gateway.tenants.limiter import RateLimiter
from gateway.tenants.tenant import Network, TenantLimits

if TYPE_CHECKING:
    from gateway.settings import Settings


LONGEST = 12 * 3_600.0
"""Seconds after which a session ends, however busy."""
RENEWAL = 60.0
"""Seconds between two writes to Redis that a session is in use, at most."""
SETTLE_SECONDS = 2.0
MOST = 1_000
"""Sessions that this process remembers for when Redis is gone; the least recently used go first."""
SECRET_BYTES = 32
SECRET_LENGTH = 43
"""Characters that ``secrets.token_urlsafe`` makes of so many bytes."""
COOKIE = "stats_gateway_session"
"""Name of the session's cookie, followed by the instance's name."""
CSRF_HEADER = "x-csrf-token"
ACTIVE_HEADER = "x-console-active"
"""Sent by the console's scripts when somebody is using the page: only then does a request extend the session."""
PER_MINUTE = 10
GUESSES = TenantLimits(requests_per_second=PER_MINUTE / 60, burst=PER_MINUTE)
"""The limit on wrong tokens from one address."""


@dataclass(frozen=True, slots=True)
class Session:
    """A signed-in administrator; ``csrf`` is the token that the session's forms carry."""

    id: str
    admin: Admin
    csrf: str = field(repr=False)


class Record(msgspec.Struct, frozen=True, array_like=True):
    """A session as Redis keeps it, under the digest of its secret. Times are in seconds of the fleet's clock.

    The ``proof`` is signed with the admin token, over the session's id and beginning: write access to Redis is not
    enough to make a session, and a token that is removed or given another role ends its sessions.
    """

    created: float
    seen: float
    proof: bytes


class Sessions:
    """Sessions in Redis, for ``idle`` seconds after their last use.

    While Redis is gone, this process goes on with the sessions that it knows and with new ones; once Redis is
    back, it writes there which began and which ended meanwhile.
    """

    def __init__(
        self, client: Client, prefix: str, tokens: AdminTokens, now: Callable[[], float], idle: float
    ) -> None:
        self._client = client
        self._prefix = f"{prefix}:{{session}}"
        self._tokens = tokens
        self._now = now
        self._idle = idle
        self._known: OrderedDict[str, Record] = OrderedDict()
        self._unwritten: dict[str, None] = {}
        self._ended: dict[str, None] = {}

    def __repr__(self) -> str:
        return f"<Sessions {len(self._known)} known, {len(self._unwritten)} to write, {len(self._ended)} to end>"

    async def begin(self, token: str) -> str | None:
        """Start a session for the holder of an admin token; its secret, or None for an unknown token."""
        secret = secrets.token_urlsafe(SECRET_BYTES)
        session_id, now = _id(secret), self._now()
        proof = self._tokens.sign(token.encode(), _message(session_id, now))
        if proof is None:
            return None
        await self._keep(session_id, Record(now, now, proof), new=True)
        return secret

    async def find(self, secret: str, *, active: bool) -> Session | None:
        """The live session with this secret; ``active`` extends it."""
        if len(secret) != SECRET_LENGTH or not secret.isascii():
            return None
        session_id, now = _id(secret), self._now()
        record = await self._record(session_id)
        if record is None:
            return None
        admin = self._tokens.verify(record.proof, _message(session_id, record.created))
        idle, age = now - record.seen, now - record.created
        if admin is None or not -RENEWAL <= idle < self._idle or not -RENEWAL <= age < LONGEST:
            await self._end(session_id)
            return None
        if active and now - record.seen >= min(RENEWAL, self._idle / 10):
            await self._keep(session_id, replace(record, seen=now), new=False)
        return Session(session_id, admin, _csrf(secret))

    async def end(self, secret: str) -> None:
        """Sign out in every process; while Redis is gone, at once in this one, in the others once it is back."""
        await self._end(_id(secret))

    async def run(self) -> None:
        """Call ``settle`` every few seconds until cancelled."""
        while True:
            await asyncio.sleep(SETTLE_SECONDS)
            await self.settle()

    async def settle(self) -> None:
        """Write to Redis what began and ended while it was gone, in one round trip."""
        ended, unwritten = list(self._ended), list(self._unwritten)
        if not ended and not unwritten:
            return
        try:
            with redis_errors(self._client):
                await shielded(self._write_all(ended, unwritten))
        except CacheUnavailable:
            return
        for each in ended:
            self._ended.pop(each, None)
        for each in unwritten:
            self._unwritten.pop(each, None)

    async def _record(self, session_id: str) -> Record | None:
        """The record in Redis; this process's own where Redis does not answer."""
        if session_id in self._ended:
            return None
        try:
            with redis_errors(self._client):
                raw = text(await shielded(self._read(session_id)))
        except CacheUnavailable:
            return self._known.get(session_id)
        if raw is None and session_id in self._unwritten:
            return self._known.get(session_id)
        record = None if raw is None else _decoded(raw)
        if record is None:
            self._known.pop(session_id, None)
        else:
            self._remember(session_id, record)
        return record

    async def _keep(self, session_id: str, record: Record, *, new: bool) -> None:
        """Write a record; unless ``new``, only if it is still there, since it may just have been signed out."""
        self._remember(session_id, record)
        try:
            with redis_errors(self._client):
                await shielded(self._write(session_id, record, new=new))
        except CacheUnavailable:
            if new:
                _note(self._unwritten, session_id)

    async def _end(self, session_id: str) -> None:
        self._known.pop(session_id, None)
        self._unwritten.pop(session_id, None)
        try:
            with redis_errors(self._client):
                await shielded(self._write_all([session_id], ()))
        except CacheUnavailable:
            _note(self._ended, session_id)

    async def _read(self, session_id: str) -> Any:
        return await self._client.get(self._name(session_id))

    async def _write(self, session_id: str, record: Record, *, new: bool) -> None:
        content = msgspec.msgpack.encode(record)
        await self._client.set(self._name(session_id), content, px=self._life(), xx=not new)

    async def _write_all(self, ended: Collection[str], unwritten: Collection[str]) -> None:
        pipe = self._client.pipeline(transaction=False)
        for each in ended:
            pipe.delete(self._name(each))
        for each in unwritten:
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
        """Milliseconds until Redis forgets a session."""
        return int(min(self._idle, LONGEST) * 1_000)


def _id(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _csrf(secret: str) -> str:
    """A session's CSRF token: derived from its secret, which it does not reveal, so that nothing keeps it."""
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


@dataclass(frozen=True, slots=True)
class Visitors:
    """Where requests come from. ``trusted`` proxies may name the client and its scheme; with ``secure`` the scheme
    is always https."""

    trusted: Sequence[Network]
    secure: bool

    def address(self, request: Request) -> str:
        """The client's IP address."""
        return client_address(_peer(request), request.headers.raw, self.trusted)

    def by_https(self, request: Request) -> bool:
        """Whether the browser certainly speaks https."""
        return self.secure or came_by_https(_peer(request), request.headers.raw, self.trusted)

    def is_own(self, request: Request) -> bool | None:
        """Whether the browser says that a page of our own sent it, or none; None where it says nothing."""
        return is_own_source(request.headers.raw, https=self.by_https(request))

    def is_foreign(self, request: Request) -> bool:
        """Whether the browser says that another origin's page sent it."""
        return self.is_own(request) is False

    def check_source(self, request: Request) -> None:
        """Raises AdminForbidden where the browser says that another origin's page sent the request."""
        if self.is_foreign(request):
            raise AdminForbidden("This was sent by another site's page")

    def check_own(self, request: Request) -> None:
        """Raises AdminForbidden unless the browser says that our own page sent the request."""
        self.check_source(request)
        if not self.is_own(request):
            raise AdminForbidden(
                "The browser does not say that a page of this console sent this; ask it from there"
            )


@dataclass(frozen=True, slots=True)
class Guesses:
    """Counts wrong tokens, and limits them by address in the whole fleet.

    A right token is never limited: somebody who shares an address with a guesser still gets in.
    """

    admission: RateLimiter
    visitors: Visitors
    count: Callable[[str], None]

    async def note(self, request: Request, via: str) -> None:
        """Count a wrong token that came ``via`` the form, the API or the metrics. Raises RateLimited."""
        self.count(via)
        subject = subject_of(self.visitors.address(request))
        try:
            await self.admission.admit(f"sign-in:{subject}", GUESSES)
        except RateLimited as error:
            wait, headers = error.retry_after or 1.0, error.headers
            raise RateLimited(
                "Too many wrong admin tokens from this address", retry_after=wait, headers=headers
            ) from None


class Authenticator:
    """Authenticates every request to the admin listener that is not public.

    ``instance`` is in the cookies' names, because browsers do not keep cookies of one host apart by port.
    """

    def __init__(
        self, tokens: AdminTokens, sessions: Sessions, visitors: Visitors, guesses: Guesses, instance: str
    ) -> None:
        self.tokens = tokens
        self.sessions = sessions
        self.visitors = visitors
        self.guesses = guesses
        self.instance = instance
        self.cookie = f"{COOKIE}_{instance}"

    async def admit(self, request: Request, *, changes: bool, acts: bool) -> Admin:
        """The admin behind an API request.

        A session alone lets our own pages read, and nothing more: what ``changes`` something needs the session's
        CSRF token too, which no other site's page knows; what ``acts`` needs that token, or the browser's word
        that the page is ours. Raises AdminDisabled, AdminUnauthenticated, AdminForbidden, RateLimited.
        """
        self.tokens.check_host(request.headers.raw)
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
        self.tokens.check_role(session.admin, changes=changes)
        return session.admin

    async def by_token(self, request: Request, via: str, *, changes: bool = False) -> Admin:
        """The admin whose token a request carries. Raises as ``admit``."""
        try:
            return self.tokens.admit(request.headers.raw, changes=changes)
        except AdminTokenUnknown:
            await self.guesses.note(request, via)
            raise

    async def knows(self, request: Request) -> bool:
        """Whether a request for the metrics has a token or a session. Raises AdminTokenUnknown, RateLimited."""
        if bearer_token(request.headers.raw) is not None:
            await self.by_token(request, "metrics")
            return True
        return not self.visitors.is_foreign(request) and await self.session(request, active=False) is not None

    async def session(self, request: Request, *, active: bool) -> Session | None:
        """The live session of a request's cookie; another site's page never extends it. Raises AdminDisabled."""
        self.tokens.check_enabled()
        secret = request.cookies.get(self.cookie)
        if secret is None:
            return None
        return await self.sessions.find(secret, active=active and not self.visitors.is_foreign(request))


def instance_of(settings: Settings) -> str:
    """A short name for all processes that share their sessions: those with one Redis and prefix, or with
    ``memory://`` this process alone, by its admin listener."""
    url = settings.redis_url.get_secret_value()
    if url == MEMORY:
        place = f"{settings.admin_host} {settings.admin_port}"
    else:
        parsed = RedisPlace.parse(url)
        place = f"{parsed.hosts} {parsed.service} {parsed.options.get('db', 0)}"  # never its password
    return hashlib.sha256(f"{place} {settings.redis_prefix}".encode()).hexdigest()[:8]


def is_csrf(session: Session, token: str) -> bool:
    """Whether this is the session's CSRF token."""
    return hmac.compare_digest(session.csrf.encode(), token.encode("utf-8", "replace"))


def _peer(request: Request) -> str:
    return request.client.host if request.client else ""
