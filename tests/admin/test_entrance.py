"""Who is let in at the admin listener, on real gateways, over real sockets: guesses, sources, cookies, headers."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx2 as httpx
import pytest

from gateway.admin.sessions import PER_MINUTE
from tests.admin.web.conftest import admin_url
from tests.admin.web.visitor import SETTINGS, TOKEN, WATCHING, Visitor
from tests.integration.stage import Process, Stage, get, staged, until
from tests.redis_server import RedisServer

METRIC = "stats_gateway_admin_wrong_tokens_total"
WAYS = [
    ("POST", "/sign-in", "form"),
    ("GET", "/api/tenants", "api"),
    ("GET", "/api/explore?path=/", "api"),
    ("POST", "/api/purge", "api"),
    ("GET", "/metrics", "metrics"),
]
"""Where a token can be tried."""


@pytest.fixture(scope="module")
def stage(shared_redis: RedisServer) -> Iterator[Stage]:
    """Two processes that share a Redis."""
    settings = {"redis_url": shared_redis.url, "redis_prefix": "entrance", "budget": "unlimited"}
    with staged(**settings, **SETTINGS, allow_anonymous="true") as stage:
        stage.tenant("reports", "lboro")
        stage.serve()
        stage.serve()
        yield stage


@pytest.fixture
def somebody(stage: Stage) -> Iterator[Visitor]:
    """At the first process, from an address of their own."""
    with closing(Visitor(admin_url(stage.gateways[0]))) as visitor:
        yield visitor


@pytest.fixture
def admin(somebody: Visitor) -> Visitor:
    """Signed in."""
    assert somebody.sign_in().status_code == 303
    return somebody


def tried(visitor: Visitor, method: str, path: str, token: str) -> httpx.Response:
    """A token, tried at one of the ways in."""
    if path == "/sign-in":
        return visitor.sign_in(token)
    return visitor.client.request(method, path, headers={"Authorization": f"Bearer {token}"})


def audits(gateway: Process, address: str) -> list[dict[str, Any]]:
    """The lines of the audit log about an address."""
    lines = [json.loads(line) for line in gateway.settled.splitlines() if '"event": "audit"' in line]
    return [line for line in lines if line["on"].get("address") == address]


def wrong_tokens(gateway: Process, via: str) -> float:
    text = get(f"{admin_url(gateway)}/metrics").text
    (found,) = [line for line in text.splitlines() if line.startswith(f'{METRIC}{{via="{via}"}}')]
    return float(found.rpartition(" ")[2])


@pytest.mark.parametrize(("method", "path", "via"), WAYS)
def test_guesses_are_limited_counted_and_in_the_audit_log_wherever_they_come(
    stage: Stage, somebody: Visitor, method: str, path: str, via: str
) -> None:
    gateway, address = stage.gateways[0], somebody.client.headers["X-Forwarded-For"]
    before, much = wrong_tokens(gateway, via), PER_MINUTE + 3
    answers = [tried(somebody, method, path, f"hunter2-guess-{number}") for number in range(much)]
    statuses = [each.status_code for each in answers]
    assert statuses[:PER_MINUTE] == [401] * PER_MINUTE
    assert statuses[-1] == 429
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60
    assert wrong_tokens(gateway, via) == before + much
    lines = audits(gateway, address)
    assert [line["status"] for line in lines] == statuses
    assert {line["admin"] for line in lines} == {"nobody"}
    assert {line["operation"] for line in lines} == {f"{method} {path.partition('?')[0]}"}
    assert "hunter2-guess" not in gateway.output


def test_who_was_limited_at_one_way_is_limited_at_all_in_every_process_and_the_right_token_at_none(
    stage: Stage, somebody: Visitor
) -> None:
    for _ in range(PER_MINUTE + 3):
        tried(somebody, "GET", "/api/tenants", "wrong")
    address = {"X-Forwarded-For": somebody.client.headers["X-Forwarded-For"]}
    with closing(Visitor(admin_url(stage.gateways[1]))) as there:
        there.client.headers.update(address)
        for visitor in (somebody, there):
            for method, path, _ in WAYS:
                until(lambda v=visitor, m=method, p=path: tried(v, m, p, "wrong").status_code == 429)
                for _ in range(PER_MINUTE + 3):
                    assert tried(visitor, method, path, TOKEN).status_code in (200, 303, 400)
            assert tried(visitor, "GET", "/api/queue", WATCHING).status_code == 200


def test_who_brings_no_token_or_a_session_that_ended_guesses_nothing(stage: Stage, somebody: Visitor) -> None:
    for headers in ({}, {"Authorization": "Basic eDp5"}, {"Authorization": "Bearer"}):
        for _ in range(PER_MINUTE + 3):
            assert somebody.get("/api/tenants", headers=headers).status_code == 401
    somebody.sign_in()
    old = dict(somebody.cookies)
    somebody.post("/sign-out")
    somebody.client.cookies.update(old)
    for _ in range(PER_MINUTE + 3):
        assert somebody.get("/api/tenants").status_code == 401
    assert (
        audits(stage.gateways[0], somebody.client.headers["X-Forwarded-For"])[-1]["operation"]
        != "GET /api/tenants"
    )


FOREIGN: list[dict[str, str]] = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "http://evil.example"},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": "null"},
    {"Referer": "http://127.0.0.1:1/page"},
]
"""What a browser says of a request that another origin's page made. A page on another port of this host is of the
same site."""
DOING = [
    ("GET", "/api/explore?path=/total/views/article/23"),
    ("HEAD", "/api/explore?path=/total/views/article/23"),
    ("GET", "/explore?path=/total/views/article/23"),
    ("GET", "/explore?family=totals&item_id=23&window=none"),
    ("GET", "/api/tenants"),
    ("POST", "/api/purge"),
    ("POST", "/api/purge/preview"),
    ("POST", "/cache/purge"),
    ("POST", "/sign-out"),
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_a_request_with_the_cookie_that_another_origins_page_made_does_nothing(
    stage: Stage, admin: Visitor, headers: dict[str, str]
) -> None:
    csrf = admin.csrf
    stage.reset_calls()
    for method, path in DOING:
        given = {"X-CSRF-Token": csrf} | headers
        if path.startswith("/api") or method == "GET":
            answer = admin.client.request(
                method, path, json={"all": True} if method == "POST" else None, headers=given
            )
        else:
            answer = admin.client.post(path, data={"csrf": csrf, "all": "on", "confirmed": "yes"}, headers=given)
        assert answer.status_code == 403, (method, path)
    assert stage.calls()["total"] == 0
    assert admin.get("/tenants").status_code == 200, "still signed in"


@pytest.mark.parametrize(
    ("host", "origin", "scheme", "own"),
    [
        ("127.0.0.1", "http://127.0.0.1", "http", True),
        ("127.0.0.1:80", "http://127.0.0.1", "http", True),
        ("127.0.0.1:443", "https://127.0.0.1", "https", True),
        ("127.0.0.1", "https://127.0.0.1", "https", True),
        ("LOCALHOST:443", "https://localhost", "http", True),  # by a proxy in front that says nothing of https
        ("[::1]:443", "https://[::1]", "https", True),
        ("127.0.0.1", "http://127.0.0.1", "https", False),
        ("127.0.0.1:80", "https://127.0.0.1", "https", False),
        ("127.0.0.1:443", "http://127.0.0.1", "http", False),
        ("127.0.0.1:8081", "http://127.0.0.1", "http", False),
        ("127.0.0.1", "http://127.0.0.1:8080", "http", False),
        ("127.0.0.1:80", "ftp://127.0.0.1", "http", False),
        ("127.0.0.1", "http://127.0.0.1:http", "http", False),
    ],
)
def test_origin_and_host_are_the_same_by_their_scheme_and_its_port(
    admin: Visitor, host: str, origin: str, scheme: str, own: bool
) -> None:
    headers = {"Host": host, "Origin": origin, "X-Forwarded-Proto": scheme}
    csrf, (cookie,) = admin.csrf, admin.cookies.items()
    given = headers | {"Cookie": "=".join(cookie)}
    assert admin.client.post("/sign-in", data={"token": TOKEN}, headers=headers).status_code == (
        303 if own else 403
    )
    wanted = 200 if own else 403
    assert admin.get("/api/tenants", headers=given).status_code == wanted
    change = admin.client.patch("/api/tenants/reports", json={"note": "x"}, headers=given | {"X-CSRF-Token": csrf})
    assert change.status_code == wanted


def test_what_asks_the_service_needs_more_than_a_browser_that_says_nothing(stage: Stage, admin: Visitor) -> None:
    csrf = admin.csrf
    stage.reset_calls()
    hosts: tuple[dict[str, str], ...] = (
        {},
        {"Host": "10.0.0.5:8081"},
    )  # over http, a browser sends Sec-Fetch-Site to the loopback only
    (cookie,) = admin.cookies.items()
    for host in hosts:
        headers = host | {"Cookie": "=".join(cookie)}
        for method, path in DOING[:4]:
            assert admin.client.request(method, path, headers=headers).status_code == 403, (method, path)
        for path in ("/api/tenants", "/api/explain?path=/total/views/article/23", "/explore", "/metrics"):
            assert admin.get(path, headers=headers).status_code == 200, "reading does nothing"
    assert stage.calls()["total"] == 0
    assert admin.get(DOING[0][1], headers={"X-CSRF-Token": csrf}).status_code == 200
    assert admin.get(DOING[0][1], headers={"X-CSRF-Token": "wrong"}).status_code == 403


def test_a_page_of_our_own_and_who_types_an_address_are_served(stage: Stage, admin: Visitor) -> None:
    own = str(admin.client.base_url).rstrip("/")
    for headers in (
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": own},
        {"Referer": f"{own}/explore"},
    ):
        for path in ("/api/explore?path=/total/views/article/23", "/explore?path=/total/views/article/23"):
            assert admin.get(path, headers=headers).status_code == 200, (path, headers)
    bearer = {"Authorization": f"Bearer {TOKEN}", "Sec-Fetch-Site": "cross-site"}
    assert admin.get("/api/explore?path=/total/views/article/23", headers=bearer).status_code == 200, (
        "no cookie acts"
    )


@pytest.mark.parametrize(
    ("headers", "said"),
    [({"Sec-Fetch-Site": "same-site"}, "sent by another site"), ({}, "The browser does not say")],
    ids=["foreign", "silent"],
)
def test_the_explore_page_offers_what_a_link_asks_and_a_click_asks_it(
    admin: Visitor, headers: dict[str, str], said: str
) -> None:
    path = "/explore?path=/total/views/article/23"
    answer = admin.get(path, headers=headers)
    assert said in answer.text
    assert 'value="/total/views/article/23"' in answer.text
    assert answer.headers["referrer-policy"] == "same-origin", "so that the click is seen to be ours"
    assert admin.get(path, headers={"Referer": str(answer.url)}).status_code == 200


def test_only_a_page_of_our_own_puts_the_idle_end_off(stage: Stage) -> None:
    """Two sessions begin together and are used as often: the one that other pages use ends."""
    url = admin_url(stage.serve(redis_prefix="idle", session_idle="3"))
    own, other = {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "same-site"}
    with closing(Visitor(url)) as here, closing(Visitor(url)) as elsewhere:
        for visitor in (here, elsewhere):
            assert visitor.sign_in().status_code == 303
        assert elsewhere.get("/tenants", headers=other).status_code == 200

        def ended() -> bool:
            assert here.get("/tenants", headers=own).status_code == 200
            return elsewhere.get("/tenants", headers=other).status_code == 303

        until(ended, pause=0.2)


def series(text: str) -> set[str]:
    """The metrics' lines without their values."""
    return {line.rpartition(" ")[0] for line in text.splitlines() if "tenant=" in line}


