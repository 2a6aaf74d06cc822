"""Once a gateway is ready, nothing is imported and no file opened for the first time: there may be none left."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import httpx2 as httpx

from tests.admin.web.visitor import SETTINGS, TOKEN, Visitor
from tests.integration.stage import Process, Stage, get, staged, until
from tests.loopback import LOOPBACK
from tests.redis_server import RedisServer, redis_server
from tests.wire import Wire

HEADS = (
    b"GET /total/views/article/1 HTTP/1.1\r\n\r\n",
    b"nonsense\r\n\r\n",
    b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http://elsewhere/ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /count/articles HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}",
    b"POST /count/articles HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
    b"GET /total/views/article/1 HTTP/1.1\r\nHost: a\r\nX-API-Key: sgw_AbCdEf1234_" + b"x" * 43 + b"\r\n\r\n",
    b"GET /total/views/article/1 HTTP/1.1\r\nHost: a\r\nAuthorization: Basic ????\r\n\r\n",
    b"GET /total/views/article/1 HTTP/1.1\r\nHost: a\r\nX-For",  # and no more
)
TARGETS = (
    "/total/views/article/1",
    "/lboro/total/views/article/1",
    "/timeline/month/views/article/1?start_date=2020-01-01&end_date=2020-12-31",
    "/lboro/timeline/month/views/article/1",
    "/breakdown/day/views/article/1?start_date=2024-02-29&end_date=2031-01-01",
    "/top/views/article?count=3",
    "/top/views/article?sub_item=referral",
    "/total/article/1",
    "/total/nonsense/article/1",
    "/monash/timeline/month/views/article/1",
    "/unknown/endpoint",
    "/-/nothing",
    "/-/docs",
    "/-/docs/",
    "/-/openapi.json",
)
WISHES: tuple[dict[str, str], ...] = (
    {},
    {"Accept-Encoding": "gzip"},
    {"Accept-Encoding": "zstd"},
    {"Accept-Encoding": "identity;q=0"},
    {"Range": "bytes=0-3"},
    {"If-None-Match": '"x", *'},
    {"If-Modified-Since": "Sun, 06 Nov 1994 08:49:37 GMT"},
    {"Cache-Control": "no-cache"},
    {"Cache-Control": "only-if-cached, max-age=0"},
    {"Origin": "https://reports.example"},
    {"X-Forwarded-For": "10.0.0.1, 10.0.0.2", "X-Request-ID": "one"},
)
PLANS: tuple[dict[str, object], ...] = (
    {"status": 500},
    {"status": 503, "body": "<html>", "content_type": "text/html"},
    {"status": 403, "body": "<html>", "content_type": "text/html"},
    {"status": 429, "headers": {"Retry-After": "Sun, 06 Nov 2094 08:49:37 GMT"}},
    {"status": 200, "body": "nonsense"},
    {"status": 200, "headers": {"Content-Encoding": "gzip"}, "body": "nonsense"},
    {"status": 302, "headers": {"Location": "http://elsewhere.example/"}},
)
PAGES = (
    *("/", "/docs", "/openapi.json", "/metrics", "/cache", "/explore"),
    *("/nothing", "/tenants", "/tenants/+new", "/tenants/nobody", "/tenants/reports", "/tenants/reports/edit"),
    *("/tenants/reports/credential", "/tenants/reports/remove", "/tenants/reports/keys/+new"),
    *("/explore?path=/total/views/article/1", "/cache?path=/total/views/article/1", "/static/overview.js"),
)


def everybody_asks(gateway: Process, stage: Stage) -> None:
    key = {"X-API-Key": stage.keys["reports"]}
    for target in TARGETS:
        for wish in WISHES:
            for who in ({}, key):
                get(gateway.url + target, headers=wish | who)
    for head in HEADS:
        with suppress(OSError, AssertionError), Wire(("127.0.0.1", gateway.port), timeout=3) as wire:
            wire.send(head).answer()
    httpx.head(gateway.url + TARGETS[0], headers=key, **LOOPBACK)
    httpx.options(gateway.url + TARGETS[0], headers={"Origin": "https://reports.example"}, **LOOPBACK)
    for number, plan in enumerate(PLANS):
        stage.plan(**plan)
        get(f"{gateway.url}/total/views/article/{1_000 + number}", headers=key)
        httpx.post(f"http://127.0.0.1:{gateway.admin_port}/api/gate/resume", headers=BEARER, **LOOPBACK)
        stage.reset_plan()


BEARER = {"Authorization": f"Bearer {TOKEN}"}


def administrators_ask(gateway: Process) -> None:
    base = f"http://127.0.0.1:{gateway.admin_port}"
    visitor = Visitor(base)
    visitor.get("/tenants")
    visitor.sign_in("wrong")
    visitor.sign_in()
    for page in PAGES:
        visitor.get(page)
    visitor.client.close()
    with httpx.Client(base_url=base, headers=BEARER, timeout=20, **LOOPBACK) as client:
        for path, methods in client.get("/openapi.json").json()["paths"].items():
            for method in methods:
                place = re.sub(r"{(\w+)}", lambda found: {"tenant": "reports"}.get(found[1], "x"), path)
                if method != "delete":
                    client.request(method, place, json={} if method in ("post", "put", "patch") else None)
                    client.request(
                        method, place, content=b"{nonsense", headers={"Content-Type": "application/json"}
                    )
        client.post("/api/tenants", json={"id": "more", "name": "More"})
        client.post("/api/tenants/more/keys", json={"label": "one"})
        client.delete("/api/tenants/more")


AGAIN = re.compile(r"open (\d+|/proc/self/(limits|stat)|/tmp/\w+(/\.?tenants\.toml[.\w]*)?)")
"""What is opened again and again: the registry, for reading and edits, and what metrics tell of the process."""


def late(record: Path, since: int) -> list[str]:
    """What was imported and opened, but for that."""
    return sorted(line for line in set(record.read_text()[since:].splitlines()) if not AGAIN.fullmatch(line))


def test_nothing_is_imported_or_opened_for_the_first_time_while_requests_are_answered(tmp_path: Path) -> None:
    record = tmp_path / "record"
    with redis_server() as server, staged(**SETTINGS, budget="unlimited", allow_anonymous=True) as stage:
        stage.environment["WATCHED"] = str(record)
        stage.environment["STATS_GATEWAY_UPSTREAM"] = stage.sandbox.url.replace("127.0.0.1", "localhost")
        stage.tenant("reports", "lboro")
        stage.registry().change("reports", origins=["https://reports.example"])
        gateway = stage.serve(
            module="tests.integration.watched",
            redis_url=server.url.replace("127.0.0.1", "localhost"),
            head_timeout=1,
            upstream_timeout=3,
        )
        began = len(record.read_text())
        everybody_asks(gateway, stage)
        administrators_ask(gateway)
        stage.tenant("dashboards", "monash")
        until(lambda: "registry_reloaded" in gateway.output)
        without_redis(gateway, server)
        stage.sandbox.kill()
        get(f"{gateway.url}/total/views/article/77")
        assert late(record, began) == []


def without_redis(gateway: Process, server: RedisServer) -> None:
    server.kill()
    until(lambda: get(f"{gateway.url}/-/health/ready").json()["status"] == "degraded")
    for target in TARGETS:
        get(gateway.url + target)
    server.start()
    until(lambda: get(f"{gateway.url}/-/health/ready").json()["status"] == "ok")
