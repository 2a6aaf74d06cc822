"""Prepared answers are for everybody who may have them, whatever inert headers they send, and for nobody else."""

from __future__ import annotations

import ast
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import gateway
from gateway.observe.tracing import Tracing
from gateway.proxy.callers import FORWARDED
from gateway.proxy.request import Request
from gateway.server.fast_path import FastPath
from gateway.server.request_key import COUNTED, LOCATING
from gateway.tenants.tenant import Pair
from tests.integration.house import FakeClock, House, housed
from tests.integration.stage import Stage, staged

NOW = datetime(2031, 5, 20, 12, tzinfo=UTC).timestamp()
WINDOW = "?start_date=2014-01-01&end_date=2014-03-31"
CLOSED = f"/lboro/timeline/month/views/article/23{WINDOW}"
OPEN = "/total/views/article/23"
SETTINGS: dict[str, Any] = {
    "allow_anonymous": True,
    "anonymous_requests_per_second": 500.0,
    "anonymous_burst": 1_000,
    "invalid_keys_per_minute": 0,
    "public_hosts": ["gateway.test"],
    "trusted_proxies": ["127.0.0.1"],
    "log_hits": 0,
    "otlp_endpoint": "",
}


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged("--no-examples") as stage:
        for name, institution in (("reports", "lboro"), ("papers", "lboro"), ("others", "monash")):
            stage.tenant(name, institution)
        stage.registry().change("papers", origins=["https://papers.example"], lifetimes={"totals": 300.0})
        stage.registry().change("others", networks=["192.0.2.0/24"])
        yield stage


@pytest.fixture
async def house(stage: Stage) -> AsyncIterator[House]:
    async with housed(stage, FakeClock(NOW), **SETTINGS) as house:
        yield house


def lane(house: House) -> FastPath:
    return house.app.public.fast_path


def kept(house: House) -> int:
    """The number of answers."""
    return sum(len(known.answers) for known in lane(house).prepared.questions.values())


async def taught(house: House, target: str, key: str = "", **headers: str) -> None:
    for _ in range(3):
        await house.get(target, key, **headers)


async def comes_by_the_lane(house: House, target: str, key: str = "", **headers: str) -> Any:
    before = lane(house).served
    answer = await house.get(target, key, **headers)
    assert lane(house).served == before + 1
    return answer


async def goes_its_way(house: House, target: str, key: str = "", **headers: str) -> Any:
    before = lane(house).served
    answer = await house.get(target, key, **headers)
    assert lane(house).served == before
    return answer


async def test_inert_headers_with_other_values_each_time_are_the_same_request(house: House, stage: Stage) -> None:
    key = stage.keys["reports"]
    await taught(house, CLOSED, key)
    for number in range(5):
        headers = {"x_request_id": f"id-{number}", "user_agent": f"agent {number}", "cookie": f"a={number}"}
        headers |= {
            "x_forwarded_for": f"203.0.113.{number}",
            "forwarded": f"for={number}",
            "via": f"1.1 p{number}",
        }
        headers |= {"traceparent": f"00-{number:032x}-{1:016x}-01", "sec_fetch_site": "cross-site"}
        answer = await comes_by_the_lane(house, CLOSED, key, **headers)
        assert answer.headers["x-request-id"] == f"id-{number}"


async def test_many_callers_share_one_answer(house: House, stage: Stage) -> None:
    await taught(house, OPEN, stage.keys["reports"])
    await taught(house, CLOSED, stage.keys["reports"])
    before = kept(house)
    registry = stage.registry()
    for number in range(20):
        key = registry.add_key("reports", label=str(number))
        house.resolver.profile.registry.refresh()  # type: ignore[attr-defined]
        await house.get(OPEN, key)  # by which the key is known
        for target in (OPEN, CLOSED):
            await comes_by_the_lane(house, target, key, user_agent=str(number))
    assert kept(house) == before
    assert len(lane(house).prepared.callers) >= 20


