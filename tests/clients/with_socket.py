"""A socket: the very bytes, which no library would send so."""

from __future__ import annotations

import socket
from urllib.parse import quote, urlsplit

from tests.clients.asking import Answer, Ask, Client, How
from tests.wire import Wire


def ask(base: str, asked: Ask) -> list[Answer]:
    address = urlsplit(base)
    assert address.hostname is not None
    assert address.port is not None
    with Wire((address.hostname, address.port), timeout=40) as wire:
        data = _bytes(asked, address.netloc)
        if asked.how is How.PIPELINED:
            wire.send(data * asked.times)
            return [_answer(wire, asked) for _ in range(asked.times)]
        answers = []
        for _ in range(asked.times):
            wire.send(data)
            if asked.how is How.HALF_CLOSED:
                wire.socket.shutdown(socket.SHUT_WR)
            answers.append(_answer(wire, asked))
        return answers


def _bytes(asked: Ask, host: str) -> bytes:
    query = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in asked.parameters)
    version = "1.0" if asked.how is How.IN_HTTP_1_0 else "1.1"
    headers = [f"{name}: {value}" for name, value in (("host", host), *asked.headers)]
    if asked.content is not None:
        headers.append(f"CONTENT-LENGTH:{len(asked.content)}")
    if asked.how is How.WITH_EMPTY_CHUNKS:
        headers.append("tRANSFER-eNCODING: chunked")
    target = asked.target.partition("#")[0] + ("?" + query if query else "")
    line = f"{asked.method} {target} HTTP/{version}"
    head = "\r\n".join([line, *headers, "", ""]).encode("latin-1")
    return head + (b"0\r\n\r\n" if asked.how is How.WITH_EMPTY_CHUNKS else asked.content or b"")


def _answer(wire: Wire, asked: Ask) -> Answer:
    answer = wire.answer(head=asked.method == "HEAD")
    return Answer.of(answer.status, answer.headers, answer.body)


CLIENT = Client(
    "socket",
    ask,
    frozenset(
        {How.IN_A_SESSION, How.BY_HAND, How.WITH_EMPTY_CHUNKS, How.IN_HTTP_1_0, How.HALF_CLOSED, How.PIPELINED}
    ),
)
