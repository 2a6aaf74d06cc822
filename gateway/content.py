"""Content: which body a request's head announces (RFC 9112 §6). Pure."""

from __future__ import annotations

import re
from collections.abc import Set

from gateway.errors import BadRequest, BodyTooLarge, Headers, MethodNotAllowed
from gateway.framing import Chunked, Content, Sized
from gateway.limits import NEVER, READING


def content_of(
    method: bytes, version: str, headers: Headers, methods: Set[bytes] | None, cap: int
) -> Content | None:
    """The body that a head announces, or None. Header names are lower case; ``methods`` None means any.

    Raises BadRequest where the framing is not beyond doubt (RFC 9112 §6.1, §6.3) and for a body on GET or HEAD,
    MethodNotAllowed for a body on a method that is not among ``methods`` and for CONNECT and TRACE with or without
    one, BodyTooLarge over ``cap`` bytes.
    """
    if method in NEVER:
        raise MethodNotAllowed("This method is never served.", allow=allowed(methods))
    codings = [value for name, value in headers if name == b"transfer-encoding"]
    lengths = [value for name, value in headers if name == b"content-length"]
    content = _framed(version, codings, lengths, cap)
    if content is None:
        return None
    if method in READING:
        raise BadRequest("A GET or HEAD request must not have a body.")
    if methods is not None and method not in methods:
        raise MethodNotAllowed("This method is not served.", allow=allowed(methods))
    if lengths and int(lengths[0]) > cap:
        raise BodyTooLarge(f"A request body may have {cap} bytes.")
    return content


def allowed(methods: Set[bytes] | None) -> bytes:
    """The value of Allow (RFC 9110 §10.2.1) where these are served; for None, the well-known ones."""
    named = {b"DELETE", b"OPTIONS", b"PATCH", b"POST", b"PUT"} if methods is None else methods
    return b", ".join([b"GET", b"HEAD", *sorted(named - READING)])


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
