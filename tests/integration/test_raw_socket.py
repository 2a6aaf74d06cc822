"""Smuggling and splitting in literal bytes, against real gateways: what is answered, and what reaches
the service behind the public listener, or the registry behind the admin listener."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.integration.raw_requests import (
    AS_ADMIN,
    BODIES,
    BROKEN_CHUNKS,
    CHUNKED,
    END,
    NEVER,
    REFUSED,
    SMUGGLED,
    TOKEN,
    UPGRADE,
    get,
    post,
)
from tests.integration.recorder import Recorder, recording
from tests.integration.stage import Stage, staged
from tests.wire import Wire, WireAnswer

LISTENERS = ["statistics", "generic", "admin"]


@dataclass
class Front:
    """A gateway for tenants and one for any origin, before one recorder."""

    stage: Stage
    recorder: Recorder
    addresses: dict[str, tuple[str, int]]

    def wire(self, listener: str) -> Wire:
        return Wire(self.addresses[listener])

    def untouched(self) -> bool:
        """Whether nothing arrived anywhere."""
        return not self.recorder.wire and not any("smuggled" in each.output for each in self.stage.gateways)


@pytest.fixture(scope="module")
def running() -> Iterator[Front]:
    with recording() as recorder, staged(upstream=recorder.url, budget="unlimited") as stage:
        stage.tenant("reports", "lboro")
        tenants = stage.serve(
            allow_anonymous=True, anonymous_requests_per_second=0, admin_token=TOKEN, admin_hosts="gateway"
        )
        plain = stage.serve(profile="generic", registry=stage.folder / "none.toml")
        addresses = dict(zip(LISTENERS, (tenants.port, plain.port, tenants.admin_port), strict=True))
        yield Front(stage, recorder, {name: ("127.0.0.1", port) for name, port in addresses.items()})


@pytest.fixture
def front(running: Front) -> Front:
    running.recorder.forget()
    return running


@pytest.mark.parametrize("listener", LISTENERS)
@pytest.mark.parametrize("name", REFUSED)
def test_what_two_parsers_could_read_differently_is_refused_and_goes_nowhere(
    front: Front, name: str, listener: str
) -> None:
    with front.wire(listener) as wire:
        answer = wire.send(REFUSED[name] + SMUGGLED[listener]).answer()
        assert (answer.status, answer.closes) == (400, True)
        assert answer.code in ("GatewayBadRequest", "GatewayBadTarget")
        assert wire.ended()
    assert front.untouched()


@pytest.mark.parametrize("listener", LISTENERS)
@pytest.mark.parametrize("name", BROKEN_CHUNKS)
def test_broken_chunks_end_the_connection_and_go_nowhere(front: Front, name: str, listener: str) -> None:
    with front.wire(listener) as wire:
        answer = wire.send(BROKEN_CHUNKS[name] + SMUGGLED[listener]).answer()
        # Where no method takes a body the connection ends before its first byte is looked at.
        assert (answer.status, answer.closes) == (405 if listener == "statistics" else 400, True)
        assert wire.ended()
    assert front.untouched()


@pytest.mark.parametrize("listener", LISTENERS)
@pytest.mark.parametrize("name", NEVER)
def test_what_is_never_served_ends_the_connection_and_goes_nowhere(front: Front, name: str, listener: str) -> None:
    status, data = NEVER[name]
    with front.wire(listener) as wire:
        answer = wire.send(data + SMUGGLED[listener]).answer()
        assert answer.status == (405 if status == 413 and listener == "statistics" else status)
        assert answer.closes
        assert wire.ended()
    assert front.untouched()


@pytest.mark.parametrize("name", BODIES)
def test_what_has_one_meaning_reaches_the_service_as_just_that(front: Front, name: str) -> None:
    body, data = BODIES[name]
    with front.wire("generic") as wire:
        wire.send(data + get(b"/next"))
        assert [wire.answer().status, wire.answer().status] == [200, 200]
    first, second = front.recorder.heard
    assert (first.line, first.body) == (b"POST /a HTTP/1.1", body)
    assert (second.line, second.body) == (b"GET /next HTTP/1.1", b"")
    assert not re.search(rb"[\r\n](x-evil|transfer-encoding|expect|upgrade|trailer)", first.head.lower())
    assert len(re.findall(rb"(?i)\r\ncontent-length:", first.head)) == 1


@pytest.mark.parametrize("framed", ["sized", "chunked"])
def test_the_admin_api_takes_a_body_for_just_that(front: Front, framed: str) -> None:
    body = json.dumps({"path": "/a", "evil": SMUGGLED["admin"].decode()}).encode()
    fields = [AS_ADMIN, b"Content-Type: application/json"]
    if framed == "sized":
        data = post(*fields, b"Content-Length: %d" % len(body), body=body, target=b"/api/purge")
    else:
        data = post(*fields, CHUNKED, body=b"%x\r\n%b\r\n" % (len(body), body) + END, target=b"/api/purge")
    with front.wire("admin") as wire:
        wire.send(data + get(b"/openapi.json"))
        assert [wire.answer().status, wire.answer().status] == [400, 200]  # no such fields
    assert front.untouched()


@pytest.mark.parametrize("listener", ["statistics", "generic"])
@pytest.mark.parametrize(
    "fields", [UPGRADE, (b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Key: a")]
)
def test_an_upgrade_is_not_made_and_hides_no_request(
    front: Front, fields: tuple[bytes, ...], listener: str
) -> None:
    with front.wire(listener) as wire:
        wire.send(get(b"/a", *fields) + get(b"/next"))
        for _ in range(2):
            answer = wire.answer()
            assert answer.status == 200
            assert not {"upgrade", "connection"} & set(answer.headers)
    assert [heard.line for heard in front.recorder.heard] == [b"GET /a HTTP/1.1", b"GET /next HTTP/1.1"]
    assert b"upgrade" not in front.recorder.wire.lower()


@pytest.mark.parametrize("listener", ["statistics", "generic"])
def test_an_error_in_a_pipeline_ends_it(front: Front, listener: str) -> None:
    with front.wire(listener) as wire:
        wire.send(get(b"/first") + REFUSED["CL.TE"] + get(b"/smuggled"))
        assert [wire.answer().status, wire.answer().status] == [200, 400]
        assert wire.ended()
    assert [heard.line for heard in front.recorder.heard] == [b"GET /first HTTP/1.1"]


def test_the_host_of_an_absolute_form_counts_and_neither_goes_to_the_service(front: Front) -> None:
    port = b"%d" % front.addresses["generic"][1]
    with front.wire("generic") as wire:
        wire.send(b"GET http://127.0.0.1:" + port + b"/a HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        assert wire.answer().status == 200
    (heard,) = front.recorder.heard
    assert heard.line == b"GET /a HTTP/1.1"
    assert b"\r\nHost: " + front.recorder.url.removeprefix("http://").encode() in heard.head
    assert b"evil" not in front.recorder.wire


def test_a_foreign_host_reaches_nothing_of_the_admin_listener_in_absolute_form(front: Front) -> None:
    port = b"%d" % front.addresses["admin"][1]
    with front.wire("admin") as wire:
        wire.send(b"GET http://127.0.0.1:" + port + b"/openapi.json HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        assert wire.answer().status == 403


FIELDS = [
    *(
        b"X-Request-Id",
        b"Origin",
        b"X-Forwarded-For",
        b"X-API-Key",
        b"Authorization",
        b"Accept",
        b"Accept-Language",
    ),
    *(b"Accept-Encoding", b"If-None-Match", b"Range", b"Cache-Control", b"User-Agent", b"Via", b"Connection"),
]
RAW = [b"a\rX-Evil: 1", b"a\nX-Evil: 1", b"a\r\n X-Evil: 1", b"a\0X-Evil: 1"]
CODED = [b"a%0d%0aX-Evil: 1", b"a\\r\\nX-Evil: 1", b"a\xe5\x98\x8a\xe5\x98\x8dX-Evil: 1", b"a\xc2\x85X-Evil: 1",
         b"a\x8aX-Evil: 1", b'", X-Evil: 1', b"=?utf-8?q?=0D=0AX-Evil: 1?="]  # fmt: skip


def assert_not_split(front: Front, answer: WireAnswer) -> None:
    """The line that was to be injected begins none, neither in the answer nor on the service's wire."""
    assert "x-evil" not in answer.headers
    assert not any(re.search(r"[\r\n\0]", value) for value in answer.headers.values())
    assert not re.search(rb"[\r\n\0]\s*x-evil", front.recorder.wire.lower())


