"""What goes to the service and what comes back, seen on a raw socket."""

from __future__ import annotations

import asyncio
import gzip
from pathlib import Path

import pytest

from gateway import __version__
from gateway.errors import BadTarget, UpstreamUnreachable
from gateway.upstream.client import UpstreamRequest
from tests.upstream.origin import OK, Peer, answering, ask, calling, certificate, serving


async def test_the_head_is_the_target_as_written_and_nothing_but_our_headers() -> None:
    async with serving(answering(OK)) as origin, calling(origin.url) as client:
        await ask(client, authorization=b"Basic bW9uYXNoOnB3")
    host = origin.url.removeprefix("http://").encode()
    lines = origin.heads[0].removesuffix(b"\r\n\r\n").split(b"\r\n")
    assert lines[0] == b"GET / HTTP/1.1"
    assert sorted(lines[1:]) == sorted(
        [
            b"Host: " + host,
            b"Accept: */*",
            b"Accept-Encoding: gzip",
            b"Authorization: Basic bW9uYXNoOnB3",
            f"User-Agent: stats-gateway/{__version__}".encode(),
            b"Via: 1.1 stats-gateway",
        ]
    )


@pytest.mark.parametrize(
    "target",
    [
        b"/total/views/article/23?b=2&a=1&&=",
        b"/a//b/../c/./%2e%2E/%2F%zz;p?x=%41+{}|^`\"<>'[]\\~#frag",
        b"/?",
        b"//host/path",
    ],
)
async def test_no_byte_of_the_target_is_changed(target: bytes) -> None:
    async with serving(answering(OK)) as origin, calling(origin.url) as client:
        await ask(client, target)
    assert origin.heads[0].split(b"\r\n")[0] == b"GET " + target + b" HTTP/1.1"


async def test_the_base_urls_path_goes_before_the_target() -> None:
    async with serving(answering(OK)) as origin, calling(origin.url + "/stats/") as client:
        await ask(client, b"/total?x")
    assert origin.heads[0].startswith(b"GET /stats/total?x HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "target", [b"", b"total", b"*", b"http://h/", b"/a b", b"/a\r\nX: y", b"/\xc3\xa9", b"/\x7f"]
)
async def test_a_target_that_would_break_the_head_is_refused_before_anything_is_spent(target: bytes) -> None:
    async def spent() -> None:
        raise AssertionError

    async with serving(answering(OK)) as origin, calling(origin.url) as client:
        with pytest.raises(BadTarget):
            await ask(client, target, spent)
    assert origin.connections == 0


async def test_what_the_policy_let_out_goes_along_and_stands_in_for_our_defaults() -> None:
    given = ((b"accept", b"application/json"), (b"if-none-match", b'"v1"'))
    async with serving(answering(OK)) as origin, calling(origin.url) as client:
        await ask(client, headers=given)
    head = origin.heads[0].lower()
    assert b"\r\naccept: application/json\r\n" in head
    assert b'\r\nif-none-match: "v1"\r\n' in head
    for foreign in (b"*/*", b"authorization", b"connection"):
        assert foreign not in head


