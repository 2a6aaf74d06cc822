"""Where an answer ends, and what of the unusual passes, on a raw socket."""

from __future__ import annotations

import pytest

from gateway.errors import BadRequest, BadTarget, UpstreamDisconnected, UpstreamProtocolError
from gateway.upstream.headers import GENERIC
from tests.upstream.origin import OK, Peer, answering, ask, calling, serving

INTERIM = {
    "100": b"HTTP/1.1 100 Continue\r\n\r\n",
    "102": b"HTTP/1.1 102 Processing\r\nX: y\r\n\r\n",
    "103": b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\nContent-Length: 7\r\n\r\n",
    "several": b"HTTP/1.1 103\r\n\r\n" * 20 + b"HTTP/1.1 199 Unknown\r\n\r\n",
}
BODILESS = [
    (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"),
    (b"HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
    (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"),
    (b"GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\n"),
    (b"POST", b"HTTP/1.1 204 No Content\r\n\r\n"),
]


@pytest.mark.parametrize("interim", INTERIM.values(), ids=INTERIM)
@pytest.mark.parametrize(("method", "final"), [(b"GET", OK), (b"POST", OK), *BODILESS])
async def test_rfc9110_15_2_interim_answers_are_passed_over(interim: bytes, method: bytes, final: bytes) -> None:
    body = b"ok" if final is OK else b""
    async with serving(answering(interim + final, OK)) as origin, calling(origin.url, policy=GENERIC) as client:
        response = await ask(client, method=method)
        assert (response.body, response.headers, response.sound) == (body, [(b"via", b"1.1 stats-gateway")], True)
        assert (await ask(client)).body == b"ok"
    assert origin.connections == 1


@pytest.mark.parametrize("rest", [b"", OK], ids=["alone", "and an answer"])
async def test_rfc9110_15_2_2_a_switch_that_nobody_asked_for_is_no_answer(rest: bytes) -> None:
    switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
    asked = GENERIC.outgoing([(b"connection", b"upgrade"), (b"upgrade", b"x")], read=True)
    async with serving(answering(switch + rest)) as origin, calling(origin.url, policy=GENERIC) as client:
        with pytest.raises(UpstreamProtocolError):
            await ask(client, headers=tuple(asked))
    assert b"pgrade" not in origin.heads[0]


@pytest.mark.parametrize(("method", "final"), BODILESS)
async def test_rfc9112_6_3_an_answer_without_body_leaves_the_connection_in_order(
    method: bytes, final: bytes
) -> None:
    async with serving(answering(final, OK, final, OK)) as origin, calling(origin.url) as client:
        for _ in range(2):
            assert (await ask(client, method=method)).body == b""
            assert (await ask(client)).body == b"ok"
    assert origin.connections == 1


@pytest.mark.parametrize("status", [200, 203, 299, 418, 451, 499, 599, 600, 999])
async def test_rfc9110_15_any_final_status_passes(status: int) -> None:
    said = b"HTTP/1.1 %d\r\nContent-Length: 2\r\n\r\nok" % status
    async with serving(answering(said, said)) as origin, calling(origin.url) as client:
        assert [(await ask(client)).status, (await ask(client)).status] == [status, status]
    assert origin.connections == 1


WHOLE = {
    "http/1.0 to its end": b"HTTP/1.0 200 OK\r\n\r\nok",
    "http/1.0 with a length": b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "http/1.1 to its end": b"HTTP/1.1 200 OK\r\n\r\nok",
    "that closes": b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
    "chunks": b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "trailers": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nETag: x\r\nY: z\r\n\r\n",
    "one length twice": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
    "one length twice in a line": b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
}


@pytest.mark.parametrize("said", WHOLE.values(), ids=WHOLE)
async def test_rfc9112_6_3_a_whole_answer_is_taken_whole(said: bytes) -> None:
    async with serving(answering(said, then_close=True)) as origin, calling(origin.url, policy=GENERIC) as client:
        for _ in range(2):
            response = await ask(client)
            version = said[5:8]
            assert (response.status, response.body, response.sound) == (200, b"ok", True)
            assert response.headers == [(b"via", version + b" stats-gateway")]


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2;\r\n\r\nok",
    ],
)
async def test_rfc9112_6_3_lengths_that_conflict_are_no_answer(said: bytes) -> None:
    async with serving(answering(said)) as origin, calling(origin.url, policy=GENERIC) as client:
        with pytest.raises(UpstreamProtocolError):
            await ask(client)


@pytest.mark.parametrize(
    "said", [b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nok", b"HTTP/1.1 200 OK\r\nTransfer-Enco"]
)
async def test_rfc9112_8_an_answer_cut_short_is_a_disconnection(said: bytes) -> None:
    async with serving(answering(said, then_close=True)) as origin, calling(origin.url, policy=GENERIC) as client:
        with pytest.raises(UpstreamDisconnected):
            await ask(client)


async def test_rfc9112_5_2_a_folded_line_is_one_line() -> None:
    said = OK.replace(b"Content-Length", b"X: a\r\n\t b\r\nContent-Length")
    async with serving(answering(said)) as origin, calling(origin.url) as client:
        assert (await ask(client)).headers == [(b"x", b"a b")]


async def test_rfc9110_5_3_a_plain_proxy_repeats_what_is_repeated_and_leaves_the_content_in_its_coding() -> None:
    said = (
        b"HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Encoding: gzip\r\nLocation: /x\r\n"
        b"Via: 1.0 cdn\r\nServer: s\r\nContent-Length: 4\r\n\r\nbyte"
    )
    async with serving(answering(said)) as origin, calling(origin.url + "/prefix", policy=GENERIC) as client:
        response = await ask(client)
    assert response.body == b"byte"
    assert response.headers == [
        (b"set-cookie", b"a"),
        (b"set-cookie", b"b"),
        (b"content-encoding", b"gzip"),
        (b"location", b"/x"),
        (b"via", b"1.0 cdn, 1.1 stats-gateway"),
        (b"server", b"s"),
    ]


async def echo(peer: Peer) -> None:
    while True:
        await peer.head()
        body = await peer.body()
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


@pytest.mark.parametrize(
    ("method", "content", "length"),
    [
        (b"POST", b"{}", b"2"),
        (b"POST", b"", b"0"),
        (b"PUT", b"", b"0"),
        (b"PATCH", b"", b"0"),
        (b"DELETE", b"", None),
        (b"OPTIONS", b"", None),
        (b"DELETE", b"x", b"1"),
        (b"M-SEARCH", b"x", b"1"),
        (b"GET", b"", None),
        (b"HEAD", b"", None),
    ],
)
async def test_rfc9110_8_6_a_request_says_how_long_its_content_is(
    method: bytes, content: bytes, length: bytes | None
) -> None:
    misleading = [(b"content-length", b"99"), (b"transfer-encoding", b"chunked"), (b"expect", b"100-continue")]
    headers = tuple(GENERIC.outgoing(misleading, read=False))
    async with serving(echo) as origin, calling(origin.url, policy=GENERIC) as client:
        response = await ask(client, method=method, content=content, headers=headers)
    assert response.body == (content if method != b"HEAD" else b"")
    lines = origin.heads[0].lower().split(b"\r\n")
    assert lines[0] == method.lower() + b" / http/1.1"
    said = [line for line in lines if line.startswith((b"content-length", b"transfer-encoding", b"expect"))]
    assert said == ([] if length is None else [b"content-length: " + length])


async def test_what_cannot_be_sent_is_refused_before_anything_is_spent() -> None:
    async def spent() -> None:
        raise AssertionError

    async with serving(echo) as origin, calling(origin.url, policy=GENERIC) as client:
        with pytest.raises(BadTarget):
            await ask(client, b"stats.example.org:443", spent, method=b"CONNECT")
        for headers in (((b"x", b"a\nb"),), ((b"a b", b"x"),)):
            with pytest.raises(BadRequest):
                await ask(client, headers=headers)
        assert (await ask(client)).status == 200
    assert len(origin.heads) == 1
