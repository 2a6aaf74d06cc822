"""The alerts and the dashboard: queries that Prometheus reads, of metrics that there are, about what they say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.observe.metrics import Metrics
from tests.helm.alert_cases import CASES, Case, Series
from tests.helm.chart import CHART, manifests, one, rendered
from tests.observe.exposition import series, used
from tests.promtool import promtool

RULES = CHART / "files" / "alerts.rules.yml"
OURS = 'namespace="stats",job="gw-stats-gateway-admin"'
ANOTHERS = 'namespace="trial",job="gw-stats-gateway-admin"'
SCRAPED = {"namespace", "job", "instance", "pod"}
"""Labels that come with the scraping."""
GIVEN = {"$__rate_interval": "5m", "$namespace": "stats", "$job": ".*", "$tenant": "reports|other"}


def rules(groups: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


@pytest.fixture(scope="module")
def file_rules() -> dict[str, dict[str, Any]]:
    """As they are in the file."""
    return rules(yaml.safe_load(RULES.read_text())["groups"])


@pytest.fixture(scope="module")
def chart_rules() -> dict[str, dict[str, Any]]:
    """As the chart installs them."""
    return rules(one(rendered("everything"), "PrometheusRule")["spec"]["groups"])


def labelled(given: Series, labels: str) -> Series:
    """The same series of a release whose scraping adds these labels."""
    return {
        (name.replace("{", f"{{{labels},", 1) if "{" in name else f"{name}{{{labels}}}"): values
        for name, values in given.items()
    }


def ask(
    case: Case, rule: dict[str, Any], groups: Path, given: Series, folder: Path, *, fires: bool = True
) -> None:
    """Has promtool evaluate a case. The alert as it should come is the rule's own, with its labels and texts."""
    alert = {"exp_labels": rule["labels"], "exp_annotations": rule["annotations"]}
    told = {minute: [alert] if fires else [] for minute in case.fires} | {minute: [] for minute in case.quiet}
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in given.items()],
        "alert_rule_test": [
            {"eval_time": f"{minute}m", "alertname": case.alert, "exp_alerts": expected}
            for minute, expected in told.items()
        ],
    }
    path = folder / "test.yml"
    path.write_text(yaml.safe_dump({"rule_files": [str(groups)], "evaluation_interval": "1m", "tests": [test]}))
    assert "SUCCESS" in promtool("test", "rules", str(path))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.alert}: {case.what}")
def test_alerts_fire_when_they_should_and_only_then(
    case: Case, file_rules: dict[str, dict[str, Any]], chart_rules: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    ask(case, file_rules[case.alert], RULES, case.series, tmp_path)
    installed = tmp_path / "installed.yml"
    installed.write_text(yaml.safe_dump(one(rendered("everything"), "PrometheusRule")["spec"]))
    ask(case, chart_rules[case.alert], installed, labelled(case.series, OURS), tmp_path)
    ask(case, chart_rules[case.alert], installed, labelled(case.series, ANOTHERS), tmp_path, fires=False)


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not(
    file_rules: dict[str, dict[str, Any]], chart_rules: dict[str, dict[str, Any]]
) -> None:
    assert {case.alert for case in CASES if case.fires} == set(file_rules) == set(chart_rules)
    assert {case.alert for case in CASES if not case.fires} == set(file_rules)


def test_the_chart_installs_the_documented_alerts_about_this_release(
    file_rules: dict[str, dict[str, Any]], chart_rules: dict[str, dict[str, Any]]
) -> None:
    for name, rule in chart_rules.items():
        expr = rule["expr"]
        assert expr.count(OURS) == len(re.findall("stats_gateway_", expr)), "every metric is this release's"
        bare = re.sub(r"\{\}", "", expr.replace(f"{OURS},", "").replace(OURS, ""))
        assert bare.split() == file_rules[name]["expr"].split()
        assert {**rule, "expr": ""} == {**file_rules[name], "expr": ""}


def test_a_selector_of_ones_own_is_used() -> None:
    values = "metrics: {prometheusRule: {enabled: true, selector: 'cluster=\"west\"'}}"
    made = rules(one(manifests(values), "PrometheusRule")["spec"]["groups"])
    assert made["StatsGatewayGateClosed"]["expr"] == 'max(stats_gateway_gate_closed_seconds{cluster="west"}) > 0'


def dashboard() -> dict[str, Any]:
    """As the chart installs it."""
    data = one(rendered("everything"), "ConfigMap", "gw-stats-gateway-dashboard")["data"]
    found: dict[str, Any] = json.loads(data["stats-gateway.json"])
    return found


def queries() -> dict[str, str]:
    """The dashboard's queries, variables substituted, by panel."""
    found = {}
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", []):
            expr = target["expr"]
            for name, value in GIVEN.items():
                expr = expr.replace(name, value)
            found[f"{panel['title']} {target['refId']}"] = expr
    return found


def test_the_dashboard_is_a_configmap_that_grafanas_sidecar_finds() -> None:
    metadata = one(rendered("everything"), "ConfigMap", "gw-stats-gateway-dashboard")["metadata"]
    assert metadata["labels"]["grafana_dashboard"] == "1"
    assert metadata["annotations"] == {"folder": "Statistics"}
    assert dashboard() == json.loads((CHART / "files" / "dashboard.json").read_text())


def test_promtool_reads_every_query_of_the_dashboard(tmp_path: Path) -> None:
    recorded = [{"record": f"q{number}", "expr": expr} for number, expr in enumerate(queries().values())]
    assert len(recorded) > 30
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": recorded}]}))
    assert f"SUCCESS: {len(recorded)} rules found" in promtool("check", "rules", str(path))


def test_no_variable_is_left_or_unknown() -> None:
    variables = {f"${each['name']}" for each in dashboard()["templating"]["list"]}
    assert variables == {"$datasource", "$namespace", "$job", "$tenant"}
    for name, expr in queries().items():
        assert "$" not in expr, name


def has() -> dict[str, set[str]]:
    """Every series that ``/metrics`` has, by name, with its labels."""
    metrics = Metrics()
    used(metrics)
    found: dict[str, set[str]] = {}
    for name, labels in series(metrics.render().decode()):
        found.setdefault(name, set()).update(label for label, _ in labels)
    return found


def test_alerts_and_dashboard_read_what_metrics_really_has(chart_rules: dict[str, dict[str, Any]]) -> None:
    there = has()
    asked = queries() | {name: rule["expr"] for name, rule in chart_rules.items()}
    for query, expr in asked.items():
        read = re.findall(r"(stats_gateway_\w+)(?:\{([^}]*)\})?", expr)
        assert read, query
        for name, matchers in read:
            assert name in there, f"{query}: {name}"
            assert set(re.findall(r"(\w+)(?:=~|!~|!=|=)", matchers)) <= there[name] | SCRAPED, (
                f"{query}: {matchers}"
            )
        grouped = {label for group in re.findall(r"by \(([^)]*)\)", expr) for label in re.findall(r"\w+", group)}
        assert grouped <= {label for name, _ in read for label in there[name]} | SCRAPED, query


def test_the_dashboard_shows_every_metric_that_is_the_gateways() -> None:
    shown = set(re.findall(r"stats_gateway_\w+", " ".join(queries().values())))
    there = {re.sub("_(bucket|count|sum)$", "_bucket", name) for name in has() if not name.endswith("_created")}
    assert there - shown == set()


def test_its_panels_overlap_nowhere() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in dashboard()["panels"]}) == len(dashboard()["panels"])