@pytest.mark.parametrize("listener", LISTENERS)
@pytest.mark.parametrize("field", FIELDS)
def test_nothing_in_a_field_becomes_a_line_of_the_answer_or_of_what_the_service_is_asked(
    front: Front, field: bytes, listener: str
) -> None:
    for text in RAW:
        with front.wire(listener) as wire:
            answer = wire.send(get(b"/a", field + b": " + text)).answer()
            assert answer.status == 400
            assert_not_split(front, answer)
    assert front.untouched()
    for text in CODED:
        with front.wire(listener) as wire:
            answer = wire.send(get(b"/a", field + b": " + text)).answer()
            assert answer.status < 500
            assert_not_split(front, answer)
    assert all(heard.line == b"GET /a HTTP/1.1" for heard in front.recorder.heard)


ENCODED = [b"/a%0d%0aX-Evil:%201", b"/a%0aX-Evil:1", b"/a?b=%0D%0AX-Evil:1", b"/a%00X-Evil:1"]
OTHERWISE = [
    b"/a?",
    b"/a??",
    b"/a?&",
    b"/a?b=&b",
    b"/%7e",
    b"/%7E/~",
    b"/a/?",
    b"/a%250d%250aX-Evil:1",
    b"/a%E5%98%8A%E5%98%8DX-Evil:1",
    b"/a?b=%25%30%64X-Evil:1",
]


@pytest.mark.parametrize("target", ENCODED + OTHERWISE)
def test_a_target_goes_to_the_service_as_it_was_written_or_not_at_all(front: Front, target: bytes) -> None:
    with front.wire("generic") as wire:
        answer = wire.send(get(target)).answer()
        assert answer.status == 200
        assert_not_split(front, answer)
    assert [heard.line for heard in front.recorder.heard] == [b"GET " + target + b" HTTP/1.1"]
    front.recorder.forget()
    with front.wire("statistics") as wire:
        answer = wire.send(get(target)).answer()
        assert_not_split(front, answer)
    asked = [heard.line for heard in front.recorder.heard]
    if target in ENCODED:
        assert (answer.status, answer.code, asked) == (400, "GatewayBadTarget", [])
    else:
        assert (answer.status, asked) == (200, [b"GET " + target + b" HTTP/1.1"])


def test_after_all_that_nothing_was_logged_as_a_fault(running: Front) -> None:
    for gateway in running.stage.gateways:
        assert "Traceback" not in gateway.output
        assert "internal_error" not in gateway.output
