"""What a shared cache may store, how long it stays fresh, and what a 304 changes (RFC 9111). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.cache.conditional import is_strong_date
from gateway.cache.control import CacheControl, age_of, joined, names_of
from gateway.cache.dates import format_date, http_date
from gateway.cache.entry import Entry
from gateway.errors import Headers

HEURISTIC_STATUSES = frozenset({200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501})
"""Cacheable without explicit freshness (RFC 9110 §15.1); 206 is not stored at all."""

UNDERSTOOD = HEURISTIC_STATUSES | {302, 303, 307, 400, 403, 421, 451, 500, 502, 503, 504}
"""Statuses whose caching requirements are implemented here (RFC 9111 §5.2.2.3)."""

NEVER = frozenset({206, 304, 412, 416, 417, 425, 428, 429, 431, 511})
"""What answers one client's request as it was made, its conditions and ranges included (RFC 9110 §15.5,
RFC 6585 §3–§6, RFC 8470 §5.2)."""
HEURISTIC_SHARE, HEURISTIC_LONGEST = 0.1, 86_400.0
RETAINED = 86_400.0
"""Seconds for which a stale entry is kept to be validated."""
RETAINED_WITHOUT_VALIDATOR = 3_600.0
"""Seconds for which one that cannot be validated is kept for clients that take it stale."""

KEPT_BY_304 = frozenset(
    {
        *(b"content-length", b"content-encoding", b"content-type", b"content-range"),
        *(b"content-md5", b"content-digest", b"repr-digest", b"digest"),
    }
)
"""Headers that describe the stored body, which a 304 does not carry (RFC 9111 §3.2)."""


@dataclass(frozen=True, slots=True)
class Response:
    """An upstream response: lower-case header names, and the times of its dispatch and receipt.

    A response that is not ``sound`` is never stored, nor is one whose framing is ``ambiguous``.
    """

    status: int
    headers: Headers
    body: bytes
    dispatched: float
    received: float
    sound: bool = True
    ambiguous: bool = False
    sets_cookie: bool = False
    """Whether it came with ``Set-Cookie``, and so may be meant for one client (RFC 9111 §7.3)."""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What storing depends on besides the response. Durations are in seconds.

    ``authorized``: the request carried its sender's Authorization (RFC 9111 §3.5).
    ``private_scope``: only the holders of one credential share the answer.
    ``no_store``: the request asked not to be stored (§5.2.1.5).
    ``stale_if_error``, ``stale_while_revalidate``: how long a stale entry stands in for a failure, and serves
    while it is refreshed, where the origin gives a lifetime but says nothing about staleness (§4.2.4).
    ``stale_at_once``: a lifetime of 0 seconds counts as one too.
    ``failures``: 5xx may be stored.
    ``default_life``: the freshness lifetime of an answer that states none (§4.2.2).
    """

    authorized: bool = False
    private_scope: bool = False
    no_store: bool = False
    stale_if_error: float = 0.0
    stale_while_revalidate: float = 0.0
    stale_at_once: bool = False
    failures: bool = True
    default_life: float = 0.0


@dataclass(frozen=True, slots=True)
class Freshness:
    """The times that govern an entry; seconds of the fleet's clock, as in ``Entry``."""

    born: float
    fresh_until: float
    serve_until: float
    keep_until: float
    drop_at: float
    stale_ok: bool


def storable(response: Response, control: CacheControl, given: Circumstances) -> bool:
    """Whether a shared cache may store a response to GET (RFC 9111 §3)."""
    status = response.status
    if status in NEVER or not response.sound or given.no_store:
        return False
    if not given.failures and status >= 500:
        return False
    if b"must-understand" in control:
        if status not in UNDERSTOOD:
            return False
    elif b"no-store" in control:
        return False
    if b"private" in control and not given.private_scope:
        return False
    if given.authorized and not any(name in control for name in (b"public", b"s-maxage", b"must-revalidate")):
        return False
    if b"*" in names_of([joined(response.headers, b"vary")]):
        return False
    if response.sets_cookie and not has_lifetime(response, control):
        return False
    return _explicit(response, control) or status in HEURISTIC_STATUSES


def freshness(response: Response, control: CacheControl, given: Circumstances) -> Freshness:
    """When a storable response is fresh, stale and gone (RFC 9111 §4.2, RFC 5861)."""
    born = response.received - initial_age(response)
    life = lifetime(response, control, given.default_life)
    fresh_until = born + life
    if control.no_cache:
        fresh_until = min(fresh_until, response.received)
    stale_ok = not control.forbids_stale
    serve, keep = _stale_for(control, given, life) if stale_ok else (0.0, 0.0)
    serve_until = fresh_until + serve
    keep_until = max(serve_until, fresh_until + keep)
    drop_at = max(keep_until, fresh_until)
    if validators(response.headers):
        drop_at = max(drop_at, max(fresh_until, response.received) + RETAINED)
    elif stale_ok and fresh_until > response.received:
        drop_at = max(drop_at, fresh_until + RETAINED_WITHOUT_VALIDATOR)
    return Freshness(born, fresh_until, serve_until, keep_until, drop_at, stale_ok)


