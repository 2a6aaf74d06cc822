"""What the sandbox tells about how it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from gateway.sandbox import create_sandbox
from gateway.sandbox.app import REMEMBERED, Ledger
from tests.sandbox.asking import client_of, until

KEYS = ["total", "by_path", "by_status", "max_in_flight", "min_gap_seconds"]
EMPTY = {"total": 0, "by_path": {}, "by_status": {}, "max_in_flight": 0, "min_gap_seconds": None}


def ticking(*times: float) -> Callable[[], float]:
    """A clock that shows one time after the other."""
    left = iter(times)
    return lambda: next(left)


async def test_nothing_is_counted_before_anything_is_asked() -> None:
    async with client_of(create_sandbox()) as client:
        report = (await client.get("/-/calls")).json()
    assert {key: report[key] for key in KEYS} == EMPTY
    assert list(report)[:5] == KEYS


async def test_calls_are_counted_by_path_and_status_with_their_smallest_gap() -> None:
    # the clock is read once per request, the controls' included
    async with client_of(create_sandbox(monotonic=ticking(10.0, 12.5, 13.0, 20.0, 21.0))) as client:
        for target in (
            "/total/views/article/1?a=1",
            "/total/views/article/1",
            "/nowhere",
            "/lboro/top/views/group",
        ):
            await client.get(target)
        report = (await client.get("/-/calls")).json()
    assert report["total"] == 4
    assert report["by_path"] == {"/total/views/article/1": 2, "/nowhere": 1, "/lboro/top/views/group": 1}
    assert report["by_status"] == {"200": 2, "404": 1, "403": 1}
    assert report["min_gap_seconds"] == 0.5
    assert report["max_in_flight"] == 1
    assert report["in_flight"] == 0
    assert report["arrivals"] == [10.0, 12.5, 13.0, 20.0]
    assert report["targets"][:2] == ["/total/views/article/1?a=1", "/total/views/article/1"]


async def test_paths_are_counted_as_they_were_written() -> None:
    async with client_of(create_sandbox()) as client:
        await client.get("/total/views/%61rticle/1")
        report = (await client.get("/-/calls")).json()
    assert report["by_path"] == {"/total/views/%61rticle/1": 1}


async def test_calls_in_flight_are_counted_while_they_last() -> None:
    sandbox = create_sandbox()
    async with client_of(sandbox) as client, asyncio.TaskGroup() as group:
        await client.put("/-/gate")
        for number in range(3):
            group.create_task(client.get(f"/total/views/article/{number}"))
        await until(lambda: sandbox.ledger.in_flight == 3)
        report = (await client.get("/-/calls")).json()
        assert (report["in_flight"], report["max_in_flight"], report["by_status"]) == (3, 3, {})
        await client.delete("/-/gate")
    assert sandbox.ledger.report()["by_status"] == {"200": 3}
    assert sandbox.ledger.in_flight == 0


async def test_a_reset_starts_from_nothing_but_for_what_is_in_flight() -> None:
    sandbox = create_sandbox()
    async with client_of(sandbox) as client, asyncio.TaskGroup() as group:
        await client.get("/total/views/article/1")
        await client.put("/-/gate")
        group.create_task(client.get("/total/views/article/2"))
        await until(lambda: sandbox.ledger.in_flight == 1)
        report = (await client.delete("/-/calls")).json()
        assert {key: report[key] for key in KEYS} == EMPTY | {"max_in_flight": 1}
        await client.delete("/-/gate")
    # an answer counts where its arrival did, so the numbers of one tally always agree
    assert sandbox.ledger.report()["by_status"] == {}


async def test_a_call_that_is_cancelled_is_no_longer_in_flight() -> None:
    sandbox = create_sandbox()
    async with client_of(sandbox) as client:
        await client.put("/-/gate")
        call = asyncio.create_task(client.get("/total/views/article/1"))
        await until(lambda: sandbox.ledger.in_flight == 1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert sandbox.ledger.in_flight == 0


@pytest.mark.parametrize("control", ["/-/calls", "/-/gate", "/-/plan", "/-/nothing"])
async def test_the_controls_are_neither_counted_nor_paced_nor_failed(control: str) -> None:
    sandbox = create_sandbox(rate=0.001, fail=1.0, latency=3_600, monotonic=lambda: 5.0)
    async with client_of(sandbox) as client:
        statuses = [(await client.get(control)).status_code for _ in range(3)]
    assert statuses == [404 if control == "/-/nothing" else 200] * 3
    assert sandbox.ledger.report()["total"] == 0


def test_only_the_latest_arrivals_are_kept_one_by_one() -> None:
    ledger = Ledger()
    for now in range(REMEMBERED + 1):
        with ledger.call("/", "/", float(now)):
            pass
    report = ledger.report()
    assert report["total"] == REMEMBERED + 1
    assert len(report["arrivals"]) == len(report["targets"]) == REMEMBERED
    assert report["arrivals"][0] == 1.0
