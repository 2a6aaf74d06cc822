"""Leases of a fleet on one account, whatever becomes of what they ask: a state machine on a clock of its own."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from hypothesis import event, example, given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gateway.tenants.lease import AGAIN, HORIZON, IDLE, PATIENCE, RECHECK, SETTLE, Demand, Lease
from gateway.tenants.ratelimit import Grant, LocalLimits, Rules
from gateway.tenants.tenant import UNLIMITED
from tests.tenants.limits.account import Account

UNIT = 1 / 1_024
"""A second's part, so that floating-point time is exact."""
TIMEOUT = 1.0
"""Seconds after which an exchange is given up, as ``redis_timeout`` has it."""
members = st.integers(0, 3)
FAR: dict[str, Any] = {
    "rules": Rules(0.1, 10, 0),
    "tokens": 2,
    "used": 0,
    "owed": 0,
    "whole_at": 0.0,
    "refused_until": 0.0,
    "alone_until": 0.0,
    "before": True,
}
"""A lease of somebody who is far from the rate."""


def lease_of(rules: Rules, fleet: int = 1, now: float = 0.0) -> Lease:
    return Lease(UNLIMITED, rules, LocalLimits(rules, 1e9, fleet), since=now)


def test_without_tokens_one_goes_on_credit_and_no_more() -> None:
    lease = lease_of(Rules(0.1, 10, 0))
    assert [lease.take(0.0) for _ in range(3)] == [True, False, False]
    assert lease.low(0.0)
    assert lease.demand(0.0, 1).report.owed == 1


@given(
    rules=st.sampled_from([Rules(0.1, 10, 0), Rules(0.1, 10, 1_000), Rules(0.0, 1, 1_000)]),
    tokens=st.integers(0, 12),
    used=st.integers(0, 12),
    owed=st.integers(0, 1),
    whole_at=st.floats(-1.0, 1.0),
    refused_until=st.floats(-1.0, 1.0),
    alone_until=st.floats(-1.0, 1.0),
    before=st.booleans(),
)
@example(**(FAR | {"whole_at": 0.5}))
@example(**(FAR | {"owed": 1}))
@example(**(FAR | {"tokens": 4, "used": 10}))
@example(**FAR)
def test_to_spend_is_to_take_and_be_told_where_no_renewal_is_due(
    rules: Rules,
    tokens: int,
    used: int,
    owed: int,
    whole_at: float,
    refused_until: float,
    alone_until: float,
    before: bool,
) -> None:
    def lease() -> Lease:
        lease = lease_of(rules)
        lease.tokens, lease.used, lease.refused_until, lease.alone_until = tokens, used, refused_until, alone_until
        if before:
            lease.fields(-1.0)
        lease.local.whole_at = whole_at if rules.interval else -1.0
        for _ in range(owed):
            lease.local.charge(0.0)
        return lease

    spent, taken = lease(), lease()
    told = spent.spend(0.0)
    event(f"{'spent' if told else 'not spent'}, {rules}")
    if told is None:
        assert (spent.tokens, spent.used, spent.last) == (tokens, used, 0.0)
        return
    assert taken.take(0.0)
    assert not taken.low(0.0)
    assert taken.fields(0.0) == told
    assert (spent.tokens, spent.used, spent.last) == (taken.tokens, taken.used, taken.last)
    assert spent.local.owed == taken.local.owed


def test_a_lease_is_no_more_than_its_part_of_the_rate() -> None:
    lease, account = lease_of(Rules(0.01, 100, 0)), Account(Rules(0.01, 100, 0))
    lease.used = 10_000
    assert lease.demand(0.0, 1).wanted == 50
    lease.used = 10_000
    demand = lease.demand(0.0, 4)
    assert demand.wanted == 12
    lease.receive(demand, account.apply(demand, 0.0), 0.0)
    assert lease.tokens == 12


