"""The fleet at a glance, as the admin API has it. Times are UTC, durations in seconds."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec

from gateway.observe.counters import Latency, Minute, Today
from gateway.upstream.snapshot import Refused


class Pace(msgspec.Struct, frozen=True):
    """The budget; ``per_second`` is None where it is unlimited."""

    per_second: float | None
    burst: int


class Work(msgspec.Struct, frozen=True):
    """Calls that wait and calls that run; ``by_band`` counts the waiting ones by priority."""

    waiting: int
    running: int
    by_band: dict[str, int]


class Gate(msgspec.Struct, frozen=True):
    """The gate, as the queue's census has it."""

    state: str
    closed_for: float
    held_for: float | None
    why: str = ""


class Redis(msgspec.Struct, frozen=True):
    """Whether Redis answers; ``embedded``: it is in the process itself."""

    status: Literal["ok", "degraded"]
    embedded: bool


class Tenants(msgspec.Struct, frozen=True):
    """The registry, as one process knows it."""

    tenants: int


class Overview(msgspec.Struct, frozen=True):
    """``minutes`` are the last 60, the oldest first, gaps as zeros; ``latency`` is theirs, by outcome.

    ``differing`` names the settings in which processes on one Redis are not alike; ``fleet_size`` is 0 where it is
    unknown. ``refused`` names the first of the ``refused_credentials``.
    """

    version: str
    now: datetime
    processes: int
    minutes: Annotated[list[Minute], msgspec.Meta(min_length=60, max_length=60)]
    today: Today
    latency: dict[str, Latency]
    budget: Pace
    queue: Work
    gate: Gate
    refused_credentials: int
    redis: Redis
    registry: Tenants
    refused_targets: int = 0
    fleet_size: int = 0
    differing: list[str] = []
    refused: tuple[Refused, ...] = ()
