"""Whoever provokes refusals is refused himself, and nobody else: on real sockets and a real Redis."""

from __future__ import annotations

import base64
import re
import socket
import socketserver
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from typing import Any

import httpx2 as httpx
import pytest

from tests.integration.scripted_origin import FORBIDDEN, HTML, JSON, PAGE, Reply, error
from tests.integration.stage import Process, Stage, get, staged, until
from tests.loopback import LOOPBACK
from tests.redis_server import RedisServer

WORD = "select"
"""What the firewall in front of the service does not like to see in a target."""
REFUSALS = {
    "403-html": Reply(403, PAGE, HTML).wire,
    "503-html": Reply(503, PAGE, HTML).wire,
    "429": Reply(429, error("TooManyRequests"), headers=("Retry-After: 300",)).wire,
    "reset": b"",
}
ANSWER = Reply(200, '{"timeline": {"total": 7}}', JSON, headers=("Cache-Control: max-age=600",)).wire
NO = Reply(403, FORBIDDEN).wire
HONEST_QUERIES = 6
ATTEMPTS = 30
"""So often an attacker has been refused before anybody else asks."""
RESTLESS = 0.2
"""Seconds for which an attacker's thread rests between two attempts: it need not load the machine."""
NUMBERS = count(1)


class Firewall(socketserver.ThreadingTCPServer):
    """Refuses targets with the word in them, and answers all others; ``asked`` are the targets that reached it.

    A request's content and credential may hold the word too. To targets with ``odd`` in them the service itself
    says 403.
    """

    daemon_threads = True

    def __init__(self, refusal: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Connection)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.refusal = refusal
        self.everything = False
        self.asked: list[str] = []


class Connection(socketserver.StreamRequestHandler):
    server: Firewall

    def handle(self) -> None:
        try:
            while line := self.rfile.readline():
                target = line.split(b" ")[1].decode()
                said = target
                length = 0
                while (field := self.rfile.readline().decode()) not in ("\r\n", ""):
                    name, _, value = field.partition(": ")
                    if name.lower() == "authorization":
                        said += base64.b64decode(value.split(" ")[1]).decode()
                    elif name.lower() == "content-length":
                        length = int(value)
                said += self.rfile.read(length).decode()
                self.server.asked.append(target)
                if not self._answer(said):
                    return
        except ConnectionError:
            return

    def _answer(self, said: str) -> bool:
        if not (WORD in said or self.server.everything):
            self.wfile.write(NO if "odd" in said else ANSWER)
        elif self.server.refusal:
            self.wfile.write(self.server.refusal)
        else:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        return True


@contextmanager
def firewall(refusal: bytes) -> Iterator[Firewall]:
    with Firewall(refusal) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def fleet(refusal: str, redis: RedisServer, prefix: str, **settings: Any) -> Iterator[tuple[Stage, Firewall]]:
    """Two gateways behind a firewall, three tenants, and anybody."""
    told = {"redis_url": redis.url, "redis_prefix": prefix, "budget": "20/s", "budget_burst": 1} | settings
    with firewall(REFUSALS[refusal]) as origin, staged(**told, allow_anonymous="true") as stage:
        stage.environment["STATS_GATEWAY_UPSTREAM"] = origin.url
        stage.environment["STATS_GATEWAY_ANONYMOUS_REQUESTS_PER_SECOND"] = "0"
        for name, institution in (("one", "lboro"), ("two", "monash"), ("bad", "melbourne")):
            stage.tenant(name, institution)
        stage.serve_several(2)
        yield stage, origin


def cold(institution: str = "", word: str = "") -> str:
    """A target that nobody has asked for."""
    return f"{institution}/timeline/total/views/article/{next(NUMBERS)}{word}?start_date=2014-01-01"


def ask(gateway: Process, target: str, key: str = "", address: str = "127.0.0.1") -> httpx.Response:
    with httpx.Client(timeout=40, **whence(address)) as client:
        return client.get(gateway.url + target, headers={"X-API-Key": key} if key else {})


def whence(address: str) -> dict[str, Any]:
    """The options of a client at this address."""
    return {"trust_env": False, "transport": httpx.HTTPTransport(local_address=address, verify=False)}


