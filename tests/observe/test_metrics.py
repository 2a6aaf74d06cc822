"""Metrics: names, bounds, and that the documentation is about them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from gateway.observe.metrics import MOST_TENANTS, Metrics, TenantNames
from tests.integration.crowd import Client
from tests.integration.stage import Stage, get, staged, until
from tests.observe.exposition import answered, series, used
from tests.promtool import promtool
from tests.redis_server import RedisServer

DOCS = Path(__file__).parents[2] / "docs"
RULES = Path(__file__).parents[2] / "helm" / "stats-gateway" / "files" / "alerts.rules.yml"
RESULTS = {f"{number}xx" for number in range(1, 6)}
ROW = re.compile(r"^\| `(stats_gateway_\w+)` \| (\w+) \|([\w, ]*)\|[^|]*\|([\w, ]*)\|$", re.MULTILINE)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture(scope="module")
def stage(shared_redis: RedisServer) -> Iterator[Stage]:
    with staged("--no-examples", redis_url=shared_redis.url, redis_prefix="metrics", budget="unlimited") as stage:
        stage.tenant("reports", "lboro")
        yield stage


def test_the_first_tenants_keep_their_names_and_the_others_share_one(metrics: Metrics) -> None:
    for number in range(MOST_TENANTS * 2):
        answered(metrics, f"tenant-{number}")
        metrics.upstream_call("2xx", f"tenant-{number}", 0.001)
    counted = [labels for name, labels in series(metrics.render().decode()) if name.endswith("requests_total")]
    assert len(counted) == MOST_TENANTS + 1
    text = metrics.render().decode()
    assert f'tenant="other"}} {MOST_TENANTS}.0' in text
    assert 'tenant="tenant-0"} 1.0' in text


def test_a_name_once_given_stays() -> None:
    names = TenantNames(most=2)
    assert [names.label(name) for name in ("a", "b", "c", "a", "b")] == ["a", "b", "other", "a", "b"]


def test_a_total_follows_what_grows_elsewhere(metrics: Metrics) -> None:
    for value in (3, 3, 5):
        metrics.evictions.reached(value)
    assert "stats_gateway_near_cache_evictions_total 5.0" in metrics.render().decode()


def test_time_without_redis_adds_up(metrics: Metrics) -> None:
    metrics.passed(1.5, degraded=True)
    metrics.passed(10.0, degraded=False)
    assert "stats_gateway_degraded_seconds_total 1.5" in metrics.render().decode()


def test_the_table_in_the_documentation_is_about_what_is_there(metrics: Metrics) -> None:
    used(metrics)
    there = {
        (family.name + "_total" * (family.type == "counter"), family.type)
        for family in text_string_to_metric_families(metrics.render().decode())
        if family.name.startswith("stats_gateway_") and not family.name.endswith("_created")
    }
    rows = ROW.findall((DOCS / "metrics.md").read_text())
    assert {(name, kind) for name, kind, *_ in rows} == there
    labels = {
        name: sorted(set(sample.labels) - {"le"})
        for family in text_string_to_metric_families(metrics.render().decode())
        for name in [family.name + "_total" * (family.type == "counter")]
        for sample in family.samples[:1]
    }
    for name, _, named, _ in rows:
        assert sorted(re.findall(r"\w+", named)) == labels[name], name


def test_the_alerts_read_what_is_there_and_the_documentation_names_them(metrics: Metrics) -> None:
    used(metrics)
    names = {name for name, _ in series(metrics.render().decode())}
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    alerts = {rule["alert"]: set(re.findall(r"stats_gateway_\w+", rule["expr"])) for rule in group["rules"]}
    for alert, read in alerts.items():
        assert read <= names, alert
    rows = ROW.findall((DOCS / "metrics.md").read_text())
    assert {alert for *_, told in rows for alert in re.findall(r"\w+", told)} == set(alerts)
    for name, _, _, told in rows:
        for alert in re.findall(r"\w+", told):
            assert any(name in each for each in alerts[alert]), (name, alert)


def test_promtool_takes_the_alerts() -> None:
    assert "SUCCESS" in promtool("check", "rules", str(RULES))


def test_promtool_finds_nothing_to_complain_of(stage: Stage) -> None:
    gateway = stage.serve()
    key = {"X-API-Key": stage.keys["reports"]}
    for target in ("/total/views/article/987", "/total/views/article/987", "/total/hugs/article/1", "/%zz"):
        get(gateway.url + target, headers=key)
    text = get(f"http://127.0.0.1:{gateway.admin_port}/metrics").content
    assert b'stats_gateway_requests_total{family="totals",outcome="hit",status="200",tenant="reports"} 1.0' in text
    assert promtool("check", "metrics", given=text) == ""


def test_two_workers_are_told_of_together_and_as_promtool_likes_it(stage: Stage) -> None:
    gateway = stage.serve(workers=2)
    for number in range(8):
        get(f"{gateway.url}/total/views/article/{number}", headers={"X-API-Key": stage.keys["reports"]})
    until(lambda: gateway.metric("stats_gateway_requests_total") == 8)  # the other worker tells once a second
    assert gateway.metric("stats_gateway_build_info") == 1
    until(lambda: gateway.metric("stats_gateway_fleet_processes") >= 2)
    text = get(f"http://127.0.0.1:{gateway.admin_port}/metrics").content
    assert promtool("check", "metrics", given=text) == ""


async def test_no_client_makes_series_without_bound(stage: Stage) -> None:
    """What differs from request to request never becomes a label: paths, items, parameters, keys, methods, ids."""
    gateway = stage.serve()
    key = stage.keys["reports"]

    async def asked(target: str, key: str = key, **headers: str) -> None:
        await Client(gateway.port, target, key, headers).ask()

    async def hostile(round: int) -> None:
        for number in range(round * 50, round * 50 + 50):
            await asked(f"/total/views/article/{number}")
            await asked(f"/lboro/timeline/day/views/article/{number}?start_date=2014-01-01&x{number}=1")
            await asked(f"/unknown-{number}/{number}")
            await asked(f"/total/{number}/article/1?_={number}")
            await asked("/total/views/article/1", key=f"sgw_aaaaaaaaaa_{number}")
            await asked(f"/total/views/article/{number}", **{"X-Request-ID": f"id-{number}"})

    def seen() -> set[tuple[str, tuple[tuple[str, str], ...]]]:
        return series(get(f"http://127.0.0.1:{gateway.admin_port}/metrics").text)

    await hostile(0)
    once = seen()
    await hostile(1)
    assert seen() == once
    told = {value for _, labels in once for name, value in labels if name not in ("le", "status", "version")}
    assert not any(character.isdigit() for value in told - RESULTS for character in value), told
