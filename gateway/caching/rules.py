"""The rules: what to do about a request, given what is stored. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.caching.entry import Entry


@dataclass(frozen=True, slots=True)
class Serve:
    """Answer with this fresh entry or error record."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class ServeAndRefresh:
    """Answer with this stale entry, and let one background flight refresh it (RFC 5861 §3)."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class Fetch:
    """Ask the service; ``fallback`` may stand in for a failure (RFC 5861 §4)."""

    fallback: Entry | None = None


Decision = Serve | ServeAndRefresh | Fetch


@dataclass(frozen=True, slots=True)
class Rules:
    """``refresh_floor``: the least age, in seconds, at which a client gets the fresher answer it asks for."""

    refresh_floor: float = 60.0


def decide(entry: Entry | None, error: Entry | None, *, now: float, wants_fresh: bool, rules: Rules) -> Decision:
    """What to do with a request for which ``entry`` and ``error`` are stored.

    A fresh error record answers unless the entry was fetched after it. An entry too old for anything counts
    as absent. ``wants_fresh`` is the client's ``no-cache`` (RFC 9111 §5.2.1.4).
    """
    if entry is not None and entry.keep_until <= now:
        entry = None
    if error is not None and error.fresh_until > now and (entry is None or entry.dispatched <= error.dispatched):
        return Serve(error)
    if entry is None:
        return Fetch()
    if wants_fresh and now - entry.received >= rules.refresh_floor:
        return Fetch(fallback=entry)
    if entry.fresh_until > now:
        return Serve(entry)
    if entry.serve_until > now:
        return ServeAndRefresh(entry)
    return Fetch(fallback=entry)


def wants_fresh(headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether the client asks for a fresher answer: ``no-cache``, ``max-age=0``, or ``Pragma`` (RFC 9111 §5.4)."""
    control = [value.lower() for name, value in headers if name == b"cache-control"]
    if control:
        directives = {part.strip() for part in b",".join(control).split(b",")}
        return b"no-cache" in directives or b"max-age=0" in directives
    return any(name == b"pragma" and b"no-cache" in value.lower() for name, value in headers)


def failed(entry: Entry) -> bool:
    """Whether the service's answer is a failure, for which a stale entry may stand in (decision 7).

    5xx, 429, and a 403 that is not the service's own JSON. A JSON 400, 403 or 404 is an answer.
    """
    if entry.status >= 500 or entry.status == 429:
        return True
    if entry.status not in (200, 403):
        return False
    kind = next((value for name, value in entry.headers if name == b"content-type"), b"")
    return not kind.lower().startswith(b"application/json")
