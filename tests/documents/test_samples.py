"""The samples for a deployment are what the program that reads each of them accepts, and fit each other."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from gateway import __version__
from gateway.redis_url import MASK
from gateway.settings import Settings, load_settings
from tests.documents.pages import ROOT
from tests.promtool import promtool
from tests.upstream.origin import certificate

SAMPLES = ROOT / "docs" / "samples"
UNIT = (SAMPLES / "stats-gateway.service").read_text()
NGINX = (SAMPLES / "nginx.conf").read_text()


@pytest.fixture(autouse=True)
def _no_settings_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading the sample's settings leaves nothing for other tests."""
    monkeypatch.setenv("STATS_GATEWAY_CONFIG", "")
    monkeypatch.delenv("STATS_GATEWAY_CONFIG")


def sample() -> Settings:
    return load_settings(SAMPLES / "gateway.toml", strict=True, redis_url="redis://127.0.0.1:6379/0")


def test_the_settings_file_is_read_and_its_comments_name_settings() -> None:
    settings = sample()
    assert settings.workers == 2
    assert settings.admin_tokens["prometheus"].role == "read-only"
    named = re.findall(r"STATS_GATEWAY_([A-Z_]+)", (SAMPLES / "gateway.toml").read_text())
    assert {name.lower() for name in named} <= Settings.model_fields.keys()


def test_the_settings_are_those_of_the_proxies_in_front() -> None:
    settings = sample()
    assert MASK not in settings.public_url
    caddy = (SAMPLES / "Caddyfile").read_text()
    for text in (NGINX, caddy):
        assert settings.public_url.removeprefix("https://") in text
        assert all(host in text for host in settings.admin_hosts)
        assert f"127.0.0.1:{settings.port}" in text
        assert f"127.0.0.1:{settings.admin_port}" in text
    waits = [float(seconds) for seconds in re.findall(r"proxy_read_timeout (\d+)s", NGINX)]
    assert waits
    assert min(waits) > settings.caller_timeout


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    unit = tmp_path / "stats-gateway.service"
    program = Path(sys.executable).with_name("stats-gateway")
    assert UNIT.count("/opt/stats-gateway/bin/stats-gateway") == 1
    unit.write_text(UNIT.replace("/opt/stats-gateway/bin/stats-gateway", str(program)))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_unit_leaves_time_to_drain() -> None:
    (seconds,) = re.findall(r"^TimeoutStopSec=(\d+)$", UNIT, re.MULTILINE)
    settings = sample()
    assert float(seconds) > settings.drain_seconds + settings.caller_timeout + settings.upstream_timeout
    assert f"WorkingDirectory={Path(settings.registry.get_secret_value()).parent}" in UNIT


def test_compose_starts_this_version_with_settings_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    services = yaml.safe_load((SAMPLES / "compose.yaml").read_text())["services"]
    gateway = services["gateway"]
    assert gateway["image"] == f"stats-gateway:{__version__}"
    for name, value in gateway["environment"].items():
        monkeypatch.setenv(name, value)
    settings = load_settings(strict=True)
    assert settings.redis_url.get_secret_value() == "redis://redis:6379/0"
    assert all(port.startswith("127.0.0.1:") for port in gateway["ports"])
    image = (ROOT / "Dockerfile").read_text()
    assert f"{gateway['volumes'][0].partition(':')[2]}/tenants.toml" in image
    assert "--maxmemory-policy volatile-lru" in services["redis"]["command"]


def test_nginx_accepts_its_configuration(tmp_path: Path) -> None:
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if nginx is None:
        pytest.skip("nginx is not installed")
    certificate(tmp_path)
    text = re.sub(r"(ssl_certificate(?:_key)?) [^;]+", rf"\1 {tmp_path / 'origin.pem'}", NGINX)
    conf = tmp_path / "nginx.conf"
    conf.write_text(f"pid {tmp_path}/pid; error_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{text}\n}}\n")
    done = subprocess.run(
        [nginx, "-t", "-q", "-p", str(tmp_path), "-c", str(conf)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_prometheus_accepts_its_configuration(tmp_path: Path) -> None:
    (tmp_path / "alerts.rules.yml").write_bytes((ROOT / "helm/stats-gateway/files/alerts.rules.yml").read_bytes())
    sample = (SAMPLES / "prometheus.yml").read_text()
    assert f"127.0.0.1:{Settings.model_fields['admin_port'].default}" in sample
    token = tmp_path / "token"
    token.write_text("0" * 64)
    (tmp_path / "prometheus.yml").write_text(sample.replace("/etc/prometheus/stats-gateway-token", str(token)))
    assert "rules found" in promtool("check", "config", str(tmp_path / "prometheus.yml"))
