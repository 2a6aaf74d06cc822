"""Memory: numbers of past days that one run of the doctor leaves, for a later one to see whether they change.

Pure."""

from __future__ import annotations

from datetime import date, timedelta

import msgspec

from gateway.admin.doctor.claims import Found, compared, equal
from gateway.admin.doctor.probes import Aims, Replies, Window, summed

REMEMBERED_DAYS = 400
"""Days before the settled one that are remembered."""


class Memory(msgspec.Struct, frozen=True):
    """Numbers of days by item, from one day to another, both inclusive."""

    start: date
    end: date
    days: dict[str, dict[str, int]]


def memory_of(aims: Aims, replies: Replies) -> Memory:
    """The settled days of each item whose history was asked for."""
    window = Window(aims.day.end - timedelta(REMEMBERED_DAYS), aims.day.end)
    items = dict.fromkeys([*aims.items, aims.subject] if aims.items else [])
    histories = {item: aims.service.timeline("day", "views", item, aims.always) for item in items}
    days = {
        item: summed(replies.timeline(probe), "day", window)
        for item, probe in histories.items()
        if replies.of(probe).status == 200
    }
    return Memory(*window, days)


def past_days(now: Memory, earlier: Memory | None) -> Found:
    """What became of the days that both runs have seen."""
    if earlier is None:
        return Found("", "only a second run can tell: --before FILE, with what --json of the first has written")
    window = Window(max(now.start, earlier.start), min(now.end, earlier.end))
    claims = [
        equal(f"{item} on {day}", now.days[item].get(day, 0), earlier.days[item].get(day, 0))
        for item in sorted(now.days.keys() & earlier.days.keys())
        for day in sorted({*now.days[item], *earlier.days[item]})
        if window.covers(day)
    ]
    return compared(claims, "they do not", "they do")
