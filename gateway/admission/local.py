"""LocalLimits: a caller's limits as one process knows them, and its share of them where Redis cannot say. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gateway.admission.grant import DAY, UNSEEN, Grant, Rules, Seen

GRAIN = 1e-6
"""What rounding may take from a whole request."""


@dataclass(frozen=True, slots=True)
class Report:
    """What Redis is told at a time (``at``): the requests granted here that it does not know of (``untold``), of
    these those that the rate has not made good since (``owed``) and those of today (``spent``); and what it said
    last (``seen``)."""

    at: float
    untold: int
    owed: int
    spent: int
    seen: Seen


class LocalLimits:
    """What Redis last said, and what this process granted since.

    Its share is what was left when Redis was heard, and what has come since, divided by the ``fleet``: a request
    costs as many as there are processes. One that never heard has its share of everything. Times are monotonic
    seconds. With the same ``fleet`` everywhere, all shares together are no more than what there was.
    ``whole_at`` is when the fleet's burst is whole again, by what Redis said.
    """

    __slots__ = (
        *("_count", "_midnight", "_others", "_rules", "_seen", "_spent", "_tat", "fleet", "owed", "whole_at"),
    )

    def __init__(self, rules: Rules, midnight: float, fleet: int = 1) -> None:
        self.fleet = fleet
        self.owed = 0
        self._rules = rules
        self.whole_at = self._tat = -math.inf
        self._count = self._spent = self._others = 0
        self._midnight = midnight
        self._seen = UNSEEN

    def charge(self, now: float) -> None:
        """Counts a request that is granted without asking Redis, which is to be told."""
        self._turn(now)
        self._tat = max(self._tat, now) + self._rules.interval * self.fleet
        self._spent += 1
        self.owed += 1

    def take(self, now: float) -> bool:
        """Grants one request of this process's share."""
        granted = max(self.share_waits(now)) <= 0
        if granted:
            self.charge(now)
        return granted

    def share_waits(self, now: float) -> tuple[float, float]:
        """Seconds until this process's share of the rate, and of the day, has a request."""
        self._turn(now)
        rules, fleet = self._rules, self.fleet
        ahead = (max(1, rules.burst // fleet) - 1) * rules.interval * fleet
        rate = self._tat - now - ahead - GRAIN if rules.interval else 0.0
        day_share = math.ceil(max(0, rules.most - self._count - self._others) / fleet)
        return max(0.0, rate), self._midnight - now if rules.most and self._spent >= day_share else 0.0

    def waits(self, now: float) -> tuple[float, float]:
        """Seconds until the fleet's rate, and its day, have a request, as far as is known here."""
        self._turn(now)
        rules = self._rules
        level = max(0.0, self.whole_at - now) + self._undone(now) * rules.interval
        return rules.wait(level, 0, 0.0), rules.wait(0.0, self._count + self._spent, self._midnight - now)

    def left(self, now: float) -> int:
        """What is left of the burst as far as is known here."""
        left = self._rules.burst
        if self.whole_at > now:
            left -= math.ceil((self.whole_at - now) / self._rules.interval - GRAIN)
        if self.owed:
            left -= self._undone(now)
        return left

    def day_left(self, now: float) -> tuple[int, float]:
        """What is left of the day as far as is known here, and seconds to midnight UTC."""
        self._turn(now)
        return self._rules.most - self._count - self._spent, self._midnight - now

    def report(self, now: float) -> Report:
        """What Redis is to be told."""
        self._turn(now)
        return Report(now, self.owed, self._undone(now), self._spent, self._seen)

    def hear(self, report: Report, grant: Grant, now: float, *, first: bool = False) -> int:
        """Notes the answer to a report. What was granted here since is paid from it first; the rest is returned.

        The level is taken for that of the time of asking: were it that of the answer, what came back under way
        would be lost each time, and with a slow Redis that is most. The ``first`` answer of a Redis that is back
        does not yet count what others granted meanwhile, which is supposed to be as much as here.
        """
        self.owed -= report.untold
        paid = min(self.owed, grant.granted)
        self.owed = self._spent = self.owed - paid
        self.whole_at = report.at + (grant.level if self._rules.interval else 0.0)
        tat = self.whole_at + self.owed * self._rules.interval * self.fleet
        self._tat = max(tat, self._tat) if first else tat
        self._others = (self.fleet - 1) * report.spent if first else 0
        self._seen, self._count, self._midnight = grant.seen, grant.seen.count, now + grant.midnight
        return grant.granted - paid

    def _undone(self, now: float) -> int:
        """Of what is owed, the requests that this process's share of the rate has not made good since."""
        if not (self.owed and self._rules.interval):
            return self.owed
        since = (self._tat - max(self.whole_at, now)) / (self._rules.interval * self.fleet)
        return max(0, min(self.owed, math.ceil(since - GRAIN)))

    def _turn(self, now: float) -> None:
        """A new day, where one has begun."""
        if now >= self._midnight:
            self._midnight += ((now - self._midnight) // DAY + 1) * DAY
            self._count = self._spent = self._others = 0
