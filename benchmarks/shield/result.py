"""Result: what the replays came to, as JSON keeps it, and its rows. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import msgspec

Spread = tuple[float, int, int]
"""The median, the least and the most."""
PEERS = ("nginx", "varnish")
VARIANTS = ("day", "one-spelling", "no-closed")


class Outcome(msgspec.Struct, frozen=True):
    """What a lane came to in one day. ``calls`` and ``worst_second`` are upstream; ``oldest`` is in minutes of the
    day beyond the bound; ``errors`` by status, or by what else befell a request."""

    contender: str
    replicas: int
    requests: int
    calls: int
    worst_second: int
    hits: int
    slow: int
    stale: int
    oldest: float
    wrong: int
    errors: dict[str, int]


class Replayed(msgspec.Struct, frozen=True):
    """One day. ``ideal`` are the calls of ideal caches, by how many share the requests; ``idle`` the share of the
    machine's processors that was idle; ``late`` the wall seconds by which the latest request was late."""

    seed: int
    variant: str
    outcomes: list[Outcome]
    ideal: dict[str, int]
    idle: float
    late: float


class Reload(msgspec.Struct, frozen=True):
    """By the model: how many calls a day takes whose open pages are reloaded every ``seconds``."""

    seconds: int
    shared: int
    apart: int


class Shielding(msgspec.Struct, frozen=True):
    """A whole run. ``reloads`` tell what the saving hangs on; ``replicas`` caches are ``apart`` there."""

    command: str
    date: str
    machine: dict[str, str]
    factor: float
    requests: int
    bounds: dict[str, float]
    skipped: list[str]
    days: list[Replayed]
    replicas: int
    reloads: list[Reload]
    benchmark: str = "shielding"


class Row(msgspec.Struct, frozen=True):
    """A contender in a variant, over the seeds: medians, with the least and the most."""

    contender: str
    replicas: int
    requests: int
    calls: Spread
    worst_second: Spread
    stale: Spread
    slow: Spread
    errors: Spread
    hit_share: float
    oldest: float
    wrong: int
    ratio: float | None
    """Calls, of those of the better of nginx and Varnish at as many replicas."""


def rows(days: Sequence[Replayed]) -> list[Row]:
    """The rows of days of one variant, in the order of the lanes."""
    lanes = dict.fromkeys((each.contender, each.replicas) for day in days for each in day.outcomes)
    by_lane = {
        lane: [each for day in days for each in day.outcomes if (each.contender, each.replicas) == lane]
        for lane in lanes
    }
    calls = {lane: median(each.calls for each in outcomes) for lane, outcomes in by_lane.items()}
    found = []
    for (contender, replicas), outcomes in by_lane.items():
        peers = [calls[peer, replicas] for peer in PEERS if (peer, replicas) in calls]
        found.append(
            Row(
                contender,
                replicas,
                sum(each.requests for each in outcomes) // len(outcomes),
                spread_of([each.calls for each in outcomes]),
                spread_of([each.worst_second for each in outcomes]),
                spread_of([each.stale for each in outcomes]),
                spread_of([each.slow for each in outcomes]),
                spread_of([sum(each.errors.values()) for each in outcomes]),
                sum(each.hits for each in outcomes) / max(1, sum(each.requests for each in outcomes)),
                max(each.oldest for each in outcomes),
                sum(each.wrong for each in outcomes),
                calls[contender, replicas] / min(peers) if peers and min(peers) else None,
            )
        )
    return found


def of_variant(result: Shielding, variant: str) -> list[Replayed]:
    return [day for day in result.days if day.variant == variant]


def spread_of(values: Sequence[int]) -> Spread:
    return median(values), min(values), max(values)
