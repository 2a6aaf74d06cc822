"""What the listeners add to an application, under real uvicorn servers."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn
from pydantic import SecretStr
from uvicorn.loops.auto import auto_loop_factory

from gateway.lifecycle import Lifecycle
from gateway.proxy.methods import READING
from gateway.server.head import Limits
from gateway.server.listener import (
    Listener,
    admin_config,
    bind,
    client_connections,
    is_tried,
    public_config,
    reserved_files,
)
from gateway.settings import Settings
from tests.loopback import running
from tests.wire import Address, Wire, ask, get

DATE = re.compile(r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT")
OLD = b"Sun, 06 Nov 1994 08:49:37 GMT"


async def answering(scope: Any, receive: Any, send: Any) -> None:
    """``/<status>?<date>``: answers with that status, and that Date if there is one."""
    if scope["type"] == "lifespan":
        for phase in ("startup", "shutdown"):
            assert (await receive())["type"] == f"lifespan.{phase}"
            await send({"type": f"lifespan.{phase}.complete"})
        return
    given = scope["query_string"].replace(b"%20", b" ")
    headers = [(b"X-Odd", b"a\t\xe9  b"), (b"content-length", b"2"), *([(b"Date", given)] if given else [])]
    await send({"type": "http.response.start", "status": int(scope["path"][1:]), "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


@contextmanager
def listening(config: uvicorn.Config) -> Iterator[Address]:
    """A listener on an event loop in a thread."""
    started = threading.Event()
    listener = Listener(config, started.set)
    bound = bind("127.0.0.1", 0, "public")
    with running(listener.serve([bound]), started, listener.stop, auto_loop_factory()):
        yield bound.getsockname()


@pytest.fixture(scope="module")
def public() -> Iterator[Address]:
    with listening(public_config(answering, Settings.model_validate({}), Lifecycle())) as address:
        yield address


@pytest.fixture(scope="module")
def admin() -> Iterator[Address]:
    with listening(admin_config(answering, Settings.model_validate({}), Lifecycle())) as address:
        yield address


def test_rfc9110_6_6_1_an_answers_own_date_is_kept_and_is_the_only_one(admin: Address) -> None:
    assert ask(admin, get("/200?" + OLD.decode().replace(" ", "%20"))).headers["date"] == OLD.decode()


def test_rfc9110_6_6_1_an_answer_without_date_gets_one(admin: Address) -> None:
    assert DATE.fullmatch(ask(admin, get("/200")).headers["date"])


def test_rfc9110_6_6_1_a_refusal_has_a_date(public: Address) -> None:
    assert DATE.fullmatch(ask(public, b"GET / HTTP/1.1\r\n\r\n").headers["date"])


@pytest.mark.parametrize("status", [200, 299, 418, 451, 499, 599, 600, 999])
def test_rfc9110_15_any_final_status_leaves_the_gateway(public: Address, status: int) -> None:
    with Wire(public) as wire:
        for _ in range(2):
            answer = wire.send(get(f"/{status}")).answer()
            assert (answer.status, answer.body, answer.headers["x-odd"]) == (status, b"ok", "a\té  b")


def limits(**settings: Any) -> Limits:
    return Limits.of(Settings.model_validate(settings))


def test_rfc9110_9_only_reading_is_served_unless_the_settings_say_otherwise() -> None:
    assert limits().methods == READING
    assert limits(pass_methods=("POST", "PURGE")).methods == READING | {b"POST", b"PURGE"}
    assert limits(profile="generic").methods is None
    assert limits(request_max_bytes=7).body_bytes == 7


def test_the_admin_listener_takes_its_apis_methods_and_small_bodies_only() -> None:
    settings = Settings.model_validate({"profile": "generic"})
    with listening(admin_config(answering, settings, Lifecycle())) as address:
        assert ask(address, b"POST /200 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx").status == 200
        answer = ask(address, b"PROPFIND /200 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
        assert answer.status == 405
        assert ask(address, b"POST /200 HTTP/1.1\r\nHost: a\r\nContent-Length: 65537\r\n\r\n").status == 413


@pytest.mark.parametrize(
    ("files", "connections"),
    [(None, 10_000), (1_048_576, 10_000), (10_400, 10_000), (1_024, 714), (512, 202), (256, 64), (3, 1)],
)
def test_clients_may_have_the_open_files_that_a_reserve_leaves(files: int | None, connections: int) -> None:
    settings = Settings.model_validate({"redis_url": SecretStr("redis://127.0.0.1")})
    assert client_connections(files, reserved_files(settings), settings.max_connections) == connections


def test_redis_has_a_reserve_on_each_of_its_nodes() -> None:
    def reserved(url: str) -> int:
        return reserved_files(Settings.model_validate({"redis_url": SecretStr(url), "redis_connections": 10}))

    without = reserved("memory://")
    assert reserved("redis://one") == without + 10
    assert reserved("redis+cluster://one,two,three") == without + 30


@pytest.mark.parametrize(
    ("version", "tried"),
    [("0.50.0", True), ("0.54.9", True), ("0.49.1", False), ("0.55.0", False), ("1.0", False), ("unknown", False)],
)
def test_the_fast_lane_is_closed_on_a_server_that_it_was_not_tried_with(version: str, tried: bool) -> None:
    assert is_tried(version) is tried


def test_the_installed_server_is_one_that_it_was_tried_with() -> None:
    assert is_tried()


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="needs IPv6")
def test_the_unspecified_address_of_ipv6_takes_both_families(monkeypatch: pytest.MonkeyPatch) -> None:
    made = socket.socket

    def apart(family: int, kind: int, protocol: int) -> socket.socket:
        """A socket as on a system whose default is IPv6 alone."""
        found = made(family, kind, protocol)
        found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(socket, "socket", apart)
        bound = bind("::", 0, "public")
    with bound:
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, bound.getsockname()[1]), timeout=20).close()
