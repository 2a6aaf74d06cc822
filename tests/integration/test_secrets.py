"""No secret leaves its place: a scan of everything that the gateway writes or answers."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest
import redis

from tests.integration.stage import Stage, get, staged
from tests.redis_server import BINARY, RedisServer, redis_server

REDIS_PASSWORD = "a-redis-password-7f3a"


@pytest.fixture
def server(shared_redis: RedisServer) -> Iterator[RedisServer]:
    assert BINARY
    with redis_server(password=REDIS_PASSWORD) as server:
        yield server


def everything_in(url: str) -> bytes:
    """All keys and values of a Redis, whatever their type."""
    client = redis.Redis.from_url(url)
    commands = {b"string": "GET", b"hash": "HGETALL", b"set": "SMEMBERS", b"zset": "ZRANGE"}
    found = []
    for key in client.scan_iter():
        command = commands[client.execute_command("TYPE", key)]  # type: ignore[no-untyped-call]
        span = ("0", "-1") if command == "ZRANGE" else ()
        found.append(repr((key, client.execute_command(command, key, *span))))  # type: ignore[no-untyped-call]
    client.close()
    return "\n".join(found).encode()


def test_no_secret_is_found_in_redis_logs_metrics_or_answers(server: RedisServer) -> None:
    with staged(redis_url=server.url, budget="unlimited", log_level="debug", allow_anonymous=True) as stage:
        stage.tenant("reports", "lboro")
        stage.tenant("wrong", "lboro", password="a-wrong-password-99")
        gateway = stage.serve()
        answers = visited(stage, gateway.url)
        written = [everything_in(server.url), gateway.output.encode()]
        written.append(get(f"http://127.0.0.1:{gateway.admin_port}/metrics").content)
        registry = (stage.folder / "tenants.toml").read_bytes()
    haystack = b"\n".join([*answers, *written])
    for name, secret in secrets_of(stage).items():
        assert secret not in haystack, name
        assert secret not in registry, name
    assert b'"totals"' in haystack
    assert b"request_id" in haystack


def visited(stage: Stage, url: str) -> list[bytes]:
    """The head and body of answers of every kind."""
    targets = (
        "/total/views/article/23",
        "/lboro/total/views/article/23",
        "/lboro/timeline/day/views/article/1?start_date=2014-01-01&end_date=2014-02-01",
        "/monash/timeline/day/views/article/1",
        "/lboro/nothing/here",
        "/total/hugs/article/1",
        "/%zz",
        "/-/health/ready",
    )
    heads = [
        {"X-API-Key": stage.keys["reports"]},
        {"X-API-Key": stage.keys["wrong"]},
        {"Authorization": f"Bearer {stage.keys['reports']}"},
        {"Authorization": "Basic " + basic("lboro", "sandbox-lboro")},
        {"X-API-Key": stage.keys["reports"], "Authorization": f"Bearer {stage.keys['wrong']}"},
        {},
    ]
    found = []
    for target in targets:
        for head in heads:
            answer = get(url + target, headers=head)
            found.append(repr(answer.headers.raw).encode() + answer.content)
    return found


def secrets_of(stage: Stage) -> dict[str, bytes]:
    secrets = {f"key of {name}": key.split("_")[2] for name, key in stage.keys.items()}
    secrets |= {
        "password": "sandbox-lboro",
        "wrong password": "a-wrong-password-99",
        "Authorization": basic("lboro", "sandbox-lboro"),
        "wrong Authorization": basic("lboro", "a-wrong-password-99"),
        "Redis password": REDIS_PASSWORD,
    }
    return {name: secret.encode() for name, secret in secrets.items()}


def basic(username: str, password: str) -> str:
    return base64.b64encode(f"{username}:{password}".encode()).decode()
