"""A gateway as its pod would run it: the chart's environment, and tenants from a Secret that changes."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.command import clean_environment, command
from tests.helm.chart import environment, pods, rendered
from tests.integration.stage import Process, await_answer, get, spawned, until
from tests.redis_server import RedisServer, free_port

TARGET = "/lboro/timeline/total/views/collection/15?start_date=2014-01-02&end_date=2014-03-05"


class SecretVolume:
    """A Secret as the kubelet mounts it: a link to a folder with a version, replaced at once."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._version = 0
        place.mkdir()

    def update(self, text: str) -> None:
        """The Secret's next content."""
        self._version += 1
        folder = self._place / f"..version-{self._version}"
        folder.mkdir()
        (folder / "tenants.toml").write_text(text)
        (folder / "tenants.toml").chmod(0o440)
        (self._place / "..new").symlink_to(folder.name)
        (self._place / "..new").rename(self._place / "..data")
        if not (self._place / "tenants.toml").exists():
            (self._place / "tenants.toml").symlink_to("..data/tenants.toml")


@dataclass
class Pod:
    gateway: Process
    volume: SecretVolume
    settings: dict[str, str]
    written: Path

    def key_of(self, tenant: str) -> str:
        """Adds a tenant where tenants are written, as the notes say, which is not the Secret; answers its key."""
        place = str(self.written)
        keys = self.settings["STATS_GATEWAY_ENCRYPTION_KEYS"]
        pair = ["--institution", "lboro", "--username", "lboro", "--password-stdin"]
        added = command(
            *("tenant", "add", tenant, "--name", tenant, *pair),
            given=b"sandbox-lboro\n",
            STATS_GATEWAY_REGISTRY=place,
            STATS_GATEWAY_ENCRYPTION_KEYS=keys,
        )
        assert added.code == 0, added.err
        made = command("key", "add", tenant, STATS_GATEWAY_REGISTRY=place, STATS_GATEWAY_ENCRYPTION_KEYS=keys)
        return made.out.strip()

    def status(self, key: str) -> int:
        return get(self.gateway.url + TARGET, headers={"X-API-Key": key}).status_code


@pytest.fixture
def pod(shared_redis: RedisServer, prefix: str, tmp_path: Path) -> Iterator[Pod]:
    """The environment of everything switched on; only places and ports are this test's."""
    made = rendered("everything")
    settings = environment(made, {})
    mounts = {
        each["name"]: each["mountPath"] for each in pods(made)["gateway"]["spec"]["containers"][0]["volumeMounts"]
    }
    assert settings["STATS_GATEWAY_REGISTRY"] == f"{mounts['tenants']}/tenants.toml"
    with ExitStack() as stack:
        words = ["sandbox", "--port", str(free_port())]
        sandbox = stack.enter_context(spawned(words, clean_environment(), tmp_path / "sandbox.log"))
        await_answer(f"{sandbox.url}/-/calls", sandbox)
        port, admin_port = free_port(), free_port()
        settings |= {
            "STATS_GATEWAY_REGISTRY": str(tmp_path / "secret" / "tenants.toml"),
            "STATS_GATEWAY_REDIS_URL": shared_redis.url,
            "STATS_GATEWAY_REDIS_PREFIX": prefix,
            "STATS_GATEWAY_UPSTREAM": sandbox.url,
            "STATS_GATEWAY_DRAIN_SECONDS": "0",
            "STATS_GATEWAY_OTLP_ENDPOINT": "",
            "STATS_GATEWAY_BUDGET": "unlimited",
        }
        words = ["serve", "--port", str(port), "--admin-port", str(admin_port)]
        volume = SecretVolume(tmp_path / "secret")
        gateway = stack.enter_context(spawned(words, clean_environment() | settings, tmp_path / "gateway.log"))
        gateway.admin_port = admin_port
        await_answer(f"{gateway.url}/-/health/ready", gateway)
        yield Pod(gateway, volume, settings, tmp_path / "tenants.toml")


def test_a_pod_follows_its_tenants_secret_from_nothing_without_a_restart(pod: Pod) -> None:
    first = pod.key_of("reports")
    assert pod.status(first) == 401
    pod.volume.update(pod.written.read_text())
    until(lambda: pod.status(first) == 200)
    second = pod.key_of("dashboards")
    pod.volume.update(pod.written.read_text())
    until(lambda: pod.status(second) == 200)
    assert pod.status(first) == 200
    place = pod.settings["STATS_GATEWAY_REGISTRY"]
    refused = command("tenant", "set", "reports", "--disable", STATS_GATEWAY_REGISTRY=place)
    assert (refused.code, "is read-only here" in refused.err) == (2, True)
    pod.gateway.running.send_signal(signal.SIGTERM)
    assert pod.gateway.running.wait(timeout=30) == 0


def test_its_admin_port_knows_its_service_and_wants_the_token(pod: Pod) -> None:
    admin = f"http://127.0.0.1:{pod.gateway.admin_port}"
    for host in ("gw-stats-gateway-admin.stats.svc", "gw-stats-gateway-admin:8081", "10.1.2.3:8081", "localhost"):
        assert "stats_gateway_build_info" in get(f"{admin}/metrics", headers={"Host": host}).text
    assert get(f"{admin}/metrics", headers={"Host": "gw-stats-gateway-admin.evil.test"}).status_code == 403
    assert get(f"{admin}/api/settings").status_code == 401
    told = get(f"{admin}/api/settings", headers={"Authorization": "Bearer a-long-random-token"}).json()
    assert told["workers"] == 2
