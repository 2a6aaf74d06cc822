"""Request bodies at the edge, under a real uvicorn server, in literal bytes."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from gateway.server.head import Limits
from tests.echo import BIG, LIMITS, Edge, edge
from tests.upstream.troubles import watched_turns
from tests.wire import Wire, get, shown

PASSING = replace(LIMITS, methods=frozenset({b"GET", b"HEAD", b"POST"}), body_bytes=200_000)
GENERIC = replace(PASSING, methods=None)
HOST = b"Host: gateway\r\n"
Framed = Callable[..., bytes]


@pytest.fixture(scope="module")
def server() -> Iterator[Edge]:
    """One server for all tests that change nothing about it."""
    with edge(PASSING) as running:
        yield running


def head(*headers: bytes, method: bytes = b"POST", target: bytes = b"/") -> bytes:
    return b"\r\n".join([method + b" " + target + b" HTTP/1.1", b"Host: gateway", *headers, b"", b""])


def sized(body: bytes, *headers: bytes, method: bytes = b"POST", target: bytes = b"/") -> bytes:
    return head(b"Content-Length: %d" % len(body), *headers, method=method, target=target) + body


def chunked(body: bytes, *headers: bytes, size: int = 7, method: bytes = b"POST", target: bytes = b"/") -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    chunks = b"".join(b"%x;note\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    start = head(b"Transfer-Encoding: chunked", *headers, method=method, target=target)
    return start + chunks + b"0\r\nTrailer: read over\r\n\r\n"


@pytest.mark.parametrize("framed", [sized, chunked])
@pytest.mark.parametrize("body", [b"", b"x", b"{}" * 500, b"GET /smuggled HTTP/1.1\r\n\r\n", b"\r\n0\r\n\r\n"])
def test_rfc9112_6_a_body_reaches_the_app_whole_and_the_connection_goes_on(
    server: Edge, framed: Framed, body: bytes
) -> None:
    with Wire(server.address) as wire:
        for _ in range(3):
            asked = shown(wire.send(framed(body)).answer())
            assert (asked["method"], asked["body"]) == ("POST", body.decode())
        assert shown(wire.send(get("/next")).answer())["path"] == "/next"


@pytest.mark.parametrize("framed", [sized, chunked])
def test_rfc9112_9_3_2_nothing_overtakes_an_answer_also_with_bodies(server: Edge, framed: Framed) -> None:
    with Wire(server.address) as wire:
        wire.send(b"".join(framed(b"%d" % n, target=b"/%d" % n) + get(f"/after/{n}") for n in range(50)))
        for n in range(50):
            asked = shown(wire.answer())
            assert (asked["path"], asked["body"]) == (f"/{n}", str(n))
            asked = shown(wire.answer())
            assert (asked["path"], asked["body"]) == (f"/after/{n}", "")


def test_a_pipelined_request_after_a_body_waits_for_the_answer_before_it() -> None:
    with edge(PASSING) as running, Wire(running.address) as wire:
        wire.send(sized(b"one", b"X-Do: wait") + get("/next"))
        assert running.app.arrived.acquire(timeout=5)
        assert not running.app.arrived.acquire(timeout=0.1)
        running.call(running.app.released.set)
        assert [shown(wire.answer())["body"], shown(wire.answer())["path"]] == ["one", "/next"]


def test_rfc9112_9_3_2_an_error_after_a_body_does_not_overtake_its_answer() -> None:
    with edge(PASSING) as running, Wire(running.address) as wire:
        wire.send(sized(b"one", b"X-Do: wait") + SMUGGLING["CL.TE"] + get("/smuggled"))
        assert running.app.arrived.acquire(timeout=5)
        running.call(running.app.released.set)
        assert shown(wire.answer())["body"] == "one"
        assert wire.answer().status == 400
        assert wire.ended()


@pytest.mark.parametrize("framed", [sized, chunked])
def test_a_request_split_anywhere_is_one_request(server: Edge, framed: Framed) -> None:
    data = framed(b"0123456789")
    with Wire(server.address) as wire:
        for cut in range(1, len(data), 3):
            wire.send(data[:cut])
            threading.Event().wait(0.002)  # else both parts arrive as one
            assert shown(wire.send(data[cut:]).answer())["body"] == "0123456789"


def test_a_body_of_exactly_the_limit_passes_whatever_its_framing(server: Edge) -> None:
    body = b"x" * PASSING.body_bytes
    with Wire(server.address) as wire:
        for data in (sized(body), chunked(body, size=1_000)):
            assert len(shown(wire.send(data).answer())["body"]) == len(body)


async def watched(over: asyncio.Event) -> float:
    """The longest turn of the loop until that."""
    async with watched_turns() as turns:
        await over.wait()
    return turns.longest


BYTES = bytes(b"0123456789" * 10_000)


@pytest.mark.parametrize("do", [b"X-Do: apart", b"X-Do: ignore"], ids=["wanted", "unwanted"])
def test_a_body_in_chunks_of_a_byte_holds_up_nobody_and_what_follows_it_is_answered(
    server: Edge, do: bytes
) -> None:
    over = asyncio.Event()
    watching = asyncio.run_coroutine_threadsafe(watched(over), server.loop)
    data = head(b"Transfer-Encoding: chunked", do) + b"".join(b"1\r\n%c\r\n" % byte for byte in BYTES)
    with Wire(server.address) as wire:
        for _ in range(2):
            wire.send(data + b"0\r\n\r\n" + get("/next"))
            assert shown(wire.answer())["body"] == (BYTES.decode() if do == b"X-Do: apart" else "")
            assert shown(wire.answer())["path"] == "/next"
    server.call(over.set)
    assert watching.result(10) < 0.05


def test_a_body_in_chunks_of_a_byte_that_is_half_read_when_the_server_ends_is_read_to_its_end() -> None:
    data = head(b"Transfer-Encoding: chunked") + b"".join(b"1\r\n%c\r\n" % byte for byte in BYTES)
    for _ in range(5):
        with edge(PASSING) as running, Wire(running.address) as wire:
            wire.send(data)
            assert running.app.arrived.acquire(timeout=5)
            running.call(running.listener.stop)
            answer = wire.send(b"0\r\n\r\n").answer()
            assert shown(answer)["body"] == BYTES.decode()
            assert wire.ended()


def test_what_is_between_the_bytes_of_a_body_may_be_so_much_and_no_more(server: Edge) -> None:
    with Wire(server.address) as wire:
        start = head(b"Transfer-Encoding: chunked")
        answer = wire.send(start + b"00000000001\r\nx\r\n" * 150_000).answer()
        assert (answer.status, answer.code, answer.closes) == (413, "GatewayBodyTooLarge", True)


@pytest.mark.parametrize(
    "data",
    [
        head(b"Content-Length: 200001"),
        head(b"Content-Length: 999999999999999999"),
        head(b"Content-Length: 200001", b"Expect: 100-continue"),
        sized(bytes(200_001)),
        chunked(bytes(200_001), size=50_000),
        head(b"Transfer-Encoding: chunked") + b"30d41\r\n",
        head(b"Transfer-Encoding: chunked", b"X-Do: wait") + b"30d41\r\n",
        head(b"Transfer-Encoding: chunked") + b"1;" + b"x" * 20_000,
    ],
)
def test_rfc9110_15_5_14_a_body_over_the_limit_is_refused_and_the_connection_closed(
    server: Edge, data: bytes
) -> None:
    with Wire(server.address) as wire:
        answer = wire.send(data + get("/smuggled")).answer()
        assert (answer.status, answer.code, answer.closes) == (413, "GatewayBodyTooLarge", True)
        assert wire.ended()


SMUGGLING = {
    "CL.TE": head(b"Content-Length: 5", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "TE.CL": head(b"Transfer-Encoding: chunked", b"Content-Length: 5") + b"0\r\n\r\n",
    "CL.CL": head(b"Content-Length: 5", b"Content-Length: 6") + b"12345",
    "CL twice": head(b"Content-Length: 5", b"Content-Length: 5") + b"12345",
    "CL list": head(b"Content-Length: 5, 5") + b"12345",
    "CL signed": head(b"Content-Length: +5") + b"12345",
    "CL hexadecimal": head(b"Content-Length: 0x5") + b"12345",
    "CL negative": head(b"Content-Length: -5") + b"12345",
    "CL empty": head(b"Content-Length:") + b"12345",
    "CL huge": head(b"Content-Length: 18446744073709551621") + b"12345",
    "TE.TE": head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity") + b"0\r\n\r\n",
    "TE list": head(b"Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n",
    "TE twice": head(b"Transfer-Encoding: chunked, chunked") + b"0\r\n\r\n",
    "TE other": head(b"Transfer-Encoding: xchunked") + b"0\r\n\r\n",
    "TE identity": head(b"Transfer-Encoding: identity") + b"0\r\n\r\n",
    "TE parameter": head(b"Transfer-Encoding: chunked;q=1") + b"0\r\n\r\n",
    "TE vertical tab": head(b"Transfer-Encoding: \x0bchunked") + b"0\r\n\r\n",
    "TE space before colon": head(b"Transfer-Encoding : chunked") + b"0\r\n\r\n",
    "TE folded": head(b"Transfer-Encoding:\r\n chunked") + b"0\r\n\r\n",
    "TE in HTTP/1.0": b"POST / HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a chunk size of words": head(b"Transfer-Encoding: chunked") + b"zz\r\n",
    "a chunk longer than it says": head(b"Transfer-Encoding: chunked") + b"1\r\nab\r\n0\r\n\r\n",
    "a chunk size with a bare LF": head(b"Transfer-Encoding: chunked") + b"1\na\r\n0\r\n\r\n",
    "a chunk that ends in LF": head(b"Transfer-Encoding: chunked") + b"1\r\na\n0\r\n\r\n",
    "an extension with a bare CR": head(b"Transfer-Encoding: chunked") + b"1;a\rb\r\na\r\n0\r\n\r\n",
    "a trailer without colon": head(b"Transfer-Encoding: chunked") + b"0\r\nGET / HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("data", SMUGGLING.values(), ids=SMUGGLING)
def test_rfc9112_11_2_what_two_parsers_could_read_differently_is_refused(server: Edge, data: bytes) -> None:
    with Wire(server.address) as wire:
        answer = wire.send(data + get("/smuggled")).answer()
        assert (answer.status, answer.code, answer.closes) == (400, "GatewayBadRequest", True)
        assert wire.ended()


def test_rfc9112_6_a_broken_body_ends_its_request_in_the_app() -> None:
    with edge(PASSING) as running, Wire(running.address) as wire:
        wire.send(head(b"Transfer-Encoding: chunked") + b"1\r\na\r\n")
        assert running.app.arrived.acquire(timeout=5)
        assert wire.send(b"zz\r\n").answer().status == 400
        assert running.app.left.acquire(timeout=5)


def test_a_client_that_leaves_in_the_middle_of_a_body_ends_its_request_in_the_app() -> None:
    with edge(PASSING) as running:
        with Wire(running.address) as wire:
            wire.send(head(b"Content-Length: 9") + b"1")
            assert running.app.arrived.acquire(timeout=5)
        assert running.app.left.acquire(timeout=5)


def test_a_broken_body_of_a_request_whose_answer_has_begun_cuts_the_answer_short() -> None:
    with edge(PASSING) as running, Wire(running.address) as wire:
        wire.send(head(b"Transfer-Encoding: chunked", b"X-Do: begin"))
        assert wire.socket.recv(1_000).startswith(b"HTTP/1.1 200 ")
        wire.send(b"zz\r\n")
        assert wire.ended()
        assert running.app.left.acquire(timeout=5)


@pytest.mark.parametrize("data", [sized(b"x" * 150_000, b"X-Do: ignore"), chunked(b"x" * 9_000, b"X-Do: ignore")])
def test_rfc9112_9_3_a_body_that_nobody_wants_is_read_over_and_the_connection_goes_on(
    server: Edge, data: bytes
) -> None:
    with Wire(server.address) as wire:
        for _ in range(3):
            answer = wire.send(data).answer()
            assert (shown(answer)["body"], answer.closes) == ("", False)
        assert shown(wire.send(get("/next")).answer())["path"] == "/next"


def test_rfc9112_9_3_an_answer_need_not_wait_for_a_body_that_nobody_wants(server: Edge) -> None:
    with Wire(server.address) as wire:
        assert wire.send(head(b"Content-Length: 5", b"X-Do: ignore") + b"12").answer().status == 200
        wire.send(b"345" + get("/next"))
        assert shown(wire.answer())["path"] == "/next"


def test_a_body_that_nobody_wants_and_that_is_broken_closes_the_connection_without_a_second_answer(
    server: Edge,
) -> None:
    with Wire(server.address) as wire:
        assert wire.send(head(b"Transfer-Encoding: chunked", b"X-Do: ignore")).answer().status == 200
        wire.send(b"zz\r\n" + get("/smuggled"))
        assert wire.ended()


def test_a_whole_answer_is_still_read_although_the_body_that_nobody_wanted_broke() -> None:
    with edge(replace(PASSING, linger_seconds=30.0)) as running, Wire(running.address) as wire:
        wire.send(head(b"Transfer-Encoding: chunked", b"X-Do: ignore big"))
        assert wire.socket.recv(1, socket.MSG_PEEK) == b"H"
        assert len(wire.send(b"zz\r\n").answer().body) == BIG


def test_an_app_whose_request_was_refused_meanwhile_has_nobody_to_answer(caplog: pytest.LogCaptureFixture) -> None:
    with edge(PASSING) as running, Wire(running.address) as wire:
        wire.send(head(b"Transfer-Encoding: chunked", b"X-Do: wait ignore"))
        assert running.app.arrived.acquire(timeout=5)
        assert wire.send(b"30d41\r\n").answer().status == 413
        running.call(running.app.released.set)
        assert wire.ended()
    assert not caplog.records


CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.mark.parametrize("framed", [sized, chunked])
def test_rfc9110_10_1_1_a_client_that_waits_is_told_to_go_on_once_the_body_is_wanted(
    server: Edge, framed: Framed
) -> None:
    start, _, rest = framed(b"body", b"Expect: 100-Continue").partition(b"\r\n\r\n")
    with Wire(server.address) as wire:
        for _ in range(2):
            wire.send(start + b"\r\n\r\n")
            assert wire.socket.recv(len(CONTINUE)) == CONTINUE
            answer = wire.send(rest).answer()
            assert (shown(answer)["body"], answer.closes) == ("body", False)


def test_rfc9110_10_1_1_a_client_that_does_not_wait_need_not_be_told() -> None:
    with edge(PASSING) as running, Wire(running.address) as wire:
        wire.send(sized(b"body", b"Expect: 100-continue", b"X-Do: wait"))
        assert running.app.arrived.acquire(timeout=5)
        running.call(running.app.released.set)
        assert shown(wire.answer())["body"] == "body"


@pytest.mark.parametrize(
    "data",
    [
        get("/", "Expect: 100-continue"),
        sized(b"", b"Expect: 100-continue"),
        b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
        b"GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n",
    ],
)
def test_rfc9110_10_1_1_without_content_or_in_http_1_0_there_is_nothing_to_go_on_with(
    server: Edge, data: bytes
) -> None:
    with Wire(server.address) as wire:
        assert wire.send(data).answer().status == 200


def test_rfc9110_10_1_1_a_final_answer_instead_closes_the_connection(server: Edge) -> None:
    """What the client sends next could be the body or a request; nobody can tell."""
    with Wire(server.address) as wire:
        answer = wire.send(head(b"Content-Length: 5", b"Expect: 100-continue", b"X-Do: ignore")).answer()
        assert (answer.status, answer.closes) == (200, True)
        assert wire.ended()


def test_a_connection_whose_body_is_still_to_come_is_not_idle_though_it_was_answered() -> None:
    with edge(PASSING, keep_alive=1) as running, Wire(running.address) as wire:
        assert wire.send(head(b"Content-Length: 5", b"X-Do: ignore")).answer().status == 200
        threading.Event().wait(1.5)
        assert wire.send(b"hello" + get("/")).answer().status == 200
        assert wire.ended()


QUICK = replace(PASSING, body_seconds=0.2, linger_seconds=0.2)


@pytest.fixture(scope="module")
def quick() -> Iterator[Edge]:
    """A server with little patience."""
    with edge(QUICK, keep_alive=1) as running:
        yield running


@pytest.mark.parametrize(
    "start",
    [
        head(b"Content-Length: 9"),
        head(b"Content-Length: 9") + b"12345678",
        head(b"Transfer-Encoding: chunked") + b"1\r\na\r\n",
        head(b"Transfer-Encoding: chunked") + b"0\r\n",
    ],
)
def test_rfc9110_15_5_9_a_body_that_is_late_is_refused(quick: Edge, start: bytes) -> None:
    with Wire(quick.address) as wire:
        answer = wire.send(start).answer()
        assert (answer.status, answer.closes) == (408, True)
        assert wire.ended()


def test_dripping_a_body_wins_no_time(quick: Edge) -> None:
    answer = b""
    with Wire(quick.address) as wire:
        wire.send(head(b"Content-Length: 100000"))
        wire.socket.settimeout(0.02)
        for _ in range(500):
            try:
                wire.send(b"x")
                answer = wire.socket.recv(1_000)
                break
            except TimeoutError:
                continue
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_a_late_body_that_nobody_wants_closes_the_connection_without_a_second_answer(quick: Edge) -> None:
    with Wire(quick.address) as wire:
        assert wire.send(head(b"Content-Length: 9", b"X-Do: ignore") + b"1").answer().status == 200
        assert wire.ended()


def test_once_the_body_is_whole_the_answer_may_take_its_time() -> None:
    with edge(QUICK) as running, Wire(running.address) as wire:
        wire.send(sized(b"body", b"X-Do: wait"))
        threading.Event().wait(QUICK.body_seconds * 1.5)
        running.call(running.app.released.set)
        assert shown(wire.answer())["body"] == "body"


def test_a_connection_whose_unwanted_body_has_ended_rests_and_is_closed_like_any_other(quick: Edge) -> None:
    with Wire(quick.address) as wire:
        assert wire.send(head(b"Content-Length: 2", b"X-Do: ignore") + b"1").answer().status == 200
        assert wire.send(b"2").ended()


def test_a_connection_whose_unwanted_body_has_ended_outlives_the_patience_with_bodies() -> None:
    with edge(QUICK) as running, Wire(running.address) as wire:
        assert wire.send(head(b"Content-Length: 2", b"X-Do: ignore") + b"1").answer().status == 200
        wire.send(b"2")
        threading.Event().wait(QUICK.body_seconds * 1.5)
        assert shown(wire.send(get("/next")).answer())["path"] == "/next"


def test_a_body_larger_than_the_buffers_waits_for_an_app_that_does_not_read_yet() -> None:
    with edge(PASSING) as running, Wire(running.address) as wire:
        wire.send(sized(b"x" * 150_000, b"X-Do: wait"))
        assert running.app.arrived.acquire(timeout=5)
        running.call(running.app.released.set)
        assert len(shown(wire.answer())["body"]) == 150_000


@pytest.mark.parametrize("framed", [sized, chunked])
def test_rfc9110_10_2_1_a_body_on_a_method_that_is_not_served_is_refused_and_allow_names_those_that_are(
    server: Edge, framed: Framed
) -> None:
    with Wire(server.address) as wire:
        answer = wire.send(framed(b"x", method=b"PUT") + get("/smuggled")).answer()
        assert (answer.status, answer.code, answer.closes) == (405, "GatewayMethodNotAllowed", True)
        assert answer.headers["allow"] == "GET, HEAD, POST"
        assert wire.ended()


@pytest.mark.parametrize(
    ("method", "target"), [(b"CONNECT", b"a.example:443"), (b"TRACE", b"/"), (b"TRACE", b"*")]
)
@pytest.mark.parametrize("limits", [LIMITS, PASSING, GENERIC], ids=["reading", "passing", "generic"])
def test_rfc9110_9_3_6_and_9_3_8_tunnels_and_traces_are_never_served(
    limits: Limits, method: bytes, target: bytes
) -> None:
    with edge(limits) as running, Wire(running.address) as wire:
        answer = wire.send(head(method=method, target=target)).answer()
        assert (answer.status, answer.code, answer.closes) == (405, "GatewayMethodNotAllowed", True)
        assert answer.headers["allow"].startswith("GET, HEAD")


METHODS = [b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"PROPFIND", b"M-SEARCH", b"PURGE", b"QUERY"]


def test_rfc9110_9_a_generic_edge_takes_any_other_method_with_and_without_body() -> None:
    with edge(GENERIC) as running, Wire(running.address) as wire:
        for method in METHODS:
            for data, body in ((sized(b"x", method=method), "x"), (head(method=method), "")):
                asked = shown(wire.send(data).answer())
                assert (asked["method"], asked["body"]) == (method.decode(), body)
        answer = wire.send(sized(b"x", method=b"GET")).answer()
        assert (answer.status, json.loads(answer.body)["code"]) == (400, "GatewayBadRequest")


def test_rfc9110_7_8_a_wish_to_upgrade_does_not_change_where_a_body_ends(server: Edge) -> None:
    with Wire(server.address) as wire:
        wire.send(sized(b"body", b"Connection: upgrade", b"Upgrade: h2c") + get("/next"))
        assert [shown(wire.answer())["body"], shown(wire.answer())["path"]] == ["body", "/next"]


def test_a_body_in_http_1_0_is_taken_and_the_connection_closed(server: Edge) -> None:
    with Wire(server.address) as wire:
        answer = wire.send(b"POST / HTTP/1.0\r\nContent-Length: 4\r\n\r\nbody").answer()
        assert (shown(answer)["body"], answer.closes) == ("body", True)
        assert wire.ended()


def test_while_draining_a_request_with_a_body_is_answered_and_its_connection_closed() -> None:
    with edge(PASSING) as running, Wire(running.address) as wire:
        assert not wire.send(sized(b"one")).answer().closes
        running.lifecycle.drain()
        answer = wire.send(sized(b"two")).answer()
        assert (shown(answer)["body"], answer.closes) == ("two", True)
        assert wire.ended()


def test_a_listener_that_stops_in_the_middle_of_a_body_answers_and_closes() -> None:
    with edge(PASSING) as running, Wire(running.address) as wire:
        wire.send(head(b"Content-Length: 4") + b"bo")
        assert running.app.arrived.acquire(timeout=5)
        running.call(running.listener.stop)
        threading.Event().wait(0.3)  # a stop is noticed within a tenth of a second
        answer = wire.send(b"dy").answer()
        assert (shown(answer)["body"], answer.closes) == ("body", True)
        assert wire.ended()
