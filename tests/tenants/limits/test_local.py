"""What one process knows of a limit, and its share of it, against a model in whole numbers."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.tenants.ratelimit import UNSEEN, Grant, LocalLimits, Report, Rules, Seen
from gateway.tenants.tenant import TenantLimits

UNIT = 1_024
"""Of a second, so that floating-point time is exact."""
DAY_UNITS = 86_400 * UNIT


def test_a_burst_is_the_requests_of_one_second_where_nothing_else_is_said() -> None:
    assert Rules.of(TenantLimits(requests_per_second=2.5)).burst == 3
    assert Rules.of(TenantLimits(requests_per_second=0.1)).burst == 1


def test_no_rate_is_too_small_or_too_large_to_count_with() -> None:
    assert Rules.of(TenantLimits(requests_per_second=5e-324)).interval == 1e6
    assert Rules.of(TenantLimits(requests_per_second=1e9)).interval == 1e-6


def taken(local: LocalLimits, now: float, times: int) -> int:
    return sum(local.take(now) for _ in range(times))


def test_a_burst_goes_at_once_and_then_the_rate_holds() -> None:
    local = LocalLimits(Rules(0.5, 4, 0), 1e9)
    assert taken(local, 100.0, 10) == 4
    assert local.share_waits(100.0)[0] == 0.5 - 1e-6
    assert taken(local, 101.0, 10) == 2


def test_a_process_has_its_share_of_what_was_left_when_it_heard() -> None:
    local = LocalLimits(Rules(0.1, 20, 0), 1e9, fleet=4)
    report = local.report(100.0)
    assert local.hear(report, Grant(0, 1.2, 5e4, UNSEEN), 100.0) == 0
    assert taken(local, 100.0, 30) == 2
    assert local.left(100.0) == 20 - 12 - 2


def test_what_was_granted_here_meanwhile_is_paid_from_a_grant() -> None:
    local = LocalLimits(Rules(0.1, 20, 50), 1e9)
    report = local.report(100.0)
    assert taken(local, 100.0, 3) == 3
    assert local.hear(report, Grant(2, 0.2, 5e4, Seen(count=2)), 100.5) == 0
    assert local.owed == 1
    assert local.hear(local.report(100.5), Grant(4, 0.7, 5e4, Seen(count=7)), 100.5) == 4
    assert local.owed == 0
    assert (local.left(100.5), *local.day_left(100.5)) == (13, 43, 5e4)


def test_a_days_rest_is_shared_and_a_new_day_begins_at_midnight() -> None:
    local = LocalLimits(Rules(0.0, 1, 100), 1e9, fleet=4)
    seen = Seen(1, 2, 7, 90)
    local.hear(local.report(0.0), Grant(0, 0.0, 60.0, seen), 0.0)
    assert taken(local, 1.0, 20) == 3
    assert local.share_waits(1.0) == (0.0, 59.0)
    assert taken(local, 60.0, 200) == 25
    assert local.report(60.0) == Report(60.0, 28, 28, 25, seen)


def test_debts_of_a_long_outage_are_made_good_by_time() -> None:
    local = LocalLimits(Rules(0.1, 20, 0), 1e9, fleet=2)
    granted = sum(taken(local, second, 50) for second in range(3_600))
    assert granted == 10 + 3_599 * 5
    report = local.report(3_599.0)
    assert (report.unreported, report.owed) == (granted, 10)
    assert local.report(3_600.0).owed == 5
    assert local.report(3_610.0).owed == 0


def test_the_first_answer_of_a_redis_that_is_back_leaves_the_share_as_it_was() -> None:
    local = LocalLimits(Rules(0.1, 20, 40), 1e9, fleet=2)
    assert taken(local, 100.0, 20) == 10
    report = local.report(100.0)
    assert (report.owed, report.spent) == (10, 10)
    assert local.hear(report, Grant(0, 1.0, 5e4, Seen(count=10)), 100.0, first=True) == 0
    assert local.owed == 0
    assert taken(local, 100.0, 20) == 0
    assert taken(local, 102.0, 20) == 10
    assert local.hear(local.report(102.0), Grant(0, 0.0, 5e4, Seen(count=20)), 102.0) == 0
    assert taken(local, 102.0, 20) == 10


class SharedLimits(RuleBasedStateMachine):
    """The model: leaky buckets in units of time, one of what was heard and one of what was granted here, and
    counts of the day."""

    @initialize(
        interval=st.just(0) | st.integers(5, 5_000),
        burst=st.integers(1, 30),
        most=st.just(0) | st.integers(1, 60),
        fleet=st.integers(1, 5),
        midnight=st.integers(1, DAY_UNITS),
    )
    def begin(self, interval: int, burst: int, most: int, fleet: int, midnight: int) -> None:
        self.now, self.interval, self.burst, self.most, self.fleet = 0, interval, burst, most, fleet
        self.midnight = midnight
        self.heard = self.own = self.count = self.spent = self.unreported = self.others = 0
        self.local = LocalLimits(Rules(interval / UNIT, burst, most), midnight / UNIT, fleet)
        self.report: tuple[Report, int] | None = None

    @property
    def price(self) -> int:
        return self.interval * self.fleet

    def has_one(self) -> bool:
        room = max(1, self.burst // self.fleet) * self.price
        days = -(-max(0, self.most - self.count - self.others) // self.fleet)
        return self.heard + self.own + self.price <= room and (not self.most or self.spent < days)

    @rule(units=st.integers(0, 20_000) | st.integers(0, DAY_UNITS))
    def time_passes(self, units: int) -> None:
        self.now += units
        self.own = max(0, self.own - max(0, units - self.heard))
        self.heard = max(0, self.heard - units)
        if self.now >= self.midnight:
            self.midnight += ((self.now - self.midnight) // DAY_UNITS + 1) * DAY_UNITS
            self.count = self.spent = self.others = 0

    @rule(times=st.integers(1, 10))
    def requests_come(self, times: int) -> None:
        for _ in range(times):
            granted = self.has_one()
            assert self.local.take(self.now / UNIT) == granted
            self._granted(granted)

    @rule()
    def one_goes_on_credit(self) -> None:
        self.local.charge(self.now / UNIT)
        self._granted(True)

    def _granted(self, count: int) -> None:
        self.own += count * self.price
        self.spent += count
        self.unreported += count

    @precondition(lambda self: self.report is None)
    @rule()
    def redis_is_asked(self) -> None:
        report = self.local.report(self.now / UNIT)
        owed = min(self.unreported, -(-self.own // self.price)) if self.interval else self.unreported
        assert (report.unreported, report.owed, report.spent) == (self.unreported, owed, self.spent)
        self.report = report, self.now

    @precondition(lambda self: self.report is not None)
    @rule(granted=st.integers(0, 10), level=st.integers(0, 60_000), count=st.integers(0, 80), first=st.booleans())
    def redis_answers(self, granted: int, level: int, count: int, first: bool) -> None:
        assert self.report is not None
        (report, asked), self.report = self.report, None
        midnight = DAY_UNITS // 2
        grant = Grant(granted, level / UNIT, midnight / UNIT, Seen(count=count))
        since = self.unreported - report.unreported
        paid = min(since, granted)
        assert self.local.hear(report, grant, self.now / UNIT, first=first) == granted - paid
        self.unreported = self.spent = since - paid
        self.count, self.midnight = count, self.now + midnight
        level = level - (self.now - asked) if self.interval else 0
        before = self.heard + self.own
        self.heard = max(0, level)
        self.own = max(0, self.unreported * self.price + min(0, level)) if self.interval else 0
        self.others = (self.fleet - 1) * report.spent if first else 0
        if first:
            self.own = max(self.own, before - self.heard)

    @rule()
    def redis_did_not_answer(self) -> None:
        self.report = None

    @invariant()
    def a_wait_is_as_long_as_it_takes_and_no_longer(self) -> None:
        if not hasattr(self, "local"):
            return
        now = self.now / UNIT
        waits = self.local.share_waits(now)
        assert (max(waits) == 0) == self.has_one()
        assert 0 <= waits[0] <= max(0, self.heard + self.own) / UNIT
        assert waits[1] in (0.0, self.midnight / UNIT - now)
        left, (day_left, midnight) = self.local.left(now), self.local.day_left(now)
        assert self.local.owed == self.unreported
        assert midnight == (self.midnight - self.now) / UNIT
        if self.most:
            assert day_left == self.most - self.count - self.spent
        if self.interval:
            owed = min(self.unreported, -(-self.own // self.price))
            assert left == self.burst - -(-self.heard // self.interval) - owed


TestSharedLimits = SharedLimits.TestCase
