"""The day of public clients has the shapes and the numbers that are said of it, and its answers are compared."""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, date, datetime, time
from pathlib import Path

import pytest

from benchmarks.results import read
from benchmarks.shield import clients
from benchmarks.shield.clients import ClientsDay
from benchmarks.shield.model import calls, calls_by_rankings
from benchmarks.shield.replay import shard
from benchmarks.shield.reports import orders
from benchmarks.shield.tables import CONTENDERS, IDEAL
from benchmarks.shield.traffic import INSTITUTIONS, Kind, Request, Tenant
from benchmarks.shield.world import Oracle, World, mark, own
from gateway.cache.lifetimes import rule_of
from tests.benchmarks.test_shielding import by_lane, here, query_of
from tests.benchmarks.test_smoke import run
from tests.redis_server import RedisServer

TODAY = date(2026, 11, 25)
DAY = ClientsDay(1, TODAY, institutions=1)
ASKED = clients.requests(DAY)
TENANTS = clients.tenants(DAY)
GATEWAY = CONTENDERS["gateway-unpaced"]


# The day


def test_a_seed_makes_one_day_and_an_institution_asks_the_same_however_many_there_are() -> None:
    assert clients.requests(DAY) == ASKED == sorted(ASKED)
    assert clients.requests(ClientsDay(2, TODAY, institutions=1)) != ASKED
    two = clients.requests(ClientsDay(1, TODAY, institutions=2))
    first = [request.target for request in two if request.target.startswith(f"/{INSTITUTIONS[0]}/")]
    assert sorted(first) == sorted(request.target for request in ASKED)
    assert 0 <= ASKED[0].at <= ASKED[-1].at < 86_400


def test_as_many_ask_as_is_said() -> None:
    """Badges, lists of authors and the nightly loop; charts, departments and the monthly loop; maps; tops."""
    by_family = Counter(request.target.split("/")[2] for request in ASKED)
    loads, visits = 5_000, 40
    assert by_family["top"] == 20
    assert 0.9 < by_family["timeline"] / (0.2 * loads * 2 + visits * 4 + 400) < 1.1
    assert visits + 3 * 50 * 3 <= by_family["breakdown"] <= visits + 3 * 50 * 4
    certain = 2 * loads + 6_000 + 5 * 20 * 2
    assert certain + visits * clients.LEAST_ARTICLES <= by_family["total"] <= certain + visits * 60
    public = sum(not TENANTS[request.tenant].usernames for request in ASKED)
    assert loads < public < loads + visits * 60 + 0.1 * loads
    nightly = {r.target for r in ASKED if clients.NIGHT <= r.at < clients.NIGHT + 6_000 and "/shares/" in r.target}
    assert len(nightly) == clients.ARTICLES


@pytest.mark.parametrize("today", [TODAY, date(2026, 3, 1), date(2026, 3, 31), date(2028, 2, 29)], ids=str)
def test_every_query_is_known_and_its_kind_is_the_gateways(today: date) -> None:
    midnight = datetime.combine(today, time(), UTC).timestamp()
    found = {r.target: r for r in clients.requests(ClientsDay(1, today, institutions=1))}.values()
    assert {request.kind for request in found} == set(Kind)
    for request in found:
        query = query_of(request.target)
        assert rule_of(query, midnight).value == rule_of(query, midnight + 86_399).value == request.kind, request
        assert not query.protected or TENANTS[request.tenant].usernames


# The model


def asked(*targets: str, tenant: int = 0) -> list[Request]:
    return [Request(0.0, tenant, target, Kind.TOTALS) for target in targets]