def test_a_lease_of_a_day_is_half_a_processs_part_of_what_is_left() -> None:
    rules = Rules(0.0, 1, 1_000)
    lease, account = lease_of(rules), Account(rules)
    lease.used = 10_000
    demand = lease.demand(0.0, 2)
    assert demand.wanted == 250
    lease.receive(demand, account.apply(demand, 0.0), 0.0)
    assert b'"day";r=1000;' in lease.fields(0.0).lines
    lease.tokens, lease.used = 0, 10_000
    assert lease.demand(1.0, 2).wanted == 187


def test_who_was_refused_for_long_asks_again_now_and_then_but_has_no_credit() -> None:
    rules = Rules(0.0, 1, 10)
    lease, account = lease_of(rules), Account(rules)
    taken = account.apply(Demand(10, 0, lease.local.report(0.0)), 0.0)
    demand = lease.demand(0.0, 2)
    lease.receive(demand, account.apply(demand, 0.0), 0.0)
    assert taken.granted == 10
    assert not lease.take(0.0)
    assert not lease.hopeful(RECHECK - 0.1)
    account.apply(Demand(0, 4, lease.local.report(0.0)), 1.0)  # another process gives back
    assert not lease.take(RECHECK)
    assert lease.hopeful(RECHECK)
    lease.used = 10_000
    demand = lease.demand(RECHECK, 2)
    lease.receive(demand, account.apply(demand, RECHECK), RECHECK)
    assert b'"day";r=4;' in lease.fields(RECHECK).lines
    assert lease.take(RECHECK)


def test_what_is_not_likely_to_be_used_soon_is_surplus() -> None:
    """But for a quarter of the largest lease, which may rest."""
    lease = lease_of(Rules(0.01, 100, 0))
    lease.tokens, lease.used, lease.last = 40, 80, IDLE * 3
    assert lease.surplus(IDLE) == 0
    assert lease.surplus(IDLE * 4) == 40 - 20
    assert lease.surplus(IDLE * 4 + 0.1) == 40 - 12
    assert lease.surplus(IDLE * 3 + HORIZON) == 40 - 12
    assert lease.surplus(IDLE * 3 + HORIZON + 0.1) == 40


def test_a_lease_is_for_longer_where_that_is_a_small_part_of_the_largest() -> None:
    rules = Rules(0.001, 1_000, 0)
    for used, wanted in ((2, 8), (20, 80), (50, 125), (400, 200), (4_000, 500)):
        lease = lease_of(rules)
        lease.used = used
        assert lease.demand(1.0, 1).wanted == wanted, used


def test_a_lease_lasts_for_a_renewal_as_slow_as_the_last_within_the_largest() -> None:
    """A quarter of it is left when it falls due: for what is used meanwhile and in an eighth of a second."""
    rules = Rules(0.0001, 10_000, 0)
    for delay, wanted, surplus in ((0.0, 3_000, 3_000), (0.0625, 4_500, 2_500), (1.0, 5_000, 0)):
        lease, account = lease_of(rules), Account(rules)
        lease.due_at, demand = 1.0 - delay, lease.demand(0.0, 1)
        lease.receive(demand, account.apply(demand, 0.0), 1.0)
        lease.used, lease.since = 6_000, 0.0
        assert lease.demand(1.0, 1).wanted == wanted, delay
        lease.tokens, lease.used, lease.since, lease.last = 5_000, 4_000, 0.0, 2.0
        assert lease.surplus(2.0) == surplus, delay


def test_while_redis_is_late_or_gone_the_share_decides_and_every_waiter_is_answered() -> None:
    lease, loop = lease_of(Rules(1.0, 6, 0), fleet=2), asyncio.new_event_loop()
    waiters = [loop.create_future() for _ in range(5)]
    lease.waiting = dict.fromkeys(waiters)
    lease.demand(0.0, 2)
    assert not lease.alone(0.0)
    assert lease.alone(PATIENCE)
    assert lease.take(PATIENCE)
    lease.go_alone(0.5)
    assert [waiter.result() for waiter in waiters] == [True, True, False, False, False]
    assert not lease.take(0.5)
    assert not lease.hopeful(0.5)
    assert lease.waits(0.5)[0] > 1
    assert lease.hopeful(0.5 + AGAIN)
    loop.close()


