"""Tenants told by the network they call from: over raw sockets, from many networks of the loopback."""

from __future__ import annotations

import base64
import json
import random
import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import pytest

from tests.cli.command import run
from tests.integration.stage import Process, Stage, await_answer, get, spawned, staged, until
from tests.redis_server import free_port
from tests.wire import WireAnswer, ask

WINDOW = "?start_date=2014-01-01&end_date=2014-03-31"
LBORO = f"/lboro/timeline/month/views/article/23{WINDOW}"
MONASH = f"/monash/timeline/month/views/article/23{WINDOW}"
OPEN = "/total/views/article/23"
LIBRARY, BRANCH, OUTSIDE, PROXY = "127.1.0.5", "127.1.2.5", "127.0.0.1", "127.9.0.1"
PAGE, EVIL = "https://pages.example", "https://evil.example"
DAYS = {"library": 9_000_000, "branch": 8_000_000, "anonymous": 7_000_000}
POLICIES = {tenant: f'"day";q={most};w=86400' for tenant, most in DAYS.items()}
"""What an answer tells of its caller's limit, by which it can be seen as whose it was given."""
SETTINGS = {
    "budget": "unlimited",
    "allow_anonymous": "true",
    "anonymous_requests_per_second": "0",
    "anonymous_requests_per_day": str(DAYS["anonymous"]),
    "invalid_keys_per_minute": "0",
    "public_hosts": "gateway,[::1]:8443",
    "trusted_proxies": "127.9.0.0/24",
}


@dataclass
class Street:
    """Gateways of one registry: with the fast lane, without, and under a server that is not ours."""

    stage: Stage
    fronts: dict[str, Process]

    def ask(
        self, front: str, source: str, target: str = LBORO, *headers: str, host: str = "gateway"
    ) -> WireAnswer:
        lines = [f"GET {target} HTTP/1.1", *([f"Host: {host}"] if host else []), *headers, "", ""]
        data = "\r\n".join(lines).encode("latin-1")
        return ask(("127.0.0.1", self.fronts[front].port), data, source=source)

    def statuses(self, source: str, target: str = LBORO, *headers: str, host: str = "gateway") -> list[int]:
        """What each front says, four times: from the service, from what is near, and by the fast lane."""
        return [
            self.ask(front, source, target, *headers, host=host).status for front in self.fronts for _ in range(4)
        ]

    def all_say(self, status: int, source: str, target: str = LBORO, *headers: str, host: str = "gateway") -> bool:
        return set(self.statuses(source, target, *headers, host=host)) == {status}


@pytest.fixture(scope="module")
def street() -> Iterator[Street]:
    with staged("--no-examples", **SETTINGS) as stage:
        for tenant, institution, network in (
            ("library", "lboro", "127.1.0.0/16"),
            ("branch", "monash", "127.1.2.0/24"),
        ):
            stage.tenant(tenant, institution)
            stage.registry().change(tenant, networks=[network], limits={"requests_per_day": DAYS[tenant]})
        stage.registry().change("library", origins=[PAGE])
        stage.registry().change("branch", origins=["*"])
        words = ["--factory", "gateway.asgi:app", "--no-date-header", "--port", str(free_port())]
        with spawned(words, stage.environment, stage.folder / "uvicorn.log", "uvicorn") as uvicorn:
            await_answer(f"{uvicorn.url}/-/health/ready", uvicorn)
            yield Street(
                stage,
                {"lane": stage.serve(), "plain": stage.serve(prepared_max_bytes=0), "uvicorn": uvicorn},
            )


def test_the_network_with_the_longest_prefix_tells_the_tenant(street: Street) -> None:
    assert street.all_say(200, LIBRARY, LBORO)
    assert street.all_say(403, LIBRARY, MONASH)
    assert street.all_say(200, BRANCH, MONASH)
    assert street.all_say(403, BRANCH, LBORO)
    assert street.all_say(401, OUTSIDE, LBORO)
    assert street.all_say(401, OUTSIDE, MONASH)


def given(street: Street) -> float:
    return street.fronts["lane"].metric("stats_gateway_prepared_answers_total")


