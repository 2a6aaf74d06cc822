"""Bad input: each kind gets a clear error in the service's shape, and nothing is spent on it upstream."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Iterator

import pytest

from tests.integration.crowd import Reply, parse
from tests.integration.stage import Stage, staged

KEY = "{key}"


def request(target: str, *lines: str, method: str = "GET", host: str = "{host}") -> str:
    """A request's head; ``{key}`` and ``{host}`` are filled in by the test."""
    return "\r\n".join([f"{method} {target} HTTP/1.1", f"Host: {host}", "Connection: close", *lines, "", ""])


def keyed(target: str, *lines: str, **options: str) -> str:
    return request(target, f"X-API-Key: {KEY}", *lines, **options)


def basic(text: str) -> str:
    return "Authorization: Basic " + base64.b64encode(text.encode()).decode()


TOTALS = "/total/views/article/23"

CASES: dict[str, tuple[str, int, str]] = {
    "control character": (keyed("/total/views/article/\x01"), 400, "Gateway"),
    "encoded NUL": (keyed("/total/views/article/%00"), 400, "GatewayBadTarget"),
    "encoded line feed": (keyed("/total/views/article/1%0aX-Evil:1"), 400, "GatewayBadTarget"),
    "dot segments": (keyed("/total/views/../article/23"), 400, "GatewayBadTarget"),
    "dot segment at the end": (keyed("/total/views/article/.."), 400, "GatewayBadTarget"),
    "encoded dots": (keyed("/total/views/%2e%2e/article"), 400, "GatewayBadTarget"),
    "encoded slash": (keyed("/lboro%2ftotal/views/article/23"), 400, "GatewayBadTarget"),
    "double slash": (keyed("//total/views/article/23"), 400, "Gateway"),
    "double slash inside": (keyed("/total//views/article/23"), 400, "GatewayBadTarget"),
    "backslash": (keyed("/total\\views/article/23"), 400, "GatewayBadTarget"),
    "encoded backslash": (keyed("/total%5cviews/article/23"), 400, "GatewayBadTarget"),
    "foreign absolute form": (keyed("http://other.example/total/views/article/23"), 421, "GatewayMisdirected"),
    "over-long target": (keyed("/total/views/article/" + "1" * 5_000), 414, "GatewayTargetTooLong"),
    "target beyond all bounds": (keyed("/total/views/article/" + "1" * 20_000), 414, "GatewayTargetTooLong"),
    "over-long head": (keyed(TOTALS, "X-Filler: " + "a" * 20_000), 431, "GatewayHeadTooLarge"),
    "percent without digits": (keyed("/total/views/article/%"), 400, "GatewayBadTarget"),
    "percent with other digits": (keyed("/total/views/article/%zz"), 400, "GatewayBadTarget"),
    "percent in the query": (keyed(f"{TOTALS}?a=%f"), 400, "GatewayBadTarget"),
    "not UTF-8": (keyed("/total/views/article/%ff%fe"), 400, "GatewayBadTarget"),
    "overlong UTF-8": (keyed("/total/views/%c0%ae%c0%ae/23"), 400, "GatewayBadTarget"),
    "raw bytes": (keyed("/total/views/article/\xe9"), 400, "Gateway"),
    "two keys": (keyed(TOTALS, "Authorization: Bearer sgw_other"), 400, "GatewayAmbiguousKey"),
    "a repeated key header": (keyed(TOTALS, f"X-API-Key: {KEY}"), 400, "GatewayAmbiguousKey"),
    "an oversized key": (request(TOTALS, "X-API-Key: " + "a" * 4_000), 400, "GatewayAmbiguousKey"),
    "an oversized Authorization": (
        request(TOTALS, "Authorization: Bearer " + "a" * 4_000), 400, "GatewayAmbiguousKey"
    ),
    "basic that is not base64": (request(TOTALS, "Authorization: Basic ???"), 400, "GatewayAmbiguousKey"),
    "basic without a colon": (request(TOTALS, basic("nocolon")), 400, "GatewayAmbiguousKey"),
    "basic with the institution's own pair": (
        request(TOTALS, basic("lboro:sandbox-lboro")), 401, "GatewayUnauthenticated"
    ),
    "an empty key": (request(TOTALS, "X-API-Key: "), 401, "GatewayUnauthenticated"),
    "an unknown scheme": (request(TOTALS, "Authorization: Digest a=b"), 401, "GatewayUnauthenticated"),
    "an unknown key": (request(TOTALS, "X-API-Key: sgw_0123456789_" + "0" * 43), 401, "GatewayUnauthenticated"),
    "no key": (request(TOTALS), 401, "GatewayUnauthenticated"),
    "a body on GET": (keyed(TOTALS, "Content-Length: 5") + "hello", 400, "GatewayBadRequest"),
    "a chunked body on GET": (
        keyed(TOTALS, "Transfer-Encoding: chunked") + "1\r\na\r\n0\r\n\r\n", 400, "GatewayBadRequest"
    ),
    "no Host": (f"GET {TOTALS} HTTP/1.1\r\nX-API-Key: {KEY}\r\n\r\n", 400, "GatewayBadRequest"),
    "two Hosts": (keyed(TOTALS, "Host: other"), 400, "GatewayBadRequest"),
    "a method that nobody knows": (keyed(TOTALS, method="FETCH"), 501, "GatewayMethodUnknown"),
    "a method in lower case": (keyed(TOTALS, method="get"), 501, "GatewayMethodUnknown"),
    "another version": (keyed(TOTALS).replace("HTTP/1.1", "HTTP/2.0"), 505, "GatewayVersionUnsupported"),
    "another method": (keyed(TOTALS, method="POST"), 405, "GatewayMethodNotAllowed"),
    "not HTTP": ("hello\r\n\r\n", 400, "GatewayBadRequest"),
}  # fmt: skip


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged(budget="unlimited", head_timeout=1, log_level="warning") as stage:
        stage.tenant("reports", "lboro")
        stage.serve()
        yield stage


