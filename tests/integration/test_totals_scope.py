"""``totals_scope``: totals asked for once for all, or as whoever asks; before a service that tells both apart."""

from __future__ import annotations

import base64
import json
import re
import secrets
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import httpx2 as httpx
import pytest

from gateway.tenants.tenant import Pair
from tests.integration.recorder import Heard, Recorder, recording
from tests.integration.stage import Process, Stage, get, staged, until
from tests.loopback import LOOPBACK
from tests.redis_server import RedisServer

TOKEN = "an-admin-token"
OPENLY, AS_ONE, AS_OTHER = 5, 71, 72
"""What the service counts for whoever has no credential, and for two of one institution."""
WINDOW = "start_date=2014-01-01&end_date=2014-02-01"
FORBIDDEN = '{"data": null, "code": "Forbidden", "message": "Unauthorized request"}'
JSON, HTML = "application/json; charset=UTF-8", "text/html"
ANSWERS = {
    "open": (200, "", JSON),
    "closed": (403, FORBIDDEN, JSON),
    "locked": (401, FORBIDDEN, JSON),
    "walled": (403, "<h1>Sorry</h1>", HTML),
}
"""What an institution's totals are to whoever has no credential."""
fresh_id = count(1_000).__next__


@dataclass
class Service:
    """Institutions whose totals are open or not, whatever comes after a dash in their names."""

    open_until_told: bool = True
    held: bool = False
    released: threading.Event = field(default_factory=threading.Event)

    def answer(self, heard: Heard) -> bytes:
        target = heard.line.split()[1].decode()
        given = re.search(rb"\r\nauthorization: basic (\S+)", heard.head.lower())
        institution = target.split("/")[1].partition("-")[0]
        status, body, kind = ANSWERS.get(institution, ANSWERS["open"])
        if self.held and given is None:
            assert self.released.wait(20)
        if institution == "turning":
            status, body, kind = ANSWERS["open" if self.open_until_told else "closed"]
        if given is not None:
            found = re.search(rb"(?i)\r\nauthorization: basic (\S+)", heard.head)
            assert found is not None
            name = base64.b64decode(found[1]).partition(b":")[0]
            status, body, kind = 200, told(target, AS_ONE if name == b"one" else AS_OTHER), JSON
        elif "/timeline/" in target:
            status, body, kind = ANSWERS["closed"]
        elif not body:
            body = told(target, OPENLY)
        lines = [f"HTTP/1.1 {status} Said", f"Content-Type: {kind}", f"Content-Length: {len(body)}", "", ""]
        return ("\r\n".join(lines) + body).encode()


def told(target: str, number: int) -> str:
    if "/timeline/" in target:
        return json.dumps({"timeline": {"2014-01-01": number}})
    if re.search(r"/total/(views|downloads|shares)/", target):
        return json.dumps({"totals": number})
    return json.dumps({"views": number, "downloads": number, "shares": number})


@dataclass
class Front:
    """Two gateways whose totals are one for all, and one where they are as by default, on one Redis."""

    service: Service
    origin: Recorder
    stage: Stage

    def ask(self, target: str, tenant: str = "", number: int = 0) -> httpx.Response:
        headers = {"X-API-Key": self.stage.keys[tenant]} if tenant else {}
        return get(self.stage.gateways[number].url + target, headers=headers)

    def total(self, target: str, tenant: str = "", number: int = 0) -> int:
        """The number in an answer; minus its status where there is none."""
        answer = self.ask(target, tenant, number)
        return int(answer.json()["totals"]) if answer.status_code == 200 else -answer.status_code

    @property
    def calls(self) -> list[tuple[str, bool]]:
        """The targets that were asked for, and whether with a credential."""
        return [
            (heard.line.split()[1].decode(), b"\r\nauthorization:" in heard.head.lower())
            for heard in self.origin.heard
        ]

    def scope(self, target: str, tenant: str, number: int = 0) -> str:
        found = self.admin("GET", "/api/explain", number, params={"path": target, "tenant": tenant})
        return str(found["scope"]["kind"])

    def admin(self, method: str, path: str, number: int = 0, **more: Any) -> Any:
        url = f"http://127.0.0.1:{self.stage.gateways[number].admin_port}{path}"
        headers = {"Authorization": f"Bearer {TOKEN}"}
        return httpx.request(method, url, headers=headers, **more, **LOOPBACK).raise_for_status().json()


