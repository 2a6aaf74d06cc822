"""Telling: a run's tables, for a terminal and for a page. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.shield.result import VARIANTS, Replayed, Row, Shielding, Spread, of_variant, rows, spread_of

CONTENDERS = {
    "gateway": "gateway",
    "gateway-unpaced": "gateway, budget unlimited",
    "nginx": "nginx",
    "varnish": "Varnish",
}
DAYS = {
    "day": "The day",
    "one-spelling": "The same day, each question spelt in one way",
    "no-closed": "The same day without closed windows",
}
HEADS = (
    "contender",
    "replicas",
    "upstream calls",
    "worst second",
    "stale served",
    "oldest",
    "over 30 s",
    "errors seen",
    "from cache",
    "of the better peer's calls",
)


def text(days: Sequence[Replayed]) -> str:
    """A table of days of one variant, for a terminal."""
    table = [HEADS, *_cells(days)]
    widths = [max(len(row[column]) for row in table) for column in range(len(HEADS))]
    lines = []
    for first, *others in table:
        cells = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
        lines.append("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    return "\n".join([*lines, *_warnings(days)])


def markdown(result: Shielding) -> str:
    """The section of the report, without its heading."""
    parts = list(_introduction(result))
    for variant in VARIANTS:
        if days := of_variant(result, variant):
            seeds = ", ".join(str(day.seed) for day in days)
            count = f"{rows(days)[0].requests:,} requests"
            parts += [f"**{DAYS[variant]}** (seed {seeds}; {count}; median, least and most)", _table(days)]
            parts += _warnings(days)
    return "\n\n".join([*parts, _reloads(result)]).rstrip() + "\n"


def _introduction(result: Shielding) -> Iterator[str]:
    bounds = ", ".join(f"{kind} {_duration(seconds)}" for kind, seconds in result.bounds.items())
    yield (
        f"One seeded day of dashboard traffic, replayed {result.factor:g} times as fast through real processes, "
        "all contenders and numbers of replicas at the same time; request *i* goes to replica *i* mod *n*. Time "
        "is compressed for all alike: the day's clock, every lifetime, the origin's latency; the budget is "
        f"multiplied. Answers may be as old as the gateway lets them be: {bounds}. Each day begins with empty "
        "caches; midnight does not fall into the compressed day."
    )
    second, slow = f"{1_000 / result.factor:.0f} ms", f"{30_000 / result.factor:.0f} ms"
    grain = _duration(0.5 * result.factor)
    yield (
        "*Worst second*: the most calls in a second of the day. *Over 30 s*: answers that took longer than that "
        f"of the day. On the wall's clock these are {second} and {slow}, so that the machine's own hiccups count "
        "in both. *Stale served*: older than the bound by more than half a second of the wall's clock, "
        f"{grain} of the day: nginx counts whole seconds, and was given those whose average is nearest the bound; "
        "*oldest*: by how much at most. "
        "*From cache*: made before it was asked for. nginx and Varnish sort parameters, know closed windows by a "
        "regular expression, keep credentials apart, collapse misses, and serve stale while they refresh."
    )
    if result.skipped:
        yield f"Not installed, hence skipped: {', '.join(result.skipped)}."


def _table(days: Sequence[Replayed]) -> str:
    table = [HEADS, ("---", *["---:"] * (len(HEADS) - 1)), *_cells(days)]
    return "\n".join(f"| {' | '.join(row)} |" for row in table)


def _cells(days: Sequence[Replayed]) -> list[tuple[str, ...]]:
    found = [_cells_of(row) for row in rows(days)]
    for caches in days[0].ideal:
        called = _told(spread_of([day.ideal[caches] for day in days]))
        found.append(("ideal caches that share nothing", caches, called, *[""] * (len(HEADS) - 3)))
    return found


def _cells_of(row: Row) -> tuple[str, ...]:
    return (
        CONTENDERS[row.contender],
        str(row.replicas),
        _told(row.calls),
        _told(row.worst_second),
        _told(row.stale),
        f"{row.oldest:.0f} min" if row.oldest else "",
        _told(row.slow),
        _told(row.errors),
        f"{row.hit_share:.1%}",
        "" if row.ratio is None else f"{row.ratio:.2f}",
    )


def _warnings(days: Sequence[Replayed]) -> list[str]:
    said = []
    if wrong := sum(each.wrong for day in days for each in day.outcomes):
        said.append(f"{wrong:,} answers were of another question or another credential: this run is void.")
    if (idle := min(day.idle for day in days)) < 0.2:
        said.append(f"The machine was busy: {idle:.0%} of its processors' time was idle.")
    if (late := max(day.late for day in days)) > 1:
        said.append(f"A request was sent {late:.1f} s late.")
    return said


def _reloads(result: Shielding) -> str:
    told = "; ".join(
        f"every {_duration(each.seconds)} {each.shared:,} and {each.apart:,} ({each.shared / each.apart:.2f})"
        for each in result.reloads
    )
    return (
        "What a shared cache saves hangs on how often one question is asked within a lifetime. By the model of "
        f"ideal caches, one that is shared and {result.replicas} that are apart would call, where open pages are "
        f"reloaded {told}."
    )


def _told(spread: Spread) -> str:
    middle, least, most = spread
    return f"{middle:,.0f}" if least == most else f"{middle:,.0f} ({least:,}–{most:,})"


def _duration(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size and (seconds % size == 0 or seconds > 10 * size):
            return f"{seconds / size:g} {unit}"
    return f"{seconds:.0f} s"