async def test_what_one_institution_may_see_is_not_shown_to_another(house: House, stage: Stage) -> None:
    mine, other = stage.keys["reports"], stage.keys["others"]
    await taught(house, CLOSED, mine)
    await taught(house, OPEN, other)
    await comes_by_the_lane(house, OPEN, other)
    assert (await goes_its_way(house, CLOSED, other)).status_code == 403
    assert (await goes_its_way(house, CLOSED, other + "x")).status_code == 401
    assert (await goes_its_way(house, CLOSED)).status_code == 401
    assert (await comes_by_the_lane(house, CLOSED, mine)).status_code == 200


async def test_what_a_credential_brought_is_for_its_holders_alone(house: House, stage: Stage) -> None:
    target, bodies = "/lboro/total/views/article/99", {"reports": '{"totals": 1}', "others": '{"totals": 2}'}
    for tenant, body in bodies.items():  # both may ask, one with a credential of that institution
        stage.plan(body=body, times=1)
        await taught(house, target, stage.keys[tenant])
    for tenant, body in bodies.items():
        assert (await comes_by_the_lane(house, target, stage.keys[tenant])).text == body


async def test_tenants_with_terms_of_their_own_get_their_own_answers(house: House, stage: Stage) -> None:
    page = {"origin": "https://papers.example"}
    for tenant in ("reports", "papers"):
        await taught(house, OPEN, stage.keys[tenant], **page)
    plain = await comes_by_the_lane(house, OPEN, stage.keys["reports"], **page)
    special = await comes_by_the_lane(house, OPEN, stage.keys["papers"], **page)
    assert "access-control-allow-origin" not in plain.headers
    assert special.headers["access-control-allow-origin"] == page["origin"]
    assert plain.headers["cache-status"].endswith("; ttl=600")
    assert special.headers["cache-status"].endswith("; ttl=300")


async def test_a_caller_without_a_key_is_known_by_its_address_behind_the_proxy(house: House) -> None:
    first, second = {"x_forwarded_for": "203.0.113.1"}, {"x_forwarded_for": "203.0.113.2"}
    await taught(house, OPEN, **first)
    await comes_by_the_lane(house, OPEN, user_agent="another", **first)
    await goes_its_way(house, OPEN, **second)
    await taught(house, OPEN, **second)
    await comes_by_the_lane(house, OPEN, **second)
    assert set(lane(house)._admission._leases) >= {f"anonymous:203.0.113.{number}" for number in (1, 2)}


async def test_callers_without_a_key_that_come_once_are_not_remembered(house: House) -> None:
    await taught(house, OPEN, x_forwarded_for="198.51.100.1")
    before = len(lane(house).prepared.callers)
    for number in range(2, 12):
        await goes_its_way(house, OPEN, x_forwarded_for=f"198.51.100.{number}")
    assert len(lane(house).prepared.callers) == before


async def test_a_network_opens_only_what_comes_from_it(house: House) -> None:
    target = f"/monash/timeline/month/views/article/23{WINDOW}"
    inside, outside = {"x_forwarded_for": "192.0.2.7"}, {"x_forwarded_for": "203.0.113.7"}
    await taught(house, target, **inside)
    assert (await comes_by_the_lane(house, target, cookie="a=1", **inside)).status_code == 200
    for more in (outside, {}, inside | {"via": "1.1 squid"}, inside | {"sec_fetch_site": "cross-site"}):
        assert (await goes_its_way(house, target, **more)).status_code == 401


async def test_an_unknown_endpoint_has_no_lane(house: House, stage: Stage) -> None:
    for _ in range(4):
        await goes_its_way(house, "/nothing/of/the/sort", stage.keys["reports"])


async def test_the_least_recently_used_answer_leaves_first(stage: Stage) -> None:
    clock, key = FakeClock(NOW), stage.keys["reports"]
    async with housed(stage, clock, log_hits=0, prepared_max_bytes=16_000) as house:
        await taught(house, OPEN, key)
        for number in range(8):
            clock.time += 1
            await comes_by_the_lane(house, OPEN, key)
            await taught(house, f"/total/views/article/{number}", key)
        assert lane(house).prepared.bytes <= 16_000
        assert kept(house) < 8


