"""Sums: whether the service's numbers agree with each other, which everything that is derived rests on. Each
function that asks stands before the one that reads. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta

from gateway.admin.doctor.claims import Claim, Found, compared, equal
from gateway.admin.doctor.forms import ask_breakdown
from gateway.admin.doctor.probes import (
    FIRST_COUNTS,
    LAST_COUNT,
    LAST_PLACES,
    PLACES,
    Aims,
    Probe,
    Replies,
    Window,
    each_timeline,
    summed,
    year_before,
)

COUNTERS = ("views", "downloads")
MOST_CITIES = 10


# Sums


def ask_granularities(aims: Aims) -> Iterator[Probe]:
    for counter in COUNTERS:
        yield from each_timeline(aims, counter, aims.items[0])


def granularities(aims: Aims, replies: Replies) -> Found:
    return compared([claim for counter in COUNTERS for claim in _buckets(aims, replies, counter)])


def _buckets(aims: Aims, replies: Replies, counter: str) -> Iterator[Claim]:
    """Each bucket against the sum of its days."""
    item = aims.items[0]
    by_day, *coarser = each_timeline(aims, counter, item)
    days = replies.timeline(by_day)
    for probe, granularity in zip(coarser, ("month", "year", "total"), strict=True):
        told, sums = replies.timeline(probe), summed(days, granularity)
        for bucket in sorted({*told, *sums}):
            yield equal(f"{counter} of {item}, {bucket}", told.get(bucket, 0), sums.get(bucket, 0))


def ask_cut(aims: Aims) -> Iterator[Probe]:
    window = cut_window(aims)
    for granularity in ("month", "year"):
        yield aims.service.timeline(granularity, "views", aims.subject, window)
    yield aims.service.timeline("day", "views", aims.subject, aims.always)


def cut_buckets(aims: Aims, replies: Replies) -> Found:
    by_month, by_year, by_day = ask_cut(aims)
    days, window = replies.timeline(by_day), cut_window(aims)
    claims = [
        equal(f"{bucket} from {window.start} to {window.end}", told.get(bucket, 0), sums.get(bucket, 0))
        for probe, granularity in ((by_month, "month"), (by_year, "year"))
        for told, sums in [(replies.timeline(probe), summed(days, granularity, window))]
        for bucket in sorted({*told, *sums})
    ]
    return compared(claims, "the days of the window only", "other than the days of the window")


def ask_totals(aims: Aims) -> Iterator[Probe]:
    for item in aims.items:
        for counter in COUNTERS:
            yield aims.service.totals(counter, item)
            yield aims.service.timeline("day", counter, item, aims.always)


def totals(aims: Aims, replies: Replies) -> Found:
    asked = ask_totals(aims)
    pairs = zip(asked, asked, strict=True)
    claims = [
        equal(total.target, replies.number(total) or 0, sum(replies.timeline(days).values()))
        for total, days in pairs
    ]
    return compared(claims)


def ask_dated_totals(aims: Aims) -> Iterator[Probe]:
    for item in aims.on_day[:1]:
        yield aims.service.totals("views", item, aims.day)
        yield aims.service.totals("views", item)
        yield aims.service.timeline("day", "views", item, aims.day)


def dated_totals(aims: Aims, replies: Replies) -> Found:
    asked = list(ask_dated_totals(aims))
    if not asked:
        return Found("", f"there were no events on {aims.day.start}")
    dated, whole = map(replies.number, asked[:2])
    day = sum(replies.timeline(asked[2]).values())
    says = "dates are ignored" if dated == whole else "dates filter" if dated == day else "neither"
    return Found(says, f"{aims.on_day[0]}: {whole} in all, {dated} with dates, {day} by the timeline")


def ask_breakdown_sum(aims: Aims) -> Iterator[Probe]:
    yield from ask_breakdown(aims)
    yield aims.service.timeline("day", "views", aims.subject, aims.always)


def breakdown_sum(aims: Aims, replies: Replies) -> Found:
    in_countries, by_day = ask_breakdown_sum(aims)
    window = year_before(aims)
    countries = sum(cities.get("total", 0) for cities in replies.countries(in_countries).values())
    days = sum(summed(replies.timeline(by_day), "total", window).values())
    return compared([equal(f"{aims.subject} from {window.start} to {window.end}", countries, days)])


def breakdown_cities(aims: Aims, replies: Replies) -> Found:
    sizes = {
        name: len(cities) - ("total" in cities)
        for name, cities in replies.countries(next(ask_breakdown(aims))).items()
    }
    most = max(sizes, key=sizes.__getitem__, default="")
    kept = sizes.get(most, 0) <= MOST_CITIES
    return Found(
        f"{'at most' if kept else 'more than'} {MOST_CITIES}", f"{most}: {sizes.get(most, 0)}", holds=kept
    )


# Tops


def ask_counts(aims: Aims) -> Iterator[Probe]:
    yield from (aims.service.top("article", count) for count in (*FIRST_COUNTS, LAST_COUNT))
    yield from ask_absent(aims)


def largest_count(aims: Aims, replies: Replies) -> Found:
    counts = (*FIRST_COUNTS, LAST_COUNT)
    tops = {count: aims.service.top("article", count) for count in counts}
    lengths = {count: len(replies.top(probe)) for count, probe in tops.items()}
    shown = ", ".join(f"{lengths[count]:,} of {count:,}" for count in counts)
    refused = [count for count, probe in tops.items() if replies.of(probe).status not in (0, 200)]
    if refused:
        return Found(f"{refused[0]:,} is refused", f"{replies.shown(tops[refused[0]])}; {shown}", holds=False)
    if lengths[LAST_COUNT] < LAST_COUNT and _unlisted(aims, replies):
        return Found(f"at most {lengths[LAST_COUNT]:,} are listed, and there are more", shown, holds=False)
    full = lengths[LAST_COUNT] == LAST_COUNT
    return Found(f"as many as asked for, to {LAST_COUNT:,}" if full else "all are listed", shown, holds=True)


def ask_absent(aims: Aims) -> Iterator[Probe]:
    yield from (aims.service.totals("views", item) for item in aims.absent)


def absent(aims: Aims, replies: Replies) -> Found:
    told = {item: replies.shown(probe) for item, probe in zip(aims.absent, ask_absent(aims), strict=True)}
    counting = _unlisted(aims, replies)
    says = f"{len(counting)} of {len(told)} have counts" if counting else "they count nothing"
    return Found(says, "; ".join(f"{item}: {shown}" for item, shown in told.items()), holds=not counting)


def _unlisted(aims: Aims, replies: Replies) -> list[Probe]:
    """The items that the ranking does not list and that have counts."""
    return [probe for probe in ask_absent(aims) if replies.number(probe)]


def ask_listed(aims: Aims) -> Iterator[Probe]:
    yield from (aims.service.top("article", count) for count in (FIRST_COUNTS[-1], LAST_COUNT))
    yield from (aims.service.totals("views", item) for item in (*aims.items, *aims.tail))


def listed(aims: Aims, replies: Replies) -> Found:
    first, last, *asked = ask_listed(aims)
    items = (*aims.items, *aims.tail)
    return compared(list(_between(replies, (first, last), dict(zip(items, asked, strict=True)))))


def ask_groups(aims: Aims) -> Iterator[Probe]:
    yield from (aims.service.top("group", count) for count in (PLACES, LAST_PLACES))
    yield from (aims.service.totals("views", group) for group in aims.groups)


def listed_groups(aims: Aims, replies: Replies) -> Found:
    first, last, *asked = ask_groups(aims)
    return compared(list(_between(replies, (first, last), dict(zip(aims.groups, asked, strict=True)))))


def _between(replies: Replies, tops: tuple[Probe, Probe], asked: Mapping[str, Probe]) -> Iterator[Claim]:
    """The totals of items against a top from before and one from after."""
    before, after = map(replies.top, tops)
    for item, probe in asked.items():
        id = item.rpartition("/")[2]
        low, high = sorted((before.get(id, 0), after.get(id, 0)))
        yield Claim(f"totals of {item}", replies.number(probe) or 0, low, high)


def ask_dated_tops(aims: Aims) -> Iterator[Probe]:
    yield aims.service.top("article", PLACES, aims.day)
    yield from (aims.service.timeline("day", "views", item, aims.day) for item in aims.on_day)


def dated_tops(aims: Aims, replies: Replies) -> Found:
    top, *asked = ask_dated_tops(aims)
    counts, day = replies.top(top), str(aims.day.start)
    claims = [
        equal(f"{item} on {day}", counts.get(item.rpartition("/")[2], 0), replies.timeline(probe).get(day, 0))
        for item, probe in zip(aims.on_day, asked, strict=True)
    ]
    return compared(claims, "dates filter, exactly as by day")


# With and without the pair; overviews


def ask_both_ways(aims: Aims) -> Iterator[Probe]:
    for item in aims.items:
        yield from (aims.service.totals("views", item, public=public) for public in (False, True))


def both_ways(aims: Aims, replies: Replies) -> Found:
    asked = ask_both_ways(aims)
    pairs = list(zip(asked, asked, strict=True))
    if refused := [public for _, public in pairs if replies.of(public).status != 200]:
        return Found("not answered without it", replies.shown(refused[0]), holds=False)
    return compared(
        [equal(public.target, replies.number(public) or 0, replies.number(own) or 0) for own, public in pairs],
        "the same",
    )


def ask_protected(aims: Aims) -> Iterator[Probe]:
    yield aims.service.timeline("day", "views", aims.subject, aims.day, public=True)
    yield aims.service.top("article", FIRST_COUNTS[0], public=True)


def protected(aims: Aims, replies: Replies) -> Found:
    statuses = [replies.of(probe).status for probe in ask_protected(aims)]
    open_to_all = [status for status in statuses if status == 200]
    says = "answered without it, too" if open_to_all else "refused without it"
    return Found(says, f"timeline {statuses[0]}, top {statuses[1]}", holds=not open_to_all)


def ask_overviews(aims: Aims) -> Iterator[Probe]:
    for item in aims.items:
        yield aims.service.overview(item)
        yield from (aims.service.totals(counter, item) for counter in COUNTERS)


def overviews(aims: Aims, replies: Replies) -> Found:
    said = {item: aims.service.overview(item) for item in aims.items}
    if refused := [probe for probe in said.values() if replies.of(probe).status != 200]:
        return Found("there are none", replies.shown(refused[0]), holds=False)
    found = compared(
        [
            equal(f"{counter} of {item}", replies.counts(probe).get(counter, 0), replies.number(total) or 0)
            for item, probe in said.items()
            for counter in COUNTERS
            for total in [aims.service.totals(counter, item)]
        ]
    )
    return found._replace(evidence=f"{found.evidence}; {replies.shown(said[aims.items[0]])}")


def cut_window(aims: Aims) -> Window:
    """From the 10th of one month to the 20th of another, two years later: its first and last buckets are cut."""
    last = (aims.today.replace(day=1) - timedelta(1)).replace(day=20)
    return Window(last.replace(year=last.year - 2, day=10), last)