@pytest.mark.parametrize("front", ["lane", "plain", "uvicorn"])
def test_the_same_bytes_from_another_address_get_that_ones_answer(street: Street, front: str) -> None:
    callers = {"library": LIBRARY, "branch": BRANCH, "anonymous": OUTSIDE}
    before = given(street)
    for _ in range(6):
        for tenant, source in callers.items():
            answer = street.ask(front, source, OPEN)
            assert answer.status == 200
            assert answer.headers["ratelimit-policy"] == POLICIES[tenant]
            assert answer.headers["cache-control"].startswith("private, max-age=")
            varied = {word.strip().lower() for word in answer.headers["vary"].split(",")}
            assert varied >= {"x-api-key", "authorization", "origin", "sec-fetch-site"}
            assert ("cross-origin-resource-policy" in answer.headers) is (tenant != "anonymous")
        for source, status in ((LIBRARY, 200), (BRANCH, 403), (OUTSIDE, 401)):
            assert street.ask(front, source, LBORO).status == status
    assert (given(street) > before + 6) is (front == "lane"), "and the lane is open to those who use networks"


KEPT_OUT = {
    "Forwarded": ["Forwarded: for=127.1.0.5"],
    "X-Forwarded-For": ["X-Forwarded-For: 127.1.0.5"],
    "X-Forwarded-For of another": ["X-Forwarded-For: 198.51.100.7"],
    "X-Forwarded-For that is empty": ["X-Forwarded-For:"],
    "Via": ["Via: 1.1 ingress"],
    "X-Real-IP": ["X-Real-IP: 127.1.0.5"],
    "X-Forwarded-Proto": ["X-Forwarded-Proto: https"],
    "X-Forwarded-Host": ["X-Forwarded-Host: gateway"],
    "True-Client-IP": ["True-Client-IP: 127.1.0.5"],
    "CF-Connecting-IP": ["CF-Connecting-IP: 127.1.0.5"],
    "X-Envoy-External-Address": ["X-Envoy-External-Address: 127.1.0.5"],
    "CDN-Loop": ["CDN-Loop: cdn.example"],
    "a foreign Origin": [f"Origin: {EVIL}"],
    "an opaque Origin": ["Origin: null"],
    "an Origin of any": ["Origin: *"],
    "an Origin on another port": ["Origin: http://gateway:8443"],
    "an Origin that begins like ours": ["Origin: http://gateway.evil.example"],
    "two Origins": [f"Origin: {PAGE}", f"Origin: {EVIL}"],
    "a page of another site": ["Sec-Fetch-Site: cross-site"],
    "a page of a sibling": ["Sec-Fetch-Site: same-site"],
    "a page of ours on another site": ["Origin: http://gateway", "Sec-Fetch-Site: cross-site"],
    "two sites": ["Sec-Fetch-Site: none", "Sec-Fetch-Site: cross-site"],
    "an unknown key": ["X-API-Key: sgw_0123456789_" + "0" * 27],
    "no key in X-API-Key": ["X-API-Key:"],
    "nonsense in X-API-Key": ["X-API-Key: guest"],
    "an unknown scheme": ["Authorization: Negotiate YII="],
    "an institution's password": ["Authorization: Basic " + base64.b64encode(b"lboro:secret").decode()],
    "an empty password": ["Authorization: Basic " + base64.b64encode(b"lboro:").decode()],
}


@pytest.mark.parametrize("headers", KEPT_OUT.values(), ids=KEPT_OUT.keys())
def test_who_may_not_be_its_own_is_not_told_by_the_network(street: Street, headers: list[str]) -> None:
    assert street.all_say(401, LIBRARY, LBORO, *headers)
    assert street.all_say(200, LIBRARY, LBORO), "which is no matter to the next"


@pytest.mark.parametrize("host", ["127.0.0.1", "other", "gateway.", "gateway.evil.example", "evil", "localhost"])
def test_only_the_gateways_own_names_count_as_the_internet_cannot_make_them_point_here(
    street: Street, host: str
) -> None:
    assert street.all_say(401, LIBRARY, host=host)


LET_IN = {
    "no page": [],
    "a page on the same host": ["Origin: http://gateway"],
    "the same by its browser's word": ["Sec-Fetch-Site: same-origin"],
    "what a person typed": ["Sec-Fetch-Site: none"],
    "the tenant's own page": [f"Origin: {PAGE}", "Sec-Fetch-Site: cross-site"],
    "a cookie, which is no key": ["Cookie: session=1"],
}