INSTITUTIONS = ("open", "closed", "closed-joined", "closed-purged", "closed-alone", "locked", "walled", "turning")


@pytest.fixture(scope="module")
def running(shared_redis: RedisServer) -> Iterator[Front]:
    service = Service()
    shared = {"redis_url": shared_redis.url, "redis_prefix": f"t{secrets.token_hex(6)}", "budget": "unlimited"}
    more = {"allow_anonymous": "true", "anonymous_requests_per_second": 0, "admin_token": TOKEN}
    with recording(service.answer) as origin, staged(upstream=origin.url, **shared, **more) as stage:
        with_pairs(stage)
        stage.serve(totals_scope="public", pass_methods="PATCH")
        stage.serve(totals_scope="public")
        stage.serve()
        yield Front(service, origin, stage)


def with_pairs(stage: Stage) -> None:
    """Two tenants with a pair of their own for each institution, and one that has none."""
    for name in ("one", "other", "none"):
        stage.tenant(name)
    for name in ("one", "other"):
        for institution in INSTITUTIONS:
            stage.registry().add(name, None, Pair(institution, name, "a password"))


@pytest.fixture
def front(running: Front) -> Front:
    running.origin.forget()
    running.service.open_until_told, running.service.held = True, False
    running.service.released.clear()
    return running


@pytest.mark.parametrize(
    "form", ["/open/total/views/article/{}", "/open/total/article/{}"], ids=["total", "overview"]
)
def test_totals_are_asked_for_once_for_all_without_a_credential(front: Front, form: str) -> None:
    target = form.format(fresh_id())
    answers = [front.ask(target, tenant, number) for tenant in ("one", "other", "none", "") for number in (0, 1)]
    assert {answer.text for answer in answers} == {told(target, OPENLY)}
    assert front.calls == [(target, False)]
    assert front.scope(target, "one") == "public"
    assert answers[0].headers["cache-control"].startswith("private")


def test_all_else_inside_an_institution_goes_with_the_callers_credential(front: Front) -> None:
    target = f"/open/timeline/day/views/article/{fresh_id()}?{WINDOW}"
    assert front.ask(target, "one").text == told(target, AS_ONE)
    assert front.ask(target, "other").text == told(target, AS_OTHER)
    assert front.ask(target, "none").status_code == 403
    assert front.ask(target).status_code == 401
    assert front.calls == [(target, True)] * 2
    unknown = f"/open/no/such/endpoint/{fresh_id()}"
    front.ask(unknown, "one")
    assert front.calls[-1] == (unknown, True)


def test_what_is_passed_on_goes_with_the_callers_credential_whatever_it_is(front: Front) -> None:
    target = f"/open/total/views/article/{fresh_id()}"
    headers = {"X-API-Key": front.stage.keys["one"]}
    answer = httpx.patch(front.stage.gateways[0].url + target, headers=headers, **LOOPBACK)
    assert (answer.text, front.calls) == (told(target, AS_ONE), [(target, True)])


def test_by_default_each_credential_asks_for_itself(front: Front) -> None:
    target = f"/open/total/views/article/{fresh_id()}"
    found = [front.total(target, tenant, 2) for tenant in ("one", "other", "none", "")]
    assert found == [AS_ONE, AS_OTHER, OPENLY, OPENLY]
    assert front.calls == [(target, True), (target, True), (target, False)]
    assert front.scope(target, "one", 2) == "credential"


