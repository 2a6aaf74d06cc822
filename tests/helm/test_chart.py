"""The chart is what Helm and Kubernetes take, over a matrix of values."""

from __future__ import annotations

import copy
import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

import gateway
from gateway.settings import Settings
from tests.helm import chart, values_page
from tests.helm.chart import CASES, CHART, NAMESPACE, RELEASE, Manifest, helm, manifests, one, rendered, values_of
from tests.helm.kubernetes import NEWEST, faults
from tests.helm.settings_schema import SCHEMA, settings_schema

VALUES = CHART / "values.yaml"
SECRET_WORDS = ("hush", "a-password.of_9~", "a-long-random-token", "AAAAAAAAAAAAAAAA")


@pytest.mark.parametrize("case", CASES)
def test_helm_lints_strictly(case: str) -> None:
    done = helm("lint", "--strict", str(CHART), "--values", str(chart.VALUES / f"{case}.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("version", NEWEST)
@pytest.mark.parametrize("case", CASES)
def test_kubernetes_takes_every_manifest(case: str, version: str) -> None:
    found = {f"{each['kind']} {each['metadata']['name']}": faults(each, version) for each in rendered(case)}
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


def test_the_versions_are_the_three_newest_there_are() -> None:
    assert len({version.rpartition(".")[0] for version in NEWEST}) == 3


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("Deployment", lambda each: each["spec"].update(replica=1)),
        ("Deployment", lambda each: each["spec"]["template"]["spec"]["containers"][0].update(arguments=[])),
        ("Service", lambda each: each["spec"]["ports"][0].update(port="http")),
        ("HTTPRoute", lambda each: each["spec"]["rules"][0].update(timeout={})),
        ("HTTPRoute", lambda each: each["spec"]["rules"][0]["timeouts"].update(request="35 s")),
        ("ServiceMonitor", lambda each: each["spec"]["endpoints"][0].update(intervall="30s")),
        ("PrometheusRule", lambda each: each["spec"]["groups"][0]["rules"][0].update({"for": "5 minutes"})),
        ("Ingress", lambda each: each.update(apiVersion="networking.k8s.io/v1beta1")),
        ("ServiceMonitor", lambda each: each.update(apiVersion="monitoring.coreos.com/v2")),
        ("ConfigMap", lambda each: each.update(kind="ConfigMapp")),
        ("Deployment", lambda each: each["metadata"]["labels"].update(a="no label")),
        ("Deployment", lambda each: each["metadata"].update(name="A_name")),
    ],
)
def test_a_fault_would_be_found(kind: str, change: Any) -> None:
    manifest = copy.deepcopy(next(each for each in rendered("everything") if each["kind"] == kind))
    assert faults(manifest, NEWEST[-1]) == []
    change(manifest)
    assert faults(manifest, NEWEST[-1]) != []


