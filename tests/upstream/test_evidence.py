"""What counts as evidence that the service blocks us, whom it concerns, and who finds out whether it still does:
the same for the fleet's in Redis, on memory://, and for a process on its own."""

from __future__ import annotations

import pytest

from gateway.upstream.credential_breaker import (
    ANSWERED,
    FAILED,
    LIMITED,
    NOTHING,
    REFUSED,
    RESET,
    Signal,
    SignalKind,
)
from gateway.upstream.upstream_breaker import ACTIVE, ENOUGH, MEMORY, TOLERATED
from tests.upstream.houses import Flight, House, Query, about, after, out, told, wait

SIGNS = pytest.mark.parametrize("sign", [REFUSED, RESET], ids=["refused", "reset"])
ALL = pytest.mark.parametrize("sign", [REFUSED, RESET, LIMITED], ids=["refused", "reset", "limited"])


def after_refusal(seconds: float) -> Signal:
    return Signal(SignalKind.REFUSED, seconds)


async def honest(house: House, tenant: str = "honest") -> None:
    """Somebody else asks, and is answered."""
    await told(house, ANSWERED, tenant=tenant)


# The target


async def test_a_refused_target_is_not_asked_again_for_a_growing_while(house: House) -> None:
    await honest(house)
    for pause in (100, 200, 350, 350):
        await told(house, REFUSED, target="bad")
        assert await house.set_out(Query(target="bad")) == "TargetRefused"
        assert await house.refused() == 1
        await house.advance(pause - 2)
        assert await house.set_out(Query(target="bad", tenant="another")) == "TargetRefused"
        await house.advance(2.1)
        assert await house.refused() == 0
        await honest(house)
    assert await house.closed_for() == 0


async def test_a_target_that_is_answered_is_as_any_other(house: House) -> None:
    for sign in (REFUSED, REFUSED, ANSWERED, REFUSED):
        await told(house, sign, target="bad")
        await house.advance(99 if sign is ANSWERED else 351)
    assert isinstance(await house.set_out(Query(target="bad")), Flight)


async def test_a_connection_may_break_off_once(house: House) -> None:
    await honest(house)
    await told(house, RESET, target="bad")
    await told(house, RESET, target="bad")
    assert await house.set_out(Query(target="bad")) == "TargetRefused"


async def test_what_is_refused_with_one_credential_is_asked_with_another(house: House) -> None:
    await honest(house)
    await told(house, REFUSED, tenant="wrong", target="same", credential="wrong")
    assert await house.set_out(Query("wrong", target="same", credential="wrong")) == "TargetRefused"
    for credential in ("right", ""):
        assert isinstance(await house.set_out(Query("right", target="same", credential=credential)), Flight)


async def test_a_refusal_is_forgotten_in_time(house: House) -> None:
    await told(house, REFUSED, target="bad")
    await told(house, ANSWERED)
    await house.advance(100 + MEMORY + 1)
    await told(house, REFUSED, target="bad")
    await house.advance(101)
    assert isinstance(await house.set_out(Query(target="bad")), Flight)


# The caller


@SIGNS
async def test_whoever_meets_refusal_after_refusal_is_refused_himself(house: House, sign: Signal) -> None:
    await honest(house)
    for _ in range(TOLERATED):
        await told(house, sign, tenant="bad")
    assert isinstance(await house.set_out(Query("bad")), Flight)
    for pause in (100, 200, 350):
        await told(house, sign, tenant="bad")
        assert await house.set_out(Query("bad")) == "CallerPaused"
        assert isinstance(await house.set_out(Query("honest")), Flight)
        await house.advance(pause + 0.1)


async def test_a_paused_caller_may_ask_something_new_now_and_then_and_an_answer_ends_it(house: House) -> None:
    await honest(house)
    for number in range(TOLERATED + 2):
        await told(house, REFUSED, tenant="unlucky", target=f"bad{number}")
        await house.advance(101 if number == TOLERATED else 0)
    await house.advance(98)
    assert await house.set_out(Query("unlucky")) == "CallerPaused"
    await house.advance(3)
    assert await house.set_out(Query("unlucky", target="bad0")) == "CallerPaused"
    first = await out(house, Query("unlucky"))
    assert await house.set_out(Query("unlucky")) == "CallerPaused"
    await house.land(first, ANSWERED)
    assert isinstance(await house.set_out(Query("unlucky")), Flight)


async def test_what_a_paused_caller_tries_in_vain_is_no_way_round_his_pause(house: House) -> None:
    await honest(house)
    for number in range(TOLERATED + 2):
        await told(house, REFUSED, tenant="bad")
        await house.advance(101 if number == TOLERATED else 0)
    for _ in range(4):
        await house.advance(101)
        await told(house, REFUSED, tenant="bad")
        await house.advance(90)
        assert await house.set_out(Query("bad")) == "CallerPaused"
        assert await house.set_out(Query("bad", caller="bad:another")) != "CallerPaused"


