"""Who gets in, and what travels in the clear, by the settings."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.admin.doctor.finding import State
from gateway.admin.doctor.settings import exposure
from gateway.settings import load_settings

TOKEN = "x" * 32
OK, NOTE, WARNING, PROBLEM = State.OK, State.NOTE, State.WARNING, State.PROBLEM


@pytest.mark.parametrize(
    ("settings", "check", "state"),
    [
        ({}, "listeners.admin", NOTE),
        ({"admin_token": TOKEN}, "listeners.admin", OK),
        ({"admin_tokens": {"a": {"digest": "sha256:" + "0" * 64}}}, "listeners.admin", OK),
        ({"admin_host": "0.0.0.0"}, "listeners.admin", WARNING),
        ({"admin_host": "0.0.0.0", "admin_token": TOKEN}, "listeners.admin", NOTE),
        ({"admin_host": "::1", "admin_token": TOKEN}, "listeners.admin", OK),
        ({"admin_host": "localhost", "admin_token": TOKEN}, "listeners.admin", OK),
        ({"admin_host": "gateway.example", "admin_token": TOKEN}, "listeners.admin", NOTE),
        ({}, "listeners.metrics", None),
        ({"admin_host": "0.0.0.0"}, "listeners.metrics", None),
        ({"admin_token": TOKEN}, "listeners.metrics", OK),
        ({"admin_host": "0.0.0.0", "admin_token": TOKEN}, "listeners.metrics", NOTE),
        ({"admin_token": TOKEN, "metrics_public": True}, "listeners.metrics", OK),
        ({"admin_host": "0.0.0.0", "admin_token": TOKEN, "metrics_public": True}, "listeners.metrics", NOTE),
        ({}, "listeners.public", OK),
        ({"host": "0.0.0.0"}, "listeners.public", NOTE),
        ({"host": "::"}, "listeners.public", NOTE),
        ({"admin_token": "short"}, "settings.admin_token", WARNING),
        ({"admin_token": TOKEN}, "settings.admin_token", None),
        ({"trusted_proxies": "0.0.0.0/0"}, "settings.trusted_proxies", WARNING),
        ({"trusted_proxies": "10.0.0.0/8,::/0"}, "settings.trusted_proxies", WARNING),
        ({"trusted_proxies": "10.0.0.0/8"}, "settings.trusted_proxies", None),
        ({"upstream": "http://stats.example"}, "settings.upstream", PROBLEM),
        ({"upstream": "http://127.0.0.1:9100"}, "settings.upstream", None),
        ({"upstream": "https://stats.example"}, "settings.upstream", None),
        ({"budget": "2/s"}, "settings.budget", WARNING),
        ({"budget": "unlimited"}, "settings.budget", WARNING),
        ({"budget": "30/m"}, "settings.budget", None),
        ({"budget": "9/s", "upstream": "https://stats.example"}, "settings.budget", None),
        ({"queue_max": 200}, "settings.queue", WARNING),
        ({"queue_max_per_tenant": 5_000}, "settings.queue", WARNING),
        ({"queue_max": 201}, "settings.queue", None),
        ({"queue_max": 1, "profile": "generic", "upstream": "https://a.example"}, "settings.queue", None),
        ({"redis_url": "redis://cache.example:6379/0"}, "redis.access", WARNING),
        ({"redis_url": "redis://cache.example:6379/0"}, "redis.clear", NOTE),
        ({"redis_url": "rediss://:hunter2@cache.example:6379/0"}, "redis.access", None),
        ({"redis_url": "rediss://:hunter2@cache.example:6379/0"}, "redis.clear", None),
        ({"redis_url": "redis://127.0.0.1:6379/0"}, "redis.access", None),
        ({"redis_url": "redis+sentinel://127.0.0.1,cache.example/stats"}, "redis.access", WARNING),
        ({"redis_url": "rediss+cluster://:hunter2@a.example,b.example"}, "redis.access", None),
        ({"redis_url": "redis://cache.example:6379/0?password=hunter2"}, "redis.access", None),
        ({"registry": "redis://:hunter2@tenants.example:6379/0"}, "registry.clear", NOTE),
    ],
)
def test_exposure(settings: dict[str, Any], check: str, state: State | None) -> None:
    findings = list(exposure(load_settings(**settings)))
    found = {finding.check: finding for finding in findings}
    assert (found[check].state if check in found else None) is state
    assert all(finding.advice for finding in findings if finding.state in (WARNING, PROBLEM))
    assert "hunter2" not in str(findings)
    assert TOKEN not in str(findings)
