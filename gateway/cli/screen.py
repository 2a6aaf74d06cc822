"""The lines that ``stats-gateway top`` shows, for any size of a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import msgspec
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from gateway.cli.format import ago, count, rate, share, span
from gateway.observe.counters import Minute
from gateway.observe.outcome import Outcome
from gateway.observe.overview import Gate, Overview
from gateway.observe.withheld import whose
from gateway.upstream.pacing import Priority
from gateway.upstream.snapshot import Refused

BARS = "▁▂▃▄▅▆▇█"
PLAIN = "_.-~=+*#"
"""The same for terminals that know only ASCII."""


def sparkline(values: Sequence[float | None], most: float, *, plain: bool = False) -> str:
    """One character a value: a blank for None, the lowest bar for 0 alone, the highest for ``most`` and above."""
    bars = PLAIN if plain else BARS
    return "".join(" " if value is None else bars[_height(value, most)] for value in values)


def _height(value: float, most: float) -> int:
    if value <= 0 or most <= 0:
        return 0
    return 1 + min(int(value / most * (len(BARS) - 1)), len(BARS) - 2)


LABEL = 10
SHOWN_TENANTS = 10
SHOWN_CREDENTIALS = 2
SPARED = (Outcome.HIT, Outcome.STALE)
COLUMNS = 10
ALONE = "Redis does not answer: this is what one process knows"
GOOD, TROUBLE, WARNING, FAINT, HEAD = "green", "bold red", "yellow", "dim", "bold"


class Day(msgspec.Struct, frozen=True):
    """A tenant's day, as /api/usage has it."""

    tenant: str
    requests: int
    hits: int
    calls: int


class Waiting(msgspec.Struct, frozen=True):
    """What /api/queue has beside the overview: who waits."""

    tenants: dict[str, dict[str, int]] = {}


@dataclass
class Seen:
    """The gateway's last answers; ``trouble`` is why there are none since."""

    overview: Overview
    days: list[Day] = field(default_factory=list)
    waiting: Waiting = field(default_factory=Waiting)
    trouble: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from frame(self, *options.size, plain=options.ascii_only)


def frame(seen: Seen, width: int, height: int | None, *, plain: bool = False) -> list[Text]:
    """The lines, none wider than ``width`` and no more of them than ``height``; all of them where that is None.

    ``plain`` keeps to ASCII. What is short of room goes first: tenants, then blank lines, then what is below.
    """
    blocks = [
        _head(seen, width),
        _graphs(seen.overview, width, plain),
        _facts(seen),
        _latency(seen.overview, plain),
    ]
    lines = [line for block in blocks for line in (*block, Text())]
    room = SHOWN_TENANTS if height is None else min(height - len(lines) - 1, SHOWN_TENANTS)
    lines += _tenants(seen, width, room)
    if height is not None and len(lines) > height:
        lines = [line for line in lines if line]
    for line in lines[:height]:
        line.plain = "".join(_harmless(each, plain) for each in line.plain)
        line.truncate(width, overflow="crop" if plain else "ellipsis")
    return lines[:height]


def _harmless(each: str, plain: bool) -> str:
    """A character of a gateway's answers as text, and nothing that a terminal would obey."""
    return each if each.isprintable() and (each.isascii() or not plain) else "?"


def now_per_second(minutes: list[Minute], into: float, name: str) -> float:
    """The rate of the last 60 seconds, of which the current minute has had ``into``; the one before is taken as
    even."""
    before, current = (getattr(minute, name) for minute in minutes[-2:])
    return float(before * (60 - into) / 60 + current) / 60


def _head(seen: Seen, width: int) -> list[Text]:
    overview = seen.overview
    left = Text.assemble(
        (f"stats-gateway {overview.version}", HEAD),
        f"  {_many(overview.processes, 'process', 'processes')}",
        f"  {_many(overview.registry.tenants, 'tenant', 'tenants')}",
        "  Redis ",
        _redis(overview),
    )
    at = f"{overview.now:%H:%M:%S} UTC"
    left.append(" " * max(1, width - left.cell_len - len(at)))
    left.append(at, FAINT)
    trouble = seen.trouble or (ALONE if overview.redis.status != "ok" else "")
    return [left, Text(trouble, TROUBLE)] if trouble else [left]


def _redis(overview: Overview) -> tuple[str, str]:
    if overview.redis.status != "ok":
        return "does not answer", TROUBLE
    return ("embedded", WARNING) if overview.redis.embedded else ("ok", GOOD)


def _graphs(overview: Overview, width: int, plain: bool) -> list[Text]:
    minutes, into = overview.minutes[-max(1, width - 2 * LABEL) :], overview.now.second
    hits = [_hits(minute) / minute.requests if minute.requests else None for minute in minutes]
    requests = [minute.requests for minute in minutes]
    calls = [minute.calls for minute in minutes]
    pace = overview.budget.per_second
    draw, per_second = partial(sparkline, plain=plain), partial(now_per_second, overview.minutes, into)
    hour = sum(map(_hits, overview.minutes)), sum(minute.requests for minute in overview.minutes)
    most_calls = max(*calls, 60 * (pace or 0), 1)
    return [
        _graph("Requests", draw(requests, max(requests)), rate(per_second("requests"))),
        _graph("Hit ratio", draw(hits, 1.0), share(*hour)),
        _graph("Calls", draw(calls, most_calls), rate(per_second("calls"))),
    ]


