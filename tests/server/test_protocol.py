"""The protocol under a real uvicorn server and its event loop, spoken to in literal bytes."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.server.head import Limits
from tests.echo import BIG, LIMITS, Edge, Knowing, edge, until_free
from tests.wire import Wire, ask, get, shown


@pytest.fixture(scope="module")
def server() -> Iterator[Edge]:
    """One server for all tests that change nothing about it."""
    with edge() as running:
        yield running


HOST = b"Host: gateway\r\n"
BAD_REQUESTS = {
    "no Host": b"GET / HTTP/1.1\r\n\r\n",
    "two Hosts": b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
    "empty Host": b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
    "invalid Host": b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "two Hosts in one": b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "a tab in the target": b"GET /\ta HTTP/1.1\r\n" + HOST + b"\r\n",
    "a space in the target": b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n",
    "Content-Length on GET": b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\n\r\nx",
    "an expected body": b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nExpect: 100-continue\r\n\r\n",
    "a chunked body": b"GET / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
    "chunked garbage": b"GET / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "Content-Length twice": b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
    "Content-Length list": b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: 0, 0\r\n\r\n",
    "Content-Length +0": b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: +0\r\n\r\n",
    "Content-Length -0": b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: -0\r\n\r\n",
    "empty Content-Length": b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length:\r\n\r\n",
    "huge Content-Length": b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n",
    "CL.TE": b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "TE.CL": b"GET / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n",
    "TE.TE": b"GET / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n",
    "an odd coding": b"GET / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: xchunked\r\n\r\n",
    "a folded header": b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n b\r\n\r\n",
    "a leading space": b"GET / HTTP/1.1\r\n X: a\r\n" + HOST + b"\r\n",
    "a space before the colon": b"GET / HTTP/1.1\r\n" + HOST + b"X : a\r\n\r\n",
    "no name": b"GET / HTTP/1.1\r\n" + HOST + b": a\r\n\r\n",
    "no colon": b"GET / HTTP/1.1\r\n" + HOST + b"X\r\n\r\n",
    "bare LF": b"GET / HTTP/1.1\n" + HOST + b"\n",
    "bare LF between headers": b"GET / HTTP/1.1\r\n" + HOST + b"X: a\nY: b\r\n\r\n",
    "bare CR": b"GET / HTTP/1.1\r\n" + HOST + b"X: a\rY: b\r\n\r\n",
    "NUL": b"GET / HTTP/1.1\r\n" + HOST + b"X: a\0b\r\n\r\n",
    "a control character": b"GET / HTTP/1.1\r\n" + HOST + b"X: a\x01b\r\n\r\n",
}  # fmt: skip
OTHERS = {
    "HTTP/0.9 by name": (505, b"GET / HTTP/0.9\r\n" + HOST + b"\r\n"),
    "HTTP/1.2": (505, b"GET / HTTP/1.2\r\n" + HOST + b"\r\n"),
    "HTTP/2": (505, b"GET / HTTP/2.0\r\n" + HOST + b"\r\n"),
    "the HTTP/2 preface": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "an unknown method": (501, b"FETCH / HTTP/1.1\r\n" + HOST + b"\r\n"),
    "a method in lower case": (501, b"get / HTTP/1.1\r\n" + HOST + b"\r\n"),
    "a method of RTSP": (501, b"DESCRIBE / HTTP/1.1\r\n" + HOST + b"\r\n"),
    "a long method": (501, b"A" * 1_900 + b" / HTTP/1.1\r\n" + HOST + b"\r\n"),
    "a method without end": (501, b"A" * 20_000),
    "a long target": (414, b"GET /" + b"a" * 20_000),
    "a long target and more": (414, b"\r\nGET /" + b"a" * 20_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n"),
    "many fields": (431, b"GET / HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 20_000),
}
CODES = {414: "GatewayTargetTooLong", 431: "GatewayHeadTooLarge", 501: "GatewayMethodUnknown"} | {
    505: "GatewayVersionUnsupported"
}
BAD_TARGETS = [b"/a#b", b"/?a#b", b"*", b"a:443", b"a", b"/\xc3\xa9", b"/\x01", b"/\x7f",
               b"http:/a", b"?a", b"\\", b"http://stats.example.org/#a"]  # fmt: skip


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_what_is_not_http_is_refused_and_the_connection_closed(server: Edge, name: str) -> None:
    with Wire(server.address) as wire:
        answer = wire.send(BAD_REQUESTS[name] + get("/smuggled")).answer()
        assert (answer.status, answer.code, answer.closes) == (400, "GatewayBadRequest", True)
        assert "proxy-status" in answer.headers
        assert wire.ended()


@pytest.mark.parametrize("packets", [1, 3])
@pytest.mark.parametrize("name", OTHERS)
def test_a_method_a_version_and_a_target_are_refused_for_what_they_are(
    server: Edge, name: str, packets: int
) -> None:
    status, data = OTHERS[name]
    with Wire(server.address) as wire:
        wire.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for cut in range(1, packets):
            wire.send(data[cut - 1 : cut])
            threading.Event().wait(0.02)  # else all parts arrive as one
        answer = wire.send(
            data[packets - 1 :] + (get("/smuggled") if data.endswith(b"\r\n\r\n") else b"")
        ).answer()
        assert (answer.status, answer.code, answer.closes) == (status, CODES[status], True)
        assert wire.ended()


@pytest.mark.parametrize("target", BAD_TARGETS)
def test_a_malformed_target_is_refused_and_the_connection_closed(server: Edge, target: bytes) -> None:
    with Wire(server.address) as wire:
        answer = wire.send(b"GET " + target + b" HTTP/1.1\r\n" + HOST + b"\r\n" + get("/smuggled")).answer()
        assert (answer.status, answer.code, answer.closes) == (400, "GatewayBadTarget", True)
        assert wire.ended()


@pytest.mark.parametrize(
    "data",
    [
        b"CONNECT stats.example.org:443 HTTP/1.1\r\n" + HOST + b"\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\n\r\nx",
        b"PUT / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_tunnels_and_bodies_of_other_methods_are_not_allowed(server: Edge, data: bytes) -> None:
    with Wire(server.address) as wire:
        answer = wire.send(data + get("/smuggled")).answer()
        assert (answer.status, answer.code, answer.closes) == (405, "GatewayMethodNotAllowed", True)
        assert answer.headers["allow"] == "GET, HEAD"
        assert wire.ended()


def test_the_refusal_of_a_head_request_has_no_body(server: Edge) -> None:
    with Wire(server.address) as wire:
        answer = wire.send(b"HEAD / HTTP/1.1\r\n\r\n").answer(head=True)
        assert answer.status == 400
        assert int(answer.headers["content-length"]) > 0
        assert wire.ended()


@pytest.mark.parametrize(
    "target", ["/", "//a//b", "/%2e%2e/%2F%00?%zz", '/a\\b"<>{}|^`;:@', "/?a?b=/c&&=", "/:80", "/?", "/x?", "/x??"]
)
def test_path_and_query_arrive_exactly_as_they_were_written(server: Edge, target: str) -> None:
    assert_arrives(server, target)


@given(st.text([chr(c) for c in range(0x21, 0x7F) if chr(c) != "#"], max_size=60))
def test_any_printable_target_arrives_exactly_as_it_was_written(server: Edge, rest: str) -> None:
    assert_arrives(server, "/" + rest)


def assert_arrives(server: Edge, target: str) -> None:
    assert shown(ask(server.address, get(target)))["target"] == target


def test_absolute_form_reaches_the_app_as_origin_form(server: Edge) -> None:
    host, port = server.address
    for authority in (f"{host}:{port}", f"localhost:{port}", "stats.example.org", "stats.example.org:443"):
        for target in ("/a%20b?c", "/x?", "//x?"):
            assert shown(ask(server.address, get(f"https://{authority}{target}")))["target"] == target
        assert shown(ask(server.address, get(f"https://{authority}?")))["target"] == "/?"


def test_rfc9112_3_2_4_options_may_ask_about_the_server_as_a_whole(server: Edge) -> None:
    for target in (b"*", b"http://stats.example.org"):
        asked = shown(ask(server.address, b"OPTIONS " + target + b" HTTP/1.1\r\n" + HOST + b"\r\n"))
        assert asked["target"] == "*"


@pytest.mark.parametrize(
    "target", ["http://elsewhere.example/", "http://u@stats.example.org/", "http://localhost/"]
)
def test_absolute_form_of_another_server_is_misdirected(server: Edge, target: str) -> None:
    answer = ask(server.address, get(target))
    assert (answer.status, answer.code, answer.closes) == (421, "GatewayMisdirected", True)


def head_of(size: int, target: str = "/") -> bytes:
    """A request head of exactly so many bytes."""
    bare = get(target, "X: ")
    return get(target, "X: " + "x" * (size - len(bare)))


def test_a_head_may_have_exactly_the_limit(server: Edge) -> None:
    with Wire(server.address) as wire:
        for _ in range(3):
            assert wire.send(head_of(LIMITS.head_bytes)).answer().status == 200
        assert wire.send(head_of(LIMITS.head_bytes + 1)).answer().status == 431
        assert wire.ended()


def test_the_limit_counts_each_of_several_heads_in_one_packet_alone(server: Edge) -> None:
    with Wire(server.address) as wire:
        wire.send(head_of(LIMITS.head_bytes) * 3)
        assert [wire.answer().status for _ in range(3)] == [200] * 3


def test_a_head_split_anywhere_is_one_head(server: Edge) -> None:
    request = head_of(LIMITS.head_bytes)
    with Wire(server.address) as wire:
        wire.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for cut in range(-6, 0):
            wire.send(request[:cut])
            threading.Event().wait(0.02)  # else both parts arrive as one
            wire.send(request[cut:] + request)
            assert [wire.answer().status for _ in range(2)] == [200, 200]


@pytest.mark.parametrize(
    "endless",
    [b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000, b"\r\n" * 50_000, b"G" * 3 + b"\r\n",
     b"GET / HTTP/1.1\r\nX: " + b"y" * 100_000, b"GET / HTTP/1.1\r\n" + b"x" * 100_000],
    ids=["headers", "empty lines", "method", "value", "name"],
)  # fmt: skip
def test_a_head_that_never_ends_is_refused(server: Edge, endless: bytes) -> None:
    with Wire(server.address) as wire:
        answer = wire.send(endless).answer()
        assert (answer.status, answer.closes) in {(431, True), (400, True)}
        assert (answer.status == 431) == (len(endless) > LIMITS.head_bytes)
        assert wire.ended()


QUICK = Limits(connections=3, head_bytes=2_000, head_seconds=0.2, write_seconds=0.3, linger_seconds=0.2)


@pytest.fixture(scope="module")
def quick() -> Iterator[Edge]:
    """A server with little patience."""
    with edge(QUICK, keep_alive=1) as running:
        yield running


@pytest.mark.parametrize("start", [b"", b"\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n"])
def test_a_head_that_is_late_is_refused(quick: Edge, start: bytes) -> None:
    with Wire(quick.address) as wire:
        answer = wire.send(start).answer()
        assert (answer.status, answer.code, answer.closes) == (408, "GatewayHeadTimeout", True)
        assert wire.ended()


def test_dripping_a_head_wins_no_time(quick: Edge) -> None:
    answer = b""
    with Wire(quick.address) as wire:
        wire.socket.settimeout(0.05)
        for _ in range(100):
            try:
                wire.send(b"\r\n")
                answer = wire.socket.recv(1_000)
                break
            except TimeoutError:
                continue
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_a_late_second_head_is_refused_after_the_first_answer(quick: Edge) -> None:
    with Wire(quick.address) as wire:
        wire.send(get("/first") + b"GET /second HTTP/1.1\r\n")
        assert [wire.answer().status, wire.answer().status] == [200, 408]
        assert wire.ended()


def test_an_idle_connection_outlives_the_patience_with_heads(quick: Edge) -> None:
    with Wire(quick.address) as wire:
        assert wire.send(get()).answer().status == 200
        threading.Event().wait(QUICK.head_seconds * 1.5)
        assert wire.send(get()).answer().status == 200


def test_an_idle_connection_is_closed_after_the_keep_alive(quick: Edge) -> None:
    with Wire(quick.address) as wire:
        assert wire.send(get()).answer().status == 200
        assert wire.ended()


@pytest.mark.parametrize("before", [(), ("/",)])
def test_a_connection_that_is_answered_at_once_is_idle_from_then_on(before: tuple[str, ...]) -> None:
    with edge(keep_alive=1, lane=Knowing()) as running, Wire(running.address) as wire:
        for target in before:
            assert wire.send(get(target)).answer().status == 200
        for _ in range(4):
            assert wire.send(get("/known")).answer().body == b"known"
            threading.Event().wait(0.6)
        began = time.monotonic()
        assert wire.ended()
        assert time.monotonic() - began < 2


@pytest.mark.parametrize("waits_for", ["answer", "head"])
def test_a_connection_that_is_in_use_is_not_idle_however_long_ago_its_last_answer(waits_for: str) -> None:
    """Its timer began with that answer."""
    asked, late = (get("/wait", "X-Do: wait"), 0) if waits_for == "answer" else (get("/"), 3)
    with edge(keep_alive=1) as running, Wire(running.address) as wire:
        assert wire.send(get("/")).answer().status == 200
        wire.send(asked[: len(asked) - late])
        threading.Event().wait(1.5)
        running.call(running.app.released.set)
        if late:
            wire.send(asked[-late:])
        assert wire.answer().status == 200
        assert wire.ended()


def test_waiting_for_an_answer_is_not_a_late_head() -> None:
    with edge(QUICK) as running, Wire(running.address) as wire:
        wire.send(get("/wait", "X-Do: wait"))
        threading.Event().wait(QUICK.head_seconds * 1.5)
        running.call(running.app.released.set)
        assert wire.answer().status == 200


def test_a_client_that_does_not_read_its_answer_is_cut_off() -> None:
    with edge(QUICK) as running, Wire(running.address) as wire:
        wire.send(get("/big", "X-Do: big"))
        threading.Event().wait(QUICK.write_seconds * 2)
        with pytest.raises((AssertionError, ConnectionResetError)):
            wire.answer()


def test_a_client_that_reads_late_but_in_time_keeps_its_connection() -> None:
    with edge(Limits(3, 2_000, 10.0, write_seconds=1.0)) as running, Wire(running.address) as wire:
        wire.send(get("/big", "X-Do: big"))
        threading.Event().wait(0.2)
        assert len(wire.answer().body) == BIG
        threading.Event().wait(1.0)
        assert wire.send(get()).answer().status == 200


LONG = b"/" + b"a" * 3_000
REFUSED = {
    "a target too long": (b" " + LONG + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
    "a head too large": (b" / HTTP/1.1\r\n" + HOST + b"X-Long: " + LONG + b"\r\n\r\n", 431),
    "a version that is not spoken": (b" / HTTP/2.0\r\n" + HOST + b"\r\n", 505),
    "a line that is none": (b" /  HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "a field that is none": (b" / HTTP/1.1\r\n" + HOST + b"a b: c\r\n\r\n", 400),
    "a target elsewhere": (b" http://elsewhere.example/ HTTP/1.1\r\n" + HOST + b"\r\n", 421),
    "no host": (b" / HTTP/1.1\r\n\r\n", 400),
    "content": (b" / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n", 400),
}


@pytest.mark.parametrize("refused", REFUSED)
@pytest.mark.parametrize("before", ["", "GET", "HEAD"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_rfc9110_9_3_2_a_refusal_has_content_unless_it_is_of_a_head(
    server: Edge, method: str, before: str, refused: str
) -> None:
    rest, status = REFUSED[refused]
    with Wire(server.address) as wire:
        if before:
            wire.send(before.encode() + get()[3:]).answer(head=before == "HEAD")
        answer = wire.send(method.encode() + rest).answer(head=method == "HEAD")
        assert (answer.status, answer.closes) == (status, True)
        assert int(answer.headers["content-length"]) > 0
        assert wire.ended()


def test_connections_over_the_cap_are_refused_at_once_and_welcome_again_later() -> None:
    with edge(Limits(2, 2_000, 10.0)) as running:
        with Wire(running.address) as one, Wire(running.address) as two:
            assert one.send(get()).answer().status == 200
            assert two.send(get()).answer().status == 200
            with Wire(running.address) as three:
                answer = three.answer()
                assert (answer.status, answer.code, answer.closes) == (503, "GatewayTooManyConnections", True)
                assert answer.headers["retry-after"] == "1"
                assert three.ended()
            assert one.send(get()).answer().status == 200
        until_free(running)
        assert ask(running.address, get()).status == 200


def test_beyond_the_cap_a_health_check_is_answered_once_and_all_else_refused() -> None:
    with edge(Limits(1, 2_000, 0.5, spare=2)) as running, Wire(running.address) as one:
        assert one.send(get()).answer().status == 200
        with ExitStack() as stack:
            idle = [stack.enter_context(Wire(running.address)) for _ in range(5)]
            assert all(wire.ended() for wire in idle[:3])  # the newest have their place
            checked = ask(running.address, get("/-/health/live"))
            assert (checked.status, checked.closes) == (200, True)
            refused = ask(running.address, get("/-/healthy"))
            assert (refused.status, refused.code, refused.closes) == (503, "GatewayTooManyConnections", True)
        with Wire(running.address) as silent:
            answer = silent.answer()
            assert (answer.status, answer.code) == (503, "GatewayTooManyConnections")
        assert one.send(get()).answer().status == 200
        assert running.lifecycle.refused >= 5


def test_beyond_the_cap_nothing_is_answered_in_the_lane() -> None:
    with edge(Limits(1, 2_000, 10.0, spare=2), lane=Knowing()) as running, Wire(running.address) as one:
        assert one.send(get("/known")).answer().body == b"known"
        assert ask(running.address, get("/known")).status == 503


def test_pipelined_requests_are_answered_in_their_order(server: Edge) -> None:
    with Wire(server.address) as wire:
        wire.send(b"".join(get(f"/{n}") for n in range(500)))
        assert [shown(wire.answer())["path"] for _ in range(500)] == [f"/{n}" for n in range(500)]


@pytest.mark.parametrize("packets", [1, 2])
def test_an_error_never_overtakes_the_answer_before_it(packets: int) -> None:
    first, bad = get("/wait", "X-Do: wait"), b"GET /bad HTTP/1.1\r\n\r\n" + get("/never")
    with edge() as running, Wire(running.address) as wire:
        wire.send(first if packets == 2 else first + bad)
        assert running.app.arrived.acquire(timeout=5)
        wire.send(bad if packets == 2 else b"")
        assert not running.app.arrived.acquire(timeout=0.1)
        running.call(running.app.released.set)
        assert shown(wire.answer())["path"] == "/wait"
        assert wire.answer().status == 400
        assert wire.ended()
        assert not running.app.arrived.acquire(blocking=False)


def test_a_pipelined_request_starts_only_when_the_one_before_is_answered() -> None:
    with edge() as running, Wire(running.address) as wire:
        wire.send(get("/wait", "X-Do: wait")).send(get("/next"))
        assert running.app.arrived.acquire(timeout=5)
        assert not running.app.arrived.acquire(timeout=0.1)
        running.call(running.app.released.set)
        assert [shown(wire.answer())["path"] for _ in range(2)] == ["/wait", "/next"]


def test_nothing_after_a_request_that_closes_is_answered(server: Edge) -> None:
    with Wire(server.address) as wire:
        answer = wire.send(get("/last", "Connection: close") + get("/smuggled")).answer()
        assert (answer.status, answer.closes) == (200, True)
        assert wire.ended()


def test_an_upgrade_is_ignored(server: Edge) -> None:
    with Wire(server.address) as wire:
        wire.send(get("/one", "Connection: upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: a") + get("/two"))
        assert [shown(wire.answer())["path"] for _ in range(2)] == ["/one", "/two"]


def test_http_1_0_is_answered_and_closed(server: Edge) -> None:
    with Wire(server.address) as wire:
        assert wire.send(b"GET /old HTTP/1.0\r\n\r\n").answer().closes
        assert wire.ended()


def test_a_client_that_is_refused_while_it_sends_may_finish_sending_and_read_why(server: Edge) -> None:
    with Wire(server.address) as wire:
        wire.send(b"GET / HTTP/1.1\r\nX: " + b"y" * 200_000)
        assert wire.answer().status == 431
        for _ in range(3):
            wire.send(b"y" * 1_000)
            threading.Event().wait(0.02)  # else a reset would be noticed too late
        assert wire.ended()


def test_answers_close_their_connections_while_draining() -> None:
    with edge() as running, Wire(running.address) as wire:
        assert not wire.send(get()).answer().closes
        running.lifecycle.drain()
        assert wire.send(get()).answer().closes
        assert wire.ended()


NONE = b"0\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
@pytest.mark.parametrize("packets", [1, 2])
@pytest.mark.parametrize("expects", [False, True])
def test_rfc9112_7_1_chunks_that_are_none_are_no_body_and_the_connection_goes_on(
    server: Edge, method: str, packets: int, expects: bool
) -> None:
    fields = ["Transfer-Encoding: chunked", *(["Expect: 100-continue"] if expects else [])]
    head = get("/none", *fields).replace(b"GET", method.encode())
    with Wire(server.address) as wire:
        for _ in range(2):
            wire.send(head if packets == 2 else head + NONE)
            if expects:
                assert wire.socket.recv(len(CONTINUE)) == CONTINUE
            wire.send(NONE + get("/next") if packets == 2 else get("/next"))
            answers = [wire.answer(head=method == "HEAD"), wire.answer()]
            assert [answer.status for answer in answers] == [200, 200]
            assert shown(answers[1])["target"] == "/next"


def test_nobody_is_asked_before_it_is_certain_that_there_is_no_body() -> None:
    with edge() as running, Wire(running.address) as wire:
        wire.send(get("/", "Transfer-Encoding: chunked"))
        assert not running.app.arrived.acquire(timeout=0.1)
        answer = wire.send(b"1\r\nx\r\n" + NONE + get("/smuggled")).answer()
        assert (answer.status, answer.code, answer.closes) == (400, "GatewayBadRequest", True)
        assert wire.ended()
        assert not running.app.arrived.acquire(blocking=False)


def test_chunks_that_are_none_may_not_take_for_ever() -> None:
    limits = Limits(connections=3, head_bytes=2_000, head_seconds=10.0, body_seconds=0.2)
    with edge(limits) as running, Wire(running.address) as wire:
        answer = wire.send(get("/", "Transfer-Encoding: chunked") + b"0\r\n").answer()
        assert (answer.status, answer.closes) == (408, True)
        assert wire.ended()
