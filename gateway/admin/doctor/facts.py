"""Facts: what the service does where its documentation is silent or says something else, found out on an
operator's own institution, beside what docs/service.md says of it. Pure: answers in, facts out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date
from functools import partial
from typing import NamedTuple

from gateway.admin.doctor import forms, sums
from gateway.admin.doctor.claims import Found
from gateway.admin.doctor.memory import Memory, memory_of, past_days
from gateway.admin.doctor.probes import (
    GRANULARITIES,
    LAST_COUNT,
    Aims,
    Probe,
    Replies,
    Service,
    first_probes,
)

MEANS_NOTHING, UNKNOWN = "it means nothing", "unknown"


class Fact(NamedTuple):
    """A row of the table. ``found`` is empty where nothing was; ``holds`` is as in ``Found``."""

    name: str
    what: str
    documented: str
    found: str
    evidence: str
    holds: bool | None


class Inquiry(NamedTuple):
    """What is to be found out, what docs/service.md says of it, what to ask, and how to read the answers.

    ``refusals``: an answer that is no 200 is a finding as well.
    """

    name: str
    what: str
    documented: str
    asks: Callable[[Aims], Iterable[Probe]]
    find: Callable[[Aims, Replies], Found]
    refusals: bool = False


INQUIRIES: tuple[Inquiry, ...] = (
    Inquiry(
        "order.timelines",
        "order of a timeline",
        MEANS_NOTHING,
        forms.ask_whole_timelines,
        forms.order_of_timelines,
    ),
    Inquiry("order.tops", "order of a top", MEANS_NOTHING, forms.ask_tops, forms.order_of_tops),
    Inquiry(
        "order.breakdowns", "order of countries", MEANS_NOTHING, forms.ask_breakdown, forms.order_of_breakdowns
    ),
    Inquiry(
        "empty.timelines",
        "an empty timeline",
        '{"timeline": null}',
        forms.ask_empty_timelines,
        forms.empty_timelines,
    ),
    Inquiry("empty.breakdowns", "an empty breakdown", UNKNOWN, forms.ask_empty_breakdown, forms.empty_breakdown),
    Inquiry("empty.tops", "an empty top", UNKNOWN, forms.ask_empty_top, forms.empty_top),
    *(
        Inquiry(
            f"default.{each}",
            f"timeline by {each} without dates" if each != "total" else "timeline in total without dates",
            forms.MONTH_SO_FAR + (", in samples all time" if each == "year" else ""),
            partial(forms.ask_default, granularity=each),
            partial(forms.default_of, granularity=each),
        )
        for each in GRANULARITIES
    ),
    Inquiry(
        "sums.granularities",
        "months, years and total against days",
        UNKNOWN,
        sums.ask_granularities,
        sums.granularities,
    ),
    Inquiry("sums.cut", "buckets that a window cuts", "both ends are inclusive", sums.ask_cut, sums.cut_buckets),
    Inquiry("sums.totals", "totals against days", "equal in one sample", sums.ask_totals, sums.totals),
    Inquiry("totals.dates", "totals with dates", "clients send them", sums.ask_dated_totals, sums.dated_totals),
    Inquiry(
        "overviews",
        "overviews against totals",
        "not documented",
        sums.ask_overviews,
        sums.overviews,
        refusals=True,
    ),
    Inquiry(
        "pair.totals",
        "totals with and without the pair",
        UNKNOWN,
        sums.ask_both_ways,
        sums.both_ways,
        refusals=True,
    ),
    Inquiry(
        "pair.protected",
        "timelines and tops without the pair",
        "refused without it",
        sums.ask_protected,
        sums.protected,
        refusals=True,
    ),
    Inquiry("breakdowns.sum", "countries against days", UNKNOWN, sums.ask_breakdown_sum, sums.breakdown_sum),
    Inquiry("breakdowns.cities", "cities of a country", "at most 10", forms.ask_breakdown, sums.breakdown_cities),
    Inquiry(
        "tops.dates",
        "tops of one day against timelines",
        "dates filter, for one client",
        sums.ask_dated_tops,
        sums.dated_tops,
    ),
    Inquiry("tops.listed", "tops against totals", "tops cover all time", sums.ask_listed, sums.listed),
    Inquiry("tops.groups", "tops of groups against totals", UNKNOWN, sums.ask_groups, sums.listed_groups),
    Inquiry("tops.absent", "items that a top does not list", UNKNOWN, sums.ask_absent, sums.absent),
    Inquiry("tops.count", "the largest count", UNKNOWN, sums.ask_counts, sums.largest_count, refusals=True),
    Inquiry("day.newest", "when the service's day begins", UNKNOWN, forms.ask_newest, forms.newest),
)
"""In the order of the table."""


def probes_of(aims: Aims) -> list[Probe]:
    """All that is asked about an institution's items, each once; the longest top last, since it is compared with
    what was asked at the beginning."""
    last = aims.service.top("article", LAST_COUNT)
    asked = [probe for each in INQUIRIES for probe in each.asks(aims) if probe != last] if aims.items else []
    return list(dict.fromkeys([*first_probes(aims), *asked, last]))


def price(service: Service, today: date) -> int:
    """How many calls it takes where an institution has enough items."""
    items = [f"article/{number}" for number in range(16)]
    some, tail, absent, on_day = (tuple(items[start:end]) for start, end in ((0, 3), (3, 6), (6, 11), (11, 16)))
    return len(probes_of(Aims(service, today, some, tail, absent, on_day, ("group/1", "group/2"))))


def facts_of(aims: Aims, replies: Replies, earlier: Memory | None = None) -> list[Fact]:
    """All facts; ``earlier`` is what ``memory_of`` made of an earlier run."""
    said = [(inquiry, _found(inquiry, aims, replies)) for inquiry in INQUIRIES]
    past = past_days(memory_of(aims, replies), earlier)
    facts = [Fact(each.name, each.what, each.documented, *found) for each, found in said]
    return [*facts, Fact("day.past", "whether past days change", UNKNOWN, *past)]


def _found(inquiry: Inquiry, aims: Aims, replies: Replies) -> Found:
    if not aims.items:
        return Found("", "no ranking of articles was answered, or it lists none")
    failed = [probe for probe in inquiry.asks(aims) if replies.of(probe).status != 200]
    if failed and not (inquiry.refusals and all(replies.of(probe).status for probe in failed)):
        return Found("", f"{failed[0].target}: {replies.shown(failed[0])}")
    return inquiry.find(aims, replies)
