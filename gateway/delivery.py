"""Delivery: of a whole answer, what this client gets: nothing new, a part, a coded form, or all of it."""

from __future__ import annotations

from collections.abc import Hashable

from msgspec.structs import replace

from gateway.answer import Answer, varying
from gateway.cache.conditional import (
    METADATA,
    Part,
    Unsatisfiable,
    copy_of,
    not_modified,
    precondition_failed,
    range_of,
    unmodified,
)
from gateway.coding import Coder, acceptable, coded_headers, is_codable, negotiate
from gateway.errors import Headers

CONDITIONS = frozenset({b"if-match", b"if-unmodified-since", b"if-none-match", b"if-modified-since", b"range"})
HEEDED = CONDITIONS | {b"if-range", b"accept-encoding", b"cache-control"}
"""Request headers that decide about delivery."""

WHOLE_ONLY = frozenset({b"accept-ranges", b"content-length", b"content-md5", b"content-digest", b"content-range"})
"""What is true of whole answers only; a ``Content-Range`` on one means nothing (RFC 9110 §14.4)."""
GOVERNING = METADATA | {b"etag", b"last-modified", b"age", b"expires", b"cache-control", b"cdn-cache-control"}
"""What an answer says about its own body and lifetime, and not about a refusal in its place."""

ACCEPT_RANGES = (b"accept-ranges", b"bytes")


async def deliver(
    answer: Answer, method: str, asked: Headers, coder: Coder | None, key: Hashable | None
) -> Answer:
    """What a client gets who sent the headers ``asked``: for a 200 to a GET or HEAD a 412, a 304, a part (206,
    416), its coded form or the whole, tried in this order (RFC 9110 §13.2.2); for another 2xx a 412 at most;
    anything else as it is.

    ``key`` names the answer's very body, None where it is not stored; without a ``coder`` nothing is coded.
    A HEAD gets the headers of the GET (§9.3.2).
    """
    if not 200 <= answer.status < 300 or method not in ("GET", "HEAD"):
        return answer
    asked = [line for line in asked if line[0] in HEEDED]
    if answer.status != 200:
        return _failed(answer) if _fails(answer, asked, None) else answer
    if coder is not None and is_codable(answer.headers, answer.body):
        answer = replace(answer, headers=varying(answer.headers, b"Accept-Encoding"))
    else:
        coder = None
    if not asked:
        return _whole(answer)
    if CONDITIONS.isdisjoint([name for name, _ in asked]):
        return await _coded(answer, asked, coder, key)
    ranged = method == "GET" and any(name == b"range" for name, _ in asked)
    if _fails(answer, asked, None if ranged else coder):  # ranges are cut from the uncoded body alone
        return _failed(answer)
    unchanged = await _unchanged(answer, asked, coder, key)
    if unchanged is not None:
        return unchanged
    if method == "GET":
        match range_of(asked, *_validators(answer.headers), len(answer.body)):
            case Part() as part:
                return _partial(answer, part, asked)
            case Unsatisfiable() as nothing:
                return _unsatisfiable(answer, nothing)
    return await _coded(answer, asked, coder, key)


def _fails(answer: Answer, asked: Headers, coder: Coder | None) -> bool:
    """Whether the client asks for another answer than this one, or those that the ``coder`` makes of it."""
    etag, last_modified, _ = _validators(answer.headers)
    return precondition_failed(asked, etag, last_modified, _codings(asked, coder))


def _codings(asked: Headers, coder: Coder | None) -> tuple[bytes, ...]:
    return () if coder is None else acceptable(asked, coder.offered)


async def _unchanged(answer: Answer, asked: Headers, coder: Coder | None, key: Hashable | None) -> Answer | None:
    """The 304, with the ETag of the client's copy, else that of what a 200 would have been (RFC 9110 §15.4.5)."""
    etag, last_modified, date = _validators(answer.headers)
    codings = _codings(asked, coder)
    if not not_modified(asked, etag, last_modified, answer.status, date=date, codings=codings):
        return None
    copy = copy_of(asked, etag, codings)
    if copy is None:
        answer = await _coded(answer, asked, coder, key)
        copy = _validators(answer.headers)[0]
    return replace(answer, status=304, headers=unmodified(answer.headers, copy), body=b"")


async def _coded(answer: Answer, asked: Headers, coder: Coder | None, key: Hashable | None) -> Answer:
    """The answer in the coding that the client likes best, if any; else the whole."""
    coding = None if coder is None else negotiate(asked, coder.offered)
    if coder is None or coding is None:
        return _whole(answer)
    body = await coder.coded(key, coding, answer.body)
    if body is None:
        return _whole(answer)
    return replace(answer, headers=coded_headers(answer.headers, coding), body=body)


def _whole(answer: Answer) -> Answer:
    """All of it, of which ranges may be asked (RFC 9110 §14.3)."""
    if ACCEPT_RANGES in answer.headers:
        return answer
    headers = [line for line in answer.headers if line[0] != b"accept-ranges"]
    headers.append(ACCEPT_RANGES)
    return replace(answer, headers=headers)


def _partial(answer: Answer, part: Part, asked: Headers) -> Answer:
    """A 206. Who sent ``If-Range`` has the description already (RFC 9110 §15.3.7)."""
    if any(name == b"if-range" for name, _ in asked):
        headers = unmodified(answer.headers, _validators(answer.headers)[0])
    else:
        headers = [line for line in answer.headers if line[0] not in WHOLE_ONLY]
    headers.append((b"content-range", part.content_range(len(answer.body))))
    return replace(answer, status=206, headers=headers, body=answer.body[part.start : part.end])


def _unsatisfiable(answer: Answer, nothing: Unsatisfiable) -> Answer:
    """A 416, which says how much there is (RFC 9110 §15.5.17)."""
    return _in_place_of(answer, 416, (b"content-range", nothing.content_range(len(answer.body))))


def _failed(answer: Answer) -> Answer:
    """A 412 (RFC 9110 §15.5.13)."""
    return _in_place_of(answer, 412)


def _in_place_of(answer: Answer, status: int, *more: tuple[bytes, bytes]) -> Answer:
    """A refusal without content, which nobody may keep in the answer's place."""
    headers = [line for line in answer.headers if line[0] not in GOVERNING]
    return replace(answer, status=status, headers=[*headers, (b"cache-control", b"no-store"), *more], body=b"")


def _validators(headers: Headers) -> tuple[bytes, bytes, bytes]:
    """``ETag``, ``Last-Modified`` and ``Date``; empty where there is none."""
    found = dict(reversed(headers))
    return found.get(b"etag", b""), found.get(b"last-modified", b""), found.get(b"date", b"")
