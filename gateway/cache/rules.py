"""The rules: what to do with a request, given what is stored, and with a tenant's own lifetimes. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec
from msgspec import structs

from gateway.cache.control import NO_WISHES, Lines, Wishes
from gateway.cache.entry import Entry
from gateway.cache.keys import select


class Why(StrEnum):
    """Why a request went on to the service (RFC 9211 §2.2)."""

    METHOD = "method"
    URI_MISS = "uri-miss"
    VARY_MISS = "vary-miss"
    MISS = "miss"
    """Stored answers, if any, are withheld."""
    REQUEST = "request"
    STALE = "stale"


class Serve(msgspec.Struct, frozen=True):
    """Answer with this entry or error record: fresh, or as stale as the client allows (RFC 9111 §5.2.1.2)."""

    entry: Entry


class ServeAndRefresh(msgspec.Struct, frozen=True):
    """Answer with this stale entry, and let one background flight refresh it (RFC 5861 §3)."""

    entry: Entry


class Fetch(msgspec.Struct, frozen=True):
    """Ask the service, and ``why``; ``fallback`` may stand in for a failure (RFC 5861 §4)."""

    fallback: Entry | None = None
    why: Why = Why.URI_MISS


class Revalidate(msgspec.Struct, frozen=True):
    """Ask the service whether one of these ``entries`` still holds (RFC 9111 §4.3.1); else as Fetch."""

    entries: tuple[Entry, ...]
    fallback: Entry | None = None
    why: Why = Why.STALE


class Refuse(msgspec.Struct, frozen=True):
    """Answer 504: only what is stored was asked for, and nothing stored may be used (RFC 9111 §5.2.1.7)."""


FAILURES = frozenset({500, 502, 503, 504})
Decision = Serve | ServeAndRefresh | Fetch | Revalidate | Refuse


@dataclass(frozen=True, slots=True)
class Rules:
    """``refresh_floor``: the least age, in seconds, at which a client gets the fresher answer it asks for."""

    refresh_floor: float = 60.0


class Asked(msgspec.Struct, frozen=True):
    """The part of a request that decides: its caching directives, and the headers that select a variant."""

    wishes: Wishes = NO_WISHES
    headers: Lines = ()


def decide(asked: Asked, entries: Sequence[Entry], error: Entry | None, *, now: float, rules: Rules) -> Decision:
    """What to do with a request for which ``entries``, newest first, and an ``error`` record are stored.

    A fresh error record answers unless the entry was fetched after it. An entry too old for anything counts
    as absent. A wish for fresher data is granted from the ``refresh_floor`` on (RFC 9111 §5.2.1).
    """
    usable = [entry for entry in entries if entry.drop_at > now]
    entry, wishes, granted = select(usable, asked.headers), asked.wishes, False
    if error is not None and error.fresh_until > now and (entry is None or entry.order <= error.order):
        granted = wishes is not NO_WISHES and _granted(wishes, error, now, rules)
        if not granted:
            return Serve(error)
    elif entry is not None and wishes is not NO_WISHES and _granted(wishes, entry, now, rules):
        granted = max(entry.fresh_until, entry.serve_until) > now
    elif entry is not None:
        if entry.fresh_until > now:
            return Serve(entry)
        if entry.serve_until > now:
            return ServeAndRefresh(entry)
        if entry.stale_ok and wishes.max_stale is not None and now - entry.fresh_until <= wishes.max_stale:
            return Serve(entry)
    if wishes.only_if_cached:
        return Refuse()
    fallback = entry if entry is not None and _stands_in(entry, wishes, now) else None
    validated = tuple([each for each in (usable if entry is None else (entry,)) if has_validator(each)])
    why = Why.REQUEST if granted else _why(entry, usable)
    return Revalidate(validated, fallback, why) if validated else Fetch(fallback, why)


def _why(entry: Entry | None, usable: Sequence[Entry]) -> Why:
    """Why the service is asked unless the request itself says more: what is stored of its URL (RFC 9211 §2.2)."""
    if entry is not None:
        return Why.STALE
    return Why.VARY_MISS if usable else Why.URI_MISS


def has_validator(entry: Entry) -> bool:
    """Whether the origin sent an ETag or Last-Modified with it (RFC 9110 §8.8)."""
    return any(name in (b"etag", b"last-modified") for name, _ in entry.headers)


def failed(entry: Entry) -> bool:
    """Whether the answer of an unknown origin is a failure, for which a stale entry stands in (RFC 5861 §4)."""
    return entry.status in FAILURES


def _granted(wishes: Wishes, entry: Entry, now: float, rules: Rules) -> bool:
    """Whether the client asks for fresher data than this entry, and may have it."""
    if now - entry.received < rules.refresh_floor:
        return False
    age, left = now - entry.born, entry.fresh_until - now
    too_old = wishes.max_age is not None and age > wishes.max_age and not _tolerated(wishes, entry, now)
    too_short = wishes.min_fresh is not None and left < wishes.min_fresh
    return wishes.no_cache or too_old or too_short


def _tolerated(wishes: Wishes, entry: Entry, now: float) -> bool:
    """``max-stale`` beside ``max-age``: only a stale answer may be older than that."""
    return wishes.max_stale is not None and entry.stale_ok and 0 <= now - entry.fresh_until <= wishes.max_stale


def _stands_in(entry: Entry, wishes: Wishes, now: float) -> bool:
    permitted = entry.stale_ok and wishes.stale_if_error is not None
    return entry.keep_until > now or (permitted and now - entry.fresh_until <= (wishes.stale_if_error or 0.0))


def overridden(entries: Sequence[Entry], lifetimes: Mapping[str, float]) -> Sequence[Entry]:
    """The entries with a tenant's own lifetimes in place of the settings'; seconds by the rule's name.

    Never fresh beyond an entry's ``bound``, and kept no longer than it was stored for: a shorter lifetime makes
    stale earlier, a longer one later while the entry is there.
    """
    return [_overridden(entry, lifetimes) for entry in entries]


def _overridden(entry: Entry, lifetimes: Mapping[str, float]) -> Entry:
    life = lifetimes.get(entry.rule)
    if life is None:
        return entry
    fresh_until = min(entry.received + life, entry.bound)
    if entry.serve_until <= entry.fresh_until:  # an error record, or an answer that is never to be served stale
        end = min(fresh_until, entry.drop_at)
        return structs.replace(entry, fresh_until=end, serve_until=end, keep_until=end)
    return structs.replace(
        entry,
        fresh_until=fresh_until,
        serve_until=fresh_until + life,
        keep_until=max(fresh_until + life, entry.keep_until),
    )
