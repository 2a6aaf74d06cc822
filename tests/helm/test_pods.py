"""Golden assertions: what a pod may do, when it counts as well, how it ends, and what rolls it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import yaml

from gateway.server.listener import SLACK_SECONDS
from gateway.settings import Settings, load_settings
from tests.helm.chart import CASES, environment, manifests, one, pods, rendered, values_of

CONTAINER_SECURITY = {
    "allowPrivilegeEscalation": False,
    "privileged": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
GIVEN = {
    ("cache-users", "gateway"): "hush",
    ("cache", "url"): "rediss://:hush@cache.example.org:6380/3",
    ("tenants-redis", "url"): "redis://tenants.example.org",
    ("redis-auth", "pw"): "hush",
    ("sentinels", "pw"): "hush-hush",
    ("keys", "encryption-keys"): "C" * 42 + "A=",
    ("keys", "admin-token"): "another-long-token",
}


@pytest.mark.parametrize("case", CASES)
def test_every_pod_is_restricted(case: str) -> None:
    """By the Pod Security Standard of that name, and a read-only root beyond it."""
    for pod in pods(rendered(case)).values():
        assert_restricted(pod["spec"])


def assert_restricted(spec: dict[str, Any]) -> None:
    security = spec["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert security.get("runAsUser", 1) > 0
    assert [each["securityContext"] for each in spec["containers"]] == [CONTAINER_SECURITY]
    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers", "ephemeralContainers"} & set(spec)
    kinds = {kind for volume in spec.get("volumes", []) for kind in volume if kind != "name"}
    assert kinds <= {"configMap", "emptyDir", "secret"}
    assert not [port for each in spec["containers"] for port in each.get("ports", []) if "hostPort" in port]
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False, "Kubernetes would set STATS_GATEWAY_PORT"


def test_a_gateways_user_is_the_images_unless_the_platform_chooses() -> None:
    numbers = {"runAsUser", "runAsGroup", "fsGroup"}
    security = pods(rendered("default"))["gateway"]["spec"]["securityContext"]
    assert {security[name] for name in numbers} == {10001}
    assert not numbers & set(pods(rendered("secrets"))["gateway"]["spec"]["securityContext"])
    assert not numbers & set(pods(rendered("bundled"))["redis"]["spec"]["securityContext"])


@pytest.mark.parametrize("case", CASES)
def test_probes_ask_what_the_gateway_answers(case: str) -> None:
    (container,) = pods(rendered(case))["gateway"]["spec"]["containers"]
    asked = {name: container[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert asked == {
        "startupProbe": {"path": "/-/health/live", "port": "public"},
        "livenessProbe": {"path": "/-/health/live", "port": "public"},
        "readinessProbe": {"path": "/-/health/ready", "port": "public"},
    }
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] == 90
    assert container["livenessProbe"]["failureThreshold"] * container["livenessProbe"]["periodSeconds"] >= 60
    assert container["args"] == ["serve"]


def settings_of(case: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings that a gateway has in this case's pod."""
    for name, value in environment(rendered(case), GIVEN).items():
        monkeypatch.setenv(name, value)
    return load_settings(strict=True)