def test_a_redis_that_is_back_is_told_first_and_asked_once_all_have_told() -> None:
    rules = Rules(1.0, 10, 0)
    lease, account, loop = lease_of(rules, fleet=2), Account(rules), asyncio.new_event_loop()
    lease.go_alone(0.0)
    assert [lease.take(0.0) for _ in range(4)] == [True] * 4
    waiters = [loop.create_future() for _ in range(3)]
    lease.waiting = dict.fromkeys(waiters)
    demand = lease.demand(AGAIN, 2)
    assert (demand.wanted, demand.report.owed) == (0, 4)
    lease.receive(demand, account.apply(demand, AGAIN), AGAIN)
    assert [waiter.result() for waiter in waiters] == [True, False, False]
    assert lease.alone(AGAIN + SETTLE / 2)
    assert not lease.low(AGAIN + SETTLE / 2)
    lease.used = 10_000
    told = lease.demand(AGAIN + SETTLE / 2, 2)  # what it granted meanwhile
    assert (told.wanted, told.report.owed) == (0, 1)
    lease.receive(told, account.apply(told, AGAIN + SETTLE / 2), AGAIN + SETTLE / 2)
    assert lease.alone(AGAIN + SETTLE * 0.9)
    assert not lease.alone(AGAIN + SETTLE)
    lease.waiting = {loop.create_future(): None}
    demand = lease.demand(AGAIN + SETTLE, 2)
    assert (demand.wanted, demand.report.owed) == (1, 0)
    loop.close()


@dataclass
class Member:
    """One process's lease, its exchange under way, and its requests."""

    lease: Lease
    demand: Demand | None = None
    grant: Grant | None = None
    since: float = 0.0
    waiting: list[tuple[float, asyncio.Future[bool]]] = field(default_factory=list)
    admitted: int = 0


