"""Account: what Redis does with what leases tell it, in plain arithmetic: the model of admit.lua."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gateway.tenants.lease import Demand
from gateway.tenants.ratelimit import Grant, Rules, Seen

MICRO = 1_000_000
GRAIN = 1e-4
"""Of a request, what is lost where a model's seconds are told in whole microseconds."""


@dataclass
class Account:
    """One caller's record. ``level`` is the seconds of the rate that are taken at ``at``; there is but one day.

    ``told_level`` and ``told_count`` are the most that it was told of earlier records, and that it counts.
    """

    rules: Rules
    day: int = 1
    midnight: float = 1e9
    level: float = 0.0
    at: float = 0.0
    count: int = 0
    born: int = 1
    told_level: float = 0.0
    told_count: int = 0

    def apply(self, demand: Demand, now: float) -> Grant:
        """The answer to a demand."""
        rules, report, back = self.rules, demand.report, demand.returned
        level, count, granted = max(0.0, self.level - (now - self.at)), self.count, demand.wanted
        told_level = max(0.0, self.told_level - (now - self.at))
        if report.seen.born != self.born:
            seen = min(report.seen.tat / MICRO - now, rules.burst * rules.interval)
            level += max(0.0, seen - told_level)
            self.told_level = max(told_level, seen)
            if report.seen.day == self.day:
                count += max(0, report.seen.count - self.told_count)
                self.told_count = max(self.told_count, report.seen.count)
        else:
            self.told_level = told_level
        count = max(0, count + report.spent - back)
        if rules.interval:
            level = max(0.0, level + (report.owed - back) * rules.interval)
            granted = max(0, min(granted, math.floor(rules.burst - level / rules.interval + GRAIN)))
        if rules.most:
            granted = max(0, min(granted, rules.most - count))
        level += granted * rules.interval
        self.level, self.at, self.count = level, now, count + granted
        return Grant(granted, level, self.midnight - now, Seen(self.born, self.tat, self.day, self.count))

    @property
    def tat(self) -> int:
        return round((self.at + self.level) * MICRO)

    def forget(self) -> None:
        """As a Redis that was restarted does."""
        self.level, self.count, self.born = 0.0, 0, self.born + 1
        self.told_level, self.told_count = 0.0, 0