@contextmanager
def attack(
    stage: Stage, key: str, institution: str = "/melbourne", address: str = "127.0.0.1"
) -> Iterator[list[int]]:
    """Somebody asks what is refused, over and over: the same, and ever new targets; answers the statuses."""
    over, statuses = threading.Event(), [0]
    institution = institution if key else ""

    def attacker(gateway: Process) -> None:
        with httpx.Client(timeout=40, **whence(address)) as client:
            while not over.wait(RESTLESS):
                for target in (f"{institution}/timeline/total/views/article/{WORD}", cold(institution, WORD)):
                    headers = {"X-API-Key": key} if key else {}
                    statuses.append(client.get(gateway.url + target, headers=headers).status_code)

    threads = [threading.Thread(target=attacker, args=(gateway,)) for gateway in stage.gateways]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        over.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("caller", ["anonymous", "bad"])
@pytest.mark.parametrize("refusal", REFUSALS)
def test_decision_9_one_callers_refusals_stop_nobody_else(
    refusal: str, caller: str, shared_redis: RedisServer, prefix: str
) -> None:
    with fleet(refusal, shared_redis, prefix) as (stage, origin):
        with attack(stage, stage.keys.get(caller, "")) as statuses:
            until(lambda: len(statuses) > ATTEMPTS)  # so long, nobody else was active
            for number in range(HONEST_QUERIES):
                name, institution = (("one", "/lboro"), ("two", "/monash"))[number % 2]
                answer = ask(stage.gateways[number % 2], cold(institution), stage.keys[name])
                assert answer.status_code == 200, (number, answer.text)
        assert 200 not in statuses
        asked = [target for target in origin.asked if WORD in target]
        assert len(asked) < len(statuses) / 2, "he is refused without a call"
        assert ask(stage.gateways[0], cold("/lboro"), stage.keys["one"]).status_code == 200


@pytest.mark.parametrize("first", ["hostile-first", "honest-first"])
@pytest.mark.parametrize("hostile", [("anonymous",), ("key",), ("key", "anonymous")], ids="-and-".join)
def test_decision_9_neither_addresses_nor_keys_nor_both_of_one_person_stop_anybody(
    hostile: tuple[str, ...], first: str, shared_redis: RedisServer, prefix: str
) -> None:
    """Not another address without a key, not another key of the same tenant, not another tenant."""
    with fleet("403-html", shared_redis, prefix) as (stage, _), ExitStack() as attacks:
        second = stage.registry().add_key("bad", label="second")
        quiet = stage.keys["one"]
        known = {"X-API-Key": second, "Cache-Control": "only-if-cached"}  # asks the service nothing
        for gateway in stage.gateways:
            until(lambda gateway=gateway: get(gateway.url + cold(), headers=known).status_code == 504)
        honest = (("", "", "127.0.0.9"), ("/melbourne", second, "127.0.0.8"), ("/lboro", quiet, "127.0.0.7"))

        def answered(gateway: Process) -> None:
            for institution, key, address in honest:
                answer = ask(gateway, cold(institution), key, address)
                assert answer.status_code == 200, (institution, key == second, answer.text)

        if first == "honest-first":
            answered(stage.gateways[0])
        statuses = [
            attacks.enter_context(
                attack(stage, stage.keys["bad"] if who == "key" else "", address=f"127.0.0.{place}")
            )
            for who in hostile
            for place in (2, 3)
        ]
        until(lambda: all(len(each) > ATTEMPTS for each in statuses))
        for number in range(HONEST_QUERIES):
            answered(stage.gateways[number % 2])
        assert not any(200 in each for each in statuses)


def test_decision_9_a_service_that_refuses_two_tenants_closes_the_gate_and_says_why(
    shared_redis: RedisServer, prefix: str
) -> None:
    settings = {"gate_pause": 30, "admin_token": "hunter2-admin"}
    with fleet("403-html", shared_redis, prefix, **settings) as (stage, origin):
        one, two = stage.gateways
        for gateway, name, institution in ((one, "one", "/lboro"), (two, "two", "/monash")):
            assert ask(gateway, cold(institution), stage.keys[name]).status_code == 200
        origin.everything = True
        for gateway, name, institution in (
            (one, "one", "/lboro"),
            (one, "one", "/lboro"),
            (two, "two", "/monash"),
        ):
            answer = ask(gateway, cold(institution), stage.keys[name])
            assert (answer.status_code, answer.text) == (403, PAGE)
        until(lambda: ask(one, cold()).json()["code"] == "GatewayGateClosed")
        assert len(origin.asked) == 5
        headers = {"Authorization": "Bearer hunter2-admin"}
        told = get(f"http://127.0.0.1:{two.admin_port}/api/gate", headers=headers).json()
        assert (told["state"], told["why"], told["targets_refused"]) == ("closed", "refused", 3)
        for gateway in (one, two):
            until(lambda gateway=gateway: gateway_tells(gateway, "refused") == (1, 3))
            line = next(line for line in gateway.output.splitlines() if '"gate_closed"' in line)
            assert '"why": "refused"' in line
            assert re.search(r'"targets_refused": [23]', line)