def test_one_ranking_stands_for_the_totals_of_articles_and_for_undated_tops() -> None:
    pair, nobody = Tenant("site", {"x": "x"}), Tenant("public", {})
    ranked = ["/x/total/views/article/1", "/x/total/views/article/2", "/x/top/views/article"]
    others = [
        "/x/total/views/group/1",
        "/x/total/downloads/article/1",
        "/x/top/views/article?count=3",
        "/y/top/views/article",
    ]
    assert calls_by_rankings(asked(*ranked), [pair], public=False) == 1
    assert calls_by_rankings(asked(*ranked, *others), [pair], public=False) == 1 + len(others)
    assert calls_by_rankings(asked(*ranked), [nobody], public=False) == len(ranked)
    both = asked(*ranked) + asked(*ranked, tenant=1)
    assert calls_by_rankings(both, [pair, nobody], public=True) == 1
    assert calls_by_rankings(ASKED, TENANTS, public=True) < calls_by_rankings(ASKED, TENANTS, public=False)
    assert calls_by_rankings(ASKED, TENANTS, public=False) < 0.8 * calls(ASKED, TENANTS, 1)


# The world


def test_an_answer_that_differs_by_a_byte_is_counted() -> None:
    oracle = Oracle(World(1, TODAY, 1))
    place = INSTITUTIONS[0]
    totals, top = f"/{place}/total/views/article/1", f"/{place}/top/views/article?count=3"
    bodies = {target: oracle.answer(target, own(place)) for target in (totals, top)}
    assert {status for status, _ in bodies.values()} == {200}
    right = {(target, mark(body)): 5 for target, (_, body) in bodies.items()}
    assert oracle.wrong(right) == 0
    assert oracle.wrong(right | {(totals, mark(bodies[totals][1] + b"\n")): 2, (top, mark(b"{}")): 1}) == 3
    assert oracle.answer(top, None)[0] == oracle.answer(top, own("nobody"))[0] == 403
    assert oracle.answer("/elsewhere/total/views/article/1", None)[0] == 404


def test_public_clients_and_reports_are_replayed_and_compared(shared_redis: RedisServer, tmp_path: Path) -> None:
    """Nothing expires in a smoke: each cache calls once for each question."""
    file = tmp_path / "result.json"
    words = ("--contenders", "gateway-unpaced,nginx", "--traffic", "clients,reports", "--replicas", "2")
    shown = run("shielding", "--smoke", *words, "--json", str(file))
    found = read(file)
    part = ClientsDay(1, datetime.now(UTC).date(), institutions=1, begin=36_000, end=36_240)
    requests, askers = clients.requests(part), clients.tenants(part)
    assert len(requests) > 100
    shared, apart = calls(requests, askers, 1), calls(requests, askers, 2)
    day, reports = found.tables
    assert by_lane(day, "calls") == here(
        {
            (GATEWAY, "2 replicas"): shared,
            ("nginx", "2 replicas"): apart,
            ("nginx", "2 replicas, hashed"): shared,
            (IDEAL, "1"): shared,
            (IDEAL, "2"): apart,
            (IDEAL, "1, with rankings"): calls_by_rankings(requests, askers, public=False),
            (IDEAL, "1, with rankings, for the public too"): calls_by_rankings(requests, askers, public=True),
        },
        found,
    )
    for column in ("errors", "wrong"):
        assert set(by_lane(day, column).values()) == {0}
    made = f"{GATEWAY}, as a report"
    assert reports.samples("any cache by question", "calls", "totals") == [120]
    # Three rankings, an overview of each of the 40 items, and two of them as totals: so few items are all checked.
    assert reports.samples(made, "calls", "totals")[0] <= 3 + 40 + 6
    assert reports.samples(made, "wrong", "totals") == reports.samples(made, "wrong", "by month") == [0]
    assert re.search(r"hashed +1\.00", shown)


def test_a_report_by_month_is_of_two_whole_years() -> None:
    months = orders(3, date(2026, 1, 15))["by month"]
    assert (months["from"], months["to"]) == ("2024-01", "2025-12")
    assert orders(3, TODAY)["by month"]["from"] == "2024-11"
    assert shard("/a?b=1") == shard("/a?b=1") != shard("/a?b=2")