def scrape(gateway: Process, **headers: str) -> httpx.Response:
    return get(f"{admin_url(gateway)}/metrics", headers=headers)


def counted(text: str) -> float:
    name = "stats_gateway_requests_total{"
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))


def test_metrics_name_tenants_to_those_alone_who_show_a_token(stage: Stage, admin: Visitor) -> None:
    gateway = stage.gateways[0]
    other = stage.tenant("other-one")
    until(lambda: get(f"{gateway.url}/total/views/article/23", headers={"X-API-Key": other}).status_code == 200)
    get(f"{gateway.url}/total/views/article/23", headers={"X-API-Key": stage.keys["reports"]})
    get(f"{gateway.url}/total/views/article/23")
    bare = scrape(gateway)
    assert bare.status_code == 200
    assert series(bare.text)
    assert all('tenant=""' in line for line in series(bare.text)), "neither a name nor a number of tenants"
    lines = [line.rpartition(" ")[0] for line in bare.text.splitlines() if line.startswith("stats_gateway")]
    assert len(lines) == len(set(lines)), "each series once"
    for token in (TOKEN, WATCHING):
        told = scrape(gateway, Authorization=f"Bearer {token}")
        assert {'tenant="reports"', 'tenant="other-one"'} <= {
            part.rstrip("}") for line in series(told.text) for part in line.split(",")
        }
        assert counted(told.text) == counted(bare.text), "the sums are the same"
    assert 'tenant="reports"' in admin.get("/metrics").text
    assert 'tenant="reports"' not in admin.get("/metrics", headers={"Sec-Fetch-Site": "same-site"}).text
    assert scrape(gateway, Authorization="Bearer wrong").status_code == 401, "a scraper's mistake is seen"


