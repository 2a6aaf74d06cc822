"""Sessions: who is signed in to the console, in the whole fleet."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec.structs import replace

from gateway.console.guard import Admin, Guard
from gateway.errors import CacheUnavailable
from gateway.redis_client import Client, redis_errors, shielded

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