def _graph(label: str, bars: str, value: str) -> Text:
    return Text.assemble((label.ljust(LABEL), HEAD), (bars, "cyan"), value.rjust(LABEL))


def _facts(seen: Seen) -> list[Text]:
    told = seen.overview
    today, queue = told.today, told.queue
    waiting = ", ".join(f"{count(queue.by_band.get(each.label, 0))} {each.label}" for each in Priority)
    return [
        _fact(
            "Today",
            f"{_many(today.requests, 'request', 'requests')}, {count(today.hits)} from the cache, "
            f"{_many(today.calls, 'call', 'calls')}, {count(today.saved)} saved",
        ),
        _fact("Budget", _budget(told)),
        _fact(
            "Queue",
            f"{count(queue.waiting)} waiting: {waiting}; {count(queue.running)} running",
            WARNING if queue.waiting else "",
        ),
        _fact("Gate", _gate(told.gate), "" if told.gate.state == "open" else TROUBLE),
        *([_fact("Breakers", _kept(seen), WARNING)] if told.refused_credentials else []),
        *(
            [_fact("Fleet", f"not all have the same {', '.join(told.differing)}", TROUBLE)]
            if told.differing
            else []
        ),
    ]


def _fact(label: str, text: str, style: str = "") -> Text:
    return Text.assemble((label.ljust(LABEL), HEAD), (text, style))


def _budget(overview: Overview) -> str:
    pace = overview.budget.per_second
    calls = now_per_second(overview.minutes, overview.now.second, "calls")
    if pace is None:
        return "unlimited"
    return f"{rate(pace)}, burst {overview.budget.burst}; {share(calls, pace) if calls < pace else '100 %'} used"


def _gate(gate: Gate) -> str:
    left = f" for {ago(gate.closed_for)} more" if gate.closed_for else ""
    held = f" for {ago(gate.held_for)} so far" if gate.held_for is not None else ""
    return f"{gate.state}{left}{held}"


def _kept(seen: Seen) -> str:
    shown = seen.overview.refused[:SHOWN_CREDENTIALS]
    named = ", ".join(f"{_whose(each)} {_kept_for(each)}" for each in shown)
    return f"{count(seen.overview.refused_credentials)} not used{': ' if named else ''}{named}"


def _whose(kept: Refused) -> str:
    return whose(kept.institution, kept.tenants, kept.tenants_total, kept.fingerprint)


def _kept_for(kept: Refused) -> str:
    return f"for {ago(kept.left)} more" if kept.held_for is None else f"held for {ago(kept.held_for)}"


def _latency(overview: Overview, plain: bool) -> list[Text]:
    rows = [Text(_row("Outcome", "last hour", "share", "p50", "p95", "p99"), HEAD)]
    total = sum(each.count for each in overview.latency.values())
    for outcome in Outcome:
        if each := overview.latency.get(outcome):
            times = (span(seconds, plain=plain) for seconds in (each.p50, each.p95, each.p99))
            rows.append(
                Text(_row(outcome, count(each.count), share(each.count, total), *times), _outcome_style(outcome))
            )
    return rows if total else [*rows, Text("nothing was asked", FAINT)]


def _outcome_style(outcome: Outcome) -> str:
    return TROUBLE if outcome is Outcome.FAILED else WARNING if outcome is Outcome.REFUSED else ""


def _tenants(seen: Seen, width: int, room: int) -> list[Text]:
    if room < 1:
        return []
    name = min(40, max(12, width - 5 * COLUMNS - 2))
    head = ("requests", "share", "hit ratio", "calls", "waiting")
    rows = [_row(*each, first=name) for each in _tenant_rows(seen)][:room]
    return [Text(_row("Tenant today", *head, first=name), HEAD), *map(Text, rows or ["nobody asked"])]


def _tenant_rows(seen: Seen) -> Iterator[list[str]]:
    waits = {tenant: sum(depths.values()) for tenant, depths in seen.waiting.tenants.items()}
    days = {day.tenant: day for day in seen.days}
    days |= {tenant: Day(tenant, 0, 0, 0) for tenant in waits if tenant not in days}
    total = sum(day.requests for day in days.values())
    for day in sorted(days.values(), key=lambda day: (-day.requests, -waits.get(day.tenant, 0), day.tenant)):
        asked = count(day.requests), share(day.requests, total), share(day.hits, day.requests), count(day.calls)
        yield [day.tenant, *asked, count(waits.get(day.tenant, 0))]


def _row(name: str, *cells: str, first: int = 14) -> str:
    shown = name if len(name) <= first else name[: first - 2] + ".."
    return shown.ljust(first) + "".join(cell.rjust(COLUMNS) for cell in cells)


def _hits(minute: Minute) -> int:
    return sum(minute.outcomes.get(outcome, 0) for outcome in SPARED)


def _many(number: int, one: str, more: str) -> str:
    return f"{count(number)} {one if number == 1 else more}"