@pytest.mark.parametrize(
    "settings", [{"metrics_public": "true"}, {"admin_token": "", "admin_tokens": "{}"}], ids=["public", "no token"]
)
def test_metrics_name_tenants_to_all_where_that_is_asked_for_or_there_is_no_token(
    stage: Stage, settings: dict[str, str]
) -> None:
    gateway = stage.serve(**settings)
    get(f"{gateway.url}/total/views/article/23", headers={"X-API-Key": stage.keys["reports"]})
    assert 'tenant="reports"' in scrape(gateway).text


def test_several_workers_name_no_tenant_either(stage: Stage) -> None:
    gateway = stage.serve(workers=2)
    for number in range(8):
        get(f"{gateway.url}/total/views/article/{number}", headers={"X-API-Key": stage.keys["reports"]})
    until(lambda: counted(scrape(gateway).text) == 8)
    assert all('tenant=""' in line for line in series(scrape(gateway).text))


def test_whatever_the_admin_listener_answers_keeps_its_type_and_to_itself(admin: Visitor, stage: Stage) -> None:
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    answers = [
        admin.get("/tenants"),
        admin.get("/static/console.css"),
        admin.get("/sign-out"),
        admin.get("/nothing"),
        *(admin.get(path, headers=bearer) for path in ("/api/tenants", "/api/nothing", "/metrics", "/docs")),
        *(admin.get(path) for path in ("/openapi.json", "/api/explain", "/nothing/at/all")),
        admin.get("/api/tenants", headers={"Authorization": "Bearer wrong"}),
        admin.get("/api/tenants", headers={"Host": "evil.example"}),
        admin.client.delete("/metrics"),
        admin.client.post("/sign-in", content=b"x" * 70_000, headers={"Content-Type": "text/plain"}),
        admin.client.post("/api/purge", json={"item": "x"}, headers=bearer),
    ]
    for answer in answers:
        assert answer.headers.get_list("x-content-type-options") == ["nosniff"], answer.url
        assert answer.headers.get_list("cross-origin-resource-policy") == ["same-origin"], answer.url
    with socket.create_connection(("127.0.0.1", stage.gateways[0].admin_port), timeout=20) as raw:
        raw.sendall(b"no HTTP at all\r\n\r\n")
        head = raw.makefile("rb").read().lower()
    assert b"400" in head.partition(b"\r\n")[0]
    assert b"x-content-type-options: nosniff" in head
    assert b"cross-origin-resource-policy: same-origin" in head