def _stale_for(control: CacheControl, given: Circumstances, life: float) -> tuple[float, float]:
    """Seconds for which a stale entry serves while it is refreshed, and stands in for a failure: as the origin
    says, else as configured (RFC 5861 §3, §4)."""
    at_once = given.stale_at_once and b"max-age" in control and not control.unreadable
    reusable = 1.0 if life > 0 or at_once else 0.0
    return (
        control.stale_while_revalidate
        if b"stale-while-revalidate" in control
        else given.stale_while_revalidate * reusable,
        control.stale_if_error if b"stale-if-error" in control else given.stale_if_error * reusable,
    )


def initial_age(response: Response) -> float:
    """How old a response was on receipt (RFC 9111 §4.2.3); without a Date it was made then (§4.2.3, §6.6.1)."""
    date = http_date(joined(response.headers, b"date"))
    apparent = 0.0 if date is None else max(0.0, response.received - date)
    corrected = age_of(response.headers) + (response.received - response.dispatched)
    return max(apparent, corrected)


def lifetime(response: Response, control: CacheControl, default: float = 0.0) -> float:
    """The freshness lifetime in seconds (RFC 9111 §4.2.1, §4.2.2); an unreadable one is 0.

    ``default`` applies to an answer that states neither a lifetime nor its last change.
    """
    if control.max_age is not None:
        return control.max_age
    date = http_date(joined(response.headers, b"date"))
    made = response.received if date is None else date
    expires = joined(response.headers, b"expires")
    if expires and not control.targeted:
        until = http_date(expires)
        return 0.0 if until is None else max(0.0, until - made)
    if response.status not in HEURISTIC_STATUSES and b"public" not in control:
        return 0.0
    modified = http_date(joined(response.headers, b"last-modified"))
    if modified is None:
        return default
    return min(HEURISTIC_LONGEST, max(0.0, made - modified) * HEURISTIC_SHARE)


def validators(headers: Headers) -> list[tuple[bytes, bytes]]:
    """The origin's ETag and Last-Modified, where it gave them."""
    return [(name, value) for name, value in headers if name in (b"etag", b"last-modified")]


def conditions(entries: Sequence[Entry]) -> Headers:
    """The headers that ask the origin whether one of these entries still holds (RFC 9111 §4.3.1)."""
    tags = dict.fromkeys(entry.header(b"etag") for entry in entries)
    tags.pop(b"", None)
    asked: Headers = []
    if tags:
        asked.append((b"if-none-match", b", ".join(tags)))
    modified = entries[0].header(b"last-modified") if len(entries) == 1 else b""
    if modified:
        asked.append((b"if-modified-since", modified))
    return asked


def confirmed(entries: Sequence[Entry], headers: Headers) -> Entry | None:
    """The entry that a 304 with these headers is about; None where it is about none of them (RFC 9111 §4.3.4).

    A tag selects the entry with exactly this tag, weakness included. Without a tag the ``Last-Modified`` date
    selects; with neither, the 304 is about the one entry that was asked about. An entry sent in the second of its
    last change is never confirmed by date.
    """
    tag = joined(headers, b"etag")
    if tag:
        return next((entry for entry in entries if entry.header(b"etag") == tag), None)
    if b"last-modified" not in [name for name, _ in headers]:
        entries = entries if len(entries) == 1 else ()
    else:
        modified = joined(headers, b"last-modified")
        entries = [entry for entry in entries if entry.header(b"last-modified") == modified]
    return next((entry for entry in entries if not _may_have_changed(entry)), None)


def merge_304(stored: Headers, update: Headers) -> Headers:
    """A stored response's headers after a 304 (RFC 9111 §4.3.4, §3.2): each field of the update replaces its
    namesakes, but for those that describe the stored body."""
    news = [(name, value) for name, value in update if name not in KEPT_BY_304]
    # How old the stored response was when it came says nothing about one that was just confirmed.
    replaced = {name for name, _ in news} | {b"age"}
    return [(name, value) for name, value in stored if name not in replaced] + news


def confirmed_by(entry: Entry, response: Response) -> Response:
    """The whole response that a 304 stands for: the entry it confirms, as if received now (§4.3.4)."""
    headers = merge_304(entry.headers, dated(response))
    times = response.dispatched, response.received
    return Response(
        entry.status, headers, entry.body, *times, not response.ambiguous, response.ambiguous, response.sets_cookie
    )


def dated(response: Response) -> Headers:
    """A response's headers with the one ``Date`` that can be read: its own, else the time of receipt (RFC 9110
    §6.6.1)."""
    if http_date(joined(response.headers, b"date")) is not None:
        return response.headers
    others = [line for line in response.headers if line[0] != b"date"]
    return [*others, (b"date", format_date(response.received))]


def _explicit(response: Response, control: CacheControl) -> bool:
    names = (b"public", b"private", b"max-age", b"s-maxage")
    return any(name in control for name in names) or bool(joined(response.headers, b"expires"))


def has_lifetime(response: Response, control: CacheControl) -> bool:
    """Whether the origin states a freshness lifetime."""
    return control.max_age is not None or bool(joined(response.headers, b"expires") and not control.targeted)


def _may_have_changed(entry: Entry) -> bool:
    """Whether ``Last-Modified`` is its one validator, and a weak one (RFC 9110 §8.8.2.2)."""
    modified = entry.header(b"last-modified")
    return bool(modified) and not entry.header(b"etag") and not is_strong_date(modified, entry.header(b"date"))
