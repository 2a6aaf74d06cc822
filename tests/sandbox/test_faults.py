"""How the sandbox misbehaves when told to: a strict rate, faults, latency, the gate and the plan."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import httpx2 as httpx
import pytest

from gateway.sandbox import Sandbox, create_sandbox
from gateway.sandbox.faults import Fault, Faults, Pacer
from tests.sandbox.asking import client_of, seed_of, until

TARGET = "/total/views/article/23"
BODY = b'{"totals": 231}'
SECONDS = 3_600.0
"""A hold that no test lives to see the end of."""


async def statuses(sandbox: Sandbox, number: int) -> list[int]:
    async with client_of(sandbox) as client:
        return [(await client.get(TARGET)).status_code for _ in range(number)]


class TestRate:
    def test_a_call_too_soon_after_the_last_accepted_one_is_refused(self) -> None:
        pacer = Pacer(2.0)
        times = [0.0, 0.1, 0.474, 0.476, 0.94, 0.952]
        assert [pacer.refusal(now) is None for now in times] == [True, False, False, True, False, True]

    def test_refused_calls_do_not_push_the_next_one_back(self) -> None:
        pacer = Pacer(1.0)
        times = [0.0, 0.9, 0.951]
        assert [pacer.refusal(now) is None for now in times] == [True, False, True]

    @pytest.mark.parametrize(("rate", "retry_after"), [(1.0, "1"), (0.1, "9"), (100.0, "1")])
    def test_a_refusal_says_when_to_come_back_in_whole_seconds(self, rate: float, retry_after: str) -> None:
        pacer = Pacer(rate)
        assert pacer.refusal(0.0) is None
        refusal = pacer.refusal(0.001 / rate + (1.0 if rate == 0.1 else 0.0))
        assert refusal is not None
        assert refusal.headers["Retry-After"] == retry_after

    def test_without_a_rate_nothing_is_too_soon(self) -> None:
        pacer = Pacer(None)
        assert [pacer.refusal(0.0) for _ in range(3)] == [None] * 3

    async def test_the_time_that_counts_is_that_of_the_arrival(self) -> None:
        now = [100.0]
        sandbox = create_sandbox(rate=1.0, monotonic=lambda: now[0])
        async with client_of(sandbox) as client:
            answers = []
            for now[0] in (100.0, 100.5, 100.96):
                answers.append(await client.get(TARGET))
        assert [answer.status_code for answer in answers] == [200, 429, 200]
        assert answers[1].headers["retry-after"] == "1"
        assert answers[1].json() == {"data": None, "code": "TooManyRequests", "message": "Too many requests"}
        assert sandbox.ledger.report()["by_status"] == {"200": 2, "429": 1}


class TestFail:
    def test_faults_strike_their_fraction_of_the_calls_with_every_kind(self) -> None:
        faults = Faults(seed=1, fraction=0.5)
        struck = Counter(faults.next() for _ in range(1_000))
        assert 400 < struck[None] < 600
        assert all(struck[fault] > 50 for fault in Fault)

    def test_the_same_seed_strikes_the_same_calls(self) -> None:
        one, other = Faults(seed=1, fraction=0.5), Faults(seed=1, fraction=0.5)
        assert [one.next() for _ in range(50)] == [other.next() for _ in range(50)]

    async def test_a_fraction_of_nothing_never_fails(self) -> None:
        assert await statuses(create_sandbox(fail=0.0), 50) == [200] * 50

    async def test_a_fraction_of_one_always_fails(self) -> None:
        sandbox = create_sandbox(fail=1.0)
        sandbox.hold_at_most(0.0)
        async with client_of(sandbox) as client:
            answers = [await client.get(TARGET) for _ in range(60)]
        kinds = {(answer.status_code, answer.headers["content-type"].split(";")[0]) for answer in answers}
        assert kinds == {
            (500, "application/json"),
            (503, "application/json"),
            (504, "text/html"),
            (403, "text/html"),
        }

    async def test_a_timeout_is_silence_for_as_long_as_anything_is_held(self) -> None:
        sandbox = create_sandbox(fail=1.0, seed=seed_of(Fault.TIMEOUT))
        sandbox.hold_at_most(SECONDS)
        async with client_of(sandbox) as client:
            call = asyncio.create_task(client.get(TARGET))
            await until(lambda: sandbox.ledger.in_flight == 1)
            assert not call.done()
            sandbox.release()
            assert (await call).status_code == 504


class TestLatency:
    async def test_an_answer_takes_as_long_as_told(self) -> None:
        sandbox = create_sandbox(latency=SECONDS)
        async with client_of(sandbox) as client:
            call = asyncio.create_task(client.get(TARGET))
            await until(lambda: sandbox.ledger.in_flight == 1)
            assert not call.done()
            sandbox.release()
            assert (await call).content == BODY

    async def test_and_no_longer(self) -> None:
        assert await statuses(create_sandbox(latency=0.001), 1) == [200]


class TestGate:
    async def test_a_closed_gate_holds_every_call_and_an_open_one_releases_them_all(self) -> None:
        sandbox = create_sandbox()
        async with client_of(sandbox) as client:
            assert (await client.put("/-/gate")).json() == {"closed": True}
            calls = [asyncio.create_task(client.get(TARGET)) for _ in range(5)]
            await until(lambda: sandbox.ledger.in_flight == 5)
            assert not any(call.done() for call in calls)
            assert (await client.get("/-/gate")).json() == {"closed": True}
            assert (await client.delete("/-/gate")).json() == {"closed": False}
            assert [(await call).content for call in calls] == [BODY] * 5
            assert (await client.get(TARGET)).content == BODY

    async def test_a_gate_that_closes_again_at_once_still_releases_those_who_were_held(self) -> None:
        sandbox = create_sandbox()
        async with client_of(sandbox) as client:
            sandbox.gate.close()
            held = asyncio.create_task(client.get(TARGET))
            await until(lambda: sandbox.ledger.in_flight == 1)
            sandbox.gate.open()
            sandbox.gate.close()
            assert (await held).content == BODY

    async def test_nobody_is_held_longer_than_the_bound(self) -> None:
        sandbox = create_sandbox()
        sandbox.hold_at_most(0.001)
        sandbox.gate.close()
        assert await statuses(sandbox, 1) == [200]

    async def test_who_comes_too_soon_is_refused_at_the_gate(self) -> None:
        sandbox = create_sandbox(rate=1.0, monotonic=lambda: 5.0)
        async with client_of(sandbox) as client:
            sandbox.gate.close()
            first = asyncio.create_task(client.get(TARGET))
            await until(lambda: sandbox.ledger.in_flight == 1)
            assert (await client.get(TARGET)).status_code == 429
            sandbox.gate.open()
            assert (await first).status_code == 200


class TestPlan:
    async def plan(self, client: httpx.AsyncClient, **order: Any) -> httpx.Response:
        return await client.put("/-/plan", json=order)

    async def test_the_next_calls_get_what_was_ordered_and_later_ones_do_not(self) -> None:
        order = {
            "status": 502,
            "body": "<p>é</p>",
            "content_type": "text/html",
            "headers": {"X-Made": "up"},
            "times": 2,
        }
        async with client_of(create_sandbox()) as client:
            assert (await self.plan(client, **order)).json() == {"times": 2}
            answers = [await client.get(TARGET) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [502, 502, 200]
        assert answers[0].content == "<p>é</p>".encode()
        assert answers[0].headers["content-type"] == "text/html"
        assert answers[0].headers["x-made"] == "up"
        assert "x-made" not in answers[2].headers

    async def test_an_order_is_for_one_call_in_the_services_content_type_unless_it_says_otherwise(self) -> None:
        async with client_of(create_sandbox()) as client:
            await self.plan(client, status=500)
            first, second = await client.get(TARGET), await client.get(TARGET)
        assert (first.status_code, first.content, second.status_code) == (500, b"", 200)
        assert first.headers["content-type"] == "application/json; charset=UTF-8"

    async def test_a_plan_comes_into_force_at_the_gate(self) -> None:
        sandbox = create_sandbox()
        async with client_of(sandbox) as client:
            sandbox.gate.close()
            call = asyncio.create_task(client.get(TARGET))
            await until(lambda: sandbox.ledger.in_flight == 1)
            await self.plan(client, status=500)
            sandbox.gate.open()
            assert (await call).status_code == 500
        assert sandbox.ledger.report()["by_status"] == {"500": 1}

    async def test_a_plan_can_be_cancelled(self) -> None:
        async with client_of(create_sandbox()) as client:
            await self.plan(client, status=500, times=9)
            assert (await client.delete("/-/plan")).json() == {"times": 0}
            assert (await client.get(TARGET)).status_code == 200

    @pytest.mark.parametrize(
        "order",
        [b"", b"no", b"[]", b'{"status": 99}', b'{"status": "500"}', b'{"times": 0}', b'{"times": true}',
         b'{"body": 1}', b'{"headers": {"a": 1}}', b'{"colour": "red"}'],
    )  # fmt: skip
    async def test_an_order_that_cannot_be_read_is_refused_and_changes_nothing(self, order: bytes) -> None:
        async with client_of(create_sandbox()) as client:
            refusal = await client.put("/-/plan", content=order)
            assert refusal.status_code == 400
            assert refusal.json()["message"]
            assert (await client.get(TARGET)).content == BODY


@pytest.mark.parametrize(
    "values",
    [{"latency": -1.0}, {"latency": float("nan")}, {"rate": 0.0}, {"rate": float("nan")}, {"fail": 1.1},
     {"fail": float("nan")}],
)  # fmt: skip
def test_values_outside_their_range_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        create_sandbox(**values)