@pytest.mark.parametrize("headers", LET_IN.values(), ids=LET_IN.keys())
@pytest.mark.parametrize("host", ["gateway", "GATEWAY"])
def test_who_is_beyond_doubt_is_told(street: Street, headers: list[str], host: str) -> None:
    assert street.all_say(200, LIBRARY, LBORO, *headers, host=host)


@pytest.mark.parametrize("host", ["gateway:80", "gateway:8080", "[::1]", "[::1]:1"])
def test_a_port_makes_no_difference(street: Street, host: str) -> None:
    assert street.all_say(200, LIBRARY, host=host)


def test_pages_read_what_the_tenant_lets_them_by_name(street: Street) -> None:
    for front in street.fronts:
        for _ in range(4):
            mine = street.ask(front, LIBRARY, LBORO, f"Origin: {PAGE}")
            assert mine.headers["access-control-allow-origin"] == PAGE
            assert "access-control-allow-origin" not in street.ask(front, LIBRARY, LBORO).headers
            assert "access-control-allow-origin" not in street.ask(front, BRANCH, MONASH).headers
            foreign = street.ask(front, BRANCH, MONASH, f"Origin: {EVIL}")
            assert (foreign.status, foreign.headers["access-control-allow-origin"]) == (401, "*")


def test_a_key_decides_wherever_it_comes_from(street: Street) -> None:
    key = f"X-API-Key: {street.stage.keys['branch']}"
    assert street.all_say(200, LIBRARY, MONASH, key)
    assert street.all_say(403, LIBRARY, LBORO, key)
    assert street.all_say(200, OUTSIDE, MONASH, key)


@pytest.mark.parametrize(
    "target",
    [
        f"{LBORO}&api_key={{key}}", f"{LBORO}&X-API-Key={{key}}", f"{LBORO}&key={{key}}", f"{LBORO}&token={{key}}",
        f"{LBORO}&access_token={{key}}", f"/{{key}}{LBORO}", f"/{{key}}@lboro{OPEN}", f"/lboro:{{key}}{OPEN}",
        f"/lboro;{{key}}/timeline/month/views/article/23{WINDOW}",
    ],
)  # fmt: skip
def test_a_key_is_never_taken_from_a_path_or_query(street: Street, target: str) -> None:
    for front in street.fronts:
        answer = street.ask(front, OUTSIDE, target.format(key=street.stage.keys["library"]))
        assert answer.headers.get("ratelimit-policy", POLICIES["anonymous"]) == POLICIES["anonymous"]
        assert answer.status == 401 or not target.startswith(LBORO)


# Behind proxies

BY_PROXY = {
    "the caller's address": (200, ["X-Forwarded-For: 127.1.0.5"]),
    "with a port": (200, ["X-Forwarded-For: 127.1.0.5:4711"]),
    "as IPv6": (200, ["X-Forwarded-For: ::ffff:127.1.0.5"]),
    "through two proxies": (200, ["X-Forwarded-For: 127.1.0.5, 127.9.0.2"]),
    "in two headers": (200, ["X-Forwarded-For: 127.1.0.5", "X-Forwarded-For: 127.9.0.2"]),
    "in two ways": (200, ["X-Forwarded-For: 127.1.0.5", "X-Real-IP: 127.1.0.5", "X-Forwarded-Proto: https"]),
    "the proxy before in the other way": (200, ["X-Forwarded-For: 127.1.0.5, 127.9.0.2", "X-Real-IP: 127.9.0.2"]),
    "another's": (401, ["X-Forwarded-For: 198.51.100.7"]),
    "none": (401, []),
    "no address": (401, ["X-Forwarded-For: unknown"]),
    "an empty one": (401, ["X-Forwarded-For:"]),
    "a proxy's": (401, ["X-Forwarded-For: 127.9.0.3"]),
    "whom the caller asks for": (401, ["X-Forwarded-For: 198.51.100.7, 127.1.0.5"]),
    "itself, by the caller's word": (401, ["X-Forwarded-For: 127.1.0.5, 127.1.0.5"]),
    "whom it asks for, between proxies": (401, ["X-Forwarded-For: 198.51.100.7, 127.1.0.5, 127.9.0.2"]),
    "nobody before the caller": (401, ["X-Forwarded-For: , 127.1.0.5"]),
    "with a zone": (401, ["X-Forwarded-For: ::ffff:127.1.0.5%eth0"]),
    "another in another way": (401, ["X-Forwarded-For: 127.1.0.5", "X-Real-IP: 198.51.100.7"]),
    "another in nginx's way": (401, ["X-Forwarded-For: 127.1.0.5", "X-Original-Forwarded-For: 198.51.100.7"]),
    "somebody's Via": (401, ["X-Forwarded-For: 127.1.0.5", "Via: 1.1 squid"]),
    "somebody's Forwarded": (401, ["X-Forwarded-For: 127.1.0.5", "Forwarded: for=198.51.100.7"]),
    "a chain without end": (401, ["X-Forwarded-For: 127.1.0.5" + ", 127.9.0.2" * 40]),
}  # fmt: skip


