"""A real nginx with the sample's configuration, in front of a real gateway."""

from __future__ import annotations

import os
import re
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2 as httpx
import pytest

from tests.documents.pages import ROOT
from tests.integration.stage import Process, Stage, staged, until
from tests.redis_server import free_port
from tests.upstream.origin import certificate

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
SAMPLE = (ROOT / "docs" / "samples" / "nginx.conf").read_text()
TARGET = "/lboro/total/views/article/1001"


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    if NGINX is None:
        pytest.skip("nginx is not installed")
    settings = {"trusted_proxies": "127.0.0.1", "admin_hosts": "gateway.example.org", "budget": "unlimited"}
    with staged("--no-examples", invalid_keys_per_minute=1, **settings) as stage:
        stage.tenant("reports", "lboro")
        stage.serve()
        yield stage


class Front:
    """The nginx in front: where it is, and whom its clients trust."""

    def __init__(self, port: int, trust: ssl.SSLContext) -> None:
        self.url, self.trust = f"https://127.0.0.1:{port}", trust

    def client(self, host: str = "stats.example.org", address: str = "127.0.0.1") -> httpx.Client:
        """A client from an address of the loopback, which calls the gateway by a name."""
        transport = httpx.HTTPTransport(verify=self.trust, local_address=address)
        return httpx.Client(base_url=self.url, headers={"Host": host}, transport=transport, timeout=20)


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/-/health/ready").status_code == 200
    except httpx.ConnectError:
        return False


@contextmanager
def running(gateway: Process, folder: Path) -> Iterator[Front]:
    """The sample as it is, but for ports and certificates."""
    _, trust = certificate(folder)
    port = free_port()
    text = re.sub(r"(ssl_certificate(?:_key)?) [^;]+", rf"\1 {folder / 'origin.pem'}", SAMPLE)
    text = text.replace("listen 443 ", f"listen 127.0.0.1:{port} ")
    text = text.replace("127.0.0.1:8080", f"127.0.0.1:{gateway.port}").replace(
        "127.0.0.1:8081", f"127.0.0.1:{gateway.admin_port}"
    )
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    text += "".join(f"{kind}_temp_path {folder / kind};\n" for kind in kinds)
    user = "user root;" if os.getuid() == 0 else ""
    conf = folder / "nginx.conf"
    conf.write_text(
        f"daemon off; pid {folder}/pid; error_log stderr; {user}\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{text}\n}}\n"
    )
    assert NGINX is not None
    with (folder / "nginx.log").open("wb") as log:
        process = subprocess.Popen([NGINX, "-p", str(folder), "-c", str(conf)], stderr=log)
    try:
        front = Front(port, trust)
        with front.client() as client:
            until(lambda: process.poll() is None and answers(client))
        yield front
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def front(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with running(stage.gateways[0], tmp_path_factory.mktemp("nginx")) as front:
        yield front


@pytest.mark.parametrize("target", [TARGET, f"{TARGET}?", "/lboro//%7Enothing/é?a=%2F&a=|"])
def test_a_target_goes_through_as_it_was_written(stage: Stage, front: Front, target: str) -> None:
    key = {"X-API-Key": stage.keys["reports"]}
    with front.client() as client:
        through = client.get(target, headers=key)
    direct = httpx.get(stage.gateways[0].url + target, headers=key, trust_env=False)
    assert (through.status_code, through.content) == (direct.status_code, direct.content)


def test_each_client_has_an_address_of_its_own_and_forges_none(front: Front) -> None:
    statuses = []
    for number, address in enumerate(("127.0.0.9", "127.0.0.9", "127.0.0.9", "127.0.0.10")):
        with front.client(address=address) as client:
            forged = {"X-API-Key": f"sgw_wrong{number}", "X-Forwarded-For": f"203.0.113.{number}"}
            statuses.append(client.get(TARGET, headers=forged).status_code)
    assert statuses == [401, 429, 429, 401]


def test_a_batch_streams_while_its_calls_wait(stage: Stage, front: Front) -> None:
    stage.close_gate()
    try:
        body = {"targets": ["/lboro/total/views/article/1002"]}
        key = {"X-API-Key": stage.keys["reports"]}
        with front.client() as client, client.stream("POST", "/-/batch", json=body, headers=key) as stream:
            lines = stream.iter_lines()
            assert "plan" in next(lines)
            stage.open_gate()
            assert '"totals"' in "".join(lines)
    finally:
        stage.open_gate()


def test_the_console_is_for_the_operators_network_alone(front: Front) -> None:
    with front.client("gateway.example.org") as client:
        answer = client.get("/sign-in")
    assert (answer.status_code, answer.headers["server"][:5]) == (403, "nginx")
