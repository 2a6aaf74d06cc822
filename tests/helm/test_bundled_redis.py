"""What the StatefulSet of the bundled Redis would run, run by a real redis-server."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.helm.chart import NAMESPACE, environment, manifests, one, pods, rendered, template
from tests.integration.stage import until
from tests.redis_server import BINARY, HINT, free_port

PASSWORD = "a-password.of_9~"


@pytest.fixture
def started(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The container's command with its configuration; only its paths and its port are this test's."""
    if BINARY is None:
        if os.environ.get("CI"):
            pytest.fail(HINT)
        pytest.skip(HINT)
    made = rendered("everything")
    (container,) = pods(made)["redis"]["spec"]["containers"]
    config = one(made, "ConfigMap", "gw-stats-gateway-redis")["data"]["redis.conf"]
    port = free_port()
    (tmp_path / "data").mkdir()
    assert "port 6379\ndir /data\n" in config
    config = config.replace("port 6379\ndir /data\n", f"port {port}\ndir {tmp_path / 'data'}\nbind 127.0.0.1\n")
    (tmp_path / "redis.conf").write_text(config)
    command = [word.replace("/etc/redis/", f"{tmp_path}/") for word in container["command"]]
    process = subprocess.Popen(command, env={"PATH": os.environ["PATH"], "REDIS_PASSWORD": PASSWORD})
    try:
        yield process, port
    finally:
        process.kill()
        process.wait()


def ready(port: int, password: str) -> bool:
    """What the readiness probe says; only its port is this test's."""
    (container,) = pods(rendered("everything"))["redis"]["spec"]["containers"]
    command = container["readinessProbe"]["exec"]["command"]
    words = [word.replace("redis-cli ping", f"redis-cli -p {port} ping") for word in command]
    given = {"PATH": os.environ["PATH"], "REDISCLI_AUTH": password}
    return subprocess.run(words, env=given, capture_output=True, check=False).returncode == 0


def test_it_wants_its_password_keeps_a_file_and_evicts_only_what_expires(
    started: tuple[subprocess.Popen[bytes], int], tmp_path: Path
) -> None:
    if shutil.which("redis-cli") is None:
        pytest.skip("redis-cli is missing")
    process, port = started
    until(lambda: ready(port, PASSWORD))
    assert not ready(port, "wrong")
    assert PASSWORD not in Path(f"/proc/{process.pid}/cmdline").read_text()
    with pytest.raises(redis.AuthenticationError), redis.Redis(port=port) as stranger:
        stranger.ping()
    url = environment(rendered("everything"), {})["STATS_GATEWAY_REDIS_URL"]
    assert url == f"redis://:{PASSWORD}@gw-stats-gateway-redis:6379/0"
    with redis.Redis.from_url(url.replace("gw-stats-gateway-redis:6379", f"127.0.0.1:{port}")) as client:
        memory = client.info("memory")
        assert (memory["maxmemory"], memory["maxmemory_policy"]) == (256 * 1024 * 1024, "volatile-lru")
        assert client.info("persistence")["aof_enabled"] == 1
        client.set("kept", "yes")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0
    assert list((tmp_path / "data").rglob("*.aof"))


def test_its_memory_is_within_its_containers_limit() -> None:
    (container,) = pods(rendered("default"))["redis"]["spec"]["containers"]
    config = one(rendered("default"), "ConfigMap", "gw-stats-gateway-redis")["data"]["redis.conf"]
    assert "maxmemory 256mb" in config
    assert int(container["resources"]["limits"]["memory"].removesuffix("Mi")) >= 2 * 256


def test_its_data_is_a_volume_unless_it_should_keep_nothing() -> None:
    claims = one(rendered("everything"), "StatefulSet", "gw-stats-gateway-redis")["spec"]["volumeClaimTemplates"]
    assert claims[0]["spec"]["storageClassName"] == "fast"
    assert claims[0]["spec"]["resources"] == {"requests": {"storage": "10Gi"}}
    bundled = one(rendered("bundled"), "StatefulSet", "gw-stats-gateway-redis")["spec"]
    assert "volumeClaimTemplates" not in bundled
    assert {"name": "data", "emptyDir": {}} in bundled["template"]["spec"]["volumes"]


class Cluster(BaseHTTPRequestHandler):
    """As much of a Kubernetes API as Helm needs to look up one Secret."""

    def do_GET(self) -> None:
        """A known path's document, else 404."""
        known = self.server.known  # type: ignore[attr-defined]
        found = known.get(self.path.partition("?")[0])
        self.send_response(200 if found else 404)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(found or {"kind": "Status", "code": 404, "reason": "NotFound"}).encode())

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@pytest.fixture
def cluster() -> Iterator[str]:
    """Where a cluster answers in which an earlier installation left its Secret."""
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "gw-stats-gateway-redis", "namespace": NAMESPACE},
        "data": {"password": "ZWFybGllci1wYXNzd29yZA=="},
    }
    resource = {
        "name": "secrets",
        "singularName": "secret",
        "namespaced": True,
        "kind": "Secret",
        "verbs": ["get"],
    }
    with ThreadingHTTPServer(("127.0.0.1", 0), Cluster) as server:
        server.known = {  # type: ignore[attr-defined]
            "/version": {"major": "1", "minor": "35", "gitVersion": "v1.35.0"},
            "/api": {"kind": "APIVersions", "versions": ["v1"]},
            "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
            "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": [resource]},
            f"/api/v1/namespaces/{NAMESPACE}/secrets/gw-stats-gateway-redis": secret,
        }
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def password_of(*words: str, values: str = "{}") -> str:
    return environment(manifests(values, *words), {})["REDIS_PASSWORD"]


def test_a_password_is_made_once_and_kept(cluster: str) -> None:
    first = password_of()
    assert len(first) == 40
    assert first.isalnum()
    assert password_of() != first
    asked = ("--dry-run=server", "--kube-apiserver", cluster)
    assert password_of(*asked) == "earlier-password"
    assert password_of(*asked, values="redis: {bundled: {password: another-one}}") == "another-one"


def test_a_cluster_that_does_not_answer_is_an_error_and_no_new_password() -> None:
    code, out, err = template("{}", "--dry-run=server", "--kube-apiserver", f"http://127.0.0.1:{free_port()}")
    assert (code, out) == (1, "")
    assert "connection refused" in err