@pytest.mark.parametrize(("institution", "status"), [("closed", -403), ("locked", -401)])
def test_where_the_service_refuses_that_each_gets_what_its_own_credential_gets(
    front: Front, institution: str, status: int
) -> None:
    first, second, third = (f"/{institution}/total/views/article/{fresh_id()}" for _ in range(3))
    assert front.total(first, "one") == AS_ONE
    assert front.calls == [(first, False), (first, True)]
    # Remembered: here at once, and in the whole fleet.
    assert front.total(second, "other") == AS_OTHER
    until(lambda: front.scope(third, "one", 1) == "credential")
    assert front.total(third, "one", 1) == AS_ONE
    assert front.calls[2:] == [(second, True), (third, True)]
    # Whoever has no credential gets what the service gives them, and never what a credential brought.
    for target in (first, second, third):
        assert [front.total(target, tenant, number) for tenant in ("none", "") for number in (0, 1)] == [
            status
        ] * 4
        assert front.total(target, "one") == AS_ONE


def test_those_who_joined_one_flight_fall_back_each_to_its_own(front: Front) -> None:
    target = f"/closed-joined/total/views/article/{fresh_id()}"
    front.service.held = True
    with ThreadPoolExecutor(6) as pool:
        asked = {
            (tenant, number): pool.submit(front.total, target, tenant, number)
            for tenant in ("one", "other", "none")
            for number in (0, 1)
        }
        until(lambda: sum(each.metric("stats_gateway_flight_waiters") for each in front.stage.gateways) == 6)
        front.service.released.set()
        found = {who: each.result() for who, each in asked.items()}
    assert found == {
        (tenant, number): answer
        for tenant, answer in (("one", AS_ONE), ("other", AS_OTHER), ("none", -403))
        for number in (0, 1)
    }
    assert sorted(front.calls) == [(target, False), (target, True), (target, True)]


@pytest.mark.parametrize("subject", [{"institution": "closed-purged"}, {"all": True}], ids=["it", "all"])
def test_a_purge_of_the_institution_forgets_what_was_found_out(front: Front, subject: dict[str, Any]) -> None:
    before, after = (f"/closed-purged/total/views/article/{fresh_id()}" for _ in range(2))
    front.total(before, "one")
    assert front.scope(before, "one") == "credential"
    front.admin("POST", "/api/purge", json=subject)
    assert front.scope(before, "one") == "public"
    front.origin.forget()
    assert front.total(after, "one") == AS_ONE
    assert front.calls == [(after, False), (after, True)]
    assert front.scope(before, "one") == "credential"


def test_what_is_not_the_services_word_tells_nothing_of_the_institution(front: Front) -> None:
    target = f"/walled/total/views/article/{fresh_id()}"
    answer = front.ask(target, "one")
    assert (answer.status_code, answer.text) == (403, "<h1>Sorry</h1>")
    assert front.calls == [(target, False)]
    assert front.scope(target, "one") == "public"


def test_an_institution_that_closes_ends_what_was_prepared_from_what_was_open(front: Front) -> None:
    kept, news = (f"/turning/total/views/article/{fresh_id()}" for _ in range(2))
    for _ in range(4):
        assert front.total(kept, "one") == OPENLY
    front.service.open_until_told = False
    assert front.total(news, "one", 1) == AS_ONE  # another process finds out
    until(lambda: front.total(kept, "one") == AS_ONE)
    assert front.total(kept, "none") == OPENLY  # stored, and no secret


def test_without_redis_each_process_finds_out_for_itself() -> None:
    service = Service()
    with recording(service.answer) as origin, staged(upstream=origin.url, budget="unlimited") as stage:
        with_pairs(stage)
        gateway: Process = stage.serve(totals_scope="public", redis_url="redis://127.0.0.1:1/0", redis_timeout=0.2)
        front = Front(service, origin, stage)
        targets = [f"/closed-alone/total/views/article/{fresh_id()}" for _ in range(3)]
        assert [front.total(target, "one") for target in targets] == [AS_ONE] * 3
        assert front.calls == [(targets[0], False), *((target, True) for target in targets)]
        assert "internal_error" not in gateway.output
