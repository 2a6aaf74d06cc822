"""Forms: how the service writes its answers, what it takes an omitted window for, and when its day begins, by its
own answers. Each function that asks stands before the one that reads. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import islice

from gateway.admin.doctor.claims import MOST_SHOWN, Found
from gateway.admin.doctor.finding import counted
from gateway.admin.doctor.probes import (
    BEFORE_ALL,
    FIRST_COUNTS,
    Aims,
    Probe,
    Replies,
    Window,
    each_timeline,
    summed,
    year_before,
)

MONTH_SO_FAR, ALL_TIME = "the month so far", "all time"
HOUR = 3_600.0
FIRST_ZONE, LAST_ZONE = -12.0, 14.0
"""The time zones that there are, in hours ahead of UTC."""
NEWEST_DAYS = 7


# The order of keys


def ask_whole_timelines(aims: Aims) -> Iterator[Probe]:
    yield from each_timeline(aims, "views", aims.subject)


def order_of_timelines(aims: Aims, replies: Replies) -> Found:
    dated = [list(replies.timeline(probe)) for probe in islice(each_timeline(aims, "views", aims.subject), 3)]
    orders = {order for names in dated if (order := sorting(names, "by date"))}
    shown = ", ".join(dated[0][:MOST_SHOWN])
    return Found(orders.pop() if len(orders) == 1 else "in no one order" if orders else "", shown)


def ask_tops(aims: Aims) -> Iterator[Probe]:
    yield aims.service.top("article", FIRST_COUNTS[-1])


def order_of_tops(aims: Aims, replies: Replies) -> Found:
    top = replies.top(next(ask_tops(aims)))
    ranked = sorted(top.values(), reverse=True) == list(top.values())
    by_id = sorting([name.rjust(20) for name in top], "by id")
    shown = ", ".join(f"{name}: {count}" for name, count in islice(top.items(), MOST_SHOWN))
    return Found("the highest first" if ranked else by_id or "in no one order", shown)


def ask_breakdown(aims: Aims) -> Iterator[Probe]:
    yield aims.service.breakdown(aims.subject, year_before(aims))


def order_of_breakdowns(aims: Aims, replies: Replies) -> Found:
    countries = list(replies.countries(next(ask_breakdown(aims))))
    return Found(sorting(countries, "by name"), ", ".join(countries[:MOST_SHOWN]))


def sorting(names: Sequence[str], how: str) -> str:
    """How names are sorted; empty where there are too few to tell."""
    if len(names) < MOST_SHOWN:
        return ""
    if list(names) == sorted(names):
        return how
    return f"{how}, the last first" if list(names) == sorted(names, reverse=True) else "in no one order"


# Empty answers


def ask_empty_timelines(aims: Aims) -> Iterator[Probe]:
    window = Window(BEFORE_ALL, BEFORE_ALL)
    yield from (aims.service.timeline(each, "views", aims.subject, window) for each in ("day", "total"))


def empty_timelines(aims: Aims, replies: Replies) -> Found:
    by_day, in_total = ask_empty_timelines(aims)
    values = [replies.value(each, "timeline") for each in (by_day, in_total)]
    return Found(replies.shown(by_day), f"in total: {replies.shown(in_total)}", holds=values == [None, None])


def ask_empty_breakdown(aims: Aims) -> Iterator[Probe]:
    yield aims.service.breakdown(aims.subject, Window(BEFORE_ALL, BEFORE_ALL))


def empty_breakdown(aims: Aims, replies: Replies) -> Found:
    return Found(replies.shown(next(ask_empty_breakdown(aims))), f"{aims.subject} on {BEFORE_ALL}")


def ask_empty_top(aims: Aims) -> Iterator[Probe]:
    yield aims.service.top("article", FIRST_COUNTS[0], Window(BEFORE_ALL, BEFORE_ALL))


def empty_top(aims: Aims, replies: Replies) -> Found:
    return Found(replies.shown(next(ask_empty_top(aims))), f"of articles, on {BEFORE_ALL}")


# Windows that are left out


def ask_default(aims: Aims, granularity: str) -> Iterator[Probe]:
    yield aims.service.timeline(granularity, "views", aims.subject)
    yield aims.service.timeline("day", "views", aims.subject, aims.always)


def default_of(aims: Aims, replies: Replies, granularity: str) -> Found:
    """Which windows have the numbers that are answered where none is given."""
    undated, whole = ask_default(aims, granularity)
    told, days, today = replies.timeline(undated), replies.timeline(whole), aims.today
    windows = {
        MONTH_SO_FAR: Window(today.replace(day=1), aims.always.end),
        "the last 30 days": Window(today - timedelta(30), aims.always.end),
        "the last year": Window(today - timedelta(365), aims.always.end),
        ALL_TIME: aims.always,
    }
    fitting = [name for name, window in windows.items() if summed(days, granularity, window) == told]
    shown = f"{counted(len(told), 'bucket')}, {sum(told.values())} in all: {replies.shown(undated)}"
    return Found(" or ".join(fitting) or "another window", shown, holds=MONTH_SO_FAR in fitting)


# The service's day


def ask_newest(aims: Aims) -> Iterator[Probe]:
    yield aims.service.timeline(
        "day", "views", aims.subject, Window(aims.today - timedelta(NEWEST_DAYS), aims.always.end)
    )


def newest(aims: Aims, replies: Replies) -> Found:
    """In which zones the newest day that has events is today: it has begun, and the next has no events yet. That
    proves little where the next has begun in UTC: nothing may have happened since."""
    probe = next(ask_newest(aims))
    days, now = replies.timeline(probe), replies.of(probe).at
    if not days:
        return Found("", "there were no events lately")
    last = date.fromisoformat(max(days))
    begins = (datetime.combine(last, datetime.min.time(), UTC).timestamp() - now) / HOUR
    shown = f"at {datetime.fromtimestamp(now, UTC):%Y-%m-%d %H:%M} UTC the newest day is {last}"
    if begins + 24 <= FIRST_ZONE:
        return Found("days are counted late", shown, holds=False)
    first, end = max(begins, FIRST_ZONE), min(begins + 24, LAST_ZONE)
    found = f"between UTC{first:+.1f} and UTC{end:+.1f} hours"
    if begins + 24 <= 0:
        return Found(found, f"{shown}; or nothing has happened since")
    return Found(found, shown, holds=begins <= 0)
