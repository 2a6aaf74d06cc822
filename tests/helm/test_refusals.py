"""Values that cannot be meant are refused, and Helm says which and why."""

from __future__ import annotations

import pytest
import yaml

from tests.helm.chart import template

TOKEN = "secrets: {adminToken: a-long-random-token}"
NO_REDIS = "redis: {bundled: {enabled: false}}"

BY_THE_SCHEMA = [
    ("replicaCount: 0", "replicaCount: Must be greater than or equal to 1"),
    ("replicaCount: two", "replicaCount: Invalid type. Expected: integer, given: string"),
    ("replicas: 2", "Additional property replicas is not allowed"),
    ("settings: {budgets: 1/s}", "settings: Additional property budgets is not allowed"),
    ("settings: {budget: often}", "settings.budget: Does not match pattern"),
    ("settings: {drain_seconds: -1}", "settings.drain_seconds: Must be greater than or equal to 0"),
    ("settings: {drain_seconds: '5'}", "settings.drain_seconds: Invalid type. Expected: number, given: string"),
    ("settings: {workers: 1.5}", "settings.workers: Invalid type. Expected: integer, given: number"),
    (
        "settings: {allow_anonymous: 'yes'}",
        "settings.allow_anonymous: Invalid type. Expected: boolean, given: string",
    ),
    ("settings: {log_level: loud}", "settings.log_level must be one of the following"),
    ("settings: {trusted_proxies: 10.0.0.0/8}", "settings.trusted_proxies: Invalid type. Expected: array"),
    ("settings: {redis_url: 'redis://x'}", "settings: Additional property redis_url is not allowed"),
    (
        "settings: {redis_sentinel_password: x}",
        "settings: Additional property redis_sentinel_password is not allowed",
    ),
    (
        "settings: {admin_tokens: {me: {digest: secret}}}",
        "settings.admin_tokens.me.digest: Does not match pattern",
    ),
    ("upstream: {url: stats.figshare.com}", "upstream.url: Does not match pattern"),
    ("upstream: {url: 'https://user:pw@stats.figshare.com'}", "upstream.url: Does not match pattern"),
    ("upstream: {cidrs: [stats.figshare.com]}", "upstream.cidrs.0: Does not match pattern"),
    ("redis: {url: 'mongodb://x'}", "redis.url: Does not match pattern"),
    ("redis: {bundled: {maxmemory: lots}}", "redis.bundled.maxmemory: Does not match pattern"),
    ("redis: {bundled: {password: 'a@b/c#dddd'}}", "redis.bundled.password: Does not match pattern"),
    ("registry: {kind: database}", "registry.kind must be one of the following"),
    ("secrets: {encryptionKeys: no-key}", "secrets.encryptionKeys: Does not match pattern"),
    ("secrets: {adminToken: short}", "secrets.adminToken: Does not match pattern"),
    ("service: {type: ExternalName}", "service.type must be one of the following"),
    ("service: {port: 70000}", "service.port: Must be less than or equal to 65535"),
    ("image: {digest: abc}", "image.digest: Does not match pattern"),
    ("ingress: {hosts: ['https://stats.example.org/']}", "ingress.hosts.0: Does not match pattern"),
    ("networkPolicy: {clients: [10.0.0.0/8]}", "networkPolicy.clients.0: Invalid type. Expected: object"),
    ("networkPolicy: {clients: [{namespace: x}]}", "Additional property namespace is not allowed"),
    ("autoscaling: {targetCPUUtilizationPercentage: 0}", "Must be greater than or equal to 1"),
    (
        "podDisruptionBudget: {maxUnavailable: 0}",
        "podDisruptionBudget.maxUnavailable: Must be greater than or equal to 1",
    ),
    ("podSecurity: {runAsUser: 0}", "podSecurity.runAsUser: Must be greater than or equal to 1"),
    ("podSecurity: {privileged: true}", "podSecurity: Additional property privileged is not allowed"),
    ("extraEnv: [{name: STATS_GATEWAY_REDIS_URL, value: x}]", "extraEnv.0.name: Must not validate the schema"),
    ("extraEnv: [{name: ANSWER, value: 42}]", "extraEnv.0.value: Invalid type. Expected: string, given: integer"),
    ("commonLabels: {app.kubernetes.io/name: other}", "app.kubernetes.io"),
    ("podLabels: {app.kubernetes.io/component: other}", "app.kubernetes.io"),
    ("settings:", "settings is required"),
    ("replicaCount:", "replicaCount is required"),
    ("redis: {bundled: }", "redis: bundled is required"),
    ("admin: {service: {type: LoadBalancer}}", "admin: Additional property service is not allowed"),
]
BY_THE_CHART = [
    (NO_REDIS, "replicaCount: without Redis there can be only one process"),
    (f"{{{NO_REDIS}, replicaCount: 1, settings: {{workers: 2}}}}", "settings.workers: without Redis"),
    (f"{{{NO_REDIS}, replicaCount: 1, autoscaling: {{enabled: true}}}}", "autoscaling.enabled: without Redis"),
    ("redis: {bundled: {enabled: false}, url: 'memory://'}", "replicaCount: without Redis"),
    (f"{{{NO_REDIS}, replicaCount: 1, registry: {{kind: redis}}}}", "registry.kind=redis: without Redis"),
    ("redis: {url: 'redis://x'}", "only one of these can say where Redis is: redis.bundled.enabled, redis.url"),
    (
        "redis: {bundled: {enabled: false}, url: 'redis://x', existingSecret: {name: elsewhere}}",
        "only one of these can say where Redis is: redis.url, redis.existingSecret.name",
    ),
    (
        "redis: {bundled: {enabled: false}, url: 'redis://:$(REDIS_PASSWORD)@x'}",
        "say in redis.passwordSecret.name which Secret has it",
    ),
    (
        "redis: {bundled: {enabled: false}, url: 'redis://x', passwordSecret: {name: elsewhere}}",
        "say in redis.url where it goes",
    ),
    (
        "redis: {bundled: {enabled: false}, url: 'rediss://u:p@h:6380/0'}",
        "networkPolicy.redis.ports: redis.url names port 6380",
    ),
    (
        "redis: {bundled: {enabled: false}, url: 'redis+cluster://u:p:1@h:6379,[2001:db8::1]:7001'}",
        "networkPolicy.redis.ports: redis.url names port 7001",
    ),
    ("redis: {sentinelPasswordSecret: {name: elsewhere}}", "there are no sentinels"),
    ("secrets: {existingSecret: a, adminToken: a-long-random-token}", "either existingSecret, or encryptionKeys"),
    ("registry: {existingSecret: a, tenants: b}", "either existingSecret or tenants"),
    ("registry: {kind: redis, tenants: b}", "tenants and existingSecret are for kind=file"),
    ("registry: {kind: redis}", "needs secrets.encryptionKeys"),
    ("metrics: {serviceMonitor: {enabled: true}}", "set admin.podNetwork=true"),
    ("admin: {podNetwork: true}", "set secrets.adminToken or secrets.existingSecret"),
    (
        f"{{admin: {{podNetwork: true}}, {TOKEN}, networkPolicy: {{enabled: false}}}}",
        "every pod of the cluster could reach the admin port",
    ),
    (
        f"{{admin: {{podNetwork: true}}, {TOKEN}, networkPolicy: {{prometheus: []}}}}",
        "name Prometheus in networkPolicy.prometheus",
    ),
    ("{autoscaling: {enabled: true}, resources: {requests: {cpu: null}}}", "Set resources.requests.cpu"),
    ("autoscaling: {enabled: true, minReplicas: 11}", "minReplicas is more than maxReplicas"),
    ("lifecycle: {terminationGracePeriodSeconds: 14}", "pods would be killed while they drain"),
    ("httpRoute: {enabled: true}", "httpRoute.parentRefs: which Gateway?"),
]


def complaint(values: str) -> str:
    """What Helm says of values that it refuses; the values are YAML, of which a secret is never repeated."""
    assert isinstance(yaml.safe_load(values), dict)
    code, out, err = template(values)
    assert (code, out) == (1, "")
    assert "a-long-random-token" not in err
    return err


@pytest.mark.parametrize(("values", "said"), BY_THE_SCHEMA)
def test_the_schema_refuses(values: str, said: str) -> None:
    err = complaint(values)
    assert "values don't meet the specifications of the schema" in err
    assert said in err


@pytest.mark.parametrize(("values", "said"), BY_THE_CHART)
def test_the_chart_refuses_what_no_schema_can(values: str, said: str) -> None:
    assert said in complaint(values)
