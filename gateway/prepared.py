"""Prepared: one answer from the near cache as it was given, ready to be given again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from gateway.answer import BODILESS, Answer
from gateway.caching.entry import Entry
from gateway.caching.keys import CacheKey
from gateway.caching.store import Found
from gateway.errors import Headers
from gateway.observe.tally import Tally

if TYPE_CHECKING:
    from gateway.tenants.tenant import Tenant

OVERHEAD = 2_000
"""Approximate bytes that a prepared answer costs beside its head, its body and its headers."""


@dataclass(frozen=True, slots=True)
class Grounds:
    """What was found near, and the entry that answered. ``scope`` is the credential's whose refusal would
    withhold it, None where there is none."""

    key: CacheKey
    found: Found
    entry: Entry
    scope: str | None


@dataclass(frozen=True, slots=True)
class Epoch:
    """The revisions of who may ask, and of what was purged, under which a request was answered."""

    callers: int
    purges: int


class Prepared:
    """An answer, with what it rested on, and what of it depends on the time.

    ``render`` makes its head anew; what was made holds until ``tick``, when its age or what is left of its
    lifetime is another whole number of seconds. ``until`` is when it stops being a fresh answer to a valid key.
    Between ``headers`` and ``last`` stands what each answer has of its own: its request id, unless the client
    gave one (``request_id``), and its limits.
    """

    __slots__ = (
        *("_again", "_constant", "_timely", "body", "epoch", "grounds", "head", "headers", "last", "request_id"),
        *("size", "status", "subject", "tail", "tally", "tenant", "tick", "until"),
    )

    def __init__(
        self,
        grounds: Grounds,
        epoch: Epoch,
        tenant: Tenant,
        until: float,
        answer: Answer,
        again: Callable[[float], Answer],
        timely: frozenset[bytes],
        request_id: bytes | None,
        told: Headers,
        tally: Tally,
        *,
        head: bool,
    ) -> None:
        self.grounds = grounds
        self.epoch = epoch
        self.tenant = tenant
        self.until = min(until, grounds.entry.fresh_until)
        self.status = answer.status
        self.body = b"" if head else answer.body
        self.request_id = request_id
        self.tally = tally
        self.last = list(told)
        if answer.status not in BODILESS:
            self.last.append((b"content-length", b"%d" % len(answer.body)))
        self.tail = b"%s\r\n%s" % (lines(self.last), self.body)
        self.size = OVERHEAD + len(self.tail) + sum(len(name) + len(value) for name, value in answer.headers)
        self._constant = answer.headers
        self._again = again
        self._timely = timely
        self.headers: Headers = []
        self.head = b""
        self.tick = 0.0

    def render(self, now: float) -> None:
        """Brings the headers that change with the time up to ``now``."""
        again = dict(self._again(now).headers)
        self.headers = [(name, again[name] if name in self._timely else value) for name, value in self._constant]
        self.head = status_line(self.status) + lines(self.headers)
        entry = self.grounds.entry
        self.tick = min(entry.born + int(now - entry.born) + 1, entry.fresh_until - int(entry.fresh_until - now))


def lines(headers: Headers) -> bytes:
    """Headers as they are written (RFC 9112 §5)."""
    return b"".join([b"%s: %s\r\n" % pair for pair in headers])


def status_line(status: int) -> bytes:
    """The first line of an answer (RFC 9112 §4); a status that nobody registered has no phrase."""
    try:
        phrase = HTTPStatus(status).phrase.encode()
    except ValueError:
        phrase = b""
    return b"HTTP/1.1 %d %s\r\n" % (status, phrase)
