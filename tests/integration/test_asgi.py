"""The public app alone, under servers that are not the gateway's own."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2 as httpx
import pytest

from tests.integration.stage import Stage, await_answer, get, spawned, staged
from tests.loopback import LOOPBACK
from tests.redis_server import free_port

TARGET = "/lboro/timeline/day/views/article/5?start_date=2026-03-01&end_date=2026-03-09"
SERVERS = {"uvicorn": ["--no-date-header"], "granian": ["--interface", "asgi"]}


@pytest.fixture(params=SERVERS)
def url(request: pytest.FixtureRequest) -> Iterator[tuple[str, Stage]]:
    server = request.param
    with staged("--no-examples", budget="unlimited", redis_url="memory://") as stage:
        stage.tenant("reports", "lboro")
        words = ["--factory", "gateway.asgi:app", "--port", str(free_port()), *SERVERS[server]]
        with spawned(words, stage.environment, stage.folder / "server.log", server) as process:
            await_answer(f"{process.url}/-/health/ready", process)
            yield process.url, stage


def test_it_answers_as_ever_and_each_answer_has_one_date(url: tuple[str, Stage]) -> None:
    base, stage = url
    key = {"X-API-Key": stage.keys["reports"]}
    miss, *hits = (get(f"{base}{TARGET}", headers=key) for _ in range(4))
    direct = get(f"{stage.sandbox.url}{TARGET}", auth=("lboro", "sandbox-lboro"))
    others = [get(f"{base}{TARGET}"), get(f"{base}/-/health/live"), get(f"{base}/-/nothing")]
    assert [other.status_code for other in others] == [401, 200, 404]
    assert "fwd=uri-miss; stored" in miss.headers["cache-status"]
    assert all("; hit; ttl=" in hit.headers["cache-status"] for hit in hits)
    assert {answer.content for answer in (miss, *hits)} == {direct.content}
    for answer in (miss, *hits, *others):
        assert len(answer.headers.get_list("date")) == 1

    count = {
        "content": b'{"groups": [{"id": 3}]}',
        "headers": key | {"Content-Type": "application/json"},
        **LOOPBACK,
    }
    asked = [httpx.post(f"{where}/count/articles", **count) for where in (stage.sandbox.url, base, base)]
    assert len({each.content for each in asked}) == 1
    assert "; hit; ttl=" in asked[2].headers["cache-status"]
    larger = httpx.post(f"{base}/count/articles", **count | {"content": b" " * 65_537})
    assert (larger.status_code, larger.json()["code"]) == (413, "GatewayBodyTooLarge")