@pytest.mark.parametrize("sample", [0.0, 1.0])
async def test_only_requests_whose_trace_is_recorded_go_their_way(stage: Stage, sample: float) -> None:
    exporter, key = InMemorySpanExporter(), stage.keys["reports"]
    async with housed(stage, FakeClock(NOW), log_hits=0) as house:
        house.app.public.fast_path._access_log.tracing = Tracing(SimpleSpanProcessor(exporter), sample=sample)
        await taught(house, OPEN, key)
        ids = (f"00-{number:032x}-{1:016x}" for number in count(1))
        await comes_by_the_lane(house, OPEN, key, traceparent=f"{next(ids)}-00")
        recorded, odd = f"{next(ids)}-01", "00-0-0-00"
        exporter.clear()
        await goes_its_way(house, OPEN, key, traceparent=recorded)
        assert f"{exporter.get_finished_spans()[-1].context.trace_id:032x}" == recorded[3:35]
        exporter.clear()
        await goes_its_way(house, OPEN, key, traceparent=odd)
        await (goes_its_way if sample else comes_by_the_lane)(house, OPEN, key)
        assert bool(exporter.get_finished_spans()) is bool(sample)


class Name(bytes):
    """A header's name that notes when somebody asks whether it is the one."""

    read = False

    def __eq__(self, other: object) -> bool:
        self.read |= (same := bytes(self) == other)
        return same

    __hash__ = bytes.__hash__

    def startswith(self, *given: Any) -> bool:
        self.read |= (begins := bytes(self).startswith(*given))
        return begins


def names() -> list[bytes]:
    """All that may be a header's name in the gateway's source."""
    sources = [each.read_text() for each in Path(gateway.__file__).parent.rglob("*.py")]
    nodes = [each for text in sources for each in ast.walk(ast.parse(text))]
    constants = {each.value for each in nodes if isinstance(each, ast.Constant) and isinstance(each.value, bytes)}
    return sorted(each for each in constants if each.replace(b"-", b"").isalnum() and each.islower())


async def test_no_header_that_is_read_on_the_way_of_a_hit_is_inert(house: House, stage: Stage) -> None:
    async def nothing(*_: Any) -> Any:
        return {"type": "http.request"}

    async def is_read(name: bytes, *others: tuple[bytes, bytes], peer: str = "127.0.0.1") -> bool:
        spied = Name(name)
        scope: dict[str, Any] = {"type": "http", "http_version": "1.1", "method": "GET", "client": (peer, 1)}
        scope |= {"raw_path": OPEN.encode(), "path": OPEN, "query_string": b""}
        scope |= {"headers": [(b"host", b"gateway.test"), *others, (spied, b"0")]}
        await lane(house).proxy.serve(Request.of(scope, nothing), scope, nothing)
        return spied.read

    await taught(house, OPEN, stage.keys["reports"])
    key = (b"x-api-key", stage.keys["papers"].encode())
    with_key = {name for name in names() if await is_read(name, key)}
    behind = (b"x-forwarded-for", b"192.0.2.7")
    without = {name for name in names() if await is_read(name, behind) or await is_read(name, peer="192.0.2.7")}
    assert with_key >= {
        b"x-request-id",
        b"authorization",
        b"range",
        b"cache-control",
        b"content-length",
        b"origin",
    }
    assert with_key <= COUNTED
    assert without >= {b"via", b"cf-connecting-ip", b"x-forwarded"}
    assert {name for name in without if not name.startswith(FORWARDED)} <= COUNTED | LOCATING


async def test_an_edit_of_the_registry_shows_at_once_whoever_asks(house: House, stage: Stage) -> None:
    registry = stage.registry()
    registry.add("leaving", "leaving", Pair("lboro", "lboro", "sandbox-lboro"))
    key = registry.add_key("leaving")
    followed = house.resolver.profile.registry  # type: ignore[attr-defined]
    followed.refresh()
    await taught(house, CLOSED, key)
    await comes_by_the_lane(house, CLOSED, key)
    registry.remove("leaving", "lboro")
    followed.refresh()
    assert (await goes_its_way(house, CLOSED, key)).status_code == 403
    registry.remove("leaving")
    followed.refresh()
    assert (await goes_its_way(house, CLOSED, key)).status_code == 401