@SIGNS
async def test_an_answer_between_clears_a_caller(house: House, sign: Signal) -> None:
    await honest(house)
    for each in (sign, sign, ANSWERED, sign, sign):
        await told(house, each, tenant="unlucky")
    assert isinstance(await house.set_out(Query("unlucky")), Flight)


async def test_addresses_without_a_key_are_paused_one_by_one(house: House) -> None:
    await honest(house)
    for _ in range(ENOUGH):
        await told(house, REFUSED, tenant="anonymous", caller="anonymous:1")
    assert await house.set_out(Query("anonymous", caller="anonymous:1")) == "CallerPaused"
    assert isinstance(await house.set_out(Query("anonymous", caller="anonymous:2")), Flight)


# The service


@ALL
async def test_one_tenants_evidence_never_stops_another(house: House, sign: Signal) -> None:
    """Whatever it invents: ever new targets, from ever new addresses."""
    await honest(house)
    for address in range(20):
        await told(house, sign, tenant="anonymous", caller=f"anonymous:{address}")
        assert await house.closed_for() == 0
    await honest(house)


@SIGNS
async def test_two_tenants_evidence_closes_it(house: House, sign: Signal) -> None:
    await honest(house, "one")
    await honest(house, "two")
    await told(house, sign, tenant="one")
    await told(house, sign, tenant="one")
    assert await house.closed_for() == 0
    await told(house, sign, tenant="two")
    assert await house.closed_for() == about(100)


@pytest.mark.parametrize("between", [ANSWERED, FAILED])
async def test_evidence_with_an_answer_between_is_none(house: House, between: Signal) -> None:
    signs = (REFUSED, REFUSED, between, REFUSED, RESET, between, RESET, REFUSED)
    for number, sign in enumerate(signs):
        await told(house, sign, tenant=f"tenant{number}")
    assert await house.closed_for() == 0


async def test_a_target_that_is_refused_already_is_no_evidence(house: House) -> None:
    await honest(house)
    for tenant in ("one", "two", "three", "four"):
        await told(house, REFUSED, tenant=tenant, target="bad")
        await house.advance(351)
    await told(house, REFUSED, tenant="five")
    assert await house.closed_for() == 0


async def test_who_asked_long_ago_is_not_active(house: House) -> None:
    await honest(house)
    for _ in range(2):
        await told(house, REFUSED)
    await house.advance(ACTIVE + 1)
    assert await house.closed_for() == 0
    await told(house, REFUSED)
    assert await house.closed_for() == about(100)


@ALL
async def test_what_one_alone_closed_another_may_try_at_once(house: House, sign: Signal) -> None:
    while await house.closed_for() == 0:
        await told(house, sign, tenant="bad")
    await house.advance(101 if sign is not LIMITED else 0)
    theirs = None if sign is LIMITED else await out(house, Query("bad"))
    probe = await out(house, Query("honest"))
    assert await house.set_out(Query("bad")) == "GateClosed"
    if theirs is not None:
        await house.land(theirs, sign)
    await house.land(probe, ANSWERED)
    assert await house.closed_for() == 0
    await honest(house)


async def test_what_one_alone_closed_stays_closed_where_another_meets_the_same(house: House) -> None:
    for _ in range(ENOUGH):
        await told(house, REFUSED, tenant="one")
    await told(house, REFUSED, tenant="two")
    for tenant in ("one", "two", "three"):
        assert await house.set_out(Query(tenant)) == "GateClosed"
    assert await house.closed_for() == about(200)


async def test_an_opening_ends_no_pause_of_whoever_closed_it(house: House) -> None:
    for target in ("bad", "worse", "worst"):
        await told(house, after_refusal(300), tenant="bad", target=target)
    assert await house.closed_for() == about(300)
    await honest(house)
    assert await house.closed_for() == 0
    assert await house.set_out(Query(target="bad")) == "TargetRefused"
    assert await house.set_out(Query("bad")) == "CallerPaused"


async def test_what_others_met_meanwhile_is_forgotten_with_the_block(house: House) -> None:
    early = await out(house, Query("early", target="met"))
    for tenant in ("one", "two", "two"):
        await told(house, REFUSED, tenant=tenant)
    await house.land(early, after_refusal(350))
    assert await house.set_out(Query(target="met")) == "GateClosed"
    await wait(house)
    await told(house, ANSWERED, tenant="three")
    assert isinstance(await house.set_out(Query(target="met")), Flight)


@ALL
@pytest.mark.parametrize("first", [True, False], ids=["keyed-first", "anonymous-first"])
async def test_a_key_and_no_key_are_no_two_witnesses(house: House, sign: Signal, first: bool) -> None:
    """One person may have both."""
    await honest(house)
    for number in range(8):
        if first is (number % 2 == 0):
            await told(house, sign, tenant="bad", caller=f"bad:{number}", credential=f"c{number}")
        else:
            await told(house, sign, tenant="anonymous", caller=f"anonymous:{number}")
        assert await house.closed_for() == 0


