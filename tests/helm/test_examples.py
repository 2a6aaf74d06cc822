"""The chart's example values: each is taken by Helm and Kubernetes, and means what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.redis_url import RedisPlace
from gateway.setting_values import PREFIX
from gateway.settings import Settings
from tests.helm.chart import CHART, environment, manifests, one, pods
from tests.helm.kubernetes import NEWEST, faults

EXAMPLES = {path.stem: path for path in sorted((CHART / "examples").glob("*.yaml"))}
SECRETS = {
    ("stats-redis", "password"): "a-password",
    ("stats-redis", "sentinel-password"): "another",
    ("stats-redis", "redis-url"): "redis+cluster://:a-password@redis-0.redis",
}
KINDS = {
    "redis-bundled": "one",
    "redis-single": "one",
    "redis-secret": "cluster",
    "redis-sentinel": "sentinel",
    "redis-cluster": "cluster",
}
FIXED = {"redis_url", "registry", "encryption_keys", "admin_token", "redis_sentinel_password"} | {
    f"{admin}{name}" for admin in ("", "admin_") for name in ("host", "port")
}
"""Settings for which the chart has a value of its own."""


def test_there_is_one_for_each_kind_of_redis() -> None:
    assert set(KINDS) | {"memory", "dual-stack"} == set(EXAMPLES)


@pytest.mark.parametrize("path", EXAMPLES.values(), ids=list(EXAMPLES))
def test_kubernetes_takes_it(path: Path) -> None:
    assert [wrong for each in manifests(path.read_text()) for wrong in faults(each, NEWEST[-1])] == []


@pytest.mark.parametrize(("name", "kind"), KINDS.items())
def test_it_leads_to_its_kind_of_redis_with_the_password(name: str, kind: str) -> None:
    found = environment(manifests(EXAMPLES[name].read_text()), SECRETS)
    place = RedisPlace.parse(found["STATS_GATEWAY_REDIS_URL"])
    assert (place.kind, place.options["password"]) == (kind, "a-password")
    assert found.get("STATS_GATEWAY_REDIS_SENTINEL_PASSWORD") == ("another" if kind == "sentinel" else None)


def test_with_ipv6_everything_listens_on_both_families() -> None:
    made = manifests(
        EXAMPLES["dual-stack"].read_text()
        + "admin: {podNetwork: true}\nsecrets: {adminToken: a-long-random-token}\n"
    )
    found = environment(made, {})
    assert (found["STATS_GATEWAY_HOST"], found["STATS_GATEWAY_ADMIN_HOST"]) == ("::", "::")
    services = [each["spec"] for each in made if each["kind"] == "Service"]
    assert [each["ipFamilyPolicy"] for each in services] == ["PreferDualStack"] * 3
    only = manifests("ipv6: {enabled: true, ipFamilyPolicy: SingleStack, ipFamilies: [IPv6]}")
    assert one(only, "Service")["spec"]["ipFamilies"] == ["IPv6"]
    plain = manifests("")
    assert environment(plain, {})["STATS_GATEWAY_HOST"] == "0.0.0.0"
    assert "ipFamilies" not in one(plain, "Service")["spec"]


def test_any_setting_may_come_from_the_environment_and_goes_before_the_same_one_elsewhere() -> None:
    names = sorted(PREFIX + name.upper() for name in Settings.model_fields if name not in FIXED)
    extra = "".join(f"  - {{name: {name}, value: from-extra}}\n" for name in names)
    made = manifests(f"settings: {{budget: 3/s}}\nextraEnv:\n{extra}")
    found = environment(made, {})
    assert {name: found[name] for name in names} == dict.fromkeys(names, "from-extra")
    (container,) = pods(made)["gateway"]["spec"]["containers"]
    given = [each["name"] for each in container["env"]]
    assert len(given) == len(set(given)), "the API server warns of a name that comes twice"