def gateway_tells(gateway: Process, reason: str) -> tuple[float, float]:
    """The metrics of a gateway: whether the gate is closed for this reason, and how many targets are refused."""
    headers = {"Authorization": "Bearer hunter2-admin"}
    text = get(f"http://127.0.0.1:{gateway.admin_port}/metrics", headers=headers).text
    closed = re.search(rf'^stats_gateway_gate_reason{{reason="{reason}"}} (\S+)$', text, re.MULTILINE)
    refused = re.search(r"^stats_gateway_targets_refused (\S+)$", text, re.MULTILINE)
    assert closed is not None
    assert refused is not None
    return float(closed[1]), float(refused[1])


def test_a_429_pauses_the_credential_and_a_second_closes_the_gate(shared_redis: RedisServer, prefix: str) -> None:
    with fleet("429", shared_redis, prefix) as (stage, _):
        one, two = stage.gateways
        for name, institution in (("one", "/lboro"), ("two", "/monash")):
            assert ask(one, cold(institution), stage.keys[name]).status_code == 200
        assert ask(one, cold("/lboro", WORD), stage.keys["one"]).status_code == 429
        paused = ask(two, cold("/lboro"), stage.keys["one"])
        assert (paused.status_code, paused.json()["code"]) == (503, "GatewaySlowedDown")
        assert 200 < int(paused.headers["retry-after"]) <= 300
        assert ask(two, cold("/monash"), stage.keys["two"]).status_code == 200
        assert ask(two, cold("/monash", WORD), stage.keys["two"]).status_code == 429
        closed = ask(one, cold())
        assert (closed.status_code, closed.json()["code"]) == (503, "GatewayGateClosed")
        assert 200 < int(closed.headers["retry-after"]) <= 300


def test_decision_7_one_odd_question_refuses_no_credential(shared_redis: RedisServer, prefix: str) -> None:
    with fleet("403-html", shared_redis, prefix) as (stage, origin):
        one, two = stage.gateways
        key = stage.keys["one"]
        kept, odd = cold("/lboro"), cold("/lboro", "odd")
        assert ask(one, kept, key).status_code == 200
        for gateway in (one, two, one):
            assert (ask(gateway, odd, key).status_code, ask(gateway, odd, key).text) == (403, FORBIDDEN)
            assert ask(gateway, kept, key).status_code == 200
        assert ask(two, cold("/lboro"), key).status_code == 200
        assert ask(one, cold("/lboro", "odd"), key).status_code == 403
        assert ask(two, kept, key).status_code == 200
        assert ask(two, cold("/lboro", "odd"), key).status_code == 403
        assert origin.asked.count(odd) == 1
        for gateway in (one, two):
            until(lambda gateway=gateway: ask(gateway, kept, key).status_code == 403)


def test_what_is_refused_for_one_credential_is_asked_with_another(shared_redis: RedisServer, prefix: str) -> None:
    with fleet("403-html", shared_redis, prefix) as (stage, origin):
        gateway = stage.gateways[0]
        stage.tenant("wrong", "lboro", password=WORD)
        until(lambda: ask(gateway, cold(), stage.keys["wrong"]).status_code == 200)
        target = cold("/lboro")
        for status in (403, 503):
            assert ask(gateway, target, stage.keys["wrong"]).status_code == status
        assert ask(gateway, target, stage.keys["one"]).status_code == 200
        assert origin.asked.count(target) == 2


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_one_refused_question_is_one_target_however_it_is_asked(
    method: str, shared_redis: RedisServer, prefix: str
) -> None:
    with fleet("403-html", shared_redis, prefix, pass_methods="POST", gate_pause=30) as (stage, origin):
        gateway, key = stage.gateways[0], stage.keys["one"]
        content, word = (WORD.encode(), "") if method == "POST" else (b"", WORD)

        def status(language: str, content: bytes) -> int:
            headers = {"X-API-Key": key, "Accept-Language": language}
            url = f"{gateway.url}/lboro/some/thing{word}"
            return httpx.request(method, url, headers=headers, content=content, timeout=40, **LOOPBACK).status_code

        assert [status(language, content) for language in ("de", "fr", "en", "nl")] == [403, 503, 503, 503]
        assert len(origin.asked) == 1
        if method == "POST":
            assert status("de", b"another") == 200
        assert ask(gateway, cold()).status_code == 200
