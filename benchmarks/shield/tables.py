"""Tables: what the replays came to, as the benchmarks' results are. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from benchmarks.results import Column, Ratio, Row, Table
from benchmarks.shield.traffic import BOUNDS, STORM_SECONDS

CONTENDERS = {
    "gateway-unpaced": "gateway, budget unlimited",
    "gateway-derived": "gateway that derives, budget unlimited",
    "gateway": "gateway, budget 1/s",
    "nginx": "nginx",
    "varnish": "Varnish",
}
PACED = "gateway"
"""The contender that is paced."""
PEERS = ("nginx", "varnish")
IDEAL = "ideal caches that share nothing"
VARIANTS = {
    "day": "Upstream calls of a day",
    "one-spelling": "The same with each question spelt in one way",
    "no-closed": "The same without closed windows",
    "paced": "An hour, paced",
    "clients": "Upstream calls of a day of public clients",
}
COLUMNS = [
    Column("calls", "upstream calls"),
    Column("worst_second", "worst second"),
    Column("stale", "stale served"),
    Column("oldest", "oldest, min"),
    Column("slow", "over 30 s"),
    Column("errors", "errors seen"),
    Column("hits", "from cache, %", 1),
]
WORLDLY = [
    Column("calls", "upstream calls"),
    Column("worst_second", "worst second"),
    Column("slow", "over 30 s"),
    Column("errors", "errors seen"),
    Column("wrong", "wrong answers"),
]
"""The columns where the origin has a world, which says what is right and not when an answer was made."""
MOST_FAILED = 0.01
"""Share of a lane's requests: what fails is not called for, or several times."""
MANY = 4
GOALS = {
    ("day", "gateway-unpaced", False): round(1 / 3, 3),
    ("clients", "gateway-derived", False): 0.2,
    ("clients", "gateway-derived", True): 0.25,
}
"""With so many replicas, at most this share of the better peer's calls is aimed at, by variant, contender, and
whether the peer is behind consistent hashing."""


class Spec(NamedTuple):
    """What a lane is to be: so many replicas of a contender, behind a round-robin or consistent hashing."""

    contender: str
    replicas: int
    hashed: bool = False

    @property
    def placed(self) -> str:
        """In words."""
        replicas = f"{self.replicas} replica{'s' if self.replicas > 1 else ''}"
        return f"{replicas}, hashed" if self.hashed else replicas


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a lane came to in one day. ``calls`` and ``worst_second`` are upstream; ``oldest`` is by how many
    minutes of the day an answer was older than its bound; ``errors`` by status, or by what else befell them."""

    spec: Spec
    requests: int
    calls: int
    worst_second: int = 0
    hits: int = 0
    slow: int = 0
    stale: int = 0
    oldest: float = 0.0
    wrong: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Replayed:
    """One day. ``ideal`` are the calls of ideal caches, by what they are; ``idle`` is the share of
    the machine's processors that was; ``late`` the wall seconds by which the latest request was."""

    variant: str
    seed: int
    factor: float
    outcomes: Sequence[Outcome]
    ideal: Mapping[str, int]
    idle: float = 1.0
    late: float = 0.0


def tables(days: Sequence[Replayed]) -> list[Table]:
    """A table for each variant; a sample is one day."""
    return [
        Table(variant, title, " ".join(_about(chosen)), columns_of(variant), list(_rows(chosen)))
        for variant, title in VARIANTS.items()
        if (chosen := [day for day in days if day.variant == variant])
    ]


def columns_of(variant: str) -> list[Column]:
    return WORLDLY if variant == "clients" else COLUMNS


def ratios(days: Sequence[Replayed]) -> list[Ratio]:
    """The gateway's calls over those of the better peer with as many replicas, day by day; then over those of the
    better peer behind consistent hashing."""
    by_name: dict[tuple[str, Spec], list[float]] = {}
    for day in days:
        calls = {each.spec: each.calls for each in day.outcomes}
        for spec, hashed in itertools.product(calls, (False, True)):
            found = (calls.get(Spec(peer, spec.replicas, hashed)) for peer in PEERS)
            peers = [called for called in found if called]
            if peers and spec.contender not in PEERS:
                by_name.setdefault((day.variant, spec._replace(hashed=hashed)), []).append(
                    calls[spec] / min(peers)
                )
    return [_ratio(*key, samples) for key, samples in by_name.items()]


def reload_table(calls: Mapping[int, tuple[int, int]], replicas: int) -> Table:
    """What the saving hangs on: calls of ideal caches, one shared and so many apart, by how many seconds lie
    between two loads of a page that is left open."""
    rows = [
        Row("ideal caches", {"shared": [one], "apart": [many], "ratio": [one / many]}, f"every {seconds} s")
        for seconds, (one, many) in calls.items()
    ]
    columns = [Column("shared", "one, shared"), Column("apart", f"{replicas} apart"), Column("ratio", "ratio", 2)]
    about = (
        "A shared cache saves more, the more often one query comes within a lifetime. By the model, with the same "
        "number of requests a day, and open pages that reload at these intervals:"
    )
    return Table("reloads", "What the saving hangs on", about, columns, rows)