def exchange(port: int, data: bytes) -> Reply:
    """Sends bytes as they are; reads until the gateway closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(data)
        received = b""
        while chunk := connection.recv(65_536):
            received += chunk
    return parse(received)


def check(reply: Reply, status: int, code: str) -> None:
    """One clear error of the gateway's own."""
    assert reply.status == status
    body = json.loads(reply.body)
    assert set(body) == {"message", "code", "data"}
    assert body["code"].startswith(code)
    assert body["message"]
    assert reply.headers["proxy-status"].startswith("stats-gateway; error=")


@pytest.mark.parametrize("name", CASES)
def test_bad_input_gets_a_clear_error_and_costs_nothing(stage: Stage, name: str) -> None:
    text, status, code = CASES[name]
    gateway = stage.gateways[0]
    filled = text.replace(KEY, stage.keys["reports"]).replace("{host}", f"127.0.0.1:{gateway.port}")
    stage.reset_calls()
    check(exchange(gateway.port, filled.encode("latin-1")), status, code)
    assert stage.calls()["total"] == 0


@pytest.mark.parametrize("head", [b"", b"GET /total", b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: "])
def test_a_head_that_never_ends_is_given_up(stage: Stage, head: bytes) -> None:
    check(exchange(stage.gateways[0].port, head), 408, "GatewayHeadTimeout")


def test_an_absolute_form_target_with_our_authority_is_served(stage: Stage) -> None:
    gateway = stage.gateways[0]
    text = keyed(f"{gateway.url}{TOTALS}", host=f"127.0.0.1:{gateway.port}").replace(KEY, stage.keys["reports"])
    reply = exchange(gateway.port, text.encode())
    assert (reply.status, reply.body) == (200, b'{"totals": 231}')


def test_the_gateway_still_serves_and_logged_no_traceback(stage: Stage) -> None:
    gateway = stage.gateways[0]
    text = keyed(TOTALS).replace(KEY, stage.keys["reports"]).replace("{host}", "gateway.test")
    assert exchange(gateway.port, text.encode()).status == 200
    assert "Traceback" not in gateway.output
