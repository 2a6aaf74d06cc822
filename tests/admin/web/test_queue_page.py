"""The Queue page on a real gateway and a real Redis: what waits, gate and credentials, and what can be done."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx2 as httpx
import pytest

from tests.admin.web.reader import Reader, Sheet
from tests.admin.web.visitor import SETTINGS, TOKEN, WATCHING
from tests.cli.command import command
from tests.integration.stage import Stage, get, staged, until
from tests.redis_server import RedisServer

LBORO = "/lboro/timeline/day/views/article/{}?start_date=2014-01-01&end_date=2014-03-01"


@pytest.fixture(scope="module")
def stage(shared_redis: RedisServer) -> Iterator[Stage]:
    """A gateway on a budget that begins empty: whatever is asked waits."""
    settings = {"redis_url": shared_redis.url, "redis_prefix": "queuepage", "budget": "1/h", "budget_burst": "1"}
    settings["caller_timeout"] = "60"
    with staged(**settings, **SETTINGS) as stage:
        stage.tenant("reports", "lboro")
        stage.serve()
        yield stage


@pytest.fixture(scope="module")
def visitor(stage: Stage) -> Iterator[Reader]:
    with Reader(admin(stage), TOKEN) as visitor:
        yield visitor


def admin(stage: Stage) -> str:
    return f"http://127.0.0.1:{stage.gateways[0].admin_port}"


def ask(stage: Stage, article: int) -> httpx.Response:
    url = stage.gateways[0].url + LBORO.format(article)
    return get(url, headers={"X-API-Key": stage.keys["reports"]})


def waiting(visitor: Reader) -> list[str]:
    """The ids of the calls that can be cancelled."""
    return [each["value"] for each in visitor.see("/queue").all("input", name="call")]


def test_what_waits_is_shown_and_cancelled_one_by_one_and_by_tenant(stage: Stage, visitor: Reader) -> None:
    with ThreadPoolExecutor(4) as clients:
        asked = [clients.submit(ask, stage, article) for article in (11, 12, 13, 14)]
        until(lambda: len(waiting(visitor)) == 4)
        page = visitor.see("/queue")
        assert page.dangers() == []
        assert "4 calls: 4 for people" in page.text
        with Reader(admin(stage), WATCHING) as watcher:
            seen = watcher.see("/queue")
            assert ("4 calls" in seen.text, seen.all("input", name="call")) == (True, [])
        one, other = waiting(visitor)[:2]
        assert "Cancelled 1 call." in visitor.follow(visitor.send("/queue/cancel", call=one)).text
        assert Sheet(visitor.send("/queue/cancel", call=one)).status == 404
        place = {"STATS_GATEWAY_ADMIN_URL": admin(stage), "STATS_GATEWAY_ADMIN_TOKEN": TOKEN}
        assert other in command("queue", **place).out  # type: ignore[arg-type]
        assert command("queue", "--cancel", other, **place).err == "Cancelled 1 call.\n"  # type: ignore[arg-type]
        assert "Cancelled 2 calls." in visitor.follow(visitor.send("/queue/cancel", tenant="reports")).text
        answers = [each.result(60) for each in asked]
    assert [(each.status_code, each.headers["retry-after"]) for each in answers] == [(503, "60")] * 4
    assert {each.json()["message"] for each in answers} == {"An operator took this request out of the queue."}
    assert waiting(visitor) == []


def test_the_gate_is_held_and_resumed_and_the_overview_leads_there(stage: Stage, visitor: Reader) -> None:
    held = visitor.follow(visitor.send("/queue/gate", do="hold"))
    assert "The gate is held" in held.text
    assert "not until the gate is resumed" in held.text
    assert "/queue" in [each["href"] for each in visitor.see("/").all("a") if "class" not in each][1:]
    assert Sheet(visitor.send("/queue/gate", do="slam")).status == 400
    assert "The gate is open again." in visitor.follow(visitor.send("/queue/gate", do="resume")).text


def test_a_credential_is_held_from_its_tenants_page_and_resumed_from_the_queue(
    stage: Stage, visitor: Reader
) -> None:
    tenant = visitor.see("/tenants/reports")
    (fingerprint,) = [each["value"] for each in tenant.all("input", name="fingerprint")]
    form = {"fingerprint": fingerprint, "tenant": "reports"}
    after = visitor.follow(visitor.send("/queue/credential", do="hold", **form))
    assert ("not used" in after.text, after.all("input", name="fingerprint")) == (True, [])
    assert "lboro (reports)" in visitor.see("/queue").text
    assert "An operator holds the credential for lboro (reports)." in visitor.see("/").text
    again = visitor.follow(visitor.send("/queue/credential", do="resume", fingerprint=fingerprint))
    assert "All credentials may be used." in again.text


def test_a_page_that_is_not_there_has_the_navigation_for_whoever_is_signed_in(
    stage: Stage, visitor: Reader
) -> None:
    lost = visitor.see("/nothing")
    assert (lost.status, "/tenants" in lost.links) == (404, True)
    stranger = Sheet(get(f"{admin(stage)}/nothing", headers={"Accept": "text/html"}))
    assert (stranger.status, "/tenants" in stranger.links) == (404, False)