@pytest.mark.parametrize("others", [{"redis_prefix": "another"}, {"redis_url": "memory://"}], ids=str)
def test_two_gateways_on_one_host_leave_each_others_sessions_alone(stage: Stage, others: dict[str, str]) -> None:
    other = stage.serve(**others)
    with closing(Visitor(admin_url(stage.gateways[0]))) as browser:
        assert browser.sign_in().status_code == 303
        for base in (admin_url(other), admin_url(stage.gateways[0])):
            browser.client.base_url = base  # a browser sends a host's cookies to all of its ports
            if base == admin_url(other):
                assert browser.get("/tenants").headers["location"] == "/sign-in?next=%2Ftenants", "not: ended"
                assert browser.sign_in().status_code == 303
            assert browser.get("/tenants").status_code == 200
        assert browser.post("/sign-out").status_code == 303
        browser.client.base_url = admin_url(other)
        assert browser.get("/tenants").status_code == 200
        assert len(browser.cookies) == 1


def test_processes_without_redis_on_one_host_are_instances_of_their_own(stage: Stage) -> None:
    one, two = stage.serve(redis_url="memory://"), stage.serve(redis_url="memory://")
    with closing(Visitor(admin_url(one))) as browser:
        browser.sign_in()
        browser.client.base_url = admin_url(two)
        browser.sign_in()
        assert len(browser.cookies) == 2


def test_no_cookie_name_tells_of_redis(stage: Stage, admin: Visitor) -> None:
    (name,) = admin.cookies
    assert len(name.rpartition("_")[2]) == 8


@pytest.mark.parametrize("path", ["/sign-in", "/sign-out", "/tenants/+new", "/cache/purge", "/api/purge"])
@pytest.mark.parametrize("framing", ["Content-Length: 1000", "Transfer-Encoding: chunked"])
def test_a_client_that_hangs_up_while_it_sends_leaves_no_traceback(
    stage: Stage, admin: Visitor, path: str, framing: str
) -> None:
    gateway = stage.gateways[0]
    cookie = "; ".join(f"{name}={value}" for name, value in admin.cookies.items())
    piece = b"token=hunt" if "Length" in framing else b"a\r\ntoken=hunt\r\n"
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {cookie}\r\nX-CSRF-Token: {admin.csrf}\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\n{framing}\r\n\r\n"
    )
    before = gateway.output.count('"status": 400')
    with socket.create_connection(("127.0.0.1", gateway.admin_port), timeout=20) as raw:
        raw.sendall(head.encode() + piece)
    if path != "/sign-out":  # what changes nothing leaves no line
        until(lambda: gateway.output.count('"status": 400') > before)
    assert admin.get("/tenants").status_code == 200
    assert "Traceback" not in gateway.output
    assert "internal_error" not in gateway.output