@pytest.mark.parametrize(("status", "headers"), BY_PROXY.values(), ids=BY_PROXY.keys())
def test_behind_trusted_proxies_whom_they_name_beyond_doubt_is_told(
    street: Street, status: int, headers: list[str]
) -> None:
    assert street.all_say(status, PROXY, LBORO, *headers)


@pytest.mark.parametrize("seed", range(4))
def test_whatever_headers_stand_beside_each_other_both_ways_say_the_same(street: Street, seed: int) -> None:
    draw = random.Random(seed)
    forwarding = [line for _, lines in BY_PROXY.values() for line in lines]
    pages = [line for lines in (*LET_IN.values(), *KEPT_OUT.values()) for line in lines]
    for _ in range(15):
        lines = draw.sample(forwarding, draw.choice([0, 1, 1, 2])) + draw.sample(pages, draw.choice([0, 0, 1]))
        source = draw.choice([LIBRARY, BRANCH, OUTSIDE, PROXY, PROXY])
        target, host = draw.choice([LBORO, MONASH, OPEN]), draw.choice(["gateway", "gateway", "other"])
        for number in range(3):
            answers = [
                street.ask(front, source, target, *lines, f"User-Agent: {number}", host=host)
                for front in ("lane", "plain")
            ]
            one, other = ([each.status, each.body, *map(each.headers.get, TOLD)] for each in answers)
            assert one == other, (source, target, host, lines)


TOLD = ("ratelimit-policy", "vary", "access-control-allow-origin", "cross-origin-resource-policy", "content-type")


def test_who_comes_by_no_address_is_never_told(street: Street) -> None:
    path = str(street.stage.folder / "public.socket")
    words = ["--factory", "gateway.asgi:app", "--uds", path, "--port", "0"]
    data = f"GET {LBORO} HTTP/1.1\r\nHost: gateway\r\n\r\n".encode()
    with spawned(words, street.stage.environment, street.stage.folder / "uds.log", "uvicorn") as process:
        until(lambda: "running on" in process.output)
        for more in (b"", b"X-Forwarded-For: 127.1.0.5\r\n"):
            with closing(socket.socket(socket.AF_UNIX)) as connection:
                connection.connect(path)
                connection.sendall(data[:-2] + more + b"\r\n")
                assert connection.recv(65_536).startswith(b"HTTP/1.1 401 ")


def test_without_public_hosts_nobody_is_told(street: Street) -> None:
    gateway = street.stage.serve(public_hosts="")
    for target, status in ((LBORO, 401), (OPEN, 200)):
        answer = ask(
            ("127.0.0.1", gateway.port), f"GET {target} HTTP/1.1\r\nHost: gateway\r\n\r\n".encode(), source=LIBRARY
        )
        assert answer.status == status
    assert answer.headers["cache-control"].startswith("public, ")
    assert "Origin" not in answer.headers["vary"]
    assert answer.headers["ratelimit-policy"] == POLICIES["anonymous"]