class Fleet(RuleBasedStateMachine):
    """Requests come, exchanges set out, arrive, are late or lost, and Redis forgets, in any order."""

    @initialize(
        interval=st.just(0) | st.integers(10, 2_000),
        burst=st.integers(1, 40),
        most=st.just(0) | st.integers(1, 200),
        size=st.integers(1, 4),
    )
    def begin(self, interval: int, burst: int, most: int, size: int) -> None:
        self.loop = asyncio.new_event_loop()
        self.limits = Rules(interval * UNIT, burst, most)
        self.account = Account(self.limits)
        self.members = [Member(lease_of(self.limits, size)) for _ in range(size)]
        self.now = 0.0
        self.alone = self.lost = False
        self.forgotten = 0

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            self.loop.close()

    def member(self, number: int) -> Member:
        return self.members[number % len(self.members)]

    @rule(number=members, times=st.integers(1, 12))
    def requests_come(self, number: int, times: int) -> None:
        member = self.member(number)
        lease = member.lease
        for _ in range(times):
            held, refused = lease.tokens, self.now < lease.refused_until
            if lease.take(self.now):
                assert held or not refused
                member.admitted += 1
            elif lease.hopeful(self.now):
                waiter = self.loop.create_future()
                lease.waiting[waiter] = None
                member.waiting.append((self.now, waiter))
                self._set_out(member)
            if lease.low(self.now):
                self._set_out(member)

    @rule(number=members)
    def what_is_not_used_goes_back(self, number: int) -> None:
        member = self.member(number)
        if member.demand is None and member.lease.surplus(self.now):
            self._set_out(member, returned=member.lease.surplus(self.now))

    @rule(number=members)
    def redis_acts(self, number: int) -> None:
        member = self.member(number)
        if member.demand is not None and member.grant is None:
            member.grant = self.account.apply(member.demand, self.now)

    @rule(number=members)
    def an_answer_comes(self, number: int) -> None:
        member = self.member(number)
        if member.demand is None:
            return
        self.redis_acts(number)
        for _ in range(3):
            assert member.demand is not None
            assert member.grant is not None
            demand, grant, member.demand, member.grant = member.demand, member.grant, None, None
            member.lease.receive(demand, grant, self.now)
            member.lease.task = None
            self._hear_waiters(member)
            if not member.lease.waiting:
                return
            self._set_out(member)
            self.redis_acts(number)
        raise AssertionError("somebody waits on")

    @rule(number=members)
    def an_exchange_fails(self, number: int) -> None:
        member = self.member(number)
        if member.demand is not None:
            self._fail(member)

    @rule()
    def redis_forgets(self) -> None:
        self.account.forget()
        self.forgotten += 1

    @rule(units=st.integers(1, 200) | st.integers(1, 20_000))
    def time_passes(self, units: int) -> None:
        end = self.now + units * UNIT
        while self.now < end:
            steps = [end, *(member.since + TIMEOUT for member in self.members if member.demand is not None)]
            steps += [since + PATIENCE for member in self.members for since, _ in member.waiting]
            self.now = min(step for step in steps if step > self.now)
            for member in self.members:
                self._give_up(member)
                if member.demand is not None and self.now >= member.since + TIMEOUT:
                    self._fail(member)
                self.alone |= member.lease.alone(self.now)

    def _set_out(self, member: Member, returned: int = 0) -> None:
        if member.demand is None:
            assert member.lease.tokens >= returned
            member.demand = member.lease.demand(self.now, len(self.members), returned=returned)
            member.since, member.lease.task = self.now, self._task()

    def _task(self) -> Any:
        return self.loop.create_future()

    def _fail(self, member: Member) -> None:
        self.alone = self.lost = True
        member.demand = member.grant = None
        member.lease.go_alone(self.now)
        member.lease.task = None
        assert not member.lease.waiting
        self._hear_waiters(member)

    def _hear_waiters(self, member: Member) -> None:
        member.admitted += sum(waiter.done() and waiter.result() for _, waiter in member.waiting)
        member.waiting = [(since, waiter) for since, waiter in member.waiting if not waiter.done()]

    def _give_up(self, member: Member) -> None:
        patient = []
        for since, waiter in member.waiting:
            if self.now < since + PATIENCE:
                patient.append((since, waiter))
            else:
                del member.lease.waiting[waiter]
                member.admitted += member.lease.take_alone(self.now)
        member.waiting = patient

    @invariant()
    def what_was_granted_is_known_or_owed(self) -> None:
        """In doubt Redis counts too much, never too little, unless it forgot."""
        if not hasattr(self, "members") or self.forgotten or any(each.demand is not None for each in self.members):
            return
        granted = sum(each.admitted + each.lease.tokens - each.lease.local.owed for each in self.members)
        if self.lost:
            assert granted <= self.account.count
        else:
            assert granted == self.account.count

    @invariant()
    def only_one_goes_on_credit_while_redis_answers(self) -> None:
        if hasattr(self, "members") and not self.alone:
            assert all(each.lease.local.owed <= 1 for each in self.members)

    @invariant()
    def no_more_is_admitted_than_the_bound_says(self) -> None:
        if not hasattr(self, "members"):
            return
        fleet, rules = len(self.members), self.limits
        stale = max(fleet - 1, rules.burst * (fleet - 1) / fleet) if self.alone else 0
        admitted = sum(each.admitted for each in self.members)
        if rules.interval:
            came = (self.now + (TIMEOUT if self.alone else 0)) / rules.interval
            bound = rules.burst * (1 + self.forgotten) + came + fleet + stale
            assert admitted <= bound + 1e-6
        if rules.most:
            stale = rules.most * (fleet - 1) / fleet + fleet if self.alone else 0
            assert admitted <= rules.most * (1 + self.forgotten) + stale + fleet


TestFleet = Fleet.TestCase
