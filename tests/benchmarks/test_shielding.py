"""The shielding day is what it says, and its replay counts right; how long anything takes is nobody's affair."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.contenders.template import settled
from benchmarks.results import Results, Table, as_text, cells, read
from benchmarks.shield.model import calls, meaning, spelling
from benchmarks.shield.replay import shard
from benchmarks.shield.tables import CONTENDERS, IDEAL, Outcome, Replayed, Spec, explained, ratios, tables
from benchmarks.shield.traffic import INSTITUTIONS, Day, Kind, Request, Tenant, requests, tenants
from gateway.cache.lifetimes import rule_of
from gateway.catalogue.endpoints import recognise
from gateway.catalogue.query import Query
from tests.benchmarks.test_bench import of
from tests.benchmarks.test_smoke import run
from tests.integration.stage import until
from tests.redis_server import RedisServer

COMMAND = [sys.executable, "-m", "benchmarks.shielding"]
GATEWAY = CONTENDERS["gateway-unpaced"]
DAY = Day(1, date(2026, 11, 25), 20_000)
ASKED = requests(DAY)
DATES = [date(2026, 1, 1), date(2026, 3, 2), date(2026, 3, 3), date(2026, 3, 4), date(2028, 2, 29), DAY.today]


def query_of(target: str) -> Query:
    path, _, query = target.partition("?")
    return recognise(path.encode(), query.encode())


# The day


def test_a_seed_makes_one_day_and_another_seed_another() -> None:
    assert requests(DAY) == ASKED
    assert requests(Day(2, DAY.today, 20_000)) != ASKED
    assert len(ASKED) == 20_000
    assert sorted(ASKED) == ASKED
    assert 0 <= ASKED[0].at <= ASKED[-1].at < 86_400


def test_a_part_of_a_day_is_cut_out_of_it() -> None:
    part = requests(Day(1, DAY.today, 20_000, begin=36_000, end=39_600))
    assert [request[1:] for request in part] == [r[1:] for r in ASKED if 36_000 <= r.at < 39_600]
    assert 0 <= part[0].at <= part[-1].at < 3_600


def test_at_most_a_tenth_is_permuted_and_at_most_a_fifth_rests_on_the_default_window() -> None:
    plain = {request.target for request in requests(Day(1, DAY.today, 20_000, respelt=False))}
    counted = Counter(
        "permuted" if request.target.replace("&count=10", "") not in plain else "plain" for request in ASKED
    )
    assert 0 < counted["permuted"] <= 0.1 * len(ASKED)
    default = sum(query_of(request.target).rests_on_today for request in ASKED)
    assert 0 < default <= 0.2 * len(ASKED)


def test_every_kind_of_tenant_asks_and_every_query_is_known() -> None:
    asking = {tenants()[request.tenant].name for request in ASKED}
    assert {"consortium", "portal"} < asking
    assert len(asking) > len(INSTITUTIONS)
    for request in set(ASKED):
        query = query_of(request.target)
        assert query.family != "unknown"
        assert not query.protected or query.institution in tenants()[request.tenant].usernames


def test_some_questions_are_asked_by_dozens_within_seconds() -> None:
    by_minute = Counter((int(request.at // 60), meaning(request.target)) for request in ASKED)
    assert by_minute.most_common(1)[0][1] >= 24


@pytest.mark.parametrize("today", DATES, ids=str)
def test_kinds_are_what_the_gateway_and_the_peers_take_them_for(today: date) -> None:
    closed_dates = re.compile(rf"[?&]end_date=(?:{settled(today)})(?:&|$)")
    midnight = datetime.combine(today, time(), UTC).timestamp()
    for request in {r.target: r for r in requests(Day(1, today, 5_000))}.values():
        assert rule_of(query_of(request.target), midnight).value == request.kind
        assert rule_of(query_of(request.target), midnight + 86_399).value == request.kind
        assert bool(closed_dates.search(request.target)) == (request.kind is Kind.CLOSED)


def test_a_day_can_do_without_closed_windows_and_without_other_spellings() -> None:
    opened = requests(Day(1, DAY.today, 20_000, closed=False))
    assert [request[:2] for request in opened] == [request[:2] for request in ASKED]
    assert Kind.CLOSED in {request.kind for request in ASKED}
    assert {request.kind for request in opened} == {Kind.OPEN, Kind.TOTALS}
    same = requests(Day(1, DAY.today, 20_000, respelt=False))
    assert [meaning(request.target) for request in same] == [meaning(request.target) for request in ASKED]
    plain = {request.target for request in same}
    assert len(plain) == len({meaning(target) for target in plain})
    assert len({request.target for request in ASKED}) > len({meaning(request.target) for request in ASKED})


# The model


def test_meanings_and_spellings() -> None:
    assert spelling("/a?c=1&b=2") == spelling("/a?b=2&c=1") == "/a?b=2&c=1"
    assert meaning("/a?count=10&b=2") == meaning("/a?b=2")
    assert meaning("/a?count=100") != meaning("/a")
    assert meaning("/a") != meaning("/b")


def test_meanings_are_the_gateways() -> None:
    ours: dict[bytes, set[str]] = {}
    for request in ASKED:
        ours.setdefault(query_of(request.target).canonical, set()).add(meaning(request.target))
    assert all(len(meanings) == 1 for meanings in ours.values())
    assert len(ours) == len({meaning(request.target) for request in ASKED})


def test_an_ideal_cache_calls_once_in_a_lifetime_for_each_credential() -> None:
    askers = [Tenant("one", {"x": "one"}), Tenant("other", {"x": "other"}), Tenant("same", {"x": "one"})]

    def asked(*moments: tuple[float, int]) -> list[Request]:
        return [Request(at, tenant, "/x/total/views/article/1", Kind.TOTALS) for at, tenant in moments]

    assert calls(asked((0, 0), (599, 0), (600, 0)), askers, 1) == 2
    assert calls(asked((0, 0), (1, 1), (2, 2)), askers, 1) == 2
    assert calls(asked((0, 0), (1, 0), (2, 0), (3, 0)), askers, 2) == 2


# The tables


def day(seed: int, *outcomes: Outcome, variant: str = "day", idle: float = 0.5) -> Replayed:
    return Replayed(variant, seed, 171, outcomes, {"1": 9, "4": 30}, idle)


def outcome(contender: str, replicas: int, called: int, *, hashed: bool = False, **more: Any) -> Outcome:
    return Outcome(Spec(contender, replicas, hashed), 1_000, called, hits=800, **more)


def test_a_ratio_is_of_the_better_peer_at_as_many_replicas() -> None:
    days = [
        day(seed, outcome("gateway-unpaced", 4, 10 * seed), outcome("nginx", 4, 60), outcome("varnish", 4, 50))
        for seed in (1, 2)
    ]
    (ratio,) = ratios(days)
    assert ratio.name.startswith("Upstream calls of a day: gateway, budget unlimited ÷")
    assert ratio.samples == [0.2, 0.4]
    assert (ratio.goal, ratio.met) == (0.333, True)
    assert ratios([day(1, outcome("gateway-unpaced", 4, 10), outcome("nginx", 1, 60))]) == []
    (one,) = ratios([day(1, outcome("gateway-unpaced", 1, 10), outcome("nginx", 1, 40))])
    assert (one.samples, one.goal) == ([0.25], None)


def test_peers_behind_consistent_hashing_are_compared_by_themselves() -> None:
    peers = [outcome("nginx", 4, 60), outcome("nginx", 4, 20, hashed=True), outcome("varnish", 4, 40, hashed=True)]
    apart, hashed = ratios([day(1, outcome("gateway-unpaced", 4, 10), *peers)])
    assert (apart.samples, hashed.samples) == ([10 / 60], [0.5])
    assert hashed.name.endswith("4 replicas, hashed")
    assert (apart.goal, hashed.goal) == (0.333, None)


def test_each_variant_has_a_table_and_each_lane_a_row() -> None:
    first = day(
        1, outcome("gateway-unpaced", 1, 1_234, stale=2), outcome("nginx", 4, 2_468, errors={"503": 1, "429": 2})
    )
    other = day(1, outcome("gateway-unpaced", 1, 99), variant="no-closed")
    whole, opened = tables([first, other, first])
    assert whole.samples(GATEWAY, "calls", "1 replica") == [1_234, 1_234]
    assert whole.samples("nginx", "errors", "4 replicas") == [3, 3]
    assert whole.samples(GATEWAY, "hits", "1 replica") == [80, 80]
    assert whole.samples(IDEAL, "calls", "4") == [30, 30]
    assert opened.samples(GATEWAY, "calls", "1 replica") == [99]
    assert "open 15 min" in explained()
    assert "171 times as fast" in whole.about
    assert "void" not in whole.about
    assert "1,234" in as_text(cells(whole))


def test_a_table_tells_what_voids_it() -> None:
    (table,) = tables([day(1, outcome("gateway-unpaced", 1, 1_234, wrong=3))])
    assert "3 answers were not the service's own to that question and credential: this run is void." in table.about
    (worldly,) = tables([day(1, outcome("gateway-unpaced", 1, 1_234, wrong=3), variant="clients")])
    assert worldly.samples(GATEWAY, "wrong", "1 replica") == [3]
    assert "void" in worldly.about
    (failing,) = tables([day(1, outcome("nginx", 1, 1_234, errors={"504": 20}))])
    assert "Up to 2% of a lane's requests failed, so the calls say nothing: this run is void." in failing.about
    (fine,) = tables([day(1, outcome("nginx", 1, 1_234, errors={"504": 10}))])
    assert "void" not in fine.about


# The replay


def test_a_replay_counts_what_each_contender_calls(shared_redis: RedisServer, tmp_path: Path) -> None:
    """Nothing expires in a smoke: each cache calls once for each question that it tells apart from others."""
    file = tmp_path / "result.json"
    words = ("--contenders", "gateway-unpaced,gateway,nginx,varnish", "--replicas", "2", "--traffic", "dashboards")
    shown = run("shielding", "--smoke", *words, "--json", str(file))
    found = read(file)
    asked = requests(Day(1, datetime.now(UTC).date(), begin=36_000, end=36_240))
    assert len(asked) > 100
    shared, apart, spelt, hashed = (
        calls(asked, tenants(), *options)
        for options in ((1,), (2,), (2, spelling), (1, lambda target: f"{shard(target) % 2} {spelling(target)}"))
    )
    at_two = {"gateway": shared, "gateway-unpaced": shared, "nginx": spelt, "varnish": spelt}
    expected = {(CONTENDERS[name], "2 replicas"): count for name, count in at_two.items()}
    expected |= {(IDEAL, "1"): shared, (IDEAL, "2"): apart}
    behind = {(CONTENDERS[name], "2 replicas, hashed"): hashed for name in ("nginx", "varnish")}
    day, paced, _ = found.tables
    assert by_lane(day, "calls") == here(expected | behind, found, without="gateway")
    assert by_lane(paced, "calls") == here(expected, found)
    for table in (day, paced):
        assert "void" not in table.about
        assert set(by_lane(table, "errors").values()) <= {0}
        for row in table.rows:
            assert row.samples.get("hits", [0])[0] <= 100 * (1 - row.samples["calls"][0] / len(asked)), row
    assert GATEWAY in shown


def by_lane(table: Table, column: str) -> dict[tuple[str, str], float]:
    return {(row.contender, row.case): row.samples[column][0] for row in table.rows if column in row.samples}


def here(
    expected: Mapping[tuple[str, str], float], found: Results, without: str = ""
) -> dict[tuple[str, str], float]:
    """What is expected of the contenders that there are here."""
    gone = {CONTENDERS[name] for name in (*found.skipped, without) if name}
    return {lane: count for lane, count in expected.items() if lane[0] not in gone}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_being_told_to_end_ends_everything_that_was_started(
    shared_redis: RedisServer, number: int, tmp_path: Path
) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    words = [*COMMAND, "--smoke", "--contenders", "gateway-unpaced,nginx", "--replicas", "1"]
    words += ["--traffic", "dashboards"]
    with subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        said = "".join(iter(lambda: running.stderr.read(1), "%"))  # type: ignore[union-attr]
        assert len(of(tmp_path, "benchmarks.shielding")) >= 3
        running.send_signal(number)
        said += running.communicate(timeout=60)[1]
    assert running.returncode == 130, said
    assert "Traceback" not in said
    until(lambda: not of(tmp_path, "benchmarks.shielding"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--contenders", "apache"], "'apache' is not one of gateway"),
        (["--seeds", "0"], "must be above 0"),
        (["--factor", "slow"], "'slow' is no number"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(words: list[str], said: str) -> None:
    done = subprocess.run([*COMMAND, *words], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