def test_the_log_the_usage_and_explain_tell_of_it(street: Street) -> None:
    gateway = street.stage.serve(log_hits="1", admin_token="hunter2-admin")
    address, data = ("127.0.0.1", gateway.port), f"GET {LBORO} HTTP/1.1\r\nHost: gateway\r\n"
    for more in ("", "", "", "", "Via: 1.1 ingress\r\n", f"Origin: {EVIL}\r\n"):
        ask(address, (data + more + "\r\n").encode(), source=LIBRARY)
    ask(address, (data.replace(": gateway", ": evil") + "\r\n").encode(), source=BRANCH)
    ask(address, (data + "\r\n").encode(), source=OUTSIDE)
    lines = [json.loads(line) for line in gateway.settled.splitlines() if '"event": "request"' in line]
    told = [tuple(line.get(name) for name in ("tenant", "network", "network_withheld", "key")) for line in lines]
    assert told[:4] == [("library", "127.1.0.0/16", None, None)] * 4
    assert told[4:] == [
        ("anonymous", "127.1.0.0/16", "forwarded", None),
        ("anonymous", "127.1.0.0/16", "origin", None),
        ("anonymous", "127.1.2.0/24", "host", None),
        ("anonymous", None, None, None),
    ]
    admin = f"http://127.0.0.1:{gateway.admin_port}"
    bearer = {"Authorization": "Bearer hunter2-admin"}
    assert 'tenant="library"' in get(f"{admin}/metrics", headers=bearer).text
    explained = get(f"{admin}/api/explain", params={"path": LBORO, "address": BRANCH}, headers=bearer).json()
    assert (explained["tenant"], explained["network"]) == ("branch", "127.1.2.0/24")
    assert explained["decision"] == "Refuse"
    elsewhere = get(f"{admin}/api/explain", params={"path": OPEN, "address": OUTSIDE}, headers=bearer).json()
    assert elsewhere["tenant"] == "anonymous"
    assert "network" not in elsewhere
    wrong = get(f"{admin}/api/explain", params={"path": OPEN, "address": "there"}, headers=bearer)
    assert wrong.status_code == 400


# The registry changes


def test_what_the_registry_says_anew_holds_for_the_same_bytes(street: Street) -> None:
    registry = street.stage.registry()
    registry.add("moving")
    registry.change("moving", networks=["127.5.0.0/16"], limits={"requests_per_day": 5_000_000})
    mover, policy = "127.5.0.1", '"day";q=5000000;w=86400'

    def policies() -> set[str]:
        """As whose all fronts take it, time and again."""
        return {
            street.ask(front, mover, OPEN).headers["ratelimit-policy"] for front in street.fronts for _ in range(4)
        }

    until(lambda: policies() == {policy})
    registry.change("moving", networks=None)
    until(lambda: policies() == {POLICIES["anonymous"]})
    registry.change("branch", networks=["127.1.2.0/24", "127.5.0.0/24"])
    until(lambda: policies() == {POLICIES["branch"]})
    assert street.all_say(200, mover, MONASH)
    registry.change("moving", networks=["127.5.0.1"])
    until(lambda: policies() == {policy})
    assert street.all_say(403, mover, MONASH)
    registry.change("moving", enabled=False)
    until(lambda: policies() == {POLICIES["anonymous"]})
    assert street.all_say(401, mover, MONASH), "a disabled tenant's callers are not another's"
    registry.remove("moving")
    until(lambda: policies() == {POLICIES["branch"]})
    registry.change("branch", networks=["127.1.2.0/24"])
    until(lambda: policies() == {POLICIES["anonymous"]})


def test_a_network_that_two_claim_is_neithers_and_the_gateway_says_so(street: Street) -> None:
    """An editor's slip; commands refuse it."""
    stage = street.stage
    stage.registry().add("twin")
    path = stage.folder / "tenants.toml"
    done = run("tenant", "set", "twin", "--network", "127.1.2.0/24", "--registry", str(path))
    assert "'branch'" in (done.error or "")
    before = path.read_text()
    path.write_text(before.replace("[tenants.twin]", '[tenants.twin]\nnetworks = ["127.1.2.0/24"]'))
    until(lambda: street.all_say(401, BRANCH, MONASH))
    assert street.all_say(200, LIBRARY, LBORO)
    assert street.all_say(401, BRANCH, LBORO), "nor that of whoever has the network around it"
    state = get(f"{street.fronts['lane'].url}/-/health/ready").json()
    assert (state["status"], state["registry"]["reason"]) == ("degraded", "broken")
    assert "claimed by tenants 'branch' and 'twin'" in street.fronts["lane"].settled
    late = stage.serve()
    assert "claimed by tenants 'branch' and 'twin'" in late.settled
    assert run("tenant", "set", "twin", "--disable", "--registry", str(path)).code == 0, "it stops no edit"
    stage.registry().remove("twin")
    until(lambda: street.all_say(200, BRANCH, MONASH))
    until(lambda: get(f"{street.fronts['lane'].url}/-/health/ready").json()["status"] == "ok")