@pytest.mark.parametrize("case", CASES)
def test_the_gateway_takes_its_environment(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(case, monkeypatch)
    values = yaml.safe_load(values_of(case))
    for name, value in values.get("settings", {}).items():
        if name not in ("admin_hosts", "admin_tokens", "trusted_proxies", "pass_methods", "warm"):
            assert getattr(settings, name) == value, name
    (container,) = pods(rendered(case))["gateway"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"public": settings.port, "admin": settings.admin_port}
    assert settings.host == "0.0.0.0"
    reachable = values.get("admin", {}).get("podNetwork", False)
    assert settings.admin_host == ("0.0.0.0" if reachable else "127.0.0.1")


@pytest.mark.parametrize(
    ("case", "redis_url", "registry"),
    [
        ("minimal", "memory://", "/etc/stats-gateway/tenants/tenants.toml"),
        ("everything", "redis://:a-password.of_9~@gw-stats-gateway-redis:6379/0", None),
        ("bundled", "redis://:hush@gw-stats-gateway-redis:6379/0", "redis://:hush@gw-stats-gateway-redis:6379/0"),
        (
            "cluster",
            "rediss+cluster://gateway:hush@redis-0.cache,redis-1.cache",
            "rediss+cluster://gateway:hush@redis-0.cache,redis-1.cache",
        ),
        ("secrets", "rediss://:hush@cache.example.org:6380/3", None),
        ("sentinel", "redis+sentinel://user:hush@sentinel-0,sentinel-1/cache/0", "redis://tenants.example.org"),
    ],
)
def test_where_redis_and_the_registry_are(
    case: str, redis_url: str, registry: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(case, monkeypatch)
    assert settings.redis_url.get_secret_value() == redis_url
    expected = registry or "/etc/stats-gateway/tenants/tenants.toml"
    assert settings.registry.get_secret_value() == expected


def test_the_sentinels_password_comes_from_its_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings_of("sentinel", monkeypatch).redis_sentinel_password.get_secret_value() == "hush-hush"


def test_lists_and_tables_arrive_as_they_were_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of("everything", monkeypatch)
    assert settings.trusted_proxies == ("10.0.0.0/8", "fd00::/8")
    assert settings.pass_methods == ()
    assert settings.admin_tokens["dashboard"].role == "read-only"
    assert settings.warm["nightly"].values == {"id": ("1", "2"), "name": ("a, b",)}
    assert settings.admin_token.get_secret_value() == "a-long-random-token"
    assert settings.admin_hosts == (
        "gw-stats-gateway-admin",
        "gw-stats-gateway-admin.stats",
        "gw-stats-gateway-admin.stats.svc",
        "gateway.example.org",
    )


@pytest.mark.parametrize("case", CASES)
def test_a_pod_has_the_time_that_its_end_can_take(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(case, monkeypatch)
    spec = pods(rendered(case))["gateway"]["spec"]
    hook = spec["containers"][0]["lifecycle"]["preStop"]
    before = hook["sleep"]["seconds"] if "sleep" in hook else 0
    requests = math.ceil(settings.upstream_timeout + SLACK_SECONDS)
    worst = before + settings.drain_seconds + requests + settings.upstream_timeout + SLACK_SECONDS
    assert spec["terminationGracePeriodSeconds"] >= worst


def test_before_it_is_told_to_end_a_pod_waits_until_nobody_sends_it_anything_new() -> None:
    (container,) = pods(rendered("default"))["gateway"]["spec"]["containers"]
    assert container["lifecycle"] == {"preStop": {"sleep": {"seconds": 5}}}
    assert one(rendered("default"), "Deployment")["spec"]["strategy"]["rollingUpdate"] == {
        "maxSurge": 1,
        "maxUnavailable": 0,
    }


def test_without_redis_two_never_run_at_once() -> None:
    spec = one(rendered("minimal"), "Deployment")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


def test_replicas_are_the_autoscalers_where_there_is_one() -> None:
    assert "replicas" not in one(rendered("cluster"), "Deployment")["spec"]
    scaler = one(rendered("cluster"), "HorizontalPodAutoscaler")["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (3, 30)
    assert scaler["scaleTargetRef"]["name"] == one(rendered("cluster"), "Deployment")["metadata"]["name"]


def test_tenants_are_a_folder_that_follows_its_secret() -> None:
    for case, secret in (("everything", "gw-stats-gateway-tenants"), ("secrets", "tenants")):
        spec = pods(rendered(case))["gateway"]["spec"]
        mounts = {each["name"]: each for each in spec["containers"][0]["volumeMounts"]}
        assert mounts["tenants"] == {
            "name": "tenants",
            "mountPath": "/etc/stats-gateway/tenants",
            "readOnly": True,
        }
        (volume,) = [each for each in spec["volumes"] if each["name"] == "tenants"]
        assert volume["secret"]["secretName"] == secret
        assert volume["secret"]["defaultMode"] == 0o440
    assert "tenants" not in {each["name"] for each in pods(rendered("cluster"))["gateway"]["spec"]["volumes"]}


def checksums(values: str) -> dict[str, str]:
    found: dict[str, str] = pods(manifests(values))["gateway"]["metadata"]["annotations"]
    return found


@pytest.mark.parametrize(
    ("change", "rolls"),
    [
        ("settings: {budget: 2/s}", True),
        ("upstream: {url: 'https://other.example.org'}", True),
        ("secrets: {adminToken: another-long-token}", True),
        ("redis: {bundled: {password: another-password}}", True),
        ("registry: {tenants: '[tenants.new]'}", False),
        ("service: {port: 8000}", False),
        ("{}", False),
    ],
)
def test_settings_roll_the_pods_and_tenants_do_not(change: str, rolls: bool) -> None:
    assert (checksums(change) != checksums("{}")) is rolls


def test_pods_spread_over_zones_and_nodes_as_far_as_that_goes() -> None:
    spec = pods(rendered("default"))["gateway"]["spec"]
    labels = pods(rendered("default"))["gateway"]["metadata"]["labels"]
    constraints = spec["topologySpreadConstraints"]
    assert [(each["topologyKey"], each["whenUnsatisfiable"]) for each in constraints] == [
        ("topology.kubernetes.io/zone", "ScheduleAnyway"),
        ("kubernetes.io/hostname", "ScheduleAnyway"),
    ]
    for each in constraints:
        assert each["labelSelector"]["matchLabels"].items() <= labels.items()
    assert "topologySpreadConstraints" not in pods(rendered("minimal"))["gateway"]["spec"]


def test_a_chart_of_another_version_does_not_restart_redis() -> None:
    labels = pods(rendered("default"))["redis"]["metadata"]["labels"]
    assert not {"helm.sh/chart", "app.kubernetes.io/version"} & set(labels)


def test_the_test_pod_asks_through_the_service() -> None:
    pod = pods(rendered("everything"))["test"]
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert pod["spec"]["restartPolicy"] == "Never"
    (container,) = pod["spec"]["containers"]
    assert container["args"] == ["health", "--strict", "--timeout", "10", "--url", "http://gw-stats-gateway:80"]
    assert container["image"] == pods(rendered("everything"))["gateway"]["spec"]["containers"][0]["image"]


@pytest.mark.parametrize(
    ("values", "size"),
    [
        ("{redis: {bundled: {enabled: false}, url: 'redis://r'}, replicaCount: 3}", "4"),
        ("{redis: {bundled: {enabled: false}, url: 'redis://r'}, replicaCount: 3, settings: {workers: 2}}", "8"),
        (
            "{redis: {bundled: {enabled: false}, url: 'redis://r'}, "
            "autoscaling: {enabled: true, minReplicas: 2, maxReplicas: 6}, resources: {requests: {cpu: 1}}}",
            "7",
        ),
        ("{redis: {bundled: {enabled: false}, url: 'redis://r'}, settings: {fleet_size: 12}}", "12"),
    ],
)
def test_the_fleets_size_is_the_most_pods_there_may_be_times_workers(values: str, size: str) -> None:
    assert environment(manifests(values), {})["STATS_GATEWAY_FLEET_SIZE"] == size
