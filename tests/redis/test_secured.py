"""Redis by TLS, with an ACL user that may do just what the gateway does; and a registry behind sentinels."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from pydantic import SecretStr

from gateway.settings import Settings
from gateway.tenants.registry import open_registry
from gateway.tenants.tenant import Pair
from tests.documents.pages import ROOT
from tests.integration.stage import Process, Stage, get, staged
from tests.redis_fleet import Watched, until, watched_redis
from tests.redis_server import RedisServer, free_port
from tests.tenants.places import KEY
from tests.upstream.origin import certificate

OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
(TOLD,) = re.findall(r"`(on >… [^`]+)`", OPERATIONS)
USER = " ".join(TOLD.split()).replace("…", "pw-of-the-gateway")
"""What docs/operations.md tells to give the gateway's user."""


@pytest.fixture
def secured(shared_redis: RedisServer, tmp_path: Path) -> Iterator[tuple[RedisServer, str]]:
    certificate(tmp_path)
    plain, port = free_port(), free_port()
    file = str(tmp_path / "origin.pem")
    more = ["--tls-cert-file", file, "--tls-key-file", file, "--tls-ca-cert-file", file]
    more += ["--tls-port", str(port), "--tls-auth-clients", "no", "--user", *("gateway " + USER).split()]
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(plain, folder, more=more)
        try:
            server.start()
            yield (
                server,
                f"rediss://gateway:pw-of-the-gateway@127.0.0.1:{port}/0?ssl_ca_certs={file}",
            )
        finally:
            server.kill()


def served(stage: Stage, **settings: object) -> None:
    """A gateway that uses its Redis: an answer is shared with a second one."""
    stage.reset_calls()
    first, second = stage.serve(**settings), stage.serve(**settings)
    headers = {"X-API-Key": stage.keys["reports"]}
    answers = [get(f"{each.url}/total/views/article/5", headers=headers) for each in (first, second)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert "hit" in answers[1].headers["cache-status"]
    assert stage.calls()["total"] == 1
    for gateway in (first, second):
        until(partial(is_well, gateway), gateway.output)
        assert "pw-of-the-gateway" not in gateway.output


def is_well(gateway: Process) -> bool:
    return bool(get(f"{gateway.url}/-/health/ready").json() == {"status": "ok"})


def test_tls_and_an_acl_user_are_enough(secured: tuple[RedisServer, str]) -> None:
    _, url = secured
    with staged("--no-examples", budget="unlimited", redis_url=url) as stage:
        stage.tenant("reports", "lboro")
        served(stage)


def test_the_registry_is_reached_by_tls_too(secured: tuple[RedisServer, str]) -> None:
    server, url = secured
    settings = Settings(registry=SecretStr(url), encryption_keys=SecretStr(KEY))
    registry = open_registry(settings)
    registry.add("reports", "Reports", Pair("lboro", "lboro", "secret"))
    assert list(open_registry(settings).load().tenants) == ["reports"]
    assert server.call("EXISTS", "sgw:{registry}:tenants") == 1


def test_a_certificate_that_nobody_signed_is_refused(secured: tuple[RedisServer, str]) -> None:
    _, url = secured
    with staged("--no-examples", budget="unlimited", redis_url=url.partition("?")[0]) as stage:
        gateway = stage.serve()
        assert get(f"{gateway.url}/-/health/ready").json() == {"status": "degraded"}


def test_a_registry_behind_sentinels_follows_the_master(shared_redis: RedisServer, prefix: str) -> None:
    with watched_redis() as watched:
        settings = Settings(
            registry=SecretStr(watched.url),
            redis_prefix=prefix,
            encryption_keys=SecretStr(KEY),
        )
        registry = open_registry(settings)
        registry.add("reports", "Reports", Pair("lboro", "lboro", "secret"))
        assert watched.master.call("HEXISTS", f"{prefix}:{{registry}}:tenants", "reports") == 1
        _failed_over(watched)
        registry.add("more", "More")
        assert watched.master.call("HEXISTS", f"{prefix}:{{registry}}:tenants", "more") == 1


def _failed_over(watched: Watched) -> None:
    before = watched.master
    before.call("WAIT", 1, 2_000)
    before.kill()
    until(lambda: watched.master is not before, "no failover")