@pytest.mark.parametrize("case", CASES)
def test_no_two_manifests_are_one_and_all_are_this_releases(case: str) -> None:
    made = rendered(case)
    assert max(Counter((each["kind"], each["metadata"]["name"]) for each in made).values()) == 1
    for each in made:
        assert "namespace" not in each["metadata"]
        labels = each["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == RELEASE
        assert labels["app.kubernetes.io/version"] == gateway.__version__


def test_what_each_case_makes() -> None:
    always = {"ConfigMap", "Deployment", "Service", "Pod"}
    kinds = {case: chart.kinds(rendered(case)) for case in CASES}
    assert kinds["minimal"] == always
    assert kinds["default"] == always | {
        "NetworkPolicy", "PodDisruptionBudget", "Secret", "ServiceAccount", "StatefulSet",
    }  # fmt: skip
    assert kinds["everything"] == kinds["default"] | {
        "HTTPRoute", "HorizontalPodAutoscaler", "Ingress", "PrometheusRule", "ServiceMonitor",
    }  # fmt: skip
    assert "Secret" not in kinds["secrets"]
    assert "StatefulSet" not in kinds["cluster"]


@pytest.mark.parametrize("release", ["a", "stats-gateway", "r" * 53])
def test_any_releases_name_gives_names_that_are_allowed(release: str) -> None:
    made = manifests(values_of("everything"), release=release)
    assert [faults(each, NEWEST[-1]) for each in made] == [[]] * len(made)
    assert max(len(each["metadata"]["name"]) for each in made) <= 63


def test_the_chart_is_of_the_gateways_version() -> None:
    described = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert described["appVersion"] == gateway.__version__


def test_the_settings_in_the_schema_are_the_gateways() -> None:
    made = json.loads(SCHEMA.read_text())["properties"]["settings"]
    assert made == settings_schema(), "run: make chart"


def test_no_setting_that_is_a_secret_is_among_those_of_the_configmap() -> None:
    fields = Settings.model_json_schema()["properties"]
    secrets = {name for name, field in fields.items() if field.get("writeOnly")}
    assert {"admin_token", "redis_url", "redis_sentinel_password"} <= secrets
    assert secrets & set(settings_schema()["properties"]) == set()


def leaves(schema: dict[str, Any], path: str = "") -> dict[str, dict[str, Any]]:
    """Every value that the schema knows, by its path."""
    found = {}
    for name, each in schema.get("properties", {}).items():
        found[f"{path}{name}"] = each
        if f"{path}{name}" != "settings":
            found |= leaves(each, f"{path}{name}.")
    return found


def paths(values: dict[str, Any], path: str = "") -> set[str]:
    found = set()
    for name, each in values.items():
        found.add(f"{path}{name}")
        if isinstance(each, dict) and name != "settings":
            found |= paths(each, f"{path}{name}.")
    return found


def test_every_value_is_there_known_and_documented() -> None:
    known = leaves(json.loads(SCHEMA.read_text()))
    documented = {path for path in known if path != "global"}
    free = {path for path, each in known.items() if "properties" not in each and each.get("type") == "object"}
    there = {
        path
        for path in paths(yaml.safe_load(VALUES.read_text()))
        if not any(path.startswith(f"{each}.") for each in free)
    }
    assert there == documented
    assert [path for path, each in known.items() if not each.get("description")] == []
    assert [
        path
        for path, each in known.items()
        if "properties" in each and each.get("additionalProperties") is not False
    ] == []


def test_the_page_of_values_is_made_from_the_schema_and_their_defaults() -> None:
    text = values_page.PAGE.read_text()
    assert text == values_page.page(), "run: make chart"
    known = leaves(json.loads(SCHEMA.read_text()))
    assert [path for path in known if path != "global" and f"`{path}`" not in text] == []


def test_every_value_has_a_comment() -> None:
    """Above it or beside it; a group's own may speak for what is in it."""
    text = VALUES.read_text()
    for name in yaml.safe_load(text):
        assert re.search(rf"^#.*\n{name}:|^{name}:.*#", text, re.MULTILINE), name


def test_no_secret_is_anywhere_but_in_a_secret() -> None:
    for case in CASES:
        shown = yaml.safe_dump([each for each in rendered(case) if each["kind"] != "Secret"])
        assert [word for word in SECRET_WORDS if word in shown] == []


def test_the_package_has_no_more_than_the_chart(tmp_path: Path) -> None:
    copied = tmp_path / "stats-gateway"
    shutil.copytree(CHART, copied)
    (copied / "tenants.toml").write_text("secret")
    (copied / "tenants.toml.key").write_text("secret")
    done = helm("package", str(copied), "--destination", str(tmp_path))
    assert done.returncode == 0, done.stderr
    shutil.unpack_archive(next(tmp_path.glob("*.tgz")), tmp_path / "out")
    packed = {
        path.relative_to(tmp_path / "out/stats-gateway").as_posix() for path in (tmp_path / "out").rglob("*.*")
    }
    assert not {path for path in packed if "tenants.toml" in path}
    assert {"Chart.yaml", "values.schema.json", "files/alerts.rules.yml", "files/dashboard.json"} <= packed


def notes(values: str, tmp_path: Path) -> str:
    """What NOTES.txt says: Helm shows it only when it installs, so that another template carries it."""
    copied = tmp_path / "stats-gateway"
    shutil.copytree(CHART, copied, dirs_exist_ok=True)
    (copied / "templates" / "told.yaml").write_text(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: notes}\n"
        'data: {notes: {{ include (print $.Template.BasePath "/NOTES.txt") . | toJson }}}\n'
    )
    made: list[Manifest] = manifests(values, chart=copied)
    told: str = one(made, "ConfigMap", "notes")["data"]["notes"]
    return told


@pytest.mark.parametrize("case", CASES)
def test_the_notes_tell_what_to_do_next_and_no_secret(case: str, tmp_path: Path) -> None:
    told = notes(values_of(case), tmp_path)
    assert f"helm -n {NAMESPACE} test {RELEASE}" in told
    assert "X-API-Key: sgw_" in told
    assert "<no value>" not in told
    assert "%!" not in told
    assert not any(word in told for word in SECRET_WORDS)


@pytest.mark.parametrize(
    ("case", "said", "unsaid"),
    [
        ("default", "Administration is off until secrets.adminToken", "WARNING"),
        ("default", "create secret generic gw-stats-gateway-tenants --from-file=tenants.toml", "follow it within"),
        ("minimal", "WARNING: no Redis", "stats-gateway usage"),
        ("everything", "https://stats.example.org/total", "WARNING: settings.trusted_proxies"),
        ("everything", "get secret gw-stats-gateway -o", "Administration is off"),
        ("secrets", "come from the Secret tenants.", "create secret generic"),
        (
            "bundled",
            "WARNING: the bundled Redis keeps nothing when its pod ends, your tenants included",
            "no Redis",
        ),
        ("cluster", "exec -i deploy/gw-stats-gateway -- stats-gateway tenant add", "create secret generic"),
    ],
)
def test_the_notes_are_about_these_values(case: str, said: str, unsaid: str, tmp_path: Path) -> None:
    told = notes(values_of(case), tmp_path)
    assert said in told
    assert unsaid not in told