@ALL
@pytest.mark.parametrize("tenant", ["anonymous", "keyed"])
async def test_one_callers_evidence_stops_no_other_of_its_tenant(house: House, sign: Signal, tenant: str) -> None:
    good, bad = f"{tenant}:good", f"{tenant}:bad"
    await told(house, ANSWERED, tenant=tenant, caller=good, credential="good")
    for number in range(8):
        flight = await house.set_out(Query(tenant, caller=bad, credential=f"bad{number}"))
        if isinstance(flight, Flight):
            await house.land(flight, sign)
        await told(house, ANSWERED, tenant=tenant, caller=good, credential="good")
        assert await house.closed_for() == 0


@pytest.mark.parametrize("tenant", ["anonymous", "keyed"])
async def test_a_gate_that_one_tenants_callers_closed_lets_each_other_caller_try(
    house: House, tenant: str
) -> None:
    """However many of them there are, and whenever he comes."""
    for _ in range(ENOUGH):
        await told(house, REFUSED, tenant=tenant, caller=f"{tenant}:0")
    for number in range(1, 5):
        assert await house.closed_for() > 0
        await told(house, REFUSED, tenant=tenant, caller=f"{tenant}:{number}")
    assert await house.closed_for() > 0
    for number in range(5):
        assert await house.set_out(Query(tenant, caller=f"{tenant}:{number}")) in {"GateClosed", "CallerPaused"}
    await told(house, ANSWERED, tenant=tenant, caller=f"{tenant}:honest")
    assert await house.closed_for() == 0


# The credential


async def test_a_429_pauses_the_credential_it_was_given_to(house: House) -> None:
    await told(house, ANSWERED, tenant="other", credential="other")
    await told(house, after(200), tenant="one", credential="shared")
    assert await house.closed_for() == 0
    assert await house.set_out(Query("two", credential="shared")) == "SlowedDown"
    await told(house, ANSWERED, tenant="one")
    await told(house, ANSWERED, tenant="other", credential="other")
    await house.advance(201)
    await told(house, ANSWERED, tenant="two", credential="shared")


@pytest.mark.parametrize("second", [{"credential": "b"}, {}], ids=["another-credential", "none"])
@pytest.mark.parametrize("tenants", [("one", "two"), ("same", "same")])
async def test_a_second_429_within_that_time_closes_it_for_the_longest(
    house: House, second: dict[str, str], tenants: tuple[str, str]
) -> None:
    for credential, tenant in zip("ab", tenants, strict=True):
        await told(house, ANSWERED, tenant=tenant, credential=credential)
    await told(house, after(300), tenant=tenants[0], credential="a")
    assert await house.closed_for() == 0
    await house.advance(50)
    await told(house, after(20), tenant=tenants[1], **second)
    assert await house.closed_for() == about(250)


async def test_a_second_429_after_that_time_is_a_first_one(house: House) -> None:
    for name in "ab":
        await told(house, ANSWERED, tenant=name, credential=name)
    await told(house, after(50), tenant="a", credential="a")
    await house.advance(51)
    await told(house, after(50), tenant="b", credential="b")
    assert await house.closed_for() == 0


async def test_one_tenants_429s_with_all_its_credentials_stop_nobody_else(house: House) -> None:
    await honest(house)
    for credential in ("a", "b", "c", ""):
        await told(house, after(300), tenant="bad", credential=credential)
    assert await house.closed_for() == 0
    await honest(house)


@pytest.mark.parametrize("credential", ["only", ""])
async def test_a_429_closes_it_where_one_credential_or_none_is_in_use(house: House, credential: str) -> None:
    await told(house, ANSWERED, credential=credential)
    await told(house, after(200), credential=credential)
    assert await house.closed_for() == about(200)


# The probe


@SIGNS
async def test_who_closed_it_leaves_the_probe_to_others_for_as_long_again(house: House, sign: Signal) -> None:
    for tenant in ("one", "two", "three"):
        await honest(house, tenant)
    for tenant in ("one", "two", "two"):
        await told(house, sign, tenant=tenant)
    await wait(house)
    assert await house.set_out(Query("one")) == "GateClosed"
    assert isinstance(await house.set_out(Query("three")), Flight)


async def test_where_nobody_else_comes_they_probe_themselves(house: House) -> None:
    for tenant in ("one", "two", "three"):
        await honest(house, tenant)
    for tenant in ("one", "two", "two"):
        await told(house, REFUSED, tenant=tenant)
    await house.advance(199)
    assert await house.set_out(Query("one")) == "GateClosed"
    await house.advance(2)
    await told(house, ANSWERED, tenant="one")
    assert await house.closed_for() == 0


async def test_one_tenants_probes_make_the_pause_no_longer_for_others(house: House) -> None:
    for _ in range(ENOUGH):
        await told(house, REFUSED, tenant="bad")
    await told(house, REFUSED, tenant="honest")
    assert await house.closed_for() == about(200)
    await wait(house)
    for _ in range(3):
        await told(house, NOTHING, tenant="other")
        await house.advance(701)
        await told(house, REFUSED, tenant="bad", caller="bad:another")
        assert await house.closed_for() == about(350)
        await wait(house)