def explained() -> str:
    """What the figures are, in Markdown."""
    bounds = ", ".join(f"{kind} {_duration(seconds)}" for kind, seconds in BOUNDS.items())
    return (
        "Days of traffic, replayed through real processes, all contenders and numbers of replicas at the same "
        "time; request *i* goes to replica *i* mod *n* or, where that is said to be *hashed*, to the replica that "
        "its path and query are hashed to. Time is compressed for all alike: the day's clock, every lifetime, the "
        f"origin's latency; a budget is multiplied. Answers may be as old as the gateway lets them be: {bounds}. "
        "Each replay begins with empty caches; midnight does not fall into one. nginx and Varnish sort "
        "parameters, know closed windows by a regular expression, keep credentials apart, collapse misses, and "
        "serve stale while they refresh. They are not paced, so compare them only with the gateway whose budget "
        "is unlimited. The paced gateway is shown for an hour, less compressed, since pacing by milliseconds "
        "would measure the machine.\n\n"
        "On the day of public clients the origin answers from the sandbox's world, and each answer is compared "
        "with it. The shapes of what such clients ask are known; how often each of them asks is assumed "
        "(`benchmarks/shield/clients.py`). Ideal caches *with rankings* take the totals of single articles from "
        "one ranking for each institution and counter.\n\n"
        "- *Worst second*: the most calls in a second of the day.\n"
        "- *Stale served*: answers older than the bound by more than half a second of real time. (nginx counts "
        "full seconds, and got those whose average is nearest the bound.)\n"
        "- *Oldest*: by how much at most.\n"
        "- *Over 30 s*: answers that took longer than 30 s of the day. This includes pauses of the machine, and "
        f"the work of a storm, whose hundreds of requests in {STORM_SECONDS:g} s of the day come within a "
        "fraction of a real second.\n"
        "- *From cache*: answers that were made before they were asked for.\n"
        "- *Wrong answers*: those that differ from the service's by at least a byte."
    )


def _about(days: Sequence[Replayed]) -> Iterator[str]:
    first = days[0]
    seeds = ", ".join(str(day.seed) for day in days)
    yield (
        f"Seed{'s' if len(days) > 1 else ''} {seeds}; {first.outcomes[0].requests:,} requests, {first.factor:g} "
        f"times as fast: a second of the day is {1_000 / first.factor:.0f} ms, half a second of the wall's clock "
        f"{_duration(0.5 * first.factor)}."
    )
    idle, late = min(day.idle for day in days), max(day.late for day in days)
    yield f"At least {idle:.0%} of the machine's processors were idle; the latest request was {late:.2f} s late."
    if wrong := sum(each.wrong for day in days for each in day.outcomes):
        yield f"{wrong:,} answers were not the service's own to that question and credential: this run is void."
    failed = max((sum(each.errors.values()) / each.requests for day in days for each in day.outcomes), default=0.0)
    if failed > MOST_FAILED:
        yield f"Up to {failed:.0%} of a lane's requests failed, so the calls say nothing: this run is void."


def _rows(days: Sequence[Replayed]) -> Iterator[Row]:
    for spec in dict.fromkeys(each.spec for day in days for each in day.outcomes):
        found = [each for day in days for each in day.outcomes if each.spec == spec]
        samples: dict[str, list[float]] = {
            "calls": [each.calls for each in found],
            "worst_second": [each.worst_second for each in found],
            "stale": [each.stale for each in found],
            "oldest": [each.oldest for each in found],
            "slow": [each.slow for each in found],
            "errors": [sum(each.errors.values()) for each in found],
            "wrong": [each.wrong for each in found],
            "hits": [100 * each.hits / max(1, each.requests) for each in found],
        }
        kinds = sorted({kind for each in found for kind in each.errors})
        note = f"errors: {', '.join(kinds)}" if kinds else ""
        yield Row(CONTENDERS[spec.contender], samples, spec.placed, note)
    for caches in days[0].ideal:
        yield Row(IDEAL, {"calls": [day.ideal[caches] for day in days]}, caches)


def _ratio(variant: str, spec: Spec, samples: list[float]) -> Ratio:
    title = f"{VARIANTS[variant]}: {CONTENDERS[spec.contender]} ÷ the better of nginx and Varnish, {spec.placed}"
    goal = GOALS.get((variant, spec.contender, spec.hashed)) if spec.replicas == MANY else None
    return Ratio(title, samples, goal, at_least=False)


def _duration(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:.0f} s"
