"""Content: which body a request's head announces (RFC 9112 §6). Pure."""

from __future__ import annotations

import re
from collections.abc import Set

from gateway.errors import BadRequest, BodyTooLarge, GatewayError, Headers, MethodNotAllowed
from gateway.proxy.methods import NEVER, READING, allowed
from gateway.upstream.framing import Chunked, Content, Sized

BARE = READING | {b"OPTIONS"}
"""Methods that are answered even where they may not have a body: an empty one is none, however it is framed."""


class Nothing:
    """A body in chunks that has none (RFC 9112 §7.1); ``refusal`` is raised where it has one after all."""

    def __init__(self, refusal: GatewayError) -> None:
        self._chunks = Chunked(0)
        self._refusal = refusal

    @property
    def complete(self) -> bool:
        return self._chunks.complete

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        try:
            return self._chunks.take(data)
        except BodyTooLarge:
            raise self._refusal from None


def content_of(
    method: bytes, version: str, headers: Headers, methods: Set[bytes] | None, cap: int
) -> Content | None:
    """The body that a head announces, or None. Header names are lower case; ``methods`` None means any.

    Raises BadRequest where the framing is not beyond doubt (RFC 9112 §6.1, §6.3) and for a body on GET or HEAD,
    MethodNotAllowed for a body on a method that is not among ``methods`` and for CONNECT and TRACE with or without
    one, BodyTooLarge over ``cap`` bytes. Chunks that may turn out to be none are ``Nothing``.
    """
    if method in NEVER:
        raise MethodNotAllowed("This method is never served.", allow=allowed(methods))
    codings = [value for name, value in headers if name == b"transfer-encoding"]
    lengths = [value for name, value in headers if name == b"content-length"]
    content = _framed(version, codings, lengths, cap)
    if content is None:
        return None
    refusal = _refusal(method, methods)
    if refusal is not None and codings and method in BARE:
        return Nothing(refusal)
    if refusal is not None:
        raise refusal
    if lengths and int(lengths[0]) > cap:
        raise BodyTooLarge(f"A request body may have {cap} bytes.")
    return content


def _refusal(method: bytes, methods: Set[bytes] | None) -> GatewayError | None:
    """What refuses a body on this method, if anything does."""
    if method in READING:
        return BadRequest("A GET or HEAD request must not have a body.")
    if methods is not None and method not in methods:
        return MethodNotAllowed("This method is not served.", allow=allowed(methods))
    return None


def _framed(version: str, codings: list[bytes], lengths: list[bytes], cap: int) -> Content | None:
    if len(codings) + len(lengths) > 1:
        raise BadRequest("A request says once how its body is framed.")
    if codings:
        if version != "1.1" or codings[0].lower() != b"chunked":
            raise BadRequest("The only transfer coding is chunked, in HTTP/1.1.")
        return Chunked(cap)
    if not lengths:
        return None
    if not re.fullmatch(rb"[0-9]{1,18}", lengths[0]):
        raise BadRequest("The Content-Length is not a number.")
    return Sized(int(lengths[0])) if int(lengths[0]) else None
