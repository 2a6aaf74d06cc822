"""What the gateway is compared with is configured to do the same: isolation, sorting, lifetimes, one call."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import httpx2 as httpx
import pytest

from benchmarks.contenders.contender import Contender
from benchmarks.contenders.nginx import Nginx
from benchmarks.contenders.process import Running
from benchmarks.contenders.setup import Lifetimes, Setup, with_many_tenants, with_tenants
from benchmarks.contenders.template import dates_before
from benchmarks.contenders.varnish import Varnish
from tests.integration.stage import Stage, staged, until
from tests.loopback import LOOPBACK

CACHES: list[Contender] = [Nginx(), Nginx(sorts=True), Varnish()]
SORTING: list[Contender] = [Nginx(sorts=True), Varnish()]
LIFETIMES = Lifetimes()
PROTECTED = "/lboro/timeline/day/views/article/7?start_date=2014-01-01&end_date=2014-03-01"


@contextmanager
def standing(
    contender: Contender, tmp_path: Path, lifetimes: Lifetimes = LIFETIMES
) -> Iterator[tuple[Running, Setup, Stage]]:
    """The contender in front of a sandbox of its own; two tenants hold lboro's pair, one monash's."""
    if missing := contender.missing():
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    holders = with_tenants(tmp_path, {"one": ["lboro"], "two": ["lboro"], "other": ["monash"]})
    with staged() as stage:
        setup = Setup(tmp_path, stage.sandbox.port, holders, lifetimes=lifetimes)
        with contender.started(setup) as running:
            stage.reset_calls()
            yield running, setup, stage


def get(running: Running, target: str, key: str) -> httpx.Response:
    return httpx.get(running.url + target, headers={"X-API-Key": key}, timeout=40, **LOOPBACK)


def of(contenders: list[Contender]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("contender", contenders, ids=[each.name for each in contenders])


@of(CACHES)
def test_a_contender_isolates_as_the_gateway_does(contender: Contender, tmp_path: Path) -> None:
    with standing(contender, tmp_path) as (running, setup, stage):
        one, two, other = (holder.key for holder in setup.holders)
        assert get(running, PROTECTED, one).status_code == 200
        assert get(running, PROTECTED, two).status_code == 200
        assert stage.calls()["total"] == 1, "equal pairs share"
        assert get(running, PROTECTED, other).status_code == 403
        assert get(running, PROTECTED, "sgw_nobody").status_code == 401
        assert stage.calls()["total"] == 2
        assert get(running, "/total/views/article/23", one).json() == {"totals": 231}
        assert get(running, "/total/views/article/23", other).json() == {"totals": 231}
        assert stage.calls()["total"] == 3, "what needs no pair is everybody's"


def test_varnish_knows_many_keys_apart(tmp_path: Path) -> None:
    """They are looked for by halves."""
    varnish = Varnish()
    if missing := varnish.missing():
        pytest.skip(missing)
    holders = with_many_tenants(tmp_path, 60)
    with staged() as stage, varnish.started(Setup(tmp_path, stage.sandbox.port, holders)) as running:
        for holder in holders:
            assert get(running, PROTECTED, holder.key).status_code == 200
        assert get(running, PROTECTED, holders[0].key[:-1]).status_code == 401
        assert stage.calls()["total"] == 1


@of(SORTING)
def test_a_contender_that_sorts_takes_two_spellings_for_one(contender: Contender, tmp_path: Path) -> None:
    with standing(contender, tmp_path) as (running, setup, stage):
        key = setup.holders[0].key
        path, _, query = PROTECTED.partition("?")
        first, last = query.split("&")
        answers = [get(running, f"{path}?{spelling}", key) for spelling in (f"{first}&{last}", f"{last}&{first}")]
        assert answers[0].content == answers[1].content
        assert stage.calls()["total"] == 1


@of(CACHES)
def test_a_contender_makes_one_call_for_many_who_ask_at_once(contender: Contender, tmp_path: Path) -> None:
    with standing(contender, tmp_path) as (running, setup, stage), ThreadPoolExecutor(20) as pool:
        key = setup.holders[0].key
        stage.close_gate()
        waiting = [pool.submit(get, running, PROTECTED, key) for _ in range(20)]
        until(lambda: stage.calls()["total"] >= 1)
        stage.open_gate()
        assert {each.result().status_code for each in waiting} == {200}
        assert stage.calls()["total"] == 1


@of(CACHES)
def test_a_contender_keeps_what_is_closed_and_asks_again_for_all_else(
    contender: Contender, tmp_path: Path
) -> None:
    today = datetime.now(UTC).date()
    lately = today - timedelta(days=9)
    kept = [
        "/timeline/day/views/article/1?start_date=2014-01-01&end_date=2014-03-01",
        f"/timeline/day/views/article/2?end_date={lately}&start_date=2014-01-01",
        "/top/views/article?start_date=2014-01-01&end_date=2014-03-01&sub_item=category",
    ]
    renewed = [
        f"/timeline/day/views/article/4?start_date=2014-01-01&end_date={today}",
        "/breakdown/day/views/article/5?start_date=2014-01-01",
        "/total/views/article/6",
    ]
    soon = Lifetimes(open=1, totals=1)
    with standing(contender, tmp_path, soon) as (running, setup, stage):
        key = setup.holders[0].key
        for target in (*kept, *renewed):
            get(running, target, key)
        for target in renewed:
            path = target.partition("?")[0]

            def asked_again(target: str = target, path: str = path) -> bool:
                get(running, target, key)
                return bool(stage.calls()["by_path"][path] > 1)

            until(asked_again)
        for target in kept:
            get(running, target, key)
        calls = stage.calls()["by_path"]
        assert [calls[target.partition("?")[0]] for target in kept] == [1, 1, 1]


@pytest.mark.parametrize(
    "day", ["2026-01-01", "2026-01-31", "2026-03-01", "2026-12-31", "2024-02-29", "2025-10-10"]
)
def test_dates_before_a_day_are_those(day: str) -> None:
    wanted = date.fromisoformat(day)
    pattern = re.compile(dates_before(wanted))
    for number in range(-800, 800):
        each = wanted + timedelta(days=number)
        assert bool(pattern.fullmatch(each.isoformat())) == (each < wanted)
