"""Overrides: an entry's times as one tenant wants them, whoever it was fetched for. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import structs

from gateway.caching.entry import Entry


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
