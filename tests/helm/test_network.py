"""Who reaches whom: Services, routes, policies, and the port that is in none of them."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from tests.helm.chart import CASES, Manifest, manifests, one, pods, rendered, values_of

PROMETHEUS = [
    {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}},
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": "prometheus"}},
    }
]


def chosen(selector: dict[str, str], made: list[Manifest]) -> set[str]:
    """The components whose pods a selector chooses."""
    return {name for name, pod in pods(made).items() if selector.items() <= pod["metadata"]["labels"].items()}


def selectors(made: list[Manifest]) -> list[tuple[str, dict[str, str], set[str]]]:
    """Every selector of pods, whose it is, and whom it should choose."""
    found = []
    for each in made:
        spec, name = each.get("spec", {}), each["metadata"]["name"]
        whom = {"redis"} if name.endswith("-redis") else {"gateway"}
        if each["kind"] == "Service":
            found.append((f"Service {name}", spec["selector"], whom))
        elif each["kind"] in ("Deployment", "StatefulSet", "PodDisruptionBudget"):
            found.append((f"{each['kind']} {name}", spec["selector"]["matchLabels"], whom))
        elif each["kind"] == "NetworkPolicy":
            found.append((f"NetworkPolicy {name}", spec["podSelector"]["matchLabels"], whom))
    return found


@pytest.mark.parametrize("case", CASES)
def test_every_selector_chooses_whom_it_should(case: str) -> None:
    made = rendered(case)
    for whose, selector, whom in selectors(made):
        assert chosen(selector, made) == whom, whose


@pytest.mark.parametrize("case", CASES)
def test_every_port_by_name_is_there(case: str) -> None:
    made = rendered(case)
    for each in (each for each in made if each["kind"] == "Service"):
        (component,) = chosen(each["spec"]["selector"], made)
        named = {port["name"] for port in pods(made)[component]["spec"]["containers"][0]["ports"]}
        assert {port["targetPort"] for port in each["spec"]["ports"]} <= named


@pytest.mark.parametrize("case", CASES)
def test_the_admin_port_is_in_no_route_and_no_service_but_its_own(case: str) -> None:
    made = rendered(case)
    for each in (each for each in made if each["kind"] == "Service"):
        if "admin" in {port["targetPort"] for port in each["spec"]["ports"]}:
            assert each["metadata"]["name"].endswith("-admin")
            assert each["spec"]["type"] == "ClusterIP"
            assert [port["targetPort"] for port in each["spec"]["ports"]] == ["admin"]
    for each in made:
        if each["kind"] in ("Ingress", "HTTPRoute"):
            assert "admin" not in str(each["spec"])


def test_routes_lead_to_the_public_port() -> None:
    made = rendered("everything")
    service = one(made, "Service")
    assert (service["spec"]["type"], [port["targetPort"] for port in service["spec"]["ports"]]) == (
        "LoadBalancer",
        ["public"],
    )
    for rule in one(made, "Ingress")["spec"]["rules"]:
        backend = rule["http"]["paths"][0]["backend"]["service"]
        assert backend == {
            "name": service["metadata"]["name"],
            "port": {"name": service["spec"]["ports"][0]["name"]},
        }
    (rule,) = one(made, "HTTPRoute")["spec"]["rules"]
    assert rule["backendRefs"] == [
        {"name": service["metadata"]["name"], "port": service["spec"]["ports"][0]["port"]}
    ]
    assert rule["timeouts"] == {"request": "35s"}, "longer than a caller waits"


def policy(values_or_case: str, name: str = "gw-stats-gateway") -> dict[str, Any]:
    made = rendered(values_or_case) if values_or_case in CASES else manifests(values_or_case)
    spec: dict[str, Any] = one(made, "NetworkPolicy", name)["spec"]
    return spec


def rule(rules: list[dict[str, Any]], port: int) -> dict[str, Any]:
    """The one rule about this port."""
    (found,) = [each for each in rules if port in {each["port"] for each in each["ports"]}]
    return found


def test_without_the_pod_network_nobody_reaches_the_admin_port() -> None:
    (public,) = policy("default")["ingress"]
    assert public == {"ports": [{"protocol": "TCP", "port": 8080}]}


def test_clients_prometheus_and_the_test_come_in() -> None:
    spec = policy("everything")
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    clients = rule(spec["ingress"], 8080)["from"]
    assert clients[0] == {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress-nginx"}}}
    assert chosen(clients[1]["podSelector"]["matchLabels"], rendered("everything")) == {"test"}
    assert rule(spec["ingress"], 8081)["from"] == PROMETHEUS
    assert len(spec["ingress"]) == 2


def test_what_goes_out() -> None:
    spec = policy("default")
    assert len(spec["egress"]) == 3
    dns = rule(spec["egress"], 53)
    assert {each["protocol"] for each in dns["ports"]} == {"TCP", "UDP"}
    assert dns["to"][0]["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "kube-system"}
    (redis,) = rule(spec["egress"], 6379)["to"]
    assert chosen(redis["podSelector"]["matchLabels"], rendered("default")) == {"redis"}


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("203.0.113.7", True),
        ("2001:db8::7", True),
        ("10.1.2.3", False),
        ("172.16.9.9", False),
        ("192.168.1.1", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("127.0.0.1", False),
        ("fd00::1", False),
        ("fe80::1", False),
        ("::1", False),
    ],
)
def test_the_service_may_be_anywhere_but_in_private_ranges(address: str, allowed: bool) -> None:
    blocks = [each["ipBlock"] for each in rule(policy("default")["egress"], 443)["to"]]
    wanted = ip_address(address)
    reached = any(
        wanted in ip_network(block["cidr"]) and not any(wanted in ip_network(each) for each in block["except"])
        for block in blocks
    )
    assert reached is allowed


def test_the_service_is_where_it_is_said_to_be() -> None:
    blocks = rule(policy("everything")["egress"], 8443)["to"]
    assert [each["ipBlock"]["cidr"] for each in blocks] == ["192.0.2.0/24", "2001:db8::/32"]
    assert rule(policy("sentinel", "the-gateway")["egress"], 80)["to"]
    assert rule(policy("upstream: {url: 'https://[2001:db8::1]:9000/x'}")["egress"], 9000)["to"]
    assert rule(policy("everything")["egress"], 4318)["to"][0]["namespaceSelector"]


def test_a_redis_elsewhere_is_let_through() -> None:
    assert rule(policy("cluster")["egress"], 6379)["to"] == [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "cache"}}}
    ]
    anywhere = rule(policy("sentinel", "the-gateway")["egress"], 26379)
    assert [each["port"] for each in anywhere["ports"]] == [6379, 26379]
    assert "to" not in anywhere


def test_the_bundled_redis_hears_gateways_alone_and_asks_nobody() -> None:
    spec = policy("default", "gw-stats-gateway-redis")
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert "egress" not in spec
    (only,) = spec["ingress"]
    (peer,) = only["from"]
    assert chosen(peer["podSelector"]["matchLabels"], rendered("default")) == {"gateway"}


def test_no_policy_is_made_where_something_else_makes_them() -> None:
    assert "NetworkPolicy" not in {each["kind"] for each in rendered("secrets")}


def test_prometheus_finds_the_admin_service() -> None:
    made = rendered("everything")
    monitor = one(made, "ServiceMonitor")
    labels = one(made, "Service", "gw-stats-gateway-admin")["metadata"]["labels"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
    for each in made:
        if each["kind"] == "Service" and each["metadata"]["name"] != "gw-stats-gateway-admin":
            assert not monitor["spec"]["selector"]["matchLabels"].items() <= each["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["endpoints"]
    assert (endpoint["port"], endpoint["path"]) == ("admin", "/metrics")
    assert monitor["metadata"]["labels"]["release"] == "prometheus"


def token_of(*settings: str) -> Any:
    """What the ServiceMonitor sends, with these values besides."""
    made = manifests(values_of("everything"), *(word for each in settings for word in ("--set", each)))
    (endpoint,) = one(made, "ServiceMonitor")["spec"]["endpoints"]
    return endpoint.get("authorization")


def test_prometheus_sends_a_token_since_it_would_be_told_no_tenants_name_without() -> None:
    secret = one(rendered("everything"), "Secret", "gw-stats-gateway")
    assert "admin-token" in secret["data"]
    assert token_of() == {"type": "Bearer", "credentials": {"name": "gw-stats-gateway", "key": "admin-token"}}
    own = token_of("metrics.serviceMonitor.tokenSecret.name=scraper")
    assert own == {"type": "Bearer", "credentials": {"name": "scraper", "key": "token"}}
    assert token_of("settings.metrics_public=true") is None
