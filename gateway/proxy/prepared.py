"""Prepared: one answer from the near cache as it was given, ready to be given again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from msgspec import structs

from gateway.cache.entry import Entry
from gateway.cache.keys import CacheKey
from gateway.cache.purges import Marked
from gateway.catalogue.query import Query
from gateway.errors import Headers
from gateway.observe.aggregate import Aggregate
from gateway.proxy.response import BODILESS, Answer, Times

if TYPE_CHECKING:
    from gateway.tenants.tenant import Tenant

SHARED, SHORT = 2_048, 200
"""Headers that answers share, and the bytes of the longest of their values."""
OVERHEAD = 3_000
"""Approximate bytes that a prepared answer costs beside its request's head, its body and its headers."""


@dataclass(frozen=True, slots=True)
class Grounds:
    """What was near when it answered: the records under both keys, by their serials, and the entry that did;
    and what had been purged of the answers to its ``query``.

    ``scope`` is the credential's whose refusal would withhold it, None where there is none; ``shared`` says that
    it is one for all, though its caller holds a credential.
    """

    query: Query
    marked: Marked | None
    key: CacheKey
    records: tuple[int | None, int | None]
    entry: Entry
    scope: str | None
    shared: bool = False


@dataclass(frozen=True, slots=True)
class Epoch:
    """The revisions of who may ask, and of what was purged, under which a request was answered."""

    callers: int
    purges: int


class Prepared:
    """An answer, with what it rested on, and what of it depends on the time.

    ``callers``, ``purges`` and ``changes`` are the revisions, of the registry, of purges and of the near cache, at
    which all that was last found to be as it was.

    ``render`` brings it up to the time; that holds from ``since`` until ``tick``, when its age or what is left of
    its lifetime is another whole number of seconds. ``until`` is when it ends as a fresh answer to a valid key.
    Between ``head``, which ends in the name of the request id's header, and ``tail`` where it is ``raw``, else
    between ``headers`` and ``last``, stands what each answer has of its own: that id, unless the client gave one
    (``request_id``), and the limits of its ``subject``, which is nobody (empty) where there are none, and None
    where the client's address decides.
    ``line`` is what the log tells of it.
    """

    __slots__ = (
        *("_names", "_places", "_raw", "_template", "_times", "body", "callers", "changes", "grounds", "head"),
        *("headers", "key_id", "last", "line", "purges", "request_id", "scope", "since", "size", "status"),
        *("subject", "tail", "tally", "tenant", "tick", "until"),
    )

    def __init__(
        self,
        grounds: Grounds,
        epoch: Epoch,
        tenant: Tenant,
        key_id: str | None,
        subject: str | None,
        until: float,
        answer: Answer,
        times: Callable[..., Times],
        request_id: bytes | None,
        told: Headers,
        tally: Aggregate,
        line: dict[str, Any],
        *,
        raw: bool,
        head: bool,
        public: bool,
    ) -> None:
        # Its body may be large, and what left the near cache is not to live on here.
        self.grounds = replace(grounds, entry=structs.replace(grounds.entry, body=b""))
        self.callers, self.purges = epoch.callers, epoch.purges
        self.scope = grounds.scope
        self.changes = 0
        self.tenant = tenant
        self.key_id = key_id
        self.subject = subject
        self.until = min(until, grounds.entry.fresh_until, grounds.entry.drop_at)
        self.status = answer.status
        self.body = b"" if head else answer.body
        self.request_id = request_id
        self.tally = tally
        self.line = line
        self.last = [shared(*pair) for pair in told]
        if answer.status not in BODILESS:
            self.last.append(shared(b"content-length", b"%d" % len(answer.body)))
        self.tail = b"%s\r\n%s" % (lines(self.last), self.body)
        twice = sum(len(name) + len(value) for name, value in answer.headers)
        self.size = OVERHEAD + len(self.tail) + len(self.body) + 2 * twice
        self._raw = raw
        self._times = times(self.grounds.entry, public)
        # Of headers with one name the last is the gateway's own.
        last = {name: place for place, (name, _) in enumerate(answer.headers)}
        self._places = {name: last[name] for name in self._times(grounds.entry.born) if name in last}
        self.headers = [shared(*pair) for pair in answer.headers]
        constant = [(name.replace(b"%", b"%%"), value.replace(b"%", b"%%")) for name, value in answer.headers]
        for name, place in self._places.items():
            constant[place] = (name, b"%s")
        self._template = b"%s%sx-request-id: " % (status_line(answer.status), lines(constant))
        self._names = sorted(self._places, key=self._places.__getitem__)
        self.head = b""
        self.since = self.tick = 0.0

    def render(self, now: float) -> None:
        """Brings the headers that change with the time up to ``now``."""
        times = self._times(now)
        if self._raw:
            self.head = self._template % tuple([times[name] for name in self._names])
        else:
            for name, place in self._places.items():
                self.headers[place] = (name, times[name])
        entry = self.grounds.entry
        self.since = now
        older, less = entry.born + int(now - entry.born) + 1, entry.fresh_until - int(entry.fresh_until - now)
        self.tick = min(older, less, self.until)


def shared(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    """A header, the same object wherever it occurs: most of an answer's are those of any other."""
    return _shared(name, value) if len(value) <= SHORT else (name, value)


@lru_cache(SHARED)
def _shared(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    return (name, value)


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