async def test_the_environment_has_no_say(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login netrc password netrc\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with serving(answering(OK)) as origin, calling(origin.url) as client:
        assert (await ask(client)).body == b"ok"
    assert b"uthorization" not in origin.heads[0]


async def test_status_headers_and_body_come_back_with_what_is_not_for_clients_left_out() -> None:
    answer = (
        b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json; charset=UTF-8\r\nServer: nginx\r\n"
        b"Set-Cookie: a=b\r\nWWW-Authenticate: Basic\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n"
        b'X-Amz-Cf-Id: z\r\nContent-Length: 2\r\nETag: W/"1"\r\nX-Figshare: yes\r\n\r\n{}'
    )
    async with serving(answering(answer)) as origin, calling(origin.url) as client:
        response = await ask(client)
    assert (response.status, response.body) == (400, b"{}")
    assert response.headers == [
        (b"content-type", b"application/json; charset=UTF-8"),
        (b"etag", b'W/"1"'),
        (b"x-figshare", b"yes"),
    ]


async def test_a_cookie_is_neither_kept_nor_sent_back() -> None:
    answer = OK.replace(b"Content-Length", b"Set-Cookie: session=1; Path=/\r\nContent-Length")
    async with serving(answering(answer, answer)) as origin, calling(origin.url) as client:
        assert (await ask(client)).headers == []
        await ask(client)
    assert b"ookie" not in origin.heads[1]


async def test_a_redirect_is_passed_on_and_not_followed() -> None:
    async def redirect(peer: Peer) -> None:
        location = peer.origin.url.encode() + b"/stats/b?c"
        await answering(b"HTTP/1.1 302 Found\r\nLocation: " + location + b"\r\nContent-Length: 0\r\n\r\n")(peer)

    async with serving(redirect) as origin, calling(origin.url + "/stats") as client:
        response = await ask(client, b"/a")
    assert (response.status, response.headers) == (302, [(b"location", b"/b?c")])
    assert len(origin.heads) == 1


@pytest.mark.parametrize("coding", [b"gzip", b"x-gzip", b"GZIP", b"identity, gzip"])
async def test_gzip_is_decoded_and_its_traces_are_gone(coding: bytes) -> None:
    packed = gzip.compress(b'{"totals": ') + gzip.compress(b"231}")
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: %b\r\nContent-Length: %d\r\n\r\n" % (coding, len(packed))
    async with serving(answering(head + packed)) as origin, calling(origin.url) as client:
        response = await ask(client)
    assert (response.body, response.headers) == (b'{"totals": 231}', [])


async def test_chunks_are_put_together() -> None:
    chunks = b'2;x=y\r\n{"\r\n3\r\na":\r\n2\r\n1}\r\n0\r\nT: t\r\n\r\n'
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks
    async with serving(answering(answer)) as origin, calling(origin.url) as client:
        response = await ask(client)
    assert (response.body, response.headers) == (b'{"a":1}', [])


async def test_an_answer_without_length_ends_with_its_connection() -> None:
    async with (
        serving(answering(b"HTTP/1.0 200 OK\r\n\r\n{}", then_close=True)) as origin,
        calling(origin.url) as client,
    ):
        assert (await ask(client)).body == b"{}"


async def test_interim_answers_are_passed_over() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    async with serving(answering(interim + OK, interim + OK)) as origin, calling(origin.url) as client:
        assert [(await ask(client)).body, (await ask(client)).headers] == [b"ok", []]
    assert origin.connections == 1


@pytest.mark.parametrize(
    ("method", "status"), [(b"HEAD", b"200 OK"), (b"GET", b"204 No Content"), (b"GET", b"304 Not Modified")]
)
async def test_an_answer_that_has_no_body_leaves_the_connection_in_use(method: bytes, status: bytes) -> None:
    bare = b"HTTP/1.1 " + status + b"\r\nContent-Length: 9\r\nContent-Encoding: gzip\r\n\r\n"
    async with serving(answering(bare, OK)) as origin, calling(origin.url) as client:
        assert (await ask(client, method=method)).body == b""
        assert (await ask(client)).body == b"ok"
    assert origin.connections == 1
    assert origin.heads[0].startswith(method + b" / ")


async def test_a_connection_is_used_again_and_no_more_are_opened_than_are_needed() -> None:
    async with serving(answering(*[OK] * 5)) as origin, calling(origin.url) as client:
        for _ in range(5):
            await ask(client)
    assert (origin.connections, len(origin.heads)) == (1, 5)


async def test_before_write_runs_when_the_connection_is_there_and_nothing_was_sent() -> None:
    async with serving(answering(OK)) as origin, calling(origin.url) as client:
        seen: list[tuple[int, int]] = []

        async def confirm() -> None:
            while not origin.connections:
                await asyncio.sleep(0)
            seen.append((origin.connections, len(origin.heads)))

        await ask(client, b"/", confirm)
    assert seen == [(1, 0)]


async def test_an_unknown_certificate_ends_the_call_before_the_credential_is_sent(tmp_path: Path) -> None:
    tls, _ = certificate(tmp_path)
    async with serving(answering(OK), tls) as origin, calling(origin.url) as client:
        with pytest.raises(UpstreamUnreachable):
            await ask(client, authorization=b"Basic bW9uYXNoOnB3")
    assert origin.heads == []


async def test_a_trusted_certificate_is_enough_and_the_connection_is_kept(tmp_path: Path) -> None:
    tls, trust = certificate(tmp_path)
    async with serving(answering(OK, OK), tls) as origin, calling(origin.url, ssl_context=trust) as client:
        assert [(await ask(client)).body, (await ask(client)).body] == [b"ok", b"ok"]
    assert origin.connections == 1


def test_the_credential_is_not_shown() -> None:
    assert "c2VjcmV0" not in repr(UpstreamRequest(b"/", b"Basic c2VjcmV0"))
