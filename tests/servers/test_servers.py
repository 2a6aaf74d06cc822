"""The app answers alike under every ASGI server: dates, starts, hosts, targets, and bodies that are none."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx2 as httpx
import pytest
from h2.connection import H2Connection
from h2.events import ResponseReceived

from tests.integration.stage import Process, Stage, get, staged
from tests.loopback import LOOPBACK
from tests.servers.running import SERVERS, WITHOUT_LIFESPAN, asgi_server
from tests.wire import Wire

HOST = b"Host: gateway\r\n"
END = b"0\r\n\r\n"


@dataclass
class Front:
    """One server, before the sandbox."""

    name: str
    process: Process
    stage: Stage
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def wire(self) -> Wire:
        return Wire(("127.0.0.1", self.process.port), timeout=20)

    def target(self) -> str:
        """One that nobody has asked for."""
        return f"/total/views/article/{next(self.numbers)}"

    def status(self, data: bytes) -> int:
        """Of the answer to these bytes."""
        with self.wire() as wire:
            wire.send(data)
            return int(wire.socket.recv(1_000).split()[1])


@pytest.fixture(scope="module")
def scene() -> Iterator[Stage]:
    """One sandbox for all servers."""
    with staged("--no-examples", budget="unlimited", redis_url="memory://", allow_anonymous="true") as stage:
        stage.tenant("reports", "lboro")
        yield stage


@pytest.fixture(scope="module", params=SERVERS)
def front(scene: Stage, request: pytest.FixtureRequest) -> Iterator[Front]:
    """Each server in turn."""
    with asgi_server(request.param, scene, anonymous_requests_per_second=0) as process:
        yield Front(request.param, process, scene)
        process.running.send_signal(signal.SIGTERM)
        process.running.wait(timeout=20)
        assert "Traceback" not in process.output
        assert "was destroyed" not in process.output


def test_it_answers_as_ever_and_each_answer_has_one_date(front: Front) -> None:
    stage, base = front.stage, front.process.url
    target = (
        f"/lboro/timeline/day/views/article/{SERVERS.index(front.name)}?start_date=2026-03-01&end_date=2026-03-09"
    )
    key = {"X-API-Key": stage.keys["reports"]}
    miss, *hits = (get(f"{base}{target}", headers=key) for _ in range(4))
    direct = get(f"{stage.sandbox.url}{target}", auth=("lboro", "sandbox-lboro"))
    others = [get(f"{base}{target}"), get(f"{base}/-/health/live"), get(f"{base}/-/nothing")]
    assert [other.status_code for other in others] == [401, 200, 404]
    assert "fwd=uri-miss; stored" in miss.headers["cache-status"]
    assert all("; hit; ttl=" in hit.headers["cache-status"] for hit in hits)
    assert {answer.content for answer in (miss, *hits)} == {direct.content}
    refused = get(f"{base}/total/views/article/" + "1" * 5_000)
    for answer in (miss, *hits, *others, refused):
        assert len(answer.headers.get_list("date")) == 1


def test_what_is_asked_by_post_is_answered_as_ever(front: Front) -> None:
    question = b'{"groups": [{"id": %d}]}' % (1 + SERVERS.index(front.name))
    asking = {"content": question, "headers": {"Content-Type": "application/json"}, **LOOPBACK}
    asked = [
        httpx.post(f"{base}/count/articles", **asking)
        for base in (front.stage.sandbox.url, front.process.url, front.process.url)
    ]
    assert len({each.content for each in asked}) == 1
    assert "; hit; ttl=" in asked[2].headers["cache-status"]
    larger = httpx.post(f"{front.process.url}/count/articles", **asking | {"content": b" " * 65_537})
    assert (larger.status_code, larger.json()["code"]) == (413, "GatewayBodyTooLarge")


def test_where_no_lifespan_is_run_the_first_request_starts_the_parts(front: Front) -> None:
    assert ("started_by_request" in front.process.output) == (front.name in WITHOUT_LIFESPAN)


HEADS = {
    "no Host": b"",
    "two Hosts": HOST + HOST,
    "two Hosts that differ": HOST + b"Host: other\r\n",
    "an empty Host": b"Host:\r\n",
    "userinfo in Host": b"Host: a@b\r\n",
    "a path in Host": b"Host: a/b\r\n",
    "two Hosts in one": b"Host: a, b\r\n",
}


@pytest.mark.parametrize("head", HEADS)
def test_rfc9112_3_2_a_request_names_one_host(front: Front, head: str) -> None:
    before = front.stage.calls()
    for target in (front.target(), "/-/health/live"):
        assert front.status(b"GET %s HTTP/1.1\r\n%s\r\n" % (target.encode(), HEADS[head])) == 400
    assert front.stage.calls() == before


TARGETS: dict[str, tuple[bytes, set[int]]] = {
    "too long": (b"/total/views/article/" + b"1" * 5_000, {414}),
    "a control character": (b"/total/views/article/1\x01", {400}),
    "obs-text": (b"/total/views/article/\xe9", {400}),
    "a fragment": (b"/total/views/article/1#a", {400}),
    "another server": (b"http://elsewhere.example/total/views/article/1", {421}),
    "no slash": (b"total/views/article/1", {400}),
    "asterisk form": (b"*", {400}),
}
KEPT = {"another server", "a fragment"}
BLIND = {(name, part) for name in ("uvicorn", "uvicorn without lifespan", "granian") for part in KEPT}
"""Which parts of a target a server keeps to itself."""


@pytest.mark.parametrize("name", TARGETS)
def test_targets_are_judged_alike(front: Front, name: str) -> None:
    target, statuses = TARGETS[name]
    before = front.stage.calls()
    status = front.status(b"GET " + target + b" HTTP/1.1\r\n" + HOST + b"\r\n")
    if (front.name, name) not in BLIND:
        assert status in statuses
        assert front.stage.calls() == before


def test_rfc9112_7_1_chunks_that_are_none_are_no_body_and_the_connection_goes_on(front: Front) -> None:
    with front.wire() as wire:
        for method in (b"GET", b"HEAD", b"GET"):
            head = b"%s %s HTTP/1.1\r\n%sTransfer-Encoding: chunked\r\n\r\n"
            wire.send(head % (method, front.target().encode(), HOST) + END)
            assert wire.answer(head=method == b"HEAD").status == 200


@pytest.mark.parametrize(
    "framed", [b"Content-Length: 3\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n" + END]
)
def test_rfc9110_9_3_1_a_body_on_get_is_refused(front: Front, framed: bytes) -> None:
    before = front.stage.calls()
    assert front.status(b"GET %s HTTP/1.1\r\n%s" % (front.target().encode(), HOST) + framed) == 400
    assert front.stage.calls() == before


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_rfc9110_9_3_1_chunks_are_looked_at_each_time(front: Front, method: str) -> None:
    target = front.target().encode()
    head = b"%s %s HTTP/1.1\r\n%sTransfer-Encoding: chunked\r\n\r\n" % (method.encode(), target, HOST)
    assert [front.status(head + END) for _ in range(4)] == [200] * 4
    assert front.status(head + b"3\r\nabc\r\n" + END) == 400


def by_http2(front: Front, method: str, target: str, *pieces: bytes) -> int:
    """The status of the answer to a request with DATA of these pieces, and without a Content-Length."""
    connection = H2Connection()
    connection.initiate_connection()
    head = {":method": method, ":scheme": "http", ":authority": "gateway", ":path": target}
    connection.send_headers(1, list(head.items()), end_stream=not pieces)
    for number, piece in enumerate(pieces, start=1):
        connection.send_data(1, piece, end_stream=number == len(pieces))
    with front.wire() as wire:
        wire.send(connection.data_to_send())
        while data := wire.socket.recv(65_536):
            for event in connection.receive_data(data):
                if isinstance(event, ResponseReceived):
                    return int(dict(event.headers)[b":status"])
            wire.send(connection.data_to_send())
    raise AssertionError("no answer")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_rfc9113_8_1_a_body_that_no_header_announces_is_refused_too(front: Front, method: str) -> None:
    if front.name not in ("hypercorn", "granian"):
        return  # the others speak no HTTP/2
    target, before = front.target(), front.stage.calls()
    assert by_http2(front, method, target, b"abc") == 400
    assert by_http2(front, method, target, b"", b"abc") == 400
    assert front.stage.calls() == before
    assert [by_http2(front, method, target) for _ in range(4)] == [200] * 4
    assert by_http2(front, method, target, b"") == 200
    assert [
        front.status(b"%s %s HTTP/1.1\r\n%s\r\n" % (method.encode(), target.encode(), HOST)) for _ in "abc"
    ] == [200] * 3
    assert by_http2(front, method, target, b"abc") == 400


def test_rfc9110_15_6_2_a_method_that_nobody_knows_is_not_implemented(front: Front) -> None:
    statuses = {400} if front.name.startswith("uvicorn") else {501}  # its parser takes it for no HTTP
    assert front.status(b"FETCH / HTTP/1.1\r\n" + HOST + b"\r\n") in statuses


def test_rfc9110_9_3_7_options_about_the_server_are_its_own_to_answer(front: Front) -> None:
    before = front.stage.calls()
    assert front.status(b"OPTIONS /total/views/article/1 HTTP/1.1\r\n" + HOST + b"Max-Forwards: 0\r\n\r\n") == 204
    assert front.stage.calls() == before
